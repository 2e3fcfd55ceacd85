//! Where a page or a metrics file goes: to stdout for `-`, else into a file that is replaced as a whole, so that who
//! reads it meanwhile (a browser, a collector) never meets half of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use spooldir::exit;

use crate::Failure;

/// Writes it.
///
/// # Errors
/// Those of writing, with the path.
pub fn write(to: &OsStr, text: &str, out: &mut dyn Write) -> Result<(), Failure> {
    if to == "-" {
        return Ok(out.write_all(text.as_bytes())?);
    }
    let path = Path::new(to);
    replace(path, text.as_bytes()).map_err(|e| {
        Failure::new(
            exit::CANT_CREATE,
            format!("cannot write {}: {e}; name a file in a directory of yours", path.display()),
        )
    })
}

/// Beside the old file, then in its place. The umask decides who may read it, as with any file a person makes.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let there = std::fs::metadata(path).ok();
    if there.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        return Err(io::Error::other("it is a directory"));
    }
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        // A device or a pipe (/dev/null, /dev/stdout) is written to; to put a file in its place would break others.
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    // Through a link, what it points to is replaced.
    let whole = if there.is_some() { path.canonicalize()? } else { path.to_owned() };
    let path = whole.as_path();
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    // With a dot in front and another end: collectors of *.prom pass it over.
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = (|| {
        if let Err(e) = std::fs::remove_file(&beside)
            && e.kind() != io::ErrorKind::NotFound
        {
            return Err(e);
        }
        let mut file = File::create_new(&beside)?;
        file.write_all(bytes)?;
        Ok(rustix::fs::rename(&beside, path)?)
    })();
    if written.is_err() {
        // It is ours alone, and nobody misses it.
        let _gone = std::fs::remove_file(&beside).is_ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool.prom");
        let mut out = Vec::new();
        for text in ["one", "two"] {
            write(path.as_os_str(), text, &mut out).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        write(OsStr::new("-"), "three", &mut out).unwrap();
        assert_eq!(out, b"three");
        let failure = write(home.path().as_os_str(), "four", &mut out).unwrap_err();
        assert!(failure.message.contains("it is a directory"), "{failure:?}");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(link.as_os_str(), "five", &mut out).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "five");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_pipe_is_written_to_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
            .unwrap();
        let mut reader = File::options().read(true).write(true).open(&path).unwrap();
        write(path.as_os_str(), "six", &mut Vec::new()).unwrap();
        let mut read = [0; 3];
        io::Read::read_exact(&mut reader, &mut read).unwrap();
        assert_eq!(&read, b"six");
        assert!(!path.is_file());
    }
}
