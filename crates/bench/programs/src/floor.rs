//! The floor under a put: a program that makes the system calls without which no record is kept, and no other.
//!
//! `floor DIR NAME`: what is on stdin goes into an unnamed file in `DIR/tmp`, is flushed, gets its name in `DIR/new`, and
//! that directory is flushed. No spool is looked at, no JSON is read, no id is made. What a `spool-put` of the same
//! build takes longer than this is its own. Exit 1 when a call fails, without a word: nothing here is for users.

use std::os::fd::AsRawFd;
use std::process::ExitCode;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(name), None) = (args.next(), args.next(), args.next()) else {
        return ExitCode::from(64);
    };
    match publish(&dir, &name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn publish(dir: &str, name: &str) -> std::io::Result<()> {
    let mut record = [0; 4096];
    let mut length = 0;
    loop {
        match rustix::io::read(rustix::stdio::stdin(), record.get_mut(length..).unwrap_or_default())? {
            0 => break,
            more => length += more,
        }
    }
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("{dir}/tmp"), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::write(&file, record.get(..length).unwrap_or_default())?;
    rustix::fs::fdatasync(&file)?;
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    let new = format!("{dir}/new");
    rustix::fs::linkat(CWD, from, CWD, format!("{new}/{name}"), AtFlags::SYMLINK_FOLLOW)?;
    let new = rustix::fs::open(new, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fsync(&new)?;
    Ok(())
}
