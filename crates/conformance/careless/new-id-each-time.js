// A careless producer: it mints an id at each try, whatever id it was given. A retry is a second record, and nobody can
// tell that it is the same.
//
// must fail: id
// may fail: killed
"use strict";
const fs = require("node:fs");
const { randomUUID } = require("node:crypto");
const { SPOOL_DIR: spool, SPOOL_SESSION: sessionKey, SPOOL_TEXT: text } = process.env;
const id = randomUUID();
const data = Buffer.from(JSON.stringify({ id, sessionKey, text }));
if (data.length > 262144 || Buffer.byteLength(sessionKey) > 512) throw new Error("too long");
if (/^\s|\s$|[\x00-\x1f\x7f-\x9f]/.test(sessionKey)) throw new Error("not a session");
if (fs.readFileSync(spool + "/format", "utf8") !== "spool 1\n") throw new Error("not a spool of version 1");
const staged = `${spool}/tmp/${id}`;
try {
  const file = fs.openSync(staged, "wx", 0o600);
  fs.writeFileSync(file, data);
  fs.fsyncSync(file);
  fs.linkSync(staged, `${spool}/new/${id}.json`);
} finally {
  fs.rmSync(staged, { force: true });
}
fs.fsyncSync(fs.openSync(spool + "/new", "r"));
