//! `spool-run`, end to end: the real program around real jobs. What passes through: output, input
//! and the terminal; and that a reader of the output cannot hurt the job.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdout, Command};

use serde_json::Value;
use spooldir::Dir;
use spooldir::run::Standing;

use crate::support::TempSpool;
use crate::support::programs::wait_until;
use crate::support::runs::{Wrapper, is_alive, kill, only_run, record, said, standing};

#[test]
fn output_is_whole_and_in_order() {
    let spool = TempSpool::new();
    let script = "i=0; while [ $i -lt 1500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let ran = Wrapper::sh(&spool, &["--tail", "3"], script).run().exits(0);
    let expected: String = (0..1500).map(|n| format!("out {n}\nerr {n}\n")).collect();
    assert!(ran.stdout == expected, "{} bytes, {} expected", ran.stdout.len(), expected.len());
    let record = record(&spool);
    let log = Path::new(record["output"]["path"].as_str().unwrap());
    assert!(std::fs::read_to_string(log).unwrap() == expected);
    assert_eq!(record["output"]["tail"], "err 1498\nout 1499\nerr 1499");
    assert_eq!(record["output"]["truncated"], true);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(log.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!ran.stderr.contains("err"), "{}", ran.stderr);
}

#[test]
fn output_is_shown_while_the_job_runs() {
    let spool = TempSpool::new();
    let script = r#"echo first; while ! [ -e "$STOP" ]; do sleep 0.02; done; echo last"#;
    let stop = spool.home().join("stop");
    let mut wrapper = Wrapper::sh(&spool, &["--output", "none"], script).env("STOP", &stop).start();
    let mut out = wrapper.0.stdout.take().unwrap();
    let mut first = [0; 6];
    out.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first\n");
    File::create(stop).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last\n");
    assert_eq!(wrapper.status().code(), Some(0));
    assert_eq!(record(&spool)["output"], Value::Null);
}

/// The most memory that a process ever had, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn read_n(out: &mut ChildStdout, n: u64) -> u64 {
    std::io::copy(&mut out.take(n), &mut std::io::sink()).unwrap()
}

#[test]
fn a_hundred_megabytes_cost_no_memory() {
    const SIZE: u64 = 100 * 1024 * 1024;
    let spool = TempSpool::new();
    let script = format!("yes 0123456789abcdef | head -c {SIZE}; echo; echo the end");
    let mut wrapper = Wrapper::sh(&spool, &[], &script).start();
    let mut out = wrapper.0.stdout.take().unwrap();
    // All but the end of it, so that it has to wait for us: a slow reader must not hold up the report.
    assert_eq!(read_n(&mut out, SIZE - 1024 * 1024), SIZE - 1024 * 1024);
    wait_until("the completion is there", || spool.names(Dir::New).len() == 1);
    let peak = peak_memory(wrapper.0.id());
    println!("peak memory with 100 MB of output: {peak} KiB");
    assert!(peak < 50 * 1024, "{peak} KiB");
    let rest = read_n(&mut out, SIZE);
    assert_eq!(rest, 1024 * 1024 + "\nthe end\n".len() as u64);
    assert_eq!(wrapper.status().code(), Some(0));
    let record = record(&spool);
    assert!(record["output"]["tail"].as_str().unwrap().ends_with("\nthe end"));
    let log = record["output"]["path"].as_str().unwrap();
    assert_eq!(std::fs::metadata(log).unwrap().len(), SIZE + "\nthe end\n".len() as u64);
}

#[test]
fn a_stdout_that_nobody_reads_does_not_hurt_the_job() {
    let spool = TempSpool::new();
    let script = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.001; done; exit 4";
    let mut wrapper = Wrapper::sh(&spool, &[], script).start();
    drop(wrapper.0.stdout.take());
    drop(wrapper.0.stderr.take());
    assert_eq!(wrapper.status().code(), Some(4));
    let record = record(&spool);
    assert!(record["output"]["tail"].as_str().unwrap().ends_with("line 299"));
    let closed = format!("exec >&- 2>&-; exec {} -- echo hello", env!("CARGO_BIN_EXE_spool-run"));
    let spool = TempSpool::new();
    let mut command = Command::new("sh");
    command.args(["-c", &closed]).env("SPOOL_DIR", spool.spool.root());
    assert!(command.status().unwrap().success());
    assert_eq!(self::record(&spool)["output"]["tail"], "hello");
}

#[test]
fn stdin_passes_through() {
    let spool = TempSpool::new();
    let (wrapper, mut stdin) = Wrapper::new(&spool, &["--", "cat"]).start_with_input();
    stdin.write_all(b"over to you").unwrap();
    drop(stdin);
    assert_eq!(wrapper.end().1.exits(0).stdout, "over to you");
}

#[test]
fn a_terminal_of_its_own() {
    let spool = TempSpool::new();
    let script = "test -t 0 && test -t 1 && test -t 2 && echo tty; read line; echo got $line; exit 3";
    let (wrapper, mut stdin) = Wrapper::sh(&spool, &["--pty"], script).start_with_input();
    stdin.write_all(b"typed\n").unwrap();
    let ran = wrapper.end().1.exits(3);
    assert!(ran.stdout.contains("tty\r\n") && ran.stdout.ends_with("got typed\r\n"), "{ran:?}");
    assert!(record(&spool)["output"]["tail"].as_str().unwrap().ends_with("got typed"));
    // The end of the input is the end of the job's.
    let spool = TempSpool::new();
    let (wrapper, mut stdin) = Wrapper::new(&spool, &["--pty", "--", "cat"]).start_with_input();
    stdin.write_all(b"no newline").unwrap();
    drop(stdin);
    wrapper.end().1.exits(0);
    // Whoever hangs up, hangs up.
    let spool = TempSpool::new();
    let mut wrapper = Wrapper::sh(&spool, &["--pty"], "echo pid $$; exec sleep 600").start();
    let id = only_run(&spool);
    let pid = said(&spool, &id, "pid").remove(1);
    wrapper.signal("-KILL");
    wrapper.status();
    wait_until("the job is gone", || !is_alive(&pid));
    wait_until("the run is over", || standing(&spool, &id) == Standing::Over);
}

#[test]
fn at_a_terminal_the_job_shares_the_group_and_hears_a_key_once() {
    let spool = TempSpool::new();
    // The outer wrapper is the terminal; the inner one is what is tested.
    let inner = env!("CARGO_BIN_EXE_spool-run");
    let script = r#"group() { sed 's/.*) //' /proc/$1/stat | cut -d' ' -f3; }
        [ $(group $$) = $(group $PPID) ] && echo same group
        trap 'n=$((n+1)); echo heard $n' INT; trap 'exit 7' USR1; echo ready
        while :; do sleep 0.02; done"#;
    let outer = TempSpool::new();
    let args = ["--pty", "--spool", outer.spool.root().to_str().unwrap(), "--"];
    let args = [&args[..], &[inner, "--", "sh", "-c", script]].concat();
    let (wrapper, mut stdin) = Wrapper::new(&spool, &args).start_with_input();
    let id = only_run(&spool);
    said(&spool, &id, "same group");
    said(&spool, &id, "ready");
    stdin.write_all(&[3]).unwrap();
    said(&spool, &id, "heard 1");
    // The inner wrapper has heard the key too, and would have passed it on by the time that this arrives.
    let around = wrapper.0.id();
    let children = std::fs::read_to_string(format!("/proc/{around}/task/{around}/children")).unwrap();
    kill("-USR1", children.trim());
    wrapper.end().1.exits(7);
    let log = std::fs::read_to_string(spool.spool.log_path(&id)).unwrap();
    assert!(!log.contains("heard 2"), "{log}");
}
