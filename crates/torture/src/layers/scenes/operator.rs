//! Scenes of a person's commands: dismiss, hold, release, retry, and retry to another session.

use super::place::{Fate, GONE, JOB, OTHER, Place, Promise};
use super::{Scene, Who};
use crate::layer::Outcome;

const ID: &str = "job-1";
const WHY: &[u8] = br#"{"reason":"laid out","at":1,"attempts":1}"#;

pub(super) static SCENES: &[Scene] = &[
    Scene {
        program: |place| place.command("spool", &["dismiss", ID, "--reason", "of no use"]),
        ..scene("dismiss", |place| pending(place, Fate::Dismissed), again)
    },
    Scene {
        program: |place| place.command("spool", &["hold", ID]),
        ..scene("hold", |place| pending(place, Fate::Held), again)
    },
    Scene {
        program: |place| place.command("spool", &["release", ID]),
        ..scene("release", |place| laid(place, "hold", JOB), again)
    },
    scene("retry", |place| laid(place, "dead", JOB), again),
    Scene {
        program: |place| place.command("spool", &["retry", ID, "--session", OTHER]),
        ..scene("reroute", prepare_reroute, again_rerouted)
    },
];

const fn scene(
    name: &'static str,
    prepare: fn(&mut Place<'_>) -> Outcome<()>,
    recover: fn(&mut Place<'_>, &Scene) -> Outcome<()>,
) -> Scene {
    Scene {
        name,
        who: Who::Tool,
        prepare,
        program: |place| place.command("spool", &["retry", ID]),
        ends: Some(0),
        recover,
    }
}

fn pending(place: &mut Place<'_>, fate: Fate) -> Outcome<()> {
    place.make_spool()?;
    place.publish("new/job-1.json", Promise::of("what-was-said", Some(ID), JOB).fated(fate), "")
}

fn laid(place: &mut Place<'_>, dir: &str, session: &'static str) -> Outcome<()> {
    place.make_spool()?;
    place.lay(&format!("{dir}/{ID}.why.json"), WHY)?;
    place.publish(&format!("{dir}/{ID}.json"), Promise::of("what-was-said", Some(ID), session), "")
}

/// The record goes on under a new id, and the old one is put aside.
fn prepare_reroute(place: &mut Place<'_>) -> Outcome<()> {
    laid(place, "dead", GONE)?;
    place.promises.iter_mut().for_each(|promise| promise.fate = Fate::Dismissed);
    place.promises.push(Promise::of("what-was-said", None, OTHER));
    Ok(())
}

/// Who does not know whether it is done says it again, and is told that it is; or, with 65, that an agent is sending it
/// already.
fn again(place: &mut Place<'_>, scene: &Scene) -> Outcome<()> {
    if place.exit != Some(0) {
        let command = (scene.program)(place);
        place.must(command, &[0, 65])?;
    }
    place.settle()
}

fn again_rerouted(place: &mut Place<'_>, scene: &Scene) -> Outcome<()> {
    if place.exit != Some(0) {
        let command = (scene.program)(place);
        place.must(command, &[0])?;
        place.ended(Some(0));
    }
    place.settle()
}
