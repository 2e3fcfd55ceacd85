//! The report as one static page: everything in it, nothing fetched, no script, light and dark as the reader's system
//! has it, and made for a phone as well as for a wall.
//!
//! All text passes [`escape`], whoever wrote it; a policy in the page forbids scripts and the network besides, should
//! that ever fail. The page is as old as it says at its top: whoever wants a fresh one writes it anew.

use std::fmt::Write;

use super::day::{Day, Tally};
use super::report::{Grade, Health, Problem, Report};
use super::screen::bytes;
use crate::lane::{Lane, next_in_words};
use crate::view::brief;
use crate::when;

/// How many lines of the journal are shown.
const MAX_LINES: usize = 30;
/// The longest text from elsewhere, in characters.
const MAX_TEXT: usize = 300;
/// How high the chart is, in its own units.
const HEIGHT: f64 = 100.0;
const HOUR: u64 = 3_600_000;

/// The page.
pub fn page(report: &Report, problems: &[Problem]) -> String {
    let health = report.health(problems);
    let (class, word) = match health {
        Health::Healthy => ("good", "Healthy"),
        Health::Degraded => ("warn", "Degraded"),
        Health::NoAgent => ("bad", "No agent"),
    };
    let sections = [
        next(problems),
        tiles(report),
        facts(report),
        chart(&report.day),
        troubles(problems),
        lanes(report),
        journal(&report.day),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{word} \u{b7} spool</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1><span class=\"pill {class}\">{word}</span> <code>{}</code></h1>\n\
         <p class=\"faint\">as of <time datetime=\"{}\">{}</time></p></header>\n{}</main>\n</body>\n</html>\n",
        escape(&report.root.display().to_string()),
        when::utc(report.now_ms).replacen(' ', "T", 1),
        when::utc(report.now_ms),
        sections.concat(),
    )
}

fn next(problems: &[Problem]) -> String {
    let Some(first) = problems.first() else { return String::new() };
    let class = if first.grade == Grade::Critical { "bad" } else { "warn" };
    format!(
        "<section class=\"next {class}\"><p>{}</p>\n<p><b>Next:</b> <code>{}</code></p></section>\n",
        escape(&first.what),
        escape(&first.todo)
    )
}

fn tiles(report: &Report) -> String {
    let mut tiles = String::new();
    let jobs = ("jobs", report.runs.running);
    for (word, n) in report.counts.iter().copied().chain([jobs]) {
        let class = match (word, n) {
            (_, 0) => "faint",
            ("dead", _) => "bad",
            ("held" | "deferred", _) => "warn",
            _ => "",
        };
        push(&mut tiles, format_args!("<li class=\"{class}\"><b>{n}</b> {word}</li>\n"));
    }
    format!("<ul class=\"tiles\">\n{tiles}</ul>\n")
}

fn facts(report: &Report) -> String {
    let mut facts = Vec::new();
    match &report.agent {
        Some(agent) => {
            let since = when::age(agent.started_at, report.now_ms);
            let words = format!("running for {since}, {} in flight", agent.in_flight);
            let more = format!("process {}, version {}, watch: {}", agent.pid, agent.version, agent.watch);
            facts.push(("Agent", words, more));
            let gateway = &agent.gateway;
            let mut words = format!("{} for {}", gateway.state, when::age(gateway.since, report.now_ms));
            if let Some(at) = gateway.next_try {
                words.push_str(&format!(", next try {}", next_in_words(at, report.now_ms)));
            }
            let version = gateway.version.as_ref().map(|version| format!("version {version}"));
            facts.push(("Gateway", words, version.unwrap_or_default()));
        }
        None => {
            let word = if report.is_running { "running" } else { "not running" };
            facts.push(("Agent", word.to_owned(), String::new()));
        }
    }
    let oldest = report.oldest_pending_ms.map_or("nothing waits".to_owned(), when::length);
    facts.push(("Oldest pending", oldest, String::new()));
    if let Some(free) = report.free {
        let of = report.disk.map(|disk| format!("of {}", bytes(disk))).unwrap_or_default();
        facts.push(("Disk", format!("{} free", bytes(free)), of));
    }
    let rows: String = facts
        .iter()
        .map(|(name, words, more)| {
            let (words, more) = (escape(words), escape(more));
            format!("<div><dt>{name}</dt><dd>{words} <span class=\"faint\">{more}</span></dd></div>\n")
        })
        .collect();
    format!("<dl class=\"facts\">\n{rows}</dl>\n")
}

/// The bars are an SVG that stretches to the width of the page; the words around it are HTML, which does not.
fn chart(day: &Day) -> String {
    let total = |hour: &Tally| hour.delivered + hour.failed + hour.died;
    let most = day.hours.iter().map(total).max().unwrap_or(0);
    let sum = day.sum();
    let mut bars = String::new();
    for (n, hour) in day.hours.iter().enumerate() {
        let at = day.since + n as u64 * HOUR;
        let title = format!(
            "{} UTC: {} delivered, {} tries failed, {} died",
            clock(at),
            hour.delivered,
            hour.failed,
            hour.died
        );
        push(
            &mut bars,
            format_args!(
                "<g><title>{title}</title><rect class=\"slot\" x=\"{}\" y=\"0\" width=\"10\" height=\"{HEIGHT}\"/>",
                n * 10
            ),
        );
        let mut top = HEIGHT;
        for (class, count) in [("good", hour.delivered), ("warn", hour.failed), ("bad", hour.died)] {
            // What happened once is seen, however much happened elsewhere.
            let height = (count as f64 * HEIGHT / most.max(1) as f64).max(if count > 0 { 2.0 } else { 0.0 });
            top = (top - height).max(0.0);
            if count > 0 {
                push(
                    &mut bars,
                    format_args!(
                        "<rect class=\"{class}\" x=\"{}\" y=\"{top:.2}\" width=\"8\" height=\"{height:.2}\"/>",
                        n * 10 + 1
                    ),
                );
            }
        }
        bars.push_str("</g>\n");
    }
    let hours: String = (0..4).map(|n| format!("<span>{}</span>", clock(day.since + n * 6 * HOUR))).collect();
    let least = if day.is_cut { " (at least)" } else { "" };
    let width = day.hours.len() * 10;
    format!(
        "<section><h2>Last 24 hours{least}</h2>\n\
         <p class=\"legend\"><span><i class=\"good\"></i>{} delivered</span> <span><i class=\"warn\"></i>{} tries \
         failed</span> <span><i class=\"bad\"></i>{} died</span></p>\n\
         <div class=\"chart\"><p class=\"faint\">{most}</p>\n\
         <svg role=\"img\" aria-label=\"Deliveries, failed tries and deaths in each of the last 24 hours\" \
         viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\">\n{bars}</svg>\n\
         <p class=\"hours faint\">{hours}<span>now</span></p></div></section>\n",
        sum.delivered, sum.failed, sum.died
    )
}

fn troubles(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let items: String = problems
        .iter()
        .map(|problem| {
            let class = if problem.grade == Grade::Critical { "bad" } else { "warn" };
            format!("<li class=\"{class}\">{}</li>\n", escape(&problem.what))
        })
        .collect();
    format!("<section><h2>Wants attention</h2>\n<ul class=\"problems\">\n{items}</ul></section>\n")
}

fn lanes(report: &Report) -> String {
    let row = |lane: &Lane| {
        let session = lane.session.as_deref().map_or("(no session)".to_owned(), escape);
        let next = lane.next_try.map(|at| next_in_words(at, report.now_ms));
        let reason = lane.reason.as_deref().map(escape).unwrap_or_default();
        format!(
            "<tr><td data-name=\"session\"><code>{session}</code></td><td data-name=\"entries\">{}</td>\
             <td data-name=\"next try\">{}</td><td data-name=\"why\">{reason}</td></tr>\n",
            lane.in_words(),
            next.unwrap_or_else(|| "\u{2013}".to_owned())
        )
    };
    let rows: String = report.troubled().take(super::report::MAX_LANES).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>Lanes in trouble</h2>\n<table class=\"lanes\"><thead><tr><th>Session</th><th>Entries</th><th>Next try</th>\
         <th>Why</th></tr></thead>\n<tbody>\n{rows}</tbody></table></section>\n"
    )
}

fn journal(day: &Day) -> String {
    let rows: String = day
        .last
        .iter()
        .rev()
        .take(MAX_LINES)
        .map(|line| {
            let words = [&line.session_key, &line.evidence, &line.reason].map(Option::as_deref);
            let words: Vec<String> = words.into_iter().flatten().map(escape).collect();
            let who = line.by.as_deref().map(|who| format!(" by {}", escape(who))).unwrap_or_default();
            format!(
                "<tr><td data-name=\"when\">{}</td><td data-name=\"event\">{}{who}</td>\
                 <td data-name=\"entry\"><code>{}</code></td><td data-name=\"what\">{}</td></tr>\n",
                when::utc(line.at),
                escape(&line.event),
                escape(&line.id),
                words.join("<br>")
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2>Journal</h2>\n<table><thead><tr><th>When (UTC)</th><th>Event</th><th>Entry</th><th>What</th>\
         </tr></thead>\n<tbody>\n{rows}</tbody></table></section>\n"
    )
}

/// The time of a day.
fn clock(ms: u64) -> String {
    when::utc(ms).get(11..16).unwrap_or_default().to_owned()
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _written = text.write_fmt(what).is_ok();
}

/// Text for the inside of an element or of a quoted attribute: what hides or turns the direction of writing is gone,
/// and what the language gives a meaning is written as a reference (HTML, 13.1.4).
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in brief(text, MAX_TEXT).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Colours are told apart by those who see red and green alike: by lightness too.
const STYLE: &str = "\
:root { --back: #f6f7f9; --card: #fff; --text: #1b1f24; --faint: #667080; --line: #dfe3e8;
  --good: #1f8a5b; --warn: #b7791f; --bad: #c2332d; --slot: #eef1f4; }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --card: #1d2127; --text: #e6e9ed; --faint: #98a2b0;
  --line: #323841; --good: #4cc38a; --warn: #e0a84a; --bad: #f2766f; --slot: #262b32; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 20px 16px 40px; }
h1 { font-size: 18px; margin: 0; font-weight: 600; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0 0 8px; }
p { margin: 0; overflow-wrap: anywhere; }
code { font: 0.92em ui-monospace, monospace; overflow-wrap: anywhere; }
header { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; justify-content: space-between; }
section, .facts, .tiles { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 14px 16px; margin: 14px 0 0; }
.faint { color: var(--faint); }
.pill { color: var(--card); border-radius: 6px; padding: 2px 10px; margin-right: 6px; white-space: nowrap; }
.pill.good { background: var(--good); } .pill.warn { background: var(--warn); } .pill.bad { background: var(--bad); }
.next { border-left: 5px solid var(--warn); } .next.bad { border-left-color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(8, 1fr); gap: 8px; list-style: none; }
.tiles b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tiles .bad b { color: var(--bad); } .tiles .warn b { color: var(--warn); }
.tiles .faint b { font-weight: 400; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 10px 20px; }
dt { color: var(--faint); font-size: 13px; } dd { margin: 0; overflow-wrap: anywhere; }
dd .faint { display: block; font-size: 13px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin-bottom: 6px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.legend .good { background: var(--good); } .legend .warn { background: var(--warn); } .legend .bad { background: var(--bad); }
.chart svg { display: block; width: 100%; height: 130px; }
.chart p { font-size: 12px; }
.hours { display: flex; justify-content: space-between; margin-top: 4px; }
svg .slot { fill: var(--slot); } svg .good { fill: var(--good); } svg .warn { fill: var(--warn); } svg .bad { fill: var(--bad); }
.problems { margin: 0; padding: 0; list-style: none; }
.problems li { border-left: 4px solid var(--warn); padding: 2px 0 2px 10px; margin-top: 6px; overflow-wrap: anywhere; }
.problems li.bad { border-left-color: var(--bad); }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th { text-align: left; color: var(--faint); font-weight: 500; font-size: 13px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; } td:first-child code { white-space: normal; }
tr:last-child td { border-bottom: 0; }
.lanes th:nth-child(1) { width: 32%; } .lanes th:nth-child(2) { width: 16%; } .lanes th:nth-child(3) { width: 10%; }
@media (max-width: 640px) {
  .tiles { grid-template-columns: repeat(4, 1fr); font-size: 13px; }
  thead { display: none; }
  tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line); } tr:last-child { border-bottom: 0; }
  td { display: grid; grid-template-columns: 64px minmax(0, 1fr); padding: 1px 0; border: 0; white-space: normal; }
  td:first-child { white-space: normal; }
  td::before { content: attr(data-name); color: var(--faint); font-size: 13px; }
  td:empty { display: none; } td code { font-size: 0.86em; }
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::tests::sample;

    /// The tags of the page, in their order; fails when they do not nest.
    fn tags(page: &str) -> Vec<String> {
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        let mut rest = page;
        while let Some((_, after)) = rest.split_once('<') {
            let (tag, behind) = after.split_once('>').unwrap();
            rest = behind;
            let name: String =
                tag.chars().take_while(|c| c.is_ascii_alphanumeric() || "/!".contains(*c)).collect();
            match name.strip_prefix('/') {
                Some(end) => assert_eq!(open.pop().as_deref(), Some(end), "</{end}> closes another"),
                None if tag.ends_with('/') || ["!DOCTYPE", "meta", "br"].contains(&name.as_str()) => {}
                None => open.push(name.clone()),
            }
            seen.push(name);
            if seen.last().is_some_and(|name| name == "style") {
                rest = &rest[rest.find("</style>").unwrap()..];
            }
        }
        assert!(open.is_empty(), "{open:?} are not closed");
        seen
    }

    #[test]
    fn the_page_is_whole_and_fetches_nothing() {
        let report = sample();
        let page = page(&report, &report.problems());
        let seen = tags(&page);
        for needed in ["title", "svg", "table", "style", "header"] {
            assert!(seen.iter().any(|tag| tag == needed), "{needed} of {seen:?}");
        }
        for active in ["script", "img", "link", "iframe", "object", "a", "form"] {
            assert!(!seen.iter().any(|tag| tag == active), "{active}");
        }
        for fetch in ["http:", "https:", "url(", "@import", "src=", "href="] {
            assert!(!page.contains(fetch), "{fetch}");
        }
        assert_eq!(page.matches("<g><title>").count(), 24);
    }

    #[test]
    fn hostile_text_stays_text() {
        let report = sample();
        let page = page(&report, &report.problems());
        assert!(
            page.contains("evil&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\ |")
                || page.contains("evil &lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\\ |"),
            "{page}"
        );
        assert!(!page.contains("<script") && !page.contains('\u{1b}') && !page.contains('\u{202e}'));
    }

    #[test]
    fn an_empty_spool_has_a_page_too() {
        let mut report = sample();
        report.lanes = crate::lane::Lanes::default();
        report.day = Day::ending(report.now_ms);
        report.agent = None;
        tags(&page(&report, &[]));
    }
}
