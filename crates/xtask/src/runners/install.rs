//! Exact versions of the two runners, from npm, each in a directory of its own under `target/runners/`.
//!
//! What the hooks hand over is a statement about a version, so versions are pinned here and nowhere else. Both
//! packages are small scripts around a native program that comes as a package for the platform; the native programs
//! are run directly, so that install scripts need not run and no other process stands between harness and runner.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::openclaw::install::fetch;
use crate::openclaw::support::Outcome;

/// A package, and the native program in it.
#[derive(Debug)]
pub(crate) struct Package {
    /// The name of the program, too.
    pub(crate) name: &'static str,
    package: &'static str,
    pub(crate) version: &'static str,
    program: &'static str,
}

pub(crate) const CODEX: Package = Package {
    name: "codex",
    package: "@openai/codex",
    version: "0.169.0",
    program: "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
};

pub(crate) const CLAUDE: Package = Package {
    name: "claude",
    package: "@anthropic-ai/claude-code",
    version: "2.1.330",
    program: "@anthropic-ai/claude-code-linux-x64/claude",
};

/// The directory of installations and runs.
pub(crate) fn room() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/runners")
}

impl Package {
    /// Installs it, unless it is there; gives the path of its program.
    pub(crate) fn install(&self) -> Outcome<PathBuf> {
        let dir = room().canonicalize()?.join(format!("{}-{}", self.name, self.version));
        let program = dir.join("node_modules").join(self.program);
        let manifest = json!({"name": "rig", "private": true, "dependencies": {self.package: self.version}});
        fetch(&dir, &manifest.to_string(), &[&program], || {
            println!("installing {} {} into {}", self.package, self.version, dir.display());
            Ok(())
        })?;
        Ok(program)
    }
}
