//! Real directories and the real kernel. That something does not ring is shown by ringing on purpose after it:
//! events come in order, so the count tells.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use notify::event::{CreateKind, Flag, RemoveKind};
use tempfile::TempDir;

use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// A directory to watch and one beside it on the same file system.
fn rooms() -> (TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (new, tmp) = (root.path().join("new"), root.path().join("tmp"));
    fs::create_dir(&new).unwrap();
    fs::create_dir(&tmp).unwrap();
    (root, new, tmp)
}

/// Renames a file in: exactly one event.
#[expect(clippy::disallowed_methods, reason = "a producer's rename, not one of the spool")]
fn drop_in(tmp: &Path, dir: &Path, name: &str) {
    fs::write(tmp.join(name), "{}").unwrap();
    fs::rename(tmp.join(name), dir.join(name)).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "an operator's rename, not one of the spool")]
fn move_away(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

fn ring_within(doorbell: &mut Doorbell, wait: Duration) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(wait, doorbell.ring()).await.is_ok() })
}

fn must_ring(doorbell: &mut Doorbell) {
    assert!(ring_within(doorbell, DEADLINE), "nothing rang; state {:?}", doorbell.state());
}

/// Polls until it was rung that often.
fn wait_for_rung(doorbell: &Doorbell, count: u64) {
    let start = Instant::now();
    while doorbell.rung() < count {
        assert!(start.elapsed() < DEADLINE, "rung {} times, expected {count}", doorbell.rung());
        std::thread::yield_now();
    }
}

#[test]
fn it_rings_once_at_the_start_and_collapses() {
    let (_root, new, tmp) = rooms();
    let mut doorbell = Doorbell::watch(std::slice::from_ref(&new));
    assert_eq!(doorbell.state(), &WatchState::Native);
    let start = doorbell.rung();
    for n in 0..50 {
        drop_in(&tmp, &new, &format!("{n}.json"));
    }
    wait_for_rung(&doorbell, start + 50);
    must_ring(&mut doorbell);
    assert!(!ring_within(&mut doorbell, Duration::ZERO), "fifty rings are more than one");
}

#[test]
fn all_ways_of_publishing_ring() {
    let (_root, new, tmp) = rooms();
    let mut doorbell = Doorbell::watch(std::slice::from_ref(&new));
    must_ring(&mut doorbell);

    drop_in(&tmp, &new, "renamed.json");
    must_ring(&mut doorbell);

    fs::write(tmp.join("staged"), "{}").unwrap();
    fs::hard_link(tmp.join("staged"), new.join("linked.json")).unwrap();
    must_ring(&mut doorbell);

    // A careless writer: what counts is that it rings again when the file is complete.
    let mut file = File::create(new.join("careless.json")).unwrap();
    must_ring(&mut doorbell);
    let before = doorbell.rung();
    file.write_all(b"{}").unwrap();
    drop(file);
    wait_for_rung(&doorbell, before + 1);
    must_ring(&mut doorbell);
    assert_eq!(doorbell.rung(), before + 1, "the write itself rang too");
}

#[test]
fn our_own_scan_does_not_ring() {
    let (_root, new, tmp) = rooms();
    for n in 0..20 {
        fs::write(new.join(format!("{n}.json")), "{}").unwrap();
    }
    let doorbell = Doorbell::watch(std::slice::from_ref(&new));
    let before = doorbell.rung();
    for entry in fs::read_dir(&new).unwrap() {
        fs::read(entry.unwrap().path()).unwrap();
    }
    move_away(&new.join("0.json"), &tmp.join("0.json"));
    fs::remove_file(new.join("1.json")).unwrap();
    drop_in(&tmp, &new, "sentinel.json");
    wait_for_rung(&doorbell, before + 1);
    assert_eq!(doorbell.rung(), before + 1);
}

#[test]
fn an_overflow_rings_and_strands_nothing() {
    let (_root, new, _) = rooms();
    let bell = Bell::default();
    let mut doorbell = Doorbell::with(std::slice::from_ref(&new), bell.clone());
    must_ring(&mut doorbell);
    let total = 20_000;
    {
        // The consumer sleeps: the kernel's queue (16 384 events unless it was changed) runs over.
        let _asleep = bell.shared.gate.lock().unwrap();
        for n in 0..total {
            File::create(new.join(format!("{n}.json"))).unwrap();
        }
    }
    let limit: u64 = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(u64::MAX);
    let start = Instant::now();
    let mut found = 0;
    while found < total {
        assert!(start.elapsed() < DEADLINE, "only {found} of {total} found");
        must_ring(&mut doorbell);
        found = fs::read_dir(&new).unwrap().count();
    }
    while limit < total as u64 && bell.shared.overflows.load(Ordering::SeqCst) == 0 {
        assert!(start.elapsed() < DEADLINE, "the queue holds {limit} and did not run over");
        std::thread::yield_now();
    }
}

#[test]
fn an_event_without_a_path_rings_if_it_says_rescan() {
    let of = |kind| Ok(Event::new(kind));
    assert!(rings(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan))));
    assert!(rings(&Err(notify::Error::generic("x"))));
    assert!(rings(&of(EventKind::Create(CreateKind::File))));
    assert!(rings(&of(EventKind::Modify(ModifyKind::Name(RenameMode::Both)))));
    for silent in [
        EventKind::Other,
        EventKind::Access(AccessKind::Open(AccessMode::Any)),
        EventKind::Access(AccessKind::Read),
        EventKind::Access(AccessKind::Close(AccessMode::Read)),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)),
        EventKind::Modify(ModifyKind::Any),
        EventKind::Remove(RemoveKind::File),
    ] {
        assert!(!rings(&of(silent)), "{silent:?}");
    }
}

#[test]
fn a_replaced_directory_is_silent_until_it_is_rearmed() {
    let (root, new, tmp) = rooms();
    let other = root.path().join("other");
    fs::create_dir(&other).unwrap();
    let mut doorbell = Doorbell::watch(&[new.clone(), other.clone()]);
    assert!(!doorbell.rearm(), "nothing has changed");

    move_away(&new, &root.path().join("old"));
    fs::create_dir(&new).unwrap();
    let before = doorbell.rung();
    drop_in(&tmp, &new, "unheard.json");
    drop_in(&tmp, &other, "sentinel.json");
    wait_for_rung(&doorbell, before + 1);
    assert_eq!(doorbell.rung(), before + 1, "if the new directory is heard at once, rearm has no work");

    assert!(doorbell.rearm());
    assert_eq!(doorbell.state(), &WatchState::Native);
    assert_eq!(doorbell.rung(), before + 2, "a rearm rings, for what went unheard");
    must_ring(&mut doorbell);
    drop_in(&tmp, &new, "heard.json");
    wait_for_rung(&doorbell, before + 3);
    must_ring(&mut doorbell);
    assert!(!doorbell.rearm());
}

#[test]
fn a_removed_directory_is_found_out_and_found_again() {
    let (_root, new, tmp) = rooms();
    let mut doorbell = Doorbell::watch(std::slice::from_ref(&new));
    must_ring(&mut doorbell);
    fs::remove_dir(&new).unwrap();
    assert!(!doorbell.rearm());
    assert!(matches!(doorbell.state(), WatchState::Polling { .. }));
    fs::create_dir(&new).unwrap();
    assert!(doorbell.rearm());
    must_ring(&mut doorbell);
    drop_in(&tmp, &new, "x.json");
    must_ring(&mut doorbell);
}

#[test]
fn a_missing_directory_leaves_the_others_watched() {
    let (root, new, tmp) = rooms();
    let missing = root.path().join("missing");
    let mut doorbell = Doorbell::watch(&[missing.clone(), new.clone()]);
    let WatchState::Polling { reason } = doorbell.state() else { panic!("{:?}", doorbell.state()) };
    assert!(reason.contains(&missing.display().to_string()), "{reason}");
    must_ring(&mut doorbell);
    drop_in(&tmp, &new, "x.json");
    must_ring(&mut doorbell);
    fs::create_dir(&missing).unwrap();
    assert!(doorbell.rearm());
    assert_eq!(doorbell.state(), &WatchState::Native);
}

#[test]
fn a_dead_watcher_rings_and_is_replaced() {
    let (_root, new, tmp) = rooms();
    let bell = Bell::default();
    let mut doorbell = Doorbell::with(std::slice::from_ref(&new), bell.clone());
    must_ring(&mut doorbell);
    // As if its thread had died; the real one is left to itself.
    drop(Handler(bell));
    must_ring(&mut doorbell);
    assert!(doorbell.rearm());
    assert_eq!(doorbell.state(), &WatchState::Native);
    must_ring(&mut doorbell);
    drop_in(&tmp, &new, "x.json");
    must_ring(&mut doorbell);
}

#[test]
fn a_limit_of_watches_is_not_mistaken_for_a_full_disk() {
    let why = explain(&notify::Error::new(ErrorKind::MaxFilesWatch));
    assert!(why.contains("not a full disk") && why.contains("fs.inotify.max_user_watches"), "{why}");
    let why = explain(&notify::Error::io(Errno::MFILE.into()));
    assert!(why.contains("fs.inotify.max_user_instances"), "{why}");
}
