//! Reading what a runner hands over: bounded in size and in time, and lenient where a strict reader would lose a report
//! for a flaw that is not in what the report says.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::Value;
use spooldir::exit;

use crate::Failure;

/// The most that is read, in bytes.
const LIMIT: usize = 1024 * 1024;
/// How long a runner may take to hand it over, and to close its end if it does not stop at the end of the document.
const PATIENCE: Duration = Duration::from_secs(5);

/// The JSON document on standard input.
///
/// # Errors
/// A [`Failure`] when it does not come, is too large, or is no JSON object.
pub fn stdin() -> Result<Value, Failure> {
    // The same file without the buffer of std, so that waiting and reading see the same bytes.
    let file = io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(|e| unreadable(&e))?;
    read(file, PATIENCE)
}

fn read(mut file: File, patience: Duration) -> Result<Value, Failure> {
    let started = Instant::now();
    let mut bytes: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        if !is_ready(&file, patience.saturating_sub(started.elapsed())).map_err(|e| unreadable(&e))? {
            // Whoever holds the pipe open may have said everything all the same.
            let why = format!("nothing whole came on standard input within {} s", patience.as_secs());
            return document(&bytes).map_err(|_| Failure::new(exit::DATA, why));
        }
        let n = match file.read(&mut chunk) {
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => continue,
            other => other.map_err(|e| unreadable(&e))?,
        };
        if n == 0 {
            return document(&bytes);
        }
        bytes.extend_from_slice(&chunk[..n]);
        if bytes.len() > LIMIT {
            let why = format!("more than {LIMIT} bytes came on standard input; a hook hands over less");
            return Err(Failure::new(exit::DATA, why));
        }
        // A runner that forgets to close the pipe is not waited for.
        if bytes.trim_ascii_end().ends_with(b"}")
            && let Ok(value) = document(&bytes)
        {
            return Ok(value);
        }
    }
}

/// Waits until there is something to read, or the end of it.
fn is_ready(file: &File, within: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // At most PATIENCE, so the number of seconds is small.
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
            Ok(n) => return Ok(n > 0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(exit::IO, format!("cannot read standard input: {error}"))
}

/// The JSON document in the last argument.
///
/// # Errors
/// A [`Failure`] when there is none, or it is no JSON object.
pub fn argument(words: &[String]) -> Result<Value, Failure> {
    let Some(last) = words.last() else {
        return Err(Failure::new(
            exit::DATA,
            "the JSON document that belongs in the last argument is missing",
        ));
    };
    document(last.as_bytes())
}

/// Reads a JSON object. A byte order mark is passed over; what is not UTF-8, and half of a surrogate pair (which is what
/// cutting a string in JavaScript leaves), is replaced.
fn document(bytes: &[u8]) -> Result<Value, Failure> {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let value = serde_json::from_slice(text.as_bytes()).or_else(|e| match mend(&text) {
        Some(mended) => serde_json::from_slice(mended.as_bytes()).map_err(|_| e),
        None => Err(e),
    });
    match value {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Failure::new(exit::DATA, "what was handed over is not a JSON object")),
        Err(_) if text.trim().is_empty() => Err(Failure::new(exit::DATA, "nothing was handed over")),
        Err(e) => {
            let (line, column) = (e.line(), e.column());
            let why = format!("what was handed over is not JSON at line {line} column {column}");
            Err(Failure::new(exit::DATA, why))
        }
    }
}

/// Replaces escaped surrogates that have no partner; `None` when there are none.
fn mend(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut mended = String::with_capacity(text.len());
    let (mut at, mut has_changed) = (0, false);
    while let Some(rest) = text.get(at..) {
        let Some(next) = rest.find('\\') else {
            mended.push_str(rest);
            break;
        };
        mended.push_str(&rest[..next]);
        at += next;
        let (width, is_lone) = match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => (12, false),
            (Some(0xd800..=0xdfff), _) => (6, true),
            // The escape and what it escapes: a second backslash does not begin another one.
            _ => (1 + text[at + 1..].chars().next().map_or(0, char::len_utf8), false),
        };
        mended.push_str(if is_lone { "\\ufffd" } else { &text[at..at + width] });
        has_changed |= is_lone;
        at += width;
    }
    has_changed.then_some(mended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn of(bytes: &[u8]) -> Result<Value, String> {
        document(bytes).map_err(|failure| failure.sentence)
    }

    #[test]
    fn flaws_that_are_not_in_what_is_said_cost_nothing() {
        assert_eq!(of(b"\xef\xbb\xbf{\"a\":1}\n").unwrap()["a"], 1);
        assert_eq!(of(b"{\"a\":\"x\xff\"}").unwrap()["a"], "x\u{fffd}");
        assert_eq!(of(b"{\"a\":1,\"a\":2}").unwrap()["a"], 2);
        for (raw, read) in [
            (r"cut \ud83d", "cut \u{fffd}"),
            (r"\ude00\ud83d\ude00\ud83d", "\u{fffd}\u{1f600}\u{fffd}"),
            (r"\\ud83d \ud83dx é\n", "\\ud83d \u{fffd}x é\n"),
        ] {
            assert_eq!(of(format!("{{\"a\":\"{raw}\"}}").as_bytes()).unwrap()["a"], read);
        }
    }

    #[test]
    fn garbage_is_refused_and_not_quoted() {
        for bytes in
            [&b""[..], b"\n", b"[\"secret\"]", b"secret", b"{\"secret\":\"\\ud83d", b"{\"secret\"", b"\\"]
        {
            let why = of(bytes).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(of(&b"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_pipe_that_is_never_closed_is_waited_for_only_as_long_as_it_is_incomplete() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"{\"a\":{\"b\":1}}").unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        assert_eq!(read(file.try_clone().unwrap(), Duration::from_secs(60)).unwrap()["a"]["b"], 1);
        writer.write_all(b"{\"a\":{\"b\":1}").unwrap();
        let late = read(file, Duration::from_millis(50)).unwrap_err();
        assert!(late.sentence.contains("within"), "{}", late.sentence);
    }

    #[test]
    fn a_flood_is_cut_off() {
        let (reader, mut writer) = io::pipe().unwrap();
        let flood = std::thread::spawn(move || while writer.write_all(&[b'{'; 65536]).is_ok() {});
        let file = File::from(std::os::fd::OwnedFd::from(reader));
        let late = read(file, Duration::from_secs(60)).unwrap_err();
        assert!(late.sentence.contains("more than"), "{}", late.sentence);
        flood.join().unwrap();
    }
}
