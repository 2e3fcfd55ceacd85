//! Runs: jobs in progress, and how it is noticed that nobody is left to report one (`spool-format.md` section 9).
//!
//! A run is an *intent* (`runs/ID.json`, flushed before the job starts) and a *lease* (`runs/ID.lock`, locked with
//! flock(2) through a descriptor that the job inherits). The kernel gives the lock back when the last holder is gone,
//! for whatever reason, so a lease that is free says that wrapper and job have both ended: no process number, no
//! heartbeat, no timeout, and a job of many days is never taken for dead. A restart of the machine frees all.
//!
//! The completion of a run has the run's id. Whoever publishes it first wins, so that there is never a second one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spool_seeded::Bug;

use crate::error::{Context, Error};
use crate::fs::Unfit;
use crate::layout::{Dir, Spool};
use crate::name::Id;
use crate::open;
use crate::record::{Deliver, MAX_LABEL, Notify, check_session_key};
use crate::sanitize;
use crate::stage::name_flushed;

/// The largest intent, in bytes.
const MAX_INTENT: u64 = 256 * 1024;
/// The most of a log that a completion carries, in bytes.
pub const TAIL_BYTES: usize = 8 * 1024;
/// The most lines of a log that a completion carries, unless the user says otherwise.
pub const TAIL_LINES: usize = 40;

/// Where a reply belongs, as far as it was known when the job started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members are those of a record's route")]
pub struct RunRoute {
    pub channel: String,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
}

/// What was started: the content of `runs/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Intent {
    /// 1.
    pub v: u64,
    /// The run's id, and later its completion's.
    pub id: String,
    /// The session that is to hear of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// A short name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What was started.
    pub command: Vec<String>,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// On which machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// In which of its lives; see [`boot_id`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub started_at: u64,
    /// When the session is told (the words of a record's `notify`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// How the session is told (the words of a record's `deliver`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliver: Option<String>,
    /// What a completion says of the output: `tail`, `path` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How many lines of it; [`TAIL_LINES`] if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail_lines: Option<u64>,
    /// Where the answer belongs in a session that several people share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RunRoute>,
    /// W3C trace context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Wrapper or job is there.
    Running,
    /// Both are gone.
    Over,
}

/// The lease of a run: as long as any process has the descriptor open, the run is not over.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

impl Lease {
    /// Lets child processes inherit the lease, or not. Between the two calls nothing else may be spawned.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn inherit(&self, yes: bool) -> io::Result<()> {
        let flags = if yes { rustix::io::FdFlags::empty() } else { rustix::io::FdFlags::CLOEXEC };
        Ok(rustix::io::fcntl_setfd(&self.file, flags)?)
    }
}

/// For handing the lease to one child as one of its standard descriptors.
impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Spool {
    /// Opens a run: takes the lease, then writes and flushes the intent. Only then may the job start.
    ///
    /// # Errors
    /// [`Error::Io`]; then there is no run.
    pub fn open_run(&self, id: &Id, intent: &Intent) -> Result<Lease, Error> {
        let lock = self.run_file(id, "lock");
        let mut options = OpenOptions::new();
        let file =
            options.read(true).write(true).create_new(true).mode(0o600).open(&lock).at("create", &lock)?;
        fs2::FileExt::try_lock_exclusive(&file).at("lock", &lock)?;
        let json = serde_json::to_vec(intent).map_err(io::Error::from).at("write", &lock)?;
        match self.write_intent(id, &json) {
            Ok(()) => Ok(Lease { file }),
            Err(e) => {
                // The intent may be there: its flush failed, or the answer got lost. It is not ours where the name was
                // taken, nor where it says something else, whatever went wrong with ours.
                let path = self.run_file(id, "json");
                let is_taken =
                    matches!(&e, Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists);
                if !is_taken && matches!(self.fs().read(&path, MAX_INTENT), Ok(there) if there.bytes == json)
                {
                    let _gone = self.fs().remove(&path).is_ok();
                }
                let _gone = self.fs().remove(&lock).is_ok();
                Err(e)
            }
        }
    }

    fn write_intent(&self, id: &Id, json: &[u8]) -> Result<(), Error> {
        let runs = self.dir(Dir::Runs);
        name_flushed(self.fs(), &self.dir(Dir::Tmp), json, &self.run_file(id, "json"), "create")?;
        if spool_seeded::is(Bug::IntentUnsynced) {
            return Ok(());
        }
        self.fs().sync_dir(&runs).at("flush", runs)
    }

    /// Says which process is the job, for leases that the job does not inherit (`--lease main`).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn name_main(&self, id: &Id, pid: u32) -> Result<(), Error> {
        let path = self.run_file(id, "pid");
        let born = born_at(pid).unwrap_or_default();
        self.fs().replace(&path, format!("{pid} {born}\n").as_bytes()).at("write", path)
    }

    /// Flushes the completion of a run that somebody else published, who may have died before the flush: the intent is
    /// all there is of the run on the disk until its completion is there too. `false` when there is none.
    ///
    /// # Errors
    /// [`Error::Unknown`] when it cannot be flushed, [`Error::Io`] when it cannot be looked for; then the run is not to
    /// be closed.
    pub fn flush_completion(&self, id: &Id) -> Result<bool, Error> {
        let Some(completion) = self.find(id)? else { return Ok(false) };
        if !spool_seeded::is(Bug::CloseUnflushed) {
            self.flush(&completion)?;
        }
        Ok(true)
    }

    /// Closes a run whose completion is published, and flushed.
    ///
    /// # Errors
    /// [`Error::Io`] when the intent cannot be removed; whoever looks next sees that it is reported.
    pub fn close_run(&self, id: &Id) -> Result<(), Error> {
        let path = self.run_file(id, "json");
        match self.fs().remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at("remove", path),
            _ => {}
        }
        for kind in ["route", "pid", "lock"] {
            // Without an intent they mean nothing; upkeep clears away what is left.
            let _gone = self.fs().remove(&self.run_file(id, kind)).is_ok();
        }
        Ok(())
    }

    /// The runs there are, by id.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn runs(&self) -> Result<Vec<Id>, Error> {
        let mut runs = Vec::new();
        let dir = self.dir(Dir::Runs);
        self.fs()
            .list(&dir, &mut |name, is_file| {
                if is_file && let Some(id) = name.to_str().and_then(crate::name::plain_id) {
                    runs.push(id);
                }
                std::ops::ControlFlow::Continue(())
            })
            .at("list", dir)?;
        runs.sort();
        Ok(runs)
    }

    /// Reads what was started. `None` when the run is closed.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read or is not an intent.
    pub fn intent(&self, id: &Id) -> Result<Option<Intent>, Error> {
        let path = self.run_file(id, "json");
        let content = match self.fs().read(&path, MAX_INTENT) {
            // Its wrapper died between link and remove, before it started anything.
            Err(Unfit::Linked(_)) if self.mend_file(&path, crate::time::now_ms()).unwrap_or(false) => {
                self.fs().read(&path, MAX_INTENT)
            }
            other => other,
        };
        match content {
            Ok(content) => match serde_json::from_slice(&content.bytes) {
                Ok(intent) => Ok(Some(intent)),
                Err(_) => {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "it is not an intent")).at("read", path)
                }
            },
            Err(e) if e.is_gone() => Ok(None),
            Err(e) => Err(e.into_error("read", path)),
        }
    }

    /// Whether anybody is left of a run. A lease that cannot be looked at counts as taken: silence is no proof of death.
    pub fn standing(&self, id: &Id, intent: &Intent) -> Standing {
        if let (Some(then), Some(now)) = (&intent.boot_id, boot_id())
            && *then != now
        {
            return Standing::Over;
        }
        let lock = match open::ordinary(&self.run_file(id, "lock")) {
            Ok(file) => file,
            // The lock is made before the intent and removed after it.
            Err(e) if e.is_gone() => return Standing::Over,
            Err(_) => return Standing::Running,
        };
        if fs2::FileExt::try_lock_shared(&lock).is_err() {
            return Standing::Running;
        }
        match self.fs().read(&self.run_file(id, "pid"), 100) {
            Ok(said) if is_alive(&String::from_utf8_lossy(&said.bytes)) => Standing::Running,
            _ => Standing::Over,
        }
    }

    /// Remembers where the answer to a run belongs; who says it first is right.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remember_route(&self, id: &Id, route: &RunRoute) -> Result<(), Error> {
        let path = self.run_file(id, "route");
        if self.fs().stat(&path).at("look at", &path)?.is_some() {
            return Ok(());
        }
        let json = serde_json::to_vec(route).map_err(io::Error::from).at("write", &path)?;
        self.fs().replace(&path, &json).at("write", path)
    }

    /// Where the answer to a run belongs: as its intent says, else as was remembered when it was first seen.
    pub fn route_of(&self, id: &Id, intent: &Intent) -> Option<RunRoute> {
        if intent.route.is_some() {
            return intent.route.clone();
        }
        let content = self.fs().read(&self.run_file(id, "route"), 4096).ok()?;
        serde_json::from_slice(&content.bytes).ok()
    }

    /// The file that takes the output of a run.
    pub fn log_path(&self, id: &Id) -> PathBuf {
        self.dir(Dir::Logs).join(format!("{id}.log"))
    }

    fn run_file(&self, id: &Id, kind: &str) -> PathBuf {
        self.dir(Dir::Runs).join(format!("{id}.{kind}"))
    }
}

/// The end of a log: at most so many lines and bytes, and whether there was more.
///
/// # Errors
/// Those of reading the file. What is not an ordinary file of ours with one name is not read: its content may be
/// somebody's secret.
pub fn tail(log: &Path, lines: usize, bytes: usize) -> io::Result<(String, bool)> {
    let mut file = open::ordinary(log)?;
    let size = file.metadata()?.len();
    // What is stripped later takes room too: read more than is kept.
    let window = (bytes as u64 * 8).min(size);
    file.seek(SeekFrom::Start(size - window))?;
    let mut end = Vec::new();
    file.take(window).read_to_end(&mut end)?;
    let text = sanitize::output(&String::from_utf8_lossy(&end));
    let text = text.trim_end();
    let start = sanitize::boundary_after(text, text.len().saturating_sub(bytes));
    let kept: Vec<&str> = text[start..].lines().collect();
    let first = kept.len().saturating_sub(lines);
    let is_cut = start > 0 || first > 0 || window < size;
    Ok((kept[first..].join("\n"), is_cut))
}

/// The number that changes with each start of the machine, where it can be known.
pub fn boot_id() -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

/// When a process started, in clock ticks since the boot: proc(5), field 22 of stat. With the process number it names
/// one process.
fn born_at(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie has ended.
    if fields.first() == Some(&"Z") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

fn is_alive(said: &str) -> bool {
    let mut words = said.split_whitespace();
    let (Some(pid), Some(born)) = (words.next(), words.next()) else { return false };
    let (Ok(pid), Ok(born)) = (pid.parse(), born.parse()) else { return false };
    born_at(pid) == Some(born)
}

/// What is said of a run that nobody is left to report: the members of its record.
pub fn lost_record(
    spool: &Spool,
    id: &Id,
    intent: &Intent,
    now_ms: u64,
) -> BTreeMap<&'static str, serde_json::Value> {
    let mut record = completion(spool, id, intent);
    let rebooted = matches!((&intent.boot_id, boot_id()), (Some(then), Some(now)) if *then != now);
    let text = if rebooted {
        "The machine was restarted while this ran. How it ended is not known."
    } else {
        "This ended without a report: its wrapper was killed. How it ended is not known."
    };
    record.insert("status", "lost".into());
    record.insert("text", text.into());
    record.insert("createdAt", now_ms.into());
    record
}

/// The most of a text of an intent that a completion repeats, in bytes.
const MAX_TEXT: usize = 4096;
/// The most of its command line.
const MAX_COMMAND: usize = 8 * 1024;

/// What of a text may stand in a record: no NUL, and not more than so many bytes.
fn fit(text: &str, most: usize) -> String {
    text[..sanitize::boundary_before(text, most)].replace('\0', "?")
}

/// The members that every completion of a run has, its end excepted.
///
/// An intent may have been written by another version, or by hand. What no record may say is left out or cut, so that
/// the end of a job is reported whatever its intent says: without a good session it is held.
pub fn completion(spool: &Spool, id: &Id, intent: &Intent) -> BTreeMap<&'static str, serde_json::Value> {
    use serde_json::{Value, json};
    let mut record: BTreeMap<&'static str, Value> = BTreeMap::new();
    let mut put = |name: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            record.insert(name, value);
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(|text| fit(text, MAX_TEXT));
    put("id", Some(id.as_str().into()));
    let is_session = |key: &&String| check_session_key(key).is_ok();
    put("sessionKey", intent.session_key.as_ref().filter(is_session).map(|key| key.as_str().into()));
    let label = text(&intent.label).map(|label| label.chars().take(MAX_LABEL).collect::<String>());
    put("label", label.map(Value::from));
    put("notify", intent.notify.as_deref().and_then(Notify::from_word).map(|word| word.as_str().into()));
    put("deliver", intent.deliver.as_deref().and_then(Deliver::from_word).map(|word| word.as_str().into()));
    put("traceparent", text(&intent.traceparent).map(Value::from));
    let route = spool.route_of(id, intent).filter(|route| !route.channel.is_empty() && !route.to.is_empty());
    let route = route.map(|route| RunRoute {
        channel: fit(&route.channel, MAX_TEXT),
        to: fit(&route.to, MAX_TEXT),
        account_id: text(&route.account_id),
        thread_id: text(&route.thread_id),
    });
    put("route", route.and_then(|route| serde_json::to_value(route).ok()));
    let mut room = MAX_COMMAND;
    let words = intent.command.iter().map_while(|word| {
        let word = (room > 0).then(|| fit(word, room))?;
        room = room.saturating_sub(word.len() + 1);
        Some(word)
    });
    let command: Vec<String> = words.collect();
    put(
        "task",
        Some(json!({
            "runner": "spool-run", "command": command, "cwd": text(&intent.cwd), "host": text(&intent.host),
            "startedAt": intent.started_at,
        })),
    );
    let log = spool.log_path(id);
    let lines = intent.tail_lines.and_then(|n| usize::try_from(n).ok()).unwrap_or(TAIL_LINES);
    let output = match intent.output.as_deref() {
        Some("none") => None,
        Some("path") => Some(json!({"path": log})),
        _ => match tail(&log, lines, TAIL_BYTES) {
            Ok((text, cut)) if !text.is_empty() => Some(json!({"tail": text, "truncated": cut, "path": log})),
            Ok(_) => None,
            Err(_) => Some(json!({"path": log})),
        },
    };
    put("output", output);
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;

    fn spool() -> (tempfile::TempDir, Spool) {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        (home, spool)
    }

    fn intent(id: &Id) -> Intent {
        Intent {
            v: 1,
            id: id.to_string(),
            session_key: Some("agent:main:main".into()),
            command: vec!["make".into()],
            boot_id: boot_id(),
            started_at: 1,
            ..Intent::default()
        }
    }

    #[test]
    fn a_run_stands_until_its_last_holder_is_gone() {
        let (_home, spool) = spool();
        let id = Id::mint();
        let lease = spool.open_run(&id, &intent(&id)).unwrap();
        assert_eq!(spool.runs().unwrap(), std::slice::from_ref(&id));
        let read = spool.intent(&id).unwrap().unwrap();
        assert_eq!(read, intent(&id));
        assert_eq!(spool.standing(&id, &read), Standing::Running);
        let held_by_the_job = lease.file.try_clone().unwrap();
        drop(lease);
        assert_eq!(spool.standing(&id, &read), Standing::Running);
        drop(held_by_the_job);
        assert_eq!(spool.standing(&id, &read), Standing::Over);
        spool.close_run(&id).unwrap();
        assert_eq!(spool.runs().unwrap(), []);
        assert_eq!(spool.intent(&id).unwrap(), None);
        assert_eq!(std::fs::read_dir(spool.dir(Dir::Runs)).unwrap().count(), 0);
    }

    #[test]
    fn a_child_inherits_the_lease_when_it_should() {
        let (_home, spool) = spool();
        for (inherit, after) in [(true, Standing::Running), (false, Standing::Over)] {
            let id = Id::mint();
            let lease = spool.open_run(&id, &intent(&id)).unwrap();
            lease.inherit(inherit).unwrap();
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            lease.inherit(false).unwrap();
            drop(lease);
            // The kernel closes the descriptors of a child that was just started one after the other.
            let started = std::time::Instant::now();
            while spool.standing(&id, &intent(&id)) != after {
                assert!(started.elapsed().as_secs() < 10, "inherited: {inherit}");
            }
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(spool.standing(&id, &intent(&id)), Standing::Over);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_named_process_and_a_reboot_decide_without_the_lease() {
        let (_home, spool) = spool();
        let id = Id::mint();
        drop(spool.open_run(&id, &intent(&id)).unwrap());
        spool.name_main(&id, std::process::id()).unwrap();
        assert_eq!(spool.standing(&id, &intent(&id)), Standing::Running);
        let rebooted = Intent { boot_id: Some("another life".into()), ..intent(&id) };
        assert_eq!(spool.standing(&id, &rebooted), Standing::Over);
        spool
            .fs()
            .replace(&spool.run_file(&id, "pid"), format!("{} 1", std::process::id()).as_bytes())
            .unwrap();
        assert_eq!(
            spool.standing(&id, &intent(&id)),
            Standing::Over,
            "the number was given to another process"
        );
    }

    #[test]
    fn a_lost_run_is_a_good_record_with_the_end_of_its_log() {
        let (_home, spool) = spool();
        let id = Id::mint();
        let route = RunRoute {
            channel: "telegram".into(),
            to: "telegram:1".into(),
            account_id: None,
            thread_id: None,
        };
        let lease = spool.open_run(&id, &intent(&id)).unwrap();
        spool.remember_route(&id, &route).unwrap();
        spool.remember_route(&id, &RunRoute { to: "telegram:2".into(), ..route }).unwrap();
        let log: String = (0..100).map(|n| format!("\x1b[31mline {n}\x1b[0m\n")).collect();
        std::fs::write(spool.log_path(&id), log).unwrap();
        let json = serde_json::to_vec(&lost_record(&spool, &id, &intent(&id), 5)).unwrap();
        let record = Record::parse(&json).unwrap();
        assert_eq!(record.id, Some(id));
        assert_eq!(record.status, crate::record::Status::Lost);
        assert_eq!(record.route.unwrap().to, "telegram:1");
        let output = record.output.unwrap();
        let tail = output.tail.unwrap();
        assert!(output.truncated && tail.starts_with("line 60\n") && tail.ends_with("line 99"), "{tail}");
        drop(lease);
    }

    fn fifo(path: &Path) {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn a_lease_that_is_no_file_is_held_and_nobody_waits_for_it() {
        let (home, spool) = spool();
        let pipe = home.path().join("pipe");
        fifo(&pipe);
        let (direct, linked) = (Id::mint(), Id::mint());
        fifo(&spool.run_file(&direct, "lock"));
        std::os::unix::fs::symlink(&pipe, spool.run_file(&linked, "lock")).unwrap();
        for id in [direct, linked] {
            let (say, said) = std::sync::mpsc::channel();
            let asked = spool.clone();
            std::thread::spawn(move || say.send(asked.standing(&id, &intent(&id))));
            assert_eq!(said.recv_timeout(std::time::Duration::from_secs(10)), Ok(Standing::Running));
        }
    }

    #[test]
    fn the_tail_of_what_is_not_an_ordinary_log_of_ours_is_not_read() {
        let (home, spool) = spool();
        let secret = home.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let log = spool.log_path(&Id::mint());
        std::fs::hard_link(&secret, &log).unwrap();
        assert!(tail(&log, 40, 100).is_err(), "a second name of another file");
        std::fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink(&secret, &log).unwrap();
        assert!(tail(&log, 40, 100).is_err(), "a symlink");
        std::fs::remove_file(&log).unwrap();
        fifo(&log);
        assert!(tail(&log, 40, 100).is_err(), "a FIFO");
    }

    #[test]
    fn whatever_an_intent_says_its_end_is_a_good_record() {
        let (_home, spool) = spool();
        let id = Id::mint();
        let route =
            |to: &str| RunRoute { channel: "c\0".into(), to: to.into(), account_id: None, thread_id: None };
        for (intent, has_session) in [
            (Intent { session_key: Some("a\nb".into()), ..intent(&id) }, false),
            (Intent { session_key: Some(" ".into()), label: Some("x".repeat(1000)), ..intent(&id) }, false),
            (Intent { notify: Some("later".into()), deliver: Some("by-hand".into()), ..intent(&id) }, true),
            (Intent { cwd: Some("/a\0b".into()), traceparent: Some("\0".into()), ..intent(&id) }, true),
            (
                Intent {
                    command: vec!["\u{1}".repeat(5000); 60],
                    cwd: Some("é".repeat(99_999)),
                    ..intent(&id)
                },
                true,
            ),
            (Intent { route: Some(route("")), ..intent(&id) }, true),
            (Intent { route: Some(route("t\0")), ..intent(&id) }, true),
        ] {
            let json = serde_json::to_vec(&lost_record(&spool, &id, &intent, 5)).unwrap();
            let record = Record::parse(&json).unwrap_or_else(|flaw| panic!("{flaw}: {intent:?}"));
            assert_eq!(record.session_key.is_some(), has_session, "{intent:?}");
            assert_eq!(record.notify, Notify::Always);
        }
    }

    #[test]
    fn a_tail_is_bounded_in_lines_and_bytes_and_says_when_it_cut() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "a\nb\n").unwrap();
        assert_eq!(tail(&log, 40, 100).unwrap(), ("a\nb".into(), false));
        assert_eq!(tail(&log, 1, 100).unwrap(), ("b".into(), true));
        std::fs::write(&log, "é".repeat(1000)).unwrap();
        let (text, cut) = tail(&log, 40, 101).unwrap();
        assert!(cut && text.len() <= 101 && text.chars().all(|c| c == 'é'), "{text}");
    }
}
