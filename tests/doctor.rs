//! `spool doctor`: each check is made to fail once, says what to do, and is well again when that is done.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spool_gateway::fake::{FakeThread, Options};
use spooldir::{Dir, Id, Spool};

use crate::config::configure;
use crate::support::programs::{Agent, Cli, state, wait_until, write_token};
use crate::support::{Put, Ran, TempSpool, need};

const TOKEN: &str = "correct-token-of-the-doctor";
const SESSION: &str = "agent:main:telegram:direct:77001";

/// A spool, a gateway that knows a session, and the way to it.
struct Ward {
    spool: TempSpool,
    gateway: FakeThread,
}

impl Ward {
    fn new() -> Ward {
        Ward::with(Options::with_token(TOKEN))
    }

    fn with(options: Options) -> Ward {
        let (spool, gateway) = (TempSpool::new(), FakeThread::start(options).unwrap());
        gateway.add_chat(SESSION, 77001);
        write_token(&spool, TOKEN);
        Ward { spool, gateway }
    }

    fn cli(&self, args: &[&str]) -> Cli {
        let token = self.spool.home().join("token");
        let url = self.gateway.url();
        let known = ["doctor", "--json", "--gateway", &url, "--token-file", token.to_str().unwrap()];
        Cli::new(&self.spool, &[&known, args].concat())
    }

    fn agent(&self) -> Agent {
        let agent = Agent::start(&self.spool, &self.gateway);
        wait_until("the agent has the spool and says so", || {
            let ran = Cli::new(&self.spool, &["status", "--json"]).run();
            serde_json::from_str::<Value>(&ran.stdout).is_ok_and(|s| s["agent"]["gateway"]["state"] == "up")
        });
        agent
    }

    fn ask(&self, args: &[&str]) -> Told {
        told(self.cli(args).run())
    }
}

/// What the doctor said.
struct Told(Value, Ran);

#[track_caller]
fn told(ran: Ran) -> Told {
    let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let checks = said["checks"].as_array().unwrap();
    let wrong = checks.iter().filter(|c| c["verdict"] == "wrong").count();
    assert_eq!((said["healthy"] == true, ran.code), (wrong == 0, i32::from(wrong > 0)), "{ran:?}");
    for check in checks {
        let is_told = check["verdict"] != "wrong" || check["remedy"].is_string();
        assert!(is_told, "no remedy: {check}");
    }
    assert!(!ran.stdout.contains(TOKEN), "a token in {ran:?}");
    Told(said, ran)
}

impl Told {
    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        let is_it = |check: &&Value| check["check"] == name;
        self.0["checks"]
            .as_array()
            .unwrap()
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.1))
    }

    /// Fails unless the check has this verdict, and its words or its remedy say this.
    #[track_caller]
    fn is(self, name: &str, verdict: &str, part: &str) -> Told {
        let check = self.check(name);
        assert_eq!(check["verdict"], verdict, "{check}");
        let said = format!("{} {}", check["words"], check["remedy"]);
        assert!(said.contains(part), "{name} does not say {part:?}: {check}");
        self
    }

    #[track_caller]
    fn fixed(self, name: &str, part: &str) -> Told {
        let fixed = self.check(name)["fixed"].to_string();
        assert!(fixed.contains(part), "{name} has not fixed {part:?}: {fixed}");
        self
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn signal(agent: u64, name: &str) {
    assert!(Command::new("kill").args([name, &agent.to_string()]).status().unwrap().success());
}

#[test]
fn a_healthy_spool_is_told_to_be_one_and_nothing_is_left_in_it() {
    let ward = Ward::new();
    let _agent = ward.agent();
    let told = ward.ask(&[]);
    for (name, part) in [
        ("spool", "format 1"),
        ("modes", "700"),
        ("leftovers", "none"),
        ("foreign", "every file"),
        ("rename", "refused"),
        ("privacy", "0600"),
        ("clock", "nothing"),
        ("agent", "version"),
        ("token", "token"),
        ("identity", "none so far"),
        ("gateway", "version 2026.9.6, protocol 4"),
        ("scopes", "operator.write"),
        ("sessions", "nothing is held"),
    ] {
        told.check(name);
        let check = told.check(name);
        assert_eq!(check["verdict"], "ok", "{check}");
        assert!(check["words"].as_str().unwrap().contains(part), "{check}");
    }
    // The canary has flown: on a busy machine it is slow, and never unseen.
    assert_ne!(told.check("watch")["verdict"], "wrong", "{:?}", told.1);
    assert!(told.check("watch")["words"].as_str().unwrap().contains("after a new file came"), "{:?}", told.1);
    for dir in [Dir::New, Dir::Tmp, Dir::Dead, Dir::Hold, Dir::Done] {
        assert!(ward.spool.names(dir).is_empty(), "{dir:?}: {:?}", ward.spool.names(dir));
    }
    assert!(!ward.spool.home().join(".config").exists(), "no identity was made");
    assert!(ward.gateway.commits_containing("") == 0, "nothing was sent");
    // For people it is the same in lines.
    let url = ward.gateway.url();
    let token = ward.spool.home().join("token");
    let args = ["doctor", "--gateway", &url, "--token-file", token.to_str().unwrap()];
    let ran = Cli::new(&ward.spool, &args).run();
    assert!(ran.stdout.contains("ok     gateway") && ran.stdout.contains("wrong\n"), "{ran:?}");
}

#[test]
fn the_configuration_that_is_read_is_named_and_what_is_wrong_with_it() {
    let spool = TempSpool::new();
    let doctor = |env: &[(&str, &str)]| {
        let cli = Cli::new(&spool, &["doctor", "--json"]);
        told(env.iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run())
    };
    doctor(&[]).is("config", "ok", "config.toml: the defaults hold");
    let file = configure(&spool, "[log]\nlevel = \"warn\"\n");
    let name = file.to_str().unwrap();
    doctor(&[]).is("config", "ok", &format!("{name} is read"));
    doctor(&[("SPOOL_BUDGET", "lots")]).is("config", "wrong", "mend or unset").is(
        "config",
        "wrong",
        "SPOOL_BUDGET",
    );
    for (text, why) in [
        ("[log]\nlevle = \"warn\"\n", "line 2: there is no key \\\"levle\\\" in [log]; is it level?"),
        ("\n[log]\nformat = \"xml\"\n", "line 3: log.format must be one of"),
        ("[log\n", "line 1"),
    ] {
        configure(&spool, text);
        let said = doctor(&[]).is("config", "wrong", "spool config check").is("token", "note", "is wrong");
        let words = said.check("config")["words"].to_string();
        assert!(words.contains(name) && words.contains(why), "{words}");
    }
    // The place that names a token file which cannot be used is one of those where it can be mended.
    configure(&spool, "[gateway]\n\ntoken-file = \"/nowhere/token\"\n");
    let said = doctor(&[]).is("config", "ok", name).is("token", "wrong", "/nowhere/token");
    let remedy = said.check("token")["remedy"].as_str().unwrap();
    assert!(remedy.contains(&format!("{name}:3")) && !remedy.contains('\n'), "{remedy}");
    let token = write_token(&spool, TOKEN);
    chmod(&token, 0o640);
    configure(&spool, &format!("[gateway]\ntoken-file = {token:?}\n"));
    doctor(&[]).is("token", "wrong", "chmod 600").is("token", "wrong", &format!("{name}:2"));
    // Where nothing says any more which spool is meant, that is what is told.
    configure(&spool, "spool = nothing\n");
    let ran = Cli::without_spool(spool.home(), &["doctor", "--json"]).run();
    let said = told(ran).is("config", "wrong", "line 1");
    assert!(said.0["spool"].is_null(), "{:?}", said.1);
}

#[test]
fn a_spool_that_is_none_is_said_and_made() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("spool");
    let doctor = |args: &[&str]| {
        let cli = Cli::without_spool(
            home.path(),
            &[&["doctor", "--json", "--gateway", "ws://127.0.0.1:1"], args].concat(),
        );
        told(cli.env("SPOOL_DIR", &root).env("SPOOL_TOKEN", TOKEN).run())
    };
    doctor(&[]).is("spool", "note", "--fix");
    assert!(!root.exists(), "looking makes nothing");
    doctor(&["--fix"]).is("spool", "ok", "format 1").fixed("spool", "made the spool");
    Spool::open(&root).unwrap();
    std::fs::write(root.join("format"), "spool 2\n").unwrap();
    doctor(&["--fix"]).is("spool", "wrong", "update the program");
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, "x").unwrap();
    doctor(&["--fix"]).is("spool", "wrong", "not a directory");
    assert_eq!(std::fs::read(&root).unwrap(), b"x", "what is no spool is left alone");
}

#[test]
fn modes_and_missing_directories_are_mended_and_owners_are_not() {
    let ward = Ward::new();
    let root = ward.spool.spool.root().to_owned();
    chmod(&root, 0o755);
    chmod(&root.join("new"), 0o777);
    std::fs::remove_dir(root.join("dead")).unwrap();
    let told = ward.ask(&[]).is("modes", "wrong", "new/ has mode 777").is("spool", "wrong", "chmod 700");
    assert!(told.check("modes")["words"].as_str().unwrap().contains("the spool itself has mode 755"));
    ward.ask(&["--fix"])
        .is("modes", "ok", "for us alone")
        .is("spool", "ok", "format 1")
        .fixed("modes", "new/ had mode 777, now 700")
        .fixed("spool", "made the missing directory dead/");
    ward.ask(&[]).is("modes", "ok", "").is("spool", "ok", "");
    if std::os::unix::fs::chown(root.join("done"), Some(65_534), None).is_ok() {
        ward.ask(&["--fix"]).is("modes", "wrong", "done/ (user 65534)").is("spool", "wrong", "another user");
    }
}

/// The call, `days` from now as far as it can tell; `None` where nothing can make it believe so.
fn at_day(ward: &Ward, days: &str, args: &[&str]) -> Option<Told> {
    let faketime = need("faketime")?;
    let url = ward.gateway.url();
    let output = Command::new(faketime)
        .args(["-f", days, env!("CARGO_BIN_EXE_spool"), "doctor", "--json", "--gateway", &url])
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", ward.spool.home())
        .env("SPOOL_DIR", ward.spool.spool.root())
        .env("SPOOL_TOKEN", TOKEN)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    Some(told(Ran { code, stdout: text(output.stdout), stderr: text(output.stderr) }))
}

#[test]
fn leftovers_and_clocks() {
    let ward = Ward::new();
    let left = ward.spool.spool.dir(Dir::Tmp).join("left-by-a-dead-writer");
    std::fs::write(&left, b"{").unwrap();
    let canary = ward.spool.spool.dir(Dir::New).join(".spool-doctor-1");
    std::fs::write(&canary, b"").unwrap();
    ward.ask(&["--fix"]).is("leftovers", "ok", "none").fixed("leftovers", "1 canaries");
    assert!(left.exists() && !canary.exists(), "what is young may have a writer");
    let Some(told) = at_day(&ward, "+3d", &[]) else { return };
    told.is("leftovers", "note", "1 files of dead writers").is("file-clock", "note", "s away");
    at_day(&ward, "+3d", &["--fix"]).unwrap().is("leftovers", "ok", "").fixed("leftovers", "removed 1 files");
    assert!(!left.exists());
    at_day(&ward, "-3d", &[]).unwrap().is("clock", "wrong", "in the future");
}

#[test]
fn a_disk_in_memory_keeps_nothing() {
    let shm = Path::new("/dev/shm");
    let is_memory = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(shm)
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"tmpfs"));
    let Ok(home) = tempfile::tempdir_in(shm) else { return eprintln!("skipped: no /dev/shm") };
    if !is_memory {
        return eprintln!("skipped: /dev/shm is no tmpfs");
    }
    let root = home.path().join("spool");
    let args =
        ["doctor", "--json", "--fix", "--gateway", "ws://127.0.0.1:1", "--spool", root.to_str().unwrap()];
    told(Cli::without_spool(home.path(), &args).env("SPOOL_TOKEN", TOKEN).run()).is(
        "flush",
        "wrong",
        "is memory",
    );
}

#[test]
fn foreign_files_are_named_and_left_alone() {
    let ward = Ward::new();
    let strange = [
        ward.spool.spool.dir(Dir::New).join("report.txt"),
        ward.spool.spool.dir(Dir::Dead).join("no entry at all"),
    ];
    strange.iter().for_each(|path| std::fs::write(path, b"x").unwrap());
    ward.ask(&["--fix"])
        .is("foreign", "wrong", "2 files are no records")
        .is("foreign", "wrong", "new/report.txt, dead/no entry at all")
        .is("foreign", "wrong", "mv -n");
    assert!(strange.iter().all(|path| path.exists()));
}

#[test]
fn an_agent_that_is_not_there_or_does_not_turn_is_wrong() {
    let ward = Ward::new();
    ward.ask(&[]).is("agent", "wrong", "start spool drain");
    let _agent = ward.agent();
    let status = Cli::new(&ward.spool, &["status", "--json"]).run();
    let pid = serde_json::from_str::<Value>(&status.stdout).unwrap()["agent"]["pid"].as_u64().unwrap();
    signal(pid, "-STOP");
    ward.ask(&[]).is("watch", "wrong", "did not look at new/");
    signal(pid, "-CONT");
    assert!(ward.spool.names(Dir::New).is_empty(), "the canary is gone");
    assert!(ward.ask(&[]).check("watch")["verdict"] != "wrong");
}

#[test]
fn a_gateway_that_is_away_or_refuses_is_told_from_one_another() {
    let ward = Ward::new();
    ward.gateway.kill();
    ward.ask(&[]).is("gateway", "wrong", "start it").is("address", "note", "nobody listens");
    ward.gateway.restart().unwrap();
    write_token(&ward.spool, "another-token");
    ward.ask(&[]).is("gateway", "wrong", "mend the token");
    write_token(&ward.spool, TOKEN);
    ward.ask(&[]).is("gateway", "ok", "answers");
    // The address breaks a rule before anything is sent there.
    let args = ["doctor", "--json", "--gateway", "ws://192.0.2.1:1"];
    told(Cli::new(&ward.spool, &args).env("SPOOL_TOKEN", TOKEN).run()).is("token", "wrong", "in the clear");
}

#[test]
fn scopes_that_are_missing_are_named() {
    let granted = Some(vec!["operator.read".to_owned(), "operator.write".to_owned()]);
    let ward = Ward::with(Options { granted_scopes: granted, ..Options::with_token(TOKEN) });
    ward.ask(&[]).is("scopes", "ok", "operator.write");
    ward.ask(&["--admin"]).is("scopes", "wrong", "operator.admin");
    let none = Ward::with(Options { granted_scopes: Some(Vec::new()), ..Options::with_token(TOKEN) });
    none.ask(&[]).is("gateway", "wrong", "operator.write");
}

#[test]
fn a_port_that_is_open_to_the_world_is_noted() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let ward = Ward::new();
    ward.ask(&[]).is("address", "ok", "on this machine only");
    // Nobody speaks there, but anybody can come.
    let Ok(open) = TcpListener::bind("0.0.0.0:0") else { return };
    let url = format!("ws://127.0.0.1:{}", open.local_addr().unwrap().port());
    let closes = std::thread::spawn(move || open.accept().is_ok());
    let cli = Cli::new(&ward.spool, &["doctor", "--json", "--gateway", &url]).env("SPOOL_TOKEN", TOKEN);
    told(cli.run()).is("address", "note", "bound to 0.0.0.0").is("gateway", "wrong", "");
    assert!(closes.join().unwrap());
}

#[test]
fn a_token_or_a_key_that_others_can_read_is_wrong() {
    let ward = Ward::new();
    chmod(&ward.spool.home().join("token"), 0o644);
    ward.ask(&[]).is("token", "wrong", "chmod 600");
    chmod(&ward.spool.home().join("token"), 0o600);
    let none = Cli::new(&ward.spool, &["doctor", "--json", "--gateway", &ward.gateway.url()]);
    told(none.run()).is("token", "note", "--token-file");
    let identity = ward.spool.home().join(".config/spool/identity");
    std::fs::create_dir_all(&identity).unwrap();
    std::fs::write(identity.join("device.key"), "x").unwrap();
    chmod(&identity.join("device.key"), 0o644);
    ward.ask(&[]).is("identity", "wrong", "others may read");
}

#[test]
fn sessions_that_waiting_entries_name_are_asked_for() {
    let ward = Ward::new();
    let queue = |session: &str| {
        let ran = Put::into(&ward.spool, &["--session", session, "x"]).run().exits(0);
        Id::new(ran.stdout.trim().strip_prefix("queued ").unwrap()).unwrap()
    };
    let (gone, open) = (queue("agent:main:telegram:direct:404"), queue(SESSION));
    for id in [&gone, &open] {
        Cli::new(&ward.spool, &["hold", id.as_str()]).run().exits(0);
    }
    ward.ask(&[]).is("sessions", "wrong", "agent:main:telegram:direct:404 is not there (1 entries)");
    let retry = ["retry", gone.as_str(), "--session", SESSION];
    Cli::new(&ward.spool, &retry).run().exits(0);
    assert_eq!(state(&ward.spool.spool, open.as_str()), "held");
    ward.ask(&[]).is("sessions", "ok", "all 1").is("sessions", "ok", "spool release");
    Put::into(&ward.spool, &["--allow-unrouted", "--id", "nobody", "x"]).run().exits(0);
    Cli::new(&ward.spool, &["hold", "nobody"]).run().exits(0);
    ward.ask(&[]).is("sessions", "wrong", "1 entries name no session");
    ward.gateway.kill();
    ward.ask(&[]).is("sessions", "note", "cannot be asked");
}

#[test]
fn runners_that_do_not_report_are_noted() {
    let ward = Ward::new();
    let bin = ward.spool.home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path: &OsStr = bin.as_os_str();
    let doctor = || told(ward.cli(&[]).env("PATH", path).run());
    doctor().is("runners", "note", "none of those");
    std::fs::create_dir(ward.spool.home().join(".codex")).unwrap();
    doctor().is("runners", "note", "does not report: codex").is(
        "runners",
        "note",
        "spool adapt codex --apply",
    );
    Cli::new(&ward.spool, &["adapt", "codex", "--apply"]).env("PATH", path).run().exits(0);
    assert!(doctor().check("runners")["words"].as_str().unwrap().contains("reports: codex"));
    std::fs::write(ward.spool.home().join(".codex/config.toml"), "][").unwrap();
    doctor().is("runners", "note", "not good TOML");
}

#[test]
fn a_service_that_is_not_as_it_would_be_made_is_wrong() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let ward = Ward::new();
    let units = ward.spool.home().join(".config/systemd/user");
    std::fs::create_dir_all(&units).unwrap();
    // No manager is asked: there is none in an empty path.
    let doctor = || told(ward.cli(&[]).env("PATH", "/nowhere").run());
    doctor().is("service", "note", "spool service install");
    std::fs::write(units.join("spool.service"), "[Service]\nExecStart=/usr/bin/true\n").unwrap();
    doctor().is("service", "wrong", "of another version, or was changed");
    let url = ward.gateway.url();
    let token = ward.spool.home().join("token");
    let print = ["service", "install", "--print", "--gateway", &url, "--token-file", token.to_str().unwrap()];
    let unit = Cli::new(&ward.spool, &print).run().exits(0).stdout;
    std::fs::write(units.join("spool.service"), unit).unwrap();
    doctor().is("service", "note", "is there, and it is unknown");
}
