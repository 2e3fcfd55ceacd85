//! Faults on demand: which request, how often, what goes wrong.
//!
//! A [`Rule`] matches requests by method, session and key, lets `skip` of them pass and applies to the next
//! `times`. All rules that match a request apply to it together, in the order in which they were added.

use std::time::Duration;

use serde_json::Value;

use super::options::Model;

/// A point in the life of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// It was read; nothing has been done with it.
    Frame,
    /// It was accepted (and that was answered, where the method answers twice); nothing is committed.
    Accepted,
    /// It is in the transcript. (`send`: the same as [`At::Accepted`].)
    Committed,
    /// The chat has the reply or message, the gateway has not yet written that down.
    Told,
    /// All is done and written down; the final answer has not been sent.
    Final,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The request is acted on only after this time.
    Delay(Duration),
    /// Every answer to it is held back this long.
    AnswerLate(Duration),
    /// It is answered with this error payload, and nothing is done.
    Error(Value),
    /// `agent`: accepted, then this final error; nothing is committed and the key is burnt.
    AcceptThenError(Value),
    /// `agent`: accepted, then neither committed nor answered as long as this gateway lives.
    AcceptThenForget,
    /// The turn takes this long (from its start to its end).
    TurnLasts(Duration),
    /// The commit comes this long after the start of the turn.
    CommitAfter(Duration),
    /// What the model makes of it.
    Model(Model),
    /// All is done, but the final answer is this error payload.
    FinalError(Value),
    /// The connection is cut (no close frame) at this point; the work goes on, except at [`At::Frame`].
    Drop(At),
    /// From this point on nothing is answered; the work goes on, except at [`At::Frame`].
    Mute(At),
    /// The gateway is killed at this point, and started again after the given time, if any.
    Crash(At, Option<Duration>),
    /// The commit is not announced to those who subscribed.
    NoCommitEvent,
    /// The final answer comes twice.
    DuplicateFinal,
    /// An answer to a request nobody made comes first.
    StrayAnswer,
    /// Text that is no JSON, a binary frame and an unknown event come first.
    Garbage,
    /// An event of at least this many bytes comes first.
    HugeFrame(usize),
    /// This many pings come first.
    PingFlood(usize),
}

/// Which requests a fault is for.
#[derive(Debug, Clone)]
pub struct Rule {
    method: String,
    session: Option<String>,
    key: Option<String>,
    containing: Option<String>,
    skip: u32,
    times: u32,
    faults: Vec<Fault>,
}

impl Rule {
    /// The next request of this method (`*` for any).
    pub fn on(method: &str) -> Self {
        Rule {
            method: method.into(),
            session: None,
            key: None,
            containing: None,
            skip: 0,
            times: 1,
            faults: Vec::new(),
        }
    }

    /// Only for this session key.
    pub fn session(mut self, key: &str) -> Self {
        self.session = Some(key.into());
        self
    }

    /// Only for this idempotency key (`agent.wait`: this run).
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only when the request's message contains this text.
    pub fn containing(mut self, text: &str) -> Self {
        self.containing = Some(text.into());
        self
    }

    /// Let this many matching requests pass first.
    pub fn skip(mut self, n: u32) -> Self {
        self.skip = n;
        self
    }

    /// Apply to this many requests instead of one.
    pub fn times(mut self, n: u32) -> Self {
        self.times = n;
        self
    }

    /// Apply to every matching request from now on.
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// What goes wrong; call again for more.
    pub fn then(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    fn matches(&self, about: &About<'_>) -> bool {
        (self.method == "*" || self.method == about.method)
            && self.session.as_deref().is_none_or(|s| Some(s) == about.session)
            && self.key.as_deref().is_none_or(|k| Some(k) == about.key)
            && self.containing.as_deref().is_none_or(|t| about.message.is_some_and(|m| m.contains(t)))
    }
}

/// What a rule looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub method: &'a str,
    pub session: Option<&'a str>,
    pub key: Option<&'a str>,
    pub message: Option<&'a str>,
}

impl<'a> About<'a> {
    pub(super) fn of(method: &'a str, params: &'a Value) -> Self {
        let text = |names: [&str; 2]| names.iter().find_map(|n| params.get(n).and_then(Value::as_str));
        About {
            method,
            session: text(["sessionKey", "key"]),
            key: text(["idempotencyKey", "runId"]),
            message: text(["message", "text"]),
        }
    }
}

/// The rules that are still to apply.
#[derive(Debug, Default)]
pub(super) struct Script {
    rules: Vec<Rule>,
}

impl Script {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The faults for one request. Uses up the rules that apply.
    pub(super) fn take(&mut self, about: &About<'_>) -> Plan {
        let mut faults = Vec::new();
        for rule in &mut self.rules {
            if !rule.matches(about) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 {
                if rule.times != u32::MAX {
                    rule.times -= 1;
                }
                faults.extend(rule.faults.iter().cloned());
            }
        }
        self.rules.retain(|r| r.times > 0);
        Plan { faults }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub faults: Vec<Fault>,
}

impl Plan {
    pub(super) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(pick)
    }

    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_skips_counts_and_is_used_up() {
        let mut script = Script::default();
        script.add(Rule::on("agent").key("k").skip(1).times(2).then(Fault::DuplicateFinal));
        let other = json!({"idempotencyKey": "x"});
        let ours = json!({"idempotencyKey": "k", "sessionKey": "s"});
        let hits =
            |script: &mut Script, params: &Value| script.take(&About::of("agent", params)).faults.len();
        assert_eq!(hits(&mut script, &other), 0);
        let seen: Vec<usize> = (0..4).map(|_| hits(&mut script, &ours)).collect();
        assert_eq!(seen, [0, 1, 1, 0]);
        assert!(script.rules.is_empty());
    }

    #[test]
    fn rules_apply_together() {
        let mut script = Script::default();
        script.add(Rule::on("*").always().then(Fault::StrayAnswer));
        script.add(Rule::on("agent").session("s").containing("boom").then(Fault::Garbage));
        let params = json!({"sessionKey": "s", "message": "[x] boom"});
        let plan = script.take(&About::of("agent", &params));
        assert_eq!(plan.faults, [Fault::StrayAnswer, Fault::Garbage]);
        assert_eq!(script.take(&About::of("agent", &params)).faults, [Fault::StrayAnswer]);
    }
}
