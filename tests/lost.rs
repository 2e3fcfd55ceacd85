//! Two hundred jobs, many at once, and at a random moment of each somebody is killed: its wrapper, itself, both, the
//! agent, or wrapper and agent. Whatever happens, a job that began is reported exactly once, and truly: as lost only if
//! its wrapper was killed, and not before it has ended.
//!
//! The seed is printed; `SPOOL_SEED` repeats the moments (not the scheduling). `SPOOL_ROUNDS` makes it longer.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spool_gateway::fake::{FakeThread, Options};
use spooldir::record::Status;
use spooldir::{Dir, Id, Record, Spool};

use crate::support::TempSpool;
use crate::support::programs::{Agent, Cli, state, wait_until, write_token};

const AT_ONCE: usize = 8;
const TOKEN: &str = "token";

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Wrapper,
    Job,
    Both,
    Agent,
    WrapperAndAgent,
}

/// One job and its fate.
#[derive(Debug, Clone)]
struct Case {
    id: Id,
    session: String,
    victim: Victim,
    /// How long the job takes, in milliseconds.
    takes: u64,
    /// When somebody is killed, after the start of the wrapper.
    moment: Duration,
    lease: &'static str,
    /// How long the agent is away then.
    away: u64,
    exit: u8,
}

impl Case {
    fn draw(n: usize, seed: u64) -> Case {
        let mut random = Random(seed ^ (n as u64).wrapping_mul(0xd134_2543_de82_ef95));
        let victims = [Victim::Wrapper, Victim::Job, Victim::Both, Victim::Agent, Victim::WrapperAndAgent];
        let takes = 50 + random.below(350);
        Case {
            id: Id::new(&format!("lost-{n:04}-{:04x}", seed & 0xffff)).unwrap(),
            session: format!("agent:main:telegram:direct:{}", 1 + n % 4),
            victim: victims[n % victims.len()],
            takes,
            // A quarter of them while the run is being opened and the job started.
            moment: Duration::from_micros(match random.below(4) {
                0 => random.below(15_000),
                _ => random.below((takes + 80) * 1000),
            }),
            lease: ["inherit", "main"][random.below(2) as usize],
            away: random.below(150),
            exit: [0, 0, 1, 7][random.below(4) as usize],
        }
    }
}

/// What is known of a case in the end.
#[derive(Debug)]
struct Fate {
    case: Case,
    /// Of the wrapper.
    ended: ExitStatus,
    /// The job's process number, if it began.
    began: Option<u32>,
    reported: Option<Status>,
    /// From the end of the job to its being reported as lost.
    delay: Option<Duration>,
}

struct Bench {
    spool: TempSpool,
    gateway: FakeThread,
    agent: Mutex<Option<Agent>>,
}

fn kill(whom: &[String]) {
    // Whom it is for may be gone.
    let _reached =
        Command::new("kill").arg("-KILL").arg("--").args(whom).stderr(Stdio::null()).status().unwrap();
}

/// The only child of a wrapper.
fn job_of(pid: u32) -> Option<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let children = |thread: PathBuf| std::fs::read_to_string(thread.join("children")).unwrap_or_default();
    let all: String = threads.flatten().map(|thread| children(thread.path())).collect();
    all.split_whitespace().next().map(str::to_owned)
}

/// Whether a process runs, or is a zombie: then it has ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn now_ms() -> u64 {
    spooldir::time::now_ms()
}

/// What is reported of a run, wherever it is by now.
fn record(spool: &Spool, id: &Id) -> Option<Record> {
    for _ in 0..10 {
        let entry = spool.find(id).unwrap()?;
        // It may move on before it is read.
        if let Ok(bytes) = std::fs::read(spool.path(&entry)) {
            return Some(Record::parse(&bytes).unwrap());
        }
    }
    None
}

impl Bench {
    fn marker(&self, case: &Case, kind: &str) -> PathBuf {
        self.spool.home().join(format!("{}.{kind}", case.id))
    }

    fn start(&self, case: &Case) -> Child {
        // The marks are whole when they are there. The job is its own group's leader and ends last.
        let script = r#"echo $$ > "$MARK.tmp" && mv "$MARK.tmp" "$MARK.began"; echo working; sleep "$TAKES"
            date +%s%3N > "$MARK.tmp" && mv "$MARK.tmp" "$MARK.ended"; exit "$EXIT""#;
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool-run"));
        let args = ["--id", case.id.as_str(), "--lease", case.lease, "--quiet", "--", "sh", "-c", script];
        command.args(args).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("SPOOL_DIR", self.spool.spool.root());
        command.env("SPOOL_SESSION", &case.session).env("MARK", self.spool.home().join(case.id.as_str()));
        command.env("TAKES", format!("0.{:03}", case.takes)).env("EXIT", case.exit.to_string());
        let stderr = self.spool.home().join(format!("{}.stderr", case.id));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(stderr).unwrap());
        command.spawn().unwrap()
    }

    fn kill_agent(&self, away: u64) {
        let mut agent = self.agent.lock().unwrap();
        agent.take().unwrap().kill();
        thread::sleep(Duration::from_millis(away));
        *agent = Some(Agent::start_unpaced(&self.spool, &self.gateway));
    }

    fn strike(&self, case: &Case, wrapper: &mut Child) {
        let pid = wrapper.id();
        match case.victim {
            Victim::Wrapper => wrapper.kill().unwrap(),
            Victim::Job => kill(&job_of(pid).into_iter().collect::<Vec<_>>()),
            Victim::Both => match job_of(pid) {
                Some(job) => kill(&[pid.to_string(), format!("-{job}")]),
                None => wrapper.kill().unwrap(),
            },
            Victim::Agent => self.kill_agent(case.away),
            Victim::WrapperAndAgent => {
                wrapper.kill().unwrap();
                self.kill_agent(case.away);
            }
        }
    }

    /// From the start of a job to its being reported.
    fn play(&self, case: Case) -> Fate {
        let mut wrapper = self.start(&case);
        thread::sleep(case.moment);
        self.strike(&case, &mut wrapper);
        let mut ended = None;
        wait_until("the wrapper ends", || {
            ended = wrapper.try_wait().unwrap();
            ended.is_some()
        });
        let mut fate = Fate { ended: ended.unwrap(), began: None, reported: None, delay: None, case };
        let mut dead_since = None;
        wait_until(&format!("{} is reported, or never was", fate.case.id), || {
            let spool = &self.spool.spool;
            let pid = number(&self.marker(&fate.case, "began")).map(|pid| u32::try_from(pid).unwrap());
            fate.began = fate.began.or(pid);
            if fate.began.is_some_and(|pid| !is_alive(pid)) {
                dead_since.get_or_insert_with(Instant::now);
            }
            // In this order: a run that is closed has been reported before.
            let is_open = spool.intent(&fate.case.id).unwrap().is_some();
            let record = record(spool, &fate.case.id);
            fate.reported = record.as_ref().map(|r| r.status);
            if fate.reported == Some(Status::Lost) {
                self.check_lost(&fate, record.as_ref().unwrap());
                // A job that was seen alive at the last look has ended since.
                fate.delay = Some(dead_since.map_or(Duration::ZERO, |since| since.elapsed()));
            }
            fate.reported.is_some() || (!is_open && fate.began.is_none())
        });
        fate
    }

    fn check_lost(&self, fate: &Fate, record: &Record) {
        assert!(!fate.began.is_some_and(is_alive), "reported as lost, but it lives: {fate:?}");
        if let Some(end) = number(&self.marker(&fate.case, "ended")) {
            let lost = record.created_at.unwrap();
            assert!(lost >= end, "reported as lost {} ms before its end: {fate:?}", end - lost);
        }
    }
}

impl Fate {
    fn check(&self) {
        let Case { victim, exit, .. } = self.case;
        let is_killed = self.ended.signal() == Some(9)
            && matches!(victim, Victim::Wrapper | Victim::Both | Victim::WrapperAndAgent);
        let itself = if exit == 0 { Status::Ok } else { Status::Failed };
        match self.reported {
            None => assert!(is_killed && self.began.is_none(), "not reported: {self:?}"),
            Some(Status::Lost) => assert!(is_killed, "falsely lost: {self:?}"),
            // Killed, or too late for that.
            Some(status) if matches!(victim, Victim::Job | Victim::Both) => {
                assert!(status == Status::Failed || status == itself, "{self:?}");
            }
            Some(status) => assert_eq!(status, itself, "{self:?}"),
        }
        if !is_killed && victim != Victim::Job {
            assert_eq!(self.ended.code(), Some(i32::from(exit)), "{self:?}");
        }
    }
}

#[test]
fn whoever_is_killed_each_job_is_reported_once() {
    let var = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().unwrap());
    let seed = var("SPOOL_SEED").unwrap_or_else(now_ms);
    let rounds = usize::try_from(var("SPOOL_ROUNDS").unwrap_or(200)).unwrap();
    println!("SPOOL_SEED={seed}");
    let spool = TempSpool::new();
    write_token(&spool, TOKEN);
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    for chat in 1..=4 {
        gateway.add_chat(&format!("agent:main:telegram:direct:{chat}"), chat);
    }
    let agent = Mutex::new(Some(Agent::start_unpaced(&spool, &gateway)));
    let bench = Bench { spool, gateway, agent };
    let (next, fates) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= rounds {
                        return;
                    }
                    let fate = bench.play(Case::draw(n, seed));
                    fates.lock().unwrap().push(fate);
                }
            });
        }
    });
    let fates = fates.into_inner().unwrap();
    assert_eq!(fates.len(), rounds);
    let (spool, gateway) = (&bench.spool, &bench.gateway);
    wait_until("no run is left", || spool.spool.runs().unwrap().is_empty());
    for fate in &fates {
        fate.check();
        let id = fate.case.id.as_str();
        if fate.reported.is_some() {
            wait_until(&format!("{id} is delivered"), || state(&spool.spool, id) == "done");
        }
        let began = bench.marker(&fate.case, "began").exists();
        assert!(fate.reported.is_some() || !began, "began after all: {fate:?}");
        let commits = gateway.commits_containing(id);
        assert_eq!(commits, usize::from(fate.reported.is_some()), "{commits} turns for {fate:?}");
    }
    Cli::new(spool, &["audit"]).run().exits(0);
    assert_eq!(spool.names(Dir::New), [""; 0]);
    // Whoever was killed while closing a run leaves files that mean nothing without the intent; upkeep removes them.
    let is_small = |name: &String| [".lock", ".route", ".pid"].iter().any(|kind| name.contains(kind));
    assert!(spool.names(Dir::Runs).iter().all(is_small), "{:?}", spool.names(Dir::Runs));
    tell(&fates, started.elapsed());
    let slowest = fates.iter().filter_map(|f| f.delay).max().unwrap_or_default();
    assert!(slowest < Duration::from_secs(5), "a job was reported as lost only {slowest:?} after its end");
    if rounds >= 100 {
        let lost = fates.iter().filter(|f| f.reported == Some(Status::Lost)).count();
        assert!(lost > rounds / 10, "the moments miss: {lost} of {rounds} lost");
    }
}

fn tell(fates: &[Fate], took: Duration) {
    let mut counts: BTreeMap<(Victim, String), usize> = BTreeMap::new();
    for fate in fates {
        let end = fate.reported.map_or("never began".to_owned(), |status| status.to_string());
        *counts.entry((fate.case.victim, end)).or_default() += 1;
    }
    for ((victim, end), count) in counts {
        println!("{victim:?} killed, {end}: {count}");
    }
    let mut delays: Vec<Duration> = fates.iter().filter_map(|f| f.delay).collect();
    delays.sort();
    if let (Some(median), Some(most)) = (delays.get(delays.len() / 2), delays.last()) {
        println!("from a job's end to its being reported as lost: median {median:?}, at most {most:?}");
    }
    println!("{} jobs in {took:?}", fates.len());
}
