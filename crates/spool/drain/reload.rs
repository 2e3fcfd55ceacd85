//! The agent and its configuration, which may change while it runs: SIGHUP has it read anew.
//!
//! What it keeps true: what is read is checked whole before any of it holds; a wrong one changes nothing, and is told in
//! the log and in `spool status` until one is right. Policy, windows and retention change between two turns of the
//! agent's loop. Another gateway, or another way to open it, is another agent in this process: the old one ends as on
//! SIGTERM, and what it left under way the new one asks about. The spool and the log stay as they are.

use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;

use spool_drain::options::Reload;
use spool_drain::supervisor::Supervisor;
use spool_drain::{Options, Settings, Summary};
use spool_gateway::openclaw::{Config as Gateway, OpenClawConnector};
use spooldir::{Spool, exit, locate};
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{Notify, watch};
use tracing::level_filters::LevelFilter;

use super::{asked_to_end, catch, format, level};
use crate::Failure;
use crate::args::Args;
use crate::config::{self, Config};
use crate::discover;
use crate::log::Format;

/// What an agent is started with; all of it is right.
pub(super) struct Setup {
    pub(super) spool: PathBuf,
    pub(super) gateway: Gateway,
    pub(super) level: LevelFilter,
    pub(super) format: Format,
    settings: Settings,
}

impl Setup {
    /// Reads the configuration, and touches nothing.
    pub(super) fn read(args: &Args) -> Result<Setup, Failure> {
        let env = config::env(args);
        let config = Config::load(args, &env)?;
        let gateway = discover::gateway(args, &env, &config)?;
        gateway.check().map_err(|trouble| Failure::new(exit::CONFIG, trouble.reason))?;
        Ok(Setup {
            spool: locate::spool_dir(args.spool.as_deref(), &env)?,
            gateway,
            level: level(&config)?,
            format: format(&config)?,
            settings: config.settings(),
        })
    }

    /// Whether the same gateway is opened in the same way.
    fn same_gateway(&self, other: &Setup) -> bool {
        let of = |gateway: &Gateway| {
            let place =
                |source: &Option<spool_gateway::secret::Source>| source.as_ref().map(ToString::to_string);
            let tls = gateway.tls_fingerprint.clone();
            (gateway.url.clone(), place(&gateway.token), place(&gateway.password), gateway.admin, tls)
        };
        of(&self.gateway) == of(&other.gateway)
    }
}

/// Runs the agent until it is asked to end.
///
/// # Errors
/// When signals cannot be caught; what the agent says.
pub(super) async fn run(
    spool: &Spool,
    args: &Args,
    first: Setup,
    supervisor: Supervisor,
) -> Result<Summary, Failure> {
    let mut hangups = catch(SignalKind::hangup())?;
    let mut ended = pin!(asked_to_end(&[SignalKind::terminate(), SignalKind::interrupt()])?);
    let mut now = first;
    loop {
        let (tell, told) = watch::channel(Reload { settings: None, trouble: None, goes_on: false });
        let connector = OpenClawConnector::new(now.gateway.clone());
        let options = options(args, &now.settings, &supervisor, told);
        let elsewhere = Notify::new();
        let next: Cell<Option<Setup>> = Cell::new(None);
        let is_over = Cell::new(false);
        let shutdown = async {
            tokio::select! {
                () = &mut ended => is_over.set(true),
                () = elsewhere.notified() => {}
            }
        };
        let agent = spool_drain::run(spool, &connector, &options, shutdown);
        let listen = async {
            loop {
                hangup(&mut hangups).await;
                if let Some(setup) = read_anew(args, &now, &tell) {
                    tracing::info!(gateway = %setup.gateway.url, "the gateway is another one; starting anew with it");
                    next.set(Some(setup));
                    tell.send_replace(Reload { settings: None, trouble: None, goes_on: true });
                    elsewhere.notify_one();
                }
            }
        };
        let summary = tokio::select! {
            summary = agent => summary?,
            () = listen => Summary::default(),
        };
        match next.take() {
            Some(setup) if !is_over.get() => now = setup,
            _ => return Ok(summary),
        }
    }
}

async fn hangup(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending().await
    }
}

/// Reads the configuration anew and tells the agent. Returns what it is to be started anew with, if it must be.
fn read_anew(args: &Args, now: &Setup, tell: &watch::Sender<Reload>) -> Option<Setup> {
    let said = match Setup::read(args) {
        Ok(setup) => {
            if setup.spool != now.spool || setup.level != now.level || setup.format != now.format {
                tracing::warn!(
                    "another spool, or another level or form of the log, takes a restart of the agent"
                );
            }
            if !setup.same_gateway(now) {
                return Some(setup);
            }
            Reload { settings: Some(setup.settings), trouble: None, goes_on: false }
        }
        Err(failure) => Reload { settings: None, trouble: Some(failure.message), goes_on: false },
    };
    tell.send_replace(said);
    None
}

fn options(
    args: &Args,
    settings: &Settings,
    supervisor: &Supervisor,
    reload: watch::Receiver<Reload>,
) -> Options {
    Options {
        once: args.once,
        quiet: settings.quiet.time,
        quiet_most: settings.quiet.most,
        retention: settings.retention,
        dismissed_retention: settings.dismissed_retention,
        log_age: settings.log_age,
        rules: settings.rules.clone(),
        reload: Some(reload),
        supervisor: supervisor.clone(),
        ..Options::default()
    }
}
