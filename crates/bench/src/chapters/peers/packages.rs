//! Peers that are packages of the system: fetched and unpacked into a directory of their own, and never installed.
//!
//! Two of them may not be installed together, and none should come to life on a machine because something was measured
//! there. What a package needs and the system does not have is fetched with it. A program of it that would run as a group
//! of its own does not, for it is run as root here; otherwise the loader would not look where its libraries are.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::{Outcome, which};
use crate::counts::wait;

/// How long fetching or unpacking may take.
const LIMIT: Duration = Duration::from_secs(180);

/// A package that lies unpacked.
#[derive(Debug, Clone)]
pub(super) struct Package {
    root: PathBuf,
}

impl Package {
    /// Fetches it into `room`, unless it is there.
    pub(super) fn fetch(name: &str, room: &Path) -> Outcome<Package> {
        let (apt, dpkg) = (which("apt-get"), which("dpkg"));
        let (Some(apt), Some(dpkg)) = (apt, dpkg) else {
            return Err("it is fetched with apt-get, which is not here".into());
        };
        let (root, archives) = (room.join(name).join("root"), room.join(name).join("archives"));
        let stamp = room.join(name).join("unpacked");
        if !stamp.exists() {
            std::fs::create_dir_all(archives.join("partial"))?;
            std::fs::create_dir_all(&root)?;
            let cache = format!("Dir::Cache::archives={}", archives.display());
            let fetch =
                ["install", "-qq", "-y", "--download-only", "--reinstall", "--no-install-recommends", "-o"];
            quietly(Command::new(apt).args(fetch).arg(cache).arg(name))?;
            for archive in std::fs::read_dir(&archives)?.flatten().map(|entry| entry.path()) {
                if archive.extension().is_some_and(|kind| kind == "deb") {
                    quietly(Command::new(&dpkg).arg("-x").arg(archive).arg(&root))?;
                }
            }
            for dir in ["usr/bin", "usr/sbin"] {
                let Ok(programs) = std::fs::read_dir(root.join(dir)) else { continue };
                for program in programs.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_file()))
                {
                    let mode = program.metadata()?.permissions().mode();
                    std::fs::set_permissions(program.path(), PermissionsExt::from_mode(mode & !0o2000))?;
                }
            }
            std::fs::write(&stamp, "")?;
        }
        Ok(Package { root })
    }

    /// A program of it, with an environment in which its libraries are found.
    pub(super) fn program(&self, path: &str) -> Outcome<Command> {
        let program = self.root.join(path);
        if !program.exists() {
            return Err(format!("the package has no {path}").into());
        }
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LD_LIBRARY_PATH", self.libraries());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// A path in it.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn libraries(&self) -> String {
        let dirs = ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "usr/lib/postfix"];
        let deep = [
            "usr/lib/x86_64-linux-gnu/courier-authlib",
            "usr/lib/courier-authlib",
            "lib",
            "lib/x86_64-linux-gnu",
            "lib/aarch64-linux-gnu",
        ];
        let dirs = dirs.iter().chain(&deep).map(|dir| self.root.join(dir)).filter(|dir| dir.is_dir());
        dirs.map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":")
    }
}

/// Runs it to its end; what it says goes nowhere.
pub(super) fn quietly(command: &mut Command) -> Outcome<()> {
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let status = wait(&mut child, LIMIT)?;
    let name = command.get_program().display();
    if status.success() { Ok(()) } else { Err(format!("{name} ended with {status}").into()) }
}
