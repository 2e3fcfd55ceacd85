//! The producers that come with the kit: references that pass (`producers/`), and careless ones (`careless/`) that must
//! fail for the reason given in their heads.
//!
//! The head of a file, its first comment, may have these lines: `must fail: RULE, RULE`, for every rule that it fails
//! where that rule can be tried; `may fail: RULE`, where chance decides; `judged with: --no-id`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::Options;
use crate::disk::{run, which};
use crate::rules::RULES;
use crate::verdict::{Judgement, Trouble, Verdict};

/// A producer of the kit.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Its place in the crate, for example `careless/in-place.py`.
    pub name: String,
    /// The rules that it must fail: none for a reference.
    pub must_fail: Vec<String>,
    /// The rules that it fails or not.
    pub may_fail: Vec<String>,
    path: PathBuf,
    no_id: bool,
    plain: bool,
}

/// All of them, by name.
///
/// # Errors
/// A directory that cannot be read, or a head that names no rule.
pub fn all() -> Result<Vec<Actor>, Trouble> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut actors = Vec::new();
    for dir in ["producers/sh", "producers/python", "producers/node", "producers/c", "careless"] {
        for entry in fs::read_dir(home.join(dir))? {
            let path = entry?.path();
            let name = format!("{dir}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            actors.push(Actor::read(name, path)?);
        }
    }
    actors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(actors)
}

impl Actor {
    fn read(name: String, path: PathBuf) -> Result<Actor, Trouble> {
        let text = fs::read_to_string(&path)?;
        let said = |key: &str| -> Vec<String> {
            let values = text.lines().take(20).filter_map(|line| {
                line.trim_start_matches(['#', '/', '*', ' ']).strip_prefix(key)?.strip_prefix(": ")
            });
            values
                .flat_map(|value| value.split([',', ' ']))
                .filter(|v| !v.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let options = said("judged with");
        let (must_fail, may_fail) = (said("must fail"), said("may fail"));
        if let Some(rule) =
            must_fail.iter().chain(&may_fail).find(|rule| !RULES.iter().any(|r| r.name == **rule))
        {
            return Err(format!("{name} names a rule that there is not: {rule}").into());
        }
        if must_fail.is_empty() == name.starts_with("careless/") {
            return Err(format!("{name} must say what it must fail, if it is careless and only then").into());
        }
        let has = |option: &str| options.iter().any(|o| o == option);
        let (no_id, plain) = (has("--no-id"), has("--plain-text-only"));
        Ok(Actor { name, must_fail, may_fail, path, no_id, plain })
    }

    /// Whether it is one of those that must fail.
    pub fn is_careless(&self) -> bool {
        !self.must_fail.is_empty()
    }

    /// The program that it needs here and that is missing.
    pub fn lacks(&self) -> Option<&'static str> {
        let program = self.program();
        which(program).is_none().then_some(program)
    }

    fn program(&self) -> &'static str {
        match self.path.extension().and_then(|e| e.to_str()) {
            Some("py") => "python3",
            Some("js") => "node",
            Some("c") => "cc",
            _ => "sh",
        }
    }

    /// The command that it is; a C program is compiled into `scratch`.
    ///
    /// # Errors
    /// When the compiler fails.
    pub fn command(&self, scratch: &Path) -> Result<Vec<OsString>, Trouble> {
        let program = self.program();
        if program == "cc" {
            let binary = scratch.join(self.path.file_stem().unwrap_or_default());
            run(Command::new("cc")
                .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
                .arg(&binary)
                .arg(&self.path))?;
            return Ok(vec![binary.into()]);
        }
        // The interpreter itself, not a shim in front of it: it is started a thousand times.
        let program = match program {
            "python3" => interpreter().unwrap_or_else(|| program.into()),
            _ => program.into(),
        };
        let flags: &[&str] = if self.program() == "python3" { &["-S", "-E"] } else { &[] };
        Ok([program]
            .into_iter()
            .chain(flags.iter().map(Into::into))
            .chain([self.path.clone().into()])
            .collect())
    }

    /// The options that it is judged with.
    pub fn options(&self, options: &Options) -> Options {
        // Who loses a race may need some before that shows; the others win them all.
        let races = if self.must_fail.iter().any(|rule| rule == "race") { 20 } else { options.races };
        Options { id: !self.no_id, plain: self.plain, races, ..options.clone() }
    }

    /// What is wrong with a judgement of it, in words; nothing if it is as the head says.
    pub fn wrong(&self, judgement: &Judgement) -> Option<String> {
        for finding in &judgement.findings {
            let name = finding.rule.name;
            let must = self.must_fail.iter().any(|rule| rule == name);
            let may = self.may_fail.iter().any(|rule| rule == name);
            match &finding.verdict {
                Verdict::Fail(reason) if !must && !may => {
                    return Some(format!("{} fails {name}: {reason}", self.name));
                }
                Verdict::Pass(_) if must => {
                    return Some(format!("{} passes {name}, which it must fail", self.name));
                }
                _ => {}
            }
        }
        None
    }
}

/// Where Python itself is.
fn interpreter() -> Option<OsString> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_file().then(|| path.into())
}
