#!/bin/sh
# A careless producer: its file comes to be outside of the spool, on another file system. There mv(1) cannot rename; it
# copies, under the visible name.
#
# judged with: --plain-text-only
# must fail: unseen
# may fail: killed
set -eu
[ "$(cat "$SPOOL_DIR/format")" = "spool 1" ]
final=$SPOOL_DIR/new/$SPOOL_ID.json
file=$(mktemp /dev/shm/drop.XXXXXXXXXX)
trap 'rm -f "$file"' EXIT
printf '{"id":"%s","sessionKey":"%s","text":"%s"}\n' "$SPOOL_ID" "$SPOOL_SESSION" "$SPOOL_TEXT" >"$file"
mv -n "$file" "$final" || { rm -f "$final"; exit 74; }
[ ! -e "$file" ] || cmp -s "$file" "$final"
sync "$final"
sync "$SPOOL_DIR/new"
