//! `spool retry ID --session KEY`: the same record for another session.
//!
//! The bytes of a record are never rewritten, so this publishes a new record ([`spooldir::reroute`]) and dismisses the old entry, with the reason that says where it went.
//!
//! In this order, so that a crash anywhere loses nothing and doubles nothing: the old entry is held, where the agent
//! does not touch it; the new record is published; the old entry is dismissed. Doing it again after a crash makes the
//! same bytes under the same id, which `publish` recognises, and goes on from there.

use serde_json::Value;
use spooldir::{Entry, Event, Spool, State, json};

use crate::Failure;
use crate::operate::{self, Outcome, outcome, put_aside, refusal};
use crate::view;

/// Sends the record of an entry to the session `key` instead.
///
/// # Errors
/// When the entry is being sent or done or no good record; what publishing says.
pub fn run(spool: &Spool, entry: &Entry, key: &str) -> Result<Outcome, Failure> {
    let refuse = |why: &str| Err(refusal("retry", &entry.id, why));
    match &entry.state {
        State::Sending { .. } => {
            return refuse("it is being sent and may already have arrived; wait for the verdict");
        }
        State::Done => return refuse("it is done: the session it was for has it"),
        _ => {}
    }
    let Some(seen) = view::look(spool, entry.clone())?.filter(|seen| seen.entry == *entry) else {
        return refuse("it has moved meanwhile; try again");
    };
    seen.must_be_read("retry")?;
    let record = match &seen.document.record {
        Ok(record) => record,
        Err(flaw) => return refuse(&format!("it is not a good record: {flaw}")),
    };
    let is_at_home = record.id.as_ref().is_none_or(|own| *own == entry.id);
    if is_at_home && record.session_key.as_deref() == Some(key) && entry.state != State::Pending {
        return operate::release("retry", spool, entry);
    }
    let bytes = seen.document.bytes.as_deref().unwrap_or_default();
    let Ok(Value::Object(map)) = json::parse(bytes) else {
        return refuse("it is not a good record");
    };
    let old = match &entry.state {
        State::Held | State::Dismissed => entry.clone(),
        _ => {
            let reason =
                format!("being sent to {} instead; if it stays so, say that again", view::brief(key, 200));
            put_aside(spool, entry, &Event::Hold, &reason)?
        }
    };
    let (new_id, state) = spool.reroute(&map, key, &old.id)?;
    let reason = format!("rerouted to {} as {new_id}", view::brief(key, 200));
    let now = match &old.state {
        // Perhaps by a try that died before its flush.
        State::Dismissed => {
            spool.flush_move(&Entry::new(old.id.clone(), State::Held), &old)?;
            old
        }
        _ => put_aside(spool, &old, &Event::Dismiss, &reason)?,
    };
    if state != State::Pending {
        crate::complain(&format!("{new_id} had been made before and is {}", state.word()));
    }
    Ok(Outcome { new_id: Some(new_id.to_string()), ..outcome(entry, &now) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use spooldir::fault::FaultyFs;
    use spooldir::{Dir, Id};

    const RECORD: &[u8] = br#"{"id":"job-1","sessionKey":"agent:main:gone","text":"x","future":[1,2.5]}"#;

    fn dead(id: &str, bytes: &[u8]) -> (tempfile::TempDir, Spool, Entry) {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let id = Id::new(id).unwrap();
        spool.publish(&id, bytes, false).unwrap();
        let entry = spool.advance(&Entry::new(id, State::Pending), &Event::Condemn).unwrap();
        (home, spool, entry)
    }

    fn only(spool: &Spool, dir: Dir) -> Vec<String> {
        let mut ids = Vec::new();
        spool.each_entry(dir, |e, _| ids.push(e.id.to_string())).unwrap();
        ids.sort();
        ids
    }

    #[test]
    fn the_record_goes_on_under_a_new_id_and_the_old_one_says_where() {
        let (_home, spool, entry) = dead("job-1", RECORD);
        let out = run(&spool, &entry, "agent:main:here").unwrap();
        assert_eq!((out.new_id.as_deref(), out.state, out.was), (Some("job-1.2"), "dismissed", "dead"));
        let bytes = std::fs::read(spool.dir(Dir::New).join("job-1.2.json")).unwrap();
        let new: Value = serde_json::from_slice(&bytes).unwrap();
        let expected = serde_json::json!({"id": "job-1.2", "sessionKey": "agent:main:here", "text": "x",
            "future": [1, 2.5], "reroutes": "job-1"});
        assert_eq!(new, expected);
        let old = spool.find(&entry.id).unwrap().unwrap();
        assert_eq!(spool.why(&old).unwrap().reason, "rerouted to agent:main:here as job-1.2");
        assert_eq!(std::fs::read(spool.path(&old)).unwrap(), RECORD);
    }

    #[test]
    fn a_crash_at_any_step_is_mended_by_doing_it_again() {
        for steps in 0..=2 {
            let (_home, spool, mut entry) = dead("job-1", RECORD);
            let Value::Object(map) = json::parse(RECORD).unwrap() else { panic!() };
            if steps >= 1 {
                entry = put_aside(&spool, &entry, &Event::Hold, "interrupted").unwrap();
            }
            if steps >= 2 {
                spool.reroute(&map, "k", &entry.id).unwrap();
            }
            run(&spool, &entry, "k").unwrap();
            // And once more when all was done.
            let entry = spool.find(&entry.id).unwrap().unwrap();
            assert_eq!(run(&spool, &entry, "k").unwrap().new_id.as_deref(), Some("job-1.2"));
            assert_eq!(only(&spool, Dir::New), ["job-1.2"]);
            assert_eq!(only(&spool, Dir::Dismissed), ["job-1"]);
            assert!(spool.audit().unwrap().holds());
            // Another session is another record.
            assert_eq!(run(&spool, &entry, "k2").unwrap().new_id.as_deref(), Some("job-1.3"));
        }
    }

    /// The first try moved the old entry aside and died before its flush: after a power cut it could be held again, and
    /// a person was told that it is not.
    #[test]
    fn a_second_try_flushes_what_a_first_one_had_put_aside() {
        let home = tempfile::tempdir().unwrap();
        let fs = FaultyFs::default();
        let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
        let id = Id::new("job-1").unwrap();
        spool.publish(&id, RECORD, false).unwrap();
        let held = spool.advance(&Entry::new(id, State::Pending), &Event::Hold).unwrap();
        let Value::Object(map) = json::parse(RECORD).unwrap() else { panic!() };
        spool.reroute(&map, "k", &held.id).unwrap();
        let dismissed = spool.advance(&held, &Event::Dismiss).unwrap();
        let before = fs.steps().len();
        run(&spool, &dismissed, "k").unwrap();
        let steps = fs.steps().split_off(before);
        for dir in [Dir::Dismissed, Dir::Hold, Dir::New] {
            let flush = format!("sync_dir {}", spool.dir(dir).display());
            assert!(steps.contains(&flush), "{flush}: {steps:#?}");
        }
        fs.fail_verb("sync_dir", 5, 9);
        assert_ne!(run(&spool, &dismissed, "k").unwrap_err().exit, spooldir::exit::OK, "no yes without it");
    }

    #[test]
    fn what_may_have_arrived_and_what_is_no_record_stays() {
        let (_home, spool, entry) = dead("job-1", RECORD);
        let sending =
            Entry::new(entry.id.clone(), State::Sending { key: spooldir::Key::mint(), attempts: 0 });
        assert!(run(&spool, &sending, "k").unwrap_err().message.contains("wait for the verdict"));
        let done = Entry::new(entry.id.clone(), State::Done);
        assert!(run(&spool, &done, "k").unwrap_err().message.contains("done"));
        std::fs::write(spool.path(&entry), "{").unwrap();
        assert!(run(&spool, &entry, "k").unwrap_err().message.contains("not a good record"));
        assert_eq!(only(&spool, Dir::Dead), ["job-1"]);
    }
}
