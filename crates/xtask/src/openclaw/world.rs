//! A gateway with its model and its Telegram: the world that a scenario plays in.
//!
//! Scenarios share a world where they can, because a boot costs seconds; each uses sessions and marks of its own,
//! so that they do not see each other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::checks::Figures;
use super::gateway::{Environment, Gateway, Settings};
use super::install::{Install, OLD};
use super::model::Model;
use super::support::{Outcome, wait_until};
use super::telegram::Telegram;

/// How long a chat may take to be answered on a loaded machine.
pub(crate) const CHAT: Duration = Duration::from_secs(180);
/// How often a condition is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(50);

pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) model: Model,
    pub(crate) telegram: Telegram,
    pub(crate) gateway: Gateway,
}

impl World {
    /// Makes a world in the new directory `dir` and boots its gateway.
    pub(crate) fn new(
        install: &Install,
        dir: &Path,
        version: &str,
        dm_scope: Option<&'static str>,
        more: Environment,
    ) -> Outcome<World> {
        let (model, telegram) = (Model::start()?, Telegram::start()?);
        // The old version cannot be pointed at another Telegram than the real one: there it has no channel.
        let telegram_port = (version != OLD).then_some(telegram.port);
        let settings = Settings { model_port: model.port, telegram_port, dm_scope };
        let gateway = Gateway::new(install, dir, settings, more)?;
        let mut world = World { dir: dir.to_owned(), model, telegram, gateway };
        world.boot()?;
        Ok(world)
    }

    /// Boots the gateway; gives the time to `hello-ok`.
    pub(crate) fn boot(&mut self) -> Outcome<Duration> {
        let booted = self.gateway.boot();
        if booted.is_err() {
            println!("--- the gateway's last lines\n{}---", self.gateway.log_tail(30));
        }
        booted
    }

    /// Boots the gateway if a scenario left it down.
    pub(crate) fn ensure_up(&mut self) -> Outcome<()> {
        if !self.gateway.is_up() {
            self.boot()?;
        }
        Ok(())
    }

    /// Waits until the gateway listens to Telegram again after `since`.
    pub(crate) fn wait_channel(&self, since: Instant) -> Outcome<()> {
        wait_until("the gateway to poll Telegram", CHAT, TICK, || Ok(self.telegram.polled_since(since)))
    }

    /// The person of this chat greets, and gets an answer: now there is a session with a route.
    /// Gives the session's key when everybody has one of their own.
    pub(crate) fn greet(&self, chat: i64) -> Outcome<String> {
        let mark = format!("rig-u-{chat}");
        let before = self.telegram.count(chat, &mark);
        self.telegram.user_writes(chat, &format!("Good morning, {mark} here."));
        wait_until(&format!("chat {chat} to be answered"), CHAT, TICK, || {
            Ok(self.telegram.count(chat, &mark) > before)
        })?;
        Ok(session_of(chat))
    }

    /// Adds what this world measured to the figures of the run.
    pub(crate) fn tell(&mut self, figures: &mut Figures) {
        figures.boots.append(&mut self.gateway.boots);
        figures.gateway_kills += std::mem::take(&mut self.gateway.kills);
    }
}

/// The session of a chat, when `session.dmScope` is `per-channel-peer`.
pub(crate) fn session_of(chat: i64) -> String {
    format!("agent:main:telegram:direct:{chat}")
}
