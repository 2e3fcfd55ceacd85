//! The layers, the longest first: they run side by side.

mod conformance;
mod errors;
mod fuzz;
mod gateways;
mod images;
mod kill;
mod machine;
mod model;
mod power;
mod producers;
mod random;
mod secrets;
mod soak;
mod states;

use std::time::Duration;

use crate::layer::Layer;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// All of them.
#[rustfmt::skip]
pub(crate) static ALL: &[Layer] = &[
    Layer { name: "soak", about: "ten minutes of ordinary work, flat", budget: seconds(600), run: soak::run },
    Layer { name: "random", about: "producers, agents and gateways killed at random", budget: seconds(300), run: random::run },
    Layer { name: "power", about: "the same points on ext4 and xfs, and the power goes there", budget: seconds(240), run: power::run },
    Layer { name: "errors", about: "every system call that can fail, failing", budget: seconds(150), run: errors::run },
    Layer { name: "fuzz", about: "what parses, fed with everything", budget: seconds(180), run: fuzz::run },
    Layer { name: "kill", about: "every entry and exit of every system call, SIGKILL there", budget: seconds(120), run: kill::run },
    Layer { name: "images", about: "what a block device may hold after a power cut, on ext4, xfs and btrfs", budget: seconds(120), run: images::run },
    Layer { name: "gateways", about: "hostile gateways", budget: seconds(120), run: gateways::run },
    Layer { name: "machine", about: "two agents, stopped agents, clocks, memory, descriptors, versions", budget: seconds(120), run: machine::run },
    Layer { name: "model", about: "the protocol, in all its states", budget: seconds(90), run: model::run },
    Layer { name: "states", about: "what an abstract file system may hold after a crash, a weak one too", budget: seconds(60), run: states::run },
    Layer { name: "producers", about: "hostile producers, as the same and as another user", budget: seconds(60), run: producers::run },
    Layer { name: "secrets", about: "a token and hostile texts, wherever they could get out", budget: seconds(60), run: secrets::run },
    Layer { name: "conformance", about: "producers of the format, judged by the files they leave", budget: seconds(60), run: conformance::run },
];
