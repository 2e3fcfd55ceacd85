//! The scenarios, in the order in which they are played. `f` and `h` come last: each needs a world of its own.

mod a_gateway_down;
mod b_kills;
mod c_burst;
mod d_sessions;
mod e_token;
mod f_protocol3;
mod g_reset_and_failure;
mod h_shared_main;
mod rig;
mod times;

use std::time::Duration;

use super::checks::Checks;
use super::command::Stage;
use super::support::Outcome;

/// How long a delivery may take when nothing is in its way, on a loaded machine.
const DELIVERY: Duration = Duration::from_secs(90);

/// One story with its checks.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) play: fn(&mut Stage, &mut Checks) -> Outcome<()>,
}

pub(crate) static ALL: [Scenario; 10] = [
    Scenario {
        name: "rig",
        about: "the harness checks itself, without the project's programs",
        play: rig::play,
    },
    Scenario {
        name: "a",
        about: "a record is dropped while the gateway is down",
        play: a_gateway_down::play,
    },
    Scenario { name: "b", about: "gateway and agent are killed at random moments", play: b_kills::play },
    Scenario { name: "c", about: "100 records for one session at once", play: c_burst::play },
    Scenario { name: "d", about: "sessions that are missing, archived or closed", play: d_sessions::play },
    Scenario { name: "e", about: "a wrong token, mended while the agent runs", play: e_token::play },
    Scenario {
        name: "g",
        about: "a reset after the commit; a model that fails after it",
        play: g_reset_and_failure::play,
    },
    Scenario { name: "times", about: "how long a producer waits", play: times::play },
    Scenario { name: "h", about: "two people share the main session", play: h_shared_main::play },
    Scenario { name: "f", about: "a gateway of protocol 3", play: f_protocol3::play },
];
