//! The gateway is down when a job ends: the chat that started the job hears of it all the same, and only that chat.
//!
//! Two records: one through `spool-put`, one dropped by hand as a shell script would, without an id.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::{CHAT, TICK};
use super::DELIVERY;

const MINE: i64 = 77001;
const OTHER: i64 = 77002;

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        let session = world.greet(MINE)?;
        world.greet(OTHER)?;
        let before = world.gateway.rpc()?.sessions()?;
        world.gateway.stop()?;

        let mut spool = stage.spool("a", world)?;
        spool.put_marked(&session, "rig-a-1", &[])?;
        spool
            .drop_file("by-hand", &json!({"sessionKey": session, "text": "The job rig-a-2 is finished."}))?;
        spool.start()?;
        wait_until("the agent to say that the gateway is away", Duration::from_secs(20), TICK, || {
            Ok(!spool.log().trim().is_empty())
        })?;
        checks.that(spool.runs()?, "the agent waits for a gateway that is down", "it has ended");
        checks.same(spool.state("rig-a-1")?, "new", "its record is pending meanwhile, at no cost");

        world.boot()?;
        let up = Instant::now();
        wait_until("chat 77001 to hear of both jobs", DELIVERY, TICK, || {
            Ok(world.telegram.count(MINE, "rig-a-1") > 0 && world.telegram.count(MINE, "rig-a-2") > 0)
        })?;
        let heard = up.elapsed();
        spool.wait_state("rig-a-1", "done", CHAT)?;
        for mark in ["rig-a-1", "rig-a-2"] {
            checks.same(
                world.telegram.chats_with(mark),
                vec![MINE],
                "only the chat that started the job hears of it",
            );
            checks.same(world.telegram.count(MINE, mark), 1, "and once");
        }
        let records = [Expected::new("rig-a-1", &session), Expected::new("rig-a-2", &session)];
        let deliveries = follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        let main: Vec<_> =
            world.gateway.witness.rows()?.into_iter().filter(|r| r.session == "agent:main:main").collect();
        checks.that(
            main.iter().all(|row| !row.text.contains("rig-a-")),
            "the main session has none of it",
            "it has",
        );
        checks.same(world.gateway.rpc()?.sessions()?.len(), before.len(), "no session came to be by it");
        println!(
            "a: 2 records, {deliveries} deliveries, heard {:.1} s after the gateway was up",
            heard.as_secs_f64()
        );
        spool.stop()
    })
}
