//! What a hostile gateway is: a name, the moments at which it strikes, what it does there, and how the story has to end.
//!
//! A script is data and a function from a cue (which request, under which key, what the honest answer would be) to
//! steps. It knows nothing of agents and spools.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

/// When a script strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// Instead of the answer to the upgrade.
    Dial,
    /// Instead of the challenge.
    Challenge,
    /// Instead of hello-ok.
    Hello,
    /// Instead of what the session is: before anything is sent.
    Look,
    /// Instead of the answer to the subscription.
    Follow,
    /// The delivery was read from the agent and goes no further.
    Request,
    /// The gateway has the delivery; its first answer is written by half.
    MidFrame,
    /// The gateway has the delivery; its first answer is withheld.
    Ack,
    /// Behind the first answer.
    Accepted,
    /// All is done; the final answer is withheld.
    Final,
    /// A committed delivery whose answer was lost is asked for: instead of the history.
    Asked,
    /// A delivery that never arrived is asked for: instead of what became of the run.
    Waited,
    /// The same: instead of what the search found.
    Searched,
}

impl Moment {
    /// All, in the order of a delivery's life.
    pub(super) const ALL: [Moment; 13] = [
        Moment::Dial,
        Moment::Challenge,
        Moment::Hello,
        Moment::Look,
        Moment::Follow,
        Moment::Request,
        Moment::MidFrame,
        Moment::Ack,
        Moment::Accepted,
        Moment::Final,
        Moment::Asked,
        Moment::Waited,
        Moment::Searched,
    ];

    /// For the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Moment::Dial => "before the upgrade",
            Moment::Challenge => "before the challenge",
            Moment::Hello => "before hello-ok",
            Moment::Look => "before send: the look",
            Moment::Follow => "before send: the subscription",
            Moment::Request => "before ack: not read",
            Moment::MidFrame => "mid-frame",
            Moment::Ack => "before ack: taken",
            Moment::Accepted => "after ack",
            Moment::Final => "before final",
            Moment::Asked => "when asked: committed",
            Moment::Waited => "when asked: the run",
            Moment::Searched => "when asked: the search",
        }
    }
}

/// What the script sees when it strikes.
#[derive(Debug, Clone, Default)]
pub(super) struct Cue {
    /// The request that waits for an answer.
    pub(super) id: String,
    /// The connect request of this connection.
    pub(super) connect: String,
    /// The delivery's key and session, once known.
    pub(super) key: String,
    pub(super) session: String,
    /// The id of the request by which that delivery was sent last, perhaps on another connection.
    pub(super) former: String,
    /// The token that the agent shows.
    pub(super) token: String,
    /// What the honest gateway answered to the upgrade.
    pub(super) accept: String,
    /// A port of this machine that nobody may ever connect to.
    pub(super) trap: u16,
}

impl Cue {
    /// A good answer.
    pub(super) fn ok(&self, payload: Value) -> Value {
        json!({"type": "res", "id": self.id, "ok": true, "payload": payload})
    }

    /// A bad one.
    pub(super) fn no(&self, error: Value) -> Value {
        json!({"type": "res", "id": self.id, "ok": false, "error": error})
    }

    /// The final answer of a turn that went well.
    pub(super) fn sent(&self) -> Value {
        json!({"runId": self.key, "status": "ok", "summary": "completed", "result": {"payloads": [],
            "deliveryStatus": {"requested": true, "attempted": true, "status": "sent", "succeeded": true}}})
    }
}

/// A change of the honest answer.
pub(super) type Alter = Arc<dyn Fn(&Cue, &mut Value) + Send + Sync>;

/// One thing that a hostile gateway does. What it withholds and never passes on is swallowed.
#[derive(Clone)]
pub(super) enum Step {
    /// Bytes, as they are.
    Send(Vec<u8>),
    /// The same bytes again and again.
    Repeat(Vec<u8>, usize),
    /// The same bytes until the client is gone.
    Endless(Vec<u8>, Duration),
    Wait(Duration),
    /// What was withheld goes on its way.
    Pass,
    /// The same, in fragments of so many bytes, a ping between them.
    PassSplit(usize),
    /// The same, byte by byte.
    PassDrip(Duration),
    /// The same, changed.
    PassAltered(Alter),
    /// The connection ends (FIN).
    Cut,
    /// The connection ends (RST).
    Reset,
    /// Nothing more is said, whatever comes; this every so often, if anything.
    Hang(Option<(Vec<u8>, Duration)>),
    /// Nothing more is said or read.
    HalfOpen,
    /// The gateway behind dies, loses its memory, and is back.
    Restart,
}

/// What a script does when it strikes.
pub(super) type Steps = Arc<dyn Fn(&Cue) -> Vec<Step> + Send + Sync>;

/// How the story ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Each record is in its session, once.
    Delivered,
    /// The same, and while the gateway is hostile the agent says that it is refused.
    Refused,
    /// Dead, for a reason with these words.
    Dead(&'static str),
    /// Held, for a reason with these words.
    Held(&'static str),
    /// Retired on the word of a gateway that lies under the right id and key: nobody can see that.
    Believed,
}

/// A hostile gateway.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) moments: Vec<Moment>,
    pub(super) steps: Steps,
    pub(super) ends: Ends,
    /// Whether what the gateway says is of the records themselves, so that attempts may be counted.
    pub(super) pays: bool,
    /// As a message instead of a turn.
    pub(super) is_message: bool,
    /// Nobody listens at all while it is hostile.
    pub(super) is_deaf: bool,
    /// So much is written that the agent has to work for it.
    pub(super) is_heavy: bool,
    /// The gateway shows what was not there before, such as a message told in place of a turn.
    pub(super) is_told: bool,
    /// How long it is hostile; a case may take less when all is settled.
    pub(super) spell: Duration,
    /// Waits that the real program has and that take minutes are tried in this process only, where they are short.
    pub(super) is_slow: bool,
}

/// A script that ends with the records delivered.
pub(super) fn script(
    name: impl Into<String>,
    moments: &[Moment],
    steps: impl Fn(&Cue) -> Vec<Step> + Send + Sync + 'static,
) -> Script {
    Script {
        name: name.into(),
        moments: moments.to_vec(),
        steps: Arc::new(steps),
        ends: Ends::Delivered,
        pays: false,
        is_message: false,
        is_deaf: false,
        is_heavy: false,
        is_told: false,
        spell: Duration::from_millis(600),
        is_slow: false,
    }
}

impl Script {
    pub(super) fn ends(self, ends: Ends) -> Self {
        let pays = matches!(ends, Ends::Dead(_)) || self.pays;
        Script { ends, pays, ..self }
    }

    pub(super) fn pays(self) -> Self {
        Script { pays: true, ..self }
    }

    pub(super) fn message(self) -> Self {
        Script { is_message: true, name: format!("{}/message", self.name), ..self }
    }

    pub(super) fn deaf(self) -> Self {
        Script { is_deaf: true, ..self }
    }

    pub(super) fn heavy(self) -> Self {
        Script { is_heavy: true, ..self }
    }

    pub(super) fn told(self) -> Self {
        Script { is_told: true, ..self }
    }

    pub(super) fn lasting(self, ms: u64) -> Self {
        Script { spell: Duration::from_millis(ms), ..self }
    }

    pub(super) fn slow(self) -> Self {
        Script { is_slow: true, ..self }
    }
}

/// The honest answer, changed.
pub(super) fn altered(alter: impl Fn(&Cue, &mut Value) + Send + Sync + 'static) -> Vec<Step> {
    vec![Step::PassAltered(Arc::new(alter))]
}
