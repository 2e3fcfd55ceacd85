//! Several processes side by side, as many as there are cores, each with its output kept whole.

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs the commands, `wide` at a time, in their order; calls `done` with the index and the output of each as it ends.
pub(crate) fn side_by_side(
    commands: Vec<Command>,
    wide: usize,
    done: &(dyn Fn(usize, io::Result<Output>) + Sync),
) {
    let count = commands.len();
    let commands: Vec<Mutex<Option<Command>>> = commands.into_iter().map(|c| Mutex::new(Some(c))).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..wide.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = commands.get(at) else { break };
                    let command = slot.lock().ok().and_then(|mut slot| slot.take());
                    if let Some(mut command) = command {
                        done(at, command.stdin(Stdio::null()).output());
                    }
                }
            });
        }
    });
}
