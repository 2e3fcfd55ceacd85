//! `spool status`: how the spool and its agent are, for a person, a script or a monitor.
//!
//! Exit 0: all is well. 1: something wants attention, and each thing is said in a sentence. 3: no agent is running,
//! whatever else is the matter. Whether one is running is asked of the kernel's lock, never of a process number; what
//! the agent wrote of itself (`agent.json`) is only shown while one runs.
//!
//! The rooms: [`report`] gathers, [`day`] is what the journal says of the last day; then one room for each form:
//! [`screen`] for people, [`html`] for a browser, [`metrics`] and [`check`] for monitors. [`serve`] offers the metrics
//! to those who come for them. With `--html`, and with `--metrics`, the exit number says only whether that was written.

mod check;
pub mod day;
mod html;
mod metrics;
mod output;
pub mod report;
mod screen;
pub mod serve;

use std::io::Write;

use spooldir::exit;

use crate::Failure;
use crate::args::Args;
use crate::terminal::Terminal;
use report::Report;

pub use report::{LITTLE_ROOM, OLD_STATUS};

/// Tells how the spool and its agent are.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let made = crate::open(args).and_then(|s| Report::make(&s));
    if args.check {
        let (line, code) = check::line(made.as_ref());
        writeln!(out, "{line}")?;
        return Ok(code);
    }
    let report = made?;
    let problems = report.problems();
    if let Some(file) = &args.html {
        output::write(file, &html::page(&report, &problems), out)?;
        return Ok(exit::OK);
    }
    if let Some(file) = &args.metrics {
        output::write(file.as_ref(), &metrics::text(&report), out)?;
        return Ok(exit::OK);
    }
    if args.json {
        writeln!(out, "{:#}", report.as_json(&problems)?)?;
    } else {
        screen::tell(&report, &problems, &Terminal::of_stdout(), out)?;
    }
    Ok(report.health(&problems).exit())
}
