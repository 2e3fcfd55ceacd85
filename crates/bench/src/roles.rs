//! The agent and what it is compared with, each as a process of its own: `bench role NAME …`.
//!
//! A process of its own has its own time, memory and system calls, and stands to the receiver as the product does. A
//! role prints one line of JSON when it is done ([`Ran`]). They all deliver the same text, rendered from a record of
//! 1 KiB, with the client that the agent uses:
//!
//! - `client`: deliveries, as many at a time as the window says, from memory;
//! - `reader`: the same, each record read from a file of a spool;
//! - `agent`: the agent itself, until everything that is there is delivered: so it also takes, proves and retires;
//! - `resident`: the agent, until its stdin ends;
//! - `list`: only lists the directory;
//! - `gateway`: the receiver ([`crate::lean`]); prints its port and lives until its stdin ends.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use spool_drain::{Options, render};
use spool_gateway::openclaw::{Config, OpenClawConnector};
use spool_gateway::receiver::{Connector, Delivery, Evidence, Gateway, Look, Mode, Reply};
use spooldir::{Dir, Id, Key, Record, Spool};

use crate::bench::Outcome;
use crate::counts::wait;
use crate::lean::{self, Pace};
use crate::rounds::Sample;

/// What a role came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Records delivered, or names listed.
    pub count: u64,
    /// How long it took from its first call to its last, microseconds.
    pub took: f64,
    /// Processor time of the process, all threads, microseconds.
    pub busy: f64,
    /// The most memory it had, KiB.
    pub peak: u64,
}

impl Ran {
    /// For a contest.
    pub fn sample(&self) -> Sample {
        Sample { count: self.count, took: Duration::from_secs_f64(self.took / 1e6), each: Vec::new() }
    }
}

/// No role takes longer: a million records are delivered within it where the disk needs a millisecond.
pub const LIMIT: Duration = Duration::from_secs(1_800);

/// A role, to be run.
///
/// # Errors
/// When this program cannot be found.
pub fn role(words: &[&str], paths: &[&Path]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("role").args(words).args(paths).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}

/// Runs a role to its end.
///
/// # Errors
/// When it fails, or says nothing.
pub fn ran(mut command: Command) -> Outcome<Ran> {
    let mut child = command.spawn()?;
    let status = wait(&mut child, LIMIT)?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said)?;
    }
    if !status.success() {
        return Err(format!("{:?} ended with {status}", command.get_args().collect::<Vec<_>>()).into());
    }
    Ok(serde_json::from_str(&said)?)
}

/// A process that lives as long as this.
#[derive(Debug)]
pub struct Alive {
    /// It.
    pub child: Child,
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Nothing can be done about one that cannot be ended.
        let _gone = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}

/// The receiver, in a process of its own.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub port: String,
    _alive: Alive,
}

impl Receiver {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not say its port.
    pub fn start(pace: Pace) -> Outcome<Receiver> {
        let micros = |time: Duration| time.as_micros().to_string();
        let mut command = role(&["gateway", &micros(pace.each), &micros(pace.slow)], &[])?;
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let mut port = String::new();
        let stdout = child.stdout.take();
        let alive = Alive { child };
        BufReader::new(stdout.ok_or("no stdout")?).read_line(&mut port)?;
        let port = port.trim().to_owned();
        if port.is_empty() {
            Err("the receiver did not start".into())
        } else {
            Ok(Receiver { port, _alive: alive })
        }
    }
}

/// A spool with so many pending records of 1 KiB, in so many lanes; not flushed, for it is not writing that is measured.
///
/// # Errors
/// When it cannot be written.
pub fn fill(dir: &Path, records: usize, lanes: usize) -> Outcome<()> {
    let spool = Spool::create(dir)?;
    let new = spool.dir(Dir::New);
    for number in 0..records {
        let name = new.join(format!("{}.json", Id::mint()));
        std::fs::write(name, record(&format!("agent:main:s{}", number % lanes.max(1))))?;
    }
    Ok(())
}

/// A record of 1 KiB for a session.
pub fn record(session: &str) -> Vec<u8> {
    let mut record = format!(
        r#"{{"sessionKey":"{session}","status":"ok","label":"nightly build","task":{{"runner":"bench","command":["make","all"],"exitCode":0,"durationMs":1234}},"text":""#
    )
    .into_bytes();
    record.resize(1022.max(record.len()), b'x');
    record.extend_from_slice(b"\"}");
    record
}

/// What `bench role …` does.
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(2).collect();
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    match play(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench role {words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(words: &[&str]) -> Outcome<()> {
    let start = Instant::now();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let count = match words {
        ["gateway", each, slow] => {
            let micros = |text: &str| Ok::<_, std::num::ParseIntError>(Duration::from_micros(text.parse()?));
            let address = lean::start(Pace { each: micros(each)?, slow: micros(slow)? }, None)?;
            println!("{}", address.port());
            std::io::stdin().read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        ["client", port, window, records] => {
            runtime()?.block_on(client(port, window.parse()?, records.parse()?))?
        }
        ["reader", port, window, dir] => {
            runtime()?.block_on(reader(port, window.parse()?, Path::new(dir)))?
        }
        ["agent", port, window, entries, dir] => {
            let options = options(window.parse()?, entries.parse()?);
            let spool = Spool::open(Path::new(dir))?;
            let connector = connector(port);
            let run = spool_drain::run(&spool, &connector, &options, std::future::pending());
            let summary = runtime()?.block_on(async { tokio::time::timeout(LIMIT, run).await })??;
            if summary.left > 0 || summary.dead > 0 {
                return Err(format!("not all was delivered: {summary:?}").into());
            }
            summary.delivered
        }
        ["resident", port, window, dir] => {
            // Nobody waits for company: that is a setting, not a cost.
            let options = Options { once: false, quiet: Duration::ZERO, ..options(window.parse()?, 1) };
            let spool = Spool::create(Path::new(dir))?;
            let connector = connector(port);
            runtime()?.block_on(spool_drain::run(&spool, &connector, &options, stdin_ends()))?.delivered
        }
        ["list", dir] => std::fs::read_dir(Path::new(dir).join("new"))?.count() as u64,
        _ => return Err("there is no such role".into()),
    };
    let busy = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let busy = busy.tv_sec as f64 * 1e6 + busy.tv_nsec as f64 / 1e3;
    let took = start.elapsed().as_secs_f64() * 1e6;
    let ran = Ran { count, took, busy, peak: memory("self", "VmHWM")? };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&ran)?)?;
    Ok(())
}

/// A line of `/proc/PID/status`, in KiB.
///
/// # Errors
/// When the process is gone.
pub fn memory(pid: &str, line: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(PathBuf::from("/proc").join(pid).join("status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let number = found.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    Ok(number.ok_or_else(|| format!("no {line} of process {pid}"))?)
}

fn connector(port: &str) -> OpenClawConnector {
    OpenClawConnector::new(Config::new(format!("ws://127.0.0.1:{port}")))
}

fn options(window: usize, entries: usize) -> Options {
    let mut options = Options { once: true, ..Options::default() };
    options.breaker.window = window;
    options.max_in_flight = window.max(options.max_in_flight);
    options.text.entries = entries;
    options
}

async fn stdin_ends() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new()).is_ok();
        tell.send(())
    });
    // Either way it has ended.
    let _ended = told.await.is_ok();
}

/// One delivery of a record, as the agent would word it.
fn delivery(record: &Record, session: String) -> Delivery {
    let (key, id) = (Key::mint(), Id::mint());
    let text = render::turn(&key, &[(&id, record)], &render::Limits::default());
    Delivery {
        key: key.to_string(),
        former_keys: Vec::new(),
        session_key: session,
        text,
        mode: Mode::Turn,
        route: None,
        traceparent: None,
    }
}

/// Looks, sends and waits for the evidence, as the agent does.
pub async fn deliver<G: Gateway>(gateway: &G, delivery: &Delivery) -> Outcome<()> {
    let look = gateway.look(&delivery.session_key).await.map_err(|trouble| trouble.reason)?;
    let Look::Open(session) = look else { return Err("the session is not open".into()) };
    match gateway.send(delivery, &session, Evidence::Sent, &|_| {}).await {
        Ok(Reply::Sent) => Ok(()),
        other => Err(format!("not sent: {other:?}").into()),
    }
}

async fn pump(
    port: &str,
    window: usize,
    mut next: impl FnMut() -> Option<Outcome<Delivery>>,
) -> Outcome<u64> {
    let gateway = connector(port).connect().await.map_err(|trouble| trouble.reason)?;
    let (mut flying, mut done, mut is_over) = (FuturesUnordered::new(), 0, false);
    loop {
        while flying.len() < window && !is_over {
            match next() {
                Some(delivery) => {
                    let (delivery, gateway) = (delivery?, &gateway);
                    flying.push(async move { deliver(gateway, &delivery).await });
                }
                None => is_over = true,
            }
        }
        match flying.next().await {
            Some(landed) => landed?,
            None => return Ok(done),
        }
        done += 1;
    }
}

async fn client(port: &str, window: usize, records: usize) -> Outcome<u64> {
    let parsed = Record::parse(&record("s")).map_err(|flaw| flaw.to_string())?;
    let mut number = 0;
    let next = || {
        number += 1;
        (number <= records).then(|| Ok(delivery(&parsed, format!("agent:main:s{number}"))))
    };
    pump(port, window, next).await
}

async fn reader(port: &str, window: usize, dir: &Path) -> Outcome<u64> {
    let spool = Spool::open(dir)?;
    let list = std::fs::read_dir(spool.dir(Dir::New))?;
    let mut names: Vec<PathBuf> = list.map(|item| Ok(item?.path())).collect::<std::io::Result<_>>()?;
    names.sort_unstable();
    let mut names = names.into_iter();
    let next = || {
        let path = names.next()?;
        let read = || {
            let content = spool.fs().read(&path, spooldir::record::MAX_BYTES).map_err(|e| e.to_string())?;
            let record = Record::parse(&content.bytes).map_err(|flaw| flaw.to_string())?;
            let session = record.session_key.clone().unwrap_or_default();
            Ok(delivery(&record, session))
        };
        Some(read())
    };
    pump(port, window, next).await
}
