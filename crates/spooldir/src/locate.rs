//! Which spool, and which session: the one place where every program looks the answer up.
//!
//! Both follow from what was said on the command line, from the environment and, for the spool, from the one line of the
//! configuration that names it, so that `spool-put` in a sandbox and the agent beside it agree. That line is read here
//! without a parser of the whole, which only the agent needs and which demands that the line be as plain as this. A variable that is set but empty says nothing, as if it were not there. A
//! session is never guessed: a completion in the wrong conversation is worse than one that waits for a person.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The variables that name the spool, in the order in which they are asked.
pub const SPOOL_VARS: [&str; 3] = ["SPOOL_DIR", "XDG_STATE_HOME", "HOME"];
/// The variables that name the session, in the order in which they are asked.
pub const SESSION_VARS: [&str; 2] = ["SPOOL_SESSION", "OPENCLAW_SESSION_KEY"];

/// The directory of the spool: the flag, else `SPOOL_DIR`, else `spool` in the configuration, else
/// `$XDG_STATE_HOME/spool`, else `$HOME/.local/state/spool`. A relative `XDG_STATE_HOME` is passed over, as the XDG Base Directory Specification
/// asks; so is a relative `HOME`, which would be another directory for each caller.
///
/// # Errors
/// [`Error::Nowhere`] when nothing of that is there, or the flag is empty; [`Error::Config`] when the configuration
/// cannot be read: a record in a place where nobody looks for it would be lost to all.
pub fn spool_dir(flag: Option<&Path>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    if let Some(dir) = flag {
        return if dir.as_os_str().is_empty() { Err(Error::Nowhere) } else { Ok(dir.to_owned()) };
    }
    let var = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let [spool, state, home] = SPOOL_VARS;
    if let Some(dir) = var(spool) {
        return Ok(dir);
    }
    configured_spool(env)?
        .or_else(|| var(state).filter(|p| p.is_absolute()).map(|p| p.join("spool")))
        .or_else(|| var(home).filter(|p| p.is_absolute()).map(|p| p.join(".local/state/spool")))
        .ok_or(Error::Nowhere)
}

/// Where the configuration is: `SPOOL_CONFIG`, else `$XDG_CONFIG_HOME/spool/config.toml`, else
/// `$HOME/.config/spool/config.toml`; and whether it was named, so that it must be there.
pub fn config_file(env: &dyn Fn(&str) -> Option<OsString>) -> Option<(PathBuf, bool)> {
    let var = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = |name: &str| var(name).filter(|p| p.is_absolute());
    let usual = || dir("XDG_CONFIG_HOME").or_else(|| dir("HOME").map(|home| home.join(".config")));
    let named = var("SPOOL_CONFIG").map(|path| (path, true));
    named.or_else(|| usual().map(|dir| (dir.join("spool/config.toml"), false)))
}

/// The largest configuration that is read, in bytes.
pub const MAX_CONFIG: u64 = 1 << 20;

/// The text of the configuration; `None` when there is none.
///
/// # Errors
/// [`Error::Config`]: one that was named is not there, it is no file, too large, not UTF-8, or cannot be read.
pub fn config_text(path: &Path, is_named: bool) -> Result<Option<String>, Error> {
    let wrong = |reason: String| Error::Config { path: path.to_owned(), reason };
    match std::fs::metadata(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) && !is_named => {
            return Ok(None);
        }
        Err(e) => return Err(wrong(e.to_string())),
        Ok(meta) if !meta.is_file() => return Err(wrong("it is not a file".into())),
        Ok(meta) if meta.len() > MAX_CONFIG => return Err(wrong("it is larger than 1 MiB".into())),
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|e| wrong(e.to_string()))
}

/// The spool that the configuration names, if it names one.
///
/// # Errors
/// [`Error::Config`].
pub fn configured_spool(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, Error> {
    let Some((path, is_named)) = config_file(env) else { return Ok(None) };
    let Some(text) = config_text(&path, is_named)? else { return Ok(None) };
    let home = env("HOME").map(PathBuf::from);
    spool_line(&text, home.as_deref()).map_err(|reason| Error::Config { path, reason })
}

/// What the line `spool = "DIR"` above all tables of a configuration says. `~/` is the home directory.
///
/// # Errors
/// What is wrong with the line.
pub fn spool_line(text: &str, home: Option<&Path>) -> Result<Option<PathBuf>, String> {
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with('[') {
            break;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if key.trim().trim_matches(['"', '\'']) != "spool" {
            continue;
        }
        let wrong = |why: &str| Err(format!("line {}: {why}", number + 1));
        let plain = ['"', '\''].iter().find_map(|quote| {
            let (dir, rest) = value.trim().strip_prefix(*quote)?.split_once(*quote)?;
            let rest = rest.trim();
            (!dir.contains('\\') && (rest.is_empty() || rest.starts_with('#'))).then_some(dir)
        });
        return match (plain, plain.and_then(|dir| dir.strip_prefix("~/")), home) {
            (None | Some(""), ..) => {
                wrong("write it like spool = \"/var/spool/completions\", without escapes")
            }
            (_, Some(rest), Some(home)) if home.is_absolute() => Ok(Some(home.join(rest))),
            (Some(dir), None, _) if Path::new(dir).is_absolute() => Ok(Some(dir.into())),
            _ => wrong("spool must be a whole path, from / or ~/"),
        };
    }
    Ok(None)
}

/// The session that was named: by the flag, else by `SPOOL_SESSION`, else by `OPENCLAW_SESSION_KEY`. Not checked
/// against the grammar of session keys; see [`crate::record::check_session_key`].
///
/// A flag is taken as it is, blank or not, so that the caller can refuse it; a blank or non-UTF-8 variable names none.
pub fn session(flag: Option<&str>, env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    if let Some(key) = flag {
        return Some(key.to_owned());
    }
    let var = |name: &str| env(name)?.into_string().ok().filter(|v| !v.trim().is_empty());
    SESSION_VARS.into_iter().find_map(var)
}

/// The environment of this process, in the form that the two functions ask for.
pub fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(vars: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn the_first_that_says_something_names_the_spool() {
        let all = [("SPOOL_DIR", "/d"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        let of = |flag: Option<&str>, vars: &[(&str, &str)]| spool_dir(flag.map(Path::new), &env(vars));
        let is = |dir: &str| PathBuf::from(dir);
        assert_eq!(of(Some("rel"), &all).unwrap(), is("rel"));
        assert_eq!(of(None, &all).unwrap(), is("/d"));
        assert_eq!(of(None, &all[1..]).unwrap(), is("/x/spool"));
        assert_eq!(of(None, &all[2..]).unwrap(), is("/h/.local/state/spool"));
        let empty = [("SPOOL_DIR", ""), ("XDG_STATE_HOME", "rel"), ("HOME", "/h")];
        assert_eq!(of(None, &empty).unwrap(), is("/h/.local/state/spool"));
        for (flag, vars) in [(None, &[][..]), (None, &[("HOME", "")]), (Some(""), &all)] {
            let error = of(flag, vars).unwrap_err();
            assert_eq!(error.exit(), crate::exit::CONFIG);
            assert!(error.to_string().contains("--spool"), "{error}");
        }
    }

    #[test]
    fn the_configuration_names_the_spool_in_one_plain_line() {
        let home = Some(Path::new("/h"));
        for (text, dir) in [
            ("", None),
            ("[gateway]\nspool = \"/x\"\n", None),
            ("# spool = \"/x\"\n", None),
            ("spool = \"/x y\" # there\n[a]\n", Some("/x y")),
            ("  spool='/x'", Some("/x")),
            ("\"spool\" = \"~/s\"", Some("/h/s")),
        ] {
            assert_eq!(spool_line(text, home), Ok(dir.map(PathBuf::from)), "{text}");
        }
        for bad in [
            "a = 1\nspool = 1",
            "a = 1\nspool = \"rel\"",
            "a = 1\nspool = \"/a\\u0041\"",
            "a = 1\nspool = \"\"\"/x\"\"\"",
            "a = 1\nspool = \"\"",
        ] {
            assert!(spool_line(bad, home).unwrap_err().starts_with("line 2: "), "{bad}");
        }
        assert!(spool_line("spool = '~/x'", None).is_err());
    }

    #[test]
    fn the_environment_comes_before_the_configuration_and_what_was_named_must_be_there() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir_all(at(".config/spool")).unwrap();
        std::fs::write(at(".config/spool/config.toml"), "spool = \"/from/file\"\n").unwrap();
        std::fs::write(at("other.toml"), "spool = \"/from/other\"\n").unwrap();
        let of = |vars: &[(&str, &str)]| spool_dir(None, &env(vars));
        let (home, other) = (home.path().to_str().unwrap(), at("other.toml"));
        let all =
            [("SPOOL_DIR", "/d"), ("SPOOL_CONFIG", other.as_str()), ("XDG_STATE_HOME", "/x"), ("HOME", home)];
        assert_eq!(of(&all).unwrap(), PathBuf::from("/d"));
        assert_eq!(of(&all[1..]).unwrap(), PathBuf::from("/from/other"));
        assert_eq!(of(&all[2..]).unwrap(), PathBuf::from("/from/file"));
        let error = of(&[("SPOOL_CONFIG", "/nowhere/config.toml"), ("HOME", home)]).unwrap_err();
        assert_eq!(error.exit(), crate::exit::CONFIG);
        assert!(error.to_string().contains("/nowhere/config.toml"), "{error}");
    }

    #[test]
    fn a_session_is_named_or_there_is_none() {
        let all = [("SPOOL_SESSION", "s"), ("OPENCLAW_SESSION_KEY", "o")];
        assert_eq!(session(Some("f"), &env(&all)).as_deref(), Some("f"));
        assert_eq!(session(None, &env(&all)).as_deref(), Some("s"));
        assert_eq!(session(None, &env(&all[1..])).as_deref(), Some("o"));
        assert_eq!(session(None, &env(&[("SPOOL_SESSION", " "), all[1]])).as_deref(), Some("o"));
        assert_eq!(session(None, &env(&[])), None);
    }
}
