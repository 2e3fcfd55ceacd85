//! The pages for people: every command in them is run, in order, on a clean home directory, and says what they say.
//!
//! A block `console` holds commands (after `$ `) and what they print; a block `sh` only commands, which must end well. One
//! shell runs a page from its beginning to its end, with a gateway that `openclaw gateway stop` and `start` really stop
//! and start. What is stable is compared: ids, keys, numbers and the home directory are not; `...` stands for any words,
//! and in a line of its own for any lines. A command that only looks is asked again for a while, since the agent works
//! beside it. Two comments are for this test: `<!-- not run: WHY -->` before a block that cannot be run, and
//! `<!-- gateway: ... -->` for what happens at the gateway. With `SPOOL_WRITE_DOCS=1` what the commands print is written
//! into the pages instead, so that a transcript is one.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use spool_gateway::fake::{FakeThread, Options};

use crate::support::programs::{Cli, LIMIT};
use crate::support::{TempSpool, project};

const TOKEN: &str = "token-of-the-pages";
const CHAT: &str = "agent:main:telegram:direct:42";
/// How long a command that looks may go on saying something else.
const PATIENCE: Duration = Duration::from_secs(40);

/// A shell on a clean home directory, with a gateway beside it.
struct Desk {
    home: tempfile::TempDir,
    gateway: Arc<FakeThread>,
    shell: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    over: Arc<AtomicBool>,
}

impl Desk {
    fn new() -> Desk {
        let home = tempfile::tempdir().unwrap();
        let gateway = Arc::new(FakeThread::start(Options::with_token(TOKEN)).unwrap());
        gateway.add_chat(CHAT, 42);
        gateway.add_session("agent:main:main", None);
        let over = Arc::new(AtomicBool::new(false));
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(home.path().join(".openclaw")).unwrap();
        let config = format!("{{gateway: {{port: {}, auth: {{token: '{TOKEN}'}}}}}}\n", gateway.port());
        put_file(&home.path().join(".openclaw/openclaw.json"), &config, 0o600);
        // It asks this test, which looks for the file, and waits until that is done.
        let openclaw = "#!/bin/sh\necho \"$2\" > \"$HOME/.ask.$$\" && mv \"$HOME/.ask.$$\" \"$HOME/.ask\"\n\
             while [ -e \"$HOME/.ask\" ]; do sleep 0.05; done\n";
        put_file(&bin.join("openclaw"), openclaw, 0o755);
        let own = Path::new(env!("CARGO_BIN_EXE_spool")).parent().unwrap();
        let mut shell = Command::new("bash")
            .args(["--norc", "--noprofile"])
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", format!("{}:{}:/usr/bin:/bin", own.display(), bin.display()))
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (says, lines) = mpsc::channel();
        let stdout = BufReader::new(shell.stdout.take().unwrap());
        thread::spawn(move || {
            let said = stdout.split(b'\n').map_while(Result::ok);
            said.map(|line| String::from_utf8_lossy(&line).into_owned()).all(|line| says.send(line).is_ok())
        });
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(b"exec 2>&1\n").unwrap();
        serve(Arc::clone(&gateway), home.path().join(".ask"), Arc::clone(&over));
        Desk { home, gateway, shell, stdin, lines, over }
    }

    /// What a command prints, and how it ends.
    fn run(&mut self, command: &str) -> (Vec<String>, i32) {
        let script =
            format!("{{ {command}\n}} </dev/null\n__rc=$?; printf '\\n__ended %s\\n' $__rc; (exit $__rc)\n");
        self.stdin.write_all(script.as_bytes()).unwrap();
        let deadline = Instant::now() + LIMIT;
        let mut said = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|e| panic!("{command}: {e}: {said:?}"));
            if let Some(code) = line.strip_prefix("__ended ") {
                while said.last().is_some_and(String::is_empty) {
                    said.pop();
                }
                return (said, code.parse().unwrap());
            }
            said.push(self.shown(&line));
        }
    }

    /// As on a machine of a person whose name is me.
    fn shown(&self, line: &str) -> String {
        let line = line.replace(self.home.path().to_str().unwrap(), "/home/me");
        line.replace(&format!(":{}", self.gateway.port()), ":18789").trim_end().to_owned()
    }

    fn happens(&self, what: &str) {
        match what.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["archive", key] => self.gateway.archive(key, true),
            ["restore", key] => self.gateway.archive(key, false),
            ["token", token] => {
                self.gateway.set_token(Some(token));
                self.gateway.cut_connections();
            }
            other => panic!("what happens at the gateway? {other:?}"),
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let end = "kill $(jobs -p) 2>/dev/null; wait; exit\n";
        let _asked = self.stdin.write_all(end.as_bytes()).and_then(|()| self.stdin.flush()).is_ok();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !matches!(self.shell.try_wait(), Ok(Some(_))) {
            if Instant::now() > deadline {
                let _gone = self.shell.kill().and_then(|()| self.shell.wait()).is_ok();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Stops and starts the gateway when the `openclaw` of the desk asks for it.
fn serve(gateway: Arc<FakeThread>, ask: PathBuf, over: Arc<AtomicBool>) {
    thread::spawn(move || {
        while !over.load(Ordering::SeqCst) {
            match std::fs::read_to_string(&ask).as_deref().map(str::trim) {
                Ok("stop") => gateway.kill(),
                Ok("start") => gateway.restart().unwrap(),
                Ok(other) => panic!("openclaw gateway {other}?"),
                Err(_) => {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
            }
            std::fs::remove_file(&ask).unwrap();
        }
    });
}

fn put_file(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A line with everything taken out that differs from one time to the next.
fn stable(line: &str) -> String {
    let mut stable = String::new();
    let mut rest = line.trim_end();
    while let Some(c) = rest.chars().next() {
        let hex = rest.bytes().take_while(|b| b.is_ascii_hexdigit() || *b == b'-').count();
        let is_id =
            rest.is_char_boundary(36) && hex >= 36 && rest[..36].bytes().filter(|b| *b == b'-').count() == 4;
        let key =
            rest.strip_prefix("sp-").map_or(0, |key| key.bytes().take_while(u8::is_ascii_hexdigit).count());
        if is_id {
            stable.push_str("ID");
            rest = &rest[36..];
        } else if key == 32 {
            stable.push_str("KEY");
            rest = &rest[35..];
        } else if c.is_ascii_digit() {
            stable.push('#');
            rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if c == ' ' {
            stable.push(' ');
            rest = rest.trim_start_matches(' ');
        } else {
            stable.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    // 0.9 s and 12 ms, 1 minute and 2 minutes are the same.
    stable.replace("#.#", "#").replace("# ms", "# s").replace("# min", "# s").replace("#ms", "#s")
}

pub fn is_line(told: &str, said: &str) -> bool {
    let (told, said) = (stable(told), stable(said));
    let mut parts = told.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn is_told(told: &[String], said: &[String]) -> bool {
    match (told, said) {
        ([], []) => true,
        ([dots, told @ ..], _) if dots == "..." => (0..=said.len()).any(|n| is_told(told, &said[n..])),
        ([a, told @ ..], [b, said @ ..]) => is_line(a, b) && is_told(told, said),
        _ => false,
    }
}

/// Whether a command changes nothing, so that it may be asked again.
fn only_looks(command: &str) -> bool {
    let looks = [
        "spool audit",
        "spool status",
        "spool list",
        "spool show",
        "spool doctor",
        "spool session",
        "cat ",
        "ls ",
    ];
    looks.iter().any(|look| command.starts_with(look))
        && !command.contains("--fix")
        && !command.contains("--ping")
}

/// What was done with a page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    run: usize,
    not_run: usize,
}

/// Runs a page.
fn page(name: &str) -> Count {
    let path = project().join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let is_writing = std::env::var_os("SPOOL_WRITE_DOCS").is_some();
    let mut desk = Desk::new();
    let mut written: Vec<String> = Vec::new();
    let mut count = Count::default();
    let mut reason: Option<&str> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        written.push(line.to_owned());
        if let Some(why) = line.strip_prefix("<!-- not run: ") {
            reason = Some(why);
        } else if let Some(what) = line.strip_prefix("<!-- gateway: ") {
            desk.happens(what.trim_end_matches("-->").trim());
        }
        let is_console = line == "```console";
        if !is_console && line != "```sh" {
            continue;
        }
        let mut block: Vec<String> = Vec::new();
        for line in lines.by_ref() {
            if line == "```" {
                break;
            }
            block.push(line.to_owned());
        }
        if let Some(why) = reason.take() {
            assert!(why.trim_end_matches("-->").trim().len() > 10, "{name}: why is it not run? {why:?}");
            count.not_run += 1;
            written.extend(block);
        } else if is_console {
            written.extend(console(name, &block, &mut desk, is_writing, &mut count));
        } else {
            for command in block.iter().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
                let (said, code) = desk.run(command);
                assert_eq!(code, 0, "{name}: {command}: {said:#?}");
                count.run += 1;
            }
            written.extend(block);
        }
        written.push("```".to_owned());
    }
    if is_writing {
        std::fs::write(&path, written.join("\n") + "\n").unwrap();
    }
    count
}

/// Runs a block; the block with what was said.
fn console(
    name: &str,
    block: &[String],
    desk: &mut Desk,
    is_writing: bool,
    count: &mut Count,
) -> Vec<String> {
    let mut written = Vec::new();
    let mut at = 0;
    while at < block.len() {
        let command =
            block[at].strip_prefix("$ ").unwrap_or_else(|| panic!("{name}: no command: {:?}", block[at]));
        let told: Vec<String> =
            block[at + 1..].iter().take_while(|l| !l.starts_with("$ ")).cloned().collect();
        at += 1 + told.len();
        let deadline = Instant::now() + if is_writing { Duration::from_secs(3) } else { PATIENCE };
        let (mut said, _) = desk.run(command);
        while only_looks(command) && !is_told(&told, &said) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
            said = desk.run(command).0;
        }
        count.run += 1;
        let is_as_told = is_told(&told, &said);
        assert!(is_as_told || is_writing, "{name} tells of {command:?}\n{told:#?}\nand it says\n{said:#?}");
        written.push(format!("$ {command}"));
        written.extend(if is_as_told { told } else { said });
    }
    written
}

#[test]
fn the_readme_says_what_happens() {
    let count = page("README.md");
    assert!(count.run >= 4 && count.not_run <= 3, "{count:?}");
}

#[test]
fn the_page_of_states_and_verbs_says_what_happens() {
    let count = page("docs/operating.md");
    assert!(count.run >= 15 && count.not_run == 0, "{count:?}");
}

#[test]
fn the_runbook_says_what_happens() {
    let count = page("docs/runbook.md");
    assert!(count.run >= 25 && count.not_run <= 2, "{count:?}");
}

#[test]
fn the_transcript_of_a_newcomer_is_one() {
    let count = page("docs/transcript.md");
    assert!(count.run >= 12 && count.not_run <= 1, "{count:?}");
}

/// The commands that stand within lines, in backquotes.
fn inline(text: &str) -> BTreeSet<String> {
    let mut is_block = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        is_block ^= line.starts_with("```");
        let parts =
            line.split('`').enumerate().filter(|(n, _)| !is_block && n % 2 == 1).map(|(_, part)| part);
        found.extend(parts.filter(|part| part.starts_with("spool ")).map(str::to_owned));
    }
    found
}

#[test]
fn commands_within_lines_name_verbs_and_options_that_there_are() {
    let spool = TempSpool::new();
    let mut looked = 0;
    for name in ["README.md", "docs/operating.md", "docs/runbook.md", "docs/transcript.md"] {
        let text = std::fs::read_to_string(project().join(name)).unwrap();
        for command in inline(&text) {
            let mut words = command.split_whitespace().skip(1).filter(|word| !word.starts_with('|'));
            let Some(verb) = words.next().filter(|verb| verb.chars().all(|c| c.is_ascii_lowercase())) else {
                continue;
            };
            let help = Cli::new(&spool, &[verb, "--help"]).run();
            assert_eq!(help.code, 0, "{name}: {command}: {help:?}");
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                let option = option.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next().unwrap();
                assert!(help.stdout.contains(&format!("--{option}")), "{name}: {command}: --{option}?");
            }
            looked += 1;
        }
    }
    assert!(looked >= 20, "{looked}");
}

#[test]
fn what_is_not_stable_is_not_compared() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let id = "01a20940-6b65-73db-9f86-a8284884208e";
    assert!(is_line("queued 01a20741-0f55-7271-bf1e-58679972d87a", &format!("queued {id}")));
    assert!(!is_line("queued x", &format!("queued {id}")));
    assert!(is_line("agent  process 12, for 3 s", "agent process 4711, for 0.9 s"));
    assert!(is_line("a ... c", "a b b c") && !is_line("a ... c", "a b b d"));
    assert!(is_told(&lines("a\n...\nd"), &lines("a\nb\nc\nd")) && !is_told(&lines("a"), &lines("a\nb")));
}
