//! The same record for another session.
//!
//! The bytes of a record are never rewritten, so a record that goes elsewhere is published anew: the old one with
//! `sessionKey` replaced, an id of its own that follows from the old one, and `"reroutes": "OLD-ID"`. The same call makes
//! the same bytes under the same id, which [`Spool::publish`] recognises: that is what makes a second try safe. What
//! becomes of the old entry is the caller's affair.

use serde_json::{Map, Value};

use crate::entry::State;
use crate::error::Error;
use crate::json;
use crate::layout::Spool;
use crate::name::Id;
use crate::publish::Published;
use crate::record::{Flaw, Record};

/// The longest id (spool-format.md section 3).
const MAX_ID: usize = 128;
/// How many ids are tried. Each one taken is a reroute of the same record that went elsewhere.
const MOST: u32 = 100;
/// The member that names the session that a record was for before it fell back. Such a record falls back no more.
const FALLBACK_FOR: &str = "fallbackFor";

impl Spool {
    /// Publishes the record `map` for the session `session` instead, under the first of its next ids that is free, or
    /// that has this very record already. Returns the id and the state it is in.
    ///
    /// # Errors
    /// What publishing says; [`Error::Entry`] when a hundred ids are taken.
    pub fn reroute(&self, map: &Map<String, Value>, session: &str, old: &Id) -> Result<(Id, State), Error> {
        for n in 2..=MOST {
            let id = Id::new(&next_id(old.as_str(), n))?;
            let bytes = render(map, session, &id, old)?;
            match self.publish(&id, &bytes, false) {
                Ok(Published::New(_)) => return Ok((id, State::Pending)),
                Ok(Published::Before(state)) => return Ok((id, state)),
                // The same record, sent to yet another session before.
                Err(Error::Conflict { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Err(refusal(old, "it was sent on a hundred times; queue the record anew".into()))
    }
}

/// The record for the session that takes what is for one that does not exist: its text says so at its beginning. `None`
/// when it is no record, or one that fell back already.
pub fn fallback(bytes: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut map)) = json::parse(bytes) else { return None };
    let record = Record::from_map(&map).ok()?;
    let original = record.session_key?;
    if map.contains_key(FALLBACK_FOR) {
        return None;
    }
    let banner = format!(
        "[This is for the session {original}, which does not exist. It comes here by the fallback of spool's configuration.]"
    );
    let text = match record.text {
        Some(text) => format!("{banner}\n{text}"),
        None => banner,
    };
    map.insert("text".into(), text.into());
    map.insert(FALLBACK_FOR.into(), original.into());
    Some(map)
}

/// The same bytes for the same arguments.
fn render(map: &Map<String, Value>, session: &str, id: &Id, old: &Id) -> Result<Vec<u8>, Error> {
    let mut map = map.clone();
    map.insert("id".into(), id.as_str().into());
    map.insert("sessionKey".into(), session.into());
    map.insert("reroutes".into(), old.as_str().into());
    serde_json::to_vec(&map).map_err(|e| Error::BadRecord(Flaw::Bad(e.to_string())))
}

fn refusal(id: &Id, reason: String) -> Error {
    Error::Entry { verb: "retry", id: id.to_string(), reason }
}

/// `OLD.N`; of an id too long for that, its beginning and a checksum.
fn next_id(old: &str, n: u32) -> String {
    let plain = format!("{old}.{n}");
    if plain.len() <= MAX_ID {
        return plain;
    }
    // FNV-1a; two ids that collide are told apart by their bytes, like any two records.
    let sum =
        old.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let start: String = old.chars().take(100).collect();
    format!("{start}.{sum:016x}.{n}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_length_has_a_next_one() {
        let long = "x".repeat(MAX_ID);
        let (a, b) = (next_id(&long, 2), next_id(&format!("{}y", &long[..127]), 2));
        assert!(Id::new(&a).is_ok() && Id::new(&b).is_ok());
        assert_ne!(a, b);
        assert_eq!(next_id(&long, 2), a);
        assert_eq!(next_id("a", 3), "a.3");
    }

    #[test]
    fn what_falls_back_says_whom_it_was_for_and_falls_back_once() {
        let said = br#"{"sessionKey":"agent:main:gone","text":"done","future":[1],"status":"ok"}"#;
        let map = fallback(said).unwrap();
        let text = map["text"].as_str().unwrap();
        assert!(
            text.starts_with("[This is for the session agent:main:gone,") && text.ends_with("]\ndone"),
            "{text}"
        );
        assert_eq!((&map["future"], &map["status"]), (&serde_json::json!([1]), &"ok".into()));
        assert_eq!(fallback(&serde_json::to_vec(&map).unwrap()), None);
        let task = fallback(br#"{"sessionKey":"a:gone","task":{"exitCode":0}}"#).unwrap();
        assert!(task["text"].as_str().unwrap().contains("a:gone"));
        for bad in [&b"{"[..], b"[]", br#"{"text":"no session"}"#] {
            assert_eq!(fallback(bad), None);
        }
    }

    #[test]
    fn a_second_try_makes_the_same_and_another_session_is_another_record() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let map = fallback(br#"{"sessionKey":"agent:main:gone","text":"x"}"#).unwrap();
        let old = Id::new("job-1").unwrap();
        for _ in 0..2 {
            let (id, state) = spool.reroute(&map, "k", &old).unwrap();
            assert_eq!((id.as_str(), state), ("job-1.2", State::Pending));
        }
        assert_eq!(spool.reroute(&map, "k2", &old).unwrap().0.as_str(), "job-1.3");
    }
}
