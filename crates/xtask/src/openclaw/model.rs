//! A language model on loopback: speaks the OpenAI completions API, says which marks it read, does as it is told.
//!
//! It answers every turn with the marks (see [`marks`]) of that turn, so that a reply in a chat proves which
//! records were read. It can be told to be slow or to fail for turns that name a certain mark, and it keeps every
//! request, so that turns can be counted: a record that cost two turns was delivered twice, whatever else is said.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Answer, Request, serve};
use super::support::{Outcome, marks};

/// What to do with a turn that names a mark.
#[derive(Debug, Clone)]
struct Rule {
    mark: String,
    delay: Duration,
    status: Option<u16>,
}

#[derive(Default)]
struct State {
    /// How long a turn takes that no rule is for.
    pace: Duration,
    rules: Vec<Rule>,
    /// The text of each turn that was asked for, oldest first.
    turns: Vec<String>,
}

/// The handle to a running model.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl Model {
    pub(crate) fn start() -> Outcome<Model> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let port = serve(move |request| answer(&shared, &request))?;
        Ok(Model { port, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every turn takes this long.
    pub(crate) fn pace(&self, pace: Duration) {
        self.state().pace = pace;
    }

    /// Turns that name `mark` take this long.
    pub(crate) fn delay(&self, mark: &str, delay: Duration) {
        self.state().rules.insert(0, Rule { mark: mark.to_owned(), delay, status: None });
    }

    /// Turns that name `mark` fail with this HTTP status.
    pub(crate) fn fail(&self, mark: &str, status: u16) {
        let rule = Rule { mark: mark.to_owned(), delay: Duration::ZERO, status: Some(status) };
        self.state().rules.insert(0, rule);
    }

    /// How many requests asked for a turn that names `needle`.
    pub(crate) fn turns(&self, needle: &str) -> usize {
        self.state().turns.iter().filter(|turn| turn.contains(needle)).count()
    }
}

fn answer(state: &Mutex<State>, request: &Request) -> Answer {
    if request.path.ends_with("/models") {
        return Answer::Json(200, json!({"object": "list", "data": [{"id": "echo", "object": "model"}]}));
    }
    let asked = request.json();
    let turn = current_turn(&asked);
    let read = marks(&turn);
    let (delay, status) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turns.push(turn);
        let rule = state.rules.iter().find(|rule| read.contains(&rule.mark));
        rule.map_or((state.pace, None), |rule| (rule.delay, rule.status))
    };
    // The one sleep that is no waiting: a slow model is slow.
    std::thread::sleep(delay);
    if let Some(status) = status {
        let error = json!({"error": {"message": "the model was told to fail", "type": "server_error"}});
        return Answer::Json(status, error);
    }
    reply(&asked, &say(read))
}

fn say(mut read: Vec<String>) -> String {
    let mut seen = std::collections::BTreeSet::new();
    read.retain(|mark| seen.insert(mark.clone()));
    if read.is_empty() {
        "I read nothing that I know.".to_owned()
    } else {
        format!("I read {}.", read.join(" "))
    }
}

/// The text of all messages after the model's own last one: what this turn is about.
fn current_turn(asked: &Value) -> String {
    let Some(messages) = asked["messages"].as_array() else { return String::new() };
    let after = messages.iter().rposition(|m| m["role"] == "assistant").map_or(0, |at| at + 1);
    let mut text = String::new();
    for message in messages[after..].iter().filter(|m| m["role"] == "user") {
        match &message["content"] {
            Value::String(plain) => text.push_str(plain),
            Value::Array(parts) => {
                parts.iter().filter_map(|p| p["text"].as_str()).for_each(|t| text.push_str(t))
            }
            _ => {}
        }
        text.push('\n');
    }
    text
}

fn reply(asked: &Value, text: &str) -> Answer {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    if asked["stream"] != true {
        return Answer::Json(
            200,
            json!({"id": "chat-1", "object": "chat.completion", "created": 1, "model": "echo", "usage": usage,
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text}}]}),
        );
    }
    let chunk = |delta: Value, end: Value, usage: Value| {
        json!({"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "echo", "usage": usage,
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})
        .to_string()
    };
    Answer::Events(vec![
        chunk(json!({"role": "assistant", "content": text}), Value::Null, Value::Null),
        chunk(json!({}), json!("stop"), usage),
        "[DONE]".to_owned(),
    ])
}
