//! How an agent is started here, for whoever finds that none is running.
//!
//! What it keeps true: only files are looked at, so that it can be asked for each screen of `spool status`; and nothing is
//! advised that cannot work: no service where no manager is, nor one that looks after another spool.

use std::path::{Path, PathBuf};

use super::manager::Manager;
use super::systemd;
use crate::openclaw_config::Env;

/// Where packages, and whoever looks after the machine, put units for every user: systemd.unit(5), in its order.
const PACKAGED: [&str; 4] =
    ["/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user"];

/// How.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In a terminal: there is nothing that would run a service.
    #[default]
    Drain,
    /// As the service that is installed.
    Service,
    /// As a service that is still to be installed.
    Install,
}

impl Start {
    /// How it is started here, for this spool.
    pub fn here(spool: &Path, env: Env<'_>) -> Start {
        Start::with(Manager::here(), spool, env, &PACKAGED.map(PathBuf::from))
    }

    fn with(manager: Manager, spool: &Path, env: Env<'_>, packaged: &[PathBuf]) -> Start {
        let Ok(own) = manager.path(env) else { return Start::Drain };
        if manager == Manager::Launchd {
            return if own.exists() { Start::Service } else { Start::Install };
        }
        if let Some(serves) = serves(&own, spool, env) {
            return if serves { Start::Service } else { Start::Drain };
        }
        // sd_booted(3) is about the machine; whether this login has a manager of its own is told by its directory.
        let runtime = env("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        if !runtime.is_some_and(|dir| dir.join("systemd").is_dir()) {
            return Start::Drain;
        }
        match packaged.iter().find_map(|dir| serves(&dir.join(systemd::UNIT), spool, env)) {
            Some(true) => Start::Service,
            // One of the user's own stands above that of the package.
            Some(false) | None => Start::Install,
        }
    }

    /// What to type.
    pub fn command(self) -> &'static str {
        match self {
            Start::Drain => "spool drain",
            Start::Service => "spool service start",
            Start::Install => "spool service install",
        }
    }

    /// The same in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Start::Drain => "start spool drain",
            Start::Service => "spool service start has its service run",
            Start::Install => "spool service install has one run from login on",
        }
    }
}

/// Whether this unit is for this spool; `None` when it is not there. One that others wrote is taken for it.
fn serves(unit: &Path, spool: &Path, env: Env<'_>) -> Option<bool> {
    let text = std::fs::read_to_string(unit).ok()?;
    let home = env("HOME").map(PathBuf::from).unwrap_or_default();
    let of = systemd::read(&text).and_then(|settings| {
        let at = settings.words.iter().position(|word| word == "--spool")?;
        settings.words.get(at + 1).cloned()
    });
    let Some(of) = of else { return Some(true) };
    let of = of.strip_prefix("%h/").map_or_else(|| PathBuf::from(&of), |rest| home.join(rest));
    let spool = std::path::absolute(spool).unwrap_or_else(|_| spool.to_owned());
    Some(of.components().eq(spool.components()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::golden;
    use std::ffi::OsString;

    struct Home(tempfile::TempDir);

    impl Home {
        fn start(&self, manager: Manager, spool: &str, has_manager: bool) -> Start {
            let at = |name: &str| self.0.path().join(name);
            let env = |name: &str| match name {
                "HOME" => Some(OsString::from("/home/me")),
                "XDG_CONFIG_HOME" => Some(at("config").into()),
                "XDG_RUNTIME_DIR" if has_manager => Some(at("run").into()),
                _ => None,
            };
            Start::with(manager, Path::new(spool), &env, &[at("etc"), at("lib")])
        }

        fn unit(&self, dir: &str, text: &str) {
            let dir = self.0.path().join(dir);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(systemd::UNIT), text).unwrap();
        }
    }

    #[test]
    fn nothing_is_advised_that_cannot_work() {
        let home = Home(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(home.0.path().join("run/systemd")).unwrap();
        let ours = "/home/me/.local/state/spool";
        let start = |spool, has_manager| home.start(Manager::Systemd, spool, has_manager);
        assert_eq!((start(ours, false), start(ours, true)), (Start::Drain, Start::Install));
        // The package's is for each user's own spool, where a manager is.
        home.unit("lib", include_str!("../../../packaging/spool.service"));
        assert_eq!((start(ours, false), start(ours, true)), (Start::Drain, Start::Service));
        assert_eq!(start("/elsewhere", true), Start::Install);
        // The user's own was installed where there was a manager, though this shell may not know it.
        home.unit("config/systemd/user", &systemd::unit(&golden::plain()));
        assert_eq!((start(ours, false), start(ours, true)), (Start::Service, Start::Service));
        assert_eq!(
            start("/elsewhere", true),
            Start::Drain,
            "to install it anew would take it from the other"
        );
        home.unit("config/systemd/user", "[Service]\nExecStart=/home/me/bin/my-own-script\n");
        assert_eq!(start("/elsewhere", false), Start::Service);
        let mac = Home(tempfile::tempdir().unwrap());
        assert_eq!(mac.start(Manager::Launchd, ours, false), Start::Install);
    }
}
