//! Planting: how a case makes its pieces, with the rights of the one who plants them.
//!
//! Pieces are made in a directory of the planter's own on the spool's file system, and then moved to their place by
//! root, so that another user's files get where that user could not put them: nothing may depend on the directory
//! being closed. A thread takes the planter's uid for it (credentials are a thread's own in Linux), so owner and mode
//! of everything are those that this user's process would have made.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, IFlags};
use rustix::process::{Gid, Uid};

use super::case::{Expect, Piece};
use crate::layer::Outcome;

/// How old a piece is, so that a bad one needs no patience.
const OLD: Duration = Duration::from_secs(60);

/// Does something as a user, or as who we are.
pub(super) fn as_user<T: Send>(user: Option<u32>, act: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    let work = || -> Outcome<T> {
        if let Some(user) = user {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        act()
    };
    let ended = std::thread::scope(|scope| scope.spawn(work).join());
    ended.map_err(|_| "the planter panicked")?
}

/// What a case has to plant with.
pub(super) struct Plant<'a> {
    /// The planter's own directory for this case, on the spool's file system.
    pub(super) stage: &'a Path,
    /// A directory outside of the spool, of the planter, with `secret.json` (a good record), `secret.txt` and `dir/`.
    pub(super) out: &'a Path,
    pub(super) spool: &'a Path,
    /// A name of the case's own, good as an id.
    pub(super) stem: String,
    /// The case's session, which is there.
    pub(super) session: String,
    /// Stands in the texts of the case.
    pub(super) word: String,
    pub(super) expect: Expect,
    pub(super) pieces: Vec<Piece>,
    /// Processes that hold something open until the end.
    pub(super) held: Vec<Held>,
    /// Further sessions that are there.
    pub(super) sessions: Vec<String>,
    pub(super) made: Cell<u32>,
}

/// What is kept until the end of the round.
#[expect(dead_code, reason = "held for what their end would do")]
pub(super) enum Held {
    Process(Sleeper),
    File(File),
    Socket(std::os::unix::net::UnixListener),
}

/// A process that does nothing; killed when dropped.
pub(super) struct Sleeper(pub(super) Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait()).is_ok();
    }
}

impl Plant<'_> {
    /// Fills in a template: `$S` the session, `$W` the word, `$I` the stem.
    pub(super) fn fill(&self, template: &str) -> String {
        template.replace("$S", &self.session).replace("$W", &self.word).replace("$I", &self.stem)
    }

    /// A good record with these further members (after a comma of their own).
    pub(super) fn record(&self, more: &str) -> String {
        self.fill(&format!(r#"{{"sessionKey":"$S","text":"$W"{more}}}"#))
    }

    /// A path of its own in the stage.
    pub(super) fn path(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        self.stage.join(format!("{}-{}", self.stem, self.made.get()))
    }

    /// The name `STEM.json`.
    pub(super) fn json(&self) -> String {
        format!("{}.json", self.stem)
    }

    /// Writes a file in the stage, a minute old.
    pub(super) fn write(&self, bytes: impl AsRef<[u8]>) -> Outcome<PathBuf> {
        let path = self.path();
        std::fs::write(&path, bytes)?;
        age(&path, OLD)?;
        Ok(path)
    }

    /// What was made there goes into `new/` under this name.
    pub(super) fn drop_as(&mut self, staged: PathBuf, name: impl AsRef<[u8]>) -> &mut Piece {
        self.place(staged, Path::new("new").join(OsStr::from_bytes(name.as_ref())))
    }

    /// What was made there goes to this place in the spool.
    pub(super) fn place(&mut self, staged: PathBuf, to: impl Into<PathBuf>) -> &mut Piece {
        let to = to.into();
        let by_other = if to.starts_with("new") { Expect::Left } else { self.expect };
        self.pieces.push(Piece {
            staged,
            to,
            expect: self.expect,
            by_other,
            session: self.session.clone(),
            word: self.word.clone(),
            device: None,
            flags: IFlags::empty(),
        });
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    /// These bytes, in `new/STEM.json`.
    pub(super) fn bytes(&mut self, bytes: impl AsRef<[u8]>) -> Outcome<()> {
        let staged = self.write(bytes)?;
        let name = self.json();
        self.drop_as(staged, name);
        Ok(())
    }

    /// This template, in `new/STEM.json`.
    pub(super) fn raw(&mut self, template: &str) -> Outcome<()> {
        let text = self.fill(template);
        self.bytes(text)
    }

    /// A good record with further members, in `new/STEM.json`.
    pub(super) fn with(&mut self, members: &str) -> Outcome<()> {
        let record = self.record(&format!(",{members}"));
        self.bytes(record)
    }

    /// A record that names this session instead.
    pub(super) fn to(&mut self, session: &str) -> Outcome<()> {
        let record = serde_json::json!({"sessionKey": session, "text": self.word});
        session.clone_into(&mut self.session);
        self.bytes(record.to_string())
    }

    /// A record that says this after its word.
    pub(super) fn says(&mut self, text: &str) -> Outcome<()> {
        let text = format!("{} {text}", self.word);
        let record = serde_json::json!({"sessionKey": self.session, "text": text});
        self.bytes(record.to_string())
    }

    /// A record that says this before its word.
    pub(super) fn begins(&mut self, text: &str) -> Outcome<()> {
        let text = format!("{text} {}", self.word);
        let record = serde_json::json!({"sessionKey": self.session, "text": text});
        self.bytes(record.to_string())
    }

    /// A good record under this name.
    pub(super) fn named(&mut self, name: impl AsRef<[u8]>) -> Outcome<()> {
        let staged = self.write(self.record(""))?;
        self.drop_as(staged, name);
        Ok(())
    }

    /// A good record with this id, in a file of another name.
    pub(super) fn id(&mut self, id: &str) -> Outcome<()> {
        let record = serde_json::json!({"sessionKey": self.session, "text": self.word, "id": id});
        let staged = self.write(record.to_string())?;
        let name = format!("by-id-{}", self.json());
        self.drop_as(staged, name);
        Ok(())
    }

    /// A symlink `new/STEM.json` to this.
    pub(super) fn link(&mut self, target: impl AsRef<Path>) -> Outcome<()> {
        let path = self.path();
        std::os::unix::fs::symlink(target, &path)?;
        let name = self.json();
        self.drop_as(path, name);
        Ok(())
    }

    /// A FIFO or a device `new/STEM.json`.
    pub(super) fn node(&mut self, kind: FileType, major: u32, minor: u32) -> Outcome<()> {
        let (path, name) = (self.path(), self.json());
        if kind == FileType::Fifo {
            rustix::fs::mknodat(rustix::fs::CWD, &path, kind, rustix::fs::Mode::from_raw_mode(0o666), 0)?;
            self.drop_as(path, name);
        } else {
            self.drop_as(path, name).device = Some((kind, major, minor));
        }
        Ok(())
    }

    /// A good record with this mode.
    pub(super) fn mode(&mut self, mode: u32) -> Outcome<()> {
        let staged = self.write(self.record(""))?;
        std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(mode))?;
        let name = self.json();
        self.drop_as(staged, name);
        Ok(())
    }

    /// A file of this size with nothing in it.
    pub(super) fn sparse(&mut self, size: u64) -> Outcome<()> {
        let path = self.path();
        File::create(&path)?.set_len(size)?;
        age(&path, OLD)?;
        let name = self.json();
        self.drop_as(path, name);
        Ok(())
    }

    /// The same bytes, written at another time.
    pub(super) fn dated(&mut self, bytes: impl AsRef<[u8]>, when: SystemTime) -> Outcome<()> {
        let path = self.write(bytes)?;
        File::options().write(true).open(&path)?.set_times(FileTimes::new().set_modified(when))?;
        let name = self.json();
        self.drop_as(path, name);
        Ok(())
    }

    /// A process of the planter's that has the file open for appending.
    pub(super) fn hold_open(&mut self, path: &Path) -> Outcome<()> {
        let file = File::options().append(true).open(path)?;
        let mut sleep = Command::new("sleep");
        sleep.arg("600").stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
        self.held.push(Held::Process(Sleeper(sleep.spawn()?)));
        Ok(())
    }
}

/// Makes a file as old as this.
pub(super) fn age(path: &Path, by: Duration) -> Outcome<()> {
    let file = File::options().write(true).open(path)?;
    Ok(file.set_times(FileTimes::new().set_modified(SystemTime::now() - by))?)
}
