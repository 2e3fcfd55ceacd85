//! The edits that `spool adapt` makes in the configuration of other programs: done twice they are done once, what was
//! put in is found and can be taken out, and everything else says what it said before.

use jsonc_parser::cst::CstInputValue;
use serde_json::{Map, Value};

use super::runners::table;
use crate::adapt::Trouble;
use crate::adapt::command::Program;
use crate::adapt::json::Hooks;
use crate::adapt::toml::Way;

fn handler(program: &Program) -> CstInputValue {
    let kind = ("type".to_owned(), CstInputValue::String("command".into()));
    CstInputValue::Object(vec![kind, ("command".to_owned(), CstInputValue::String(program.line("claude")))])
}

fn hooks(is_grouped: bool) -> Hooks {
    Hooks {
        from: "claude",
        events: &["Stop", "StopFailure"],
        grouped: is_grouped,
        version: (!is_grouped).then_some(1),
        handler,
        switch: Some((&["disableAllHooks"], true)),
    }
}

pub(super) fn run(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    // The file is read as text.
    let Ok(before) = std::str::from_utf8(rest) else { return };
    let program = Program { name: "/opt/my tools/spool-put".into(), spool: Some("/it's".into()) };
    match choice % 4 {
        0 | 1 => {
            let hooks = hooks(choice % 4 == 0);
            let edit = Edit {
                apply: &|text| hooks.apply(text, &program),
                remove: &|text| hooks.remove(text).map(|(text, _)| text),
                lacks: &|text| hooks.lacks(text),
                others: &|text| {
                    let plain = text.strip_prefix('\u{feff}').unwrap_or(text);
                    let mut all: Map<String, Value> = serde_json::from_str(plain).ok()?;
                    all.retain(|name, _| name != "hooks" && name != "version");
                    Some(all)
                },
            };
            edit.check(before);
        }
        way => {
            let way = if way == 2 { Way::Notify } else { Way::Hook };
            let edit = Edit {
                apply: &|text| way.apply(text, &program, "/it's"),
                remove: &|text| way.remove(text, "/it's").map(|(text, _)| text),
                lacks: &|text| way.lacks(text, "/it's"),
                others: &|text| {
                    let mut all = table(text.parse::<toml_edit::DocumentMut>().ok()?.as_table());
                    let ours = ["notify", "hooks", "sandbox_workspace_write"];
                    all.retain(|name, _| !ours.contains(&name.as_str()));
                    Some(all)
                },
            };
            edit.check(before);
        }
    }
}

type Change<'a, T> = &'a dyn Fn(&str) -> Result<T, Trouble>;

/// An edit, and how what it must not touch is read by somebody else.
struct Edit<'a> {
    apply: Change<'a, String>,
    remove: Change<'a, String>,
    lacks: Change<'a, Vec<String>>,
    others: &'a dyn Fn(&str) -> Option<Map<String, Value>>,
}

impl Edit<'_> {
    fn check(&self, before: &str) {
        let Ok(applied) = (self.apply)(before) else { return };
        let lacks = (self.lacks)(&applied)
            .unwrap_or_else(|e| panic!("wrote what it cannot read: {e:?}: {applied:?}"));
        let is_off = |lack: &String| lack.contains("switched off");
        assert!(lacks.iter().all(is_off), "{lacks:?} after it was put in: {applied:?}");
        assert_eq!((self.apply)(&applied).as_ref(), Ok(&applied), "done twice is not done once");
        let removed =
            (self.remove)(&applied).unwrap_or_else(|e| panic!("cannot take it out: {e:?}: {applied:?}"));
        assert_eq!((self.remove)(&removed).as_ref(), Ok(&removed), "taken out twice");
        let Some(others) = (self.others)(before) else { return };
        assert_eq!((self.others)(&applied).as_ref(), Some(&others), "changes what is not ours: {applied:?}");
        assert_eq!((self.others)(&removed).as_ref(), Some(&others), "takes what is not ours: {removed:?}");
    }
}
