//! Producers that are killed while they write: `spool-put`, `spool-run` and files moved in by hand.
//!
//! A kill comes at a random moment of what such a call takes on this machine at this time, so that all moments are hit
//! on a slow machine too. What a producer was told, and only that, goes into the ledger.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::ledger::{Fate, Promise, Said};
use super::stage::{Ended, Stage, run};
use crate::chance::Chance;
use crate::layer::{Outcome, Report};

/// Acknowledged calls that may be repeated later.
const REMEMBERED: usize = 200;
/// spool-put: the id belongs to another record.
const CONFLICT: Ended = Ended::Code(65);
const DONE: Ended = Ended::Code(0);

/// The sessions of a stage.
#[derive(Debug, Clone, Default)]
pub(in crate::layers) struct Sessions {
    /// Without a channel: a commit is all there is to prove.
    pub(in crate::layers) plain: Vec<String>,
    /// With a chat behind them.
    pub(in crate::layers) chats: Vec<String>,
    pub(in crate::layers) archived: Option<String>,
    pub(in crate::layers) missing: Option<String>,
}

/// How long calls take, so that kills hit all of it.
#[derive(Debug, Clone, Copy)]
struct Reach(f64);

impl Reach {
    fn draw(self, chance: &mut Chance) -> Duration {
        let part = chance.below(1 << 20) as f64 / f64::from(1 << 20);
        Duration::from_secs_f64(self.0 * 1.2 * part)
    }

    fn took(&mut self, time: Duration) {
        let time = time.as_secs_f64().clamp(0.0003, 0.05);
        self.0 += (time - self.0) / 16.0;
    }
}

/// A producer, and its part of the ledger.
pub(in crate::layers) struct Producer<'a> {
    stage: &'a Stage<'a>,
    sessions: &'a Sessions,
    name: String,
    made: u64,
    chance: Chance,
    /// One call in so many is left alone; 1 leaves all alone.
    spare: u64,
    put: Reach,
    run: Reach,
    /// Calls that may be repeated: where in the ledger they are.
    own: Vec<usize>,
    ledger: Vec<Promise>,
    report: Report,
}

impl<'a> Producer<'a> {
    pub(in crate::layers) fn new(
        stage: &'a Stage<'a>,
        sessions: &'a Sessions,
        name: &str,
        chance: Chance,
        spare: u64,
    ) -> Producer<'a> {
        Producer {
            stage,
            sessions,
            name: name.to_owned(),
            made: 0,
            chance,
            spare,
            put: Reach(0.002),
            run: Reach(0.004),
            own: Vec::new(),
            ledger: Vec::new(),
            report: Report::default(),
        }
    }

    /// What it promised, and what went wrong.
    pub(in crate::layers) fn close(self) -> (Vec<Promise>, Report) {
        (self.ledger, self.report)
    }

    pub(in crate::layers) fn has_violation(&self) -> bool {
        self.report.violated() > 0
    }

    /// Produces one record, or repeats one. Returns how many producers were killed meanwhile.
    pub(in crate::layers) fn step(&mut self) -> Outcome<u64> {
        match self.chance.below(100) {
            0..=7 => self.start_a_run(),
            8..=15 => self.drop_a_file(),
            16..=23 => self.repeat(),
            _ => self.put_one(),
        }
    }

    /// A promise that nobody has acknowledged yet.
    fn promise(&mut self, may_be_odd: bool) -> Promise {
        self.made += 1;
        let nonce = format!("n-{}-{}", self.name, self.made);
        let (sessions, chance) = (self.sessions, &mut self.chance);
        let chosen = |list: &[String], chance: &mut Chance| chance.pick(list).cloned();
        let odd = if may_be_odd { chance.below(100) } else { 99 };
        let (session, fate) = match odd {
            0 if sessions.missing.is_some() => (sessions.missing.clone(), Fate::Dead),
            1 if sessions.archived.is_some() => (sessions.archived.clone(), Fate::Held),
            2 if sessions.archived.is_some() => (None, Fate::Held),
            3..=5 if !sessions.chats.is_empty() => (chosen(&sessions.chats, chance), Fate::Message),
            6..=12 if !sessions.chats.is_empty() => (chosen(&sessions.chats, chance), Fate::Turn),
            _ => (chosen(&sessions.plain, chance), Fate::Turn),
        };
        let filler = match chance.below(40) {
            0 => 60_000,
            1..=3 => 3_000,
            _ => 0,
        };
        let text = format!("{nonce} has {}ended", "something to say; it ".repeat(filler / 22));
        Promise { id: None, nonce, session, said: Said::Text(text), fate, acknowledged: false, at: 0 }
    }

    fn keep(&mut self, mut promise: Promise, acknowledged: bool) -> usize {
        promise.acknowledged = acknowledged;
        promise.at = now_ms();
        self.ledger.push(promise);
        self.ledger.len() - 1
    }

    /// `spool-put`, with an id of its own half of the time, so that it can be repeated.
    fn put_one(&mut self) -> Outcome<u64> {
        let mut promise = self.promise(true);
        if self.chance.one_in(2) {
            promise.id = Some(format!("id:{}", promise.nonce));
        }
        let kill = (!self.chance.one_in(self.spare)).then(|| self.put.draw(&mut self.chance));
        let ended = self.call(&promise, kill)?;
        let mut kills = u64::from(ended == Ended::Killed);
        let mut acknowledged = self.is_yes(&promise, ended);
        if !acknowledged && promise.id.is_some() && self.chance.one_in(2) {
            // Killed or not: the same id and the same bytes again.
            let again = self.call(&promise, None)?;
            self.report.count("retries", 1);
            acknowledged = self.is_yes(&promise, again);
            kills += u64::from(again == Ended::Killed);
        }
        let is_own = promise.id.is_some() && acknowledged;
        let at = self.keep(promise, acknowledged);
        if is_own {
            if self.own.len() >= REMEMBERED {
                let oldest = usize::try_from(self.chance.below(REMEMBERED as u64)).unwrap_or(0);
                self.own.swap_remove(oldest);
            }
            self.own.push(at);
        }
        Ok(kills)
    }

    fn call(&mut self, promise: &Promise, kill: Option<Duration>) -> Outcome<Ended> {
        let Said::Text(text) = &promise.said else { return Err("only texts are put".into()) };
        let mut args = match &promise.session {
            Some(session) => vec!["--session", session.as_str()],
            None => vec!["--allow-unrouted"],
        };
        if let Some(id) = &promise.id {
            args.extend(["--id", id]);
        }
        if promise.fate == Fate::Message {
            args.extend(["--deliver", "message"]);
        }
        if is_urgent(&promise.nonce) {
            args.push("--urgent");
        }
        args.push(text);
        let start = Instant::now();
        let ended = run(self.stage.command("spool-put", &args), kill)?;
        if ended == DONE {
            self.put.took(start.elapsed());
        }
        Ok(ended)
    }

    fn is_yes(&mut self, promise: &Promise, ended: Ended) -> bool {
        let is_fit = ended == DONE || ended == Ended::Killed;
        self.report.check(is_fit, || format!("spool-put of {} ended with {ended:?}", promise.nonce));
        ended == DONE
    }

    /// Repeats a call that was acknowledged, whatever has become of its record; or tries its id for another one.
    fn repeat(&mut self) -> Outcome<u64> {
        let Some(&at) = self.chance.pick(&self.own) else { return self.put_one() };
        let Some(promise) = self.ledger.get(at).cloned() else { return self.put_one() };
        if self.chance.one_in(2) {
            let ended = self.call(&promise, None)?;
            self.report
                .check(ended == DONE, || format!("a repetition of {:?} ended with {ended:?}", promise.id));
            self.report.count("repetitions", 1);
            return Ok(0);
        }
        let other = self.promise(false);
        self.report.count("conflicts", 1);
        if self.chance.one_in(2) {
            // It is no promise: nobody is to hear of it.
            let thief = Promise { id: promise.id, session: promise.session, ..other };
            let ended = self.call(&thief, None)?;
            self.report
                .check(ended == CONFLICT, || format!("another record took the id {:?}: {ended:?}", thief.id));
            return Ok(0);
        }
        // Dropped by hand it is accepted, and dead under an id of its own.
        let thief = Promise { id: promise.id, session: promise.session, fate: Fate::Dead, ..other };
        self.drop_it(thief)
    }

    /// A file moved in by hand.
    fn drop_a_file(&mut self) -> Outcome<u64> {
        let mut promise = self.promise(false);
        if self.chance.one_in(2) {
            promise.id = Some(format!("hand:{}", promise.nonce));
        }
        self.drop_it(promise)
    }

    fn drop_it(&mut self, promise: Promise) -> Outcome<u64> {
        let Said::Text(text) = &promise.said else { return Err("only texts are dropped".into()) };
        let urgent = is_urgent(&promise.nonce);
        let mut record = json!({"sessionKey": promise.session, "text": text, "urgent": urgent});
        if let Some(id) = &promise.id {
            record["id"] = json!(id);
        }
        let from = self.stage.spool.join("tmp").join(format!("drop-{}", promise.nonce));
        let to = self.stage.spool.join("new").join(format!("drop-{}.json", promise.nonce));
        std::fs::write(&from, record.to_string())?;
        let mut kills = 0;
        if self.chance.one_in(2) {
            renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE)?;
        } else {
            let kill = (!self.chance.one_in(self.spare)).then(|| self.put.draw(&mut self.chance));
            let ended = run(self.mv(&from, &to), kill)?;
            kills += u64::from(ended == Ended::Killed);
        }
        // Whoever moved it, dead or not: it is there, or it is not.
        let acknowledged = !from.exists();
        self.keep(promise, acknowledged);
        Ok(kills)
    }

    fn mv(&self, from: &std::path::Path, to: &std::path::Path) -> Command {
        let mut mv = Command::new("mv");
        mv.arg("-n").arg(from).arg(to).stdin(std::process::Stdio::null());
        mv.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        mv
    }

    /// `spool-run`, killed from outside or by its own job.
    fn start_a_run(&mut self) -> Outcome<u64> {
        let mut promise = self.promise(false);
        let id = format!("run:{}", promise.nonce);
        let marker: PathBuf = self.stage.home.join(format!("ran-{}", promise.nonce));
        let path = marker.display().to_string();
        let kills_itself = !self.chance.one_in(self.spare) && self.chance.one_in(6);
        let script = format!("touch {path}; kill -9 $PPID");
        let job = if kills_itself { vec!["sh", "-c", script.as_str()] } else { vec!["touch", path.as_str()] };
        let session = promise.session.clone().unwrap_or_default();
        let mut args = vec!["--session", session.as_str(), "--id", id.as_str(), "--quiet", "--strict", "--"];
        args.extend(job);
        let is_spared = kills_itself || self.chance.one_in(self.spare);
        let kill = (!is_spared).then(|| self.run.draw(&mut self.chance));
        let start = Instant::now();
        let ended = run(self.stage.command("spool-run", &args), kill)?;
        if ended == DONE {
            self.run.took(start.elapsed());
        }
        let is_fit = matches!(ended, DONE | Ended::Killed);
        self.report.check(is_fit, || format!("spool-run {id} ended with {ended:?}"));
        promise.said = Said::Run(marker);
        promise.id = Some(id);
        self.keep(promise, ended == DONE);
        Ok(u64::from(ended == Ended::Killed))
    }
}

/// Every third record does not wait for others: else no agent would live long enough to send anything. Repetitions have
/// the same bytes, so it hangs on the nonce.
fn is_urgent(nonce: &str) -> bool {
    nonce.bytes().map(u32::from).sum::<u32>().is_multiple_of(3)
}

/// Milliseconds since 1970.
pub(in crate::layers) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
