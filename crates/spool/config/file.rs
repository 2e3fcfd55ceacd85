//! The configuration as it was written: TOML, read strictly.
//!
//! What it keeps true: a key that is none is refused with the line and the one that may have been meant, never passed
//! over; so is a secret, whose place is a file of its own; the spool is not touched. No message quotes a value.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use spooldir::locate;
use toml_edit::{Document, Item, TableLike};

use super::keys::{self, KEYS, Key};
use crate::openclaw_config::Env;
use crate::suggest::closest;

/// What the file says of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// As it would be written on the command line.
    pub value: String,
    /// Where, from 1.
    pub line: usize,
}

/// What a table says, by the name of the setting.
pub type Table = BTreeMap<&'static str, Said>;

/// A configuration that is right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct File {
    /// Its place.
    pub path: PathBuf,
    /// What it says of all sessions, and of everything else.
    pub said: Table,
    /// What it says of the sessions with a prefix.
    pub sessions: Vec<(String, Table)>,
    /// Who may write for whom: prefixes by user.
    pub allow: BTreeMap<u32, Vec<String>>,
}

/// Words that a person may give a secret.
const SECRETS: [&str; 4] = ["token", "password", "secret", "api-key"];

/// Reads the configuration; `None` when there is none.
///
/// # Errors
/// What is wrong with it, with its path and the line.
pub fn read(env: Env<'_>) -> Result<Option<File>, String> {
    let Some((path, is_named)) = locate::config_file(env) else { return Ok(None) };
    let Some(text) = locate::config_text(&path, is_named).map_err(|e| e.to_string())? else {
        return Ok(None);
    };
    let fail = |why: String| format!("cannot use the configuration {}: {why}", path.display());
    let mode = std::fs::metadata(&path).map_err(|e| fail(e.to_string()))?.mode();
    if mode & 0o002 != 0 {
        return Err(fail("others may write to it; run chmod o-w on it".into()));
    }
    let mut file = parse(&text).map_err(fail)?;
    let home = env("HOME").map(PathBuf::from);
    let plain = locate::spool_line(&text, home.as_deref()).map_err(fail)?;
    if plain.is_none() && file.said.contains_key("spool") {
        // Programs without a parser of all this must find the same spool.
        return Err(fail("write spool = \"DIR\" on one line, above all tables".into()));
    }
    file.path = path;
    Ok(Some(file))
}

/// Reads the text of a configuration.
fn parse(text: &str) -> Result<File, String> {
    let line_of = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let document = Document::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(span.start));
        format!("line {line}: {}", e.message().lines().collect::<Vec<_>>().join(" "))
    })?;
    let reader = Reader { line_of: &line_of };
    let mut file = File::default();
    let tables = ["default", "session", "allow", "gateway", "log", "retention"];
    for (name, item) in document.as_table() {
        let line = reader.line(document.as_table(), name);
        let is_table = tables.contains(&name);
        match (name, item.as_table_like()) {
            ("session", Some(prefixes)) => {
                for (prefix, item) in prefixes.iter() {
                    let line = reader.line(prefixes, prefix);
                    let Some(table) = item.as_table_like() else {
                        return Err(format!(
                            "line {line}: write [session.\"PREFIX\"], and the settings beneath"
                        ));
                    };
                    let mut said = Table::new();
                    reader.table("default", table, &mut said)?;
                    file.sessions.push((prefix.to_owned(), said));
                }
            }
            ("allow", Some(users)) => {
                for (user, item) in users.iter() {
                    let line = reader.line(users, user);
                    let (user, prefixes) =
                        allowed(user, item).map_err(|why| format!("line {line}: {why}"))?;
                    file.allow.insert(user, prefixes);
                }
            }
            (name, Some(table)) if is_table => reader.table(name, table, &mut file.said)?,
            (_, None) if is_table => return Err(format!("line {line}: {name} is a table: write [{name}]")),
            (name, _) => {
                let key = known(name, "", tables.into_iter()).map_err(|why| format!("line {line}: {why}"))?;
                file.said.insert(key.name, Said { value: reader.value(key, item, line)?, line });
            }
        }
    }
    Ok(file)
}

struct Reader<'a> {
    line_of: &'a dyn Fn(usize) -> usize,
}

impl Reader<'_> {
    fn line(&self, table: &dyn TableLike, name: &str) -> usize {
        let span = table.get_key_value(name).and_then(|(key, item)| key.span().or_else(|| item.span()));
        span.map_or(1, |span| (self.line_of)(span.start))
    }

    fn table(&self, name: &str, table: &dyn TableLike, into: &mut Table) -> Result<(), String> {
        for (word, item) in table.iter() {
            let line = self.line(table, word);
            let key = known(word, name, std::iter::empty()).map_err(|why| format!("line {line}: {why}"))?;
            into.insert(key.name, Said { value: self.value(key, item, line)?, line });
        }
        Ok(())
    }

    fn value(&self, key: &Key, item: &Item, line: usize) -> Result<String, String> {
        let wrong = |why: &str| format!("line {line}: {} {why}", key.name);
        let text = match item.as_value() {
            Some(toml_edit::Value::String(text)) if key.kind != keys::Kind::Flag => text.value().clone(),
            Some(toml_edit::Value::Boolean(flag)) if key.kind == keys::Kind::Flag => flag.value().to_string(),
            _ if key.kind == keys::Kind::Flag => return Err(wrong("must be true or false")),
            _ => return Err(wrong("must be a text in quotes")),
        };
        key.kind.check(&text).map_err(|why| wrong(&why))?;
        Ok(text)
    }
}

/// The setting that a word in a table means (at the top: in the table ``).
fn known(
    word: &str,
    table: &str,
    others: impl Iterator<Item = &'static str>,
) -> Result<&'static Key, String> {
    if SECRETS.contains(&word.to_ascii_lowercase().replace('_', "-").as_str()) {
        return Err(
            "a secret does not belong into the configuration: write it into a file that only you can read \
            (chmod 600) and name that as token-file in [gateway], or set SPOOL_TOKEN"
                .into(),
        );
    }
    let name = if table.is_empty() { word.to_owned() } else { format!("{table}.{word}") };
    if let Some(key) = keys::find(&name).filter(|_| !table.is_empty() || !word.contains('.')) {
        return Ok(key);
    }
    let here = KEYS.iter().filter_map(|key| match key.name.split_once('.') {
        Some((of, word)) => (of == table).then_some(word),
        None => table.is_empty().then_some(key.name),
    });
    let close = closest(word, here.chain(others));
    let place = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
    let shown: String = word.chars().take(60).collect();
    Err(format!("there is no key {shown:?}{place}{close}"))
}

/// A user and the prefixes of the sessions that the user may write to.
fn allowed(user: &str, item: &Item) -> Result<(u32, Vec<String>), String> {
    let rule = "in [allow] a user's number names a list of prefixes: 1001 = [\"agent:ci:\"]";
    let user: u32 = user.parse().map_err(|_| rule.to_owned())?;
    let list = item.as_array().ok_or_else(|| rule.to_owned())?;
    let prefixes = list.iter().map(|prefix| prefix.as_str().map(str::to_owned));
    Ok((user, prefixes.collect::<Option<_>>().ok_or_else(|| rule.to_owned())?))
}

/// The path in a setting, with `~/` as the home directory.
pub fn path(text: &str, env: Env<'_>) -> PathBuf {
    let home = env("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(text).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_is_read_with_its_lines() {
        let file = parse(
            "spool = \"/s\"\n\n[gateway]\nurl = \"ws://127.0.0.1:1\"\nadmin = true\n[default]\nwindow = \"1s\"\n\
             [session.\"agent:main:\"]\ndeliver = \"message\"\nfallback = \"off\"\n[allow]\n1001 = [\"agent:ci:\", \"x\"]\n0 = []\n",
        )
        .unwrap();
        let said = |name: &str| file.said.get(name).map(|said| (said.value.as_str(), said.line));
        assert_eq!(said("spool"), Some(("/s", 1)));
        assert_eq!(said("gateway.url"), Some(("ws://127.0.0.1:1", 4)));
        assert_eq!(said("gateway.admin"), Some(("true", 5)));
        assert_eq!(said("default.window"), Some(("1s", 7)));
        let (prefix, session) = &file.sessions[0];
        assert_eq!((prefix.as_str(), session["default.deliver"].line), ("agent:main:", 9));
        assert_eq!(file.allow[&1001], ["agent:ci:", "x"]);
        assert!(file.allow[&0].is_empty());
        assert_eq!(parse("").unwrap(), File::default());
        assert_eq!(parse("gateway.url = \"ws://[::1]:1\"").unwrap().said.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_line_and_what_may_have_been_meant() {
        for (text, says) in [
            ("spol = \"/s\"", "line 1: there is no key \"spol\"; is it spool?"),
            ("[gatway]\nurl = \"x\"", "line 1: there is no key \"gatway\"; is it gateway?"),
            ("\n[gateway]\nulr = \"x\"", "line 3: there is no key \"ulr\" in [gateway]; is it url?"),
            (
                "[session.\"a\"]\nquiet-hour = \"x\"",
                "line 2: there is no key \"quiet-hour\" in [default]; is it quiet-hours?",
            ),
            ("session.a.b.c = 1", "there is no key \"b\""),
            ("\"gateway.url\" = \"x\"", "there is no key"),
            ("[gateway]\nadmin = \"true\"", "line 2: gateway.admin must be true or false"),
            ("gateway = 1", "line 1: gateway is a table"),
            ("[default]\nwindow = 5", "line 2: default.window must be a text in quotes"),
            ("[default]\nwindow = \"soon\"", "line 2: default.window a length of time"),
            ("[default]\ndeliver = \"mesage\"", "; is it message?"),
            ("[default]\nbudget = \"12\"", "line 2: default.budget"),
            ("[default]\nquiet-hours = \"22-7\"", "line 2: default.quiet-hours quiet hours are FROM-TO"),
            ("[default]\nfallback = \" \"", "line 2: default.fallback"),
            ("[log]\nlevel = \"loud\"", "must be one of off, error"),
            ("[allow]\nme = []", "line 2: in [allow]"),
            ("[allow]\n1 = [2]", "line 2: in [allow]"),
            ("a = 1\na = 2", "line 2: "),
            ("[gateway", "line 1: "),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn a_secret_is_refused_unread_with_its_right_place() {
        for text in [
            "token = \"hunter2\"",
            "[gateway]\npassword = \"hunter2\"",
            "[gateway]\nTOKEN = \"hunter2\"",
            "[session.x]\nsecret = \"hunter2\"",
        ] {
            let why = parse(text).unwrap_err();
            assert!(
                why.contains("token-file") && why.contains("SPOOL_TOKEN") && !why.contains("hunter2"),
                "{why}"
            );
        }
        let why = parse("[default]\nwindow = \"hunter2\"\n[gateway]\nurl = \"x\" hunter2").unwrap_err();
        assert!(!why.contains("hunter2"), "{why}");
    }
}
