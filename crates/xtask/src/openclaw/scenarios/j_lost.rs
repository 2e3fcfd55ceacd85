//! A person's jobs die with the gateway that started them, and the person hears of each, in a session that is shared.
//!
//! Two deaths of two jobs. One is an ordinary command of the exec tool: the gateway's helpers ask it to stop when the
//! gateway is gone, and `spool-run` says so. The other is detached and outlives them, until everything that is left is
//! killed at once, as a service manager or a container does it: nobody is there to report it, so the agent tells that
//! it is lost. Before that somebody else writes, so that the gateway by itself would answer them; the plugin's
//! route says whose the jobs are.

use std::time::Instant;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::plugin::{Job, ask_for_job, install};
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::{CHAT, TICK};
use super::DELIVERY;

const MAIN: &str = "agent:main:main";
const ME: i64 = 77033;
const OTHER: i64 = 77034;
const STOPPED: &str = "rig-j-2";
const LOST: &str = "rig-j-4";

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_users("j", None, |stage, world| {
        world.greet(ME)?;
        let mut spool = stage.spool("j", world)?;
        spool.start()?;
        install(world)?;

        let command = "sh -c 'echo working; sleep 600'";
        let mut ids = Vec::new();
        for (asked, mark, wrapper, background) in
            [("rig-j-1", STOPPED, "spool-run", true), ("rig-j-3", LOST, "spool-run --detach", false)]
        {
            let job = Job { chat: ME, asked, mark, wrapper, background, command };
            let (id, intent) = ask_for_job(world, &spool, &job)?;
            checks.same(intent["sessionKey"].as_str(), Some(MAIN), "the run knows its session");
            checks.same(
                intent["route"]["to"].as_str(),
                Some(format!("telegram:{ME}").as_str()),
                "and who of the session asked for it",
            );
            ids.push(id);
        }
        let [stopped, lost] = &ids[..] else { return Err("there are two runs".into()) };
        world.greet(OTHER)?;
        let route = world.gateway.rpc()?.describe(MAIN)?["deliveryContext"]["to"].take();
        checks.same(route, format!("telegram:{OTHER}").into(), "the gateway would answer somebody else");

        let helpers = world.gateway.kill_alone()?;
        wait_until("the stopped job to be reported", CHAT, TICK, || Ok(spool.state(stopped)? != "nowhere"))?;
        checks.same(spool.state(stopped)?, "new", "the job that was stopped waits for a gateway");
        checks.that(
            spool.run_file(lost, "json").exists() && spool.state(lost)? == "nowhere",
            "the detached job is under way, and nothing is said of it",
            spool.state(lost)?,
        );
        let start = Instant::now();
        world.gateway.end_group()?;
        wait_until("the lost job to be reported", CHAT, TICK, || Ok(spool.state(lost)? != "nowhere"))?;
        println!(
            "j: the gateway's helpers were gone {:.1} s after it; the lost job was reported {:.1} s after its end",
            helpers.as_secs_f64(),
            start.elapsed().as_secs_f64()
        );

        world.boot()?;
        for (id, mark, status) in [(stopped, STOPPED, "CANCELLED"), (lost, LOST, "LOST")] {
            // The mark alone is not enough: the gateway tells every turn which commands run in the background.
            let said = format!("{status} nightly {mark}");
            wait_until(&format!("a chat to hear {said}"), DELIVERY, TICK, || {
                Ok(!world.telegram.chats_with(&said).is_empty())
            })?;
            spool.wait_state(id, "done", DELIVERY)?;
            checks.same(world.telegram.chats_with(&said), vec![ME], "the person who asked hears the truth, alone");
            checks.same(world.telegram.count(ME, &said), 1, "once");
            checks.same(world.model.turns(&said), 1, "for one turn");
        }
        checks.same(spool.states()?.len(), 2, "and the spool holds nothing else");
        let records = [STOPPED, LOST].map(|mark| Expected::new(mark, MAIN));
        follow(&records, &world.gateway.witness, checks, &mut stage.figures)?;
        spool.stop()
    })
}
