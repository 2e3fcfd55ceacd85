//! Runners that speak through arguments: pueue (`key=value`), task-spooler (by place), and aider, which says nothing.

use spooldir::exit;
use spooldir::record::Status;

use super::fields::Fields;
use super::id;
use super::report::{Heard, Report};
use crate::Failure;

/// The callback of pueue, with the words `id exit result start end log` and perhaps `label`. Its template escapes
/// nothing, so nothing that a task chose (its command, path or output) may stand in it.
///
/// # Errors
/// A [`Failure`] without an id.
pub fn pueue(words: &[String]) -> Result<Heard, Failure> {
    let fields = Fields::Words(words);
    let Some(task) = fields.get("id") else {
        let why = "no id=; the callback is spool-put --from pueue id={{id}} exit={{exit_code}} result={{result}} \
            start={{start}} end={{end}} log={{output_path}}";
        return Err(Failure::new(exit::DATA, why));
    };
    let mut report = Report::of("pueue");
    // pueue counts from 0 again after a reset, so its id alone names no task.
    report.id = id::stable("pueue", &[Some(task.clone()), fields.first(&["end", "start"])]);
    report.task.exit_code = fields.get("exit").and_then(|code| code.parse().ok());
    report.status = Some(match (fields.get("result"), report.task.exit_code) {
        (Some(result), _) if result == "Success" => Status::Ok,
        (Some(result), _) if result.starts_with("Killed") => Status::Cancelled,
        (None, Some(0)) => Status::Ok,
        (None, None) => Status::Info,
        _ => Status::Failed,
    });
    let seconds = |name: &str| fields.get(name)?.parse::<u64>().ok()?.checked_mul(1000);
    (report.task.started_at, report.task.ended_at) = (seconds("start"), seconds("end"));
    report.label = fields.get("label").or_else(|| Some(format!("pueue task {task}")));
    report.output = fields.get("log");
    Ok(report.into())
}

/// `TS_ONFINISH` of task-spooler: job, exit number, output file, command (tsp(1)).
///
/// # Errors
/// A [`Failure`] without the first two.
pub fn tsp(words: &[String]) -> Result<Heard, Failure> {
    let fields = Fields::Words(words);
    let code = fields.get("2").and_then(|code| code.parse::<i64>().ok());
    let (Some(job), Some(code)) = (fields.get("1"), code) else {
        let why = "task-spooler hands over a job's number, its exit number, its output file and its command";
        return Err(Failure::new(exit::DATA, why));
    };
    let mut report = Report::of("tsp");
    report.output = fields.get("3").filter(|path| path.starts_with('/'));
    // Its numbers begin anew with each server; the output file has a random name.
    report.id = id::stable("tsp", &[Some(job.clone()), report.output.clone()]);
    report.status = Some(if code == 0 { Status::Ok } else { Status::Failed });
    report.task.exit_code = Some(code);
    report.task.command = words.get(3..).unwrap_or_default().to_vec();
    let command = report.task.command.join(" ");
    report.label = Some(if command.is_empty() { format!("tsp job {job}") } else { command });
    Ok(report.into())
}

/// `--notifications-command` of aider: a reply is finished and aider waits for input. More is not known.
pub fn aider() -> Heard {
    let cwd = std::env::current_dir().ok().map(|dir| dir.to_string_lossy().into_owned());
    let mut report = Report::of("aider").in_directory(cwd);
    report.status = Some(Status::Info);
    report.text = Some("aider has finished its reply and waits for input.".into());
    report.into()
}
