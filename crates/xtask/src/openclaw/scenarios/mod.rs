//! The scenarios, in the order in which they are played. Those from `h` on come last: each needs a world of
//! its own.

mod a_gateway_down;
mod b_kills;
mod c_burst;
mod d_sessions;
mod e_token;
mod f_protocol3;
mod g_reset_and_failure;
mod h_shared_main;
mod i_survivor;
mod j_lost;
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
    /// Whether it runs the project's programs.
    pub(crate) needs_programs: bool,
    pub(crate) play: fn(&mut Stage, &mut Checks) -> Outcome<()>,
}

impl Scenario {
    const fn new(
        name: &'static str,
        about: &'static str,
        play: fn(&mut Stage, &mut Checks) -> Outcome<()>,
    ) -> Scenario {
        Scenario { name, about, needs_programs: true, play }
    }
}

pub(crate) static ALL: [Scenario; 12] = [
    Scenario {
        needs_programs: false,
        ..Scenario::new("rig", "the harness checks itself, without the project's programs", rig::play)
    },
    Scenario::new("a", "a record is dropped while the gateway is down", a_gateway_down::play),
    Scenario::new("b", "gateway and agent are killed at random moments", b_kills::play),
    Scenario::new("c", "100 records for one session at once", c_burst::play),
    Scenario::new("d", "sessions that are missing, archived or closed", d_sessions::play),
    Scenario::new("e", "a wrong token, mended while the agent runs", e_token::play),
    Scenario::new("g", "a reset after the commit; a model that fails after it", g_reset_and_failure::play),
    Scenario::new("times", "how long a producer waits", times::play),
    Scenario::new("h", "two people share the main session", h_shared_main::play),
    Scenario::new("i", "a person's job outlives the gateway that started it", i_survivor::play),
    Scenario::new("j", "a person's job dies with the gateway that started it", j_lost::play),
    Scenario::new("f", "a gateway of protocol 3", f_protocol3::play),
];
