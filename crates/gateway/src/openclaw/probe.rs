//! `probe`: what became of a delivery, under any key it ever had. Read-only.
//!
//! Three places are asked, because each forgets something: `agent.wait` (runs of this boot, ten minutes), the
//! session's history with its pending inputs (the last thousand rows since the last reset), and the transcript
//! search for the key in the text (survives a reset). Only when none knows it, it is absent. An answer that
//! cannot be understood, and a search index that is still being built, are trouble, never absence.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{OpenClaw, look, send, unreadable};
use crate::classify;
use crate::client::CallError;
use crate::frame::{ANSWER_LIMIT, Last, lenient, payload};
use crate::receiver::{Delivery, Kind, Look, Probe, Reply, Trouble};

/// The most rows a history has.
const ROWS: u32 = 1000;
/// The most keys one history request may ask for; a delivery with more has long been dead.
const KEYS: usize = 50;
/// Pages of pending inputs, twenty each.
const PAGES: usize = 10;
/// How long a message in the gateway's own queue is given to appear.
const OUTBOUND_GRACE: Duration = Duration::from_secs(300);

/// A row of a transcript, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    role: String,
    key: String,
    /// The run an assistant row belongs to: the key of the delivery that started it.
    run: String,
    /// It ends the turn: not a step that calls a tool.
    last: bool,
    /// It stands for a model call that failed.
    failed: bool,
    /// When, in milliseconds since 1970, where the gateway says so.
    at: Option<u64>,
    /// As the gateway wrote it: a text, or a list of parts with texts.
    content: String,
}

impl Row {
    /// Reads the members that matter; a row that is none has none.
    fn read(row: &RawValue) -> Row {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Members<'a> {
            #[serde(borrow)]
            role: Option<&'a RawValue>,
            #[serde(borrow)]
            idempotency_key: Option<&'a RawValue>,
            #[serde(borrow)]
            run_id: Option<&'a RawValue>,
            #[serde(borrow)]
            stop_reason: Option<&'a RawValue>,
            #[serde(borrow)]
            timestamp: Option<&'a RawValue>,
            #[serde(borrow)]
            content: Option<&'a RawValue>,
            #[serde(borrow, rename = "__openclaw")]
            own: Option<&'a RawValue>,
        }
        let text = |raw: Option<&RawValue>| raw.and_then(payload::<String>).unwrap_or_default();
        let outer: Members<'_> = serde_json::from_str(row.get()).unwrap_or_default();
        let own: Members<'_> =
            outer.own.and_then(|own| serde_json::from_str(own.get()).ok()).unwrap_or_default();
        let key = match text(outer.idempotency_key) {
            key if key.is_empty() => text(own.idempotency_key),
            key => key,
        };
        let stop = text(outer.stop_reason);
        Row {
            role: text(outer.role),
            key,
            run: text(own.run_id),
            failed: stop == "error",
            last: !matches!(stop.as_str(), "toolUse" | "tool_use" | "error" | "aborted"),
            at: outer.timestamp.and_then(payload),
            content: outer.content.map_or_else(String::new, |content| content.get().to_owned()),
        }
    }

    /// Whether `needle`, a key, stands anywhere in its text.
    fn contains(&self, needle: &str) -> bool {
        // A key has no character that JSON would write in another way: most rows need not be read.
        if !self.content.contains(needle) || self.content.len() > ANSWER_LIMIT {
            return false;
        }
        match &serde_json::from_str(&self.content).unwrap_or_default() {
            Value::String(text) => text.contains(needle),
            Value::Array(parts) => {
                parts.iter().filter_map(|part| part.get("text")?.as_str()).any(|text| text.contains(needle))
            }
            _ => false,
        }
    }
}

/// An input the session has accepted and not yet made a row of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Input {
    #[serde(deserialize_with = "lenient")]
    run_id: String,
    #[serde(deserialize_with = "lenient")]
    state: String,
}

/// A page of a session's history.
#[derive(Debug, Default)]
pub(super) struct History {
    rows: Vec<Row>,
    pending: Vec<Input>,
    receipts: Vec<Input>,
    next_pending: Option<u64>,
}

impl History {
    /// Reads an answer of any length, with no more room than twice its text. `None`: it is no history.
    pub(super) fn read(answer: &RawValue) -> Option<History> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Members<'a> {
            #[serde(borrow)]
            messages: Last<'a>,
            #[serde(borrow)]
            pending_inputs: Option<&'a RawValue>,
            #[serde(borrow)]
            input_receipts: Option<&'a RawValue>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Page<'a> {
            #[serde(borrow)]
            items: Option<&'a RawValue>,
            #[serde(borrow)]
            next_before: Option<&'a RawValue>,
        }
        fn inputs(list: Option<&RawValue>) -> Vec<Input> {
            let list: Last<'_> =
                list.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
            list.0.into_iter().filter_map(payload).collect()
        }
        let members: Members<'_> = serde_json::from_str(answer.get()).ok()?;
        let page: Page<'_> =
            members.pending_inputs.and_then(|page| serde_json::from_str(page.get()).ok()).unwrap_or_default();
        Some(History {
            rows: members.messages.0.into_iter().map(Row::read).collect(),
            pending: inputs(page.items),
            receipts: inputs(members.input_receipts),
            next_pending: page.next_before.and_then(payload),
        })
    }

    fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// Where the text of a turn stands. Gateways before 2026.9 keep no key with it; there the text names it.
    fn position(&self, key: &str) -> Option<usize> {
        let name = format!("{key}:user");
        self.rows.iter().position(|row| {
            row.key == name || (row.key.is_empty() && row.role == "user" && row.contains(key))
        })
    }

    /// Whether a turn was asked before the gateway was started at this time. Then nobody can be shown to have been
    /// told (measured with 2026.9.6): an answer that was on its way is not sent again ("refusing blind replay"), and
    /// a turn that the restart cut off is resumed by a model that is not shown the text that began it, so that
    /// whatever it answers says nothing of the report.
    fn is_of_a_former_life(&self, key: &str, booted_at: u64) -> bool {
        self.row(&format!("{key}:user")).and_then(|row| row.at).is_some_and(|at| at < booted_at)
    }

    /// What the transcript says became of a turn, if it says anything: by the rows of its run, or, from gateways
    /// that do not name runs, by those between its text and the next.
    pub(super) fn outcome(&self, key: &str) -> Option<Reply> {
        let answer = |row: &&Row| row.role == "assistant" && row.key.is_empty();
        let judge = |row: &Row| match (row.failed, row.last) {
            (true, _) => Some(failed_turn()),
            (false, true) => Some(Reply::Replied),
            (false, false) => None,
        };
        let own = self.rows.iter().filter(answer).filter(|row| row.run == key);
        if let Some(reply) = own.rev().find_map(judge) {
            return Some(reply);
        }
        if self.row(&format!("{key}:terminal-error")).is_some() {
            return Some(failed_turn());
        }
        let after = self.rows.iter().skip(self.position(key)? + 1).take_while(|row| row.role != "user");
        after.filter(answer).filter(|row| row.run.is_empty()).filter_map(judge).last()
    }

    fn consumed(&self, key: &str) -> bool {
        self.receipts.iter().any(|receipt| receipt.run_id == key && receipt.state == "consumed")
    }

    pub(super) fn committed(&self, key: &str) -> bool {
        self.position(key).is_some() || self.consumed(key)
    }

    /// The state of a pending input: `queued`, `interrupted`, `cancelled`, or `pending` if only a receipt tells.
    fn pending(&self, key: &str) -> Option<&str> {
        let items = self.pending.iter().chain(&self.receipts);
        items
            .filter(|input| input.run_id == key && input.state != "consumed")
            .map(|input| input.state.as_str())
            .next()
    }
}

/// Reads the history. The default row size stays: with a larger one, large rows would be left out.
pub(super) async fn history(
    gateway: &OpenClaw,
    session_key: &str,
    keys: &[&str],
) -> Result<History, Trouble> {
    const METHOD: &str = "chat.history";
    let mut params = json!({"sessionKey": session_key, "limit": ROWS});
    if gateway.link.modern && !keys.is_empty() {
        params["inputRunIds"] = json!(keys);
    }
    let first = match gateway.try_ask(METHOD, params.clone()).await {
        // Gateways before 2026.9 do not know the member and have no pending inputs to tell of.
        Err(CallError::Fault(fault)) if fault.message.contains("inputRunIds") => {
            params = json!({"sessionKey": session_key, "limit": ROWS});
            gateway.try_ask(METHOD, params.clone()).await
        }
        other => other,
    };
    let read = |answer: Result<Box<RawValue>, CallError>| {
        let raw = answer.map_err(|error| classify::call(METHOD, error, true))?;
        History::read(&raw).ok_or_else(|| unreadable(METHOD))
    };
    let mut history = read(first)?;
    // A receipt without its state: the input is on an older page. Interrupted inputs stay listed for good.
    let vague = |history: &History| keys.iter().any(|key| history.pending(key) == Some("pending"));
    for _ in 0..PAGES {
        let (true, Some(before)) = (vague(&history), history.next_pending) else { break };
        params["pendingBefore"] = before.into();
        let page = read(gateway.try_ask(METHOD, params.clone()).await)?;
        history.pending.extend(page.pending);
        history.next_pending = page.next_pending.filter(|next| *next < before);
    }
    Ok(history)
}

/// Whether a turn's row is in the history; for a listener that missed events.
pub(super) async fn has_row(gateway: &OpenClaw, delivery: &Delivery) -> Result<bool, Trouble> {
    let history = history(gateway, &delivery.session_key, &[&delivery.key]).await;
    history
        .map(|history| history.committed(&delivery.key))
        .map_err(|trouble| Trouble { kind: Kind::Doubt, ..trouble })
}

/// The keys to ask for, newest first.
pub(super) fn keys(delivery: &Delivery) -> Vec<&str> {
    std::iter::once(delivery.key.as_str())
        .chain(delivery.former_keys.iter().rev().map(String::as_str))
        .take(KEYS)
        .collect()
}

pub(super) async fn turn(gateway: &OpenClaw, delivery: &Delivery) -> Result<Probe, Trouble> {
    let keys = keys(delivery);
    let history = history(gateway, &delivery.session_key, &keys).await?;
    if let Some(key) = keys.iter().find(|key| history.committed(key)) {
        return reply(gateway, delivery, key, &history).await.map(Probe::Committed);
    }
    // A run that ended well was committed, whatever the history shows by now.
    for key in &keys {
        let run = Run::of(gateway, key).await?;
        if run.status == "ok" {
            return reply(gateway, delivery, key, &history).await.map(Probe::Committed);
        }
    }
    for key in &keys {
        if search(gateway, delivery, key, &["user"]).await? {
            return reply(gateway, delivery, key, &history).await.map(Probe::Committed);
        }
    }
    if keys.iter().any(|key| matches!(history.pending(key), Some("queued" | "pending"))) {
        return Ok(Probe::Queued);
    }
    Ok(match history.pending(&delivery.key) {
        Some(_) => Probe::Burnt,
        None => Probe::Absent,
    })
}

fn failed_turn() -> Reply {
    Reply::Failed("the turn failed; the session's transcript says why".to_owned())
}

/// What the gateway remembers of a run.
#[derive(Debug, Default)]
struct Run {
    status: String,
    delivery: Option<Value>,
}

impl Run {
    async fn of(gateway: &OpenClaw, key: &str) -> Result<Run, Trouble> {
        let raw = gateway.ask("agent.wait", json!({"runId": key, "timeoutMs": 0})).await?;
        let answer = payload::<Value>(&raw).ok_or_else(|| unreadable("agent.wait"))?;
        Ok(Run {
            status: answer.get("status").and_then(Value::as_str).unwrap_or("").to_owned(),
            delivery: answer.get("terminalDelivery").filter(|delivery| delivery.is_object()).cloned(),
        })
    }
}

/// What became of the reply to a committed turn: the platform's word, then the transcript's.
async fn reply(
    gateway: &OpenClaw,
    delivery: &Delivery,
    key: &str,
    history: &History,
) -> Result<Reply, Trouble> {
    if gateway.link.booted_at.is_some_and(|at| history.is_of_a_former_life(key, at)) {
        let reason = "the gateway was restarted before it said that the answer was sent";
        return Ok(Reply::Failed(reason.to_owned()));
    }
    let run = Run::of(gateway, key).await?;
    if let Some(terminal) = &run.delivery {
        let reply = send::delivery_status(terminal, true);
        // The run says only "failed", also of a session that has no route at all.
        if matches!(reply, Reply::Failed(_)) && !routable(gateway, delivery).await? {
            return Ok(Reply::Internal);
        }
        return Ok(reply);
    }
    if let Some(reply) = history.outcome(key) {
        return Ok(reply);
    }
    Ok(match run.status.as_str() {
        "ok" => Reply::Replied,
        "error" => Reply::Failed("the turn failed; the gateway's log says why".to_owned()),
        // `timeout` is also said of runs that are still running or long forgotten.
        _ if look::has_failed(gateway, &delivery.session_key).await? => {
            Reply::Failed("the gateway gave the turn up; its log says why".to_owned())
        }
        _ => Reply::Pending,
    })
}

async fn routable(gateway: &OpenClaw, delivery: &Delivery) -> Result<bool, Trouble> {
    if delivery.route.is_some() {
        return Ok(true);
    }
    Ok(
        matches!(look::look(gateway, &delivery.session_key).await?, Look::Open(session) if session.route.is_some()),
    )
}

fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str()
}

/// Whether the gateway means the session that was asked for. A short key (`main`) it calls by its full name
/// (`agent:main:main`), and the case of letters is nothing to it.
fn is_same_session(asked: &str, named: &str) -> bool {
    let (asked, named) = (asked.to_ascii_lowercase(), named.to_ascii_lowercase());
    let full = || named.strip_suffix(asked.as_str()).and_then(|front| front.strip_suffix(':'));
    asked == named
        || (!asked.starts_with("agent:") && full().is_some_and(|front| front.starts_with("agent:")))
}

/// Whether the transcript, also that before a reset, has the key in a text of one of these roles.
async fn search(gateway: &OpenClaw, delivery: &Delivery, key: &str, roles: &[&str]) -> Result<bool, Trouble> {
    const METHOD: &str = "sessions.search";
    if !gateway.link.searches {
        return Ok(false);
    }
    let params = json!({"query": key, "sessionKeys": [delivery.session_key], "limit": 25});
    let raw = gateway.ask(METHOD, params).await?;
    let answer = payload::<Value>(&raw).ok_or_else(|| unreadable(METHOD))?;
    let hits = answer.get("results").and_then(Value::as_array).ok_or_else(|| unreadable(METHOD))?;
    // What stands in another session is not what this one was sent, even if it quotes the key.
    let found = hits
        .iter()
        .filter(|hit| {
            text(hit, "sessionKey").is_some_and(|there| is_same_session(&delivery.session_key, there))
        })
        .filter_map(|hit| text(hit, "role"))
        .any(|role| roles.contains(&role));
    if !found && answer.get("indexing").and_then(Value::as_bool) == Some(true) {
        return Err(Trouble {
            kind: Kind::Unavailable,
            reason: "the gateway is still building its search index; asking again later".to_owned(),
            retry_after: Some(Duration::from_secs(2)),
        });
    }
    Ok(found)
}

/// A message: its mirror in the transcript has the key itself, and is only written once the platform took it.
pub(super) async fn message(gateway: &OpenClaw, delivery: &Delivery) -> Result<Probe, Trouble> {
    let keys = keys(delivery);
    let history = history(gateway, &delivery.session_key, &[]).await?;
    // Old gateways keep no key with the row; the mirror's text names it.
    let mirrored = |row: &Row, key: &str| {
        row.key == key || (!gateway.link.modern && row.role == "assistant" && row.contains(key))
    };
    if history.rows.iter().any(|row| keys.iter().any(|key| mirrored(row, key))) {
        return Ok(Probe::Committed(Reply::Sent));
    }
    for key in &keys {
        if search(gateway, delivery, key, &["assistant"]).await? {
            return Ok(Probe::Committed(Reply::Sent));
        }
    }
    let queued = keys.iter().filter_map(|key| gateway.link.outbound.since(key)).min();
    Ok(if queued.is_some_and(|age| age < OUTBOUND_GRACE) { Probe::Queued } else { Probe::Absent })
}

/// A note has no key of its own in the transcript: only its text names it.
pub(super) async fn note(gateway: &OpenClaw, delivery: &Delivery) -> Result<Probe, Trouble> {
    let keys = keys(delivery);
    let history = history(gateway, &delivery.session_key, &[]).await?;
    if history.rows.iter().any(|row| keys.iter().any(|key| row.contains(key))) {
        return Ok(Probe::Committed(Reply::Internal));
    }
    for key in &keys {
        if search(gateway, delivery, key, &["user", "assistant"]).await? {
            return Ok(Probe::Committed(Reply::Internal));
        }
    }
    Ok(Probe::Absent)
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
