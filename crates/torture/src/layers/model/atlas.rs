//! The atlas: every state an entry can be in, and what follows from which event, as the product itself says.
//!
//! A model that has its own idea of the state machine drifts away from the code. So this one has none: the atlas starts
//! at *pending*, asks [`spooldir::entry::next`] about every event of a finite alphabet, and writes down what comes back,
//! until nothing new does. The model then works with the numbers of the states, one byte each, which makes millions of
//! worlds cheap. Finite are the attempts, the epochs and the keys; what would lead beyond is not in the atlas, and the
//! model does not go there.

use std::collections::HashMap;
use std::str::FromStr;

use spooldir::entry::next;
use spooldir::name::Purpose;
use spooldir::{Dir, Event, Key, State};

use crate::layer::Outcome;

/// The number of a state; [`ABSENT`] is no entry at all.
pub(super) type Place = u8;
/// The number of a key.
pub(super) type KeyNo = u8;

pub(super) const ABSENT: Place = 0;
pub(super) const NO_KEY: KeyNo = u8::MAX;
/// At most so many keys; the model keeps arrays of this length.
pub(super) const KEYS: usize = 12;
/// The latest epoch.
const EPOCHS: u8 = 2;

/// The events of the alphabet that carry no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ev {
    Rekey,
    Tell,
    Prove,
    FailAlone,
    FailShared,
    Condemn,
    Hold,
    Retry,
    Dismiss,
}

const PLAIN: [Ev; 9] = [
    Ev::Rekey,
    Ev::Tell,
    Ev::Prove,
    Ev::FailAlone,
    Ev::FailShared,
    Ev::Condemn,
    Ev::Hold,
    Ev::Retry,
    Ev::Dismiss,
];

impl Ev {
    /// The product's event.
    pub(super) fn event(self) -> Event {
        match self {
            Ev::Rekey => Event::Rekey,
            Ev::Tell => Event::Tell,
            Ev::Prove => Event::Prove,
            Ev::FailAlone => Event::Fail { due_ms: 0, alone: true },
            Ev::FailShared => Event::Fail { due_ms: 0, alone: false },
            Ev::Condemn => Event::Condemn,
            Ev::Hold => Event::Hold,
            Ev::Retry => Event::Retry,
            Ev::Dismiss => Event::Dismiss,
        }
    }
}

/// What the model asks about a state.
#[derive(Debug, Clone)]
struct Mapped {
    dir: Dir,
    key: KeyNo,
    attempts: u8,
    after: [Place; PLAIN.len()],
    taken: [Place; KEYS],
}

/// What the model asks about a key.
#[derive(Debug, Clone, Copy)]
struct KeyFacts {
    next: KeyNo,
    tell: KeyNo,
    former: u16,
    is_tell: bool,
    base: u8,
}

/// All states and keys within the bounds.
#[derive(Debug, Clone)]
pub(super) struct Atlas {
    places: Vec<Mapped>,
    keys: Vec<KeyFacts>,
    fresh: Vec<KeyNo>,
    /// The product's own words for all of them.
    known: HashMap<State, Place>,
    names: Vec<Key>,
    pub(super) new: Place,
    pub(super) done: Place,
}

impl Atlas {
    /// Draws it for deliveries under so many minted keys, and records that give up after so many attempts.
    pub(super) fn draw(bases: u8, attempts: u32) -> Outcome<Atlas> {
        let keys = keys(bases)?;
        let number = |key: Option<&Key>| {
            key.and_then(|key| keys.iter().position(|k| k == key))
                .map_or(NO_KEY, |at| u8::try_from(at).unwrap_or(NO_KEY))
        };
        let is_within = |state: &State| {
            state.attempts() < attempts && state.key().is_none_or(|key| number(Some(key)) != NO_KEY)
        };
        let mut known: HashMap<State, Place> = HashMap::new();
        let mut found = vec![State::Pending];
        known.insert(State::Pending, 1);
        let mut places = vec![Mapped {
            dir: Dir::Tmp,
            key: NO_KEY,
            attempts: 0,
            after: [ABSENT; PLAIN.len()],
            taken: [ABSENT; KEYS],
        }];
        let mut at = 0;
        while let Some(state) = found.get(at).cloned() {
            at += 1;
            let mut follow = |event: &Event| -> Outcome<Place> {
                let Ok(state) = next(&state, event) else { return Ok(ABSENT) };
                if !is_within(&state) {
                    return Ok(ABSENT);
                }
                if let Some(place) = known.get(&state) {
                    return Ok(*place);
                }
                found.push(state.clone());
                let place = Place::try_from(found.len())?;
                known.insert(state, place);
                Ok(place)
            };
            let mut mapped = Mapped {
                dir: state.dir(),
                key: number(state.key()),
                attempts: u8::try_from(state.attempts())?,
                after: [ABSENT; PLAIN.len()],
                taken: [ABSENT; KEYS],
            };
            for (slot, event) in mapped.after.iter_mut().zip(PLAIN) {
                *slot = follow(&event.event())?;
            }
            for (slot, key) in mapped.taken.iter_mut().zip(&keys) {
                *slot = follow(&Event::Take { key: key.clone() })?;
            }
            places.push(mapped);
        }
        let facts = keys.iter().map(|key| KeyFacts {
            next: number(Some(&key.next_epoch())),
            tell: number(Some(&key.tell())),
            former: key.former().iter().fold(0, |mask, k| mask | 1 << number(Some(k))),
            is_tell: key.purpose() == Purpose::Tell,
            base: number(Some(key)) / (EPOCHS + 1),
        });
        let first = |key: &&Key| key.epoch() == 1 && key.purpose() == Purpose::Deliver;
        let place = |state: &State| known.get(state).copied().ok_or("the atlas has a hole");
        Ok(Atlas {
            new: place(&State::Pending)?,
            done: place(&State::Done)?,
            fresh: keys.iter().filter(first).map(|key| number(Some(key))).collect(),
            keys: facts.collect(),
            places,
            names: keys,
            known,
        })
    }

    /// The number of a state of the product.
    pub(super) fn place(&self, state: &State) -> Option<Place> {
        self.known.get(state).copied()
    }

    /// The model's key that stands for one of the product's: the same epoch and purpose of the n-th that was minted.
    pub(super) fn stand_in(&self, minted: usize, key: &Key) -> Option<&Key> {
        let of_this =
            self.names.iter().skip(minted * (usize::from(EPOCHS) + 1)).take(usize::from(EPOCHS) + 1);
        of_this.into_iter().find(|k| k.purpose() == key.purpose() && k.epoch() == key.epoch())
    }

    fn at(&self, place: Place) -> &Mapped {
        &self.places[usize::from(place)]
    }

    /// Where an event leads; `None` when the state does not allow it, or it leads beyond the bounds.
    pub(super) fn after(&self, place: Place, event: Ev) -> Option<Place> {
        Some(self.at(place).after[event as usize]).filter(|to| *to != ABSENT)
    }

    /// Where *take* under this key leads.
    pub(super) fn taken(&self, place: Place, key: KeyNo) -> Option<Place> {
        self.at(place).taken.get(usize::from(key)).copied().filter(|to| *to != ABSENT)
    }

    /// The directory of a state.
    pub(super) fn dir(&self, place: Place) -> Dir {
        self.at(place).dir
    }

    /// The key a state remembers.
    pub(super) fn key(&self, place: Place) -> KeyNo {
        self.at(place).key
    }

    /// The attempts a state remembers.
    pub(super) fn attempts(&self, place: Place) -> u8 {
        self.at(place).attempts
    }

    /// The key of a delivery under way, if this state is part of one.
    pub(super) fn sending(&self, place: Place) -> Option<KeyNo> {
        Some(self.at(place)).filter(|mapped| mapped.dir == Dir::Sending).map(|mapped| mapped.key)
    }

    /// The n-th key to be minted.
    pub(super) fn fresh(&self, n: u8) -> Option<KeyNo> {
        self.fresh.get(usize::from(n)).copied()
    }

    fn facts(&self, key: KeyNo) -> &KeyFacts {
        &self.keys[usize::from(key)]
    }

    pub(super) fn next_epoch(&self, key: KeyNo) -> Option<KeyNo> {
        self.keys.get(usize::from(key)).map(|k| k.next).filter(|next| *next != NO_KEY)
    }

    pub(super) fn tell(&self, key: KeyNo) -> KeyNo {
        self.facts(key).tell
    }

    pub(super) fn is_tell(&self, key: KeyNo) -> bool {
        self.facts(key).is_tell
    }

    /// The same delivery, whatever its epoch and purpose.
    pub(super) fn base(&self, key: KeyNo) -> u8 {
        self.facts(key).base
    }

    /// The key and its earlier epochs, as a set.
    pub(super) fn asked(&self, key: KeyNo) -> u16 {
        self.facts(key).former | 1 << key
    }

    pub(super) fn keys(&self) -> KeyNo {
        u8::try_from(self.keys.len()).unwrap_or(NO_KEY)
    }

    /// How far a key's delivery has come: the telling after the delivery, a later epoch after an earlier one.
    pub(super) fn rank(&self, key: KeyNo) -> u32 {
        let facts = self.facts(key);
        u32::from(facts.is_tell) * 64 + facts.former.count_ones()
    }
}

fn keys(bases: u8) -> Outcome<Vec<Key>> {
    let mut keys = Vec::new();
    for base in 0..bases {
        let mut key = Key::from_str(&format!("sp-{base:032x}"))?;
        let tell = key.tell();
        for _ in 0..EPOCHS {
            keys.push(key.clone());
            key = key.next_epoch();
        }
        keys.push(tell);
    }
    if keys.len() > KEYS {
        return Err(format!("{} keys are more than the model has room for, {KEYS}", keys.len()).into());
    }
    Ok(keys)
}
