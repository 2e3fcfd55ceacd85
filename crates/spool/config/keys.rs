//! The settings, as data: so that the reader, `spool config show`, the page of the manual and the tests cannot disagree.

use spooldir::record::Deliver;

use crate::args::Length;
use crate::suggest::closest;

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// Its name, with the table it stands in; what begins with `default.` may stand in `[session."PREFIX"]` too.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// The options that say it, without dashes.
    pub options: &'static [&'static str],
    /// The variables that say it, in the order in which they are asked.
    pub env: &'static [&'static str],
    /// What holds if nothing says it, as it is written; or in words, in brackets.
    pub default: &'static str,
}

/// What a setting may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A path from `/` or `~/`.
    Path,
    /// Any text on one line.
    Text,
    /// `true` or `false`.
    Flag,
    /// A length of time.
    Length,
    /// How much is logged.
    Level,
    /// In which form it is logged.
    Format,
    /// How a record is handed over.
    Deliver,
    /// Quiet hours, or `off`.
    Hours,
    /// A session, or `off`.
    Session,
    /// `N in TIME`, or `off`.
    Budget,
}

const fn key(
    name: &'static str,
    kind: Kind,
    options: &'static [&'static str],
    env: &'static [&'static str],
    default: &'static str,
) -> Key {
    Key { name, kind, options, env, default }
}

/// All settings but `[allow]`, whose keys are users.
pub const KEYS: &[Key] = &[
    key("spool", Kind::Path, &["spool"], &["SPOOL_DIR"], "[$XDG_STATE_HOME/spool]"),
    key(
        "gateway.url",
        Kind::Text,
        &["gateway"],
        &["SPOOL_GATEWAY", "OPENCLAW_GATEWAY_URL"],
        "[OpenClaw's own]",
    ),
    key("gateway.token-file", Kind::Path, &["token-file"], &["SPOOL_TOKEN_FILE"], "[OpenClaw's own token]"),
    key("gateway.fingerprint", Kind::Text, &["fingerprint"], &["SPOOL_GATEWAY_FINGERPRINT"], "[none]"),
    key("gateway.admin", Kind::Flag, &["admin"], &[], "false"),
    key("log.level", Kind::Level, &["verbose", "quiet"], &["SPOOL_LOG"], "info"),
    key("log.format", Kind::Format, &["log"], &[], "auto"),
    key("retention.done", Kind::Length, &[], &[], "7d"),
    key("retention.dismissed", Kind::Length, &[], &[], "7d"),
    key("retention.logs", Kind::Length, &[], &[], "30d"),
    key("default.deliver", Kind::Deliver, &[], &[], "turn"),
    key("default.window", Kind::Length, &[], &[], "250ms"),
    key("default.window-max", Kind::Length, &[], &[], "2s"),
    key("default.quiet-hours", Kind::Hours, &[], &[], "off"),
    key("default.fallback", Kind::Session, &[], &[], "off"),
    key("default.budget", Kind::Budget, &[], &["SPOOL_BUDGET"], "12 in 10m"),
];

/// What turns a setting off.
pub const OFF: &str = "off";

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

impl Kind {
    /// Whether a text is a value of this kind.
    ///
    /// # Errors
    /// What it must be, without quoting it.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Kind::Path if text.starts_with('/') || text.starts_with("~/") => Ok(()),
            Kind::Path => Err("must be a whole path, from / or ~/".into()),
            Kind::Text if text.trim().is_empty() || text.contains('\n') => {
                Err("must be one line, not blank".into())
            }
            Kind::Text => Ok(()),
            Kind::Flag if matches!(text, "true" | "false") => Ok(()),
            Kind::Flag => Err("must be true or false".into()),
            Kind::Length => text.parse::<Length>().map(drop),
            Kind::Level => word(text, &["off", "error", "warn", "info", "debug", "trace"]),
            Kind::Format => word(text, &crate::log::FORMATS),
            Kind::Deliver => word(text, Deliver::WORDS),
            Kind::Hours | Kind::Session | Kind::Budget if text == OFF => Ok(()),
            Kind::Hours => text.parse::<spool_drain::policy::Hours>().map(drop).map_err(Into::into),
            Kind::Session => spooldir::record::check_session_key(text).map_err(|rule| rule.to_string()),
            Kind::Budget => super::rules::budget(text).map(drop),
        }
    }
}

fn word(said: &str, words: &[&'static str]) -> Result<(), String> {
    if words.contains(&said) {
        return Ok(());
    }
    Err(format!("must be one of {}{}", words.join(", "), closest(said, words.iter().copied())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_kind_or_told_in_words() {
        for key in KEYS {
            let is_told = key.default.starts_with('[');
            assert!(is_told || key.kind.check(key.default).is_ok(), "{}", key.name);
            assert_eq!(KEYS.iter().filter(|k| k.name == key.name).count(), 1);
        }
    }
}
