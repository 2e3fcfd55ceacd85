//! `spool session`: which session a record from here would be for, and why; with `--ping`, whether it gets there.
//!
//! The answer is that of [`locate`], which all our programs ask. A ping is a record like any other: it goes through the
//! agent and the gateway, the session's agent answers it, and what is reported is the evidence that this left.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spooldir::lock::AgentLock;
use spooldir::record::{VERSION, check_session_key};
use spooldir::time::now_ms;
use spooldir::wait::{End, Waited, wait};
use spooldir::{Id, Spool, exit, locate};

use crate::Failure;
use crate::args::Args;
use crate::service::Start;
use crate::view::brief;

/// How long a ping is waited for: a turn of an agent may take a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a ping says.
const TEXT: &str =
    "This is a test of the way from the spool to this session. Nothing has ended; nothing is to be done.";

struct Found {
    session: Option<String>,
    source: Option<&'static str>,
    /// Variables that name another session and were passed over.
    passed_over: Vec<&'static str>,
}

/// Tells, and tries it.
///
/// # Errors
/// When the session is no session key, or the spool cannot be used; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let found = look(args)?;
    let dir = crate::spool_dir(args)?;
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let (is_there, is_running) = match Spool::open(&dir) {
        Ok(spool) => (true, AgentLock::is_taken(&spool)?),
        Err(_) if !dir.exists() => (false, false),
        Err(e) => return Err(e.into()),
    };
    let told = json!({
        "session": found.session,
        "source": found.source,
        "passedOver": found.passed_over,
        "spool": dir.to_string_lossy(),
        "spoolSource": spool_source(args),
        "spoolExists": is_there,
        "agentRunning": is_running,
        "ping": Value::Null,
    });
    if !args.json {
        tell(&found, &told, out)?;
    }
    let Some(session) = &found.session else {
        if args.json {
            writeln!(out, "{told:#}")?;
        }
        out.flush()?;
        let why = "no session is named here: set SPOOL_SESSION, or give --session; it is never guessed";
        return Err(Failure::new(exit::CONFIG, why));
    };
    if !args.ping {
        if args.json {
            writeln!(out, "{told:#}")?;
        }
        return Ok(exit::OK);
    }
    out.flush()?;
    if !is_running {
        let start = Start::here(&dir, &locate::process_env).words();
        crate::complain(&format!("no agent is running, so nothing is delivered for now; {start}"));
    }
    let spool = Spool::create(&dir)?;
    let started = Instant::now();
    let id = publish(&spool, session)?;
    let waited = wait(&spool, &id, None, args.timeout.unwrap_or(PATIENCE))?;
    report(&id, &waited, started.elapsed(), told, args.json, out)
}

fn look(args: &Args) -> Result<Found, Failure> {
    let env =
        |name: &str| locate::session(None, &|asked| locate::process_env(asked).filter(|_| asked == name));
    let session = locate::session(args.session.as_deref(), &locate::process_env);
    let mut named = locate::SESSION_VARS.into_iter().filter(|name| env(name).is_some());
    let source = if args.session.is_some() { Some("--session") } else { named.next() };
    let others = named.filter(|name| env(name) != session).collect();
    if let (Some(key), Some(source)) = (&session, source)
        && let Err(rule) = check_session_key(key)
    {
        let number = if args.session.is_some() { exit::USAGE } else { exit::CONFIG };
        return Err(Failure::new(number, format!("{source} {rule}")));
    }
    Ok(Found { session, source, passed_over: others })
}

fn spool_source(args: &Args) -> &'static str {
    let is_set = |name: &str| locate::process_env(name).is_some_and(|value| !value.is_empty());
    let [spool, state, home] = locate::SPOOL_VARS;
    let is_absolute =
        |name: &str| locate::process_env(name).is_some_and(|v| std::path::Path::new(&v).is_absolute());
    if args.spool.is_some() {
        "--spool"
    } else if is_set(spool) {
        spool
    } else if locate::configured_spool(&crate::config::env(args)).is_ok_and(|dir| dir.is_some()) {
        "the configuration"
    } else if is_absolute(state) {
        state
    } else {
        home
    }
}

fn tell(found: &Found, told: &Value, out: &mut dyn Write) -> Result<(), Failure> {
    let by = |source: &str| {
        if source.starts_with('-') { format!("said with {source}") } else { format!("from {source}") }
    };
    match (&found.session, found.source) {
        (Some(key), Some(source)) => writeln!(out, "session   {}, {}", brief(key, 600), by(source))?,
        _ => writeln!(out, "session   none: neither --session nor {}", locate::SESSION_VARS.join(" nor "))?,
    }
    for name in &found.passed_over {
        writeln!(out, "          {name} names another one and is passed over")?;
    }
    let is = |name: &str| told[name] == true;
    let there = if is("spoolExists") { "" } else { "; not there yet, the first record makes it" };
    let (spool, source) =
        (told["spool"].as_str().unwrap_or_default(), told["spoolSource"].as_str().unwrap_or_default());
    writeln!(out, "spool     {spool}, {}{there}", by(source))?;
    Ok(writeln!(out, "agent     {}", if is("agentRunning") { "running" } else { "not running" })?)
}

fn publish(spool: &Spool, session: &str) -> Result<Id, Failure> {
    let id = Id::mint();
    let record = json!({
        "v": VERSION, "id": id.as_str(), "sessionKey": session, "status": "info", "label": "spool session --ping",
        "text": TEXT, "createdAt": now_ms(), "urgent": true,
    });
    spool.publish(&id, record.to_string().as_bytes(), true)?;
    Ok(id)
}

fn report(
    id: &Id,
    waited: &Waited,
    took: Duration,
    mut told: Value,
    json: bool,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let state = waited.state.word();
    let (word, number) = match waited.end {
        End::Reached => ("delivered", exit::OK),
        End::TimedOut => ("waiting", exit::TEMPORARY),
        End::Stopped => (state, exit::UNAVAILABLE),
    };
    let evidence = waited.evidence.map(|level| level.as_str());
    let reason = waited.reason.as_deref().filter(|_| waited.end == End::Stopped);
    if json {
        told["ping"] = json!({
            "id": id.as_str(), "delivered": waited.end == End::Reached, "state": state, "evidence": evidence,
            "reason": reason, "tookMs": u64::try_from(took.as_millis()).ok(),
        });
        writeln!(out, "{told:#}")?;
    } else {
        let proof = evidence.map(|word| format!(", evidence: {word}")).unwrap_or_default();
        writeln!(out, "ping      {word} after {:.1} s{proof}", took.as_secs_f64())?;
        if let Some(reason) = reason {
            writeln!(out, "          {}", brief(reason, 600))?;
        }
        if waited.end == End::TimedOut {
            writeln!(out, "          it is {state} and safe; spool show {id} tells how it goes on")?;
        }
    }
    Ok(number)
}
