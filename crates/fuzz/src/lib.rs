//! Everything in the spool that reads what others wrote, as functions over bytes.
//!
//! A target takes any bytes at all and panics when what it feeds breaks a promise: not only when that panics itself,
//! but when a text for a session could be taken for a command, when a name reads back as another, when two readers of
//! one language disagree. The promises are written down here a second time, without the product's own helpers (its own
//! list of hidden characters, its own table of transitions), so that a mistake would have to be made twice.
//!
//! Three drive them: libFuzzer (`main.rs`), the torture in its own process (with the seeded bugs alive), and a test
//! that replays the corpus. Modules of the programs are read in place, for they belong to no library.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

mod adapt;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/args.rs"]
mod args;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/compose.rs"]
mod compose;
mod feed;
mod from;
pub mod mutate;
#[allow(dead_code, reason = "a part of spool")]
#[path = "../../spool/openclaw_config.rs"]
mod openclaw_config;
mod promises;
mod targets;
#[allow(dead_code, reason = "a part of spool-put")]
#[path = "../../put/text.rs"]
mod text;

pub use targets::TARGETS;

/// Why `spool-put` queues nothing; its modules ask for this at the root of their crate.
#[derive(Debug)]
struct Failure {
    #[allow(dead_code, reason = "a part of spool-put")]
    exit: u8,
    sentence: String,
}

impl Failure {
    fn new(exit: u8, sentence: impl Into<String>) -> Failure {
        Failure { exit, sentence: sentence.into() }
    }
}

impl From<spooldir::Error> for Failure {
    fn from(error: spooldir::Error) -> Failure {
        Failure::new(error.exit(), error.to_string())
    }
}

/// Something to feed.
pub struct Target {
    /// Its name: of its corpus, too.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// The most bytes that are worth feeding at once.
    pub max_len: usize,
    /// Feeds it; panics when a promise is broken.
    pub run: fn(&[u8]),
}

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Where its corpus is kept.
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

static ROOM: OnceLock<PathBuf> = OnceLock::new();

/// Says where targets that need files may put them, before the first one runs. It is not cleared away here.
pub fn set_room(dir: &Path) {
    ROOM.get_or_init(|| dir.to_owned());
}

/// Where files may be put: what was said, else `SPOOL_FUZZ_ROOM`.
fn room() -> &'static Path {
    ROOM.get_or_init(|| match std::env::var_os("SPOOL_FUZZ_ROOM") {
        Some(dir) => dir.into(),
        None => std::env::temp_dir().join(format!("spool-fuzz-{}", std::process::id())),
    })
}
