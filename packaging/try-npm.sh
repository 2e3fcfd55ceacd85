#!/bin/sh
# Installs an npm package into a directory of its own, uses what it brought, and removes it again.
#
# usage: packaging/try-npm.sh TGZ
set -eu
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
npm install --silent --offline --global --prefix "$home/npm" "$1" >/dev/null
export SPOOL_DIR="$home/spool"
"$home/npm/bin/spool-put" --session agent:main:main 'from the package'
"$home/npm/bin/spool" run --session agent:main:main -- true
test "$("$home/npm/bin/spool" list --state pending --ids | wc -l)" = 2
npm uninstall --silent --global --prefix "$home/npm" spool-outbox >/dev/null
test ! -e "$home/npm/bin/spool"
echo "the npm package was installed, used and removed"
