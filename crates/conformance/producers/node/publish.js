// Publishes a record (spool-format.md, section 4.3), with nothing but Node. Copy the function.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { randomUUID } = require("node:crypto");

// Throws, or has published: the record is on the disk. After an error it may be called again with the same record.
function publish(spool, record) {
  const data = Buffer.from(JSON.stringify(record));
  if (data.length > 262144 || Buffer.byteLength(record.sessionKey) > 512) throw new Error("longer than a record may be");
  if (/^\s|\s$|[\x00-\x1f\x7f-\x9f]/.test(record.sessionKey)) throw new Error("not a session");
  if (fs.readFileSync(path.join(spool, "format"), "utf8") !== "spool 1\n") throw new Error("not a spool of version 1");

  // 1 to 3: a file that nobody sees, written and flushed. A flush that failed is not tried again on the same file.
  const staged = path.join(spool, "tmp", randomUUID());
  const final = path.join(spool, "new", record.id + ".json");
  const file = fs.openSync(staged, "wx", 0o600);
  try {
    try {
      fs.writeFileSync(file, data);
      fs.fdatasyncSync(file);
    } finally {
      fs.closeSync(file);
    }
    // 4: its name, with a verb that does not overwrite. Taken by the same bytes, it was published before.
    try {
      fs.linkSync(staged, final);
    } catch (error) {
      if (error.code !== "EEXIST" || !fs.readFileSync(final).equals(data)) throw error;
    }
  } finally {
    fs.unlinkSync(staged);
  }
  // 5: only now may anybody be told, also of what somebody else had published.
  const dir = fs.openSync(path.join(spool, "new"), "r");
  try {
    fs.fsyncSync(dir);
  } finally {
    fs.closeSync(dir);
  }
}

publish(process.env.SPOOL_DIR, {
  id: process.env.SPOOL_ID,
  sessionKey: process.env.SPOOL_SESSION,
  text: process.env.SPOOL_TEXT,
});
