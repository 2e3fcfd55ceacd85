#!/bin/sh
# A careless producer: it builds its JSON from strings, and does not say that it can carry plain texts only.
#
# must fail: texts, sessions
set -eu
[ "$(cat "$SPOOL_DIR/format")" = "spool 1" ]
final=$SPOOL_DIR/new/$SPOOL_ID.json
file=$(mktemp "$SPOOL_DIR/tmp/drop.XXXXXXXXXX")
trap 'rm -f "$file"' EXIT
printf '{"id":"%s","sessionKey":"%s","text":"%s"}\n' "$SPOOL_ID" "$SPOOL_SESSION" "$SPOOL_TEXT" >"$file"
sync "$file"
ln "$file" "$final" 2>/dev/null || cmp -s "$file" "$final"
sync "$SPOOL_DIR/new"
