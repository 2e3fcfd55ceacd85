//! Protocol 3 (2026.3.13 and its contemporaries): refused for now, with a sentence.

use super::{Delivery, Evidence, Look, OpenClaw, Probe, Reply, Session, Trouble};
use crate::receiver::Kind;

/// The strongest evidence such a gateway gives for a turn.
pub(super) const BEST_EVIDENCE: Evidence = Evidence::Committed;

fn too_old(gateway: &OpenClaw) -> Trouble {
    let version = &gateway.link.server.version;
    Trouble::new(
        Kind::Refused,
        format!("the gateway is too old ({version}): it cannot describe sessions; update it"),
    )
}

pub(super) async fn look(gateway: &OpenClaw, _session_key: &str) -> Result<Look, Trouble> {
    Err(too_old(gateway))
}

pub(super) async fn turn(
    gateway: &OpenClaw,
    _delivery: &Delivery,
    _session: &Session,
    _seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    Err(too_old(gateway))
}

pub(super) async fn probe(gateway: &OpenClaw, _delivery: &Delivery) -> Result<Probe, Trouble> {
    Err(too_old(gateway))
}
