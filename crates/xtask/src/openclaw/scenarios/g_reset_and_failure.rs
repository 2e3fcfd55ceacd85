//! Committed, and then trouble: a reset, a killed gateway, a model that fails, an answer that is cut off.
//!
//! A reset hides the delivery from the session's history, and a restart makes the gateway forget the run: what is
//! left to find it by is the key in its text. A model that fails after the commit leaves a person untold; the
//! person is told once, without a second turn.

use std::time::Duration;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::programs::Spool;
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::{CHAT, TICK, World};
use super::DELIVERY;

const SESSION: &str = "agent:main:reset";
const MINE: i64 = 77021;
const OTHER: i64 = 77002;
const CUT: i64 = 77022;
/// Longer than the agent waits for a late reply before it tells the person itself.
const TOLD: Duration = Duration::from_secs(180);

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        world.gateway.rpc()?.create(SESSION)?;
        let session = world.greet(MINE)?;
        world.greet(OTHER)?;
        let mut spool = stage.spool("g", world)?;
        reset(world, &mut spool, "rig-g-1", false)?;
        reset(world, &mut spool, "rig-g-2", true)?;
        for mark in ["rig-g-1", "rig-g-2"] {
            checks.same(
                world.gateway.witness.deliveries(mark)?.len(),
                1,
                "what was committed before a reset is not sent again",
            );
        }

        let mark = "rig-g-3";
        world.model.fail(mark, 400);
        spool.put_marked(&session, mark, &[])?;
        spool.wait_state(mark, "done", TOLD)?;
        checks.same(world.model.turns(mark), 1, "after a failed turn there is no second one");
        checks.same(world.telegram.chats_with(mark), vec![MINE], "its chat is told, and no other");
        checks.same(world.telegram.count(MINE, mark), 1, "once");
        let rows = world.gateway.witness.rows()?;
        let told =
            rows.iter().filter(|r| r.session == session && r.role == "assistant" && r.text.contains(mark));
        checks.same(told.count(), 1, "by a message, which the transcript has too");
        let cut = "rig-g-4";
        let busy = world.greet(CUT)?;
        cut_off(world, &mut spool, &busy, cut)?;
        checks.same(world.telegram.chats_with(cut), vec![CUT], "an answer that was cut off is told again");

        let records = [
            Expected::new("rig-g-1", SESSION),
            Expected::new("rig-g-2", SESSION),
            Expected::new(mark, &session),
            Expected::new(cut, &busy),
        ];
        let deliveries = follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        let told = world.telegram.count(CUT, cut);
        println!(
            "g: 4 records, {deliveries} deliveries, 2 resets, 1 failed turn, 1 answer cut off on its way to the chat \
             (told {told} times)"
        );
        stage.figures.agent_kills += spool.kills;
        spool.stop()
    })
}

/// The turn is answered, the transcript has the answer, and the gateway is killed while it sends it to the chat.
fn cut_off(world: &mut World, spool: &mut Spool, session: &str, mark: &str) -> Outcome<()> {
    world.telegram.stick(Some(mark));
    spool.put_marked(session, mark, &[])?;
    let held = world.telegram.held();
    wait_until("the answer to be on its way", DELIVERY, TICK, || Ok(world.telegram.held() > held))?;
    let answered = || {
        let rows = world.gateway.witness.rows()?;
        Ok(rows.iter().any(|r| r.session == session && r.role == "assistant" && r.text.contains(mark)))
    };
    wait_until("the transcript to have the answer", DELIVERY, TICK, answered)?;
    world.gateway.kill()?;
    world.telegram.stick(None);
    world.boot()?;
    spool.wait_state(mark, "done", TOLD)
}

/// A record is committed; the agent is killed before it knows, the session is reset, the agent recovers.
fn reset(world: &mut World, spool: &mut Spool, mark: &str, kill_gateway: bool) -> Outcome<()> {
    world.model.delay(mark, Duration::from_secs(2));
    spool.put_marked(SESSION, mark, &[])?;
    if !spool.runs()? {
        spool.start()?;
    }
    let mut rpc = world.gateway.rpc()?;
    let committed = || Ok(rpc.history(SESSION)?.iter().any(|(text, _)| text.contains(mark)));
    wait_until("the delivery to be committed", DELIVERY, TICK, committed)?;
    spool.kill()?;
    if spool.state(mark)? != "sending" {
        return Err(format!(
            "{mark} is in {}/ at the agent's death: too late to test its recovery",
            spool.state(mark)?
        )
        .into());
    }
    if kill_gateway {
        wait_until("the turn to end", CHAT, TICK, || {
            let rows = world.gateway.witness.rows()?;
            Ok(rows.iter().any(|r| r.session == SESSION && r.role == "assistant" && r.text.contains(mark)))
        })?;
    }
    rpc.reset(SESSION)?;
    if kill_gateway {
        world.gateway.kill()?;
        world.boot()?;
    }
    spool.start()?;
    spool.wait_state(mark, "done", TOLD)
}
