#!/bin/sh
# Packs programs that are built: an archive, a Debian package, an npm package, and the SHA-256 of each.
#
# usage: packaging/pack.sh BINARIES OUT TARGET    BINARIES: a directory with spool, spool-put and spool-run; TARGET: what
#        they were built for, for the name of the archive
set -eu
binaries=$1 out=$2 target=$3
here=$(dirname "$0")
version=$("$binaries/spool" --version | cut -d' ' -f2)
mkdir -p "$out"
tar -C "$binaries" -czf "$out/spool-$version-$target.tar.gz" spool spool-put spool-run
"$here/deb.sh" "$binaries" "$out"
"$here/npm.sh" "$binaries" "$out"
cd "$out"
sha256sum -- *.tar.gz *.deb *.tgz >SHA256SUMS
cat SHA256SUMS
