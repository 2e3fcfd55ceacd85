//! Threads that share a flush: what each of them is told must be true of its own record.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure that should be seen")]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spooldir::fault::{Fault, FaultyFs};
use spooldir::fs::{Content, Fs, Meta, RealFs, Staged, Unfit};
use spooldir::publish::Published;
use spooldir::{Dir, Error, Id, Publisher, Spool};

const RECORD: &[u8] = br#"{"sessionKey":"agent:main:main","text":"done"}"#;
const EIO: i32 = 5;
/// How long anything here may take; nothing waits that long unless it is broken.
const LIMIT: Duration = Duration::from_secs(60);
/// How long is listened for what must not happen.
const SILENCE: Duration = Duration::from_millis(50);

/// A file system whose flushes of `new/` are announced, and end when and as they are told.
struct Gate {
    real: RealFs,
    begun: Mutex<Sender<Sender<io::Result<()>>>>,
    named: Arc<AtomicUsize>,
}

struct Counted(Box<dyn Staged>, Arc<AtomicUsize>);

impl Staged for Counted {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn publish(self: Box<Self>, to: &Path) -> io::Result<()> {
        let named = self.0.publish(to);
        self.1.fetch_add(1, Ordering::SeqCst);
        named
    }
}

impl Fs for Gate {
    fn stage(&self, dir: &Path) -> io::Result<Box<dyn Staged>> {
        Ok(Box::new(Counted(self.real.stage(dir)?, Arc::clone(&self.named))))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if !dir.ends_with("new") {
            return self.real.sync_dir(dir);
        }
        let (end, ended) = channel();
        self.begun.lock().unwrap().send(end).unwrap();
        ended.recv_timeout(LIMIT).map_err(io::Error::other)??;
        self.real.sync_dir(dir)
    }
    fn list(&self, dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()> {
        self.real.list(dir, see)
    }
    fn read(&self, path: &Path, limit: u64) -> Result<Content, Unfit> {
        self.real.read(path, limit)
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        self.real.stat(path)
    }
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.real.make_dir(path)
    }
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.real.make_dirs(path)
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.real.append(path, bytes)
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.real.replace(path, bytes)
    }
}

/// A publisher on a gate, the flushes as they begin, and how many names were given.
type Gated = (tempfile::TempDir, Publisher, Receiver<Sender<io::Result<()>>>, Arc<AtomicUsize>);

fn gated() -> Gated {
    let home = tempfile::tempdir().unwrap();
    Spool::create(home.path()).unwrap();
    let (begun, flushes) = channel();
    let named = Arc::new(AtomicUsize::new(0));
    let gate = Gate { real: RealFs::new(), begun: Mutex::new(begun), named: Arc::clone(&named) };
    let publisher = Publisher::new(Spool::open_on(home.path(), Arc::new(gate)).unwrap());
    (home, publisher, flushes, named)
}

/// Publishes once, and says so with what it was told.
fn writer<'scope, 'a: 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'a>,
    publisher: &'a Publisher,
    told: &Sender<Result<Published, Error>>,
) {
    let told = told.clone();
    scope.spawn(move || told.send(publisher.publish(&Id::mint(), RECORD, true)).unwrap());
}

/// Waits until so many names were given.
fn await_named(named: &AtomicUsize, count: usize) {
    let start = std::time::Instant::now();
    while named.load(Ordering::SeqCst) < count {
        assert!(start.elapsed() < LIMIT, "{} of {count} names", named.load(Ordering::SeqCst));
        std::thread::yield_now();
    }
}

#[test]
fn a_flush_that_began_before_a_name_was_given_proves_nothing_about_it() {
    let (_home, publisher, flushes, named) = gated();
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        writer(scope, &publisher, &tell);
        let first = flushes.recv_timeout(LIMIT).unwrap();
        writer(scope, &publisher, &tell);
        await_named(&named, 2);
        assert_eq!(flushes.recv_timeout(SILENCE).unwrap_err(), RecvTimeoutError::Timeout, "one at a time");
        first.send(Ok(())).unwrap();
        assert!(told.recv_timeout(LIMIT).unwrap().is_ok());
        let second = flushes.recv_timeout(LIMIT).unwrap();
        assert_eq!(told.recv_timeout(SILENCE).unwrap_err(), RecvTimeoutError::Timeout, "not flushed yet");
        second.send(Ok(())).unwrap();
        assert!(told.recv_timeout(LIMIT).unwrap().is_ok());
    });
}

#[test]
fn many_share_a_flush() {
    let (home, publisher, flushes, named) = gated();
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        writer(scope, &publisher, &tell);
        let first = flushes.recv_timeout(LIMIT).unwrap();
        for _ in 0..40 {
            writer(scope, &publisher, &tell);
        }
        await_named(&named, 41);
        first.send(Ok(())).unwrap();
        let (start, mut flushed, mut answers) = (std::time::Instant::now(), 1, 0);
        // They need one more. Whoever is slow to come and wait for it may need another.
        while answers < 41 {
            if let Ok(flush) = flushes.recv_timeout(Duration::from_millis(1)) {
                flush.send(Ok(())).unwrap();
                flushed += 1;
            }
            assert!(start.elapsed() < LIMIT, "{answers} of 41 were told");
            answers += told.try_iter().inspect(|result| assert!(result.is_ok())).count();
        }
        assert!(flushed < 30, "{flushed} flushes for 41 records");
    });
    assert_eq!(std::fs::read_dir(home.path().join("new")).unwrap().count(), 41);
}

#[test]
fn a_flush_that_fails_fails_all_it_may_have_concerned_and_nobody_else() {
    let (_home, publisher, flushes, named) = gated();
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        writer(scope, &publisher, &tell);
        let first = flushes.recv_timeout(LIMIT).unwrap();
        for _ in 0..8 {
            writer(scope, &publisher, &tell);
        }
        await_named(&named, 9);
        first.send(Err(io::Error::from_raw_os_error(EIO))).unwrap();
        for _ in 0..9 {
            let error = told.recv_timeout(LIMIT).unwrap().unwrap_err();
            let Error::Unknown { source, .. } = error else { panic!("{error}") };
            assert_eq!(source.raw_os_error(), Some(EIO));
        }
        assert_eq!(flushes.try_recv().unwrap_err().to_string(), "receiving on an empty channel");
        // Who comes afterwards is not concerned.
        writer(scope, &publisher, &tell);
        flushes.recv_timeout(LIMIT).unwrap().send(Ok(())).unwrap();
        assert!(told.recv_timeout(LIMIT).unwrap().is_ok());
    });
}

#[test]
fn each_step_that_fails_is_told_as_it_is_without_company() {
    for way in [RealFs::new, RealFs::named] {
        for fault in [Fault::Before(EIO), Fault::After(EIO), Fault::Death] {
            for step in 1.. {
                let (home, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                let id = Id::new("job-1").unwrap();
                let tell = |home: &Path, shared: bool| {
                    let fs = FaultyFs::over(way());
                    let spool = Spool::create_on(home, Arc::new(fs.clone())).unwrap();
                    let before = fs.steps().len();
                    fs.fail(step, fault);
                    let told = match shared {
                        true => Publisher::new(spool).publish(&id, RECORD, false),
                        false => spool.publish(&id, RECORD, false),
                    };
                    let verbs = fs.steps().split_off(before);
                    let verbs: Vec<String> =
                        verbs.iter().map(|step| step.split(' ').next().unwrap().to_owned()).collect();
                    let kind = told.map(drop).map_err(|error| std::mem::discriminant(&error));
                    (kind, verbs, std::fs::read_dir(home.join("new")).unwrap().count())
                };
                let (shared, alone) = (tell(home.path(), true), tell(alone.path(), false));
                assert_eq!(shared, alone, "{fault:?} at step {step}");
                let (_, verbs, _) = shared;
                if step > verbs.len() {
                    break;
                }
            }
        }
    }
}

/// Whoever is told yes has a flush that began after its name was given and did not fail; and so has nobody who had to
/// do with one that failed.
#[test]
fn under_random_failures_every_yes_is_true() {
    let home = tempfile::tempdir().unwrap();
    let fs = FaultyFs::default();
    let publisher = Publisher::new(Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap());
    let (writers, each) = (16, 40);
    let told: Mutex<HashMap<String, bool>> = Mutex::default();
    std::thread::scope(|scope| {
        for n in 0..writers {
            let (publisher, told, fs) = (&publisher, &told, &fs);
            scope.spawn(move || {
                for k in 0..each {
                    if (n, k % 10) == (0, 5) {
                        fs.fail_verb("sync_dir", EIO, 1);
                    }
                    let id = Id::mint();
                    let result = publisher.publish(&id, RECORD, true);
                    assert!(
                        matches!(result, Ok(Published::New(_)) | Err(Error::Unknown { .. })),
                        "{result:?}"
                    );
                    told.lock().unwrap().insert(id.to_string(), result.is_ok());
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), writers * each);
    let failed = told.values().filter(|ok| !**ok).count();
    assert!(failed >= 4, "{failed}");
    let steps = fs.steps();
    let last_flush = steps.iter().rposition(|step| step.starts_with("sync_dir") && step.ends_with("new"));
    for (id, is_ok) in &told {
        let named = steps.iter().position(|step| step.starts_with("publish") && step.contains(id.as_str()));
        assert!(!is_ok || named < last_flush, "{id}: no flush after its name");
    }
    // What is unknown is settled by saying it again.
    for id in told.keys() {
        let id = Id::new(id).unwrap();
        assert!(matches!(publisher.publish(&id, RECORD, false).unwrap(), Published::Before(_)));
    }
    assert_eq!(std::fs::read_dir(publisher.spool().dir(Dir::New)).unwrap().count(), told.len());
}
