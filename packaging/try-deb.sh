#!/bin/sh
# Installs a Debian package on this machine, uses what it brought, and removes it again. Takes root, and refuses where a
# package of that name is installed already.
#
# usage: packaging/try-deb.sh DEB
set -eu
deb=$1
if dpkg-query -W -f '${Status}' spool 2>/dev/null | grep -q installed; then
    echo "spool is installed here already; remove it first" >&2
    exit 1
fi
home=$(mktemp -d)
trap 'dpkg --remove spool >/dev/null 2>&1 || true; rm -rf "$home"' EXIT
dpkg --install "$deb" >/dev/null
dpkg --verify spool
for program in spool spool-put spool-run; do
    "/usr/bin/$program" --version
    zcat "/usr/share/man/man1/$program.1.gz" | grep -q '^\.SH'
done
mkdir -m 700 "$home/run"
XDG_RUNTIME_DIR=$home/run systemd-analyze verify --user --man=no /usr/lib/systemd/user/spool.service
bash -c '. /usr/share/bash-completion/completions/spool-put && complete -p spool-put spool spool-run' >/dev/null
# A record, its run and its way, as a user would have it.
export HOME="$home" SPOOL_DIR="$home/spool"
unset SPOOL_SESSION OPENCLAW_SESSION_KEY XDG_STATE_HOME XDG_CONFIG_HOME
/usr/bin/spool-put --session agent:main:main 'from the package'
/usr/bin/spool-run --session agent:main:main -- true
test "$(/usr/bin/spool list --state pending --ids | wc -l)" = 2
/usr/bin/spool audit >/dev/null
files=$(dpkg-query -L spool | while read -r path; do [ -d "$path" ] || echo "$path"; done)
dpkg --remove spool >/dev/null
for path in $files; do
    if [ -e "$path" ] || [ -L "$path" ]; then
        echo "left behind: $path" >&2
        exit 1
    fi
done
echo "$(echo "$files" | wc -l) files installed, used and removed"
