//! The coding agents: one JSON object about one event, by nine names for the same few things.
//!
//! Codex hands it over as the last argument of `notify`, all others on the standard input of a hook. Each tool is a
//! table of its own names, and a rule for what is the end of a turn. Sources: the payloads of Codex 0.169.0 and Claude
//! Code 2.1.330 as measured, the hook references of Gemini CLI 0.61.0, goose, Cursor and Copilot CLI, the event types of
//! `@opencode-ai/sdk` 1.18.33 and of Amp's plugin API.

use serde_json::Value;
use spooldir::exit;
use spooldir::record::Status;

use super::fields::Fields;
use super::id;
use super::report::{Heard, Report};
use crate::Failure;

/// One tool's names.
pub struct Tool {
    /// What its records call it.
    runner: &'static str,
    /// The name of the event.
    event: &'static [&'static str],
    /// What the id is made of: each part is the first of its names that is there.
    id: &'static [&'static [&'static str]],
    text: &'static [&'static str],
    cwd: &'static [&'static str],
    /// Whether the event is the end of a turn, and how it ended.
    end: fn(&Fields<'_>, &str) -> End,
}

enum End {
    Ended(Status),
    /// Not the end, or not the end of the whole.
    Passing,
    /// Not what the tool hands over.
    Strange,
}

use End::{Ended, Passing, Strange};

/// The argument of Codex' `notify`. The same turn has the same id and the same words as from its Stop hook, so that
/// both may be configured: `notify` is dropped for answers over 128 KiB, and a hook runs only where it is trusted.
pub const CODEX: Tool = Tool {
    runner: "codex",
    event: &["type"],
    id: &[&["thread-id"], &["turn-id"]],
    text: &["last-assistant-message"],
    cwd: &["cwd"],
    end: |_, event| match event {
        "agent-turn-complete" => Ended(Status::Ok),
        "" => Strange,
        _ => Passing,
    },
};

const CODEX_HOOK: Tool = Tool {
    runner: "codex",
    event: &["hook_event_name"],
    id: &[&["session_id"], &["turn_id"]],
    text: &["last_assistant_message"],
    cwd: &["cwd"],
    end: |fields, event| match event {
        _ if fields.get("agent_id").is_some() => Passing,
        "Stop" => Ended(Status::Ok),
        "Interrupt" => Ended(Status::Cancelled),
        "" => Strange,
        _ => Passing,
    },
};

/// A prompt that is continued by another hook stops again, under the same id and with other words: both are told.
const CLAUDE: Tool = Tool {
    runner: "claude",
    event: &["hook_event_name"],
    id: &[&["session_id"], &["prompt_id"]],
    text: &["last_assistant_message", "error_details", "error"],
    cwd: &["cwd"],
    end: |fields, event| match event {
        _ if fields.get("agent_id").is_some() => Passing,
        // It pauses, and wakes up when they are done.
        "Stop" if fields.is_filled("background_tasks") || fields.is_filled("session_crons") => Passing,
        "Stop" => Ended(Status::Ok),
        "StopFailure" => Ended(Status::Failed),
        "" => Strange,
        _ => Passing,
    },
};

const GEMINI: Tool = Tool {
    runner: "gemini",
    event: &["hook_event_name"],
    id: &[&["session_id"], &["timestamp"]],
    text: &["prompt_response"],
    cwd: &["cwd"],
    end: |_, event| match event {
        "AfterAgent" => Ended(Status::Ok),
        "" => Strange,
        _ => Passing,
    },
};

/// Hands over no id of a turn: each stop is a record of its own.
const GOOSE: Tool = Tool {
    runner: "goose",
    event: &["event"],
    id: &[&[]],
    text: &["last_assistant_message"],
    cwd: &["working_dir", "cwd"],
    end: |_, event| match event {
        "Stop" => Ended(Status::Ok),
        "" => Strange,
        _ => Passing,
    },
};

const CURSOR: Tool = Tool {
    runner: "cursor",
    event: &["hook_event_name"],
    id: &[&["conversation_id"], &["generation_id"]],
    text: &["error_message"],
    cwd: &["workspace_roots.0", "cwd"],
    end: |fields, event| match event {
        "stop" => Ended(by_word(fields, "status")),
        // Some versions name no event; what a stop has in any case is this.
        "" if fields.get("conversation_id").is_none() => Strange,
        "" if fields.get("status").is_some() => Ended(by_word(fields, "status")),
        _ => Passing,
    },
};

/// Names no event: the end of a session has a reason. The end that follows an error says so, too.
const COPILOT: Tool = Tool {
    runner: "copilot",
    event: &["hook_event_name"],
    id: &[&["sessionId", "session_id", "cwd"], &["timestamp"]],
    text: &["error.message"],
    cwd: &["cwd"],
    end: |fields, event| match event {
        "" | "sessionEnd" | "SessionEnd" if fields.get("reason").is_some() => {
            Ended(by_word(fields, "reason"))
        }
        "" if fields.get("timestamp").is_none() => Strange,
        _ => Passing,
    },
};

/// From our plugin: opencode's event, and beside it what its session and last message say.
const OPENCODE: Tool = Tool {
    runner: "opencode",
    event: &["type"],
    id: &[&["properties.sessionID"], &["messageID"]],
    text: &["text", "properties.error.data.message", "error.data.message"],
    cwd: &["directory"],
    end: |fields, event| match event {
        _ if fields.get("parentID").is_some() => Passing,
        "session.idle" | "session.error" => {
            match fields.first(&["properties.error.name", "error.name"]).as_deref() {
                Some("MessageAbortedError") => Ended(Status::Cancelled),
                Some(_) => Ended(Status::Failed),
                None if event == "session.error" => Ended(Status::Failed),
                None => Ended(Status::Ok),
            }
        }
        "" => Strange,
        _ => Passing,
    },
};

/// From a plugin of Amp: its `agent.end`.
const AMP: Tool = Tool {
    runner: "amp",
    event: &["event", "type"],
    id: &[&["thread.id"], &["id"]],
    text: &["text"],
    cwd: &["cwd"],
    end: |fields, event| match event {
        "" | "agent.end" if fields.get("status").is_some() => Ended(by_word(fields, "status")),
        "" | "agent.end" => Strange,
        _ => Passing,
    },
};

/// The tool of a name, among those that write to standard input.
pub fn tool(name: &str) -> Option<&'static Tool> {
    Some(match name {
        "codex-hook" => &CODEX_HOOK,
        "claude" => &CLAUDE,
        "gemini" => &GEMINI,
        "goose" => &GOOSE,
        "cursor" => &CURSOR,
        "copilot" => &COPILOT,
        "opencode" => &OPENCODE,
        "amp" => &AMP,
        _ => return None,
    })
}

/// The words that Cursor, Copilot and Amp have for how it ended.
fn by_word(fields: &Fields<'_>, field: &str) -> Status {
    match fields.get(field).as_deref() {
        Some("completed" | "complete" | "done") => Status::Ok,
        Some("error") => Status::Failed,
        Some("aborted" | "abort" | "cancelled") => Status::Cancelled,
        Some("timeout") => Status::Timeout,
        _ => Status::Info,
    }
}

/// What an announcement of a tool says.
///
/// # Errors
/// A [`Failure`] when it is none of this tool.
pub fn hear(tool: &Tool, document: &Value, all_events: bool) -> Result<Heard, Failure> {
    let fields = Fields::Json(document);
    let event = fields.first(tool.event).unwrap_or_default();
    let mut parts: Vec<Option<String>> = tool.id.iter().map(|names| fields.first(names)).collect();
    let status = match (tool.end)(&fields, &event) {
        Ended(status) => status,
        Passing if all_events => {
            parts.push(Some(event.clone()).filter(|event| !event.is_empty()));
            Status::Info
        }
        Passing => return Ok(Heard::Nothing),
        Strange => {
            let why =
                format!("what was handed over names no event of {}; is this the right --from?", tool.runner);
            return Err(Failure::new(exit::DATA, why));
        }
    };
    let mut report = Report::of(tool.runner).in_directory(fields.first(tool.cwd));
    report.id = id::stable(tool.runner, &parts);
    report.status = Some(status);
    report.text = fields.first(tool.text);
    if status == Status::Info && report.text.is_none() && !event.is_empty() {
        report.text = Some(format!("event {event}"));
    }
    Ok(report.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(tool: &Tool, document: Value, all: bool) -> Option<Report> {
        match hear(tool, &document, all).unwrap() {
            Heard::Report(report) => Some(*report),
            Heard::Nothing => None,
        }
    }

    #[test]
    fn a_turn_of_codex_is_one_record_by_whichever_way_it_comes() {
        let notify = json!({"type": "agent-turn-complete", "thread-id": "t", "turn-id": "u", "cwd": "/src/app",
            "client": "codex_exec", "input-messages": ["hello"], "last-assistant-message": "Done."});
        let stop = json!({"session_id": "t", "turn_id": "u", "transcript_path": "/x", "cwd": "/src/app",
            "hook_event_name": "Stop", "stop_hook_active": false, "last_assistant_message": "Done."});
        let notify = said(&CODEX, notify, false).unwrap();
        assert_eq!(Some(&notify), said(&CODEX_HOOK, stop, false).as_ref());
        assert_eq!(notify.id.unwrap().as_str(), "codex:t:u");
        assert_eq!(notify.label.as_deref(), Some("codex in app"));
    }

    #[test]
    fn what_is_not_the_end_of_the_whole_is_nothing() {
        let claude = |more: Value| {
            let mut stop = json!({"session_id": "s", "prompt_id": "p", "hook_event_name": "Stop"});
            stop.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            said(&CLAUDE, stop, false)
        };
        assert_eq!(
            claude(json!({"background_tasks": [], "session_crons": []})).unwrap().status,
            Some(Status::Ok)
        );
        assert_eq!(claude(json!({"background_tasks": [{"id": "b"}]})), None);
        assert_eq!(claude(json!({"session_crons": [{"id": "c"}]})), None);
        assert_eq!(claude(json!({"agent_id": "a"})), None);
        for event in ["SubagentStop", "SessionEnd", "Notification", "TaskCompleted", "ComesLater"] {
            assert_eq!(claude(json!({"hook_event_name": event})), None, "{event}");
        }
        let idle = json!({"type": "session.idle", "properties": {"sessionID": "s"}, "parentID": "p"});
        assert_eq!(said(&OPENCODE, idle, false), None);
        let error =
            json!({"timestamp": 1, "cwd": "/a", "error": {"message": "m", "name": "n", "stack": "s"}});
        assert_eq!(said(&COPILOT, error, false), None);
    }

    #[test]
    fn all_events_are_told_when_that_is_asked_for() {
        let sub =
            json!({"session_id": "s", "prompt_id": "p", "hook_event_name": "SubagentStop", "cwd": "/a"});
        let told = said(&CLAUDE, sub, true).unwrap();
        assert_eq!((told.status, told.text.as_deref()), (Some(Status::Info), Some("event SubagentStop")));
        assert_eq!(told.id.unwrap().as_str(), "claude:s:p:SubagentStop");
    }

    #[test]
    fn each_word_for_an_end_has_a_status() {
        for (tool, field, words) in [
            (
                &CURSOR,
                "status",
                &[("completed", Status::Ok), ("aborted", Status::Cancelled), ("error", Status::Failed)][..],
            ),
            (
                &COPILOT,
                "reason",
                &[
                    ("complete", Status::Ok),
                    ("abort", Status::Cancelled),
                    ("timeout", Status::Timeout),
                    ("user_exit", Status::Info),
                ],
            ),
            (
                &AMP,
                "status",
                &[("done", Status::Ok), ("cancelled", Status::Cancelled), ("error", Status::Failed)],
            ),
        ] {
            for (word, status) in words {
                let document = json!({"conversation_id": "c", "timestamp": 1, "cwd": "/a", field: word});
                assert_eq!(said(tool, document, false).unwrap().status, Some(*status), "{word}");
            }
        }
    }

    #[test]
    fn a_tool_that_names_no_turn_has_no_stable_id() {
        let stop = json!({"event": "Stop", "session_id": "s", "last_assistant_message": "Done."});
        assert_eq!(said(&GOOSE, stop, false).unwrap().id, None);
        let stop = json!({"hook_event_name": "Stop", "session_id": "s"});
        assert_eq!(said(&CLAUDE, stop, false).unwrap().id, None);
    }

    #[test]
    fn what_another_tool_hands_over_is_said_to_be_strange() {
        for tool in [&CODEX, &CODEX_HOOK, &CLAUDE, &GEMINI, &GOOSE, &CURSOR, &COPILOT, &OPENCODE, &AMP] {
            let failure = hear(tool, &json!({"secret": 1}), true).unwrap_err();
            assert!(failure.sentence.contains(tool.runner) && !failure.sentence.contains("secret"));
        }
    }
}
