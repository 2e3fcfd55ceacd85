//! Claude Code: the Stop and StopFailure hooks as `spool adapt` configures them, and its own JSON under `spool-run`.
//!
//! What is measured here each time: a hook that reports never keeps the conversation going (one turn stays one turn),
//! a provider's refusal reaches StopFailure and not Stop, and the result that `claude -p` prints can be lifted.
//!
//! Claude does not wait for StopFailure. While it lives on, which it does in a terminal and here as long as its input
//! is open, the hook comes to its end; a `claude -p` with one prompt ends at once and sends the hook a SIGTERM, within
//! some ten milliseconds of its start, or never starts it. A `spool-put` that is called directly is mostly done by
//! then (with 2.1.330, two of about seventy were lost); behind a shell script, 11 of 20 were lost. So that hook may
//! leave a record or none, and only `spool-run` reports it for certain.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::openclaw::checks::Checks;
use crate::openclaw::support::Outcome;

use super::bench::{Bench, Ran};
use super::model::Reply;

const PRINT: [&str; 3] = ["--output-format", "json", "-p"];

/// Plays.
pub(super) fn play(bench: &Bench, checks: &mut Checks) -> Outcome<()> {
    let hooked = bench.dir.join("claude-hooked");
    std::fs::create_dir_all(&hooked)?;
    // A setting that was there before, which has to stay.
    std::fs::write(hooked.join("settings.json"), "{\n  \"includeCoAuthoredBy\": false\n}\n")?;
    for flag in ["--apply", "--check"] {
        let mut adapt = bench.command("spool", None)?;
        adapt.args(["adapt", "claude", flag, "--dir"]).arg(&hooked);
        let ran = bench.run(&format!("adapt-claude{flag}"), &mut adapt)?;
        checks.that(ran.code == Some(0), &format!("spool adapt claude {flag} exits 0"), ran.words());
    }
    let settings: Value = serde_json::from_slice(&std::fs::read(hooked.join("settings.json"))?)?;
    let hook = json!([{"hooks": [
        {"type": "command", "command": "spool-put", "args": ["--from", "claude"], "timeout": 10}]}]);
    checks.same(
        settings,
        json!({"includeCoAuthoredBy": false, "hooks": {"Stop": hook, "StopFailure": hook}}),
        "settings.json has the documented hooks beside what was there",
    );
    ends_well(bench, &hooked, checks)?;
    fails(bench, &hooked, checks)?;
    fails_at_once(bench, &hooked, checks)?;
    wrapped(bench, checks)?;
    // The wrapped runs took their time: what the hook of the killed one had to say would be there.
    let left = bench.records(ONE_SHOT)?;
    checks.that(left.len() < 2, "a killed StopFailure hook left one record or none", left.len());
    checks.that(
        left.iter().all(|r| r["status"] == "failed"),
        "and no other than of a failure",
        format!("{left:?}"),
    );
    println!("claude: records of the StopFailure hook that claude -p did not wait for: {} of 1", left.len());
    Ok(())
}

/// A program with the environment in which `claude` finds this configuration and our model.
fn command(bench: &Bench, program: &str, config: &Path, session: Option<&str>) -> Outcome<Command> {
    let mut command = bench.command(program, session)?;
    command
        .env("CLAUDE_CONFIG_DIR", config)
        .env("ANTHROPIC_BASE_URL", bench.model.url())
        .env("ANTHROPIC_API_KEY", "of-no-worth")
        .env("DISABLE_AUTOUPDATER", "1")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    Ok(command)
}

/// The result that `claude` printed.
fn result(ran: &Ran) -> Value {
    ran.json_lines().into_iter().find(|line| line["type"] == "result").unwrap_or(Value::Null)
}

fn ends_well(bench: &Bench, config: &Path, checks: &mut Checks) -> Outcome<()> {
    let (session, mark) = ("agent:main:telegram:direct:79001", "rig-l-1");
    let said = format!("Done: the tests of {mark} pass.");
    bench.model.on(mark, Reply::Say(said.clone()));
    let mut claude = command(bench, "claude", config, Some(session))?;
    let ran = bench.run("claude-ok", claude.args(PRINT).arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(0), "claude -p ends well", ran.words());
    let result = result(&ran);
    checks.same(&result["num_turns"], &1.into(), "in one turn: the hook does not keep it going");
    checks.same(bench.model.turns(mark), 1, "the model was asked once");
    let records = bench.await_records(session)?;
    if checks.same(records.len(), 1, "the Stop hook left one record") {
        let record = &records[0];
        checks.same(&record["text"], &said.into(), "it has Claude's last message");
        checks.same(&record["status"], &"ok".into(), "and says that it went well");
        let (id, own) = (record["id"].as_str().unwrap_or_default(), result["session_id"].as_str());
        checks.that(
            own.is_some_and(|own| id.starts_with(&format!("claude:{own}:"))),
            "its id is made of Claude's own ids",
            format!("{id}, session {own:?}"),
        );
    }
    Ok(())
}

/// A Claude that goes on reading prompts after a turn that the provider refuses.
fn fails(bench: &Bench, config: &Path, checks: &mut Checks) -> Outcome<()> {
    let (session, mark) = ("agent:main:telegram:direct:79002", "rig-l-2");
    bench.model.on(mark, Reply::Refuse(format!("there is no money for {mark}")));
    let mut claude = command(bench, "claude", config, Some(session))?;
    claude.args(["-p", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json"]);
    let mut running = bench.start("claude-fails", &mut claude)?;
    let prompt = json!({"type": "user", "message": {"role": "user", "content": format!("hello {mark}")}});
    let stdin = running.child.stdin.as_mut().ok_or("claude has no stdin")?;
    writeln!(stdin, "{prompt}")?;
    stdin.flush()?;
    let records = bench.await_records(session)?;
    let ran = bench.finish(running)?;
    let result = result(&ran);
    checks.same(&result["is_error"], &true.into(), "a turn that the provider refuses is an error to Claude");
    checks.same(&result["num_turns"], &1.into(), "after one turn");
    if checks.same(records.len(), 1, "StopFailure left one record") {
        checks.same(&records[0]["status"], &"failed".into(), "it says that it failed");
        let text = records[0]["text"].as_str().unwrap_or_default();
        checks.that(text.contains("there is no money for rig-l-2"), "in the provider's words", text);
    }
    Ok(())
}

const ONE_SHOT: &str = "agent:main:telegram:direct:79005";

/// A `claude -p` with one prompt, which kills its StopFailure hook or does not.
fn fails_at_once(bench: &Bench, config: &Path, checks: &mut Checks) -> Outcome<()> {
    let mark = "rig-l-5";
    bench.model.on(mark, Reply::Refuse(format!("there is no money for {mark}")));
    let mut claude = command(bench, "claude", config, Some(ONE_SHOT))?;
    let ran = bench.run("claude-one-shot", claude.args(PRINT).arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(1), "a turn that the provider refuses ends claude -p with 1", ran.words());
    checks.same(&result(&ran)["num_turns"], &1.into(), "after one turn");
    Ok(())
}

fn wrapped(bench: &Bench, checks: &mut Checks) -> Outcome<()> {
    let bare: PathBuf = bench.dir.join("claude-bare");
    std::fs::create_dir_all(&bare)?;
    let mut left = |name: &str, session: &str, mark: &str, code: i32| -> Outcome<Value> {
        let mut run = command(bench, "spool-run", &bare, None)?;
        run.args(["--parse", "claude", "--session", session, "--", "claude"]);
        let ran = bench.run(name, run.args(PRINT).arg(format!("hello {mark}")))?;
        checks.that(ran.code == Some(code), "spool-run passes Claude's exit status on", ran.words());
        let mut records = bench.await_records(session)?;
        checks.same(records.len(), 1, "spool-run left one record of claude -p");
        Ok(records.pop().unwrap_or(Value::Null))
    };
    bench.model.on("rig-l-3", Reply::Say("Done: rig-l-3 is lifted.".to_owned()));
    let good = left("claude-wrapped", "agent:main:telegram:direct:79003", "rig-l-3", 0)?;
    bench.model.on("rig-l-4", Reply::Refuse("there is no money for rig-l-4".to_owned()));
    let bad = left("claude-fails-wrapped", "agent:main:telegram:direct:79004", "rig-l-4", 1)?;
    checks.same(&good["text"], &"Done: rig-l-3 is lifted.".into(), "its text is Claude's result");
    checks.same(&good["status"], &"ok".into(), "and its status good");
    checks.same(&bad["status"], &"failed".into(), "that of a refused turn says that it failed");
    let text = bad["text"].as_str().unwrap_or_default();
    checks.that(text.contains("there is no money for rig-l-4"), "in Claude's words", text);
    Ok(())
}
