//! The agent inside this process, in a hurry: the same loop and the same client, with waits that a test can sit out.

use std::time::{Duration, Instant};

use spool_drain::{Options, Summary};
use spool_gateway::openclaw::{Config, OpenClawConnector};
use spool_gateway::secret::Source;

use crate::layer::Outcome;
use crate::layers::rig::Rig;

/// The longest wait of a record that failed.
pub(super) const CAP: Duration = Duration::from_millis(300);

pub(super) fn hurried() -> Options {
    let mut options = Options {
        quiet: Duration::from_millis(20),
        quiet_most: Duration::from_millis(100),
        sweep: Duration::from_millis(200),
        grace: Duration::from_secs(2),
        ..Options::default()
    };
    options.patience.between = Duration::from_millis(50);
    options.breaker.first = Duration::from_millis(50);
    options.breaker.cap = Duration::from_millis(200);
    options.retry.first = Duration::from_millis(50);
    options.retry.cap = CAP;
    options.retry.floor = Duration::from_millis(10);
    options
}

/// Runs an agent until `over` holds, at most so long, and stops it. Whether it did hold.
pub(super) fn drain(
    rig: &Rig<'_>,
    limit: Duration,
    mut over: impl FnMut() -> bool,
) -> Outcome<(bool, Summary)> {
    let mut config = Config::new(rig.fake.url());
    config.token = Some(Source::File(rig.token_file()));
    let connector = OpenClawConnector::new(config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = hurried();
    let mut held = false;
    let watch = async {
        let started = Instant::now();
        while !held && started.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
            held = over();
        }
    };
    let summary = runtime.block_on(spool_drain::run(&rig.spool, &connector, &options, watch))?;
    Ok((held, summary))
}
