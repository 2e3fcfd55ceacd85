//! The edits of `spool adapt`, and the reason they give in this place for leaving a file alone.

#[allow(dead_code, reason = "a part of spool")]
#[path = "../../spool/adapt/command.rs"]
pub mod command;
#[allow(dead_code, reason = "a part of spool")]
#[path = "../../spool/adapt/json.rs"]
pub mod json;
#[allow(dead_code, reason = "a part of spool")]
#[path = "../../spool/adapt/toml.rs"]
pub mod toml;

/// As in `spool adapt`.
#[allow(dead_code, reason = "a part of spool")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    NotParsed(&'static str, String),
    Shape(&'static str),
    Taken,
}
