//! How the world looks from the wire: descriptions, histories, search results.
//!
//! Shapes and limits are those that were captured: eight thousand characters a row, twenty pending inputs a page,
//! rows hidden by a reset out of the history and in the index.

use serde_json::{Map, Value, json};

use crate::receiver::Route;

use super::world::{Pending, PendingState, Role, Row, World};

impl World {
    /// `sessions.describe`.
    pub(super) fn describe(&self, key: &str) -> Value {
        let Some(session) = self.sessions.get(key) else { return Value::Null };
        let mut out = json!({"key": key, "kind": "direct", "sessionId": session.session_id, "updatedAt": session.updated_at});
        if key.contains(":group:") {
            out["kind"] = json!("group");
        }
        if let Some(at) = session.archived_at {
            out["archived"] = json!(true);
            out["archivedAt"] = json!(at);
        }
        if session.deny {
            out["sendPolicy"] = json!("deny");
        }
        match &session.route {
            None => {
                out["classification"] = json!("custom");
                out["createdVia"] = json!("operator");
            }
            Some(route) => {
                let context = context_of(route);
                out["lastChannel"] = context["channel"].clone();
                out["lastTo"] = context["to"].clone();
                for (from, to) in [("accountId", "lastAccountId"), ("threadId", "lastThreadId")] {
                    if let Some(value) = context.get(from) {
                        out[to] = value.clone();
                    }
                }
                out["origin"] = json!({"from": route.to, "to": route.to});
                out["deliveryContext"] = context;
            }
        }
        out
    }

    /// `chat.history`: the newest `limit` rows that a reset did not hide, and what is pending.
    pub(super) fn history(&self, key: &str, ask: &Ask<'_>) -> Value {
        let Some(session) = self.sessions.get(key) else {
            return json!({"sessionKey": key, "messages": [], "pendingInputs": {"items": [], "total": 0},
                "inputReceipts": []});
        };
        let shown = session.rows.get(session.shown_from..).unwrap_or_default();
        let from = shown.len().saturating_sub(ask.limit);
        let messages: Vec<Value> =
            shown[from..].iter().filter_map(|row| row_json(row, ask.max_chars)).collect();
        // The newest page of twenty, oldest first; what is older is behind `nextBefore`.
        let end = session.pending.partition_point(|p| p.id < ask.pending_before);
        let first = end.saturating_sub(20);
        let items: Vec<Value> = session.pending[first..end].iter().map(pending_json).collect();
        let receipts: Vec<Value> = ask
            .run_ids
            .iter()
            .filter(|id| session.pending.iter().any(|p| p.run_id == **id))
            .map(|id| json!({"runId": id, "state": "pending"}))
            .collect();
        let mut pending = json!({"items": items, "total": session.pending.len()});
        if first > 0 {
            pending["nextBefore"] = json!(session.pending[first].id);
        }
        json!({"sessionKey": key, "sessionId": session.session_id, "messages": messages,
            "pendingInputs": pending, "inputReceipts": receipts})
    }

    /// `sessions.search`: rows with the words of the query next to each other, hidden ones too.
    pub(super) fn search(&self, query: &str, keys: &[&str], limit: usize) -> Value {
        let wanted = words(query);
        let mut results = Vec::new();
        for key in keys {
            let Some(session) = self.sessions.get(*key) else { continue };
            for row in &session.rows {
                if wanted.is_empty() || !words(&row.text).windows(wanted.len()).any(|w| w == wanted) {
                    continue;
                }
                let snippet: String = row.text.chars().take(200).collect();
                results.push(json!({"sessionKey": key, "sessionId": session.session_id, "messageId": row.id,
                    "role": role_name(row.role), "timestamp": row.at, "snippet": snippet, "score": 1.0}));
            }
        }
        let truncated = results.len() > limit;
        results.truncate(limit);
        let mut out = json!({"results": results});
        if truncated {
            out["truncated"] = json!(true);
        }
        out
    }
}

/// What a history is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub limit: usize,
    pub max_chars: Option<usize>,
    pub run_ids: &'a [&'a str],
    pub pending_before: u64,
}

/// A route as `deliveryContext` has it: a numeric thread is a number there.
fn context_of(route: &Route) -> Value {
    let mut out = Map::new();
    out.insert("channel".into(), json!(route.channel));
    out.insert("to".into(), json!(route.to));
    if let Some(account) = &route.account_id {
        out.insert("accountId".into(), json!(account));
    }
    if let Some(thread) = &route.thread_id {
        out.insert("threadId".into(), thread.parse::<i64>().map_or_else(|_| json!(thread), |n| json!(n)));
    }
    Value::Object(out)
}

/// A row as history and events show it; `None` for rows that `max_chars` drops (measured: 300 kB and more).
pub(super) fn row_json(row: &Row, max_chars: Option<usize>) -> Option<Value> {
    let limit = max_chars.unwrap_or(8000);
    if max_chars.is_some() && row.text.len() >= 300_000 {
        return None;
    }
    let mut text = row.text.clone();
    if let Some((cut, _)) = text.char_indices().nth(limit) {
        text.truncate(cut);
        text.push_str("\n...(truncated)...");
    }
    let mut out = json!({"role": role_name(row.role), "content": [{"type": "text", "text": text}],
        "timestamp": row.at, "__openclaw": {"id": row.id, "seq": row.seq}});
    if let Some(key) = &row.idempotency_key {
        out["idempotencyKey"] = json!(key);
    }
    if let Some(model) = &row.model {
        out["provider"] = json!("openclaw");
        out["model"] = json!(model);
    }
    if let Some(provenance) = &row.provenance {
        out["provenance"] = provenance.clone();
    }
    Some(out)
}

fn pending_json(pending: &Pending) -> Value {
    let state = match pending.state {
        PendingState::Queued => "queued",
        PendingState::Interrupted => "interrupted",
    };
    json!({"id": pending.id.to_string(), "runId": pending.run_id, "state": state, "acceptedAt": pending.accepted_at,
        "message": {"role": "user", "content": pending.text}})
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// The words as a full-text index sees them. `a~2` is two words, so a search for `a` finds it: callers must not
/// take a hit for one key as proof of another that merely begins with it.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::super::world::Marks;
    use super::*;

    fn ask<'a>(limit: usize, max_chars: Option<usize>, run_ids: &'a [&'a str]) -> Ask<'a> {
        Ask { limit, max_chars, run_ids, pending_before: u64::MAX }
    }

    fn world_with(texts: &[&str]) -> World {
        let mut world = World::default();
        for (i, text) in texts.iter().enumerate() {
            let key = format!("k{i}:user");
            world.append("agent:main:a", Role::User, text, Marks::key(&key), i as u64);
        }
        world
    }

    #[test]
    fn a_reset_hides_history_and_not_search() {
        let mut world = world_with(&["[job ob1-77]", "[job ob1-78]"]);
        world.ensure("agent:main:a", 0).shown_from = 1;
        let history = world.history("agent:main:a", &ask(1000, None, &[]));
        assert_eq!(history["messages"].as_array().unwrap().len(), 1);
        let hits = world.search("ob1-77", &["agent:main:a"], 25);
        assert_eq!(hits["results"].as_array().unwrap().len(), 1);
        assert_eq!(world.search("ob1-7", &["agent:main:a"], 25)["results"], json!([]));
        assert_eq!(world.search("ob1-77", &["agent:main:b"], 25)["results"], json!([]));
    }

    #[test]
    fn history_shows_the_newest_rows_cut_and_leaves_giants_out() {
        let long = "x".repeat(9000);
        let giant = "y".repeat(300_000);
        let world = world_with(&["old", &long, &giant]);
        let all = world.history("agent:main:a", &ask(1000, None, &[]));
        let text = all["messages"][1]["content"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("\n...(truncated)...") && text.len() == 8000 + 19 - 1, "{}", text.len());
        assert_eq!(all["messages"].as_array().unwrap().len(), 3);
        let wide = world.history("agent:main:a", &ask(1000, Some(500_000), &[]));
        assert_eq!(wide["messages"].as_array().unwrap().len(), 2, "rows of 300 kB are left out");
        let short = world.history("agent:main:a", &ask(1, None, &[]));
        assert_eq!(short["messages"][0]["idempotencyKey"], "k2:user");
    }

    #[test]
    fn a_crash_interrupts_what_was_accepted_and_loses_what_was_not_written() {
        let mut world = World::default();
        world.accept("s", "kept", "t", true, 1);
        world.accept("s", "lost", "t", false, 2);
        world.crash();
        let history = world.history("s", &ask(10, None, &["kept", "lost"]));
        let items = history["pendingInputs"]["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!((&items[0]["runId"], &items[0]["state"]), (&json!("kept"), &json!("interrupted")));
        assert_eq!(history["inputReceipts"], json!([{"runId": "kept", "state": "pending"}]));
    }

    #[test]
    fn a_thread_is_a_number_in_the_description() {
        let mut world = World::default();
        world.ensure("s", 0).route = Some(Route {
            channel: "telegram".into(),
            to: "telegram:-100:topic:42".into(),
            account_id: Some("default".into()),
            thread_id: Some("42".into()),
        });
        assert_eq!(world.describe("s")["deliveryContext"]["threadId"], json!(42));
        assert_eq!(world.describe("missing"), Value::Null);
    }
}
