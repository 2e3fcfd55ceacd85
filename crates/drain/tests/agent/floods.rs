//! Names that nobody can take in, many of them or for a long time: they must not become all the agent does.

use std::fs::{File, FileTimes};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spool_gateway::fake;
use spooldir::fault::FaultyFs;
use spooldir::fs::RealFs;
use spooldir::{Dir, Entry, Id, State};

use crate::support::{Bench, INTERNAL};

/// A bench with a file system that counts, and an agent that sweeps only when there is a reason to.
async fn bench() -> (Bench, FaultyFs) {
    let fs = FaultyFs::over(RealFs::new());
    let mut b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    b.options.sweep = Duration::from_secs(3600);
    (b, fs)
}

fn sweeps(b: &Bench, fs: &FaultyFs) -> usize {
    let list = format!("list {}", b.spool.dir(Dir::New).display());
    fs.steps().iter().filter(|step| **step == list).count()
}

#[tokio::test]
async fn more_foreign_names_than_can_be_remembered_do_not_keep_the_agent_busy() {
    let (b, fs) = bench().await;
    for n in 0..10_200 {
        symlink("nowhere", b.spool.dir(Dir::New).join(format!("{n:05}.json"))).unwrap();
    }
    b.put(INTERNAL, "x", "");
    b.run(async {
        b.until_done(1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = sweeps(&b, &fs);
        tokio::time::sleep(Duration::from_secs(2)).await;
        // The pass after the one in which something was taken in may still be to come.
        assert!(sweeps(&b, &fs) <= before + 1, "{} sweeps", sweeps(&b, &fs) - before);
        b.put(INTERNAL, "y", "");
        b.until_done(2).await;
    })
    .await;
}

#[tokio::test]
async fn a_file_that_somebody_keeps_open_is_looked_at_now_and_then() {
    let (b, fs) = bench().await;
    let file = File::create(b.spool.dir(Dir::New).join("x.json")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(60);
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
    b.run(async {
        b.until("connected", |b| b.fake.connected() == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = sweeps(&b, &fs);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let seen = sweeps(&b, &fs) - before;
        assert!((1..=6).contains(&seen), "{seen} sweeps");
        assert_eq!(b.count(Dir::Dead), 0);
        drop(file);
        b.until("it is condemned", |b| b.count(Dir::Dead) == 1).await;
    })
    .await;
}

#[tokio::test]
async fn foreign_names_do_not_hide_what_comes_after_them() {
    let (mut b, _fs) = bench().await;
    b.options.max_known = 2_000;
    for n in 0..10_200 {
        symlink("nowhere", b.spool.dir(Dir::New).join(format!("{n:05}.json"))).unwrap();
    }
    let record = format!(r#"{{"sessionKey":"{INTERNAL}","text":"x"}}"#);
    std::fs::write(b.spool.dir(Dir::New).join("last.json"), record).unwrap();
    b.run(b.until_done(1)).await;
}

#[tokio::test]
async fn the_timed_sweep_comes_however_often_the_doorbell_rings() {
    let b = Bench::new().await;
    let ringing = b.spool.dir(Dir::New).join(".ring");
    b.run(async {
        b.until("connected", |b| b.fake.connected() == 1).await;
        // What a person or a failing disk put there: nothing but the timed sweep looks.
        let entry = Entry::new(Id::mint(), State::Deferred { key: None, attempts: 1, due_ms: 0 });
        std::fs::write(b.spool.path(&entry), format!(r#"{{"sessionKey":"{INTERNAL}","text":"x"}}"#)).unwrap();
        b.until("it is delivered", |b| {
            std::fs::write(&ringing, "x").unwrap();
            b.count(Dir::Done) == 1
        })
        .await;
    })
    .await;
}
