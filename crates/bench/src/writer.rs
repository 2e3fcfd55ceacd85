//! `writer DIR RECORDS`: a producer with the library in a process of its own.
//!
//! Opens the spool, says `ready`, waits until its stdin is closed, publishes so many records of 1 KiB one after the
//! other, and prints how many microseconds each took.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use spool_bench::Outcome;
use spool_bench::chapters::record;
use spooldir::{Id, Spool};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Outcome<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(dir), Some(records)) = (args.next(), args.next()) else { return Err("DIR RECORDS".into()) };
    let records: usize = records.to_string_lossy().parse()?;
    let spool = Spool::open(std::path::Path::new(&dir))?;
    let record = record();
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(b"ready\n")?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let mut said = String::new();
    for _ in 0..records {
        let start = Instant::now();
        spool.publish(&Id::mint(), &record, true)?;
        said += &format!("{}\n", start.elapsed().as_micros());
    }
    Ok(stdout.write_all(said.as_bytes())?)
}
