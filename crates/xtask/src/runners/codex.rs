//! Codex: `notify` and the Stop hook as `spool adapt` configures them, a turn that fails, and the sandbox.
//!
//! What is measured here each time, because the project's adapters and documents rely on it: `notify` says nothing of
//! a failed turn (so `spool-run` has to) nor of a very long answer (so the Stop hook has to), both together are one
//! record, and from inside the sandbox a record can be left where nothing can be connected to.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::openclaw::checks::Checks;
use crate::openclaw::support::Outcome;

use super::bench::{Bench, Ran};
use super::model::Reply;

/// Longer than the longest single argument of Linux, 128 KiB.
const LONG: usize = 140_000;

/// Plays; gives a line for each thing that this machine cannot do.
pub(super) fn play(bench: &Bench, checks: &mut Checks) -> Outcome<Vec<String>> {
    let notify = home(bench, "notify", &["codex"], checks)?;
    ends_well(bench, &notify, checks)?;
    fails(bench, &notify, checks)?;
    let both = home(bench, "both", &["codex", "codex-hook"], checks)?;
    has_two_ways(bench, &both, checks)?;
    Ok(in_the_sandbox(bench, &notify, checks)?.into_iter().collect())
}

/// A new home of Codex whose model is ours, with what `spool adapt` adds.
fn home(bench: &Bench, name: &str, tools: &[&str], checks: &mut Checks) -> Outcome<PathBuf> {
    let home = bench.dir.join(format!("codex-{name}"));
    std::fs::create_dir_all(&home)?;
    let config = home.join("config.toml");
    let ours = format!(
        "model = \"echo\"\n\
         model_provider = \"rig\"\n\
         # Nothing beyond loopback.\n\
         check_for_update_on_startup = false\n\n\
         [analytics]\n\
         enabled = false\n\n\
         [features]\n\
         plugins = false\n\n\
         [model_providers.rig]\n\
         name = \"rig\"\n\
         base_url = \"{}/v1\"\n\
         wire_api = \"responses\"\n\
         env_key = \"RIG_KEY\"\n\
         request_max_retries = 0\n\
         stream_max_retries = 0\n",
        bench.model.url()
    );
    std::fs::write(&config, &ours)?;
    for tool in tools {
        for flag in ["--apply", "--check"] {
            let mut adapt = bench.command("spool", None)?;
            adapt.args(["adapt", tool, flag, "--codex-home"]).arg(&home);
            let ran = bench.run(&format!("adapt-{name}-{tool}{flag}"), &mut adapt)?;
            checks.that(ran.code == Some(0), &format!("spool adapt {tool} {flag} exits 0"), ran.words());
        }
    }
    let text = std::fs::read_to_string(&config)?;
    let line = r#"notify = ["spool-put", "--from", "codex"]"#;
    checks.that(text.lines().any(|l| l == line), "config.toml has the documented line", &text);
    Ok(home)
}

/// `codex exec` in one of those homes, with a prompt that carries the mark.
fn exec(bench: &Bench, program: &str, home: &Path, session: Option<&str>) -> Outcome<Command> {
    let mut command = bench.command(program, session)?;
    command.env("CODEX_HOME", home).env("RIG_KEY", "of-no-worth");
    Ok(command)
}

const EXEC: [&str; 3] = ["exec", "--skip-git-repo-check", "--json"];

fn ends_well(bench: &Bench, home: &Path, checks: &mut Checks) -> Outcome<()> {
    let (session, mark) = ("agent:main:telegram:direct:78001", "rig-c-1");
    bench.model.on(mark, Reply::Say(format!("Done: the login page of {mark} is built.")));
    let mut codex = exec(bench, "codex", home, Some(session))?;
    let ran = bench.run("codex-ok", codex.args(EXEC).arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(0), "codex exec ends well", ran.words());
    let records = bench.await_records(session)?;
    if checks.same(records.len(), 1, "notify left one record") {
        let record = &records[0];
        checks.same(
            &record["text"],
            &"Done: the login page of rig-c-1 is built.".into(),
            "it has Codex' last message",
        );
        checks.same(&record["status"], &"ok".into(), "and says that it went well");
        let thread = started(&ran);
        let id = record["id"].as_str().unwrap_or_default();
        checks.that(
            !thread.is_empty() && id.starts_with(&format!("codex:{thread}:")),
            "its id is made of Codex' own ids",
            format!("{id}, thread {thread}"),
        );
        let work = bench.dir.join("work").to_string_lossy().into_owned();
        checks.same(&record["task"]["cwd"], &work.into(), "it says where Codex worked");
    }
    checks.same(bench.model.turns(mark), 1, "the model was asked once");
    Ok(())
}

/// The thread id that Codex says it started.
fn started(ran: &Ran) -> String {
    let lines = ran.json_lines();
    let line = lines.iter().find(|line| line["type"] == "thread.started");
    line.and_then(|line| line["thread_id"].as_str()).unwrap_or_default().to_owned()
}

fn fails(bench: &Bench, home: &Path, checks: &mut Checks) -> Outcome<()> {
    let (alone, wrapped, mark) =
        ("agent:main:telegram:direct:78002", "agent:main:telegram:direct:78003", "rig-c-2");
    bench.model.on(mark, Reply::Refuse(format!("there is no money for {mark}")));
    let mut codex = exec(bench, "codex", home, Some(alone))?;
    let ran = bench.run("codex-fails", codex.args(EXEC).arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(1), "a turn that the provider refuses ends codex exec with 1", ran.words());

    let mut run = exec(bench, "spool-run", home, None)?;
    run.args(["--parse", "codex", "--session", wrapped, "--", "codex"])
        .args(EXEC)
        .arg(format!("hello {mark}"));
    let ran = bench.run("codex-fails-wrapped", &mut run)?;
    checks.that(ran.code == Some(1), "spool-run passes that exit status on", ran.words());
    let records = bench.await_records(wrapped)?;
    if checks.same(records.len(), 1, "spool-run left one record of it") {
        let record = &records[0];
        checks.same(&record["status"], &"failed".into(), "it says that it failed");
        checks.same(&record["task"]["exitCode"], &1.into(), "with the exit code");
        let text = record["text"].as_str().unwrap_or_default();
        checks.that(text.contains("there is no money for rig-c-2"), "and in the provider's words", text);
    }
    // The wrapped run came after it and took its time: what notify had to say would be there.
    checks.same(bench.records(alone)?, vec![], "notify says nothing of a turn that failed");
    Ok(())
}

fn has_two_ways(bench: &Bench, home: &Path, checks: &mut Checks) -> Outcome<()> {
    let trust = "--dangerously-bypass-hook-trust";
    let (session, mark) = ("agent:main:telegram:direct:78004", "rig-c-3");
    bench.model.on(mark, Reply::Say(format!("Done: {mark}.")));
    let mut codex = exec(bench, "codex", home, Some(session))?;
    let ran = bench.run("codex-both", codex.args(EXEC).arg(trust).arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(0), "codex exec with notify and a trusted Stop hook ends well", ran.words());
    let first = bench.await_records(session)?;

    let (long_session, mark) = ("agent:main:telegram:direct:78005", "rig-c-4");
    let answer = "word ".repeat(LONG / 5);
    bench.model.on(mark, Reply::Say(answer.clone()));
    let mut codex = exec(bench, "codex", home, Some(long_session))?;
    let ran = bench.run("codex-long", codex.args(EXEC).arg(trust).arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(0), "codex exec with an answer of 140 kB ends well", ran.words());
    let long = bench.await_records(long_session)?;
    checks.same(long.len(), 1, "the Stop hook left one record of an answer that notify cannot carry");
    let text = long.first().and_then(|record| record["text"].as_str()).unwrap_or_default();
    checks.same(text.trim_end().len(), answer.trim_end().len(), "with the whole answer");

    // The longer run came after it: by now both ways have said what they had to say.
    let both = bench.records(session)?;
    checks.same(both.len(), 1, "notify and the Stop hook together are one record of a turn");
    checks.that(!first.is_empty() && first == both, "and it stays the same", format!("{first:?}"));
    checks.same(
        &both.first().unwrap_or(&Value::Null)["text"],
        &"Done: rig-c-3.".into(),
        "with the last message",
    );
    Ok(())
}

/// Codex' own words when the kernel does not let it build its sandbox: a limitation of the machine.
fn has_no_sandbox(output: &str) -> bool {
    output.lines().any(|line| line.starts_with("bwrap: ") || line.to_lowercase().contains("landlock"))
}

fn in_the_sandbox(bench: &Bench, home: &Path, checks: &mut Checks) -> Outcome<Option<String>> {
    let (session, mark) = ("agent:main:telegram:direct:78006", "rig-c-5");
    let outside = bench.dir.join("outside");
    let command = format!(
        "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}' && echo CONNECTED; touch '{}' && echo WRITTEN; \
         '{}' --session {session} --label sandbox 'from inside the sandbox, rig-c-5'; echo put exits $?",
        bench.model.port,
        outside.display(),
        bench.program("spool-put").display()
    );
    let then = format!("Done: {mark}, and reported.");
    bench.model.on(mark, Reply::Shell { command, then: then.clone() });
    let mut codex = exec(bench, "codex", home, Some(session))?;
    codex.args(EXEC).args(["--sandbox", "workspace-write"]);
    // Both are writable otherwise, and the run's directory may be in one of them.
    for excluded in ["exclude_slash_tmp", "exclude_tmpdir_env_var"] {
        codex.arg("-c").arg(format!("sandbox_workspace_write.{excluded}=true"));
    }
    let ran = bench.run("codex-sandbox", codex.arg(format!("hello {mark}")))?;
    checks.that(ran.code == Some(0), "codex exec in the sandbox ends well", ran.words());
    let lines = ran.json_lines();
    let done =
        |line: &&Value| line["type"] == "item.completed" && line["item"]["type"] == "command_execution";
    let output = lines.iter().find(done).and_then(|line| line["item"]["aggregated_output"].as_str());
    let output = output.unwrap_or_default();
    if has_no_sandbox(output) {
        return Ok(Some(format!("the sandbox of Codex cannot be built on this machine: {}", output.trim())));
    }
    checks.that(!output.contains("CONNECTED"), "the sandbox has no network", output);
    checks.that(output.contains("Operation not permitted"), "connecting is not permitted there", output);
    checks.that(!output.contains("WRITTEN") && !outside.exists(), "nor is writing beside the spool", output);
    checks.that(output.contains("put exits 0"), "spool-put exits 0 in the sandbox", output);
    let wanted = [("codex in work", then.as_str()), ("sandbox", "from inside the sandbox, rig-c-5")];
    let mut records = bench.await_count(session, wanted.len())?;
    let word = |record: &Value, member: &str| record[member].as_str().unwrap_or_default().to_owned();
    records.sort_by_key(|record| word(record, "label"));
    let seen: Vec<_> = records.iter().map(|record| (word(record, "label"), word(record, "text"))).collect();
    let wanted: Vec<_> = wanted.map(|(label, text)| (label.to_owned(), text.to_owned())).into();
    checks.same(seen, wanted, "the record from inside is in the spool, and that of the turn");
    Ok(None)
}
