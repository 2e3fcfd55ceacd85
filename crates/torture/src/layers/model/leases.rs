//! Runs and leases as a model (`spool-format.md` section 9): the wrapper writes an intent and flushes it, starts the job
//! with the lease's descriptor, publishes the completion, and closes the run; whoever is killed, the agent publishes
//! `lost` once nobody holds the lease any more, under the run's own id, and closes it.
//!
//! Two directories are flushed on their own here: a power cut may keep the removal of an intent and lose the name of the
//! completion. Delivery is one step, and idempotent: that is the other model's matter.

use spool_seeded::Bug;
use stateright::{Model, Property};

pub(super) const RUNS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Wrapper {
    #[default]
    Unborn,
    /// It holds the lease.
    Leased,
    Intended,
    Flushed,
    /// The job runs, or has ended.
    Waiting,
    Looked,
    Published,
    Kept,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Job {
    #[default]
    Unborn,
    Running,
    Ended,
}

/// A name: what is there, and what of it is on the disk. 0 absent, 1 there, 2 (entries only) delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Name {
    live: u8,
    disk: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Run {
    wrapper: Wrapper,
    job: Job,
    intent: Name,
    entry: Name,
    /// Completions under other ids: there must be none.
    others: u8,
    lost_alive: bool,
}

/// What the agent does with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Care {
    #[default]
    Idle,
    Looked(usize),
    Published(usize),
    Found(usize),
    Closing(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Jobs {
    runs: [Run; RUNS],
    is_up: bool,
    care: Care,
    agent_kills: u8,
    wrapper_kills: u8,
    power_cuts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// The wrapper's next step.
    Step(usize),
    JobEnds(usize),
    WrapperDies(usize),
    AgentStarts,
    AgentDies,
    Look(usize),
    /// The agent's next step.
    Care,
    Deliver(usize),
    /// What of each run's names is on the disk: the entry's state, and whether the intent's is the newest.
    Cut([(u8, bool); RUNS]),
}

/// The model, and how often what may go wrong.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    pub(super) bug: Option<Bug>,
    pub(super) agent_kills: u8,
    pub(super) wrapper_kills: u8,
    pub(super) power_cuts: u8,
}

impl Leases {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether nobody holds the lease.
    fn is_over(&self, run: &Run) -> bool {
        let is_wrapper_gone = matches!(run.wrapper, Wrapper::Gone | Wrapper::Unborn);
        is_wrapper_gone && (run.job != Job::Running || self.has(Bug::LeaseNotInherited))
    }

    /// What wrappers, jobs and the agent do when nothing goes wrong.
    fn may(&self, jobs: &Jobs, acts: &mut Vec<Act>) {
        for (r, run) in jobs.runs.iter().enumerate() {
            let waits = run.wrapper == Wrapper::Waiting && run.job == Job::Running;
            if run.wrapper != Wrapper::Gone && !waits {
                acts.push(Act::Step(r));
            }
            if run.job == Job::Running {
                acts.push(Act::JobEnds(r));
            }
            if jobs.is_up && run.entry.live == 1 {
                acts.push(Act::Deliver(r));
            }
            if jobs.is_up && jobs.care == Care::Idle && run.intent.live == 1 && self.is_over(run) {
                acts.push(Act::Look(r));
            }
        }
        if !jobs.is_up {
            acts.push(Act::AgentStarts);
        } else if jobs.care != Care::Idle {
            acts.push(Act::Care);
        }
    }

    fn sync_runs(&self, jobs: &mut Jobs) {
        for run in &mut jobs.runs {
            run.intent.disk = run.intent.live;
        }
    }

    fn sync_new(&self, jobs: &mut Jobs) {
        for run in &mut jobs.runs {
            run.entry.disk = run.entry.disk.max(run.entry.live.min(1));
        }
    }

    fn wrap(&self, jobs: &mut Jobs, r: usize) {
        let run = &mut jobs.runs[r];
        let step = match run.wrapper {
            Wrapper::Unborn => Wrapper::Leased,
            Wrapper::Leased => {
                run.intent.live = 1;
                if self.has(Bug::IntentUnsynced) { Wrapper::Flushed } else { Wrapper::Intended }
            }
            Wrapper::Intended => {
                self.sync_runs(jobs);
                Wrapper::Flushed
            }
            Wrapper::Flushed => {
                run.job = Job::Running;
                Wrapper::Waiting
            }
            Wrapper::Waiting if run.entry.live == 0 => Wrapper::Looked,
            // Somebody reported it: a conflict, and nothing more to say.
            Wrapper::Waiting => Wrapper::Kept,
            Wrapper::Looked => {
                run.entry.live = run.entry.live.max(1);
                Wrapper::Published
            }
            Wrapper::Published => {
                self.sync_new(jobs);
                Wrapper::Kept
            }
            Wrapper::Kept | Wrapper::Gone => {
                run.intent.live = 0;
                Wrapper::Gone
            }
        };
        jobs.runs[r].wrapper = step;
    }

    fn care(&self, jobs: &mut Jobs) {
        jobs.care = match jobs.care {
            Care::Idle => Care::Idle,
            Care::Looked(r) => {
                let run = &mut jobs.runs[r];
                run.lost_alive |= run.job == Job::Running;
                if self.has(Bug::LostTwice) {
                    run.others += 1;
                } else {
                    run.entry.live = run.entry.live.max(1);
                }
                Care::Published(r)
            }
            Care::Published(r) | Care::Found(r) => {
                self.sync_new(jobs);
                Care::Closing(r)
            }
            Care::Closing(r) => {
                jobs.runs[r].intent.live = 0;
                Care::Idle
            }
        };
    }
}

/// Every pair of what may be left of a run's names.
fn cuts(run: &Run) -> impl Iterator<Item = (u8, bool)> {
    let (disk, live) = (run.entry.disk, run.entry.live);
    let is_loose = run.intent.disk != run.intent.live;
    (disk..=live.max(disk)).flat_map(move |entry| {
        [false, true].into_iter().filter(move |newest| !newest || is_loose).map(move |newest| (entry, newest))
    })
}

impl Model for Leases {
    type State = Jobs;
    type Action = Act;

    fn init_states(&self) -> Vec<Jobs> {
        vec![Jobs {
            agent_kills: self.agent_kills,
            wrapper_kills: self.wrapper_kills,
            power_cuts: self.power_cuts,
            ..Jobs::default()
        }]
    }

    fn actions(&self, jobs: &Jobs, acts: &mut Vec<Act>) {
        self.may(jobs, acts);
        if jobs.agent_kills > 0 && jobs.is_up {
            acts.push(Act::AgentDies);
        }
        for (r, run) in jobs.runs.iter().enumerate() {
            if jobs.wrapper_kills > 0 && !matches!(run.wrapper, Wrapper::Unborn | Wrapper::Gone) {
                acts.push(Act::WrapperDies(r));
            }
        }
        if jobs.power_cuts > 0 {
            let [one, two] = &jobs.runs;
            for first in cuts(one) {
                acts.extend(cuts(two).map(|second| Act::Cut([first, second])));
            }
        }
    }

    fn next_state(&self, jobs: &Jobs, act: Act) -> Option<Jobs> {
        let mut next = *jobs;
        match act {
            Act::Step(r) => self.wrap(&mut next, r),
            Act::JobEnds(r) => next.runs[r].job = Job::Ended,
            Act::WrapperDies(r) => {
                next.wrapper_kills -= 1;
                next.runs[r].wrapper = Wrapper::Gone;
            }
            Act::AgentStarts => next.is_up = true,
            Act::AgentDies => {
                next.agent_kills -= 1;
                (next.is_up, next.care) = (false, Care::Idle);
            }
            Act::Look(r) => {
                next.care = match next.runs[r].entry.live {
                    0 if self.has(Bug::LostIgnored) => Care::Closing(r),
                    0 => Care::Looked(r),
                    _ if self.has(Bug::CloseUnflushed) => Care::Closing(r),
                    _ => Care::Found(r),
                }
            }
            Act::Care => self.care(&mut next),
            Act::Deliver(r) => next.runs[r].entry.live = 2,
            Act::Cut(kept) => {
                next.power_cuts -= 1;
                (next.is_up, next.care) = (false, Care::Idle);
                for (run, (entry, newest)) in next.runs.iter_mut().zip(kept) {
                    run.entry = Name { live: entry, disk: entry };
                    let intent = if newest { run.intent.live } else { run.intent.disk };
                    run.intent = Name { live: intent, disk: intent };
                    if run.wrapper != Wrapper::Unborn {
                        run.wrapper = Wrapper::Gone;
                    }
                    if run.job == Job::Running {
                        run.job = Job::Ended;
                    }
                }
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a job that was started is reported, or will be", |_, jobs: &Jobs| {
                let is_kept = |run: &Run| run.intent.live == 1 || run.entry.live > 0 || run.others > 0;
                jobs.runs.iter().all(|run| run.job == Job::Unborn || is_kept(run))
            }),
            Property::always("at most one completion for a run", |_, jobs: &Jobs| {
                jobs.runs.iter().all(|run| u8::from(run.entry.live > 0) + run.others <= 1)
            }),
            Property::always("nothing is lost that is alive", |_, jobs: &Jobs| {
                jobs.runs.iter().all(|run| !run.lost_alive)
            }),
            Property::always("what is not settled can go on", |model: &Leases, jobs: &Jobs| {
                let is_settled =
                    |run: &Run| run.job == Job::Unborn || (run.entry.live != 1 && run.intent.live == 0);
                let mut acts = Vec::new();
                jobs.runs.iter().all(is_settled) || {
                    model.may(jobs, &mut acts);
                    !acts.is_empty()
                }
            }),
        ]
    }
}
