//! A file system that fails on demand (feature `fault`), for tests of this crate and of those above it.
//!
//! Each verb is a step, counted from 1. A plan says at which step what happens: an error instead of the step, an error
//! after the step was carried out (as a network file system may do), or death: that step and all later ones fail, as
//! for a process that was killed there, so that a test can open the spool anew and look at what is left.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::{Content, Fs, Meta, RealFs, Staged, Unfit};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The step fails with this errno and does nothing.
    Before(i32),
    /// The step is carried out, and then reported as failed.
    After(i32),
    /// The step and all that follow fail and do nothing.
    Death,
}

#[derive(Debug, Default)]
struct Plan {
    steps: Vec<String>,
    faults: Vec<(usize, Fault)>,
    /// Verbs that fail with an errno, and how often.
    verbs: Vec<(&'static str, i32, usize)>,
    dead: bool,
}

/// The file system of the machine, with faults.
#[derive(Clone)]
pub struct FaultyFs {
    real: Arc<RealFs>,
    plan: Arc<Mutex<Plan>>,
}

impl Default for FaultyFs {
    fn default() -> Self {
        FaultyFs::over(RealFs::new())
    }
}

impl FaultyFs {
    /// A file system without faults so far.
    pub fn over(real: RealFs) -> FaultyFs {
        FaultyFs { real: Arc::new(real), plan: Arc::default() }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the `step`-th verb from now (from 1) fail.
    pub fn fail(&self, step: usize, fault: Fault) {
        let mut plan = self.plan();
        let at = plan.steps.len() + step;
        plan.faults.push((at, fault));
    }

    /// Lets a verb fail with an errno the next `times` times.
    pub fn fail_verb(&self, verb: &'static str, errno: i32, times: usize) {
        self.plan().verbs.push((verb, errno, times));
    }

    /// No more faults.
    pub fn clear(&self) {
        let mut plan = self.plan();
        plan.faults.clear();
        plan.verbs.clear();
        plan.dead = false;
    }

    /// How many verbs were used so far, and which: for sweeping over them.
    pub fn steps(&self) -> Vec<String> {
        self.plan().steps.clone()
    }

    fn step<T>(&self, verb: &str, path: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let fault = {
            let mut plan = self.plan();
            plan.steps.push(format!("{verb} {}", path.display()));
            let at = plan.steps.len();
            let mut fault = plan.faults.iter().find(|(n, _)| *n == at).map(|(_, f)| *f);
            if let Some((_, errno, times)) = plan.verbs.iter_mut().find(|(v, _, n)| *v == verb && *n > 0) {
                *times = times.saturating_sub(1);
                fault = fault.or(Some(Fault::Before(*errno)));
            }
            plan.dead |= fault == Some(Fault::Death);
            if plan.dead { Some(Fault::Death) } else { fault }
        };
        match fault {
            None => act(),
            Some(Fault::Before(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::After(errno)) => act().and_then(|_| Err(io::Error::from_raw_os_error(errno))),
            Some(Fault::Death) => Err(io::Error::other("killed here")),
        }
    }
}

struct FaultyStaged {
    inner: Option<Box<dyn Staged>>,
    fs: FaultyFs,
}

fn gone() -> io::Error {
    io::Error::other("already published")
}

impl Staged for FaultyStaged {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let inner = self.inner.as_mut().ok_or_else(gone)?;
        self.fs.step("write", Path::new("tmp"), || inner.write_all(bytes))
    }
    fn sync_data(&mut self) -> io::Result<()> {
        let inner = self.inner.as_mut().ok_or_else(gone)?;
        self.fs.step("sync_data", Path::new("tmp"), || inner.sync_data())
    }
    fn publish(mut self: Box<Self>, to: &Path) -> io::Result<()> {
        let inner = self.inner.take().ok_or_else(gone)?;
        let fs = self.fs.clone();
        fs.step("publish", to, || inner.publish(to))
    }
}

impl Fs for FaultyFs {
    fn stage(&self, dir: &Path) -> io::Result<Box<dyn Staged>> {
        let inner = self.step("stage", dir, || self.real.stage(dir))?;
        Ok(Box::new(FaultyStaged { inner: Some(inner), fs: self.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", from, || self.real.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path, || self.real.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step("sync_dir", dir, || self.real.sync_dir(dir))
    }
    fn list(&self, dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()> {
        self.step("list", dir, || self.real.list(dir, see))
    }
    fn read(&self, path: &Path, limit: u64) -> Result<Content, Unfit> {
        let mut result = None;
        self.step("read", path, || {
            result = Some(self.real.read(path, limit));
            Ok(())
        })?;
        result.unwrap_or_else(|| Err(Unfit::Io(gone())))
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        self.step("stat", path, || self.real.stat(path))
    }
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.step("make_dir", path, || self.real.make_dir(path))
    }
    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        self.step("make_dirs", path, || self.real.make_dirs(path))
    }
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("append", path, || self.real.append(path, bytes))
    }
    fn prefer_named(&self) {
        self.real.prefer_named();
    }
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step("replace", path, || self.real.replace(path, bytes))
    }
}
