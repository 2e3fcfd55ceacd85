//! Hook mode: what `--from` and `--map` change about how the program ends.
//!
//! A task runner reads the exit number and stdout of its hook as orders: 2 means "keep going" to several of them, and a
//! word on stdout that is not their JSON is an error. So whatever happens, this exits 0 and prints nothing on stdout.
//! That holds from the first argument on (a mistyped option in a hook must not turn one prompt into ten), so the mode is
//! found before the command line is judged. Trouble is a sentence on stderr, and a line where `spool status` looks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use spooldir::locate;
use spooldir::time::now_ms;
use spooldir::trouble::{self, Trouble};

use crate::{Failure, say};

/// That this is a hook, and what the trouble file has to say about it.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Hook {
    from: String,
    spool: Option<PathBuf>,
}

impl Hook {
    /// Whether these arguments are those of a hook, whatever else may be wrong with them.
    pub fn find(args: &[OsString]) -> Option<Hook> {
        let mut hook = Hook::default();
        let (mut is_hook, mut is_strict) = (false, false);
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let bytes = arg.as_bytes();
            let (name, value) = match bytes.iter().position(|b| *b == b'=') {
                Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
                None => (bytes, None),
            };
            let mut value = || value.or_else(|| args.next().map(OsString::as_os_str));
            match name {
                b"--" => break,
                b"--from" | b"--map" => {
                    is_hook = true;
                    let said = value().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default();
                    if name == b"--from" || hook.from.is_empty() {
                        hook.from = said;
                    }
                }
                b"--spool" => hook.spool = value().map(PathBuf::from),
                b"--strict" => is_strict = true,
                b"--help" | b"--version" | b"-h" | b"-V" => return None,
                _ => {}
            }
        }
        (is_hook && !is_strict).then_some(hook)
    }

    /// Says why there was no report, to whoever listens.
    pub fn leave(&self, failure: &Failure) {
        let spool = locate::spool_dir(self.spool.as_deref(), &locate::process_env).ok();
        let spool = spool.map(|dir| std::path::absolute(&dir).unwrap_or(dir));
        let trouble = Trouble {
            at: now_ms(),
            spool: spool.as_deref().map(Path::to_string_lossy).unwrap_or_default().into_owned(),
            from: self.from.chars().take(40).collect(),
            exit: failure.exit,
            reason: failure.sentence.clone(),
        };
        let places = trouble::places(spool.as_deref(), &locate::process_env);
        match trouble::leave(&places, &trouble) {
            Ok(_) => say(&failure.sentence),
            Err(e) => say(&format!("{}; and cannot write that down for spool status: {e}", failure.sentence)),
        }
    }
}

/// The command line. A program that is called `spool-put-NAME`, as by a symlink, is `spool-put --from NAME --`: for
/// runners that want a program's name and nothing else.
pub fn command_line(mut args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let me = args.next().unwrap_or_default();
    let name = Path::new(&me).file_name().and_then(OsStr::to_str).unwrap_or_default();
    match name.strip_prefix("spool-put-") {
        Some(runner) => ["--from", runner, "--"].into_iter().map(OsString::from).chain(args).collect(),
        None => args.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Option<Hook> {
        Hook::find(&args.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_hook_is_known_by_its_arguments_right_or_wrong() {
        let hook = |from: &str, spool: Option<&str>| {
            Some(Hook { from: from.to_owned(), spool: spool.map(PathBuf::from) })
        };
        assert_eq!(of(&["--from", "codex", "{}"]), hook("codex", None));
        assert_eq!(of(&["--nonsense", "--spool=/s", "--from=x=y"]), hook("x=y", Some("/s")));
        assert_eq!(of(&["--map", "m.toml", "--from", "mine"]), hook("mine", None));
        assert_eq!(of(&["--from", "mine", "--map", "m.toml"]), hook("mine", None));
        assert_eq!(of(&["--from"]), hook("", None));
        for none in
            [&["x"][..], &["--", "--from", "codex"], &["--from", "codex", "--strict"], &["--from", "x", "-h"]]
        {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_name_of_its_own_says_which_runner() {
        let line = |args: &[&str]| command_line(args.iter().map(OsString::from));
        assert_eq!(line(&["/usr/bin/spool-put", "x"]), ["x"]);
        assert_eq!(line(&["/opt/spool-put-tsp", "0", "-1"]), ["--from", "tsp", "--", "0", "-1"]);
    }
}
