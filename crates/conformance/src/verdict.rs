//! What a rule found, and how it is said.
//!
//! A rule stops at the first thing that is wrong ([`Stop::Fail`]), when it cannot be tried here ([`Stop::NotTried`]), or
//! when the kit itself cannot do its work ([`Stop::Trouble`]), which is nobody's failure and ends the judgement.

use std::fmt;
use std::io;

use crate::rules::Rule;

/// What goes wrong with the kit itself is only ever reported: any error will do.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// How a rule ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; with a remark for the reader, or none.
    Pass(String),
    /// It does not, and this is what was seen.
    Fail(String),
    /// It could not be tried, for this reason.
    NotTried(String),
}

/// A rule and its verdict.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How it ended.
    pub verdict: Verdict,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { name, section, says, .. } = self.rule;
        let (word, why) = match &self.verdict {
            Verdict::Pass(remark) => ("pass", remark),
            Verdict::Fail(reason) => ("FAIL", reason),
            Verdict::NotTried(reason) => ("not tried", reason),
        };
        write!(f, "{word:<9}  {name:<12}  {section:<8}  {says}")?;
        if why.is_empty() { Ok(()) } else { write!(f, "\n{:36}{why}", "") }
    }
}

/// All that is said of a producer.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// One for each rule, in their order.
    pub findings: Vec<Finding>,
    /// How often the producer was started.
    pub runs: u64,
    /// How often it was killed.
    pub kills: u64,
}

impl Judgement {
    /// The names of the rules that it fails.
    pub fn failed(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Fail(_)))
    }

    /// The names of the rules that it passes.
    pub fn passed(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::Pass(_)))
    }

    /// The names of the rules that were not tried.
    pub fn not_tried(&self) -> Vec<&'static str> {
        self.named(|verdict| matches!(verdict, Verdict::NotTried(_)))
    }

    fn named(&self, wanted: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.findings.iter().filter(|f| wanted(&f.verdict)).map(|f| f.rule.name).collect()
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "{} rules: {} passed, {} failed, {} not tried; the producer was run {} times and killed {} times",
            self.findings.len(),
            self.passed().len(),
            self.failed().len(),
            self.not_tried().len(),
            self.runs,
            self.kills
        )
    }
}

/// Why a rule does not go on.
#[derive(Debug)]
pub enum Stop {
    /// The rule is broken.
    Fail(String),
    /// It cannot be tried.
    NotTried(String),
    /// The kit cannot do its work.
    Trouble(Trouble),
}

/// What a rule gives: a remark, which may be empty, or why it stopped.
pub type Outcome = Result<String, Stop>;

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Trouble(error.into())
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Stop {
        io::Error::from(error).into()
    }
}

impl From<spooldir::Error> for Stop {
    fn from(error: spooldir::Error) -> Stop {
        Stop::Trouble(error.into())
    }
}

/// The rule is broken, unless `holds`.
pub(crate) fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Stop::Fail(what())) }
}

impl Stop {
    /// The same, with what it was about before it.
    pub(crate) fn with(self, about: &str) -> Stop {
        match self {
            Stop::Fail(reason) => Stop::Fail(format!("{about}: {reason}")),
            other => other,
        }
    }
}
