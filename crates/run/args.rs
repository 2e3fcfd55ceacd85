//! The command line of `spool-run`. Options stand before the command; from its first word on everything belongs to it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use spool_pages::run::PAGE;
use spooldir::Id;
use spooldir::record::{Deliver, Notify, check_session_key};
use spooldir::wait::Level;

/// What the completion says of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Tail,
    Path,
    None,
}

/// Whose JSON output to look through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Claude,
    Codex,
}

/// What was asked for.
#[derive(Debug, Default)]
pub struct Args {
    pub session: Option<String>,
    pub label: Option<String>,
    pub id: Option<Id>,
    pub deliver: Option<Deliver>,
    pub notify: Option<Notify>,
    pub min_duration: Option<Duration>,
    pub timeout: Option<Duration>,
    pub pty: bool,
    pub lease_main: bool,
    pub detach: bool,
    /// We are the half of `--detach` that stays.
    pub detached: bool,
    pub output: Option<Output>,
    pub tail: Option<u64>,
    pub parse: Option<Format>,
    /// Whether to wait for the evidence, and for which.
    pub wait: Option<Option<Level>>,
    pub wait_timeout: Option<Duration>,
    pub strict: bool,
    pub quiet: bool,
    pub spool: Option<PathBuf>,
    /// The command; never empty.
    pub command: Vec<OsString>,
}

/// What to do.
pub enum Command {
    Help,
    Version,
    Run(Box<Args>),
}

fn usage(sentence: impl std::fmt::Display) -> String {
    format!("{sentence} (see spool-run --help)")
}

/// Reads the command line.
///
/// # Errors
/// A sentence for everything that is not exactly right.
pub fn parse(mut parser: Parser) -> Result<Command, String> {
    read(&mut parser).map_err(usage)
}

fn read(parser: &mut Parser) -> Result<Command, lexopt::Error> {
    let mut seen: Vec<String> = Vec::new();
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        let name = match arg {
            Arg::Short('h') => return Ok(Command::Help),
            Arg::Short('V') => return Ok(Command::Version),
            Arg::Short(letter) => return Err(format!("unknown option -{letter}").into()),
            Arg::Value(program) => {
                args.command.push(program);
                args.command.extend(parser.raw_args()?);
                break;
            }
            Arg::Long(name) => name.to_owned(),
        };
        if seen.contains(&name) {
            return Err(format!("--{name} is given twice").into());
        }
        match name.as_str() {
            "help" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            _ => take(&mut args, &name, parser)?,
        }
        seen.push(name);
    }
    if args.wait_timeout.is_some() && args.wait.is_none() {
        return Err("--wait-timeout goes with --wait".into());
    }
    match args.command.first() {
        None => Err("no command is given".into()),
        Some(program) if program.is_empty() => Err("the command is empty".into()),
        Some(_) => Ok(Command::Run(Box::new(args))),
    }
}

fn take(args: &mut Args, name: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
    match name {
        "session" => {
            let key = parser.value()?.string()?;
            check_session_key(&key).map_err(|rule| format!("--session {rule}"))?;
            args.session = Some(key);
        }
        "label" => args.label = Some(parser.value()?.to_string_lossy().into_owned()),
        "id" => args.id = Some(Id::new(&parser.value()?.string()?).map_err(|e| e.to_string())?),
        "deliver" => args.deliver = Some(word(parser, name, Deliver::from_word, Deliver::WORDS)?),
        "notify" => args.notify = Some(word(parser, name, Notify::from_word, Notify::WORDS)?),
        "min-duration" => args.min_duration = Some(span(parser, name)?),
        "timeout" => {
            args.timeout = Some(span(parser, name)?);
            if args.timeout == Some(Duration::ZERO) {
                return Err("--timeout must be more than 0".into());
            }
        }
        "pty" => args.pty = true,
        "lease" => {
            let main = |word: &str| ["inherit", "main"].iter().position(|w| *w == word).map(|n| n == 1);
            args.lease_main = word(parser, name, main, &["inherit", "main"])?;
        }
        "detach" => args.detach = true,
        "detached" => args.detached = true,
        "output" => {
            let read = |word: &str| match word {
                "tail" => Some(Output::Tail),
                "path" => Some(Output::Path),
                "none" => Some(Output::None),
                _ => None,
            };
            args.output = Some(word(parser, name, read, &["tail", "path", "none"])?);
        }
        "tail" => {
            let lines = parser.value()?.string()?.parse().ok().filter(|n| (1..=10_000).contains(n));
            args.tail = Some(lines.ok_or("--tail must be a whole number from 1 to 10000")?);
        }
        "parse" => {
            let read = |word: &str| match word {
                "claude" => Some(Format::Claude),
                "codex" => Some(Format::Codex),
                _ => None,
            };
            args.parse = Some(word(parser, name, read, &["claude", "codex"])?);
        }
        "wait" => {
            let read = |word: &str| Level::from_word(word).filter(|level| *level < Level::Sent);
            args.wait = Some(match parser.optional_value() {
                None => None,
                Some(value) => Some(
                    value
                        .to_str()
                        .and_then(read)
                        .ok_or("--wait must be one of accepted, committed, replied")?,
                ),
            });
        }
        "wait-timeout" => args.wait_timeout = Some(span(parser, name)?),
        "strict" => args.strict = true,
        "quiet" => args.quiet = true,
        "spool" => args.spool = Some(PathBuf::from(parser.value()?)),
        other => {
            return Err(format!(
                "unknown option --{other}{}; options of the command go after its name or --",
                PAGE.closest(other)
            )
            .into());
        }
    }
    Ok(())
}

fn word<T>(
    parser: &mut Parser,
    name: &str,
    read: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<T, lexopt::Error> {
    let word = parser.value()?.string()?;
    read(&word).ok_or_else(|| format!("--{name} must be one of {}", words.join(", ")).into())
}

fn span(parser: &mut Parser, name: &str) -> Result<Duration, lexopt::Error> {
    let text = parser.value()?.string()?;
    duration(&text)
        .ok_or_else(|| format!("--{name} must be a duration such as 90, 90s, 10m, 2h, 1d or 500ms").into())
}

/// `90`, `90s`, `10m`, `2h`, `1d`, `500ms`; at most a year.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.parse::<u64>().ok()?.checked_mul(ms)?;
    (total <= 366 * 86_400_000).then(|| Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Args {
        match parse(Parser::from_args(words)) {
            Ok(Command::Run(args)) => *args,
            Ok(_) => panic!("{words:?} asks for help"),
            Err(why) => panic!("{words:?}: {why}"),
        }
    }

    #[test]
    fn everything_from_the_command_on_is_the_commands() {
        for words in [&["--", "make", "--quiet", "--", "-x"][..], &["make", "--quiet", "--", "-x"]] {
            let args = args(words);
            assert_eq!(args.command, ["make", "--quiet", "--", "-x"]);
            assert!(!args.quiet);
        }
        assert_eq!(args(&["--quiet", "--", "--odd"]).command, ["--odd"]);
    }

    #[test]
    fn options_are_read() {
        let args = args(&[
            "--session=agent:main:main",
            "--notify",
            "failure",
            "--timeout",
            "2h",
            "--min-duration=500ms",
            "--lease",
            "main",
            "--output",
            "path",
            "--tail",
            "7",
            "--parse=codex",
            "--wait",
            "true",
        ]);
        assert_eq!(args.session.as_deref(), Some("agent:main:main"));
        assert_eq!(args.notify, Some(Notify::Failure));
        assert_eq!(args.timeout, Some(Duration::from_secs(7200)));
        assert_eq!(args.min_duration, Some(Duration::from_millis(500)));
        assert!(args.lease_main && args.wait == Some(None));
        assert_eq!((args.output, args.tail, args.parse), (Some(Output::Path), Some(7), Some(Format::Codex)));
    }

    #[test]
    fn durations_have_units() {
        let ms = |text| duration(text).map(|d| d.as_millis());
        let some =
            [("90", 90_000), ("90s", 90_000), ("10m", 600_000), ("1d", 86_400_000), ("0", 0), ("5ms", 5)];
        for (text, expected) in some {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        for text in ["", "s", "-1", "1.5h", "1 m", "1w", "99999999999999999999", "400d"] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_right_is_refused_with_the_remedy() {
        for (words, says) in [
            (&[][..], "no command"),
            (&["--"], "no command"),
            (&["--session", " ", "x"], "--session must not be blank"),
            (&["--session", "a", "--session", "b", "x"], "twice"),
            (&["--timeout", "soon", "x"], "must be a duration"),
            (&["--timeout", "0", "x"], "more than 0"),
            (&["--lease", "none", "x"], "inherit, main"),
            (&["--output", "all", "x"], "tail, path, none"),
            (&["--tail", "0", "x"], "1 to 10000"),
            (&["--parse", "gemini", "x"], "claude, codex"),
            (&["--notify", "sometimes", "x"], "always, failure, never"),
            (&["--wait=sent", "x"], "accepted, committed, replied"),
            (&["--wait-timeout", "1s", "x"], "goes with --wait"),
            (&["--entirely-else", "x"], "unknown option --entirely-else"),
            (&["--detatch", "x"], "is it --detach?"),
            (&["-x", "x"], "unknown option -x"),
            (&["--id", "a/b", "x"], "must be 1 to 128"),
            (&[""], "empty"),
        ] {
            match parse(Parser::from_args(words)) {
                Err(why) => assert!(why.contains(says) && why.contains("--help"), "{words:?}: {why}"),
                Ok(_) => panic!("{words:?} was accepted"),
            }
        }
    }

    #[test]
    fn help_names_only_options_that_there_are() {
        for name in PAGE.rows().filter_map(spool_pages::Row::option) {
            if let Err(why) = parse(Parser::from_args([format!("--{name}")])) {
                assert!(!why.contains("unknown"), "{name}: {why}");
            }
        }
    }
}
