//! Conservation: the ledger of the producers against the directories, the journal and what the gateway committed.
//!
//! Checked when everything has settled and nobody changes anything any more:
//!
//! - an acknowledged record is delivered to its session, or held or dead with the reason;
//! - one that was not acknowledged is absent or whole, never in part, and otherwise treated like any other;
//! - retries under one id are one record; what took an id that was taken is nowhere, or dead;
//! - a turn is committed once and in the session that the record names; a message may be doubled by the death of a
//!   gateway, which is counted and bounded by those deaths;
//! - the journal names nothing that is nowhere, and believes no evidence below a commit;
//! - each job that ran is reported once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use spool_gateway::fake::{Fake, Told};

use super::ledger::{Fate, Promise, Said};
use super::reader::{Books, Entry, take_apart};
use crate::layer::Report;

/// What arrived: of each id, the session or chat and the delivery key, in order.
type Arrived = HashMap<String, Vec<(String, String)>>;

/// A gateway's testimony.
#[derive(Debug, Default)]
pub(in crate::layers) struct Testimony {
    turns: Arrived,
    messages: Arrived,
    /// By key.
    texts: HashMap<String, String>,
}

impl Testimony {
    /// Asks a gateway. A text that cannot be taken apart is a violation.
    pub(in crate::layers) fn of(gateway: &Fake, report: &mut Report) -> Testimony {
        let mut all = Testimony::default();
        for (session, key, text) in gateway.all_commits() {
            let Testimony { turns, texts, .. } = &mut all;
            note(turns, &session, &key, &text, report);
            texts.insert(key, text);
        }
        for message in gateway.all_chat_messages() {
            if message.told == Told::Send {
                let to = message.session.unwrap_or(message.route.to);
                note(&mut all.messages, &to, &message.key, &message.text, report);
            }
        }
        all
    }
}

fn note(arrived: &mut Arrived, session: &str, key: &str, text: &str, report: &mut Report) {
    match take_apart(text) {
        Ok((named, ids)) => {
            report.check(named == key, || format!("a delivery under {key} names the key {named}"));
            for id in ids {
                arrived.entry(id).or_default().push((session.to_owned(), key.to_owned()));
            }
        }
        Err(error) => report.violation(format!("in {session}: {error}")),
    }
}

/// Judges one spool. `deaths` of its gateway are what documented doubles are bounded by.
pub(in crate::layers) fn judge(
    promises: &[Promise],
    books: &Books,
    gateway: &Testimony,
    deaths: u64,
    report: &mut Report,
) {
    let mut judge = Judge { gateway, report, doubled: 0 };
    judge.settled(books);
    judge.promises(promises, books);
    judge.strangers(promises, books);
    judge.journal(books);
    let doubled = judge.doubled;
    if doubled > 0 {
        report.count("delivered twice (a message, by the death of a gateway)", doubled);
    }
    report.check(doubled <= deaths, || {
        format!("{doubled} messages were doubled by {deaths} deaths of the gateway")
    });
    report.count("leftovers in tmp/", books.leftovers);
    report.count("torn lines in the journal", books.torn);
}

struct Judge<'a> {
    gateway: &'a Testimony,
    report: &'a mut Report,
    doubled: u64,
}

impl Judge<'_> {
    fn settled(&mut self, books: &Books) {
        for entry in &books.entries {
            let is_settled = !matches!(entry.state, "pending" | "sending" | "deferred");
            self.report.check(is_settled, || format!("never settled: {} is {}", entry.name, entry.state));
        }
        for run in &books.runs {
            self.report.violation(format!("a run was never closed: {run}"));
        }
        for name in &books.foreign {
            // What replaces a small file may be cut short; nothing else leaves strange names behind.
            let is_known = name.contains(".why.json.");
            self.report.check(is_known, || format!("a foreign name that nobody made: {name}"));
        }
    }

    fn promises(&mut self, promises: &[Promise], books: &Books) {
        let mut by_id: HashMap<&str, Vec<&Entry>> = HashMap::new();
        let mut by_nonce: HashMap<&str, Vec<&Entry>> = HashMap::new();
        for entry in &books.entries {
            by_id.entry(&entry.id).or_default().push(entry);
            by_nonce.entry(nonce_of(entry)).or_default().push(entry);
        }
        for (id, entries) in &by_id {
            let places: Vec<&str> = entries.iter().map(|e| e.state).collect();
            self.report.check(places.len() == 1, || format!("{id} is {} at once", places.join(" and ")));
        }
        for promise in promises {
            let found = match (&promise.said, &promise.id) {
                (Said::Run(_), Some(id)) => by_id.get(id.as_str()),
                _ => by_nonce.get(promise.nonce.as_str()),
            };
            self.promise(promise, found.map(Vec::as_slice).unwrap_or_default());
        }
    }

    fn promise(&mut self, promise: &Promise, found: &[&Entry]) {
        let who = promise.id.as_deref().unwrap_or(&promise.nonce);
        let has_run = matches!(&promise.said, Said::Run(marker) if marker.exists());
        self.report
            .count(if promise.acknowledged { "acknowledged records" } else { "unacknowledged records" }, 1);
        let [entry] = found else {
            if found.is_empty() {
                let is_due = promise.acknowledged || has_run;
                self.report.check(!is_due, || {
                    let why = if has_run { "its job ran" } else { "it was acknowledged" };
                    format!("LOST: {who}: {why}, and it is nowhere")
                });
            } else {
                let places: Vec<String> = found.iter().map(|e| format!("{} {}", e.state, e.name)).collect();
                self.report.violation(format!("{who} is there {} times: {places:?}", found.len()));
            }
            return;
        };
        self.whole(promise, entry);
        let expected = match promise.fate {
            Fate::Turn | Fate::Message => "done",
            Fate::Held => "held",
            Fate::Dead => "dead",
            Fate::Dismissed => "dismissed",
        };
        self.report.check(entry.state == expected, || {
            let why = entry.why.as_deref().unwrap_or("no reason is given");
            format!("{who} is {}, not {expected}: {why}", entry.state)
        });
        if matches!(entry.state, "held" | "dead") {
            self.report.check(entry.why.is_some(), || format!("{who} is {} without a reason", entry.state));
        }
        self.arrived(promise, entry);
    }

    /// Whether the record is the one that was published.
    fn whole(&mut self, promise: &Promise, entry: &Entry) {
        let who = &entry.id;
        if self.report.check(entry.record.is_some(), || format!("{} is no whole record", entry.name)) {
            let session = promise.session.as_deref().unwrap_or_default();
            let is_same = entry.says("sessionKey") == session;
            self.report.check(is_same, || {
                format!("{who} names the session {:?}, not {session:?}", entry.says("sessionKey"))
            });
            match &promise.said {
                Said::Text(text) => {
                    self.report.check(entry.says("text") == text, || format!("{who} has another text"));
                }
                Said::Run(_) => {
                    let status = entry.says("status");
                    let is_fit = status == "ok" || status == "lost" && !promise.acknowledged;
                    self.report.check(is_fit, || format!("the run {who} is reported as {status:?}"));
                    self.report.count(if status == "lost" { "runs lost and told" } else { "runs told" }, 1);
                }
            }
        }
        if let Some(id) = promise.id.as_deref().filter(|_| promise.fate != Fate::Dead) {
            self.report.check(entry.id == id, || format!("{id} became {}", entry.id));
        }
    }

    /// Whether it reached its session, and no other, as often as it should.
    fn arrived(&mut self, promise: &Promise, entry: &Entry) {
        let id = &entry.id;
        let empty = Vec::new();
        let turns = self.gateway.turns.get(id).unwrap_or(&empty);
        let messages = self.gateway.messages.get(id).unwrap_or(&empty);
        for (session, key) in turns.iter().chain(messages) {
            let is_own = promise.session.as_deref() == Some(session);
            self.report
                .check(is_own, || format!("{id} for {:?} reached {session} under {key}", promise.session));
        }
        let due = match (promise.fate, entry.state) {
            (Fate::Turn, "done") => (1, turns.len()),
            (Fate::Message, "done") => (1, messages.len()),
            (_, "done") => return,
            _ => (0, turns.len() + messages.len()),
        };
        match due {
            (due, n) if due == n => self.report.count("delivered once", n as u64),
            (1, 0) => {
                self.report.violation(format!("LOST: {id} is done, and the gateway never committed it"))
            }
            (1, n) if promise.fate == Fate::Message => self.doubled += n as u64 - 1,
            (_, n) => self.report.violation(format!(
                "{id} was delivered {n} times, without a documented reason: {turns:?} {messages:?}; it is {}",
                entry.state
            )),
        }
        // Told once more, to people whose agent could not answer: that may be doubled like any message.
        if promise.fate == Fate::Turn && !messages.is_empty() {
            self.report.count("told by a message after a failed turn", 1);
            self.doubled += messages.len() as u64 - 1;
        }
        if let (Fate::Turn, "done", Said::Text(text)) = (promise.fate, entry.state, &promise.said)
            && text.len() < 100
            && let Some((_, key)) = turns.first()
        {
            let is_read = self.gateway.texts.get(key).is_some_and(|t| t.contains(text));
            self.report.check(is_read, || format!("the text of {id} does not stand in its delivery {key}"));
        }
    }

    /// What nobody published.
    fn strangers(&mut self, promises: &[Promise], books: &Books) {
        let nonces: BTreeSet<&str> = promises.iter().map(|p| p.nonce.as_str()).collect();
        let runs: BTreeSet<&str> = promises.iter().filter_map(|p| p.id.as_deref()).collect();
        let mut ids = BTreeSet::new();
        for entry in &books.entries {
            ids.insert(entry.id.as_str());
            let is_known = nonces.contains(nonce_of(entry)) || runs.contains(entry.id.as_str());
            self.report
                .check(is_known, || format!("{} {} is a record that nobody made", entry.state, entry.name));
        }
        for id in self.gateway.turns.keys().chain(self.gateway.messages.keys()) {
            self.report
                .check(ids.contains(id.as_str()), || format!("LOST: {id} was delivered and is nowhere now"));
        }
    }

    fn journal(&mut self, books: &Books) {
        let ids: BTreeSet<&str> = books.entries.iter().map(|e| e.id.as_str()).collect();
        let (known, pruned) = books.journalled();
        for id in known.difference(&ids) {
            self.report.check(pruned.contains(id), || format!("LOST: the journal knows {id}, no directory"));
        }
        let mut proofs: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &books.journal {
            if line.event != "prove" {
                continue;
            }
            *proofs.entry(&line.id).or_default() += 1;
            let is_enough = matches!(line.evidence.as_str(), "committed" | "replied" | "sent");
            self.report
                .check(is_enough, || format!("{} was retired on the evidence {:?}", line.id, line.evidence));
        }
        for (id, n) in proofs {
            self.report.check(n == 1, || format!("{id} was retired {n} times"));
        }
        self.report.count("lines of the journal", books.journal.len() as u64);
    }
}

/// The first word of a record's text: no two promises share it.
fn nonce_of(entry: &Entry) -> &str {
    entry.says("text").split(' ').next().unwrap_or_default()
}
