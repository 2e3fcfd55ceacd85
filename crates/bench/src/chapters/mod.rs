//! What is measured, as data.

use crate::report::Chapter;

mod backlog;
mod drain;
mod idle;
mod latency;
mod notice;
mod peers;
mod publish;
mod put;
mod scale;
mod start;

/// All chapters, in the order they are run and told of.
pub const ALL: &[Chapter] = &[
    put::CHAPTER,
    peers::CHAPTER,
    publish::CHAPTER,
    backlog::CHAPTER,
    drain::CHAPTER,
    notice::CHAPTER,
    latency::CHAPTER,
    start::CHAPTER,
    scale::CHAPTER,
    idle::CHAPTER,
];

/// A record of 1 KiB.
pub fn record() -> Vec<u8> {
    let mut record = br#"{"sessionKey":"agent:main:main","status":"ok","label":"bench","text":""#.to_vec();
    record.resize(1022, b'x');
    record.extend_from_slice(b"\"}");
    record
}
