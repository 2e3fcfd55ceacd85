//! `--map FILE`: an adapter of one's own, as a table of TOML.
//!
//! ```toml
//! [from.nightly]
//! shape = "env"                       # stdin, argv-json, env or args
//! id = "{MONITOR_INVOCATION_ID}"
//! label = "{MONITOR_UNIT}"
//! exit_code = "{MONITOR_EXIT_STATUS}"
//! status = { field = "MONITOR_SERVICE_RESULT", ok = ["success"], timeout = ["timeout"], else = "failed" }
//! only = { field = "MONITOR_SERVICE_RESULT", is = ["exit-code", "signal"] }
//! ```
//!
//! A template stands for its text with each `{field}` replaced; `{{` is one brace. One whose field is missing is left
//! out. Fields are, by the shape: a dotted path into the JSON; a variable of the environment; the value of `name=value`
//! or, by a number from 1, an argument's place. Values go into the record and nowhere else: nothing is executed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map as Object, Value};
use spooldir::exit;
use spooldir::record::Status;

use super::fields::{Env, Fields};
use super::report::{Heard, Report};
use super::{id, input, toml};
use crate::Failure;

/// The largest map, in bytes.
const LIMIT: u64 = 64 * 1024;
/// What a template may be for.
const TEMPLATES: [&str; 9] =
    ["id", "label", "text", "cwd", "runner", "exit_code", "signal", "output", "command"];
const SHAPES: [&str; 4] = ["stdin", "argv-json", "env", "args"];

/// One `[from.NAME]`.
#[derive(Debug)]
pub struct Map {
    name: String,
    members: Object<String, Value>,
}

/// Reads the table of a name, or the only one there is.
///
/// # Errors
/// A [`Failure`] of exit 78 that says what is wrong with the file.
pub fn read(path: &Path, name: Option<&str>) -> Result<Map, Failure> {
    let wrong =
        |why: String| Failure::new(exit::CONFIG, format!("cannot use the map {}: {why}", path.display()));
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT).read_to_string(&mut text))
        .map_err(|e| wrong(e.to_string()))?;
    select(&text, name).map_err(wrong)
}

/// As [`read`], from the text of the file.
///
/// # Errors
/// What is wrong with it.
pub fn select(text: &str, name: Option<&str>) -> Result<Map, String> {
    let mut document = toml::parse(text)?;
    let Some(Value::Object(tables)) = document.get_mut("from") else {
        return Err("there is no [from.NAME] in it".into());
    };
    let name = match name {
        Some(name) => name.to_owned(),
        None if tables.len() == 1 => tables.keys().next().cloned().unwrap_or_default(),
        None => return Err("it has more than one [from.NAME]; say which with --from NAME".into()),
    };
    match tables.get_mut(&name) {
        Some(Value::Object(members)) => {
            check(members).map_err(|why| format!("[from.{name}]: {why}"))?;
            Ok(Map { members: std::mem::take(members), name })
        }
        _ => Err(format!("there is no [from.{name}] in it")),
    }
}

/// A mistake in a map is said when it is used first, and not when an odd event happens to come.
fn check(members: &Object<String, Value>) -> Result<(), String> {
    if !members.get("shape").and_then(Value::as_str).is_some_and(|shape| SHAPES.contains(&shape)) {
        return Err(format!("shape must be one of {}", SHAPES.join(", ")));
    }
    for (name, value) in members {
        match (name.as_str(), value) {
            ("shape", _) => {}
            ("status", Value::Object(table)) => check_words(table, "status", &|key, value| match value {
                Value::String(word) => key == "else" && Status::from_word(word).is_some(),
                value => Status::from_word(key).is_some() && is_words(value),
            })?,
            ("only", Value::Object(table)) if table.contains_key("is") => {
                check_words(table, "only", &|key, value| key == "is" && is_words(value))?;
            }
            (name, Value::String(template)) if TEMPLATES.contains(&name) => {
                render(template, &Fields::Words(&[])).map_err(|why| format!("{name}: {why}"))?;
            }
            _ => return Err(format!("{name} is not known here, or of another type")),
        }
    }
    Ok(())
}

fn check_words(
    table: &Object<String, Value>,
    name: &str,
    is_good: &dyn Fn(&str, &Value) -> bool,
) -> Result<(), String> {
    if table.get("field").and_then(Value::as_str).is_none() {
        return Err(format!("{name} needs a field"));
    }
    match table.iter().find(|(key, value)| *key != "field" && !is_good(key, value)) {
        Some((key, _)) => Err(format!("{name}.{key} is not known here, or of another type")),
        None => Ok(()),
    }
}

fn is_words(value: &Value) -> bool {
    value.as_array().is_some_and(|words| words.iter().all(Value::is_string))
}

impl Map {
    /// What an announcement says by this map.
    ///
    /// # Errors
    /// A [`Failure`] when it does not have the map's shape.
    pub fn hear(&self, words: &[String], env: Env<'_>) -> Result<Heard, Failure> {
        let document;
        let fields = match self.text("shape") {
            Some("stdin") => {
                document = input::stdin()?;
                Fields::Json(&document)
            }
            Some("argv-json") => {
                document = input::argument(words)?;
                Fields::Json(&document)
            }
            Some("env") => Fields::Env(env),
            _ => Fields::Words(words),
        };
        Ok(self.apply(&fields))
    }

    fn apply(&self, fields: &Fields<'_>) -> Heard {
        if let Some(only) = self.members.get("only") {
            let value = only["field"].as_str().and_then(|field| fields.get(field)).unwrap_or_default();
            if !has(&only["is"], &value) {
                return Heard::Nothing;
            }
        }
        // They were rendered once when they were checked, so they are well formed.
        let of = |name: &str| render(self.text(name)?, fields).ok().flatten();
        let mut report = Report::of(&of("runner").unwrap_or_else(|| self.name.clone()));
        report.id = of("id").and_then(|own| id::stable(&self.name, &[Some(own)]));
        report.label = of("label");
        report.text = of("text");
        report.output = of("output");
        report.task.cwd = of("cwd");
        report.task.command = of("command").into_iter().collect();
        report.task.exit_code = of("exit_code").and_then(|code| code.trim().parse().ok());
        report.task.signal = of("signal");
        report.status = self.members.get("status").map(|rule| status(rule, fields));
        report.into()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }
}

/// The status whose words hold the field's value, else that of `else`, else `info`.
fn status(rule: &Value, fields: &Fields<'_>) -> Status {
    let value = rule["field"].as_str().and_then(|field| fields.get(field)).unwrap_or_default();
    let listed = rule.as_object().into_iter().flatten().find(|(_, words)| has(words, &value));
    let word = listed.map(|(word, _)| word.as_str()).or_else(|| rule.get("else")?.as_str());
    word.and_then(Status::from_word).unwrap_or(Status::Info)
}

fn has(words: &Value, value: &str) -> bool {
    words.as_array().is_some_and(|words| words.iter().any(|word| word == value))
}

/// The text of a template; `None` when one of its fields is missing.
fn render(template: &str, fields: &Fields<'_>) -> Result<Option<String>, &'static str> {
    let (mut out, mut rest, mut is_whole) = (String::new(), template, true);
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let (field, after) = match (brace, rest.split_once('}')) {
            ("{", Some((field, after))) if !field.is_empty() && !field.contains('{') => (field, after),
            _ => return Err("a brace without its partner; a brace of its own is written twice"),
        };
        match fields.get(field) {
            Some(value) => out.push_str(&value),
            None => is_whole = false,
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(Some(out).filter(|out| is_whole && !out.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = r#"
        [from.unit]
        shape = "args"
        id = "{1}.{n}"
        text = "{{{1}}} says {n}"
        cwd = "{nowhere}"
        exit_code = "{code}"
        status = { field = "r", ok = ["success", "fine"], timeout = ["timeout"], else = "failed" }
        only = { field = "1", is = ["a", "b"] }
        [from.other]
        shape = "env"
    "#;

    fn heard(words: &[&str]) -> Option<Report> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        match select(MAP, Some("unit")).unwrap().apply(&Fields::Words(&words)) {
            Heard::Report(report) => Some(*report),
            Heard::Nothing => None,
        }
    }

    #[test]
    fn a_map_says_what_is_what() {
        let report = heard(&["a", "n=7", "code=3", "r=fine"]).unwrap();
        assert_eq!(report.id.unwrap().as_str(), "unit:a.7");
        assert_eq!(report.text.as_deref(), Some("{a} says 7"));
        assert_eq!(
            (report.status, report.task.exit_code, report.task.cwd),
            (Some(Status::Ok), Some(3), None)
        );
        assert_eq!(heard(&["a", "r=timeout"]).unwrap().status, Some(Status::Timeout));
        let bare = heard(&["b"]).unwrap();
        assert_eq!((bare.status, bare.id, bare.text), (Some(Status::Failed), None, None));
        assert_eq!(heard(&["c"]), None);
    }

    #[test]
    fn a_mistake_is_said_with_its_place() {
        let refusal = |text: &str| select(text, None).unwrap_err();
        for (text, why) in [
            ("x = 1", "no [from.NAME]"),
            (MAP, "more than one"),
            ("[from.a]\nshape = \"xml\"", "[from.a]: shape must be one of stdin, argv-json, env, args"),
            ("[from.a]", "shape must be"),
            ("[from.a]\nshape = \"env\"\nlabl = \"x\"", "labl is not known"),
            ("[from.a]\nshape = \"env\"\nlabel = 1", "label is not known here, or of another type"),
            ("[from.a]\nshape = \"env\"\nlabel = \"{x\"", "label: a brace"),
            ("[from.a]\nshape = \"env\"\nlabel = \"x}\"", "label: a brace"),
            ("[from.a]\nshape = \"env\"\nstatus = {ok = [\"x\"]}", "status needs a field"),
            ("[from.a]\nshape = \"env\"\nstatus = {field = \"x\", fine = [\"x\"]}", "status.fine"),
            ("[from.a]\nshape = \"env\"\nstatus = {field = \"x\", else = \"fine\"}", "status.else"),
            ("[from.a]\nshape = \"env\"\nonly = {field = \"x\", is = \"x\"}", "only.is"),
            (
                "[from.a]\nshape = \"env\"\nonly = {field = \"x\"}",
                "only is not known here, or of another type",
            ),
            ("[from.a]\nshape", "line 2"),
        ] {
            let said = refusal(text);
            assert!(said.contains(why), "{text:?}: {said:?} does not say {why:?}");
        }
        assert!(select(MAP, Some("third")).unwrap_err().contains("no [from.third]"));
        assert!(select("[from.a]\nshape = \"env\"", None).is_ok());
    }
}
