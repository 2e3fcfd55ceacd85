//! A receiver that does no work: it speaks just enough of the gateway's protocol that a delivery is looked at, sent,
//! committed and answered, with as little effort as that takes.
//!
//! What the agent is measured against must not be what is measured. So the frames are answered from a buffer, without
//! being parsed beyond the members that an answer repeats, and all answers to what was read at once leave in one write.
//! It can be made to need so long for each delivery, one after the other ([`Pace`]), without being busy meanwhile. And
//! it tells when each delivery reached it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a receiver needs for a delivery.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// For each, one after the other.
    pub each: Duration,
    /// For those to sessions whose name ends in `-slow`, beside all others.
    pub slow: Duration,
}

/// A delivery that has reached the receiver.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When its frame was read.
    pub at: Instant,
    /// Its text, as it stands in the frame.
    pub text: String,
}

/// Listens on loopback and serves whoever comes, each by a thread, until the process ends. `tell` hears of arrivals.
///
/// # Errors
/// When there is no port.
pub fn start(pace: Pace, tell: Option<Sender<Arrival>>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            // A client that goes is no news.
            std::thread::spawn(move || Talk::with(stream, pace, tell).and_then(Talk::run).is_ok());
        }
    });
    Ok(address)
}

/// A connection.
struct Talk {
    stream: TcpStream,
    pace: Pace,
    tell: Option<Sender<Arrival>>,
    out: Vec<u8>,
    /// Answers that are due later, in that order, and those to slow sessions.
    late: VecDeque<(Instant, Vec<u8>)>,
    slow: VecDeque<(Instant, Vec<u8>)>,
    busy_until: Instant,
}

const CHALLENGE: &[u8] =
    br#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1,"capabilities":[]}}"#;
const HELLO: &[u8] = br#"{"type":"hello-ok","protocol":4,"server":{"version":"0","bootId":"b","connId":"c"},"features":{"methods":["agent","agent.wait","chat.history","sessions.describe","sessions.messages.subscribe","sessions.messages.unsubscribe","sessions.search"],"capabilities":[],"events":["session.message"]},"snapshot":{},"auth":{"method":"none","role":"operator","scopes":["operator.write"]},"policy":{"maxPayload":4194304,"tickIntervalMs":300000}}"#;
const SENT: &[u8] = br#"","status":"ok","result":{"deliveryStatus":{"requested":true,"attempted":true,"status":"sent","succeeded":true}}}"#;

impl Talk {
    fn with(stream: TcpStream, pace: Pace, tell: Option<Sender<Arrival>>) -> io::Result<Talk> {
        stream.set_nodelay(true)?;
        let socket = tungstenite::accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
        let stream = socket.into_inner();
        let (out, late, slow) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let mut talk = Talk { stream, pace, tell, out, late, slow, busy_until: Instant::now() };
        say(&mut talk.out, CHALLENGE);
        talk.flush()?;
        Ok(talk)
    }

    fn run(mut self) -> io::Result<()> {
        let mut chunk = vec![0; 256 * 1024];
        let mut read: Vec<u8> = Vec::new();
        loop {
            let due = [&self.late, &self.slow].into_iter().filter_map(|list| Some(list.front()?.0)).min();
            if let Some(due) = due
                && !self.is_readable_before(due)?
            {
                self.answer_late();
                self.flush()?;
                continue;
            }
            let length = self.stream.read(&mut chunk)?;
            if length == 0 {
                return Ok(());
            }
            read.extend_from_slice(&chunk[..length]);
            let mut at = 0;
            while let Some(frame) = Frame::read(&read[at..]) {
                let payload = &mut read[at + frame.start..at + frame.end];
                payload.iter_mut().zip(frame.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
                match frame.opcode {
                    1 => answer(&mut self, &read[at + frame.start..at + frame.end]),
                    8 => return Ok(()),
                    _ => {}
                }
                at += frame.end;
            }
            read.drain(..at);
            self.flush()?;
        }
    }

    /// Waits for the socket until then; whether there is something to read.
    fn is_readable_before(&self, due: Instant) -> io::Result<bool> {
        let wait = due.saturating_duration_since(Instant::now());
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut sockets = [PollFd::new(&self.stream, PollFlags::IN)];
        Ok(poll(&mut sockets, Some(&wait))? > 0)
    }

    fn answer_late(&mut self) {
        let now = Instant::now();
        for list in [&mut self.late, &mut self.slow] {
            while list.front().is_some_and(|(due, _)| *due <= now)
                && let Some((_, frames)) = list.pop_front()
            {
                self.out.extend_from_slice(&frames);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        written
    }
}

/// A frame of a client: where its payload is, what it is, and how it is masked (RFC 6455, section 5.2).
struct Frame {
    start: usize,
    end: usize,
    opcode: u8,
    mask: [u8; 4],
}

impl Frame {
    /// `None`: it is not whole yet.
    fn read(bytes: &[u8]) -> Option<Frame> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, at) = match second & 127 {
            126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (usize::from(short), 2),
        };
        let mask = bytes.get(at..at + 4)?.try_into().ok()?;
        let end = (at + 4).checked_add(length).filter(|end| *end <= bytes.len())?;
        Some(Frame { start: at + 4, end, opcode: first & 15, mask })
    }
}

/// Writes a frame of a server around a text.
fn say(out: &mut Vec<u8>, text: &[u8]) {
    out.push(0x81);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// The text of a member, looked for at both ends first: in between is the message, in which no quote stands alone.
fn member<'a>(frame: &'a [u8], name: &[u8]) -> &'a [u8] {
    let find = |from: usize, to: usize| {
        let part = frame.get(from..to)?;
        part.windows(name.len()).position(|window| window == name).map(|at| from + at + name.len())
    };
    let (head, tail) = (frame.len().min(400), frame.len().saturating_sub(300));
    let start = find(0, head).or_else(|| find(tail, frame.len())).or_else(|| find(0, frame.len()));
    let Some(rest) = start.and_then(|start| frame.get(start..)) else { return b"" };
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
    &rest[..end]
}

fn reply(out: &mut Vec<u8>, id: &[u8], payload: &[&[u8]]) {
    let head: [&[u8]; 3] = [br#"{"type":"res","id":""#, id, br#"","ok":true,"payload":"#];
    say(out, &[head.concat(), payload.concat(), b"}".to_vec()].concat());
}

fn answer(talk: &mut Talk, frame: &[u8]) {
    let id = member(frame, br#""id":""#);
    let out = &mut talk.out;
    match member(frame, br#""method":""#) {
        b"connect" => reply(out, id, &[HELLO]),
        b"sessions.describe" => {
            let key = member(frame, br#""key":""#);
            let route: &[u8] =
                br#"","sessionId":"s","deliveryContext":{"channel":"telegram","to":"telegram:1"}}}"#;
            reply(out, id, &[br#"{"session":{"key":""#, key, route]);
        }
        b"agent" => turn(talk, id, frame),
        b"chat.history" => reply(out, id, &[br#"{"messages":[],"pendingInputs":{"items":[]}}"#]),
        b"agent.wait" => reply(out, id, &[br#"{"status":"timeout"}"#]),
        b"sessions.search" => reply(out, id, &[br#"{"results":[]}"#]),
        _ => reply(out, id, &[br#"{"subscribed":true,"key":""#, member(frame, br#""key":""#), br#""}"#]),
    }
}

/// A delivery: accepted at once, committed and sent when its time has come.
fn turn(talk: &mut Talk, id: &[u8], frame: &[u8]) {
    if let Some(tell) = &talk.tell {
        let text = String::from_utf8_lossy(frame).into_owned();
        // Whoever is gone does not want to know.
        let _told = tell.send(Arrival { at: Instant::now(), text }).is_ok();
    }
    let (key, session) = (member(frame, br#""idempotencyKey":""#), member(frame, br#""sessionKey":""#));
    reply(&mut talk.out, id, &[br#"{"runId":""#, key, br#"","status":"accepted"}"#]);
    let mut rest = Vec::new();
    let event: [&[u8]; 5] = [
        br#"{"type":"event","event":"session.message","payload":{"sessionKey":""#,
        session,
        br#"","message":{"role":"user","content":"x","idempotencyKey":""#,
        key,
        br#":user"},"messageId":"m","messageSeq":1}}"#,
    ];
    say(&mut rest, &event.concat());
    reply(&mut rest, id, &[br#"{"runId":""#, key, SENT]);
    let now = Instant::now();
    if session.ends_with(b"-slow") && !talk.pace.slow.is_zero() {
        talk.slow.push_back((now + talk.pace.slow, rest));
    } else if talk.pace.each.is_zero() {
        talk.out.extend_from_slice(&rest);
    } else {
        talk.busy_until = talk.busy_until.max(now) + talk.pace.each;
        talk.late.push_back((talk.busy_until, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole() {
        let mut frame = vec![0x81, 0x80 | 3, 1, 2, 3, 4];
        assert!(Frame::read(&frame).is_none());
        frame.extend_from_slice(b"abcX");
        let read = Frame::read(&frame).unwrap();
        assert_eq!((read.start, read.end, read.opcode, read.mask), (6, 9, 1, [1, 2, 3, 4]));
        assert!(Frame::read(&[0x81, 0xff, 0xff]).is_none());
    }

    #[test]
    fn members_are_found_at_both_ends_and_in_between() {
        let filling = "x".repeat(2000);
        let frame = format!(r#"{{"id":"7","a":"{filling}","b":"in","c":"{filling}","key":"k"}}"#);
        assert_eq!(member(frame.as_bytes(), br#""id":""#), b"7");
        assert_eq!(member(frame.as_bytes(), br#""b":""#), b"in");
        assert_eq!(member(frame.as_bytes(), br#""key":""#), b"k");
        assert_eq!(member(frame.as_bytes(), br#""none":""#), b"");
    }
}
