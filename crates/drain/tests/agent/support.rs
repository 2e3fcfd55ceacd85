//! A spool, a gateway, and an agent between them that can be stopped and killed.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spool_drain::{Options, Summary};
use spool_gateway::fake::{self, Fake};
use spool_gateway::openclaw::OpenClawConnector;
use spool_gateway::openclaw::{Config, Deadlines};
use spool_gateway::secret::Source;
use spooldir::fs::Fs;
use spooldir::journal::Line;
use spooldir::{Dir, Entry, Error, Id, Spool};

/// No test waits longer than this for anything.
pub const LIMIT: Duration = Duration::from_secs(20);
pub const ROUTED: &str = "agent:main:telegram:direct:77001";
pub const INTERNAL: &str = "agent:main:internal";

pub struct Bench {
    pub fake: Fake,
    pub spool: Spool,
    pub options: Options,
    token: PathBuf,
    home: tempfile::TempDir,
}

impl Bench {
    pub async fn new() -> Bench {
        Bench::with(fake::Options::with_token("secret"), Arc::new(spooldir::fs::RealFs::new())).await
    }

    pub async fn with(gateway: fake::Options, fs: Arc<dyn Fs>) -> Bench {
        let home = tempfile::tempdir().unwrap();
        let fake = Fake::start(gateway).await.unwrap();
        fake.add_chat(ROUTED, 77001);
        fake.add_session(INTERNAL, None);
        let token = home.path().join("token");
        std::fs::write(&token, "secret").unwrap();
        std::os::unix::fs::chown(&token, None, None).unwrap();
        set_private(&token);
        let spool = Spool::create_on(&home.path().join("spool"), fs).unwrap();
        let mut options = Options {
            quiet: Duration::from_millis(30),
            quiet_most: Duration::from_millis(200),
            sweep: Duration::from_millis(200),
            grace: Duration::from_secs(2),
            ..Options::default()
        };
        options.patience.between = Duration::from_millis(30);
        options.patience.reply = Duration::from_secs(2);
        options.patience.late = Duration::from_millis(200);
        options.breaker.first = Duration::from_millis(50);
        options.breaker.cap = Duration::from_millis(200);
        options.retry.first = Duration::from_millis(50);
        options.retry.cap = Duration::from_millis(200);
        options.retry.floor = Duration::from_millis(10);
        Bench { fake, spool, options, token, home }
    }

    pub fn write_token(&self, token: &str) {
        std::fs::write(&self.token, token).unwrap();
    }

    pub fn connector(&self) -> OpenClawConnector {
        let mut config = Config::new(self.fake.url());
        config.token = Some(Source::File(self.token.clone()));
        config.identity_dir = Some(self.home.path().join("identity"));
        config.admin = true;
        config.deadlines = Deadlines {
            turn: Duration::from_secs(2),
            request: Duration::from_secs(2),
            ..Deadlines::default()
        };
        OpenClawConnector::new(config)
    }

    /// Runs an agent while the story goes on, and stops it gracefully at its end.
    pub async fn run<T>(&self, story: impl Future<Output = T>) -> (T, Summary) {
        let connector = self.connector();
        let (end, ended) = tokio::sync::oneshot::channel();
        let agent = spool_drain::run(&self.spool, &connector, &self.options, async {
            ended.await.unwrap();
        });
        let story = async {
            let out = story.await;
            end.send(()).unwrap();
            out
        };
        let (summary, out) = tokio::join!(agent, story);
        (out, summary.unwrap())
    }

    /// Runs an agent until the story ends, and drops it there: what a SIGKILL leaves.
    pub async fn run_and_kill<T>(&self, story: impl Future<Output = T>) -> T {
        let connector = self.connector();
        tokio::select! {
            biased;
            out = story => out,
            summary = spool_drain::run(&self.spool, &connector, &self.options, std::future::pending()) => {
                panic!("the agent ended by itself: {summary:?}")
            }
        }
    }

    /// Runs an agent that nobody stops until it ends by itself; what the story gives is kept until then.
    pub async fn run_to_its_end<T>(&self, story: impl Future<Output = T>) -> Result<Summary, Error> {
        let connector = self.connector();
        let agent = spool_drain::run(&self.spool, &connector, &self.options, std::future::pending());
        let (ended, _kept) = tokio::join!(tokio::time::timeout(LIMIT, agent), story);
        ended.unwrap()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub async fn once(&self) -> Summary {
        let options = Options { once: true, once_patience: Duration::from_secs(2), ..self.options.clone() };
        let connector = self.connector();
        spool_drain::run(&self.spool, &connector, &options, std::future::pending()).await.unwrap()
    }

    /// Publishes a record; `more` are further members.
    pub fn put(&self, session: &str, text: &str, more: &str) -> Id {
        let id = Id::mint();
        let record = format!(r#"{{"sessionKey":"{session}","text":"{text}"{more}}}"#);
        self.spool.publish(&id, record.as_bytes(), true).unwrap();
        id
    }

    pub fn entries(&self, dir: Dir) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.spool.each_entry(dir, |entry, _| entries.push(entry)).unwrap();
        entries
    }

    pub fn count(&self, dir: Dir) -> usize {
        self.entries(dir).len()
    }

    pub fn reason(&self, id: &Id) -> String {
        let entry = self.spool.find(id).unwrap().unwrap();
        self.spool.why(&entry).map(|why| why.reason).unwrap_or_default()
    }

    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.spool.each_line(|line| lines.push(line)).unwrap();
        lines
    }

    pub fn evidence(&self, id: &Id) -> Option<String> {
        self.lines().into_iter().rev().find(|l| l.id == id.as_str() && l.event == "prove")?.evidence
    }

    /// How often a record is in a transcript.
    pub fn commits(&self, id: &Id) -> usize {
        self.fake.commits_containing(id.as_str())
    }

    pub async fn until(&self, what: &str, wanted: impl Fn(&Bench) -> bool) {
        let started = Instant::now();
        while !wanted(self) {
            assert!(started.elapsed() < LIMIT, "waited in vain until {what}\njournal: {:#?}", self.lines());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn until_done(&self, n: usize) {
        self.until(&format!("{n} are done"), |b| b.count(Dir::Done) >= n).await;
    }

    /// Nothing is lost, nothing is in two states.
    pub fn audit(&self) {
        let audit = self.spool.audit().unwrap();
        assert!(audit.holds(), "{audit:?}");
    }
}

fn set_private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
