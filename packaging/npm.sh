#!/bin/sh
# Makes the npm package that carries the programs, for those who have npm already.
#
# usage: packaging/npm.sh BINARIES OUT    Prints its name.
set -eu
binaries=$(cd "$1" && pwd) here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
version=$("$binaries/spool" --version | cut -d' ' -f2)
cpu=$(node -p process.arch) os=$(node -p process.platform)
mkdir -p "$stage/bin"
for program in spool spool-put spool-run; do
    install -m 755 "$binaries/$program" "$stage/bin/$program"
done
cp "$here/npm/README.md" "$here/../LICENSE-MIT" "$here/../LICENSE-APACHE" "$stage/"
# npm links the programs themselves, so that no node runs when a job ends.
sed -e "s/@VERSION@/$version/" -e "s/@CPU@/$cpu/" -e "s/@OS@/$os/" "$here/npm/package.json" >"$stage/package.json"
cd "$stage"
echo "$out/$(npm pack --silent --pack-destination "$out")"
