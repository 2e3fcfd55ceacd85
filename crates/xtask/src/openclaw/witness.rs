//! The independent witness: what is in the gateway's database, read from its files without asking the gateway.
//!
//! The database keeps every row ever committed, also those before a reset of the session, which the gateway's own
//! history no longer shows. So "committed twice" is decided here. Reading is done by the gateway's own Node, whose
//! SQLite is the one that wrote the file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::install::Install;
use super::support::{Outcome, marks};

const SCRIPT: &str = include_str!("witness.mjs");

/// One message of a transcript.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) session: String,
    pub(crate) role: String,
    /// The idempotency key, empty when there is none.
    pub(crate) key: String,
    pub(crate) text: String,
}

impl Row {
    /// Whether this row is a delivery of the agent's: the user's side of a turn, under a key of its making.
    /// A gateway of protocol 3 stores no keys; there the text has to do.
    pub(crate) fn is_delivery(&self) -> bool {
        self.role == "user"
            && (self.key.starts_with("sp-") || (self.key.is_empty() && self.text.contains("sp-")))
    }
}

/// Where to look.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    node: PathBuf,
    script: PathBuf,
    state: PathBuf,
}

impl Witness {
    pub(crate) fn new(install: &Install, dir: &Path) -> Outcome<Witness> {
        let script = dir.join("witness.mjs");
        std::fs::write(&script, SCRIPT)?;
        Ok(Witness { node: install.node.clone(), script, state: dir.join("state") })
    }

    fn run(&self, verb: &str) -> Outcome<String> {
        let ran = Command::new(&self.node)
            .args(["--no-warnings".as_ref(), self.script.as_os_str(), verb.as_ref(), self.state.as_os_str()])
            .env_clear()
            .stdin(Stdio::null())
            .output()?;
        if !ran.status.success() {
            let why = String::from_utf8_lossy(&ran.stderr);
            return Err(format!("cannot read the gateway's database ({verb}): {why}").into());
        }
        Ok(String::from_utf8(ran.stdout)?)
    }

    /// Forgets unclean boots, so that the gateway starts its channels again. It must be down.
    pub(crate) fn mend(&self) -> Outcome<()> {
        self.run("mend").map(drop)
    }

    /// Every message of every session, in order within a session.
    pub(crate) fn rows(&self) -> Outcome<Vec<Row>> {
        let mut rows = Vec::new();
        for line in self.run("rows")?.lines() {
            let row: Value = serde_json::from_str(line)?;
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            rows.push(Row {
                session: text("session"),
                role: text("role"),
                key: text("key"),
                text: text_of(&row["content"]),
            });
        }
        Ok(rows)
    }

    /// The deliveries that name `mark`.
    pub(crate) fn deliveries(&self, mark: &str) -> Outcome<Vec<Row>> {
        let rows = self.rows()?;
        Ok(rows
            .into_iter()
            .filter(|row| row.is_delivery() && marks(&row.text).iter().any(|m| m == mark))
            .collect())
    }
}

/// The text of a message's content, which is text or a list of parts.
pub(crate) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}
