//! The command line of `spool-put`: strict, because a mistyped option must not become a record without it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use spool_pages::put::PAGE;
use spooldir::record::{Deliver, Notify, Status, check_session_key};
use spooldir::wait::Level;
use spooldir::{Id, exit};

use crate::Failure;
use crate::from::From as FromRunner;

/// Where the words come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Text(OsString),
    /// Standard input, as text.
    Stdin,
    /// A whole record from a file, or from standard input for `-`.
    Record(PathBuf),
    /// The exit code says enough.
    Nothing,
}

/// What was asked for.
#[derive(Debug)]
pub struct Args {
    pub session: Option<String>,
    pub allow_unrouted: bool,
    pub status: Option<Status>,
    pub exit_code: Option<i64>,
    pub label: Option<String>,
    pub id: Option<Id>,
    pub deliver: Option<Deliver>,
    pub notify: Option<Notify>,
    pub not_before: Option<u64>,
    pub urgent: bool,
    pub spool: Option<PathBuf>,
    pub json: bool,
    pub source: Source,
    /// A runner's announcement, in place of a source.
    pub from: Option<FromRunner>,
    pub strict: bool,
    pub wait: Option<Wait>,
}

impl Args {
    /// Whether a runner waits for nothing but an exit of 0 and silence.
    pub fn is_hook(&self) -> bool {
        self.from.is_some() && !self.strict
    }

    /// Whether no option says anything about the record itself. All members are named, so that none can be forgotten.
    pub fn is_plain(&self) -> bool {
        matches!(
            self,
            Args {
                session: None,
                status: None,
                exit_code: None,
                label: None,
                id: None,
                deliver: None,
                notify: None,
                not_before: None,
                urgent: false,
                allow_unrouted: _,
                spool: _,
                json: _,
                source: _,
                from: _,
                strict: _,
                wait: _,
            }
        )
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// `None`: until it is delivered.
    pub level: Option<Level>,
    pub timeout: Duration,
}

/// How long is waited when nothing says.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What to do.
pub enum Command {
    Help,
    Version,
    Put(Box<Args>),
}

fn usage(sentence: impl Into<String>) -> Failure {
    Failure::new(exit::USAGE, sentence.into() + " (see spool-put --help)")
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        usage(error.to_string())
    }
}

/// Reads the command line.
///
/// # Errors
/// A [`Failure`] of exit 64 for everything that is not exactly right.
pub fn parse(mut parser: Parser) -> Result<Command, Failure> {
    let mut seen: Vec<String> = Vec::new();
    let mut record = None;
    let mut args = Args {
        session: None,
        allow_unrouted: false,
        status: None,
        exit_code: None,
        label: None,
        id: None,
        deliver: None,
        notify: None,
        not_before: None,
        urgent: false,
        spool: None,
        json: false,
        source: Source::Nothing,
        from: None,
        strict: false,
        wait: None,
    };
    let (mut from, mut words) = (FromRunner::default(), Vec::new());
    let (mut level, mut timeout) = (None, None);
    while let Some(arg) = parser.next()? {
        let name = match arg {
            Arg::Short('h') => return Ok(Command::Help),
            Arg::Short('V') => return Ok(Command::Version),
            Arg::Short(c) => {
                return Err(usage(format!(
                    "unknown option -{c}; a text that begins with a dash goes after --"
                )));
            }
            Arg::Value(value) => {
                words.push(value);
                continue;
            }
            Arg::Long(name) => name.to_owned(),
        };
        if !PAGE.has(&name) {
            return Err(usage(format!("unknown option --{name}{}", PAGE.closest(&name))));
        }
        if seen.contains(&name) {
            return Err(usage(format!("--{name} is given twice")));
        }
        match name.as_str() {
            "help" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            "session" => args.session = Some(session(&string(&mut parser, &name)?)?),
            "allow-unrouted" => args.allow_unrouted = true,
            "status" => args.status = Some(word(&mut parser, &name, Status::from_word, Status::WORDS)?),
            "exit-code" => args.exit_code = Some(number(&mut parser, &name, "a whole number")?),
            "label" => args.label = Some(parser.value()?.to_string_lossy().into_owned()),
            "id" => args.id = Some(Id::new(&string(&mut parser, &name)?)?),
            "deliver" => args.deliver = Some(word(&mut parser, &name, Deliver::from_word, Deliver::WORDS)?),
            "notify" => args.notify = Some(word(&mut parser, &name, Notify::from_word, Notify::WORDS)?),
            "not-before" => {
                args.not_before =
                    Some(number(&mut parser, &name, "milliseconds since 1970, a whole number")?);
            }
            "urgent" => args.urgent = true,
            "record" => record = Some(PathBuf::from(parser.value()?)),
            "from" => from.name = Some(string(&mut parser, &name)?),
            "map" => from.map = Some(PathBuf::from(parser.value()?)),
            "all-events" => from.all_events = true,
            "strict" => args.strict = true,
            "wait" => level = Some(parser.optional_value().map(|word| evidence(&word)).transpose()?),
            "timeout" => timeout = Some(duration(&string(&mut parser, &name)?)?),
            "spool" => args.spool = Some(PathBuf::from(parser.value()?)),
            "json" => args.json = true,
            other => return Err(usage(format!("unknown option --{other}"))),
        }
        seen.push(name);
    }
    args.wait = match (level, timeout) {
        (Some(level), timeout) => Some(Wait { level, timeout: timeout.unwrap_or(TIMEOUT) }),
        (None, Some(_)) => return Err(usage("--timeout says how long to --wait")),
        (None, None) => None,
    };
    if from.name.is_some() || from.map.is_some() {
        if record.is_some() {
            return Err(usage("both --record and --from were given; a runner's report is made here"));
        }
        args.from = Some(FromRunner { words, ..from });
        return Ok(Command::Put(Box::new(args)));
    }
    if from.all_events || args.strict {
        return Err(usage("--all-events and --strict go with --from or --map"));
    }
    let mut words = words.into_iter();
    let text = words.next();
    if words.next().is_some() {
        return Err(usage("more than one text was given; put it in quotes"));
    }
    args.source = match (text, record) {
        (Some(_), Some(_)) => {
            return Err(usage(
                "both a text and --record were given; the text of a record is its member \"text\"",
            ));
        }
        (Some(text), None) if text == "-" => Source::Stdin,
        (Some(text), None) => Source::Text(text),
        (None, Some(path)) => Source::Record(path),
        (None, None) if args.exit_code.is_some() => Source::Nothing,
        (None, None) => {
            return Err(usage("nothing to say: give a text, - for standard input, or --record FILE"));
        }
    };
    Ok(Command::Put(Box::new(args)))
}

fn string(parser: &mut Parser, name: &str) -> Result<String, Failure> {
    parser.value()?.into_string().map_err(|_| usage(format!("the value of --{name} is not valid UTF-8")))
}

fn session(key: &str) -> Result<String, Failure> {
    check_session_key(key).map_err(|rule| usage(format!("--session {rule}")))?;
    Ok(key.to_owned())
}

fn number<T: std::str::FromStr>(parser: &mut Parser, name: &str, what: &str) -> Result<T, Failure> {
    parser.value()?.string()?.parse().map_err(|_| usage(format!("--{name} must be {what}")))
}

fn evidence(word: &std::ffi::OsStr) -> Result<Level, Failure> {
    let level = word.to_str().and_then(Level::from_word);
    level.ok_or_else(|| usage(format!("--wait must be one of {}", Level::WORDS.join(", "))))
}

/// A number and a unit; without one, seconds.
fn duration(text: &str) -> Result<Duration, Failure> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse::<u64>().ok() } else { None };
    let ms = number.zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    ms.map(Duration::from_millis).ok_or_else(|| usage("--timeout must be a time like 500ms, 30s, 5m or 1h"))
}

fn word<T>(
    parser: &mut Parser,
    name: &str,
    read: fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<T, Failure> {
    let word = string(parser, name)?;
    read(&word).ok_or_else(|| usage(format!("--{name} must be one of {}", words.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &[&str]) -> String {
        match parse(Parser::from_args(args)) {
            Err(failure) => {
                assert_eq!(failure.exit, exit::USAGE);
                failure.sentence
            }
            Ok(_) => panic!("{args:?} was accepted"),
        }
    }

    fn source(args: &[&str]) -> Source {
        match parse(Parser::from_args(args)) {
            Ok(Command::Put(args)) => args.source,
            _ => panic!("{args:?} was refused"),
        }
    }

    #[test]
    fn words_come_from_one_place() {
        assert_eq!(source(&["hello"]), Source::Text("hello".into()));
        assert_eq!(source(&["--", "--hello"]), Source::Text("--hello".into()));
        assert_eq!(source(&["-"]), Source::Stdin);
        assert_eq!(source(&["--record", "-"]), Source::Record("-".into()));
        assert_eq!(source(&["--record=r.json"]), Source::Record("r.json".into()));
        assert_eq!(source(&["--exit-code=-1"]), Source::Nothing);
    }

    #[test]
    fn what_is_not_exactly_right_is_refused_with_the_remedy() {
        for (args, part) in [
            (&[][..], "nothing to say"),
            (&["a", "b"], "put it in quotes"),
            (&["a", "--record", "b"], "both"),
            (&["a", "--session", "s", "--session", "s"], "--session is given twice"),
            (&["a", "--urgent", "--urgent"], "--urgent is given twice"),
            (&["a", "--sesion", "s"], "is it --session?"),
            (&["a", "--entirely-else"], "unknown option --entirely-else (see"),
            (&["-x"], "goes after --"),
            (&["a", "--session"], "--session"),
            (&["a", "--session", " "], "--session must not be blank"),
            (&["a", "--status", "done"], "must be one of ok, failed"),
            (&["a", "--exit-code", "one"], "--exit-code must be a whole number"),
            (&["a", "--not-before", "-1"], "--not-before must be milliseconds"),
            (&["a", "--id", "a/b"], "must be 1 to 128"),
            (&["a", "--urgent=yes"], "--urgent"),
            (&["a", "--wait=soon"], "--wait must be one of accepted, committed"),
            (&["a", "--timeout", "5s"], "how long to --wait"),
            (&["a", "--wait", "--timeout", "5 minutes"], "a time like"),
            (&["a", "--wait", "--timeout", "99999999999999999999h"], "a time like"),
            (&["--from", "codex", "--record", "r"], "both --record and --from"),
            (&["a", "--strict"], "go with --from"),
        ] {
            let said = refusal(args);
            assert!(said.contains(part), "{args:?}: {said:?} does not say {part:?}");
        }
    }

    fn put(args: &[&str]) -> Args {
        match parse(Parser::from_args(args)) {
            Ok(Command::Put(args)) => *args,
            _ => panic!("{args:?} was refused"),
        }
    }

    #[test]
    fn a_wait_has_a_level_and_an_end() {
        assert_eq!(put(&["x"]).wait, None);
        let of = |args: &[&str]| put(&[args, &["x"]].concat()).wait.unwrap();
        assert_eq!(of(&["--wait"]), Wait { level: None, timeout: TIMEOUT });
        let replied = Wait { level: Some(Level::Replied), timeout: Duration::from_millis(1500) };
        assert_eq!(of(&["--wait=replied", "--timeout", "1500ms"]), replied);
        assert_eq!(of(&["--wait", "--timeout=2"]).timeout, Duration::from_secs(2));
        assert_eq!(of(&["--wait", "--timeout=2h"]).timeout, Duration::from_secs(7200));
    }

    #[test]
    fn a_runner_may_hand_over_several_arguments() {
        let from =
            put(&["--from", "tsp", "--label", "l", "--", "0", "-1", "/tmp/out", "make --all"]).from.unwrap();
        assert_eq!((from.name.as_deref(), from.words.len()), (Some("tsp"), 4));
        assert_eq!(put(&["--map=m.toml"]).from.unwrap().map, Some("m.toml".into()));
    }

    #[test]
    fn help_names_only_options_that_there_are() {
        for name in PAGE.rows().filter_map(spool_pages::Row::option).filter(|name| *name != "from") {
            if let Err(failure) = parse(Parser::from_args([format!("--{name}")])) {
                assert!(!failure.sentence.contains("unknown"), "{name}: {}", failure.sentence);
            }
        }
    }
}
