//! What is written down before the job starts, and the things of the spool that the run holds on to.
//!
//! The order is that of `spool-format.md`: log, lease, intent flushed, and only then the job. Where any of it cannot
//! be had there is no run, and the job starts without one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use spooldir::record::{MAX_LABEL, check_session_key};
use spooldir::run::{Intent, Lease, RunRoute, boot_id};
use spooldir::time::now_ms;
use spooldir::{Error, Id, Spool, locate, sanitize};

use crate::args::{Args, Output};
use crate::say;

/// The most of a command line that is kept, in bytes; intents and records are small.
const MAX_COMMAND: usize = 8 * 1024;

/// A run that is open in the spool.
pub struct Open {
    pub spool: Spool,
    pub id: Id,
    pub intent: Intent,
    /// Dropped last: it falls when the completion is published and the run closed.
    pub lease: Lease,
    /// Takes the output of the job.
    pub log: File,
}

impl Open {
    /// Gives up the lease and the log.
    pub fn let_go(self) -> (Spool, Id) {
        (self.spool, self.id)
    }
}

/// Opens the run.
///
/// # Errors
/// Those of the spool; then there is no run and nothing is left of it.
pub fn open(args: &Args) -> Result<Open, Error> {
    let dir = locate::spool_dir(args.spool.as_deref(), &locate::process_env)?;
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let spool = Spool::create(&dir)?;
    let mut intent = compose(args);
    if let Some(id) = &args.id {
        match open_as(&spool, id, &mut intent)? {
            Some(open) => return Ok(open),
            // A run that reports under another id is better than one that cannot report.
            None if !args.strict => say(&format!("the id {id} is taken; this run gets a new one")),
            None => return Err(Error::Conflict { id: id.to_string(), state: "there" }),
        }
    }
    let id = Id::mint();
    match open_as(&spool, &id, &mut intent)? {
        Some(open) => Ok(open),
        None => Err(Error::Conflict { id: id.to_string(), state: "there" }),
    }
}

/// `None` when the id belongs to another run or record.
fn open_as(spool: &Spool, id: &Id, intent: &mut Intent) -> Result<Option<Open>, Error> {
    if spool.find(id)?.is_some() {
        return Ok(None);
    }
    let path = spool.log_path(id);
    let log = match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
        Ok(log) => log,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
        Err(source) => return Err(Error::Io { verb: "create", path, source }),
    };
    intent.id = id.to_string();
    match spool.open_run(id, intent) {
        Ok(lease) => {
            Ok(Some(Open { spool: spool.clone(), id: id.clone(), intent: intent.clone(), lease, log }))
        }
        Err(e) => {
            let _gone = std::fs::remove_file(&path).is_ok();
            match e {
                Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
                e => Err(e),
            }
        }
    }
}

fn compose(args: &Args) -> Intent {
    Intent {
        v: 1,
        id: String::new(),
        session_key: session(args),
        label: args.label.as_deref().map(|label| label.chars().take(MAX_LABEL).collect()),
        command: command(args.command.iter().map(|word| word.to_string_lossy().into_owned())),
        cwd: std::env::current_dir().ok().map(|dir| dir.to_string_lossy().into_owned()),
        host: Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        boot_id: boot_id(),
        started_at: now_ms(),
        notify: args.notify.map(|n| n.as_str().to_owned()),
        deliver: args.deliver.map(|d| d.as_str().to_owned()),
        output: args.output.map(|output| {
            let word = match output {
                Output::Tail => "tail",
                Output::Path => "path",
                Output::None => "none",
            };
            word.to_owned()
        }),
        tail_lines: args.tail,
        route: route(),
        traceparent: std::env::var("TRACEPARENT").ok().filter(|t| t.len() <= 128 && t.is_ascii()),
    }
}

fn session(args: &Args) -> Option<String> {
    let Some(key) = locate::session(args.session.as_deref(), &locate::process_env) else {
        say("no session is named: the completion will be held until a person routes it \
             (--session KEY or SPOOL_SESSION)");
        return None;
    };
    match check_session_key(&key) {
        Ok(()) => Some(key),
        Err(rule) => {
            say(&format!("the session in the environment {rule}: the completion will be held"));
            None
        }
    }
}

/// Where the answer belongs, if whoever starts us says it whole: `SPOOL_ROUTE`, JSON with `channel` and `to`.
///
/// `OPENCLAW_CHANNEL_CONTEXT` is not enough: it holds the ids of sender and chat (`{"sender":{"id"},"chat":{"id"}}`)
/// but neither the channel nor the account they are of. Half a route would be a guess, and a guess can tell the wrong
/// people; the agent's own look at the session fills it in instead.
fn route() -> Option<RunRoute> {
    let text = std::env::var("SPOOL_ROUTE").ok().filter(|t| !t.trim().is_empty())?;
    let route =
        serde_json::from_str(&text).ok().filter(|r: &RunRoute| !r.channel.is_empty() && !r.to.is_empty());
    if route.is_none() {
        say("SPOOL_ROUTE is not a route (JSON with \"channel\" and \"to\"); it is passed over");
    }
    route
}

/// The words of a command line, so many of them as fit.
fn command(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut room = MAX_COMMAND;
    let mut kept = Vec::new();
    for mut word in words {
        if word.len() > room {
            word.truncate(sanitize::boundary_before(&word, room));
            kept.push(word + "…");
            break;
        }
        room -= word.len();
        kept.push(word);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_line_is_cut_and_marked() {
        let words = ["echo".to_owned(), "é".repeat(MAX_COMMAND), "gone".to_owned()];
        let kept = command(words.into_iter());
        assert_eq!(kept.len(), 2);
        assert!(kept[1].ends_with("é…") && kept[1].len() <= MAX_COMMAND + "…".len());
        let short = ["a".to_owned(), "b".to_owned()];
        assert_eq!(command(short.clone().into_iter()), short);
    }
}
