//! Two people share the main session, as they do by default: the gateway would answer whoever wrote last.
//!
//! A record that carries the route of the person who started the job reaches that person; one that does not goes
//! where the gateway sends it, which proves that the route made the difference. And a message needs no turn.
//!
//! What the gateway does with a message is said here too, because nobody can do anything about it: it makes the
//! recipient the one whom the shared session answers from then on (2026.9.6), until somebody writes. A record
//! with a route is not misled by that.

use serde_json::json;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::install::CURRENT;
use super::super::programs::Spool;
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::TICK;
use super::DELIVERY;

const MAIN: &str = "agent:main:main";
const FIRST: i64 = 77001;
const LAST: i64 = 77002;

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_own("main", CURRENT, None, |stage, world| {
        world.greet(FIRST)?;
        world.greet(LAST)?;
        let mut rpc = world.gateway.rpc()?;
        let last = format!("telegram:{LAST}");
        let route = rpc.describe(MAIN)?["deliveryContext"]["to"].take();
        checks.same(route.as_str(), Some(last.as_str()), "the main session answers whoever wrote last");

        let mut spool = stage.spool("h", world)?;
        spool.start()?;
        for (mark, deliver, to, chat) in [
            ("rig-h-1", "turn", Some(FIRST), FIRST),
            ("rig-h-2", "turn", None, LAST),
            ("rig-h-3", "message", Some(FIRST), FIRST),
            ("rig-h-4", "turn", Some(LAST), LAST),
        ] {
            put(&spool, mark, deliver, to)?;
            wait_until(&format!("chat {chat} to hear of {mark}"), DELIVERY, TICK, || {
                Ok(!world.telegram.chats_with(mark).is_empty())
            })?;
            spool.wait_state(mark, "done", DELIVERY)?;
            checks.same(world.telegram.chats_with(mark), vec![chat], "one person hears of it, the right one");
            checks.same(world.telegram.count(chat, mark), 1, "once");
            let turns = usize::from(deliver == "turn");
            checks.same(world.model.turns(mark), turns, "a turn asks the model once, a message never");
            let route = rpc.describe(MAIN)?["deliveryContext"]["to"].take();
            if deliver == "turn" && mark != "rig-h-4" {
                checks.same(
                    route.as_str(),
                    Some(last.as_str()),
                    "a turn leaves the session's own route as it was",
                );
            } else {
                println!("h: after the {deliver} {mark} the session answers {route}");
            }
        }
        checks.same(
            world.gateway.witness.deliveries("rig-h-3")?.len(),
            0,
            "a message is no turn in the transcript",
        );
        let records = ["rig-h-1", "rig-h-2", "rig-h-4"].map(|mark| Expected::new(mark, MAIN));
        follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        println!("h: 4 records: 3 turns, 1 message");
        spool.stop()
    })
}

fn put(spool: &Spool, mark: &str, deliver: &str, to: Option<i64>) -> Outcome<()> {
    let mut record = json!({"id": mark, "sessionKey": MAIN, "deliver": deliver,
        "text": format!("The job {mark} is finished.")});
    if let Some(chat) = to {
        record["route"] = json!({"channel": "telegram", "to": format!("telegram:{chat}")});
    }
    let file = spool.scratch(mark);
    std::fs::write(&file, record.to_string())?;
    spool.put(&["--record", &file.to_string_lossy()]).map(drop)
}
