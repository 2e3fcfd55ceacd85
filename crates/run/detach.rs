//! `--detach`: the run goes on in the background, in a session of its own.
//!
//! This program is started a second time, with `--detached`. It answers over its stdout, in one line, when the run is on
//! the disk; only then does the first one say so and end. Whatever goes wrong before that is on the first one's stderr.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use spooldir::Id;

use crate::args::Args;
use crate::{Leave, code, print, say};

/// How long the second one may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The answer when there is no run in the spool.
const UNRECORDED: &str = "unrecorded";

/// Starts the run in the background and says which it is.
pub fn start(args: &Args) -> Leave {
    match try_start(args) {
        Ok(leave) => leave,
        Err(e) => {
            say(&format!("cannot go on in the background: {e}"));
            Leave::Code(code::OWN)
        }
    }
}

fn try_start(args: &Args) -> io::Result<Leave> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--detached");
    if args.id.is_none() {
        command.arg("--id").arg(Id::mint().as_str());
    }
    command.args(std::env::args_os().skip(1)).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (answer, answered) = sync_channel(1);
    let stdout = child.stdout.take();
    std::thread::Builder::new().name("answer".into()).spawn(move || {
        let mut line = String::new();
        if let Some(stdout) = stdout {
            let _read = BufReader::new(stdout).read_line(&mut line).is_ok();
        }
        let _told = answer.send(line).is_ok();
    })?;
    match answered.recv_timeout(ANSWER) {
        Ok(line) if line.trim_end() == UNRECORDED => {
            say("the command runs, but it is not recorded: nobody will hear of its end");
            Ok(Leave::Code(0))
        }
        Ok(line) if !line.is_empty() => Ok(print(&line)),
        // It ended without a word, that is, with words on stderr.
        Ok(_) => {
            let number = child.wait()?.code().and_then(|number| u8::try_from(number).ok());
            Ok(Leave::Code(number.filter(|number| *number != 0).unwrap_or(code::OWN)))
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it has not answered for 30 s; spool list --state running shows whether it runs",
        )),
    }
}

/// In the second one, before anything is opened: leaves the terminal and its signals.
pub fn leave_session() {
    if let Err(e) = rustix::process::setsid() {
        say(&format!("cannot leave the session: {e}"));
    }
}

/// In the second one, when the run is open or cannot be: answers, and lets go of the first one's stdout and stderr.
pub fn answer(id: Option<&Id>) {
    let line = id.map_or_else(|| UNRECORDED.to_owned(), |id| format!("running {id}"));
    let mut stdout = io::stdout();
    let _heard = writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_ok();
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _done =
            rustix::stdio::dup2_stdout(&null).and_then(|()| rustix::stdio::dup2_stderr(&null)).is_ok();
    }
}
