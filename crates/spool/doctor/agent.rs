//! The agent: whether one has the lock, whether it turns, and how fast it notices a file.

use spool_drain::status;
use spooldir::lock::AgentLock;
use spooldir::time::now_ms;
use spooldir::{Spool, locate};

use super::{Check, Verdict, canary};
use crate::service::Start;
use crate::status::OLD_STATUS;
use crate::view::brief;
use crate::when;

/// Looks at it.
pub(super) fn look(spool: &Spool, checks: &mut Vec<Check>) {
    const NAME: &str = "agent";
    match AgentLock::is_taken(spool) {
        Err(e) => {
            let remedy = "the file lock must be an ordinary file of ours; stop all agents and remove it";
            checks.push(Check::wrong(NAME, e.to_string(), remedy));
        }
        Ok(false) => {
            let words = "no agent is running: records are kept, and nothing is delivered";
            let start = Start::here(spool.root(), &locate::process_env);
            checks.push(Check::wrong(NAME, words, start.words()));
        }
        Ok(true) => {
            let said = status::read(spool);
            checks.push(running(said.as_ref(), now_ms()));
            let watch = said.map(|said| said.watch).filter(|watch| !watch.is_empty() && watch != "native");
            checks.push(watch_of(watch.as_deref(), &canary::fly(spool)));
        }
    }
}

fn running(said: Option<&status::AgentStatus>, now: u64) -> Check {
    const NAME: &str = "agent";
    let Some(said) = said else {
        return Check::note(NAME, "one has the lock, and has not said yet how it is");
    };
    let silent = now.saturating_sub(said.updated_at);
    if silent > OLD_STATUS {
        let words =
            format!("process {} has the lock and has said nothing for {}", said.pid, when::length(silent));
        return Check::wrong(
            NAME,
            words,
            "is it stopped (kill -CONT), or does its disk hang? else end it and start anew",
        );
    }
    let own = env!("CARGO_PKG_VERSION");
    if said.version != own {
        let words =
            format!("process {} is version {}, this program is {own}", said.pid, brief(&said.version, 40));
        return Check::new(NAME, Verdict::Note, words)
            .remedy("restart it; deliveries under way are taken up again");
    }
    let words = format!("process {}, version {own}, for {}", said.pid, when::age(said.started_at, now));
    Check::ok(NAME, words)
}

fn watch_of(polls: Option<&str>, flown: &canary::Flown) -> Check {
    const NAME: &str = "watch";
    match (polls, flown) {
        (_, canary::Flown::Unseen(patience)) => {
            let words =
                format!("the agent did not look at new/ within {} s of a new file", patience.as_secs());
            Check::wrong(NAME, words, "is it stopped, or does its disk hang? else end it and start anew")
        }
        (Some(why), flown) => {
            let words = format!(
                "the agent looks from time to time, for the kernel does not tell it: {}; {flown}",
                brief(why, 200)
            );
            Check::new(NAME, Verdict::Note, words).remedy("nothing is lost by it, it is only slower")
        }
        (None, canary::Flown::Untried(_)) => Check::note(NAME, flown.to_string()),
        (None, canary::Flown::Seen(took)) if *took > canary::SLOW => {
            Check::note(NAME, format!("{flown}: by looking from time to time, or the machine is busy"))
        }
        (None, flown) => Check::ok(NAME, flown.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_silent_agent_is_wrong_and_an_old_one_is_noted() {
        let said = status::AgentStatus {
            pid: 7,
            version: env!("CARGO_PKG_VERSION").into(),
            updated_at: 1_000_000,
            ..Default::default()
        };
        assert_eq!(running(Some(&said), 1_000_000 + OLD_STATUS).verdict, Verdict::Ok);
        assert_eq!(running(Some(&said), 1_000_001 + OLD_STATUS).verdict, Verdict::Wrong);
        let old = status::AgentStatus { version: "0.0.1".into(), ..said };
        assert!(running(Some(&old), 1_000_000).remedy.unwrap().contains("restart"));
        assert_eq!(running(None, 0).verdict, Verdict::Note);
    }

    #[test]
    fn a_watch_is_judged_by_what_the_canary_saw() {
        let seen = |ms| canary::Flown::Seen(Duration::from_millis(ms));
        assert_eq!(watch_of(None, &seen(3)).verdict, Verdict::Ok);
        assert_eq!(watch_of(None, &seen(2500)).verdict, Verdict::Note);
        let polling = watch_of(Some("it is on NFS"), &seen(800));
        assert!(polling.verdict == Verdict::Note && polling.words.contains("NFS"), "{polling:?}");
        let deaf = canary::Flown::Unseen(Duration::from_secs(8));
        assert_eq!(watch_of(Some("x"), &deaf).verdict, Verdict::Wrong);
    }
}
