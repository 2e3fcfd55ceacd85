//! `spool doctor`: everything that deliveries need, looked at one after the other, each with its remedy.
//!
//! `spool status` says how deliveries go; this says why they might not: the configuration ([`settings`]), the directory ([`place`]), the disk under it
//! ([`ground`]), the agent and its watch ([`agent`]), the gateway, what opens it, and the sessions that waiting entries
//! name ([`reach`]), the service, the runners that ought to report.
//!
//! What it keeps true: it looks and changes nothing, but for a canary and a directory for trials, which are gone
//! afterwards and were never records; with `--fix` it does what cannot do harm (modes of our own directories, missing
//! directories, leftovers of dead writers) and says each thing it did. No secret is shown. A check that cannot be made
//! says so and stops no other. Exits 0 when nothing is wrong, 1 when something is.

mod agent;
mod canary;
mod ground;
mod place;
mod reach;
mod settings;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use spooldir::exit;

use crate::{Failure, adapt, service};

use crate::args::Args;
use crate::view::brief;

/// Something is wrong.
const WRONG: u8 = 1;
/// The longest sentence that is shown; what gateways say of themselves is in some.
const MOST: usize = 1000;

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is as it should be.
    Ok,
    /// It is no trouble by itself, or it could not be tried.
    Note,
    /// It keeps records from being kept or delivered, or soon will.
    Wrong,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Wrong => "wrong",
        }
    }
}

/// One check.
#[derive(Debug)]
struct Check {
    /// What was looked at; a promise of `docs/json.md`.
    name: &'static str,
    verdict: Verdict,
    /// How it is.
    words: String,
    /// What to do.
    remedy: Option<String>,
    /// What `--fix` has done.
    fixed: Vec<String>,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, words: impl Into<String>) -> Check {
        Check { name, verdict, words: words.into(), remedy: None, fixed: Vec::new() }
    }

    fn ok(name: &'static str, words: impl Into<String>) -> Check {
        Check::new(name, Verdict::Ok, words)
    }

    fn note(name: &'static str, words: impl Into<String>) -> Check {
        Check::new(name, Verdict::Note, words)
    }

    fn wrong(name: &'static str, words: impl Into<String>, remedy: impl Into<String>) -> Check {
        Check::new(name, Verdict::Wrong, words).remedy(remedy)
    }

    fn remedy(self, remedy: impl Into<String>) -> Check {
        Check { remedy: Some(remedy.into()), ..self }
    }
}

/// Looks at everything.
///
/// # Errors
/// When nothing says where the spool is; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut checks = vec![settings::look(args)];
    let dir = match crate::spool_dir(args) {
        Ok(dir) => dir,
        // It is the configuration that does not let on where the spool is.
        Err(_) if checks.iter().any(|check| check.verdict == Verdict::Wrong) => {
            report(None, &checks, args.json, out)?;
            return Ok(WRONG);
        }
        Err(failure) => return Err(failure),
    };
    let dir: PathBuf = std::path::absolute(&dir).unwrap_or(dir);
    let spool = place::look(&dir, args.fix, &mut checks);
    ground::look(&dir, spool.as_ref(), &mut checks);
    if let Some(spool) = &spool {
        agent::look(spool, &mut checks);
    }
    reach::look(spool.as_ref(), args, &mut checks)?;
    checks.push(service());
    checks.push(runners(args));
    report(Some(&dir), &checks, args.json, out)?;
    let is_wrong = checks.iter().any(|check| check.verdict == Verdict::Wrong);
    Ok(if is_wrong { WRONG } else { exit::OK })
}

/// Whether the agent runs from login on, as this version would have it.
fn service() -> Check {
    const NAME: &str = "service";
    let setup = match service::look() {
        Ok(setup) => setup,
        Err(failure) => return Check::note(NAME, failure.message),
    };
    let place = setup.path.display();
    if !setup.is_installed {
        let words = "not installed: the agent runs as long as somebody has it run";
        return Check::note(NAME, words).remedy("spool service install has it run from login on");
    }
    if let Some(stale) = setup.stale {
        let words = format!("{place}: {stale}");
        return Check::wrong(NAME, words, "spool service install");
    }
    let why = setup.unit.problem.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let words = format!("{place} is there, and it is {}{why}", setup.unit.state);
    match setup.unit.state.as_str() {
        // Nobody could be asked, as in a login without a manager of its own.
        "unknown" => return Check::note(NAME, words),
        _ if !setup.unit.is_active() => return Check::wrong(NAME, words, "spool service start"),
        _ => {}
    }
    Check::ok(NAME, format!("{place} is current, and {}", setup.unit.state))
}

fn runners(args: &Args) -> Check {
    const NAME: &str = "runners";
    let here = match adapt::survey(args) {
        Ok(here) => here,
        Err(failure) => return Check::note(NAME, failure.message),
    };
    if let Some((name, why)) = here.iter().find_map(|r| Some((r.name, r.trouble.as_ref()?))) {
        let remedy = format!("mend that file; then spool adapt {name} --apply, if {name} is to report");
        return Check::new(NAME, Verdict::Note, why.clone()).remedy(remedy);
    }
    let named = |reports: Option<bool>| -> Vec<&str> {
        here.iter().filter(|runner| runner.reports == reports).map(|runner| runner.name).collect()
    };
    let (yes, no, by_hand) = (named(Some(true)), named(Some(false)), named(None));
    let mut words = Vec::new();
    for (what, names) in [("reports", &yes), ("does not report", &no), ("by hand", &by_hand)] {
        if !names.is_empty() {
            words.push(format!("{what}: {}", names.join(", ")));
        }
    }
    if words.is_empty() {
        return Check::note(NAME, "none of those that spool adapt knows is installed here");
    }
    let check = Check::new(NAME, if no.is_empty() { Verdict::Ok } else { Verdict::Note }, words.join("; "));
    match no.first() {
        Some(name) => check.remedy(format!("if it is to report: spool adapt {name} --apply")),
        None => check,
    }
}

fn report(dir: Option<&Path>, checks: &[Check], as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let wrong = checks.iter().filter(|check| check.verdict == Verdict::Wrong).count();
    if as_json {
        let all: Vec<_> = checks
            .iter()
            .map(|c| {
                json!({
                    "check": c.name, "verdict": c.verdict.word(), "words": brief(&c.words, MOST),
                    "remedy": c.remedy, "fixed": c.fixed,
                })
            })
            .collect();
        let told =
            json!({"spool": dir.map(|dir| dir.to_string_lossy()), "healthy": wrong == 0, "checks": all});
        return Ok(writeln!(out, "{told:#}")?);
    }
    for check in checks {
        for fixed in &check.fixed {
            writeln!(out, "fixed  {:<11} {fixed}", check.name)?;
        }
        let word = if check.verdict == Verdict::Wrong { "WRONG" } else { check.verdict.word() };
        writeln!(out, "{word:<6} {:<11} {}", check.name, brief(&check.words, MOST))?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:<18} -> {}", "", brief(remedy, MOST))?;
        }
    }
    let summary = match wrong {
        0 => "nothing is wrong".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        n => format!("{n} things are wrong"),
    };
    Ok(writeln!(out, "{summary}")?)
}
