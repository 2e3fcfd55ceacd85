//! The verbs and their options, as data, so that the help, the check, the completions, the manual and the tests cannot
//! disagree.

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
    /// One of these words.
    Sub(&'static [&'static str]),
    /// The name of a task runner, or nothing.
    Tool,
    /// One id or more.
    Many,
    /// One id or more, or `--all`.
    ManyOrAll,
    /// What to do with the service.
    Action,
    /// A file, or `-` for standard input.
    File,
    /// The name of a shell.
    Shell,
    /// The name of a page of the manual, or nothing.
    Page,
    /// Whatever another program takes.
    Anything,
}

const fn opt(name: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, value, about }
}

/// All options of all verbs.
pub const OPTIONS: &[Opt] = &[
    opt(
        "spool",
        "DIR",
        "the spool; else SPOOL_DIR, the configuration, $XDG_STATE_HOME/spool, ~/.local/state/spool",
    ),
    opt(
        "config",
        "FILE",
        "the configuration; else SPOOL_CONFIG, $XDG_CONFIG_HOME/spool/config.toml, ~/.config/spool/config.toml",
    ),
    opt("json", "", "print JSON (docs/json.md)"),
    opt("state", "STATE", "only entries in this state; running: jobs in progress"),
    opt(
        "session",
        "KEY",
        "list: only entries for this session; retry: send it to this session instead; session: this one",
    ),
    opt(
        "status",
        "STATUS",
        "only records of tasks that ended so: ok, failed, timeout, cancelled, lost, info",
    ),
    opt("since", "WHEN", "only records made since then: 90m, 12h, 7d, 2026-11-20 or 2026-11-20T08:00 (UTC)"),
    opt("grep", "TEXT", "only records with this in label, text, session or reason; case does not count"),
    opt(
        "sort",
        "FIELD",
        "by state (and id), age (oldest first), session, status or attempts (most first) [state]",
    ),
    opt("ids", "", "print the ids alone, one a line: for spool retry - and the like"),
    opt("fix", "", "mend what can be mended without harm, and say what was done"),
    opt("all", "", "all dead entries"),
    opt("dry-run", "", "tell what would be done, and do nothing"),
    opt("done", "", "receipts of what was delivered"),
    opt("dismissed", "", "what was put aside for good"),
    opt("older", "AGE", "only what has been there longer than this: 12h, 30d, 8w"),
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
    opt(
        "check",
        "",
        "adapt: tell whether it is there (exit 0, or 1 if something is missing); status: one line for a monitor",
    ),
    opt("html", "FILE", "write a static page into FILE, which is replaced as a whole; - is stdout"),
    opt(
        "metrics",
        "[FILE|ADDRESS]",
        "status: print OpenMetrics text, or replace FILE by it; drain, service install: serve it, e.g. on 127.0.0.1:9469",
    ),
    opt("remove", "", "take out exactly what --apply put in"),
    opt(
        "codex-home",
        "DIR",
        "a home of Codex, as often as there are homes; else CODEX_HOME and the usual ones",
    ),
    opt(
        "dir",
        "DIR",
        "adapt: the runner's configuration directory; torture: the directory to try, instead of the spool's; man: where all pages are written",
    ),
    opt("until-cut", "", "write records and say which are kept, until the power is cut"),
    opt("after-cut", "NUMBER", "judge what is left, by the last number that was said before the cut"),
    opt("ping", "", "send a record there and tell what became of it"),
    opt("timeout", "DURATION", "how long to wait, e.g. 30s, 5m, 1h [2m]"),
    opt(
        "log",
        "FORMAT",
        "the log on stderr: human, json, journald, or auto: journald where systemd reads it, else human [log.format]",
    ),
    opt("print", "", "print the unit, or what the service manager would be asked, and do nothing"),
    opt("follow", "", "logs: go on with what is said from now on, until Ctrl-C"),
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
        "The agent: one a spool. Ends on SIGTERM or SIGINT after what is under way has settled; on SIGHUP it reads\n\
         the configuration anew, and keeps the old one if the new one is wrong.\n\
         The token is that of --token-file, else SPOOL_TOKEN_FILE, SPOOL_TOKEN, OPENCLAW_GATEWAY_TOKEN,\n\
         OPENCLAW_GATEWAY_PASSWORD, else gateway.auth of OpenClaw's own configuration.\n\
         With --once it exits 0 when nothing deliverable is left, 75 when records stay because the gateway\n\
         is away, 78 when the gateway refused the token.\n\
         With --metrics ADDRESS it serves /metrics to this machine alone.",
        &[
            "spool",
            "config",
            "once",
            "gateway",
            "token-file",
            "fingerprint",
            "admin",
            "metrics",
            "log",
            "verbose",
            "quiet",
        ],
    ),
    verb(
        "list",
        Takes::Nothing,
        "list entries, or with --state running the jobs in progress",
        "Without an option it lists them all, in the order of their states and, within one, of their ids.",
        &["spool", "config", "state", "session", "status", "since", "grep", "sort", "ids", "json"],
    ),
    verb(
        "show",
        Takes::One,
        "show one entry: record, attempts, evidence, reason, history",
        "",
        &["spool", "config", "json"],
    ),
    verb(
        "status",
        Takes::Nothing,
        "tell how the spool and its agent are",
        "Exits 0 when all is well, 1 when something wants attention, 3 when no agent is running.\n\
         With --check: one line, 0 ok, 1 warning, 2 critical, 3 unknown, as Nagios and its kin have it.\n\
         With --html or --metrics: 0 when that was written.",
        &["spool", "config", "json", "check", "html", "metrics"],
    ),
    verb(
        "doctor",
        Takes::Nothing,
        "look at everything that deliveries need, and say what to do",
        "Nothing is changed without --fix, which gives the spool's own directories mode 700, makes missing ones and\n\
         removes leftovers of dead writers. The gateway is asked as spool drain with these options would ask it.\n\
         Exits 0 when nothing is wrong, 1 when something is.",
        &["spool", "config", "fix", "gateway", "token-file", "fingerprint", "admin", "json"],
    ),
    verb(
        "watch",
        Takes::Nothing,
        "watch lanes, deliveries and the journal live, and decide with keys",
        "Keys: up and down select an entry, enter shows it, r tries it again, h holds or releases it, d dismisses\n\
         it (and asks for the reason), q ends. With --json, or where stdout is no terminal, it prints a JSON line\n\
         for each thing that happens.",
        &["spool", "json"],
    ),
    verb(
        "retry",
        Takes::ManyOrAll,
        "try dead, held, deferred or dismissed entries again",
        "With --session the record is published anew for that session, under a new id that names the old\n\
         one, and the old entry is dismissed.",
        &["spool", "config", "all", "session", "dry-run", "json"],
    ),
    verb(
        "dismiss",
        Takes::Many,
        "put entries aside for good; --reason is required",
        "",
        &["spool", "config", "reason", "dry-run", "json"],
    ),
    verb(
        "withdraw",
        Takes::Many,
        "take back entries that have not been sent",
        "What is pending, deferred or held is dismissed. What is being sent may have arrived and stays.",
        &["spool", "config", "reason", "dry-run", "json"],
    ),
    verb(
        "hold",
        Takes::Many,
        "keep entries from being delivered",
        "",
        &["spool", "config", "reason", "dry-run", "json"],
    ),
    verb(
        "release",
        Takes::Many,
        "give held entries back to the agent",
        "",
        &["spool", "config", "dry-run", "json"],
    ),
    verb(
        "prune",
        Takes::Nothing,
        "clear away old receipts: --done, --dismissed or both, and --older AGE",
        "An id that is pruned is not remembered any more: the same record, queued again, is delivered again.\n\
         The agent prunes receipts by itself after a week. Held and dead entries are never pruned.",
        &["spool", "config", "done", "dismissed", "older", "dry-run", "json"],
    ),
    verb(
        "export",
        Takes::Nothing,
        "write entries as JSON lines, for spool import on another machine",
        "Nothing is changed. What is exported while an agent delivers it here may be delivered there too:\n\
         hold it first, or stop the agent.",
        &["spool", "config", "state", "session", "status", "since", "grep"],
    ),
    verb(
        "import",
        Takes::File,
        "take in what spool export wrote; FILE, or - for standard input",
        "Ids, bytes, states and reasons are kept; what was deferred is pending again, and what was being sent is\n\
         held, for it may have arrived. What is here already is left as it is, so that an import can be repeated.",
        &["spool", "config", "dry-run", "json"],
    ),
    verb(
        "audit",
        Takes::Nothing,
        "prove that every accepted record is accounted for",
        "Exits 0 when that holds, 1 when it does not.",
        &["spool", "config", "json"],
    ),
    verb(
        "adapt",
        Takes::Tool,
        "have a task runner report its ends: print, apply, check or remove what that takes",
        "TOOL is one of codex, codex-hook, claude, gemini, goose, cursor, copilot, opencode, aider, systemd,\n\
         pueue, tsp, gha, openclaw, cron. Without one it lists the runners that are here and which report.\n\
         Without --apply, --check or --remove it prints what to put where and changes nothing.",
        &["spool", "config", "apply", "check", "remove", "codex-home", "dir", "json"],
    ),
    verb(
        "session",
        Takes::Nothing,
        "tell which session a record from here would be for, and why; --ping tries it",
        "Exits 0 when there is one, 78 when there is none. With --ping: 0 delivered, 75 not yet (the record is\n\
         safe and waits), 69 when it is held or dead. The session's agent answers a ping like any record.",
        &["spool", "config", "session", "ping", "timeout", "json"],
    ),
    verb(
        "config",
        Takes::Sub(&["path", "show", "check"]),
        "tell where the configuration is, what holds and why, or whether it is right",
        "path prints the file, show each setting with its value and where that comes from, check says what is wrong\n\
         and exits 78. The page docs/configuration.md has all settings. A running agent reads it anew on SIGHUP.",
        &["config", "spool", "gateway", "token-file", "fingerprint", "admin", "json"],
    ),
    verb(
        "service",
        Takes::Action,
        "have the agent run as a service of yours: from login on, started again whatever happens",
        "ACTION is one of install, uninstall, start, stop, restart, status, logs. install takes the options of drain,\n\
         makes a unit of systemd (on macOS an agent of launchd), and starts it; installing again renews it. The\n\
         token has to be in a file, or in OpenClaw's own configuration.\n\
         status exits 0 when it runs, 1 when its unit is not what install would make, 3 when it does not run.",
        &[
            "spool",
            "config",
            "gateway",
            "token-file",
            "fingerprint",
            "admin",
            "metrics",
            "log",
            "verbose",
            "quiet",
            "print",
            "follow",
            "json",
        ],
    ),
    verb(
        "torture",
        Takes::Nothing,
        "try what the file system under the spool really guarantees",
        "Takes some seconds, and leaves nothing behind. Exits 0 when every promise is kept, 1 when one is broken.\n\
         Only a power cut shows whether the disk keeps what it says it has flushed: start --until-cut from\n\
         another machine, cut the power, and give the last number that you saw to --after-cut.",
        &["spool", "config", "dir", "until-cut", "after-cut", "json"],
    ),
    verb(
        "demo",
        Takes::Nothing,
        "show all of it in a temporary spool with a built-in gateway",
        "Exits 0 only if every record arrived once.",
        &["stay"],
    ),
    verb(
        "completions",
        Takes::Shell,
        "print the script by which a shell completes; SHELL is bash, zsh or fish",
        "It completes spool, spool-put and spool-run. bash needs version 4.",
        &[],
    ),
    verb(
        "man",
        Takes::Page,
        "print a page of the manual; with --dir write all of them",
        "PAGE is a verb, spool-put or spool-run; without one it is that of spool itself. The language is man(7).",
        &["dir"],
    ),
    verb("put", Takes::Anything, "queue a record (spool-put)", "", &[]),
    verb("run", Takes::Anything, "run a command and report its end (spool-run)", "", &[]),
];
