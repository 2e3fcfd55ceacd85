//! Small things that every part of the harness needs: its error, waiting with a deadline, a seeded generator.
//!
//! No wait here is a bare sleep: a condition is polled until it holds or until its deadline has passed, and what
//! was waited for is named in the error. The generator is SplitMix64 (Steele, Lea, Flood 2014): eight lines, so
//! that a printed seed repeats the same kills on any machine.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What can go wrong in the harness is only ever reported, never handled: any error will do.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Polls `ready` every `every` until it gives a value or `limit` has passed.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    every: Duration,
    mut ready: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            return Err(format!("waited {} s for {what}, in vain", limit.as_secs()).into());
        }
        std::thread::sleep(every);
    }
}

/// Like [`wait_for`], for a condition without a value.
pub(crate) fn wait_until(
    what: &str,
    limit: Duration,
    every: Duration,
    mut ready: impl FnMut() -> Outcome<bool>,
) -> Outcome<()> {
    wait_for(what, limit, every, || Ok(ready()?.then_some(())))
}

/// A port of the loopback interface that is free at this moment.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A process, and the environment that it was started with.
pub(crate) struct Carrier {
    pid: Pid,
    environ: Vec<u8>,
}

impl Carrier {
    /// Whether it was started with this `NAME=value`.
    pub(crate) fn has(&self, variable: &str) -> bool {
        self.environ.split(|byte| *byte == 0).any(|part| part == variable.as_bytes())
    }
}

/// Every process with this `NAME=value` in its environment.
pub(crate) fn carriers(variable: &str) -> Outcome<Vec<Carrier>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // A process of somebody else, or one that has just ended, cannot be read: not ours either way.
        let carrier =
            Carrier { pid, environ: std::fs::read(entry.path().join("environ")).unwrap_or_default() };
        if carrier.has(variable) {
            found.push(carrier);
        }
    }
    Ok(found)
}

/// Kills every process with this `NAME=value` in its environment, and waits until none is left.
pub(crate) fn end_carriers(variable: &str) -> Outcome<()> {
    wait_until("the processes of a run to end", Duration::from_secs(10), Duration::from_millis(50), || {
        let left = carriers(variable)?;
        for carrier in &left {
            kill_process(carrier.pid, Signal::KILL).ok();
        }
        Ok(left.is_empty())
    })
}

/// The harness's random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end` (which must not be 0).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A span between the two, in milliseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}

/// The middle of some spans of time; zero when there are none.
pub(crate) fn median(mut spans: Vec<Duration>) -> Duration {
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().unwrap_or_default()
}

/// The last lines of a log, each cut to a bearable length.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    last.iter().map(|line| line.chars().take(300).chain(['\n']).collect::<String>()).collect()
}

/// The marks `<prefix>-<letter>-<digits>` in a text, in order of appearance, each as often as it appears.
///
/// Every record and every chat message of the harness carries one, so that transcript, model and chat can be
/// compared without knowing how a delivery is worded.
pub(crate) fn marks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("rig-") {
        let tail = &rest[at..];
        let bytes = tail.as_bytes();
        let digits = bytes.iter().skip(6).take_while(|b| b.is_ascii_digit()).count();
        if bytes.len() > 6 && bytes[4].is_ascii_lowercase() && bytes[5] == b'-' && digits > 0 {
            found.push(tail[..6 + digits].to_owned());
            rest = &tail[6 + digits..];
        } else {
            rest = &tail[4..];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_any_wording() {
        let text = "[x] rig-b-0001, `rig-b-0002`; rig-, rig-b-, rig-é rig-b-0001.json";
        assert_eq!(marks(text), ["rig-b-0001", "rig-b-0002", "rig-b-0001"]);
    }

    #[test]
    fn a_seed_repeats() {
        let take = |mut r: Random| (0..4).map(|_| r.below(1000)).collect::<Vec<_>>();
        assert_eq!(take(Random::new(7)), take(Random::new(7)));
        assert_ne!(take(Random::new(7)), take(Random::new(8)));
    }
}
