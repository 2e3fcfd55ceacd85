//! How long a job waits until it may end: for `spool-put`, and for the command that it replaces.

use std::time::Duration;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::support::{Outcome, median};

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        let spool = stage.spool("times", world)?;
        let mut puts = Vec::new();
        for _ in 0..20 {
            puts.push(spool.put(&["--session", "agent:main:main", "The job is finished."])?.1);
        }
        let mut events = Vec::new();
        for n in 1..=3 {
            let text = format!("The job of event {n} is finished.");
            events.push(world.gateway.cli(&["system", "event", "--mode", "now", "--text", &text])?.1);
        }
        let (put, event) = (median(puts), median(events));
        let span = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1e3);
        checks.that(
            put < event,
            "a durable put is faster than an event that is not",
            format!("{put:?}, {event:?}"),
        );
        println!("times: spool-put {} (debug build), openclaw system event {}", span(put), span(event));
        stage.figures.put = Some(put);
        stage.figures.system_event = Some(event);
        Ok(())
    })
}
