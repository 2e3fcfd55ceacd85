//! What there is to say of the verbs besides their options ([`crate::verbs`]): examples, exit numbers, the variables and
//! files that they look at. Data, for the help and for the manual.

use spool_pages::Example;

const fn example(line: &'static str, what: &'static str) -> Example {
    Example { line, what }
}

/// The first things that are done with a spool.
pub const FIRST: &[Example] = &[
    example("spool drain", "the agent, in the foreground"),
    example("spool-put --session agent:main:main 'The build is done.'", "queue a record"),
    example("spool-run --session agent:main:main -- make", "report the end of a command"),
    example("spool status", "how it goes, and what to do next"),
    example("spool list --state dead", "what was not delivered, and why"),
    example("spool retry ID", "try one of them again"),
    example("spool doctor", "look at everything that deliveries need"),
];

/// Examples of each verb.
pub const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "drain",
        &[
            example("spool drain", "until told to stop; finds OpenClaw's gateway and token by itself"),
            example("spool drain --once", "deliver what is there, and end"),
            example("spool drain --gateway ws://127.0.0.1:18789 --token-file ~/.config/spool/token", ""),
        ],
    ),
    (
        "list",
        &[
            example("spool list", ""),
            example("spool list --state dead --since 1d", ""),
            example("spool list --session agent:main:main --sort age", ""),
            example("spool list --state held --ids | spool release -", "give back all that is held"),
            example("spool list --state running", "jobs in progress"),
        ],
    ),
    ("show", &[example("spool show 01929f3e", "the first characters of an id are enough")]),
    ("status", &[example("spool status", ""), example("spool status --json | jq .counts", "")]),
    (
        "watch",
        &[
            example("spool watch", "q ends it; the other keys stand at the bottom"),
            example("spool watch | cat", "JSON lines, where it is no terminal that shows it"),
        ],
    ),
    (
        "config",
        &[
            example("spool config path", "where the configuration is"),
            example("spool config show", "what holds, and what said so"),
            example("spool config check", "before the agent is told to read it anew"),
        ],
    ),
    (
        "config",
        &[
            example("spool config check", ""),
            example("spool config show", "what holds, and what says so"),
            example("${EDITOR:-vi} \"$(spool config path)\"", ""),
        ],
    ),
    (
        "doctor",
        &[
            example("spool doctor", ""),
            example("spool doctor --fix", "mend modes, missing directories and leftovers"),
            example("spool doctor --json | jq -r '.checks[] | select(.verdict == \"wrong\") | .remedy'", ""),
        ],
    ),
    (
        "retry",
        &[
            example("spool retry 01929f3e", ""),
            example("spool retry --all --dry-run", "what would be tried again"),
            example("spool retry 01929f3e --session agent:main:main", "send it to another session"),
        ],
    ),
    ("dismiss", &[example("spool dismiss 01929f3e --reason 'told them on the phone'", "")]),
    ("withdraw", &[example("spool withdraw 01929f3e --reason 'wrong session'", "")]),
    (
        "hold",
        &[
            example("spool hold 01929f3e --reason 'not before Monday'", ""),
            example("spool list --state pending --ids | spool hold -", "keep everything back"),
        ],
    ),
    ("release", &[example("spool release 01929f3e", "")]),
    (
        "prune",
        &[
            example("spool prune --done --older 30d --dry-run", ""),
            example("spool prune --done --dismissed --older 8w", ""),
        ],
    ),
    (
        "export",
        &[
            example("spool export --state pending > pending.jsonl", ""),
            example("spool export | ssh other-host spool import -", "move to another machine"),
        ],
    ),
    ("import", &[example("spool import pending.jsonl --dry-run", ""), example("spool import -", "")]),
    ("audit", &[example("spool audit", ""), example("spool audit --json | jq .holds", "")]),
    (
        "adapt",
        &[
            example("spool adapt", "which runners are here, and which report"),
            example("spool adapt codex", "print what to put where"),
            example("spool adapt claude --apply", "put it there; a backup is kept"),
            example("spool adapt claude --remove", "take it out again"),
        ],
    ),
    (
        "session",
        &[
            example("spool session", "which session a record from here would be for"),
            example("spool session --session agent:main:main --ping", "try the whole way to it"),
        ],
    ),
    (
        "service",
        &[
            example("spool service install --print", "the unit that would be installed"),
            example("spool service install", "have the agent run from login on"),
            example("spool service status", ""),
            example("spool service logs --follow", ""),
            example("spool service uninstall", "the spool stays as it is"),
        ],
    ),
    (
        "torture",
        &[
            example("spool torture", ""),
            example("spool torture --dir /mnt/disk", "before a spool is put there"),
        ],
    ),
    ("demo", &[example("spool demo", ""), example("spool demo --stay", "and try it by hand afterwards")]),
    (
        "completions",
        &[
            example("spool completions bash > ~/.local/share/bash-completion/completions/spool", ""),
            example("spool completions zsh > ~/.zfunc/_spool", "with ~/.zfunc in fpath before compinit"),
            example("spool completions fish > ~/.config/fish/completions/spool.fish", ""),
        ],
    ),
    (
        "man",
        &[
            example("spool man | man -l -", "the page of spool itself"),
            example("spool man retry | man -l -", ""),
            example("spool man --dir ~/.local/share/man/man1", "write all pages there"),
        ],
    ),
    ("put", &[example("spool put --session agent:main:main 'The build is done.'", "")]),
    ("run", &[example("spool run --session agent:main:main -- make", "")]),
];

/// The examples of a verb.
pub fn examples(verb: &str) -> &'static [Example] {
    EXAMPLES.iter().find(|(name, _)| *name == verb).map_or(&[], |(_, examples)| examples)
}

/// Exit numbers, as sysexits(3) has them, and what they mean here.
pub const EXITS: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "status, doctor, audit, torture and adapt --check: something wants attention, or does not hold"),
    ("3", "status: no agent is running"),
    ("64", "wrong usage"),
    ("65", "no such entry, or not allowed in its state"),
    ("69", "another agent is running, or a ping was stopped"),
    ("73, 74", "cannot be written or read"),
    ("75", "try again later"),
    ("77", "no permission"),
    ("78", "configuration"),
];

/// What the programs look at in the environment.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "SPOOL_DIR, XDG_STATE_HOME",
        "where the spool is: SPOOL_DIR, else $XDG_STATE_HOME/spool, else ~/.local/state/spool",
    ),
    ("SPOOL_SESSION, OPENCLAW_SESSION_KEY", "the session that records are for, where --session does not say"),
    ("SPOOL_GATEWAY, OPENCLAW_GATEWAY_URL, OPENCLAW_GATEWAY_PORT", "where the gateway is"),
    (
        "SPOOL_TOKEN_FILE, SPOOL_TOKEN, OPENCLAW_GATEWAY_TOKEN, OPENCLAW_GATEWAY_PASSWORD",
        "what opens it; else gateway.auth of OpenClaw's own configuration",
    ),
    ("SPOOL_GATEWAY_FINGERPRINT", "the SHA-256 of the certificate of a wss:// gateway"),
    ("SPOOL_LOG", "how much spool drain says: off, error, warn, info, debug or trace"),
];

/// Where things are.
pub const FILES: &[(&str, &str)] = &[
    ("~/.local/state/spool", "the spool, unless the environment says otherwise"),
    ("~/.config/spool/identity", "the key of this device, and the token that the gateway gave it"),
    ("~/.openclaw/openclaw.json", "OpenClaw's own configuration; only read"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Call};
    use crate::verbs::VERBS;

    #[test]
    fn every_verb_has_examples_and_they_are_right() {
        for verb in VERBS {
            assert!(!examples(verb.name).is_empty(), "words.rs has no example of {}", verb.name);
        }
        let known = EXAMPLES.iter().filter(|(name, _)| VERBS.iter().any(|verb| verb.name == *name));
        for example in known.flat_map(|(_, all)| *all).chain(FIRST) {
            for command in example.line.split(" | ") {
                // Redirections are the shell's; of quotes only blanks matter here.
                let words = command.split(" > ").next().unwrap().split_whitespace();
                let words: Vec<&str> = words.skip_while(|word| *word != "spool").skip(1).collect();
                if words.is_empty() {
                    continue;
                }
                let mut unquoted: Vec<String> = Vec::new();
                let mut is_open = false;
                for word in words {
                    let quotes = word.matches('\'').count();
                    if is_open {
                        unquoted.last_mut().unwrap().push_str(word);
                    } else {
                        unquoted.push(word.to_owned());
                    }
                    is_open ^= quotes % 2 == 1;
                }
                let call = args::parse(unquoted.iter().map(Into::into));
                assert!(matches!(call, Ok(Call::Verb(..) | Call::Become(..))), "{}: {call:?}", example.line);
            }
        }
    }
}
