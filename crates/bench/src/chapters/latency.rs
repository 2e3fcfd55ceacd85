//! `latency`: from the rename of a record into `new/` to its frame on the wire, and to its receipt.
//!
//! `spool drain` as it is shipped, resident, one record after the other, each to a session of its own and urgent: the
//! others wait for company (a quarter of a second), and that is their setting, not a cost. Compared with the same
//! delivery made by the agent's client from a program that has a connection and the record in its hands; and with what the
//! disk asks for before any send that is to be known after a crash: a rename, and a flush of either directory. That is
//! done after each record, so that both are of the same minute.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use spool_gateway::openclaw::{Config, OpenClawConnector};
use spool_gateway::receiver::{Connector, Delivery, Mode};
use spooldir::{Dir, Id, Key, Spool};

use crate::bench::{Bench, Outcome};
use crate::checks::{Aim, Check};
use crate::lean::{self, Arrival, Pace};
use crate::report::{Chapter, Findings, Table, micros};
use crate::roles::{Alive, deliver};
use crate::rounds::percentile;

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "latency", about: "from a rename to the wire, and to the receipt", run };

/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Times {
    wire: Vec<f64>,
    end: Vec<f64>,
}

impl Times {
    fn add(&mut self, start: Instant, wire: Instant, end: Instant) {
        self.wire.push(wire.duration_since(start).as_secs_f64() * 1e6);
        self.end.push(end.duration_since(start).as_secs_f64() * 1e6);
    }

    fn sorted(mut self) -> Times {
        self.wire.sort_by(f64::total_cmp);
        self.end.sort_by(f64::total_cmp);
        self
    }
}

/// The floor of the disk: a rename from one directory to another, and a flush of both.
struct Disk {
    dirs: [PathBuf; 2],
    opened: [File; 2],
    times: Vec<f64>,
}

impl Disk {
    fn at(dir: &Path) -> Outcome<Disk> {
        let dirs = [dir.join("from"), dir.join("to")];
        dirs.iter().try_for_each(std::fs::create_dir)?;
        let opened = [File::open(&dirs[0])?, File::open(&dirs[1])?];
        Ok(Disk { dirs, opened, times: Vec::new() })
    }

    fn turn(&mut self, number: usize) -> Outcome<()> {
        let [from, to] = self.dirs.each_ref().map(|dir| dir.join(number.to_string()));
        std::fs::write(&from, "x")?;
        let start = Instant::now();
        rustix::fs::rename(&from, &to)?;
        self.opened.iter().try_for_each(File::sync_all)?;
        self.times.push(start.elapsed().as_secs_f64() * 1e6);
        Ok(())
    }
}

fn through_the_spool(bench: &Bench, dir: &Path, records: usize, disk: &mut Disk) -> Outcome<Times> {
    let (tell, told) = mpsc::channel::<Arrival>();
    let port = lean::start(Pace::default(), Some(tell))?.port();
    let spool = Spool::create(dir)?;
    let done = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&done, spool.dir(Dir::Done), inotify::WatchFlags::MOVED_TO)?;
    let (receipt, receipts) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while rustix::io::read(&done, &mut buffer).is_ok() && receipt.send(Instant::now()).is_ok() {}
    });
    let mut command = bench.program("spool");
    command.args(["drain", "--gateway", &format!("ws://127.0.0.1:{port}"), "--spool"]).arg(dir);
    command.env("HOME", dir).env("OPENCLAW_GATEWAY_TOKEN", "t").stdin(Stdio::null());
    let _agent = Alive { child: command.spawn()? };
    let mut times = Times::default();
    for number in 0..=records {
        let id = Id::mint();
        let text = format!(r#"{{"sessionKey":"agent:main:l{number}","text":"x","urgent":true}}"#);
        let from = spool.dir(Dir::Tmp).join("latency");
        std::fs::write(&from, text)?;
        let start = Instant::now();
        rustix::fs::rename(&from, spool.dir(Dir::New).join(format!("{id}.json")))?;
        let wire = told.recv_timeout(LIMIT)?.at;
        let end = receipts.recv_timeout(LIMIT)?;
        // The first one waits for the agent's own start.
        if number > 0 {
            times.add(start, wire, end);
            disk.turn(number)?;
        }
    }
    disk.times.sort_by(f64::total_cmp);
    Ok(times.sorted())
}

fn by_hand(records: usize) -> Outcome<Times> {
    let (tell, told) = mpsc::channel::<Arrival>();
    let port = lean::start(Pace::default(), Some(tell))?.port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connector = OpenClawConnector::new(Config::new(format!("ws://127.0.0.1:{port}")));
        let gateway = connector.connect().await.map_err(|trouble| trouble.reason)?;
        let mut times = Times::default();
        for number in 0..=records {
            let delivery = Delivery {
                key: Key::mint().to_string(),
                former_keys: Vec::new(),
                session_key: format!("agent:main:l{number}"),
                text: "[x".to_owned(),
                mode: Mode::Turn,
                route: None,
                traceparent: None,
            };
            let start = Instant::now();
            deliver(&gateway, &delivery).await?;
            let end = Instant::now();
            if number > 0 {
                times.add(start, told.recv_timeout(LIMIT)?.at, end);
            } else {
                told.recv_timeout(LIMIT)?;
            }
        }
        Ok(times.sorted())
    })
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let records = bench.pick(500, 60);
    let hand = by_hand(records)?;
    let mut disk = Disk::at(&bench.place.fresh("floor")?)?;
    let spool = through_the_spool(bench, &bench.place.fresh("latency")?, records, &mut disk)?;
    let head = ["", "to the wire, p50 µs", "p99 µs", "to the end, p50 µs", "p99 µs"];
    let mut table = Table::new("latency", "One urgent record after the other", &head);
    for (name, times) in [("the same call by hand", &hand), ("rename → wire, rename → receipt", &spool)] {
        let at = |list: &[f64], share| micros(percentile(list, share));
        table.row(vec![
            name.to_owned(),
            at(&times.wire, 0.5),
            at(&times.wire, 0.99),
            at(&times.end, 0.5),
            at(&times.end, 0.99),
        ]);
    }
    let at = |share| micros(percentile(&disk.times, share));
    table.row(vec![
        "a rename and a flush of either directory".into(),
        at(0.5),
        at(0.99),
        String::new(),
        String::new(),
    ]);
    findings.table(table);
    let floor = percentile(&disk.times, 0.5) + percentile(&hand.wire, 0.5);
    let ratio = percentile(&spool.wire, 0.5) / floor;
    let check = Check::new("rename → wire / the disk's part and the call by hand", Aim::AtMost(2.0), ratio);
    findings.check(check.limit(Aim::AtMost(50.0)).because(
        "the doorbell and a turn of the loop: wake-ups, the looks at the spool, the reading of the record",
    ));
    let ours = percentile(&spool.end, 0.5) - percentile(&hand.end, 0.5);
    findings.say(format!(
        "Ours of the whole is {} µs: the notice, the reading, a flush before the send, the receipt. A turn of the real \
         gateway takes 200,000 µs to be committed when it is idle.",
        micros(ours)
    ));
    // Of the measured 200 ms that an idle gateway takes to commit.
    let share = Check::new("ours / an idle gateway's commit (200 ms)", Aim::AtMost(0.05), ours / 200_000.0);
    findings.check(share.limit(Aim::AtMost(10.0)));
    Ok(findings)
}
