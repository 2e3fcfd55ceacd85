#!/bin/sh
# A careless producer: it looks whether the name is taken, and then renames over it all the same. Between the look and
# the rename there is room for another one.
#
# judged with: --plain-text-only
# must fail: race
set -eu
[ "$(cat "$SPOOL_DIR/format")" = "spool 1" ]
final=$SPOOL_DIR/new/$SPOOL_ID.json
taken=$(ls "$final" 2>/dev/null || true)
file=$(mktemp "$SPOOL_DIR/tmp/drop.XXXXXXXXXX")
trap 'rm -f "$file"' EXIT
printf '{"id":"%s","sessionKey":"%s","text":"%s"}\n' "$SPOOL_ID" "$SPOOL_SESSION" "$SPOOL_TEXT" >"$file"
sync "$file"
if [ -n "$taken" ]; then
    cmp -s "$file" "$final"
else
    mv -f "$file" "$final"
fi
sync "$SPOOL_DIR/new"
