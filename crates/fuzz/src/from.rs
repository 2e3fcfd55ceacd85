//! The adapters of `spool-put --from`, and the few names that they and their neighbours look for in this place.

use std::ffi::OsString;
use std::path::PathBuf;

#[path = "../../put/from/fields.rs"]
mod fields;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/from/hooks.rs"]
pub mod hooks;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/from/id.rs"]
pub mod id;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/from/input.rs"]
pub mod input;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/from/map.rs"]
pub mod map;
#[path = "../../put/from/report.rs"]
mod report;
#[path = "../../put/from/toml.rs"]
pub mod toml;
#[path = "../../put/from/variables.rs"]
pub mod variables;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/from/words.rs"]
pub mod words;

pub use fields::Env;
pub use report::{Heard, Report, Task};

/// As in `spool-put`: which adapter, and what it is given.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct From {
    pub name: Option<String>,
    pub map: Option<PathBuf>,
    pub words: Vec<OsString>,
    pub all_events: bool,
}
