//! Runners that speak through the environment: systemd and the self-hosted runner of GitHub Actions.
//!
//! Only the variables that are named here are looked at.

use spooldir::exit;
use spooldir::record::Status;

use super::fields::{Env, Fields};
use super::id;
use super::report::{Heard, Report};
use crate::Failure;

/// A unit of systemd, from a handler of `OnSuccess=`/`OnFailure=` (`MONITOR_*`) or from `ExecStopPost=`
/// (systemd.exec(5)).
///
/// # Errors
/// A [`Failure`] outside of both.
pub fn systemd(env: Env<'_>) -> Result<Heard, Failure> {
    let fields = Fields::Env(env);
    let is_monitor = fields.get("MONITOR_SERVICE_RESULT").is_some();
    // In a handler the names without MONITOR_ are those of the handler itself.
    let var = |name: &str| fields.get(&if is_monitor { format!("MONITOR_{name}") } else { name.to_owned() });
    let Some(result) = var("SERVICE_RESULT") else {
        let why = "neither MONITOR_SERVICE_RESULT nor SERVICE_RESULT is set; use it in a template unit of OnSuccess= and \
            OnFailure= (handler@%n.service), or in ExecStopPost=";
        return Err(Failure::new(exit::DATA, why));
    };
    let mut report = Report::of("systemd");
    report.status = Some(match result.as_str() {
        "success" => Status::Ok,
        "timeout" | "watchdog" => Status::Timeout,
        // Its condition was not met: it did not run.
        "exec-condition" => Status::Info,
        _ => Status::Failed,
    });
    report.id = id::stable("systemd", &[var("INVOCATION_ID")]);
    // ExecStopPost= is not told the unit's name; --label says it there.
    let unit = fields.get("MONITOR_UNIT");
    report.label = unit.clone().or_else(|| Some("systemd unit".into()));
    match (var("EXIT_CODE").as_deref(), var("EXIT_STATUS")) {
        (Some("exited"), Some(status)) => report.task.exit_code = status.parse().ok(),
        (Some(_), Some(signal)) => report.task.signal = Some(signal_name(&signal)),
        _ => {}
    }
    let name = unit.as_deref().unwrap_or("the unit");
    report.text = Some(format!("{name} ended with result {result}."));
    Ok(report.into())
}

/// systemd says `TERM`, a record says `SIGTERM`.
fn signal_name(name: &str) -> String {
    if name.starts_with("SIG") || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("SIG{name}")
    }
}

/// A job of GitHub Actions, from `ACTIONS_RUNNER_HOOK_JOB_COMPLETED` of a self-hosted runner. How it ended is not known
/// there: the hook runs before the job is complete.
///
/// # Errors
/// A [`Failure`] outside of a job.
pub fn gha(env: Env<'_>) -> Result<Heard, Failure> {
    let fields = Fields::Env(env);
    let var = |name: &str| fields.get(name);
    let (Some(run), Some(job)) = (var("GITHUB_RUN_ID"), var("GITHUB_JOB")) else {
        let why = "GITHUB_RUN_ID and GITHUB_JOB are not both set; use it in the script of \
            ACTIONS_RUNNER_HOOK_JOB_COMPLETED";
        return Err(Failure::new(exit::DATA, why));
    };
    let attempt = var("GITHUB_RUN_ATTEMPT").unwrap_or_else(|| "1".into());
    let mut parts = vec![Some(run.clone()), Some(attempt), Some(job.clone())];
    // The legs of a matrix have the same name: what tells them apart is the runner, and its number for the job.
    for name in ["RUNNER_NAME", "RUNNER_TRACKING_ID"] {
        parts.extend(var(name).map(Some));
    }
    let mut report = Report::of("gha");
    report.id = id::stable("gha", &parts);
    report.status = Some(Status::Info);
    let place = [var("GITHUB_REPOSITORY"), var("GITHUB_WORKFLOW"), Some(job)];
    report.label = Some(place.into_iter().flatten().collect::<Vec<_>>().join(" · "));
    let url = match (var("GITHUB_SERVER_URL"), var("GITHUB_REPOSITORY")) {
        (Some(server), Some(repository)) => format!(": {server}/{repository}/actions/runs/{run}"),
        _ => String::new(),
    };
    report.text = Some(format!("The job has ended; how is not known to the runner's hook{url}"));
    report.task.cwd = var("GITHUB_WORKSPACE");
    Ok(report.into())
}
