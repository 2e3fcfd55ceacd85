//! What `spool-put` says of itself.

use crate::{HELP, Page, Row, VERSION, example, one_of, row, section};

const STATUS: &[&str] = &["ok", "failed", "timeout", "cancelled", "lost", "info"];
const LEVELS: &[&str] = &["accepted", "committed", "replied", "sent"];
/// The runners that are known by name.
pub const RUNNERS: &[&str] = &[
    "codex",
    "codex-hook",
    "claude",
    "gemini",
    "goose",
    "cursor",
    "copilot",
    "opencode",
    "amp",
    "aider",
    "systemd",
    "pueue",
    "tsp",
    "gha",
];

/// All of it.
pub const PAGE: Page = Page {
    name: "spool-put",
    about: "leave a record for a session; the agent of the spool delivers it",
    examples: &[
        example("spool-put --session agent:main:main 'The build is done.'", ""),
        example(
            "make 2>&1 | tail -n 40 | spool-put --session agent:main:main --status failed --exit-code 2 -",
            "",
        ),
        example("spool-put --record report.json", ""),
        example(
            "spool-put --id nightly-42 --session agent:main:main 'The backup is done.'",
            "safe to try again",
        ),
        example(
            "spool-put --session agent:main:main --wait=committed --timeout 30s 'The deploy begins.'",
            "",
        ),
        example("spool-put --from claude", "as a hook: docs/runners.md has a line for each runner"),
    ],
    usage: &[
        row("spool-put [OPTIONS] TEXT", "what to say; after -- it may begin with a dash"),
        row("spool-put [OPTIONS] -", "what to say, from standard input"),
        row("spool-put [OPTIONS] --record FILE", "a whole JSON record, from a file or - for standard input"),
        row("spool-put [OPTIONS] --exit-code N", "how it ended says enough"),
        row(
            "spool-put [OPTIONS] --from NAME ...",
            "what a task runner hands over, to its hook or as arguments",
        ),
        row("spool-put [OPTIONS] --map FILE ...", "the same for a runner that the file describes"),
    ],
    options: &[
        section(
            "For whom",
            &[
                row(
                    "--session KEY",
                    "the session it is for [else SPOOL_SESSION, OPENCLAW_SESSION_KEY]; never guessed",
                ),
                row(
                    "--allow-unrouted",
                    "queue it without a session; it is then held until a person names one",
                ),
            ],
        ),
        section(
            "About what",
            &[
                one_of(
                    "--status S",
                    "ok, failed, timeout, cancelled, lost or info [else from the exit code, else info]",
                    STATUS,
                ),
                row("--exit-code N", "how the task exited"),
                row("--label L", "a short name for people, up to 200 characters"),
                row(
                    "--id ID",
                    "the record's id; the same id and the same command may be repeated safely [a new UUID]",
                ),
            ],
        ),
        section(
            "How",
            &[
                one_of("--deliver MODE", "turn, message or note [turn]", &["turn", "message", "note"]),
                one_of("--notify W", "always, failure or never [always]", &["always", "failure", "never"]),
                row("--not-before MS", "not to be delivered before this time, in milliseconds since 1970"),
                row("--urgent", "do not wait for others to go with"),
            ],
        ),
        section(
            "From runners",
            &[
                one_of(
                    "--from NAME",
                    "codex, codex-hook, claude, gemini, goose, cursor, copilot, opencode, amp, aider, systemd, \
                     pueue, tsp or gha; or a name in --map FILE (TOML). Called by the name spool-put-NAME it is \
                     the same",
                    RUNNERS,
                ),
                row("--map FILE", "what a runner hands over and where in it what stands (docs/runners.md)"),
                row(
                    "--all-events",
                    "tell also what is not the end of the work: subagents, pauses, events not known here",
                ),
                row(
                    "--strict",
                    "exit as below. Otherwise it exits 0 and prints nothing whatever happens, as hooks must, has \
                     reports without a session held, and leaves a line where spool status shows it when one cannot \
                     be queued",
                ),
            ],
        ),
        section(
            "And then",
            &[
                one_of(
                    "--wait[=EVIDENCE]",
                    "wait until it is delivered, or until it is accepted, committed, replied or sent",
                    LEVELS,
                ),
                row("--timeout D", "for so long, e.g. 500ms, 30s, 5m or 1h [5m]"),
            ],
        ),
        section(
            "Other",
            &[
                row(
                    "--record FILE",
                    "see above; options override its members, the environment only fills in a missing session",
                ),
                row(
                    "--spool DIR",
                    "the spool [else SPOOL_DIR, $XDG_STATE_HOME/spool, ~/.local/state/spool]; made if it is not there",
                ),
                row("--json", "print id, sessionKey, state and path as JSON instead of \"queued ID\""),
                HELP,
                VERSION,
            ],
        ),
    ],
    notes: &[
        "A text that takes more than 200 KiB in JSON is cut and marked. createdAt is the time in the record's UUID, so \
         that a repetition has the same bytes; under an --id of another kind there is none.",
    ],
    exits: EXITS,
};

const EXITS: &[Row] = &[
    row(
        "0",
        "queued, and kept even over a power cut; with --wait: the evidence is there, or all there will be",
    ),
    row("64", "wrong usage"),
    row("65", "not a good record, or its id belongs to another one"),
    row("69", "with --wait: queued, but held, dead or dismissed"),
    row("73, 74", "cannot be written or read"),
    row("75", "try again later; with --wait: queued and safe, but not yet delivered"),
    row("77", "not allowed to"),
    row("78", "no spool or no session is named"),
];
