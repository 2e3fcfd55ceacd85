// A careless producer: it renames its file into new/, and rename(2) overwrites. Of two records under one id the first is
// gone, and whoever published it has been told that it is kept.
//
// must fail: conflict, race
"use strict";
const fs = require("node:fs");
const { randomUUID } = require("node:crypto");
const { SPOOL_DIR: spool, SPOOL_ID: id, SPOOL_SESSION: sessionKey, SPOOL_TEXT: text } = process.env;
const data = Buffer.from(JSON.stringify({ id, sessionKey, text }));
if (data.length > 262144 || Buffer.byteLength(sessionKey) > 512) throw new Error("too long");
if (/^\s|\s$|[\x00-\x1f\x7f-\x9f]/.test(sessionKey)) throw new Error("not a session");
if (fs.readFileSync(spool + "/format", "utf8") !== "spool 1\n") throw new Error("not a spool of version 1");
const staged = `${spool}/tmp/${randomUUID()}`;
const file = fs.openSync(staged, "wx", 0o600);
fs.writeFileSync(file, data);
fs.fsyncSync(file);
fs.renameSync(staged, `${spool}/new/${id}.json`);
fs.fsyncSync(fs.openSync(spool + "/new", "r"));
