//! Which entries a person means: each by its whole id, or by the first characters of it where only one entry has them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Read};
use std::ops::ControlFlow;
use std::path::Path;

use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Id, Spool, exit, intake};

use crate::Failure;

/// The shortest beginning of an id that is looked for.
const MIN_PREFIX: usize = 4;
/// How many candidates a message names.
const MAX_NAMED: usize = 4;

/// The most ids that are taken from standard input, and the longest line there, in bytes.
const MAX_IDS: usize = 1_000_000;
const MAX_LINE: u64 = 4096;

/// The ids that a person named: the words given, and for `-` the first word of each line of standard input. With
/// `all` those of all dead entries.
///
/// # Errors
/// When the spool or standard input cannot be read; [`exit::DATA`] when there is no end to it.
pub fn names(
    spool: &Spool,
    words: &[String],
    all: bool,
    input: &mut dyn BufRead,
) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    if all {
        spool.each_entry(Dir::Dead, |entry, _| names.push(entry.id.to_string()))?;
        names.sort();
    }
    for word in words {
        if word == "-" {
            read_names(input, &mut names)?;
        } else {
            names.push(word.clone());
        }
    }
    Ok(names)
}

fn read_names(mut input: &mut dyn BufRead, names: &mut Vec<String>) -> Result<(), Failure> {
    loop {
        let mut line = Vec::new();
        (&mut input)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|e| Failure::new(exit::IO, format!("cannot read ids from standard input: {e}")))?;
        if line.is_empty() {
            return Ok(());
        }
        let is_endless = line.len() as u64 == MAX_LINE && !line.ends_with(b"\n");
        if is_endless || names.len() >= MAX_IDS {
            let why = "cannot read ids from standard input: one a line, at most a million";
            return Err(Failure::new(exit::DATA, why));
        }
        if let Some(word) = String::from_utf8_lossy(&line).split_whitespace().next() {
            names.push(word.to_owned());
        }
    }
}

/// Finds the entry that `text` names.
///
/// # Errors
/// A [`Failure`] with [`exit::DATA`] when there is none or more than one; what the spool says when it cannot be read.
pub fn resolve(spool: &Spool, text: &str) -> Result<Entry, Failure> {
    if let Ok(id) = Id::new(text)
        && let Some(entry) = spool.find(&id)?
    {
        return Ok(entry);
    }
    let unknown = |why: &str| {
        let shown = spool_drain::sanitize::line(text);
        Failure::new(exit::DATA, format!("there is no entry {shown:?} in {}{why}", spool.root().display()))
    };
    if text.len() < MIN_PREFIX {
        return Err(unknown("; a beginning of an id must have four characters or more"));
    }
    let mut found: BTreeMap<Id, Entry> = BTreeMap::new();
    for dir in Dir::STATES {
        spool.each_entry(dir, |entry, _| {
            if entry.id.as_str().starts_with(text) {
                // An entry that moves meanwhile is met again, further on in its life.
                found.insert(entry.id.clone(), entry);
            }
        })?;
    }
    match found.len() {
        0 => Err(unknown("; spool list shows what there is")),
        1 => found.into_values().next().ok_or_else(|| unknown("")),
        n => {
            let named: Vec<&str> = found.keys().take(MAX_NAMED).map(Id::as_str).collect();
            let more = if n > MAX_NAMED { format!(" and {} more", n - MAX_NAMED) } else { String::new() };
            let why = format!("{text:?} is the beginning of {}{more}; add characters", named.join(", "));
            Err(Failure::new(exit::DATA, why))
        }
    }
}

/// What lies in `new/`.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Entries, and files that will become one under the id that is their name's for now.
    pub entries: Vec<Entry>,
    /// Files that will become an entry and have no usable id yet.
    pub nameless: Vec<OsString>,
    /// What is no record by its name, its kind, its owner or its second name; nobody will touch it.
    pub foreign: Vec<OsString>,
}

/// Whether a file is foreign by its owner or its second name: what intake leaves alone. A producer that publishes by
/// link and unlink has two names for a moment.
fn is_strange(spool: &Spool, path: &Path) -> bool {
    let Ok(Some(meta)) = spool.fs().stat(path) else { return false };
    let patience = i128::try_from(intake::PATIENCE.as_nanos()).unwrap_or(i128::MAX);
    let age_ns = i128::from(now_ms()) * 1_000_000 - meta.ctime_ns;
    meta.uid != rustix::process::geteuid().as_raw() || (meta.nlink > 1 && age_ns > patience)
}

/// Lists `new/`, where people drop files under any name.
///
/// # Errors
/// When it cannot be listed.
pub fn inbox(spool: &Spool) -> Result<Inbox, Failure> {
    let mut inbox = Inbox::default();
    let path = spool.dir(Dir::New);
    let mut sort = |name: &OsStr, is_file: bool| {
        if !is_file || !intake::is_candidate(name) || is_strange(spool, &path.join(name)) {
            inbox.foreign.push(name.to_owned());
        } else if let Some(entry) = name.to_str().and_then(|n| Entry::from_name(Dir::New, n)) {
            inbox.entries.push(entry);
        } else {
            inbox.nameless.push(name.to_owned());
        }
        ControlFlow::Continue(())
    };
    spool.fs().list(&path, &mut sort).map_err(|source| spooldir::Error::Io { verb: "list", path, source })?;
    Ok(inbox)
}
