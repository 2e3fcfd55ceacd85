//! The gateway of the report that started the project: protocol 3, no session to describe, no key in the history.
//!
//! A record arrives there too; what cannot be proved is not claimed. The session is made with the gateway's own
//! command line, because such a gateway gives a client without a device no scope.

use serde_json::{Value, json};

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::install::OLD;
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::{CHAT, TICK};
use super::DELIVERY;

const SESSION: &str = "agent:main:elder";

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_own("elder", OLD, None, |stage, world| {
        let hello = json!({"sessionKey": SESSION, "message": "Good morning.", "idempotencyKey": "rig-hello"});
        world.gateway.cli(&["gateway", "call", "chat.send", "--params", &hello.to_string()])?;
        wait_until("the session to come to be", CHAT, TICK, || {
            Ok(world
                .gateway
                .witness
                .rows()?
                .iter()
                .any(|row| row.session == SESSION && row.role == "assistant"))
        })?;
        let mut spool = stage.spool("f", world)?;
        spool.put_marked(SESSION, "rig-f-1", &[])?;
        spool.start()?;
        spool.wait_state("rig-f-1", "done", DELIVERY)?;
        let records = [Expected::new("rig-f-1", SESSION)];
        follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        let shown = spool.run(&["show", "rig-f-1", "--json"])?;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        let mut named = Vec::new();
        evidence(&shown, &mut named);
        checks.that(!named.is_empty(), "`spool show --json` names the evidence", &shown);
        checks.that(
            !named.iter().any(|word| word == "sent"),
            "which claims no more than was seen",
            named.join(", "),
        );
        println!("f: 1 record on {OLD}, evidence: {}", named.join(", "));
        spool.stop()
    })
}

/// The values of all members named `evidence`.
fn evidence(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(word) if name == "evidence" => found.push(word.to_owned()),
                    _ => evidence(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| evidence(item, found)),
        _ => {}
    }
}
