//! `spool status`: how the spool and its agent are, for a person, a script or a monitor.
//!
//! Exit 0: all is well. 1: something wants attention, and each thing is said in a sentence. 3: no agent is running,
//! whatever else is the matter. Whether one is running is asked of the kernel's lock, never of a process number; what
//! the agent wrote of itself (`agent.json`) is only shown while one runs.

use std::io::Write;

use serde_json::{Value, json};
use spool_drain::status::{self, AgentStatus};
use spooldir::lock::{AgentLock, free_bytes};
use spooldir::record::MAX_BYTES;
use spooldir::time::now_ms;
use spooldir::trouble::{self, Troubles};
use spooldir::{Dir, Entry, Record, Spool, exit, locate};

use crate::Failure;
use crate::args::Args;
use crate::find::{self, Inbox};
use crate::runs;
use crate::view::brief;
use crate::when;

/// Something wants attention.
const DEGRADED: u8 = 1;
/// No agent is running.
const NO_AGENT: u8 = 3;
/// A record that has been pending longer than this, in milliseconds, is a problem. Longer than a turn may take.
const OLD_PENDING: u64 = 30 * 60 * 1000;
/// An agent writes its status every ten seconds; one that has not for this long, in milliseconds, is stuck or stopped.
pub const OLD_STATUS: u64 = 60 * 1000;
/// A disk with less room than this, in bytes, will soon refuse records.
pub const LITTLE_ROOM: u64 = 64 * 1024 * 1024;
/// How many records of a state are opened to see whether they name a session. Beyond, the number is a least one.
const MAX_OPENED: usize = 256;
/// How many foreign names are told.
const MAX_NAMED: usize = 20;

struct Report {
    counts: Vec<(&'static str, u64)>,
    runs: runs::Count,
    foreign: Vec<String>,
    unrouted: u64,
    hooks: Troubles,
    oldest_pending_ms: Option<u64>,
    free: Option<u64>,
    is_running: bool,
    agent: Option<AgentStatus>,
    now_ms: u64,
}

/// Tells how the spool and its agent are.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn run(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let report = Report::make(spool)?;
    let problems = report.problems();
    let (health, code) = match (report.is_running, problems.is_empty()) {
        (false, _) => ("no-agent", NO_AGENT),
        (true, false) => ("degraded", DEGRADED),
        (true, true) => ("healthy", exit::OK),
    };
    if args.json {
        writeln!(out, "{:#}", report.as_json(spool, health, &problems)?)?;
    } else {
        report.tell(spool, out)?;
        for problem in &problems {
            writeln!(out, "problem   {problem}")?;
        }
    }
    Ok(code)
}

impl Report {
    fn make(spool: &Spool) -> Result<Report, Failure> {
        let inbox = find::inbox(spool)?;
        let mut counts = Vec::new();
        for dir in Dir::STATES {
            let mut n = 0;
            if dir == Dir::New {
                n = (inbox.entries.len() + inbox.nameless.len()) as u64;
            } else {
                spool.each_entry(dir, |_, _| n += 1)?;
            }
            counts.push((dir.state_word(), n));
        }
        let is_running = AgentLock::is_taken(spool)?;
        let now_ms = now_ms();
        Ok(Report {
            counts,
            runs: runs::count(spool)?,
            oldest_pending_ms: oldest(spool, &inbox).map(|then| now_ms.saturating_sub(then)),
            unrouted: unrouted(spool, &inbox)?,
            hooks: hook_trouble(spool),
            foreign: inbox.foreign.iter().map(|n| brief(&n.to_string_lossy(), 100)).collect(),
            free: free_bytes(spool).ok(),
            is_running,
            agent: if is_running { status::read(spool) } else { None },
            now_ms,
        })
    }

    fn count(&self, word: &str) -> u64 {
        self.counts.iter().find(|(w, _)| *w == word).map_or(0, |(_, n)| *n)
    }

    /// What wants attention, each in a sentence with the remedy.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut say = |is: bool, what: String| {
            if is {
                problems.push(what);
            }
        };
        say(!self.is_running, "no agent is running; start spool drain".into());
        if let Some(agent) = &self.agent {
            let silent = self.now_ms.saturating_sub(agent.updated_at);
            let since = when::length(silent);
            say(
                silent > OLD_STATUS,
                format!("the agent (process {}) has said nothing for {since}; is it stopped?", agent.pid),
            );
            let gateway = &agent.gateway;
            let why = gateway.reason.as_deref().map(|r| format!(": {}", brief(r, 300))).unwrap_or_default();
            say(gateway.state == "down", format!("the gateway is down{why}"));
            say(gateway.state == "refused", format!("the gateway refuses the agent{why}"));
        } else {
            say(self.is_running, "the agent has not said yet how it is".into());
        }
        let dead = self.count("dead");
        say(dead > 0, format!("{dead} dead; spool list --state dead says why, spool retry tries again"));
        let held = self.count("held");
        say(
            held > 0,
            format!("{held} held; spool list --state held says why, spool release gives them back"),
        );
        let over = self.runs.over;
        say(
            over > 0 && !self.is_running,
            format!(
                "{over} jobs have ended unreported; spool list --state running shows them, an agent reports them"
            ),
        );
        let unrouted = self.unrouted;
        say(
            unrouted > 0,
            format!("{unrouted} name no session; spool retry ID --session KEY sends them to one"),
        );
        if let Some(last) = &self.hooks.last {
            let files: Vec<String> = self.hooks.files.iter().map(|f| f.display().to_string()).collect();
            let problem = format!(
                "{} reports of hooks could not be queued, the last one ({}) {} ago: {}; when that is mended, remove {}",
                self.hooks.count,
                brief(&last.from, 40),
                when::age(last.at, self.now_ms),
                brief(&last.reason, 300),
                files.join(" and ")
            );
            say(true, problem);
        }
        if let Some(age) = self.oldest_pending_ms {
            say(age > OLD_PENDING, format!("the oldest pending record has waited for {}", when::length(age)));
        }
        let foreign = self.foreign.len();
        say(
            foreign > 0,
            format!(
                "{foreign} files in new/ are no records by their name, kind or owner and are left alone: {}",
                self.named()
            ),
        );
        if let Some(free) = self.free {
            say(free < LITTLE_ROOM, format!("only {} KiB are free on the disk", free / 1024));
        }
        problems
    }

    fn named(&self) -> String {
        let more = if self.foreign.len() > MAX_NAMED { ", ..." } else { "" };
        let named: Vec<&str> = self.foreign.iter().take(MAX_NAMED).map(String::as_str).collect();
        format!("{}{more}", named.join(", "))
    }

    fn as_json(&self, spool: &Spool, health: &str, problems: &[String]) -> Result<Value, Failure> {
        let counts: serde_json::Map<String, Value> =
            self.counts.iter().map(|(word, n)| ((*word).to_owned(), (*n).into())).collect();
        let hooks = self.hooks.last.as_ref().map(|last| {
            let files: Vec<_> = self.hooks.files.iter().map(|file| file.to_string_lossy()).collect();
            let last = json!({"at": last.at, "from": last.from, "exit": last.exit, "reason": last.reason});
            json!({"count": self.hooks.count, "last": last, "files": files})
        });
        let agent = serde_json::to_value(&self.agent).map_err(std::io::Error::from)?;
        Ok(json!({
            "spool": spool.root().to_string_lossy(),
            "health": health,
            "problems": problems,
            "counts": counts,
            "running": self.runs.running,
            "runsOver": self.runs.over,
            "oldestPendingAgeMs": self.oldest_pending_ms,
            "foreign": self.foreign.iter().take(MAX_NAMED).collect::<Vec<_>>(),
            "foreignCount": self.foreign.len(),
            "unrouted": self.unrouted,
            "hookTrouble": hooks,
            "freeBytes": self.free,
            "agentRunning": self.is_running,
            "agent": agent,
        }))
    }

    fn tell(&self, spool: &Spool, out: &mut dyn Write) -> Result<(), Failure> {
        writeln!(out, "spool     {}", spool.root().display())?;
        let counts: Vec<String> = self.counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
        writeln!(out, "entries   {}", counts.join(", "))?;
        if self.runs != runs::Count::default() {
            writeln!(
                out,
                "runs      {} running, {} over and not reported yet",
                self.runs.running, self.runs.over
            )?;
        }
        if let Some(age) = self.oldest_pending_ms {
            writeln!(out, "oldest    pending for {}", when::length(age))?;
        }
        let Some(agent) = &self.agent else {
            let word = if self.is_running { "running" } else { "not running" };
            return Ok(writeln!(out, "agent     {word}")?);
        };
        let since = when::age(agent.started_at, self.now_ms);
        writeln!(
            out,
            "agent     process {}, for {since}, {} in flight, watch: {}",
            agent.pid,
            agent.in_flight,
            brief(&agent.watch, 200)
        )?;
        let gateway = &agent.gateway;
        write!(out, "gateway   {} for {}", gateway.state, when::age(gateway.since, self.now_ms))?;
        if let (Some(version), Some(protocol)) = (&gateway.version, gateway.protocol) {
            write!(out, ", version {}, protocol {protocol}", brief(version, 40))?;
        }
        if let Some(at) = gateway.next_try {
            write!(out, ", next try in {}", when::length(at.saturating_sub(self.now_ms)))?;
        }
        Ok(writeln!(out)?)
    }
}

/// How many held and pending records name no session.
fn unrouted(spool: &Spool, inbox: &Inbox) -> Result<u64, Failure> {
    let mut held = Vec::new();
    spool.each_entry(Dir::Hold, |entry, _| {
        if held.len() < MAX_OPENED {
            held.push(entry);
        }
    })?;
    let opened = held.iter().chain(inbox.entries.iter().take(MAX_OPENED));
    let is_unrouted = |entry: &&Entry| {
        let read = spool.fs().read(&spool.path(entry), MAX_BYTES);
        let record = read.ok().and_then(|content| Record::parse(&content.bytes).ok());
        record.is_some_and(|record| record.session_key.is_none())
    };
    Ok(opened.filter(is_unrouted).count() as u64)
}

/// What hooks could not queue here.
fn hook_trouble(spool: &Spool) -> Troubles {
    let root = std::path::absolute(spool.root()).unwrap_or_else(|_| spool.root().to_owned());
    trouble::read(&trouble::places(Some(&root), &locate::process_env), &root)
}

/// When the oldest pending record came to be pending: when its file came to its place, which no producer can fake.
fn oldest(spool: &Spool, inbox: &Inbox) -> Option<u64> {
    let dir = spool.dir(Dir::New);
    let names = inbox.entries.iter().map(|e| e.file_name().into()).chain(inbox.nameless.iter().cloned());
    let since = names.filter_map(|name| spool.fs().stat(&dir.join(name)).ok().flatten());
    since.filter_map(|meta| u64::try_from(meta.ctime_ns / 1_000_000).ok()).min()
}
