//! What the agent says of itself: the file `agent.json` in the spool, for `spool status`. Nothing decides by it.

use serde::{Deserialize, Serialize};
use spooldir::Spool;

/// The agent's own account, as of `updated_at`. Times are milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStatus {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: u64,
    /// When it wrote this.
    pub updated_at: u64,
    /// The gateway, as it sees it.
    pub gateway: GatewayStatus,
    /// Deliveries under way.
    pub in_flight: usize,
    /// Entries it knows that wait.
    pub waiting: usize,
    /// Sessions that cannot be delivered to at present.
    pub lanes_in_trouble: usize,
    /// The first of those sessions, those that are tried next first.
    pub troubled: Vec<Troubled>,
    /// Sessions beyond their budget, whose next delivery waits for company; at most some.
    pub slowed: Vec<Slowed>,
    /// Why the configuration could not be read anew; the old one holds.
    pub config_trouble: Option<String>,
    /// How it notices new files: `native`, or why it polls.
    pub watch: String,
}

/// A session that cannot be delivered to at present, for a reason of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Troubled {
    /// Which.
    pub session_key: String,
    /// When it is tried next.
    pub next_try: u64,
}

/// A session beyond its budget of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Slowed {
    /// Its key.
    pub session_key: String,
    /// Deliveries in the last period of the budget.
    pub deliveries: u64,
    /// When the next one goes out at the latest, unless something urgent or a full delivery goes before.
    pub until: u64,
}

impl AgentStatus {
    /// What of it wants a person's attention beside the gateway: a sentence, and what to do first. Session keys in it are
    /// as strangers chose them.
    pub fn remarks(&self) -> Vec<(String, &'static str)> {
        let slowed = self.slowed.iter().map(|slowed| {
            let (session, made) = (&slowed.session_key, slowed.deliveries);
            let what = format!(
                "{session} had {made} deliveries, more than its budget: what comes is gathered and goes out together"
            );
            (what, "find out what starts so many tasks: spool list --sort session")
        });
        let config = self.config_trouble.iter();
        let config = config.map(|why| {
            (format!("the configuration was not read anew, the old one holds: {why}"), "spool config check")
        });
        slowed.chain(config).collect()
    }
}

/// The gateway, as the agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStatus {
    /// `up`, `down`, `connecting` or `refused`.
    pub state: String,
    /// Since when it is up, or not.
    pub since: u64,
    /// When it is tried next.
    pub next_try: Option<u64>,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Its version, once known.
    pub version: Option<String>,
    /// The protocol spoken, once known.
    pub protocol: Option<u32>,
}

impl AgentStatus {
    /// One line for the service manager: the gateway, and how much waits for it.
    pub fn line(&self) -> String {
        let GatewayStatus { state, reason, .. } = &self.gateway;
        let why = reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let trouble = match self.lanes_in_trouble {
            0 => String::new(),
            n => format!(", {n} sessions in trouble"),
        };
        format!("gateway {state}{why}; {} waiting, {} under way{trouble}", self.waiting, self.in_flight)
    }
}

/// The name of the file.
pub const FILE: &str = "agent.json";

/// Reads the account of the agent that ran last; `None` when there is none or it cannot be read.
pub fn read(spool: &Spool) -> Option<AgentStatus> {
    let content = spool.fs().read(&spool.root().join(FILE), 64 * 1024).ok()?;
    serde_json::from_slice(&content.bytes).ok()
}

/// Writes it. Best effort: a full disk must not stop deliveries.
pub fn write(spool: &Spool, status: &AgentStatus) -> bool {
    serde_json::to_vec(status).is_ok_and(|json| spool.fs().replace(&spool.root().join(FILE), &json).is_ok())
}
