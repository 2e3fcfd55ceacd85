//! What a person is told, where the disk does not do what it should: each on a spool whose file system fails on demand.

use super::*;
use std::sync::Arc;

use spooldir::fault::FaultyFs;

const EIO: i32 = 5;

struct Bench {
    _home: tempfile::TempDir,
    fs: FaultyFs,
    spool: Spool,
}

/// A spool with one entry, `job-1`, to which something has happened.
fn bench(event: Option<&Event>) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let fs = FaultyFs::default();
    let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
    let id = Id::new("job-1").unwrap();
    let record = br#"{"id":"job-1","sessionKey":"agent:main:main","text":"x"}"#;
    spool.publish(&id, record, false).unwrap();
    if let Some(event) = event {
        spool.advance(&Entry::new(id, State::Pending), event).unwrap();
    }
    Bench { _home: home, fs, spool }
}

impl Bench {
    fn says(&self, verb: &str, session: Option<&str>) -> Result<Outcome, Failure> {
        let args = Args { session: session.map(str::to_owned), ..Args::default() };
        persist(verb, &self.spool, "job-1", &args)
    }

    fn state(&self) -> &'static str {
        self.spool.find(&Id::new("job-1").unwrap()).unwrap().unwrap().state.word()
    }
}

#[test]
fn what_the_disk_does_not_let_us_read_is_not_called_a_bad_record() {
    for (verb, session) in [("release", None), ("retry", None), ("retry", Some("agent:main:b"))] {
        let b = bench(Some(&Event::Hold));
        b.fs.fail_verb("read", EIO, 9);
        let failure = b.says(verb, session).unwrap_err();
        assert_eq!(failure.exit, exit::IO, "{}", failure.message);
        assert!(failure.message.contains("cannot be read"), "{}", failure.message);
        assert!(!failure.message.contains("dismiss"), "{}", failure.message);
        assert_eq!(b.state(), "held");
    }
}

#[test]
fn a_move_that_could_not_be_flushed_is_told_as_that() {
    for (verb, event) in [
        ("dismiss", Some(Event::Condemn)),
        ("dismiss", None),
        ("hold", None),
        ("retry", Some(Event::Condemn)),
        ("release", Some(Event::Hold)),
    ] {
        let b = bench(event.as_ref());
        b.fs.fail_verb("sync_dir", EIO, 9);
        let failure = b.says(verb, None).unwrap_err();
        assert_eq!(failure.exit, exit::IO, "{verb}: {}", failure.message);
        assert!(failure.message.contains("cannot flush"), "{verb}: {}", failure.message);
    }
}

#[test]
fn a_second_try_that_finds_it_done_flushes_it_before_it_says_so() {
    for (verb, event) in [
        ("hold", Some(Event::Hold)),
        ("dismiss", Some(Event::Dismiss)),
        ("withdraw", Some(Event::Dismiss)),
        ("retry", None),
        ("release", None),
    ] {
        let b = bench(event.as_ref());
        let before = b.fs.steps().len();
        b.says(verb, None).unwrap();
        let steps = b.fs.steps().split_off(before);
        for dir in [Dir::New, Dir::Deferred, Dir::Hold, Dir::Dead, Dir::Dismissed] {
            let flush = format!("sync_dir {}", b.spool.dir(dir).display());
            assert!(steps.contains(&flush), "{verb}: {flush}: {steps:#?}");
        }
        b.fs.fail_verb("sync_dir", EIO, 9);
        assert_eq!(b.says(verb, None).unwrap_err().exit, exit::IO, "{verb}");
    }
}
