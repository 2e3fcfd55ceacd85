//! The agent as a process: the real `spool drain` between real directories and the fake gateway, which is down, slow,
//! forgetful or unwilling; and the agent killed, stopped, doubled or misled.

use std::time::Duration;

use serde_json::json;
use spool_gateway::fake::{FakeThread, Fault, Rule};
use spooldir::{Dir, Id, Spool};

use crate::support::TempSpool;
use crate::support::programs::{
    Agent, Cli, LIMIT, drain_args, drop_record, state, wait_until, with_gateway, write_token,
};

const TOKEN: &str = "correct-token";
const SESSION: &str = "agent:main:telegram:direct:77001";
const MISSING: &str = "agent:main:telegram:direct:99999";

/// A gateway with one chat, and a spool whose agent would have the right token.
fn bench() -> (TempSpool, FakeThread) {
    with_gateway(TOKEN, SESSION)
}

fn put(spool: &Spool, session: &str) -> String {
    let id = Id::mint();
    let record = json!({"id": id.as_str(), "sessionKey": session, "text": format!("this is {id}")});
    spool.publish(&id, record.to_string().as_bytes(), true).unwrap();
    id.to_string()
}

/// Waits until an entry is in a state.
#[track_caller]
fn becomes(spool: &TempSpool, id: &str, word: &str) {
    wait_until(&format!("{id} becomes {word}"), || state(&spool.spool, id) == word);
}

/// `spool drain --once` with the token file of the spool's home.
fn once(spool: &TempSpool, gateway: &FakeThread) -> Cli {
    let token = spool.home().join("token");
    let url = gateway.url();
    let [drain, flag, url, token_flag] = drain_args(&url);
    Cli::new(spool, &[drain, "--once", flag, url, token_flag, token.to_str().unwrap()])
}

#[test]
fn a_record_arrives_and_the_chat_is_told() {
    let (spool, gateway) = bench();
    let agent = Agent::start(&spool, &gateway);
    let id = put(&spool.spool, SESSION);
    becomes(&spool, &id, "done");
    assert_eq!(gateway.commits_containing(&id), 1);
    assert_eq!(gateway.chat_messages("telegram", "telegram:77001").len(), 1);
    let mut evidence = serde_json::Value::Null;
    // The journal is written a moment after the rename.
    wait_until("the evidence is in the journal", || {
        let shown = Cli::new(&spool, &["show", &id, "--json"]).run().exits(0).stdout;
        evidence = serde_json::from_str::<serde_json::Value>(&shown).unwrap()["evidence"].clone();
        !evidence.is_null()
    });
    assert_eq!(evidence, "sent");
    Cli::new(&spool, &["status"]).run().exits(0);
    assert!(!agent.log().contains(&format!("this is {id}")) && !agent.log().contains(TOKEN));
}

#[test]
fn no_name_forges_a_line_of_the_log() {
    let (spool, gateway) = bench();
    let hostile = "x\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[31m\u{202e}.json";
    std::os::unix::fs::symlink("/nowhere", spool.spool.dir(Dir::New).join(hostile)).unwrap();
    let agent = Agent::start(&spool, &gateway);
    wait_until("the name is reported", || agent.log().contains("left alone"));
    let log = agent.log();
    assert!(
        log.lines()
            .all(|line| line.split(' ').next().unwrap().ends_with('Z') && !line.starts_with("2026-01"))
    );
    assert!(!log.contains(['\r', '\u{1b}', '\u{202e}']), "{log:?}");
    assert!(log.contains(r"x\n2026-01-01T00:00:00Z ERROR forged\r"), "{log}");
}

#[test]
fn what_is_put_while_the_gateway_is_down_arrives_as_one_turn_when_it_is_back() {
    let (spool, gateway) = bench();
    gateway.kill();
    let _agent = Agent::start(&spool, &gateway);
    let ids: Vec<String> = (0..5).map(|_| put(&spool.spool, SESSION)).collect();
    wait_until("status says that the gateway is down", || {
        Cli::new(&spool, &["status"]).run().stdout.contains("problem   the gateway is down")
    });
    assert!(ids.iter().all(|id| state(&spool.spool, id) == "pending"));
    gateway.restart().unwrap();
    for id in &ids {
        becomes(&spool, id, "done");
        assert_eq!(gateway.commits_containing(id), 1);
    }
    assert_eq!(gateway.all_commits().len(), 1);
    let shown = Cli::new(&spool, &["list", "--json"]).run().exits(0).stdout;
    assert_eq!(shown.matches("\"attempts\":0").count(), 5, "an outage costs no attempts: {shown}");
}

#[test]
fn a_wrong_token_touches_nothing_and_a_mended_one_is_taken_without_a_restart() {
    let (spool, gateway) = bench();
    let token = write_token(&spool, "wrong-token");
    let agent = Agent::start(&spool, &gateway);
    let id = put(&spool.spool, SESSION);
    wait_until("status says that the gateway refuses", || {
        let ran = Cli::new(&spool, &["status"]).run();
        ran.code == 1 && ran.stdout.contains("problem   the gateway refuses the agent")
    });
    assert_eq!(state(&spool.spool, &id), "pending");
    assert!(!agent.log().contains("wrong-token"), "{}", agent.log());
    std::fs::write(token, TOKEN).unwrap();
    becomes(&spool, &id, "done");
    assert_eq!(gateway.commits_containing(&id), 1);
}

#[test]
fn the_token_of_openclaws_own_configuration_is_found_and_found_again() {
    let (spool, gateway) = bench();
    let config = spool.home().join("openclaw.json");
    let write = |token: &str| {
        let port = gateway.port();
        let text =
            format!("// mine\n{{gateway: {{port: {port}, auth: {{mode: 'token', token: '{token}'}},}},}}\n");
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("wrong");
    let id = put(&spool.spool, SESSION);
    let drain = || Cli::new(&spool, &["drain", "--once"]).env("OPENCLAW_CONFIG_PATH", &config);
    drain().run().exits(78).says("refused");
    assert_eq!(state(&spool.spool, &id), "pending");
    write("${GATEWAY_SECRET}");
    drain().env("GATEWAY_SECRET", TOKEN).run().exits(0);
    assert_eq!(state(&spool.spool, &id), "done");
}

#[test]
fn what_cannot_be_configured_is_said_before_the_spool_is_touched() {
    use std::os::unix::fs::PermissionsExt;
    let (spool, gateway) = bench();
    let fresh = spool.home().join("fresh");
    let token = spool.home().join("token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o640)).unwrap();
    once(&spool, &gateway).env("SPOOL_DIR", &fresh).run().exits(78).says("chmod 600");
    let config = spool.home().join("broken.json");
    std::fs::write(&config, "{gateway: {auth: {token: 'hunter2'").unwrap();
    let ran =
        Cli::new(&spool, &["drain"]).env("SPOOL_DIR", &fresh).env("OPENCLAW_CONFIG_PATH", &config).run();
    let ran = ran.exits(78).says("broken.json").says("not JSON5");
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    for (address, why) in [("foo", "ws:// or wss://"), ("ws://example.com:1", "in the clear")] {
        let drain = Cli::new(&spool, &["drain", "--gateway", address]).env("SPOOL_DIR", &fresh);
        drain.run().exits(78).says(why);
    }
    assert!(!fresh.exists());
}

#[test]
fn the_second_agent_ends_with_its_own_number_and_the_first_goes_on() {
    let (spool, gateway) = bench();
    let agent = Agent::start(&spool, &gateway);
    let id = put(&spool.spool, SESSION);
    becomes(&spool, &id, "done");
    once(&spool, &gateway).run().exits(69).says("another agent (process ");
    let id = put(&spool.spool, SESSION);
    becomes(&spool, &id, "done");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_agent_killed_in_mid_delivery_delivers_once_when_it_is_back() {
    let (spool, gateway) = bench();
    // Once before the turn is in the transcript, once after.
    for fault in
        [Fault::CommitAfter(Duration::from_millis(1500)), Fault::TurnLasts(Duration::from_millis(1500))]
    {
        gateway.rule(Rule::on("agent").then(fault));
        let agent = Agent::start(&spool, &gateway);
        let id = put(&spool.spool, SESSION);
        assert!(gateway.until(LIMIT, |fake| fake.in_flight() > 0), "{}", agent.log());
        agent.kill();
        assert_eq!(state(&spool.spool, &id), "sending");
        let agent = Agent::start(&spool, &gateway);
        becomes(&spool, &id, "done");
        assert_eq!(gateway.commits_containing(&id), 1, "{}", agent.log());
    }
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn a_missing_session_is_dead_and_can_be_sent_to_another() {
    let (spool, gateway) = bench();
    let _agent = Agent::start(&spool, &gateway);
    let id = put(&spool.spool, MISSING);
    becomes(&spool, &id, "dead");
    assert!(!gateway.sessions().iter().any(|s| s == MISSING), "the session was created");
    let listed = Cli::new(&spool, &["list", "--state", "dead"]).run().exits(0).stdout;
    assert!(listed.contains("there is no session"), "{listed}");
    Cli::new(&spool, &["retry", &id]).run().exits(0);
    becomes(&spool, &id, "dead");
    let ran = Cli::new(&spool, &["retry", &id, "--session", SESSION, "--json"]).run().exits(0);
    let outcome: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(outcome[0]["newId"], format!("{id}.2"));
    becomes(&spool, &format!("{id}.2"), "done");
    assert_eq!(state(&spool.spool, &id), "dismissed");
    assert_eq!(gateway.commits_containing(&id), 1);
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn sigterm_waits_for_what_is_under_way() {
    let (spool, gateway) = bench();
    gateway.rule(Rule::on("agent").then(Fault::TurnLasts(Duration::from_secs(1))));
    let agent = Agent::start(&spool, &gateway);
    let id = put(&spool.spool, SESSION);
    assert!(gateway.until(LIMIT, |fake| fake.in_flight() > 0), "{}", agent.log());
    assert_eq!(agent.stop(), 0);
    assert_eq!(state(&spool.spool, &id), "done");
    Cli::new(&spool, &["status"]).run().exits(3);
}

#[test]
fn garbage_stops_nothing_and_is_kept() {
    let (spool, gateway) = bench();
    let new = spool.spool.dir(Dir::New);
    let old = |name: &str, bytes: &[u8]| {
        drop_record(&spool, name, bytes);
        let file = std::fs::File::options().write(true).open(new.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    };
    old("a.json", b"{not json");
    old("b.json", b"");
    old("c.json", b"\xff\xfe\x00");
    std::fs::write(new.join(".hidden.json"), "{}").unwrap();
    std::fs::write(new.join("notes.txt"), "not ours").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", new.join("link.json")).unwrap();
    std::fs::create_dir(new.join("dir.json")).unwrap();
    let id = put(&spool.spool, SESSION);
    let agent = Agent::start(&spool, &gateway);
    becomes(&spool, &id, "done");
    let dead =
        || spool.names(Dir::Dead).into_iter().filter(|n| !n.ends_with(".why.json")).collect::<Vec<_>>();
    wait_until("three are dead", || dead().len() == 3);
    let mut kept: Vec<Vec<u8>> =
        dead().iter().map(|n| std::fs::read(spool.spool.dir(Dir::Dead).join(n)).unwrap()).collect();
    kept.sort();
    assert_eq!(kept, [b"".to_vec(), b"{not json".to_vec(), b"\xff\xfe\x00".to_vec()]);
    assert_eq!(spool.names(Dir::New), [".hidden.json", "dir.json", "link.json", "notes.txt"]);
    let ran = Cli::new(&spool, &["status", "--json"]).run().exits(1);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((report["foreignCount"].as_u64(), report["counts"]["dead"].as_u64()), (Some(4), Some(3)));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_single_pass_says_by_its_number_how_it_went() {
    let (spool, gateway) = bench();
    let good = put(&spool.spool, SESSION);
    let lost = put(&spool.spool, MISSING);
    once(&spool, &gateway).run().exits(0);
    assert_eq!((state(&spool.spool, &good), state(&spool.spool, &lost)), ("done", "dead"));
    once(&spool, &gateway).run().exits(0);
    let id = put(&spool.spool, SESSION);
    write_token(&spool, "wrong-token");
    once(&spool, &gateway).run().exits(78).says("refused");
    write_token(&spool, TOKEN);
    gateway.kill();
    once(&spool, &gateway).run().exits(75).says("1 record stays");
    assert_eq!(state(&spool.spool, &id), "pending");
    gateway.restart().unwrap();
    once(&spool, &gateway).run().exits(0);
    assert_eq!(gateway.commits_containing(&id), 1);
}

#[test]
fn the_demo_comes_out_right() {
    let spool = TempSpool::new();
    let tmp = spool.home().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let ran = Cli::without_spool(spool.home(), &["demo"]).env("TMPDIR", &tmp).run().exits(0);
    assert!(ran.stdout.contains("doubles 0, lost 0"), "{}", ran.stdout);
    assert_eq!(crate::support::names(&tmp), [""; 0], "the demo leaves nothing behind");
}

#[test]
fn an_agent_that_crashes_leaves_no_core_dump() {
    use std::os::unix::process::ExitStatusExt;
    let (spool, gateway) = bench();
    let id = put(&spool.spool, SESSION);
    // Where the shell may not raise the limit nothing is dumped anyway.
    let script = "ulimit -c unlimited 2>/dev/null; exec \"$@\"";
    let mut agent = std::process::Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_spool")])
        .args(drain_args(&gateway.url()))
        .arg(spool.home().join("token"))
        .env_clear()
        .env("HOME", spool.home())
        .env("SPOOL_DIR", spool.spool.root())
        .current_dir(spool.home())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    becomes(&spool, &id, "done");
    let pid = agent.id().to_string();
    assert!(std::process::Command::new("kill").args(["-ABRT", &pid]).status().unwrap().success());
    let ended = agent.wait().unwrap();
    assert!(ended.signal().is_some() && !ended.core_dumped(), "{ended:?}");
}

#[test]
fn too_few_descriptors_are_a_sentence_and_not_a_panic() {
    let (spool, gateway) = bench();
    let id = put(&spool.spool, SESSION);
    for few in 4..32 {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -n {few} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_spool")])
            .args(drain_args(&gateway.url()))
            .arg(spool.home().join("token"))
            .arg("--once")
            .env_clear()
            .env("HOME", spool.home())
            .env("SPOOL_DIR", spool.spool.root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("panicked") && output.status.code().is_some(),
            "{few}: {:?} {said}",
            output.status
        );
    }
    assert_eq!((state(&spool.spool, &id), gateway.commits_containing(&id)), ("done", 1));
}
