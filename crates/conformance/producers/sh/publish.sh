#!/bin/sh
# Publishes a record, with nothing but a shell and coreutils: the recipe of spool-format.md, section 12, as it stands
# there. It says in words which texts it cannot carry: those that JSON escapes. The id is minted at intake.
#
# judged with: --no-id --plain-text-only
session=$SPOOL_SESSION
text=$SPOOL_TEXT

spool=${SPOOL_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/spool}
[ "$(cat "$spool/format")" = "spool 1" ] && file=$(mktemp "$spool/tmp/drop.XXXXXXXXXX") || exit
printf '{"sessionKey":"%s","text":"%s"}\n' "$session" "$text" >"$file" && sync "$file" &&
mv -n "$file" "$spool/new/${file##*/}.json"
[ ! -e "$file" ] && sync "$spool/new"
