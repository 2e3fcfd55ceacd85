//! What each method takes: its fields, the required ones, the scope it needs.
//!
//! The real gateway refuses unknown fields, so a client that sends one must fail here too. The lists are the
//! published schema of protocol 4 (fields a backend client has no business with are left out).

use serde_json::Value;

use super::errors;

/// The rules of one method.
pub(super) struct Method {
    pub name: &'static str,
    pub scope: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const READ: &str = "operator.read";
const WRITE: &str = "operator.write";
const ADMIN: &str = "operator.admin";

/// Every method there is, sorted by purpose.
pub(super) const METHODS: &[Method] = &[
    Method { name: "health", scope: READ, required: &[], optional: &["probe"] },
    Method { name: "sessions.describe", scope: READ, required: &["key"], optional: &["agentId"] },
    Method {
        name: "sessions.resolve",
        scope: READ,
        required: &["key"],
        optional: &["agentId", "allowMissing"],
    },
    Method { name: "sessions.list", scope: READ, required: &[], optional: &["agentId", "limit", "archived"] },
    Method {
        name: "sessions.search",
        scope: READ,
        required: &["query"],
        optional: &["agentId", "sessionKeys", "limit"],
    },
    Method {
        name: "sessions.messages.subscribe",
        scope: READ,
        required: &["key"],
        optional: &["agentId", "includeApprovals"],
    },
    Method {
        name: "sessions.messages.unsubscribe",
        scope: READ,
        required: &["key"],
        optional: &["agentId", "includeApprovals"],
    },
    Method {
        name: "chat.history",
        scope: READ,
        required: &["sessionKey"],
        optional: &[
            "agentId",
            "cursor",
            "limit",
            "maxBytes",
            "offset",
            "pendingBefore",
            "inputRunIds",
            "messageId",
            "sessionId",
            "maxChars",
        ],
    },
    Method { name: "agent.wait", scope: READ, required: &["runId"], optional: &["timeoutMs"] },
    Method {
        name: "sessions.create",
        scope: WRITE,
        required: &[],
        optional: &["key", "agentId", "label", "model", "parentSessionKey", "task", "message"],
    },
    Method {
        name: "agent",
        scope: WRITE,
        required: &["message", "idempotencyKey"],
        optional: &[
            "agentId",
            "provider",
            "model",
            "to",
            "replyTo",
            "sessionId",
            "sessionKey",
            "expectedExistingSessionId",
            "thinking",
            "deliver",
            "attachments",
            "channel",
            "replyChannel",
            "accountId",
            "replyAccountId",
            "threadId",
            "groupId",
            "groupChannel",
            "groupSpace",
            "timeout",
            "bestEffortDeliver",
            "lane",
            "cwd",
            "modelRun",
            "promptMode",
            "extraSystemPrompt",
            "internalEvents",
            "inputProvenance",
            "suppressPromptPersistence",
            "sessionEffects",
            "disableMessageTool",
            "label",
        ],
    },
    Method {
        name: "chat.send",
        scope: WRITE,
        required: &["sessionKey", "message", "idempotencyKey"],
        optional: &[
            "agentId",
            "sessionId",
            "thinking",
            "queueMode",
            "deliver",
            "originatingChannel",
            "originatingTo",
            "originatingAccountId",
            "originatingThreadId",
            "replyToId",
            "attachments",
            "timeoutMs",
            "suppressCommandInterpretation",
        ],
    },
    Method {
        name: "sessions.send",
        scope: WRITE,
        required: &["key", "message"],
        optional: &["idempotencyKey", "agentId", "timeoutMs"],
    },
    Method {
        name: "send",
        scope: WRITE,
        required: &["to", "idempotencyKey"],
        optional: &[
            "message",
            "mediaUrl",
            "mediaUrls",
            "channel",
            "accountId",
            "agentId",
            "replyToId",
            "threadId",
            "forceDocument",
            "silent",
            "parseMode",
            "sessionKey",
        ],
    },
    Method {
        name: "wake",
        scope: WRITE,
        required: &["mode", "text"],
        optional: &["sessionKey", "agentId", "*"],
    },
    Method {
        name: "system-event",
        scope: ADMIN,
        required: &["text"],
        optional: &["sessionKey", "agentId", "*"],
    },
    Method {
        name: "chat.inject",
        scope: ADMIN,
        required: &["sessionKey", "message"],
        optional: &["agentId", "label"],
    },
    Method { name: "sessions.reset", scope: ADMIN, required: &["key"], optional: &["agentId", "reason"] },
    Method {
        name: "sessions.delete",
        scope: ADMIN,
        required: &["key"],
        optional: &["agentId", "deleteTranscript"],
    },
    Method {
        name: "sessions.patch",
        scope: ADMIN,
        required: &["key"],
        optional: &["agentId", "archived", "sendPolicy", "label"],
    },
];

/// Fields that are text wherever they appear (`threadId` is a number in a description and text in a request).
const TEXT: &[&str] = &[
    "key",
    "sessionKey",
    "sessionId",
    "expectedExistingSessionId",
    "message",
    "text",
    "query",
    "runId",
    "idempotencyKey",
    "to",
    "replyTo",
    "channel",
    "replyChannel",
    "accountId",
    "replyAccountId",
    "threadId",
    "agentId",
    "label",
];

const PROVENANCE: &[&str] = &["kind", "originSessionId", "sourceSessionKey", "sourceChannel", "sourceTool"];

/// Finds the method and checks scope and shape.
pub(super) fn admit(name: &str, params: &Value, scopes: &[String]) -> Result<(), Value> {
    // An unknown method is refused like one that needs more rights: that is what the real one does.
    let Some(method) = METHODS.iter().find(|m| m.name == name) else {
        return Err(errors::missing_scope(ADMIN));
    };
    if !has_scope(scopes, method.scope) {
        return Err(errors::missing_scope(method.scope));
    }
    let bad = |what: String| Err(errors::invalid(format!("invalid {name} params: {what}")));
    let Some(fields) = params.as_object() else { return bad("must be object".into()) };
    for (field, value) in fields {
        let known = |list: &[&str]| list.contains(&field.as_str());
        if !known(method.required) && !known(method.optional) && !method.optional.contains(&"*") {
            return bad(format!("at root: unexpected property '{field}'"));
        }
        if known(TEXT) && !value.is_string() {
            return bad(format!("at /{field}: must be string"));
        }
    }
    for field in method.required {
        // An empty session key has a meaning of its own in several methods; other empty texts have none.
        let ok = match params.get(field).and_then(Value::as_str) {
            Some(text) => !text.is_empty() || matches!(*field, "sessionKey" | "key"),
            None => false,
        };
        if !ok {
            return bad(format!("must have required property '{field}'"));
        }
    }
    provenance(params).or_else(bad)?;
    history(params).or_else(bad)
}

fn provenance(params: &Value) -> Result<(), String> {
    let Some(value) = params.get("inputProvenance") else { return Ok(()) };
    let Some(fields) = value.as_object() else { return Err("at /inputProvenance: must be object".into()) };
    if let Some(field) = fields.keys().find(|f| !PROVENANCE.contains(&f.as_str())) {
        return Err(format!("at /inputProvenance: unexpected property '{field}'"));
    }
    match value["kind"].as_str() {
        Some("external_user" | "inter_session" | "internal_system") => Ok(()),
        _ => Err("at /inputProvenance/kind: must be equal to one of the allowed values".into()),
    }
}

fn history(params: &Value) -> Result<(), String> {
    if let Some(ids) = params.get("inputRunIds") {
        let ids = ids.as_array().ok_or("at /inputRunIds: must be array")?;
        let fits = |v: &Value| v.as_str().is_some_and(|s| !s.is_empty() && s.len() <= 256);
        if ids.is_empty() || ids.len() > 50 || !ids.iter().all(fits) {
            return Err("at /inputRunIds: must have 1 to 50 items of 1 to 256 characters".into());
        }
        if ids.iter().enumerate().any(|(i, id)| ids[..i].contains(id)) {
            return Err("at /inputRunIds: must NOT have duplicate items".into());
        }
    }
    Ok(())
}

/// Whether these scopes grant that one: admin grants all, write grants read.
pub(super) fn has_scope(scopes: &[String], wanted: &str) -> bool {
    let has = |s: &str| scopes.iter().any(|have| have == s);
    has(wanted) || has(ADMIN) || (wanted == READ && has(WRITE))
}

/// The session a key names: `agent:<agent>:<rest>`; a plain key belongs to the default agent.
pub(super) fn canonical(key: &str, agents: &[String]) -> Result<String, Value> {
    let default = agents.first().map_or("main", String::as_str);
    let key = key.trim();
    if key.is_empty() {
        return Ok(format!("agent:{default}:main"));
    }
    if key.chars().all(|c| c == ':') {
        return Err(errors::unavailable("Malformed agent session key"));
    }
    let Some(rest) = key.strip_prefix("agent:") else { return Ok(format!("agent:{default}:{key}")) };
    match rest.split_once(':') {
        Some((agent, name)) if !agent.is_empty() && !name.is_empty() => {
            if agents.iter().any(|a| a == agent) {
                Ok(key.to_owned())
            } else {
                Err(errors::invalid(format!("Agent \"{agent}\" no longer exists in configuration")))
            }
        }
        _ => Err(errors::invalid(format!("malformed session key \"{key}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write() -> Vec<String> {
        vec![WRITE.into()]
    }

    #[test]
    fn unknown_fields_missing_fields_and_wrong_types_are_refused() {
        let ok = json!({"message": "m", "idempotencyKey": "k", "sessionKey": "s", "deliver": true});
        assert!(admit("agent", &ok, &write()).is_ok());
        let mut more = ok.clone();
        more["surprise"] = json!(1);
        let error = admit("agent", &more, &write()).unwrap_err();
        assert!(error["message"].as_str().unwrap().contains("unexpected property 'surprise'"));
        assert!(admit("agent", &json!({"message": "m"}), &write()).is_err());
        let thread = json!({"to": "t", "idempotencyKey": "k", "threadId": 42});
        let error = admit("send", &thread, &write()).unwrap_err();
        assert!(error["message"].as_str().unwrap().ends_with("at /threadId: must be string"));
        assert!(admit("wake", &json!({"mode": "now", "text": "t", "any": 1}), &write()).is_ok());
        let repeat = json!({"sessionKey": "s", "inputRunIds": ["a", "a"]});
        assert!(admit("chat.history", &repeat, &write()).is_err());
    }

    #[test]
    fn scopes_are_checked_and_imply_each_other() {
        let read = vec![READ.to_owned()];
        let key = json!({"key": "s"});
        assert!(admit("sessions.describe", &key, &write()).is_ok());
        assert_eq!(admit("sessions.reset", &key, &write()).unwrap_err()["details"]["missingScope"], ADMIN);
        assert_eq!(admit("no.such.method", &key, &write()).unwrap_err()["code"], "FORBIDDEN");
        assert_eq!(admit("agent", &key, &read).unwrap_err()["details"]["missingScope"], WRITE);
        assert!(admit("sessions.reset", &key, &[ADMIN.to_owned()]).is_ok());
    }

    #[test]
    fn keys_are_canonical_or_malformed() {
        let agents = vec!["main".to_owned()];
        assert_eq!(canonical("job", &agents).unwrap(), "agent:main:job");
        assert_eq!(canonical("agent:main:x:y", &agents).unwrap(), "agent:main:x:y");
        assert_eq!(canonical("agent::x", &agents).unwrap_err()["code"], "INVALID_REQUEST");
        assert_eq!(canonical("agent:", &agents).unwrap_err()["code"], "INVALID_REQUEST");
        assert_eq!(canonical("::::", &agents).unwrap_err()["code"], "UNAVAILABLE");
        assert!(canonical("agent:ghost:x", &agents).is_err());
    }
}
