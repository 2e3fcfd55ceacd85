//! Draws the model: a head with the word and the clocks, the lanes, the journal, and a foot with the keys.
//!
//! Nothing is drawn that was not stripped of what a terminal would obey, and no state is told by colour alone: with
//! `NO_COLOR` there are only bold, faint and reversed cells. A wide screen has the journal beside the lanes, a small
//! one beneath them, and a tiny one has the lanes alone.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};
use spooldir::journal::Line;
use spooldir::{Dir, State};

use super::model::{Mode, Model, Row};
use crate::lane::{Item, Lane, gist_of_reason, next_in_words};
use crate::status::report::Health;
use crate::view::brief;
use crate::when;

/// From this width on the journal stands beside the lanes.
const WIDE: u16 = 130;
/// Below this nothing can be read.
const LEAST: (u16, u16) = (30, 8);
/// The rungs of evidence.
const RUNGS: [&str; 4] = ["accepted", "committed", "replied", "sent"];

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// As `NO_COLOR` has it.
    pub colour: bool,
}

impl Theme {
    fn ink(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn good(self) -> Style {
        self.ink(Color::Green)
    }

    fn warn(self) -> Style {
        self.ink(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.ink(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn live(self) -> Style {
        self.ink(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// Draws it.
pub fn draw(model: &Model, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        frame.render_widget(Paragraph::new("the screen is too small"), area);
        return;
    }
    let head = head(model, theme, usize::from(area.width));
    let tall = u16::try_from(head.len()).unwrap_or(5);
    let foot = bottom(model, theme);
    // A refusal is a sentence, and its end says what to do.
    let low = u16::try_from(foot.width().div_ceil(usize::from(area.width))).map_or(3, |n| n.clamp(1, 3));
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(tall), Constraint::Min(3), Constraint::Length(low)]).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    if let Mode::Show { lines, from } = &model.mode {
        show(lines, *from, middle, frame);
    } else if area.width >= WIDE {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(58), Constraint::Percentage(42)]).areas(middle);
        lanes(model, theme, left, frame);
        journal(model, theme, right, frame);
    } else if middle.height >= 9 {
        let [upper, lower] =
            Layout::vertical([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(middle);
        lanes(model, theme, upper, frame);
        journal(model, theme, lower, frame);
    } else {
        lanes(model, theme, middle, frame);
    }
    frame.render_widget(Paragraph::new(foot).wrap(Wrap { trim: false }), bottom);
}

/// The first lines: the word, the agent, the gateway, the numbers, and what to do.
fn head(model: &Model, theme: Theme, width: usize) -> Vec<Text<'static>> {
    let report = &model.report;
    let problems = report.problems();
    let (word, style) = match report.health(&problems) {
        Health::Healthy => ("healthy", theme.good()),
        Health::Degraded => ("DEGRADED", theme.warn().add_modifier(Modifier::BOLD)),
        Health::NoAgent => ("NO AGENT", theme.bad()),
    };
    let clock = when::utc(model.now_ms).get(11..).unwrap_or_default().to_owned();
    let root = brief(&report.root.display().to_string(), width.saturating_sub(word.len() + clock.len() + 16));
    let gap = width.saturating_sub(7 + word.len() + root.chars().count() + clock.len() + 3);
    let mut lines = vec![Text::from(vec![
        Span::styled(" spool ", theme.bold()),
        Span::styled(word, style),
        Span::raw(format!("  {root}{}{clock} ", " ".repeat(gap))),
    ])];
    lines.push(match &report.agent {
        Some(agent) => {
            let gateway = &agent.gateway;
            let since = when::age(gateway.since, model.now_ms);
            let style = if gateway.state == "up" { theme.good() } else { theme.bad() };
            let next = gateway.next_try.map(|at| format!(", next try {}", next_in_words(at, model.now_ms)));
            let running = when::age(agent.started_at, model.now_ms);
            Text::from(vec![
                Span::raw(" gateway "),
                Span::styled(brief(&gateway.state, 12), style),
                Span::raw(format!(" for {since}{}", next.unwrap_or_default())),
                Span::styled(
                    format!("   agent {} for {running}, {} in flight", agent.pid, agent.in_flight),
                    theme.faint(),
                ),
            ])
        }
        None => Text::from(Span::styled(" gateway unknown: no agent looks after it", theme.faint())),
    });
    let mut numbers = vec![Span::raw(" ")];
    let running = report.runs.running;
    let jobs = (if running == 1 { "job" } else { "jobs" }, running);
    for (word, n) in report.counts.iter().copied().chain([jobs]) {
        let style = match (word, n) {
            (_, 0) => theme.faint(),
            ("dead", _) => theme.bad(),
            ("held" | "deferred", _) => theme.warn().add_modifier(Modifier::BOLD),
            _ => theme.bold(),
        };
        numbers.push(Span::styled(format!("{n} {word}"), style));
        numbers.push(Span::raw("  "));
    }
    lines.push(Text::from(numbers));
    if let Some(first) = problems.first() {
        let what = cut(&brief(&first.what, 300), width.saturating_sub(4));
        lines.push(Text::from(Span::styled(format!(" ! {what}"), theme.warn())));
    }
    lines
}

fn lanes(model: &Model, theme: Theme, area: Rect, frame: &mut Frame<'_>) {
    let unopened = model.report.lanes.unopened;
    let more = if unopened > 0 { format!("({unopened} entries more) ") } else { String::new() };
    let block =
        Block::new().borders(Borders::TOP).title(format!(" lanes {more}")).border_style(theme.faint());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows: Vec<Row<'_>> = model.rows().collect();
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(" nothing waits").style(theme.faint()), inner);
        return;
    }
    let is_chosen = |row: &Row<'_>| match row {
        Row::Entry(item) => model.selected.as_deref() == Some(item.entry.id.as_str()),
        Row::Lane(_) => false,
    };
    let chosen = rows.iter().position(is_chosen).unwrap_or(0);
    let height = usize::from(inner.height);
    // The chosen row is kept in the middle where there is more above and beneath than fits.
    let from = chosen.saturating_sub(height / 2).min(rows.len().saturating_sub(height));
    let width = usize::from(inner.width);
    let texts: Vec<Text<'_>> = rows
        .iter()
        .skip(from)
        .take(height)
        .map(|row| match row {
            Row::Lane(lane) => lane_row(lane, model, theme, width),
            // The bar of the chosen one has no colours in it.
            Row::Entry(item) if is_chosen(row) => entry_row(item, model, Theme { colour: false }, width)
                .style(Style::new().add_modifier(Modifier::REVERSED)),
            Row::Entry(item) => entry_row(item, model, theme, width),
        })
        .collect();
    frame.render_widget(Paragraph::new(texts), inner);
}

fn lane_row<'a>(lane: &Lane, model: &Model, theme: Theme, width: usize) -> Text<'a> {
    let style = if lane.is_in_trouble() { theme.warn() } else { Style::new() };
    let mut more = format!("  {}", lane.in_words());
    if lane.is_slowed
        && let Some(at) = lane.next_try
    {
        more.push_str(&format!(", next try {}", next_in_words(at, model.now_ms)));
    }
    if let Some(reason) = model.reason(lane) {
        let gist = gist_of_reason(reason, lane.session.as_deref());
        more.push_str(&format!(" ({})", brief(&gist, 120)));
    }
    let name = lane.session.as_deref().map_or("(no session)".to_owned(), |key| brief(key, width * 3 / 5));
    let room = width.saturating_sub(name.chars().count() + 1);
    Text::from(vec![
        Span::styled(format!(" {name}"), style.add_modifier(Modifier::BOLD)),
        Span::styled(cut(&more, room), theme.faint()),
    ])
}

fn entry_row<'a>(item: &Item, model: &Model, theme: Theme, width: usize) -> Text<'a> {
    let track = model.tracks.get(item.entry.id.as_str());
    let (style, clock) = match &item.entry.state {
        State::Sending { .. } => {
            let evidence = track.and_then(|track| track.evidence.as_deref());
            let since = track.and_then(|track| track.taken_at).map(|at| when::age(at, model.now_ms));
            (theme.live(), format!("{} {}", ladder(evidence), since.unwrap_or_default()))
        }
        State::Deferred { attempts, due_ms, .. } => {
            let after = if *attempts > 0 { format!("try {} ", attempts + 1) } else { String::new() };
            let due = next_in_words(*due_ms, model.now_ms);
            (theme.warn(), format!("{after}{due}"))
        }
        State::Pending => {
            let since = item.gist.created_at.map(|at| when::age(at, model.now_ms));
            (Style::new(), since.map(|since| format!("for {since}")).unwrap_or_default())
        }
        State::Held => (theme.warn(), "until released".to_owned()),
        State::Dead => (theme.bad(), "not tried again".to_owned()),
        State::Done | State::Dismissed => (theme.faint(), String::new()),
    };
    let label = item.gist.label.as_deref().map(|label| brief(label, 200)).unwrap_or_default();
    let ended = item.gist.status.map(|status| format!(" ({status})")).unwrap_or_default();
    let front = format!("   {:<13} ", short(item.entry.id.as_str()));
    let word = format!("{:<9}", item.entry.state.word());
    let clock = format!("{clock:<24} ");
    let room = width.saturating_sub(front.chars().count() + word.len() + clock.chars().count());
    Text::from(vec![
        Span::raw(front),
        Span::styled(word, style),
        Span::raw(clock),
        // To the edge, so that a reversed row is a bar.
        Span::raw(format!("{:<room$}", cut(format!("{label}{ended}").trim_start(), room))),
    ])
}

/// The rungs that were reached, and the word of the highest.
fn ladder(evidence: Option<&str>) -> String {
    let reached = evidence.and_then(|word| RUNGS.iter().position(|rung| *rung == word)).map_or(0, |n| n + 1);
    let rungs: String = (0..RUNGS.len()).map(|n| if n < reached { '■' } else { '□' }).collect();
    let word = evidence.filter(|_| reached > 0).unwrap_or("no proof yet");
    format!("{rungs} {word}")
}

/// An id that fits into thirteen cells: those of one minute begin alike, so the end is shown too.
fn short(id: &str) -> String {
    let chars: Vec<char> = id.chars().collect();
    match chars.as_slice() {
        [first @ .., a, b, c, d] if chars.len() > 13 => {
            let first: String = first.iter().take(8).collect();
            format!("{first}…{a}{b}{c}{d}")
        }
        _ => id.to_owned(),
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let head: String = text.chars().take(room.saturating_sub(1)).collect();
    if room == 0 { String::new() } else { format!("{head}…") }
}

fn journal(model: &Model, theme: Theme, area: Rect, frame: &mut Frame<'_>) {
    let is_beside = area.x > 0;
    let borders = if is_beside { Borders::TOP | Borders::LEFT } else { Borders::TOP };
    let block = Block::new().borders(borders).title(" journal ").border_style(theme.faint());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let skip = model.journal.len().saturating_sub(height);
    let texts: Vec<Text<'_>> =
        model.journal.iter().skip(skip).map(|line| journal_row(line, model, theme, width)).collect();
    if texts.is_empty() {
        frame.render_widget(Paragraph::new(" nothing yet").style(theme.faint()), inner);
    } else {
        frame.render_widget(Paragraph::new(texts), inner);
    }
}

fn journal_row<'a>(line: &Line, model: &Model, theme: Theme, width: usize) -> Text<'a> {
    let style = match line.event.as_str() {
        "prove" => theme.good(),
        "condemn" | "lost" => theme.bad(),
        "fail" | "hold" | "rekey" | "tell" => theme.warn(),
        "take" | "evidence" => theme.live(),
        _ => Style::new(),
    };
    let session = line.session_key.as_ref().or_else(|| model.tracks.get(&line.id)?.session.as_ref());
    let words = [
        line.evidence.clone(),
        line.reason.as_ref().map(|reason| format!("({})", brief(reason, 200))),
        line.by.as_ref().map(|who| format!("by {}", brief(who, 20))),
        session.map(|key| brief(key, 60)),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    let clock = when::utc(line.at).get(11..19).unwrap_or_default().to_owned();
    let front = format!(" {clock} ");
    let event = format!("{:<9} ", brief(&line.event, 9));
    let rest = format!("{:<13} {}", short(&brief(&line.id, 60)), words.join(" "));
    let room = width.saturating_sub(front.len() + event.len());
    Text::from(vec![
        Span::styled(front, theme.faint()),
        Span::styled(event, style),
        Span::raw(cut(&rest, room)),
    ])
}

fn show(lines: &[String], from: usize, area: Rect, frame: &mut Frame<'_>) {
    let block = Block::new().borders(Borders::TOP).title(" entry ");
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    let texts: Vec<Text<'_>> = lines
        .iter()
        .skip(from)
        .take(usize::from(inner.height))
        .map(|l| Text::from(format!(" {l}")))
        .collect();
    frame.render_widget(Paragraph::new(texts).wrap(Wrap { trim: false }), inner);
}

fn bottom(model: &Model, theme: Theme) -> Text<'static> {
    if let Mode::Reason { id, text } = &model.mode {
        return Text::from(vec![
            Span::styled(format!(" why dismiss {}? ", short(id)), theme.bold()),
            Span::raw(text.clone()),
            Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
            Span::styled("  enter: do it, esc: leave it", theme.faint()),
        ]);
    }
    if let (Some((words, is_bad)), Mode::Browse) = (&model.message, &model.mode) {
        let style = if *is_bad { theme.bad() } else { theme.good() };
        return Text::from(Span::styled(format!(" {}", brief(words, 300)), style));
    }
    let keys: &[(&str, &str)] = match &model.mode {
        Mode::Show { .. } => &[("↑↓", "read"), ("esc", "back")],
        _ => {
            let chosen = model.rows().find_map(|row| match row {
                Row::Entry(item) if model.selected.as_deref() == Some(item.entry.id.as_str()) => {
                    Some(item.entry.dir())
                }
                _ => None,
            });
            let hold = if chosen == Some(Dir::Hold) { "release" } else { "hold" };
            &[
                ("↑↓", "select"),
                ("enter", "show"),
                ("r", "retry"),
                ("h", hold),
                ("d", "dismiss"),
                ("q", "quit"),
            ]
        }
    };
    let mut spans = vec![Span::raw(" ")];
    for (key, does) in keys {
        spans.push(Span::styled((*key).to_owned(), theme.bold()));
        spans.push(Span::styled(format!(" {does}   "), theme.faint()));
    }
    Text::from(spans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report::tests::{EVIL, sample};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn model() -> Model {
        let mut model = Model::new(sample());
        let line = |event: &str, evidence: Option<&str>| Line {
            at: model.now_ms - 12_000,
            event: event.into(),
            id: "01929f3e-0000-7000-8000-000000000001".into(),
            session_key: Some("agent:main:telegram:direct:42".into()),
            evidence: evidence.map(Into::into),
            reason: Some(EVIL.into()),
            ..Line::default()
        };
        model.add([line("accept", None), line("take", None), line("evidence", Some("committed"))]);
        model
    }

    fn drawn(model: &Model, theme: Theme, width: u16, height: u16) -> (String, Terminal<TestBackend>) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(model, theme, frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content.chunks(usize::from(width));
        let text = rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n");
        (text.collect(), terminal)
    }

    #[test]
    fn every_size_of_screen_shows_what_matters() {
        let model = model();
        for (width, height) in [(80, 24), (200, 50), (130, 24)] {
            let (text, _) = drawn(&model, Theme { colour: true }, width, height);
            for part in [
                "DEGRADED",
                "gateway down for 72 s, next try in 8 s",
                "1 dead",
                "the gateway is down: connection refused",
                "dead-1",
                "until released",
                "agent:main:telegram:direct:42",
                "evidence  01929f3e…0001 committed",
                "r retry",
            ] {
                assert!(text.contains(part), "{width}x{height} lacks {part:?}:\n{text}");
            }
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
        }
        for (width, height) in [(1, 1), (29, 50), (200, 7), (30, 8), (40, 12)] {
            drawn(&model, Theme { colour: true }, width, height);
        }
    }

    #[test]
    fn what_is_sent_shows_how_far_it_came_and_what_waits_shows_its_clock() {
        assert_eq!(ladder(None), "□□□□ no proof yet");
        assert_eq!(ladder(Some("committed")), "■■□□ committed");
        assert_eq!(ladder(Some("sent")), "■■■■ sent");
        assert_eq!(short("01929f3e-0000-7000-8000-00000000abcd"), "01929f3e…abcd");
        assert_eq!((cut("abc", 2), cut("abc", 0), cut("abc", 3)), ("a…".into(), String::new(), "abc".into()));
    }

    #[test]
    fn without_colour_no_cell_has_one() {
        let model = model();
        let coloured = |theme| {
            let (_, terminal) = drawn(&model, theme, 80, 24);
            let cells = &terminal.backend().buffer().content;
            cells.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
        };
        assert_eq!(coloured(Theme { colour: false }), 0);
        assert!(coloured(Theme { colour: true }) > 0);
    }

    #[test]
    fn a_reason_is_asked_for_and_a_message_is_said_at_the_foot() {
        let mut model = model();
        model.mode = Mode::Reason { id: "dead-1".into(), text: "obsolete".into() };
        let (text, _) = drawn(&model, Theme { colour: true }, 80, 24);
        assert!(text.contains("why dismiss dead-1? obsolete"), "{text}");
        model.mode = Mode::Browse;
        model.say("dead-1 dismissed (was dead)".into(), false);
        let (text, _) = drawn(&model, Theme { colour: true }, 80, 24);
        assert!(text.trim_end().ends_with("dead-1 dismissed (was dead)"), "{text}");
        model.open("all of it\nand more".into());
        let (text, _) = drawn(&model, Theme { colour: true }, 80, 24);
        assert!(text.contains("all of it") && text.contains("esc back"), "{text}");
    }
}
