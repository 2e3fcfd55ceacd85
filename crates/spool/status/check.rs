//! One line for a monitor, and its number, as the plugins of Nagios and those that followed it have them: 0 all is well,
//! 1 warning, 2 critical, 3 unknown. After a `|` the numbers that a monitor draws.
//!
//! What stands in the line may come from a gateway or a record, so a `|` in it does not end the words.

use super::report::{Grade, Problem, Report};
use crate::Failure;
use crate::view::brief;

const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;
/// The longest line of words; monitors cut theirs.
const MOST: usize = 300;

/// The line, and the exit number.
pub fn line(made: Result<&Report, &Failure>) -> (String, u8) {
    let report = match made {
        Ok(report) => report,
        Err(failure) => return (format!("SPOOL UNKNOWN - {}", plain(&failure.message)), UNKNOWN),
    };
    let problems = report.problems();
    let (word, code) = match problems.first().map(|problem| problem.grade) {
        None => ("OK", OK),
        Some(Grade::Warning) => ("WARNING", WARNING),
        Some(Grade::Critical) => ("CRITICAL", CRITICAL),
    };
    (format!("SPOOL {word} - {} | {}", words(report, &problems), numbers(report)), code)
}

fn words(report: &Report, problems: &[Problem]) -> String {
    let Some(first) = problems.first() else {
        let waiting = report.count("pending") + report.count("sending") + report.count("deferred");
        return format!("{waiting} under way, none held, none dead");
    };
    let more = match problems.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    format!("{}{more}", plain(&first.what))
}

fn numbers(report: &Report) -> String {
    let mut numbers: Vec<String> = report.counts.iter().map(|(word, n)| format!("{word}={n}")).collect();
    numbers.push(format!("oldest={}s", report.oldest_pending_ms.unwrap_or(0) / 1000));
    if let Some(free) = report.free {
        numbers.push(format!("free={free}B"));
    }
    numbers.join(" ")
}

fn plain(text: &str) -> String {
    brief(text, MOST).replace('|', "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::tests::sample;

    #[test]
    fn each_grade_has_its_word_and_its_number() {
        let mut report = sample();
        let (warning, code) = line(Ok(&report));
        assert!(warning.starts_with("SPOOL WARNING - the gateway is down") && code == 1, "{warning}");
        assert!(warning.ends_with("dismissed=5 oldest=240s free=50465865728B"), "{warning}");
        report.agent.as_mut().unwrap().gateway.since = 0;
        assert_eq!(line(Ok(&report)).1, 2, "down for long");
        report.is_running = false;
        report.agent = None;
        let (critical, code) = line(Ok(&report));
        assert!(critical.starts_with("SPOOL CRITICAL - no agent is running") && code == 2, "{critical}");
        let failure = Failure::new(78, "cannot open /x: no such directory");
        let unknown = line(Err(&failure));
        assert_eq!(unknown, ("SPOOL UNKNOWN - cannot open /x: no such directory".to_owned(), 3));
    }

    #[test]
    fn hostile_words_stay_on_their_side_of_the_line() {
        let (line, _) = line(Ok(&sample()));
        assert!(line.contains("evil"), "{line}");
        assert_eq!((line.lines().count(), line.matches('|').count()), (1, 1), "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}
