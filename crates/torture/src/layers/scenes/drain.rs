//! Scenes of the agent: one record, several lanes, what was being sent when the last agent died, what cannot be sent,
//! and runs that nobody is left to report.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::place::{CHAT, Fate, GONE, JOB, OTHER, Place, Promise, record};
use super::{Scene, Who};
use crate::layer::Outcome;

pub(super) static SCENES: &[Scene] = &[
    scene("drain-one", |place| {
        place.make_spool()?;
        place.publish("new/one.json", Promise::of("only-one", Some("one"), JOB), "")
    }),
    scene("drain-lanes", lanes),
    scene("drain-recover", recover),
    scene("drain-refused", refused),
    scene("drain-runs", runs),
];

const fn scene(name: &'static str, prepare: fn(&mut Place<'_>) -> Outcome<()>) -> Scene {
    Scene {
        name,
        who: Who::Agent,
        prepare,
        program: |place| place.agent(),
        ends: Some(0),
        recover: |place, _| place.settle(),
    }
}

/// Three records that go together, one that was dropped by hand, a turn and a message for a chat.
fn lanes(place: &mut Place<'_>) -> Outcome<()> {
    place.make_spool()?;
    for (path, id) in [("new/a1.json", "a1"), ("new/a2.json", "a2"), ("new/a3.json", "a3")] {
        place.publish(path, Promise::of(&format!("word-{id}"), Some(id), JOB), "")?;
    }
    place.publish("new/my report.json", Promise::of("dropped-by-hand", None, OTHER), "")?;
    place.publish("new/c1.json", Promise::of("a-turn-for-people", Some("c1"), CHAT), "")?;
    let told = Promise::of("a-message", Some("c2"), CHAT).fated(Fate::Message);
    place.publish("new/c2.json", told, r#""deliver":"message""#)
}

/// The last agent died: of one delivery the gateway knows nothing, of two records in another it has everything, and a
/// third was only taken.
fn recover(place: &mut Place<'_>) -> Outcome<()> {
    place.make_spool()?;
    place.publish("new/d1.json", Promise::of("word-d1", Some("d1"), JOB), "")?;
    place.publish("new/d2.json", Promise::of("word-d2", Some("d2"), JOB), "")?;
    place.must(place.agent(), &[0])?;
    let key = place.gateway.all_commits().first().map(|(_, key, _)| key.clone());
    let key = key.ok_or("the agent sent nothing")?;
    for id in ["d1", "d2"] {
        let from = place.spool.join("done").join(format!("{id}.json"));
        rustix::fs::rename(from, place.spool.join("sending").join(format!("{id},{key},0.json")))?;
    }
    place.deaths += 1;
    let name = format!("sending/d3,sp-{:032x},0.json", 3);
    place.publish(&name, Promise::of("word-d3", Some("d3"), OTHER), "")?;
    let name = format!("sending/d4,sp-{:032x}~2,1.json", 4);
    place.publish(&name, Promise::of("word-d4", Some("d4"), CHAT), "")?;
    place.publish("new/d5.json", Promise::of("word-d5", Some("d5"), JOB), "")
}

/// Everything that is not to be sent, and one record that is.
fn refused(place: &mut Place<'_>) -> Outcome<()> {
    place.make_spool()?;
    place.publish("new/good.json", Promise::of("a-good-one", Some("good"), JOB), "")?;
    let dead = Promise::of("nobody-there", Some("lost-session"), GONE).fated(Fate::Dead);
    place.publish("new/lost-session.json", dead, "")?;
    let held = Promise { session: None, ..Promise::of("no-session", Some("unrouted"), JOB) };
    place.publish("new/unrouted.json", held.fated(Fate::Held), "")?;
    let expired = Promise::of("too-late", Some("expired"), JOB).fated(Fate::Dismissed);
    place.publish("new/expired.json", expired, r#""expiresAt":1"#)?;
    let quiet = Promise::of("nobody-to-tell", Some("quiet"), JOB).fated(Fate::Filed);
    place.publish("new/quiet.json", quiet, r#""notify":"never""#)?;
    // The same record once more is no second record.
    let twin = record(&Promise::of("a-good-one", Some("good"), JOB), "");
    place.lay("new/once more.json", &twin)?;
    // Another one under its id is buried under a new one.
    let thief = Promise::of("another-one", Some("good"), OTHER).fated(Fate::Dead);
    let thief = Promise { id: None, accepted: true, bytes: Some(record(&thief, "")), ..thief };
    place.lay("new/thief.json", thief.bytes.as_deref().unwrap_or_default())?;
    place.promises.push(thief);
    // Old enough to be condemned at once.
    let broken = Promise { session: None, ..Promise::of("{ not JSON", None, JOB) }.fated(Fate::Dead);
    let bytes = broken.word.clone().into_bytes();
    place.lay("new/broken.json", &bytes)?;
    let file = File::options().write(true).open(place.spool.join("new/broken.json"))?;
    file.set_modified(SystemTime::now() - Duration::from_secs(3600))?;
    place.promises.push(Promise { accepted: true, bytes: Some(bytes), ..broken });
    Ok(())
}

/// A run that is over and was never reported, and one that was reported and never closed.
fn runs(place: &mut Place<'_>) -> Outcome<()> {
    place.make_spool()?;
    for (id, label) in [("run-7", "nobody-is-left"), ("run-8", "closed-by-the-agent")] {
        let intent = format!(
            r#"{{"v":1,"id":"{id}","sessionKey":"{JOB}","label":"{label}","command":["true"],"startedAt":1}}"#
        );
        place.lay(&format!("runs/{id}.lock"), b"")?;
        place.lay(&format!("runs/{id}.json"), intent.as_bytes())?;
        place.lay(&format!("logs/{id}.log"), b"the last words of the job\n")?;
    }
    let lost = Promise::of("nobody-is-left", Some("run-7"), JOB);
    place.promises.push(Promise { accepted: true, status: &["lost"], ..lost });
    let told = Promise::of("closed-by-the-agent", Some("run-8"), JOB);
    place.publish("new/run-8.json", told, r#""status":"ok""#)
}
