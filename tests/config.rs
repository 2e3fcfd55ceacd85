//! `spool config`, and the programs that work by it: what says something first holds, what is wrong touches nothing.

use std::path::PathBuf;

use serde_json::Value;
use spool_gateway::fake::{FakeThread, Options};
use spooldir::Dir;

use crate::policy::turns;
use crate::support::programs::{Agent, Cli, state, wait_until, write_token};
use crate::support::{Put, TempSpool, names};

const TOKEN: &str = "correct-token";
const SESSION: &str = "agent:main:telegram:direct:77001";

/// Writes the configuration of a spool's home.
pub fn configure(spool: &TempSpool, text: &str) -> PathBuf {
    let dir = spool.home().join(".config/spool");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), text).unwrap();
    dir.join("config.toml")
}

#[test]
fn what_holds_is_shown_with_what_says_so() {
    let spool = TempSpool::new();
    let file = configure(
        &spool,
        "[gateway]\nurl = \"ws://127.0.0.1:7\"\n[session.\"agent:x:\"]\ndeliver = \"note\"\n",
    );
    let shown =
        Cli::new(&spool, &["config", "show", "--json", "--admin"]).env("SPOOL_LOG", "debug").run().exits(0);
    let rows: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
    let of = |key: &str| {
        let row = rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}: {rows:?}"));
        (row["value"].as_str().unwrap().to_owned(), row["from"].as_str().unwrap().to_owned())
    };
    let is = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    let file = file.display().to_string();
    assert_eq!(of("gateway.url"), is("ws://127.0.0.1:7", &format!("{file}:2")));
    assert_eq!(of("gateway.admin"), is("true", "--admin"));
    assert_eq!(of("log.level"), is("debug", "$SPOOL_LOG"));
    assert_eq!(of("spool"), is(&spool.spool.root().display().to_string(), "$SPOOL_DIR"));
    assert_eq!(of("default.budget"), is("12 in 10m", "default"));
    assert_eq!(of("session.\"agent:x:\".deliver"), is("note", &format!("{file}:4")));
    let shown = Cli::new(&spool, &["config", "show"]).env("SPOOL_TOKEN", "hunter2").run().exits(0).stdout;
    assert!(shown.contains("$SPOOL_TOKEN") && !shown.contains("hunter2"), "{shown}");
    assert_eq!(Cli::new(&spool, &["config", "path"]).run().exits(0).stdout, format!("{file}\n"));
    assert!(Cli::new(&spool, &["config", "check"]).run().exits(0).stdout.contains("is right"));
}

#[test]
fn a_configuration_that_is_wrong_touches_no_spool_and_ends_with_78() {
    let spool = TempSpool::new();
    let fresh = spool.home().join("fresh");
    for (text, says) in [
        (
            "[gateway]\ntoken-fiel = \"/x\"\n",
            "line 2: there is no key \"token-fiel\" in [gateway]; is it token-file?",
        ),
        ("[default]\nquiet-hours = \"late\"\n", "line 2: "),
        ("token = \"hunter2\"\n", "a secret does not belong"),
        ("[gateway]\nurl = \"ws://example.org:1\"\n", "never crosses the network in the clear"),
        ("[gateway]\ntoken-file = \"/nowhere/token\"\n", "/nowhere/token"),
        ("spool = \"relative\"\n", "from / or ~/"),
    ] {
        let file = configure(&spool, text);
        let run = |args: &[&str]| Cli::new(&spool, args).env("SPOOL_DIR", &fresh).run().exits(78).says(says);
        let said = run(&["drain", "--once"]).stderr + &run(&["config", "check"]).stderr;
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!fresh.exists(), "{text}");
        let json = Cli::new(&spool, &["config", "check", "--json"]).run().exits(78).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert!(!json["ok"].as_bool().unwrap() && json["problem"].as_str().unwrap().contains(says), "{json}");
        assert_eq!(json["path"], file.display().to_string());
    }
    Cli::new(&spool, &["drain", "--config", "/nowhere.toml"]).run().exits(78).says("/nowhere.toml");
    Cli::new(&spool, &["config", "shwo"]).run().exits(64).says("is it show?");
}

#[test]
fn a_token_file_of_the_configuration_is_used_and_one_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let spool = TempSpool::new();
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    gateway.add_chat(SESSION, 77001);
    let token = write_token(&spool, TOKEN);
    configure(&spool, &format!("[gateway]\nurl = {:?}\ntoken-file = \"~/token\"\n", gateway.url()));
    let put = Put::into(&spool, &["--session", SESSION, "--id", "by-file", "x"]);
    put.env("HOME", spool.home()).run().exits(0);
    Cli::new(&spool, &["drain", "--once"]).run().exits(0);
    assert_eq!(state(&spool.spool, "by-file"), "done");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = Cli::new(&spool, &["drain", "--once"]).run().exits(78).says("chmod 600");
    assert!(!ran.stderr.contains(TOKEN));
}

#[test]
fn all_programs_find_the_spool_that_the_configuration_names() {
    let spool = TempSpool::new();
    let there = spool.home().join("elsewhere");
    configure(&spool, "spool = \"~/elsewhere\"\n\n[default]\nwindow = \"1s\"\n");
    Put::new(&["--session", SESSION, "--id", "a", "x"]).env("HOME", spool.home()).run().exits(0);
    assert_eq!(names(&there.join("new")), ["a.json"]);
    let list = Cli::without_spool(spool.home(), &["list", "--ids"]).run().exits(0).stdout;
    assert_eq!(list.trim(), "a");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_spool-run"))
        .args(["--session", SESSION, "--id", "b", "--", "true"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", spool.home())
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    assert_eq!(names(&there.join("new")), ["a.json", "b.json"]);
    let told = Cli::without_spool(spool.home(), &["session"]).run().stdout;
    assert!(told.contains("the configuration"), "{told}");
    // Where it cannot be told which spool is meant, nothing goes to one where nobody looks.
    configure(&spool, "spool = \"\"\"/x\"\"\"\n");
    let put = Put::new(&["--session", SESSION, "x"]).env("HOME", spool.home());
    put.run().exits(78).says("line 1");
    assert!(names(&spool.spool.dir(Dir::New)).is_empty());
}

#[test]
fn a_hangup_reads_it_anew_and_a_bad_one_keeps_the_old_and_is_told() {
    let spool = TempSpool::new();
    write_token(&spool, TOKEN);
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    gateway.add_chat(SESSION, 77001);
    configure(&spool, "[default]\ndeliver = \"turn\"\n");
    let agent = Agent::start(&spool, &gateway);
    let deliver = |id: &str| {
        let put = Put::into(&spool, &["--session", SESSION, "--id", id, "news"]).env("HOME", spool.home());
        put.run().exits(0);
        wait_until(&format!("{id} is done"), || state(&spool.spool, id) == "done");
    };
    deliver("first");
    assert_eq!(turns(&gateway, SESSION), 1);
    configure(&spool, "[default]\ndeliver = \"message\"\n");
    agent.signal("HUP");
    wait_until("it is read", || agent.log().contains("was read anew"));
    deliver("second");
    assert_eq!(turns(&gateway, SESSION), 1, "a message costs no turn");
    configure(&spool, "[default]\ndeliver = \"postcard\"\n");
    agent.signal("HUP");
    let status = || Cli::new(&spool, &["status"]).run();
    wait_until("status says so", || status().stdout.contains("the configuration was not read anew"));
    assert!(agent.log().contains("line 2: default.deliver must be one of"), "{}", agent.log());
    deliver("third");
    assert_eq!(turns(&gateway, SESSION), 1, "the old one holds");
    configure(&spool, "");
    agent.signal("HUP");
    wait_until("it is well again", || status().code == 0);
    deliver("fourth");
    assert_eq!(turns(&gateway, SESSION), 2);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn another_gateway_is_taken_on_a_hangup() {
    let spool = TempSpool::new();
    write_token(&spool, TOKEN);
    let [first, second] = [(); 2].map(|()| {
        let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
        gateway.add_chat(SESSION, 77001);
        gateway
    });
    let write = |gateway: &FakeThread| {
        configure(&spool, &format!("[gateway]\nurl = {:?}\ntoken-file = \"~/token\"\n", gateway.url()))
    };
    write(&first);
    let agent = Agent::start_bare(&spool);
    let deliver = |id: &str, to: &FakeThread| {
        let put = Put::into(&spool, &["--session", SESSION, "--id", id, &format!("this is {id}")]);
        put.env("HOME", spool.home()).run().exits(0);
        wait_until(&format!("{id} is done"), || state(&spool.spool, id) == "done");
        assert_eq!(to.commits_containing(&format!("this is {id}")), 1);
    };
    deliver("one", &first);
    write(&second);
    agent.signal("HUP");
    wait_until("it is another one", || agent.log().contains("starting anew with it"));
    wait_until("it is connected", || second.connected() > 0);
    deliver("two", &second);
    assert_eq!(agent.stop(), 0);
}
