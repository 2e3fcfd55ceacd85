//! What lies in a spool: records, names, the journal, runs.

use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

use spool_drain::render::Limits;
use spool_drain::status::AgentStatus;
use spooldir::audit::Audit;
use spooldir::journal::Line;
use spooldir::moves::Why;
use spooldir::name::{DeferredName, SendingName, plain_id};
use spooldir::record::Flaw;
use spooldir::run::{Intent, lost_record};
use spooldir::trouble::Trouble;
use spooldir::{Dir, Entry, Id, Key, Record, Spool};

use super::texts;
use crate::feed::Feed;
use crate::promises::{Shape, check_sentence};

pub(super) fn record(data: &[u8]) {
    let record = match Record::parse(data) {
        Ok(record) => record,
        Err(Flaw::Version(v)) => return assert!(v > 1),
        Err(Flaw::Bad(why)) => return check_sentence(&why),
    };
    // A second reader sees a document that is as strict as the format says.
    let shape: Shape = serde_json::from_slice(data).expect("a record is JSON");
    assert!(!shape.is_doubled, "a member that stands twice was taken");
    assert!(!shape.has_nul, "a NUL was taken");
    assert!(shape.depth <= spooldir::json::MAX_DEPTH, "{} levels were taken", shape.depth);
    assert!(record.text.is_some() || record.task.is_some(), "a record that says nothing");
    if let Some(key) = &record.session_key {
        assert!(!key.trim().is_empty() && key.len() <= 512 && !key.chars().any(char::is_control), "{key:?}");
    }
    let given = record.id.clone().unwrap_or_else(|| Id::new("given").expect("an id"));
    texts::check(&[(&given, &record)], &Limits::default(), data.len());
}

pub(super) fn name(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    if let Ok(id) = Id::new(name) {
        assert!(!name.is_empty() && name.len() <= 128 && !name.starts_with(['.', '-']), "{name:?}");
        assert!(!name.contains(['/', ',', '\0', ' ', '\n']) && name.is_ascii(), "{name:?}");
        assert_eq!(id.as_str(), name);
        let file = format!("{name}.json");
        assert_eq!(plain_id(&file), Some(id), "the name of its file is not its id's");
    }
    if let Ok(key) = Key::from_str(name) {
        assert_eq!(key.to_string(), name, "a key that is written in two ways");
        assert!(key.former().len() <= 16);
        for key in [key.next_epoch(), key.tell()].into_iter().chain(key.former()) {
            assert_eq!(Key::from_str(&key.to_string()).ok(), Some(key));
        }
    }
    if let Some(sending) = SendingName::parse(name) {
        assert_eq!(sending.to_string(), name);
    }
    if let Some(deferred) = DeferredName::parse(name) {
        assert_eq!(deferred.to_string(), name);
    }
    assert!(!Id::is_unique(name) || Id::new(name).is_ok(), "a UUID that is no id");
    for dir in Dir::STATES {
        if let Some(entry) = Entry::from_name(dir, name) {
            assert_eq!((entry.dir(), entry.file_name().as_str()), (dir, name), "an entry with two names");
        }
    }
}

pub(super) fn journal(data: &[u8]) {
    for text in data.split(|b| *b == b'\n').filter(|text| !text.is_empty()) {
        // Each kind of small file, all read with the same tolerance.
        again::<Line>(text);
        again::<AgentStatus>(text);
        again::<Trouble>(text);
        again::<Why>(text);
    }
}

/// What could be read is written, and then read as the same.
fn again<T>(text: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(value) = serde_json::from_slice::<T>(text) else { return };
    let written = serde_json::to_vec(&value).expect("it is written");
    assert!(!written.contains(&b'\n'), "more than a line");
    assert_eq!(serde_json::from_slice::<T>(&written).ok(), Some(value));
}

/// One spool for the whole process; what a target puts into it stays until it puts something else there.
fn spool() -> std::sync::MutexGuard<'static, Spool> {
    static SPOOL: OnceLock<Mutex<Spool>> = OnceLock::new();
    let spool = SPOOL.get_or_init(|| {
        let dir = crate::room().join("spool");
        std::fs::create_dir_all(crate::room()).expect("room for a spool");
        Mutex::new(Spool::create(&dir).expect("a spool"))
    });
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(spool: &Spool, dir: Dir, name: &str, bytes: Option<&[u8]>) {
    let path = spool.dir(dir).join(name);
    match bytes {
        Some(bytes) => std::fs::write(path, bytes).expect("a file in the spool"),
        None => drop(std::fs::remove_file(path)),
    }
}

pub(super) fn audit(data: &[u8]) {
    let mut feed = Feed::new(data);
    let places = feed.byte();
    let journal = &data[data.len().min(1)..];
    let spool = spool();
    let mut there = 0;
    for (bit, (dir, name)) in
        [(Dir::Done, "a.json"), (Dir::Dead, "a.json"), (Dir::Hold, "b.json")].into_iter().enumerate()
    {
        let is_there = places & (1 << bit) != 0;
        there += u64::from(is_there);
        put(&spool, dir, name, is_there.then_some(b"{\"text\":\"x\"}"));
    }
    put(&spool, Dir::Journal, "2026-01-01.jsonl", Some(journal));
    let mut seen = 0;
    let torn = spool.each_line(|_| seen += 1).expect("the journal is read");
    let lines = journal.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count() as u64;
    assert_eq!(seen + torn, lines, "lines that are neither read nor torn");
    let audit = spool.audit().expect("an audit");
    // What there is, is counted, whatever a journal says; what is nowhere is lost or pruned.
    let Audit { accepted, pruned, .. } = audit;
    let (placed, lost, doubled) =
        (audit.states.values().sum::<u64>(), audit.lost.len() as u64, audit.doubled.len() as u64);
    assert_eq!(accepted, placed + pruned + lost + doubled, "{audit:?}");
    assert_eq!(placed + 2 * doubled, there, "{audit:?}");
    assert_eq!(audit.torn, torn);
    assert_eq!(audit.holds(), lost == 0 && doubled == 0);
}

pub(super) fn intent(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (json, route, log) = (feed.bytes(), feed.bytes(), feed.bytes());
    // Most bytes are no intent; those cost no file.
    if serde_json::from_slice::<Intent>(json).is_err() {
        return;
    }
    let (spool, id) = (spool(), Id::new("a-run").expect("an id"));
    put(&spool, Dir::Runs, "a-run.json", Some(json));
    put(&spool, Dir::Runs, "a-run.route", (!route.is_empty()).then_some(route));
    put(&spool, Dir::Logs, "a-run.log", (!log.is_empty()).then_some(log));
    let intent = spool.intent(&id).expect("it was read before").expect("it is there");
    let record = serde_json::to_vec(&lost_record(&spool, &id, &intent, 1)).expect("it is written");
    // Whatever the intent says: nobody else is left to report the job.
    let record =
        Record::parse(&record).unwrap_or_else(|flaw| panic!("the end of a run is a bad record: {flaw}"));
    assert_eq!(record.id.as_ref(), Some(&id));
    assert_eq!(record.status, spooldir::record::Status::Lost);
    texts::check(&[(&id, &record)], &Limits::default(), data.len());
}
