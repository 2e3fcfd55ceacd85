//! `spool prune`: clears away receipts that a person does not want to keep for as long as the agent would.
//!
//! Only what is done or dismissed can go, and only with an age: what is held or dead waits for a decision, whatever its
//! age. Each is written down in the journal before it goes, so that the audit still balances.

use std::io::Write;

use serde_json::json;
use spooldir::time::now_ms;
use spooldir::{Dir, Spool, exit};

use crate::Failure;
use crate::args::Args;

/// How many receipts are removed in one go, so that neither memory nor a line of the journal grows with them.
const BATCH: usize = 10_000;

/// Prunes, or tells what would be pruned.
///
/// # Errors
/// What the spool says when it cannot be read or the journal cannot be written; those of writing.
pub fn run(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let dirs: Vec<Dir> = [(args.done, Dir::Done), (args.dismissed, Dir::Dismissed)]
        .into_iter()
        .filter_map(|(is_wanted, dir)| is_wanted.then_some(dir))
        .collect();
    let age = args.older.unwrap_or_default();
    let now = now_ms();
    let mut count = 0;
    if args.dry_run {
        count = spool.receipts_older(&dirs, now, age, usize::MAX)?.len();
    } else {
        loop {
            let old = spool.receipts_older(&dirs, now, age, BATCH)?;
            let found = old.len();
            let gone = spool.prune(old, Some("operator"))?.len();
            count += gone;
            // What cannot be removed would be found again and again.
            if found < BATCH || gone == 0 {
                break;
            }
        }
    }
    if args.json {
        writeln!(out, "{:#}", json!({"pruned": count, "dryRun": args.dry_run}))?;
    } else {
        let would = if args.dry_run { "would be pruned" } else { "pruned" };
        writeln!(out, "{count} receipts {would}")?;
    }
    Ok(exit::OK)
}
