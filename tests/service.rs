//! The agent as a service: what it tells its manager, the unit that is made for it, and `spool service` before a manager
//! that is scripted. The manager itself, where one can be started, is in `systemd.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spool_gateway::fake::{FakeThread, Options};

use crate::support::programs::{Cli, LIMIT, drain_args, wait_until, write_token};
use crate::support::{Ran, TempSpool, which};

const TOKEN: &str = "correct-token";

/// Whether a program is there; where everything has to be, it is a failure that it is not.
pub fn has(program: &str) -> bool {
    let is_there = which(program).is_some();
    assert!(is_there || std::env::var_os("CI").is_none(), "{program} is missing");
    if !is_there {
        eprintln!("skipped: there is no {program} here");
    }
    is_there
}

/// A manager that only listens.
struct Listener {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Listener {
    fn new(home: &Path) -> Listener {
        let path = home.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Listener { socket, path }
    }

    /// The next thing it is told.
    #[track_caller]
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }

    /// What it is told until, and with, the first that starts so.
    #[track_caller]
    fn until(&self, start: &str) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            told.push(self.next());
            if told.last().unwrap().starts_with(start) {
                return told;
            }
        }
    }

    /// Forgets what was said up to now.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

#[test]
fn the_manager_hears_that_it_runs_that_it_lives_and_that_it_ends_without_a_gateway() {
    let spool = TempSpool::new();
    let token = write_token(&spool, TOKEN);
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    gateway.kill();
    let manager = Listener::new(spool.home());
    let mut agent = Command::new(env!("CARGO_BIN_EXE_spool"))
        .args(drain_args(&gateway.url()))
        .arg(token)
        .env_clear()
        .env("HOME", spool.home())
        .env("SPOOL_DIR", spool.spool.root())
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "400000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    manager.until("READY=1");
    let down = manager.until("STATUS=gateway down: ").pop().unwrap();
    assert!(down.contains("0 waiting") && !down.contains(TOKEN), "{down}");
    // With nothing to do it feeds the watchdog; stopped, it does not; awake again, it does.
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    signal(&agent, "-STOP");
    let stat = format!("/proc/{}/stat", agent.id());
    wait_until("it is stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
    manager.forget();
    manager.socket.set_read_timeout(Some(Duration::from_millis(800))).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "a stopped agent feeds the watchdog");
    manager.socket.set_read_timeout(Some(LIMIT)).unwrap();
    signal(&agent, "-CONT");
    manager.until("WATCHDOG=1");
    gateway.restart().unwrap();
    manager.until("STATUS=gateway up; ");
    assert!(agent.try_wait().unwrap().is_none(), "it ended although nobody told it to");
    signal(&agent, "-TERM");
    manager.until("STOPPING=1");
    assert_eq!(agent.wait().unwrap().code(), Some(0));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    if !has("systemd-analyze") {
        return;
    }
    let spool = TempSpool::new();
    let token = write_token(&spool, TOKEN);
    let odd = spool.home().join("a b%c$d\"e'f\\g");
    let runtime = spool.home().join("run");
    fs::create_dir(&runtime).unwrap();
    for dir in [spool.spool.root(), &odd] {
        let args = ["service", "install", "--print", "--admin", "--token-file", token.to_str().unwrap()];
        let printed = Cli::without_spool(spool.home(), &args)
            .env("SPOOL_DIR", dir)
            .env("SPOOL_GATEWAY", "ws://127.0.0.1:1/%h?a=\"b\"")
            .run()
            .exits(0);
        let unit = spool.home().join("spool.service");
        fs::write(&unit, &printed.stdout).unwrap();
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--user", "--man=no"])
            .arg(&unit)
            .env("XDG_RUNTIME_DIR", &runtime)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && !said.contains("spool.service"), "{said}\n{}", printed.stdout);
    }
    assert!(!odd.exists(), "--print makes nothing");
}

/// A home with a `systemctl` that writes down what it is asked, and answers as it is told to.
struct Scripted {
    spool: TempSpool,
}

impl Scripted {
    fn new() -> Scripted {
        let spool = TempSpool::new();
        write_token(&spool, TOKEN);
        let bin = spool.home().join("bin");
        fs::create_dir(&bin).unwrap();
        let systemctl = bin.join("systemctl");
        let script = "#!/bin/sh\necho \"$*\" >>\"$HOME/asked\"\n[ \"$2\" = show ] && cat \"$HOME/answer\"\n\
                      [ -e \"$HOME/fails\" ] && [ \"$2\" = \"$(cat \"$HOME/fails\")\" ] && rm \"$HOME/fails\" && \
                      echo 'Job failed.' >&2 && exit 1\nexit 0\n";
        fs::write(&systemctl, script).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let scripted = Scripted { spool };
        scripted.answers("LoadState=not-found\nActiveState=inactive\nMainPID=0\n");
        scripted
    }

    fn answers(&self, text: &str) {
        fs::write(self.spool.home().join("answer"), text).unwrap();
    }

    /// What was asked since the last time, but for questions.
    fn asked(&self) -> Vec<String> {
        let path = self.spool.home().join("asked");
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, "").unwrap();
        text.lines().filter(|line| !line.contains(" show ")).map(ToOwned::to_owned).collect()
    }

    fn unit(&self) -> PathBuf {
        self.spool.home().join(".config/systemd/user/spool.service")
    }

    fn run(&self, words: &[&str]) -> Ran {
        let path = format!("{}:/usr/bin:/bin", self.spool.home().join("bin").display());
        Cli::new(&self.spool, &[&["service"], words].concat()).env("PATH", path).run()
    }

    fn install(&self) -> Ran {
        let token = self.spool.home().join("token");
        self.run(&["install", "--gateway", "ws://127.0.0.1:1", "--token-file", token.to_str().unwrap()])
    }
}

const ACTIVE: &str = "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nMainPID=812\nStatusText=gateway up; 0 waiting\n";

#[test]
fn installing_again_renews_only_what_has_changed() {
    let systemd = Scripted::new();
    systemd.run(&["status"]).exits(3);
    systemd.run(&["start"]).exits(69).says("spool service install");
    let first = systemd.install().exits(0);
    assert!(first.stdout.starts_with("installed "), "{first:?}");
    let renewed = ["daemon-reload", "enable --quiet spool.service", "restart spool.service"];
    assert_eq!(systemd.asked(), renewed.map(|words| format!("--user {words}")));
    let text = fs::read_to_string(systemd.unit()).unwrap();
    assert!(text.contains("drain --spool ") && !text.contains(TOKEN), "{text}");
    systemd.answers(ACTIVE);
    let status = systemd.run(&["status"]).exits(0);
    assert!(status.stdout.contains("active (process 812)"), "{status:?}");
    let json: serde_json::Value =
        serde_json::from_str(&systemd.run(&["status", "--json"]).exits(0).stdout).unwrap();
    assert_eq!((&json["pid"], &json["enabled"], &json["stale"]), (&812.into(), &true.into(), &().into()));
    let again = systemd.install().exits(0);
    assert!(again.stdout.starts_with("unchanged "), "{again:?}");
    assert_eq!(systemd.asked()[1..], ["--user start spool.service"], "what runs is not stopped");
    // What somebody wrote into it is told, and made anew.
    fs::write(systemd.unit(), text.replace("RestartSec=10", "RestartSec=1")).unwrap();
    let status = systemd.run(&["status"]).exits(1);
    assert!(status.stdout.contains("was changed"), "{status:?}");
    assert!(systemd.install().exits(0).stdout.starts_with("installed "));
    assert_eq!(fs::read_to_string(systemd.unit()).unwrap(), text);
    systemd.run(&["restart"]).exits(0);
    systemd.asked();
    let next = |env: Option<&Path>| {
        let status = Cli::new(&systemd.spool, &["status", "--json"]);
        let status = env.into_iter().fold(status, |status, dir| status.env("XDG_RUNTIME_DIR", dir));
        let report: serde_json::Value = serde_json::from_str(&status.run().exits(3).stdout).unwrap();
        report["next"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(None), "spool service start", "it is installed, and nothing drains");
    let doctor = Cli::new(&systemd.spool, &["doctor"]).run().exits(1);
    assert!(doctor.stdout.contains("-> spool service start"), "{doctor:?}");
    systemd.run(&["uninstall"]).exits(0);
    assert_eq!(systemd.asked(), ["--user disable --quiet --now spool.service", "--user daemon-reload"]);
    assert!(!systemd.unit().exists() && systemd.spool.spool.root().exists());
    assert_eq!(next(None), "spool drain", "there is no manager");
    let runtime = systemd.spool.home().join("run");
    fs::create_dir_all(runtime.join("systemd")).unwrap();
    assert_eq!(next(Some(&runtime)), "spool service install");
    systemd.run(&["uninstall"]).exits(0);
}

/// What the unit starts is an agent with all that was said when it was installed.
#[test]
fn the_service_is_told_what_the_agent_is_told() {
    let systemd = Scripted::new();
    let home = systemd.spool.home();
    let config = home.join("other.toml");
    let token = home.join("token");
    let text =
        format!("[gateway]\nurl = \"ws://127.0.0.1:1\"\ntoken-file = {token:?}\n[log]\nformat = \"human\"\n");
    fs::write(&config, text).unwrap();
    let words = ["install", "--config", config.to_str().unwrap(), "--log", "json"];
    for wrong in ["soon", "0.0.0.0:9469"] {
        systemd.run(&[&words[..], &["--metrics", wrong]].concat()).exits(64).says("127.0.0.1:9469");
    }
    assert!(!systemd.unit().exists());
    systemd.run(&[&words[..], &["--metrics", "127.0.0.1:0", "--verbose"]].concat()).exits(0);
    let unit = fs::read_to_string(systemd.unit()).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut told = line.split(' ');
    let log = home.join("service.log");
    let agent = Command::new(told.next().unwrap())
        .args(told)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut agent = Killed(agent);
    let said = || fs::read_to_string(&log).unwrap();
    wait_until("it looks for the gateway of that configuration", || {
        said().contains("cannot reach ws://127.0.0.1:1:")
    });
    assert!(said().contains("serving metrics on http://127.0.0.1:"), "{}", said());
    assert!(said().lines().all(|line| line.starts_with('{')), "{}", said());
    signal(&agent.0, "-TERM");
    assert_eq!(agent.0.wait().unwrap().code(), Some(0));
    // What was made of it is known again.
    systemd.answers(ACTIVE);
    systemd.run(&["status"]).exits(0);
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill().and_then(|()| self.0.wait()).is_ok();
    }
}

#[test]
fn where_nothing_can_be_confined_it_runs_unconfined_and_says_so() {
    let systemd = Scripted::new();
    fs::write(systemd.spool.home().join("fails"), "restart").unwrap();
    systemd.answers("LoadState=loaded\nActiveState=active\nExecMainStatus=218\n218\n");
    // `show --value` answers with the bare number.
    systemd.answers("218\n");
    systemd.install().exits(0).says("without those limits");
    let text = fs::read_to_string(systemd.unit()).unwrap();
    assert!(text.contains("NoNewPrivileges=yes") && !text.contains("PrivateUsers"), "{text}");
    // It is not tried again each time.
    assert!(systemd.install().exits(0).stdout.starts_with("unchanged "));
    // Another failure is no reason for that.
    fs::remove_file(systemd.unit()).unwrap();
    fs::write(systemd.spool.home().join("fails"), "restart").unwrap();
    systemd.answers("78\n");
    systemd.install().exits(69).says("Job failed.");
    assert!(fs::read_to_string(systemd.unit()).unwrap().contains("PrivateUsers=yes"));
}

#[test]
fn what_cannot_work_as_a_service_is_said_and_nothing_is_written() {
    let systemd = Scripted::new();
    let path = format!("{}:/usr/bin:/bin", systemd.spool.home().join("bin").display());
    let fresh = systemd.spool.home().join("fresh");
    let install = |args: &[&str]| {
        Cli::new(&systemd.spool, &[&["service", "install"], args].concat())
            .env("PATH", &path)
            .env("SPOOL_DIR", &fresh)
            .env("SPOOL_TOKEN", "from-the-shell")
    };
    let ran = install(&[]).run().exits(78).says("SPOOL_TOKEN is in the environment of this shell");
    assert!(!ran.stderr.contains("from-the-shell"));
    install(&["--token-file", "/nowhere/token"]).run().exits(78).says("/nowhere/token");
    assert!(!systemd.unit().exists() && !fresh.exists() && systemd.asked().is_empty());
    // --print does nothing either, and shows what would be asked.
    let printed = systemd.run(&["restart", "--print"]).exits(0);
    assert_eq!(printed.stdout, "systemctl --user restart spool.service\n");
    assert!(systemd.asked().is_empty());
    // Without a manager it is said which program was missing.
    Cli::new(&systemd.spool, &["service", "status"]).env("PATH", "/nowhere").run().exits(3);
}
