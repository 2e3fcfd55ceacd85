//! `spool adapt`: has a task runner report its ends, by one line in its own configuration.
//!
//! By itself it lists the runners that are here and which of them report. With a name it prints what to put where;
//! `--apply` puts it there, `--check` tells whether it is there, `--remove` takes out exactly what was put in.
//!
//! What it keeps true for files that are not ours: everything else stays as it was written; doing it twice is doing it
//! once; a file that is not understood is left alone, with a sentence; removing what was applied gives back the bytes
//! of before, unless somebody else has changed them since, who then keeps those changes. The rooms: `tools` (which
//! runner has what where), `toml` and `json` (the edits), `command` (our line in them), `file` (the file itself).

mod command;
pub mod file;
mod json;
mod toml;
mod tools;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spooldir::{exit, locate};

use crate::Failure;
use crate::args::Args;
use command::Program;
use file::Found;
use tools::{Place, TOOLS, Target, Tool};

/// Something is not configured.
const MISSING: u8 = 1;

/// What is done to a file.
#[derive(Debug)]
pub(crate) enum Edit {
    /// Lines in Codex's configuration.
    Toml(toml::Way),
    /// Hooks in a JSON file.
    Hooks(json::Hooks),
    /// A file that is ours as a whole, known by a mark in it.
    Own {
        /// What it says.
        text: String,
        /// What only ours says.
        mark: &'static str,
    },
}

/// Why a file is left alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not of its language; why.
    NotParsed(&'static str, String),
    /// It is, but not as its program wants it.
    Shape(&'static str),
    /// Codex's only `notify` is somebody else's.
    Taken,
    /// A file of our name that we did not write.
    Foreign,
}

impl Trouble {
    fn at(&self, path: &Path) -> Failure {
        let why = match self {
            Trouble::NotParsed(language, why) => {
                format!("it is not good {language}: {why}; it is left as it is")
            }
            Trouble::Shape(what) => format!("{what}; it is left as it is"),
            Trouble::Taken => "notify calls another program already, and Codex has only one; \
                 spool adapt codex-hook --apply uses the Stop hook instead"
                .to_owned(),
            Trouble::Foreign => "a file of that name is there, and spool did not write it".to_owned(),
        };
        Failure::new(exit::CONFIG, format!("cannot edit {}: {why}", path.display()))
    }
}

impl Edit {
    fn apply(&self, before: Option<&str>, place: &Place<'_>) -> Result<String, Trouble> {
        match self {
            Edit::Toml(way) => way.apply(before.unwrap_or_default(), &place.program, &place.spool),
            Edit::Hooks(hooks) => hooks.apply(before.unwrap_or_default(), &place.program),
            Edit::Own { text, mark } => match before {
                Some(before) if !before.contains(mark) => Err(Trouble::Foreign),
                _ => Ok(text.clone()),
            },
        }
    }

    /// The text without what is ours (`None`: then nothing is left), and whether something longer of ours stays.
    fn remove(&self, text: &str, place: &Place<'_>) -> Result<(Option<String>, bool), Trouble> {
        match self {
            Edit::Toml(way) => way.remove(text, &place.spool).map(|(text, left)| (Some(text), left)),
            Edit::Hooks(hooks) => hooks.remove(text).map(|(text, left)| (Some(text), left)),
            Edit::Own { mark, .. } => Ok(((!text.contains(mark)).then(|| text.to_owned()), false)),
        }
    }

    fn lacks(&self, text: Option<&str>, place: &Place<'_>) -> Result<Vec<String>, Trouble> {
        match (self, text) {
            (_, None) => Ok(vec!["it is not there".to_owned()]),
            (Edit::Toml(way), Some(text)) => way.lacks(text, &place.spool),
            (Edit::Hooks(hooks), Some(text)) => hooks.lacks(text),
            (Edit::Own { mark, .. }, Some(text)) if !text.contains(mark) => Err(Trouble::Foreign),
            (Edit::Own { .. }, Some(_)) => Ok(Vec::new()),
        }
    }

    /// Whether a text says nothing but what we put into it.
    fn is_only_ours(&self, text: &str, place: &Place<'_>) -> bool {
        match self {
            Edit::Toml(_) => {
                let without = toml::Way::ALL.iter().try_fold(text.to_owned(), |text, way| {
                    Ok::<_, Trouble>(way.remove(&text, &place.spool)?.0)
                });
                without.is_ok_and(|without| without != text && self.is_bare(&without))
            }
            Edit::Hooks(hooks) => {
                hooks.remove(text).is_ok_and(|(without, _)| without != text && self.is_bare(&without))
            }
            Edit::Own { mark, .. } => text.contains(mark),
        }
    }

    /// Whether such a text says nothing.
    fn is_bare(&self, text: &str) -> bool {
        match self {
            Edit::Hooks(hooks) => hooks.is_bare(text),
            _ => text.trim().is_empty(),
        }
    }
}

/// Where everything is.
fn place(args: &Args) -> Result<Place<'_>, Failure> {
    let home = locate::process_env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home =
        home.ok_or_else(|| Failure::new(exit::CONFIG, "cannot tell where configurations are: set HOME"))?;
    let program = Program::find(args.spool.as_deref()).ok_or_else(|| {
        Failure::new(exit::UNAVAILABLE, "there is no spool-put; install it beside spool, or anywhere in PATH")
    })?;
    let spool = crate::spool_dir(args)?;
    let spool = std::path::absolute(&spool).unwrap_or(spool);
    let spool = spool.to_str().ok_or_else(|| {
        Failure::new(
            exit::CONFIG,
            format!("the path {} is not UTF-8 and cannot be written down", spool.display()),
        )
    })?;
    Ok(Place {
        env: &locate::process_env,
        home,
        codex_homes: &args.codex_homes,
        dir: args.dir.as_deref(),
        program,
        spool: spool.to_owned(),
    })
}

/// The names of all runners that there is an adapter for.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|tool| tool.name)
}

/// A runner that is here.
#[derive(Debug)]
pub(crate) struct Runner {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it reports its ends; `None` where nothing but a person can arrange that.
    pub(crate) reports: Option<bool>,
    /// Why a file of its cannot be used.
    pub(crate) trouble: Option<String>,
}

/// The runners that are here, and which of them report.
///
/// # Errors
/// When nothing says where the home or `spool-put` is.
pub(crate) fn survey(args: &Args) -> Result<Vec<Runner>, Failure> {
    let place = place(args)?;
    let here = TOOLS.iter().filter(|tool| is_installed(tool, &place));
    let look = |tool: &Tool| {
        let states: Vec<_> = place.targets(tool).iter().map(|target| state(target, &place)).collect();
        let trouble = states.iter().find_map(|state| state.as_ref().err()).map(|e| e.message.clone());
        let reports = states.iter().all(|state| state.as_ref().is_ok_and(Vec::is_empty));
        Runner { name: tool.name, reports: (!states.is_empty()).then_some(reports), trouble }
    };
    Ok(here.map(look).collect())
}

/// Lists, prints, edits or looks.
///
/// # Errors
/// When nothing says where the home or `spool-put` is; what a file that cannot be edited says; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let place = place(args)?;
    let Some(name) = args.ids.first() else { return list(&place, args.json, out) };
    let tool = tools::find(name).ok_or_else(|| {
        let names: Vec<&str> = names().collect();
        Failure::new(exit::USAGE, format!("there is no adapter for {name:?}; there is {}", names.join(", ")))
    })?;
    let targets = place.targets(tool);
    if targets.is_empty() && (args.apply || args.check || args.remove) {
        let why =
            format!("{name} has no file that could be edited safely; spool adapt {name} says what to do");
        return Err(Failure::new(exit::USAGE, why));
    }
    match (args.apply, args.remove, args.check) {
        (true, ..) => each(&targets, out, |target| apply(target, &place)),
        (_, true, _) => each(&targets, out, |target| remove(target, &place)),
        (.., true) => check(tool, &place, args.json, out),
        _ => print(tool, &place, out),
    }
}

/// Does it to each file: trouble with one is said and stops no other.
fn each(
    targets: &[Target],
    out: &mut dyn Write,
    mut what: impl FnMut(&Target) -> Result<&'static str, Failure>,
) -> Result<u8, Failure> {
    let mut code = exit::OK;
    for target in targets {
        match what(target) {
            Ok(word) => writeln!(out, "{word:<10}  {}", target.path.display())?,
            Err(failure) => {
                crate::complain(&failure.message);
                code = failure.exit;
            }
        }
    }
    Ok(code)
}

fn apply(target: &Target, place: &Place<'_>) -> Result<&'static str, Failure> {
    let found = file::read(&target.path)?;
    let before = found.text.as_deref();
    let after = target.edit.apply(before, place).map_err(|e| e.at(&target.path))?;
    let word = if before == Some(after.as_str()) {
        "unchanged"
    } else {
        if before.is_some_and(|before| !target.edit.is_only_ours(before, place)) {
            found.back_up()?;
        }
        found.write(&after)?;
        "configured"
    };
    // What a person switched off stays off, and is said.
    for lack in target.edit.lacks(Some(&after), place).map_err(|e| e.at(&target.path))? {
        crate::complain(&format!("{}: {lack}", target.path.display()));
    }
    Ok(word)
}

fn remove(target: &Target, place: &Place<'_>) -> Result<&'static str, Failure> {
    let found = file::read(&target.path)?;
    let Some(text) = found.text.as_deref() else { return Ok("unchanged") };
    let trouble = |e: Trouble| e.at(&target.path);
    let (after, is_left) = target.edit.remove(text, place).map_err(trouble)?;
    if is_left {
        let path = target.path.display();
        crate::complain(&format!("{path}: a call of spool-put with more options than ours is left there"));
    }
    if after.as_deref() == Some(text) {
        return Ok("unchanged");
    }
    if let Some(before) = undone(&found, text, target, place) {
        found.write(&before)?;
        found.forget();
        return Ok("removed");
    }
    match after {
        Some(after) if found.before().is_some() || !target.edit.is_bare(&after) => found.write(&after)?,
        // There was no file before ours.
        _ => {
            found.remove()?;
            tidy(&target.path);
        }
    }
    Ok("removed")
}

/// The bytes of before, if what is there now is what applying made of them.
fn undone(found: &Found, text: &str, target: &Target, place: &Place<'_>) -> Option<String> {
    let before = found.before()?;
    let without = target.edit.remove(&before, place).ok()?.0?;
    let applied = target.edit.apply(Some(&before), place).ok()?;
    (without == before && applied == text).then_some(before)
}

/// Removes the directories of a plugin of ours, if they are empty now.
fn tidy(path: &Path) {
    for dir in path.ancestors().skip(1).take(2) {
        let is_ours = dir.file_name().is_some_and(|name| name == "spool")
            || dir.parent().and_then(Path::file_name).is_some_and(|name| name == "spool");
        if !is_ours || std::fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

/// How a file stands: what it lacks, or why that cannot be told.
fn state(target: &Target, place: &Place<'_>) -> Result<Vec<String>, Failure> {
    let found = file::read(&target.path)?;
    target.edit.lacks(found.text.as_deref(), place).map_err(|e| e.at(&target.path))
}

fn check(tool: &Tool, place: &Place<'_>, json: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut code = exit::OK;
    for target in place.targets(tool) {
        let (word, lacks) = match state(&target, place) {
            Ok(lacks) if lacks.is_empty() => ("configured", lacks),
            Ok(lacks) => ("missing", lacks),
            Err(failure) => ("unusable", vec![failure.message]),
        };
        if !lacks.is_empty() {
            code = MISSING;
        }
        if !json {
            writeln!(out, "{word:<10}  {}", target.path.display())?;
            for lack in lacks {
                writeln!(out, "            {lack}")?;
            }
        }
    }
    if json {
        writeln!(out, "{:#}", as_json(tool, place))?;
    }
    Ok(code)
}

fn is_installed(tool: &Tool, place: &Place<'_>) -> bool {
    let has_program = tool.programs.iter().any(|name| command::find_in_path(name).is_some());
    has_program || place.dir.is_none() && place.config_dir(tool).is_some_and(|dir| dir.is_dir())
}

fn as_json(tool: &Tool, place: &Place<'_>) -> Value {
    let targets = place.targets(tool);
    let states: Vec<_> = targets.iter().map(|target| (target, state(target, place))).collect();
    let is_well = states.iter().all(|(_, state)| state.as_ref().is_ok_and(Vec::is_empty));
    let files: Vec<Value> = states
        .iter()
        .map(|(target, state)| {
            let lacks = match state {
                Ok(lacks) => lacks.clone(),
                Err(failure) => vec![failure.message.clone()],
            };
            json!({"path": target.path.to_string_lossy(), "configured": lacks.is_empty(), "lacks": lacks})
        })
        .collect();
    json!({
        "tool": tool.name,
        "installed": is_installed(tool, place),
        "configured": (!files.is_empty()).then_some(is_well),
        "files": files,
    })
}

fn list(place: &Place<'_>, json: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    if json {
        let all: Vec<Value> = TOOLS.iter().map(|tool| as_json(tool, place)).collect();
        writeln!(out, "{:#}", Value::from(all))?;
        return Ok(exit::OK);
    }
    let mut others = Vec::new();
    writeln!(out, "{:<10}  {:<10}  FILE", "RUNNER", "REPORTS")?;
    for tool in TOOLS {
        if !is_installed(tool, place) {
            others.push(tool.name);
            continue;
        }
        let targets = place.targets(tool);
        if targets.is_empty() {
            writeln!(out, "{:<10}  {:<10}  spool adapt {}", tool.name, "by hand", tool.name)?;
        }
        for target in targets {
            let word = match state(&target, place) {
                Ok(lacks) if lacks.is_empty() => "yes",
                Ok(_) => "no",
                Err(_) => "unusable",
            };
            writeln!(out, "{:<10}  {word:<10}  {}", tool.name, target.path.display())?;
        }
    }
    if !others.is_empty() {
        crate::complain(&format!("not found here: {}", others.join(", ")));
    }
    Ok(exit::OK)
}

fn print(tool: &Tool, place: &Place<'_>, out: &mut dyn Write) -> Result<u8, Failure> {
    let targets = place.targets(tool);
    if let Some(text) = place.by_hand(tool) {
        writeln!(out, "{text}")?;
    }
    for target in &targets {
        let text = target.edit.apply(None, place).map_err(|e| e.at(&target.path))?;
        writeln!(out, "In {}:\n", target.path.display())?;
        for line in text.lines() {
            writeln!(out, "{}{line}", if line.is_empty() { "" } else { "  " })?;
        }
        writeln!(out)?;
    }
    if !targets.is_empty() {
        let name = tool.name;
        writeln!(
            out,
            "spool adapt {name} --apply puts it there, --check looks, --remove takes it out again."
        )?;
        writeln!(
            out,
            "The session is the one in SPOOL_SESSION of the runner's environment; a record without is held."
        )?;
    }
    writeln!(out, "\n{}", tool.note)?;
    Ok(exit::OK)
}
