//! The project's plugin for the gateway, packed and installed the way a user does it, into a gateway that runs.
//!
//! `npm pack` makes the archive that a registry would hold, so what is tested is what would be published, and the
//! gateway's own installer checks its manifest. Nothing is fetched: the plugin depends on nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::programs::Spool;
use super::support::{Outcome, wait_for, wait_until};
use super::world::{CHAT, TICK, World};

/// Packs the plugin and installs it. The two switches are the answers of a person who was asked: whether to trust an
/// archive from nowhere, and whether the plugin may do what it declares.
pub(crate) fn install(world: &World) -> Outcome<()> {
    let archive = format!("npm-pack:{}", pack(&world.dir)?);
    let (said, took) =
        world.gateway.cli(&["plugins", "install", &archive, "--force", "--accept-capabilities"])?;
    let last = said.lines().last().unwrap_or_default();
    println!("the plugin was installed in {:.1} s: {last}", took.as_secs_f64());
    Ok(())
}

fn pack(dir: &Path) -> Outcome<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integrations/openclaw");
    let packed = Command::new("npm")
        .args(["pack", "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(dir)
        .current_dir(source)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !packed.status.success() {
        return Err(format!("npm pack: {}", packed.status).into());
    }
    let said = String::from_utf8(packed.stdout)?;
    let name = said.lines().last().ok_or("npm pack named no archive")?;
    Ok(dir.join(name.trim()).display().to_string())
}

/// What a person asks for.
pub(crate) struct Job<'a> {
    pub(crate) chat: i64,
    /// The mark of the question.
    pub(crate) asked: &'a str,
    /// The mark of the job.
    pub(crate) mark: &'a str,
    /// What the model tells the exec tool to run the job with.
    pub(crate) wrapper: &'a str,
    /// Whether the exec tool is to put it into the background.
    pub(crate) background: bool,
    pub(crate) command: &'a str,
}

/// A person asks for a job, and the model answers with a call of the exec tool that names no session. Gives the run's
/// id and intent, when the chat has been told what the call answered: by then the turn is over.
pub(crate) fn ask_for_job(world: &World, spool: &Spool, job: &Job<'_>) -> Outcome<(String, Value)> {
    let label = format!("nightly {}", job.mark);
    let command = format!("{} --label '{label}' -- {}", job.wrapper, job.command);
    world.model.call(job.asked, "exec", json!({"command": command, "background": job.background}));
    world.model.quote(job.mark);
    let answers = || world.telegram.count(job.chat, "The tool answered");
    let before = answers();
    world.telegram.user_writes(job.chat, &format!("Please start the nightly build {}.", job.asked));
    let run = wait_for(&format!("the run {label}"), CHAT, TICK, || spool.run_of(&label))?;
    wait_until("the chat to be told what the tool answered", CHAT, TICK, || Ok(answers() > before))?;
    Ok(run)
}
