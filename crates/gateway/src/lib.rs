//! The wire: how a delivery reaches a session of an OpenClaw gateway, and how that is proved.
//!
//! Nothing here knows the spool's files. The rooms, from the vocabulary down to the socket:
//!
//! - [`receiver`]: the small trait behind which every gateway sits (connect, look, send, probe), and its words;
//! - [`openclaw`]: that trait for the real gateway;
//! - `classify`: what each answer, error and close code means;
//! - `client`: a handle to one connection: requests with deadlines, events;
//! - `driver`: the task behind it: the socket, who waits for what, the idle watchdog;
//! - `connect`, `handshake`: the ways to introduce ourselves; challenge and hello-ok;
//! - `socket`, `config`: the limits of the socket, the rules for addresses;
//! - `identity`: the device key that signs the challenge, and the token the gateway gave for it;
//! - `frame`: the frames of the protocol;
//! - [`secret`]: tokens and passwords, and where they are read from;
//! - `tls` (feature `tls`): one pinned certificate;
//! - `fake` (feature `fake`): a gateway in this process that behaves like the measured one.

mod classify;
mod client;
mod config;
mod connect;
mod driver;
#[cfg(feature = "fake")]
pub mod fake;
mod frame;
mod handshake;
mod identity;
pub mod openclaw;
pub mod receiver;
pub mod secret;
mod socket;
#[cfg(test)]
mod testpeer;
#[cfg(feature = "tls")]
mod tls;
