//! What is shown, and what a key means. Pure: no terminal, no clock, no disk.
//!
//! An entry is selected by its id, so the selection stays on it when others come, go or change places; when it goes
//! itself, the selection stays where it was. What cannot be taken back at once asks: a dismissal wants a reason.

use std::collections::{HashMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use spooldir::State;
use spooldir::journal::Line;

use crate::lane::{Item, Lane};
use crate::status::report::Report;

/// How many lines of the journal are remembered.
const MAX_LINES: usize = 500;
/// Of how many entries it is remembered how far they came.
const MAX_TRACKED: usize = 4096;
/// The longest reason that can be typed, in characters.
const MAX_REASON: usize = 200;
/// How far a page is.
const PAGE: isize = 10;

/// What the journal said of an entry that is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Track {
    /// The session it is for.
    pub session: Option<String>,
    /// When it was taken for sending.
    pub taken_at: Option<u64>,
    /// How far the delivery came.
    pub evidence: Option<String>,
    /// Why the last try failed.
    pub reason: Option<String>,
}

/// What the keys are for at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Going up and down.
    Browse,
    /// Reading all of one entry.
    Show {
        /// Its lines.
        lines: Vec<String>,
        /// The first one that is shown.
        from: usize,
    },
    /// Typing why an entry is dismissed.
    Reason {
        /// Which.
        id: String,
        /// What was typed.
        text: String,
    },
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing but to be drawn.
    None,
    /// The end.
    Quit,
    /// All of one entry.
    Show(String),
    /// A verb of the operator's.
    Do {
        /// Which.
        verb: &'static str,
        /// To which entry.
        id: String,
        /// Why.
        reason: Option<String>,
    },
}

/// A row of the lanes.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// A lane's head.
    Lane(&'a Lane),
    /// An entry in it.
    Entry(&'a Item),
}

/// All that is shown.
#[derive(Debug)]
pub struct Model {
    /// How all is.
    pub report: Report,
    /// The journal's last lines, oldest first.
    pub journal: VecDeque<Line>,
    /// What the journal said of entries.
    pub tracks: HashMap<String, Track>,
    /// The entry that keys are about.
    pub selected: Option<String>,
    /// Where it was last, among all entries.
    at: usize,
    /// What the keys are for.
    pub mode: Mode,
    /// What became of the last key, and whether it is bad news.
    pub message: Option<(String, bool)>,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Model {
    /// What is seen first.
    pub fn new(report: Report) -> Model {
        let now_ms = report.now_ms;
        let mut model = Model {
            report,
            journal: VecDeque::new(),
            tracks: HashMap::new(),
            selected: None,
            at: 0,
            mode: Mode::Browse,
            message: None,
            now_ms,
        };
        model.keep_selection();
        model
    }

    /// Takes in a new report.
    pub fn see(&mut self, report: Report) {
        self.report = report;
        self.keep_selection();
    }

    /// Takes in what was added to the journal.
    pub fn add(&mut self, lines: impl IntoIterator<Item = Line>) {
        for line in lines {
            if self.tracks.len() > MAX_TRACKED {
                self.tracks.clear();
            }
            let track = self.tracks.entry(line.id.clone()).or_default();
            if line.session_key.is_some() {
                track.session.clone_from(&line.session_key);
            }
            if matches!(line.event.as_str(), "take" | "rekey" | "tell") {
                (track.taken_at, track.evidence) = (Some(line.at), None);
            }
            if line.event == "fail" {
                track.reason.clone_from(&line.reason);
            }
            if line.evidence.is_some() {
                track.evidence.clone_from(&line.evidence);
            }
            if self.journal.len() == MAX_LINES {
                self.journal.pop_front();
            }
            self.journal.push_back(line);
        }
    }

    /// Says something at the bottom of the screen.
    pub fn say(&mut self, words: String, is_bad: bool) {
        self.message = Some((words, is_bad));
    }

    /// Shows a text.
    pub fn open(&mut self, text: String) {
        self.mode = Mode::Show { lines: text.lines().map(str::to_owned).collect(), from: 0 };
    }

    /// The rows of the lanes.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let lanes = &self.report.lanes.lanes;
        lanes
            .iter()
            .flat_map(|lane| std::iter::once(Row::Lane(lane)).chain(lane.items.iter().map(Row::Entry)))
    }

    /// Why a lane is in trouble: what stands beside its entries, else why the last try of one failed.
    pub fn reason<'a>(&'a self, lane: &'a Lane) -> Option<&'a str> {
        let failed = |item: &Item| self.tracks.get(item.entry.id.as_str())?.reason.as_deref();
        lane.reason.as_deref().or_else(|| lane.items.iter().find_map(failed).filter(|_| lane.is_in_trouble()))
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.report.lanes.lanes.iter().flat_map(|lane| &lane.items)
    }

    fn keep_selection(&mut self) {
        let found = self.items().position(|item| self.selected.as_deref() == Some(item.entry.id.as_str()));
        let last = self.items().count().saturating_sub(1);
        self.at = found.unwrap_or(self.at).min(last);
        let chosen = self.items().nth(self.at).map(|item| item.entry.id.to_string());
        self.selected = chosen;
    }

    fn go(&mut self, by: isize) {
        self.at = self.at.saturating_add_signed(by);
        self.selected = None;
        self.keep_selection();
    }

    fn item(&self) -> Option<&Item> {
        self.items().find(|item| self.selected.as_deref() == Some(item.entry.id.as_str()))
    }

    /// What a key means.
    pub fn press(&mut self, key: KeyEvent) -> Action {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Action::Quit;
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key.code),
            Mode::Show { lines, from } => {
                self.read(key.code, lines, from);
                Action::None
            }
            Mode::Reason { id, text } => self.type_reason(key.code, id, text),
        }
    }

    fn browse(&mut self, key: KeyCode) -> Action {
        self.message = None;
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.go(PAGE),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::Home => self.go(isize::MIN),
            KeyCode::End => self.go(isize::MAX),
            KeyCode::Enter | KeyCode::Char('s' | 'r' | 'd' | 'h') => return self.decide(key),
            _ => {}
        }
        Action::None
    }

    /// A key that is about the selected entry.
    fn decide(&mut self, key: KeyCode) -> Action {
        let Some(item) = self.item() else {
            self.say("no entry is selected".to_owned(), false);
            return Action::None;
        };
        let id = item.entry.id.to_string();
        let verb = match key {
            KeyCode::Char('r') => "retry",
            KeyCode::Char('h') if item.entry.state == State::Held => "release",
            KeyCode::Char('h') => "hold",
            KeyCode::Char('d') => {
                self.mode = Mode::Reason { id, text: String::new() };
                return Action::None;
            }
            _ => return Action::Show(id),
        };
        Action::Do { verb, id, reason: None }
    }

    fn read(&mut self, key: KeyCode, lines: Vec<String>, from: usize) {
        let by = match key {
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::PageDown | KeyCode::Char(' ') => PAGE,
            KeyCode::PageUp => -PAGE,
            KeyCode::Home => isize::MIN,
            KeyCode::End => isize::MAX,
            _ => return,
        };
        let from = from.saturating_add_signed(by).min(lines.len().saturating_sub(1));
        self.mode = Mode::Show { lines, from };
    }

    fn type_reason(&mut self, key: KeyCode, id: String, mut text: String) -> Action {
        match key {
            KeyCode::Esc => {
                self.say(format!("{id} is not dismissed"), false);
                return Action::None;
            }
            KeyCode::Enter if !text.trim().is_empty() => {
                return Action::Do { verb: "dismiss", id, reason: Some(text.trim().to_owned()) };
            }
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char(c) if text.chars().count() < MAX_REASON && !c.is_control() => text.push(c),
            _ => {}
        }
        self.mode = Mode::Reason { id, text };
        Action::None
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::status::report::tests::sample;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn type_in(model: &mut Model, text: &str) {
        for c in text.chars() {
            assert_eq!(model.press(key(KeyCode::Char(c))), Action::None);
        }
    }

    #[test]
    fn the_selection_stays_on_its_entry_and_within_the_list() {
        let mut model = Model::new(sample());
        assert_eq!(model.selected.as_deref(), Some("held-1"));
        model.press(key(KeyCode::Up));
        assert_eq!(model.selected.as_deref(), Some("held-1"));
        for _ in 0..3 {
            model.press(key(KeyCode::Down));
        }
        assert_eq!(model.selected.as_deref(), Some("dead-1"));
        let mut changed = sample();
        changed.lanes.lanes.reverse();
        model.see(changed);
        assert_eq!(model.selected.as_deref(), Some("dead-1"), "it is the first now");
        let mut changed = sample();
        changed.lanes.lanes.truncate(1);
        model.see(changed);
        assert_eq!(model.selected.as_deref(), Some("held-1"), "what is gone cannot be selected");
        let mut changed = sample();
        changed.lanes.lanes.clear();
        model.see(changed);
        assert_eq!(model.selected, None);
        assert_eq!(model.press(key(KeyCode::Char('r'))), Action::None);
    }

    #[test]
    fn keys_decide_about_the_selected_entry() {
        let mut model = Model::new(sample());
        let id = || "held-1".to_owned();
        let does = |verb| Action::Do { verb, id: id(), reason: None };
        assert_eq!(model.press(key(KeyCode::Char('r'))), does("retry"));
        assert_eq!(model.press(key(KeyCode::Char('h'))), does("release"));
        assert_eq!(model.press(key(KeyCode::Enter)), Action::Show(id()));
        model.press(key(KeyCode::Down));
        let hold = Action::Do { verb: "hold", id: "dead-1".into(), reason: None };
        assert_eq!(model.press(key(KeyCode::Char('h'))), hold);
        assert_eq!(model.press(key(KeyCode::Char('q'))), Action::Quit);
    }

    #[test]
    fn a_dismissal_wants_a_reason_and_can_be_called_off() {
        let mut model = Model::new(sample());
        type_in(&mut model, "d");
        assert_eq!(model.press(key(KeyCode::Enter)), Action::None, "blank is no reason");
        type_in(&mut model, " q x");
        model.press(key(KeyCode::Backspace));
        let dismiss = Action::Do { verb: "dismiss", id: "held-1".into(), reason: Some("q".into()) };
        assert_eq!(model.press(key(KeyCode::Enter)), dismiss);
        assert_eq!(model.mode, Mode::Browse);
        type_in(&mut model, "dno");
        assert_eq!(model.press(key(KeyCode::Esc)), Action::None);
        assert_eq!(model.mode, Mode::Browse);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        type_in(&mut model, "d");
        assert_eq!(model.press(interrupt), Action::Quit);
    }

    #[test]
    fn a_text_is_read_to_its_end_and_closed() {
        let mut model = Model::new(sample());
        model.open("a\nb\nc".into());
        model.press(key(KeyCode::PageDown));
        assert!(matches!(model.mode, Mode::Show { from: 2, .. }));
        model.press(key(KeyCode::Home));
        assert!(matches!(model.mode, Mode::Show { from: 0, .. }));
        assert_eq!(model.press(key(KeyCode::Esc)), Action::None);
        assert_eq!(model.mode, Mode::Browse);
    }

    #[test]
    fn a_lane_tells_why_its_last_try_failed() {
        let mut report = sample();
        report.lanes.lanes[0].reason = None;
        let mut model = Model::new(report);
        let failed = Line { event: "fail".into(), id: "held-1".into(), ..Line::default() };
        model.add([failed.because("the model is away")]);
        assert_eq!(model.reason(&model.report.lanes.lanes[0]), Some("the model is away"));
        let beside = model.reason(&model.report.lanes.lanes[1]);
        assert_eq!(beside, Some("there is no such session"));
    }

    #[test]
    fn the_journal_is_bounded_and_a_new_try_begins_without_evidence() {
        let mut model = Model::new(sample());
        let line = |event: &str, evidence: Option<&str>| Line {
            event: event.into(),
            id: "a".into(),
            at: 7,
            evidence: evidence.map(Into::into),
            ..Line::default()
        };
        model.add([line("take", None), line("evidence", Some("committed"))]);
        assert_eq!(model.tracks["a"].evidence.as_deref(), Some("committed"));
        model.add([line("rekey", None)]);
        assert_eq!((model.tracks["a"].evidence.as_deref(), model.tracks["a"].taken_at), (None, Some(7)));
        model.add((0..2 * MAX_LINES).map(|_| line("take", None)));
        assert_eq!(model.journal.len(), MAX_LINES);
    }
}
