//! The configuration: which file is read, and what is wrong with it.
//!
//! It is asked for first, for all that follows is looked at as it says. No value of it is shown.

use spooldir::locate;

use super::Check;
use crate::args::Args;
use crate::config::{self, Trouble};

/// Looks at it.
pub(super) fn look(args: &Args) -> Check {
    const NAME: &str = "config";
    let env = config::env(args);
    let Some((path, _)) = locate::config_file(&env) else {
        return Check::note(NAME, "nothing says where it would be, and the defaults hold")
            .remedy("set HOME or XDG_CONFIG_HOME, or name it with --config FILE");
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    let path = path.display();
    match config::look(args, &env) {
        Ok(true) => Check::ok(NAME, format!("{path} is read, and right")),
        Ok(false) => Check::ok(NAME, format!("there is none at {path}: the defaults hold")),
        Err(Trouble::File(why)) => {
            let remedy = "mend that; spool config check says when it is right. No agent starts with it (78), and \
                          one that runs keeps what it has read";
            Check::wrong(NAME, why, remedy)
        }
        Err(Trouble::Environment(why)) => {
            let words = format!("{why}; this stands in the environment, above {path}");
            Check::wrong(NAME, words, "mend or unset that variable; no agent starts with it (78)")
        }
    }
}
