// A careless producer: when its record is there already it says yes at once. Whoever put it there may have died before
// the flush, and then a power cut takes it.
//
// must fail: kept-retry
"use strict";
const fs = require("node:fs");
const { randomUUID } = require("node:crypto");
const { SPOOL_DIR: spool, SPOOL_ID: id, SPOOL_SESSION: sessionKey, SPOOL_TEXT: text } = process.env;
const data = Buffer.from(JSON.stringify({ id, sessionKey, text }));
if (data.length > 262144 || Buffer.byteLength(sessionKey) > 512) throw new Error("too long");
if (/^\s|\s$|[\x00-\x1f\x7f-\x9f]/.test(sessionKey)) throw new Error("not a session");
if (fs.readFileSync(spool + "/format", "utf8") !== "spool 1\n") throw new Error("not a spool of version 1");
const final = `${spool}/new/${id}.json`;
if (fs.existsSync(final) && fs.readFileSync(final).equals(data)) process.exit(0);
const staged = `${spool}/tmp/${randomUUID()}`;
const file = fs.openSync(staged, "wx", 0o600);
try {
  fs.writeFileSync(file, data);
  fs.fsyncSync(file);
  fs.linkSync(staged, final);
} catch (error) {
  if (error.code !== "EEXIST" || !fs.readFileSync(final).equals(data)) throw error;
} finally {
  fs.unlinkSync(staged);
}
fs.fsyncSync(fs.openSync(spool + "/new", "r"));
