//! The agent's loop on a real directory against a gateway that behaves like the measured one.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure that should be seen")]

mod delivery;
mod floods;
mod others;
mod records;
mod replaced;
mod runs;
mod support;
mod trouble;
