//! The configurations: what there is in each, and how often what may go wrong.
//!
//! One search over everything would never end. Each configuration is deep where the others are shallow, and together
//! they are what a machine with two cores walks through to the end in a minute; the whole form has one fault more of
//! most kinds.

use super::protocol::{Bounds, Plan};
use super::world::Left;

pub(super) const fn plan(record: usize, bytes: u8, looks: bool, tries: u8) -> Plan {
    Plan { record, bytes, looks, tries }
}

/// Two records of one session, and one producer of each.
fn two(name: &'static str, about: &'static str, left: Left) -> Bounds {
    Bounds {
        name,
        about,
        lanes: vec![0, 0],
        plans: vec![plan(0, 1, true, 1), plan(1, 1, true, 1)],
        agents: 1,
        bases: 2,
        attempts: 2,
        together: 2,
        left,
    }
}

/// All of them.
pub(super) fn configurations(full: bool) -> Vec<Bounds> {
    let more = u8::from(full);
    vec![
        Bounds {
            plans: vec![plan(0, 1, true, 2), plan(0, 2, false, 1), plan(1, 1, true, 1)],
            ..two(
                "durability",
                "two records, three producers that retry, one of them with other bytes; kills and a power cut",
                Left { put_kills: 1, kills: 1, power_cuts: 1 + more, ..Left::default() },
            )
        },
        two(
            "delivery",
            "the gateway restarts, forgets keys, and does not tell",
            Left { kills: 1 + more, losses: more, restarts: 1, expiries: 1, untold: 1, ..Left::default() },
        ),
        Bounds {
            bases: 3,
            ..two(
                "refusals",
                "the gateway refuses, burns keys, and loses connections",
                Left { kills: 1, losses: 1, refusals: 1 + more, ..Left::default() },
            )
        },
        Bounds {
            lanes: vec![0, 1],
            ..two(
                "sessions",
                "a record each of two sessions, one of which is closed or removed; the gateway restarts",
                Left { kills: 1, restarts: 1, shuts: 1, power_cuts: more, ..Left::default() },
            )
        },
        Bounds {
            agents: 2,
            ..two(
                "agents",
                "two agents, a lock that is removed by hand, SIGSTOP, a session that is closed, a person",
                Left { stops: 1, unlocks: 1, people: 1, shuts: 1, kills: more, ..Left::default() },
            )
        },
        two(
            "people",
            "a person holds, retries and dismisses what is being published, sent and cut short",
            Left { kills: 1, power_cuts: 1, people: 1 + more, ..Left::default() },
        ),
    ]
}
