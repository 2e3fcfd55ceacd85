//! A person asks for a job, the gateway that started it is killed, and the person hears how it ended all the same.
//!
//! The whole way of a user: the plugin is installed from its archive, the model answers with a call of the exec tool,
//! the plugin names the session to the command, and `spool-run --detach` takes the job out of the gateway's reach. The
//! job ends while there is no gateway. Only the gateway's own process is killed: whatever becomes of the job is then
//! the gateway's doing and not the harness's.

use std::path::Path;

use serde_json::Value;

use super::super::checks::Checks;
use super::super::command::Stage;
use super::super::plugin::{Job, ask_for_job, install};
use super::super::support::{Outcome, wait_until};
use super::super::tally::{Expected, follow};
use super::super::world::{CHAT, TICK};
use super::DELIVERY;

const ME: i64 = 77031;
const OTHER: i64 = 77032;
const JOB: &str = "rig-i-2";

pub(super) fn play(stage: &mut Stage, checks: &mut Checks) -> Outcome<()> {
    stage.on_users("i", Some("per-channel-peer"), |stage, world| {
        let session = world.greet(ME)?;
        world.greet(OTHER)?;
        let mut spool = stage.spool("i", world)?;
        spool.start()?;
        install(world)?;

        let (pid, go) = (spool.scratch("pid"), spool.scratch("go"));
        let command = format!(
            "sh -c 'echo $$ >{}; until test -e {}; do sleep 0.1; done; echo built; exit 3'",
            pid.display(),
            go.display()
        );
        let wrapper = "spool-run --detach";
        let job =
            Job { chat: ME, asked: "rig-i-1", mark: JOB, wrapper, background: false, command: &command };
        let (id, intent) = ask_for_job(world, &spool, &job)?;
        checks.that(world.model.was_offered("exec"), "the agent may run commands", "no exec tool");
        checks.that(world.model.was_told("completion-outbox"), "the agent knows the skill", "it does not");
        checks.same(
            world.telegram.count(ME, &format!("running {id}")),
            1,
            "the agent hears at once what runs",
        );
        checks.same(
            intent["sessionKey"].as_str(),
            Some(session.as_str()),
            "the run knows the session of the chat",
        );
        let route = spool.run_file(&id, "route");
        wait_until("the agent to remember the route", CHAT, TICK, || Ok(route.exists()))?;
        let route: Value = serde_json::from_slice(&std::fs::read(route)?)?;
        checks.same(
            route["to"].as_str(),
            Some(format!("telegram:{ME}").as_str()),
            "and the agent remembers where its answer belongs",
        );

        wait_until("the job to start", CHAT, TICK, || Ok(pid.exists()))?;
        let took = world.gateway.kill_alone()?;
        println!("i: the gateway's helpers were gone {:.1} s after it", took.as_secs_f64());
        let process = Path::new("/proc").join(std::fs::read_to_string(&pid)?.trim());
        checks.that(process.exists(), "the job has outlived the gateway and its helpers", "it has not");
        std::fs::write(&go, "")?;
        wait_until("the completion to be published", CHAT, TICK, || Ok(spool.state(&id)? != "nowhere"))?;
        checks.same(spool.state(&id)?, "new", "its completion waits for a gateway");

        world.boot()?;
        wait_until("the chat to hear of the end", DELIVERY, TICK, || Ok(world.telegram.count(ME, JOB) > 0))?;
        spool.wait_state(&id, "done", DELIVERY)?;
        checks.same(world.telegram.chats_with(JOB), vec![ME], "only the person who asked hears of it");
        checks.same(world.telegram.count(ME, JOB), 1, "once");
        checks.same(world.telegram.count(ME, "exit 3"), 1, "with the exit code");
        checks.same(world.model.turns(JOB), 1, "for one turn");
        checks.same(spool.states()?.len(), 1, "and the spool holds nothing else");
        follow(&[Expected::new(JOB, &session)], &world.gateway.witness, checks, &mut stage.figures)?;
        spool.stop()
    })
}
