//! The wire of Claude Code: a streamed answer of the Anthropic Messages API, one block of text.

use serde_json::{Value, json};

use crate::openclaw::http::Answer;

/// The answer to a turn.
pub(crate) fn answer(asked: &Value, text: &str) -> Answer {
    let mut message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"],
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    if asked["stream"] != true {
        message["content"] = json!([{"type": "text", "text": text}]);
        message["stop_reason"] = json!("end_turn");
        return Answer::Json(200, message);
    }
    Answer::Typed(vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ])
}
