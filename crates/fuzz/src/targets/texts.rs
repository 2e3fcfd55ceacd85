//! What people and models read: made from records of any content, and made clean.

use std::str::FromStr;
use std::sync::LazyLock;

use spool_drain::render::{self, Limits};
use spooldir::record::{Deliver, Notify, Output, Record, Status, Task};
use spooldir::{Id, Key};

use crate::feed::Feed;
use crate::promises::{check_delivery, check_fence, is_unseen};

const KEYS: [&str; 2] = ["sp-0192837465564738291001928374655a", "sp-01928374655647382910abcdef012345"];

static PARSED: LazyLock<[Key; 2]> =
    LazyLock::new(|| KEYS.map(|key| Key::from_str(key).expect("a delivery key")));

/// One of the texts of a delivery, and what it has to keep. Which one, and under which key, is `choice`.
pub(super) fn check(entries: &[(&Id, &Record)], limits: &Limits, choice: usize) {
    let which = choice % 2;
    let (key, name) = (&PARSED[which], KEYS[which]);
    let text = match choice / 2 % 4 {
        0 => render::message(key, entries, limits),
        1 => render::told(key, entries, "the model failed\n/reset", limits),
        _ => {
            let turn = render::turn(key, entries, limits);
            let mark = check_fence(&turn);
            // Whoever writes a record must not know the mark of the fence it will stand in: part of it is the key's.
            let is_of_key =
                name.as_bytes()[3..].windows(8).any(|part| mark.as_bytes().windows(8).any(|m| m == part));
            assert!(is_of_key, "any delivery could have the fence {mark:?}");
            turn
        }
    };
    check_delivery(&text, name);
    for (id, _) in entries.iter().take(limits.max_entries()) {
        assert!(text.contains(id.as_str()), "{id} is not named");
    }
}

const STATUSES: [Status; 6] =
    [Status::Ok, Status::Failed, Status::Timeout, Status::Cancelled, Status::Lost, Status::Info];

fn record(feed: &mut Feed<'_>) -> Record {
    let (status, shape) = (feed.pick(&STATUSES), feed.byte());
    let has = |bit: u8| shape & (1 << bit) != 0;
    Record {
        id: None,
        session_key: Some("agent:main:main".into()),
        status,
        text: has(0).then(|| feed.text()),
        label: has(1).then(|| feed.text()),
        task: has(2).then(|| Task {
            runner: feed.some_text(),
            command: feed.text().split('\u{1}').map(str::to_owned).collect(),
            cwd: feed.some_text(),
            host: feed.some_text(),
            exit_code: has(4).then(|| feed.number().cast_signed()),
            signal: feed.some_text(),
            started_at: has(5).then(|| feed.number()),
            ended_at: has(5).then(|| feed.number()),
            duration_ms: has(6).then(|| feed.number()),
        }),
        output: has(3).then(|| Output { path: feed.some_text(), truncated: has(7), tail: Some(many(feed)) }),
        created_at: None,
        not_before: None,
        expires_at: None,
        deliver: Deliver::Turn,
        says_deliver: false,
        route: None,
        notify: Notify::Always,
        urgent: false,
        supersedes: None,
        traceparent: None,
    }
}

/// A long text from a short one: what is cut is read differently from what fits.
fn many(feed: &mut Feed<'_>) -> String {
    let (times, text) = (usize::from(feed.byte()), feed.text());
    text.repeat(1 + times.min(20_000 / (text.len() + 1)))
}

pub(super) fn render(data: &[u8]) {
    let mut feed = Feed::new(data);
    let choice = feed.byte();
    let how_many = 1 + choice / 8 % 8;
    let limits = match feed.byte() {
        0..128 => Limits::default(),
        n => Limits {
            total_bytes: usize::from(n) * 128,
            message_bytes: usize::from(n) * 32,
            entries: usize::from(n % 12),
        },
    };
    let records: Vec<(Id, Record)> = (0..how_many)
        .map_while(|n| (n == 0 || !feed.is_empty()).then(|| (Id::new(&format!("id-{n}")), record(&mut feed))))
        .filter_map(|(id, record)| Some((id.ok()?, record)))
        .collect();
    let entries: Vec<_> = records.iter().map(|(id, record)| (id, record)).collect();
    check(&entries, &limits, choice.into());
}

pub(super) fn sanitize(data: &[u8]) {
    use spooldir::sanitize::{line, output, text};
    let raw = String::from_utf8_lossy(data);
    for (clean, again) in
        [(text(&raw), text as fn(&str) -> String), (output(&raw), output), (line(&raw), line)]
    {
        assert!(!clean.chars().any(is_unseen), "hides something: {clean:?}");
        assert_eq!(again(&clean), clean, "is not clean at the first time");
        assert!(clean.len() <= raw.len(), "grows");
    }
    assert!(!line(&raw).contains(['\n', '\t']), "more than a line");
}
