//! Turns: `agent`, `chat.send` and `sessions.send`, `agent.wait`, and what goes on after a crash.
//!
//! What it keeps true, as measured:
//!
//! - "accepted" and "started" promise nothing: the input is a pending row until its turn starts, and turns of one
//!   session start one after the other;
//! - the row `K:user` is the commit; whatever the final says afterwards, the commit stands;
//! - a key is remembered for all sessions together: the same key for another one gets the remembered answer;
//! - a committed key that comes back after the memory of it is gone makes no second row, but a failure;
//! - `agent` queues without limit, `chat.send` folds what is over the cap into a summary.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::receiver::Route;

use super::admit::{Admitted, Turn, admit_agent, admit_chat};
use super::methods::{Call, announce, wait_limit};
use super::options::{Model, Phase};
use super::outbox::{self, Platform};
use super::script::{At, Fault};
use super::server::{Shared, State};
use super::world::{ChatMessage, Marks, Role, Told, Unfinished};
use super::{errors, inspect};

pub(super) async fn agent(call: Call) {
    let admitted = call.shared.with(|s| admit_agent(&call, s));
    match admitted.unwrap_or_else(|error| Admitted::Answer(Err(error))) {
        Admitted::Answer(result) => call.answer(result).await,
        Admitted::Run(turn) => {
            let accepted_at = call.shared.see(|s| call.shared.now_ms(s));
            call.accepted(json!({"runId": turn.run_id, "status": "accepted", "acceptedAt": accepted_at}))
                .await;
            call.at(At::Accepted).await;
            let result = run(&call, &turn).await;
            call.at(At::Final).await;
            call.answer(result).await;
        }
    }
}

pub(super) async fn chat_send(call: Call) {
    let admitted = call.shared.with(|s| admit_chat(&call, s));
    match admitted.unwrap_or_else(|error| Admitted::Answer(Err(error))) {
        Admitted::Answer(result) => call.answer(result).await,
        Admitted::Run(turn) => {
            call.answer(Ok(json!({"runId": turn.run_id, "status": "started"}))).await;
            call.at(At::Accepted).await;
            let result = run(&call, &turn).await;
            let state = if result.is_ok() { "final" } else { "error" };
            call.conn.event(
                "chat",
                json!({"runId": turn.run_id, "sessionKey": turn.session, "seq": 1, "state": state}),
            );
            call.at(At::Final).await;
        }
    }
}

/// Runs one turn to its end: the content of its final answer.
async fn run(call: &Call, turn: &Turn) -> Result<Value, Value> {
    let shared = &call.shared;
    if call.plan.has(&Fault::AcceptThenForget) {
        std::future::pending::<()>().await;
    }
    let (lane, global) = shared.with(|s| (s.memory.lane(&turn.session), Arc::clone(&s.memory.global_lane)));
    // The semaphores are never closed.
    let _own = lane.acquire().await.ok();
    let _one_of_all = global.acquire().await.ok();
    shared.thaw().await;
    let lost = call.plan.find(|f| match f {
        Fault::AcceptThenError(error) => Some(error.clone()),
        _ => None,
    });
    let draining = shared.see(|s| s.phase == Phase::Draining).then(errors::draining);
    if let Some(error) = lost.or(draining) {
        let result = Err(error);
        shared.with(|s| {
            s.world.interrupt(&turn.session, &turn.run_id);
            end(shared, s, turn, &result);
        });
        return result;
    }
    if folded(shared, turn) {
        return Ok(Value::Null);
    }
    let result = live(call, turn).await;
    shared.with(|s| {
        s.world.unfinished.retain(|u| u.run_id != turn.run_id || u.session != turn.session);
        end(shared, s, turn, &result);
    });
    result
}

/// Whether this follow-up was folded away. The first one to run afterwards commits the summary.
fn folded(shared: &Shared, turn: &Turn) -> bool {
    turn.followup
        && shared.with(|s| {
            let queue = s.memory.followups.entry(turn.session.clone()).or_default();
            if !queue.contains(&turn.run_id) {
                s.memory.running.remove(&turn.run_id);
                let (now, result) = (shared.now(s), Ok(json!({"runId": turn.run_id, "status": "ok"})));
                s.memory.dedupe.finish(&turn.cached, result, now, &s.options);
                inspect::leave(s, &turn.session);
                return true;
            }
            if queue.len() == 1
                && let Some(n) = s.memory.overflow.remove(&turn.session)
            {
                let text = format!("[Queue overflow] Dropped {n} messages due to cap");
                let now = shared.now_ms(s);
                s.world.append(&turn.session, Role::User, &text, Marks::default(), now);
            }
            false
        })
}

/// The turn itself: commit, model, reply.
async fn live(call: &Call, turn: &Turn) -> Result<Value, Value> {
    let shared = &call.shared;
    let scripted = |pick: fn(&Fault) -> Option<std::time::Duration>| call.plan.find(pick);
    let (commit, total) = shared.see(|s| (s.options.commit_delay, s.options.turn_duration));
    let commit = scripted(|f| if let Fault::CommitAfter(d) = f { Some(*d) } else { None }).unwrap_or(commit);
    let total = scripted(|f| if let Fault::TurnLasts(d) = f { Some(*d) } else { None }).unwrap_or(total);
    lifecycle(call, turn, json!({"phase": "start"}));
    sleep(commit).await;
    shared.thaw().await;
    let again = shared.with(|s| commit_row(call, s, turn));
    call.at(At::Committed).await;
    if again {
        return resent(call, turn).await;
    }
    sleep(total.saturating_sub(commit)).await;
    shared.thaw().await;
    let model = call.plan.find(|f| match f {
        Fault::Model(model) => Some(model.clone()),
        _ => None,
    });
    let model = model.unwrap_or_else(|| shared.see(|s| s.model.clone()));
    let reply = match model {
        Model::Echo => Some(format!("echo: {}", turn.text)),
        Model::Says(text) => Some(text),
        Model::Silent => None,
        Model::Fails(words) => {
            shared.with(|s| failed_row(shared, s, turn));
            return Err(errors::unavailable(words));
        }
    };
    let status = match (&reply, turn.deliver) {
        (_, false) => Ok(None),
        (None, true) => Ok(Some(json!({"requested": true, "attempted": false, "status": "suppressed",
            "reason": "no_visible_payload", "succeeded": true}))),
        (Some(text), true) => deliver(call, turn, text).await.map(Some),
    };
    shared.with(|s| {
        let now = shared.now_ms(s);
        let text = reply.as_deref().unwrap_or("NO_REPLY");
        s.world.append(&turn.session, Role::Assistant, text, Marks::default(), now);
    });
    let mut result =
        json!({"payloads": reply.map(|text| json!({"text": text})).into_iter().collect::<Vec<_>>()});
    if let Some(status) = status? {
        result["deliveryStatus"] = status;
    }
    Ok(json!({"runId": turn.run_id, "status": "ok", "summary": "completed", "result": result}))
}

/// Writes the row and says so. `true`: it was there already, from before this gateway remembers.
fn commit_row(call: &Call, s: &mut State, turn: &Turn) -> bool {
    let now = call.shared.now_ms(s);
    if s.world.ensure(&turn.session, now).committed(&turn.run_id) {
        return true;
    }
    s.world.release(&turn.session, &turn.run_id);
    let key = format!("{}:user", turn.run_id);
    let marks = Marks { key: Some(&key), model: None, provenance: turn.provenance.as_ref() };
    let row = s.world.append(&turn.session, Role::User, &turn.text, marks, now);
    s.world.unfinished.push(Unfinished {
        session: turn.session.clone(),
        run_id: turn.run_id.clone(),
        text: turn.text.clone(),
        route: turn.route.clone().filter(|_| turn.deliver),
    });
    s.stats.committed(&turn.session, &turn.run_id, &turn.text);
    s.stats.model_calls.push(turn.run_id.clone());
    if !call.plan.has(&Fault::NoCommitEvent) {
        announce(s, &turn.session, &row);
    }
    false
}

fn failed_row(shared: &Shared, s: &mut State, turn: &Turn) {
    let now = shared.now_ms(s);
    let key = format!("{}:terminal-error", turn.run_id);
    s.world.append(&turn.session, Role::Assistant, "Agent run failed", Marks::key(&key), now);
}

/// A committed key that came back. `agent`: a failure row, and a failure in the chat; `chat.send`: the model again.
async fn resent(call: &Call, turn: &Turn) -> Result<Value, Value> {
    let shared = &call.shared;
    if turn.followup {
        shared.with(|s| s.stats.model_calls.push(turn.run_id.clone()));
        return Ok(json!({"runId": turn.run_id, "status": "ok"}));
    }
    shared.with(|s| failed_row(shared, s, turn));
    if let Some(route) = turn.route.as_ref().filter(|_| turn.deliver) {
        outbox::tell(shared, message(turn, route, "Agent run failed", Told::Notice), false).await;
    }
    Ok(json!({"runId": turn.run_id, "status": "error", "summary": "failed"}))
}

fn message(turn: &Turn, route: &Route, text: &str, told: Told) -> ChatMessage {
    ChatMessage {
        message_id: String::new(),
        route: route.clone(),
        text: text.into(),
        told,
        key: turn.run_id.clone(),
        session: Some(turn.session.clone()),
    }
}

/// Brings the reply to the chat: a `deliveryStatus`, or the final error of a delivery that had to succeed.
async fn deliver(call: &Call, turn: &Turn, text: &str) -> Result<Value, Value> {
    let shared = &call.shared;
    let failed = |reason: &str| {
        json!({"requested": true, "attempted": false, "status": "failed", "succeeded": false, "error": true,
            "reason": reason})
    };
    let Some(route) = &turn.route else {
        let none = shared.see(|s| s.options.channels.is_empty());
        return Ok(failed(if none { "channel_resolved_to_internal" } else { "invalid_delivery_target" }));
    };
    if !shared.see(|s| s.options.channels.contains(&route.channel)) {
        return Ok(failed("unknown_channel"));
    }
    let told = outbox::tell(shared, message(turn, route, text, Told::Reply), false).await;
    call.at(At::Told).await;
    match told {
        Platform::Took(_) => {
            Ok(json!({"requested": true, "attempted": true, "status": "sent", "succeeded": true,
            "resultCount": 1}))
        }
        Platform::Queued(words) | Platform::Refused(words) if turn.best_effort => Ok(
            json!({"requested": true, "attempted": true, "status": "failed", "succeeded": false, "error": true,
                "reason": "platform_send", "errorMessage": words}),
        ),
        Platform::Queued(words) | Platform::Refused(words) => Err(errors::unavailable(words)),
    }
}

/// Writes down how a run ended, for those who ask again.
fn end(shared: &Shared, s: &mut State, turn: &Turn, result: &Result<Value, Value>) {
    let (now, now_ms) = (shared.now(s), shared.now_ms(s));
    let mut ended = json!({"runId": turn.run_id, "endedAt": now_ms});
    match result {
        Ok(payload) => {
            ended["status"] = payload["status"].clone();
            let status = &payload["result"]["deliveryStatus"];
            if !status.is_null() {
                let count = u8::from(status["status"] == "sent");
                ended["terminalDelivery"] = json!({"status": status["status"], "resultCount": count});
            }
            if let Some(reply) = payload["result"]["payloads"].get(0) {
                ended["terminalReply"] = reply.clone();
            }
        }
        Err(error) => {
            ended["status"] = json!("error");
            ended["error"] = error["message"].clone();
        }
    }
    if let Some(queue) = s.memory.followups.get_mut(&turn.session) {
        queue.retain(|run| run != &turn.run_id);
    }
    s.memory.running.remove(&turn.run_id);
    s.memory.dedupe.finish(&turn.cached, result.clone(), now, &s.options);
    s.memory.ends.put(&turn.run_id, ended, now, &s.options);
    inspect::leave(s, &turn.session);
}

fn lifecycle(call: &Call, turn: &Turn, data: Value) {
    let payload = json!({"runId": turn.run_id, "stream": "lifecycle", "sessionKey": turn.session, "seq": 1,
        "data": data});
    call.conn.event("agent", payload);
}

/// `agent.wait`: the end of a run of this life; "timeout" for one that runs, is unknown, or ended long ago.
pub(super) async fn wait(call: Call) {
    let run_id = call.text("runId").unwrap_or_default().to_owned();
    let shared = &call.shared;
    let ended = |s: &State| s.memory.ends.get(&run_id, shared.now(s), &s.options);
    shared.until(wait_limit(&call), |s| ended(s).is_some()).await;
    let found = shared.see(ended);
    let result = Ok(found.unwrap_or_else(|| json!({"runId": run_id, "status": "timeout"})));
    call.at(At::Final).await;
    call.answer(result).await;
}

/// After a start: turns that were committed and not answered go on. Their sessions' lanes are held meanwhile.
pub(super) async fn resume(shared: Arc<Shared>) {
    let (wanted, delay) = shared.see(|s| (s.options.resume, s.options.resume_delay));
    let left = shared.with(|s| std::mem::take(&mut s.world.unfinished));
    if !wanted {
        return;
    }
    shared.with(|s| s.world.unfinished.clone_from(&left));
    sleep(delay).await;
    for unfinished in left {
        let lane = shared.with(|s| s.memory.lane(&unfinished.session));
        let _own = lane.acquire().await.ok();
        shared.thaw().await;
        let reply = format!("echo: {}", unfinished.text);
        let notice = "I'm continuing your interrupted request now";
        for (text, told) in [(notice, Told::Notice), (&reply, Told::Reply)] {
            let Some(route) = &unfinished.route else { continue };
            let message = ChatMessage {
                message_id: String::new(),
                route: route.clone(),
                text: text.into(),
                told,
                key: unfinished.run_id.clone(),
                session: Some(unfinished.session.clone()),
            };
            outbox::tell(&shared, message, false).await;
        }
        shared.with(|s| {
            let now = shared.now_ms(s);
            s.stats.model_calls.push(unfinished.run_id.clone());
            s.world.append(&unfinished.session, Role::Assistant, &reply, Marks::default(), now);
            s.world.unfinished.retain(|u| u.run_id != unfinished.run_id);
        });
    }
}
