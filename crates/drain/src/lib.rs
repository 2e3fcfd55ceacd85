//! To be written.

pub mod breaker;
pub mod render;
pub mod retry;
pub mod sanitize;
pub mod watch;
