#!/bin/sh
# Makes what is released: static programs for Linux (musl), packed.
#
# usage: packaging/release.sh OUT [TARGET]    TARGET: x86_64-unknown-linux-musl
set -eu
out=$1 target=${2:-x86_64-unknown-linux-musl}
here=$(dirname "$0")
rustup target list --installed | grep -qx "$target" || rustup target add "$target"
cargo build --locked --release --bins --target "$target"
binaries=${CARGO_TARGET_DIR:-$here/../target}/$target/release
# Static is what is promised: a program that asks for a loader would not start everywhere.
for program in spool spool-put spool-run; do
    if grep -q -a -e 'ld-linux' -e 'ld-musl' "$binaries/$program"; then
        echo "$binaries/$program is not static" >&2
        exit 1
    fi
done
"$here/pack.sh" "$binaries" "$out" "$target"
