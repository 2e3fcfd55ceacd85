//! Sessions that cannot take a delivery: missing, archived, closed. Nothing is made, nothing lost, all is shown.

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::TICK;
use super::DELIVERY;

const MISSING: &str = "agent:main:missing";
const HOME: &str = "agent:main:home";
const ARCHIVED: &str = "agent:main:archived";
const CLOSED: &str = "agent:main:closed";

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        let mut rpc = world.gateway.rpc()?;
        for session in [HOME, ARCHIVED, CLOSED] {
            rpc.create(session)?;
        }
        rpc.archive(ARCHIVED)?;
        rpc.deny(CLOSED)?;
        let mut spool = stage.spool("d", world)?;
        for (session, mark) in
            [(MISSING, "rig-d-1"), (ARCHIVED, "rig-d-2"), (CLOSED, "rig-d-3"), (HOME, "rig-d-4")]
        {
            spool.put_marked(session, mark, &[])?;
        }
        spool.start()?;
        spool.wait_state("rig-d-4", "done", DELIVERY)?;
        checks.passed += 1;
        spool.wait_state("rig-d-1", "dead", DELIVERY)?;
        let why = spool.why("dead", "rig-d-1")?;
        checks.that(why.contains(MISSING), "the reason of the dead one names the session", &why);
        checks.that(rpc.describe(MISSING)?.is_null(), "the missing session was not made", "it was");
        for mark in ["rig-d-2", "rig-d-3"] {
            spool.wait_state(mark, "hold", DELIVERY)?;
            checks.same(world.gateway.witness.deliveries(mark)?.len(), 0, "what is held was not delivered");
        }
        let listed = spool.run(&["list"])?;
        for mark in ["rig-d-1", "rig-d-2", "rig-d-3"] {
            checks.that(listed.stdout.contains(mark), "`spool list` shows it", &listed.stdout);
        }

        let retried = spool.run(&["retry", "rig-d-1", "--session", HOME])?;
        checks.same(retried.code, Some(0), "`spool retry ID --session KEY` takes the dead one");
        if retried.code != Some(0) {
            println!("d: it said: {}{}", retried.stdout, retried.stderr);
        }
        // Sent on to another session it is a record of its own, whose id names the first.
        wait_until("the record that was sent on to be delivered", DELIVERY, TICK, || {
            Ok(spool.states()?.iter().any(|(id, state)| id.starts_with("rig-d-1.") && *state == "done"))
        })?;
        checks.same(spool.state("rig-d-1")?, "dismissed", "the first one is dismissed");
        checks.that(rpc.describe(MISSING)?.is_null(), "the missing session is still not there", "it is");
        let records = [Expected::new("rig-d-1", HOME), Expected::new("rig-d-4", HOME)];
        follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        let audit = spool.run(&["audit"])?;
        checks.that(
            audit.code == Some(0),
            "`spool audit` finds nothing missing",
            audit.stdout + &audit.stderr,
        );
        println!("d: 4 records, 2 delivered (1 after a retry), 2 held");
        spool.stop()
    })
}
