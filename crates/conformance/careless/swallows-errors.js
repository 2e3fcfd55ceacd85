// A careless producer: no trouble of its own may disturb the job that it reports, so it catches everything, and exits
// with 0.
//
// must fail: texts, conflict, race, format, missing, not-writable, write-error, full-disk
// may fail: sessions
"use strict";
const fs = require("node:fs");
const { randomUUID } = require("node:crypto");
const { SPOOL_DIR: spool, SPOOL_ID: id, SPOOL_SESSION: sessionKey, SPOOL_TEXT: text } = process.env;
const staged = `${spool}/tmp/${randomUUID()}`;
const final = `${spool}/new/${id}.json`;
try {
  const data = Buffer.from(JSON.stringify({ id, sessionKey, text }));
  if (data.length > 262144 || Buffer.byteLength(sessionKey) > 512) throw new Error("too long");
  if (/^\s|\s$|[\x00-\x1f\x7f-\x9f]/.test(sessionKey)) throw new Error("not a session");
  if (fs.readFileSync(spool + "/format", "utf8") !== "spool 1\n") throw new Error("not a spool of version 1");
  const file = fs.openSync(staged, "wx", 0o600);
  try {
    fs.writeFileSync(file, data);
    fs.fsyncSync(file);
    fs.linkSync(staged, final);
  } finally {
    fs.unlinkSync(staged);
  }
} catch {
  // Somebody will look into it.
}
try {
  fs.fsyncSync(fs.openSync(spool + "/new", "r"));
} catch {
  // The same.
}
