//! A target, what was reached, and the limit that CI holds it to.
//!
//! What is aimed at is a statement about a quiet machine and many rounds; it is reported. A limit is so wide that only a
//! change of the program can break it, never the load of the machine; it fails the run. For a count both are the same.

use serde::{Deserialize, Serialize};

use crate::report::number;

/// Where a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aim {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// This and nothing else: a count.
    Exactly(f64),
}

impl Aim {
    /// Whether a figure is there.
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Aim::AtMost(most) => figure <= most,
            Aim::AtLeast(least) => figure >= least,
            Aim::Exactly(count) => figure == count,
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aim::AtMost(most) => write!(f, "≤ {}", number(*most)),
            Aim::AtLeast(least) => write!(f, "≥ {}", number(*least)),
            Aim::Exactly(count) => write!(f, "{}", number(*count)),
        }
    }
}

/// A target and what was reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What of, with its unit: `spool-put / floor`.
    pub name: String,
    /// What is aimed at.
    pub aimed: Aim,
    /// What it came to.
    pub reached: f64,
    /// What CI fails on; `None` when only the report judges it.
    pub limit: Option<Aim>,
    /// What bounds it, where it is missed, or what is to be known to read it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
}

impl Check {
    /// A figure that only the report judges.
    pub fn new(name: impl Into<String>, aimed: Aim, reached: f64) -> Check {
        Check { name: name.into(), aimed, reached, limit: None, because: String::new() }
    }

    /// A count that must be exactly this, in CI too.
    pub fn count(name: impl Into<String>, count: u64, reached: u64) -> Check {
        let aimed = Aim::Exactly(count as f64);
        Check { limit: Some(aimed), ..Check::new(name, aimed, reached as f64) }
    }

    /// What CI fails on.
    pub fn limit(mut self, limit: Aim) -> Check {
        self.limit = Some(limit);
        self
    }

    /// What bounds it.
    pub fn because(mut self, because: impl Into<String>) -> Check {
        self.because = because.into();
        self
    }

    /// Whether it is where it should be.
    pub fn is_reached(&self) -> bool {
        self.aimed.holds(self.reached)
    }

    /// Whether it is outside of the limit.
    pub fn is_broken(&self) -> bool {
        self.limit.is_some_and(|limit| !limit.holds(self.reached))
    }

    /// In a word.
    pub fn verdict(&self) -> &'static str {
        match (self.is_broken(), self.is_reached()) {
            (true, _) => "BROKEN",
            (false, true) => "reached",
            (false, false) => "missed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_aim_is_said_and_a_limit_is_a_failure() {
        let check = |reached| Check::new("a / b", Aim::AtMost(1.1), reached).limit(Aim::AtMost(2.0));
        assert_eq!(check(1.1).verdict(), "reached");
        assert_eq!(check(1.2).verdict(), "missed");
        assert!(!check(1.2).is_broken());
        assert_eq!(check(2.1).verdict(), "BROKEN");
        assert_eq!(check(f64::NAN).verdict(), "BROKEN");
        assert!(Check::count("flushes", 2, 3).is_broken());
        assert!(!Check::count("flushes", 2, 2).is_broken());
    }
}
