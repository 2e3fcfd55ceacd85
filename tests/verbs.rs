//! Every verb with the agent down and with the agent up: how it ends is asserted, and what it prints is the table of
//! docs/verbs.md, compared with it as the other pages are; `SPOOL_WRITE_DOCS=1` writes the table anew.
//!
//! The commands go through two desks in the same order, so that each finds what those before it left. Both desks begin
//! with the same entries in every state; at one an agent runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use spool_gateway::fake::{FakeThread, Options};

use crate::docs::is_line;
use crate::support::programs::{Agent, Cli, state, wait_until, write_token};
use crate::support::{TempSpool, project};

const TOKEN: &str = "correct-token";
const SESSION: &str = "agent:main:telegram:direct:42";
/// How many lines of an output stand in the table, and how long they are.
const LINES: usize = 4;
const WIDTH: usize = 110;

/// A command, and how it ends with the agent down and up. The exit number is the verb's, whatever reads its output.
struct Case(&'static str, i32, i32);

const CASES: &[Case] = &[
    Case("spool drain --once --quiet", 0, 69),
    Case("spool put --id put-1 'The build is done.'", 0, 0),
    Case("spool put --id put-2 --deliver message --wait --timeout $PATIENCE 'It is out.'", 75, 0),
    Case("spool run --id run-1 --label tests -- sh -c 'exit 3'", 3, 3),
    Case("spool session", 0, 0),
    Case("spool session --ping --timeout $PATIENCE", 75, 0),
    Case("spool status | head -n 3", 3, 1),
    Case("spool status --check | cut -d '|' -f 1", 2, 1),
    Case("spool list --state held", 0, 0),
    Case("spool list --state dead --ids", 0, 0),
    Case("spool show dead-1 | head -n 3", 0, 0),
    Case("spool watch | head -c 17", 0, 0),
    Case("spool doctor | grep -E '^[A-Za-z]+ +agent '", 1, 1),
    Case("spool hold later-1 --reason 'not yet'", 0, 0),
    Case("spool withdraw later-1 --reason 'a mistake'", 0, 0),
    Case("spool retry dead-1 --session \"$SPOOL_SESSION\"", 0, 0),
    Case("spool retry dead-2 --dry-run", 0, 0),
    Case("spool dismiss dead-2 --reason 'told them'", 0, 0),
    Case("spool dismiss done-1 --reason 'too late'", 65, 65),
    Case("spool release nobody", 65, 65),
    Case("spool prune --done --dismissed --older 30d", 0, 0),
    Case("spool export --state held > held.jsonl", 0, 0),
    Case("spool import held.jsonl", 0, 0),
    Case("spool release held-1", 0, 0),
    Case("spool audit", 0, 0),
    Case("spool adapt make", 64, 64),
    Case("spool adapt codex --check", 1, 1),
    Case("spool config check", 0, 0),
    Case("spool service status", 3, 3),
    Case("spool service install --print | grep Exec", 0, 0),
    Case("spool torture --until-cut | head -n 1", 0, 0),
    Case("spool torture --after-cut 1", 0, 0),
    Case("spool demo | tail -n 1", 0, 0),
    Case("spool completions bash | head -n 1", 0, 0),
    Case("spool man | head -n 1", 0, 0),
];

/// A spool with entries in every state, and at one of the two an agent.
struct Desk {
    spool: TempSpool,
    gateway: FakeThread,
    agent: Option<Agent>,
}

impl Desk {
    fn new(has_agent: bool) -> Desk {
        let spool = TempSpool::new();
        let token = write_token(&spool, TOKEN);
        let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
        gateway.add_chat(SESSION, 42);
        let config = spool.home().join(".config/spool");
        fs::create_dir_all(&config).unwrap();
        let text = format!("[gateway]\nurl = \"{}\"\ntoken-file = {token:?}\n", gateway.url());
        fs::write(config.join("config.toml"), text).unwrap();
        // A manager that has nothing of ours.
        let bin = spool.home().join("bin");
        fs::create_dir(&bin).unwrap();
        let systemctl = "#!/bin/sh\nprintf 'LoadState=not-found\\nActiveState=inactive\\nMainPID=0\\n'\n";
        fs::write(bin.join("systemctl"), systemctl).unwrap();
        fs::set_permissions(bin.join("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut desk = Desk { spool, gateway, agent: None };
        for id in ["done-1", "held-1"] {
            desk.put(&["--id", id]);
        }
        desk.does("spool hold held-1 --reason 'ask first'");
        for id in ["dead-1", "dead-2"] {
            desk.put(&["--id", id, "--session", "agent:main:telegram:direct:404"]);
        }
        desk.does("spool drain --once --quiet");
        desk.put(&["--id", "later-1", "--not-before", "4070908800000"]);
        if has_agent {
            desk.agent = Some(Agent::start_bare(&desk.spool));
            wait_until("the agent is at work", || {
                let status = Cli::new(&desk.spool, &["status"]).run();
                status.stdout.contains(" up ") && state(&desk.spool.spool, "later-1") == "deferred"
            });
        }
        desk
    }

    fn put(&self, more: &[&str]) {
        let words = [&["put"], more, &["A text."]].concat();
        Cli::new(&self.spool, &words)
            .env("SPOOL_SESSION", SESSION)
            .env("PATH", "/usr/bin:/bin")
            .run()
            .exits(0);
    }

    fn does(&self, command: &str) {
        let (code, said) = self.run(command);
        assert_eq!(code, 0, "{command}: {said}");
    }

    /// The exit number of what stands first in the pipe, and what was said.
    fn run(&self, command: &str) -> (i32, String) {
        let own = Path::new(env!("CARGO_BIN_EXE_spool")).parent().unwrap();
        let home = self.spool.home();
        let output = Command::new("timeout")
            .args(["60", "bash", "--norc", "--noprofile", "-c"])
            .arg(format!("exec 2>&1; {command}; exit ${{PIPESTATUS[0]}}"))
            .env_clear()
            .env("HOME", home)
            .env("PATH", format!("{}:{}:/usr/bin:/bin", home.join("bin").display(), own.display()))
            .env("SPOOL_DIR", self.spool.spool.root())
            .env("SPOOL_SESSION", SESSION)
            // Nothing comes of waiting where no agent is; where one is, a busy machine may take its time.
            .env("PATIENCE", if self.agent.is_some() { "60s" } else { "1s" })
            .current_dir(home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let said =
            said.replace(own.to_str().unwrap(), "/usr/bin").replace(home.to_str().unwrap(), "/home/me");
        let port = format!(":{}", self.gateway.port());
        (output.status.code().unwrap_or(-1), said.replace(&port, ":18789"))
    }
}

/// A cell of the table: the exit number, and the first lines of what was said.
fn cell(code: i32, said: &str) -> String {
    let mut cell = format!("**{code}**");
    for line in said.lines().take(LINES) {
        let line: String = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = line.chars().take(WIDTH).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        write!(cell, "<br>`{}`", shown.replace('|', "\\|").replace('`', "'")).unwrap();
    }
    if said.lines().count() > LINES {
        cell.push_str("<br>…");
    }
    cell
}

const HEAD: &str = "\
# Each verb with the agent down and up

No verb needs the agent: what it would have moved stays where it is until one runs. The same commands were run in this
order on two spools with the same entries, and beside one of them an agent ran; the numbers in bold are the exit numbers
of `spool`, and what follows is what it printed, on stdout or stderr, cut short. `SPOOL_SESSION` and `PATIENCE` are set,
`later-1` may not be delivered before 2099, `dead-1` and `dead-2` are for a session that does not exist, and `systemctl`
is a stand-in that has no such service. Written and checked by `tests/verbs.rs`.

| command | agent down | agent up |
|---|---|---|
";

#[test]
fn each_verb_does_its_work_with_the_agent_down_and_up() {
    let help = Cli::without_spool(Path::new("/"), &["--help"]).run().exits(0).stdout;
    let verbs = help.split_once("Verbs:\n").unwrap().1.lines();
    let verbs: BTreeSet<&str> =
        verbs.take_while(|l| !l.is_empty()).map(|l| l.split_whitespace().next().unwrap()).collect();
    let tried: BTreeSet<&str> = CASES.iter().map(|case| case.0.split(' ').nth(1).unwrap()).collect();
    assert_eq!(verbs, tried, "each verb is tried");

    let desks = [Desk::new(false), Desk::new(true)];
    let mut rows = Vec::new();
    for Case(command, down, up) in CASES {
        let mut row = vec![format!("`{}`", command.replace('|', "\\|"))];
        for (desk, code) in desks.iter().zip([*down, *up]) {
            let (ended, said) = desk.run(command);
            assert_eq!(
                ended,
                code,
                "{command}, agent {}: {said}",
                desk.agent.as_ref().map_or("down", |_| "up")
            );
            row.push(cell(ended, &said));
        }
        rows.push(format!("| {} |", row.join(" | ")));
    }
    let path = project().join("docs/verbs.md");
    if std::env::var_os("SPOOL_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{HEAD}{}\n", rows.join("\n"))).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    let told: Vec<&str> = page.strip_prefix(HEAD).unwrap_or_default().lines().collect();
    assert_eq!(told.len(), rows.len(), "docs/verbs.md is another page; SPOOL_WRITE_DOCS=1 writes it");
    for (told, said) in told.iter().zip(&rows) {
        assert!(is_line(told, said), "docs/verbs.md tells\n{told}\nand it says\n{said}");
    }
}
