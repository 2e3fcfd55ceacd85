//! Scenes of `spool-run`: jobs that succeed, fail or are killed, and one that outlives its wrapper.

use std::process::Command;

use super::place::{JOB, Place, Promise};
use super::{Scene, Who};
use crate::layer::Outcome;

const ID: &str = "run-1";
const LABEL: &str = "the-nightly-job";

pub(super) static SCENES: &[Scene] = &[
    Scene {
        prepare: |place| promise(place, &["ok", "lost"]),
        program: |place| job(place, "exit 0"),
        ..scene("run-ok", Some(0))
    },
    Scene {
        prepare: |place| promise(place, &["failed", "lost"]),
        program: |place| job(place, "exit 3"),
        ..scene("run-fails", Some(3))
    },
    Scene {
        prepare: |place| promise(place, &["failed", "lost"]),
        program: |place| job(place, "kill -TERM $$"),
        ..scene("run-killed", None)
    },
];

/// The job goes on until somebody makes the file `go`: only for a layer that does so.
pub(in crate::layers) static ORPHAN: Scene = Scene {
    prepare: |place| promise(place, &["lost"]),
    program: |place| job(place, "while [ ! -e go ]; do sleep 0.01; done"),
    ..scene("run-orphan", Some(0))
};

const fn scene(name: &'static str, ends: Option<i32>) -> Scene {
    Scene {
        name,
        who: Who::Wrapper,
        prepare: |place| promise(place, &["ok", "lost"]),
        program: |place| job(place, "exit 0"),
        ends,
        recover,
    }
}

fn promise(place: &mut Place<'_>, status: &'static [&'static str]) -> Outcome<()> {
    place.make_spool()?;
    let marker = Some(place.home.join("started"));
    place.promises.push(Promise { status, marker, ..Promise::of(LABEL, Some(ID), JOB) });
    Ok(())
}

fn job(place: &Place<'_>, then: &str) -> Command {
    let script = format!(": >started; echo at work; {then}");
    let args = ["--session", JOB, "--id", ID, "--label", LABEL, "--quiet", "--", "/bin/sh", "-c", &script];
    place.command("spool-run", &args)
}

/// The job ends, and an agent looks.
fn recover(place: &mut Place<'_>, _: &Scene) -> Outcome<()> {
    if place.exit.is_some() {
        // The wrapper came to its end: it knew how the job ended.
        place.promises.iter_mut().for_each(|promise| {
            promise.accepted = true;
            promise.status = promise.status.get(..1).unwrap_or_default();
        });
    }
    place.until_over(ID)?;
    place.settle()
}
