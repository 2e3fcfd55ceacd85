//! Every step of publishing and of moving, failing and dying: what the format promises must hold after each.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure that should be seen")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use spooldir::fault::{Fault, FaultyFs};
use spooldir::fs::RealFs;
use spooldir::intake::{Desk, Intake};
use spooldir::moves::Why;
use spooldir::publish::Published;
use spooldir::run::Intent;
use spooldir::{Dir, Entry, Error, Event, Id, Key, Spool, State, exit};

const RECORD: &[u8] = br#"{"sessionKey":"agent:main:main","text":"done"}"#;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A way to fail at the n-th step.
type Failure = fn() -> Fault;
const FAILURES: [Failure; 4] =
    [|| Fault::Before(EIO), || Fault::Before(ENOSPC), || Fault::After(EIO), || Fault::Death];
const WAYS: [fn() -> RealFs; 2] = [RealFs::new, RealFs::named];

fn files(spool: &Path, dir: Dir) -> Vec<(String, Vec<u8>)> {
    let list = std::fs::read_dir(spool.join(dir.name())).unwrap().map(Result::unwrap);
    list.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

/// Runs `act` once without faults to learn its steps, then once for each step and failure.
fn sweep(
    act: impl Fn(&Spool) -> Result<(), Error>,
    check: impl Fn(&Spool, &str, Result<(), Error>),
) -> usize {
    let mut runs = 0;
    for way in WAYS {
        let steps = {
            let home = tempfile::tempdir().unwrap();
            let fs = FaultyFs::over(way());
            let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
            let before = fs.steps().len();
            act(&spool).unwrap();
            fs.steps().len() - before
        };
        assert!(steps > 0);
        for failure in FAILURES {
            for step in 1..=steps {
                let home = tempfile::tempdir().unwrap();
                let fs = FaultyFs::over(way());
                let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
                fs.fail(step, failure());
                let result = act(&spool);
                let name = format!("{:?} at step {step}: {}", failure(), fs.steps().last().unwrap());
                // What a new process finds.
                check(&Spool::open(home.path()).unwrap(), &name, result);
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn publishing_is_whole_or_absent_and_a_retry_with_the_same_id_is_always_safe() {
    let id = Id::new("job-1").unwrap();
    let runs = sweep(
        |spool| spool.publish(&id, RECORD, false).map(|_| ()),
        |spool, name, result| {
            let new = files(spool.root(), Dir::New);
            assert!(new.len() <= 1, "{name}");
            assert!(new.iter().all(|(_, bytes)| bytes == RECORD), "{name}: partial record");
            match result {
                Ok(()) => assert_eq!(new.len(), 1, "{name}: said ok"),
                // A clear no must be a no.
                Err(Error::Io { .. }) if !new.is_empty() => assert!(name.contains("Death"), "{name}"),
                Err(_) => {}
            }
            let again = spool.publish(&id, RECORD, false).unwrap();
            assert!(matches!(again, Published::New(_) | Published::Before(State::Pending)), "{name}");
            assert_eq!(files(spool.root(), Dir::New).len(), 1, "{name}");
        },
    );
    assert!(runs >= 40, "only {runs} runs");
    println!("{runs} runs");
}

#[test]
fn a_flush_that_fails_is_tried_once_on_a_new_file() {
    let home = tempfile::tempdir().unwrap();
    let fs = FaultyFs::default();
    let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
    // stage, write, sync_data.
    fs.fail(3, Fault::Before(EIO));
    spool.publish(&Id::mint(), RECORD, true).unwrap();
    let used: Vec<String> = fs.steps().iter().map(|s| s.split(' ').next().unwrap().to_owned()).collect();
    let twice = ["stage", "write", "sync_data", "stage", "write", "sync_data", "publish", "sync_dir"];
    assert_eq!(used[used.len() - 8..], twice);
    // The same of an intent, without which no job starts, and of a spool's first file.
    fs.fail(3, Fault::Before(EIO));
    drop(
        spool
            .open_run(&Id::mint(), &Intent { v: 1, command: vec!["make".into()], ..Intent::default() })
            .unwrap(),
    );
    let used: Vec<String> = fs.steps().iter().map(|s| s.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(used[used.len() - 8..], twice);
    let fresh = FaultyFs::default();
    fresh.fail_verb("sync_data", EIO, 1);
    Spool::create_on(&home.path().join("fresh"), Arc::new(fresh)).unwrap();
}

#[test]
fn a_full_disk_is_a_temporary_failure_with_nothing_visible() {
    let home = tempfile::tempdir().unwrap();
    let fs = FaultyFs::default();
    let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
    fs.fail(2, Fault::Before(ENOSPC));
    let error = spool.publish(&Id::mint(), RECORD, true).unwrap_err();
    assert_eq!(error.exit(), exit::TEMPORARY);
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(files(home.path(), Dir::New).is_empty());
}

#[test]
fn a_flush_of_the_directory_that_fails_leaves_the_outcome_unknown() {
    let home = tempfile::tempdir().unwrap();
    let fs = FaultyFs::default();
    let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
    fs.fail(5, Fault::Before(EIO));
    let error = spool.publish(&Id::new("job-1").unwrap(), RECORD, true).unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    assert!(error.to_string().contains("--id job-1"), "{error}");
    // The retry finds the name and must flush before it says yes.
    fs.fail(3, Fault::Before(EIO));
    let again = spool.publish(&Id::new("job-1").unwrap(), RECORD, false).unwrap_err();
    assert!(matches!(again, Error::Unknown { .. }), "{again}");
}

#[test]
fn an_entry_is_in_exactly_one_state_wherever_a_move_fails() {
    let id = Id::new("job-1").unwrap();
    let runs = sweep(
        |spool| {
            spool.publish(&id, RECORD, false)?;
            let mut entry = Entry::new(id.clone(), State::Pending);
            for event in
                [Event::Take { key: Key::mint() }, Event::Rekey, Event::Fail { due_ms: 9, alone: true }]
            {
                entry = spool.advance(&entry, &event)?;
            }
            let why = Why { reason: "no such session".into(), ..Why::default() };
            let entry = spool.advance_why(&entry, &Event::Condemn, &why)?;
            spool.release(&entry).map(|_| ())
        },
        |spool, name, _| {
            let mut places = 0;
            for dir in Dir::STATES {
                spool
                    .each_entry(dir, |entry, _| {
                        places += 1;
                        assert_eq!(std::fs::read(spool.path(&entry)).unwrap(), RECORD, "{name}");
                    })
                    .unwrap();
            }
            assert!(places <= 1, "{name}: in {places} states");
        },
    );
    println!("{runs} runs");
}

/// A producer dies between the name and the flush, the agent moves the entry on, and the producer's next try finds
/// it there: nothing of all that is on the disk before that try flushes it.
#[test]
fn a_retry_flushes_what_it_finds_in_whatever_state() {
    let walks: [&[Event]; 7] = [
        &[],
        &[Event::Take { key: Key::mint() }],
        &[Event::Postpone { due_ms: 1 }],
        &[Event::Hold],
        &[Event::Condemn],
        &[Event::Quiet],
        &[Event::Dismiss],
    ];
    for walk in walks {
        let home = tempfile::tempdir().unwrap();
        let fs = FaultyFs::default();
        let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
        let id = Id::mint();
        fs.fail_verb("sync_dir", EIO, 1);
        assert!(matches!(spool.publish(&id, RECORD, true), Err(Error::Unknown { .. })));
        let mut entry = Entry::new(id.clone(), State::Pending);
        for event in walk {
            entry = spool.advance(&entry, event).unwrap();
        }
        let done = fs.steps().len();
        assert_eq!(spool.publish(&id, RECORD, false).unwrap(), Published::Before(entry.state.clone()));
        let steps = fs.steps().split_off(done);
        for dir in [entry.dir(), Dir::New] {
            let flush = format!("sync_dir {}", spool.dir(dir).display());
            assert!(steps.contains(&flush), "{}: {steps:?}", entry.state.word());
        }
    }
}

/// A file system may bring the old name back beside the new one, and of two names the one further on stays: a retry
/// that a person was told of would be undone.
#[test]
fn a_retry_by_a_person_is_flushed_at_both_ends() {
    for event in [Event::Hold, Event::Condemn, Event::Dismiss, Event::Postpone { due_ms: 1 }] {
        let home = tempfile::tempdir().unwrap();
        let fs = FaultyFs::default();
        let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
        let id = Id::mint();
        spool.publish(&id, RECORD, true).unwrap();
        let before = spool.advance(&Entry::new(id, State::Pending), &event).unwrap();
        let done = fs.steps().len();
        spool.release(&before).unwrap();
        let steps = fs.steps().split_off(done);
        let flushes: Vec<&String> = steps.iter().filter(|step| step.starts_with("sync_dir")).collect();
        let expected = [Dir::New, before.dir()].map(|dir| format!("sync_dir {}", spool.dir(dir).display()));
        assert_eq!(flushes, expected.iter().collect::<Vec<_>>(), "{}", before.state.word());
    }
}

/// A creator dies at each step, and another one comes after it: whatever the two of them made is flushed before
/// the format has a name, for who sees a format flushes nothing but its own record.
#[test]
fn what_the_first_creator_left_unflushed_is_flushed_by_the_next() {
    for way in WAYS {
        for step in 1.. {
            let home = tempfile::tempdir().unwrap();
            let root = home.path().join("a/b/spool");
            let fs = FaultyFs::over(way());
            fs.fail(step, Fault::Death);
            let is_whole = Spool::create_on(&root, Arc::new(fs.clone())).is_ok();
            let mut done: Vec<String> = fs.steps().into_iter().take(step - 1).collect();
            fs.clear();
            let before = fs.steps().len();
            Spool::create_on(&root, Arc::new(fs.clone())).unwrap();
            done.extend(fs.steps().drain(before..));
            assert_eq!(std::fs::read(root.join("format")).unwrap(), b"spool 1\n");
            let last = |what: String| done.iter().rposition(|step| *step == what).unwrap();
            let named = last(format!("publish {}", root.join("format").display()));
            for above in [home.path(), &home.path().join("a"), &home.path().join("a/b"), &root] {
                let flushed = done[..named].iter().any(|s| *s == format!("sync_dir {}", above.display()));
                assert!(flushed, "{} at step {step}: {done:#?}", above.display());
            }
            assert!(done[..named].iter().any(|s| s == "sync_data tmp"), "{done:#?}");
            if is_whole {
                break;
            }
        }
    }
}

#[test]
fn a_run_that_could_not_be_opened_leaves_the_intent_that_was_there_before() {
    let intent = |n| Intent { v: 1, command: vec!["make".into()], started_at: n, ..Intent::default() };
    let id = Id::new("run-1").unwrap();
    for step in 1..=12 {
        let home = tempfile::tempdir().unwrap();
        let fs = FaultyFs::default();
        let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
        drop(spool.open_run(&id, &intent(1)).unwrap());
        // Somebody cleared the lease away, as nobody's; whoever is given the same id now gets as far as the intent.
        std::fs::remove_file(spool.dir(Dir::Runs).join("run-1.lock")).unwrap();
        fs.fail(step, Fault::Before(EIO));
        assert!(spool.open_run(&id, &intent(2)).is_err(), "step {step}");
        fs.clear();
        assert_eq!(spool.intent(&id).unwrap(), Some(intent(1)), "step {step}");
    }
}

/// An intake that finds a record's id taken compares the two; it must not say that they differ when it could not.
#[test]
fn a_record_is_not_buried_because_its_twin_cannot_be_read() {
    let text = r#"{"sessionKey":"agent:main:main","text":"done","id":"job-7"}"#;
    let (id, again) = (Id::new("job-7").unwrap(), std::ffi::OsStr::new("again.json"));
    let begin = || {
        let home = tempfile::tempdir().unwrap();
        let fs = FaultyFs::default();
        let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
        spool.publish(&id, text.as_bytes(), true).unwrap();
        let done = spool.advance(&Entry::new(id.clone(), State::Pending), &Event::Quiet).unwrap();
        std::fs::write(spool.dir(Dir::New).join(again), text).unwrap();
        (home, fs, spool, done)
    };
    let look = |spool: &Spool| Desk::new().look(spool, again, &|_| true, Instant::now());

    // The disk does not let it be read: what is dropped is read first, then the one that has its id.
    let (_home, fs, spool, _) = begin();
    let before = fs.steps().len();
    assert!(matches!(look(&spool), Intake::Duplicate(_)));
    let steps = fs.steps().split_off(before);
    let second = steps.iter().enumerate().filter(|(_, s)| s.starts_with("read ")).nth(1).unwrap().0 + 1;
    let (_home, fs, spool, _) = begin();
    fs.fail(second, Fault::Before(EIO));
    let looked = look(&spool);
    assert!(matches!(looked, Intake::Trouble(_)), "{looked:?}");
    assert!(matches!(look(&spool), Intake::Duplicate(_)));

    // A crash left it with two names, where a rename is a link and a removal.
    let (_home, _fs, spool, done) = begin();
    std::fs::hard_link(spool.path(&done), spool.dir(Dir::New).join("job-7.json")).unwrap();
    let looked = look(&spool);
    assert!(matches!(looked, Intake::Later(_)), "{looked:?}");
    assert!(matches!(look(&spool), Intake::Duplicate(_)));
    assert_eq!(spool.find(&id).unwrap(), Some(done));

    // Its producer has it half published.
    let (_home, _fs, spool, done) = begin();
    std::fs::hard_link(spool.path(&done), spool.dir(Dir::Tmp).join("1.tmp")).unwrap();
    let looked = look(&spool);
    assert!(matches!(looked, Intake::Later(_)), "{looked:?}");
}

#[test]
fn a_run_that_could_not_be_opened_leaves_no_intent_for_an_agent_to_report() {
    let intent = Intent { v: 1, command: vec!["make".into()], started_at: 1, ..Intent::default() };
    let id = || Id::new("run-1").unwrap();
    let runs = sweep(
        |spool| spool.open_run(&id(), &intent).map(drop),
        |spool, name, result| {
            // Who died opened it, or did not: the agent sees.
            if result.is_err() && !name.starts_with("Death") {
                assert!(spool.runs().unwrap().is_empty(), "{name}");
            }
        },
    );
    assert!(runs > 20, "{runs}");
}
