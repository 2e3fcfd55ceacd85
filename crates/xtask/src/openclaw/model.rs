//! A language model on loopback: speaks the OpenAI completions API, says which marks it read, does as it is told.
//!
//! It answers every turn with the marks (see [`marks`]) of that turn, so that a reply in a chat proves which
//! records were read. It can be told to be slow, to fail, to quote or to call a tool for turns that name a certain
//! mark, and it keeps every request, so that turns can be counted: a record that cost two turns was delivered twice,
//! whatever else is said. What a tool answered it repeats, so that the chat shows that as well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Answer, Request, serve};
use super::support::{Outcome, marks};
use super::witness::text_of;

/// What to do with a turn that names a mark.
#[derive(Debug, Clone)]
struct Rule {
    mark: String,
    delay: Duration,
    act: Act,
}

/// How a turn is answered.
#[derive(Debug, Clone)]
enum Act {
    /// With the marks in it.
    Say,
    /// With the lines in it that name a mark.
    Quote,
    /// With this HTTP status.
    Fail(u16),
    /// With a call of the tool of this name.
    Call(&'static str, Value),
}

/// So much of a text is repeated.
const EXCERPT: usize = 400;

#[derive(Default)]
struct State {
    /// How long a turn takes that no rule is for.
    pace: Duration,
    rules: Vec<Rule>,
    /// The text of each turn that was asked for, oldest first.
    turns: Vec<String>,
    /// The instructions of the latest turn, and the tools it offered.
    system: String,
    tools: Vec<String>,
    calls: u64,
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
        self.rule(mark, delay, Act::Say);
    }

    /// Turns that name `mark` fail with this HTTP status.
    pub(crate) fn fail(&self, mark: &str, status: u16) {
        self.rule(mark, Duration::ZERO, Act::Fail(status));
    }

    /// Turns that name `mark` are answered by a call of this tool.
    pub(crate) fn call(&self, mark: &str, tool: &'static str, arguments: Value) {
        self.rule(mark, Duration::ZERO, Act::Call(tool, arguments));
    }

    /// Turns that name `mark` are answered with the lines in them that name one.
    pub(crate) fn quote(&self, mark: &str) {
        self.rule(mark, Duration::ZERO, Act::Quote);
    }

    fn rule(&self, mark: &str, delay: Duration, act: Act) {
        self.state().rules.insert(0, Rule { mark: mark.to_owned(), delay, act });
    }

    /// Whether the instructions of the latest turn contain `needle`.
    pub(crate) fn was_told(&self, needle: &str) -> bool {
        self.state().system.contains(needle)
    }

    /// Whether the latest turn offered this tool.
    pub(crate) fn was_offered(&self, tool: &str) -> bool {
        self.state().tools.iter().any(|name| name == tool)
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
    let (turn, results) = current_turn(&asked);
    let read = marks(&turn);
    let (delay, act, call) = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.system = instructions(&asked);
        state.tools = offered(&asked);
        state.turns.push(turn.clone());
        state.calls += 1;
        let rule = state.rules.iter().find(|rule| read.contains(&rule.mark));
        let (delay, act) = rule.map_or((state.pace, Act::Say), |rule| (rule.delay, rule.act.clone()));
        (delay, act, state.calls)
    };
    // The one sleep that is no waiting: a slow model is slow.
    std::thread::sleep(delay);
    match act {
        // A request with the result of a call continues a turn; it is not asked to call again.
        _ if !results.is_empty() => reply(&asked, &format!("The tool answered: {}", excerpt(&results))),
        Act::Fail(status) => {
            let error = json!({"error": {"message": "the model was told to fail", "type": "server_error"}});
            Answer::Json(status, error)
        }
        Act::Say => reply(&asked, &say(read)),
        Act::Quote => reply(&asked, &quote(&turn, &read)),
        Act::Call(tool, arguments) => finish(&asked, &tool_call(call, tool, &arguments), "tool_calls"),
    }
}

fn excerpt(text: &str) -> String {
    text.trim().chars().take(EXCERPT).collect()
}

/// The lines that name a mark, bare of the signs that would make a chat show them differently.
fn quote(turn: &str, read: &[String]) -> String {
    let named = turn.lines().filter(|line| read.iter().any(|mark| line.contains(mark)));
    let bare = named.map(|line| excerpt(line.trim_start_matches(['>', '-', '#', ' '])));
    bare.collect::<Vec<_>>().join("\n")
}

fn instructions(asked: &Value) -> String {
    let messages = asked["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages
        .iter()
        .filter(|m| m["role"] == "system" || m["role"] == "developer")
        .map(|m| text_of(&m["content"]))
        .collect()
}

fn offered(asked: &Value) -> Vec<String> {
    let tools = asked["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).map(str::to_owned).collect()
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

/// What this turn is about: the text of all messages after the model's own last one, from people and from tools.
fn current_turn(asked: &Value) -> (String, String) {
    let Some(messages) = asked["messages"].as_array() else { return (String::new(), String::new()) };
    let after = messages.iter().rposition(|m| m["role"] == "assistant").map_or(0, |at| at + 1);
    let of = |role: &str| {
        let said = messages[after..].iter().filter(|message| message["role"] == role);
        said.map(|message| text_of(&message["content"]) + "\n").collect::<String>()
    };
    (of("user"), of("tool"))
}

fn reply(asked: &Value, text: &str) -> Answer {
    finish(asked, &json!({"role": "assistant", "content": text}), "stop")
}

fn tool_call(number: u64, tool: &str, arguments: &Value) -> Value {
    let function = json!({"name": tool, "arguments": arguments.to_string()});
    json!({"role": "assistant", "content": null, "tool_calls": [
        {"index": 0, "id": format!("call_{number}"), "type": "function", "function": function}]})
}

fn finish(asked: &Value, message: &Value, reason: &str) -> Answer {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    if asked["stream"] != true {
        return Answer::Json(
            200,
            json!({"id": "chat-1", "object": "chat.completion", "created": 1, "model": "echo", "usage": usage,
                "choices": [{"index": 0, "finish_reason": reason, "message": message}]}),
        );
    }
    let chunk = |delta: &Value, end: Value, usage: Value| {
        json!({"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "echo", "usage": usage,
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})
        .to_string()
    };
    Answer::Events(vec![
        chunk(message, Value::Null, Value::Null),
        chunk(&json!({}), json!(reason), usage),
        "[DONE]".to_owned(),
    ])
}
