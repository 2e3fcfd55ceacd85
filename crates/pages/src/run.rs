//! What `spool-run` says of itself.

use crate::{HELP, Page, VERSION, example, one_of, row, section};

/// All of it.
pub const PAGE: Page = Page {
    name: "spool-run",
    about: "run a command; its session hears how it ended, even if this wrapper is killed",
    examples: &[
        example("spool-run --session agent:main:main -- cargo test", ""),
        example("spool-run --label 'nightly backup' --timeout 2h --notify failure -- ./backup.sh", ""),
        example("spool-run --detach -- make world", ""),
        example("spool-run --parse codex -- codex exec --json 'fix the build'", ""),
    ],
    usage: &[row("spool-run [OPTIONS] [--] COMMAND [ARGS...]", "")],
    options: &[
        section(
            "For whom",
            &[
                row(
                    "--session KEY",
                    "the session it is for [else SPOOL_SESSION, OPENCLAW_SESSION_KEY]; never guessed. Without one \
                     the command runs all the same, and its completion is held until a person routes it",
                ),
                row("--label L", "a short name for people, up to 200 characters"),
                row("--id ID", "the run's id, and its completion's [a new UUID]"),
                one_of("--deliver MODE", "turn, message or note [turn]", &["turn", "message", "note"]),
                one_of("--notify W", "always, failure or never [always]", &["always", "failure", "never"]),
                row(
                    "--min-duration D",
                    "a run that ends well before D is only recorded, as with --notify failure",
                ),
            ],
        ),
        section(
            "How it runs",
            &[
                row("--timeout D", "after D: SIGTERM, 10 s later SIGKILL; exit 124"),
                row("--pty", "give it a terminal; such a job is hung up on (SIGHUP) when the wrapper dies"),
                one_of(
                    "--lease WHOSE",
                    "inherit: the run is over when the job and all it left behind have ended [default]; main: when \
                     the command itself has ended, for jobs that leave a server behind or close the descriptors \
                     they inherit (sudo); not across PID namespaces",
                    &["inherit", "main"],
                ),
                row(
                    "--detach",
                    "run it in the background, in a session of its own, without input; prints \"running ID\"",
                ),
            ],
        ),
        section(
            "What is said of it",
            &[
                one_of(
                    "--output W",
                    "tail: its last lines; path: only where its log is; none [tail]",
                    &["tail", "path", "none"],
                ),
                row("--tail N", "how many lines, within 8 KiB [40]"),
                one_of(
                    "--parse FORMAT",
                    "claude (claude -p --output-format json) or codex (codex exec --json): its final message \
                     becomes the text, and its own word on failure counts",
                    &["claude", "codex"],
                ),
            ],
        ),
        section(
            "Afterwards",
            &[
                one_of(
                    "--wait[=LEVEL]",
                    "wait until the completion has come so far: accepted, committed or replied [all the way]",
                    &["accepted", "committed", "replied"],
                ),
                row("--wait-timeout D", "but no longer than this [2m]; what became of it is said on stderr"),
            ],
        ),
        section(
            "Other",
            &[
                row(
                    "--strict",
                    "trouble with the spool is a failure: the command is not started, or the exit is 125; so is a \
                     --wait in vain",
                ),
                row("--quiet", "no last line on stderr"),
                row(
                    "--spool DIR",
                    "the spool [else SPOOL_DIR, $XDG_STATE_HOME/spool, ~/.local/state/spool]; made if it is not there",
                ),
                HELP,
                VERSION,
            ],
        ),
    ],
    notes: &[
        "D is 90, 90s, 10m, 2h, 1d or 500ms. Output and errors of the command go, in order, to one file logs/ID.log in \
         the spool and are shown on stdout as they grow. SIGINT, TERM, HUP, QUIT, USR1, USR2 and WINCH are passed on: to \
         the command's process group, or, when stdin is a terminal, to the command, which then shares the wrapper's \
         group and hears the terminal itself. Signals that were ignored when the wrapper started stay ignored.",
    ],
    exits: &[
        row("as the command", "by the same signal if it was killed"),
        row("124", "time is over"),
        row("125", "wrong usage or, with --strict, trouble with the spool"),
        row("126", "the command cannot be executed"),
        row("127", "the command was not found"),
    ],
};
