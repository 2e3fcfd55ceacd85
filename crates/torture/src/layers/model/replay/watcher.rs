//! The model, following the programs: every world in which they may be, after all that was seen of them so far.
//!
//! What is seen is where each entry stands and how often the gateway has committed it; what is not seen (a request on
//! the wire, what the gateway does by itself, what an agent has heard) the model may do at any time. So there is a set of
//! worlds, not one. A step of the programs must be a step of the model in at least one of them. When none is left, the
//! programs did what the model does not know, and one of the two is wrong.
//!
//! A flush is no step that changes a name. It is seen by itself, and where the model waits for one ([`Act::Sync`],
//! [`Act::Flush`]) it goes on only when the program has really made it: an agent's delivery while the agent owes no flush
//! of what it moved, and only if all names of the delivery are on the model's disk as well.

use std::collections::HashSet;

use spooldir::{Dir, Entry, Key};

use super::super::atlas::{ABSENT, Ev, Place};
use super::super::promises;
use super::super::protocol::{Act, Protocol};
use super::super::world::{File, Life, Phase, RECORDS, Step, World, members};
use crate::layer::Outcome;

/// More worlds than this are not one set any more, but a search.
const MOST: usize = 50_000;

/// What is seen of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) places: [Place; RECORDS],
    pub(super) commits: [u8; RECORDS],
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The model knows it.
    Known,
    /// An entry is where the bounds of the model do not reach: the rest of this trace shows nothing.
    Beyond,
}

/// The worlds.
pub(super) struct Watcher<'a> {
    protocol: &'a Protocol,
    worlds: HashSet<World>,
    /// The product's keys, in the order in which they were seen first: that is the order in which they were minted.
    minted: Vec<String>,
    seen: Seen,
    /// The producer that is at work.
    producer: Option<usize>,
    /// Whether the agent has moved names that a delivery may rest on, and has not flushed all of them yet.
    agent_owes: bool,
    /// Whether an entry was seen beyond the bounds.
    pub(super) is_beyond: bool,
    /// Steps that were compared.
    pub(super) steps: u64,
}

impl<'a> Watcher<'a> {
    pub(super) fn new(protocol: &'a Protocol) -> Watcher<'a> {
        Watcher {
            protocol,
            worlds: HashSet::from([protocol.first()]),
            minted: Vec::new(),
            seen: Seen::default(),
            producer: None,
            agent_owes: false,
            is_beyond: false,
            steps: 0,
        }
    }

    /// The number of the state that an entry of the product is in.
    pub(super) fn place(&mut self, entry: &Entry) -> Option<Place> {
        let atlas = &self.protocol.atlas;
        let Some(key) = entry.state.key() else { return atlas.place(&without_due(entry, None)) };
        let base = key.to_string().split('~').next().unwrap_or_default().to_owned();
        let at = self.minted.iter().position(|known| *known == base).unwrap_or_else(|| {
            self.minted.push(base);
            self.minted.len() - 1
        });
        let key = atlas.stand_in(at, key)?;
        atlas.place(&without_due(entry, Some(key)))
    }

    fn each(&mut self, change: impl Fn(&mut World)) {
        self.worlds = self
            .worlds
            .drain()
            .map(|mut world| {
                change(&mut world);
                world
            })
            .collect();
    }

    fn retain(&mut self, what: &str, holds: impl Fn(&World) -> bool) -> Outcome<()> {
        let before = self.worlds.iter().next().copied();
        self.worlds.retain(holds);
        match before {
            Some(before) if self.worlds.is_empty() => {
                Err(format!("{what}: the model does not know that; it was in worlds like {before:?}").into())
            }
            _ => Ok(()),
        }
    }

    /// The steps that are nobody's fault and that the programs or the gateway may make.
    fn steps_of(&self, world: &World) -> Vec<Act> {
        let mut acts = Vec::new();
        self.protocol.agents_may(world, &mut acts);
        self.protocol.gateway_may(world, &mut acts);
        self.protocol.gateway_errs(world, &mut acts);
        let mut more = Vec::new();
        self.protocol.producers_may(world, &mut more);
        let is_at_work = |act: &Act| match act {
            Act::Look { p } | Act::Link { p } => self.producer == Some(*p),
            _ => false,
        };
        acts.extend(more.into_iter().filter(is_at_work));
        // These are seen, or not done here.
        acts.retain(|act| match act {
            Act::Start { .. } | Act::Restart { burns: false } => false,
            Act::Flush { .. } => !self.agent_owes,
            _ => true,
        });
        acts
    }

    /// The world after a step. That a delivery may be sent is no flush here: those are seen ([`Watcher::flushed`]), and
    /// have brought the names to the disk, or it may not.
    fn after(&self, world: &World, act: Act) -> Option<World> {
        let Act::Flush { a, l } = act else {
            return stateright::Model::next_state(self.protocol, world, act);
        };
        let mut next = *world;
        let flight = &mut next.agents[a].flights[l];
        flight.phase = Phase::Ready;
        members(flight.members).all(|r| world.files[r].unsynced() == 0).then_some(next)
    }

    /// Adds all worlds that what is not seen leads to.
    fn close(&mut self, most: &[u8; RECORDS]) -> Outcome<()> {
        let mut open: Vec<World> = self.worlds.iter().copied().collect();
        while let Some(world) = open.pop() {
            let places = places(&world);
            for act in self.steps_of(&world) {
                let Some(next) = self.after(&world, act) else { continue };
                let is_hidden = self::places(&next) == places
                    && next.files.iter().zip(most).all(|(file, most)| file.commits <= *most);
                if is_hidden && self.worlds.insert(next) {
                    open.push(next);
                }
            }
            if self.worlds.len() > MOST {
                return Err("more worlds than can be followed".into());
            }
        }
        Ok(())
    }

    /// Whether an entry went before one that others may go before. The model keeps such a one in its old place of the
    /// line; the agent gives it the place in which it saw it come back, and that may be either.
    fn overtakes(&self, world: &World, seen: &Seen) -> bool {
        let waits = |file: &File| file.passed && file.live() == self.protocol.atlas.new;
        (0..RECORDS).filter(|r| seen.places[*r] != self.seen.places[*r]).any(|r| {
            let earlier = |file: &File| file.seq < world.files[r].seq;
            world.files.iter().any(|file| waits(file) && earlier(file))
        })
    }

    /// A moment: at most one entry has moved since the last one.
    pub(super) fn saw(&mut self, seen: Seen, what: &str) -> Outcome<Told> {
        if self.is_beyond {
            return Ok(Told::Beyond);
        }
        self.steps += 1;
        self.close(&seen.commits)?;
        let former = self.worlds.clone();
        if seen.places != self.seen.places {
            let mut next = HashSet::new();
            for world in &self.worlds {
                for act in self.steps_of(world) {
                    next.extend(self.after(world, act).filter(|after| places(after) == seen.places));
                }
            }
            self.worlds = next;
            self.close(&seen.commits)?;
        }
        self.worlds.retain(|world| commits(world) == seen.commits);
        if self.worlds.is_empty() {
            if former.iter().all(|world| self.overtakes(world, &seen)) {
                self.is_beyond = true;
                return Ok(Told::Beyond);
            }
            let like = former.iter().next().map(|world| format!("{world:?}")).unwrap_or_default();
            return Err(format!(
                "{what}: from {:?} to {seen:?} is no step of the model; it was in worlds like {like}",
                self.seen
            )
            .into());
        }
        self.seen = seen;
        Ok(Told::Known)
    }

    /// An agent is there.
    pub(super) fn agent_starts(&mut self) {
        self.each(|world| world.agents[0].life = Life::Up);
    }

    /// It is gone, and all it knew.
    pub(super) fn agent_ends(&mut self) {
        self.each(|world| world.agents[0] = Default::default());
    }

    /// One directory was flushed; of no meaning but that what was there is there.
    pub(super) fn flushed(&mut self, dir: Dir) {
        let atlas = &self.protocol.atlas;
        self.worlds = self
            .worlds
            .drain()
            .map(|mut world| {
                world.sync(atlas, dir);
                world
            })
            .collect();
    }

    /// Whether the agent owes a flush from now on. While it does, nothing that it took or resumed may be sent; what was
    /// flushed before may.
    pub(super) fn agent_owes(&mut self, owes: bool) -> Outcome<()> {
        let is_paid = self.agent_owes && !owes;
        self.agent_owes = owes;
        if is_paid && !self.is_beyond {
            // What the gateway did since the last moment is found at the next one.
            self.close(&self.seen.commits.map(|n| n.saturating_add(1)))?;
        }
        Ok(())
    }

    /// A producer begins.
    pub(super) fn put_starts(&mut self, p: usize) {
        self.producer = Some(p);
    }

    /// It has flushed `new/`, and before that what `others` says.
    pub(super) fn put_flushed(&mut self, p: usize, others: &HashSet<Dir>) -> Outcome<()> {
        if self.is_beyond {
            return Ok(());
        }
        let most = self.seen.commits;
        self.close(&most.map(|n| n.saturating_add(1)))?;
        let protocol = self.protocol;
        let record = protocol.bounds.plans[p].record;
        self.worlds = self
            .worlds
            .drain()
            .map(|mut world| {
                let at = world.files[record].live();
                let is_enough = match world.puts[p].step {
                    Step::Linked => true,
                    Step::Found => {
                        at == ABSENT || at == protocol.atlas.new || others.contains(&protocol.atlas.dir(at))
                    }
                    _ => false,
                };
                if is_enough {
                    protocol.produce(&mut world, Act::Sync { p });
                }
                world
            })
            .collect();
        Ok(())
    }

    /// It ended, and said yes, or that there is a conflict.
    pub(super) fn put_said(&mut self, p: usize, yes: bool) -> Outcome<()> {
        self.producer = None;
        if self.is_beyond {
            return Ok(());
        }
        let what = format!("producer {p} said {}", if yes { "yes" } else { "conflict" });
        self.retain(&what, |world| if yes { world.puts[p].yes } else { world.puts[p].conflict })
    }

    /// It was killed.
    pub(super) fn put_dies(&mut self, p: usize) {
        self.producer = None;
        self.each(|world| world.puts[p].step = Step::Idle);
    }

    /// A person moves an entry; whether one may.
    pub(super) fn person_may(&self, r: usize, event: Ev) -> bool {
        let place = self.seen.places[r];
        place != ABSENT
            && self.protocol.atlas.sending(place).is_none()
            && self.protocol.atlas.after(place, event).is_some()
    }

    pub(super) fn person(&mut self, r: usize, event: Ev) {
        let protocol = self.protocol;
        self.each(|world| {
            world.left.people += 1;
            protocol.fate(world, Act::Person { r, event });
        });
        if let Some(world) = self.worlds.iter().next() {
            self.seen.places = places(world);
        }
    }

    /// From now on this may happen to the gateway, or on the way to it.
    pub(super) fn may(&mut self, losses: u8, restarts: u8, refusals: u8) {
        self.each(|world| {
            world.left.losses += losses;
            world.left.restarts += restarts;
            world.left.refusals += refusals;
        });
    }

    /// The end: everything is settled, and no promise was broken on the way.
    pub(super) fn ends(&mut self) -> Outcome<()> {
        if self.is_beyond {
            return Ok(());
        }
        let protocol = self.protocol;
        self.retain("everything is settled", |world| world.is_settled(&protocol.atlas))?;
        for property in promises::all() {
            self.retain(property.name, |world| (property.condition)(protocol, world))?;
        }
        Ok(())
    }
}

fn places(world: &World) -> [Place; RECORDS] {
    world.files.map(|file| file.live())
}

fn commits(world: &World) -> [u8; RECORDS] {
    world.files.map(|file| file.commits)
}

/// The state with the model's key in it, and without a time.
fn without_due(entry: &Entry, key: Option<&Key>) -> spooldir::State {
    use spooldir::State as S;
    match (&entry.state, key) {
        (S::Sending { attempts, .. }, Some(key)) => S::Sending { key: key.clone(), attempts: *attempts },
        (S::Deferred { attempts, .. }, key) => {
            S::Deferred { key: key.cloned(), attempts: *attempts, due_ms: 0 }
        }
        (other, _) => other.clone(),
    }
}
