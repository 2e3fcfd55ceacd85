//! Scenes of `spool-put`: the first record of a spool, one more, the same again, another under a known id.

use std::process::Command;

use super::place::{Fate, JOB, Place, Promise};
use super::{Scene, Who};
use crate::layer::Outcome;

const ID: &str = "job-1";
const WORD: &str = "the-build-is-done";

pub(super) static SCENES: &[Scene] = &[
    tool("put-first", |place| promise(place, Fate::Turn), again),
    tool("put", |place| place.make_spool().and_then(|()| promise(place, Fate::Turn)), again),
    Scene {
        // Without an id of its own it cannot be tried again: it is there or it is not.
        program: |place| place.command("spool-put", &["--session", JOB, WORD]),
        ..tool("put-minted", prepare_minted, |place, _| place.settle())
    },
    tool("put-again", prepare_again, again),
    tool("put-delivered", prepare_delivered, again),
    tool("put-dead", prepare_dead, again),
    Scene { ends: Some(65), ..tool("put-conflict", prepare_conflict, conflict) },
];

const fn tool(
    name: &'static str,
    prepare: fn(&mut Place<'_>) -> Outcome<()>,
    recover: fn(&mut Place<'_>, &Scene) -> Outcome<()>,
) -> Scene {
    Scene { name, who: Who::Tool, prepare, program: put, ends: Some(0), recover }
}

fn put(place: &Place<'_>) -> Command {
    place.command("spool-put", &["--id", ID, "--session", JOB, WORD])
}

fn promise(place: &mut Place<'_>, fate: Fate) -> Outcome<()> {
    place.promises.push(Promise::of(WORD, Some(ID), JOB).fated(fate));
    Ok(())
}

/// Who is in doubt tries again with the same id, and is told yes.
fn again(place: &mut Place<'_>, _: &Scene) -> Outcome<()> {
    if place.exit != Some(0) {
        let command = put(place);
        place.must(command, &[0])?;
        place.ended(Some(0));
    }
    place.settle()
}

fn prepare_minted(place: &mut Place<'_>) -> Outcome<()> {
    place.promises.push(Promise::of(WORD, None, JOB));
    place.make_spool()
}

fn prepare_again(place: &mut Place<'_>) -> Outcome<()> {
    place.make_spool()?;
    promise(place, Fate::Turn)?;
    let command = put(place);
    place.must(command, &[0])?;
    place.promises.iter_mut().for_each(|promise| promise.accepted = true);
    Ok(())
}

fn prepare_delivered(place: &mut Place<'_>) -> Outcome<()> {
    prepare_again(place)?;
    place.promises.iter_mut().for_each(|promise| promise.fate = Fate::Filed);
    let name = format!("{ID}.json");
    Ok(rustix::fs::rename(place.spool.join("new").join(&name), place.spool.join("done").join(name))?)
}

fn prepare_dead(place: &mut Place<'_>) -> Outcome<()> {
    prepare_again(place)?;
    place.promises.iter_mut().for_each(|promise| promise.fate = Fate::Dead);
    place.lay(&format!("dead/{ID}.why.json"), br#"{"reason":"laid out","at":1,"attempts":0}"#)?;
    let name = format!("{ID}.json");
    Ok(rustix::fs::rename(place.spool.join("new").join(&name), place.spool.join("dead").join(name))?)
}

fn prepare_conflict(place: &mut Place<'_>) -> Outcome<()> {
    place.make_spool()?;
    place.publish("new/job-1.json", Promise::of("the-first-one", Some(ID), JOB), "")?;
    promise(place, Fate::Nowhere)
}

/// The second one is refused, as often as it is tried.
fn conflict(place: &mut Place<'_>, _: &Scene) -> Outcome<()> {
    let command = put(place);
    place.must(command, &[65])?;
    place.settle()
}
