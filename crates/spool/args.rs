//! The command line: what was said, checked against what the verb takes ([`VERBS`]), before anything is done.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use spooldir::Dir;
use spooldir::record::Status;

use crate::log::Format;
use crate::service::ACTIONS;
use crate::suggest::closest;
use crate::verbs::{OPTIONS, Opt, RUNNING, Takes, VERBS, Verb};
use crate::when;

/// What a verb was told; the options are described in [`OPTIONS`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub spool: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub json: bool,
    pub state: Option<Dir>,
    pub session: Option<String>,
    pub status: Option<Status>,
    pub since: Option<Since>,
    pub grep: Option<String>,
    pub sort: Sort,
    pub ids_only: bool,
    pub fix: bool,
    pub all: bool,
    pub dry_run: bool,
    pub done: bool,
    pub dismissed: bool,
    pub older: Option<Duration>,
    pub reason: Option<String>,
    pub once: bool,
    pub gateway: Option<String>,
    pub token_file: Option<PathBuf>,
    pub fingerprint: Option<String>,
    pub admin: bool,
    pub verbose: bool,
    pub quiet: bool,
    pub stay: bool,
    pub html: Option<OsString>,
    pub metrics: Option<OsString>,
    pub print: bool,
    pub log: Option<Format>,
    pub follow: bool,
    pub apply: bool,
    pub check: bool,
    pub remove: bool,
    pub codex_homes: Vec<PathBuf>,
    pub dir: Option<PathBuf>,
    pub until_cut: bool,
    pub after_cut: Option<u64>,
    pub ping: bool,
    pub timeout: Option<Duration>,
    pub ids: Vec<String>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Print the help, of one verb or of all.
    Help(Option<&'static str>),
    /// Print the version.
    Version,
    /// Become the program of this name, `spool-put` or `spool-run`.
    Become(&'static str, Vec<OsString>),
    /// Do this.
    Verb(&'static str, Box<Args>),
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// A sentence that says what is wrong and where help is.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Call, String> {
    let mut parser = lexopt::Parser::from_args(words);
    let mut args = Args::default();
    let mut verb: Option<&'static Verb> = None;
    let mut used: Vec<&'static Opt> = Vec::new();
    let mut help = false;
    while let Some(arg) = parser.next().map_err(|e| wrong(verb, &e))? {
        match arg {
            Long("help") | Short('h') => help = true,
            Long("version") | Short('V') => return Ok(Call::Version),
            Value(word) if verb.is_none() => {
                let found = VERBS.iter().find(|v| word.to_str() == Some(v.name));
                verb = Some(found.ok_or_else(|| {
                    let close = closest(&word.to_string_lossy(), VERBS.iter().map(|v| v.name));
                    wrong(None, &format!("there is no verb {word:?}{close}"))
                })?);
                if let Some(Verb { name, takes: Takes::Anything, .. }) = found
                    && !help
                    && used.is_empty()
                {
                    let rest = parser.raw_args().map_err(|e| wrong(verb, &e))?;
                    let program = if *name == "run" { "spool-run" } else { "spool-put" };
                    return Ok(Call::Become(program, rest.collect()));
                }
            }
            Value(id) => args.ids.push(id.string().map_err(|e| wrong(verb, &e))?),
            Short(letter) => return Err(wrong(verb, &format!("there is no option -{letter}"))),
            Long(name) => {
                let found = OPTIONS.iter().find(|o| o.name == name);
                let option = found.ok_or_else(|| {
                    let names = OPTIONS
                        .iter()
                        .map(|o| o.name)
                        .filter(|name| verb.is_none_or(|verb| verb.options.contains(name)));
                    let close = closest(name, names).replace("is it ", "is it --");
                    wrong(verb, &format!("there is no option --{name}{close}"))
                })?;
                used.push(option);
                args.take(option.name, &mut parser).map_err(|e| wrong(verb, &e))?;
            }
        }
    }
    let Some(verb) = verb else {
        return if help { Ok(Call::Help(None)) } else { Err(wrong(None, &"a verb is missing")) };
    };
    if help {
        return Ok(Call::Help(Some(verb.name)));
    }
    check(verb, &used, &args).map_err(|e| wrong(Some(verb), &e))?;
    Ok(Call::Verb(verb.name, Box::new(args)))
}

impl Args {
    fn take(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
        match name {
            "spool" => self.spool = Some(parser.value()?.into()),
            "config" => self.config = Some(parser.value()?.into()),
            "token-file" => self.token_file = Some(parser.value()?.into()),
            "session" => self.session = Some(parser.value()?.string()?),
            "reason" => self.reason = Some(parser.value()?.string()?),
            "gateway" => self.gateway = Some(parser.value()?.string()?),
            "fingerprint" => self.fingerprint = Some(parser.value()?.string()?),
            "state" => self.state = Some(parser.value()?.parse::<StateWord>()?.0),
            "status" => self.status = Some(parser.value()?.parse::<StatusWord>()?.0),
            "since" => self.since = Some(parser.value()?.parse()?),
            "grep" => self.grep = Some(parser.value()?.string()?),
            "sort" => self.sort = parser.value()?.parse()?,
            "ids" => self.ids_only = true,
            "dry-run" => self.dry_run = true,
            "done" => self.done = true,
            "dismissed" => self.dismissed = true,
            "older" => self.older = Some(parser.value()?.parse::<Length>()?.0),
            "json" => self.json = true,
            "fix" => self.fix = true,
            "all" => self.all = true,
            "once" => self.once = true,
            "admin" => self.admin = true,
            "verbose" => self.verbose = true,
            "quiet" => self.quiet = true,
            "stay" => self.stay = true,
            "html" => self.html = Some(parser.value()?),
            "metrics" => self.metrics = Some(place(parser)?),
            "print" => self.print = true,
            "log" => self.log = Some(parser.value()?.parse()?),
            "follow" => self.follow = true,
            "apply" => self.apply = true,
            "check" => self.check = true,
            "remove" => self.remove = true,
            "codex-home" => self.codex_homes.push(parser.value()?.into()),
            "dir" => self.dir = Some(parser.value()?.into()),
            "until-cut" => self.until_cut = true,
            "after-cut" => self.after_cut = Some(parser.value()?.parse()?),
            "ping" => self.ping = true,
            "timeout" => self.timeout = Some(parser.value()?.parse::<Length>()?.0),
            other => return Err(format!("there is no option --{other}").into()),
        }
        Ok(())
    }
}

/// What follows an option that may stand alone: `--metrics`, `--metrics=FILE`, `--metrics FILE`; `-` is stdout.
fn place(parser: &mut lexopt::Parser) -> Result<OsString, lexopt::Error> {
    if let Some(value) = parser.optional_value() {
        return Ok(value);
    }
    let is_place = |word: &std::ffi::OsStr| word == "-" || !word.as_encoded_bytes().starts_with(b"-");
    let follows = parser.try_raw_args().is_some_and(|rest| rest.peek().is_some_and(is_place));
    if follows { parser.value() } else { Ok("-".into()) }
}

struct StateWord(Dir);

impl FromStr for StateWord {
    type Err = String;

    fn from_str(word: &str) -> Result<StateWord, String> {
        if word == RUNNING {
            return Ok(StateWord(Dir::Runs));
        }
        let words = Dir::STATES.map(Dir::state_word);
        let found = Dir::from_state_word(word).map(StateWord);
        found.ok_or_else(|| {
            format!("a state is one of {}, {RUNNING}{}", words.join(", "), closest(word, words))
        })
    }
}

struct StatusWord(Status);

impl FromStr for StatusWord {
    type Err = String;

    fn from_str(word: &str) -> Result<StatusWord, String> {
        let words = ["ok", "failed", "timeout", "cancelled", "lost", "info"];
        let found = Status::from_word(word).map(StatusWord);
        found.ok_or_else(|| format!("a status is one of {}{}", words.join(", "), closest(word, words)))
    }
}

/// In which order entries are listed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// That of the states, and within one of the ids.
    #[default]
    State,
    /// Oldest first.
    Age,
    /// By session key.
    Session,
    /// By how the task ended.
    Status,
    /// Most attempts first.
    Attempts,
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(word: &str) -> Result<Sort, String> {
        Ok(match word {
            "state" => Sort::State,
            "age" => Sort::Age,
            "session" => Sort::Session,
            "status" => Sort::Status,
            "attempts" => Sort::Attempts,
            _ => {
                let words = ["state", "age", "session", "status", "attempts"];
                return Err(format!("entries are sorted by {}{}", words.join(", "), closest(word, words)));
            }
        })
    }
}

/// A moment in the past, as a person says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// In milliseconds since 1970.
    At(u64),
}

impl Since {
    /// In milliseconds since 1970.
    pub fn ms(self, now_ms: u64) -> u64 {
        match self {
            Since::Ago(length) => {
                now_ms.saturating_sub(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
            }
            Since::At(ms) => ms,
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(word: &str) -> Result<Since, String> {
        if let Some(ms) = when::parse(word) {
            return Ok(Since::At(ms));
        }
        let length = word.parse::<Length>().map(|length| Since::Ago(length.0));
        length.map_err(|_| "a time is e.g. 90m, 12h, 7d, 2026-11-20 or 2026-11-20T08:00 (UTC)".to_owned())
    }
}

/// A length of time: a whole number and `ms`, `s`, `m`, `h`, `d` or `w`; seconds without.
pub struct Length(pub Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(word: &str) -> Result<Length, String> {
        let units = [
            ("ms", 1),
            ("s", 1000),
            ("m", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
            ("w", 7 * 86_400_000),
            ("", 1000),
        ];
        let (number, unit) =
            units.iter().find_map(|(unit, ms)| Some((word.strip_suffix(unit)?, *ms))).unwrap_or((word, 1));
        let number: u32 =
            number.parse().map_err(|_| "a length of time is a whole number and s, m, h, d or w, e.g. 90s")?;
        Ok(Length(Duration::from_millis(u64::from(number) * unit)))
    }
}

fn check(verb: &Verb, used: &[&'static Opt], args: &Args) -> Result<(), String> {
    if let Some(stray) = used.iter().find(|o| !verb.options.contains(&o.name)) {
        return Err(format!("--{} does not go with {}", stray.name, verb.name));
    }
    match (verb.takes, args.ids.as_slice()) {
        (Takes::Tool, [_, word, ..]) => {
            return Err(format!("{} takes one runner, not also {word:?}", verb.name));
        }
        (Takes::Sub(words), ids) if !matches!(ids, [word] if words.contains(&word.as_str())) => {
            let close = ids.first().map_or_else(String::new, |word| closest(word, words.iter().copied()));
            return Err(format!("{} takes one of {}{close}", verb.name, words.join(", ")));
        }
        (Takes::Nothing, [word, ..]) => return Err(format!("{} takes no {word:?}", verb.name)),
        (Takes::Shell, [] | [_, _, ..]) => return Err(format!("{} takes one shell", verb.name)),
        (Takes::Page, [_, word, ..]) => {
            return Err(format!("{} takes one page, not also {word:?}", verb.name));
        }
        (Takes::One, [] | [_, _, ..]) => return Err(format!("{} takes one id", verb.name)),
        (Takes::File, [] | [_, _, ..]) => {
            return Err(format!("{} takes one file, or - for standard input", verb.name));
        }
        (Takes::Action, words) => {
            if let [] | [_, _, ..] = words {
                return Err(format!("{} takes one of {}", verb.name, ACTIONS.join(", ")));
            }
            check_service(&words[0], used)?;
        }
        (Takes::Many, []) => return Err(format!("{} wants an id", verb.name)),
        (Takes::ManyOrAll, ids) if ids.is_empty() != args.all => {
            return Err(format!("{} wants ids or --all, one of them", verb.name));
        }
        _ => {}
    }
    if verb.name == "dismiss" && args.reason.as_ref().is_none_or(|r| r.trim().is_empty()) {
        return Err("dismiss wants a --reason, for whoever asks later".to_owned());
    }
    if verb.name == "prune" && (args.older.is_none() || !(args.done || args.dismissed)) {
        return Err("prune wants --done or --dismissed, and --older AGE".to_owned());
    }
    if args.ids_only && args.json {
        return Err("--ids and --json contradict each other".to_owned());
    }
    if args.state == Some(Dir::Runs) {
        let narrows = args.status.is_some() || args.since.is_some() || args.grep.is_some();
        if verb.name == "export" || narrows || args.ids_only || args.sort != Sort::State {
            return Err(format!(
                "--state {RUNNING} goes with list, --session and --json alone: these are no entries"
            ));
        }
    }
    if verb.name == "adapt" {
        check_adapt(args)?;
    }
    if verb.name == "status" {
        let forms = [args.json, args.check, args.html.is_some(), args.metrics.is_some()];
        if forms.into_iter().filter(|is| *is).count() > 1 {
            return Err("--json, --html, --metrics and --check: one of them".to_owned());
        }
    }
    if args.until_cut && args.after_cut.is_some() {
        return Err("--until-cut and --after-cut: one before the power cut, one after it".to_owned());
    }
    if args.timeout.is_some() && !args.ping {
        return Err("--timeout goes with --ping".to_owned());
    }
    if verb.name == "retry"
        && let Some(key) = &args.session
        && let Err(rule) = spooldir::record::check_session_key(key)
    {
        return Err(format!("--session {rule}"));
    }
    if args.verbose && args.quiet {
        return Err("--verbose and --quiet contradict each other".to_owned());
    }
    Ok(())
}

fn check_service(action: &str, used: &[&'static Opt]) -> Result<(), String> {
    if !ACTIONS.contains(&action) {
        let close = closest(action, ACTIONS.iter().copied());
        return Err(format!("a service can do {}, not {action:?}{close}", ACTIONS.join(", ")));
    }
    let goes = |option: &str| match option {
        "print" => true,
        "follow" => action == "logs",
        "json" => action == "status",
        _ => action == "install",
    };
    match used.iter().find(|o| !goes(o.name)) {
        Some(stray) => Err(format!("--{} does not go with service {action}", stray.name)),
        None => Ok(()),
    }
}

fn check_adapt(args: &Args) -> Result<(), String> {
    let does = [args.apply, args.check, args.remove].into_iter().filter(|is| *is).count();
    match args.ids.first().map(String::as_str) {
        None if does > 0 || args.dir.is_some() => return Err("adapt wants a runner for that".to_owned()),
        Some(_) if args.json && !args.check => {
            return Err("--json goes with --check, or no runner".to_owned());
        }
        Some(tool) if !args.codex_homes.is_empty() && !tool.starts_with("codex") => {
            return Err(format!("--codex-home does not go with {tool}"));
        }
        _ => {}
    }
    if does > 1 { Err("--apply, --check and --remove: one of them".to_owned()) } else { Ok(()) }
}

fn wrong(verb: Option<&Verb>, why: &dyn std::fmt::Display) -> String {
    match verb {
        Some(verb) => format!("{why}; spool {} --help says how it goes", verb.name),
        None => format!("{why}; spool --help lists the verbs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Call, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn args(line: &str) -> Args {
        match call(line) {
            Ok(Call::Verb(_, args)) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_option_of_every_verb_is_known_and_read() {
        for verb in VERBS {
            for name in verb.options {
                let option = OPTIONS.iter().find(|o| o.name == *name).unwrap();
                let value = match *name {
                    "state" => "dead",
                    "timeout" => "30s",
                    "after-cut" => "42",
                    "status" => "failed",
                    "log" => "json",
                    "since" => "7d",
                    "sort" => "age",
                    "older" => "30d",
                    _ => "x",
                };
                let value = if option.value.is_empty() { "" } else { value };
                let reason = match (verb.name, *name) {
                    ("dismiss", _) => "--reason r",
                    ("session", "timeout") => "--ping",
                    ("adapt", "json") => "--check",
                    ("prune", "older") => "--done",
                    ("prune", _) => "--done --older 30d",
                    _ => "",
                };
                let id = match verb.takes {
                    Takes::Sub(words) => words[0],
                    Takes::Tool => "codex",
                    Takes::Action if *name == "follow" => "logs",
                    Takes::Action if *name == "json" => "status",
                    Takes::Action => "install",
                    Takes::Shell => "bash",
                    Takes::One | Takes::Many | Takes::File => "some-id",
                    Takes::ManyOrAll if *name != "all" => "some-id",
                    _ => "",
                };
                call(&format!("{} {reason} --{name} {value} {id}", verb.name)).unwrap();
            }
        }
        for option in OPTIONS {
            assert!(VERBS.iter().any(|v| v.options.contains(&option.name)), "--{} of no verb", option.name);
        }
    }

    #[test]
    fn the_words_are_where_they_belong() {
        let a = args("--spool /s list --state held --session k --json");
        assert_eq!((a.spool, a.state, a.json), (Some("/s".into()), Some(Dir::Hold), true));
        assert_eq!(a.session.as_deref(), Some("k"));
        assert_eq!(args("retry a b").ids, ["a", "b"]);
        assert!(args("retry --all").all);
        for (said, place) in
            [("--metrics", "-"), ("--metrics -", "-"), ("--metrics f", "f"), ("--metrics=f", "f")]
        {
            assert_eq!(args(&format!("status {said} --spool x")).metrics, Some(place.into()), "{said}");
        }
        assert_eq!(args("list --state running").state, Some(Dir::Runs));
        assert_eq!(args("adapt codex --codex-home a --codex-home b").codex_homes.len(), 2);
        for (said, seconds) in [("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("2000ms", 2)] {
            let a = args(&format!("session --ping --timeout {said}"));
            assert_eq!(a.timeout, Some(Duration::from_secs(seconds)), "{said}");
        }
        assert_eq!(call("--help"), Ok(Call::Help(None)));
        assert_eq!(call("drain --help"), Ok(Call::Help(Some("drain"))));
        assert_eq!(call("-V"), Ok(Call::Version));
        let rest = ["--session", "s", "--help"].map(OsString::from).to_vec();
        assert_eq!(call("put --session s --help"), Ok(Call::Become("spool-put", rest.clone())));
        assert_eq!(call("run --session s --help"), Ok(Call::Become("spool-run", rest)));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_way_to_help() {
        for (line, says) in [
            ("", "a verb is missing"),
            ("frobnicate", "no verb"),
            ("statsu", "; is it status?"),
            ("list --stat dead", "; is it --state?"),
            ("list --state daed", "; is it dead?"),
            ("list --status bad", "a status is one of"),
            ("list --since yesterday", "a time is e.g."),
            ("list --sort size", "sorted by"),
            ("list --ids --json", "contradict"),
            ("list --state running --grep x", "no entries"),
            ("prune --older 30d", "--done or --dismissed"),
            ("prune --done", "--older"),
            ("import", "one file"),
            ("list --once", "--once does not go with list"),
            ("list --nonsense", "no option --nonsense"),
            ("list -x", "no option -x"),
            ("list extra", "takes no"),
            ("list --state sleeping", "pending, sending, deferred, held, dead, done, dismissed, running"),
            ("config", "path, show, check"),
            ("config shwo", "; is it show?"),
            ("show", "takes one id"),
            ("show a b", "takes one id"),
            ("retry", "ids or --all"),
            ("retry a --all", "ids or --all"),
            ("dismiss a", "--reason"),
            ("dismiss --reason r", "wants an id"),
            ("drain --verbose --quiet", "contradict"),
            ("session --timeout 5s", "goes with --ping"),
            ("session --ping --timeout soon", "a whole number"),
            ("adapt a b", "one runner"),
            ("drain --log jsno", "; is it json?"),
            ("service", "one of install"),
            ("service intsall", "; is it install?"),
            ("service stop --admin", "does not go with service stop"),
            ("service install --json", "does not go with service install"),
            ("adapt --apply", "wants a runner"),
            ("adapt codex --apply --remove", "one of them"),
            ("adapt claude --codex-home x", "does not go with claude"),
            ("adapt claude --json", "goes with --check"),
            ("status --json --check", "one of them"),
            ("status --html", "missing argument"),
        ] {
            let why = call(line).unwrap_err();
            assert!(why.contains(says) && why.contains("--help"), "{line}: {why}");
        }
        let why = parse(["retry", "a", "--session", " "].map(OsString::from)).unwrap_err();
        assert!(why.contains("blank"), "{why}");
    }
}
