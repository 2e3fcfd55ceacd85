//! `spool-run`, end to end: the real program around real jobs. How they end, what is recorded, who is told, and that the
//! spool cannot hurt the job.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spool_gateway::fake::{FakeThread, Options};
use spooldir::Dir;
use spooldir::run::Standing;

use crate::support::programs::{Agent, Cli, LIMIT, wait_until, write_token};
use crate::support::runs::{SESSION, Wrapper, is_alive, kill, only_run, record, said, standing};
use crate::support::{TempSpool, which};

#[test]
fn the_exit_passes_through_and_is_recorded() {
    for (script, code, signal, status) in [
        ("exit 0", Some(0), None, "ok"),
        ("exit 3", Some(3), None, "failed"),
        ("exit 255", Some(255), None, "failed"),
        ("kill -KILL $$", None, Some((9, "SIGKILL")), "failed"),
        ("kill -TERM $$", None, Some((15, "SIGTERM")), "failed"),
        ("ulimit -c 0; kill -SEGV $$", None, Some((11, "SIGSEGV")), "failed"),
        ("kill -PIPE $$", None, Some((13, "SIGPIPE")), "failed"),
    ] {
        let spool = TempSpool::new();
        let (ended, ran) = Wrapper::sh(&spool, &["--label", "a job"], script).start().end();
        assert_eq!((ended.code(), ended.signal()), (code, signal.map(|s| s.0)), "{script}: {ran:?}");
        let record = record(&spool);
        assert_eq!(record["status"], status, "{script}");
        assert_eq!(record["task"]["exitCode"], code.map_or(Value::Null, Value::from));
        assert_eq!(record["task"]["signal"], signal.map_or(Value::Null, |s| s.1.into()));
        assert_eq!((&record["sessionKey"], &record["label"]), (&json!(SESSION), &json!("a job")));
        assert_eq!(record["task"]["command"], json!(["sh", "-c", script]));
        assert!(record["task"]["durationMs"].is_u64() && record["task"]["endedAt"].is_u64(), "{record}");
        let how = signal.map_or_else(|| code.map(|c| format!("exit {c}")).unwrap(), |s| s.1.to_owned());
        let how = if status == "ok" { "(ok, 0".to_owned() } else { format!("({status}, {how}, 0") };
        ran.says(&format!("spool-run: queued {} {how}", record["id"].as_str().unwrap()));
        assert_eq!(spool.names(Dir::Runs), [""; 0]);
        assert_eq!(spool.names(Dir::Tmp), [""; 0]);
    }
}

#[test]
fn a_command_that_cannot_be_started_is_reported_too() {
    for (command, code, args) in [
        ("no-such-command", 127, &[][..]),
        ("/etc/passwd", 126, &[]),
        ("no-such-command", 127, &["--lease", "main"]),
        ("/etc/passwd", 126, &["--pty"]),
    ] {
        let spool = TempSpool::new();
        let ran = Wrapper::new(&spool, &[args, &["--", command]].concat()).run().exits(code);
        let everything = format!("{}{}", ran.stdout, ran.stderr);
        assert!(everything.contains(&format!("cannot start {command}: ")), "{ran:?}");
        let record = record(&spool);
        assert_eq!((&record["status"], &record["task"]["exitCode"]), (&json!("failed"), &json!(code)));
        assert!(record.to_string().contains(&format!("cannot start {command}")), "{record}");
        assert_eq!(spool.names(Dir::Runs), [""; 0]);
    }
    let spool = TempSpool::new();
    Wrapper::new(&spool, &["--nonsense", "true"]).run().exits(125).says("unknown option --nonsense");
    Wrapper::new(&spool, &[]).run().exits(125).says("no command");
    assert_eq!(spool.names(Dir::New), [""; 0]);
}

#[test]
fn signals_reach_the_job_and_everything_it_started() {
    let spool = TempSpool::new();
    let script = r#"for s in INT TERM HUP QUIT USR1 USR2 WINCH; do trap "echo heard $s" $s; done
        sh -c 'trap "" INT TERM HUP QUIT USR2; trap "echo child heard" USR1; echo ready; while :; do sleep 0.02; done' &
        while ! [ -e "$STOP" ]; do sleep 0.02; done; kill -KILL $!; exit 5"#;
    let stop = spool.home().join("stop");
    let wrapper = Wrapper::sh(&spool, &[], script).env("STOP", &stop).start();
    let id = only_run(&spool);
    said(&spool, &id, "ready");
    for signal in ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"] {
        wrapper.signal(&format!("-{signal}"));
        said(&spool, &id, &format!("heard {signal}"));
    }
    said(&spool, &id, "child heard");
    File::create(stop).unwrap();
    wrapper.end().1.exits(5);
    assert_eq!(record(&spool)["status"], "cancelled");
}

#[test]
fn a_job_that_was_asked_to_stop_is_cancelled() {
    let spool = TempSpool::new();
    let wrapper = Wrapper::sh(&spool, &[], "echo ready; exec sleep 600").start();
    let id = only_run(&spool);
    said(&spool, &id, "ready");
    wrapper.signal("-TERM");
    let (ended, _) = wrapper.end();
    assert_eq!(ended.signal(), Some(15));
    let record = record(&spool);
    assert_eq!((&record["status"], &record["task"]["signal"]), (&json!("cancelled"), &json!("SIGTERM")));
    assert!(record["text"].as_str().unwrap().contains("asked to stop by SIGTERM"), "{record}");
}

#[test]
fn what_was_ignored_stays_ignored() {
    let spool = TempSpool::new();
    let mut command = Command::new("sh");
    let script = r#"trap "" HUP; exec "$0" -- sh -c 'kill -HUP $$; echo ready; while ! [ -e "$STOP" ]; do sleep 0.02; done'"#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_spool-run")]);
    let stop = spool.home().join("stop");
    command.env("SPOOL_DIR", spool.spool.root()).env("STOP", &stop);
    let wrapper = Wrapper(command).start();
    let id = only_run(&spool);
    said(&spool, &id, "ready");
    wrapper.signal("-HUP");
    File::create(stop).unwrap();
    wrapper.end().1.exits(0);
}

#[test]
fn time_runs_out_gently_and_then_not() {
    let spool = TempSpool::new();
    let started = Instant::now();
    Wrapper::sh(&spool, &["--timeout", "200ms"], "sleep 600; echo never").run().exits(124);
    assert!(started.elapsed() < Duration::from_secs(8));
    let gentle = record(&spool);
    assert_eq!((&gentle["status"], &gentle["task"]["signal"]), (&json!("timeout"), &json!("SIGTERM")));

    let spool = TempSpool::new();
    let deaf = "trap '' TERM; while :; do sleep 0.1; done";
    let started = Instant::now();
    Wrapper::sh(&spool, &["--timeout", "200ms"], deaf).run().exits(124);
    assert!(started.elapsed() > Duration::from_secs(10));
    assert_eq!(record(&spool)["task"]["signal"], "SIGKILL");
}

#[test]
fn what_the_job_leaves_behind_keeps_the_lease_unless_told_otherwise() {
    let script = "sleep 600 & echo pids $$ $!; exec sleep 600";
    for (lease, after) in [("inherit", Standing::Running), ("main", Standing::Over)] {
        let spool = TempSpool::new();
        let mut wrapper = Wrapper::sh(&spool, &["--lease", lease], script).start();
        let id = only_run(&spool);
        let pids = said(&spool, &id, "pids");
        wrapper.signal("-KILL");
        assert_eq!(wrapper.status().signal(), Some(9));
        assert_eq!(standing(&spool, &id), Standing::Running, "{lease}: the job lives");
        assert!(is_alive(&pids[1]));
        kill("-KILL", &pids[1]);
        wait_until("the job is gone", || !is_alive(&pids[1]));
        if after == Standing::Over {
            wait_until("the run is over", || standing(&spool, &id) == Standing::Over);
        }
        assert_eq!(standing(&spool, &id), after, "{lease}: only what it left behind lives");
        kill("-KILL", &pids[2]);
        wait_until("the run is over", || standing(&spool, &id) == Standing::Over);
    }
}

#[test]
fn what_the_job_leaves_behind_does_not_hold_up_the_report() {
    for args in [&["--quiet"][..], &["--lease", "main"], &["--pty"]] {
        let spool = TempSpool::new();
        let script = "(trap '' HUP; while :; do echo noise; sleep 0.01; done) & echo pid $!";
        let started = Instant::now();
        let ran = Wrapper::sh(&spool, args, script).run().exits(0);
        assert!(started.elapsed() < Duration::from_secs(20));
        let pid = ran.stdout.lines().find_map(|l| l.trim().strip_prefix("pid ")).unwrap();
        kill("-KILL", pid);
        assert_eq!(record(&spool)["status"], "ok");
        assert_eq!(spool.names(Dir::Runs), [""; 0]);
    }
}

#[test]
fn without_a_spool_the_job_runs_all_the_same() {
    let spool = TempSpool::new();
    let nowhere = spool.home().join("file/spool");
    File::create(spool.home().join("file")).unwrap();
    for args in [&[][..], &["--pty"], &["--lease", "main"]] {
        let script = "echo out; echo err >&2; exit 6";
        let ran = Wrapper::sh(&spool, args, script).env("SPOOL_DIR", &nowhere).run().exits(6);
        let both = args != ["--pty"];
        assert_eq!(ran.stdout.replace('\r', ""), if both { "out\n" } else { "out\nerr\n" });
        assert!(!both || ran.stderr.contains("err\n"), "{ran:?}");
        ran.says("nobody will hear of its end").says("file");
    }
    let marker = spool.home().join("marker");
    let touch = format!("touch {}", marker.display());
    let ran = Wrapper::sh(&spool, &["--strict"], &touch).env("SPOOL_DIR", &nowhere).run();
    ran.exits(125).says("not started (--strict)");
    assert!(!marker.exists());
    Wrapper::sh(&spool, &["--detach"], &touch).env("SPOOL_DIR", &nowhere).run().exits(0).says("not recorded");
    wait_until("the job has run", || marker.exists());
}

#[test]
fn a_spool_that_breaks_while_the_job_runs_is_said_and_changes_nothing() {
    for (args, code) in [(&[][..], 3), (&["--strict"], 125)] {
        let spool = TempSpool::new();
        // No record can be given its name where the directory is gone.
        let script = format!("rm -r {}; exit 3", spool.spool.dir(Dir::New).display());
        let ran = Wrapper::sh(&spool, args, &script).run().exits(code);
        ran.says("not queued").says("the agent will report it as lost");
        // What is left is a run that is over.
        let id = only_run(&spool);
        assert_eq!(standing(&spool, &id), Standing::Over);
    }
}

#[test]
fn who_is_told_depends_on_the_end_and_the_time() {
    for (args, exit, notify, word) in [
        (&[][..], 0, Value::Null, "queued"),
        (&["--notify", "failure"], 0, json!("failure"), "recorded"),
        (&["--notify", "failure"], 1, json!("failure"), "queued"),
        (&["--notify", "never"], 1, json!("never"), "recorded"),
        (&["--min-duration", "1h"], 0, json!("failure"), "recorded"),
        (&["--min-duration", "1h"], 1, json!("failure"), "queued"),
        (&["--min-duration", "0"], 0, Value::Null, "queued"),
        (&["--min-duration", "1h", "--notify", "never"], 0, json!("never"), "recorded"),
    ] {
        let spool = TempSpool::new();
        let ran = Wrapper::sh(&spool, args, &format!("exit {exit}")).run().exits(exit);
        let record = record(&spool);
        assert_eq!(record["notify"], notify, "{args:?}");
        ran.says(&format!("spool-run: {word} "));
    }
    let spool = TempSpool::new();
    assert_eq!(Wrapper::sh(&spool, &["--quiet"], "exit 0").run().exits(0).stderr, "");
    record(&spool);
}

#[test]
fn the_final_message_of_a_runner_is_lifted() {
    let claude =
        r#"{"type":"result","subtype":"success","is_error":IS,"result":"All \"green\".","session_id":"s"}"#;
    let codex = r#"{"type":"item.completed","item":{"id":"i","type":"agent_message","text":"Built it."}}"#;
    let failed = r#"{"type":"turn.failed","error":{"message":"no quota left"}}"#;
    let good = claude.replace("IS", "false");
    for (format, output, status, text) in [
        ("claude", good.clone(), "ok", "All \"green\"."),
        ("claude", claude.replace("IS", "true"), "failed", "All \"green\"."),
        ("codex", codex.to_owned(), "ok", "Built it."),
        ("codex", format!("{codex}\n{failed}"), "failed", "no quota left"),
        ("codex", "no JSON at all".to_owned(), "ok", "This ended well."),
        ("claude", codex.to_owned(), "ok", "This ended well."),
    ] {
        let spool = TempSpool::new();
        let wrapper = Wrapper::sh(&spool, &["--parse", format], "echo noise >&2; printf '%s\\n' \"$SAID\"");
        let ran = wrapper.env("SAID", &output).run().exits(0);
        assert!(ran.stdout.contains(&output));
        let record = record(&spool);
        assert_eq!((&record["status"], &record["text"]), (&json!(status), &json!(text)), "{format}");
        let is_lifted = text != "This ended well.";
        assert_eq!(record["output"]["tail"].is_null(), is_lifted, "{record}");
        assert!(record["output"]["path"].is_string());
    }
}

#[test]
fn a_detached_run_goes_on_by_itself() {
    let spool = TempSpool::new();
    let stop = spool.home().join("stop");
    let script = r#"ps -o sid= -p $$ >/dev/null 2>&1; echo sid $(cut -d' ' -f6 /proc/$$/stat)
        while ! [ -e "$STOP" ]; do sleep 0.02; done; exit 8"#;
    let ran = Wrapper::sh(&spool, &["--detach"], script).env("STOP", &stop).run().exits(0);
    let id = only_run(&spool);
    assert_eq!(ran.stdout, format!("running {id}\n"));
    assert_eq!(ran.stderr, "");
    assert_eq!(standing(&spool, &id), Standing::Running);
    let mine = std::fs::read_to_string("/proc/self/stat").unwrap();
    let mine = mine.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    assert_ne!(said(&spool, &id, "sid")[1], mine);
    File::create(stop).unwrap();
    wait_until("the completion is there", || spool.names(Dir::New).len() == 1);
    let record = record(&spool);
    assert_eq!((&record["id"], &record["task"]["exitCode"]), (&json!(id.as_str()), &json!(8)));
    Wrapper::sh(&TempSpool::new(), &["--detach", "--id", "a-name"], "exit 0").run().exits(0);
    Wrapper::new(&spool, &["--detach", "--nonsense", "x"]).run().exits(125);
}

#[test]
fn without_a_session_it_is_held_and_said() {
    let spool = TempSpool::new();
    let mut wrapper = Wrapper::sh(&spool, &[], "exit 0");
    wrapper.0.env_remove("SPOOL_SESSION");
    wrapper.run().exits(0).says("no session is named");
    assert_eq!(record(&spool)["sessionKey"], Value::Null);
    let spool = TempSpool::new();
    let mut wrapper = Wrapper::sh(&spool, &[], "exit 0");
    wrapper.0.env_remove("SPOOL_SESSION").env("OPENCLAW_SESSION_KEY", "agent:main:main");
    assert!(!wrapper.run().exits(0).stderr.contains("no session"));
    assert_eq!(record(&spool)["sessionKey"], "agent:main:main");
}

#[test]
fn a_route_is_taken_over_whole_or_not_at_all() {
    for (vars, route) in [
        (&[("SPOOL_ROUTE", r#"{"channel":"telegram","to":"telegram:1","threadId":"7"}"#)][..], true),
        (&[("SPOOL_ROUTE", r#"{"channel":"telegram"}"#)], false),
        (&[("OPENCLAW_CHANNEL_CONTEXT", r#"{"sender":{"id":"1"},"chat":{"id":"2"}}"#)], false),
    ] {
        let spool = TempSpool::new();
        let wrapper = Wrapper::sh(&spool, &[], "exit 0");
        vars.iter().fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value)).run().exits(0);
        assert_eq!(record(&spool)["route"]["to"], if route { json!("telegram:1") } else { Value::Null });
    }
}

#[test]
fn an_id_that_is_taken_costs_no_report() {
    let spool = TempSpool::new();
    let run = |args: &[&str]| Wrapper::sh(&spool, &[&["--id", "nightly"], args].concat(), "exit 0").run();
    run(&[]).exits(0).says("queued nightly (ok");
    run(&[]).exits(0).says("the id nightly is taken").says("queued 0");
    assert_eq!(spool.names(Dir::New).len(), 2);
    run(&["--strict"]).exits(125);
    assert_eq!(spool.names(Dir::New).len(), 2);
}

#[test]
fn a_run_that_somebody_else_reported_is_not_reported_twice() {
    let spool = TempSpool::new();
    let stop = spool.home().join("stop");
    let script = r#"while ! [ -e "$STOP" ]; do sleep 0.02; done; exit 3"#;
    let wrapper = Wrapper::sh(&spool, &[], script).env("STOP", &stop).start();
    let id = only_run(&spool);
    let intent = spool.spool.intent(&id).unwrap().unwrap();
    let lost = spooldir::run::lost_record(&spool.spool, &id, &intent, 5);
    spool.spool.publish(&id, &serde_json::to_vec(&lost).unwrap(), false).unwrap();
    File::create(stop).unwrap();
    wrapper.end().1.exits(3).says("was reported before this end of it (failed, exit 3, ");
    assert_eq!(record(&spool)["status"], "lost");
    assert_eq!(spool.names(Dir::Runs), [""; 0]);
}

#[test]
fn spool_run_is_spool_run() {
    let spool = TempSpool::new();
    let ran =
        Cli::new(&spool, &["run", "--session", SESSION, "--", "/bin/sh", "-c", "echo hello; exit 3"]).run();
    assert_eq!(ran.exits(3).stdout, "hello\n");
    assert_eq!(record(&spool)["status"], "failed");
    let help = Wrapper::new(&spool, &["--help"]).run().exits(0).stdout;
    for option in ["--session", "--lease", "--detach", "--parse", "--wait", "--strict"] {
        assert!(help.contains(option), "{option}");
    }
}

#[test]
fn the_evidence_can_be_waited_for() {
    let spool = TempSpool::new();
    let args = ["--wait", "--wait-timeout", "100ms"];
    Wrapper::sh(&spool, &args, "exit 3").run().exits(3).says("is safe but not delivered yet: it is pending");
    let strict = [&args[..], &["--strict"]].concat();
    Wrapper::sh(&spool, &strict, "exit 0").run().exits(125);
    let spool = TempSpool::new();
    write_token(&spool, "token");
    let gateway = FakeThread::start(Options::with_token("token")).unwrap();
    gateway.add_chat(SESSION, 77001);
    let _agent = Agent::start(&spool, &gateway);
    Wrapper::sh(&spool, &["--wait", "--wait-timeout", "1m"], "exit 3").run().exits(3).says("is done (sent)");
}

#[test]
fn a_signal_ends_the_wait_and_not_the_record() {
    let spool = TempSpool::new();
    let wrapper = Wrapper::sh(&spool, &["--wait", "--wait-timeout", "1h"], "exit 3").start();
    wait_until("the completion is there", || spool.names(Dir::New).len() == 1);
    wrapper.signal("-TERM");
    let started = Instant::now();
    wrapper.end().1.exits(3).says("queued");
    assert!(started.elapsed() < LIMIT);
    record(&spool);
}

/// A runner without a network, on a file system that it may only read, but for the spool: as coding agents run commands.
#[test]
fn from_a_sandbox_without_network_or_a_writable_disk() {
    let can = |args: &[&str]| {
        which("unshare").is_some_and(|_| {
            Command::new("unshare")
                .args(args)
                .arg("true")
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        })
    };
    if !can(&["--net", "--mount"]) {
        let must = std::env::var_os("CI").is_some_and(|ci| ci == "true") && is_root();
        assert!(!must, "unshare --net --mount does not work here, and it should");
        println!("skipped: unshare --net --mount is not permitted here");
        return;
    }
    let spool = TempSpool::new();
    let script = r#"set -e
        mount --bind "$AROUND" "$AROUND"
        mount --bind "$SPOOL_DIR" "$SPOOL_DIR"
        mount -o remount,bind,ro "$AROUND"
        mount -o remount,bind,ro /
        cd /
        exec "$0" -- sh -c '
            if touch "$AROUND/x" 2>/dev/null || touch /x-of-a-test 2>/dev/null; then exit 91; fi
            if [ "$(grep -c : /proc/net/dev)" -gt 1 ]; then exit 92; fi
            echo from inside; exit 5'"#;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_spool-run")]);
    command.env("SPOOL_DIR", spool.spool.root()).env("AROUND", spool.home()).env("SPOOL_SESSION", SESSION);
    let ran = Wrapper(command).run().exits(5);
    assert!(ran.stdout == "from inside\n" && ran.stderr.contains("queued"), "{ran:?}");
    assert_eq!(record(&spool)["task"]["exitCode"], 5);
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    id == b"0\n"
}
