//! `spool watch`: the spool as it lives: lanes, what is being sent and how far it came, the clocks of those that wait,
//! and the journal as it grows; with keys for what a person decides.
//!
//! It looks at the directories, the journal and `agent.json` as the other verbs do, so it works with the agent up or
//! down, and asks the agent nothing. Where stdout is no terminal, or with `--json`, it prints a JSON line for each thing
//! that happens instead (docs/json.md).
//!
//! The rooms: [`model`] holds what is shown and what a key means, [`render`] draws it; both are pure. [`keys`] reads the
//! keyboard, [`lines`] prints. Here are the
//! terminal, the clock and the disk. A look that takes long (a hundred thousand receipts) is repeated less often, so
//! that watching costs a tenth of a processor at most.

mod keys;
mod lines;
mod model;
mod render;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spooldir::journal::Line;
use spooldir::time::now_ms;
use spooldir::{Spool, exit};

use crate::args::Args;
use crate::lane::Memory;
use crate::status::report::Report;
use crate::tail::Tail;
use crate::terminal::wants_colour;
use crate::{Failure, operate, show};
use keys::Keyboard;
use model::{Action, Model};
use render::Theme;

/// How many records of a state are opened at a look.
const MAX_OPENED: usize = 200;
/// How much of the journal is read at first, in bytes, of each of the last two days.
const FIRST: u64 = 128 * 1024;
/// How many of its lines one look takes in.
const MAX_LINES: usize = 1000;
/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(400);
/// Between two drawings, at most, so that clocks tick.
const FRAME: Duration = Duration::from_millis(250);

/// Looks at the spool again and again.
struct Eye<'a> {
    spool: &'a Spool,
    memory: Memory,
    tail: Tail,
    next: Instant,
}

impl<'a> Eye<'a> {
    fn new(spool: &'a Spool) -> Eye<'a> {
        Eye { spool, memory: Memory::new(), tail: Tail::new(FIRST), next: Instant::now() }
    }

    /// What was added to the journal since the last look; of a flood the last lines.
    fn lines(&mut self) -> VecDeque<Line> {
        let mut lines = VecDeque::new();
        self.tail.read_on(self.spool, |line| {
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        });
        lines
    }

    /// How all is, if it is time to look.
    fn look(&mut self) -> Option<Result<Report, Failure>> {
        let started = Instant::now();
        if started < self.next {
            return None;
        }
        let seen = Report::glance(self.spool, MAX_OPENED, &mut self.memory);
        self.next = Instant::now() + PAUSE.max(started.elapsed() * 10);
        Some(seen)
    }
}

/// Watches until the person has seen enough, or the reader hangs up.
///
/// # Errors
/// What the spool says when it cannot be read at first; those of the terminal.
pub fn run(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut eye = Eye::new(spool);
    let first = Report::glance(spool, MAX_OPENED, &mut eye.memory)?;
    if args.json || !io::stdout().is_terminal() {
        return lines::run(eye, first, out);
    }
    let mut model = Model::new(first);
    model.add(eye.lines());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).map_err(trouble)?;
    }
    let keyboard = Keyboard::open().map_err(trouble)?;
    crate::keep_complaints(true);
    let mut terminal = ratatui::try_init().map_err(trouble)?;
    let ended = live(&mut terminal, &keyboard, &mut eye, &mut model, &stop);
    ratatui::restore();
    crate::keep_complaints(false);
    ended.map_err(trouble)?;
    Ok(exit::OK)
}

fn trouble(e: io::Error) -> Failure {
    let why = format!("cannot use the terminal: {e}; spool watch --json needs none");
    Failure::new(exit::IO, why)
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    keyboard: &Keyboard,
    eye: &mut Eye<'_>,
    model: &mut Model,
    stop: &AtomicBool,
) -> io::Result<()> {
    let theme = Theme { colour: wants_colour() };
    while !stop.load(Ordering::Relaxed) {
        model.add(eye.lines());
        match eye.look() {
            Some(Ok(report)) => model.see(report),
            Some(Err(failure)) => model.say(failure.message, true),
            None => {}
        }
        for words in crate::kept_complaints() {
            model.say(words, true);
        }
        model.now_ms = now_ms();
        terminal.draw(|frame| render::draw(model, theme, frame))?;
        // A terminal that is gone has nobody in front of it. (A new size is seen when it is drawn.)
        let Some(keys) = keyboard.keys(FRAME)? else { break };
        for key in keys {
            match model.press(key) {
                Action::None => {}
                Action::Quit => return Ok(()),
                Action::Show(id) => match details(eye.spool, &id) {
                    Ok(text) => model.open(text),
                    Err(failure) => model.say(failure.message, true),
                },
                Action::Do { verb, id, reason } => {
                    let args = Args { ids: vec![id.clone()], reason, ..Args::default() };
                    match operate::persist(verb, eye.spool, &id, &args) {
                        Ok(done) => {
                            model.say(format!("{} {} (was {})", done.id, done.state, done.was), false)
                        }
                        Err(failure) => model.say(failure.message, true),
                    }
                    eye.next = Instant::now();
                }
            }
        }
    }
    Ok(())
}

/// What `spool show` prints.
fn details(spool: &Spool, id: &str) -> Result<String, Failure> {
    let mut text = Vec::new();
    let args = Args { ids: vec![id.to_owned()], ..Args::default() };
    show::run(spool, &args, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
