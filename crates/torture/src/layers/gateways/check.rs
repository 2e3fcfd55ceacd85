//! What has to hold at the end of every case, read from the directories, the honest gateway and the wire.

use std::path::Path;
use std::time::Duration;

use spool_gateway::fake::Told;
use spooldir::Dir;

use super::answers::{DUE_MS, NOT_BEFORE};
use super::case::{Bench, DECOY, Record, SESSIONS};
use super::script::Ends;
use crate::layer::Report;

/// What the program may have in memory at most.
const MEMORY_KIB: u64 = 64 * 1024;

/// Checks everything.
pub(super) fn all(bench: &Bench, report: &mut Report) {
    let mut wrong = Vec::new();
    let mut checks = 0;
    let mut must = |holds: bool, what: &dyn Fn() -> String| {
        checks += 1;
        if !holds {
            wrong.push(what());
        }
    };
    must(bench.proxy.stage.fired() > 0, &|| "the script never struck".to_owned());
    for record in &bench.records {
        state(bench, record, &mut must);
        arrivals(bench, record, &mut must);
    }
    strays(bench, &mut must);
    books(bench, &mut must);
    wire(bench, &mut must);
    if bench.case.script.ends == Ends::Refused {
        must(bench.saw_refused, &|| "the agent never said that it is refused".to_owned());
    }
    if bench.case.is_program {
        must(bench.peak_kib > 0 && bench.peak_kib <= MEMORY_KIB, &|| {
            format!("the agent had {} KiB in memory", bench.peak_kib)
        });
        let cpu = bench.started.elapsed().mul_f64(0.4)
            + Duration::from_secs(if bench.case.script.is_heavy { 15 } else { 2 });
        must(bench.cpu <= cpu, &|| format!("the agent worked for {:?}", bench.cpu));
        report.count("programs", 1);
    }
    report.count("checks", checks);
    if !wrong.is_empty() {
        let said = tail(&bench.all_logs());
        report.violation(format!("{}: {}; the agent said: {said}", bench.case.name(), wrong.join("; ")));
    }
}

type Must<'a> = dyn FnMut(bool, &dyn Fn() -> String) + 'a;

/// The record is where it has to be, byte for byte.
fn state(bench: &Bench, record: &Record, must: &mut Must<'_>) {
    let (dir, words) = match bench.case.script.ends {
        Ends::Delivered | Ends::Refused | Ends::Believed => (Dir::Done, ""),
        Ends::Dead(words) => (Dir::Dead, words),
        Ends::Held(words) => (Dir::Hold, words),
    };
    let found = bench.spool.find(&record.id).ok().flatten();
    let Some(entry) = found else {
        return must(false, &|| format!("{} is lost", record.id));
    };
    let why = last_reason(bench, record);
    must(entry.dir() == dir, &|| {
        format!("{} is {} ({why}), not {}", record.id, entry.state.word(), dir.name())
    });
    let bytes = std::fs::read(bench.spool.path(&entry)).unwrap_or_default();
    must(bytes == record.bytes, &|| format!("{} has other bytes than were published", record.id));
    if !words.is_empty() {
        let beside = bench.spool.why(&entry).map(|why| why.reason).unwrap_or_default();
        let known = if dir == Dir::Dead { &beside } else { &why };
        must(known.contains(words), &|| format!("{} is {} because of {known:?}", record.id, dir.name()));
    }
}

/// It reached its session, once, and no other.
fn arrivals(bench: &Bench, record: &Record, must: &mut Must<'_>) {
    let script = &bench.case.script;
    let (session, chat) = SESSIONS[record.session];
    let id = record.id.as_str();
    let commits: Vec<String> = bench
        .fake
        .all_commits()
        .into_iter()
        .filter(|(_, _, text)| text.contains(id))
        .map(|(session, _, _)| session)
        .collect();
    let told = bench.fake.all_chat_messages();
    let told = told.iter().filter(|message| message.told == Told::Send && message.text.contains(id));
    let told: Vec<&str> = told.map(|message| message.route.to.as_str()).collect();
    let (least, most) = match script.ends {
        Ends::Delivered | Ends::Refused => (1, 1),
        // It was believed, dead or held before it could arrive; a lie may have come for one of several.
        Ends::Believed => (0, 1),
        Ends::Dead(_) | Ends::Held(_) => (0, 0),
    };
    let n = if script.is_message { told.len() } else { commits.len() };
    must((least..=most).contains(&n), &|| format!("{id} arrived {n} times, in {commits:?} and {told:?}"));
    if script.is_message || !script.is_told {
        let others = if script.is_message { commits.len() } else { told.len() };
        must(others == 0, &|| format!("{id} also arrived as something else: {commits:?}, {told:?}"));
    }
    let is_own = told.iter().all(|to| *to == format!("telegram:{chat}"));
    must(commits.iter().all(|there| there == session) && is_own, &|| {
        format!("{id} is for {session} and reached {commits:?} and {told:?}")
    });
}

/// Nothing is where nothing was sent.
fn strays(bench: &Bench, must: &mut Must<'_>) {
    let known: Vec<&str> = SESSIONS.iter().chain([&DECOY]).map(|(session, _)| *session).collect();
    let sessions = bench.fake.sessions();
    must(sessions.iter().all(|session| known.contains(&session.as_str())), &|| {
        format!("sessions were created: {sessions:?}")
    });
    must(bench.fake.transcript(DECOY.0).is_empty(), &|| "another session got something".to_owned());
    let chat = format!("telegram:{}", DECOY.1);
    must(bench.fake.chat_messages("telegram", &chat).is_empty(), &|| "another chat got something".to_owned());
    for (at, (session, _)) in SESSIONS.iter().enumerate() {
        for row in bench.fake.transcript(session) {
            let foreign = bench.records.iter().find(|r| r.session != at && row.text.contains(r.id.as_str()));
            must(foreign.is_none(), &|| format!("{session} got a record of another session"));
        }
    }
}

/// Audit, attempts, secrets.
fn books(bench: &Bench, must: &mut Must<'_>) {
    match bench.spool.audit() {
        Ok(audit) => must(audit.holds() && audit.accepted == bench.records.len() as u64, &|| {
            format!("the audit does not hold: {audit:?}")
        }),
        Err(error) => must(false, &|| format!("the audit failed: {error}")),
    }
    let mut fails = 0;
    let read = bench.spool.each_line(|line| fails += u64::from(line.event == "fail"));
    must(read.is_ok(), &|| "the journal cannot be read".to_owned());
    if !bench.case.script.pays {
        must(fails == 0, &|| {
            format!("{fails} attempts were counted, the last for {:?}", reasons(bench).last())
        });
    }
    for path in files(&bench.home) {
        if path.ends_with("token") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        must(!contains(&bytes, bench.token.as_bytes()), &|| {
            let name = path.strip_prefix(&bench.home).unwrap_or(&path).display().to_string();
            format!("the token is in {name}")
        });
    }
    let log = bench.all_logs();
    must(!log.contains(&bench.token), &|| "the token is in the log".to_owned());
    must(!log.contains('\u{1b}') && !log.contains("\nERROR forged"), &|| {
        format!("the gateway wrote into the log: {}", tail(&log))
    });
    must(log.len() < 256 * 1024, &|| format!("the log has {} bytes", log.len()));
}

/// What the agent did on the wire was bounded.
fn wire(bench: &Bench, must: &mut Must<'_>) {
    let seen = bench.proxy.stage.seen();
    for wrong in &seen.wrong {
        must(false, &|| wrong.clone());
    }
    let seconds = bench.started.elapsed().as_secs_f64();
    let (start, per_second) = if bench.case.is_program { (10.0, 3.0) } else { (25.0, 14.0) };
    let connections = seen.connections.len() as f64;
    must(connections <= start + per_second * seconds, &|| {
        format!("{connections} connections in {seconds:.1} s")
    });
    let per_second = if bench.case.is_program { 30.0 } else { 300.0 };
    let requests = seen.requests.len() as f64;
    must(requests <= 100.0 + 40.0 * connections + per_second * seconds, &|| {
        format!("{requests} requests on {connections} connections in {seconds:.1} s")
    });
    let lines = bench.all_logs().lines().count() as f64;
    must(lines <= 40.0 + 6.0 * connections + 20.0 * seconds, &|| {
        format!("{lines} lines of log for {connections} connections in {seconds:.1} s")
    });
    if bench.case.script.name == NOT_BEFORE {
        let sends: Vec<_> = seen.requests.iter().filter(|(_, method, _)| method == "agent").collect();
        let first: Vec<_> = sends.iter().map(|(at, _, _)| *at).take(2).collect();
        let again = sends.iter().skip(2).map(|(at, _, _)| *at).min();
        if let (Some(first), Some(again)) = (first.first(), again) {
            let waited = again.duration_since(*first);
            // The wall clock of a due time counts whole milliseconds.
            must(waited + Duration::from_millis(5) >= Duration::from_millis(DUE_MS), &|| {
                format!("refused until {DUE_MS} ms later, tried again after {waited:?}")
            });
        }
    }
}

/// The reasons in the journal.
fn reasons(bench: &Bench) -> Vec<String> {
    let mut reasons = Vec::new();
    // What cannot be read was complained about elsewhere.
    bench.spool.each_line(|line| reasons.extend(line.reason)).ok();
    reasons
}

fn last_reason(bench: &Bench, record: &Record) -> String {
    let mut last = String::new();
    let see = |line: spooldir::journal::Line| {
        if line.id == record.id.as_str()
            && let Some(reason) = line.reason
        {
            last = reason;
        }
    };
    bench.spool.each_line(see).ok();
    last
}

/// The end of a log, on one line.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(6).collect();
    let text = lines.into_iter().rev().collect::<Vec<_>>().join(" | ");
    text.chars().take(1200).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// All files below.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => all.extend(files(&path)),
            Ok(kind) if kind.is_file() => all.push(path),
            _ => {}
        }
    }
    all
}

/// The most memory a process ever had, and how long it worked.
pub(super) fn resources(pid: u32) -> (u64, Duration) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().trim_end_matches("kB").trim().parse().ok());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have anything in it: the 12th and 13th field, in hundredths of a second.
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect())
        .unwrap_or_default();
    (peak.unwrap_or_default(), Duration::from_millis(fields.iter().sum::<u64>() * 10))
}
