//! A writer that is killed, or whose power is cut, and the judge of what it leaves.
//!
//! The writer publishes records one after the other and prints the number of each when, and only when, it may be
//! believed to be kept. What a record says follows from its number, so that the judge needs nothing but the last number
//! that was seen. Killed, the writer is a process of this program; for a power cut a person starts it, watches the
//! numbers from another machine, and pulls the plug.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use spooldir::lock::AgentLock;
use spooldir::{Dir, Id, Spool, exit};

use super::{BROKEN, Finding, Verdict};
use crate::Failure;

/// The directory of a power cut, which outlives the process.
pub(super) const HOME: &str = "spool-torture-cut";

/// How often the writer is killed.
const KILLS: u32 = 100;
/// From the writer's start to its death: from nothing to this, in even steps.
const LONGEST_LIFE: Duration = Duration::from_millis(60);
/// A writer that has said nothing for this long hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// The writer stops here: some 200 MB.
const MOST: u64 = 50_000;

/// The bytes of a record: of a few sizes, up to 64 KiB.
fn record(number: u64) -> Vec<u8> {
    let size = 1_usize << (number % 16).saturating_add(1);
    let text: String = format!("{number} ").chars().cycle().take(size).collect();
    json!({"id": id(number), "sessionKey": "agent:main:torture", "text": text}).to_string().into_bytes()
}

fn id(number: u64) -> String {
    format!("torture-{number}")
}

/// Publishes until it is stopped from outside; prints the number of each record once it is kept.
pub(super) fn write_until_cut(home: &Path, out: &mut dyn Write) -> Result<u8, Failure> {
    let spool = Spool::create(home)?;
    // Held for as long as the writer lives: the kernel must take it back.
    let _lock = AgentLock::take(&spool)?;
    let mut number = last(home)?;
    crate::complain(&format!(
        "writing to {}; cut the power, note the last number, then: spool torture --after-cut NUMBER",
        home.display()
    ));
    while number < MOST {
        number = number.saturating_add(1);
        let minted = Id::new(&id(number)).map_err(|e| Failure::new(exit::DATA, e.to_string()))?;
        spool.publish(&minted, &record(number), true)?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(exit::OK)
}

/// The highest number there is; 0 when there is none.
fn last(home: &Path) -> Result<u64, Failure> {
    Ok(numbers(home)?.last().copied().unwrap_or(0))
}

fn numbers(home: &Path) -> Result<BTreeSet<u64>, Failure> {
    let new = home.join(Dir::New.name());
    let failed = |e: std::io::Error| Failure::new(exit::IO, format!("cannot read {}: {e}", new.display()));
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(&new).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("torture-")?.strip_suffix(".json"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(numbers)
}

/// What is wrong with the records after `seen` that a writer left which had said `last`; at most one sentence.
fn flaw(home: &Path, seen: u64, last: u64) -> Result<Option<String>, Failure> {
    let there = numbers(home)?;
    if let Some(lost) = (1..=last).find(|number| !there.contains(number)) {
        return Ok(Some(format!("record {lost} of {last} was said to be kept and is gone")));
    }
    // Those that nobody was told of may be there or not, but never in part.
    let is_whole = |number: &u64| {
        let path = home.join(Dir::New.name()).join(format!("{}.json", id(*number)));
        fs::read(path).is_ok_and(|bytes| bytes == record(*number))
    };
    let torn = there.iter().find(|number| **number > seen && !is_whole(number));
    Ok(torn.map(|number| format!("record {number} is there, but not as it was written")))
}

/// Judges what a power cut left, and clears it away when it is as promised.
pub(super) fn judge_after_cut(home: &Path, last: u64, out: &mut dyn Write) -> Result<u8, Failure> {
    if let Some(flaw) = flaw(home, 0, last)? {
        writeln!(out, "BROKEN: {flaw}; the disk does not keep what it says it has flushed")?;
        return Ok(BROKEN);
    }
    writeln!(out, "kept: all {last} records are there, whole")?;
    let failed = |e| Failure::new(exit::IO, format!("cannot remove {}: {e}", home.display()));
    fs::remove_dir_all(home).map_err(failed)?;
    Ok(exit::OK)
}

/// A writer in a process of its own; killed when dropped.
struct Writer {
    child: Child,
    said: mpsc::Receiver<u64>,
}

impl Writer {
    fn start(base: &Path) -> Result<Writer, Failure> {
        let failed = |e| Failure::new(exit::UNAVAILABLE, format!("cannot start this program again: {e}"));
        let mut child = std::env::current_exe()
            .and_then(|me| {
                let mut command = Command::new(me);
                command.args(["torture", "--until-cut", "--dir"]).arg(base);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
            })
            .map_err(failed)?;
        // One life is short: what it says in that time is the bound of this channel.
        let (says, said) = mpsc::sync_channel(1024);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let numbers = BufReader::new(stdout).lines().map_while(Result::ok);
                for number in numbers.filter_map(|line| line.parse().ok()) {
                    if says.send(number).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Writer { child, said })
    }

    /// Kills it; the last number it said, 0 if none.
    fn kill(mut self) -> u64 {
        self.end();
        self.said.iter().max().unwrap_or(0)
    }

    fn end(&mut self) {
        // An error says that it has ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Kills a writer again and again, and looks after each death.
pub(super) fn kills(base: &Path) -> Result<Finding, Failure> {
    let home = base.join(HOME);
    let mut said = 0;
    for step in 0..KILLS {
        let writer = Writer::start(base)?;
        std::thread::sleep(LONGEST_LIFE * step / KILLS);
        let seen = said;
        said = writer.kill().max(seen);
        if said > 0
            && let Some(flaw) = flaw(&home, seen, said)?
        {
            return Ok(Finding { promise: "kills", verdict: Verdict::Broken, words: flaw });
        }
    }
    if said == 0 {
        let words =
            "no writer was fast enough to be told yes before it was killed: nothing is proved".to_owned();
        return Ok(Finding { promise: "kills", verdict: Verdict::Weaker, words });
    }
    let words = format!("{KILLS} writers killed, all {said} records they said were kept are there, whole");
    Ok(Finding { promise: "kills", verdict: Verdict::Kept, words })
}

/// Whether a lock keeps another process out, and falls when its holder is killed.
pub(super) fn locks(base: &Path) -> Result<Finding, Failure> {
    let broken =
        |words: &str| Finding { promise: "locks", verdict: Verdict::Broken, words: words.to_owned() };
    let writer = Writer::start(base)?;
    if writer.said.recv_timeout(PATIENCE).is_err() {
        return Ok(broken("a writer could not be started, or could not take its lock"));
    }
    let spool = Spool::open(&base.join(HOME))?;
    if !AgentLock::is_taken(&spool)? {
        return Ok(broken("a lock (flock) keeps no other process out: two agents could drain one spool"));
    }
    writer.kill();
    if AgentLock::is_taken(&spool)? {
        return Ok(broken("a lock (flock) outlives the process that held it: no agent could start again"));
    }
    let words = "one process has it, and it falls when that is killed".to_owned();
    Ok(Finding { promise: "locks", verdict: Verdict::Kept, words })
}
