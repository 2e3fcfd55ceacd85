//! What an adapter makes of an announcement, before it is a record.

use serde::Serialize;
use spooldir::Id;
use spooldir::record::Status;

/// What an announcement came to.
#[derive(Debug)]
pub enum Heard {
    /// The work ended.
    Report(Box<Report>),
    /// Not the end of the work.
    Nothing,
}

/// What a runner said about the end of its work.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    /// Made of the runner's own ids; `None` when it hands over nothing that is unique.
    pub id: Option<Id>,
    pub status: Option<Status>,
    pub label: Option<String>,
    pub text: Option<String>,
    /// Where the whole output is.
    pub output: Option<String>,
    pub task: Task,
}

/// The member `task` of the record.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub runner: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
}

impl Report {
    /// An empty report of a runner.
    pub fn of(runner: &str) -> Report {
        Report { task: Task { runner: runner.to_owned(), ..Task::default() }, ..Report::default() }
    }

    /// Names it after the runner and the directory it worked in, which is what people know it by.
    pub fn in_directory(mut self, cwd: Option<String>) -> Report {
        let name = cwd.as_deref().and_then(|cwd| cwd.rsplit('/').find(|part| !part.is_empty()));
        let runner = &self.task.runner;
        self.label = Some(name.map_or_else(|| runner.clone(), |name| format!("{runner} in {name}")));
        self.task.cwd = cwd;
        self
    }
}

impl std::convert::From<Report> for Heard {
    fn from(report: Report) -> Heard {
        Heard::Report(Box::new(report))
    }
}
