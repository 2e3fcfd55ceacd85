#!/bin/sh
# A careless producer: it does not see that mktemp failed, and then takes the name that it did not get for a file that
# has moved on.
#
# judged with: --no-id --plain-text-only
# must fail: not-writable
# may fail: full-disk
[ "$(cat "$SPOOL_DIR/format")" = "spool 1" ] || exit
file=$(mktemp "$SPOOL_DIR/tmp/drop.XXXXXXXXXX")
printf '{"sessionKey":"%s","text":"%s"}\n' "$SPOOL_SESSION" "$SPOOL_TEXT" >"$file" && sync "$file" &&
mv -n "$file" "$SPOOL_DIR/new/${file##*/}.json"
[ ! -e "$file" ] && sync "$SPOOL_DIR/new"
