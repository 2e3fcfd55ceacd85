//! One image, tried: what is seen at once, what recovery makes of it, what the producers are told who try again, and
//! what another power cut in the middle of all that leaves.

use std::path::Path;
use std::time::Duration;

use spooldir::{Dir, Error};

use super::crash::{Bounds, History, Model};
use super::disk::Image;
use super::ledger::{Ledger, Word, entries};
use super::memory::Way;
use super::scene::Scene;
use crate::chance::Chance;
use crate::layer::Outcome;

/// How images are tried.
pub(super) struct Check<'a> {
    pub(super) root: &'a Path,
    pub(super) way: Way,
    pub(super) model: Model,
    /// One image in so many is cut a second time.
    pub(super) nest_one_in: u64,
    /// Whether a reason may be missing: one that cannot be written stops no move.
    pub(super) may_lack_reasons: bool,
    /// Images that were cut a second time.
    pub(super) nested: u64,
}

/// After this long a file that is no record is condemned.
const OVER: Duration = Duration::from_secs(11);

impl Check<'_> {
    /// Tries an image that was left when the ledger said so.
    pub(super) fn image(
        &mut self,
        image: Image,
        ledger: &Ledger,
        is_kill: bool,
        may_nest: bool,
        chance: &mut Chance,
    ) -> Outcome<()> {
        ledger.judge_raw(&image)?;
        let nests = may_nest && chance.one_in(self.nest_one_in);
        // Looking long enough at a file costs a look at all processes of the machine.
        let patience = if chance.one_in(400) { OVER } else { Duration::ZERO };
        let base = if nests { image.clone() } else { Image::empty() };
        let mut scene = Scene::begin(self.root, image, self.way, nests, ledger.clone());
        scene.enter_spool(self.root).map_err(|e| format!("the spool cannot be opened: {e}"))?;
        scene.recover(patience).map_err(|e| format!("recovery fails: {e}"))?;
        scene.fs.look(|image| scene.ledger.judge(image)).map_err(|e| format!("after recovery: {e}"))?;
        audit(&scene)?;
        // What was cut before may have lost a reason then.
        if is_kill && may_nest && !self.may_lack_reasons {
            reasons(&scene)?;
        }
        retry(&mut scene, chance)?;
        if nests {
            self.nest(&base, &scene, chance)?;
        }
        Ok(())
    }

    /// Cuts the power during recovery.
    fn nest(&mut self, base: &Image, scene: &Scene, chance: &mut Chance) -> Outcome<()> {
        let (end, log) = scene.fs.history();
        let history = History { base, end: &end, log: &log };
        let bounds = Bounds { names: 4, data: 2 };
        for upto in 0..=log.len() {
            let Some((_, ledger)) = scene.marks.iter().rev().find(|(at, _)| *at <= upto) else { continue };
            let mut found = Ok(());
            history.each_state(upto, self.model, bounds, &mut chance.clone(), &mut |state| {
                self.nested += 1;
                found = self.image(state.image(), ledger, state.is_kill, false, chance);
                found.is_ok()
            });
            found.map_err(|e| format!("a second cut, after {upto} steps of recovery: {e}"))?;
        }
        Ok(())
    }
}

/// What the audit says: nothing is twice, and nothing that was promised is lost.
fn audit(scene: &Scene) -> Outcome<()> {
    let audit = scene.spool()?.audit()?;
    if !audit.doubled.is_empty() {
        return Err(format!("the audit finds {:?} twice", audit.doubled).into());
    }
    let is_promised = |lost: &&String| {
        let of = |r: &super::ledger::Kept| r.id.as_ref().is_some_and(|id| id.as_str() == **lost);
        scene.ledger.records.iter().any(|r| of(r) && r.word == Word::Promised && !r.may_be_gone)
    };
    match audit.lost.iter().find(is_promised) {
        Some(lost) => Err(format!("the audit finds {lost} lost").into()),
        None => Ok(()),
    }
}

/// Every dead letter has its reason. (A power cut may take the reason: it is not flushed.)
fn reasons(scene: &Scene) -> Outcome<()> {
    let dead: Vec<_> = scene.fs.look(|image| {
        entries(image).into_iter().filter(|s| s.dir == Dir::Dead).filter_map(|s| s.entry).collect()
    });
    for entry in dead {
        if scene.spool()?.why(&entry).is_none_or(|why| why.reason.is_empty()) {
            return Err(format!("{} is dead without a reason", entry.id).into());
        }
    }
    Ok(())
}

/// The producers try again, the same record under the same id; and somebody tries another record under it.
fn retry(scene: &mut Scene, chance: &mut Chance) -> Outcome<()> {
    for at in 0..scene.ledger.records.len() {
        let record = scene.ledger.records[at].clone();
        let Some(id) = record.id else { continue };
        let has_rival = scene
            .ledger
            .records
            .iter()
            .any(|r| r.id.as_ref() == Some(&id) && r.bytes != record.bytes && r.word != Word::Refused);
        match scene.publish(at, false) {
            Err(Error::Conflict { .. }) if has_rival || record.word == Word::Refused => {}
            Ok(()) if record.word == Word::Refused && !has_rival => {
                return Err(format!("{id}: what was refused is taken at the second try").into());
            }
            Ok(()) => {}
            Err(e) => return Err(format!("{id}: a second try fails: {e}").into()),
        }
    }
    let ids = scene.ledger.records.iter().filter(|r| r.word == Word::Promised && !r.may_be_gone);
    let ids: Vec<_> = ids.filter_map(|r| Some((r.slot, r.id.clone()?))).collect();
    if let Some((slot, id)) = chance.pick(&ids).cloned() {
        let other = scene.enter(slot, Some(id.clone()), Scene::record(Some(&id), slot, "yet another"));
        match scene.publish(other, false) {
            Err(Error::Conflict { .. }) => {}
            other => return Err(format!("{id}: another record under a known id: {other:?}").into()),
        }
    }
    let judged = scene.fs.look(|image| scene.ledger.judge(image));
    Ok(judged.map_err(|e| format!("after a second try: {e}"))?)
}
