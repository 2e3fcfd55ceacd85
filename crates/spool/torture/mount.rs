//! On which file system a directory is, and with which options it is mounted. Linux tells (`proc(5)`, `mountinfo`);
//! elsewhere nothing is known.

use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its kind, e.g. `ext4`.
    pub(super) kind: String,
    /// Its options, those of the mount and those of the file system.
    pub(super) options: Vec<String>,
}

impl Mount {
    /// The one a directory is on, if that can be known.
    pub(super) fn of(dir: &Path) -> Option<Mount> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let dir = dir.canonicalize().ok()?;
        find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &dir)
    }

    /// Whether it lives in memory only.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "devtmpfs")
    }

    /// Whether another machine or another program has the last word on what is flushed and locked.
    pub(super) fn is_remote(&self) -> bool {
        let kind = self.kind.as_str();
        ["nfs", "cifs", "smb", "9p", "fuse", "virtiofs", "vboxsf", "ceph", "afs"]
            .iter()
            .any(|remote| kind.starts_with(remote))
    }

    /// An option by which flushes are not passed on to the disk.
    pub(super) fn unflushed(&self) -> Option<&str> {
        let ignores = |option: &&String| matches!(option.as_str(), "nobarrier" | "barrier=0" | "volatile");
        self.options.iter().find(ignores).map(String::as_str)
    }
}

/// The mount with the longest point above the directory; of several at one point the last, which hides the others.
fn find(mountinfo: &str, dir: &Path) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<&str>, Vec<&str>) = (left.split(' ').collect(), right.split(' ').collect());
        let (Some(point), Some(own), Some(kind)) = (left.get(4), left.get(5), right.first()) else {
            continue;
        };
        let point = unescape(point);
        let depth = point.components().count();
        if dir.starts_with(&point) && best.as_ref().is_none_or(|(deepest, _)| depth >= *deepest) {
            let options = own.split(',').chain(right.get(2).unwrap_or(&"").split(','));
            let options = options.map(str::to_owned).collect();
            best = Some((depth, Mount { kind: (*kind).to_owned(), options }));
        }
    }
    best.map(|(_, mount)| mount)
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescape(point: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(point.to_owned(), |point, (code, sign)| point.replace(code, sign)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,nobarrier
30 22 0:27 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,size=1k
31 22 0:28 / /mnt/my\\040disk rw - fuse.sshfs host: rw
32 22 0:29 / /mnt/my\\040disk rw - btrfs /dev/vdb rw
";

    #[test]
    fn the_deepest_mount_counts_and_the_last_at_one_point() {
        let of = |dir: &str| find(TABLE, Path::new(dir)).unwrap();
        assert_eq!(of("/home/me").unflushed(), Some("nobarrier"));
        assert!(of("/run/user/0").is_memory());
        assert_eq!(of("/mnt/my disk/spool").kind, "btrfs");
        assert_eq!(of("/runner").kind, "ext4");
        assert!(!of("/mnt/my disk").is_remote());
    }
}
