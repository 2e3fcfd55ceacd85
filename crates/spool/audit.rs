//! `spool audit`: the equation that every accepted record is still accounted for, with its numbers.

use std::io::Write;

use serde_json::json;
use spooldir::{Dir, Spool, exit};

use crate::Failure;
use crate::args::Args;
use crate::progress::Progress;

/// The exit number when the equation does not hold.
const BROKEN: u8 = 1;
/// How many ids are named; the JSON form has them all.
const MAX_NAMED: usize = 20;

/// Audits the spool. Exits 0 when every record is accounted for, 1 when not.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn run(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut progress = Progress::new("auditing");
    let audit = spool.audit_telling(&mut |seen| progress.at(seen, None))?;
    drop(progress);
    let holds = audit.holds();
    if args.json {
        let doubled: Vec<_> =
            audit.doubled.iter().map(|(id, states)| json!({"id": id, "states": states})).collect();
        let report = json!({
            "holds": holds,
            "accepted": audit.accepted,
            "states": audit.states,
            "pruned": audit.pruned,
            "lost": audit.lost,
            "doubled": doubled,
            "tornLines": audit.torn,
        });
        writeln!(out, "{report:#}")?;
    } else {
        let parts: Vec<String> = Dir::STATES
            .iter()
            .map(|dir| (dir.state_word(), audit.states.get(dir.state_word()).copied().unwrap_or(0)))
            .chain([("pruned", audit.pruned)])
            .map(|(word, n)| format!("{n} {word}"))
            .collect();
        let sign = if holds { "=" } else { "is not" };
        writeln!(out, "{} accepted {sign} {}", audit.accepted, parts.join(" + "))?;
        for id in audit.lost.iter().take(MAX_NAMED) {
            writeln!(out, "lost: {id} was accepted and is nowhere")?;
        }
        for (id, states) in audit.doubled.iter().take(MAX_NAMED) {
            writeln!(out, "doubled: {id} is {} at once", states.join(" and "))?;
        }
    }
    if audit.torn > 0 {
        crate::complain(&format!(
            "{} lines of the journal cannot be read; the audit knows less for it",
            audit.torn
        ));
    }
    if !holds {
        crate::complain(&format!("the audit of {} does not hold", spool.root().display()));
    }
    Ok(if holds { exit::OK } else { BROKEN })
}
