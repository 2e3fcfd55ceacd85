//! The scenarios, in the order in which they are played.

mod rig;

use super::checks::Checks;
use super::command::Stage;
use super::support::Outcome;

/// One story with its checks.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) play: fn(&mut Stage, &mut Checks) -> Outcome<()>,
}

pub(crate) static ALL: [Scenario; 1] = [Scenario {
    name: "rig",
    about: "the harness checks itself, without the project's programs",
    play: rig::play,
}];
