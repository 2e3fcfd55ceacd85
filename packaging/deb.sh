#!/bin/sh
# Makes the Debian package: the programs, the unit, the manual and the completions.
#
# usage: packaging/deb.sh BINARIES OUT    BINARIES: a directory with spool, spool-put and spool-run; OUT: where the
#        package goes. Prints its name.
set -eu
binaries=$1 out=$2
here=$(dirname "$0")
version=$("$binaries/spool" --version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
chmod 755 "$root"
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$root/usr/lib/systemd/user" "$root/usr/share/man/man1" \
    "$root/usr/share/doc/spool" "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d"
for program in spool spool-put spool-run; do
    install -m 755 "$binaries/$program" "$root/usr/bin/$program"
done
install -m 644 "$here/spool.service" "$root/usr/lib/systemd/user/spool.service"
"$binaries/spool" man --dir "$root/usr/share/man/man1" >/dev/null
gzip -9n "$root"/usr/share/man/man1/*
"$binaries/spool" completions bash >"$root/usr/share/bash-completion/completions/spool"
# bash looks for a completion by the name of the program.
ln -s spool "$root/usr/share/bash-completion/completions/spool-put"
ln -s spool "$root/usr/share/bash-completion/completions/spool-run"
"$binaries/spool" completions zsh >"$root/usr/share/zsh/vendor-completions/_spool"
"$binaries/spool" completions fish >"$root/usr/share/fish/vendor_completions.d/spool.fish"
cat "$here/../LICENSE-MIT" >"$root/usr/share/doc/spool/copyright"
# A program that is linked dynamically says which libc it needs at least; a static one needs none.
libc=$(grep -a -o 'GLIBC_2\.[0-9]*' "$binaries/spool" | sort -uV | tail -n 1 | cut -d_ -f2) || libc=
cat >"$root/DEBIAN/control" <<CONTROL
Package: spool
Version: $version
Architecture: $arch
Maintainer: The spool maintainers <spool@localhost>
Section: utils
Priority: optional
Installed-Size: $(du -sk "$root/usr" | cut -f1)
${libc:+Depends: libc6 (>= $libc), libgcc-s1
}Description: durable completion outbox for people who run agents
 Whatever finishes in the background drops a record that names the conversation
 it belongs to, and an agent delivers it there through the OpenClaw gateway,
 until there is evidence that it arrived.
 .
 Each user starts the agent with "spool service install", or with
 "systemctl --user enable --now spool".
CONTROL
mkdir -p "$out"
deb=$out/spool_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$root" "$deb" >/dev/null
echo "$deb"
