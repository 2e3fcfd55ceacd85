//! Reports from task runners: `--from NAME` and `--map FILE`.
//!
//! Each runner announces the end of its work in one of five shapes: JSON on standard input, JSON as the last argument,
//! variables of the environment, `key=value` arguments, or arguments by their place. An adapter knows one runner's
//! names for what a record says. What all of them keep true:
//!
//! - the same event makes the same bytes under the same id, so that a hook that fires twice is one record: the id comes
//!   from the runner's own ids, and nothing of the clock goes in. A runner that hands over no id gets a new one each time;
//! - what is not the end of the work (a subagent's stop, a pause for background tasks, an event that is not known here)
//!   is no record;
//! - of the environment only the variables that are named here or in the map are looked at.

mod fields;
mod hooks;
mod id;
mod input;
mod map;
mod report;
mod toml;
mod variables;
mod words;

use std::ffi::OsString;
use std::path::PathBuf;

use spool_pages::put::RUNNERS;
use spooldir::exit;

use crate::Failure;

pub use fields::Env;
pub use id::other as other_id;
pub use report::{Heard, Report, Task};

/// Which adapter, and what it is given.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct From {
    /// The runner; may be left out where the map knows one only.
    pub name: Option<String>,
    pub map: Option<PathBuf>,
    /// The arguments.
    pub words: Vec<OsString>,
    /// Whether what is not the end of the work is reported, too.
    pub all_events: bool,
}

/// Listens to what the runner hands over.
///
/// # Errors
/// A [`Failure`] that says what was expected, and quotes nothing.
pub fn hear(from: &From, env: Env<'_>) -> Result<Heard, Failure> {
    let words: Vec<String> = from.words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    if let Some(path) = &from.map {
        return map::read(path, from.name.as_deref())?.hear(&words, env);
    }
    let name = from.name.as_deref().unwrap_or_default();
    match name {
        "codex" => hooks::hear(&hooks::CODEX, &input::argument(&words)?, from.all_events),
        "systemd" => variables::systemd(env),
        "gha" => variables::gha(env),
        "pueue" => words::pueue(&words),
        "tsp" => words::tsp(&words),
        "aider" => Ok(words::aider()),
        _ => match hooks::tool(name) {
            Some(tool) => hooks::hear(tool, &input::stdin()?, from.all_events),
            None => Err(Failure::new(exit::USAGE, format!("--from must be one of {}", RUNNERS.join(", ")))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_that_the_help_names_is_known() {
        // The tools with hooks are heard on standard input, which a test leaves alone.
        for name in RUNNERS.iter().filter(|name| hooks::tool(name).is_none()) {
            let from = From { name: Some((*name).to_owned()), ..From::default() };
            if let Err(failure) = hear(&from, &|_| None) {
                assert!(!failure.sentence.contains("--from must be one of"), "{name}: {}", failure.sentence);
            }
        }
        let from = From { name: Some("emacs".into()), ..From::default() };
        let failure = hear(&from, &|_| None).err().map(|failure| failure.sentence).unwrap_or_default();
        assert!(failure.starts_with("--from must be one of codex, "), "{failure}");
    }
}
