//! What the product costs: measured against the floor under it and against its peers, in interleaved rounds.
//!
//! A machine that also does other things makes any absolute time worthless, so nothing here is judged by one. What
//! counts are *ratios* between contestants of the same rounds, and *counts* of system calls. The rooms:
//!
//! - [`rounds`]: contestants take turns, in another order each round; medians, percentiles, ratios paired by round;
//! - [`place`]: where files are written, so that no measurement suffers from what an earlier one left or removed;
//! - [`counts`]: system calls of a program, counted and listed from outside by `strace`;
//! - [`checks`]: a target, what was reached, and the wide limit that CI holds it to;
//! - [`report`]: tables, findings of a chapter, their JSON; [`plot`]: SVG plots; [`docs`]: `docs/performance.md`;
//! - [`bench`](mod@bench): what a chapter is given; [`command`]: the command line;
//! - [`lean`]: a receiver that does no work; [`roles`]: the agent, and what it is compared with, as processes;
//! - [`chapters`]: what is measured, as data.
//!
//! # Adding a chapter
//! Write `chapters/NAME.rs` with `pub const CHAPTER: Chapter = Chapter { name, about, run }` and name it in
//! [`chapters::ALL`]. `run` is given a [`Bench`] and gives [`Findings`]: sentences, tables, plots and checks.
//!
//! ```no_run
//! use spool_bench::{Aim, Bench, Check, Contest, Effort, Findings, Outcome, Table, timed};
//!
//! fn run(bench: &Bench) -> Outcome<Findings> {
//!     let mut findings = Findings::default();
//!     let mut contest = Contest::new();
//!     contest.enter("floor", |_round| timed(20, |_n| Ok(())));
//!     contest.enter("product", |_round| timed(20, |_n| Ok(())));
//!     // So many rounds, but (after the third) none begins when the time is up.
//!     let rounds = contest.run(Effort::of(bench, 40, 10), bench.chance("example"))?;
//!     findings.table(rounds.table("example", "What it costs", "floor")?);
//!     let ratio = rounds.cost_ratio("product", "floor")?;
//!     // Aimed at in the report; the wide limit is what CI fails on.
//!     findings.check(Check::new("product / floor", Aim::AtMost(1.10), ratio.median).limit(Aim::AtMost(2.0)));
//!     Ok(findings)
//! }
//! ```
//!
//! In its quick form ([`Bench::quick`]) a chapter takes few rounds, writes nothing into `docs`, and only what has a limit
//! is judged: counts, which do not depend on the load, and ratios, widely. A chapter that checked nothing has failed.
//! A chapter must not remove what it wrote (see [`place`]), must not sleep instead of waiting for something, and must put
//! a deadline on every wait.

pub mod bench;
pub mod chapters;
pub mod checks;
pub mod command;
pub mod counts;
pub mod docs;
pub mod lean;
pub mod place;
pub mod plot;
pub mod report;
pub mod roles;
pub mod rounds;

pub use bench::{Bench, Chance, Outcome};
pub use checks::{Aim, Check};
pub use counts::Counts;
pub use plot::{Axis, Bars, Lines, Plot, Series};
pub use report::{Chapter, Findings, Table};
pub use rounds::{Contest, Effort, Rounds, Sample, Spread, timed};
