//! The gateway as it was measured: custody, commit, end; a memory of keys that expires and does not survive a restart;
//! a database that does. A queued input is burnt by a restart; a committed turn may or may not be resumed after one.

use super::atlas::KeyNo;
use super::protocol::{Act, Protocol};
use super::world::{Flight, LANES, Phase, Row, Session, Verdict, World, flaw, members};
use spool_seeded::Bug;

impl Protocol {
    /// What the gateway does by itself.
    pub(super) fn gateway_may(&self, world: &World, acts: &mut Vec<Act>) {
        for (a, agent) in world.agents.iter().enumerate() {
            for (l, flight) in agent.flights.iter().enumerate() {
                if flight.phase == Phase::Sent {
                    acts.push(Act::Read { a, l });
                }
            }
        }
        for k in 0..self.atlas.keys() {
            match world.gateway.rows[usize::from(k)] {
                Row::Queued => acts.push(Act::Commit { k }),
                Row::Committed => acts.push(Act::End { k, told: true }),
                _ => {}
            }
        }
    }

    /// What goes wrong with it, and on the way to it.
    pub(super) fn gateway_errs(&self, world: &World, acts: &mut Vec<Act>) {
        let left = &world.left;
        for (a, agent) in world.agents.iter().enumerate().take(self.bounds.agents) {
            let waits = |f: &Flight| matches!(f.phase, Phase::Sent | Phase::Asked);
            if left.losses > 0 && agent.flights.iter().any(waits) {
                acts.push(Act::Lose { a });
            }
            for l in 0..LANES {
                let flight = &agent.flights[l];
                if flight.phase != Phase::Sent {
                    continue;
                }
                if left.refusals > 0 && world.gateway.memo & 1 << flight.key == 0 {
                    acts.push(Act::Refuse { a, l, for_good: false });
                    acts.push(Act::Refuse { a, l, for_good: true });
                }
                if left.restarts > 0 && self.atlas.is_tell(flight.key) {
                    acts.push(Act::TellAndDie { a, l });
                }
            }
        }
        let mut is_queued = false;
        for k in 0..self.atlas.keys() {
            let row = world.gateway.rows[usize::from(k)];
            is_queued |= row == Row::Queued;
            if row == Row::Queued && left.refusals > 0 {
                acts.push(Act::Burn { k });
            }
            if row == Row::Committed && left.untold > 0 {
                acts.push(Act::End { k, told: false });
            }
            if left.expiries > 0
                && world.gateway.memo & 1 << k != 0
                && matches!(row, Row::Told | Row::Untold | Row::Interrupted)
            {
                acts.push(Act::Expire { k });
            }
        }
        if left.restarts > 0 {
            acts.push(Act::Restart { burns: true });
            if is_queued {
                acts.push(Act::Restart { burns: false });
            }
        }
    }

    pub(super) fn answer(&self, world: &mut World, act: Act) {
        match act {
            Act::Read { a, l } => self.read(world, a, l),
            Act::Refuse { a, l, for_good } => {
                world.left.refusals -= 1;
                let verdict = if for_good { Verdict::Never } else { Verdict::Fail };
                world.agents[a].flights[l].phase = Phase::Settling(verdict);
            }
            // It told people, and died before it wrote that down: the one way to tell twice that is documented.
            Act::TellAndDie { a, l } => {
                world.left.restarts -= 1;
                for r in members(world.agents[a].flights[l].members) {
                    world.files[r].told = world.files[r].told.saturating_add(1).min(3);
                    world.files[r].excused = true;
                }
                world.restart(true);
            }
            Act::Commit { k } => {
                let set = std::mem::take(&mut world.gateway.custody[usize::from(k)]);
                self.commit(world, k, set);
            }
            Act::End { k, told } => {
                if !told {
                    world.left.untold -= 1;
                }
                world.gateway.rows[usize::from(k)] = if told { Row::Told } else { Row::Untold };
            }
            Act::Burn { k } => {
                world.left.refusals -= 1;
                world.gateway.rows[usize::from(k)] = Row::Interrupted;
                world.gateway.custody[usize::from(k)] = 0;
            }
            Act::Expire { k } => {
                world.left.expiries -= 1;
                world.gateway.memo &= !(1 << k);
            }
            Act::Restart { burns } => {
                world.left.restarts -= 1;
                world.restart(burns);
            }
            Act::Lose { a } => {
                world.left.losses -= 1;
                if self.has(Bug::CloseIsSuccess) {
                    for flight in &mut world.agents[a].flights {
                        if matches!(flight.phase, Phase::Sent | Phase::Asked) {
                            flight.phase = Phase::Settling(Verdict::Delivered);
                        }
                    }
                }
                world.disconnect(a);
            }
            _ => {}
        }
    }

    /// A request is read. The order is the measured one: a remembered key answers before anything is looked at.
    fn read(&self, world: &mut World, a: usize, l: usize) {
        let flight = world.agents[a].flights[l];
        let (key, at) = (flight.key, usize::from(flight.key));
        let mut phase = Phase::Asked;
        if world.gateway.memo & 1 << key != 0 {
            // Whatever it says now: it is the answer to the first request under this key.
        } else if world.sessions[l] != Session::Open || world.gateway.rows[at] == Row::Interrupted {
            phase = Phase::Ready;
        } else {
            world.gateway.memo |= 1 << key;
            if self.atlas.is_tell(key) {
                for r in members(flight.members) {
                    world.files[r].told = world.files[r].told.saturating_add(1).min(3);
                }
                world.gateway.rows[at] = Row::Told;
            } else if world.gateway.rows[at] == Row::None {
                world.gateway.rows[at] = Row::Queued;
                world.gateway.custody[at] = flight.members;
            } else {
                // It remembers nothing and is in no custody: a new turn, with the same text.
                self.commit(world, key, flight.members);
            }
        }
        let flight = &mut world.agents[a].flights[l];
        flight.phase = phase;
        flight.is_doubtful |= phase == Phase::Ready;
    }

    fn commit(&self, world: &mut World, key: KeyNo, set: u8) {
        world.gateway.rows[usize::from(key)] = Row::Committed;
        for r in members(set) {
            let file = world.files[r];
            let lane = self.bounds.lanes[r];
            let is_passed_over = |o: usize| {
                let other = &world.files[o];
                let waits = other.live() == self.atlas.new || self.atlas.sending(other.live()).is_some();
                set & 1 << o == 0 && other.seq < file.seq && other.commits == 0 && !other.passed && waits
            };
            let is_first = file.commits == 0 && !file.passed;
            if is_first && self.in_lane(lane).any(is_passed_over) {
                world.flaws |= flaw::OUT_OF_ORDER;
            }
            if members(set).any(|o| self.bounds.lanes[o] != lane) {
                world.flaws |= flaw::WRONG_SESSION;
            }
            world.files[r].commits = file.commits.saturating_add(1).min(3);
        }
    }
}
