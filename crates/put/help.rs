//! What `spool-put --help` says: first how it is used, then each option with what it does and what stands in for it.

/// What `--help` prints.
pub const HELP: &str = "\
spool-put: leave a record for a session; the agent of the spool delivers it

Examples:
  spool-put --session agent:main:main 'The build is done.'
  make 2>&1 | tail -n 40 | spool-put --session agent:main:main --status failed --exit-code 2 -
  spool-put --record report.json
  spool-put --id nightly-42 --session agent:main:main 'safe to try again'
  spool-put --session agent:main:main --wait=committed --timeout 30s 'The deploy begins.'
  spool-put --from claude                       (as a hook: docs/runners.md has a line for each runner)

Usage:
  spool-put [OPTIONS] TEXT            what to say; after -- it may begin with a dash
  spool-put [OPTIONS] -               what to say, from standard input
  spool-put [OPTIONS] --record FILE   a whole JSON record, from a file or - for standard input
  spool-put [OPTIONS] --exit-code N   how it ended says enough
  spool-put [OPTIONS] --from NAME ..  what a task runner hands over, to its hook or as arguments
  spool-put [OPTIONS] --map FILE ..   the same for a runner that the file describes

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

From runners:
  --from NAME        codex, codex-hook, claude, gemini, goose, cursor, copilot, opencode, amp, aider, systemd, pueue,
                     tsp or gha; or a name in --map FILE (TOML). Called by the name spool-put-NAME it is the same
  --all-events       tell also what is not the end of the work: subagents, pauses, events not known here
  --strict           exit as below. Otherwise it exits 0 and prints nothing whatever happens, as hooks must, has reports
                     without a session held, and leaves a line where spool status shows it when one cannot be queued

And then:
  --wait[=EVIDENCE]  wait until it is delivered, or until it is accepted, committed, replied or sent
  --timeout D        for so long, e.g. 500ms, 30s, 5m or 1h [5m]

Other:
  --record FILE      see above; options override its members, the environment only fills in a missing session
  --spool DIR        the spool [else SPOOL_DIR, $XDG_STATE_HOME/spool, ~/.local/state/spool]; made if it is not there
  --json             print id, sessionKey, state and path as JSON instead of \"queued ID\"
  -h, --help         this text
  -V, --version      the version

A text that takes more than 200 KiB in JSON is cut and marked. createdAt is the time in the record's UUID, so that a
repetition has the same bytes; under an --id of another kind there is none.

Exit: 0 queued (kept, even over a power cut), 64 wrong usage, 65 not a good record or its id belongs to another one,
73 or 74 cannot be written or read, 75 try again later, 77 not allowed to, 78 no spool or no session is named. With
--wait: 0 the evidence is there, or all there will be; 69 queued, but held, dead or dismissed; 75 queued and safe, but
not yet delivered.
";
