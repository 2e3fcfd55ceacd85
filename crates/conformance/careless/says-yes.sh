#!/bin/sh
# A careless producer: it writes its record, and nobody reads it, for the name does not end in .json.
#
# judged with: --no-id --plain-text-only
# must fail: published
set -eu
file=$(mktemp "$SPOOL_DIR/tmp/drop.XXXXXXXXXX")
printf '{"sessionKey":"%s","text":"%s"}\n' "$SPOOL_SESSION" "$SPOOL_TEXT" >"$file"
sync "$file"
mv -n "$file" "$SPOOL_DIR/new/"
sync "$SPOOL_DIR/new"
