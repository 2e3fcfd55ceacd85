//! The agent's log: one line for each event, to a person, a program or the journal of systemd.
//!
//! What it keeps true: one event is one line, whatever somebody chose for a name in it; no line says what a record says,
//! nor a secret; what repeats itself is counted (`repeats`), so that ten thousand records for a missing session make no
//! ten thousand lines; and nothing that goes wrong here stops a delivery.
//!
//! Where the journal reads stderr, which systemd tells by `JOURNAL_STREAM`, it is given the fields apart, so that
//! `journalctl SPOOL_SESSION=...` finds them.

mod line;
mod repeats;

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::fd::AsFd;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use line::{Fields, Line};
use repeats::Repeats;

/// Where the journal of systemd takes events, sd_journal_sendv(3).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The form of the lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Fields where the journal of systemd reads stderr, else for people.
    #[default]
    Auto,
    /// For people.
    Human,
    /// An object a line.
    Json,
    /// Fields, to the journal of systemd.
    Journald,
}

/// The words for them.
pub const FORMATS: [&str; 4] = ["auto", "human", "json", "journald"];

impl Format {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Human => "human",
            Format::Json => "json",
            Format::Journald => "journald",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Format, String> {
        match word {
            "auto" => Ok(Format::Auto),
            "human" => Ok(Format::Human),
            "json" => Ok(Format::Json),
            "journald" => Ok(Format::Journald),
            _ => {
                let close = crate::suggest::closest(word, FORMATS);
                Err(format!("a log is one of {}{close}", FORMATS.join(", ")))
            }
        }
    }
}

/// Says at the end what was counted and not said.
#[must_use]
pub struct Log(Arc<Mutex<Sink>>);

impl Drop for Log {
    fn drop(&mut self) {
        if let Ok(mut sink) = self.0.lock() {
            sink.say_repeats(None);
        }
    }
}

/// Starts it, once for a process.
pub fn start(level: LevelFilter, format: Format) -> Log {
    let format = match format {
        Format::Auto if is_journal() => Format::Journald,
        Format::Auto => Format::Human,
        said => said,
    };
    let sink = Arc::new(Mutex::new(Sink::new(format)));
    let subscriber = tracing_subscriber::registry().with(Logger { sink: sink.clone() }.with_filter(level));
    // The first one stays, and there is only one.
    let _is_first = tracing::subscriber::set_global_default(subscriber).is_ok();
    Log(sink)
}

/// Whether what we write to stderr goes to the journal: systemd.exec(5), `JOURNAL_STREAM`.
fn is_journal() -> bool {
    let said = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stderr = rustix::fs::fstat(std::io::stderr().as_fd());
    stderr.is_ok_and(|stat| said == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Where lines go.
struct Sink {
    format: Format,
    journal: Option<UnixDatagram>,
    repeats: Repeats,
    /// Whether somebody will come and say what was counted.
    is_awaited: bool,
}

impl Sink {
    fn new(format: Format) -> Sink {
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(JOURNAL)?;
            Ok::<_, std::io::Error>(socket)
        };
        let journal = if format == Format::Journald { connect().ok() } else { None };
        Sink { format, journal, repeats: Repeats::default(), is_awaited: false }
    }

    fn say(&self, line: &Line) {
        let text = match (self.format, &self.journal) {
            (Format::Json, _) => line.json(),
            (Format::Journald, Some(journal)) => {
                if journal.send(&line.journal()).is_ok() {
                    return;
                }
                line.human()
            }
            _ => line.human(),
        };
        // Where stderr is closed there is nobody left to tell.
        let _told = writeln!(std::io::stderr(), "{text}").is_ok();
    }

    /// Says how often was repeated what was not said: all of it, or what is due by now.
    fn say_repeats(&mut self, now: Option<Instant>) {
        for (line, more) in self.repeats.due(now) {
            self.say(&line.again(more));
        }
    }
}

struct Logger {
    sink: Arc<Mutex<Sink>>,
}

impl<S> Layer<S> for Logger
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(about) = span.extensions().get::<Fields>() {
                fields.join(about);
            }
        }
        let line = Line::new(*event.metadata().level(), fields);
        let Ok(mut sink) = self.sink.lock() else { return };
        let now = Instant::now();
        sink.say_repeats(Some(now));
        if sink.repeats.may_say(&line, now) {
            sink.say(&line);
        } else if !std::mem::replace(&mut sink.is_awaited, true) {
            drop(sink);
            self.await_repeats();
        }
    }
}

impl Logger {
    /// Says what was counted when its time is over, also if nothing else happens.
    fn await_repeats(&self) {
        let sink = self.sink.clone();
        let wait = move || {
            std::thread::sleep(repeats::WINDOW);
            if let Ok(mut sink) = sink.lock() {
                sink.is_awaited = false;
                sink.say_repeats(None);
            }
        };
        // Without a thread it is said with the next event, or at the end.
        let _later = std::thread::Builder::new().name("log".into()).spawn(wait).is_ok();
    }
}
