//! `spool-put --from`: what runners hand over, in files taken from their real payloads, and what becomes of it.
//!
//! `tests/fixtures/runners/RUNNER[.CASE].json` goes to standard input (for `codex`, into the last argument), `.env` holds
//! variables, `.args` arguments, one a line. `NAME.record.json` is the record that they make, byte for byte; without one
//! nothing is reported. `BLESS=1` writes those that are missing for names in [`ENDS`].

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use spooldir::record::Status;
use spooldir::{Dir, Id, Record};

use crate::support::programs::{Cli, wait_until};
use crate::support::{Put, Ran, TempSpool, names, project};

const SESSION: (&str, &str) = ("SPOOL_SESSION", "agent:main:main");

/// Fixtures that are the end of some work, and whether their runner hands over an id of it.
const ENDS: [(&str, bool); 17] = [
    ("amp.json", true),
    ("claude.failure.json", true),
    ("claude.json", true),
    ("codex-hook.json", true),
    ("codex.json", true),
    ("copilot.json", true),
    ("cursor.json", true),
    ("gemini.json", true),
    ("gha.env", true),
    ("goose.json", false),
    ("opencode.aborted.json", true),
    ("opencode.json", true),
    ("pueue.args", true),
    ("pueue.killed.args", true),
    ("systemd.env", true),
    ("systemd.stop-post.env", true),
    ("tsp.args", true),
];

fn fixtures() -> PathBuf {
    project().join("tests/fixtures/runners")
}

/// The hook of a runner, with what the fixture hands over.
fn hook(temp: &TempSpool, fixture: &str) -> Put {
    let runner = fixture.split('.').next().unwrap();
    let bytes = fs::read(fixtures().join(fixture)).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let put = Put::into(temp, &["--from", runner]).env("HOME", temp.home()).env(SESSION.0, SESSION.1);
    match fixture.rsplit('.').next().unwrap() {
        "env" => text.lines().fold(put, |put, line| {
            let (name, value) = line.split_once('=').unwrap();
            put.env(name, value)
        }),
        "args" => text.lines().fold(put.arg("--"), |put, line| put.arg(line)),
        _ if runner == "codex" => put.arg(text.trim_end()),
        _ => put.stdin(bytes),
    }
}

/// It did what a hook has to do.
#[track_caller]
fn silent(ran: Ran) {
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
}

/// It had trouble, and behaved like a hook all the same.
#[track_caller]
fn troubled(ran: Ran, because: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    ran.says(because);
}

fn records(temp: &TempSpool) -> Vec<Record> {
    let read = |name: String| {
        let bytes = fs::read(temp.spool.dir(Dir::New).join(&name)).unwrap();
        let record = Record::parse(&bytes).unwrap();
        assert_eq!(name, format!("{}.json", record.id.as_ref().unwrap()));
        record
    };
    temp.names(Dir::New).into_iter().map(read).collect()
}

/// What `spool status --json` says of hooks.
fn trouble(temp: &TempSpool) -> Value {
    let ran = Cli::new(temp, &["status", "--json"]).run();
    serde_json::from_str::<Value>(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"))["hookTrouble"]
        .clone()
}

#[test]
fn each_end_is_one_record_with_the_bytes_that_are_expected() {
    for (fixture, has_id) in ENDS {
        let temp = TempSpool::new();
        silent(hook(&temp, fixture).run());
        let (_, bytes) = temp.only(Dir::New);
        let mut text = String::from_utf8(bytes).unwrap();
        let record = records(&temp).remove(0);
        let id = record.id.unwrap();
        if !has_id {
            assert!(Id::is_unique(id.as_str()), "{fixture}: {id}");
            text = text.replace(id.as_str(), "UUID");
        }
        let expected = fixtures().join(format!("{}.record.json", fixture.rsplit_once('.').unwrap().0));
        if std::env::var_os("BLESS").is_some() && !expected.exists() {
            fs::write(&expected, format!("{text}\n")).unwrap();
        }
        assert_eq!(text + "\n", fs::read_to_string(&expected).unwrap_or_default(), "{fixture}");
        assert_eq!(record.created_at, None, "{fixture}");

        // Twice is once.
        silent(hook(&temp, fixture).run());
        assert_eq!(temp.names(Dir::New).len(), if has_id { 1 } else { 2 }, "{fixture}");
    }
}

#[test]
fn what_is_not_the_end_is_no_record_unless_that_is_asked_for() {
    let mut seen = 0;
    for fixture in names(&fixtures()) {
        if fixture.ends_with(".record.json") || ENDS.iter().any(|(end, _)| *end == fixture) {
            continue;
        }
        if fixture == "aider.args" {
            continue;
        }
        let temp = TempSpool::new();
        silent(hook(&temp, &fixture).run());
        assert!(temp.names(Dir::New).is_empty(), "{fixture}");
        silent(hook_with(&temp, &fixture, &["--all-events"]));
        assert_eq!(records(&temp)[0].status, Status::Info, "{fixture}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

fn hook_with(temp: &TempSpool, fixture: &str, options: &[&str]) -> Ran {
    options.iter().fold(hook(temp, fixture), |put, option| put.arg(option)).run()
}

#[test]
fn one_turn_of_codex_is_one_record_whichever_ways_are_configured() {
    let temp = TempSpool::new();
    silent(hook(&temp, "codex.json").run());
    silent(hook(&temp, "codex-hook.json").run());
    assert_eq!(temp.names(Dir::New).len(), 1);
}

#[test]
fn the_same_id_with_other_words_is_another_record_and_none_is_lost() {
    let temp = TempSpool::new();
    let stop = fs::read_to_string(fixtures().join("claude.json")).unwrap();
    let more =
        stop.replace("\"stop_hook_active\":false", "\"stop_hook_active\":true").replace("All 312", "All 313");
    for payload in [&stop, &more, &stop, &more] {
        let put = Put::into(&temp, &["--from", "claude"]).env(SESSION.0, SESSION.1);
        silent(put.stdin(payload.as_bytes()).run());
    }
    let texts: Vec<_> = records(&temp).into_iter().map(|r| r.text.unwrap()).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().any(|t| t.contains("312")) && texts.iter().any(|t| t.contains("313")));
    assert_eq!(trouble(&temp), Value::Null);
}

#[test]
fn of_the_environment_only_what_is_named_is_told() {
    for fixture in ["systemd.env", "systemd.stop-post.env", "gha.env", "claude.json"] {
        let temp = TempSpool::new();
        silent(
            hook(&temp, fixture)
                .env("CLAUDE_CODE_MESSAGING_TOKEN", "hunter2")
                .env("SECRET_TOKEN", "hunter2")
                .run(),
        );
        let (_, bytes) = temp.only(Dir::New);
        assert!(!String::from_utf8(bytes).unwrap().contains("hunter2"), "{fixture}");
    }
}

#[test]
fn aider_says_nothing_but_that_it_is_done() {
    let temp = TempSpool::new();
    silent(hook(&temp, "aider.args").run());
    let record = records(&temp).remove(0);
    assert_eq!((record.status, record.task.unwrap().runner.as_deref()), (Status::Info, Some("aider")));
    assert!(record.text.unwrap().contains("waits for input"));
}

#[test]
fn options_add_to_what_the_runner_says() {
    let temp = TempSpool::new();
    let options = [
        "--label",
        "night",
        "--status",
        "failed",
        "--exit-code",
        "7",
        "--deliver",
        "message",
        "--id",
        "own-1",
    ];
    silent(hook_with(&temp, "claude.json", &[&options[..], &["--session", "agent:other"]].concat()));
    let record = records(&temp).remove(0);
    assert_eq!((record.label.as_deref(), record.status), (Some("night"), Status::Failed));
    let task = record.task.unwrap();
    assert_eq!((task.exit_code, task.runner.as_deref()), (Some(7), Some("claude")));
    assert_eq!((record.id.unwrap().as_str(), record.session_key.as_deref()), ("own-1", Some("agent:other")));
    let ran = hook_with(&temp, "codex-hook.json", &["--json"]);
    assert!(ran.stdout.contains("\"id\":\"codex:"), "asked for is asked for: {ran:?}");
}

#[test]
fn without_a_session_it_is_held_and_with_strict_it_is_refused() {
    let temp = TempSpool::new();
    let claude = fs::read(fixtures().join("claude.json")).unwrap();
    let put = |args: &[&str]| Put::into(&temp, args).stdin(claude.clone());
    put(&["--from", "claude", "--strict"]).run().exits(78).says("--session KEY");
    put(&["--from", "claude", "--strict"]).env(SESSION.0, SESSION.1).run().exits(0);
    silent(put(&["--from", "claude", "--label", "other"]).run());
    silent(put(&["--from", "claude", "--label", "third"]).env(SESSION.0, "a\nb").run());
    let sessions: Vec<_> = records(&temp).into_iter().map(|r| r.session_key).collect();
    assert_eq!(sessions.iter().filter(|s| s.is_none()).count(), 2, "{sessions:?}");
    silent(put(&["--from", "claude", "--label", "fourth"]).env("OPENCLAW_SESSION_KEY", "agent:alias").run());
    assert!(records(&temp).iter().any(|r| r.session_key.as_deref() == Some("agent:alias")));
}

#[test]
fn whatever_is_wrong_a_hook_exits_0_and_status_shows_it() {
    let temp = TempSpool::new();
    let put = |args: &[&str]| Put::into(&temp, args).env("HOME", temp.home()).env(SESSION.0, SESSION.1);
    let mut count = 0;
    for (args, stdin, because) in [
        (&["--from", "claude"][..], &b"secret"[..], "not JSON at line 1"),
        (&["--from", "claude"], b"", "nothing was handed over"),
        (&["--from", "claude"], b"{\"secret\":1}", "names no event of claude"),
        (&["--from", "codex"], b"", "last argument is missing"),
        (&["--from", "codex", "secret"], b"", "not JSON"),
        (&["--from", "systemd"], b"", "MONITOR_SERVICE_RESULT"),
        (&["--from", "gha"], b"", "GITHUB_RUN_ID"),
        (&["--from", "pueue"], b"", "no id="),
        (&["--from", "tsp"], b"", "task-spooler hands over"),
        (&["--from", "nobody"], b"", "--from must be one of codex,"),
        (&["--from", "claude", "--nonsense"], b"", "unknown option --nonsense"),
        (&["--from"], b"", "--from"),
        (&["--from", "claude", "--session", ""], b"", "--session must not be blank"),
        (&["--map", "/nowhere.toml"], b"", "cannot use the map /nowhere.toml"),
    ] {
        let ran = put(args).stdin(stdin).run();
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
        troubled(ran, because);
        count += 1;
    }
    assert!(temp.names(Dir::New).is_empty());
    let told = trouble(&temp);
    assert_eq!(
        (&told["count"], told["last"]["reason"].as_str().unwrap().contains("map")),
        (&count.into(), true)
    );
    let shown = Cli::new(&temp, &["status"]).run().exits(3).stdout;
    assert!(shown.contains("14 reports of hooks could not be queued"), "{shown}");
    put(&["--from", "claude", "--strict"]).stdin("x").run().exits(65).says("not JSON");
    assert_eq!(trouble(&temp)["count"], count, "whoever reads exit numbers is told by them");
    let flood = vec![b'x'; 2_000_000];
    troubled(put(&["--from", "gemini"]).stdin(flood).run(), "more than 1048576 bytes");
}

#[test]
fn a_missing_spool_is_made() {
    let home = tempfile::tempdir().unwrap();
    let claude = fs::read(fixtures().join("claude.json")).unwrap();
    silent(
        Put::new(&["--from", "claude"])
            .env("HOME", home.path())
            .env(SESSION.0, SESSION.1)
            .stdin(claude)
            .run(),
    );
    assert_eq!(names(&home.path().join(".local/state/spool/new")).len(), 1);
}

#[test]
fn a_runner_that_never_closes_its_end_is_not_waited_for() {
    let temp = TempSpool::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_spool-put"))
        .args(["--from", "claude"])
        .env_clear()
        .env("SPOOL_DIR", temp.spool.root())
        .env(SESSION.0, SESSION.1)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&fs::read(fixtures().join("claude.json")).unwrap()).unwrap();
    wait_until("the hook ends", || child.try_wait().unwrap().is_some());
    assert_eq!(temp.names(Dir::New).len(), 1);
    drop(pipe);
}

/// A small file system of its own; gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Option<Tmpfs> {
        fs::create_dir(at).unwrap();
        let run = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs"])
            .arg(at)
            .output();
        match run {
            Ok(output) if output.status.success() => Some(Tmpfs(at.to_owned())),
            other => {
                eprintln!("skipped: no file system can be mounted here: {other:?}");
                None
            }
        }
    }
    fn make_read_only(&self) {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg(&self.0).status().is_ok();
    }
}

#[test]
fn a_full_or_read_only_disk_is_said_where_it_can_be() {
    for (how, because, exit) in [("full", "No space left", 75), ("read-only", "Read-only file system", 77)] {
        let home = tempfile::tempdir().unwrap();
        let Some(disk) = Tmpfs::mount(&home.path().join("disk")) else { return };
        let spool = disk.0.join("spool");
        let put = |args: &[&str]| {
            let claude = fs::read(fixtures().join("claude.json")).unwrap();
            let put =
                Put::new(args).env("SPOOL_DIR", &spool).env("HOME", home.path()).env(SESSION.0, SESSION.1);
            put.stdin(claude).run()
        };
        let first = ["--from", "claude", "--id", "first"];
        silent(put(&first));
        if how == "full" {
            disk.fill()
        } else {
            disk.make_read_only()
        }
        troubled(put(&["--from", "claude"]), because);
        put(&["--from", "claude", "--strict"]).exits(exit);
        assert_eq!(names(&spool.join("new")), ["first.json"], "{how}");
        let status = Cli::without_spool(home.path(), &["status", "--json"]).env("SPOOL_DIR", &spool).run();
        let told = &serde_json::from_str::<Value>(&status.stdout).unwrap()["hookTrouble"];
        assert_eq!((&told["count"], &told["last"]["from"]), (&1.into(), &"claude".into()), "{how}: {told}");
        let file = home.path().join(".local/state/spool-hook-trouble.log");
        let file = if how == "full" && !file.exists() { disk.0.join("spool-hook-trouble.log") } else { file };
        assert!(fs::read_to_string(&file).unwrap().contains(because), "{how}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_map_is_an_adapter_of_ones_own() {
    let temp = TempSpool::new();
    let map = temp.home().join("map.toml");
    fs::write(
        &map,
        r#"
# Four shapes, one table each.
[from.unit]
shape = "env"
id = "{MONITOR_INVOCATION_ID}"
label = "{MONITOR_UNIT}"
exit_code = "{MONITOR_EXIT_STATUS}"
status = { field = "MONITOR_SERVICE_RESULT", ok = ["success"], timeout = ["timeout", "watchdog"], else = "failed" }

[from.bot]
shape = "stdin"
id = "{run.id}-{run.attempt}"
text = "{steps.0.title}: {missing}"
label = "{{{run.id}}}"
only = { field = "kind", is = ["end"] }

[from.arg]
shape = "argv-json"
text = "{text}"

[from.words]
shape = "args"
runner = "mine"
text = "{2} {exit}"
exit_code = "{exit}"
"#,
    )
    .unwrap();
    let map = map.to_str().unwrap();
    let put = |name: &str| Put::into(&temp, &["--map", map, "--from", name]).env(SESSION.0, SESSION.1);
    for _twice in 0..2 {
        let unit = put("unit").env("MONITOR_INVOCATION_ID", "abc").env("MONITOR_UNIT", "b.service");
        silent(unit.env("MONITOR_SERVICE_RESULT", "watchdog").env("MONITOR_EXIT_STATUS", "ABRT").run());
        silent(
            put("bot").stdin(r#"{"kind":"end","run":{"id":7,"attempt":2},"steps":[{"title":"x"}]}"#).run(),
        );
    }
    silent(put("bot").stdin(r#"{"kind":"begin","run":{"id":8,"attempt":1}}"#).run());
    silent(put("arg").arg("ignored").arg(r#"{"text":"from an argument"}"#).run());
    silent(put("words").arg("--").arg("exit=3").arg("-x").run());
    let all: BTreeMap<String, Record> =
        records(&temp).into_iter().map(|r| (r.task.as_ref().unwrap().runner.clone().unwrap(), r)).collect();
    assert_eq!(temp.names(Dir::New).len(), 4);
    let unit = &all["unit"];
    assert_eq!((unit.id.as_ref().unwrap().as_str(), unit.status), ("unit:abc", Status::Timeout));
    assert_eq!((unit.label.as_deref(), unit.task.as_ref().unwrap().exit_code), (Some("b.service"), None));
    let bot = &all["bot"];
    assert_eq!((bot.id.as_ref().unwrap().as_str(), bot.label.as_deref()), ("bot:7-2", Some("{7}")));
    assert_eq!((bot.text.as_deref(), bot.status), (None, Status::Info));
    assert_eq!(all["arg"].text.as_deref(), Some("from an argument"));
    assert_eq!((all["mine"].text.as_deref(), all["mine"].status), (Some("-x 3"), Status::Failed));
    put("nobody").arg("--strict").run().exits(78).says("there is no [from.nobody]");
}

#[test]
fn a_program_called_after_a_runner_is_its_hook() {
    let temp = TempSpool::new();
    let link = temp.home().join("spool-put-tsp");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_spool-put"), &link).unwrap();
    let output = Command::new(&link)
        .args(["7", "-1", "/tmp/ts-out.x", "make --all"])
        .env_clear()
        .env("SPOOL_DIR", temp.spool.root())
        .env(SESSION.0, SESSION.1)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let record = records(&temp).remove(0);
    assert_eq!((record.status, record.label.as_deref()), (Status::Failed, Some("make --all")));
}

#[test]
fn the_page_of_runners_names_each_and_its_map_works() {
    let page = fs::read_to_string(project().join("docs/runners.md")).unwrap();
    let temp = TempSpool::new();
    let refused = Put::into(&temp, &["--from", "nobody", "--strict"]).run().exits(64).stderr;
    let known =
        refused.split_once("one of ").unwrap().1.split(&[',', ' ', '\n'][..]).filter(|word| !word.is_empty());
    let mut count = 0;
    for name in known {
        let lines =
            [format!("--from {name}"), format!("\"--from\", \"{name}\""), format!("\"--from\",\"{name}\"")];
        let has_line = lines.iter().any(|line| page.contains(line));
        let is_called_otherwise =
            page.contains(&format!("spool-put-{name}")) || page.contains(&format!("spool adapt {name}"));
        assert!(has_line || is_called_otherwise, "{name} has no line");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in the table of promises");
        count += 1;
    }
    assert_eq!(count, 14);
    let map = temp.home().join("map.toml");
    fs::write(&map, page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0).unwrap();
    let put = Put::into(&temp, &["--map", map.to_str().unwrap()]).env(SESSION.0, SESSION.1);
    silent(put.env("MONITOR_INVOCATION_ID", "abc").env("MONITOR_SERVICE_RESULT", "timeout").run());
    let record = records(&temp).remove(0);
    assert_eq!((record.id.unwrap().as_str(), record.status), ("nightly:abc", Status::Timeout));
}

#[test]
fn a_hook_is_quick() {
    let temp = TempSpool::new();
    let mut times: Vec<u128> = (0..31)
        .map(|n| {
            let started = Instant::now();
            silent(hook_with(&temp, "claude.json", &["--id", &format!("n{n}")]));
            started.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    eprintln!("a hook took {} us in the median, {} us at most", times[15], times[30]);
    assert!(times[15] < 1_000_000);
}
