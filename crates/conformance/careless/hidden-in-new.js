// A careless producer: its file comes to be in new/, under a name that begins with a dot. Nobody reads it there, but
// nobody sweeps it either when its writer dies: what is made belongs into tmp/.
//
// must fail: unseen
// may fail: killed
"use strict";
const fs = require("node:fs");
const { SPOOL_DIR: spool, SPOOL_ID: id, SPOOL_SESSION: sessionKey, SPOOL_TEXT: text } = process.env;
const data = Buffer.from(JSON.stringify({ id, sessionKey, text }));
if (data.length > 262144 || Buffer.byteLength(sessionKey) > 512) throw new Error("too long");
if (/^\s|\s$|[\x00-\x1f\x7f-\x9f]/.test(sessionKey)) throw new Error("not a session");
if (fs.readFileSync(spool + "/format", "utf8") !== "spool 1\n") throw new Error("not a spool of version 1");
const staged = `${spool}/new/.${id}.${process.pid}`;
const final = `${spool}/new/${id}.json`;
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
