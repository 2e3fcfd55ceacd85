//! Scripts: who does what, one after the other. Some are written down, one for each thing that happens to a record;
//! the others are thrown together at random, for what nobody thought of.

use std::path::Path;
use std::time::Duration;

use spooldir::{Event, Id};

use super::scene::Scene;
use crate::chance::Chance;
use crate::layer::Outcome;

/// What somebody does. Numbers are slots: records, or runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A producer publishes under an id of his own, for the first time or again.
    Put(u8),
    /// The same, sure that the id is new.
    Fresh(u8),
    /// Somebody publishes another record under the id.
    Rival(u8),
    /// Two records, or one, become a delivery that is sent.
    Take(u8, u8),
    Rekey(u8),
    Tell(u8),
    Prove(u8),
    Fail(u8),
    Condemn(u8),
    /// The agent holds it.
    Park(u8),
    Quiet(u8),
    Postpone(u8),
    /// A person holds it.
    Hold(u8),
    Retry(u8),
    Dismiss(u8),
    /// A file is dropped by hand, and flushed.
    Drop(u8),
    /// The same, without a flush.
    Toss(u8),
    Intake,
    Prune,
    OpenRun(u8),
    EndRun(u8),
    Lost,
}

use Act::{
    Condemn, Dismiss, Drop, EndRun, Fail, Fresh, Hold, Intake, Lost, OpenRun, Park, Postpone, Prove, Prune,
    Put, Quiet, Rekey, Retry, Rival, Take, Tell, Toss,
};

/// One for each thing that happens to a record.
#[rustfmt::skip]
pub(super) const WRITTEN: &[(&str, &[Act])] = &[
    ("publish", &[Fresh(0)]),
    ("publish twice", &[Put(0), Put(0)]),
    ("conflict", &[Put(0), Rival(0), Put(0)]),
    ("conflict in every state", &[Put(0), Take(0, 0), Rival(0), Prove(0), Rival(0), Put(1), Condemn(1), Rival(1), Put(1)]),
    ("retry of what moved on", &[Put(0), Take(0, 0), Put(0), Prove(0), Put(0)]),
    ("delivery", &[Put(0), Intake, Take(0, 0), Prove(0)]),
    ("new epochs", &[Put(0), Take(0, 0), Rekey(0), Rekey(0), Prove(0)]),
    ("telling", &[Put(0), Take(0, 0), Tell(0), Rekey(0), Prove(0)]),
    ("attempts", &[Put(0), Take(0, 0), Fail(0), Take(0, 0), Fail(0), Take(0, 0), Condemn(0)]),
    ("group", &[Put(0), Put(1), Take(0, 1), Prove(0), Fail(1), Take(1, 1), Prove(1)]),
    ("two deliveries", &[Fresh(0), Take(0, 0), Fresh(1), Take(1, 1), Prove(1), Prove(0)]),
    ("dead and retried", &[Put(0), Condemn(0), Retry(0), Take(0, 0), Prove(0)]),
    ("dead and held", &[Put(0), Condemn(0), Hold(0), Retry(0)]),
    ("held and released", &[Put(0), Hold(0), Retry(0), Take(0, 0), Park(0), Retry(0)]),
    ("held by the agent", &[Put(0), Park(0), Dismiss(0), Retry(0)]),
    ("dismissed", &[Put(0), Dismiss(0), Prune]),
    ("postponed", &[Put(0), Postpone(0), Hold(0), Retry(0), Postpone(0), Take(0, 0), Prove(0)]),
    ("quiet", &[Put(0), Quiet(0), Put(0)]),
    ("dropped", &[Drop(8), Intake, Take(8, 8), Prove(8)]),
    ("dropped twice", &[Drop(8), Intake, Drop(8), Drop(8), Intake]),
    ("dropped and held", &[Drop(8), Intake, Hold(8), Retry(8)]),
    ("tossed", &[Toss(8), Intake, Put(0)]),
    ("tossed and taken", &[Toss(8), Intake, Take(8, 8), Prove(8)]),
    ("pruned", &[Put(0), Take(0, 0), Prove(0), Put(1), Prune, Put(1)]),
    ("known again", &[Put(0), Quiet(0), Prune, Put(0), Postpone(0)]),
    ("another after it", &[Put(0), Quiet(0), Prune, Rival(0)]),
    ("run", &[OpenRun(4), EndRun(4), Take(4, 4), Prove(4)]),
    ("lost run", &[OpenRun(4), Lost, EndRun(4)]),
    ("run reported twice", &[OpenRun(4), EndRun(4), Lost, Put(0)]),
    ("run opened twice", &[OpenRun(4), OpenRun(4), EndRun(4)]),
    ("two runs", &[OpenRun(4), OpenRun(5), EndRun(5), Lost]),
];

/// Some acts at random, on two records, a dropped file and a run.
pub(super) fn random(chance: &mut Chance) -> Vec<Act> {
    let mut acts = vec![Put(0)];
    let len = 4 + chance.below(5);
    for _ in 0..len {
        let slot = *chance.pick(&[0, 0, 0, 1, 1, 8]).unwrap_or(&0);
        let of = u8::try_from(chance.below(2)).unwrap_or_default();
        acts.push(match chance.below(26) {
            0..4 => Put(of),
            4 => Rival(of),
            5..9 => Take(slot, of),
            9 => Rekey(slot),
            10 => Tell(slot),
            11 | 12 => Prove(slot),
            13 | 14 => Fail(slot),
            15 => Condemn(slot),
            16 => Park(slot),
            17 => Quiet(slot),
            18 => Postpone(slot),
            19 => Hold(slot),
            20 => Retry(slot),
            21 => Dismiss(slot),
            22 => *chance.pick(&[Drop(8), Drop(8), Toss(9)]).unwrap_or(&Intake),
            23 => Intake,
            24 => *chance.pick(&[OpenRun(4), EndRun(4), Lost]).unwrap_or(&Lost),
            _ => *chance.pick(&[Prune, Intake, Put(1)]).unwrap_or(&Prune),
        });
    }
    acts
}

fn run_id(slot: u8) -> Result<Id, spooldir::Error> {
    Id::new(&format!("run-{slot}"))
}

/// Lets somebody act. An error is what he was told.
pub(super) fn perform(scene: &mut Scene, act: Act, real_runs: &Path) -> Outcome<()> {
    let moved = |scene: &mut Scene, slot: u8, event: Event, is_kept: bool| match scene.visible(slot) {
        Some(at) => scene.advance(at, &event, is_kept),
        None => Ok(()),
    };
    match act {
        Put(slot) | Fresh(slot) | Rival(slot) => {
            let id = Scene::id(slot)?;
            let what = if matches!(act, Rival(_)) { "something else" } else { "record" };
            let at = scene.enter(slot, Some(id.clone()), Scene::record(Some(&id), slot, what));
            scene.publish(at, matches!(act, Fresh(_)))?;
        }
        Take(one, other) => {
            let mut group: Vec<usize> = scene.visible(one).into_iter().collect();
            group.extend(scene.visible(other).filter(|_| one != other));
            scene.take(&group)?;
        }
        Rekey(slot) | Tell(slot) => {
            if let Some(at) = scene.visible(slot) {
                scene.change_key(at, if matches!(act, Rekey(_)) { &Event::Rekey } else { &Event::Tell })?;
            }
        }
        Prove(slot) => moved(scene, slot, Event::Prove, false)?,
        Fail(slot) => moved(scene, slot, Event::Fail { due_ms: 1, alone: slot != 1 }, false)?,
        Condemn(slot) => moved(scene, slot, Event::Condemn, false)?,
        Park(slot) => moved(scene, slot, Event::Hold, false)?,
        Quiet(slot) => moved(scene, slot, Event::Quiet, false)?,
        Postpone(slot) => moved(scene, slot, Event::Postpone { due_ms: 1 }, false)?,
        Hold(slot) => {
            let is_sending = scene
                .visible(slot)
                .and_then(|at| scene.entry(at))
                .is_some_and(|e| e.dir() == spooldir::Dir::Sending);
            if !is_sending {
                moved(scene, slot, Event::Hold, true)?;
            }
        }
        Retry(slot) => moved(scene, slot, Event::Retry, true)?,
        Dismiss(slot) => moved(scene, slot, Event::Dismiss, true)?,
        Drop(slot) => scene.drop_file(slot, true)?,
        Toss(slot) => scene.drop_file(slot, false)?,
        Intake => scene.intake(Duration::ZERO)?,
        Prune => scene.prune()?,
        OpenRun(slot) => scene.open_run(&run_id(slot)?, real_runs)?,
        EndRun(slot) => {
            let id = run_id(slot)?;
            // Only who opened it reports its end.
            if scene.ledger.runs.iter().any(|run| run.id == id && run.is_open) {
                scene.end_run(slot, &id)?;
            }
        }
        Lost => scene.report_lost()?,
    }
    Ok(())
}
