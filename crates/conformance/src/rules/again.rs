//! What a second run under the same id does: after a success, after the agent took the entry on, with another record,
//! and at the same time.

use std::fs;

use spooldir::{Dir, Record};

use crate::bench::{Bench, Call, Ended};
use crate::stage::Stage;
use crate::verdict::{Outcome, Stop, must};

/// How many race each other.
const WIDE: usize = 8;

pub(super) fn retry(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let call = bench.call_with_id("done")?;
    bench.run_well(&stage, &call)?;
    let first = stage.must_hold(&call)?;
    for _ in 0..2 {
        if let Ended::No(how) = bench.run(stage.root(), &call)? {
            return Err(Stop::Fail(format!("it refused the same record a second time ({how})")));
        }
        let second = stage.must_hold(&call)?;
        must(first == second, || format!("new/{} was changed by a retry", first.0))?;
    }
    must_be_swept(&stage, "a retry")?;
    Ok(String::new())
}

pub(super) fn moved_on(bench: &mut Bench<'_>) -> Outcome {
    let mut doubled = 0;
    let call = bench.call_with_id("done")?;
    let id = call.id.as_ref().map(ToString::to_string).unwrap_or_default();
    let places = [
        (Dir::Done, format!("{id}.json")),
        (Dir::Sending, format!("{id},sp-01929f3e000070008000000000000001,0.json")),
    ];
    for (dir, name) in places {
        let stage = bench.stage()?;
        bench.run_well(&stage, &call)?;
        let (pending, bytes) = stage.must_hold(&call)?;
        let moved = stage.dir(dir).join(&name);
        fs::hard_link(stage.dir(Dir::New).join(&pending), &moved)?;
        fs::remove_file(stage.dir(Dir::New).join(&pending))?;
        let before = stage.surroundings()?;
        if let Ended::No(how) = bench.run(stage.root(), &call)? {
            let place = format!("{}/{name}", dir.name());
            return Err(Stop::Fail(format!("it refused a retry whose record has moved to {place} ({how})")));
        }
        stage.must_be_as(&before)?;
        for name in stage.names(Dir::New)? {
            let again = stage.must_be_good(&name, &call)?;
            must(again == bytes, || format!("new/{name} has other bytes than {}/: a conflict", dir.name()))?;
            doubled += 1;
        }
    }
    Ok(if doubled == 0 {
        String::new()
    } else {
        "it does not look for the id in other states, as it SHOULD; intake will remove the duplicate"
            .to_owned()
    })
}

pub(super) fn conflict(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let call = bench.call_with_id("the first")?;
    bench.run_well(&stage, &call)?;
    let first = stage.must_hold(&call)?;
    for text in ["the second", "The first one, and longer than that."] {
        let other = Call { text: text.into(), ..call.clone() };
        let ended = bench.run(stage.root(), &other)?;
        let (name, bytes) = stage.must_hold(&call).map_err(|stop| stop.with("after another record"))?;
        must((&name, &bytes) == (&first.0, &first.1), || format!("new/{name} was replaced"))?;
        must(!ended.is_yes(), || "it said yes to another record under a taken id".to_owned())?;
    }
    must_be_swept(&stage, "a conflict")?;
    Ok(String::new())
}

fn must_be_swept(stage: &Stage, after: &str) -> Result<(), Stop> {
    let left = stage.names(Dir::Tmp)?;
    must(left.is_empty(), || format!("{after} leaves tmp/{} behind", left.join(", tmp/")))
}

pub(super) fn race(bench: &mut Bench<'_>) -> Outcome {
    let mut accepted = 0;
    for round in 0..bench.options.races {
        let stage = bench.stage()?;
        let call = bench.call_with_id("")?;
        // In half of the rounds all are different; in the others there are two camps.
        let text = |at: usize| format!("record {}", if round % 2 == 0 { at } else { at % 2 });
        let calls: Vec<Call> = (0..WIDE).map(|at| Call { text: text(at).into(), ..call.clone() }).collect();
        let running: Vec<_> =
            calls.iter().map(|call| bench.start(stage.root(), call)).collect::<Result<_, _>>()?;
        let ended: Vec<Ended> = running.into_iter().map(|one| bench.end(one)).collect::<Result<_, _>>()?;
        let names = stage.names(Dir::New)?;
        let [name] = names.as_slice() else {
            return Err(Stop::Fail(format!(
                "{} names are in new/ after a race: {}",
                names.len(),
                names.join(", ")
            )));
        };
        let bytes = fs::read(stage.dir(Dir::New).join(name))?;
        let kept =
            Record::parse(&bytes).map_err(|e| Stop::Fail(format!("new/{name} after a race: {e}")))?.text;
        let winners: Vec<&Call> =
            calls.iter().zip(&ended).filter(|(_, ended)| ended.is_yes()).map(|(call, _)| call).collect();
        must(!winners.is_empty(), || format!("all {WIDE} said no, and new/{name} is there"))?;
        accepted += winners.len();
        if let Some(lost) = winners.iter().find(|call| call.text() != kept.as_deref()) {
            let (said, kept) = (lost.text().unwrap_or_default(), kept.unwrap_or_default());
            let words = format!("one said yes to {said:?}, but new/{name} has {kept:?}: it is lost");
            return Err(Stop::Fail(words));
        }
    }
    Ok(format!("{} races, {accepted} of {} said yes", bench.options.races, WIDE as u64 * bench.options.races))
}
