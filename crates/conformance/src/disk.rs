//! File systems of the kit's own: one in memory to work in, small ones to fill, and one whose power can be cut.
//!
//! All of it happens in a mount namespace of the judging thread ([`Ground`]): when the process is gone, however it went,
//! the kernel takes the mounts, the loop devices and what is in memory with it. Only root may do that.
//!
//! A [`Disk`] is an ext4 file system in a file, shown by a loop device, that commits nothing by itself for five minutes.
//! A power cut needs no cooperation of the kernel then: the file holds what the device was told to write, and nothing
//! else. A copy of it, taken at the moment at which a producer said yes, is the disk as the next boot finds it; mounting
//! the copy is the recovery.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use crate::verdict::Stop;

/// How big the disk is: ext4 with a journal is none below some megabytes, and each cut copies it.
const DISK_BYTES: u64 = 24 << 20;
/// How long a free loop device, or the end of whoever uses a mount, is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Mounts that nobody else sees, and a directory in memory.
pub struct Ground {
    at: PathBuf,
}

impl Ground {
    /// Prepares it for this thread and for what it starts from now on, or says why that cannot be.
    #[cfg(target_os = "linux")]
    pub fn prepare(scratch: &Path) -> Result<Ground, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".into());
        }
        let at = scratch.join("ground");
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
            .map_err(|e| format!("cannot have mounts of one's own: {e}"))?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(|e| format!("cannot keep mounts to oneself: {e}"))?;
        fs::create_dir(&at).map_err(|e| format!("cannot create {}: {e}", at.display()))?;
        tmpfs(&at, c"size=512m,mode=0700").map_err(|e| format!("cannot mount a tmpfs: {e}"))?;
        Ok(Ground { at })
    }

    /// Elsewhere there are no private mounts.
    #[cfg(not(target_os = "linux"))]
    pub fn prepare(_: &Path) -> Result<Ground, String> {
        Err("only Linux has private mounts".into())
    }

    /// The directory in memory.
    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _gone = unmount(&self.at, UnmountFlags::DETACH).is_ok();
    }
}

fn tmpfs(at: &Path, options: &std::ffi::CStr) -> rustix::io::Result<()> {
    mount("none", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
}

/// A mount that goes with this value.
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// A file system in memory of one megabyte and a hundred files, at `at`, which is made.
    pub fn small(at: &Path) -> Result<Mounted, Stop> {
        fs::create_dir(at)?;
        tmpfs(at, c"size=1m,nr_inodes=100,mode=0700")?;
        Ok(Mounted { at: at.to_owned() })
    }

    fn image(image: &Path, at: &Path) -> Result<Mounted, Stop> {
        fs::create_dir(at)?;
        let start = Instant::now();
        loop {
            let mut command = Command::new("mount");
            command.args(["-t", "ext4", "-o", "loop,noatime,commit=300"]).arg(image).arg(at);
            match run(&mut command) {
                Ok(()) => return Ok(Mounted { at: at.to_owned() }),
                // There are few of them, and others use them too.
                Err(e) if start.elapsed() < PATIENCE && e.contains("loop device") => {}
                Err(e) => return Err(Stop::NotTried(e)),
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let start = Instant::now();
        while unmount(&self.at, UnmountFlags::empty()) == Err(rustix::io::Errno::BUSY) {
            if start.elapsed() > PATIENCE {
                let _gone = unmount(&self.at, UnmountFlags::DETACH).is_ok();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A disk that writes down what it is told to, and nothing by itself.
pub struct Disk {
    image: PathBuf,
    mounted: Mounted,
    cuts: u32,
}

/// What the next boot finds.
pub struct Cut {
    mounted: Mounted,
    image: PathBuf,
}

impl Disk {
    /// A new one; `path` is a free name on a [`Ground`].
    pub fn make(path: &Path) -> Result<Disk, Stop> {
        let image = path.with_extension("image");
        File::create(&image)?.set_len(DISK_BYTES)?;
        let Some(mkfs) = which("mkfs.ext4") else {
            return Err(Stop::NotTried("there is no mkfs.ext4 (package e2fsprogs)".into()));
        };
        // The tables are made at once and not in the background.
        let options =
            ["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new(mkfs).args(options).arg(&image)).map_err(Stop::NotTried)?;
        let mounted = Mounted::image(&image, path)?;
        Ok(Disk { image, mounted, cuts: 0 })
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.mounted.at
    }

    /// Writes everything down, as if it had been there for long.
    pub fn settle(&self) -> Result<(), Stop> {
        Ok(rustix::fs::syncfs(File::open(self.at())?)?)
    }

    /// Cuts the power, and boots. The disk itself goes on, as if nothing had happened.
    pub fn cut(&mut self) -> Result<Cut, Stop> {
        self.cuts += 1;
        let image = self.image.with_extension(format!("cut-{}", self.cuts));
        fs::copy(&self.image, &image)?;
        let at = self.mounted.at.with_extension(format!("after-{}", self.cuts));
        let mounted = Mounted::image(&image, &at)?;
        Ok(Cut { mounted, image })
    }
}

impl Cut {
    /// Where the disk is mounted after the boot.
    pub fn at(&self) -> &Path {
        &self.mounted.at
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // Its space is needed for the next one; the loop device keeps what it still needs.
        let _gone = fs::remove_file(&self.image).is_ok();
    }
}

/// The first program of this name, also where only root looks.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beyond = ["/sbin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(beyond).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot start {program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}: {}", output.status, words.trim()))
}
