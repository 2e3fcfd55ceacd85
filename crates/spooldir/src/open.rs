//! Reading a file that a stranger may have put there (`spool-format.md` section 6).
//!
//! A name in the spool can be anything: a symlink to a secret, a FIFO that blocks, a device with side effects, a
//! sparse file of eight gigabytes. On Linux the name is first taken hold of without opening it (O_PATH), judged by
//! what the kernel says of that very object, and only then opened through the same descriptor, so that nothing can
//! be swapped in between. Elsewhere the name is looked at, opened without following or blocking, and looked at again.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use spool_seeded::Bug;

use crate::fs::{Content, Meta, Unfit};

/// Flags with which nothing follows, blocks or becomes our terminal.
const CAREFUL: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Reads an ordinary file of at most `limit` bytes, of ours or of one of the users `admitted`.
///
/// # Errors
/// [`Unfit`] for everything else, and for what fails.
pub(crate) fn read(path: &Path, limit: u64, admitted: &[u32]) -> Result<Content, Unfit> {
    let (file, meta) = open(path)?;
    let limit = if spool_seeded::is(Bug::SizeUnchecked) { u64::MAX - 1 } else { limit };
    judge(&meta, limit, admitted)?;
    let bytes = read_whole(file, meta.size, limit)?;
    if bytes.len() as u64 > limit {
        return Err(Unfit::TooLarge(bytes.len() as u64));
    }
    Ok(Content { meta, bytes })
}

/// Reads to the end, at most one byte more than `limit`, which tells a file that has grown since. One byte more than
/// `size` is asked for, so that a file that is as long as it was is read by one call.
fn read_whole(mut file: File, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    let most = usize::try_from(size.saturating_add(1)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; most];
    let length = file.read(&mut bytes)?;
    bytes.truncate(length);
    // An ordinary file gives less than was asked for only at its end; what gives less than it has is read on.
    if length as u64 != size {
        let left = (limit + 1).saturating_sub(length as u64);
        file.take(left).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Opens an ordinary file of ours, of any size, to be read.
///
/// # Errors
/// [`Unfit`] for everything else, and for what fails.
pub(crate) fn ordinary(path: &Path) -> Result<File, Unfit> {
    let (file, meta) = open(path)?;
    judge(&meta, u64::MAX, &[])?;
    Ok(file)
}

/// What only the numbers of the file decide.
fn judge(meta: &Meta, limit: u64, admitted: &[u32]) -> Result<(), Unfit> {
    if meta.nlink > 1 && !spool_seeded::is(Bug::HardlinkOk) {
        return Err(Unfit::Linked(meta.nlink));
    }
    let is_ours = meta.uid == own_uid() || admitted.contains(&meta.uid);
    if !is_ours && !spool_seeded::is(Bug::ForeignOwnerOk) {
        return Err(Unfit::Owner(meta.uid));
    }
    if meta.size > limit {
        return Err(Unfit::TooLarge(meta.size));
    }
    Ok(())
}

/// Who we are; asked once, for no program of ours ever changes it.
fn own_uid() -> u32 {
    static OWN: OnceLock<u32> = OnceLock::new();
    *OWN.get_or_init(|| rustix::process::geteuid().as_raw())
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> Result<(File, Meta), Unfit> {
    use std::os::fd::AsRawFd;
    let mut flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if spool_seeded::is(Bug::FollowSymlink) {
        flags.remove(OFlags::NOFOLLOW);
    }
    let handle = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?);
    let meta = handle.metadata()?;
    if spool_seeded::is(Bug::SpecialOpened) && meta.file_type().is_fifo() {
        return Ok((File::open(path)?, Meta::from(&meta)));
    }
    regular(&meta)?;
    let same = format!("/proc/self/fd/{}", handle.as_raw_fd());
    // Not O_NOFOLLOW: the magic link is what leads to the object we hold.
    let again = CAREFUL.difference(OFlags::NOFOLLOW);
    match rustix::fs::open(same, again, Mode::empty()) {
        Ok(fd) => Ok((File::from(fd), Meta::from(&meta))),
        // No /proc here: the other way.
        Err(rustix::io::Errno::NOENT) => open_by_name(path, &meta),
        Err(e) => Err(Unfit::Io(e.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> Result<(File, Meta), Unfit> {
    let meta = std::fs::symlink_metadata(path)?;
    regular(&meta)?;
    open_by_name(path, &meta)
}

/// Opens a name that was an ordinary file a moment ago, and makes sure that it is still the same one.
fn open_by_name(path: &Path, before: &std::fs::Metadata) -> Result<(File, Meta), Unfit> {
    let file = File::from(rustix::fs::open(path, CAREFUL, Mode::empty()).map_err(io::Error::from)?);
    let after = file.metadata()?;
    regular(&after)?;
    if (after.dev(), after.ino()) != (before.dev(), before.ino()) {
        return Err(Unfit::Io(io::Error::new(
            io::ErrorKind::WouldBlock,
            "the file was replaced while it was opened",
        )));
    }
    Ok((file, Meta::from(&after)))
}

fn regular(meta: &std::fs::Metadata) -> Result<(), Unfit> {
    let kind = meta.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(Unfit::NotAFile(if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symbolic link"
    } else if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else {
        "device"
    }))
}

/// The inodes of this device that some process of ours has open for writing. Only asked of files that are no good
/// record, and once for many of them, because it costs a look at every descriptor of every process.
///
/// A scan of /proc rather than a lease (fcntl(2)): taking a lease would stop, and signal to us, whoever opens the file
/// meanwhile. Where there is no /proc nobody is seen, and only age and growth speak for a file.
///
/// And whether it could be told at all: from a name space for users, as a service manager makes it for what it confines,
/// no process outside can be looked into, not even one of the same user.
pub(crate) fn open_for_writing(dev: u64) -> (HashSet<u64>, bool) {
    let mut open = HashSet::new();
    let mut is_blind = false;
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return (open, is_blind);
    };
    let own = rustix::process::geteuid().as_raw();
    let is_apart = is_in_a_name_space_for_users();
    for process in processes.flatten().filter(|p| p.file_name().as_encoded_bytes()[0].is_ascii_digit()) {
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for fd in descriptors.flatten() {
            match std::fs::metadata(fd.path()) {
                Ok(meta)
                    if meta.is_file()
                        && meta.dev() == dev
                        && is_writable(&process.path().join("fdinfo").join(fd.file_name())) =>
                {
                    open.insert(meta.ino());
                }
                // Names can be listed by whoever owns them, what they stand for is told to fewer.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    is_blind |= is_apart && process.metadata().is_ok_and(|meta| meta.uid() == own);
                    break;
                }
                _ => {}
            }
        }
    }
    (open, is_blind)
}

/// Whether users are other users outside: user_namespaces(7), "User and group ID mappings".
fn is_in_a_name_space_for_users() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// Reads the access mode from a line `flags: 0100001` (octal) of fdinfo, proc(5).
fn is_writable(fdinfo: &Path) -> bool {
    let Ok(info) = std::fs::read_to_string(fdinfo) else {
        return false;
    };
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
    flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f & OFlags::ACCMODE.bits() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit(path: &Path) -> String {
        read(path, 100, &[]).unwrap_err().to_string()
    }

    #[test]
    fn an_ordinary_file_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, [7; 100]).unwrap();
        let content = read(&path, 100, &[]).unwrap();
        assert_eq!(content.bytes, [7; 100]);
        assert_eq!(content.meta.size, 100);
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(open_by_name(&path, &meta).unwrap().1, content.meta);
    }

    #[test]
    fn nothing_else_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("target"), "secret").unwrap();
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        assert!(unfit(&at("link")).contains("symbolic link"));
        std::fs::create_dir(at("dir")).unwrap();
        assert!(unfit(&at("dir")).contains("directory"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(unfit(&at("fifo")).contains("FIFO"));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(unfit(&at("socket")).contains("socket"));
        std::fs::hard_link(at("target"), at("second")).unwrap();
        assert!(unfit(&at("second")).contains("2 names"));
        assert!(read(&at("nowhere"), 100, &[]).unwrap_err().is_gone());
    }

    #[test]
    fn a_sparse_giant_is_refused_by_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("giant");
        File::create(&path).unwrap().set_len(8 << 30).unwrap();
        assert!(matches!(read(&path, 100, &[]), Err(Unfit::TooLarge(n)) if n == 8 << 30));
    }
}
