//! What there is to say of a spool and its agent, gathered once for all the forms in which it is told.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use spool_drain::status::{self, AgentStatus};
use spooldir::lock::{AgentLock, free_bytes};
use spooldir::time::now_ms;
use spooldir::trouble::{self, Troubles};
use spooldir::{Dir, Spool, locate};

use super::day::Day;
use crate::Failure;
use crate::find::{self, Inbox};
use crate::lane::{Lane, Lanes, Memory};
use crate::runs;
use crate::service::Start;
use crate::view::brief;
use crate::when;

/// A record that has been pending longer than this, in milliseconds, is a problem. Longer than a turn may take.
const OLD_PENDING: u64 = 30 * 60 * 1000;
/// An agent writes its status every ten seconds; one that has not for this long, in milliseconds, is stuck or stopped.
pub const OLD_STATUS: u64 = 60 * 1000;
/// A gateway that is away for longer than this, in milliseconds, is not just restarting.
const LONG_DOWN: u64 = 15 * 60 * 1000;
/// A disk with less room than this, in bytes, will soon refuse records.
pub const LITTLE_ROOM: u64 = 64 * 1024 * 1024;
/// How many records of a state are opened, to see their sessions. Beyond, the numbers are least ones.
const MAX_OPENED: usize = 256;
/// How many foreign names are told.
const MAX_NAMED: usize = 20;
/// How many lanes in trouble are told in full.
pub const MAX_LANES: usize = 20;
/// How many lines of the journal are remembered.
pub const MAX_LINES: usize = 100;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Somebody should look at it some time.
    Warning,
    /// Nothing is delivered, or soon will not be.
    Critical,
}

/// Something that wants attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub grade: Grade,
    /// What it is, in a sentence with the remedy.
    pub what: String,
    /// What to do about it first: a command, or a few words.
    pub todo: String,
}

/// How all is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Well.
    Healthy,
    /// Something wants attention.
    Degraded,
    /// No agent is running, whatever else is the matter.
    NoAgent,
}

impl Health {
    /// The word in `--json`.
    pub fn word(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::NoAgent => "no-agent",
        }
    }

    /// The exit number.
    pub fn exit(self) -> u8 {
        match self {
            Health::Healthy => 0,
            Health::Degraded => 1,
            Health::NoAgent => 3,
        }
    }
}

/// The report.
#[derive(Debug)]
pub struct Report {
    /// The directory.
    pub root: PathBuf,
    /// How many entries each state has, by its word.
    pub counts: Vec<(&'static str, u64)>,
    /// Jobs in progress.
    pub runs: runs::Count,
    foreign: Vec<String>,
    unrouted: u64,
    hooks: Troubles,
    /// How long the oldest pending record has been pending.
    pub oldest_pending_ms: Option<u64>,
    /// Bytes free on the disk.
    pub free: Option<u64>,
    /// Bytes on the disk in all.
    pub disk: Option<u64>,
    /// Whether an agent holds the lock.
    pub is_running: bool,
    /// How one would be started here.
    pub start: Start,
    /// What it says of itself.
    pub agent: Option<AgentStatus>,
    /// All that is not finished.
    pub lanes: Lanes,
    /// The last day.
    pub day: Day,
    /// When this was gathered.
    pub now_ms: u64,
}

impl Report {
    /// Gathers it.
    ///
    /// # Errors
    /// What the spool says when it cannot be read.
    pub fn make(spool: &Spool) -> Result<Report, Failure> {
        let mut report = Report::glance(spool, MAX_OPENED, &mut Memory::new())?;
        let unknown = |lane: &&Lane| lane.is_in_trouble() && lane.reason.is_none();
        let ids = |lanes: &Lanes| {
            let troubled = lanes.lanes.iter().filter(unknown).take(MAX_LANES);
            troubled.flat_map(|lane| &lane.items).map(|item| item.entry.id.to_string()).collect::<Vec<_>>()
        };
        let mut reasons: HashMap<String, String> =
            ids(&report.lanes).into_iter().map(|id| (id, String::new())).collect();
        report.day = Day::read(spool, report.now_ms, MAX_LINES, &mut reasons);
        for lane in report.lanes.lanes.iter_mut().filter(|lane| lane.reason.is_none()) {
            let mut known = lane.items.iter().filter_map(|item| reasons.get(item.entry.id.as_str()));
            lane.reason = known.rfind(|reason| !reason.is_empty()).cloned();
        }
        Ok(report)
    }

    /// Gathers all but what the journal says, opening at most `most` records of each state; for those who look again
    /// and again, and remember what they read.
    ///
    /// # Errors
    /// What the spool says when it cannot be read.
    pub fn glance(spool: &Spool, most: usize, memory: &mut Memory) -> Result<Report, Failure> {
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
        let agent = if is_running { status::read(spool) } else { None };
        let mut lanes = Lanes::read(spool, &inbox, most, memory)?;
        for slowed in agent.iter().flat_map(|agent| &agent.troubled) {
            lanes.slow(&slowed.session_key, slowed.next_try);
        }
        lanes.explain(spool, MAX_LANES);
        let now_ms = now_ms();
        Ok(Report {
            root: spool.root().to_owned(),
            counts,
            runs: runs::count(spool)?,
            oldest_pending_ms: oldest(spool, &inbox).map(|then| now_ms.saturating_sub(then)),
            unrouted: lanes.unrouted(),
            hooks: hook_trouble(spool),
            foreign: inbox.foreign.iter().map(|n| brief(&n.to_string_lossy(), 100)).collect(),
            free: free_bytes(spool).ok(),
            disk: total_bytes(spool),
            is_running,
            start: if is_running {
                Start::default()
            } else {
                Start::here(spool.root(), &locate::process_env)
            },
            agent,
            lanes,
            day: Day::ending(now_ms),
            now_ms,
        })
    }

    /// How many entries are in the state of this word.
    pub fn count(&self, word: &str) -> u64 {
        self.counts.iter().find(|(w, _)| *w == word).map_or(0, |(_, n)| *n)
    }

    /// The lanes in trouble.
    pub fn troubled(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.lanes.iter().filter(|lane| lane.is_in_trouble())
    }

    /// How all is, given the problems.
    pub fn health(&self, problems: &[Problem]) -> Health {
        match (self.is_running, problems.is_empty()) {
            (false, _) => Health::NoAgent,
            (true, false) => Health::Degraded,
            (true, true) => Health::Healthy,
        }
    }

    /// What wants attention, the worst first.
    pub fn problems(&self) -> Vec<Problem> {
        use Grade::{Critical, Warning};
        let mut problems = Vec::new();
        let mut say = |is: bool, grade: Grade, what: String, todo: &str| {
            if is {
                problems.push(Problem { grade, what, todo: todo.to_owned() });
            }
        };
        if let Some(free) = self.free {
            let what = format!("only {} KiB are free on the disk", free / 1024);
            let todo = format!("make room on the disk of {}", self.root.display());
            say(free < LITTLE_ROOM, Critical, what, &todo);
        }
        let start = self.start.command();
        say(!self.is_running, Critical, format!("no agent is running; {}", self.start.words()), start);
        if let Some(agent) = &self.agent {
            let silent = self.now_ms.saturating_sub(agent.updated_at);
            let since = when::length(silent);
            let what =
                format!("the agent (process {}) has said nothing for {since}; is it stopped?", agent.pid);
            say(silent > OLD_STATUS, Critical, what, "spool doctor");
            let gateway = &agent.gateway;
            let why = gateway.reason.as_deref().map(|r| format!(": {}", brief(r, 300))).unwrap_or_default();
            let is_long = self.now_ms.saturating_sub(gateway.since) > LONG_DOWN;
            let grade = if is_long { Critical } else { Warning };
            let is = |state: &str| gateway.state == state;
            say(is("down"), grade, format!("the gateway is down{why}"), "openclaw gateway status");
            let refused = format!("the gateway refuses the agent{why}");
            say(is("refused"), Critical, refused, "spool doctor");
            for (what, todo) in agent.remarks() {
                say(true, Warning, brief(&what, 600), todo);
            }
        } else {
            let what = "the agent has not said yet how it is".to_owned();
            say(self.is_running, Warning, what, "look again in a moment");
        }
        let dead = self.count("dead");
        let what = format!("{dead} dead; spool list --state dead says why, spool retry tries again");
        say(dead > 0, Warning, what, "spool list --state dead");
        let held = self.count("held");
        let what = format!("{held} held; spool list --state held says why, spool release gives them back");
        say(held > 0, Warning, what, "spool list --state held");
        let over = self.runs.over;
        let what = format!(
            "{over} jobs have ended unreported; spool list --state running shows them, an agent reports them"
        );
        say(over > 0 && !self.is_running, Warning, what, start);
        let unrouted = self.unrouted;
        let what = format!("{unrouted} name no session; spool retry ID --session KEY sends them to one");
        say(unrouted > 0, Warning, what, "spool retry ID --session KEY");
        if let Some(last) = &self.hooks.last {
            let files: Vec<String> = self.hooks.files.iter().map(|f| f.display().to_string()).collect();
            let files = files.join(" and ");
            let what = format!(
                "{} reports of hooks could not be queued, the last one ({}) {} ago: {}; when that is mended, remove {files}",
                self.hooks.count,
                brief(&last.from, 40),
                when::age(last.at, self.now_ms),
                brief(&last.reason, 300),
            );
            say(true, Warning, what, &format!("mend what kept the hooks from queueing, and remove {files}"));
        }
        if let Some(age) = self.oldest_pending_ms {
            let what = format!("the oldest pending record has waited for {}", when::length(age));
            say(age > OLD_PENDING, Warning, what, "spool list --state pending --sort age");
        }
        let foreign = self.foreign.len();
        let what = format!(
            "{foreign} files in new/ are no records by their name, kind or owner and are left alone: {}",
            self.named()
        );
        let todo = format!("move away what does not belong into {}", self.root.join("new").display());
        say(foreign > 0, Warning, what, &todo);
        // The sort is stable: among equals the order above stays.
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.grade));
        problems
    }

    fn named(&self) -> String {
        let more = if self.foreign.len() > MAX_NAMED { ", ..." } else { "" };
        let named: Vec<&str> = self.foreign.iter().take(MAX_NAMED).map(String::as_str).collect();
        format!("{}{more}", named.join(", "))
    }

    /// The report as `--json` prints it.
    ///
    /// # Errors
    /// None that is known: all of it can be said in JSON.
    pub fn as_json(&self, problems: &[Problem]) -> Result<Value, Failure> {
        let counts: serde_json::Map<String, Value> =
            self.counts.iter().map(|(word, n)| ((*word).to_owned(), (*n).into())).collect();
        let hooks = self.hooks.last.as_ref().map(|last| {
            let files: Vec<_> = self.hooks.files.iter().map(|file| file.to_string_lossy()).collect();
            let last = json!({"at": last.at, "from": last.from, "exit": last.exit, "reason": last.reason});
            json!({"count": self.hooks.count, "last": last, "files": files})
        });
        let agent = serde_json::to_value(&self.agent).map_err(std::io::Error::from)?;
        let day = self.day.sum();
        Ok(json!({
            "spool": self.root.to_string_lossy(),
            "health": self.health(problems).word(),
            "problems": problems.iter().map(|problem| &problem.what).collect::<Vec<_>>(),
            "next": problems.first().map(|problem| &problem.todo),
            "counts": counts,
            "running": self.runs.running,
            "runsOver": self.runs.over,
            "oldestPendingAgeMs": self.oldest_pending_ms,
            "foreign": self.foreign.iter().take(MAX_NAMED).collect::<Vec<_>>(),
            "foreignCount": self.foreign.len(),
            "unrouted": self.unrouted,
            "hookTrouble": hooks,
            "freeBytes": self.free,
            "diskBytes": self.disk,
            "agentRunning": self.is_running,
            "agent": agent,
            "lanes": self.troubled().take(MAX_LANES).map(Lane::as_json).collect::<Vec<_>>(),
            "lanesInTrouble": self.troubled().count(),
            "lastDay": {
                "since": self.day.since,
                "accepted": day.accepted,
                "delivered": day.delivered,
                "failed": day.failed,
                "died": day.died,
            },
        }))
    }
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

fn total_bytes(spool: &Spool) -> Option<u64> {
    let there = rustix::fs::statvfs(spool.root()).ok()?;
    Some(there.f_blocks.saturating_mul(there.f_frsize))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::lane::{Gist, Item};
    use spool_drain::status::{GatewayStatus, Troubled};
    use spooldir::journal::Line;
    use spooldir::{Entry, Id, State};

    /// A label, a reason or a session that would do harm in a terminal, a page or a metrics file.
    pub const EVIL: &str = "evil\u{1b}[31m\u{202e}\n<script>alert(1)</script>\"'&\\ |";

    /// A spool with a gateway that is down, something dead, and hostile text wherever text can be.
    pub fn sample() -> Report {
        let now_ms = 1_795_392_000_000 + 12 * 3_600_000 + 271_000;
        let item = |id: &str, session: &str, state: State| Item {
            entry: Entry::new(Id::new(id).unwrap(), state),
            gist: Gist {
                session: Some(session.into()),
                label: Some(EVIL.into()),
                is_good: true,
                ..Gist::default()
            },
        };
        let lane = |session: &str, id: &str, state: State, reason: &str| Lane {
            session: Some(session.into()),
            items: vec![item(id, session, state)],
            reason: Some(reason.into()),
            ..Lane::default()
        };
        let mut day = Day::ending(now_ms);
        for (n, hour) in day.hours.iter_mut().enumerate() {
            hour.accepted = n as u64 + 1;
            hour.delivered = n as u64;
        }
        day.hours[20].failed = 3;
        day.hours[21].died = 1;
        day.last = vec![Line {
            at: now_ms - 5_000,
            event: "condemn".into(),
            id: "dead-1".into(),
            reason: Some(EVIL.into()),
            session_key: Some(EVIL.into()),
            ..Line::default()
        }];
        Report {
            root: "/home/me/.local/state/spool".into(),
            counts: vec![
                ("pending", 12),
                ("sending", 1),
                ("deferred", 0),
                ("held", 1),
                ("dead", 1),
                ("done", 276),
                ("dismissed", 5),
            ],
            runs: runs::Count { running: 1, over: 0 },
            foreign: Vec::new(),
            unrouted: 0,
            hooks: Troubles::default(),
            oldest_pending_ms: Some(240_000),
            free: Some(47 << 30),
            disk: Some(252 << 30),
            is_running: true,
            start: Start::Drain,
            agent: Some(AgentStatus {
                pid: 812,
                version: "0.1.0".into(),
                started_at: now_ms - 3 * 3_600_000,
                updated_at: now_ms - 2_000,
                gateway: GatewayStatus {
                    state: "down".into(),
                    since: now_ms - 72_000,
                    next_try: Some(now_ms + 8_000),
                    reason: Some(format!("connection refused at 127.0.0.1:18789 {EVIL}")),
                    version: Some("2026.9.6".into()),
                    protocol: Some(4),
                },
                in_flight: 1,
                waiting: 12,
                lanes_in_trouble: 1,
                troubled: vec![Troubled { session_key: EVIL.into(), next_try: now_ms + 30_000 }],
                slowed: Vec::new(),
                config_trouble: None,
                watch: "native".into(),
            }),
            lanes: Lanes {
                lanes: vec![
                    lane(EVIL, "held-1", State::Held, EVIL),
                    lane("agent:main:telegram:direct:42", "dead-1", State::Dead, "there is no such session"),
                ],
                unopened: 0,
            },
            day,
            now_ms,
        }
    }

    #[test]
    fn the_worst_comes_first_and_says_what_to_do() {
        let mut report = sample();
        let said = |report: &Report| {
            let problems = report.problems();
            (problems[0].grade, problems[0].todo.clone(), report.health(&problems))
        };
        assert_eq!(said(&report), (Grade::Warning, "openclaw gateway status".to_owned(), Health::Degraded));
        report.free = Some(1000);
        assert!(said(&report).1.starts_with("make room"));
        report.free = None;
        report.is_running = false;
        assert_eq!(said(&report), (Grade::Critical, "spool drain".to_owned(), Health::NoAgent));
        for (start, todo) in
            [(Start::Service, "spool service start"), (Start::Install, "spool service install")]
        {
            report.start = start;
            assert_eq!(said(&report).1, todo);
            assert!(report.problems()[0].what.contains(todo));
        }
        report.start = Start::Drain;
        let words = report.as_json(&report.problems()).unwrap();
        assert_eq!(
            (words["health"].as_str(), words["next"].as_str()),
            (Some("no-agent"), Some("spool drain"))
        );
        assert_eq!(words["lanes"].as_array().unwrap().len(), 2);
    }
}
