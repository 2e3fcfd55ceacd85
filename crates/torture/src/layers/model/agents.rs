//! Agents: take, flush, probe, send, settle; and start again after whatever happened (`crates/drain`).
//!
//! An agent's memory is its flights, one a session. Everything else it reads from the directories, so that recovery is
//! the same as running: a group of entries in `sending/` that it has not in its hands is in doubt.

use spool_seeded::Bug;
use spooldir::Dir;

use super::atlas::{ABSENT, Ev, KeyNo};
use super::protocol::{Act, Protocol};
use super::world::{Flight, LANES, Life, Phase, Row, Session, Twin, Verdict, World, flaw, members};

impl Protocol {
    /// What agents do when nothing goes wrong.
    pub(super) fn agents_may(&self, world: &World, acts: &mut Vec<Act>) {
        for a in 0..self.bounds.agents {
            match world.agents[a].life {
                Life::Stopped => acts.push(Act::Wake { a }),
                Life::Down => {
                    let is_free = world.agents.iter().all(|agent| agent.life == Life::Down);
                    // The first agent comes back by itself, the second only where somebody can start it.
                    if is_free || (a > 0 && (world.is_unlocked || self.has(Bug::NoLock))) {
                        acts.push(Act::Start { a });
                    }
                }
                Life::Up => {
                    for r in 0..self.records() {
                        let file = &world.files[r];
                        if file.twin == Twin::New && file.live() != self.atlas.new {
                            acts.push(Act::Intake { a, r });
                        }
                    }
                    for l in 0..LANES {
                        self.lane_may(world, a, l, acts);
                    }
                }
            }
        }
    }

    pub(super) fn agents_suffer(&self, world: &World, acts: &mut Vec<Act>) {
        for a in 0..self.bounds.agents {
            let life = world.agents[a].life;
            if life != Life::Down && world.left.kills > 0 {
                acts.push(Act::Die { a });
            }
            if life == Life::Up && world.left.stops > 0 {
                acts.push(Act::Stop { a });
            }
        }
    }

    /// The key of an entry in `sending/`, if it belongs to this session.
    fn sent_in(&self, world: &World, l: usize, r: usize) -> Option<KeyNo> {
        self.atlas.sending(world.files[r].live()).filter(|_| self.bounds.lanes[r] == l)
    }

    /// The record that waits longest.
    fn first_waiting(&self, world: &World, l: usize, members: u8) -> Option<usize> {
        let is_any = self.has(Bug::LaneMixup) && members != 0;
        (0..self.records())
            .filter(|r| (self.bounds.lanes[*r] == l || is_any) && members & 1 << r == 0)
            .filter(|r| world.files[*r].live() == self.atlas.new)
            .min_by_key(|r| world.files[*r].seq)
    }

    fn lane_may(&self, world: &World, a: usize, l: usize, acts: &mut Vec<Act>) {
        let flight = &world.agents[a].flights[l];
        match flight.phase {
            Phase::None => self.idle_lane_may(world, a, l, acts),
            Phase::Boarding => {
                acts.push(Act::Flush { a, l });
                let is_first_time = self.atlas.fresh(self.atlas.base(flight.key)) == Some(flight.key)
                    && members(flight.members).all(|r| self.atlas.attempts(world.files[r].live()) == 0);
                if is_first_time
                    && !flight.is_doubtful
                    && flight.members.count_ones() < self.bounds.together
                    && self.first_waiting(world, l, flight.members).is_some()
                {
                    acts.push(Act::More { a, l });
                }
            }
            Phase::Ready if !flight.is_doubtful => acts.push(Act::Send { a, l }),
            Phase::Ready => match self.asked(world, l, flight) {
                Asked::Queued => {}
                Asked::Pending => acts.push(Act::GiveUp { a, l }),
                _ => acts.push(Act::Probe { a, l }),
            },
            Phase::Sent => {}
            Phase::Asked => {
                let row = world.gateway.rows[usize::from(flight.key)];
                if matches!(row, Row::Told | Row::Untold | Row::Interrupted) {
                    acts.push(Act::Hear { a, l });
                }
            }
            Phase::Settling(_) => acts.push(Act::Settle { a, l }),
        }
    }

    fn idle_lane_may(&self, world: &World, a: usize, l: usize, acts: &mut Vec<Act>) {
        let mut seen: u16 = 0;
        let mut groups = Vec::new();
        let mut is_half = false;
        for r in self.in_lane(l) {
            let Some(key) = self.sent_in(world, l, r) else { continue };
            if !self.has(Bug::HalfMoved) && self.ahead(world, l, key).is_some() {
                acts.push(Act::Mend { a, r });
                is_half = true;
                continue;
            }
            if seen & 1 << key == 0 {
                groups.push(Act::Resume { a, l, k: key });
            }
            seen |= 1 << key;
        }
        if is_half {
            return;
        }
        if !self.has(Bug::ForgetSending) {
            acts.extend(groups);
        }
        if seen != 0 && !self.has(Bug::ForgetSending) {
            // What was sent first is settled first.
            return;
        }
        let fresh = self.atlas.fresh(world.minted);
        if fresh.is_some() && self.first_waiting(world, l, 0).is_some() {
            acts.push(Act::Take { a, l });
        }
        for r in self.in_lane(l) {
            let place = world.files[r].live();
            if place == ABSENT || self.atlas.dir(place) != Dir::Deferred {
                continue;
            }
            let key = self.atlas.next_epoch(self.atlas.key(place)).or(fresh);
            if key.is_some() {
                acts.push(Act::Again { a, r });
            }
        }
    }

    /// The key that another entry of the same delivery has already got, if a change of key was cut in half.
    fn ahead(&self, world: &World, l: usize, key: KeyNo) -> Option<KeyNo> {
        self.in_lane(l)
            .filter_map(|r| self.sent_in(world, l, r))
            .filter(|k| self.atlas.base(*k) == self.atlas.base(key))
            .find(|k| self.atlas.rank(*k) > self.atlas.rank(key))
    }

    pub(super) fn drain(&self, world: &mut World, act: Act) {
        match act {
            Act::Start { a } => world.agents[a].life = Life::Up,
            Act::Die { a } => {
                world.left.kills -= 1;
                world.agents[a] = Default::default();
            }
            Act::Stop { a } => {
                world.left.stops -= 1;
                world.agents[a].life = Life::Stopped;
            }
            Act::Wake { a } => world.agents[a].life = Life::Up,
            Act::Intake { r, .. } => {
                let file = &mut world.files[r];
                file.twin = if file.twin_bytes == file.bytes { Twin::Removed } else { Twin::Buried };
            }
            Act::Take { a, l } => self.take(world, a, l),
            Act::More { a, l } => {
                let flight = world.agents[a].flights[l];
                if let Some(r) = self.first_waiting(world, l, flight.members) {
                    self.board(world, a, l, r, flight.key);
                }
            }
            Act::Again { a, r } => self.again(world, a, r),
            Act::Mend { r, .. } => {
                let l = self.bounds.lanes[r];
                if let Some(key) = self.sent_in(world, l, r)
                    && let Some(ahead) = self.ahead(world, l, key)
                {
                    world.advance(
                        &self.atlas,
                        r,
                        if self.atlas.is_tell(ahead) { Ev::Tell } else { Ev::Rekey },
                    );
                }
            }
            Act::Resume { a, l, k } => self.resume(world, a, l, k),
            Act::Flush { a, l } => {
                world.sync(&self.atlas, Dir::Sending);
                world.sync(&self.atlas, Dir::New);
                world.agents[a].flights[l].phase = Phase::Ready;
            }
            Act::Probe { a, l } => self.probe(world, a, l),
            Act::GiveUp { a, l } => world.agents[a].flights[l].phase = Phase::Settling(Verdict::Untold),
            Act::Send { a, l } => self.send(world, a, l),
            Act::Hear { a, l } => {
                let flight = &mut world.agents[a].flights[l];
                match world.gateway.rows[usize::from(flight.key)] {
                    Row::Told => flight.phase = Phase::Settling(Verdict::Delivered),
                    Row::Untold => flight.phase = Phase::Settling(Verdict::Untold),
                    _ => (flight.phase, flight.is_doubtful) = (Phase::Ready, true),
                }
            }
            Act::Settle { a, l } => self.settle(world, a, l),
            _ => {}
        }
    }

    fn take(&self, world: &mut World, a: usize, l: usize) {
        let (Some(key), Some(r)) = (self.atlas.fresh(world.minted), self.first_waiting(world, l, 0)) else {
            return;
        };
        world.minted += 1;
        world.agents[a].flights[l] = Flight { phase: Phase::Boarding, key, ..Flight::default() };
        if self.has(Bug::SendBeforeTake) {
            let flight = &mut world.agents[a].flights[l];
            (flight.phase, flight.members) = (Phase::Ready, 1 << r);
            return;
        }
        self.board(world, a, l, r, key);
    }

    fn board(&self, world: &mut World, a: usize, l: usize, r: usize, key: KeyNo) {
        if let Some(to) = self.atlas.taken(world.files[r].live(), key) {
            world.files[r].put(to);
            world.agents[a].flights[l].members |= 1 << r;
        }
    }

    /// What is due again goes alone: under the next epoch of its own key, or afresh.
    fn again(&self, world: &mut World, a: usize, r: usize) {
        let l = self.bounds.lanes[r];
        let own = self.atlas.next_epoch(self.atlas.key(world.files[r].live()));
        let Some(key) = own.or(self.atlas.fresh(world.minted)) else { return };
        world.minted += u8::from(own.is_none());
        let is_doubtful = own.is_some();
        world.agents[a].flights[l] = Flight { phase: Phase::Boarding, key, is_doubtful, ..Flight::default() };
        self.board(world, a, l, r, key);
    }

    /// A group in `sending/` that nobody has in his hands: it may have been sent.
    fn resume(&self, world: &mut World, a: usize, l: usize, key: KeyNo) {
        let set = self.in_lane(l).filter(|r| self.sent_in(world, l, *r) == Some(key));
        let set = set.fold(0, |set, r| set | 1 << r);
        let flight =
            Flight { phase: Phase::Boarding, key, members: set, is_doubtful: true, ..Flight::default() };
        world.agents[a].flights[l] = flight;
        if self.has(Bug::RecoverUnflushed) {
            world.agents[a].flights[l].phase = Phase::Ready;
        }
        if self.has(Bug::RecoverAsNew) {
            self.send_as_new(world, a, l);
        }
    }

    /// The seeded bug: what is in doubt gets a fresh key, and nobody asks about the old one.
    fn send_as_new(&self, world: &mut World, a: usize, l: usize) {
        let Some(key) = self.atlas.fresh(world.minted) else { return };
        let Some(sending) = self.atlas.taken(self.atlas.new, key) else { return };
        world.minted += 1;
        let flight = &mut world.agents[a].flights[l];
        (flight.phase, flight.key, flight.is_doubtful) = (Phase::Boarding, key, false);
        for r in members(flight.members) {
            world.files[r].put(sending);
        }
    }

    /// What the gateway says about a delivery, by every key it ever had.
    fn asked(&self, world: &World, l: usize, flight: &Flight) -> Asked {
        if world.sessions[l] == Session::Missing {
            return Asked::Missing;
        }
        let mask = self.atlas.asked(flight.key);
        let has = |row: Row| {
            (0..self.atlas.keys()).any(|k| mask & 1 << k != 0 && world.gateway.rows[usize::from(k)] == row)
        };
        if has(Row::Told) {
            Asked::Told
        } else if has(Row::Untold) {
            Asked::Untold
        } else if has(Row::Committed) {
            Asked::Pending
        } else if has(Row::Queued) {
            Asked::Queued
        } else if world.gateway.rows[usize::from(flight.key)] == Row::Interrupted {
            Asked::Burnt
        } else {
            Asked::Absent
        }
    }

    fn probe(&self, world: &mut World, a: usize, l: usize) {
        let flight = world.agents[a].flights[l];
        if self.has(Bug::RekeyOnDoubt) {
            self.send_as_new(world, a, l);
            return;
        }
        let verdict = match self.asked(world, l, &flight) {
            Asked::Missing => Verdict::Never,
            Asked::Told => Verdict::Delivered,
            Asked::Untold => Verdict::Untold,
            Asked::Burnt if self.atlas.next_epoch(flight.key).is_some() => Verdict::Rekey,
            Asked::Burnt => Verdict::Fail,
            _ => {
                world.agents[a].flights[l].is_doubtful = false;
                return;
            }
        };
        world.agents[a].flights[l].phase = Phase::Settling(verdict);
    }

    /// A look at the session, and then the request.
    fn send(&self, world: &mut World, a: usize, l: usize) {
        let flight = world.agents[a].flights[l];
        let mut phase = match world.sessions[l] {
            Session::Open => Phase::Sent,
            Session::Closed => Phase::Settling(Verdict::Hold),
            Session::Missing => Phase::Settling(Verdict::Never),
        };
        if phase == Phase::Sent {
            let is_taken = |r: usize| {
                let file = &world.files[r];
                self.atlas.sending(file.live()) == Some(flight.key) && file.unsynced() == 0
            };
            if !members(flight.members).all(is_taken) {
                world.flaws |= flaw::SENT_UNTAKEN;
            }
            if self.has(Bug::RetireEarly) {
                phase = Phase::Settling(Verdict::Delivered);
            }
        }
        world.agents[a].flights[l].phase = phase;
    }

    /// One entry goes where the verdict says; after the last one the delivery is over, or goes on under another key.
    fn settle(&self, world: &mut World, a: usize, l: usize) {
        let flight = world.agents[a].flights[l];
        let Phase::Settling(verdict) = flight.phase else { return };
        let is_tell = self.atlas.is_tell(flight.key);
        // In the order in which they were published.
        let next = members(flight.members & !flight.moved).min_by_key(|r| world.files[*r].seq);
        if let Some(r) = next {
            world.agents[a].flights[l].moved |= 1 << r;
            let is_ours = self.atlas.sending(world.files[r].live()) == Some(flight.key);
            if is_ours || self.has(Bug::StaleAgent) {
                let is_alone = flight.members.count_ones() == 1;
                self.settle_one(world, r, verdict, is_tell, is_alone);
            } else {
                // Somebody moved it meanwhile.
                world.agents[a].flights[l].members &= !(1 << r);
            }
        }
        let flight = world.agents[a].flights[l];
        if flight.moved & flight.members != flight.members {
            return;
        }
        let key = match verdict {
            Verdict::Rekey => self.atlas.next_epoch(flight.key),
            Verdict::Untold if !is_tell => Some(self.atlas.tell(flight.key)),
            _ => None,
        };
        world.agents[a].flights[l] = match key {
            Some(key) if flight.members != 0 => {
                Flight { phase: Phase::Boarding, key, members: flight.members, ..Flight::default() }
            }
            _ => Flight::default(),
        };
        if verdict == Verdict::Delivered && self.has(Bug::RetireLane) {
            for r in self.in_lane(l).filter(|r| world.files[*r].live() == self.atlas.new).collect::<Vec<_>>()
            {
                self.prove(world, r);
            }
        }
    }

    fn settle_one(&self, world: &mut World, r: usize, verdict: Verdict, is_tell: bool, is_alone: bool) {
        if world.files[r].live() == self.atlas.done {
            world.flaws |= flaw::DONE_IS_NOT_FINAL;
        }
        match verdict {
            Verdict::Delivered => self.prove(world, r),
            Verdict::Rekey => {
                world.advance(&self.atlas, r, Ev::Rekey);
            }
            // Committed long ago; that nobody could be told is written into the journal.
            _ if is_tell => self.prove(world, r),
            Verdict::Untold => {
                world.advance(&self.atlas, r, Ev::Tell);
            }
            Verdict::Hold => {
                world.files[r].passed = true;
                world.advance(&self.atlas, r, Ev::Hold);
            }
            Verdict::Never if is_alone || world.sessions[self.bounds.lanes[r]] == Session::Missing => {
                self.condemn(world, r);
            }
            // It may be the fault of one of them: each alone will show.
            Verdict::Never | Verdict::Fail => {
                world.files[r].passed = true;
                let fail = if is_alone { Ev::FailAlone } else { Ev::FailShared };
                if !world.advance(&self.atlas, r, fail) {
                    self.condemn(world, r);
                }
            }
        }
    }

    fn condemn(&self, world: &mut World, r: usize) {
        world.files[r].passed = true;
        world.advance(&self.atlas, r, Ev::Condemn);
        if self.has(Bug::DropDead) {
            world.files[r].put(ABSENT);
        }
    }

    fn prove(&self, world: &mut World, r: usize) {
        if world.files[r].commits == 0 {
            world.flaws |= flaw::DONE_WITHOUT_EVIDENCE;
        }
        if !world.advance(&self.atlas, r, Ev::Prove) && self.bug.is_some() && world.files[r].live() != ABSENT
        {
            world.files[r].put(self.atlas.done);
        }
    }
}

/// What a probe hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Missing,
    Told,
    Untold,
    Pending,
    Queued,
    Burnt,
    Absent,
}
