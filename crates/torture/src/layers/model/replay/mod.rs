//! Traces of the model, on the real programs.
//!
//! `spool-put`, `spool drain` and `spool` are run under trace, against the fake gateway. A trace is a walk at random:
//! what the programs do they choose themselves, and at each step that changes a name or flushes a directory, or that
//! speaks to the gateway, chance decides whether somebody is killed there, whether another producer comes in between,
//! whether a person moves an entry, and what is to go wrong with the gateway next. After each step the directories and
//! what the gateway committed are compared with the model, which follows ([`watcher`]).
//!
//! So every run of the programs that is tried is a path of the model; what the model's search proves of all paths is
//! then true of these. Power cuts cannot be replayed; but that each flush is really made, before that which must not
//! happen without it, is seen here.

mod place;
mod runs;
mod watcher;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spool_gateway::fake::{At, Fault, Rule, errors};
use spool_seeded::Bug;
use spooldir::Dir;

use self::place::{AGENT, LIMIT, Place, record_id};
use self::watcher::Watcher;
use super::atlas::Ev;
use super::bounds::plan;
use super::protocol::{Bounds, Protocol};
use super::world::Left;
use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::trace::{self, Ended, Stop};

/// Agents that are started until all is settled.
const AGENTS: u32 = 30;
/// Kills in one trace.
const KILLS: u32 = 3;
/// Faults of the gateway in one trace.
const FAULTS: u32 = 2;

/// Walks so many traces, several at a time, and stops at the first that goes wrong. When its time is over it stops as
/// well, but not before `floor` of them: a slow machine is no reason to see less.
pub(super) fn run(ground: &Ground, report: &mut Report, traces: u64, floor: u64, wide: usize) -> Outcome<()> {
    runs::close(ground, report)?;
    if ground.hunts() && report.violated() > 0 {
        return Ok(());
    }
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let all = Mutex::new(Report::default());
    let walk = || -> Outcome<()> {
        while !is_over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= traces || number >= floor && ground.left().is_zero() {
                break;
            }
            let mut own = Report::default();
            let ended = one(ground, number, &mut own);
            if ended.is_err() || own.violated() > 0 {
                is_over.store(true, Ordering::Relaxed);
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).absorb(own);
            ended?;
        }
        Ok(())
    };
    let ended: Vec<Outcome<()>> = std::thread::scope(|scope| {
        let walkers: Vec<_> = (0..wide).map(|_| scope.spawn(walk)).collect();
        let gone = || Err("a walker panicked".into());
        walkers.into_iter().map(|walker| walker.join().unwrap_or_else(|_| gone())).collect()
    });
    report.absorb(all.into_inner().unwrap_or_else(PoisonError::into_inner));
    ended.into_iter().collect()
}

/// The bounds of a trace: who publishes what, drawn by chance.
fn bounds(chance: &mut Chance, style: Style) -> Bounds {
    let records = 2 + usize::from(chance.one_in(2));
    let lanes = (0..records).map(|r| usize::from(r > 0 && style == Style::Any && chance.one_in(3))).collect();
    let mut plans: Vec<_> = (0..records).map(|r| plan(r, 1, true, 9)).collect();
    // Somebody comes again with the same record, or with another one under its id.
    let again = usize::try_from(chance.below(records as u64)).unwrap_or_default();
    plans.push(plan(again, 1 + u8::from(chance.one_in(2)), true, 9));
    Bounds {
        name: "trace",
        about: "",
        lanes,
        plans,
        agents: 1,
        bases: 4,
        attempts: 4,
        together: 3,
        left: Left::default(),
    }
}

/// One trace.
fn one(ground: &Ground, number: u64, report: &mut Report) -> Outcome<()> {
    let mut chance = ground.chance(&format!("trace {number}"));
    let style = match number % 4 {
        // What a crash in the middle of a change of key leaves.
        _ if ground.bug == Some(Bug::HalfMoved) => Style::Burnt,
        1 => Style::Burnt,
        3 => Style::Refused,
        _ => Style::Any,
    };
    let protocol = Protocol::new(bounds(&mut chance, style), None)?;
    let home = ground.room(&format!("trace-{number}"))?;
    let place = Place::new(ground, &home)?;
    let mut todo: Vec<usize> = (0..protocol.bounds.plans.len()).rev().collect();
    if chance.one_in(2) {
        // The second producer of a record comes at any time after the first.
        let last = todo.remove(0);
        let at = usize::try_from(chance.below(todo.len() as u64)).unwrap_or_default();
        todo.insert(at, last);
    }
    let watcher = Watcher::new(&protocol);
    let mut trace = Trace {
        protocol: &protocol,
        place,
        watcher,
        chance,
        todo,
        style,
        is_calm: style == Style::Burnt,
        kills: KILLS,
        faults: FAULTS,
        people: 2,
        agent_owes: HashSet::new(),
        done: Report::default(),
    };
    let walked = trace.walk();
    let Trace { place, watcher, done, .. } = trace;
    report.absorb(done);
    report.count("compared steps", watcher.steps);
    report.count("traces", 1);
    report.count("traces beyond the bounds", u64::from(watcher.is_beyond));
    if let Err(error) = walked {
        report.violation(format!("trace {number}: {error}; the agents said: {}", place.last_words()));
    }
    drop(place);
    std::fs::remove_dir_all(home)?;
    Ok(())
}

/// What a trace is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Any,
    /// The first delivery's key is burnt, and the agent dies in the middle of changing it.
    Burnt,
    /// The gateway takes the first delivery for nonsense.
    Refused,
}

fn going_down() -> serde_json::Value {
    errors::retryable("going down", "gateway-restarting", Duration::from_millis(20))
}

struct Trace<'a> {
    protocol: &'a Protocol,
    place: Place<'a>,
    watcher: Watcher<'a>,
    chance: Chance,
    /// The producers that are still to come, the next one last.
    todo: Vec<usize>,
    style: Style,
    /// Nothing is left to chance until the style has shown what it is about.
    is_calm: bool,
    kills: u32,
    faults: u32,
    people: u32,
    /// What the agent has to flush before it may send: the directories it moved entries into `sending/` through.
    agent_owes: HashSet<Dir>,
    done: Report,
}

/// What a stop is about, if it is one that matters.
enum Step {
    /// Before or after a name is changed.
    Name {
        is_entry: bool,
        from: Option<Dir>,
        to: Option<Dir>,
    },
    Flushed(Dir),
    /// The bytes of a file without a name.
    FlushedData,
    Spoke,
}

impl Trace<'_> {
    fn walk(&mut self) -> Outcome<()> {
        self.place.begin(&self.protocol.bounds)?;
        let mut first = 1 + self.chance.below(self.todo.len() as u64);
        let fault = match self.style {
            Style::Any => None,
            Style::Burnt => Some(Fault::AcceptThenError(going_down())),
            Style::Refused => Some(Fault::Error(errors::invalid("invalid agent params: unknown property"))),
        };
        if let Some(fault) = fault {
            first = first.max(2);
            self.place.gateway.rule(Rule::on("agent").then(fault));
            self.watcher.may(0, 0, 1);
        }
        for _ in 0..first {
            self.next_put()?;
        }
        for n in 0..AGENTS {
            if n >= AGENTS / 2 {
                (self.kills, self.faults) = (0, 0);
                self.place.gateway.clear_rules();
            }
            self.agent()?;
            if !self.todo.is_empty() {
                self.next_put()?;
            } else if self.place.unsettled()? == 0 {
                break;
            } else {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        self.look("the end")?;
        if self.place.unsettled()? != 0 {
            return Err(
                format!("{AGENTS} agents have not settled everything: {:?}", self.place.names()?).into()
            );
        }
        self.watcher.ends()
    }

    /// Compares.
    fn look(&mut self, what: &str) -> Outcome<()> {
        if let Some(seen) = self.place.seen(&self.protocol.bounds, &mut self.watcher)? {
            self.watcher.saw(seen, what)?;
        }
        Ok(())
    }

    fn step_of(&self, stop: &Stop) -> Option<Step> {
        let inside = |path: &Path| -> Option<Dir> {
            let parent = path.parent()?;
            Dir::ALL.into_iter().find(|dir| parent == self.place.spool.join(dir.name()))
        };
        match stop.name() {
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                let (from, to) = if matches!(stop.name(), "rename" | "link") { (0, 1) } else { (1, 3) };
                let (from, to) = (stop.text(from)?, stop.text(to)?);
                let to = inside(Path::new(&to)).filter(|dir| Dir::STATES.contains(dir))?;
                let from = inside(Path::new(&from));
                let is_name = stop.is_entry || stop.result >= 0;
                is_name.then_some(Step::Name { is_entry: stop.is_entry, from, to: Some(to) })
            }
            "unlink" | "unlinkat" => {
                let path = stop.text(usize::from(stop.name() == "unlinkat"))?;
                let dir = inside(Path::new(&path)).filter(|dir| Dir::STATES.contains(dir))?;
                let is_entry = stop.is_entry || dir == Dir::Tmp;
                Some(Step::Name { is_entry, from: Some(dir), to: None })
            }
            "fsync" | "fdatasync" if !stop.is_entry && stop.result == 0 => {
                let file = stop.file(0)?;
                let dir = Dir::ALL.into_iter().find(|dir| file == self.place.spool.join(dir.name()));
                match dir {
                    Some(dir) => Some(Step::Flushed(dir)),
                    None => (inside(&file) == Some(Dir::Tmp)).then_some(Step::FlushedData),
                }
            }
            "sendto" | "write" | "writev" | "sendmsg" | "recvfrom" => {
                let file = stop.file(0)?;
                file.to_string_lossy().starts_with("socket:").then_some(Step::Spoke)
            }
            _ => None,
        }
    }

    /// The next producer: `spool-put`, killed perhaps, and then it comes again at another time.
    fn next_put(&mut self) -> Outcome<()> {
        let Some(p) = self.todo.pop() else { return Ok(()) };
        let plan = self.protocol.bounds.plans[p];
        let mut command = self.place.put(&self.protocol.bounds, plan.record, plan.bytes);
        self.watcher.put_starts(p);
        let (mut has_data, mut flushes) = (false, HashSet::new());
        let is_doomed = !self.is_calm && self.kills > 0 && self.chance.one_in(4);
        let mut at = 1 + self.chance.below(7);
        let ended = trace::run(&mut command, LIMIT, &mut |stop| {
            let Some(step) = self.step_of(stop) else { return Ok(trace::Act::Go) };
            match step {
                Step::FlushedData => has_data = true,
                Step::Flushed(dir) => {
                    flushes.insert(dir);
                    self.watcher.flushed(dir);
                    if dir == Dir::New {
                        self.watcher.put_flushed(p, &flushes)?;
                    }
                }
                Step::Name { is_entry: false, to, .. } => {
                    flushes.clear();
                    if to == Some(Dir::New) && !has_data {
                        return Err("a record got its name before its bytes were flushed".into());
                    }
                    self.look("a producer gave a name")?;
                }
                Step::Name { .. } | Step::Spoke => {}
            }
            at = at.saturating_sub(1);
            Ok(if is_doomed && at == 0 { trace::Act::Kill } else { trace::Act::Go })
        })?;
        self.done.count("runs of producers", 1);
        match ended {
            Ended::Killed => {
                self.look("a producer was killed")?;
                self.watcher.put_dies(p);
                self.kills -= 1;
                self.done.count("replayed kills", 1);
                let at = usize::try_from(self.chance.below(1 + self.todo.len() as u64)).unwrap_or_default();
                self.todo.insert(at, p);
                Ok(())
            }
            Ended::Exited(code @ (0 | 65)) => {
                self.look("a producer ended")?;
                self.watcher.put_said(p, code == 0)
            }
            other => Err(format!("spool-put ended with {other:?}").into()),
        }
    }

    /// One `spool drain --once`, with all that chance lets happen meanwhile.
    fn agent(&mut self) -> Outcome<()> {
        let mut command = self.place.agent()?;
        self.watcher.agent_starts();
        // What a dead agent has left there may have come from anywhere, and nothing says what it had flushed.
        let is_in_doubt = std::fs::read_dir(self.place.spool.join(Dir::Sending.name()))?.next().is_some();
        let sources = [Dir::Sending, Dir::New, Dir::Deferred];
        self.agent_owes = sources.into_iter().filter(|_| is_in_doubt).collect();
        self.watcher.agent_owes(is_in_doubt)?;
        let ended = trace::run(&mut command, AGENT, &mut |stop| {
            let Some(step) = self.step_of(stop) else { return Ok(trace::Act::Go) };
            let is_burnt = matches!(
                step,
                Step::Name { is_entry: false, from: Some(Dir::Sending), to: Some(Dir::Sending) }
            );
            match step {
                Step::Flushed(dir) => {
                    self.watcher.flushed(dir);
                    self.agent_owes.remove(&dir);
                    self.watcher.agent_owes(!self.agent_owes.is_empty())?;
                }
                Step::Name { is_entry: false, from, to } => {
                    if to == Some(Dir::Sending) {
                        self.agent_owes.extend([Dir::Sending].into_iter().chain(from));
                        self.watcher.agent_owes(true)?;
                    }
                    self.look("the agent moved an entry")?;
                }
                _ => {}
            }
            if self.is_calm && is_burnt {
                return Ok(trace::Act::Kill);
            }
            self.strike()
        })?;
        self.done.count("runs of agents", 1);
        self.look("an agent ended")?;
        self.watcher.agent_ends();
        self.is_calm = false;
        match ended {
            Ended::Killed => {
                self.kills -= 1;
                self.done.count("replayed kills", 1);
                Ok(())
            }
            // 75: the gateway was away for too long.
            Ended::Exited(0 | 75) => Ok(()),
            other => Err(format!("spool drain ended with {other:?}").into()),
        }
    }

    /// Chance has its say, while the agent is stopped.
    fn strike(&mut self) -> Outcome<trace::Act> {
        match self.chance.below(40) {
            _ if self.is_calm => {}
            0..3 if self.kills > 0 => return Ok(trace::Act::Kill),
            3 if !self.todo.is_empty() => {
                // ptrace(2) belongs to a thread, and this one has its hands full.
                std::thread::scope(|scope| {
                    let put = scope.spawn(|| self.next_put());
                    put.join().unwrap_or_else(|_| Err("a producer's tracer panicked".into()))
                })?;
            }
            4..7 if self.faults > 0 => self.fault(),
            7..9 if self.people > 0 => self.person()?,
            _ => {}
        }
        Ok(trace::Act::Go)
    }

    /// Something is to go wrong with the next request.
    fn fault(&mut self) {
        self.faults -= 1;
        let at = [At::Frame, At::Accepted, At::Committed, At::Final];
        let at = *self.chance.pick(&at).unwrap_or(&At::Frame);
        let back = Some(Duration::from_millis(20));
        let (fault, losses, restarts, refusals) = match self.chance.below(8) {
            0..3 => (Fault::Drop(at), 1, 0, 0),
            3..6 => (Fault::Crash(at, back), 0, 1, 0),
            6 => (Fault::AcceptThenError(going_down()), 0, 0, 1),
            _ => (Fault::Error(errors::invalid("invalid agent params: unknown property")), 0, 0, 1),
        };
        self.done.count("faults of the gateway", 1);
        self.place.gateway.rule(Rule::on("agent").then(fault));
        self.watcher.may(losses, restarts, refusals);
    }

    /// A person holds, retries or dismisses something.
    fn person(&mut self) -> Outcome<()> {
        let records = self.protocol.records() as u64;
        let r = usize::try_from(self.chance.below(records)).unwrap_or_default();
        let verbs = [(Ev::Hold, "hold"), (Ev::Retry, "retry"), (Ev::Dismiss, "dismiss")];
        let Some((event, verb)) = self.chance.pick(&verbs).copied() else { return Ok(()) };
        self.look("before a person")?;
        if self.watcher.is_beyond || !self.watcher.person_may(r, event) {
            return Ok(());
        }
        self.people -= 1;
        self.place.person(verb, &record_id(r))?;
        self.watcher.person(r, event);
        self.done.count("moves by people", 1);
        self.look("a person moved an entry")
    }
}
