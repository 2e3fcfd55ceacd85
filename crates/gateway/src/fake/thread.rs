//! The fake on a thread of its own, for callers without a runtime: the end-to-end tests that drive real programs.
//!
//! Everything that only sets up or asks is there through [`std::ops::Deref`] to [`Fake`]; what takes time there
//! blocks here. Dropping it kills the gateway and joins the thread.

use std::future::Future;
use std::io;
use std::ops::Deref;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::options::{Options, Phase};
use super::server::Fake;

/// A fake gateway with its own thread and runtime.
#[derive(Debug)]
pub struct FakeThread {
    fake: Fake,
    handle: Handle,
    quit: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Deref for FakeThread {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}

impl FakeThread {
    /// Starts one.
    ///
    /// # Errors
    /// When the thread, its runtime or the port cannot be had.
    pub fn start(options: Options) -> io::Result<FakeThread> {
        let (up, started) = mpsc::sync_channel(1);
        let (quit, end) = oneshot::channel();
        let thread = thread::Builder::new().name("fake-gateway".into()).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                // The starter has not gone anywhere: it waits for this.
                Err(error) => return drop(up.send(Err(error))),
            };
            runtime.block_on(async {
                let fake = Fake::start(options).await;
                let failed = fake.is_err();
                drop(up.send(fake.map(|fake| (fake, Handle::current()))));
                if !failed {
                    // An error means that the other end is gone: the same thing.
                    drop(end.await);
                }
            });
        })?;
        let gone = || io::Error::other("the fake gateway's thread ended before it had started");
        let (fake, handle) = started.recv().map_err(|_| gone())??;
        Ok(FakeThread { fake, handle, quit: Some(quit), thread: Some(thread) })
    }

    /// Like [`Fake::kill`]; returns when all connections are cut.
    pub fn kill(&self) {
        let fake = self.fake.clone();
        self.run(async move { fake.kill().await });
    }

    /// Like [`Fake::restart`].
    ///
    /// # Errors
    /// When the port is taken by somebody else.
    pub fn restart(&self) -> io::Result<()> {
        self.restart_as(Phase::Ready)
    }

    /// Like [`Fake::restart_as`].
    ///
    /// # Errors
    /// When the port is taken by somebody else.
    pub fn restart_as(&self, phase: Phase) -> io::Result<()> {
        let fake = self.fake.clone();
        let ended = self.run(async move { fake.restart_as(phase).await });
        ended.unwrap_or_else(|| Err(io::Error::other("the fake gateway's thread is gone")))
    }

    /// Like [`Fake::stop`].
    pub fn stop(&self) {
        let fake = self.fake.clone();
        self.run(async move { fake.stop().await });
    }

    /// Asks every few milliseconds until `wanted` holds. `false` when the time is over first.
    pub fn until(&self, limit: Duration, mut wanted: impl FnMut(&Fake) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !wanted(&self.fake) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// Runs something on the gateway's thread and waits for it; `None` if that thread is gone.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, wait) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // The caller waits below.
            drop(done.send(work.await));
        });
        wait.recv().ok()
    }
}

impl Drop for FakeThread {
    fn drop(&mut self) {
        self.kill();
        drop(self.quit.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed there.
            drop(thread.join());
        }
    }
}
