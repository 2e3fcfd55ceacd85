//! The record: what a producer says about one completion.
//!
//! This is the schema of `spool-format.md` section 4 in code. Parsing is strict about the members we know (a wrong
//! type is the producer's mistake, and is said so) and blind to those we do not: the bytes of a record are never
//! rewritten, so unknown members survive. A record of a later major version is not a flaw but a [`Flaw::Version`]:
//! it is held, never thrown away.

use std::fmt;

use serde_json::{Map, Value};

use crate::json;
use crate::name::Id;

/// The version this crate reads and writes.
pub const VERSION: u64 = 1;
/// The largest record, in bytes of its file.
pub const MAX_BYTES: u64 = 256 * 1024;
/// The longest `sessionKey`, in bytes (the gateway's own limit).
pub const MAX_SESSION_KEY: usize = 512;
/// The longest `label`, in characters.
pub const MAX_LABEL: usize = 200;

/// Why bytes are not a record this version can deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// Not a good record, and never will be. Says why, without quoting it.
    Bad(String),
    /// Written by a later version of the format: to be held, not judged.
    Version(u64),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Bad(why) => f.write_str(why),
            Flaw::Version(v) => {
                write!(
                    f,
                    "version {v} of the format, this program reads version {VERSION}; update it and release the entry"
                )
            }
        }
    }
}

impl std::error::Error for Flaw {}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It ended well.
    Ok,
    /// It ended badly.
    Failed,
    /// It ran out of time.
    Timeout,
    /// Somebody stopped it.
    Cancelled,
    /// It vanished: nobody saw it end.
    Lost,
    /// Not the end of a task: just something to say.
    Info,
}

/// How the record wants to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Deliver {
    /// A turn of the session's agent (the default).
    #[default]
    Turn,
    /// Straight to the session's channel.
    Message,
    /// Into the transcript only.
    Note,
}

/// When the session is told at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Notify {
    /// Always (the default).
    #[default]
    Always,
    /// Only when the task did not end well.
    Failure,
    /// Never: the record is kept as a receipt only.
    Never,
}

macro_rules! words {
    ($type:ident, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// The word in the record.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $word),+ }
            }
            /// The value a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($type::$variant),)+ _ => None }
            }
            /// All words, for messages and help.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
words!(
    Status,
    Ok = "ok",
    Failed = "failed",
    Timeout = "timeout",
    Cancelled = "cancelled",
    Lost = "lost",
    Info = "info"
);
words!(Deliver, Turn = "turn", Message = "message", Note = "note");
words!(Notify, Always = "always", Failure = "failure", Never = "never");

/// The task that ended, as far as the producer knows it.
#[derive(Debug, Clone, PartialEq, Default)]
#[expect(missing_docs, reason = "the members are those of spool-format.md section 4")]
pub struct Task {
    pub runner: Option<String>,
    pub command: Vec<String>,
    pub cwd: Option<String>,
    pub host: Option<String>,
    pub exit_code: Option<i64>,
    pub signal: Option<String>,
    pub started_at: Option<u64>,
    pub ended_at: Option<u64>,
    pub duration_ms: Option<u64>,
}

impl Task {
    /// How long it ran, in milliseconds: as said, else the difference of the two times.
    pub fn duration_ms(&self) -> Option<u64> {
        self.duration_ms.or_else(|| self.ended_at?.checked_sub(self.started_at?))
    }
}

/// The end of what the task printed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// The last lines. Untrusted.
    pub tail: Option<String>,
    /// Whether there was more.
    pub truncated: bool,
    /// Where the whole of it is.
    pub path: Option<String>,
}

/// Where a reply belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the members are those of spool-format.md section 4")]
pub struct Route {
    pub channel: String,
    pub to: String,
    pub account_id: Option<String>,
    pub thread_id: Option<String>,
}

/// One completion record. Times are milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The id in the document; an entry always has one, from here or from its name.
    pub id: Option<Id>,
    /// The session it is for; `None` is held as unrouted.
    pub session_key: Option<String>,
    /// What to say.
    pub text: Option<String>,
    /// What ended.
    pub task: Option<Task>,
    /// How it ended: as said, else what the task's exit tells, else `info`.
    pub status: Status,
    /// A short name for people.
    pub label: Option<String>,
    /// The end of the output.
    pub output: Option<Output>,
    /// When the producer wrote it.
    pub created_at: Option<u64>,
    /// Not to be delivered before.
    pub not_before: Option<u64>,
    /// Of no use to anybody after.
    pub expires_at: Option<u64>,
    /// How to hand it over.
    pub deliver: Deliver,
    /// Whether it says so itself; else policy may say otherwise.
    pub says_deliver: bool,
    /// Where the reply belongs.
    pub route: Option<Route>,
    /// When to tell at all.
    pub notify: Notify,
    /// Skips the coalescing window.
    pub urgent: bool,
    /// The id of an older record that this one makes pointless.
    pub supersedes: Option<Id>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Record {
    /// Reads a record from the bytes of its file.
    ///
    /// # Errors
    /// [`Flaw::Bad`] with a reason that quotes nothing of the record, or [`Flaw::Version`].
    pub fn parse(bytes: &[u8]) -> Result<Record, Flaw> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Flaw::Bad(format!("{} bytes, the limit is {MAX_BYTES}", bytes.len())));
        }
        let Value::Object(map) = json::parse(bytes).map_err(Flaw::Bad)? else {
            return Err(Flaw::Bad("the document is not a JSON object".into()));
        };
        Record::from_map(&map)
    }

    /// Reads a record from an object that is already parsed.
    ///
    /// # Errors
    /// As [`Record::parse`].
    pub fn from_map(map: &Map<String, Value>) -> Result<Record, Flaw> {
        let members = Members { map, prefix: "" };
        match members.uint("v")? {
            None | Some(VERSION) => {}
            Some(0) => return Err(members.wrong("v", "must be 1")),
            Some(later) => return Err(Flaw::Version(later)),
        }
        let task = members.object("task")?.map(|m| task(&m)).transpose()?;
        let text = members.text("text")?;
        if text.is_none() && task.is_none() {
            return Err(Flaw::Bad("neither \"text\" nor \"task\" is there; one of them is required".into()));
        }
        let deliver = members.word("deliver", Deliver::from_word, Deliver::WORDS)?;
        let said = members.word("status", Status::from_word, Status::WORDS)?;
        Ok(Record {
            id: members.id("id")?,
            session_key: session_key(&members)?,
            status: said.unwrap_or_else(|| status_of(task.as_ref())),
            text,
            task,
            label: label(&members)?,
            output: members.object("output")?.map(|m| output(&m)).transpose()?,
            created_at: members.uint("createdAt")?,
            not_before: members.uint("notBefore")?,
            expires_at: members.uint("expiresAt")?,
            deliver: deliver.unwrap_or_default(),
            says_deliver: deliver.is_some(),
            route: members.object("route")?.map(|m| route(&m)).transpose()?,
            notify: members.word("notify", Notify::from_word, Notify::WORDS)?.unwrap_or_default(),
            urgent: members.flag("urgent")?.unwrap_or(false),
            supersedes: members.id("supersedes")?,
            traceparent: members.text("traceparent")?,
        })
    }

    /// Whether the session is to be told, by `notify`.
    pub fn is_told(&self) -> bool {
        match self.notify {
            Notify::Always => true,
            Notify::Failure => !matches!(self.status, Status::Ok | Status::Info),
            Notify::Never => false,
        }
    }
}

fn status_of(task: Option<&Task>) -> Status {
    match task {
        Some(Task { signal: Some(_), .. }) => Status::Failed,
        Some(Task { exit_code: Some(0), .. }) => Status::Ok,
        Some(Task { exit_code: Some(_), .. }) => Status::Failed,
        _ => Status::Info,
    }
}

fn session_key(members: &Members<'_>) -> Result<Option<String>, Flaw> {
    let Some(key) = members.text("sessionKey")? else {
        return Ok(None);
    };
    if key.trim().is_empty() {
        return Ok(None);
    }
    check_session_key(&key).map_err(|rule| members.wrong("sessionKey", rule))?;
    Ok(Some(key))
}

/// Checks a session key against the limits of the format.
///
/// # Errors
/// The rule that it breaks.
pub fn check_session_key(key: &str) -> Result<(), &'static str> {
    if key.len() > MAX_SESSION_KEY {
        return Err("must be at most 512 bytes long");
    }
    if key.chars().any(char::is_control) {
        return Err("must not hold control characters");
    }
    if key.trim() != key || key.is_empty() {
        return Err("must not be blank, or start or end with a blank");
    }
    Ok(())
}

fn label(members: &Members<'_>) -> Result<Option<String>, Flaw> {
    let label = members.text("label")?;
    if label.as_ref().is_some_and(|l| l.chars().count() > MAX_LABEL) {
        return Err(members.wrong("label", "must be at most 200 characters long"));
    }
    Ok(label)
}

fn task(m: &Members<'_>) -> Result<Task, Flaw> {
    Ok(Task {
        runner: m.text("runner")?,
        command: m.texts("command")?,
        cwd: m.text("cwd")?,
        host: m.text("host")?,
        exit_code: m.int("exitCode")?,
        signal: m.text("signal")?,
        started_at: m.uint("startedAt")?,
        ended_at: m.uint("endedAt")?,
        duration_ms: m.uint("durationMs")?,
    })
}

fn output(m: &Members<'_>) -> Result<Output, Flaw> {
    Ok(Output {
        tail: m.text("tail")?,
        truncated: m.flag("truncated")?.unwrap_or(false),
        path: m.text("path")?,
    })
}

fn route(m: &Members<'_>) -> Result<Route, Flaw> {
    let need = |name| m.text(name)?.filter(|t| !t.is_empty()).ok_or_else(|| m.wrong(name, "is required"));
    Ok(Route {
        channel: need("channel")?,
        to: need("to")?,
        account_id: m.text("accountId")?,
        thread_id: m.text_or_number("threadId")?,
    })
}

/// Typed access to the members of one object, with errors that name the member and quote no value.
struct Members<'a> {
    map: &'a Map<String, Value>,
    prefix: &'static str,
}

impl<'a> Members<'a> {
    fn wrong(&self, name: &str, rule: &str) -> Flaw {
        Flaw::Bad(format!("\"{}{name}\" {rule}", self.prefix))
    }

    /// A member that is there and not null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, Flaw> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// Channels number their threads; the gateway wants text.
    fn text_or_number(&self, name: &str) -> Result<Option<String>, Flaw> {
        match self.get(name) {
            Some(Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(Some(n.to_string())),
            _ => self.text(name),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Flaw> {
        let wrong = || self.wrong(name, "must be an array of strings");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|i| i.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    fn uint(&self, name: &str) -> Result<Option<u64>, Flaw> {
        self.get(name)
            .map(|v| v.as_u64().ok_or_else(|| self.wrong(name, "must be a whole number, not negative")))
            .transpose()
    }

    fn int(&self, name: &str) -> Result<Option<i64>, Flaw> {
        self.get(name)
            .map(|v| v.as_i64().ok_or_else(|| self.wrong(name, "must be a whole number")))
            .transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Flaw> {
        self.get(name)
            .map(|v| v.as_bool().ok_or_else(|| self.wrong(name, "must be true or false")))
            .transpose()
    }

    fn id(&self, name: &str) -> Result<Option<Id>, Flaw> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        Id::new(&text).map(Some).map_err(|_| self.wrong(name, crate::name::ID_RULE))
    }

    fn word<T>(&self, name: &str, read: fn(&str) -> Option<T>, words: &[&str]) -> Result<Option<T>, Flaw> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        read(&text).map(Some).ok_or_else(|| self.wrong(name, &format!("must be one of {}", words.join(", "))))
    }

    fn object(&self, name: &'static str) -> Result<Option<Members<'a>>, Flaw> {
        let prefix = match name {
            "task" => "task.",
            "output" => "output.",
            _ => "route.",
        };
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Members { map, prefix })),
            Some(_) => Err(self.wrong(name, "must be an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> String {
        match Record::parse(text.as_bytes()) {
            Err(Flaw::Bad(why)) => why,
            other => panic!("expected a bad record, got {other:?}"),
        }
    }

    #[test]
    fn two_members_are_a_whole_record() {
        let record = Record::parse(br#"{"sessionKey":"agent:main:main","text":"done"}"#).unwrap();
        assert_eq!(record.session_key.as_deref(), Some("agent:main:main"));
        assert_eq!(record.status, Status::Info);
        assert_eq!(record.deliver, Deliver::Turn);
        assert!(record.is_told());
    }

    #[test]
    fn the_exit_of_the_task_gives_the_status() {
        let of = |t: &str| Record::parse(format!(r#"{{"task":{t}}}"#).as_bytes()).unwrap().status;
        assert_eq!(of(r#"{"exitCode":0}"#), Status::Ok);
        assert_eq!(of(r#"{"exitCode":3}"#), Status::Failed);
        assert_eq!(of(r#"{"exitCode":0,"signal":"SIGKILL"}"#), Status::Failed);
        assert_eq!(of("{}"), Status::Info);
    }

    #[test]
    fn wrong_types_name_the_member_and_quote_nothing() {
        let cases = [
            (r#"{"text":1}"#, "\"text\" must be a string"),
            (r#"{"text":"x","task":{"exitCode":"secret"}}"#, "\"task.exitCode\" must be a whole number"),
            (r#"{"text":"x","status":"secret"}"#, "\"status\" must be one of ok, failed"),
            (r#"{"text":"x","id":"a/b secret"}"#, "\"id\" must"),
            (r#"{"text":"x","route":{"channel":"telegram"}}"#, "\"route.to\" is required"),
            (r#"{"text":"x","createdAt":-1}"#, "\"createdAt\" must be a whole number"),
            (r#"{"text":"x","sessionKey":"a\nb"}"#, "control characters"),
            (r#"{"sessionKey":"s"}"#, "neither"),
            (r#"["secret"]"#, "not a JSON object"),
        ];
        for (text, expected) in cases {
            let why = flaw(text);
            assert!(why.contains(expected), "{why:?} does not say {expected:?}");
            assert!(!why.contains("secret"));
        }
    }

    #[test]
    fn a_later_version_is_not_judged() {
        let later = Record::parse(br#"{"v":2,"text":[{"kind":"rich"}]}"#);
        assert_eq!(later, Err(Flaw::Version(2)));
    }

    #[test]
    fn unknown_members_and_nulls_do_no_harm() {
        let record = Record::parse(br#"{"text":"x","label":null,"future":{"a":[1]}}"#).unwrap();
        assert_eq!(record.label, None);
    }

    #[test]
    fn a_blank_session_is_no_session() {
        assert_eq!(Record::parse(br#"{"text":"x","sessionKey":"  "}"#).unwrap().session_key, None);
    }

    #[test]
    fn notify_decides_who_is_told() {
        let told = |n: &str, s: &str| {
            Record::parse(format!(r#"{{"text":"x","notify":"{n}","status":"{s}"}}"#).as_bytes())
                .unwrap()
                .is_told()
        };
        assert!(told("always", "ok"));
        assert!(!told("failure", "ok"));
        assert!(told("failure", "lost"));
        assert!(!told("never", "failed"));
    }
}
