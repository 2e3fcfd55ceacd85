//! Hostile gateways: every named script at every moment where it makes sense, against the real agent.
//!
//! A gateway that is hostile is an honest one behind a proxy that strikes ([`proxy`]). The scripts are data: [`dial`]
//! (what is no gateway at all), [`hello`] (the handshake), [`answers`] (a delivery's own way), [`asked`] (the questions
//! after a doubt), [`anytime`] (what can go wrong with any connection) and [`claims`] (what is said beside the point).
//! [`case`] plays one of them, [`check`] says what has to hold then. Cases mostly wait, so very many of them run side by
//! side, each on a thread of its own.
//!
//! A run is chosen by its seed: every script that can strike all through a delivery does so before it is sent, in the
//! middle of a frame, before its acceptance, after it, and before its end; every other script strikes once. That much is
//! always played, however slow the machine; what is left of the budget goes to further cases of the cross product, and
//! the whole form plays all of them.
//!
//! What is kept true while the gateway is hostile and after it has turned honest: nothing is lost, nothing reaches
//! another session, nothing doubles, no attempt is counted and nothing dies for what is not the record's own; the agent
//! neither ends nor spins, stays small, ends when it is asked to, and shows its token to nobody.

mod answers;
mod anytime;
mod asked;
mod case;
mod check;
mod claims;
mod dial;
mod hello;
mod proxy;
mod script;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spool_seeded::Bug;

use self::case::{Case, Log};
use self::script::{Moment, Script};
use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// Cases side by side.
const WIDE: usize = 40;
/// Of those that move very much data; each may have a hundred megabytes in its hands.
const HEAVY: usize = 4;
/// Descriptors for all of them.
const DESCRIPTORS: u64 = 4096;
/// The moments that a script should meet, each by one of these; a delivery's own, so that each stands before, in or
/// behind one of its answers.
const PHASES: [(&str, &[Moment]); 5] = [
    ("before send", &[Moment::Look, Moment::Follow]),
    ("mid-frame", &[Moment::MidFrame]),
    ("before ack", &[Moment::Request, Moment::Ack]),
    ("after ack", &[Moment::Accepted]),
    ("before final", &[Moment::Final]),
];
/// How many scripts have to meet all of them.
const THROUGHOUT: usize = 120;

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let scripts = scripts();
    let (cases, due) = match ground.bug {
        Some(bug) => (hunted(bug, &scripts), usize::MAX),
        None => chosen(ground, &scripts),
    };
    let limit = getrlimit(Resource::Nofile);
    let more = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < more) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(more), ..limit })?;
    }
    let heavy = Slots(Mutex::new(HEAVY), Condvar::new());
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
                    // A case that was begun is played to its end, so none is begun when most of the time is gone.
                    let is_late = at >= due && ground.left() < ground.budget / 2;
                    if is_enough.load(Ordering::Relaxed) || is_late {
                        break;
                    }
                    let _slot = case.script.is_heavy.then(|| heavy.take());
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

/// Places for some of all.
struct Slots(Mutex<usize>, Condvar);

impl Slots {
    /// Waits for a place; whoever has one ends within the limit of a case.
    fn take(&self) -> Slot<'_> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.1.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

/// A place, free again when it is dropped.
struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.1.notify_one();
    }
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
    let all = [
        dial::scripts(),
        hello::scripts(),
        answers::scripts(),
        asked::scripts(),
        anytime::scripts(),
        claims::scripts(),
    ];
    all.into_iter().flatten().map(Arc::new).collect()
}

/// Whether a script can strike all through a delivery.
fn is_throughout(script: &Script) -> bool {
    PHASES.iter().all(|(_, moments)| moments.iter().any(|moment| script.moments.contains(moment)))
}

/// The cases of a run, and how many of them at its beginning have to be played: a script that can strike all through a
/// delivery once in each of its phases, any other one once. The rest is the rest of the cross product, with the real
/// program once for each script.
fn chosen(ground: &Ground, scripts: &[Arc<Script>]) -> (Vec<Case>, usize) {
    let mut chance = ground.chance("gateways");
    let (mut due, mut more) = (Vec::new(), Vec::new());
    for script in scripts {
        let at = |moment: Moment, is_program: bool, is_stopped: bool| Case {
            script: Arc::clone(script),
            moment,
            is_program,
            is_stopped,
        };
        let mut first: Vec<Moment> = Vec::new();
        if is_throughout(script) {
            for (_, moments) in PHASES {
                let own: Vec<Moment> =
                    moments.iter().copied().filter(|m| script.moments.contains(m)).collect();
                first.extend(chance.pick(&own));
            }
        } else {
            first.extend(chance.pick(&script.moments));
        }
        for moment in &script.moments {
            let case = at(*moment, false, chance.one_in(4));
            if first.contains(moment) { due.push(case) } else { more.push(case) }
        }
        let may_be_program: &[Moment] = if script.is_slow { &[] } else { &script.moments };
        let once = chance.pick(may_be_program).copied();
        for moment in may_be_program {
            if ground.full || Some(*moment) == once {
                let case = at(*moment, true, chance.one_in(4));
                // They take longest; one in ten is enough where time is short.
                if chance.one_in(10) { due.push(case) } else { more.push(case) }
            }
        }
    }
    if ground.full {
        due.append(&mut more);
    }
    shuffle(&mut due, &mut chance);
    shuffle(&mut more, &mut chance);
    due.sort_by_key(|case| !case.is_program);
    let count = due.len();
    due.append(&mut more);
    (due, count)
}

/// Fisher and Yates.
fn shuffle(cases: &mut [Case], chance: &mut Chance) {
    for at in (1..cases.len()).rev() {
        cases.swap(at, chance.below(at as u64 + 1) as usize);
    }
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
    report.fact(format!("{} of the {} cases of the cross product", played.len(), cases.len()));
    let met = |script: &&Arc<Script>| {
        PHASES.iter().all(|(_, moments)| {
            played.iter().any(|case| case.script.name == script.name && moments.contains(&case.moment))
        })
    };
    let throughout = scripts.iter().filter(met).count();
    report.count("scripts in all five phases", throughout as u64);
    report.at_least("scripts in all five phases", THROUGHOUT as u64);
    if named.len() < scripts.len() {
        report.violation("two scripts have the same name");
    }
    if ground.full {
        for script in scripts {
            let moments: Vec<&str> = script.moments.iter().map(|moment| moment.name()).collect();
            report.fact(format!("script {}: {}", script.name, moments.join("; ")));
        }
    }
    report.at_least("scripts", scripts.len() as u64);
}
