//! What must be true of a scene, whatever happened to its program: at once, and when everything has settled.
//!
//! At once, before anybody mends anything ([`visible`]):
//!
//! - what was accepted is there, whole;
//! - whatever can be seen in a directory of entries is a whole record that somebody made, never a part of one.
//!
//! When the producer has tried again and agents have run until nothing was left to do ([`settled`]):
//!
//! - an accepted record is in its session, once, and nowhere else; or it is held, dead or dismissed as it should be,
//!   byte for byte and with the reason beside it;
//! - one that was not accepted is absent or treated like any other;
//! - it was sent no more often than once and once more for each agent that died;
//! - a run whose job started is reported once, and as what it was if the wrapper came to its end;
//! - nothing lies around that nobody made, and `spool audit` finds nothing.
//!
//! Read with the reader of the layer `random`, which shares no code with the product, and at the gateway.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use spool_gateway::fake::Told;

use super::place::{Fate, Place, Promise};
use crate::layer::Outcome;
use crate::layers::random::reader::{Books, Entry, STATES, take_apart};
use crate::layers::random::stage::Ended;

/// What is broken at once. Empty when all is well.
pub(in crate::layers) fn visible(place: &Place<'_>) -> Outcome<Vec<String>> {
    let mut broken = Vec::new();
    if !place.spool.join("new").exists() {
        let is_lost = place.promises.iter().any(|promise| promise.accepted);
        return Ok(if is_lost { vec!["LOST: the spool is not there".to_owned()] } else { broken });
    }
    let mut seen = Vec::new();
    for (dir, state) in STATES {
        let Ok(items) = fs::read_dir(place.spool.join(dir)) else { continue };
        for item in items {
            let path = item?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.contains(".why.json") || !name.ends_with(".json") {
                continue;
            }
            let bytes = fs::read(&path)?;
            match owner(place, &bytes) {
                Some(at) => seen.push(at),
                None => broken.push(format!(
                    "{state} {name} is no whole record that anybody made: {:?}",
                    String::from_utf8_lossy(bytes.get(..200).unwrap_or(&bytes))
                )),
            }
        }
    }
    for (at, promise) in place.promises.iter().enumerate() {
        // A run is there while its intent is.
        if promise.accepted && promise.status.is_empty() && !seen.contains(&at) {
            broken.push(format!("LOST: {} was accepted and is nowhere", promise.word));
        }
    }
    Ok(broken)
}

/// Whose bytes these are.
fn owner(place: &Place<'_>, bytes: &[u8]) -> Option<usize> {
    let says: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let text = |member: &str| says.as_ref()?.get(member)?.as_str();
    place.promises.iter().position(|promise| match &promise.bytes {
        Some(own) => own == bytes,
        None => {
            let word = if promise.status.is_empty() { text("text") } else { text("label") };
            word == Some(&promise.word) && text("sessionKey") == promise.session
        }
    })
}

/// What is broken in the end. Empty when all is well.
pub(in crate::layers) fn settled(place: &Place<'_>) -> Outcome<Vec<String>> {
    let books = Books::read(&place.spool)?;
    let mut judge = Judge { place, broken: Vec::new(), sends: sends(place) };
    judge.arrivals()?;
    let mut entries: Vec<Vec<&Entry>> = place.promises.iter().map(|_| Vec::new()).collect();
    for entry in &books.entries {
        let dir = STATES.iter().find(|(_, state)| *state == entry.state).map_or("", |(dir, _)| dir);
        let bytes = fs::read(place.spool.join(dir).join(&entry.name))?;
        match owner(place, &bytes).and_then(|at| entries.get_mut(at)) {
            Some(own) => own.push(entry),
            None => judge.say(format!("{} {} is a record that nobody made", entry.state, entry.name)),
        }
    }
    for (promise, entries) in place.promises.iter().zip(&entries) {
        judge.promise(promise, entries);
    }
    for name in &books.foreign {
        // What replaces a small file may be cut short.
        if !name.contains(".why.json.") {
            judge.say(format!("a foreign name that nobody made: {name}"));
        }
    }
    for run in &books.runs {
        judge.say(format!("a run was never closed: {run}"));
    }
    judge.audit()?;
    Ok(judge.broken)
}

struct Judge<'a> {
    place: &'a Place<'a>,
    broken: Vec<String>,
    /// What was sent or committed: the text and the session or chat; `true` for what was committed.
    sends: Vec<Sent>,
}

struct Sent {
    ids: Vec<String>,
    to: String,
    is_commit: bool,
}

/// A number for all that lies in the spool: names, sizes and contents, but for numbers, which times and ids are made of.
pub(in crate::layers) fn fingerprint(place: &Place<'_>) -> Outcome<u64> {
    let mut hasher = DefaultHasher::new();
    place.exit.hash(&mut hasher);
    let mut dirs = vec![place.spool.clone()];
    place
        .promises
        .iter()
        .for_each(|p| p.marker.as_ref().is_some_and(|marker| marker.exists()).hash(&mut hasher));
    let plain = |bytes: &[u8]| -> Vec<u8> {
        let is_word = |byte: &&u8| !byte.is_ascii_digit() && **byte != b'-';
        bytes.iter().filter(is_word).copied().collect()
    };
    while let Some(dir) = dirs.pop() {
        let Ok(items) = fs::read_dir(&dir) else { continue };
        let mut paths = items.map(|item| Ok(item?.path())).collect::<Outcome<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_minted = name.len() >= 36 && name.bytes().filter(|byte| *byte == b'-').count() >= 4;
            let name = if is_minted { name.get(36..).unwrap_or_default() } else { &name };
            plain(name.as_bytes()).hash(&mut hasher);
            match fs::read(&path) {
                Ok(bytes) => {
                    (bytes.len(), if is_minted { Vec::new() } else { plain(&bytes) }).hash(&mut hasher)
                }
                Err(_) => dirs.push(path),
            }
        }
        dirs.len().hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// How often records were sent, and how many of these sends were more than one for a record.
pub(in crate::layers) fn count_sends(place: &Place<'_>) -> (u64, u64) {
    let mut ids: Vec<String> = sends(place).into_iter().flat_map(|sent| sent.ids).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    (all as u64, (all - ids.len()) as u64)
}

/// All that the gateway was asked to deliver.
fn sends(place: &Place<'_>) -> Vec<Sent> {
    let mut all = Vec::new();
    for request in place.gateway.requests() {
        let text = |name: &str| request.params.get(name).and_then(serde_json::Value::as_str);
        if matches!(request.method.as_str(), "agent" | "send" | "chat.send")
            && let Some(message) = text("message").or_else(|| text("text"))
        {
            let ids = take_apart(message).map(|(_, ids)| ids).unwrap_or_default();
            let to = text("sessionKey").or_else(|| text("to")).unwrap_or_default().to_owned();
            all.push(Sent { ids, to, is_commit: false });
        }
    }
    all
}

impl Judge<'_> {
    fn say(&mut self, what: String) {
        self.broken.push(what);
    }

    /// What the gateway committed, and what it told people.
    fn arrivals(&mut self) -> Outcome<()> {
        for (session, key, text) in self.place.gateway.all_commits() {
            let (named, ids) = take_apart(&text)?;
            if named != key {
                self.say(format!("a delivery under {key} names the key {named}"));
            }
            self.sends.push(Sent { ids, to: session, is_commit: true });
        }
        for message in self.place.gateway.all_chat_messages() {
            if message.told == Told::Send {
                let (_, ids) = take_apart(&message.text)?;
                let to = message.session.unwrap_or(message.route.to);
                self.sends.push(Sent { ids, to, is_commit: true });
            }
        }
        Ok(())
    }

    fn promise(&mut self, promise: &Promise, entries: &[&Entry]) {
        let word = &promise.word;
        let places: Vec<&str> = entries.iter().map(|entry| entry.state).collect();
        let has_run = promise.marker.as_ref().is_some_and(|marker| marker.exists());
        let entry = match entries {
            [] if promise.fate == Fate::Nowhere => return,
            [] if promise.accepted => return self.say(format!("LOST: {word} was accepted and is nowhere")),
            [] if has_run => return self.say(format!("LOST: the job of {word} ran, and nobody reports it")),
            [] => return,
            [entry] => *entry,
            _ => return self.say(format!("{word} is there {} times: {places:?}", entries.len())),
        };
        let due = match promise.fate {
            Fate::Turn | Fate::Message | Fate::Filed => "done",
            Fate::Held => "held",
            Fate::Dead => "dead",
            Fate::Dismissed => "dismissed",
            Fate::Nowhere => "refused",
        };
        if entry.state != due {
            let why = entry.why.as_deref().unwrap_or("no reason is given");
            self.say(format!("{word} is {}, not {due}: {why}", entry.state));
        }
        let has_reason = !matches!(entry.state, "held" | "dead" | "dismissed") || entry.why.is_some();
        if !has_reason && !self.place.may_lack_reasons {
            self.say(format!("{word} is {} without a reason", entry.state));
        }
        if promise.id.is_some_and(|id| id != entry.id) {
            self.say(format!("{word} has become {}", entry.id));
        }
        if !promise.status.is_empty() && !promise.status.contains(&entry.says("status")) {
            self.say(format!("the run {word} is reported as {:?}", entry.says("status")));
        }
        self.arrived(promise, &entry.id);
    }

    /// Whether it reached its session, no other, and how often it was tried.
    fn arrived(&mut self, promise: &Promise, id: &str) {
        let mine = |sent: &&Sent| sent.ids.iter().any(|own| own == id);
        // What took an id that was taken has another one now, and the deliveries of the first are not its own.
        let commits: Vec<&str> = self
            .sends
            .iter()
            .filter(mine)
            .filter(|sent| sent.is_commit)
            .map(|sent| sent.to.as_str())
            .collect();
        let sends = self.sends.iter().filter(mine).filter(|sent| !sent.is_commit).count() as u64;
        let (due, most) = match promise.fate {
            Fate::Turn | Fate::Message => (1, 1 + self.place.deaths),
            _ => (0, 0),
        };
        let to = promise.session.unwrap_or_default();
        let mut said = Vec::new();
        if commits.len() != due {
            said.push(format!(
                "{} ({id}) was delivered {} times, not {due}: {commits:?}",
                promise.word,
                commits.len()
            ));
        }
        if commits.iter().any(|own| *own != to) {
            said.push(format!("{} ({id}) for {to} reached {commits:?}", promise.word));
        }
        if sends > most {
            said.push(format!("{} ({id}) was sent {sends} times, at most {most} were due", promise.word));
        }
        self.broken.extend(said);
    }

    fn audit(&mut self) -> Outcome<()> {
        let ended = self.place.run(self.place.command("spool", &["audit", "--json"]))?;
        if ended != Ended::Code(0) {
            self.say(format!("spool audit ended with {ended:?}"));
        }
        Ok(())
    }
}
