//! The wire of Codex: a streamed answer of the OpenAI Responses API, with no more than what Codex reads of it.

use serde_json::{Value, json};

use crate::openclaw::http::Answer;

use super::model::Reply;

/// The answer to a turn. A shell command is asked for once: when its output has come back, words follow.
pub(crate) fn answer(asked: &Value, reply: &Reply) -> Answer {
    let has_run = asked["input"]
        .as_array()
        .is_some_and(|items| items.iter().any(|item| item["type"] == "function_call_output"));
    let item = match reply {
        Reply::Shell { command, .. } if !has_run => {
            json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "exec_command",
                "arguments": json!({"cmd": command}).to_string()})
        }
        Reply::Say(text) | Reply::Shell { then: text, .. } | Reply::Refuse(text) => {
            json!({"type": "message", "id": "msg_1", "role": "assistant",
                "content": [{"type": "output_text", "text": text}]})
        }
    };
    let usage = json!({"input_tokens": 1, "input_tokens_details": null, "output_tokens": 1,
        "output_tokens_details": null, "total_tokens": 2});
    Answer::Typed(vec![
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        json!({"type": "response.output_item.done", "item": item}),
        json!({"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}),
    ])
}
