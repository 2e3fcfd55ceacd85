//! Bytes on a socket: HTTP heads and WebSocket frames, read without a library and written as wrong as one likes.
//!
//! Nothing here shares code with the client under test or with the fake gateway: what the torture sees on the wire is
//! what was there.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longer heads and frames than these are none that our own side writes.
const HEAD_LIMIT: usize = 64 * 1024;
const FRAME_LIMIT: usize = 32 * 1024 * 1024;

/// A frame as it was read.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) opcode: u8,
    pub(super) is_masked: bool,
    /// Without its mask.
    pub(super) payload: Vec<u8>,
    /// With everything.
    pub(super) raw: Vec<u8>,
}

impl Frame {
    /// What it says, if it is JSON.
    pub(super) fn json(&self) -> Option<Value> {
        if self.opcode == 1 { serde_json::from_slice(&self.payload).ok() } else { None }
    }
}

/// Reads heads and frames; may be dropped in the middle of a read and go on later.
pub(super) struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Reader { from, buffer: Vec::new() }
    }

    /// More bytes; `false` at the end.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        let mut chunk = [0u8; 16 * 1024];
        let n = self.from.read(&mut chunk).await?;
        self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        Ok(n > 0)
    }

    /// Forgets what was read.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
    }

    /// An HTTP head with its empty line; `None` when the peer ended first.
    pub(super) async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                return Ok(Some(std::mem::replace(&mut self.buffer, rest)));
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(io::Error::other("a head that does not end"));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// A frame; `None` when the peer ended.
    pub(super) async fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((frame, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(Some(frame));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Option<(Frame, usize)>> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let is_masked = second & 0x80 != 0;
    let (length, mut at) = match second & 0x7f {
        126 => match bytes.get(2..4) {
            Some(two) => (two.iter().fold(0, |n, b| n << 8 | usize::from(*b)), 4),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(eight) => (eight.iter().fold(0, |n, b| n << 8 | usize::from(*b)), 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    if length > FRAME_LIMIT {
        return Err(io::Error::other("a frame that our own side would not write"));
    }
    let mask = if is_masked { bytes.get(at..at + 4).map(<[u8]>::to_vec) } else { Some(vec![0; 4]) };
    at += if is_masked { 4 } else { 0 };
    let (Some(mask), Some(payload)) = (mask, bytes.get(at..at + length)) else { return Ok(None) };
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let raw = bytes.get(..at + length).unwrap_or_default().to_vec();
    Ok(Some((Frame { opcode: first & 0x0f, is_masked, payload, raw }, at + length)))
}

/// A frame of a server, with any first byte (FIN, reserved bits, opcode).
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

/// The header of a frame that claims to be this long.
pub(super) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => out.push(short),
        (_, Ok(two)) => {
            out.push(126);
            out.extend(two.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend(length.to_be_bytes());
        }
    }
    out
}

/// A text frame.
pub(super) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A text frame with this document.
pub(super) fn json(value: &Value) -> Vec<u8> {
    text(&value.to_string())
}

/// A close frame.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    frame(0x88, &payload)
}
