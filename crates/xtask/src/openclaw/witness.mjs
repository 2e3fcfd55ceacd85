// Reads what a gateway has stored, from its own files and behind its back.
//   node witness.mjs rows STATE_DIR   every message of every transcript, one JSON line each
//   node witness.mjs mend STATE_DIR   forgets boots that ended without a farewell (the gateway must be down)
// "mend" is there because three unclean boots in five minutes keep a gateway from starting its channels, and the
// tests make more unclean boots than that on purpose.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import zlib from "node:zlib";

const [verb, state] = process.argv.slice(2);

function print(session, seq, event) {
  if (event.type !== "message") return;
  const { role, content, idempotencyKey } = event.message;
  const key = idempotencyKey ?? event.message.__openclaw?.idempotencyKey ?? "";
  console.log(JSON.stringify({ session, seq, role, key, content }));
}

function rowsOfDatabase(file) {
  const db = new DatabaseSync(file, { readOnly: true });
  const rows = db.prepare(
    `select w.session_key as session, e.seq as seq, e.event_json as json, e.event_zstd as packed
       from transcript_events e join session_windows w on w.session_id = e.session_id
      order by w.session_key, w.created_at, e.seq`,
  );
  for (const row of rows.iterate()) {
    print(row.session, row.seq, JSON.parse(row.json ?? zlib.zstdDecompressSync(row.packed).toString()));
  }
  db.close();
}

// Before the database there was one file of JSON lines for each session, and an index of them.
function rowsOfFiles(dir) {
  const index = JSON.parse(readFileSync(join(dir, "sessions.json"), "utf8"));
  for (const [session, entry] of Object.entries(index)) {
    const file = entry.sessionFile ?? join(dir, `${entry.sessionId}.jsonl`);
    if (!existsSync(file)) continue;
    readFileSync(file, "utf8").split("\n").forEach((line, seq) => line && print(session, seq, JSON.parse(line)));
  }
}

const agents = join(state, "agents");
if (verb === "rows" && existsSync(agents)) {
  for (const agent of readdirSync(agents)) {
    const database = join(agents, agent, "agent", "openclaw-agent.sqlite");
    if (existsSync(database)) rowsOfDatabase(database);
    const files = join(agents, agent, "sessions");
    if (existsSync(join(files, "sessions.json"))) rowsOfFiles(files);
  }
}
const shared = join(state, "state", "openclaw.sqlite");
if (verb === "mend" && existsSync(shared)) {
  const db = new DatabaseSync(shared);
  const known = db.prepare("select 1 from sqlite_master where name = 'gateway_boot_lifecycle'").get();
  if (known) db.exec("delete from gateway_boot_lifecycle where completed_at_ms is null");
  db.close();
}
