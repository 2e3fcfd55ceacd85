//! One event, and its three forms. What a stranger may have chosen (names of files, of sessions, reasons of a gateway) is
//! written so that it ends no line and no field.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use spooldir::sanitize::{boundary_before, visible};
use spooldir::time::{day_of, now_ms};
use tracing::Level;
use tracing::field::{Field, Visit};

/// The longest value of a field, in bytes: what a gateway gives as a reason has no bounds of its own.
const MAX_VALUE: usize = 4096;

/// An event.
#[derive(Debug, Clone)]
pub struct Line {
    /// When, in milliseconds since 1970.
    at: u64,
    level: Level,
    pub message: String,
    fields: Vec<(&'static str, String)>,
}

/// The fields of an event, as they are collected.
#[derive(Debug, Default)]
pub struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value);
    }
}

impl Fields {
    /// Takes over what another one says, but not what is said already.
    pub fn join(&mut self, about: &Fields) {
        for (name, value) in &about.others {
            if !self.others.iter().any(|(said, _)| said == name) {
                self.others.push((name, value.clone()));
            }
        }
    }

    fn keep(&mut self, field: &Field, value: &str) {
        let end = boundary_before(value, MAX_VALUE);
        let cut = if end < value.len() { "…" } else { "" };
        let value = visible(&value[..end]) + cut;
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((name, value)),
        }
    }
}

impl Line {
    pub fn new(level: Level, fields: Fields) -> Line {
        Line { at: now_ms(), level, message: fields.message, fields: fields.others }
    }

    /// What tells how often this was repeated.
    pub fn again(&self, more: u64) -> Line {
        let message = format!("… {more} more: {}", self.message);
        Line { at: now_ms(), level: self.level, message, fields: Vec::new() }
    }

    fn time(&self) -> String {
        let (seconds, ms) = (self.at / 1000 % 86_400, self.at % 1000);
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{}T{h:02}:{m:02}:{s:02}.{ms:03}Z", day_of(self.at))
    }

    /// `2026-11-23T16:57:19.518Z  INFO the message name=value`
    pub fn human(&self) -> String {
        let mut text = format!("{} {:>5} {}", self.time(), self.level, self.message);
        for (name, value) in &self.fields {
            let is_plain = !value.is_empty() && !value.contains([' ', '"', '=']);
            // Writing to a string does not fail.
            let _written = if is_plain {
                write!(text, " {name}={value}").is_ok()
            } else {
                write!(text, " {name}={value:?}").is_ok()
            };
        }
        text
    }

    /// An object on one line.
    pub fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("at".into(), self.at.into());
        object.insert("level".into(), self.level.as_str().to_lowercase().into());
        object.insert("message".into(), self.message.clone().into());
        for (name, value) in &self.fields {
            let value = value.parse::<u64>().map_or_else(|_| value.clone().into(), Value::from);
            object.entry(*name).or_insert(value);
        }
        Value::Object(object).to_string()
    }

    /// A datagram to the journal: fields a line each, a value of several lines with its length before it.
    pub fn journal(&self) -> Vec<u8> {
        let priority = match self.level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let mut bytes = Vec::new();
        let mut put = |name: &str, value: &str| {
            bytes.extend(name.as_bytes());
            if value.contains('\n') {
                bytes.push(b'\n');
                bytes.extend((value.len() as u64).to_le_bytes());
            } else {
                bytes.push(b'=');
            }
            bytes.extend(value.as_bytes());
            bytes.push(b'\n');
        };
        let mut message = self.message.clone();
        for (name, value) in &self.fields {
            put(&format!("SPOOL_{}", name.to_uppercase()), value);
            message.push_str(&format!(" {name}={value}"));
        }
        put("MESSAGE", &message);
        put("PRIORITY", priority);
        put("SYSLOG_IDENTIFIER", "spool");
        bytes
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A line that says this of an entry.
    pub fn line(message: &str, id: &str) -> Line {
        let fields =
            vec![("id", visible(id)), ("session", "agent:main:main".into()), ("records", "3".into())];
        Line { at: 1_795_411_200_518, level: Level::WARN, message: visible(message), fields }
    }

    #[test]
    fn a_line_has_a_form_for_each_reader() {
        let line = line("held: no", "a b\nc");
        assert_eq!(
            line.human(),
            r#"2026-11-23T05:20:00.518Z  WARN held: no id="a b\\nc" session=agent:main:main records=3"#
        );
        let json: Value = serde_json::from_str(&line.json()).unwrap();
        assert_eq!(
            (&json["at"], &json["level"], &json["records"]),
            (&1_795_411_200_518_u64.into(), &"warn".into(), &3.into())
        );
        assert_eq!((&json["id"], &json["session"]), (&r"a b\nc".into(), &"agent:main:main".into()));
        let journal = String::from_utf8(line.journal()).unwrap();
        for field in [
            "SPOOL_SESSION=agent:main:main\n",
            "PRIORITY=4\n",
            "\nMESSAGE=held: no id=",
            "SPOOL_ID=a b\\nc\n",
        ] {
            assert!(journal.contains(field), "{journal}");
        }
        assert!(journal.lines().all(|line| line.contains('=')), "{journal}");
    }
}
