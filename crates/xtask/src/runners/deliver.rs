//! The last step: `spool drain --once` takes everything the runners left to the fake gateway, once each.
//!
//! The gateway is the fake one of the project, because what the real one does with a delivery has its own chore. It
//! says of every record how often its id was committed, and in which session.

use std::collections::BTreeSet;

use serde_json::Value;
use spool_gateway::fake::{FakeThread, Options};

use crate::openclaw::checks::Checks;
use crate::openclaw::support::Outcome;

use super::bench::Bench;

const TOKEN: &str = "rig-token-of-no-worth";

/// Drains and counts; gives the number of records.
pub(super) fn play(bench: &Bench, checks: &mut Checks) -> Outcome<usize> {
    let records = bench.all_records()?;
    let word = |record: &Value, member: &str| record[member].as_str().unwrap_or_default().to_owned();
    let gateway = FakeThread::start(Options::with_token(TOKEN))?;
    let sessions: BTreeSet<String> = records.iter().map(|record| word(record, "sessionKey")).collect();
    for session in &sessions {
        let chat = session.rsplit(':').next().unwrap_or_default();
        gateway.add_chat(session, chat.parse().map_err(|_| format!("a record for the session {session:?}"))?);
    }
    let mut drain = bench.command("spool", None)?;
    drain.args(["drain", "--once", "--gateway", &gateway.url(), "--token-file"]).arg(token_file(bench)?);
    let ran = bench.run("drain", &mut drain)?;
    checks.that(ran.code == Some(0), "spool drain --once exits 0", ran.words());
    let commits = gateway.all_commits();
    for record in &records {
        let (id, session) = (word(record, "id"), word(record, "sessionKey"));
        let at: Vec<&String> = commits.iter().filter(|c| c.2.contains(&id)).map(|c| &c.0).collect();
        checks.same(at, vec![&session], &format!("{id} is committed once, in its session"));
    }
    checks.same(bench.all_records()?.len(), 0, "nothing is left in the spool");
    checks.same(gateway.sessions().len(), sessions.len(), "no session came to be by it");
    let mut audit = bench.command("spool", None)?;
    let ran = bench.run("audit", audit.arg("audit"))?;
    checks.that(ran.code == Some(0), "spool audit agrees", ran.words());
    Ok(records.len())
}

fn token_file(bench: &Bench) -> Outcome<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = bench.dir.join("token");
    std::fs::write(&path, TOKEN)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path)
}
