//! Disks of real file systems, in files: mounted through a loop device, their power cut, mounted again.
//!
//! All of it happens in a mount namespace of this process ([`private_mounts`]), on a tmpfs of its own: when the process is
//! gone, however it went, the kernel takes the mounts, the loop devices and the images with it. Within the process a
//! [`Disk`] unmounts itself when it is dropped.
//!
//! A cut of the power ([`Disk::cut`]) drops what the file system holds in memory and has not written, its log included.
//! The image then holds what a disk would that honours flushes, and the next mount is a real recovery.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{is_root, which};
use crate::layer::Outcome;
use crate::os;

/// How long a mount or an unmount may take, on a machine with other things to do.
const LIMIT: Duration = Duration::from_secs(60);
/// How long those who still use a disk may take to go by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(3);

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    /// The size of an image; it is sparse. xfs makes none below 300 MiB, btrfs none below 114.
    pub(super) fn size(self) -> u64 {
        match self {
            Kind::Ext4 => 48 << 20,
            Kind::Xfs => 300 << 20,
            Kind::Btrfs => 128 << 20,
        }
    }

    /// The words that make it; the image is the last one.
    fn mkfs(self) -> &'static [&'static str] {
        match self {
            // The tables are made at once and not in the background, so that every run has the same writes.
            Kind::Ext4 => &["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
            Kind::Xfs => &["mkfs.xfs", "-q", "-f"],
            Kind::Btrfs => &["mkfs.btrfs", "-q", "-f", "-m", "single"],
        }
    }

    /// A new file system in a file.
    pub(super) fn make(self, image: &Path) -> Outcome<()> {
        File::create(image)?.set_len(self.size())?;
        let [program, words @ ..] = self.mkfs() else { return Ok(()) };
        let program = which(program).ok_or(format!("there is no {program}; install it"))?;
        must(Command::new(program).args(words).arg(image))
    }
}

/// What is missing here for disks of these kinds, in words.
pub(super) fn missing(kinds: &[Kind]) -> Option<String> {
    if !is_root() {
        return Some("only root may mount".into());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".into());
    }
    let programs = kinds.iter().filter_map(|kind| kind.mkfs().first());
    let lacking: Vec<&str> = programs.copied().filter(|name| which(name).is_none()).collect();
    (!lacking.is_empty()).then(|| format!("there is no {}", lacking.join(", no ")))
}

/// Mounts of this thread's, and of all threads and processes that it starts from now on, are seen by nobody else. Gives a
/// directory for images, in memory: a flush costs nothing there.
pub(super) fn private_mounts(scratch: &Path) -> Outcome<Images> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let at = scratch.join("images");
    fs::create_dir(&at)?;
    must(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2g,mode=0700", "none"]).arg(&at))?;
    Ok(Images { at })
}

/// Where the images are.
pub(super) struct Images {
    pub(super) at: PathBuf,
}

impl Drop for Images {
    fn drop(&mut self) {
        let _gone = unmount(&self.at, UnmountFlags::DETACH).is_ok();
    }
}

/// A disk with a file system on it.
pub(super) struct Disk {
    kind: Kind,
    /// The file that the loop device shows.
    image: PathBuf,
    at: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// A new one, mounted at `at`, which is made.
    pub(super) fn make(kind: Kind, image: &Path, at: &Path) -> Outcome<Disk> {
        kind.make(image)?;
        Disk::of(kind, image, at)
    }

    /// One whose file system is made already, mounted at `at`.
    pub(super) fn of(kind: Kind, image: &Path, at: &Path) -> Outcome<Disk> {
        fs::create_dir_all(at)?;
        let mut disk = Disk { kind, image: image.to_owned(), at: at.to_owned(), is_mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn at(&self) -> &Path {
        &self.at
    }

    /// Mounts it. Waits for a free loop device, which there are few of.
    pub(super) fn mount(&mut self) -> Outcome<()> {
        let start = Instant::now();
        loop {
            let mut command = Command::new("mount");
            command.args(["-t", self.kind.name(), "-o", "loop,noatime"]).arg(&self.image).arg(&self.at);
            match must(&mut command) {
                Ok(()) => {
                    self.is_mounted = true;
                    return Ok(());
                }
                Err(e) if start.elapsed() < LIMIT && e.to_string().contains("loop device") => {}
                Err(e) => return Err(e),
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes everything down, as it would be in half a minute.
    pub(super) fn sync(&self) -> Outcome<()> {
        Ok(rustix::fs::syncfs(File::open(&self.at)?)?)
    }

    /// Cuts the power. What is not on the disk is lost; all that is left to do is [`Disk::revive`].
    pub(super) fn cut(&self) -> Outcome<()> {
        let dir = File::open(&self.at)?;
        os::cut_power(dir.as_fd()).map_err(|e| format!("cannot shut {} down: {e}", self.kind.name()).into())
    }

    /// The power comes back.
    pub(super) fn revive(&mut self) -> Outcome<()> {
        self.unmount()?;
        self.mount()
    }

    /// Takes it off; whoever still uses it after a while is killed.
    pub(super) fn unmount(&mut self) -> Outcome<()> {
        if !self.is_mounted {
            return Ok(());
        }
        let start = Instant::now();
        loop {
            match unmount(&self.at, UnmountFlags::empty()) {
                Ok(()) => break,
                Err(rustix::io::Errno::BUSY) if start.elapsed() < LIMIT => {
                    if start.elapsed() > GRACE {
                        end_users(&self.at);
                    }
                }
                Err(e) => return Err(format!("cannot unmount {}: {e}", self.at.display()).into()),
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            let _gone = unmount(&self.at, UnmountFlags::DETACH).is_ok();
        }
    }
}

/// Kills the processes that have something open below `at`. It is seen in no other namespace, so they are ours.
fn end_users(at: &Path) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != rustix::process::getpid()) else { continue };
        let fds = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        let is_user = fds
            .chain(["cwd", "exe"].map(|name| process.path().join(name)))
            .any(|link| fs::read_link(link).is_ok_and(|to| to.starts_with(at)));
        if is_user {
            let _gone = kill_process(pid, Signal::KILL).is_ok();
        }
    }
}

/// Runs a command that must succeed.
fn must(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?}: {}: {}", command.get_program(), output.status, words.trim()).into())
}
