//! A gateway in this process that behaves like the measured one.
//!
//! It is a real WebSocket server on the loopback, so the real client is always the one exercised: by
//! `spool demo`, by the agent's tests, and by the end-to-end tests that run the real binaries against it.
//! What it keeps true:
//!
//! - it knows no more and promises no more than the measured gateway: what that one holds in memory only, this
//!   one loses at a [`Fake::kill`]; what that one refuses, this one refuses in the same words;
//! - without a script it is deterministic: a turn commits after ten milliseconds, ends after twenty, and echoes
//!   what it was told to the session's route;
//! - with a script ([`Rule`], [`Fault`]) it misbehaves at the named request and nowhere else;
//! - everything it did can be asked afterwards: transcripts, what each chat got, every request.
//!
//! ```
//! use std::time::Duration;
//! use spool_gateway::fake::{At, Fault, FakeThread, Options, Rule};
//!
//! let fake = FakeThread::start(Options::with_token("secret"))?;
//! fake.add_chat("agent:main:job", 77001);
//! // The first delivery is accepted, and then the gateway dies and comes back.
//! fake.rule(Rule::on("agent").then(Fault::Crash(At::Accepted, Some(Duration::from_millis(50)))));
//! println!("point the agent at {}", fake.url());
//! if fake.until(Duration::from_millis(1), |f| f.commits_containing("job 17") > 0) {
//!     let told = fake.chat_messages("telegram", "telegram:77001");
//!     assert_eq!(told.len(), fake.transcript("agent:main:job").len() / 2);
//! }
//! fake.kill();
//! fake.restart()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The rooms: `world` (what survives a restart) and `views` (how the wire sees it), `memory` (what does not
//! survive), `script` (faults), `handshake`, `params`, `methods`, `admit`, `turns` and `outbox` (the verbs), `conn`
//! and `server` (sockets), `inspect` (questions), `thread` (the same for callers without a runtime).

mod admit;
mod conn;
pub mod errors;
mod handshake;
mod inspect;
mod memory;
mod methods;
mod options;
mod outbox;
mod params;
mod script;
mod server;
#[cfg(test)]
mod tests;
mod thread;
mod turns;
mod views;
mod world;

pub use inspect::{Peak, Request};
pub use options::{Channel, Model, Options, Phase};
pub use script::{At, Fault, Rule};
pub use server::Fake;
pub use thread::FakeThread;
pub use world::{ChatMessage, Pending, PendingState, Role, Row, Told};
