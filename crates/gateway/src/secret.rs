//! A token or password, and the places it is read from.
//!
//! What stays true: a secret is never printed. `Debug` redacts, there is no `Display`, the memory is wiped on
//! drop, and every error here names the place (a path, a variable) and never the value.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// A file that holds a secret is never larger than this.
const LIMIT: u64 = 1 << 20;

/// A token or a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one frame it belongs into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The secrets that a connection was made with, to be taken out of what its peer says before anybody reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Vec<Secret>);

/// A secret as short as a word is left in: without it our own words would go, and it protects nothing anyway. The same
/// goes for the beginning of one.
const SHORTEST: usize = 8;

impl Known {
    /// These secrets, without the short ones.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Known {
        Known(secrets.into_iter().filter(|secret| secret.expose().len() >= SHORTEST).cloned().collect())
    }

    /// These and one more.
    pub fn and(mut self, more: &Option<Secret>) -> Known {
        self.0.extend(Known::new(more).0);
        self
    }

    /// The text without them, whoever put them there; nor with one of which only the beginning was kept when the text
    /// was cut.
    pub fn redact(&self, mut text: String) -> String {
        for secret in self.0.iter().map(Secret::expose) {
            if text.contains(secret) {
                text = text.replace(secret, "[redacted]");
            }
            let parts = secret.char_indices().map(|(at, _)| at).filter(|at| *at >= SHORTEST);
            let mut cut = parts.rev().map(|at| format!("{}…", secret.get(..at).unwrap_or_default()));
            if let Some(cut) = cut.find(|cut| text.contains(cut.as_str())) {
                text = text.replace(&cut, "[redacted]…");
            }
        }
        text
    }
}

/// Finds the secret in the text of a file. The error is a lowercase sentence without the text.
pub type Extract = fn(&str) -> Result<Secret, String>;

/// Where a secret comes from. It is read again for every connect, so a rotated token is picked up.
#[derive(Debug, Clone)]
pub enum Source {
    /// The whole file, without white space around it. Symbolic links are followed: secret managers mount them.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A file of another program's, and the way to find the secret in it.
    Inside(PathBuf, Extract),
    /// The secret itself.
    Literal(Secret),
}

impl Source {
    /// Reads the secret now.
    ///
    /// # Errors
    /// A lowercase sentence that names the place: unreadable, not a regular file, too large, empty.
    pub fn read(&self) -> Result<Secret, String> {
        let secret = match self {
            Source::Literal(secret) => secret.clone(),
            Source::Env(name) => {
                let value = std::env::var(name)
                    .map_err(|_| format!("the environment variable {name} is not set (or not UTF-8)"))?;
                Secret::new(Zeroizing::new(value).trim())
            }
            Source::File(path) => Secret::new(read_text(path)?.trim()),
            Source::Inside(path, extract) => {
                let text = read_text(path)?;
                extract(&text).map_err(|why| format!("no token found in {}: {why}", path.display()))?
            }
        };
        // Control characters would be a file of the wrong kind; an empty token is a forgotten one.
        if secret.expose().is_empty() || secret.expose().chars().any(char::is_control) {
            return Err(format!("the token from {self} is empty or is not one line of text"));
        }
        Ok(secret)
    }

    /// Mixes into `hasher` what changes when the secret does; the secret itself is not read from files.
    pub(crate) fn stamp(&self, hasher: &mut DefaultHasher) {
        match self {
            Source::Literal(secret) => secret.expose().hash(hasher),
            Source::Env(name) => std::env::var_os(name).hash(hasher),
            Source::File(path) | Source::Inside(path, _) => stamp_file(path, hasher),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) | Source::Inside(path, _) => write!(f, "{}", path.display()),
            Source::Env(name) => write!(f, "${name}"),
            Source::Literal(_) => f.write_str("the command line"),
        }
    }
}

/// Mixes a file's identity, size and times into `hasher`; an absent file counts as such.
pub(crate) fn stamp_file(path: &Path, hasher: &mut DefaultHasher) {
    let Ok(meta) = std::fs::metadata(path) else { return 0u8.hash(hasher) };
    (meta.dev(), meta.ino(), meta.size()).hash(hasher);
    (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()).hash(hasher);
}

/// Reads a small regular file without ever blocking on a FIFO or a device.
fn read_text(path: &Path) -> Result<Zeroizing<String>, String> {
    read_regular(path, OFlags::empty())
        .map(|(_, text)| text)
        .map_err(|error| format!("cannot read the token from {}: {error}", path.display()))
}

/// Opens and reads a small regular file; `extra` adds open flags such as `O_NOFOLLOW`.
pub(crate) fn read_regular(path: &Path, extra: OFlags) -> io::Result<(File, Zeroizing<String>)> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | extra;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if meta.len() > LIMIT {
        return Err(io::Error::other("it is larger than a token can be"));
    }
    let mut text = Zeroizing::new(String::with_capacity(meta.len() as usize + 1));
    (&mut file).take(LIMIT).read_to_string(&mut text)?;
    Ok((file, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    #[test]
    fn a_secret_is_taken_out_of_what_a_peer_repeats_and_a_word_is_not() {
        let known = Known::new(&[Secret::new("canary-token"), Secret::new("word")]);
        let said = known.redact("a word, canary-token, canary-token".into());
        assert_eq!(said, "a word, [redacted], [redacted]");
        assert_eq!(known.redact("long and canary-to…".into()), "long and [redacted]…");
        assert_eq!(known.redact("the canary… and canary-to".into()), "the canary… and canary-to");
    }

    #[test]
    fn debug_shows_nothing() {
        let source = Source::Literal(Secret::new("hunter2"));
        assert!(!format!("{source:?} {source}").contains("hunter2"));
    }

    #[test]
    fn a_file_is_read_anew_and_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let source = Source::File(path.clone());
        assert_eq!(source.read().unwrap().expose(), "one");
        let stamp = |source: &Source| {
            let mut hasher = DefaultHasher::new();
            source.stamp(&mut hasher);
            hasher.finish()
        };
        let before = stamp(&source);
        assert_eq!(before, stamp(&source));
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(source.read().unwrap().expose(), "three");
        assert_ne!(before, stamp(&source));
    }

    #[test]
    fn what_is_no_token_is_refused_by_name_and_not_by_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for bad in ["", " \n", "two\nlines", "nul\0"] {
            std::fs::write(&path, bad).unwrap();
            let why = Source::File(path.clone()).read().unwrap_err();
            assert!(why.contains("token"), "{why}");
            assert!(!why.contains("lines"), "{why}");
        }
        let why = Source::File(dir.path().to_owned()).read().unwrap_err();
        assert!(why.contains("regular file"), "{why}");
        let why = Source::File(dir.path().join("absent")).read().unwrap_err();
        assert!(why.contains("absent"), "{why}");
        fn nothing(_: &str) -> Result<Secret, String> {
            Err("gateway.auth.token is not there".into())
        }
        std::fs::write(&path, "{}").unwrap();
        let why = Source::Inside(path, nothing).read().unwrap_err();
        assert!(why.contains("gateway.auth.token"), "{why}");
    }
}
