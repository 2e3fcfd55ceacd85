//! SIGKILL to the producer and all it has started, again and again: anywhere in its life, and close to the moments at
//! which its file comes to be and is published, which it gives away itself.

use std::time::{Duration, Instant};

use spooldir::Dir;

use crate::bench::{Bench, Ended, Running};
use crate::stage::Stage;
use crate::verdict::{Outcome, Stop, must};
use crate::watch::Watch;

/// When a kill comes.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the start.
    Start(Duration),
    /// So long after the first thing that happens in `tmp/` or `new/`.
    Touch(Duration),
    /// So long after the first thing that happens in `new/`.
    Name(Duration),
}

pub(super) fn killed(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let life = life(bench, &stage)?;
    let (mut before, mut after, mut leftovers) = (0u64, 0u64, 0);
    let (mut kills, mut tries) = (0, 0);
    while kills < bench.options.kills {
        tries += 1;
        if tries > 4 * bench.options.kills + 20 {
            break;
        }
        // A text of some size takes a while to write, so that a partial file can be seen.
        let length = if tries % 2 == 0 { 20 } else { 60_000 };
        let call = bench.call("y".repeat(length));
        let near = Duration::from_nanos(1 << bench.below(22));
        let moment = match tries % 4 {
            0 => Moment::Name(near),
            1 => Moment::Touch(near),
            _ => {
                let span = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
                Moment::Start(Duration::from_nanos(bench.below(span + span / 8)))
            }
        };
        let mut watch = Watch::on(&[&stage.dir(Dir::Tmp), &stage.dir(Dir::New)])?;
        let mut running = bench.start(stage.root(), &call)?;
        let in_time = hold(&mut running, &mut watch, moment)? && running.kill()?;
        if in_time {
            running.discard()?;
        } else if let Ended::No(how) = bench.end(running)? {
            return Err(Stop::Fail(format!("it refused an ordinary record ({how})")));
        }
        kills += u64::from(in_time);
        let said = format!("after kill {kills}, seed {} ({moment:?})", bench.options.seed);
        let whole = stage.must_be_whole(&call).map_err(|stop| stop.with(&said))?;
        before += u64::from(in_time && whole == 0);
        after += u64::from(in_time && whole > 0);
        if in_time {
            if let Ended::No(how) = bench.run(stage.root(), &call)? {
                return Err(Stop::Fail(format!("{said}: a retry was refused ({how})")));
            }
            if call.id.is_some() {
                stage.must_hold(&call).map_err(|stop| stop.with(&format!("{said}, and a retry")))?;
            } else {
                // Without an id a retry is another record.
                let again = stage.must_be_whole(&call)?;
                must(again > whole, || format!("{said}: a retry added nothing"))?;
            }
        }
        leftovers += stage.clear()?;
    }
    bench.kills += kills;
    if kills < bench.options.kills / 4 {
        return Err(Stop::NotTried(format!("only {kills} kills came in time")));
    }
    Ok(format!(
        "{kills} kills, {before} before the record was there, {after} after; {leftovers} leftovers in tmp/"
    ))
}

/// How long it lives, without being killed: the middle one of some lives.
fn life(bench: &mut Bench<'_>, stage: &Stage) -> Result<Duration, Stop> {
    let mut lives = Vec::new();
    for _ in 0..5 {
        let call = bench.call("y".repeat(60_000));
        let start = Instant::now();
        bench.run_well(stage, &call)?;
        lives.push(start.elapsed());
        stage.clear()?;
    }
    lives.sort();
    Ok(lives.get(2).copied().unwrap_or_default())
}

/// Waits for the moment. False when the producer ended before it came.
fn hold(running: &mut Running, watch: &mut Watch, moment: Moment) -> Result<bool, Stop> {
    let (delay, dir) = match moment {
        Moment::Start(delay) => (delay, None),
        Moment::Touch(delay) => (delay, Some(0)),
        Moment::Name(delay) => (delay, Some(1)),
    };
    if let Some(dir) = dir {
        loop {
            if watch.wait(Duration::from_millis(5))? && watch.happened()?.iter().any(|h| h.dir >= dir) {
                break;
            }
            if running.is_over()? {
                return Ok(false);
            }
        }
    }
    let start = Instant::now();
    // The last bit of the way is spun: a sleep is coarser than a system call.
    if let Some(most) = delay.checked_sub(Duration::from_millis(1)) {
        std::thread::sleep(most);
    }
    while start.elapsed() < delay {
        std::hint::spin_loop();
    }
    Ok(true)
}
