//! `spool drain`: the agent, from the command line to the loop.
//!
//! The spool is made if it is not there, so that the agent can be the first to start. A missing or broken
//! configuration is found before the spool is touched. Logs go to stderr, a line for each event, and never show what
//! a record says. SIGTERM and SIGINT end it gracefully; a second one of them at once. SIGHUP has it read the
//! configuration anew ([`reload`]).

mod reload;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::task::Poll;

use spool_drain::Summary;
use spool_drain::supervisor::Supervisor;
use spooldir::{Spool, exit, locate};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;

use self::reload::Setup;
use crate::Failure;
use crate::args::Args;
use crate::config::Config;
use crate::log;
use crate::progress;
use crate::status::serve;

/// Runs the agent.
///
/// # Errors
/// [`exit::CONFIG`] when gateway or token cannot be found, [`exit::UNAVAILABLE`] when another agent is running, what
/// the spool says when it cannot be used.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let first = Setup::read(args)?;
    let _log = log::start(first.level, first.format);
    keep_to_itself();
    let metrics = metrics_at(args)?.map(serve::listen).transpose()?;
    let spool = Spool::create(&first.spool)?;
    if let Some(listener) = metrics {
        if let Ok(address) = listener.local_addr() {
            tracing::info!("serving metrics on http://{address}/metrics");
        }
        serve::start(listener, spool.clone())?;
    }
    tracing::info!(spool = %spool.root().display(), gateway = %first.gateway.url, "draining");
    let followed = if args.once { progress::follow(&spool) } else { None };
    let summary = runtime()?.block_on(reload::run(&spool, args, first, supervisor()))?;
    drop(followed);
    let Summary { delivered, dead, held, left, .. } = summary;
    tracing::info!(delivered, dead, held, left, "ended");
    if args.once { once(&summary) } else { Ok(exit::OK) }
}

/// Where the metrics are served, if they are.
///
/// # Errors
/// [`exit::USAGE`]: what was said is no address of this machine alone.
pub fn metrics_at(args: &Args) -> Result<Option<SocketAddr>, Failure> {
    let Some(said) = &args.metrics else { return Ok(None) };
    let address = said.to_str().and_then(|said| said.parse().ok());
    let address: SocketAddr = address.ok_or_else(|| {
        Failure::new(
            exit::USAGE,
            format!("--metrics {said:?} is no address and port; say e.g. --metrics 127.0.0.1:9469"),
        )
    })?;
    serve::check(address).map(Some)
}

/// The service manager, if one started us. It starts what does not speak to it anew, so a socket that cannot be used
/// is said, and is no reason to end.
fn supervisor() -> Supervisor {
    Supervisor::from_env(&locate::process_env).unwrap_or_else(|e| {
        tracing::warn!("cannot speak to the service manager at NOTIFY_SOCKET: {e}");
        Supervisor::default()
    })
}

/// The token passes through this process: no core dump of it, and no other process of this user may look into it or
/// read its environment. (Where there is no such switch: no core dump.)
fn keep_to_itself() {
    if spool_seeded::is(spool_seeded::Bug::DumpsCore) {
        return;
    }
    #[cfg(target_os = "linux")]
    let kept = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(not(target_os = "linux"))]
    let kept = {
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        rustix::process::setrlimit(rustix::process::Resource::Core, none)
    };
    if let Err(e) = kept {
        tracing::warn!("cannot forbid core dumps of the agent: {e}; a crash may leave the token in one");
    }
}

/// What a run with `--once` came to.
fn once(summary: &Summary) -> Result<u8, Failure> {
    let why = summary.gateway.as_deref().unwrap_or("no reason was given");
    let left = match summary.left {
        1 => "1 record stays".to_owned(),
        n => format!("{n} records stay"),
    };
    if summary.refused {
        return Err(Failure::new(exit::CONFIG, format!("the gateway refused the agent, {left}: {why}")));
    }
    if summary.stuck > 0 {
        return Err(Failure::new(
            exit::IO,
            format!("{left}: some could not be moved, see the warnings above"),
        ));
    }
    if summary.left > 0 && summary.gateway.is_some() {
        return Err(Failure::new(exit::TEMPORARY, format!("the gateway is away, {left}: {why}")));
    }
    Ok(exit::OK)
}

/// Descriptors that must be free at the start, in pairs: the runtime's own, those of the lock, the watch and a
/// connection, and some for files.
const PAIRS: usize = 8;

/// A runtime with everything on this thread.
///
/// # Errors
/// When the kernel gives no more descriptors.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let fail = |e: io::Error| {
        Failure::new(exit::TEMPORARY, format!("cannot start: {e}; raise ulimit -n or try again"))
    };
    // The runtime does not survive it to find too few for its signals, so they are counted before.
    let free = (0..PAIRS).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>().map_err(fail)?;
    drop(free);
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)
}

/// Completes when somebody asks the process to end. Who asks again does not want to wait.
///
/// # Errors
/// When the signals cannot be caught.
pub fn asked_to_end(signals: &[SignalKind]) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let mut signals = signals.iter().map(|kind| catch(*kind)).collect::<Result<Vec<Signal>, Failure>>()?;
    Ok(async move {
        any(&mut signals).await;
        tokio::spawn(async move {
            any(&mut signals).await;
            std::process::exit(i32::from(exit::TEMPORARY));
        });
    })
}

/// From now on that signal does not end the process.
fn catch(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e: io::Error| Failure::new(exit::IO, format!("cannot catch signals: {e}")))
}

async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|cx| {
        let is_here = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if is_here { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn format(config: &Config) -> Result<log::Format, Failure> {
    let word = config.said("log.format").unwrap_or("auto");
    word.parse().map_err(|why| Failure::new(exit::CONFIG, format!("log.format: {why}")))
}

fn level(config: &Config) -> Result<LevelFilter, Failure> {
    let word = config.said("log.level").unwrap_or("info");
    word.parse().map_err(|_| Failure::new(exit::CONFIG, format!("{word} is no level of the log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_pass_tells_how_it_went_by_its_number() {
        let code = |summary: &Summary| once(summary).unwrap_or_else(|failure| failure.exit);
        let away = Some("connection refused".to_owned());
        let left = Summary { left: 2, ..Summary::default() };
        assert_eq!(code(&Summary::default()), exit::OK);
        assert_eq!(code(&left), exit::OK, "what is left is not due");
        assert_eq!(code(&Summary { stuck: 1, ..left.clone() }), exit::IO);
        assert_eq!(code(&Summary { gateway: away.clone(), ..left.clone() }), exit::TEMPORARY);
        assert_eq!(code(&Summary { gateway: away.clone(), ..Summary::default() }), exit::OK);
        assert_eq!(code(&Summary { gateway: away, refused: true, ..left }), exit::CONFIG);
    }
}
