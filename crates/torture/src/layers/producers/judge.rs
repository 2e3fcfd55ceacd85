//! The judge: what became of every piece, asked of the directories and of the gateway, never of the agent.
//!
//! A piece is followed by its inode, for every transition is a rename: where that inode lies now is its state, and its
//! bytes must be those that were planted.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::bench::Bench;
use super::case::{Expect, Piece};
use crate::layer::Outcome;

/// Larger files are told by their size and inode alone.
const MAX_COMPARED: u64 = 2 << 20;
/// The most a delivery may have, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// A piece after it was planted.
pub(super) struct Planted {
    pub(super) case: &'static str,
    pub(super) piece: Piece,
    pub(super) expect: Expect,
    ino: u64,
    size: u64,
    bytes: Option<Vec<u8>>,
}

impl Planted {
    /// Looks at a piece in its place.
    pub(super) fn new(case: &'static str, piece: Piece, expect: Expect, spool: &Path) -> Outcome<Planted> {
        let path = spool.join(&piece.to);
        let meta = std::fs::symlink_metadata(&path)?;
        let is_small = meta.is_file() && meta.len() <= MAX_COMPARED;
        let bytes = is_small.then(|| std::fs::read(&path)).transpose()?;
        Ok(Planted { case, piece, expect, ino: meta.ino(), size: meta.len(), bytes })
    }
}

/// What is in the spool and at the gateway at one moment.
pub(super) struct World {
    spool: PathBuf,
    /// The place of each inode: directory and name, lossy where it is not UTF-8.
    places: HashMap<u64, Vec<(String, PathBuf)>>,
    /// Session, key and text of every turn.
    pub(super) commits: Vec<(String, String, String)>,
    pub(super) chats: Vec<(Option<String>, String, String)>,
}

impl World {
    pub(super) fn see(bench: &Bench<'_>) -> Outcome<World> {
        let mut places: HashMap<u64, Vec<(String, PathBuf)>> = HashMap::new();
        let mut see = |name: String, path: PathBuf| -> Outcome<()> {
            for item in std::fs::read_dir(path)? {
                let path = item?.path();
                // It may have moved on.
                if let Ok(meta) = std::fs::symlink_metadata(&path) {
                    places.entry(meta.ino()).or_default().push((name.clone(), path));
                }
            }
            Ok(())
        };
        for dir in spooldir::Dir::ALL {
            see(dir.name().to_owned(), bench.spool.join(dir.name()))?;
        }
        see(".".to_owned(), bench.spool.clone())?;
        let chats = bench.gateway.all_chat_messages();
        Ok(World {
            spool: bench.spool.clone(),
            places,
            commits: bench.gateway.all_commits(),
            chats: chats.into_iter().map(|chat| (chat.session, chat.key, chat.text)).collect(),
        })
    }

    /// The directory in which an inode is.
    pub(super) fn dir_of(&self, ino: u64) -> Option<&str> {
        self.places.get(&ino)?.first().map(|(dir, _)| dir.as_str())
    }

    /// What is wrong with a piece; `Ok` when it is where it should be.
    pub(super) fn judge(&self, planted: &Planted) -> Result<(), String> {
        let words = |what: String| {
            format!(
                "case \"{}\", {:?}, to become {:?}: {what}",
                planted.case, planted.piece.to, planted.expect
            )
        };
        self.place(planted).and_then(|()| self.told(planted)).map_err(words)
    }

    fn place(&self, planted: &Planted) -> Result<(), String> {
        let own = self.spool.join(&planted.piece.to);
        let is_it = |path: &Path| match (&planted.bytes, planted.expect) {
            // The number of a file that is gone may be another's by now.
            (Some(bytes), Expect::Gone) => std::fs::read(path).is_ok_and(|now| now == *bytes),
            _ => true,
        };
        let here = self.places.get(&planted.ino).map(Vec::as_slice).unwrap_or_default();
        let here: Vec<&(String, PathBuf)> = here.iter().filter(|(_, path)| is_it(path)).collect();
        // Of a file with two names, the one that is this piece's.
        let found = here.iter().find(|(_, path)| *path == own).or_else(|| here.first()).copied();
        let Some((dir, path)) = found else {
            return if planted.expect == Expect::Gone { Ok(()) } else { Err("it is gone".into()) };
        };
        let wanted = match planted.expect {
            Expect::Told | Expect::Chat | Expect::Receipt => "done",
            Expect::Dead(_) => "dead",
            Expect::Held(_) => "hold",
            Expect::Dismissed(_) => "dismissed",
            Expect::Later => "deferred",
            Expect::Left | Expect::Stays if *path == own => dir,
            Expect::Left | Expect::Stays => return Err(format!("it was moved to {path:?}")),
            Expect::Gone => return Err(format!("it is still there, {path:?}")),
        };
        if wanted != dir {
            return Err(format!("it is {path:?}{}", why(path).map(|w| format!(": {w}")).unwrap_or_default()));
        }
        let meta = std::fs::symlink_metadata(path).map_err(|e| format!("{path:?}: {e}"))?;
        let is_same = meta.len() == planted.size
            && planted.bytes.as_ref().is_none_or(|bytes| std::fs::read(path).is_ok_and(|now| now == *bytes));
        if !is_same {
            return Err("its bytes have changed".into());
        }
        let (Expect::Dead(part) | Expect::Held(part) | Expect::Dismissed(part)) = planted.expect else {
            return Ok(());
        };
        match why(path) {
            Some(reason) if !reason.is_empty() && reason.contains(part) => Ok(()),
            Some(reason) => Err(format!("the reason is {reason:?}, which does not say {part:?}")),
            None => Err("there is no reason beside it".into()),
        }
    }

    /// Whether those were told who should be, and only they.
    fn told(&self, planted: &Planted) -> Result<(), String> {
        let piece = &planted.piece;
        let id = self.places.get(&planted.ino).and_then(|here| here.first()).and_then(|(dir, path)| {
            let id = path.file_name()?.to_str()?.strip_suffix(".json")?;
            (dir == "done").then(|| format!(" \u{b7} id: {}\n", shown(id)))
        });
        match (planted.expect, id) {
            (Expect::Told, Some(id)) => {
                let turns: Vec<_> = self.commits.iter().filter(|(_, _, text)| text.contains(&id)).collect();
                let [(session, key, text)] = turns.as_slice() else {
                    return Err(format!("{} turns tell of it, not one", turns.len()));
                };
                if *session != piece.session {
                    return Err(format!("told to {session:?} instead of {:?}", piece.session));
                }
                turn_is_safe(key, text)
            }
            (Expect::Chat, Some(id)) => {
                let said: Vec<_> =
                    self.chats.iter().filter(|(_, _, text)| text.contains(id.trim_end())).collect();
                let [(_, key, text)] = said.as_slice() else {
                    return Err(format!("{} messages tell of it, not one", said.len()));
                };
                text_is_safe(key, text)
            }
            (Expect::Receipt, Some(id)) if self.commits.iter().any(|(_, _, text)| text.contains(&id)) => {
                Err("somebody was told of it".into())
            }
            _ => Ok(()),
        }
    }

    /// Turns whose text holds a word of another session's record.
    pub(super) fn strays(&self, planted: &[Planted]) -> Vec<String> {
        let mut strays = Vec::new();
        for (session, key, text) in &self.commits {
            for one in planted.iter().filter(|one| text.contains(&one.piece.word)) {
                let own =
                    |other: &&Planted| other.piece.word == one.piece.word && other.piece.session == *session;
                if !planted.iter().any(|other| own(&other)) {
                    strays.push(format!("case \"{}\": its words are in {key} to {session:?}", one.case));
                }
            }
        }
        strays
    }
}

/// What `ID.why.json` beside a file says.
fn why(path: &Path) -> Option<String> {
    let why = path.with_extension("why.json");
    let said: serde_json::Value = serde_json::from_slice(&std::fs::read(why).ok()?).ok()?;
    Some(said.get("reason")?.as_str()?.to_owned())
}

/// The digits of a key that begins at `at`, if one does.
fn digits_at(text: &str, at: usize) -> Option<&str> {
    let digits = text.get(at + 3..at + 35)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then_some(digits)
}

/// An id as a session reads it: one that could be searched for as a delivery's key is written with hyphens.
fn shown(id: &str) -> String {
    match digits_at(id, 0).filter(|_| id.starts_with("sp-")) {
        Some(d) => {
            format!("sp-{}-{}-{}-{}-{}{}", &d[..8], &d[8..12], &d[12..16], &d[16..20], &d[20..], &id[35..])
        }
        None => id.to_owned(),
    }
}

/// What any text of ours must be, whatever a producer wrote.
pub(super) fn text_is_safe(key: &str, text: &str) -> Result<(), String> {
    if !text.starts_with(&format!("[spool {key} ")) {
        return Err(format!("its text begins with {:?}", text.chars().take(40).collect::<String>()));
    }
    let keys = text.to_ascii_lowercase();
    let keys = keys.match_indices("sp-").filter(|(at, _)| digits_at(&keys, *at).is_some()).count();
    if keys != 1 {
        return Err(format!("its text names {keys} keys: what is searched for is found there"));
    }
    if text.len() > MAX_TEXT {
        return Err(format!("its text has {} bytes", text.len()));
    }
    if let Some(line) = text.lines().find(|line| line.trim_start().starts_with(['/', '!'])) {
        return Err(format!("a line of its text is a command: {line:?}"));
    }
    match text.chars().find(|c| is_unseen(*c)) {
        Some(c) => Err(format!("its text holds {c:?}")),
        None => Ok(()),
    }
}

/// And what a turn must be: data between two lines that the data cannot contain.
fn turn_is_safe(key: &str, text: &str) -> Result<(), String> {
    text_is_safe(key, text)?;
    let marker = text.split_once("the two lines marked ").and_then(|(_, rest)| rest.split_once(" comes"));
    let Some((marker, _)) = marker else { return Err("its text names no marker".into()) };
    let (begin, end) = (format!("\n--- begin {marker} ---\n"), format!("\n--- end {marker} ---\n"));
    let is_fenced = text.ends_with(&end) && text.matches(&begin).count() == 1;
    if text.matches(marker).count() != 3 || !is_fenced || marker.len() < 20 {
        return Err(format!("the fence {marker:?} stands elsewhere than at both ends, or can be guessed"));
    }
    let body = text.split_once(&begin).map(|(_, body)| body).unwrap_or_default();
    match body
        .lines()
        .find(|line| line.starts_with("[spool") || line.starts_with("---") && !end.contains(line))
    {
        Some(line) => Err(format!("a line of the data passes for ours: {line:?}")),
        None => Ok(()),
    }
}

/// Control characters, and what is drawn as nothing or turns the direction of writing.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
        || matches!(u32::from(c),
            0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
            | 0x2028..=0x202e | 0x2060..=0x206f | 0x2800 | 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xffa0
            | 0xfff9..=0xfffb | 0x1d173..=0x1d17a | 0x1bca0..=0x1bca3 | 0xe0000..=0xe0fff)
}
