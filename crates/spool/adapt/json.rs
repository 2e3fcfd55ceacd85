//! Hooks in a runner's JSON configuration: put in, found and taken out, with everything else kept as it was written,
//! comments and all.
//!
//! Two shapes are in use. `"Stop": [{"hooks": [HANDLER]}]`, with groups between the event and its handlers; and
//! `"stop": [HANDLER]`, without. A handler is ours when it runs `spool-put --from NAME`; only one that says no more
//! than that is taken out again, for a longer one was written by a person.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode};
use serde_json::Value;

use super::Trouble;
use super::command::{Program, is_ours, split};

/// Hooks of one runner.
#[derive(Debug)]
pub struct Hooks {
    /// The name after `--from`.
    pub from: &'static str,
    /// The events that mean an end.
    pub events: &'static [&'static str],
    /// Whether handlers stand in groups.
    pub grouped: bool,
    /// Whether the file says which version of its format it is, and it is this.
    pub version: Option<u32>,
    /// The members of a handler.
    pub handler: fn(&Program) -> CstInputValue,
    /// A switch that turns all hooks off: where it is, and how it then stands.
    pub switch: Option<(&'static [&'static str], bool)>,
}

const BOM: char = '\u{feff}';

impl Hooks {
    /// The text with our hooks in it.
    ///
    /// # Errors
    /// [`Trouble`] when it is not understood.
    pub fn apply(&self, text: &str, program: &Program) -> Result<String, Trouble> {
        let (bom, root) = parse(text)?;
        let top = top(&root)?;
        if let Some(version) = self.version
            && top.get("version").is_none()
        {
            top.insert(0, "version", CstInputValue::Number(version.to_string()));
        }
        let hooks = only(&top, "hooks")?;
        let hooks =
            hooks.object_value_or_create("hooks").ok_or(Trouble::Shape("\"hooks\" is not an object"))?;
        for event in self.events {
            let list = only(&hooks, event)?
                .array_value_or_create(event)
                .ok_or(Trouble::Shape("an event under \"hooks\" is not an array"))?;
            if self.ours(&list).is_empty() {
                let handler = (self.handler)(program);
                list.append(if self.grouped { group(handler) } else { handler });
            }
        }
        Ok(format!("{bom}{root}"))
    }

    /// The text without our hooks, and whether any is left that a person made longer.
    ///
    /// # Errors
    /// [`Trouble`] when it is not understood.
    pub fn remove(&self, text: &str) -> Result<(String, bool), Trouble> {
        let (bom, root) = parse(text)?;
        let top = top(&root)?;
        let mut is_left = false;
        if let Some(hooks) = only(&top, "hooks")?.object_value("hooks") {
            for event in self.events {
                let Some(list) = only(&hooks, event)?.array_value(event) else { continue };
                let mut gone = 0;
                for (handler, words) in self.ours(&list) {
                    if is_ours(&words, self.from) == Some(true) {
                        take_out(handler);
                        gone += 1;
                    } else {
                        is_left = true;
                    }
                }
                if gone > 0 && list.elements().is_empty() {
                    remove_member(&hooks, event);
                }
            }
            if hooks.properties().is_empty() {
                remove_member(&top, "hooks");
            }
        }
        Ok((format!("{bom}{root}"), is_left))
    }

    /// What is missing for our hooks to run; empty when nothing is.
    ///
    /// # Errors
    /// [`Trouble`] when it is not understood.
    pub fn lacks(&self, text: &str) -> Result<Vec<String>, Trouble> {
        let (_, root) = parse(text)?;
        let top = top(&root)?;
        let hooks = only(&top, "hooks")?.object_value("hooks");
        let mut lacks = Vec::new();
        for event in self.events {
            let list = match &hooks {
                Some(hooks) => only(hooks, event)?.array_value(event),
                None => None,
            };
            if list.is_none_or(|list| self.ours(&list).is_empty()) {
                lacks.push(format!("no hook for {event}"));
            }
        }
        if let Some((path, off)) = self.switch
            && top.to_serde_value().and_then(|all| at(&all, path)) == Some(Value::Bool(off))
        {
            lacks.push(format!("hooks are switched off ({}: {off})", path.join(".")));
        }
        Ok(lacks)
    }

    /// Whether nothing is left but what [`Hooks::apply`] makes of an empty file.
    pub fn is_bare(&self, text: &str) -> bool {
        let Ok((_, root)) = parse(text) else { return false };
        let members =
            |top: CstObject| top.properties().iter().all(|p| p.decoded_name().as_deref() == Some("version"));
        root.value().is_none() || root.object_value().is_some_and(members)
    }

    /// Our handlers in the list of an event, and their words.
    fn ours(&self, list: &CstArray) -> Vec<(CstNode, Vec<String>)> {
        let mut ours = Vec::new();
        let mut see = |node: CstNode| {
            let words = node.to_serde_value().map(|handler| words(&handler)).unwrap_or_default();
            if is_ours(&words, self.from).is_some() {
                ours.push((node, words));
            }
        };
        for element in list.elements() {
            if self.grouped {
                let handlers = element.as_object().and_then(|group| group.array_value("hooks"));
                handlers.into_iter().flat_map(|handlers| handlers.elements()).for_each(&mut see);
            } else {
                see(element);
            }
        }
        ours
    }
}

/// Takes a handler out, and its group if it was alone in it and the group says nothing else.
fn take_out(handler: CstNode) {
    let list = handler.parent().and_then(|parent| parent.as_array());
    handler.remove();
    let Some(list) = list.filter(|list| list.elements().is_empty()) else { return };
    let group = list.parent().and_then(|prop| prop.parent()).and_then(|group| group.as_object());
    if let Some(group) =
        group.filter(|group| group.properties().len() == 1 && group.array_value("hooks").is_some())
    {
        group.remove();
    }
}

fn remove_member(object: &CstObject, name: &str) {
    if let Some(member) = object.get(name) {
        member.remove();
    }
}

fn group(handler: CstInputValue) -> CstInputValue {
    CstInputValue::Object(vec![("hooks".into(), CstInputValue::Array(vec![handler]))])
}

/// What a handler runs, word by word.
fn words(handler: &Value) -> Vec<String> {
    let command = ["command", "bash"].iter().find_map(|name| handler.get(name)?.as_str()).unwrap_or_default();
    match handler.get("args").and_then(Value::as_array) {
        Some(args) => {
            let args = args.iter().filter_map(Value::as_str).map(str::to_owned);
            std::iter::once(command.to_owned()).chain(args).collect()
        }
        None => split(command),
    }
}

fn parse(text: &str) -> Result<(&str, CstRootNode), Trouble> {
    let bom_ends = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
    let (bom, rest) = text.split_at(bom_ends);
    // The runners read JSON with comments; what is still looser than that would be read by us only.
    let options = ParseOptions {
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
        ..ParseOptions::default()
    };
    let root = CstRootNode::parse(rest, &options).map_err(|e| Trouble::NotParsed("JSON", e.to_string()))?;
    Ok((bom, root))
}

fn top(root: &CstRootNode) -> Result<CstObject, Trouble> {
    root.object_value_or_create().ok_or(Trouble::Shape("it is not a JSON object"))
}

/// The object itself, if it has the member at most once: of two, programs read the last and editors the first.
fn only<'a>(object: &'a CstObject, name: &str) -> Result<&'a CstObject, Trouble> {
    let n = object.properties().iter().filter(|p| p.decoded_name().as_deref() == Some(name)).count();
    if n > 1 { Err(Trouble::Shape("a member that has to be changed is there twice")) } else { Ok(object) }
}

fn at(value: &Value, path: &[&str]) -> Option<Value> {
    path.iter().try_fold(value, |value, name| value.get(name)).cloned()
}
