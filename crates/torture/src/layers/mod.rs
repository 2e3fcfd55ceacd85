//! The layers, the longest first: they run side by side.

mod conformance;
mod disk;
mod errors;
mod fuzz;
mod gateways;
mod images;
mod kill;
mod machine;
mod model;
mod parts;
mod power;
mod producers;
mod random;
mod rig;
mod scenes;
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
    Layer { name: "soak", about: "ten minutes of ordinary work, flat", budget: seconds(660), run: soak::run },
    Layer { name: "power", about: "the power cut at every system call, on ext4 and xfs", budget: seconds(150), run: power::run },
    Layer { name: "images", about: "what a disk may hold after a crash, on ext4, xfs and btrfs", budget: seconds(110), run: images::run },
    Layer { name: "random", about: "producers, agents and gateways killed at random", budget: seconds(200), run: random::run },
    Layer { name: "fuzz", about: "whatever reads what others wrote, fed with anything at all", budget: seconds(100), run: fuzz::run },
    Layer { name: "producers", about: "hostile producers, as the same and as another user", budget: seconds(70), run: producers::run },
    Layer { name: "gateways", about: "hostile gateways: every script at its moments", budget: seconds(100), run: gateways::run },
    Layer { name: "kill", about: "SIGKILL before and after every system call", budget: seconds(110), run: kill::run },
    Layer { name: "machine", about: "two agents, stopped agents, clocks, memory, descriptors, disks, versions", budget: seconds(100), run: machine::run },
    Layer { name: "conformance", about: "producers in five languages and careless ones, judged by the conformance kit", budget: seconds(60), run: conformance::run },
    Layer { name: "model", about: "the protocol in all its states, and traces of it on the real programs", budget: seconds(100), run: model::run },
    Layer { name: "states", about: "what an abstract disk may hold after a crash, a weak one too", budget: seconds(60), run: states::run },
    Layer { name: "secrets", about: "a token and hostile texts, wherever they could get out", budget: seconds(50), run: secrets::run },
    Layer { name: "errors", about: "every call about the spool fails, falls short, or finds the disk full", budget: seconds(110), run: errors::run },
];
