//! The service manager: which it is, what it is asked, and what it answers.
//!
//! It is asked through its own program (`systemctl --user`, `launchctl`), as a person would. What is asked is data, so
//! that `--print` can show it.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spooldir::exit;

use super::{launchd, systemd};
use crate::Failure;
use crate::args::Args;
use crate::openclaw_config::Env;

/// How many lines of the log are shown.
const LINES: &str = "200";

/// A service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// systemd, the user's own.
    Systemd,
    /// launchd, in the user's session.
    Launchd,
}

/// A command to the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    words: Vec<String>,
}

/// What the manager says of the service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// Whether it knows the service.
    pub is_loaded: bool,
    /// Whether it starts the service at login.
    pub is_enabled: bool,
    /// A word for the state: `active`, `activating`, `inactive`, `failed`; `unknown` when it could not be asked.
    pub state: String,
    /// The agent's process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// What the agent says of itself.
    pub status: Option<String>,
    /// Why it could not be asked, or how the agent ended.
    pub problem: Option<String>,
}

impl Unit {
    /// Whether the agent runs.
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }
}

impl Manager {
    /// That of this system.
    pub fn here() -> Manager {
        if cfg!(target_os = "macos") { Manager::Launchd } else { Manager::Systemd }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Manager::Systemd => "systemd",
            Manager::Launchd => "launchd",
        }
    }

    /// Where the description of the service belongs.
    ///
    /// # Errors
    /// [`exit::CONFIG`] without a home.
    pub fn path(self, env: Env<'_>) -> Result<PathBuf, Failure> {
        let home = home(env)?;
        Ok(match self {
            Manager::Systemd => {
                let config = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
                config.unwrap_or_else(|| home.join(".config")).join("systemd/user").join(systemd::UNIT)
            }
            Manager::Launchd => {
                home.join("Library/LaunchAgents").join(launchd::LABEL).with_extension("drain.plist")
            }
        })
    }

    /// What is to be said to it, in order.
    pub fn steps(self, action: &str, path: &Path, args: &Args) -> Vec<Step> {
        match self {
            Manager::Systemd => systemd_steps(action, args),
            Manager::Launchd => launchd_steps(action, path, args),
        }
    }

    /// What it says of the service.
    pub fn unit(self) -> Unit {
        let asked = match self {
            Manager::Systemd => {
                let what = "--property=LoadState,UnitFileState,ActiveState,MainPID,NRestarts,StatusText,Result,\
                            ExecMainStatus";
                Step::new(&["systemctl", "--user", "show", systemd::UNIT, what])
                    .ask()
                    .map(|said| properties(&said))
            }
            Manager::Launchd => {
                let target = launchd_target();
                Ok(Step::new(&["launchctl", "print", &target])
                    .ask()
                    .map_or_else(|_| gone(), |said| printed(&said)))
            }
        };
        asked.unwrap_or_else(|why| Unit {
            state: "unknown".into(),
            problem: Some(why.message),
            ..Unit::default()
        })
    }

    /// Whether it has the service from elsewhere, such as a package.
    pub fn knows(self) -> bool {
        self.unit().is_loaded
    }

    /// Whether the service could not be started because its confinement could not be made (systemd.exec(5), "Process
    /// Exit Codes": the numbers of what happens between fork and exec).
    pub fn cannot_confine(self) -> bool {
        let show = ["systemctl", "--user", "show", systemd::UNIT, "--property=ExecMainStatus", "--value"];
        let said = if self == Manager::Systemd { Step::new(&show).ask().ok() } else { None };
        said.and_then(|said| said.trim().parse::<u8>().ok()).is_some_and(|code| (200..=250).contains(&code))
    }

    /// What to know about the end of a login, if there is anything to know.
    pub fn lingers(self) -> Option<&'static str> {
        let show = ["loginctl", "show-user", "--property=Linger", "--value", "--", &uid()];
        let said = if self == Manager::Systemd { Step::new(&show).ask().ok()? } else { return None };
        (said.trim() == "no").then_some("it ends when you log out; loginctl enable-linger keeps it running")
    }
}

/// Where launchd keeps what the agent says.
///
/// # Errors
/// [`exit::CONFIG`] without a home.
pub fn launchd_log(env: Env<'_>) -> Result<PathBuf, Failure> {
    Ok(home(env)?.join("Library/Logs/spool.log"))
}

fn home(env: Env<'_>) -> Result<PathBuf, Failure> {
    env("HOME").map(PathBuf::from).filter(|home| home.is_absolute()).ok_or_else(|| {
        Failure::new(
            exit::CONFIG,
            "a service belongs to a user: set HOME to the whole path of the home directory",
        )
    })
}

fn uid() -> String {
    rustix::process::getuid().as_raw().to_string()
}

fn launchd_target() -> String {
    format!("gui/{}/{}", uid(), launchd::LABEL)
}

fn systemd_steps(action: &str, args: &Args) -> Vec<Step> {
    let systemctl = |words: &[&str]| Step::new(&[&["systemctl", "--user"], words].concat());
    let reload = systemctl(&["daemon-reload"]);
    match action {
        "renew" => vec![
            reload,
            systemctl(&["enable", "--quiet", systemd::UNIT]),
            systemctl(&["restart", systemd::UNIT]),
        ],
        "start" => {
            vec![systemctl(&["enable", "--quiet", systemd::UNIT]), systemctl(&["start", systemd::UNIT])]
        }
        "uninstall" => vec![systemctl(&["disable", "--quiet", "--now", systemd::UNIT]), reload],
        "logs" => {
            let mut words = vec!["journalctl", "--user-unit", systemd::UNIT, "--lines", LINES];
            words.push(if args.follow { "--follow" } else { "--no-pager" });
            vec![Step::new(&words)]
        }
        "status" => vec![systemctl(&["show", systemd::UNIT])],
        verb => vec![systemctl(&[verb, systemd::UNIT])],
    }
}

fn launchd_steps(action: &str, path: &Path, args: &Args) -> Vec<Step> {
    let launchctl = |words: &[&str]| Step::new(&[&["launchctl"], words].concat());
    let target = launchd_target();
    let domain = format!("gui/{}", uid());
    let path = path.to_string_lossy();
    let enable = launchctl(&["enable", &target]);
    match action {
        "renew" | "start" => vec![enable, launchctl(&["bootstrap", &domain, &path])],
        "uninstall" | "stop" => vec![launchctl(&["bootout", &target])],
        "restart" => vec![launchctl(&["kickstart", "-k", &target])],
        "logs" => {
            let log = launchd_log(&spooldir::locate::process_env).unwrap_or_default();
            vec![Step::new(&[
                "tail",
                "-n",
                LINES,
                if args.follow { "-F" } else { "--" },
                &log.to_string_lossy(),
            ])]
        }
        _ => vec![launchctl(&["print", &target])],
    }
}

impl Step {
    fn new(words: &[&str]) -> Step {
        Step { words: words.iter().map(ToString::to_string).collect() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null());
        command
    }

    /// Says it, and waits until it is done.
    ///
    /// # Errors
    /// [`exit::UNAVAILABLE`] with what the manager answers.
    pub fn run(&self) -> Result<(), Failure> {
        self.ask().map(|_| ())
    }

    /// Asks, and gives the answer.
    fn ask(&self) -> Result<String, Failure> {
        let fail = |why: &str| {
            let remedy = match self.words[0].as_str() {
                "systemctl" if why.contains("bus") => {
                    "; is this a login of your own? (su and sudo give none; machinectl shell does)"
                }
                _ => "",
            };
            Failure::new(exit::UNAVAILABLE, format!("{self}: {why}{remedy}"))
        };
        let output = self.command().output().map_err(|e| fail(&e.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = spooldir::sanitize::line(&said);
            return Err(fail(if said.is_empty() { "it failed" } else { &said }));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Becomes this command; returns only when that cannot be.
    pub fn become_it(&self) -> Failure {
        let e = self.command().exec();
        Failure::new(exit::UNAVAILABLE, format!("{self}: {e}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))
    }
}

fn gone() -> Unit {
    Unit { state: "inactive".into(), ..Unit::default() }
}

/// Reads `systemctl show`: `Name=value` lines.
fn properties(said: &str) -> Unit {
    let value = |name: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.filter(|value| !value.is_empty())
    };
    let is_loaded = value("LoadState") == Some("loaded");
    let result = value("Result").filter(|result| *result != "success");
    Unit {
        is_loaded,
        is_enabled: value("UnitFileState").is_some_and(|state| state.starts_with("enabled")),
        state: value("ActiveState").unwrap_or("inactive").to_owned(),
        pid: value("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0),
        restarts: value("NRestarts").and_then(|n| n.parse().ok()).unwrap_or(0),
        status: value("StatusText").map(spooldir::sanitize::line),
        problem: result.filter(|_| value("ActiveState") != Some("active")).map(|result| {
            let number = value("ExecMainStatus").unwrap_or("?");
            format!("the agent ended: {result}, exit number {number}; spool service logs tells more")
        }),
    }
}

/// Reads `launchctl print`: `name = value` lines.
fn printed(said: &str) -> Unit {
    let value =
        |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = "));
    Unit {
        is_loaded: true,
        is_enabled: true,
        state: if value("state") == Some("running") { "active" } else { "inactive" }.into(),
        pid: value("pid").and_then(|pid| pid.parse().ok()),
        ..Unit::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_answers_is_understood() {
        let up = properties(
            "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nMainPID=812\nNRestarts=2\n\
             StatusText=gateway up; 0 waiting\nResult=success\nExecMainStatus=0\n",
        );
        assert!(up.is_loaded && up.is_enabled && up.is_active());
        assert_eq!((up.pid, up.restarts, up.problem), (Some(812), 2, None));
        assert_eq!(up.status.as_deref(), Some("gateway up; 0 waiting"));
        let down = properties(
            "LoadState=loaded\nActiveState=activating\nMainPID=0\nResult=exit-code\nExecMainStatus=78\n",
        );
        assert!(!down.is_active() && !down.is_enabled && down.pid.is_none());
        assert!(down.problem.unwrap().contains("78"));
        let none = properties("LoadState=not-found\nActiveState=inactive\nResult=success\n");
        assert!(!none.is_loaded && none.problem.is_none());
    }

    #[test]
    fn what_launchd_answers_is_understood() {
        let up = printed("gui/501/spool.drain = {\n\tactive count = 1\n\tstate = running\n\tpid = 812\n}\n");
        assert!(up.is_active() && up.pid == Some(812));
        assert!(!printed("\tstate = not running\n").is_active());
    }

    #[test]
    fn what_is_asked_can_be_read() {
        let said = |manager: Manager, action: &str| {
            let steps = manager.steps(action, Path::new("/h/spool.plist"), &Args::default());
            steps.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(said(Manager::Systemd, "stop"), ["systemctl --user stop spool.service"]);
        assert_eq!(said(Manager::Systemd, "renew")[0], "systemctl --user daemon-reload");
        assert!(said(Manager::Systemd, "logs")[0].ends_with("--lines 200 --no-pager"));
        let uid = uid();
        assert_eq!(
            said(Manager::Launchd, "start")[1],
            format!("launchctl bootstrap gui/{uid} /h/spool.plist")
        );
    }
}
