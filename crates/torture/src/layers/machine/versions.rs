//! Downgrade and upgrade: every state holds entries as an older program left them, as this one does, and as a later one
//! may; and beside them directories, names, journal lines and intents that nobody here knows.
//!
//! What is older or the same goes on where it stood. What is later is held, with the reason, or left alone; its bytes
//! never change and it never disappears. A spool of a later format is not touched at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use spooldir::name::Key;
use spooldir::{Dir, Entry, Id, State};

use super::inside;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Rig, chat, names, record};

/// Who wrote an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The least that was ever a record, and the names of the first version.
    Older,
    /// All that this version knows, and members that it does not.
    Same,
    /// Version 2 of the record, in a state that the later program brought it to.
    Later,
}

/// Names and files that only a later program understands: directory, name, bytes. All stay as they are.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("sending", "a,sp-01929f3e000070008000000000000001,0,lease7.json", r#"{"v":2}"#),
    ("sending", "a,sp2-01929f3e000070008000000000000001,0.json", r#"{"v":2}"#),
    ("sending", "a,sp-01929f3e000070008000000000000001~relay,0.json", r#"{"sessionKey":"s","text":"x"}"#),
    ("deferred", "a,-,0,0,high.json", r#"{"sessionKey":"s","text":"x"}"#),
    ("deferred", "a,-,0,soon.json", r#"{"v":2}"#),
    ("hold", "a.json.zst", "zst"),
    ("hold", "a@2.json", r#"{"v":2}"#),
    ("dead", "a.why.yaml", "why: later"),
    ("dead", "a@2.json", r#"{"v":2}"#),
    ("done", "a@2.json", r#"{"v":2}"#),
    ("done", "index.v2", "x"),
    ("dismissed", "a@2.json", r#"{"v":2}"#),
    ("new", "a.json.part", r#"{"v":2"#),
    ("new", ".a.json", r#"{"sessionKey":"s","text":"x"}"#),
    ("new", "a.cbor", "x"),
    ("runs", "a.lease2", "x"),
    ("runs", "a@2.json", r#"{"v":2}"#),
    ("journal", "2026-11-23.cbor", "x"),
    ("logs", "a.log.zst", "x"),
    ("parked", "a.json", r#"{"v":2,"sessionKey":"s","text":"x"}"#),
    ("policy", "routes.toml", "x = 1"),
];

/// Lines of a later journal, one of them torn.
const JOURNAL: &str = concat!(
    r#"{"at":1795411200000,"event":"accept","id":"from-later","to":"parked","shard":7,"nested":{"a":[1,2]}}"#,
    "\n",
    r#"{"at":1795411200001,"event":"prune","id":"from-later","by":{"who":"x"}}"#,
    "\n",
    r#"{"at":1795411200002,"event":"prune","id":"from-later","v":2}"#,
    "\n",
    r#"{"at":1795411200003,"event":"epoch","epoch":9}"#,
    "\n",
    r#"{"at":17954112"#,
);

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "versions")?;
    let session = chat(0);
    let mut expected: Vec<(Entry, Writer, Vec<u8>)> = Vec::new();
    for writer in [Writer::Older, Writer::Same, Writer::Later] {
        for state in states() {
            let entry = Entry::new(Id::mint(), state);
            let bytes = bytes(writer, &entry.id, &session);
            fs::write(rig.spool.path(&entry), &bytes)?;
            expected.push((entry, writer, bytes));
        }
    }
    for (dir, name, bytes) in FOREIGN {
        fs::create_dir_all(rig.root.join(dir))?;
        fs::write(rig.root.join(dir).join(name), bytes)?;
    }
    fs::write(rig.spool.dir(Dir::Journal).join("2026-11-22.jsonl"), JOURNAL)?;
    let intent = br#"{"v":2,"id":"later-run","steps":[]}"#;
    fs::write(rig.spool.dir(Dir::Runs).join("later-run.steps"), intent)?;

    let delivered = expected.iter().filter(|(e, w, _)| *w != Writer::Later && moves(&e.state)).count();
    let there = |dir: Dir| expected.iter().filter(|(e, ..)| e.dir() == dir).count();
    let done = delivered + there(Dir::Done);
    inside::drain(&rig, rig.limit(), || {
        rig.count(Dir::Done) >= done && rig.count(Dir::New) <= 3 && rig.count(Dir::Deferred) <= 2
    })?;
    for (entry, writer, bytes) in &expected {
        report.count("cells", 1);
        let what = format!("versions: {writer:?} x {:?}", entry.state);
        let want = fate(&entry.state, *writer);
        let places = rig.places(&entry.id);
        report.check(places == [want], || format!("{what}: is {places:?}, should be {want}"));
        report.check(is_there(&rig, &entry.id, bytes), || format!("{what}: its bytes are gone or changed"));
        if want == "held" && entry.state != State::Held {
            let why = fs::read_to_string(rig.spool.dir(Dir::Hold).join(format!("{}.why.json", entry.id)));
            let why = why.unwrap_or_default();
            report.check(why.contains("version 2"), || format!("{what}: the reason says {why:?}"));
        }
        let commits = rig.fake.commits_containing(entry.id.as_str());
        let should = usize::from(*writer != Writer::Later && moves(&entry.state) && !is_told(&entry.state));
        report.check(commits == should, || format!("{what}: {commits} commits, should be {should}"));
        if ground.hunts() && report.violated() > 0 {
            return Ok(());
        }
    }
    for (dir, name, bytes) in FOREIGN {
        report.count("foreign", 1);
        let now = fs::read(rig.root.join(dir).join(name)).ok();
        report.check(now.as_deref() == Some(bytes.as_bytes()), || {
            format!("versions: {dir}/{name} was touched")
        });
    }
    let journal = fs::read_to_string(rig.spool.dir(Dir::Journal).join("2026-11-22.jsonl"))?;
    report.check(journal.starts_with(JOURNAL), || "versions: a later journal was changed".to_owned());
    rig.audit(report, "versions");
    later_format(&rig, report)
}

/// All that an entry's name can say.
fn states() -> Vec<State> {
    vec![
        State::Pending,
        State::Sending { key: Key::mint(), attempts: 0 },
        State::Sending { key: Key::mint().next_epoch(), attempts: 3 },
        State::Sending { key: Key::mint().tell(), attempts: 0 },
        State::Deferred { key: None, attempts: 0, due_ms: 0 },
        State::Deferred { key: Some(Key::mint()), attempts: 2, due_ms: 0 },
        State::Held,
        State::Dead,
        State::Done,
        State::Dismissed,
    ]
}

fn is_told(state: &State) -> bool {
    matches!(state, State::Sending { key, .. } if key.purpose() == spooldir::name::Purpose::Tell)
}

/// Whether the agent has something to do with it.
fn moves(state: &State) -> bool {
    matches!(state, State::Pending | State::Sending { .. } | State::Deferred { .. })
}

/// Where it has to be in the end.
fn fate(state: &State, writer: Writer) -> &'static str {
    match state {
        state if !moves(state) => state.word(),
        // It is committed; the telling waits for a program that can read what to tell.
        state if writer == Writer::Later && is_told(state) => state.word(),
        _ if writer == Writer::Later => "held",
        _ => "done",
    }
}

fn bytes(writer: Writer, id: &Id, session: &str) -> Vec<u8> {
    match writer {
        Writer::Older => record(id, session),
        Writer::Same => format!(
            r#"{{"v":1,"id":"{id}","sessionKey":"{session}","status":"ok","label":"{id}","text":"this is {id}",
                "createdAt":1795411265010,"deliver":"turn","notify":"always","later":{{"a":[null]}}}}"#
        )
        .into_bytes(),
        Writer::Later => format!(r#"{{"v":2,"id":"{id}","to":["{session}"],"body":[{{"kind":"rich"}}]}}"#).into_bytes(),
    }
}

fn is_there(rig: &Rig<'_>, id: &Id, bytes: &[u8]) -> bool {
    Dir::STATES.iter().any(|dir| {
        let dir = rig.spool.dir(*dir);
        let mut mine =
            names(&dir).into_iter().filter(|name| name.starts_with(id.as_str()) && !name.contains(".why."));
        mine.any(|name| fs::read(dir.join(name)).is_ok_and(|there| there == bytes))
    })
}

/// Every program refuses a spool of a later format, and changes nothing in it.
fn later_format(rig: &Rig<'_>, report: &mut Report) -> Outcome<()> {
    fs::write(rig.root.join("format"), "spool 2\n")?;
    let before = all_files(&rig.root)?;
    for args in [vec!["list"], vec!["status"], vec!["audit"], vec!["retry", "--all"]] {
        let (code, said) = rig.verb(&args)?;
        report.check(code == 78 && said.contains("update the program"), || {
            format!("versions: spool {args:?} on format 2: {code}: {said}")
        });
    }
    let put = rig.command(&[], "spool-put").args(["--session", &chat(0), "x"]).status()?;
    report.check(put.code() == Some(78), || format!("versions: spool-put on format 2: {put}"));
    let run = rig.command(&[], "spool-run").args(["--session", &chat(0), "--", "true"]).status()?;
    report.count("refusals", 7);
    let mut agent = rig.agent()?;
    let ended = agent.ended(rig.limit()).and_then(|status| status.code());
    report.check(ended == Some(78), || {
        format!("versions: spool drain on format 2: {ended:?}: {}", agent.log())
    });
    report.check(all_files(&rig.root)? == before, || {
        format!("versions: a spool of format 2 was changed ({run})")
    });
    Ok(())
}

/// Every file below a directory, with its bytes.
fn all_files(dir: &Path) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.is_dir() {
            all.append(&mut all_files(&path)?);
        } else {
            all.insert(path.display().to_string(), fs::read(&path)?);
        }
    }
    Ok(all)
}
