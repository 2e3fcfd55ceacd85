//! What task runners hand over, and the record that is made of it: always a good one.

use std::ffi::OsString;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use spooldir::record::MAX_BYTES;
use spooldir::{Id, Record};

use crate::args::{self, Args, Command};
use crate::feed::Feed;
use crate::from::hooks::{self, CODEX};
use crate::from::{Heard, Report, id, input, map, toml, variables, words as adapters};
use crate::promises::check_sentence;
use crate::{Failure, compose};

/// `spool-put --from NAME`, as a hook calls it.
static HOOK: LazyLock<Args> = LazyLock::new(|| {
    match args::parse(lexopt::Parser::from_args(["--from", "claude", "--session", "agent:main:main"])) {
        Ok(Command::Put(args)) => *args,
        _ => panic!("the command line of a hook"),
    }
});

fn no_env(_: &str) -> Option<OsString> {
    None
}

/// What was heard is nothing, a sentence that quotes nothing, or a record as good as any.
fn check(heard: Result<Heard, Failure>) {
    let report = match heard {
        Ok(Heard::Report(report)) => *report,
        Ok(Heard::Nothing) => return,
        Err(failure) => return check_sentence(&failure.sentence),
    };
    let composed = composed(&report, report.id.as_ref());
    if report.id.is_some() {
        // A hook that fires twice is one record; and it has another id to go to.
        assert_eq!(composed, self::composed(&report, report.id.as_ref()), "the same event makes other bytes");
        let other = id::other(&composed.0, &composed.1).expect("an id that leaves room for another");
        assert_ne!(self::composed(&report, Some(&other)).0, composed.0);
    }
}

fn composed(report: &Report, id: Option<&Id>) -> (Id, Vec<u8>) {
    let made = match compose::from_report(&HOOK, &no_env, report, id) {
        Ok(made) => made,
        Err(failure) => panic!("a report that makes no record: {}", failure.sentence),
    };
    assert!(made.bytes.len() as u64 <= MAX_BYTES, "{} bytes", made.bytes.len());
    let record = match Record::parse(&made.bytes) {
        Ok(record) => record,
        Err(flaw) => panic!("a report makes a record that is none: {flaw}"),
    };
    assert_eq!(record.id.as_ref(), Some(&made.id));
    (made.id, made.bytes)
}

const TOOLS: [&str; 8] = ["codex-hook", "claude", "gemini", "goose", "cursor", "copilot", "opencode", "amp"];

pub(super) fn hook(data: &[u8]) {
    let mut feed = Feed::new(data);
    let choice = feed.byte();
    let rest = &data[data.len().min(1)..];
    let tool = match TOOLS.get(usize::from(choice & 15)) {
        Some(name) => hooks::tool(name).expect("a tool of this name"),
        None => &CODEX,
    };
    match input::argument(&[String::from_utf8_lossy(rest).into_owned()]) {
        Ok(document) => check(hooks::hear(tool, &document, choice & 16 != 0)),
        Err(failure) => check_sentence(&failure.sentence),
    }
}

pub(super) fn words(data: &[u8]) {
    let mut feed = Feed::new(data);
    let choice = feed.byte();
    let mut words = Vec::new();
    while !feed.is_empty() && words.len() < 32 {
        words.push(feed.text());
    }
    let env = |name: &str| {
        let found = words.iter().find_map(|word| word.split_once('=').filter(|(said, _)| *said == name));
        found.map(|(_, value)| OsString::from(value))
    };
    check(match choice % 4 {
        0 => adapters::pueue(&words),
        1 => adapters::tsp(&words),
        2 => variables::systemd(&env),
        _ => variables::gha(&env),
    });
}

pub(super) fn map(data: &[u8]) {
    let mut feed = Feed::new(data);
    let text = feed.text();
    let mut words = Vec::new();
    while !feed.is_empty() && words.len() < 8 {
        words.push(feed.text());
    }
    let ours = toml::parse(&text);
    if let Ok(ours) = &ours {
        // What is read here is what TOML means by it.
        let theirs =
            text.parse::<toml_edit::DocumentMut>().unwrap_or_else(|e| panic!("is read, and is no TOML: {e}"));
        assert_eq!(&table(theirs.as_table()), ours, "is read as something else");
    }
    match map::select(&text, None) {
        Err(why) => assert!(why.len() < 4096, "{} bytes of words", why.len()),
        Ok(map) => {
            let env = |name: &str| words.iter().find(|word| word.len() == name.len()).map(OsString::from);
            // Standard input is not the fuzzer's.
            let shape = |table: &Value| table.get("shape").is_some_and(|shape| shape == "stdin");
            let waits =
                ours.is_ok_and(|all| all["from"].as_object().into_iter().flatten().any(|(_, t)| shape(t)));
            if !waits {
                check(map.hear(&words, &env));
            }
        }
    }
}

/// A table of TOML as JSON has it; what JSON has no value for is null.
pub(super) fn table(table: &dyn toml_edit::TableLike) -> Map<String, Value> {
    table.iter().map(|(name, item)| (name.to_owned(), item_value(item))).collect()
}

fn item_value(item: &toml_edit::Item) -> Value {
    match (item.as_table_like(), item.as_value()) {
        (Some(inner), _) => table(inner).into(),
        (None, Some(inner)) => value(inner),
        (None, None) => Value::Null,
    }
}

fn value(of: &toml_edit::Value) -> Value {
    match of {
        toml_edit::Value::String(text) => text.value().clone().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(flag) => (*flag.value()).into(),
        toml_edit::Value::Array(items) => items.iter().map(value).collect::<Vec<_>>().into(),
        toml_edit::Value::InlineTable(inner) => table(inner).into(),
        _ => Value::Null,
    }
}
