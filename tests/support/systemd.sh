#!/bin/sh
# Starts a journal and the service manager of an ordinary user, in name spaces of their own, and has that user run a
# script before it. Called by unshare(1) as process 1 of a new process name space; everything dies with this script.
#
# usage: GATEWAY=URL systemd.sh UID SCRIPT PROGRAM...    PROGRAM: copied to where that user can run it
set -eu
uid=$1 script=$2
shift 2
# As login would have it: the journal tells by this path whose service speaks.
group=/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service
mount --make-rprivate /
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mount -t tmpfs none /home
mkdir -p /run/systemd/system /run/systemd/journal /run/systemd/unit-root /run/systemd/propagate "/run/user/$uid" /home/me /home/bin "$group"
cp "$script" "$@" /home/bin/
chmod 700 "/run/user/$uid"
chown "$uid" "/run/user/$uid" /home/me
chown -R "$uid" "$group"
as_user="setpriv --reuid=$uid --regid=$uid --clear-groups env -i GATEWAY=$GATEWAY HOME=/home/me XDG_RUNTIME_DIR=/run/user/$uid PATH=/home/bin:/usr/bin:/bin:/usr/sbin:/sbin"
/lib/systemd/systemd-journald >/run/journald.log 2>&1 &
sh -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group" \
    $as_user /lib/systemd/systemd --user >/run/manager.log 2>&1 &
tries=0
until [ -S "/run/user/$uid/systemd/private" ] && [ -S /run/systemd/journal/socket ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
        cat /run/journald.log /run/manager.log
        echo "no manager"
        exit 3
    fi
    sleep 0.1
done
status=0
$as_user sh "/home/bin/$(basename "$script")" || status=$?
echo "== journal"
journalctl --no-pager --output=json _SYSTEMD_USER_UNIT=spool.service || true
exit "$status"
