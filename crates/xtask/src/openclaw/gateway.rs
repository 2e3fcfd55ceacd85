//! One real gateway in a world of its own: boot, SIGTERM, SIGKILL, boot again on the same port and state.
//!
//! Hermetic: its home, state, configuration, log and temporary files lie in one directory, its environment is made
//! here, it may advertise nothing, update nothing and beat no heart, and the only model and channel it knows are on
//! loopback. It is up when it says `hello-ok`; an open port or a live health page comes seconds too early.
//! A kill takes its whole process group and every helper process that carries its state directory in its
//! environment, so that two boots never overlap and a run leaves nothing behind. Only where the question is what the
//! gateway itself does to its children when it dies, its own process alone is killed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use super::install::{Install, OLD};
use super::rpc::Rpc;
use super::support::{Outcome, carriers, end_carriers, free_port, tail, wait_for, wait_until};
use super::telegram::BOT_TOKEN;
use super::witness::Witness;

const BOOT: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(90);
const CLI: Duration = Duration::from_secs(180);
/// The gateway gives its children 5 s between SIGTERM and SIGKILL.
const HELPERS: Duration = Duration::from_secs(30);
/// In the environment of every command of the exec tool, and of nothing else.
const COMMAND: &str = "OPENCLAW_SHELL=exec";
const TICK: Duration = Duration::from_millis(50);

/// What the gateway is to know of the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) model_port: u16,
    /// None: no channel at all.
    pub(crate) telegram_port: Option<u16>,
    /// `session.dmScope`; None leaves the default, one main session for everybody.
    pub(crate) dm_scope: Option<&'static str>,
}

/// Variables of the environment that a gateway gets on top of its own.
pub(crate) type Environment = Vec<(&'static str, OsString)>;

/// A gateway, up or down.
pub(crate) struct Gateway {
    install: Install,
    dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) token: String,
    more: Environment,
    child: Option<Child>,
    pub(crate) witness: Witness,
    /// How long each boot took, from the start of the process to `hello-ok`.
    pub(crate) boots: Vec<Duration>,
    pub(crate) kills: u64,
}

impl Gateway {
    /// Prepares a gateway in the new directory `dir`; boots nothing.
    pub(crate) fn new(
        install: &Install,
        dir: &Path,
        settings: Settings,
        more: Environment,
    ) -> Outcome<Gateway> {
        for sub in ["home", "state", "tmp"] {
            std::fs::create_dir_all(dir.join(sub))?;
        }
        let gateway = Gateway {
            install: install.clone(),
            dir: dir.to_owned(),
            port: free_port()?,
            token: "rig-token-of-no-worth".to_owned(),
            more,
            child: None,
            witness: Witness::new(install, dir)?,
            boots: Vec::new(),
            kills: 0,
        };
        std::fs::write(dir.join("openclaw.json"), gateway.config(settings).to_string())?;
        Ok(gateway)
    }

    fn config(&self, settings: Settings) -> Value {
        let mut config = json!({
            "gateway": {"mode": "local", "bind": "loopback", "port": self.port,
                "auth": {"mode": "token", "token": self.token}, "controlUi": {"enabled": false}},
            "update": {"checkOnStart": false},
            "logging": {"file": self.dir.join("gateway.log")},
            "agents": {"defaults": {"heartbeat": {"every": "0m"}, "model": {"primary": "rig/echo"},
                "workspace": self.dir.join("home/workspace")}},
            "models": {"mode": "replace", "providers": {"rig": {
                "baseUrl": format!("http://127.0.0.1:{}/v1", settings.model_port), "apiKey": "none",
                "api": "openai-completions", "models": [{"id": "echo", "name": "echo"}]}}},
        });
        if let Some(scope) = settings.dm_scope {
            config["session"] = json!({"dmScope": scope});
        }
        if self.install.version == OLD {
            // Its plugins are compiled at every first boot: 52 s instead of 5, for nothing that is used here.
            config["plugins"] = json!({"enabled": false});
        }
        if let Some(port) = settings.telegram_port {
            config["channels"] = json!({"telegram": {"enabled": true, "botToken": BOT_TOKEN,
                "apiRoot": format!("http://127.0.0.1:{port}"), "dmPolicy": "open", "allowFrom": ["*"]}});
        }
        config
    }

    /// The environment of the gateway, and of its command line program.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.install.node);
        command
            .arg(&self.install.entry)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .env("SHELL", "/bin/sh")
            .env("HOME", self.dir.join("home"))
            .env("TMPDIR", self.dir.join("tmp"))
            .env("OPENCLAW_STATE_DIR", self.dir.join("state"))
            .env("OPENCLAW_CONFIG_PATH", self.dir.join("openclaw.json"))
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        for switch in ["DISABLE_BONJOUR", "NO_RESPAWN", "NO_AUTO_UPDATE", "SKIP_CRON"] {
            command.env(format!("OPENCLAW_{switch}"), "1");
        }
        command.env("OPENCLAW_EXEC_SHELL_SNAPSHOT", "0");
        command.envs(self.more.iter().cloned());
        command
    }

    /// Runs the gateway's own command line program against it; gives its output and how long it took.
    pub(crate) fn cli(&self, args: &[&str]) -> Outcome<(String, Duration)> {
        let (out, err) = (self.dir.join("cli.out"), self.dir.join("cli.err"));
        let start = Instant::now();
        let mut command = self.command();
        command.args(args).stdout(File::create(&out)?).stderr(File::create(&err)?).process_group(0);
        let mut child = command.spawn()?;
        let ended = wait_for("the command line program", CLI, TICK, || Ok(child.try_wait()?));
        let took = start.elapsed();
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let status =
            ended.map_err(|why| format!("openclaw {}: {why}: {}", args.join(" "), tail(&err, 20)))?;
        if !status.success() {
            return Err(format!("openclaw {}: {status}: {}", args.join(" "), tail(&err, 20)).into());
        }
        Ok((std::fs::read_to_string(&out)?, took))
    }

    /// Which versions of the protocol the harness offers it.
    fn protocol(&self) -> (u32, u32) {
        if self.install.version == OLD { (3, 3) } else { (4, 4) }
    }

    /// Starts the process and does not wait.
    pub(crate) fn start(&mut self) -> Outcome<()> {
        self.witness.mend()?;
        let out = OpenOptions::new().create(true).append(true).open(self.dir.join("gateway.out"))?;
        let mut command = self.command();
        command.args(["gateway", "run", "--port", &self.port.to_string()]);
        command.stdout(out.try_clone()?).stderr(out).process_group(0);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Starts the process and waits for `hello-ok`.
    pub(crate) fn boot(&mut self) -> Outcome<Duration> {
        let start = Instant::now();
        self.start()?;
        self.wait_up()?;
        let took = start.elapsed();
        self.boots.push(took);
        Ok(took)
    }

    fn wait_up(&mut self) -> Outcome<()> {
        let (port, token, protocol) = (self.port, self.token.clone(), self.protocol());
        let child = self.child.as_mut().ok_or("the gateway was not started")?;
        wait_for("hello-ok of the gateway", BOOT, TICK, || {
            if let Some(status) = child.try_wait()? {
                return Err(format!("the gateway ended while it booted: {status}").into());
            }
            Ok(Rpc::connect(port, &token, protocol).ok().map(drop))
        })
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// A connection of the harness's own.
    pub(crate) fn rpc(&self) -> Outcome<Rpc> {
        Rpc::connect(self.port, &self.token, self.protocol())
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// SIGKILL, to everything it is made of.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.kills += 1;
        self.end()
    }

    /// SIGKILL to its own process and to nothing else, as the kernel does it when memory is short. What becomes of its
    /// helpers and of the commands that its agents started is then its own doing. Gives how long its helpers took
    /// to be gone; commands may be left.
    pub(crate) fn kill_alone(&mut self) -> Outcome<Duration> {
        let mut child = self.child.take().ok_or("there is no gateway to kill")?;
        self.kills += 1;
        let start = Instant::now();
        child.kill()?;
        child.wait()?;
        wait_until("the gateway's helpers to end by themselves", HELPERS, TICK, || {
            Ok(carriers(&mark_of(&self.dir))?.iter().all(|carrier| carrier.has(COMMAND)))
        })?;
        Ok(start.elapsed())
    }

    /// SIGKILL to whatever a dead gateway has left, as a service manager ends a service's control group.
    pub(crate) fn end_group(&self) -> Outcome<()> {
        sweep(&self.dir)
    }

    fn end(&mut self) -> Outcome<()> {
        if let Some(mut child) = self.child.take() {
            // The group may be gone already; what counts is that the child is reaped and no helper is left.
            if let Some(pid) = Pid::from_raw(i32::try_from(child.id())?) {
                kill_process_group(pid, Signal::KILL).ok();
            }
            child.wait()?;
        }
        sweep(&self.dir)
    }

    /// SIGTERM, and waits until it has drained and ended.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = Pid::from_raw(i32::try_from(child.id())?) {
            kill_process(pid, Signal::TERM)?;
        }
        let ended = wait_for("the gateway to stop", STOP, TICK, || Ok(child.try_wait()?));
        self.child = Some(child);
        self.end()?;
        ended.map(drop)
    }

    /// The chats that the gateway has given up on: after three unfinished recoveries of a turn that a kill
    /// interrupted, a session takes no work until a person resets it. Known from its log, which names no session
    /// that has no channel.
    pub(crate) fn given_up(&self) -> BTreeSet<String> {
        let log = std::fs::read(self.dir.join("gateway.out")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let words =
            log.lines().filter_map(|line| line.split("tombstoned main-session restart recovery: ").nth(1));
        words.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
    }

    /// The last lines that the gateway wrote.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        tail(&self.dir.join("gateway.out"), lines)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("a gateway may be left behind: {error}");
        }
    }
}

/// Kills the processes that carry the state directory of the run in `dir` in their environment.
pub(crate) fn sweep(dir: &Path) -> Outcome<()> {
    end_carriers(&mark_of(dir))
}

/// What every process of the gateway in `dir` has in its environment.
fn mark_of(dir: &Path) -> String {
    format!("OPENCLAW_STATE_DIR={}", dir.join("state").display())
}
