//! The keyboard, read with a deadline and until the terminal is gone.
//!
//! Bytes are read and understood here, and not by the terminal's library: that one reads on for ever from a terminal
//! that was closed, and takes a processor for it. What a terminal sends for the few keys of a view is the same
//! everywhere (ECMA-48 for the sequences, with the forms of xterm and of the VT220). What is not known is no key.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long the rest of a sequence may take to arrive; an escape key sends nothing more.
const REST: Duration = Duration::from_millis(30);
/// How much is read at once; more is typed by nobody.
const CHUNK: usize = 1024;

/// The keyboard of the terminal.
pub struct Keyboard {
    /// The terminal, where stdin is none.
    tty: Option<File>,
}

impl Keyboard {
    /// The terminal at stdin, else the one that controls the process.
    ///
    /// # Errors
    /// Those of opening it: there is none.
    pub fn open() -> io::Result<Keyboard> {
        let tty = if io::stdin().is_terminal() { None } else { Some(File::open("/dev/tty")?) };
        Ok(Keyboard { tty })
    }

    /// The keys that were pressed until something was, or the time is over. `None`: the terminal is gone.
    ///
    /// # Errors
    /// Those of poll(2) and read(2) that do not say that it is gone.
    pub fn keys(&self, most: Duration) -> io::Result<Option<Vec<KeyEvent>>> {
        let stdin = io::stdin();
        let fd = self.tty.as_ref().map_or_else(|| stdin.as_fd(), |tty| tty.as_fd());
        let mut bytes = Vec::new();
        let mut wait = most;
        loop {
            match read(fd, wait)? {
                Read::Gone => return Ok(None),
                Read::Nothing => break,
                Read::Bytes(more) => bytes.extend(more),
            }
            if !is_begun(&bytes) || bytes.len() > CHUNK {
                break;
            }
            wait = REST;
        }
        Ok(Some(parse(&bytes)))
    }
}

enum Read {
    Gone,
    Nothing,
    Bytes(Vec<u8>),
}

fn read(fd: BorrowedFd<'_>, most: Duration) -> io::Result<Read> {
    let mut watched = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match poll(&mut watched, Timespec::try_from(most).ok().as_ref()) {
        // A signal: whoever waits looks what it was.
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Read::Nothing),
        Ok(_) => {}
        Err(e) => return Err(e.into()),
    }
    if !watched[0].revents().contains(PollFlags::IN) {
        return Ok(Read::Gone);
    }
    let mut chunk = [0; CHUNK];
    match rustix::io::read(fd, &mut chunk) {
        Ok(0) | Err(rustix::io::Errno::IO) => Ok(Read::Gone),
        Ok(n) => Ok(Read::Bytes(chunk.get(..n).unwrap_or_default().to_vec())),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(Read::Nothing),
        Err(e) => Err(e.into()),
    }
}

/// Whether the end of the bytes may be the beginning of something.
fn is_begun(bytes: &[u8]) -> bool {
    let sequence = bytes.iter().rposition(|b| *b == 0x1b).and_then(|at| bytes.get(at + 1..));
    let is_sequence = sequence.is_some_and(|rest| match rest {
        [] | [b'[' | b'O'] => true,
        [b'[', params @ ..] => params.iter().all(|b| !(0x40..=0x7e).contains(b)),
        _ => false,
    });
    is_sequence || std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// The keys that the bytes stand for.
fn parse(bytes: &[u8]) -> Vec<KeyEvent> {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().peekable();
    let mut keys = Vec::new();
    while let Some(c) = chars.next() {
        let code = match c {
            '\u{1b}' => match chars.next_if(|c| matches!(c, '[' | 'O')) {
                Some(_) => {
                    let mut params = String::new();
                    let end = loop {
                        match chars.next() {
                            Some(c @ '\u{40}'..='\u{7e}') => break c,
                            Some(c) => params.push(c),
                            None => break ' ',
                        }
                    };
                    sequence(&params, end)
                }
                // With the meta key, a letter comes after an escape.
                None => chars.next().is_none().then_some(KeyCode::Esc),
            },
            '\r' | '\n' => Some(KeyCode::Enter),
            '\u{7f}' | '\u{8}' => Some(KeyCode::Backspace),
            '\u{3}' => {
                keys.push(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
                None
            }
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER => None,
            c => Some(KeyCode::Char(c)),
        };
        keys.extend(code.map(|code| KeyEvent::new(code, KeyModifiers::NONE)));
    }
    keys
}

fn sequence(params: &str, end: char) -> Option<KeyCode> {
    // What follows a semicolon says which keys were held down with it.
    let first = params.split(';').next().unwrap_or_default();
    Some(match (end, first) {
        ('A', _) => KeyCode::Up,
        ('B', _) => KeyCode::Down,
        ('H', _) | ('~', "1" | "7") => KeyCode::Home,
        ('F', _) | ('~', "4" | "8") => KeyCode::End,
        ('~', "5") => KeyCode::PageUp,
        ('~', "6") => KeyCode::PageDown,
        ('M', "") => KeyCode::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(bytes: &[u8]) -> Vec<KeyCode> {
        parse(bytes).into_iter().map(|key| key.code).collect()
    }

    #[test]
    fn what_terminals_send_is_understood() {
        use KeyCode::{Backspace, Char, Down, End, Enter, Esc, Home, PageDown, PageUp, Up};
        let keys = b"\x1b[A\x1b[B\x1bOA\x1b[1;5B\x1b[5~\x1b[6~\x1b[H\x1bOF\x1b[1~\x1b[4~\r\x7fq\xc3\xa9";
        let expected = vec![
            Up,
            Down,
            Up,
            Down,
            PageUp,
            PageDown,
            Home,
            End,
            Home,
            End,
            Enter,
            Backspace,
            Char('q'),
            Char('é'),
        ];
        assert_eq!(codes(keys), expected);
        assert_eq!(codes(b"\x1b"), [Esc]);
        assert!(codes(b"\x1b[200~\x1b[C\x1bx\x01\xff").is_empty());
        let interrupt = parse(b"\x03");
        assert!(interrupt[0].modifiers.contains(KeyModifiers::CONTROL), "{interrupt:?}");
    }

    #[test]
    fn a_key_that_came_in_part_is_waited_for() {
        for begun in [&b"\x1b"[..], b"x\x1b[", b"\x1b[1;", b"\x1bO", b"a\xc3"] {
            assert!(is_begun(begun), "{begun:?}");
        }
        for whole in [&b""[..], b"x", b"\x1b[A", b"\x1b[5~", "é".as_bytes(), b"\xff"] {
            assert!(!is_begun(whole), "{whole:?}");
        }
    }
}
