//! 200 records for 20 sessions, while the gateway and the agent are killed at random moments.
//!
//! One loop plays all three parts, so that a seed repeats the order of events: it drops records, kills and boots
//! the gateway (now and then while it boots), kills and starts the agent. Four of the sessions are chats. After
//! the last kill it waits until the spool is drained, and asks the database.
//!
//! A gateway that is killed so often gives up on some sessions: after three unfinished recoveries of one turn it
//! refuses all work in that session and asks its person for `/reset`. The loop plays that person too.

use std::time::{Duration, Instant};

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::programs::Spool;
use super::super::support::{Outcome, Random};
use super::super::tally::{Expected, follow};
use super::super::world::World;

const RECORDS: usize = 200;
const CHATS: [i64; 4] = [77011, 77012, 77013, 77014];
const INTERNAL: usize = 16;
const GATEWAY_KILLS: u32 = 8;
const AGENT_KILLS: u64 = 4;
const CHAOS: Duration = Duration::from_secs(420);
const DRAIN: Duration = Duration::from_secs(420);
const TICK: Duration = Duration::from_millis(20);

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_shared(|stage, world| {
        let mut sessions = Vec::new();
        for chat in CHATS {
            sessions.push(world.greet(chat)?);
        }
        let mut rpc = world.gateway.rpc()?;
        for n in 1..=INTERNAL {
            let session = format!("agent:main:kills-{n:02}");
            rpc.create(&session)?;
            sessions.push(session);
        }
        let records: Vec<Expected> = (0..RECORDS)
            .map(|n| Expected::new(&format!("rig-b-{n:04}"), &sessions[n % sessions.len()]))
            .collect();
        let mut spool = stage.spool("b", world)?;
        // A model that takes its time, so that kills meet turns under way.
        world.model.pace(Duration::from_millis(1200));
        let chaos = chaos(world, &mut spool, &records, &mut stage.random);
        world.model.pace(Duration::ZERO);
        let up_kills = chaos?;
        let up = Instant::now();
        if !spool.runs()? {
            spool.start()?;
        }
        let ids: Vec<String> = records.iter().map(|record| record.mark.clone()).collect();
        let (given_up, most) = mend(world, &spool, &records, up)?;
        let open = spool.wait_done(&ids, DRAIN.saturating_sub(up.elapsed()))?;
        let drained = up.elapsed();
        let whys = open.iter().map(|(id, state)| format!("{id} in {state}: {}", spool.why(state, id).unwrap_or_default()));
        let whys: Vec<String> = whys.collect();
        checks.that(open.is_empty(), "the spool is drained", format!("{} are not: {}", open.len(), whys.join(", ")));
        checks.that(up_kills >= GATEWAY_KILLS, "the gateway was killed often enough while up", up_kills);
        checks.that(spool.kills >= AGENT_KILLS, "the agent was killed often enough", spool.kills);
        let deliveries = follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;

        let (mut astray, mut untold, mut repeats) = (Vec::new(), Vec::new(), 0);
        for (n, record) in records.iter().enumerate() {
            let told = world.telegram.chats_with(&record.mark);
            let wanted: Vec<i64> = CHATS.get(n % sessions.len()).into_iter().copied().collect();
            if told.iter().any(|chat| !wanted.contains(chat)) {
                astray.push(format!("{} in {told:?}", record.mark));
            } else if told != wanted {
                untold.push(record.mark.clone());
            }
            repeats += wanted.iter().map(|c| world.telegram.count(*c, &record.mark).saturating_sub(1)).sum::<usize>();
        }
        checks.that(astray.is_empty(), "no chat hears of another's job", astray.join(", "));
        checks.that(untold.is_empty(), "every chat hears of its jobs", untold.join(", "));
        println!(
            "b: {RECORDS} records, {deliveries} deliveries, {} kills of the gateway ({up_kills} while up), {} of the \
             agent, drained {:.1} s after the last boot ({:.1} s for 95 of 100), {} sessions reset because the gateway had given up on \
             them, {repeats} jobs told again in a chat",
            world.gateway.kills,
            spool.kills,
            drained.as_secs_f64(),
            most.as_secs_f64(),
            given_up
        );
        stage.figures.agent_kills += spool.kills;
        stage.figures.drained_after = Some(drained);
        spool.stop()
    })
}

/// Waits until only records for sessions that the gateway has given up on are left, and resets those sessions, as
/// their people would. Gives the number of sessions, and when 95 of 100 records were delivered.
fn mend(world: &World, spool: &Spool, records: &[Expected], up: Instant) -> Outcome<(usize, Duration)> {
    let mut reset = std::collections::BTreeSet::new();
    let mut most = None;
    while up.elapsed() < DRAIN {
        let states = spool.states()?;
        let open: Vec<&Expected> =
            records.iter().filter(|r| states.get(&r.mark).is_none_or(|state| *state != "done")).collect();
        if open.len() * 20 <= records.len() {
            most.get_or_insert(up.elapsed());
        }
        if open.is_empty() {
            break;
        }
        // It logs that it gave up on a chat. Of a session without a channel it tells only who sends to it.
        let mut given_up = world.gateway.given_up();
        for record in open.iter().filter(|r| states.get(&r.mark) == Some(&"hold")) {
            if spool.why("hold", &record.mark).is_ok_and(|why| why.contains("ended during restart recovery"))
            {
                given_up.insert(record.session.clone());
            }
        }
        for session in given_up {
            if reset.contains(&session) || !open.iter().any(|record| record.session == session) {
                continue;
            }
            world.gateway.rpc()?.reset(&session)?;
            reset.insert(session);
        }
        for record in open.iter().filter(|record| reset.contains(&record.session)) {
            match states.get(&record.mark).copied() {
                Some("hold") => spool.run(&["release", &record.mark])?,
                Some("deferred" | "dead") => spool.run(&["retry", &record.mark])?,
                _ => continue,
            };
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok((reset.len(), most.unwrap_or(DRAIN)))
}

/// The gateway as the loop sees it.
enum Phase {
    /// It is up, until it is killed at this moment.
    Up(Instant),
    /// It boots since then; now and then it does not get to its end.
    Booting(Instant, Option<Instant>),
}

/// Drops all records amid the kills; leaves the gateway up. Gives the number of kills that met it up.
fn chaos(world: &mut World, spool: &mut Spool, records: &[Expected], random: &mut Random) -> Outcome<u32> {
    let start = Instant::now();
    let (mut dropped, mut up_kills) = (0, 0);
    let mut next_put = start;
    let mut phase = Phase::Up(start + random.millis(1000, 5000));
    let mut agent_turn = start;
    loop {
        let now = Instant::now();
        let enough = up_kills >= GATEWAY_KILLS && spool.kills >= AGENT_KILLS && dropped == records.len();
        if enough && matches!(phase, Phase::Up(_)) {
            return Ok(up_kills);
        }
        if now - start > CHAOS {
            return Err(
                format!("the kills took too long: {dropped} records dropped, {up_kills} kills").into()
            );
        }
        if dropped < records.len() && now >= next_put {
            // In bursts, as jobs end: mostly alone, at times ten at once.
            for _ in 0..if random.below(8) == 0 { 10 } else { 1 } {
                let Some(record) = records.get(dropped) else { break };
                spool.put_marked(&record.session, &record.mark, &[])?;
                dropped += 1;
            }
            next_put = now + random.millis(50, 2500);
        }
        if now >= agent_turn {
            if spool.runs()? {
                spool.kill()?;
                agent_turn = now + random.millis(0, 1000);
            } else {
                spool.start()?;
                agent_turn = now + random.millis(1000, 20_000);
            }
        }
        phase = match phase {
            Phase::Up(kill_at) if now >= kill_at => {
                world.gateway.kill()?;
                up_kills += 1;
                restart(world, random)?
            }
            Phase::Booting(_, Some(kill_at)) if now >= kill_at => {
                world.gateway.kill()?;
                restart(world, random)?
            }
            Phase::Booting(since, None) if world.gateway.rpc().is_ok() => {
                world.gateway.boots.push(since.elapsed());
                Phase::Up(now + random.millis(200, 6000))
            }
            other => other,
        };
        if !world.gateway.is_up() {
            return Err("the gateway ended by itself".into());
        }
        std::thread::sleep(TICK);
    }
}

fn restart(world: &mut World, random: &mut Random) -> Outcome<Phase> {
    world.gateway.start()?;
    let unlucky = random.below(6) == 0;
    let now = Instant::now();
    Ok(Phase::Booting(now, unlucky.then(|| now + random.millis(500, 6000))))
}
