//! System calls, counted from outside by `strace`.
//!
//! The same on an idle and on a busy machine, so they may be checked exactly. What is counted is what the kernel was
//! asked for, by all threads and children, not what the program says of itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::bench::{Outcome, which};

/// Calls that wait for the disk.
const FLUSHES: [&str; 6] = ["fsync", "fdatasync", "sync", "syncfs", "msync", "sync_file_range"];
/// How long a traced program may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The calls of a program.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// All of them in order, of all threads and children.
    pub order: Vec<String>,
}

impl Counts {
    /// Runs a program to its end and counts. `input` is its stdin; `log` is a file for strace.
    ///
    /// # Errors
    /// When there is no strace, or when the program fails: what fails is no measurement.
    pub fn of(command: &Command, input: &[u8], log: &Path) -> Outcome<Counts> {
        let mut traced = Command::new(strace()?);
        traced.args(["-f", "-qq", "-e", "signal=none", "-s", "0", "-o"]).arg(log).arg("--");
        traced.arg(command.get_program()).args(command.get_args());
        traced.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                traced.env(name, value);
            }
        }
        if let Some(dir) = command.get_current_dir() {
            traced.current_dir(dir);
        }
        let said = log.with_extension("said");
        traced.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(std::fs::File::create(&said)?);
        let mut child = traced.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        let status = wait(&mut child, LIMIT)?;
        if !status.success() {
            let (name, said) = (command.get_program().display(), std::fs::read(&said)?);
            let said = String::from_utf8_lossy(&said).into_owned();
            return Err(format!("{name} under strace ended with {status}: {}", said.trim()).into());
        }
        let counts = Counts::read(log)?;
        if counts.order.is_empty() {
            return Err("strace saw no system call".into());
        }
        Ok(counts)
    }

    /// The calls in a log of strace.
    fn read(log: &Path) -> Outcome<Counts> {
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        let order = text.lines().filter_map(|line| {
            let call = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
            let name = call.split_once('(')?.0;
            // What was interrupted by another thread's call is told again when it ends.
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            is_name.then(|| name.to_owned())
        });
        Ok(Counts { order: order.collect() })
    }

    /// How often each was made.
    pub fn each(&self) -> BTreeMap<&str, u64> {
        let mut each = BTreeMap::new();
        for name in &self.order {
            *each.entry(name.as_str()).or_default() += 1;
        }
        each
    }

    /// How often these were made together.
    pub fn sum(&self, names: &[&str]) -> u64 {
        self.order.iter().filter(|call| names.contains(&call.as_str())).count() as u64
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.order.len() as u64
    }

    /// Those that wait for the disk.
    pub fn flushes(&self) -> u64 {
        self.sum(&FLUSHES)
    }
}

/// The calls of a program that runs already, from now on until [`Counting::stop`].
#[derive(Debug)]
pub struct Counting {
    strace: Child,
    log: PathBuf,
}

impl Counting {
    /// Begins; `log` is a file for strace. The program runs several times slower meanwhile.
    ///
    /// # Errors
    /// When there is no strace, or it cannot trace the process.
    pub fn start(pid: u32, log: &Path) -> Outcome<Counting> {
        let strace = Command::new(strace()?)
            .args(["-f", "-e", "signal=none", "-s", "0", "-o"])
            .arg(log)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let counting = Counting { strace, log: log.to_owned() };
        let start = Instant::now();
        let status = format!("/proc/{pid}/status");
        loop {
            let text = std::fs::read_to_string(&status)?;
            let tracer = text.lines().find_map(|line| line.strip_prefix("TracerPid:"));
            if tracer.is_some_and(|tracer| tracer.trim() != "0") {
                return Ok(counting);
            }
            if start.elapsed() > LIMIT {
                return Err(format!("strace does not come to trace process {pid}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends; the program goes on untraced.
    ///
    /// # Errors
    /// When strace does not end, or its log cannot be read.
    pub fn stop(mut self) -> Outcome<Counts> {
        let pid = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        wait(&mut self.strace, LIMIT)?;
        Counts::read(&self.log)
    }
}

fn strace() -> Outcome<OsString> {
    let found = which("strace").ok_or("system calls are counted with strace: install it")?;
    Ok(found.into_os_string())
}

/// Waits for a child to end, and ends it when it takes too long. Does not poll, which would cost what is measured.
///
/// # Errors
/// When it took too long.
pub fn wait(child: &mut Child, limit: Duration) -> Outcome<ExitStatus> {
    let pid = rustix::process::Pid::from_child(child);
    // The child has not been waited for, so its number is its own.
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let limit = rustix::event::Timespec::try_from(limit)?;
    let start = Instant::now();
    loop {
        let mut ended = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut ended, Some(&limit)) {
            Ok(1..) => return Ok(child.wait()?),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => {
                child.kill()?;
                child.wait()?;
                return Err(format!("a program did not end within {:?}", start.elapsed()).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let text = "12 execve(\"\"..., [], 0x7 /* 3 vars */) = 0\n\
            12 fdatasync(3 <unfinished ...>\n13 fsync(4) = 0\n12 <... fdatasync resumed>) = 0\n\
            12 exit_group(0) = ?\n12 +++ exited with 0 +++\n";
        std::fs::write(&log, text).unwrap();
        let counts = Counts::read(&log).unwrap();
        assert_eq!(counts.order, ["execve", "fdatasync", "fsync", "exit_group"]);
        assert_eq!((counts.flushes(), counts.total(), counts.each()["fsync"]), (2, 4, 1));
    }

    #[test]
    fn a_program_is_counted_and_one_that_fails_is_no_measurement() {
        if which("strace").is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let counts = Counts::of(Command::new("/bin/cat").env("LANG", "C"), b"words", &log).unwrap();
        assert!(counts.sum(&["write"]) == 1 && counts.flushes() == 0, "{counts:?}");
        assert!(Counts::of(&Command::new("/bin/false"), b"", &log).is_err());
        let mut sleeps = Command::new("sleep").arg("60").spawn().unwrap();
        let counting = Counting::start(sleeps.id(), &log).unwrap();
        counting.stop().unwrap();
        sleeps.kill().unwrap();
        sleeps.wait().unwrap();
    }
}
