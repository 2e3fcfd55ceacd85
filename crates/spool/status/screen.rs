//! The screen for people: read in two seconds, from the word at the top to the one thing to do at the end.
//!
//! What a record or the gateway says is stripped of all that a terminal would obey. Lines are wrapped for a terminal
//! and left whole for everybody else.

use std::io::Write;

use super::report::{Grade, Health, Problem, Report};
use crate::Failure;
use crate::lane::{Lane, gist_of_reason, next_in_words};
use crate::terminal::Terminal;
use crate::view::brief;
use crate::when;

/// How many lanes in trouble are named.
const MAX_LANES: usize = 5;
/// Where the words begin.
const INDENT: usize = 10;

const RED: &str = "1;31";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const FAINT: &str = "2";
const BOLD: &str = "1";

/// Prints it.
///
/// # Errors
/// Those of writing.
pub fn tell(
    report: &Report,
    problems: &[Problem],
    terminal: &Terminal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut out = Rows { terminal, out };
    let (colour, words) = health(report.health(problems), problems);
    out.say("health", colour, &words)?;
    out.say("spool", "", &report.root.display().to_string())?;
    out.say("agent", if report.is_running { "" } else { RED }, &agent(report))?;
    if let Some((colour, words)) = gateway(report) {
        out.say("gateway", colour, &words)?;
    }
    let (heads, numbers) = counts(report, terminal);
    out.say("entries", "", &heads)?;
    writeln!(out.out, "{:INDENT$}{numbers}", "")?;
    if let Some(age) = report.oldest_pending_ms {
        out.say("oldest", "", &format!("pending for {}", when::length(age)))?;
    }
    if report.runs != crate::runs::Count::default() {
        let (running, over) = (report.runs.running, report.runs.over);
        out.say("jobs", "", &format!("{running} running, {over} over and not reported yet"))?;
    }
    out.say("last 24 h", "", &day(report))?;
    if let Some(words) = disk(report) {
        out.say("disk", "", &words)?;
    }
    for lane in report.troubled().take(MAX_LANES) {
        out.say("lane", YELLOW, &in_trouble(lane, report.now_ms))?;
    }
    let more = report.troubled().count().saturating_sub(MAX_LANES);
    if more > 0 {
        out.say("", "", &format!("and {more} lanes more in trouble"))?;
    }
    for problem in problems {
        let colour = if problem.grade == Grade::Critical { RED } else { YELLOW };
        out.say("problem", colour, &problem.what)?;
    }
    let next = problems.first().map_or("nothing", |problem| problem.todo.as_str());
    out.say("next", BOLD, next)
}

/// Lines with a name in front.
struct Rows<'a> {
    terminal: &'a Terminal,
    out: &'a mut dyn Write,
}

impl Rows<'_> {
    fn say(&mut self, name: &str, colour: &str, text: &str) -> Result<(), Failure> {
        for (n, line) in wrap(text, self.terminal.width).into_iter().enumerate() {
            let name = if n == 0 { name } else { "" };
            let line = if colour.is_empty() { line } else { self.terminal.paint(colour, &line) };
            writeln!(self.out, "{name:<INDENT$}{line}")?;
        }
        Ok(())
    }
}

fn health(health: Health, problems: &[Problem]) -> (&'static str, String) {
    let n = match problems.len() {
        1 => "one thing wants".to_owned(),
        n => format!("{n} things want"),
    };
    match health {
        Health::Healthy => (GREEN, "healthy".to_owned()),
        Health::Degraded => (YELLOW, format!("DEGRADED: {n} attention")),
        Health::NoAgent => (RED, "NO AGENT: records are kept, none are delivered".to_owned()),
    }
}

fn agent(report: &Report) -> String {
    let Some(agent) = &report.agent else {
        return if report.is_running { "running" } else { "not running" }.to_owned();
    };
    let since = when::age(agent.started_at, report.now_ms);
    let mut words = format!("running for {since} (process {}), {} in flight", agent.pid, agent.in_flight);
    if agent.watch != "native" {
        words.push_str(", polling: ");
        words.push_str(&brief(&agent.watch, 200));
    }
    words
}

fn gateway(report: &Report) -> Option<(&'static str, String)> {
    let gateway = &report.agent.as_ref()?.gateway;
    let since = when::age(gateway.since, report.now_ms);
    let colour = match gateway.state.as_str() {
        "up" => "",
        "connecting" => YELLOW,
        _ => RED,
    };
    let state = if colour == RED { gateway.state.to_uppercase() } else { gateway.state.clone() };
    let mut words = format!("{} for {since}", brief(&state, 20));
    if let (Some(version), Some(protocol)) = (&gateway.version, gateway.protocol) {
        words.push_str(&format!(", version {}, protocol {protocol}", brief(version, 40)));
    }
    if let Some(at) = gateway.next_try {
        words.push_str(&format!(", next try {}", next_in_words(at, report.now_ms)));
    }
    Some((colour, words))
}

/// The heads and numbers of the states, each number beneath its word.
fn counts(report: &Report, terminal: &Terminal) -> (String, String) {
    let (mut heads, mut numbers) = (String::new(), String::new());
    for (word, n) in &report.counts {
        let number = n.to_string();
        let width = word.len().max(number.len());
        heads.push_str(&format!("{word:>width$}  "));
        let number = format!("{number:>width$}");
        let colour = match (*word, n) {
            (_, 0) => FAINT,
            ("dead", _) => RED,
            ("held" | "deferred", _) => YELLOW,
            _ => BOLD,
        };
        numbers.push_str(&terminal.paint(colour, &number));
        numbers.push_str("  ");
    }
    (heads.trim_end().to_owned(), numbers.trim_end().to_owned())
}

fn day(report: &Report) -> String {
    let sum = report.day.sum();
    let least = if report.day.is_cut { "at least " } else { "" };
    let (delivered, failed, died) = (sum.delivered, sum.failed, sum.died);
    format!("{}  {least}{delivered} delivered, {failed} tries failed, {died} died", report.day.sparkline())
}

fn disk(report: &Report) -> Option<String> {
    let free = bytes(report.free?);
    Some(match report.disk {
        Some(disk) => format!("{free} free of {}", bytes(disk)),
        None => format!("{free} free"),
    })
}

/// A number of bytes in the unit that tells something.
pub fn bytes(n: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(size, _)| n >= *size * 10) {
        Some((size, unit)) => format!("{} {unit}", n / size),
        None => format!("{n} bytes"),
    }
}

/// A lane in trouble in a line.
pub fn in_trouble(lane: &Lane, now_ms: u64) -> String {
    let session = lane.session.as_deref().map_or("(no session)".to_owned(), |key| brief(key, 80));
    let mut words = format!("{session}: {}", lane.in_words());
    if let Some(at) = lane.next_try {
        words.push_str(&format!(", next try {}", next_in_words(at, now_ms)));
    }
    if let Some(reason) = &lane.reason {
        let gist = gist_of_reason(reason, lane.session.as_deref());
        words.push_str(&format!(" ({})", brief(&gist, 200)));
    }
    words
}

/// The text in lines that fit behind the indent.
fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(INDENT).max(20));
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let taken = lines.last().map_or(0, |line| line.chars().count());
        if taken > 0 && taken + word.trim_end().chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::tests::sample;

    fn shown(width: usize) -> String {
        let report = sample();
        let mut out = Vec::new();
        let terminal = Terminal { width: Some(width), colour: false };
        tell(&report, &report.problems(), &terminal, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_screen_fits_and_ends_with_the_next_thing_to_do() {
        for width in [80, 200] {
            let text = shown(width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert!(text.lines().count() <= 24, "one screen: {text}");
            assert!(text.starts_with("health    DEGRADED: 3 things want attention\n"), "{text}");
            assert!(text.ends_with("next      openclaw gateway status\n"), "{text}");
            for part in
                ["gateway   DOWN for 72 s", "next try in 8 s", "agent:main:telegram:direct:42: 1 dead"]
            {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }

    #[test]
    fn no_byte_of_a_record_reaches_the_terminal_as_a_command() {
        let text = shown(80);
        assert!(text.contains("evil") && !text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
        let coloured = Terminal { width: Some(80), colour: true }.paint(RED, "x");
        assert_eq!(coloured, "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Terminal::NONE.paint(RED, "x"), "x");
    }

    #[test]
    fn numbers_of_bytes_are_told_in_a_unit_that_fits() {
        for (n, says) in [(5, "5 bytes"), (20 << 10, "20 KiB"), (9 << 30, "9216 MiB"), (47 << 30, "47 GiB")] {
            assert_eq!(bytes(n), says);
        }
    }
}
