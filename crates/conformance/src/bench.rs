//! Runs the command under judgement: one process group for each call, with a deadline, its words kept for the reasons.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use spooldir::Id;

use crate::disk::Ground;
use crate::rules::RULES;
use crate::stage::Stage;
use crate::verdict::{Finding, Judgement, Stop, Trouble, Verdict};

/// How a producer is judged.
#[derive(Debug, Clone)]
pub struct Options {
    /// It publishes under `SPOOL_ID`; otherwise its records have no id, and what rests on one is not tried.
    pub id: bool,
    /// It is declared to be for plain texts only: without quotes, backslashes and control characters.
    pub plain: bool,
    /// It is declared to cut what takes more than 200 KB in JSON, instead of refusing it.
    pub cuts: bool,
    /// How often it is killed.
    pub kills: u64,
    /// How often eight of them are started at once.
    pub races: u64,
    /// For the moments of the kills.
    pub seed: u64,
    /// What a call may take before it is given up.
    pub patience: Duration,
    /// Only these rules; all when it is empty.
    pub only: Vec<String>,
    /// What else is in its environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            id: true,
            plain: false,
            cuts: false,
            kills: 200,
            races: 8,
            seed: 1,
            patience: Duration::from_secs(30),
            only: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// Judges a command. `scratch` is an empty directory; as root the work is done in one in memory, which nobody else sees.
///
/// # Errors
/// When the kit cannot do its work, for example because the command cannot be started.
pub fn judge(command: &[OsString], options: &Options, scratch: &Path) -> Result<Judgement, Trouble> {
    for name in &options.only {
        if !RULES.iter().any(|rule| rule.name == name) {
            return Err(format!("there is no rule {name}").into());
        }
    }
    // A mount namespace belongs to a thread and those it starts: this one ends with the judgement.
    thread::scope(|scope| {
        let judging = scope.spawn(|| {
            let mut bench = Bench::new(command, options, scratch)?;
            let mut judgement = Judgement::default();
            for rule in RULES {
                if !options.only.is_empty() && !options.only.iter().any(|name| name == rule.name) {
                    continue;
                }
                let verdict = match rule.needs.iter().find(|need| judgement.failed().contains(need)) {
                    Some(need) => Verdict::NotTried(format!("it says nothing while {need} fails")),
                    None => match (rule.try_it)(&mut bench) {
                        Ok(remark) => Verdict::Pass(remark),
                        Err(Stop::Fail(reason)) => Verdict::Fail(reason),
                        Err(Stop::NotTried(reason)) => Verdict::NotTried(reason),
                        Err(Stop::Trouble(trouble)) => return Err(format!("{}: {trouble}", rule.name).into()),
                    },
                };
                judgement.findings.push(Finding { rule, verdict });
            }
            (judgement.runs, judgement.kills) = (bench.runs, bench.kills);
            Ok(judgement)
        });
        judging.join().unwrap_or_else(|_| Err("the judge panicked".into()))
    })
}

/// What a producer is to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The id, if it is one that takes an id.
    pub id: Option<Id>,
    /// The session.
    pub session: String,
    /// The text.
    pub text: OsString,
    /// Whether it is right to publish only the start of the text.
    pub may_be_cut: bool,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With exit status 0: the promise is given.
    Yes,
    /// With another one, or by a signal of its own; in words.
    No(String),
}

impl Ended {
    /// Whether it said yes.
    pub fn is_yes(&self) -> bool {
        *self == Ended::Yes
    }
}

/// A call under way.
pub struct Running {
    child: Child,
    words: PathBuf,
    deadline: Instant,
}

/// Where a command is judged.
pub struct Bench<'a> {
    command: &'a [OsString],
    /// As asked for.
    pub options: &'a Options,
    /// Whether there may be mounts, and why not.
    pub ground: Result<Ground, String>,
    scratch: PathBuf,
    serial: u64,
    chance: u64,
    runs: u64,
    /// Counted by the rule that kills.
    pub kills: u64,
}

impl<'a> Bench<'a> {
    fn new(command: &'a [OsString], options: &'a Options, scratch: &Path) -> Result<Bench<'a>, Trouble> {
        // What links in the path of the scratch directory lead to is nothing that a producer is judged for.
        let scratch = scratch.canonicalize()?;
        let ground = Ground::prepare(&scratch);
        let scratch = ground.as_ref().map_or(scratch, |ground| ground.at().to_owned());
        Ok(Bench { command, options, ground, scratch, serial: 0, chance: options.seed, runs: 0, kills: 0 })
    }

    /// A new path in the scratch directory.
    pub fn path(&mut self, what: &str) -> PathBuf {
        self.serial += 1;
        self.scratch.join(format!("{what}-{}", self.serial))
    }

    /// A new spool.
    pub fn stage(&mut self) -> Result<Stage, Stop> {
        let root = self.path("spool");
        Stage::make(&root)
    }

    /// A number below `n`, the next of a sequence that the seed decides (SplitMix64; Steele, Lea, Flood 2014).
    pub fn below(&mut self, n: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    /// A call with a new id.
    pub fn call(&self, text: impl Into<OsString>) -> Call {
        let session = "agent:main:telegram:group:-1001:topic:7".to_owned();
        Call { id: self.options.id.then(Id::mint), session, text: text.into(), may_be_cut: false }
    }

    /// The same where an id is the point.
    pub fn call_with_id(&self, text: impl Into<OsString>) -> Result<Call, Stop> {
        let call = self.call(text);
        if call.id.is_none() {
            return Err(Stop::NotTried("its records have no id (--no-id)".into()));
        }
        Ok(call)
    }

    /// Runs it to its end in the spool at `root`.
    pub fn run(&mut self, root: &Path, call: &Call) -> Result<Ended, Stop> {
        let running = self.start(root, call)?;
        self.end(running)
    }

    /// The same, with files that can be no longer than a few kilobytes: a write is cut short, the next one fails.
    pub fn run_cramped(&mut self, root: &Path, call: &Call) -> Result<Ended, Stop> {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"]).args(self.command);
        let running = self.start_as(command, root, call)?;
        self.end(running)
    }

    /// Starts it.
    pub fn start(&mut self, root: &Path, call: &Call) -> Result<Running, Stop> {
        let [program, args @ ..] = self.command else {
            return Err(Stop::Trouble("there is no command to judge".into()));
        };
        let mut command = Command::new(program);
        command.args(args);
        self.start_as(command, root, call)
    }

    fn start_as(&mut self, mut command: Command, root: &Path, call: &Call) -> Result<Running, Stop> {
        let words = self.path("words");
        command
            .envs(self.options.env.iter().map(|(name, value)| (name, value)))
            .env_remove("OPENCLAW_SESSION_KEY")
            .env_remove("SPOOL_ID")
            .env("SPOOL_DIR", root)
            .env("SPOOL_SESSION", &call.session)
            .env("SPOOL_TEXT", &call.text)
            .envs(call.id.as_ref().map(|id| ("SPOOL_ID", id.as_str())))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&words)?);
        let child = command
            .spawn()
            .map_err(|e| Stop::Trouble(format!("cannot start {:?}: {e}", command.get_program()).into()))?;
        self.runs += 1;
        Ok(Running { child, words, deadline: Instant::now() + self.options.patience })
    }

    /// Waits for its end. What takes too long is killed, and has not said yes.
    pub fn end(&self, mut running: Running) -> Result<Ended, Stop> {
        let mut pause = Duration::from_micros(100);
        let status = loop {
            if let Some(status) = running.child.try_wait()? {
                break status;
            }
            if Instant::now() >= running.deadline {
                running.kill()?;
                fs::remove_file(&running.words)?;
                let limit = self.options.patience.as_secs();
                return Err(Stop::Fail(format!("it had not ended after {limit} s, and was killed")));
            }
            thread::sleep(pause);
            pause = (pause * 5 / 4).min(Duration::from_millis(2));
        };
        let ended = ended(status, &running.words);
        fs::remove_file(&running.words)?;
        Ok(ended)
    }
}

fn ended(status: ExitStatus, words: &Path) -> Ended {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return Ended::Yes,
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    };
    // Its last words, as far as they fit on a line; they decide nothing.
    let words = fs::read(words).unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let last = words.trim_end().lines().next_back().unwrap_or_default();
    let last: String = last.chars().filter(|c| !c.is_control()).take(100).collect();
    Ended::No(if last.is_empty() { how } else { format!("{how}: {last}") })
}

impl Running {
    /// Whether it has ended by itself.
    pub fn is_over(&mut self) -> Result<bool, Stop> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// SIGKILL to it and all it has started. True when it came in time to end it.
    pub fn kill(&mut self) -> Result<bool, Stop> {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| Stop::Trouble("a process without a number".into()))?;
        if self.child.try_wait()?.is_some() {
            return Ok(false);
        }
        kill_process_group(group, Signal::KILL)?;
        let status = self.child.wait()?;
        // Its children got the signal too, but may be in the middle of a system call.
        let deadline = Instant::now() + Duration::from_millis(200);
        while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Forgets what it said.
    pub fn discard(self) -> Result<(), Stop> {
        Ok(fs::remove_file(&self.words)?)
    }
}

impl Call {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.text.as_bytes()).ok()
    }
}
