//! The protocol as a model: what may happen in a world, and what then is.
//!
//! Who acts: producers ([`super::producers`]), agents ([`super::agents`]), the gateway ([`super::gateway`]), people and
//! fate (here). A step is what nothing can interrupt: a rename, a flush, one message. Every count in [`Left`] goes down
//! only, every entry goes through finitely many attempts, so there are no circles: a world that is not settled and from
//! which a step leads that is no fault gets settled when the faults stop.

use spool_seeded::Bug;
use stateright::{Model, Property};

use super::atlas::{ABSENT, Atlas, Ev, KeyNo};
use super::promises;
use super::world::{AGENTS, LANES, Left, Life, PUTS, RECORDS, Session, Twin, World};
use crate::layer::Outcome;

/// What a producer drops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) record: usize,
    pub(super) bytes: u8,
    /// Whether it looks for its id in all states first, as `spool-put` does; a shell script does not.
    pub(super) looks: bool,
    pub(super) tries: u8,
}

/// The bounds of a configuration.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// The session of each record.
    pub(super) lanes: Vec<usize>,
    pub(super) plans: Vec<Plan>,
    pub(super) agents: usize,
    pub(super) bases: u8,
    pub(super) attempts: u32,
    /// Records in one delivery.
    pub(super) together: u32,
    pub(super) left: Left,
}

/// A configuration with its atlas, and perhaps a bug.
#[derive(Debug, Clone)]
pub(super) struct Protocol {
    pub(super) bounds: Bounds,
    pub(super) atlas: Atlas,
    pub(super) bug: Option<Bug>,
}

/// What may happen. Numbers: `p` a producer, `a` an agent, `l` a session, `r` a record, `k` a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub(super) enum Act {
    // Producers.
    Look { p: usize }, Link { p: usize }, Sync { p: usize }, PutDies { p: usize },
    // Agents.
    Start { a: usize }, Die { a: usize }, Stop { a: usize }, Wake { a: usize },
    Intake { a: usize, r: usize }, Take { a: usize, l: usize }, More { a: usize, l: usize },
    Again { a: usize, r: usize }, Flush { a: usize, l: usize }, Mend { a: usize, r: usize },
    Resume { a: usize, l: usize, k: KeyNo }, Probe { a: usize, l: usize }, GiveUp { a: usize, l: usize },
    Send { a: usize, l: usize }, Hear { a: usize, l: usize }, Settle { a: usize, l: usize },
    // The gateway.
    Read { a: usize, l: usize }, Refuse { a: usize, l: usize, for_good: bool }, TellAndDie { a: usize, l: usize },
    Commit { k: KeyNo }, End { k: KeyNo, told: bool }, Burn { k: KeyNo }, Expire { k: KeyNo },
    Restart { burns: bool }, Lose { a: usize },
    // People and fate.
    Person { r: usize, event: Ev }, Shut { l: usize, to: Session }, Unlock, Cut { kept: [u8; RECORDS], twins: bool },
}

impl Protocol {
    pub(super) fn new(bounds: Bounds, bug: Option<Bug>) -> Outcome<Protocol> {
        let fits = bounds.lanes.len() <= RECORDS
            && bounds.plans.len() <= PUTS
            && bounds.agents <= AGENTS
            && bounds.lanes.iter().all(|l| *l < LANES)
            && bounds.plans.iter().all(|p| p.record < bounds.lanes.len());
        if !fits {
            return Err(format!("the configuration {} is larger than the model", bounds.name).into());
        }
        let atlas = Atlas::draw(bounds.bases, bounds.attempts)?;
        Ok(Protocol { bounds, atlas, bug })
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(super) fn records(&self) -> usize {
        self.bounds.lanes.len()
    }

    /// The records of a session.
    pub(super) fn in_lane(&self, l: usize) -> impl Iterator<Item = usize> {
        (0..self.records()).filter(move |r| self.bounds.lanes[*r] == l)
    }

    pub(super) fn first(&self) -> World {
        let mut world = World { left: self.bounds.left, ..World::default() };
        for (put, plan) in world.puts.iter_mut().zip(&self.bounds.plans) {
            put.tries = plan.tries;
        }
        world
    }

    /// Whether there is no key left to mint: an agent with something to send stops here, for no reason of its own.
    pub(super) fn is_at_its_bounds(&self, world: &World) -> bool {
        self.atlas.fresh(world.minted).is_none()
    }

    /// Whether a step leads on that nobody has to fear and nobody has to wish for.
    pub(super) fn can_go_on(&self, world: &World) -> bool {
        let mut acts = Vec::new();
        self.agents_may(world, &mut acts);
        if acts.is_empty() {
            self.gateway_may(world, &mut acts);
        }
        !acts.is_empty()
    }

    fn fate_may(&self, world: &World, acts: &mut Vec<Act>) {
        let left = &world.left;
        if left.people > 0 {
            for r in 0..self.records() {
                let file = &world.files[r];
                // What is being sent is the agent's.
                if file.live() == ABSENT || self.atlas.sending(file.live()).is_some() {
                    continue;
                }
                for event in [Ev::Hold, Ev::Retry, Ev::Dismiss] {
                    let to = self.atlas.after(file.live(), event);
                    // A name in new/ that is taken is not overwritten.
                    if to.is_some_and(|to| to != self.atlas.new || file.twin != Twin::New) {
                        acts.push(Act::Person { r, event });
                    }
                }
            }
        }
        if left.shuts > 0 {
            for l in 0..LANES {
                if self.bounds.lanes.contains(&l) && world.sessions[l] == Session::Open {
                    acts.push(Act::Shut { l, to: Session::Closed });
                    acts.push(Act::Shut { l, to: Session::Missing });
                }
            }
        }
        if left.unlocks > 0 && !world.is_unlocked && world.agents.iter().any(|a| a.life != Life::Down) {
            acts.push(Act::Unlock);
        }
        if left.power_cuts > 0 {
            self.cuts(world, acts);
        }
    }

    /// Every way in which the power can go now.
    fn cuts(&self, world: &World, acts: &mut Vec<Act>) {
        let depth = world.files.map(|file| file.unsynced());
        let loose = world.files.iter().any(|file| file.has_loose_twin());
        let mut kept = [0; RECORDS];
        loop {
            acts.push(Act::Cut { kept, twins: false });
            if loose {
                acts.push(Act::Cut { kept, twins: true });
            }
            let Some(r) = (0..RECORDS).find(|r| kept[*r] < depth[*r]) else { break };
            kept[r] += 1;
            kept[..r].fill(0);
        }
    }

    pub(super) fn fate(&self, world: &mut World, act: Act) {
        match act {
            Act::Person { r, event } => {
                world.left.people -= 1;
                let file = &mut world.files[r];
                file.passed = true;
                file.excused |= event == Ev::Retry && file.commits > 0;
                world.advance(&self.atlas, r, event);
            }
            Act::Shut { l, to } => {
                world.left.shuts -= 1;
                world.sessions[l] = to;
            }
            Act::Unlock => {
                world.left.unlocks -= 1;
                world.is_unlocked = true;
            }
            Act::Cut { kept, twins } => {
                world.left.power_cuts -= 1;
                world.cut(&self.atlas, kept, twins);
            }
            _ => {}
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Act;

    fn init_states(&self) -> Vec<World> {
        vec![self.first()]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Act>) {
        self.agents_may(world, acts);
        self.agents_suffer(world, acts);
        self.gateway_may(world, acts);
        self.gateway_errs(world, acts);
        self.producers_may(world, acts);
        self.fate_may(world, acts);
    }

    #[rustfmt::skip]
    fn next_state(&self, world: &World, act: Act) -> Option<World> {
        let mut next = *world;
        match act {
            Act::Look { .. } | Act::Link { .. } | Act::Sync { .. } | Act::PutDies { .. } => self.produce(&mut next, act),
            Act::Read { .. } | Act::Refuse { .. } | Act::TellAndDie { .. } | Act::Commit { .. } | Act::End { .. }
            | Act::Burn { .. } | Act::Expire { .. } | Act::Restart { .. } | Act::Lose { .. } => self.answer(&mut next, act),
            Act::Person { .. } | Act::Shut { .. } | Act::Unlock | Act::Cut { .. } => self.fate(&mut next, act),
            _ => self.drain(&mut next, act),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all().into_iter().chain(promises::reached()).collect()
    }
}
