//! The report in the text form of OpenMetrics 1.0, for `--metrics` and for those who come to [`super::serve`].
//!
//! Only types that the older text form of Prometheus has too are used (a gauge with a label where OpenMetrics would
//! have a state set), so that the textfile collector, which reads only that, takes the file. Sessions appear as label
//! values: of at most twenty lanes in trouble, so that no producer can make a monitor remember without bound, and
//! escaped, so that none can write a line of its own.

use std::fmt::Write;

use super::report::{MAX_LANES, Report};
use crate::lane::OPEN;
use crate::view::brief;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The longest label value, in characters.
const MAX_LABEL: usize = 200;

/// The exposition, with its end mark.
pub fn text(report: &Report) -> String {
    let mut page = Page::default();
    let states: Vec<_> = report.counts.iter().map(|(word, n)| (vec![("state", *word)], *n as f64)).collect();
    page.gauge("spool_entries", "", "Entries by state.", &states);
    let runs = [("running", report.runs.running), ("over", report.runs.over)];
    let runs = runs.map(|(word, n)| (vec![("state", word)], n as f64));
    page.gauge("spool_jobs", "", "Jobs started through spool-run that are not reported yet.", &runs);
    let oldest = report.oldest_pending_ms.unwrap_or(0) as f64 / 1000.0;
    page.one(
        "spool_oldest_pending_age_seconds",
        "seconds",
        "How long the oldest pending entry waits; 0: none.",
        oldest,
    );
    page.one("spool_unopened_entries", "", "Entries too many to look into.", report.lanes.unopened as f64);
    if let Some(free) = report.free {
        page.one("spool_disk_free_bytes", "bytes", "Free on the file system of the spool.", free as f64);
    }
    if let Some(disk) = report.disk {
        page.one("spool_disk_size_bytes", "bytes", "Size of the file system of the spool.", disk as f64);
    }
    let problems = report.problems();
    page.one("spool_problems", "", "Things that want attention.", problems.len() as f64);
    page.one(
        "spool_agent_running",
        "",
        "Whether an agent holds the lock.",
        f64::from(u8::from(report.is_running)),
    );
    if let Some(agent) = &report.agent {
        let started = agent.started_at as f64 / 1000.0;
        page.one("spool_agent_start_time_seconds", "seconds", "When the agent started, since 1970.", started);
        let silent = report.now_ms.saturating_sub(agent.updated_at) as f64 / 1000.0;
        page.one("spool_agent_silent_seconds", "seconds", "Since the agent last said how it is.", silent);
        page.one("spool_deliveries_in_flight", "", "Deliveries under way.", agent.in_flight as f64);
        let version = [(vec![("version", agent.version.as_str())], 1.0)];
        page.gauge("spool_agent_version", "", "The version of the agent, as a label.", &version);
        let gateway = &agent.gateway;
        let states = ["up", "down", "connecting", "refused"];
        let states = states.map(|word| (vec![("state", word)], f64::from(u8::from(gateway.state == word))));
        page.gauge("spool_gateway_state", "", "1 for the state the gateway is in.", &states);
        let since = report.now_ms.saturating_sub(gateway.since) as f64 / 1000.0;
        page.one("spool_gateway_state_age_seconds", "seconds", "How long the gateway has been so.", since);
        if let Some(version) = &gateway.version {
            let version = [(vec![("version", version.as_str())], 1.0)];
            page.gauge("spool_gateway_version", "", "The version of the gateway, as a label.", &version);
        }
    }
    page.one("spool_lanes_in_trouble", "", "Sessions in trouble.", report.troubled().count() as f64);
    let mut lanes = Vec::new();
    for lane in report.troubled().take(MAX_LANES) {
        for dir in OPEN {
            let labels =
                vec![("session", lane.session.as_deref().unwrap_or("")), ("state", dir.state_word())];
            lanes.push((labels, lane.count(dir) as f64));
        }
    }
    page.gauge("spool_lane_entries", "", "Entries of the first lanes in trouble, by state.", &lanes);
    page.text.push_str("# EOF\n");
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn one(&mut self, name: &str, unit: &str, help: &str, value: f64) {
        self.gauge(name, unit, help, &[(Vec::new(), value)]);
    }

    /// A family of gauges. Names, units and helps are ours; values of labels are anybody's.
    fn gauge(&mut self, name: &str, unit: &str, help: &str, samples: &[(Vec<(&str, &str)>, f64)]) {
        if samples.is_empty() {
            return;
        }
        self.line(format_args!("# TYPE {name} gauge"));
        if !unit.is_empty() {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {help}"));
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escape(text))).collect();
            let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            self.line(format_args!("{name}{braces} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = writeln!(self.text, "{line}").is_ok();
    }
}

/// A label value: what hides or commands is gone, and the three characters that the form gives a meaning are escaped.
fn escape(text: &str) -> String {
    brief(text, MAX_LABEL).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::tests::{EVIL, sample};
    use std::collections::HashSet;

    /// Reads a sample's labels as a parser of the form would; the value must be a number.
    fn labels(line: &str) -> Vec<(String, String)> {
        let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
        let mut chars = rest.chars();
        let mut found = Vec::new();
        loop {
            let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
            assert_eq!(chars.next(), Some('"'), "{line}");
            let mut value = String::new();
            loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => match chars.next() {
                        Some('n') => value.push('\n'),
                        Some(c @ ('\\' | '"')) => value.push(c),
                        other => panic!("{other:?} after a backslash: {line}"),
                    },
                    Some(c) => value.push(c),
                    None => panic!("no end: {line}"),
                }
            }
            found.push((name, value));
            match chars.next() {
                Some(',') => {}
                Some('}') => break,
                other => panic!("{other:?}: {line}"),
            }
        }
        let number = chars.as_str().strip_prefix(' ').unwrap();
        number.parse::<f64>().unwrap();
        found
    }

    #[test]
    fn the_text_is_one_that_a_collector_takes() {
        let text = text(&sample());
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        let mut families = HashSet::new();
        let mut samples = HashSet::new();
        let mut family = "";
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.strip_suffix(" gauge").unwrap();
                assert!(families.insert(family), "{family} twice");
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.starts_with(family), "{line}");
            } else {
                let name = line.split(['{', ' ']).next().unwrap();
                assert_eq!(name, family, "{line}");
                let (sample, _) = line.rsplit_once(' ').unwrap();
                assert!(samples.insert(sample), "{sample} twice");
                labels(line);
            }
        }
        let documented = include_str!("../../../docs/monitoring.md");
        for family in families {
            assert!(documented.contains(&format!("`{family}`")), "docs/monitoring.md does not name {family}");
        }
        assert!(text.contains("\nspool_entries{state=\"pending\"} 12\n"), "{text}");
        assert!(text.contains("\nspool_gateway_state{state=\"down\"} 1\n"), "{text}");
    }

    #[test]
    fn a_hostile_session_stays_a_label() {
        let text = text(&sample());
        let line = text.lines().find(|line| line.contains("evil")).unwrap();
        let session = &labels(line)[0].1;
        assert_eq!(*session, brief(EVIL, MAX_LABEL));
        assert!(session.contains("<script>") && session.contains('"') && session.contains('\\'), "{session}");
    }

    #[test]
    fn without_an_agent_it_says_so() {
        let mut report = sample();
        (report.is_running, report.agent) = (false, None);
        let text = text(&report);
        assert!(
            text.contains("\nspool_agent_running 0\n") && !text.contains("spool_gateway_state"),
            "{text}"
        );
    }
}
