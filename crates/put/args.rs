//! The command line of `spool-put`: strict, because a mistyped option must not become a record without it.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use spooldir::record::{Deliver, Notify, Status, check_session_key};
use spooldir::{Id, exit};

use crate::Failure;

/// What `--help` prints.
pub const HELP: &str = "\
spool-put: leave a record for a session; the agent of the spool delivers it

Examples:
  spool-put --session agent:main:main 'The build is done.'
  make 2>&1 | tail -n 40 | spool-put --session agent:main:main --status failed --exit-code 2 -
  spool-put --record report.json
  spool-put --id nightly-42 --session agent:main:main 'safe to try again'

Usage:
  spool-put [OPTIONS] TEXT            what to say; after -- it may begin with a dash
  spool-put [OPTIONS] -               what to say, from standard input
  spool-put [OPTIONS] --record FILE   a whole JSON record, from a file or - for standard input
  spool-put [OPTIONS] --exit-code N   how it ended says enough

For whom:
  --session KEY      the session it is for [else SPOOL_SESSION, OPENCLAW_SESSION_KEY]; never guessed
  --allow-unrouted   queue it without a session; it is then held until a person names one

About what:
  --status S         ok, failed, timeout, cancelled, lost or info [else from the exit code, else info]
  --exit-code N      how the task exited
  --label L          a short name for people, up to 200 characters
  --id ID            the record's id; the same id and the same command may be repeated safely [a new UUID]

How:
  --deliver MODE     turn, message or note [turn]
  --notify W         always, failure or never [always]
  --not-before MS    not to be delivered before this time, in milliseconds since 1970
  --urgent           do not wait for others to go with

Other:
  --record FILE      see above; options override its members, the environment only fills in a missing session
  --spool DIR        the spool [else SPOOL_DIR, $XDG_STATE_HOME/spool, ~/.local/state/spool]; made if it is not there
  --json             print id, sessionKey, state and path as JSON instead of \"queued ID\"
  -h, --help         this text
  -V, --version      the version

A text longer than 200 KiB is cut and marked. createdAt is the time in the record's UUID, so that a repetition has the
same bytes; under an --id of another kind there is none.

Exit: 0 queued (kept, even over a power cut), 64 wrong usage, 65 not a good record or its id belongs to another one,
73 or 74 cannot be written or read, 75 try again later, 77 not allowed to, 78 no spool or no session is named.
";

/// The long options, for suggestions.
const OPTIONS: [&str; 15] = [
    "session",
    "allow-unrouted",
    "status",
    "exit-code",
    "label",
    "id",
    "deliver",
    "notify",
    "not-before",
    "urgent",
    "record",
    "spool",
    "json",
    "help",
    "version",
];

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
}

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
    let (mut text, mut record) = (None, None);
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
    };
    while let Some(arg) = parser.next()? {
        let name = match arg {
            Arg::Short('h') => return Ok(Command::Help),
            Arg::Short('V') => return Ok(Command::Version),
            Arg::Short(c) => {
                return Err(usage(format!(
                    "unknown option -{c}; a text that begins with a dash goes after --"
                )));
            }
            Arg::Value(value) if text.is_none() => {
                text = Some(value);
                continue;
            }
            Arg::Value(_) => return Err(usage("more than one text was given; put it in quotes")),
            Arg::Long(name) => name.to_owned(),
        };
        if !OPTIONS.contains(&name.as_str()) {
            return Err(usage(format!("unknown option --{name}{}", suggestion(&name))));
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
            "spool" => args.spool = Some(PathBuf::from(parser.value()?)),
            "json" => args.json = true,
            other => return Err(usage(format!("unknown option --{other}"))),
        }
        seen.push(name);
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

fn word<T>(
    parser: &mut Parser,
    name: &str,
    read: fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<T, Failure> {
    let word = string(parser, name)?;
    read(&word).ok_or_else(|| usage(format!("--{name} must be one of {}", words.join(", "))))
}

/// The option that was probably meant.
fn suggestion(name: &str) -> String {
    let near = OPTIONS.iter().map(|option| (distance(name, option), option)).min();
    match near {
        Some((d, option)) if d <= 2 && d < option.len() => format!("; did you mean --{option}?"),
        _ => String::new(),
    }
}

/// How many letters have to be changed, added or removed to make one word the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
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
            (&["a", "--sesion", "s"], "did you mean --session?"),
            (&["a", "--entirely-else"], "unknown option --entirely-else (see"),
            (&["-x"], "goes after --"),
            (&["a", "--session"], "--session"),
            (&["a", "--session", " "], "--session must not be blank"),
            (&["a", "--status", "done"], "must be one of ok, failed"),
            (&["a", "--exit-code", "one"], "--exit-code must be a whole number"),
            (&["a", "--not-before", "-1"], "--not-before must be milliseconds"),
            (&["a", "--id", "a/b"], "must be 1 to 128"),
            (&["a", "--urgent=yes"], "--urgent"),
        ] {
            let said = refusal(args);
            assert!(said.contains(part), "{args:?}: {said:?} does not say {part:?}");
        }
    }

    #[test]
    fn help_names_every_option() {
        for option in OPTIONS {
            assert!(HELP.contains(&format!("--{option}")), "{option}");
        }
    }
}
