//! The harness checks itself: what it will blame the project for must not be its own doing.
//!
//! Nothing of the project runs here. A raw client plays the agent: it proves that a person who writes gets a
//! session and an answer, that a turn is committed once and its reply reaches one chat, that a failing model, an
//! archived and a closed session look as they should, that rows survive SIGKILL and a reset in the database, and
//! that both versions boot. That more unclean boots than a gateway tolerates leave it with its channel is for
//! scenario b to say, which makes so many.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::install::{CURRENT, OLD};
use super::super::rpc::Rpc;
use super::super::support::{Outcome, wait_until};
use super::super::world::{CHAT, TICK, World, session_of};

const INTERNAL: &str = "agent:main:rig-internal";

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|_, world| {
        sessions_and_turns(world, checks)?;
        refusals(world, checks)?;
        kills(world, checks)
    })?;
    stage.on_own("old", OLD, None, |_, world| {
        let hello = world.gateway.rpc()?.hello;
        checks.same(hello["server"]["version"].as_str(), Some(OLD), "the old version says its version");
        checks.same(hello["protocol"].as_u64(), Some(3), "the old version speaks protocol 3");
        println!("rig: {OLD} booted in {:.1} s", world.gateway.boots[0].as_secs_f64());
        Ok(())
    })
}

/// A turn as the agent would make it.
fn turn(rpc: &mut Rpc, session: &str, key: &str, mark: &str) -> Outcome<Value> {
    let message = format!("[rig {key}] The job {mark} is finished.");
    let params = json!({"sessionKey": session, "message": message, "idempotencyKey": key,
        "deliver": true, "bestEffortDeliver": true});
    rpc.call_within("agent", params, Duration::from_secs(180))
}

fn sessions_and_turns(world: &mut World, checks: &mut Checks) -> Outcome<()> {
    let mut rpc = world.gateway.rpc()?;
    checks.same(rpc.hello["server"]["version"].as_str(), Some(CURRENT), "the gateway is the pinned version");
    checks.same(rpc.hello["protocol"].as_u64(), Some(4), "it speaks protocol 4");
    checks.that(
        rpc.describe("agent:main:nobody")?.is_null(),
        "a session that nobody made is not there",
        "one",
    );
    for chat in [77001, 77002] {
        let session = rpc.describe(&world.greet(chat)?)?;
        checks.same(
            session["deliveryContext"]["to"].as_str(),
            Some(format!("telegram:{chat}").as_str()),
            "a person who wrote has a session with a route",
        );
    }
    rpc.create(INTERNAL)?;
    checks.that(rpc.sessions()?.iter().any(|key| key == INTERNAL), "a made session is listed", "it is not");

    turn(&mut rpc, INTERNAL, "sp-rig1", "rig-r-1")?;
    let rows = world.gateway.witness.deliveries("rig-r-1")?;
    checks.same(rows.len(), 1, "a turn in an internal session is committed once");
    checks.that(rows.iter().all(|row| row.session == INTERNAL), "and there", format!("{rows:?}"));
    checks.same(world.telegram.chats_with("rig-r-1"), vec![], "and no chat is told");
    let shown = rpc.history(INTERNAL)?;
    checks.that(
        shown.iter().any(|(_, key)| key == "sp-rig1:user"),
        "the gateway shows its key",
        format!("{shown:?}"),
    );

    let start = Instant::now();
    let answer = turn(&mut rpc, &session_of(77001), "sp-rig2", "rig-r-2")?;
    println!("rig: a turn with its reply in the chat took {:.1} s", start.elapsed().as_secs_f64());
    checks.same(
        answer["result"]["deliveryStatus"]["status"].as_str(),
        Some("sent"),
        "the reply of a turn is sent",
    );
    checks.same(world.telegram.chats_with("rig-r-2"), vec![77001], "and one chat has it");
    checks.same(world.telegram.count(77001, "rig-r-2"), 1, "once");
    checks.same(world.model.turns("sp-rig2"), 1, "for one request to the model");

    world.model.delay("rig-r-3", Duration::from_secs(2));
    let start = Instant::now();
    turn(&mut rpc, INTERNAL, "sp-rig3", "rig-r-3")?;
    checks.that(
        start.elapsed() >= Duration::from_secs(2),
        "a slow model is slow",
        format!("{:?}", start.elapsed()),
    );

    rpc.reset(INTERNAL)?;
    let shown = rpc.history(INTERNAL)?;
    checks.that(
        !shown.iter().any(|(_, key)| key == "sp-rig1:user"),
        "a reset hides earlier rows",
        format!("{shown:?}"),
    );
    checks.same(world.gateway.witness.deliveries("rig-r-1")?.len(), 1, "but not from the witness");
    Ok(())
}

fn refusals(world: &mut World, checks: &mut Checks) -> Outcome<()> {
    // In a chat of its own: a turn that failed is repeated to the model together with the next one.
    let session = world.greet(77003)?;
    let mut rpc = world.gateway.rpc()?;
    world.model.fail("rig-r-4", 400);
    let start = Instant::now();
    let failed = turn(&mut rpc, &session, "sp-rig4", "rig-r-4");
    println!(
        "rig: a model that answers 400 was asked {} times in {:.1} s: {}",
        world.model.turns("sp-rig4"),
        start.elapsed().as_secs_f64(),
        failed.as_ref().map_or_else(ToString::to_string, ToString::to_string)
    );
    checks.that(failed.is_err(), "a failing model fails the turn", "an ok answer");
    checks.same(world.gateway.witness.deliveries("rig-r-4")?.len(), 1, "which is committed all the same");
    checks.same(world.telegram.chats_with("rig-r-4"), vec![], "and nobody was told");

    for (session, close, word) in [
        ("agent:main:rig-archived", Rpc::archive as fn(&mut Rpc, &str) -> Outcome<()>, "archived"),
        ("agent:main:rig-closed", Rpc::deny, "send blocked by session policy"),
    ] {
        rpc.create(session)?;
        close(&mut rpc, session)?;
        let described = rpc.describe(session)?;
        checks.that(
            described["archived"] == true || described["sendPolicy"] == "deny",
            "a closed session says so",
            &described,
        );
        let refused = turn(&mut rpc, session, &format!("sp-{session}"), "rig-r-5");
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        checks.that(said.contains(word), "and refuses a turn", said);
    }
    checks.same(world.gateway.witness.deliveries("rig-r-5")?.len(), 0, "of which nothing is committed");
    Ok(())
}

fn kills(world: &mut World, checks: &mut Checks) -> Outcome<()> {
    let before = world.gateway.rpc()?.hello["server"]["bootId"].clone();
    world.gateway.kill()?;
    checks.that(world.gateway.rpc().is_err(), "a killed gateway is gone", "it answers");
    world.boot()?;
    let up = Instant::now();
    let mut rpc = world.gateway.rpc()?;
    checks.that(rpc.hello["server"]["bootId"] != before, "another boot has another id", &before);
    checks.same(world.gateway.witness.deliveries("rig-r-1")?.len(), 1, "rows survive SIGKILL");
    world.wait_channel(up)?;
    checks.passed += 1;
    turn(&mut rpc, &session_of(77002), "sp-rig6", "rig-r-6")?;
    wait_until("chat 77002 to be told", CHAT, TICK, || Ok(world.telegram.count(77002, "rig-r-6") == 1))?;
    checks.same(world.telegram.chats_with("rig-r-6"), vec![77002], "and its channel works again");
    let start = Instant::now();
    world.gateway.stop()?;
    println!("rig: an idle gateway stopped in {:.1} s", start.elapsed().as_secs_f64());
    let boots: Vec<String> =
        world.gateway.boots.iter().map(|b| format!("{:.1} s", b.as_secs_f64())).collect();
    println!("rig: {CURRENT} booted in {}", boots.join(", "));
    Ok(())
}
