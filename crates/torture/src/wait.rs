//! Waiting for a condition with a deadline. Nothing in the torture sleeps and hopes.

use std::time::{Duration, Instant};

use crate::layer::Outcome;

/// Polls `ready` until it gives a value or `limit` has passed; `what` is named in the error.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            return Err(format!("waited {:.1} s for {what}, in vain", limit.as_secs_f64()).into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
