//! A spool, a directory of it or its lock that is moved away, replaced or restored under a running agent.

use std::time::Duration;

use rustix::fs::rename;
use spool_drain::Options;
use spool_gateway::fake::Phase;
use spooldir::lock::AgentLock;
use spooldir::name::Key;
use spooldir::{Dir, Entry, Error, Id, Spool, State};

use crate::support::{Bench, INTERNAL, ROUTED};

#[tokio::test]
async fn an_agent_whose_spool_was_taken_over_ends_and_moves_nothing() {
    let b = Bench::new().await;
    b.fake.restart_as(Phase::Starting).await.unwrap();
    let connector = b.connector();
    let options = Options { once: false, ..b.options.clone() };
    let agent = spool_drain::run(&b.spool, &connector, &options, std::future::pending());
    let story = async {
        b.until("it runs", |b| spool_drain::status::read(&b.spool).is_some()).await;
        let root = b.spool.root();
        rename(root, root.with_extension("away")).unwrap();
        let other = Spool::create(root).unwrap();
        let lock = AgentLock::take(&other).unwrap();
        let entry = Entry::new(Id::mint(), State::Sending { key: Key::mint(), attempts: 0 });
        std::fs::write(other.path(&entry), format!(r#"{{"sessionKey":"{ROUTED}","text":"x"}}"#)).unwrap();
        b.fake.restart().await.unwrap();
        (lock, entry)
    };
    let (ended, (_lock, entry)) = tokio::join!(agent, story);
    assert!(matches!(ended, Err(Error::Locked { .. })), "{ended:?}");
    assert!(b.spool.path(&entry).exists(), "the other agent's entry was touched");
    assert_eq!(b.commits(&entry.id), 0);
}

#[tokio::test]
async fn an_agent_goes_on_with_the_spool_that_is_there_in_the_end() {
    let b = Bench::new().await;
    let before = b.put(ROUTED, "x", "");
    b.run(async {
        b.until_done(1).await;
        let root = b.spool.root();
        let away = root.with_extension("away");
        rename(root, &away).unwrap();
        // Longer than a look takes: it has to wait for a spool.
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!root.exists(), "it made a spool of its own");
        Spool::create(root).unwrap();
        let after = b.put(ROUTED, "x", "");
        b.until_done(1).await;
        assert_eq!(b.commits(&after), 1);
    })
    .await;
    assert_eq!(b.commits(&before), 1);
    b.audit();
}

#[tokio::test]
async fn a_directory_that_is_swapped_is_not_touched_and_what_waits_goes_on_afterwards() {
    for dir in [Dir::New, Dir::Sending, Dir::Done, Dir::Journal] {
        let b = Bench::new().await;
        let (own, aside) = (b.spool.dir(dir), b.home().join("aside"));
        let bait = b.home().join("bait");
        std::fs::create_dir(&bait).unwrap();
        let record = r#"{"sessionKey":"s","text":"bait"}"#;
        std::fs::write(bait.join("package.json"), record).unwrap();
        b.run(async {
            b.put(INTERNAL, "first", "");
            b.until_done(1).await;
            rename(&own, &aside).unwrap();
            std::os::unix::fs::symlink(&bait, &own).unwrap();
            // Where new/ itself is gone nobody can publish; elsewhere it must wait.
            let waits = (dir != Dir::New).then(|| b.put(INTERNAL, "waits", ""));
            tokio::time::sleep(Duration::from_millis(600)).await;
            assert_eq!(std::fs::read_dir(&bait).unwrap().count(), 1, "{dir:?}");
            assert_eq!(std::fs::read_to_string(bait.join("package.json")).unwrap(), record);
            assert!(waits.iter().all(|id| b.commits(id) == 0), "{dir:?}");
            std::fs::remove_file(&own).unwrap();
            rename(&aside, &own).unwrap();
            b.put(INTERNAL, "last", "");
            b.until_done(2 + waits.iter().count()).await;
        })
        .await;
        b.audit();
    }
}

#[tokio::test]
async fn an_agent_whose_lock_is_gone_takes_it_again_or_gives_way() {
    let b = Bench::new().await;
    let lock = b.spool.root().join("lock");
    b.run(async {
        std::fs::remove_file(&lock).unwrap();
        let is_held = |b: &Bench| AgentLock::is_taken(&b.spool).unwrap();
        b.until("the lock is held again", is_held).await;
        b.put(INTERNAL, "x", "");
        b.until_done(1).await;
    })
    .await;
    let stolen = b
        .run_to_its_end(async {
            std::fs::remove_file(&lock).unwrap();
            AgentLock::take(&b.spool).unwrap()
        })
        .await;
    assert!(matches!(stolen, Err(Error::Locked { .. })), "{stolen:?}");
}
