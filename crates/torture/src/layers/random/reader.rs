//! A reader of a spool that shares no code with the product: it knows `spool-format.md` and nothing else.
//!
//! Directories and journal are read with std, JSON with serde_json. So a mistake in how the product understands its own
//! names cannot hide behind itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::layer::Outcome;

/// The directories that hold entries, with the word for the state.
pub(in crate::layers) const STATES: [(&str, &str); 7] = [
    ("new", "pending"),
    ("sending", "sending"),
    ("deferred", "deferred"),
    ("hold", "held"),
    ("dead", "dead"),
    ("done", "done"),
    ("dismissed", "dismissed"),
];

/// An entry, as its file says.
#[derive(Debug)]
pub(in crate::layers) struct Entry {
    pub(in crate::layers) id: String,
    /// The word for its state.
    pub(in crate::layers) state: &'static str,
    /// The name of its file.
    pub(in crate::layers) name: String,
    /// What it says; `None` when that is no JSON.
    pub(in crate::layers) record: Option<Value>,
    /// The reason beside it.
    pub(in crate::layers) why: Option<String>,
}

impl Entry {
    /// A text member of the record, empty if there is none.
    pub(in crate::layers) fn says(&self, member: &str) -> &str {
        self.record.as_ref().and_then(|r| r.get(member)?.as_str()).unwrap_or_default()
    }
}

/// A line of the journal, as far as it is judged.
#[derive(Debug)]
pub(in crate::layers) struct Line {
    pub(in crate::layers) event: String,
    pub(in crate::layers) id: String,
    pub(in crate::layers) evidence: String,
}

impl Line {
    fn read(bytes: &[u8]) -> Option<Line> {
        let line: Value = serde_json::from_slice(bytes).ok()?;
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Line { event: text("event"), id: text("id"), evidence: text("evidence") })
    }
}

/// A spool.
#[derive(Debug, Default)]
pub(in crate::layers) struct Books {
    pub(in crate::layers) entries: Vec<Entry>,
    /// Names that are neither entries nor reasons.
    pub(in crate::layers) foreign: Vec<String>,
    /// The runs that are open.
    pub(in crate::layers) runs: Vec<String>,
    /// Leftovers in `tmp/`.
    pub(in crate::layers) leftovers: u64,
    /// Lines of the journal.
    pub(in crate::layers) journal: Vec<Line>,
    /// Lines of it that are no JSON.
    pub(in crate::layers) torn: u64,
}

impl Books {
    /// Reads a spool that nobody changes meanwhile.
    pub(in crate::layers) fn read(spool: &Path) -> Outcome<Books> {
        let mut books = Books::default();
        for (dir, state) in STATES {
            for name in names(&spool.join(dir))? {
                let stem = name.strip_suffix(".json").filter(|_| !name.starts_with('.'));
                let Some(stem) = stem else {
                    books.foreign.push(format!("{dir}/{name}"));
                    continue;
                };
                if stem.ends_with(".why") {
                    continue;
                }
                // In sending/ and deferred/ the id is followed by a comma, which no id has.
                let id = stem.split(',').next().unwrap_or_default().to_owned();
                let path = spool.join(dir);
                let record = serde_json::from_slice(&fs::read(path.join(&name))?).ok();
                let why = fs::read(path.join(format!("{id}.why.json"))).ok();
                let why: Option<Value> = why.and_then(|why| serde_json::from_slice(&why).ok());
                let why = why.and_then(|why| Some(why.get("reason")?.as_str()?.to_owned()));
                books.entries.push(Entry { id, state, name, record, why });
            }
        }
        books.runs = names(&spool.join("runs"))?;
        books.runs.retain(|name| name.ends_with(".json"));
        books.leftovers = names(&spool.join("tmp"))?.len() as u64;
        for name in names(&spool.join("journal"))? {
            let bytes = fs::read(spool.join("journal").join(name))?;
            for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                match Line::read(line) {
                    Some(line) => books.journal.push(line),
                    None => books.torn += 1,
                }
            }
        }
        Ok(books)
    }

    /// How many entries each state has.
    pub(in crate::layers) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = STATES.iter().map(|(_, state)| (*state, 0)).collect();
        for entry in &self.entries {
            *counts.entry(entry.state).or_default() += 1;
        }
        counts
    }

    /// The ids that the journal knows of as accepted; those whose receipts were pruned apart.
    pub(in crate::layers) fn journalled(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let mut known = BTreeSet::new();
        let mut pruned = BTreeSet::new();
        for line in &self.journal {
            match (line.event.as_str(), line.id.as_str()) {
                ("duplicate", _) | (_, "") => {}
                ("prune", id) => {
                    pruned.insert(id);
                }
                (event, id) => {
                    if event == "accept" {
                        pruned.remove(id);
                    }
                    known.insert(id);
                }
            }
        }
        (known, pruned)
    }
}

/// The names in a directory.
pub(in crate::layers) fn names(dir: &Path) -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for item in fs::read_dir(dir).map_err(|e| format!("cannot list {}: {e}", dir.display()))? {
        names.push(item?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// How many entries are not settled, by their directories, and how many runs are open.
pub(in crate::layers) fn unsettled(spool: &Path) -> Outcome<usize> {
    let mut left = 0;
    for dir in ["new", "sending", "deferred", "runs"] {
        left += names(&spool.join(dir))?.iter().filter(|name| name.ends_with(".json")).count();
    }
    Ok(left)
}

/// A delivery's text, taken apart: the key it names, and the ids of its records.
pub(in crate::layers) fn take_apart(text: &str) -> Outcome<(String, Vec<String>)> {
    let head = text.lines().next().unwrap_or_default();
    let cannot = |what: &str| format!("a delivery without {what}: {head}");
    let (key, rest) = head
        .strip_prefix("[spool ")
        .and_then(|rest| rest.split_once(" · "))
        .ok_or_else(|| cannot("a header"))?;
    let count: usize =
        rest.split(' ').next().and_then(|n| n.parse().ok()).ok_or_else(|| cannot("a count"))?;
    let heads = text.lines().skip(1).filter(|line| !line.starts_with('>'));
    let ids: Vec<String> = heads.filter_map(|line| Some(line.rsplit_once(" · id: ")?.1.to_owned())).collect();
    if ids.len() != count {
        return Err(format!("a delivery of {count} records names {}: {head}", ids.len()).into());
    }
    Ok((key.to_owned(), ids))
}
