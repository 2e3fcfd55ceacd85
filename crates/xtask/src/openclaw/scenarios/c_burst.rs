//! 100 records for one session at once: each is in its transcript once, in the order in which they were queued.
//!
//! The ids are minted by `spool-put`, one process a record, so that the order under test is the real one.

use std::time::Instant;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::support::{Outcome, marks};
use super::super::tally::{Expected, follow};
use super::DELIVERY;

const SESSION: &str = "agent:main:burst";

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        world.gateway.rpc()?.create(SESSION)?;
        let mut spool = stage.spool("c", world)?;
        spool.start()?;
        let start = Instant::now();
        let (mut records, mut ids) = (Vec::new(), Vec::new());
        for n in 1..=100 {
            let mark = format!("rig-c-{n:03}");
            let text = format!("The job {mark} is finished.");
            ids.push(spool.put(&["--session", SESSION, &text])?.0);
            records.push(Expected::new(&mark, SESSION));
        }
        let open = spool.wait_done(&ids, DELIVERY)?;
        let took = start.elapsed();
        checks.that(open.is_empty(), "all are delivered", format!("{open:?}"));
        let deliveries = follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;

        let rows = world.gateway.witness.rows()?;
        let text: String =
            rows.iter().filter(|r| r.session == SESSION && r.is_delivery()).map(|r| &*r.text).collect();
        let mut seen = marks(&text);
        seen.dedup();
        let wanted: Vec<String> = records.iter().map(|record| record.mark.clone()).collect();
        checks.same(seen, wanted, "they are read in the order in which they were queued");
        let named: Vec<&String> = ids.iter().filter(|id| text.contains(id.as_str())).collect();
        checks.same(named.len(), ids.len(), "every record's id is in the transcript");
        println!("c: 100 records, {deliveries} deliveries, {:.1} s from the first put", took.as_secs_f64());
        spool.stop()
    })
}
