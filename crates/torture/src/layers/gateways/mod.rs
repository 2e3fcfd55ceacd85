//! Hostile gateways: every named script at every moment where it makes sense, against the real agent.
//!
//! A gateway that is hostile is an honest one behind a proxy that strikes ([`proxy`]). The scripts are data: [`dial`]
//! (what is no gateway at all), [`hello`] (the handshake), [`answers`] (a delivery's own way), [`asked`] (the questions
//! after a doubt) and [`anytime`] (what can go wrong with any connection). [`case`] plays one of them, [`check`] says
//! what has to hold then. Cases mostly wait, so very many of them run side by side, each on a thread of its own.
//!
//! What is kept true while the gateway is hostile and after it has turned honest: nothing is lost, nothing reaches
//! another session, nothing doubles, no attempt is counted and nothing dies for what is not the record's own; the agent
//! neither ends nor spins, stays small, ends when it is asked to, and shows its token to nobody.

mod answers;
mod anytime;
mod asked;
mod case;
mod check;
mod dial;
mod hello;
mod proxy;
mod script;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use spool_seeded::Bug;

use self::case::{Case, Log};
use self::script::{Moment, Script};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// Cases side by side.
const WIDE: usize = 24;

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let scripts = scripts();
    let cases = match ground.bug {
        Some(bug) => hunted(bug, &scripts),
        None => chosen(ground, &scripts),
    };
    let report = Mutex::new(Report::default());
    let next = AtomicUsize::new(0);
    let is_enough = AtomicBool::new(false);
    let played = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WIDE.min(cases.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { break };
                    if is_enough.load(Ordering::Relaxed) || ground.left().is_zero() {
                        break;
                    }
                    let ended = on_this_thread(ground, at, case.clone());
                    let ended = ended.unwrap_or_else(|error| {
                        let mut report = Report::default();
                        report.violation(format!("{}: cannot be played: {error}", case.name()));
                        report
                    });
                    if ground.hunts() && ended.violated() > 0 {
                        is_enough.store(true, Ordering::Relaxed);
                    }
                    if let (Ok(mut all), Ok(mut played)) = (report.lock(), played.lock()) {
                        all.absorb(ended);
                        played.push(case.clone());
                    }
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let played = played.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !ground.hunts() {
        tell(ground, &scripts, &cases, &played, &mut report);
    }
    Ok(report)
}

/// Plays one case with everything it needs on this thread.
fn on_this_thread(ground: &Ground, number: usize, case: Case) -> Outcome<Report> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, case::play(ground, number, case, log))
}

fn scripts() -> Vec<Arc<Script>> {
    let all = [dial::scripts(), hello::scripts(), answers::scripts(), asked::scripts(), anytime::scripts()];
    all.into_iter().flatten().map(Arc::new).collect()
}

/// The cases of a run: each script at each of its moments in this process, each script once with the real program; a
/// quarter of them stopped in the middle.
fn chosen(ground: &Ground, scripts: &[Arc<Script>]) -> Vec<Case> {
    let mut chance = ground.chance("gateways");
    let mut cases = Vec::new();
    for script in scripts {
        let at = chance.below(script.moments.len() as u64) as usize;
        for (n, moment) in script.moments.iter().enumerate() {
            let case = |is_program, is_stopped| Case {
                script: Arc::clone(script),
                moment: *moment,
                is_program,
                is_stopped,
            };
            cases.push(case(false, chance.below(4) == 0));
            if !script.is_slow && (n == at || ground.full) {
                cases.push(case(true, chance.below(4) == 0));
            }
        }
    }
    // The real programs take longest.
    cases.sort_by_key(|case| !case.is_program);
    cases
}

/// The cases that can see a bug.
fn hunted(bug: Bug, scripts: &[Arc<Script>]) -> Vec<Case> {
    let prey: &[(&str, Moment, bool)] = match bug {
        Bug::RekeyOnDoubt => &[("cut", Moment::Final, false), ("close-1012", Moment::Final, false)],
        Bug::OutageCounts => {
            &[("cut", Moment::Request, false), ("cut-again-and-again", Moment::Request, false)]
        }
        Bug::AnyReply => &[
            ("ack/of-an-unknown-id", Moment::Request, false),
            ("ack/of-the-next-id", Moment::Request, false),
        ],
        Bug::CloseIsSuccess => &[("cut", Moment::Request, false), ("close-1000", Moment::Request, false)],
        Bug::NoDeadline => {
            &[("swallowed-delivery", Moment::Request, false), ("silent-but-ticking", Moment::Look, false)]
        }
        Bug::FrameUnbounded => {
            &[("huge-frame", Moment::Hello, true), ("endless-fragments", Moment::Look, true)]
        }
        Bug::NeverIsLater => {
            &[("fault/bad-params", Moment::Request, false), ("fault/malformed-key", Moment::Request, false)]
        }
        Bug::DueIgnored => &[(answers::NOT_BEFORE, Moment::Request, false)],
        _ => &[
            ("cut", Moment::Final, false),
            ("cut", Moment::Request, false),
            ("fault/bad-params", Moment::Request, false),
            ("ack/of-an-unknown-id", Moment::Request, false),
            ("refuses-with/the-token", Moment::Hello, true),
        ],
    };
    let find = |name: &str| scripts.iter().find(|script| script.name == name).cloned();
    let case = |(name, moment, is_program): &(&str, Moment, bool)| {
        Some(Case { script: find(name)?, moment: *moment, is_program: *is_program, is_stopped: false })
    };
    prey.iter().filter_map(case).collect()
}

/// The figures.
fn tell(ground: &Ground, scripts: &[Arc<Script>], cases: &[Case], played: &[Case], report: &mut Report) {
    let mut table: BTreeMap<Moment, [usize; 2]> = BTreeMap::new();
    for case in played {
        table.entry(case.moment).or_default()[usize::from(case.is_program)] += 1;
    }
    for moment in Moment::ALL {
        let [here, programs] = table.get(&moment).copied().unwrap_or_default();
        report.fact(format!("{:<32} {here:>4} in process {programs:>4} programs", moment.name()));
    }
    let names: BTreeSet<&str> = played.iter().map(|case| case.script.name.as_str()).collect();
    let named: BTreeSet<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
    report.count("scripts", names.len() as u64);
    if played.len() < cases.len() {
        report.fact(format!("{} of {} cases fitted into the budget", played.len(), cases.len()));
    }
    if named.len() < scripts.len() {
        report.violation("two scripts have the same name");
    }
    if ground.full {
        for script in scripts {
            let moments: Vec<&str> = script.moments.iter().map(|moment| moment.name()).collect();
            report.fact(format!("script {}: {}", script.name, moments.join("; ")));
        }
    }
    report.at_least("scripts", 120);
    report.at_least("cases", 400);
}
