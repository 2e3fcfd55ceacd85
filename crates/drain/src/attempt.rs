//! One attempt at a delivery: look, probe where there is doubt, send, prove.
//!
//! What it keeps true:
//!
//! - nothing is sent to a session that was not looked at, and never to another one than the record names;
//! - a delivery that may have been sent before is probed before it is sent again, under every key it ever had;
//! - whatever a send says but success, a probe has the last word; what cannot be probed is [`Verdict::Unknown`];
//! - every wait has an end.

use std::time::Duration;

use spool_gateway::receiver::{
    Delivery, Evidence, Gateway, Kind, Look, Mode, Probe, Reply, Session, Trouble,
};
use spool_seeded::Bug;
use tokio::time::{Instant, sleep};

use crate::verdict::{Verdict, in_doubt, of_trouble};

/// How long an attempt waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The evidence that is waited for.
    pub until: Evidence,
    /// Between two probes.
    pub between: Duration,
    /// For a delivery in the gateway's custody to be committed.
    pub queued: Duration,
    /// For the reply to a committed delivery whose send was lost sight of.
    pub reply: Duration,
    /// For the gateway's own late delivery of a message, or of a reply, after it reported a failure.
    pub late: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            until: Evidence::Sent,
            between: Duration::from_secs(2),
            queued: Duration::from_secs(600),
            reply: Duration::from_secs(120),
            late: Duration::from_secs(30),
        }
    }
}

/// Attempts a delivery. `is_doubtful` says that it may have been sent before.
pub async fn attempt<G: Gateway>(
    gateway: &G,
    delivery: &Delivery,
    is_doubtful: bool,
    patience: &Patience,
    seen: &dyn Fn(Evidence),
) -> Verdict {
    let look = match gateway.look(&delivery.session_key).await {
        Ok(look) => look,
        Err(trouble) if is_doubtful => return in_doubt(trouble),
        Err(trouble) => return of_look_trouble(trouble),
    };
    if look == Look::Missing {
        let perhaps = if is_doubtful { " (any more; an earlier attempt may have reached it)" } else { "" };
        let reason = format!(
            "there is no session {}{perhaps}; spool retry ID --session KEY sends it to another one",
            delivery.session_key
        );
        return Verdict::Never { reason, of_session: true };
    }
    let mut attempt = Attempt { gateway, delivery, patience, session: None, seen };
    if let Look::Open(session) = &look {
        attempt.session = Some(session.clone());
    }
    if is_doubtful && let Some(verdict) = attempt.prove(None).await {
        return verdict;
    }
    let session = match look {
        Look::Open(session) => session,
        Look::Archived => {
            return hold(delivery, "is archived; restore it in OpenClaw, then spool release ID");
        }
        Look::Closed => {
            return hold(
                delivery,
                "is closed to sending by its sendPolicy; change it, then spool release ID",
            );
        }
        Look::Missing => return hold(delivery, "is missing"),
    };
    match gateway.send(delivery, &session, patience.until, seen).await {
        Ok(reply) => attempt.conclude(reply).await,
        Err(Trouble { kind: Kind::Doubt, reason, .. }) if spool_seeded::is(Bug::RekeyOnDoubt) => {
            Verdict::Rekey { after: None, reason }
        }
        Err(trouble) => {
            let verdict = attempt.prove(Some(&trouble)).await;
            verdict.unwrap_or_else(|| of_trouble(trouble))
        }
    }
}

fn hold(delivery: &Delivery, why: &str) -> Verdict {
    Verdict::Hold { reason: format!("the session {} {why}", delivery.session_key) }
}

/// The gateway kept the delivery but will never run it. What it said of the send still counts: a session that it has
/// given up needs a person, and one that is in trouble needs time, under whatever key.
fn burnt(after: Option<&Trouble>) -> Verdict {
    let kept = "the gateway kept it but will never run it";
    match after {
        Some(trouble) if matches!(trouble.kind, Kind::Hold | Kind::Never) => of_trouble(trouble.clone()),
        Some(Trouble { reason, retry_after, .. }) => {
            Verdict::Rekey { after: *retry_after, reason: format!("{kept}: {reason}") }
        }
        None => Verdict::Rekey { after: None, reason: kept.to_owned() },
    }
}

/// Nothing was sent yet, so a look that failed leaves no doubt.
fn of_look_trouble(trouble: Trouble) -> Verdict {
    match trouble.kind {
        Kind::Doubt => of_trouble(Trouble { kind: Kind::Unavailable, ..trouble }),
        _ => of_trouble(trouble),
    }
}

struct Attempt<'a, G> {
    gateway: &'a G,
    delivery: &'a Delivery,
    patience: &'a Patience,
    session: Option<Session>,
    seen: &'a dyn Fn(Evidence),
}

impl<G: Gateway> Attempt<'_, G> {
    /// Asks what became of the delivery; `None` when it is proved absent. `after` is the trouble of a send that was
    /// just made, whose effect may still be on its way.
    async fn prove(&self, after: Option<&Trouble>) -> Option<Verdict> {
        let is_message = self.delivery.mode == Mode::Message;
        let started = Instant::now();
        let late = if is_message && after.is_some_and(|t| t.kind == Kind::Doubt) {
            self.patience.late
        } else {
            Duration::ZERO
        };
        loop {
            let (allowed, waiting_for) = match self.gateway.probe(self.delivery).await {
                Err(trouble) => return Some(in_doubt(trouble)),
                Ok(Probe::Committed(reply)) => return Some(self.conclude(reply).await),
                Ok(Probe::Burnt) => return Some(burnt(after)),
                Ok(Probe::Absent) if started.elapsed() >= late => return None,
                Ok(Probe::Absent) => (late, "the gateway's own delivery"),
                Ok(Probe::Queued) => (self.patience.queued, "its turn in the session's queue"),
            };
            if started.elapsed() >= allowed {
                let reason = format!("still waiting for {waiting_for}");
                return Some(Verdict::Unknown { reason });
            }
            sleep(self.patience.between).await;
        }
    }

    /// From a committed delivery to a verdict: is anybody still to be told?
    async fn conclude(&self, reply: Reply) -> Verdict {
        let delivered = |reply: &Reply, note| Verdict::Delivered { evidence: reply.evidence(), note };
        match reply {
            Reply::Sent | Reply::Replied | Reply::Silent | Reply::Internal => delivered(&reply, None),
            _ if self.delivery.mode != Mode::Turn || self.patience.until <= Evidence::Committed => {
                delivered(&reply, None)
            }
            // Nobody is there to be told.
            _ if !self.has_route() => delivered(&reply, None),
            Reply::Pending => {
                (self.seen)(Evidence::Committed);
                self.wait_for_reply(self.patience.reply, None).await
            }
            Reply::Failed(reason) => {
                (self.seen)(Evidence::Committed);
                self.wait_for_reply(self.patience.late, Some(reason)).await
            }
        }
    }

    fn has_route(&self) -> bool {
        self.delivery.route.is_some() || self.session.as_ref().is_none_or(|s| s.route.is_some())
    }

    /// The reply may still come: from a long turn, a turn resumed after a restart, or the gateway's own retries.
    async fn wait_for_reply(&self, allowed: Duration, failed: Option<String>) -> Verdict {
        let started = Instant::now();
        let mut failed = failed;
        while started.elapsed() < allowed {
            sleep(self.patience.between).await;
            match self.gateway.probe(self.delivery).await {
                Err(trouble) => return in_doubt(trouble),
                Ok(Probe::Committed(Reply::Pending)) => {}
                Ok(Probe::Committed(Reply::Failed(reason))) if failed.is_none() => failed = Some(reason),
                // A run whose reply could not be sent still shows as replied: the first word stands.
                Ok(Probe::Committed(Reply::Failed(_) | Reply::Replied)) if failed.is_some() => {}
                Ok(Probe::Committed(reply)) => {
                    return Verdict::Delivered { evidence: reply.evidence(), note: None };
                }
                // Committed a moment ago and gone now: the history was reset. That is no reason to send again.
                Ok(Probe::Absent | Probe::Queued | Probe::Burnt) => break,
            }
            if failed.is_some() && started.elapsed() >= self.patience.late {
                break;
            }
        }
        Verdict::Untold { reason: failed.unwrap_or_else(|| "no reply was seen".into()) }
    }
}
