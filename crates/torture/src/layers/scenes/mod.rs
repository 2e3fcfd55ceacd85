//! Scenes: small plays of which every moment can be tried.
//!
//! A scene is how a spool is prepared, the one program that is hurt while it works there, how the world goes on
//! afterwards, and what was promised meanwhile. Who hurts it, and how, is a layer's matter: `kill` ends the program at a
//! system call, `power` cuts the power of the file system below the spool, `errors` has a call fail. What must be true
//! afterwards is the same for all of them and is said in [`judge`].
//!
//! A play goes like this: [`Place::new`], [`Scene::play`], [`Scene::aftermath`]. A place plays once.

mod drain;
pub(in crate::layers) mod judge;
mod operator;
mod place;
mod put;
mod runs;

use std::process::Command;

pub(in crate::layers) use self::place::{LIMIT, Place};
pub(in crate::layers) use self::runs::ORPHAN;
use crate::layer::Outcome;
use crate::trace::{self, Act, Ended, Stop};

/// What kind of program is hurt, and so what a kill of it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Who {
    /// It publishes, or moves what a person says. One thread: each run makes the same calls.
    Tool,
    /// `spool-run`. Threads: the order of its calls differs a little from run to run.
    Wrapper,
    /// `spool drain`. Each of its deaths may cost one more send of what was under way.
    Agent,
}

/// A scene.
pub(in crate::layers) struct Scene {
    pub(in crate::layers) name: &'static str,
    pub(in crate::layers) who: Who,
    /// Makes the spool as it is before, and writes down what was promised.
    pub(in crate::layers) prepare: fn(&mut Place<'_>) -> Outcome<()>,
    /// The program that is hurt. Asked again it is the same command: that is how a producer tries again.
    pub(in crate::layers) program: fn(&Place<'_>) -> Command,
    /// What it exits with when nothing disturbs it; `None` when it dies by a signal of its own.
    pub(in crate::layers) ends: Option<i32>,
    /// How the world goes on: the producer or the person tries again, and agents run until everything has settled.
    pub(in crate::layers) recover: fn(&mut Place<'_>, &Scene) -> Outcome<()>,
}

impl Scene {
    /// Prepares the place and runs the program there under trace; notes how it ended.
    pub(in crate::layers) fn play(
        &self,
        place: &mut Place<'_>,
        at: &mut dyn FnMut(&Stop) -> Outcome<Act>,
    ) -> Outcome<Ended> {
        (self.prepare)(place)?;
        let ended = trace::run(&mut (self.program)(place), LIMIT, at)?;
        match ended {
            Ended::Exited(code) => place.ended(Some(code)),
            Ended::Signaled(signal) => place.ended(Some(-(signal as i32))),
            Ended::Killed | Ended::TimedOut => place.deaths += u64::from(self.who == Who::Agent),
        }
        Ok(ended)
    }

    /// Judges what can be seen at once, has the world go on, and judges the end. Empty when all is well.
    pub(in crate::layers) fn aftermath(&self, place: &mut Place<'_>) -> Outcome<Vec<String>> {
        let mut broken = judge::visible(place)?;
        match (self.recover)(place, self) {
            Ok(()) => broken.append(&mut judge::settled(place)?),
            Err(error) => broken.push(format!("the world does not go on: {error}")),
        }
        Ok(broken)
    }

    /// How it ends when nothing disturbs it.
    pub(in crate::layers) fn is_end(&self, ended: Ended) -> bool {
        match ended {
            Ended::Exited(code) => self.ends == Some(code),
            Ended::Signaled(_) => self.ends.is_none(),
            Ended::Killed | Ended::TimedOut => false,
        }
    }
}

/// All scenes.
pub(in crate::layers) fn all() -> impl Iterator<Item = &'static Scene> {
    [put::SCENES, operator::SCENES, runs::SCENES, drain::SCENES].into_iter().flatten()
}

/// The scenes of these names.
pub(in crate::layers) fn named(names: &[&str]) -> Vec<&'static Scene> {
    all().filter(|scene| names.contains(&scene.name)).collect()
}
