//! The language model of both runners, on loopback: it answers prompts by the mark they carry, and keeps count.
//!
//! Each run of a runner has a prompt with a mark of its own, and the harness says beforehand what the model makes of
//! it: words, a refusal, or a shell command first. It is also the proxy that the runners are told to use for
//! everything that is not on loopback, and lets nothing through: what they wanted there is kept as well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::openclaw::http::{Answer, Request, serve};
use crate::openclaw::support::Outcome;

use super::{messages, responses};

/// What the model makes of a prompt.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These words.
    Say(String),
    /// The runner's shell is to run this; then these words. Codex only.
    Shell { command: String, then: String },
    /// No: HTTP 400, in these words.
    Refuse(String),
}

#[derive(Default)]
struct State {
    replies: Vec<(String, Reply)>,
    /// The mark of each turn that was asked for, oldest first.
    turns: Vec<String>,
    /// The paths of requests that nobody expected, and the hosts that were asked for.
    strange: Vec<String>,
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

    /// From now on prompts that carry `mark` get this.
    pub(crate) fn on(&self, mark: &str, reply: Reply) {
        self.state().replies.push((mark.to_owned(), reply));
    }

    /// How many turns were asked for with this mark.
    pub(crate) fn turns(&self, mark: &str) -> usize {
        self.state().turns.iter().filter(|turn| *turn == mark).count()
    }

    /// What was asked for that is no turn of a known prompt.
    pub(crate) fn strange(&self) -> Vec<String> {
        self.state().strange.clone()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn answer(state: &Mutex<State>, request: &Request) -> Answer {
    let body = String::from_utf8_lossy(&request.body);
    let reply = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state.replies.iter().find(|(mark, _)| body.contains(mark.as_str())).cloned();
        match &found {
            Some((mark, _)) => state.turns.push(mark.clone()),
            None => state.strange.push(request.path.clone()),
        }
        found.map(|(_, reply)| reply)
    };
    let asked = request.json();
    let path = request.path.split('?').next().unwrap_or_default();
    match reply {
        Some(Reply::Refuse(why)) => Answer::Json(400, refusal(&why)),
        Some(reply) if path.ends_with("/responses") => responses::answer(&asked, &reply),
        Some(Reply::Say(text)) if path.ends_with("/messages") => messages::answer(&asked, &text),
        _ => Answer::Json(404, refusal("this is not here")),
    }
}

/// An error, in a form that both services have in common.
fn refusal(why: &str) -> Value {
    json!({"type": "error", "error": {"type": "invalid_request_error", "message": why}})
}
