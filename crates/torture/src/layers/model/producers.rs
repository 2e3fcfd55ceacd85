//! Producers: look, link, flush, and try again when the end was not seen (`spool-format.md` section 4.3).

use spool_seeded::Bug;
use spooldir::Dir;

use super::atlas::ABSENT;
use super::protocol::{Act, Protocol};
use super::world::{PUTS, Step, Twin, World};

impl Protocol {
    pub(super) fn producers_may(&self, world: &World, acts: &mut Vec<Act>) {
        for p in 0..self.bounds.plans.len().min(PUTS) {
            let (put, plan) = (&world.puts[p], &self.bounds.plans[p]);
            match put.step {
                Step::Idle if put.yes || put.conflict || put.tries == 0 => continue,
                Step::Idle if plan.looks => acts.push(Act::Look { p }),
                Step::Idle | Step::Looked => {
                    let file = &world.files[plan.record];
                    // There is room for one twin only.
                    let is_elsewhere = file.live() != ABSENT && file.live() != self.atlas.new;
                    if !(is_elsewhere && matches!(file.twin, Twin::Buried | Twin::Removed)) {
                        acts.push(Act::Link { p });
                    }
                }
                Step::Linked | Step::Found => acts.push(Act::Sync { p }),
            }
            if put.step != Step::Idle && world.left.put_kills > 0 {
                acts.push(Act::PutDies { p });
            }
        }
    }

    pub(super) fn produce(&self, world: &mut World, act: Act) {
        match act {
            Act::Look { p } => {
                world.puts[p].tries -= 1;
                if !self.compare(world, p) {
                    world.puts[p].step = Step::Looked;
                }
            }
            Act::Link { p } => {
                if world.puts[p].step == Step::Idle {
                    world.puts[p].tries -= 1;
                }
                self.link(world, p);
            }
            Act::Sync { p } => {
                if world.puts[p].step == Step::Found {
                    let at = world.files[self.bounds.plans[p].record].live();
                    if at != ABSENT {
                        world.sync(&self.atlas, self.atlas.dir(at));
                    }
                }
                world.sync(&self.atlas, Dir::New);
                self.say_yes(world, p);
            }
            Act::PutDies { p } => {
                world.left.put_kills -= 1;
                world.puts[p].step = Step::Idle;
            }
            _ => {}
        }
    }

    fn say_yes(&self, world: &mut World, p: usize) {
        world.puts[p].yes = true;
        world.puts[p].step = Step::Idle;
    }

    /// Compares with what is there under the id, in the order of an entry's life; false when there is nothing.
    fn compare(&self, world: &mut World, p: usize) -> bool {
        let plan = self.bounds.plans[p];
        let file = &world.files[plan.record];
        let there = match (file.twin, file.live()) {
            (Twin::New, _) => file.twin_bytes,
            (_, ABSENT) => return false,
            _ => file.bytes,
        };
        let is_new = file.live() == self.atlas.new;
        if there != plan.bytes && self.has(Bug::Clobber) && is_new {
            world.files[plan.record].bytes = plan.bytes;
            world.puts[p].step = Step::Found;
        } else if there != plan.bytes {
            world.puts[p].conflict = true;
            world.puts[p].step = Step::Idle;
        } else if self.has(Bug::ExistsIsOk) {
            self.say_yes(world, p);
        } else {
            world.puts[p].step = Step::Found;
        }
        true
    }

    /// The instant of publication, or EEXIST.
    fn link(&self, world: &mut World, p: usize) {
        let plan = self.bounds.plans[p];
        let seq = world.files.iter().map(|file| file.seq).max().unwrap_or_default() + 1;
        let file = &mut world.files[plan.record];
        if file.live() == self.atlas.new || file.twin == Twin::New {
            self.compare(world, p);
            return;
        }
        if file.live() == ABSENT {
            file.put(self.atlas.new);
            (file.bytes, file.seq) = (plan.bytes, seq);
            file.raw = self.has(Bug::NoFsync);
        } else {
            file.add_twin(plan.bytes);
        }
        world.puts[p].step = Step::Linked;
        if self.has(Bug::NoDirsync) {
            self.say_yes(world, p);
        }
    }
}
