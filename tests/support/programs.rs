//! `spool` and its agent as processes, with no environment but what a test gives them, and never without a deadline.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use spool_gateway::fake::{FakeThread, Options};
use spooldir::journal::Line;
use spooldir::moves::Why;
use spooldir::{Entry, Event, Id, Spool, State};

use super::{Ran, TempSpool};

/// Longer than anything here takes, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Asks every few milliseconds until it holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The word for the state an entry is in, `-` when it is nowhere.
pub fn state(spool: &Spool, id: &str) -> &'static str {
    let id = Id::new(id).unwrap();
    spool.find(&id).unwrap().map_or("-", |entry| entry.state.word())
}

/// A call of `spool`.
pub struct Cli(Command);

impl Cli {
    /// With the spool named by the environment.
    pub fn new(spool: &TempSpool, args: &[&str]) -> Cli {
        Cli::without_spool(spool.home(), args).env("SPOOL_DIR", spool.spool.root())
    }

    /// With nothing but a home directory.
    pub fn without_spool(home: &Path, args: &[&str]) -> Cli {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool"));
        command.args(args).env_clear().env("HOME", home).stdin(Stdio::null());
        Cli(command)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Cli {
        self.0.env(name, value);
        self
    }

    pub fn run(mut self) -> Ran {
        let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let code = exit_code(&mut child);
        Ran { code, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    }

    /// Runs it with nobody reading its stdout.
    pub fn run_to_nobody(mut self) -> Ran {
        let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let err = collect(child.stderr.take().unwrap());
        Ran { code: exit_code(&mut child), stdout: String::new(), stderr: err.join().unwrap() }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

/// The exit number; -1 after a signal. Kills what outlasts the limit.
fn exit_code(child: &mut Child) -> i32 {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the program did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A running `spool drain`; killed when dropped.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts one on this spool for this gateway, with the token in `token` of the spool's home.
    pub fn start(spool: &TempSpool, gateway: &FakeThread) -> Agent {
        Agent::start_with(spool, gateway, &[])
    }

    /// As [`Agent::start`], without a budget: for a test of more deliveries to a session than it gets without a pause.
    pub fn start_unpaced(spool: &TempSpool, gateway: &FakeThread) -> Agent {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool"));
        command.args(drain_args(&gateway.url())).arg(spool.home().join("token"));
        Agent::spawn_with(spool, command, &[("SPOOL_BUDGET", "off")])
    }

    /// As [`Agent::start`], with more options.
    pub fn start_with(spool: &TempSpool, gateway: &FakeThread, more: &[&str]) -> Agent {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool"));
        command.args(drain_args(&gateway.url())).arg(spool.home().join("token")).args(more);
        Agent::spawn(spool, command)
    }

    /// Starts one that finds everything in the configuration of the spool's home.
    pub fn start_bare(spool: &TempSpool) -> Agent {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool"));
        command.arg("drain");
        Agent::spawn(spool, command)
    }

    fn spawn(spool: &TempSpool, command: Command) -> Agent {
        Agent::spawn_with(spool, command, &[])
    }

    fn spawn_with(spool: &TempSpool, mut command: Command, vars: &[(&str, &str)]) -> Agent {
        let log = spool.home().join("agent.log");
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .env_clear()
            .env("HOME", spool.home())
            .env("SPOOL_DIR", spool.spool.root())
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Agent { child, log }
    }

    /// What it and its predecessors said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// SIGTERM, and the exit number.
    pub fn stop(mut self) -> i32 {
        self.signal("TERM");
        exit_code(&mut self.child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

/// The arguments of an agent, up to the token file.
pub fn drain_args(url: &str) -> [&str; 4] {
    ["drain", "--gateway", url, "--token-file"]
}

/// Writes the token file of a spool's home, in place.
pub fn write_token(spool: &TempSpool, token: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = spool.home().join("token");
    std::fs::write(&path, token).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A spool whose agent would have the right token, and a gateway with one chat.
pub fn with_gateway(token: &str, chat: &str) -> (TempSpool, FakeThread) {
    let spool = TempSpool::new();
    write_token(&spool, token);
    let gateway = FakeThread::start(Options::with_token(token)).unwrap();
    gateway.add_chat(chat, 77001);
    (spool, gateway)
}

/// Queues a record and brings its entry where `events` bring it, with the journal's lines of all that.
pub fn bring(spool: &TempSpool, id: &str, record: &Value, events: &[Event]) -> Entry {
    let id = Id::new(id).unwrap();
    spool.spool.publish(&id, record.to_string().as_bytes(), false).unwrap();
    let mut entry = Entry::new(id, State::Pending);
    spool.spool.note(&[Line::about("accept", &entry)]).unwrap();
    for event in events {
        let why = Why { reason: "there is no such session".into(), attempts: 3, ..Why::default() };
        entry = spool.spool.advance_why(&entry, event, &why).unwrap();
        spool.spool.note(&[Line::moved(event, &entry)]).unwrap();
    }
    entry
}

/// Drops a file the way any process can: written beside, then moved in.
pub fn drop_record(spool: &TempSpool, name: &str, bytes: &[u8]) {
    let staged = spool.spool.dir(spooldir::Dir::Tmp).join(name);
    std::fs::write(&staged, bytes).unwrap();
    spool.spool.fs().rename(&staged, &spool.spool.dir(spooldir::Dir::New).join(name)).unwrap();
}
