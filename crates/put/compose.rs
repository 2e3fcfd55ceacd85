//! From what was asked for to the bytes of a record.
//!
//! A whole record passes through byte for byte unless an option changes it; then the members it came with keep their
//! own spelling, known or not. The time of a record is that of its UUID and not of the clock, so that trying again with
//! the id that was printed makes the same bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use spooldir::record::{Flaw, MAX_BYTES, MAX_LABEL, VERSION, check_session_key};
use spooldir::{Error, Id, Record, exit, json, locate};

use crate::Failure;
use crate::args::{Args, Source};
use crate::from::{Env, Report, Task};
use crate::text;

/// A record, ready to be published.
#[derive(Debug)]
pub struct Composed {
    pub id: Id,
    pub bytes: Vec<u8>,
    /// Whether the id was minted here, so that nobody else can have it.
    pub is_fresh: bool,
    pub session_key: Option<String>,
    /// Sentences for stderr.
    pub notes: Vec<String>,
}

/// The members of an object, each as it was written.
#[derive(Default)]
struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    fn set(&mut self, name: &str, value: impl Serialize) -> Result<(), Failure> {
        let raw = to_raw_value(&value)
            .map_err(|e| Failure::new(exit::IO, format!("cannot write \"{name}\": {e}")))?;
        self.0.insert(name.to_owned(), raw);
        Ok(())
    }

    fn set_if(&mut self, name: &str, value: Option<impl Serialize>) -> Result<bool, Failure> {
        value.map_or(Ok(false), |value| self.set(name, value).map(|()| true))
    }

    fn read(json: &[u8]) -> Result<Members, Failure> {
        match serde_json::from_slice(json) {
            Ok(members) => Ok(Members(members)),
            // It was read before; only what is no object comes here.
            Err(e) => Err(Failure::new(exit::DATA, format!("not a good record: at line {}", e.line()))),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(&self.0)
            .map_err(|e| Failure::new(exit::IO, format!("cannot write the record: {e}")))
    }
}

/// Makes the record that was asked for.
///
/// # Errors
/// A [`Failure`] with the exit number that fits.
pub fn compose(args: &Args, env: Env<'_>, stdin: &mut dyn Read) -> Result<Composed, Failure> {
    match &args.source {
        Source::Record(path) => from_record(args, env, read_record(path, stdin)?),
        Source::Text(text) => from_text(args, env, Some(text::fit(text.as_bytes(), text.len() as u64))),
        Source::Stdin => {
            let read = text::read(stdin).map_err(|e| unreadable("standard input", &e))?;
            from_text(args, env, Some(read))
        }
        Source::Nothing => from_text(args, env, None),
    }
}

fn from_text(args: &Args, env: Env<'_>, said: Option<text::Fitted>) -> Result<Composed, Failure> {
    let id = args.id.clone().unwrap_or_else(Id::mint);
    let mut notes = Vec::new();
    let mut members = Members::default();
    members.set("v", VERSION)?;
    members.set("id", id.as_str())?;
    if let Some(said) = said {
        members.set("text", said.text)?;
        notes.extend(said.notes);
    }
    if let Some(ms) = minted_at(&id) {
        members.set("createdAt", ms)?;
    }
    apply(args, &mut members, &mut notes)?;
    let session_key = route(args, env, None, &mut members, &mut notes)?;
    Ok(Composed { id, bytes: members.bytes()?, is_fresh: args.id.is_none(), session_key, notes })
}

/// Makes the record of a runner's report, under the id that was asked for, else `id`, else a new one.
///
/// # Errors
/// A [`Failure`] with the exit number that fits.
pub fn from_report(args: &Args, env: Env<'_>, report: &Report, id: Option<&Id>) -> Result<Composed, Failure> {
    let own = args.id.as_ref().or(id).cloned();
    let (is_fresh, id) = (own.is_none(), own.unwrap_or_else(Id::mint));
    let mut notes = Vec::new();
    let mut members = Members::default();
    members.set("v", VERSION)?;
    members.set("id", id.as_str())?;
    members.set_if("status", report.status.map(|s| s.as_str()))?;
    members.set_if("label", report.label.as_deref().map(|label| cut_label(&one_line(label), &mut notes)))?;
    if let Some(text) = &report.text {
        let said = text::fit(text.as_bytes(), text.len() as u64);
        members.set("text", said.text)?;
        notes.extend(said.notes);
    }
    members.set("task", bounded(&report.task))?;
    if let Some(path) = &report.output {
        members.set("output", BTreeMap::from([("path", text::cut(path, MAX_TEXT))]))?;
    }
    // No createdAt, whatever the id: the same event, told again, makes the same bytes.
    apply(args, &mut members, &mut notes)?;
    let session_key = route(args, env, None, &mut members, &mut notes)?;
    Ok(Composed { id, bytes: members.bytes()?, is_fresh, session_key, notes })
}

/// The most that each text of a task may take, and its command, in bytes of JSON. With the longest text and label a
/// record keeps to its limit: a report is not lost because a runner works in a strange place.
const MAX_TEXT: usize = 8 * 1024;
const MAX_COMMAND: usize = 16 * 1024;

fn bounded(task: &Task) -> Task {
    let short = |said: &Option<String>| said.as_deref().map(|said| text::cut(said, MAX_TEXT));
    let mut room = MAX_COMMAND;
    let words = task.command.iter().map_while(|word| {
        let word = (room > 3).then(|| text::cut(word, room))?;
        // With its quotes and its comma.
        room = room.saturating_sub(text::len(&word) + 3);
        Some(word)
    });
    Task {
        command: words.collect(),
        runner: text::cut(&task.runner, MAX_TEXT),
        cwd: short(&task.cwd),
        signal: short(&task.signal),
        exit_code: task.exit_code,
        started_at: task.started_at,
        ended_at: task.ended_at,
    }
}

/// A label is one line, whatever it was made of.
fn one_line(label: &str) -> String {
    label
        .split(|c: char| c.is_control() || c == ' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn from_record(args: &Args, env: Env<'_>, bytes: Vec<u8>) -> Result<Composed, Failure> {
    let record = match Record::parse(&bytes) {
        Ok(record) => record,
        Err(Flaw::Version(_)) => return from_later_record(args, bytes),
        Err(flaw) => return Err(Error::from(flaw).into()),
    };
    if args.is_plain() && record.session_key.is_some() {
        // As it is, and read once.
        let (is_fresh, id) = (record.id.is_none(), record.id.unwrap_or_else(Id::mint));
        return Ok(Composed { id, bytes, is_fresh, session_key: record.session_key, notes: Vec::new() });
    }
    let mut notes = Vec::new();
    let mut members = Members::read(&bytes)?;
    let mut is_changed = apply(args, &mut members, &mut notes)?;
    let id = match (&args.id, &record.id) {
        (None, None) => Id::mint(),
        (None, Some(said)) => said.clone(),
        (Some(asked), said) => {
            // A file that is called after a UUID needs no member to say so; then a second try with the UUID that
            // the first one minted has the same bytes.
            if said.as_ref() != Some(asked) && (said.is_some() || !Id::is_unique(asked.as_str())) {
                members.set("id", asked.as_str())?;
                is_changed = true;
            }
            asked.clone()
        }
    };
    let session_key = route(args, env, record.session_key.as_deref(), &mut members, &mut notes)?;
    is_changed |= session_key != record.session_key;
    let bytes = if is_changed { members.bytes()? } else { bytes };
    let is_fresh = args.id.is_none() && record.id.is_none();
    Ok(Composed { id, bytes, is_fresh, session_key, notes })
}

/// A record of a later version passes through untouched or not at all: what an option means there is not known here.
fn from_later_record(args: &Args, bytes: Vec<u8>) -> Result<Composed, Failure> {
    let value = json::parse(&bytes).unwrap_or_default();
    let said = value.get("id").and_then(|id| id.as_str()).and_then(|id| Id::new(id).ok());
    let needs_id = match (&args.id, &said) {
        (Some(asked), Some(said)) => asked != said,
        (Some(asked), None) => !Id::is_unique(asked.as_str()),
        (None, _) => false,
    };
    let (mut members, mut notes) = (Members::default(), Vec::new());
    if needs_id || args.session.is_some() || apply(args, &mut members, &mut notes)? {
        let why = "the record is of a later version, which this spool-put cannot change; leave the options out, or update it";
        return Err(Failure::new(exit::DATA, why));
    }
    let is_fresh = args.id.is_none() && said.is_none();
    let id = args.id.clone().or(said).unwrap_or_else(Id::mint);
    let session_key = value.get("sessionKey").and_then(|key| key.as_str()).map(str::to_owned);
    notes.push("the record is of a later version; an agent of this version will hold it".to_owned());
    Ok(Composed { id, bytes, is_fresh, session_key, notes })
}

/// Sets what the options say; returns whether there was anything to set.
fn apply(args: &Args, members: &mut Members, notes: &mut Vec<String>) -> Result<bool, Failure> {
    let label = args.label.as_deref().map(|label| cut_label(label, notes));
    let mut is_set = members.set_if("status", args.status.map(|s| s.as_str()))?;
    is_set |= members.set_if("label", label)?;
    is_set |= members.set_if("deliver", args.deliver.map(|d| d.as_str()))?;
    is_set |= members.set_if("notify", args.notify.map(|n| n.as_str()))?;
    is_set |= members.set_if("notBefore", args.not_before)?;
    is_set |= members.set_if("urgent", args.urgent.then_some(true))?;
    if let Some(code) = args.exit_code {
        // The rest of the task stays as it is.
        let mut task = match members.0.get("task").map(|raw| raw.get()) {
            None | Some("null") => Members::default(),
            Some(task) => Members::read(task.as_bytes())?,
        };
        task.set("exitCode", code)?;
        members.set("task", &task.0)?;
        is_set = true;
    }
    Ok(is_set)
}

/// Finds the session: the option's, else the record's own, else the environment's.
fn route(
    args: &Args,
    env: Env<'_>,
    own: Option<&str>,
    members: &mut Members,
    notes: &mut Vec<String>,
) -> Result<Option<String>, Failure> {
    if args.session.is_none() && own.is_some() {
        return Ok(own.map(str::to_owned));
    }
    let may_be_held = args.allow_unrouted || args.is_hook();
    match locate::session(args.session.as_deref(), env) {
        Some(key) => {
            if let Err(rule) = check_session_key(&key) {
                let why = format!("the session in the environment {rule}");
                if args.is_hook() {
                    notes.push(why + ", so the report will be held until a person names one");
                    return Ok(None);
                }
                return Err(Failure::new(exit::CONFIG, why));
            }
            members.set("sessionKey", &key)?;
            Ok(Some(key))
        }
        None if may_be_held => {
            notes.push("no session is named, so it will be held until a person names one".to_owned());
            Ok(None)
        }
        None => Err(Failure::new(
            exit::CONFIG,
            "no session is named: give --session KEY or set SPOOL_SESSION (or --allow-unrouted, to have it held)",
        )),
    }
}

fn cut_label(label: &str, notes: &mut Vec<String>) -> String {
    match label.char_indices().nth(MAX_LABEL) {
        None => label.to_owned(),
        Some(_) => {
            notes.push(format!("the label was cut to {MAX_LABEL} characters"));
            label.chars().take(MAX_LABEL - 1).chain(['…']).collect()
        }
    }
}

/// The time in a UUID of version 7 (RFC 9562, 5.7), in milliseconds since 1970: its first 48 bits.
fn minted_at(id: &Id) -> Option<u64> {
    let text = id.as_str();
    let is_v7 = Id::is_unique(text) && text.as_bytes()[14] == b'7';
    is_v7.then(|| u64::from_str_radix(&text[..13].replace('-', ""), 16).ok()).flatten()
}

/// Reads a record of at most the format's limit, and one byte more, which the format then refuses.
fn read_record(path: &Path, stdin: &mut dyn Read) -> Result<Vec<u8>, Failure> {
    // Room for most, so that it is read in one go.
    let mut bytes = Vec::with_capacity(4000);
    if path == Path::new("-") {
        stdin.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable("standard input", &e))?;
    } else {
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|e| unreadable(&path.display().to_string(), &e))?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        let why = format!(
            "not a good record: more than {MAX_BYTES} bytes; put the long part in a file and name it in output.path"
        );
        return Err(Failure::new(exit::DATA, why));
    }
    Ok(bytes)
}

fn unreadable(what: &str, error: &io::Error) -> Failure {
    let number = if error.kind() == io::ErrorKind::PermissionDenied { exit::PERMISSION } else { exit::IO };
    Failure::new(number, format!("cannot read {what}: {error}; nothing was queued"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    use crate::args::{Command, parse};
    use serde_json::{Value, json};

    fn composed(args: &[&str], vars: &[(&str, &str)], stdin: &[u8]) -> Result<Composed, Failure> {
        let Ok(Command::Put(args)) = parse(lexopt::Parser::from_args(args)) else { panic!("{args:?}") };
        let env = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        compose(&args, &env, &mut &*stdin)
    }

    fn value(composed: &Composed) -> Value {
        Record::parse(&composed.bytes).unwrap();
        serde_json::from_slice(&composed.bytes).unwrap()
    }

    const OWN: &[u8] =
        br#"{ "text":"x", "sessionKey":"own",  "n":1.50, "big":123456789012345678901234567890 }"#;

    #[test]
    fn a_report_of_any_size_is_a_record() {
        let Ok(Command::Put(args)) = parse(lexopt::Parser::from_args(["--from", "tsp", "--session", "s"]))
        else {
            panic!()
        };
        let long = "\u{1}é".repeat(300_000);
        let mut report = Report::of(&long).in_directory(Some(long.clone()));
        (report.text, report.output) = (Some(long.clone()), Some(long.clone()));
        report.task.command = vec!["\u{1}".repeat(1000); 1000];
        report.task.signal = Some(long);
        let made = from_report(&args, &|_| None, &report, None).unwrap();
        assert!(made.bytes.len() as u64 <= MAX_BYTES, "{}", made.bytes.len());
        assert!(value(&made)["task"]["cwd"].as_str().unwrap().ends_with('…'));
        report.task.command = vec!["make".into(), String::new(), "-j2".into()];
        let made = from_report(&args, &|_| None, &report, None).unwrap();
        assert_eq!(value(&made)["task"]["command"], json!(["make", "", "-j2"]));
    }

    #[test]
    fn a_report_with_nul_in_it_is_a_record() {
        let Ok(Command::Put(args)) = parse(lexopt::Parser::from_args(["--from", "tsp", "--session", "s"]))
        else {
            panic!()
        };
        let nul = "a\0b".to_owned();
        let mut report = Report::of(&nul).in_directory(Some(nul.clone()));
        (report.label, report.text, report.output) =
            (Some(nul.clone()), Some(nul.clone()), Some(nul.clone()));
        (report.task.command, report.task.signal) = (vec![nul.clone()], Some(nul));
        let made = value(&from_report(&args, &|_| None, &report, None).unwrap());
        assert_eq!(made["text"], "a\u{fffd}b");
        assert_eq!(made["task"]["command"], json!(["a\u{fffd}b"]));
        assert_eq!(made["task"]["runner"], "a\u{fffd}b");
    }

    #[test]
    fn a_text_becomes_a_record() {
        let args =
            ["--session", "s", "--status", "failed", "--label", "l", "--exit-code", "2", "--urgent", "hello"];
        let made = composed(&args, &[], b"").unwrap();
        let Value::Object(mut record) = value(&made) else { panic!() };
        let created = record.remove("createdAt").unwrap().as_u64().unwrap();
        assert!(spooldir::time::now_ms() - created < 60_000);
        assert_eq!(record.remove("id").unwrap(), made.id.as_str());
        let rest = json!({"v": 1, "sessionKey": "s", "status": "failed", "label": "l", "task": {"exitCode": 2},
            "urgent": true, "text": "hello"});
        assert_eq!(Value::Object(record), rest);
        assert!(made.is_fresh);
    }

    #[test]
    fn the_same_command_with_the_printed_id_makes_the_same_bytes() {
        for (args, stdin) in [(&["--session", "s", "x"][..], &b""[..]), (&["--record", "-"], OWN)] {
            let first = composed(args, &[], stdin).unwrap();
            let again = composed(&[&["--id", first.id.as_str()], args].concat(), &[], stdin).unwrap();
            assert_eq!((first.bytes, first.id), (again.bytes, again.id));
            assert!(!again.is_fresh);
            let own = [&["--id", "mine"], args].concat();
            let (one, two) = (composed(&own, &[], stdin).unwrap(), composed(&own, &[], stdin).unwrap());
            assert_eq!(one.bytes, two.bytes);
            assert_eq!(value(&one)["id"], "mine");
        }
    }

    #[test]
    fn a_record_passes_through_byte_for_byte() {
        let made = composed(&["--record", "-"], &[("SPOOL_SESSION", "env")], OWN).unwrap();
        assert_eq!(made.bytes, OWN);
        assert_eq!(made.session_key.as_deref(), Some("own"));
    }

    #[test]
    fn options_win_over_the_record_and_leave_the_rest_as_it_was_written() {
        let args = ["--record", "-", "--session", "other", "--id", "job-1", "--deliver", "note"];
        let made = composed(&args, &[], OWN).unwrap();
        let text = String::from_utf8(made.bytes.clone()).unwrap();
        assert!(text.contains("1.50") && text.contains("123456789012345678901234567890"), "{text}");
        let record = value(&made);
        assert_eq!((&record["sessionKey"], &record["id"]), (&json!("other"), &json!("job-1")));
        assert_eq!(record["deliver"], "note");

        let task = br#"{"sessionKey":"s","task":{"exitCode":0,"gpu":[1.0]}}"#;
        let made = composed(&["--record", "-", "--exit-code", "3"], &[], task).unwrap();
        assert_eq!(made.bytes, br#"{"sessionKey":"s","task":{"exitCode":3,"gpu":[1.0]}}"#);
    }

    #[test]
    fn the_environment_only_fills_in_what_is_missing() {
        let made =
            composed(&["--record", "-"], &[("OPENCLAW_SESSION_KEY", "env")], br#"{"text":"x"}"#).unwrap();
        assert_eq!(made.bytes, br#"{"sessionKey":"env","text":"x"}"#);
    }

    #[test]
    fn a_session_is_never_guessed() {
        for args in [&["x"][..], &["--record", "-"]] {
            let failure = composed(args, &[], br#"{"text":"x"}"#).unwrap_err();
            assert_eq!(failure.exit, exit::CONFIG);
            assert!(failure.sentence.contains("--session"), "{}", failure.sentence);
            let made = composed(&[&["--allow-unrouted"], args].concat(), &[], br#"{"text":"x"}"#).unwrap();
            assert_eq!(made.session_key, None);
        }
        assert_eq!(composed(&["x"], &[("SPOOL_SESSION", "a\nb")], b"").unwrap_err().exit, exit::CONFIG);
    }

    #[test]
    fn a_later_version_passes_through_or_not_at_all() {
        let later = br#"{"v":2,"id":"f-1","sessionKey":"s","body":[]}"#;
        let made = composed(&["--record", "-"], &[], later).unwrap();
        assert_eq!((made.bytes.as_slice(), made.id.as_str()), (&later[..], "f-1"));
        for option in [["--session", "t"], ["--id", "other"], ["--status", "ok"]] {
            let failure = composed(&[&["--record", "-"], &option[..]].concat(), &[], later).unwrap_err();
            assert_eq!(failure.exit, exit::DATA);
        }
    }

    #[test]
    fn a_long_label_is_cut() {
        let label = "é".repeat(300);
        let made = composed(&["--session", "s", "--label", &label, "x"], &[], b"").unwrap();
        assert_eq!(value(&made)["label"].as_str().unwrap().chars().count(), MAX_LABEL);
        assert_eq!(made.notes.len(), 1);
    }

    #[test]
    fn the_time_of_a_uuid_is_the_time_it_was_minted() {
        let id = Id::new("01929f3e-0000-7000-8000-000000000001").unwrap();
        assert_eq!(minted_at(&id), Some(0x0192_9f3e_0000));
        assert_eq!(minted_at(&Id::new("01929f3e-0000-4000-8000-000000000001").unwrap()), None);
        assert_eq!(minted_at(&Id::new("job-7").unwrap()), None);
    }
}
