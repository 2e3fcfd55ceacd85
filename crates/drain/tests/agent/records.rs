//! What a record may ask for, and what strangers may drop.

use std::time::{Duration, Instant};

use spooldir::name::Key;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Event, Id, State};

use crate::support::{Bench, INTERNAL, ROUTED};

#[tokio::test]
async fn not_before_waits_and_expires_at_puts_aside() {
    let b = Bench::new().await;
    let early = b.put(ROUTED, "x", &format!(r#","notBefore":{}"#, now_ms() + 400));
    let late = b.put(ROUTED, "x", &format!(r#","expiresAt":{}"#, now_ms() - 1));
    b.run(async {
        b.until("one waits, one is put aside", |b| {
            b.count(Dir::Deferred) == 1 && b.count(Dir::Dismissed) == 1
        })
        .await;
        assert!(b.reason(&late).contains("expired"));
        b.until_done(1).await;
    })
    .await;
    assert_eq!((b.commits(&early), b.commits(&late)), (1, 0));
    b.audit();
}

#[tokio::test]
async fn a_quiet_record_is_kept_as_a_receipt_and_tells_nobody() {
    let b = Bench::new().await;
    let quiet = b.put(ROUTED, "x", r#","notify":"failure","status":"ok""#);
    let loud = b.put(ROUTED, "x", r#","notify":"failure","status":"failed""#);
    b.run(b.until_done(2)).await;
    assert_eq!((b.commits(&quiet), b.commits(&loud)), (0, 1));
}

#[tokio::test]
async fn a_later_record_puts_an_older_one_aside_that_was_not_sent_yet() {
    let b = Bench::new().await;
    b.fake.kill().await;
    let old = b.put(ROUTED, "50 %", "");
    let new = b.put(ROUTED, "done", &format!(r#","supersedes":"{old}""#));
    b.run(async {
        b.until("the old one is put aside", |b| b.count(Dir::Dismissed) == 1).await;
        b.fake.restart().await.unwrap();
        b.until_done(1).await;
    })
    .await;
    assert_eq!((b.commits(&old), b.commits(&new)), (0, 1));
    assert!(b.reason(&old).contains("superseded"));
}

#[tokio::test]
async fn garbage_ends_in_dead_byte_for_byte_and_delays_nobody() {
    let b = Bench::new().await;
    let new = b.spool.dir(Dir::New);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for (name, bytes) in [("a.json", &b"{"[..]), ("b.json", b""), ("c.json", b"\xff\xfe"), ("d.json", b"[1]")]
    {
        std::fs::write(new.join(name), bytes).unwrap();
        std::fs::File::options().write(true).open(new.join(name)).unwrap().set_modified(old).unwrap();
    }
    std::fs::create_dir(new.join("e.json")).unwrap();
    std::fs::write(new.join("notes.txt"), "mine").unwrap();
    let id = b.put(ROUTED, "x", "");
    b.run(b.until("four are dead, one is done", |b| b.count(Dir::Dead) == 4 && b.count(Dir::Done) == 1))
        .await;
    assert_eq!(b.commits(&id), 1);
    let mut bytes: Vec<_> =
        b.entries(Dir::Dead).iter().map(|e| std::fs::read(b.spool.path(e)).unwrap()).collect();
    bytes.sort();
    assert_eq!(bytes, [&b""[..], b"[1]", b"{", b"\xff\xfe"]);
    assert!(new.join("e.json").is_dir() && new.join("notes.txt").is_file());
}

#[tokio::test]
async fn the_same_record_dropped_twice_is_delivered_once() {
    let b = Bench::new().await;
    let record = format!(r#"{{"sessionKey":"{ROUTED}","text":"x","id":"hook-7"}}"#);
    b.run(async {
        for n in 0..3 {
            std::fs::write(b.spool.dir(Dir::New).join(format!("drop-{n}.json")), &record).unwrap();
            b.until("it is taken", |b| b.count(Dir::New) == 0).await;
        }
        b.until_done(1).await;
    })
    .await;
    assert_eq!(b.commits(&Id::new("hook-7").unwrap()), 1);
    b.audit();
}

#[tokio::test]
async fn what_a_person_retries_is_delivered_while_the_agent_runs() {
    let b = Bench::new().await;
    let id = b.put("agent:main:later", "x", "");
    b.run(async {
        b.until("it is dead", |b| b.count(Dir::Dead) == 1).await;
        b.fake.add_session("agent:main:later", None);
        b.spool.release(&b.entries(Dir::Dead)[0]).unwrap();
        b.until_done(1).await;
    })
    .await;
    assert_eq!(b.commits(&id), 1);
}

#[tokio::test]
async fn what_a_person_takes_away_is_not_sent() {
    let b = Bench::new().await;
    b.fake.kill().await;
    let id = b.put(ROUTED, "x", "");
    b.run(async {
        b.until("it is known", |b| b.lines().iter().any(|l| l.event == "accept")).await;
        b.spool.advance(&b.entries(Dir::New)[0], &Event::Dismiss).unwrap();
        b.put(ROUTED, "y", "");
        b.fake.restart().await.unwrap();
        b.until_done(1).await;
    })
    .await;
    assert_eq!(b.commits(&id), 0);
}

#[tokio::test]
async fn what_a_later_program_left_is_held_and_not_called_spoilt() {
    let b = Bench::new().await;
    let states = [
        State::Sending { key: Key::mint(), attempts: 0 },
        State::Deferred { key: Some(Key::mint()), attempts: 2, due_ms: 0 },
        State::Deferred { key: None, attempts: 0, due_ms: 0 },
    ];
    let told = Entry::new(Id::mint(), State::Sending { key: Key::mint().tell(), attempts: 0 });
    let bytes = br#"{"v":2,"body":[]}"#;
    let entries: Vec<Entry> = states.into_iter().map(|state| Entry::new(Id::mint(), state)).collect();
    for entry in entries.iter().chain([&told]) {
        std::fs::write(b.spool.path(entry), bytes).unwrap();
    }
    b.run(b.until("they are held", |b| b.count(Dir::Hold) == entries.len())).await;
    for entry in &entries {
        let held = Entry::new(entry.id.clone(), State::Held);
        assert_eq!(std::fs::read(b.spool.path(&held)).unwrap(), bytes);
        assert!(b.reason(&entry.id).contains("version 2"), "{}", b.reason(&entry.id));
    }
    assert!(b.spool.path(&told).exists(), "a telling that nobody here can read waits where it is");
    assert_eq!(b.count(Dir::Dead), 0);
}

#[tokio::test]
async fn a_record_that_quotes_a_key_is_no_evidence_for_its_delivery() {
    let b = Bench::new().await;
    let key = Key::mint();
    b.put(INTERNAL, &format!("spool list says: waiting {key} and {key}~2"), "");
    b.run(b.until_done(1)).await;
    let id = Id::mint();
    let entry = Entry::new(id.clone(), State::Sending { key, attempts: 0 });
    let record = format!(r#"{{"sessionKey":"{INTERNAL}","text":"never sent"}}"#);
    std::fs::write(b.spool.path(&entry), record).unwrap();
    b.run(b.until_done(2)).await;
    assert_eq!(b.commits(&id), 1);
}

#[tokio::test]
async fn two_sessions_under_one_key_are_held_and_neither_is_sent() {
    let b = Bench::new().await;
    let key = Key::mint();
    let mut ids = Vec::new();
    for session in [ROUTED, INTERNAL] {
        let entry = Entry::new(Id::mint(), State::Sending { key: key.clone(), attempts: 0 });
        std::fs::write(b.spool.path(&entry), format!(r#"{{"sessionKey":"{session}","text":"x"}}"#)).unwrap();
        ids.push(entry.id);
    }
    b.run(b.until("they are held", |b| b.count(Dir::Hold) == 2)).await;
    for id in &ids {
        assert!(b.reason(id).contains(&key.to_string()), "{}", b.reason(id));
        assert_eq!(b.commits(id), 0);
    }
}

/// What was read when it was taken in is sent without being read again, but only as long as the file is the same one and
/// was not touched. A producer that writes in place, or somebody who puts another file there, is read again.
#[tokio::test]
async fn a_record_that_was_changed_while_it_waited_is_not_sent_as_it_was() {
    let b = Bench::new().await;
    let ids: Vec<Id> = ["alpha", "beta", "gamma"].iter().map(|text| b.put(ROUTED, text, "")).collect();
    let path = |id: &Id| b.spool.path(&Entry::new(id.clone(), State::Pending));
    let old = Instant::now();
    b.until("the files are older than a tick of any clock", |_| old.elapsed() > Duration::from_millis(200))
        .await;
    b.fake.kill().await;
    b.run(async {
        let accepted = |id: &Id| b.lines().iter().any(|l| l.event == "accept" && l.id == id.as_str());
        b.until("they are taken in", |_| ids.iter().all(accepted)).await;
        let text = |text: &str| format!(r#"{{"sessionKey":"{ROUTED}","text":"{text}"}}"#);
        // In place and of the same length, and with the old time; and another file of the same name.
        let meta = std::fs::metadata(path(&ids[0])).unwrap();
        let file = std::fs::File::options().write(true).open(path(&ids[0])).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, text("ALPHA").as_bytes(), 0).unwrap();
        file.set_modified(meta.modified().unwrap()).unwrap();
        let other = b.spool.dir(Dir::Tmp).join("other");
        std::fs::write(&other, text("BETA")).unwrap();
        rustix::fs::rename(&other, path(&ids[1])).unwrap();
        b.fake.restart().await.unwrap();
        b.until_done(3).await;
    })
    .await;
    let told: Vec<String> =
        b.fake.requests_of("agent").iter().map(|r| r.params["message"].to_string()).collect();
    let told = told.join("\n");
    for (word, is_told) in
        [("ALPHA", true), ("alpha", false), ("BETA", true), ("beta", false), ("gamma", true)]
    {
        assert_eq!(told.contains(word), is_told, "{word} in {told}");
    }
}
