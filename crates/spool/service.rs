//! `spool service`: the agent as a service of the user's own service manager, systemd on Linux and launchd on macOS.
//!
//! What it keeps true: nothing is written before the settings were found good; installing again changes only what has
//! changed, and does not stop a service that is as it should be; uninstalling leaves the spool as it is; whatever is
//! said to the manager is said by `--print` too, which does nothing.
//!
//! The rooms: `settings` (what the service is made of), `systemd` and `launchd` (its text), `manager` (who is asked),
//! `start` (what is advised where no agent is running).

#[cfg(test)]
mod golden;
mod launchd;
pub mod manager;
pub mod settings;
mod start;
pub mod systemd;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use spooldir::{Spool, exit, locate};

use crate::adapt::file;
use crate::args::Args;
use crate::{Failure, complain};
use manager::{Manager, Step, Unit};
use settings::Settings;

pub use start::Start;

/// The service is there and does not run.
const NOT_RUNNING: u8 = 3;
/// It is not as it should be.
const DEGRADED: u8 = 1;

/// What can be done with a service.
pub const ACTIONS: &[&str] = &["install", "uninstall", "start", "stop", "restart", "status", "logs"];

/// Does it.
///
/// # Errors
/// [`exit::CONFIG`] when gateway or token cannot be found, [`exit::UNAVAILABLE`] when there is no service manager or
/// it cannot do what it was asked to.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let manager = Manager::here();
    let path = manager.path(&locate::process_env)?;
    let action = args.ids.first().map_or("", String::as_str);
    if args.print && action != "install" {
        for step in manager.steps(action, &path, args) {
            writeln!(out, "{step}")?;
        }
        return Ok(exit::OK);
    }
    match action {
        "install" => install(manager, &path, args, out),
        "uninstall" => uninstall(manager, &path, out),
        "status" => status(manager, &path, args, out),
        "logs" => Err(manager.steps(action, &path, args).remove(0).become_it()),
        _ if !path.exists() && !manager.knows() => Err(Failure::new(
            exit::UNAVAILABLE,
            format!(
                "the service is not installed ({} is not there); run spool service install",
                path.display()
            ),
        )),
        verb => {
            manager.steps(verb, &path, args).iter().try_for_each(Step::run)?;
            Ok(exit::OK)
        }
    }
}

/// What a unit of this program, with what is said and known here, looks like.
fn made(manager: Manager, settings: &Settings) -> String {
    match manager {
        Manager::Systemd => systemd::unit(settings),
        Manager::Launchd => {
            launchd::plist(settings, &manager::launchd_log(&locate::process_env).unwrap_or_default())
        }
    }
}

fn install(manager: Manager, path: &Path, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::new(exit::IO, format!("cannot tell where this program is: {e}")))?;
    let mut settings = Settings::new(&program, args, &locate::process_env)?;
    if args.print {
        write!(out, "{}", made(manager, &settings))?;
        return Ok(exit::OK);
    }
    settings::check_gateway(args, &locate::process_env)?;
    Spool::create(&crate::spool_dir(args)?)?;
    let found = file::read(path)?;
    let was_confined = found.text.as_deref().and_then(systemd::read).is_none_or(|old| old.is_confined);
    // What could not be confined here yesterday need not fail again today.
    let mut text = made(manager, &Settings { is_confined: was_confined, ..settings.clone() });
    let is_new = found.text.as_deref() != Some(text.as_str());
    if is_new {
        text = made(manager, &settings);
        found.write(&text)?;
    }
    writeln!(out, "{} {}", if is_new { "installed" } else { "unchanged" }, path.display())?;
    let begin = |action: &str| manager.steps(action, path, args).iter().try_for_each(Step::run);
    let mut began = begin(if is_new { "renew" } else { "start" });
    if began.is_err() && manager.cannot_confine() {
        complain(
            "this user's service manager cannot make name spaces: the service is installed without those limits",
        );
        settings.is_confined = false;
        file::read(path)?.write(&made(manager, &settings))?;
        began = begin("renew");
    }
    began?;
    let unit = manager.unit();
    writeln!(out, "running   {}", unit.status.as_deref().unwrap_or("its log: spool service logs"))?;
    if let Some(hint) = manager.lingers() {
        writeln!(out, "note      {hint}")?;
    }
    Ok(exit::OK)
}

fn uninstall(manager: Manager, path: &Path, out: &mut dyn Write) -> Result<u8, Failure> {
    let found = file::read(path)?;
    if found.text.is_none() {
        writeln!(out, "not installed: {} is not there", path.display())?;
        return Ok(exit::OK);
    }
    let mut steps = manager.steps("uninstall", path, &Args::default()).into_iter();
    // Where the manager is not there, nothing of it runs.
    if let Some(Err(why)) = steps.next().map(|stop| stop.run()) {
        complain(&why.message);
    }
    found.remove()?;
    for step in steps {
        if let Err(why) = step.run() {
            complain(&why.message);
        }
    }
    writeln!(out, "removed   {}; the spool is as it was", path.display())?;
    Ok(exit::OK)
}

/// How the service is set up, for `spool service status` and for a doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Where its unit is, or would be.
    pub path: PathBuf,
    /// Whether it is there.
    pub is_installed: bool,
    /// Why it is not what would be made today, with the remedy; `None` when it is.
    pub stale: Option<String>,
    /// What the manager says of it.
    pub unit: Unit,
}

/// Looks at it.
///
/// # Errors
/// When there is no place for it, or its unit cannot be read.
pub fn look() -> Result<Setup, Failure> {
    let manager = Manager::here();
    let path = manager.path(&locate::process_env)?;
    let found = file::read(&path)?;
    let stale = found.text.as_deref().and_then(|text| stale(manager, text));
    let unit = manager.unit();
    Ok(Setup { is_installed: found.text.is_some() || unit.is_loaded, path, stale, unit })
}

/// Why a unit is not what would be made of the same settings today.
fn stale(manager: Manager, text: &str) -> Option<String> {
    let again = "spool service install makes it anew";
    if manager == Manager::Launchd {
        return None;
    }
    let Some(settings) = systemd::read(text) else {
        return Some(format!("it was not made by spool service install; {again}"));
    };
    if !Path::new(&settings.program).is_file() {
        return Some(format!("{} is not there any more; {again}", settings.program));
    }
    (systemd::unit(&settings) != text).then(|| format!("it is of another version, or was changed; {again}"))
}

fn status(manager: Manager, path: &Path, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let Setup { is_installed, stale, unit, .. } = look()?;
    let code = match (unit.is_active(), &stale) {
        (true, None) => exit::OK,
        (true, Some(_)) => DEGRADED,
        (false, _) => NOT_RUNNING,
    };
    if args.json {
        let value = json!({
            "manager": manager.word(),
            "path": path,
            "installed": is_installed,
            "stale": stale,
            "enabled": unit.is_enabled,
            "state": unit.state,
            "pid": unit.pid,
            "restarts": unit.restarts,
            "status": unit.status,
            "problem": unit.problem,
        });
        writeln!(out, "{value}")?;
        return Ok(code);
    }
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<9} {value}");
    let place = path.display().to_string();
    line("service", if is_installed { &place } else { "not installed; run spool service install" })?;
    let pid = unit.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    line("state", &format!("{}{pid}", unit.state))?;
    if is_installed {
        line(
            "at login",
            if unit.is_enabled { "starts" } else { "does not start; spool service install mends it" },
        )?;
    }
    if unit.restarts > 0 {
        line("restarts", &format!("{}; spool service logs tells why", unit.restarts))?;
    }
    if let Some(status) = &unit.status {
        line("says", status)?;
    }
    for problem in stale.iter().chain(&unit.problem) {
        line("problem", problem)?;
    }
    Ok(code)
}
