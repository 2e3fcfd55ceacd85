//! One case: a spool, an agent and a gateway that is hostile first and honest then.
//!
//! Everything of a case lives on one thread: the honest gateway, the proxy before it and, in process, the agent. An
//! agent of the other kind is the real `spool drain`. Half of the story is the same for both: while the gateway is
//! hostile the agent has to hold out (or, in some cases, to end when it is asked to, and to be started again); then the
//! gateway is honest, and the records have to come to the end that the script names.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use spool_drain::{Options, Summary};
use spool_gateway::fake::{Fake, Options as FakeOptions};
use spool_gateway::openclaw::{Config, Deadlines, OpenClawConnector};
use spool_gateway::secret::Source;
use spooldir::lock::AgentLock;
use spooldir::{Dir, Id, Spool};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::check;
use super::proxy::Proxy;
use super::script::{Ends, Moment, Script};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// The sessions of a case: two that records are for, and one that must never get anything.
pub(super) const SESSIONS: [(&str, i64); 2] =
    [("agent:main:telegram:direct:77001", 77001), ("agent:main:telegram:direct:77002", 77002)];
pub(super) const DECOY: (&str, i64) = ("agent:main:telegram:direct:66666", 66666);

/// How long a stop may take in this process; what the program takes is ten seconds.
const GRACE: Duration = Duration::from_secs(1);
const PROGRAM_GRACE: Duration = Duration::from_secs(10);
/// A busy machine is slow; nothing here is a measure of speed.
const SLACK: Duration = Duration::from_secs(30);

/// One script at one moment, with one kind of agent.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) script: Arc<Script>,
    pub(super) moment: Moment,
    /// The real program instead of the agent in this process.
    pub(super) is_program: bool,
    /// The agent is asked to end while the gateway is hostile, and started again.
    pub(super) is_stopped: bool,
}

impl Case {
    /// Its name, for people.
    pub(super) fn name(&self) -> String {
        let agent = if self.is_program { "program" } else { "in process" };
        let stopped = if self.is_stopped { ", stopped" } else { "" };
        format!("{} / {} ({agent}{stopped})", self.script.name, self.moment.name())
    }
}

/// A record of a case.
pub(super) struct Record {
    pub(super) id: Id,
    /// In [`SESSIONS`].
    pub(super) session: usize,
    pub(super) bytes: Vec<u8>,
}

/// Everything a case stands on.
pub(super) struct Bench {
    pub(super) case: Case,
    pub(super) home: PathBuf,
    pub(super) spool: Spool,
    pub(super) fake: Fake,
    pub(super) proxy: Proxy,
    pub(super) records: Vec<Record>,
    pub(super) token: String,
    pub(super) started: Instant,
    /// What an agent in this process said.
    pub(super) log: Log,
    /// What the programs took at most, and together.
    pub(super) peak_kib: u64,
    pub(super) cpu: Duration,
    pub(super) saw_refused: bool,
    /// How long the gateway was hostile, and what happened in that time.
    pub(super) hostile: Duration,
}

/// Lines of a log.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        self.0.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Ok(mut all) = self.0.lock() {
            all.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An agent at work.
enum Agent {
    Here(JoinHandle<Result<Summary, spooldir::Error>>, Option<oneshot::Sender<()>>),
    Program(Reaped),
}

/// A program that does not outlive its case.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Plays a case from its start to its end.
pub(super) async fn play(ground: &Ground, number: usize, case: Case, log: Log) -> Outcome<Report> {
    let mut bench = Bench::new(ground, number, case, log).await?;
    let mut report = Report::default();
    report.count("cases", 1);
    let limit = if ground.hunts() { Duration::from_secs(4) } else { Duration::from_secs(75) };
    let ended = bench.story(ground, limit, &mut report).await;
    if let Err(why) = ended {
        let what = why.to_string();
        report.check(false, || format!("{}: {what}", bench.case.name()));
    }
    check::all(&bench, &mut report);
    std::fs::remove_dir_all(&bench.home).ok();
    Ok(report)
}

impl Bench {
    async fn new(ground: &Ground, number: usize, case: Case, log: Log) -> Outcome<Bench> {
        let home = ground.room(&format!("case-{number}"))?;
        let token = format!("canary-{:016x}-{number}", ground.seed ^ 0x5bd1_e995_7b93_11d7);
        let options =
            FakeOptions { tick: Duration::from_millis(400), ..FakeOptions::with_token(token.as_str()) };
        let fake = Fake::start(options).await?;
        for (session, chat) in SESSIONS.iter().chain([&DECOY]) {
            fake.add_chat(session, *chat);
        }
        let script = Arc::clone(&case.script);
        let proxy = Proxy::start(script, case.moment, fake.clone(), token.clone()).await?;
        let spool = Spool::create(&home.join("spool"))?;
        let mut bench = Bench {
            case,
            home,
            spool,
            fake,
            proxy,
            records: Vec::new(),
            token,
            started: Instant::now(),
            log,
            peak_kib: 0,
            cpu: Duration::ZERO,
            saw_refused: false,
            hostile: Duration::ZERO,
        };
        bench.write_token()?;
        for session in [0, 0, 1] {
            let (key, _) = SESSIONS[session];
            let id = Id::mint();
            let mut record = json!({"id": id.as_str(), "sessionKey": key, "text": format!("this is {id}")});
            if bench.case.script.is_message {
                record["deliver"] = json!("message");
            }
            let bytes = record.to_string().into_bytes();
            bench.spool.publish(&id, &bytes, true)?;
            bench.records.push(Record { id, session, bytes });
        }
        Ok(bench)
    }

    fn token_file(&self) -> PathBuf {
        self.home.join("token")
    }

    /// Written anew: what a person does who mends something.
    fn write_token(&self) -> Outcome<()> {
        use std::io::Write as _;
        let path = self.home.join("token.new");
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(self.token.as_bytes())?;
        rustix::fs::rename(path, self.token_file())?;
        Ok(())
    }

    async fn story(&mut self, ground: &Ground, limit: Duration, report: &mut Report) -> Outcome<()> {
        let mut agent = self.start(ground)?;
        let began = Instant::now();
        let may_settle = matches!(self.case.script.ends, Ends::Dead(_) | Ends::Held(_) | Ends::Believed);
        // The program takes a second where the agent in this process takes a moment.
        let spell = self.case.script.spell * if self.case.is_program { 3 } else { 1 };
        loop {
            sleep(Duration::from_millis(5)).await;
            self.watch(&mut agent)?;
            // What has to be seen is waited for: a busy machine may take longer than the spell to come to it.
            let is_seen =
                self.proxy.stage.fired() > 0 && (self.saw_refused || self.case.script.ends != Ends::Refused);
            let is_over = began.elapsed() >= spell && is_seen && !may_settle;
            if self.is_settled() || is_over || began.elapsed() >= limit {
                break;
            }
        }
        self.hostile = began.elapsed();
        report.count("strikes", self.proxy.stage.fired());
        if self.case.is_stopped {
            self.stop(agent, report).await?;
        } else {
            self.keep(agent, report, limit).await?;
            return Ok(());
        }
        self.proxy.be_honest()?;
        let agent = self.start(ground)?;
        self.keep(agent, report, limit).await
    }

    /// The gateway is honest: all that is left has to come to its end.
    async fn keep(&mut self, mut agent: Agent, report: &mut Report, limit: Duration) -> Outcome<()> {
        self.proxy.be_honest()?;
        self.write_token()?;
        let since = Instant::now();
        while !self.is_settled() && since.elapsed() < limit {
            sleep(Duration::from_millis(5)).await;
            self.watch(&mut agent)?;
        }
        self.stop(agent, report).await
    }

    /// Whether every record is where it can stay.
    fn is_settled(&self) -> bool {
        let ends = [Dir::Done, Dir::Dead, Dir::Hold];
        self.records.iter().all(|record| matches!(self.spool.find_in(&record.id, &ends), Ok(Some(_))))
    }

    /// Looks at an agent at work.
    fn watch(&mut self, agent: &mut Agent) -> Outcome<()> {
        let has_ended = match agent {
            Agent::Here(task, _) => task.is_finished(),
            Agent::Program(child) => child.0.try_wait()?.is_some(),
        };
        if has_ended {
            return Err(
                format!("the agent ended by itself; it said: {}", check::tail(&self.all_logs())).into()
            );
        }
        self.saw_refused |=
            spool_drain::status::read(&self.spool).is_some_and(|status| status.gateway.state == "refused");
        Ok(())
    }

    /// What the agents said.
    pub(super) fn all_logs(&self) -> String {
        let program = std::fs::read(self.home.join("agent.log")).unwrap_or_default();
        format!("{}{}", self.log.text(), String::from_utf8_lossy(&program))
    }

    fn start(&self, ground: &Ground) -> Outcome<Agent> {
        let url = format!("ws://127.0.0.1:{}", self.proxy.port);
        if self.case.is_program {
            let log = File::options().create(true).append(true).open(self.home.join("agent.log"))?;
            let mut command = ground.command("spool");
            command.args(["drain", "--gateway", &url, "--token-file"]).arg(self.token_file());
            command.env("HOME", &self.home).env("SPOOL_DIR", self.spool.root()).stderr(log);
            return Ok(Agent::Program(Reaped(command.spawn()?)));
        }
        let (end, mut ended) = oneshot::channel();
        let mut config = Config::new(url);
        config.token = Some(Source::File(self.token_file()));
        config.identity_dir = Some(self.home.join("identity"));
        config.deadlines = deadlines(self.case.script.is_slow);
        let spool = Rc::new(Spool::open(self.spool.root())?);
        let task = tokio::task::spawn_local(async move {
            let connector = OpenClawConnector::new(config);
            let options = options();
            let since = Instant::now();
            loop {
                let shutdown = async {
                    // Dropped or sent: both mean that it is over.
                    (&mut ended).await.ok();
                };
                match spool_drain::run(&spool, &connector, &options, shutdown).await {
                    // A program that another case starts at this moment has, until it is executed, a copy of all our
                    // descriptors, the lock of the agent before this one among them.
                    Err(spooldir::Error::Locked { .. }) if since.elapsed() < SLACK => {
                        sleep(Duration::from_millis(10)).await;
                    }
                    other => return other,
                }
            }
        });
        Ok(Agent::Here(task, Some(end)))
    }

    /// Asks the agent to end, and sees that it does.
    async fn stop(&mut self, agent: Agent, report: &mut Report) -> Outcome<()> {
        report.count("stops", 1);
        let asked = Instant::now();
        match agent {
            Agent::Here(task, end) => {
                drop(end);
                let ended = timeout(GRACE + SLACK, task).await;
                let ended = ended.map_err(|_| "asked to end, the agent did not")?;
                ended??;
            }
            Agent::Program(mut child) => {
                // Before it has the lock it cannot be asked anything.
                while !AgentLock::is_taken(&self.spool)? && asked.elapsed() < SLACK {
                    sleep(Duration::from_millis(5)).await;
                }
                if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(child.0.id())?) {
                    let (peak, cpu) = check::resources(child.0.id());
                    self.peak_kib = self.peak_kib.max(peak);
                    self.cpu += cpu;
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
                }
                let code = loop {
                    if let Some(status) = child.0.try_wait()? {
                        break status.code();
                    }
                    if asked.elapsed() > PROGRAM_GRACE + SLACK {
                        return Err("after SIGTERM the agent did not end".into());
                    }
                    sleep(Duration::from_millis(5)).await;
                };
                if code != Some(0) {
                    return Err(format!("after SIGTERM the agent ended with {code:?}").into());
                }
            }
        }
        Ok(())
    }
}

/// Short enough for many cases, long enough for a busy machine.
fn deadlines(is_slow: bool) -> Deadlines {
    Deadlines {
        open: Duration::from_millis(800),
        handshake: Duration::from_millis(800),
        request: Duration::from_millis(1200),
        turn: Duration::from_millis(if is_slow { 2500 } else { 6000 }),
        message: Duration::from_millis(2500),
        silence: Some(Duration::from_secs(2)),
    }
}

fn options() -> Options {
    let mut options = Options {
        quiet: Duration::from_millis(10),
        quiet_most: Duration::from_millis(50),
        sweep: Duration::from_millis(500),
        grace: GRACE,
        ..Options::default()
    };
    options.patience.between = Duration::from_millis(40);
    options.patience.queued = Duration::from_millis(1500);
    options.patience.reply = Duration::from_secs(3);
    options.patience.late = Duration::from_millis(150);
    options.breaker.first = Duration::from_millis(40);
    options.breaker.cap = Duration::from_millis(300);
    options.breaker.refused = Duration::from_millis(300);
    options.breaker.retry_after = Duration::from_millis(400);
    options.retry.first = Duration::from_millis(40);
    options.retry.cap = Duration::from_secs(2);
    options.retry.floor = Duration::from_millis(10);
    options
}
