//! What a layer is: a way to hurt the programs, the budget it has in CI, and the report it makes.
//!
//! A layer runs in a process of its own. Without a seeded bug it must find nothing; with one ([`Ground::bug`]) it runs
//! a small part of itself, as soon as possible to where that bug can be seen, and should find something.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ground::Ground;

/// What goes wrong with the torture itself is only ever reported: any error will do.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// One way to hurt.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What it may take in CI, on two cores; [`Ground::budget`] is this or what `--time` says.
    pub(crate) budget: Duration,
    /// Runs it, whole or, with a seeded bug, in part. An error is a layer that could not do its work.
    pub(crate) run: fn(&Ground) -> Outcome<Report>,
}

/// What a layer did and found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: BTreeMap<String, u64>,
    facts: Vec<String>,
    violations: Vec<String>,
    violated: u64,
}

/// How many violations are kept with their words; all are counted.
const KEPT: usize = 20;

impl Report {
    /// Adds to a count, for example `points` or `kills`.
    pub(crate) fn count(&mut self, what: &str, n: u64) {
        *self.counts.entry(what.to_owned()).or_default() += n;
    }

    /// What was counted so far.
    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// A line of prose for the reader: a figure that is not a count, or what could not be done and why.
    pub(crate) fn fact(&mut self, fact: impl Into<String>) {
        self.facts.push(fact.into());
    }

    /// A promise was broken: where and how.
    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        self.violated += 1;
        if self.violations.len() < KEPT {
            self.violations.push(what.into());
        }
    }

    /// Counts a check, and a violation when it does not hold.
    pub(crate) fn check(&mut self, holds: bool, what: impl FnOnce() -> String) -> bool {
        self.count("checks", 1);
        if !holds {
            self.violation(what());
        }
        holds
    }

    /// A failure of the layer itself unless at least `least` of `what` were counted: a run that did nothing proves nothing.
    pub(crate) fn at_least(&mut self, what: &str, least: u64) {
        let seen = self.counted(what);
        if seen < least {
            self.violation(format!("only {seen} {what}, at least {least} were to be done"));
        }
    }

    /// Takes over what another report says.
    pub(crate) fn absorb(&mut self, other: Report) {
        for (what, n) in other.counts {
            self.count(&what, n);
        }
        self.facts.extend(other.facts);
        self.violated += other.violated;
        let room = KEPT.saturating_sub(self.violations.len());
        self.violations.extend(other.violations.into_iter().take(room));
    }

    /// How many promises were broken.
    pub(crate) fn violated(&self) -> u64 {
        self.violated
    }

    /// Prints it, each line after the layer's name.
    pub(crate) fn print(&self, layer: &str, seed: u64, took: Duration) {
        for fact in &self.facts {
            println!("{layer}: {fact}");
        }
        for violation in &self.violations {
            println!("{layer}: VIOLATION: {violation}");
        }
        let counts: Vec<String> = self.counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
        println!(
            "{layer}: {}, {} violations, seed {seed}, {:.1} s",
            counts.join(", "),
            self.violated,
            took.as_secs_f64()
        );
    }
}
