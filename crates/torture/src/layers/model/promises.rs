//! What the model promises in every world (I1 to I11 of the threat model, in the model's words).

use spooldir::Dir;
use stateright::Property;

use super::atlas::ABSENT;
use super::protocol::Protocol;
use super::world::{Life, Row, TORN, Twin, World, flaw};

/// The properties, safety first; the last one is liveness, see [`super::protocol`].
///
/// Whoever removes the lock of an agent that lives can have two of them: one that is stopped in the middle of taking
/// records, and one that sends the first half of them. What is promised then is that nothing is lost or torn, not that
/// nothing is doubled, nor that the second half was more than asked for under a key that arrived.
#[rustfmt::skip]
pub(super) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("what was accepted is kept, whole, in exactly one state", is_kept),
        Property::always("nothing partial is ever visible", |_, w: &World| w.files.iter().all(|f| f.live() == ABSENT || f.bytes != TORN)),
        Property::always("nothing reaches another session", |_, w: &World| w.flaws & flaw::WRONG_SESSION == 0),
        Property::always("done only with evidence", |_, w: &World| w.is_unlocked || w.flaws & flaw::DONE_WITHOUT_EVIDENCE == 0),
        Property::always("done is final", |_, w: &World| w.flaws & flaw::DONE_IS_NOT_FINAL == 0),
        Property::always("committed at most once", |_, w: &World| w.is_unlocked || w.files.iter().all(|f| f.commits <= 1 || f.excused)),
        Property::always("told in plain words at most once", |_, w: &World| w.is_unlocked || w.files.iter().all(|f| f.told <= 1 || f.excused)),
        Property::always("first in, first out inside a session", |_, w: &World| w.is_unlocked || w.flaws & flaw::OUT_OF_ORDER == 0),
        Property::always("nothing is sent whose key is not on the disk", |_, w: &World| w.is_unlocked || w.flaws & flaw::SENT_UNTAKEN == 0),
        Property::always("one agent at a time", |_, w: &World| w.is_unlocked || w.agents.iter().filter(|a| a.life != Life::Down).count() <= 1),
        Property::always("what is not settled can go on", |m: &Protocol, w: &World| w.is_settled(&m.atlas) || m.can_go_on(w) || m.is_at_its_bounds(w)),
    ]
}

/// Two producers that were both told yes about different bytes both have theirs kept: one as the entry, one buried with
/// the reason. One who was told of a conflict was told the truth.
fn is_kept(protocol: &Protocol, world: &World) -> bool {
    world
        .puts
        .iter()
        .zip(&protocol.bounds.plans)
        .all(|(put, plan)| !put.yes || world.files[plan.record].has(plan.bytes))
}

/// What is to be met somewhere on the way: a promise about what never happens would be empty.
#[rustfmt::skip]
pub(super) fn reached() -> Vec<Property<Protocol>> {
    fn in_dir(m: &Protocol, w: &World, dir: Dir) -> bool {
        w.files.iter().any(|f| f.live() != ABSENT && m.atlas.dir(f.live()) == dir)
    }
    vec![
        Property::sometimes("a producer is told of a conflict", |_, w: &World| w.puts.iter().any(|p| p.conflict)),
        Property::sometimes("a twin is buried", |_, w: &World| w.files.iter().any(|f| f.twin == Twin::Buried)),
        Property::sometimes("all is delivered", |m: &Protocol, w: &World| w.files.iter().take(m.records()).all(|f| f.live() == m.atlas.done)),
        Property::sometimes("people are told in plain words", |_, w: &World| w.files.iter().any(|f| f.told == 1)),
        Property::sometimes("people are told twice, as documented", |_, w: &World| w.files.iter().any(|f| f.told == 2 && f.excused)),
        Property::sometimes("a key is burnt", |_, w: &World| w.gateway.rows.contains(&Row::Interrupted)),
        Property::sometimes("an entry is deferred", |m: &Protocol, w: &World| in_dir(m, w, Dir::Deferred)),
        Property::sometimes("an entry is held", |m: &Protocol, w: &World| in_dir(m, w, Dir::Hold)),
        Property::sometimes("an entry is dead", |m: &Protocol, w: &World| in_dir(m, w, Dir::Dead)),
        Property::sometimes("an entry is dismissed", |m: &Protocol, w: &World| in_dir(m, w, Dir::Dismissed)),
        Property::sometimes("two agents live, for the lock was removed", |_, w: &World| w.agents.iter().all(|a| a.life != Life::Down)),
    ]
}
