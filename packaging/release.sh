#!/bin/sh
# Makes what is released: static programs for Linux (musl) as an archive, a Debian package and an npm package of them, and
# the SHA-256 of each.
#
# usage: packaging/release.sh OUT [TARGET]    TARGET: x86_64-unknown-linux-musl
set -eu
out=$1 target=${2:-x86_64-unknown-linux-musl}
here=$(dirname "$0")
rustup target list --installed | grep -qx "$target" || rustup target add "$target"
cargo build --locked --release --bins --target "$target"
binaries=${CARGO_TARGET_DIR:-$here/../target}/$target/release
version=$("$binaries/spool" --version | cut -d' ' -f2)
mkdir -p "$out"
tar -C "$binaries" -czf "$out/spool-$version-$target.tar.gz" spool spool-put spool-run
"$here/deb.sh" "$binaries" "$out"
"$here/npm.sh" "$binaries" "$out"
cd "$out"
sha256sum -- *.tar.gz *.deb *.tgz >SHA256SUMS
cat SHA256SUMS
