//! `spool watch`: where nobody looks at a terminal, a JSON line for each thing that happens, until the reader hangs up;
//! at a terminal, the keys, and its end.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde_json::{Value, json};
use spooldir::journal::Line;
use spooldir::{Entry, Id, State};

use crate::support::TempSpool;
use crate::support::programs::{Cli, state, wait_until};

/// What `docs/json.md` promises of a line of the journal.
const MEMBERS: [&str; 11] =
    ["type", "at", "event", "id", "to", "sessionKey", "key", "attempts", "evidence", "reason", "by"];

#[test]
fn what_happens_is_told_in_lines_until_the_reader_hangs_up() {
    let spool = TempSpool::new();
    let old = Entry::new(Id::new("before").unwrap(), State::Pending);
    spool.spool.note(&[Line::about("accept", &old)]).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_spool"))
        .arg("watch")
        .env_clear()
        .env("SPOOL_DIR", spool.spool.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(
        (&first["type"], &first["health"], &first["counts"]["pending"]),
        (&json!("status"), &json!("no-agent"), &json!(0))
    );
    let record = json!({"id": "job-1", "sessionKey": "agent:main:a", "text": "x"});
    let id = Id::new("job-1").unwrap();
    spool.spool.publish(&id, record.to_string().as_bytes(), false).unwrap();
    let changed = next();
    assert_eq!((&changed["type"], &changed["counts"]["pending"]), (&json!("status"), &json!(1)));
    Cli::new(&spool, &["dismiss", "job-1", "--reason", "a\u{1b}[31m\nb"]).run().exits(0);
    let told = std::iter::from_fn(|| Some(next())).find(|line| line["type"] == "journal").unwrap();
    assert_eq!(
        (&told["event"], &told["id"], &told["by"]),
        (&json!("dismiss"), &json!("job-1"), &json!("operator"))
    );
    let mut members: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    let mut promised = MEMBERS;
    members.sort_unstable();
    promised.sort_unstable();
    assert_eq!(members, promised);
    assert_eq!(state(&spool.spool, "job-1"), "dismissed");
    drop(lines);
    let mut code = None;
    wait_until("it ends when nobody reads it", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
}

#[test]
fn a_spool_that_is_not_there_cannot_be_watched() {
    let spool = TempSpool::new();
    let nowhere = spool.home().join("nowhere");
    Cli::new(&spool, &["watch"]).env("SPOOL_DIR", nowhere).run().exits(78).says("no such directory");
}

/// `spool watch` at a terminal of the test's; it controls no process, so nothing but its end tells that it is gone.
struct Screen {
    child: Child,
    terminal: Option<OwnedFd>,
    shown: String,
}

impl Screen {
    fn start(spool: &TempSpool) -> Screen {
        let terminal =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::pty::grantpt(&terminal).unwrap();
        rustix::pty::unlockpt(&terminal).unwrap();
        let name = rustix::pty::ptsname(&terminal, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_spool"))
            .arg("watch")
            .env_clear()
            .env("SPOOL_DIR", spool.spool.root())
            .env("TERM", "xterm")
            .stdin(slave.try_clone().unwrap())
            .stdout(slave)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // No end of the terminal lives on but those two.
        Screen { child, terminal: Some(terminal), shown: String::new() }
    }

    /// Waits until it shows a text that came after the last one.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let terminal = self.terminal.as_ref().unwrap();
        wait_until(&format!("the screen shows {text:?}"), || {
            let mut ready = [PollFd::new(terminal, PollFlags::IN)];
            let soon = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            if poll(&mut ready, Some(&soon)).unwrap() > 0 {
                let mut chunk = [0; 4096];
                let n = rustix::io::read(terminal, &mut chunk).unwrap();
                self.shown.push_str(&String::from_utf8_lossy(&chunk[..n]));
            }
            self.shown.contains(text)
        });
        self.shown.clear();
    }

    fn types(&self, keys: &str) {
        rustix::io::write(self.terminal.as_ref().unwrap(), keys.as_bytes()).unwrap();
    }

    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

#[test]
fn keys_decide_and_the_terminal_is_left_as_it_was() {
    let spool = TempSpool::new();
    let record = json!({"id": "job-1", "sessionKey": "agent:main:a", "text": "x"});
    spool.spool.publish(&Id::new("job-1").unwrap(), record.to_string().as_bytes(), false).unwrap();
    let mut screen = Screen::start(&spool);
    screen.shows("quit");
    screen.types("d");
    screen.shows("why dismiss");
    screen.types("no longer wanted\r");
    wait_until("it is dismissed", || state(&spool.spool, "job-1") == "dismissed");
    screen.types("q");
    // The screen that was there before comes back.
    screen.shows("\u{1b}[?1049l");
    assert_eq!(screen.ends(), Some(0));
}

#[test]
fn a_terminal_that_is_gone_ends_it() {
    let spool = TempSpool::new();
    let mut screen = Screen::start(&spool);
    screen.shows("quit");
    screen.terminal = None;
    screen.ends();
}
