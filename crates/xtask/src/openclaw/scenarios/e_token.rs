//! A wrong token: nothing is touched, a person is told once, and mending the file is enough.

use std::time::{Duration, Instant};

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::support::Outcome;
use super::super::tally::{Expected, follow};
use super::super::world::TICK;
use super::DELIVERY;

const SESSION: &str = "agent:main:token";
const WATCHED: Duration = Duration::from_secs(8);

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        world.gateway.rpc()?.create(SESSION)?;
        let mut spool = stage.spool("e", world)?;
        let wrong = "a-token-that-is-wrong";
        spool.write_token(wrong)?;
        spool.put_marked(SESSION, "rig-e-1", &[])?;
        spool.start()?;
        let start = Instant::now();
        let mut states = std::collections::BTreeSet::new();
        while start.elapsed() < WATCHED {
            states.insert(spool.state("rig-e-1")?);
            std::thread::sleep(TICK);
        }
        checks.same(
            states.into_iter().collect(),
            vec!["new"],
            "the record stays pending, with no attempt counted",
        );
        checks.that(spool.runs()?, "the agent goes on running", "it has ended");
        let log = spool.log();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("token")).collect();
        checks.same(said.len(), 1, "one message says that the token is refused");
        checks.that(!log.contains(wrong), "and does not show it", "it does");
        println!("e: the agent said: {}", said.first().unwrap_or(&"nothing"));

        spool.write_token(&world.gateway.token)?;
        let mended = Instant::now();
        spool.wait_state("rig-e-1", "done", DELIVERY)?;
        println!("e: 1 record, delivered {:.1} s after the token was mended", mended.elapsed().as_secs_f64());
        let records = [Expected::new("rig-e-1", SESSION)];
        follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        spool.stop()
    })
}
