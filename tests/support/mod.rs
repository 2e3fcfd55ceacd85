//! What several tests need: a spool that goes away again, and the real programs.

pub mod programs;
pub mod runs;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spooldir::{Dir, Spool};

/// The root of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A spool in a temporary directory.
pub struct TempSpool {
    home: tempfile::TempDir,
    pub spool: Spool,
}

impl TempSpool {
    pub fn new() -> TempSpool {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(&home.path().join("spool")).unwrap();
        TempSpool { home, spool }
    }

    /// A directory beside the spool, for what a test needs besides.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The names in one of its directories, sorted.
    pub fn names(&self, dir: Dir) -> Vec<String> {
        names(&self.spool.dir(dir))
    }

    /// The bytes of the only file in one of its directories.
    pub fn only(&self, dir: Dir) -> (String, Vec<u8>) {
        let names = self.names(dir);
        let [name] = names.as_slice() else { panic!("{dir:?} holds {names:?}") };
        (name.clone(), std::fs::read(self.spool.dir(dir).join(name)).unwrap())
    }
}

/// The names in a directory, sorted; none if it is not there.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(items) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails with all that is known unless the exit number is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Fails unless the words on stderr say this.
    #[track_caller]
    pub fn says(self, part: &str) -> Ran {
        assert!(self.stderr.contains(part), "stderr does not say {part:?}: {self:?}");
        self
    }
}

/// `spool-put` with no environment but what a test gives it.
pub struct Put {
    command: Command,
    stdin: Vec<u8>,
}

impl Put {
    pub fn new(args: &[&str]) -> Put {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool-put"));
        command.args(args).env_clear();
        Put { command, stdin: Vec::new() }
    }

    /// With the spool named by the environment.
    pub fn into(spool: &TempSpool, args: &[&str]) -> Put {
        Put::new(args).env("SPOOL_DIR", spool.spool.root())
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Put {
        self.command.env(name, value);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Put {
        self.command.arg(arg);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Put {
        self.stdin = bytes.into();
        self
    }

    pub fn run(self) -> Ran {
        self.run_to(Stdio::piped())
    }

    /// Runs it with its stdout going elsewhere.
    pub fn run_to(mut self, stdout: Stdio) -> Ran {
        let mut child =
            self.command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = std::mem::take(&mut self.stdin);
        // It may exit without reading; that is its right.
        let feeder = std::thread::spawn(move || pipe.write_all(&stdin).is_ok());
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Where a program is that a test needs. Without it the test is skipped, and says so; in CI, which installs it, that is a
/// failure.
pub fn need(program: &str) -> Option<PathBuf> {
    let found = which(program);
    if found.is_none() {
        let is_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!is_ci, "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Where a program is, if it is installed.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
}
