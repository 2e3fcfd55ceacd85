//! The wire: how a delivery reaches a session of an OpenClaw gateway, and how that is proved.
//!
//! Nothing here knows the spool's files. The rooms, from the vocabulary down to the socket:
//!
//! - [`receiver`]: the small trait behind which every gateway sits (connect, look, send, probe), and its words;
//! - [`openclaw`]: that trait for the real gateway;
//! - `classify`: what each answer, error and close code means;
//! - `client`: one connection: requests with deadlines, events, the idle watchdog;
//! - `connect`: challenge, connect, hello-ok;
//! - `identity`: the device key that signs the challenge, and the token the gateway gave for it;
//! - `frame`: the frames of the protocol;
//! - [`secret`]: tokens and passwords, and where they are read from;
//! - `tls` (feature `tls`): one pinned certificate;
//! - `fake` (feature `fake`): a gateway in this process that behaves like the measured one.

#[cfg(feature = "fake")]
pub mod fake;
mod classify;
mod client;
mod connect;
mod frame;
mod identity;
pub mod openclaw;
pub mod receiver;
pub mod secret;
#[cfg(feature = "tls")]
mod tls;
