//! Which spool, and which session: the one place where every program looks the answer up.
//!
//! Both are pure functions of what was said on the command line and of the environment, so that `spool-put` in a
//! sandbox and the agent beside it agree. A variable that is set but empty says nothing, as if it were not there. A
//! session is never guessed: a completion in the wrong conversation is worse than one that waits for a person.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The variables that name the spool, in the order in which they are asked.
pub const SPOOL_VARS: [&str; 3] = ["SPOOL_DIR", "XDG_STATE_HOME", "HOME"];
/// The variables that name the session, in the order in which they are asked.
pub const SESSION_VARS: [&str; 2] = ["SPOOL_SESSION", "OPENCLAW_SESSION_KEY"];

/// The directory of the spool: the flag, else `SPOOL_DIR`, else `$XDG_STATE_HOME/spool`, else
/// `$HOME/.local/state/spool`. A relative `XDG_STATE_HOME` is passed over, as the XDG Base Directory Specification
/// asks; so is a relative `HOME`, which would be another directory for each caller.
///
/// # Errors
/// [`Error::Nowhere`] when nothing of that is there, or the flag is empty.
pub fn spool_dir(flag: Option<&Path>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    if let Some(dir) = flag {
        return if dir.as_os_str().is_empty() { Err(Error::Nowhere) } else { Ok(dir.to_owned()) };
    }
    let var = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let [spool, state, home] = SPOOL_VARS;
    var(spool)
        .or_else(|| var(state).filter(|p| p.is_absolute()).map(|p| p.join("spool")))
        .or_else(|| var(home).filter(|p| p.is_absolute()).map(|p| p.join(".local/state/spool")))
        .ok_or(Error::Nowhere)
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
    fn a_session_is_named_or_there_is_none() {
        let all = [("SPOOL_SESSION", "s"), ("OPENCLAW_SESSION_KEY", "o")];
        assert_eq!(session(Some("f"), &env(&all)).as_deref(), Some("f"));
        assert_eq!(session(None, &env(&all)).as_deref(), Some("s"));
        assert_eq!(session(None, &env(&all[1..])).as_deref(), Some("o"));
        assert_eq!(session(None, &env(&[("SPOOL_SESSION", " "), all[1]])).as_deref(), Some("o"));
        assert_eq!(session(None, &env(&[])), None);
    }
}
