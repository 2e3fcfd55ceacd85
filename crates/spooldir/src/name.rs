//! Names: what a file name in the spool means (`spool-format.md` section 3).
//!
//! A name carries what must survive a crash: the id, the delivery key, the number of failed attempts, the due time.
//! The separator is a comma, which no id and no key may hold:
//!
//! ```text
//! new/ID.json   sending/ID,KEY,ATTEMPTS.json   deferred/ID,KEY|-,ATTEMPTS,DUE.json   hold|dead|done|dismissed/ID.json
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::Error;
use crate::record::Deliver;

/// The rule for ids, for messages.
pub const ID_RULE: &str =
    "must be 1 to 128 of A-Z a-z 0-9 . _ : - and start with a letter or digit, and not end with .why";
/// What every published file name ends in.
pub const SUFFIX: &str = ".json";

/// The id of an entry. Cheap to clone: an agent keeps many.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

impl Id {
    /// Checks a text against the grammar of ids.
    ///
    /// # Errors
    /// [`Error::Name`] with [`ID_RULE`].
    pub fn new(text: &str) -> Result<Id, Error> {
        let good = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && !text.ends_with(".why");
        if good { Ok(Id(text.into())) } else { Err(bad("id", text, ID_RULE)) }
    }

    /// A new id: a UUID v7, so that names sort by the time they were minted.
    pub fn mint() -> Id {
        Id(Uuid::now_v7().hyphenated().to_string().into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a file called after this text, whose record names no id, has that text as its id: only a UUID is
    /// unique enough. Any other name (`build.json`) may be dropped again tomorrow and means something else then.
    pub fn is_unique(text: &str) -> bool {
        text.len() == 36 && Uuid::try_parse(text).is_ok() && !text.bytes().any(|b| b.is_ascii_uppercase())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What a delivery key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The delivery itself.
    Deliver,
    /// Telling the channel, once, about a delivery that was committed but that nobody was told of.
    Tell,
}

/// A delivery key: `sp-` and 32 hexadecimal digits, then `~tell` for the second purpose, then `~N` from the second
/// epoch on. Where policy says how records are handed over that do not say it themselves, the key says it too (the
/// thirteenth digit), so that a delivery is asked for, and repeated, as it was sent, whatever the policy is by then. A
/// new epoch is begun when the gateway has burnt the key; all earlier ones follow from the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    base: Box<str>,
    purpose: Purpose,
    epoch: u32,
}

/// Where in a key the digit stands that tells how it is handed over.
const MODE_AT: usize = 3 + 12;
/// What it may be, but for the `7` that leaves it to the records.
const MODES: [(char, Deliver); 3] = [('a', Deliver::Turn), ('b', Deliver::Message), ('c', Deliver::Note)];

impl Key {
    /// A new key that no other delivery has.
    pub fn mint() -> Key {
        Key { base: format!("sp-{}", Uuid::now_v7().simple()).into(), purpose: Purpose::Deliver, epoch: 1 }
    }

    /// A new key of a delivery that is handed over like this by policy.
    pub fn mint_for(deliver: Deliver) -> Key {
        let mut key = Key::mint();
        let digit = MODES.iter().find_map(|(digit, mode)| (*mode == deliver).then_some(*digit));
        let (before, after) = key.base.split_at(MODE_AT);
        // The thirteenth digit of a UUID is its version; the others make the key unique.
        key.base = format!("{before}{}{}", digit.unwrap_or('7'), after.get(1..).unwrap_or_default()).into();
        key
    }

    /// How its delivery is handed over by policy, if it is not left to the records.
    pub fn deliver(&self) -> Option<Deliver> {
        let digit = self.base.chars().nth(MODE_AT)?;
        MODES.iter().find_map(|(known, mode)| (*known == digit).then_some(*mode))
    }

    /// What it is for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The key of the next epoch.
    pub fn next_epoch(&self) -> Key {
        Key { epoch: self.epoch.saturating_add(1), ..self.clone() }
    }

    /// Which epoch this is, from 1.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The key under which the channel is told of this delivery.
    pub fn tell(&self) -> Key {
        Key { base: self.base.clone(), purpose: Purpose::Tell, epoch: 1 }
    }

    /// Whether this is a later key of the same delivery: the telling after the delivery, a later epoch after an
    /// earlier one.
    pub fn follows(&self, earlier: &Key) -> bool {
        let rank = |key: &Key| (key.purpose == Purpose::Tell, key.epoch);
        self.base == earlier.base && rank(self) > rank(earlier)
    }

    /// The keys of the earlier epochs, oldest first, at most the last 16: a probe asks for each.
    pub fn former(&self) -> Vec<Key> {
        (self.epoch.saturating_sub(16).max(1)..self.epoch)
            .map(|epoch| Key { epoch, ..self.clone() })
            .collect()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)?;
        if self.purpose == Purpose::Tell {
            f.write_str("~tell")?;
        }
        if self.epoch > 1 {
            write!(f, "~{}", self.epoch)?;
        }
        Ok(())
    }
}

const KEY_RULE: &str = "must be sp-, 32 hexadecimal digits, then ~tell and ~N where they apply";

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Key, Error> {
        let wrong = || bad("delivery key", text, KEY_RULE);
        let mut parts = text.split('~');
        let base = parts.next().unwrap_or_default();
        let hex = base.strip_prefix("sp-").ok_or_else(wrong)?;
        if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        let mut key = Key { base: base.into(), purpose: Purpose::Deliver, epoch: 1 };
        let mut next = parts.next();
        if next == Some("tell") {
            key.purpose = Purpose::Tell;
            next = parts.next();
        }
        if let Some(epoch) = next {
            key.epoch =
                canonical(epoch).filter(|n| *n > 1).and_then(|n| n.try_into().ok()).ok_or_else(wrong)?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(key) }
    }
}

/// A number in the one way it is written: no sign, no leading zero.
fn canonical(text: &str) -> Option<u64> {
    let good = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if good { text.parse().ok() } else { None }
}

fn bad(what: &'static str, value: &str, rule: &'static str) -> Error {
    Error::Name { what, value: value.chars().take(60).collect(), rule }
}

/// The name of a file in `sending/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendingName {
    /// The entry.
    pub id: Id,
    /// The delivery it is part of.
    pub key: Key,
    /// Attempts that failed before.
    pub attempts: u32,
}

impl fmt::Display for SendingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}{SUFFIX}", self.id, self.key, self.attempts)
    }
}

impl SendingName {
    /// Reads a file name; `None` when it is not one of ours.
    pub fn parse(name: &str) -> Option<SendingName> {
        let mut fields = name.strip_suffix(SUFFIX)?.split(',');
        let id = Id::new(fields.next()?).ok()?;
        let key = fields.next()?.parse().ok()?;
        let attempts = canonical(fields.next()?)?.try_into().ok()?;
        fields.next().is_none().then_some(SendingName { id, key, attempts })
    }
}

/// The name of a file in `deferred/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredName {
    /// The entry.
    pub id: Id,
    /// The key of its last delivery, if it had one.
    pub key: Option<Key>,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it is due, in milliseconds since 1970-01-01 UTC.
    pub due_ms: u64,
}

impl fmt::Display for DeferredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{},{key},{},{}{SUFFIX}", self.id, self.attempts, self.due_ms),
            None => write!(f, "{},-,{},{}{SUFFIX}", self.id, self.attempts, self.due_ms),
        }
    }
}

impl DeferredName {
    /// Reads a file name; `None` when it is not one of ours.
    pub fn parse(name: &str) -> Option<DeferredName> {
        let mut fields = name.strip_suffix(SUFFIX)?.split(',');
        let id = Id::new(fields.next()?).ok()?;
        let key = match fields.next()? {
            "-" => None,
            text => Some(text.parse().ok()?),
        };
        let attempts = canonical(fields.next()?)?.try_into().ok()?;
        let due_ms = canonical(fields.next()?)?;
        fields.next().is_none().then_some(DeferredName { id, key, attempts, due_ms })
    }
}

/// The id in a plain name, as in `hold/`, `dead/`, `done/` and `dismissed/`.
pub fn plain_id(name: &str) -> Option<Id> {
    Id::new(name.strip_suffix(SUFFIX)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_tells_what_policy_said_and_keeps_it_through_its_epochs() {
        assert_eq!(Key::mint().deliver(), None);
        for (digit, deliver) in MODES {
            let key = Key::mint_for(deliver);
            let again: Key = key.to_string().parse().unwrap();
            assert_eq!((again.deliver(), key.to_string().chars().nth(15)), (Some(deliver), Some(digit)));
            assert_eq!(key.next_epoch().deliver(), Some(deliver));
            assert_eq!(key.tell().next_epoch().deliver(), Some(deliver));
            assert_ne!(key, Key::mint_for(deliver));
        }
    }

    #[test]
    fn ids_are_judged_by_the_grammar() {
        for good in ["a", "0", "build-1", "a:b.c_d", &"x".repeat(128)] {
            assert!(Id::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "-x", "a/b", "a,b", "a b", "é", "x.why", "..", &"x".repeat(129)] {
            assert!(Id::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn minted_ids_are_valid_unique_and_sorted() {
        let ids: Vec<Id> = (0..1000).map(|_| Id::mint()).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]));
        assert!(ids.iter().all(|id| Id::new(id.as_str()).is_ok() && Id::is_unique(id.as_str())));
    }

    #[test]
    fn only_a_uuid_is_an_id_by_its_name() {
        assert!(Id::is_unique("01929f3e-0000-7000-8000-000000000001"));
        assert!(!Id::is_unique("01929F3E-0000-7000-8000-000000000001"));
        assert!(!Id::is_unique("build"));
        assert!(!Id::is_unique("01929f3e00007000800000000000000100000"));
    }

    #[test]
    fn former_keys_follow_from_the_name() {
        let key = Key::mint();
        let third = key.next_epoch().next_epoch();
        assert_eq!(third.to_string(), format!("{key}~3"));
        assert_eq!(third.former(), vec![key.clone(), key.next_epoch()]);
        let tell = third.tell().next_epoch();
        assert_eq!(tell.to_string(), format!("{key}~tell~2"));
        assert_eq!(tell.former(), vec![key.tell()]);
    }

    #[test]
    fn foreign_names_are_not_ours() {
        let key = Key::mint();
        for name in [
            "x.json",
            "x,y,0.json",
            &format!("x,{key}.json"),
            &format!("x,{key},01.json"),
            &format!("x,{key},-1.json"),
            &format!("x,{key}~1,0.json"),
            &format!("x,{key}~tell~tell,0.json"),
            &format!("x,{key},0.json.tmp"),
            &format!("x,{key},0,5.json"),
            &format!(".x,{key},0.json"),
        ] {
            assert_eq!(SendingName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn names_read_back_as_written(
            id in "[A-Za-z0-9][A-Za-z0-9._:-]{0,120}",
            epoch in 1u32..50,
            tell: bool,
            attempts: u32,
            due_ms: u64,
            keyed: bool,
        ) {
            prop_assume!(!id.ends_with(".why"));
            let id = Id::new(&id).unwrap();
            let purpose = if tell { Purpose::Tell } else { Purpose::Deliver };
            let key = Key { epoch, purpose, ..Key::mint() };
            let sending = SendingName { id: id.clone(), key: key.clone(), attempts };
            prop_assert_eq!(SendingName::parse(&sending.to_string()), Some(sending.clone()));
            let deferred = DeferredName { id, key: keyed.then_some(key), attempts, due_ms };
            prop_assert_eq!(DeferredName::parse(&deferred.to_string()), Some(deferred.clone()));
            prop_assert!(sending.to_string().len() <= 255 && deferred.to_string().len() <= 255);
        }

        #[test]
        fn any_name_is_read_without_harm(name in "\\PC{0,80}") {
            let _ = (SendingName::parse(&name), DeferredName::parse(&name), plain_id(&name));
        }
    }
}
