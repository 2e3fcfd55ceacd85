# What a user does with the service, before a real manager. Called with the gateway's address in GATEWAY. Each thing
# that is judged is printed as `NAME: VALUE`.
set -u
umask 077
say() { echo "$1: $2"; }
show() { systemctl --user show spool.service --property="$1" --value; }
until_ok() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ]; then
            say "in vain" "$*"
            spool service status
            exit 1
        fi
        sleep 0.1
    done
}
is_done() { spool list --state done --ids | grep -qx "$1"; }
is_past() { [ "$(date +%s)" -ge "$1" ]; }
is_another() {
    new=$(show MainPID)
    [ "$new" != 0 ] && [ "$new" != "$1" ] && [ "$(show ActiveState)" = active ]
}
deliver() {
    id=$(spool-put --session agent:main:telegram:direct:77001 --id "$1" "this is $1" | cut -d' ' -f2)
    until_ok is_done "$id"
}

spool service status >/dev/null
say "status before" $?
echo correct-token >~/token
spool service install --gateway "$GATEWAY" --token-file ~/token
say "install" $?
spool service status >/dev/null
say "status after" $?
say "enabled" "$(systemctl --user is-enabled spool.service)"
deliver first-record
say "delivered" first-record

pid=$(show MainPID)
say "no new privileges" "$(sed -n 's/^NoNewPrivs:\t//p' /proc/"$pid"/status)"
say "system calls filtered" "$(sed -n 's/^Seccomp:\t//p' /proc/"$pid"/status)"
mounted() { awk -v at="$2" '$5 == at { split($6, o, ","); how = o[1] } END { print how }' "/proc/$1/mountinfo"; }
for dir in / /home ~/.local/state/spool ~/.config/spool; do
    say "mounted $dir" "$(mounted "$pid" "$dir")"
done
say "private tmp" "$(awk '$5 == "/tmp" { print $4 }' "/proc/$pid/mountinfo" | grep -c systemd-private)"

# Faster than a person would wait.
mkdir -p ~/.config/systemd/user/spool.service.d
printf '[Service]\nRestartSec=200ms\nWatchdogSec=6\n' >~/.config/systemd/user/spool.service.d/fast.conf
systemctl --user daemon-reload
for how in KILL STOP; do
    spool service restart
    for n in 1 2 3; do
        pid=$(show MainPID)
        kill -"$how" "$pid"
        until_ok is_another "$pid"
        [ "$how" = STOP ] && break
    done
    deliver "after-$how"
    say "delivered" "after-$how"
done
# On a busy machine nothing but a stopped agent may be taken for one.
rm -r ~/.config/systemd/user/spool.service.d
systemctl --user daemon-reload
spool service restart
say "restarts" "$(spool service status --json | grep -o '"restarts":[0-9]*')"

# Somebody writes in place, and slowly.
new=~/.local/state/spool/new
exec 3>"$new/slow.json"
printf '{"id": "slow-record", "sessionKey": "agent:main:telegram:' >&3
began=$(date +%s)
# An agent that cannot see who has it open waits longer than for any other.
until_ok is_past $((began + 12))
say "unfinished is left alone" "$(spool list --state dead --ids | wc -l)"
printf 'direct:77001", "text": "at last"}' >&3
exec 3>&-
until_ok is_done slow-record
say "delivered" slow-record

spool service install --gateway "$GATEWAY" --token-file ~/token | cut -d' ' -f1
spool service stop
spool service status >/dev/null
say "status stopped" $?
spool service start
spool service status >/dev/null
say "status started" $?
spool service uninstall >/dev/null
say "uninstall" $?
spool service status >/dev/null
say "status uninstalled" $?
say "records kept" "$(spool list --state done --ids | wc -l)"
