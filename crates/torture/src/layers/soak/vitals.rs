//! The vitals of the agent, from /proc: memory, descriptors, threads; and whether they stay flat.
//!
//! After a warm-up the rest of the time is cut in two. The medians of the halves are compared, so that the backlog after
//! a restart of the gateway is no alarm, and a leak of a few kilobytes a minute is one over a day.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::layer::{Outcome, Report};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// What the second half may have more: a tenth, and this many kilobytes (an allocator takes memory in pieces).
const SLACK_KB: u64 = 1024;

#[derive(Debug, Clone, Copy)]
struct Sample {
    rss_kb: u64,
    hwm_kb: u64,
    threads: u64,
    descriptors: u64,
}

/// What was seen of a process.
#[derive(Debug)]
pub(super) struct Vitals {
    proc: PathBuf,
    next: Instant,
    samples: Vec<Sample>,
}

impl Vitals {
    pub(super) fn of(pid: u32) -> Vitals {
        Vitals {
            proc: Path::new("/proc").join(pid.to_string()),
            next: Instant::now() + LOOK,
            samples: Vec::new(),
        }
    }

    /// Looks, if it is time. Where there is no /proc there is nothing to see.
    pub(super) fn look(&mut self) -> Outcome<()> {
        if Instant::now() < self.next || !self.proc.exists() {
            return Ok(());
        }
        self.next = Instant::now() + LOOK;
        let status = std::fs::read_to_string(self.proc.join("status"))?;
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        self.samples.push(Sample {
            rss_kb: number("VmRSS:"),
            hwm_kb: number("VmHWM:"),
            threads: number("Threads:"),
            descriptors: std::fs::read_dir(self.proc.join("fd"))?.count() as u64,
        });
        Ok(())
    }

    /// Whether they were flat.
    pub(super) fn judge(&self, report: &mut Report) {
        let seen = self.samples.get(self.samples.len() / 5..).unwrap_or_default();
        report.count("looks at the agent", self.samples.len() as u64);
        let (first, second) = seen.split_at(seen.len() / 2);
        let Some(last) = second.last() else {
            report.fact("the agent was not looked at often enough to say anything");
            return;
        };
        let rss = [first, second].map(|half| median(half, |s| s.rss_kb));
        let hwm = [first, second].map(|half| half.iter().map(|s| s.hwm_kb).max().unwrap_or_default());
        let threads = [first, second].map(|half| median(half, |s| s.threads));
        let descriptors = [first, second].map(|half| median(half, |s| s.descriptors));
        report.fact(format!(
            "the agent, first half and second: {rss:?} KB resident, at most {hwm:?} KB, {threads:?} threads, \
             {descriptors:?} descriptors"
        ));
        let [before, after] = rss;
        report.check(after <= before + before / 10 + SLACK_KB, || {
            format!("the agent's memory grows: {rss:?} KB")
        });
        let [before, after] = hwm;
        // A peak is one moment: the longest outage, wherever it fell.
        report.check(after <= before + before / 4 + 4 * SLACK_KB, || format!("its peak grows: {hwm:?} KB"));
        let [before, after] = threads;
        report.check(after <= before, || format!("the agent's threads grow: {threads:?}"));
        let [before, after] = descriptors;
        report.check(after <= before + 1, || format!("the agent's descriptors grow: {descriptors:?}"));
        report.check(last.descriptors <= before + 16, || {
            format!("the agent ends with {} descriptors, half of the time it had {before}", last.descriptors)
        });
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
