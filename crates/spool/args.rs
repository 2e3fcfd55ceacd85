//! The command line: what was said, checked against what the verb takes, before anything is done.
//!
//! The verbs and their options are data ([`VERBS`]), so that the help, the check and the tests cannot disagree.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use spooldir::Dir;

/// The word for jobs in progress, which are no entries.
pub const RUNNING: &str = "running";

/// An option.
#[derive(Debug)]
pub struct Opt {
    /// Without the dashes.
    pub name: &'static str,
    /// What follows it, or nothing.
    pub value: &'static str,
    /// For the help.
    pub about: &'static str,
}

/// A verb.
#[derive(Debug)]
pub struct Verb {
    /// The word.
    pub name: &'static str,
    /// What it takes besides options.
    pub takes: Takes,
    /// One line for the list of verbs.
    pub about: &'static str,
    /// What more there is to say, in lines.
    pub more: &'static str,
    /// The options it takes, by name.
    pub options: &'static [&'static str],
}

/// What a verb takes besides options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// One id.
    One,
    /// The name of a task runner, or nothing.
    Tool,
    /// One id or more.
    Many,
    /// One id or more, or `--all`.
    ManyOrAll,
    /// Whatever another program takes.
    Anything,
}

const fn opt(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, value, about }
}

/// All options of all verbs.
pub const OPTIONS: &[Opt] = &[
    opt("spool", "DIR", "the spool; else SPOOL_DIR, else $XDG_STATE_HOME/spool, else ~/.local/state/spool"),
    opt("json", "", "print JSON (docs/json.md)"),
    opt("state", "STATE", "only entries in this state; running: jobs in progress"),
    opt(
        "session",
        "KEY",
        "list: only entries for this session; retry: send it to this session instead; session: this one",
    ),
    opt("all", "", "all dead entries"),
    opt("reason", "TEXT", "why, for whoever looks at it later"),
    opt("once", "", "deliver what can be delivered now, and end"),
    opt(
        "gateway",
        "URL",
        "the gateway; else SPOOL_GATEWAY, OPENCLAW_GATEWAY_URL, OpenClaw's own configuration",
    ),
    opt(
        "token-file",
        "FILE",
        "the gateway's token, in a file nobody else can read; it is read anew for each connect",
    ),
    opt(
        "fingerprint",
        "HEX",
        "the SHA-256 of the certificate of a wss:// gateway; else SPOOL_GATEWAY_FINGERPRINT",
    ),
    opt("admin", "", "ask the gateway for admin scope too, which records with \"deliver\":\"note\" need"),
    opt("verbose", "", "say more on stderr; SPOOL_LOG sets the level exactly"),
    opt("quiet", "", "say only warnings and errors on stderr"),
    opt("apply", "", "write it into the runner's own configuration; a backup is kept beside the file"),
    opt("check", "", "tell whether it is there: exit 0, or 1 if something is missing"),
    opt("remove", "", "take out exactly what --apply put in"),
    opt(
        "codex-home",
        "DIR",
        "a home of Codex, as often as there are homes; else CODEX_HOME and the usual ones",
    ),
    opt(
        "dir",
        "DIR",
        "adapt: the runner's configuration directory; torture: the directory to try, instead of the spool's",
    ),
    opt("until-cut", "", "write records and say which are kept, until the power is cut"),
    opt("after-cut", "NUMBER", "judge what is left, by the last number that was said before the cut"),
    opt("ping", "", "send a record there and tell what became of it"),
    opt("timeout", "DURATION", "how long to wait, e.g. 30s, 5m, 1h [2m]"),
    opt("stay", "", "leave gateway and agent running afterwards, to be tried by hand, until Ctrl-C"),
];

const fn verb(
    name: &'static str,
    takes: Takes,
    about: &'static str,
    more: &'static str,
    options: &'static [&'static str],
) -> Verb {
    Verb { name, takes, about, more, options }
}

/// All verbs.
pub const VERBS: &[Verb] = &[
    verb(
        "drain",
        Takes::Nothing,
        "deliver records to their sessions until told to stop",
        "The agent: one a spool. Ends on SIGTERM, SIGINT or SIGHUP after what is under way has settled.\n\
         The token is that of --token-file, else SPOOL_TOKEN_FILE, SPOOL_TOKEN, OPENCLAW_GATEWAY_TOKEN,\n\
         OPENCLAW_GATEWAY_PASSWORD, else gateway.auth of OpenClaw's own configuration.\n\
         With --once it exits 0 when nothing deliverable is left, 75 when records stay because the gateway\n\
         is away, 78 when the gateway refused the token.",
        &["spool", "once", "gateway", "token-file", "fingerprint", "admin", "verbose", "quiet"],
    ),
    verb(
        "list",
        Takes::Nothing,
        "list entries, or with --state running the jobs in progress",
        "",
        &["spool", "state", "session", "json"],
    ),
    verb(
        "show",
        Takes::One,
        "show one entry: record, attempts, evidence, reason, history",
        "",
        &["spool", "json"],
    ),
    verb(
        "status",
        Takes::Nothing,
        "tell how the spool and its agent are",
        "Exits 0 when all is well, 1 when something wants attention, 3 when no agent is running.",
        &["spool", "json"],
    ),
    verb(
        "retry",
        Takes::ManyOrAll,
        "try dead, held, deferred or dismissed entries again",
        "With --session the record is published anew for that session, under a new id that names the old\n\
         one, and the old entry is dismissed.",
        &["spool", "all", "session", "json"],
    ),
    verb(
        "dismiss",
        Takes::Many,
        "put entries aside for good; --reason is required",
        "",
        &["spool", "reason", "json"],
    ),
    verb("hold", Takes::Many, "keep entries from being delivered", "", &["spool", "reason", "json"]),
    verb("release", Takes::Many, "give held entries back to the agent", "", &["spool", "json"]),
    verb(
        "audit",
        Takes::Nothing,
        "prove that every accepted record is accounted for",
        "Exits 0 when that holds, 1 when it does not.",
        &["spool", "json"],
    ),
    verb(
        "adapt",
        Takes::Tool,
        "have a task runner report its ends: print, apply, check or remove what that takes",
        "TOOL is one of codex, codex-hook, claude, gemini, goose, cursor, copilot, opencode, aider, systemd,\n\
         pueue, tsp, gha, openclaw, cron. Without one it lists the runners that are here and which report.\n\
         Without --apply, --check or --remove it prints what to put where and changes nothing.",
        &["spool", "apply", "check", "remove", "codex-home", "dir", "json"],
    ),
    verb(
        "session",
        Takes::Nothing,
        "tell which session a record from here would be for, and why; --ping tries it",
        "Exits 0 when there is one, 78 when there is none. With --ping: 0 delivered, 75 not yet (the record is\n\
         safe and waits), 69 when it is held or dead. The session's agent answers a ping like any record.",
        &["spool", "session", "ping", "timeout", "json"],
    ),
    verb(
        "torture",
        Takes::Nothing,
        "try what the file system under the spool really guarantees",
        "Takes some seconds, and leaves nothing behind. Exits 0 when every promise is kept, 1 when one is broken.\n\
         Only a power cut shows whether the disk keeps what it says it has flushed: start --until-cut from\n\
         another machine, cut the power, and give the last number that you saw to --after-cut.",
        &["spool", "dir", "until-cut", "after-cut", "json"],
    ),
    verb(
        "demo",
        Takes::Nothing,
        "show all of it in a temporary spool with a built-in gateway",
        "Exits 0 only if every record arrived once.",
        &["stay"],
    ),
    verb("put", Takes::Anything, "queue a record (spool-put)", "", &[]),
    verb("run", Takes::Anything, "run a command and report its end (spool-run)", "", &[]),
];

/// What a verb was told; the options are described in [`OPTIONS`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub spool: Option<PathBuf>,
    pub json: bool,
    pub state: Option<Dir>,
    pub session: Option<String>,
    pub all: bool,
    pub reason: Option<String>,
    pub once: bool,
    pub gateway: Option<String>,
    pub token_file: Option<PathBuf>,
    pub fingerprint: Option<String>,
    pub admin: bool,
    pub verbose: bool,
    pub quiet: bool,
    pub stay: bool,
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
                verb = Some(found.ok_or_else(|| wrong(None, &format!("there is no verb {word:?}")))?);
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
                let option = found.ok_or_else(|| wrong(verb, &format!("there is no option --{name}")))?;
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
            "token-file" => self.token_file = Some(parser.value()?.into()),
            "session" => self.session = Some(parser.value()?.string()?),
            "reason" => self.reason = Some(parser.value()?.string()?),
            "gateway" => self.gateway = Some(parser.value()?.string()?),
            "fingerprint" => self.fingerprint = Some(parser.value()?.string()?),
            "state" => self.state = Some(parser.value()?.parse::<StateWord>()?.0),
            "json" => self.json = true,
            "all" => self.all = true,
            "once" => self.once = true,
            "admin" => self.admin = true,
            "verbose" => self.verbose = true,
            "quiet" => self.quiet = true,
            "stay" => self.stay = true,
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

struct StateWord(Dir);

impl FromStr for StateWord {
    type Err = String;

    fn from_str(word: &str) -> Result<StateWord, String> {
        let words = || Dir::STATES.map(Dir::state_word).join(", ");
        if word == RUNNING {
            return Ok(StateWord(Dir::Runs));
        }
        let found = Dir::from_state_word(word).map(StateWord);
        found.ok_or_else(|| format!("a state is one of {}, {RUNNING}", words()))
    }
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`; seconds without.
struct Length(Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(word: &str) -> Result<Length, String> {
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("", 1000)];
        let (number, unit) =
            units.iter().find_map(|(unit, ms)| Some((word.strip_suffix(unit)?, *ms))).unwrap_or((word, 1));
        let number: u32 =
            number.parse().map_err(|_| "a length of time is a whole number and s, m or h, e.g. 90s")?;
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
        (Takes::Nothing, [word, ..]) => return Err(format!("{} takes no {word:?}", verb.name)),
        (Takes::One, [] | [_, _, ..]) => return Err(format!("{} takes one id", verb.name)),
        (Takes::Many, []) => return Err(format!("{} wants an id", verb.name)),
        (Takes::ManyOrAll, ids) if ids.is_empty() != args.all => {
            return Err(format!("{} wants ids or --all, one of them", verb.name));
        }
        _ => {}
    }
    if verb.name == "dismiss" && args.reason.as_ref().is_none_or(|r| r.trim().is_empty()) {
        return Err("dismiss wants a --reason, for whoever asks later".to_owned());
    }
    if verb.name == "adapt" {
        check_adapt(args)?;
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
                    _ => "x",
                };
                let value = if option.value.is_empty() { "" } else { value };
                let reason = match (verb.name, *name) {
                    ("dismiss", _) => "--reason r",
                    ("session", "timeout") => "--ping",
                    ("adapt", "json") => "--check",
                    _ => "",
                };
                let id = match verb.takes {
                    Takes::Tool => "codex",
                    Takes::One | Takes::Many => "some-id",
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
            ("list --once", "--once does not go with list"),
            ("list --nonsense", "no option --nonsense"),
            ("list -x", "no option -x"),
            ("list extra", "takes no"),
            ("list --state sleeping", "pending, sending, deferred, held, dead, done, dismissed, running"),
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
            ("adapt --apply", "wants a runner"),
            ("adapt codex --apply --remove", "one of them"),
            ("adapt claude --codex-home x", "does not go with claude"),
            ("adapt claude --json", "goes with --check"),
        ] {
            let why = call(line).unwrap_err();
            assert!(why.contains(says) && why.contains("--help"), "{line}: {why}");
        }
        let why = parse(["retry", "a", "--session", " "].map(OsString::from)).unwrap_err();
        assert!(why.contains("blank"), "{why}");
    }
}
