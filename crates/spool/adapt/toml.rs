//! Codex's `config.toml`: its one `notify`, or its `Stop` hook, and the directory that its sandbox may write to.
//!
//! Comments, order and spelling of everything else are kept. Codex runs one `notify`; another one is never replaced.
//! The sandbox has no network, but may write into the directories named here, and a rename from `tmp/` to `new/` needs
//! both under one of them: so it is the spool itself that is named.

use toml_edit::{
    Array, ArrayOfTables, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value, value,
};

use super::Trouble;
use super::command::{Program, is_ours, split};

/// How Codex is to call us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `notify`: needs no trust, but the answer is an argument, and one over 128 KiB is lost with it.
    Notify,
    /// The hook `Stop`: the answer comes whole, once the hook is trusted.
    Hook,
}

const SANDBOX: &str = "sandbox_workspace_write";
const ROOTS: &str = "writable_roots";

impl Way {
    /// Both.
    pub const ALL: [Way; 2] = [Way::Notify, Way::Hook];

    /// The name after `--from`.
    pub fn name(self) -> &'static str {
        match self {
            Way::Notify => "codex",
            Way::Hook => "codex-hook",
        }
    }

    /// The text with our lines in it.
    ///
    /// # Errors
    /// [`Trouble`] when it is not understood, or its place is taken.
    pub fn apply(self, text: &str, program: &Program, spool: &str) -> Result<String, Trouble> {
        edit(text, |doc| {
            match self {
                Way::Notify => match doc.get("notify") {
                    None => {
                        let words: Array = program.words(self.name()).into_iter().collect();
                        doc.insert("notify", value(words));
                    }
                    Some(item) if is_ours(&strings(item), self.name()).is_some() => {}
                    Some(_) => return Err(Trouble::Taken),
                },
                Way::Hook => self.add_hook(doc, program)?,
            }
            add_root(doc, spool)
        })
    }

    /// The text without our lines, and whether any is left that a person made longer.
    ///
    /// # Errors
    /// [`Trouble`] when it is not understood.
    pub fn remove(self, text: &str, spool: &str) -> Result<(String, bool), Trouble> {
        let mut is_left = false;
        let other = if self == Way::Notify { Way::Hook } else { Way::Notify };
        let text = edit(text, |doc| {
            match self {
                Way::Notify => match doc.get("notify").map(|item| is_ours(&strings(item), self.name())) {
                    Some(Some(true)) => {
                        doc.remove("notify");
                    }
                    Some(Some(false)) => is_left = true,
                    _ => {}
                },
                Way::Hook => is_left = self.remove_hook(doc),
            }
            // The other way in needs the directory too.
            if !is_left && other.lacks_call(doc) {
                remove_root(doc, spool);
            }
            Ok(())
        })?;
        Ok((text, is_left))
    }

    /// What is missing; empty when nothing is.
    ///
    /// # Errors
    /// [`Trouble`] when it is not understood.
    pub fn lacks(self, text: &str, spool: &str) -> Result<Vec<String>, Trouble> {
        let doc = parse(text)?;
        let mut lacks = Vec::new();
        if self.lacks_call(&doc) {
            lacks.push(match self {
                Way::Notify if doc.contains_key("notify") => "notify calls another program".to_owned(),
                Way::Notify => "no notify".to_owned(),
                Way::Hook => "no hook for Stop".to_owned(),
            });
        }
        if !roots(&doc).is_some_and(|roots| has(roots, spool)) {
            lacks.push(format!("{spool} is not among the writable roots of the sandbox"));
        }
        let switch = doc.get("features").and_then(|f| f.get("hooks")).and_then(Item::as_bool);
        if self == Way::Hook && switch == Some(false) {
            lacks.push("hooks are switched off (features.hooks = false)".to_owned());
        }
        Ok(lacks)
    }

    fn lacks_call(self, doc: &DocumentMut) -> bool {
        match self {
            Way::Notify => {
                doc.get("notify").is_none_or(|item| is_ours(&strings(item), self.name()).is_none())
            }
            Way::Hook => {
                let Some(stop) = doc.get("hooks").and_then(|hooks| hooks.get("Stop")) else { return true };
                let ours = |handler: &dyn TableLike| self.of(handler).is_some();
                !groups(stop).into_iter().flat_map(|group| handlers(group)).any(ours)
            }
        }
    }

    /// Whether a handler is ours, as [`is_ours`] has it.
    fn of(self, handler: &dyn TableLike) -> Option<bool> {
        let line = handler.get("command").and_then(Item::as_str).unwrap_or_default();
        is_ours(&split(line), self.name())
    }

    fn add_hook(self, doc: &mut DocumentMut, program: &Program) -> Result<(), Trouble> {
        if !self.lacks_call(doc) {
            return Ok(());
        }
        let odd = Trouble::Shape("\"hooks.Stop\" is not an array of tables");
        let hooks = table(doc.as_table_mut(), "hooks").ok_or(Trouble::Shape("\"hooks\" is not a table"))?;
        let line = program.line(self.name());
        match hooks.get_mut("Stop") {
            None => {
                let mut groups = ArrayOfTables::new();
                groups.push(group(&line));
                hooks.insert("Stop", Item::ArrayOfTables(groups));
            }
            Some(Item::ArrayOfTables(groups)) => groups.push(group(&line)),
            Some(Item::Value(Value::Array(groups))) => {
                let mut handlers = Array::new();
                handlers.push(handler(&line).into_inline_table());
                let mut group = InlineTable::new();
                group.insert("hooks", Value::Array(handlers));
                groups.push(group);
            }
            Some(_) => return Err(odd),
        }
        Ok(())
    }

    /// Returns whether a longer one of ours is left.
    fn remove_hook(self, doc: &mut DocumentMut) -> bool {
        let mut is_left = false;
        let Some(hooks) = doc.get_mut("hooks").and_then(Item::as_table_like_mut) else { return false };
        let mut goes = |handler: &dyn TableLike| match self.of(handler) {
            Some(true) => true,
            other => {
                is_left |= other.is_some();
                false
            }
        };
        let is_empty = match hooks.get_mut("Stop") {
            Some(Item::ArrayOfTables(groups)) => {
                let emptied: Vec<usize> = (0..groups.len())
                    .filter(|i| groups.get_mut(*i).is_some_and(|group| empties(group, &mut goes)))
                    .collect();
                for i in emptied.iter().rev() {
                    groups.remove(*i);
                }
                groups.is_empty() && !emptied.is_empty()
            }
            Some(Item::Value(Value::Array(groups))) => {
                let mut emptied = Vec::new();
                for (i, group) in groups.iter_mut().enumerate() {
                    if let Value::InlineTable(group) = group
                        && empties(group, &mut goes)
                    {
                        emptied.push(i);
                    }
                }
                for i in emptied.iter().rev() {
                    groups.remove(*i);
                }
                groups.is_empty() && !emptied.is_empty()
            }
            _ => false,
        };
        if is_empty {
            hooks.remove("Stop");
        }
        if hooks.is_empty() {
            doc.remove("hooks");
        }
        is_left
    }
}

/// Takes handlers out of a group; says whether that left nothing of it.
fn empties(group: &mut dyn TableLike, goes: &mut dyn FnMut(&dyn TableLike) -> bool) -> bool {
    let gone = match group.get_mut("hooks") {
        Some(Item::ArrayOfTables(handlers)) => {
            let n = handlers.len();
            handlers.retain(|handler| !goes(handler));
            n > 0 && handlers.is_empty()
        }
        Some(Item::Value(Value::Array(handlers))) => {
            let n = handlers.len();
            handlers.retain(|handler| !handler.as_inline_table().is_some_and(|h| goes(h)));
            n > 0 && handlers.is_empty()
        }
        _ => false,
    };
    gone && group.len() == 1
}

fn groups(stop: &Item) -> Vec<&dyn TableLike> {
    match stop {
        Item::ArrayOfTables(groups) => groups.iter().map(|group| group as &dyn TableLike).collect(),
        Item::Value(Value::Array(groups)) => {
            groups.iter().filter_map(Value::as_inline_table).map(|group| group as &dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

fn handlers(group: &dyn TableLike) -> Vec<&dyn TableLike> {
    group.get("hooks").map(groups).unwrap_or_default()
}

fn handler(line: &str) -> Table {
    let mut handler = Table::new();
    handler.insert("type", value("command"));
    handler.insert("command", value(line));
    handler.insert("timeout", value(10));
    handler
}

fn group(line: &str) -> Table {
    let mut handlers = ArrayOfTables::new();
    handlers.push(handler(line));
    let mut group = Table::new();
    group.insert("hooks", Item::ArrayOfTables(handlers));
    group
}

fn add_root(doc: &mut DocumentMut, spool: &str) -> Result<(), Trouble> {
    let odd = Trouble::Shape("\"sandbox_workspace_write\" is not a table with an array \"writable_roots\"");
    let is_new = doc.get(SANDBOX).is_none();
    let Some(sandbox) = table(doc.as_table_mut(), SANDBOX) else { return Err(odd) };
    match sandbox.get_mut(ROOTS) {
        None => {
            sandbox.insert(ROOTS, value(Array::from_iter([spool])));
        }
        Some(Item::Value(Value::Array(roots))) if has(roots, spool) => {}
        Some(Item::Value(Value::Array(roots))) => push_like_the_others(roots, spool),
        Some(_) => return Err(odd),
    }
    if is_new && let Some(Item::Table(sandbox)) = doc.get_mut(SANDBOX) {
        sandbox.set_implicit(false);
    }
    Ok(())
}

/// Adds an element, on a line of its own if the others stand so. A comment behind the last one stays there: to the
/// editor, it stands before what follows.
fn push_like_the_others(array: &mut Array, text: &str) {
    let Some(last) = array.len().checked_sub(1).and_then(|at| array.get_mut(at)) else {
        return array.push(text);
    };
    let prefix = decor(last.decor().prefix());
    let indent = prefix.rfind('\n').map_or(" ", |at| &prefix[at..]).to_owned();
    let suffix = decor(last.decor().suffix());
    let tail = if array.trailing_comma() { decor(Some(array.trailing())) } else { suffix };
    let (comment, end) = tail.split_at(tail.rfind('\n').unwrap_or(0));
    // Behind a comment nothing is read.
    let indent = if comment.contains('#') && !indent.starts_with('\n') { "\n  ".to_owned() } else { indent };
    let mut value = Value::from(text);
    value.decor_mut().set_prefix(format!("{comment}{indent}"));
    if array.trailing_comma() {
        array.set_trailing(end);
    } else {
        value.decor_mut().set_suffix(end);
        if let Some(last) = array.iter_mut().last() {
            last.decor_mut().set_suffix("");
        }
    }
    array.push_formatted(value);
}

/// Removes an element, and gives a comment that stands before it to what is before or behind it.
fn remove_like_the_others(array: &mut Array, at: usize) {
    let removed = array.remove(at);
    let (prefix, suffix) = (decor(removed.decor().prefix()), decor(removed.decor().suffix()));
    let comment = prefix.rfind('\n').map_or("", |at| &prefix[..at]);
    if let Some(next) = array.get_mut(at) {
        let prefix = decor(next.decor().prefix());
        next.decor_mut().set_prefix(format!("{comment}{prefix}"));
    } else if array.trailing_comma() {
        let trailing = decor(Some(array.trailing()));
        array.set_trailing(format!("{comment}{trailing}"));
    } else if let Some(last) = array.iter_mut().last() {
        last.decor_mut().set_suffix(format!("{comment}{suffix}"));
    }
}

fn decor(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

fn remove_root(doc: &mut DocumentMut, spool: &str) {
    let Some(sandbox) = doc.get_mut(SANDBOX).and_then(Item::as_table_like_mut) else { return };
    let Some(roots) = sandbox.get_mut(ROOTS).and_then(Item::as_array_mut) else { return };
    let Some(at) = roots.iter().position(|root| root.as_str() == Some(spool)) else { return };
    remove_like_the_others(roots, at);
    if roots.is_empty() {
        sandbox.remove(ROOTS);
    }
    if sandbox.is_empty() {
        doc.remove(SANDBOX);
    }
}

fn roots(doc: &DocumentMut) -> Option<&Array> {
    doc.get(SANDBOX)?.get(ROOTS)?.as_array()
}

fn has(roots: &Array, spool: &str) -> bool {
    roots.iter().any(|root| root.as_str() == Some(spool))
}

fn table<'a>(parent: &'a mut Table, name: &str) -> Option<&'a mut dyn TableLike> {
    let item = parent.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    item.as_table_like_mut()
}

fn strings(item: &Item) -> Vec<String> {
    let array =
        item.as_array().map(|a| a.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect());
    array.unwrap_or_default()
}

fn parse(text: &str) -> Result<DocumentMut, Trouble> {
    text.parse().map_err(|e: toml_edit::TomlError| {
        Trouble::NotParsed("TOML", e.to_string().lines().next().unwrap_or_default().to_owned())
    })
}

/// Edits a text and keeps its line ends: what is put in by the editor ends in a line feed.
fn edit(text: &str, change: impl FnOnce(&mut DocumentMut) -> Result<(), Trouble>) -> Result<String, Trouble> {
    let is_crlf = text.contains("\r\n") && text.matches('\n').count() == text.matches("\r\n").count();
    let mut doc = parse(&if is_crlf { text.replace("\r\n", "\n") } else { text.to_owned() })?;
    change(&mut doc)?;
    let edited = doc.to_string();
    Ok(if is_crlf { edited.replace('\n', "\r\n") } else { edited })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_comes_and_goes_without_a_trace() {
        for (before, with) in [
            ("[\"a\"]", "[\"a\", \"/s\"]"),
            ("[ \"a\" ]", "[ \"a\", \"/s\" ]"),
            ("[\n  \"a\",\n]", "[\n  \"a\",\n  \"/s\",\n]"),
            ("[\n  \"a\"\n]", "[\n  \"a\",\n  \"/s\"\n]"),
            ("[\n  \"a\", # c\n]", "[\n  \"a\", # c\n  \"/s\",\n]"),
            ("[\n  \"a\" # c\n  # d\n]", "[\n  \"a\", # c\n  # d\n  \"/s\"\n]"),
            ("[\"a\", # c\n]", "[\"a\", # c\n  \"/s\",\n]"),
            ("[\"a\" # c\n]", "[\"a\", # c\n  \"/s\"\n]"),
        ] {
            let text = |array: &str| format!("[{SANDBOX}]\n{ROOTS} = {array}\n");
            let mut doc = parse(&text(before)).unwrap();
            add_root(&mut doc, "/s").unwrap();
            assert_eq!(doc.to_string(), text(with));
            remove_root(&mut doc, "/s");
            assert_eq!(doc.to_string(), text(before));
        }
    }
}
