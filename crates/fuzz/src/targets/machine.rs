//! The states of an entry against a model: the table of `spool-format.md` section 5.1, written down as it stands there,
//! and what each transition does to key and attempts.

use spooldir::entry::next;
use spooldir::name::Purpose;
use spooldir::{Entry, Event, Id, Key, State};

use crate::feed::Feed;

/// Columns: take postpone rekey tell prove quiet fail condemn hold retry dismiss. A dot must not happen.
const TABLE: [(&str, &str); 8] = [
    ("pending", "SD...O.XH.I"),
    ("sending", "..STO.DXH.."),
    ("sending ~tell", "..T.O.DX..."),
    ("deferred", "S....O.XHPI"),
    ("held", ".........PI"),
    ("dead", "........HPI"),
    ("done", "..........."),
    ("dismissed", ".........P."),
];

/// The row of a state.
fn row(state: &State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Sending { key, .. } if key.purpose() == Purpose::Tell => "sending ~tell",
        State::Sending { .. } => "sending",
        State::Deferred { .. } => "deferred",
        State::Held => "held",
        State::Dead => "dead",
        State::Done => "done",
        State::Dismissed => "dismissed",
    }
}

fn letter(state: &State) -> u8 {
    match row(state) {
        "sending ~tell" => b'T',
        "deferred" => b'D',
        "done" => b'O',
        "dead" => b'X',
        "dismissed" => b'I',
        other => other.as_bytes()[0].to_ascii_uppercase(),
    }
}

pub(super) fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let keys: [Key; 2] =
        ["sp-0192837465564738291001928374655a", "sp-0192837465564738291001928374655a~tell~3"]
            .map(|key| key.parse().expect("a delivery key"));
    let id = Id::new("x").expect("an id");
    let mut state = State::Pending;
    while !feed.is_empty() {
        let column = usize::from(feed.byte() % 11);
        let event = match column {
            0 => Event::Take { key: feed.pick(&[&keys[0], &keys[0], &keys[0], &keys[1]]).clone() },
            1 => Event::Postpone { due_ms: feed.number() },
            2 => Event::Rekey,
            3 => Event::Tell,
            4 => Event::Prove,
            5 => Event::Quiet,
            6 => Event::Fail { due_ms: feed.number(), alone: feed.byte().is_multiple_of(2) },
            7 => Event::Condemn,
            8 => Event::Hold,
            9 => Event::Retry,
            _ => Event::Dismiss,
        };
        let allowed =
            TABLE.iter().find(|(name, _)| *name == row(&state)).map_or(b'.', |(_, to)| to.as_bytes()[column]);
        let to = next(&state, &event);
        let Ok(to) = to else {
            assert_eq!(allowed, b'.', "{} refuses {}", row(&state), event.word());
            continue;
        };
        // Taken under a key that is for telling it goes on as a telling.
        let expected = match (&event, allowed) {
            (Event::Take { key }, b'S') if key.purpose() == Purpose::Tell => b'T',
            _ => allowed,
        };
        assert_eq!(letter(&to) as char, expected as char, "{} after {}", row(&state), event.word());
        judge(&state, &event, &to);
        let entry = Entry::new(id.clone(), to.clone());
        let back = Entry::from_name(entry.dir(), &entry.file_name());
        assert_eq!(back.as_ref(), Some(&entry), "a state that its name does not carry");
        state = to;
    }
}

/// What a transition keeps and what it changes.
fn judge(from: &State, event: &Event, to: &State) {
    let (before, after) = (from.attempts(), to.attempts());
    match event {
        Event::Take { key } => {
            assert_eq!(to.key(), Some(key));
            assert_eq!(after, before, "taking costs an attempt");
        }
        Event::Rekey => {
            let (old, new) = (from.key(), to.key());
            assert_eq!(new.map(Key::epoch), old.map(|key| key.epoch().saturating_add(1)));
            assert!(
                new.zip(old).is_some_and(|(new, old)| new.former().contains(old)),
                "the burnt key is forgotten"
            );
            assert_eq!(after, before, "a burnt key costs an attempt");
        }
        Event::Fail { due_ms, alone } => {
            assert_eq!(after, before.saturating_add(1));
            assert!(matches!(to, State::Deferred { due_ms: due, .. } if due == due_ms));
            assert_eq!(to.key(), from.key().filter(|_| *alone));
        }
        Event::Postpone { .. } | Event::Retry => {
            assert_eq!((after, to.key()), (0, None), "does not start afresh")
        }
        _ => {}
    }
}
