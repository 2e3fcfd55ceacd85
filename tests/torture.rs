//! `spool torture`: what it says of a file system, and both halves of a power cut, with a kill in place of the cut.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::TempSpool;
use crate::support::programs::Cli;

/// Writes until it has said `numbers` of them, and is killed then; the last one it said.
fn write_until_killed(spool: &TempSpool, numbers: usize) -> u64 {
    let mut writer = Command::new(env!("CARGO_BIN_EXE_spool"))
        .args(["torture", "--until-cut"])
        .env("SPOOL_DIR", spool.spool.root())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap()).lines();
    let last = said.by_ref().take(numbers).last();
    writer.kill().unwrap();
    writer.wait().unwrap();
    said.last().or(last).unwrap().unwrap().parse().unwrap()
}

#[test]
fn every_promise_is_tried_and_nothing_is_left() {
    let spool = TempSpool::new();
    let ran = Cli::new(&spool, &["torture", "--json"]).run();
    let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    let verdict = |promise: &str| {
        let of = |finding: &&Value| finding["promise"] == promise;
        said["findings"].as_array().unwrap().iter().find(of).unwrap()["verdict"].as_str().unwrap().to_owned()
    };
    for promise in ["kills", "no overwrite", "races", "locks", "privacy"] {
        assert_eq!(verdict(promise), "kept", "{ran:?}");
    }
    for promise in ["names", "notice", "clock", "room"] {
        assert_ne!(verdict(promise), "broken", "{ran:?}");
    }
    // The tests may run on a file system in memory, of which nothing survives a power cut.
    assert_eq!(ran.code, i32::from(verdict("power") == "broken"), "{ran:?}");
    assert_eq!(std::fs::read_dir(spool.spool.dir(spooldir::Dir::Tmp)).unwrap().count(), 0);
}

#[test]
fn what_a_writer_said_is_judged_after_the_cut() {
    let spool = TempSpool::new();
    let last = write_until_killed(&spool, 5);
    // A writer goes on where the one before it ended.
    let last = write_until_killed(&spool, 5).max(last);
    assert!(last >= 10, "{last}");
    let last = last.to_string();
    let judge = ["torture", "--after-cut", &last];
    let home = spool.spool.dir(spooldir::Dir::Tmp).join("spool-torture-cut");

    let third = home.join("new/torture-3.json");
    let bytes = std::fs::read(&third).unwrap();
    std::fs::write(&third, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Cli::new(&spool, &judge).run().exits(1).stdout.contains("record 3 is there, but not as it was"));
    std::fs::remove_file(&third).unwrap();
    assert!(Cli::new(&spool, &judge).run().exits(1).stdout.contains("record 3 of"));
    std::fs::write(&third, &bytes).unwrap();
    assert!(Cli::new(&spool, &judge).run().exits(0).stdout.contains("records are there, whole"));
    assert!(!home.exists());
}

#[test]
fn it_does_not_make_a_spool_nor_guess_a_directory() {
    let spool = TempSpool::new();
    let nowhere = spool.home().join("nowhere");
    let ran = Cli::new(&spool, &["torture", "--dir", nowhere.to_str().unwrap()]).run().exits(73);
    assert!(ran.stderr.contains("--dir"), "{ran:?}");
    let ran = Cli::new(&spool, &["torture", "--spool", nowhere.to_str().unwrap()]).run().exits(78);
    assert!(ran.stderr.contains("no such directory"), "{ran:?}");
    assert!(!nowhere.exists());
    Cli::new(&spool, &["torture", "--until-cut", "--after-cut", "3"]).run().exits(64);
}
