//! Waiting for what becomes of an entry, by nothing but looking: no socket, and no agent needed to time out.
//!
//! Where an entry stands is seen from its name; how far a delivery under way has come, and what proved it in the end,
//! stands in the journal (`prove` and `evidence` lines), which is read on from where it was left off. The journal only
//! explains: an entry in `done/` is delivered even if nothing says by what evidence.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::entry::{Entry, State};
use crate::error::Error;
use crate::follow::{Follower, read_from};
use crate::layout::Spool;
use crate::name::Id;

/// Between the first two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long an entry that is done may be ahead of its journal line.
const JOURNAL_LAG: Duration = Duration::from_secs(1);
/// How much of a journal file is read at the first look: what was just queued stands at its end.
const FIRST_READ: u64 = 4 * 1024 * 1024;

/// A rung of evidence, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The gateway took the delivery. Proves nothing yet.
    Accepted,
    /// It is in the session's transcript.
    Committed,
    /// The turn it started ended well.
    Replied,
    /// The channel took the reply, or the message.
    Sent,
}

impl Level {
    /// All words, weakest first.
    pub const WORDS: &'static [&'static str] = &["accepted", "committed", "replied", "sent"];

    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        Level::WORDS[self as usize]
    }

    /// The level that a word names.
    pub fn from_word(word: &str) -> Option<Level> {
        [Level::Accepted, Level::Committed, Level::Replied, Level::Sent]
            .into_iter()
            .find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The evidence that was asked for is there, or the entry is done and there will be no more.
    Reached,
    /// It will not be delivered unless a person does something.
    Stopped,
    /// The time is over. The entry is safe.
    TimedOut,
}

/// What was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// How it ended.
    pub end: End,
    /// The state the entry is in.
    pub state: State,
    /// The strongest evidence of its last delivery.
    pub evidence: Option<Level>,
    /// Why it stopped, or what the proof says besides.
    pub reason: Option<String>,
}

/// Waits until the evidence for an entry has come as far as `level`, or with `None` until it is done.
///
/// An entry that is done has all the evidence it will ever have: a session without a channel ends at `committed`.
///
/// # Errors
/// [`Error::Io`] when the spool cannot be looked at, [`Error::Entry`] when there is no such entry (any more).
pub fn wait(spool: &Spool, id: &Id, level: Option<Level>, deadline: Duration) -> Result<Waited, Error> {
    let started = Instant::now();
    let mut follower = Follower::new(FIRST_READ);
    let mut seen = Seen::default();
    let mut pause = FIRST_PAUSE;
    let mut done_since: Option<Instant> = None;
    loop {
        // The journal is written after the rename: an entry that is not done yet can only have more to say later.
        let entry = find(spool, id)?;
        follower.read_on(spool, &mut |line| seen.see(line, id.as_str()));
        match &entry.state {
            State::Done => {
                let since = *done_since.get_or_insert_with(Instant::now);
                if seen.is_proved {
                    return Ok(seen.ended(entry, End::Reached));
                }
                if since.elapsed() >= JOURNAL_LAG {
                    seen.read_all(spool, id);
                    return Ok(seen.ended(entry, End::Reached));
                }
            }
            State::Held | State::Dead | State::Dismissed => {
                let reason = why(spool, &entry).or_else(|| seen.reason.clone());
                return Ok(Waited { reason, ..seen.ended(entry, End::Stopped) });
            }
            _ if level.is_some() && seen.evidence >= level => return Ok(seen.ended(entry, End::Reached)),
            _ => {}
        }
        let left = deadline.saturating_sub(started.elapsed());
        if left.is_zero() && done_since.is_none() {
            return Ok(seen.ended(entry, End::TimedOut));
        }
        let until_next = if done_since.is_some() { FIRST_PAUSE } else { pause.min(left) };
        std::thread::sleep(until_next);
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// The sentence beside an entry. As [`Spool::why`], in less code.
fn why(spool: &Spool, entry: &Entry) -> Option<String> {
    let path = spool.dir(entry.dir()).join(format!("{}.why.json", entry.id));
    let content = spool.fs().read(&path, 64 * 1024).ok()?;
    let why: Value = serde_json::from_slice(&content.bytes).ok()?;
    why.get("reason")?.as_str().map(str::to_owned)
}

fn find(spool: &Spool, id: &Id) -> Result<Entry, Error> {
    // One that moves against the order of the search (a person's retry) is met at the next try.
    for _pass in 0..3 {
        if let Some(entry) = spool.find(id)? {
            return Ok(entry);
        }
    }
    let reason = "it is not in the spool any more; spool list shows what is".to_owned();
    Err(Error::Entry { verb: "wait for", id: id.to_string(), reason })
}

/// What the journal says of one entry.
#[derive(Default)]
struct Seen {
    evidence: Option<Level>,
    is_proved: bool,
    reason: Option<String>,
}

impl Seen {
    fn ended(self, entry: Entry, end: End) -> Waited {
        Waited { end, state: entry.state, evidence: self.evidence, reason: self.reason }
    }

    /// Reads the whole journal, for an entry that was delivered long ago.
    fn read_all(&mut self, spool: &Spool, id: &Id) {
        for path in spool.journal_files().unwrap_or_default() {
            // What cannot be read explains nothing.
            let _read = read_from(&path, 0, &mut |line| self.see(line, id.as_str())).is_ok();
        }
    }

    fn see(&mut self, text: &[u8], id: &str) {
        // Most lines are about others: that can be seen without parsing.
        if !text.windows(id.len()).any(|part| part == id.as_bytes()) {
            return;
        }
        // By hand and not as a `Line`: what reads lines in full is large, and this is part of a small program.
        let Ok(line) = serde_json::from_slice::<Value>(text) else { return };
        let member = |name: &str| line.get(name).and_then(Value::as_str);
        if member("id") != Some(id) {
            return;
        }
        let event = member("event").unwrap_or_default();
        if matches!(event, "take" | "fail" | "rekey" | "retry") {
            // What an earlier attempt came to says nothing of this one.
            self.evidence = None;
        }
        self.is_proved |= matches!(event, "prove" | "quiet");
        if let Some(level) = member("evidence").and_then(Level::from_word) {
            self.evidence = if event == "prove" { Some(level) } else { self.evidence.max(Some(level)) };
        }
        if matches!(event, "prove" | "quiet" | "condemn" | "hold" | "dismiss") {
            self.reason = member("reason").map(str::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Event;
    use crate::journal::Line;
    use crate::moves::Why;
    use crate::name::Key;

    const LIMIT: Duration = Duration::from_secs(20);

    struct Bench {
        _home: tempfile::TempDir,
        spool: Spool,
        entry: Entry,
    }

    fn bench() -> Bench {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let id = Id::mint();
        spool.publish(&id, br#"{"sessionKey":"s","text":"x"}"#, true).unwrap();
        Bench { _home: home, spool, entry: Entry::new(id, State::Pending) }
    }

    impl Bench {
        fn go(&mut self, event: &Event, evidence: Option<&str>) {
            self.entry = self.spool.advance(&self.entry, event).unwrap();
            let line = Line { evidence: evidence.map(Into::into), ..Line::moved(event, &self.entry) };
            self.spool.note(&[line]).unwrap();
        }
        fn say(&self, evidence: &str) {
            let line = Line { evidence: Some(evidence.into()), ..Line::about("evidence", &self.entry) };
            self.spool.note(&[line]).unwrap();
        }
        fn wait(&self, level: Option<Level>, deadline: Duration) -> Waited {
            wait(&self.spool, &self.entry.id, level, deadline).unwrap()
        }
    }

    #[test]
    fn words_and_levels_are_the_same() {
        for word in Level::WORDS {
            assert_eq!(Level::from_word(word).unwrap().as_str(), *word);
        }
        assert!(Level::Accepted < Level::Committed && Level::Replied < Level::Sent);
    }

    #[test]
    fn the_time_is_over_when_nobody_does_anything() {
        let b = bench();
        let waited = b.wait(None, Duration::from_millis(60));
        assert_eq!((waited.end, waited.state, waited.evidence), (End::TimedOut, State::Pending, None));
    }

    #[test]
    fn evidence_on_the_way_counts_until_the_attempt_fails() {
        let mut b = bench();
        b.go(&Event::Take { key: Key::mint() }, None);
        b.say("accepted");
        b.say("committed");
        assert_eq!(b.wait(Some(Level::Accepted), LIMIT).evidence, Some(Level::Committed));
        assert_eq!(b.wait(Some(Level::Replied), Duration::ZERO).end, End::TimedOut);
        b.go(&Event::Fail { due_ms: 1, alone: true }, None);
        let waited = b.wait(Some(Level::Accepted), Duration::ZERO);
        assert_eq!((waited.end, waited.evidence), (End::TimedOut, None));
    }

    #[test]
    fn what_is_done_has_all_the_evidence_it_will_have() {
        let mut b = bench();
        b.go(&Event::Take { key: Key::mint() }, None);
        b.go(&Event::Prove, Some("committed"));
        let waited = b.wait(Some(Level::Sent), Duration::ZERO);
        assert_eq!((waited.end, waited.evidence), (End::Reached, Some(Level::Committed)));
    }

    #[test]
    fn a_journal_that_comes_late_or_never_is_waited_for_a_moment() {
        let mut b = bench();
        b.go(&Event::Take { key: Key::mint() }, None);
        b.entry = b.spool.advance(&b.entry, &Event::Prove).unwrap();
        let waited = b.wait(None, Duration::ZERO);
        assert_eq!((waited.end, waited.evidence), (End::Reached, None));
        let (spool, entry) = (b.spool.clone(), b.entry.clone());
        let late = std::thread::spawn(move || {
            let line = Line { evidence: Some("sent".into()), ..Line::moved(&Event::Prove, &entry) };
            spool.note(&[line]).unwrap();
        });
        assert_eq!(b.wait(None, LIMIT).evidence, Some(Level::Sent));
        late.join().unwrap();
    }

    #[test]
    fn a_person_or_a_verdict_ends_the_wait_with_its_reason() {
        for event in [Event::Hold, Event::Condemn, Event::Dismiss] {
            let mut b = bench();
            let why = Why { reason: "no such session".into(), ..Why::default() };
            b.entry = b.spool.advance_why(&b.entry, &event, &why).unwrap();
            let waited = b.wait(None, LIMIT);
            assert_eq!((waited.end, waited.reason.as_deref()), (End::Stopped, Some("no such session")));
        }
        let b = bench();
        assert!(matches!(wait(&b.spool, &Id::mint(), None, LIMIT), Err(Error::Entry { .. })));
    }

    #[test]
    fn a_long_journal_is_read_from_its_end_on_and_old_proof_is_found_all_the_same() {
        let mut b = bench();
        b.go(&Event::Take { key: Key::mint() }, None);
        b.go(&Event::Prove, Some("sent"));
        let other = Line::about("accept", &Entry::new(Id::mint(), State::Pending)).because("x".repeat(9000));
        for _ in 0..FIRST_READ / 9000 + 10 {
            b.spool.note(std::slice::from_ref(&other)).unwrap();
        }
        assert_eq!(b.wait(None, LIMIT).evidence, Some(Level::Sent));
    }
}
