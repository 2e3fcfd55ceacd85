//! The configuration, and `spool config`, which shows it: what holds, and what says so.
//!
//! In this order something says what holds: an option, the environment, the file, the default. What it keeps true: a
//! configuration that is wrong ends a program before the spool is touched (exit 78); what is shown is what the agent
//! works by, for both ask [`Config`]; no secret is in it.
//!
//! The rooms: `keys` (the settings, as data), `file` (what was written), `rules` (what the agent makes of it).

mod file;
mod keys;
mod rules;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use spool_drain::Settings;
use spooldir::{exit, locate};

use self::file::File;
use self::keys::{KEYS, Key};
use crate::args::Args;
use crate::openclaw_config::Env;
use crate::{Failure, discover};

/// What holds: options, environment, file, defaults.
#[derive(Debug)]
pub struct Config {
    file: Option<File>,
    said: Vec<(&'static Key, String, Origin)>,
}

/// What says that something holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Option(&'static str),
    Env(&'static str),
    File(usize),
    Default,
}

/// The environment, in which the option `--config` counts as `SPOOL_CONFIG`.
pub fn env(args: &Args) -> impl Fn(&str) -> Option<OsString> {
    over(args, &locate::process_env)
}

/// The same over another environment.
pub fn over<'a>(args: &Args, env: Env<'a>) -> impl Fn(&str) -> Option<OsString> + use<'a> {
    let named = args.config.clone();
    move |name| match &named {
        Some(path) if name == "SPOOL_CONFIG" => Some(path.clone().into_os_string()),
        _ => env(name),
    }
}

impl Config {
    /// Reads the configuration and the environment.
    ///
    /// # Errors
    /// [`exit::CONFIG`] with what is wrong and where.
    pub fn load(args: &Args, env: Env<'_>) -> Result<Config, Failure> {
        let file = file::read(env).map_err(wrong)?;
        let said =
            KEYS.iter().map(|key| effective(key, args, env, file.as_ref())).collect::<Result<_, _>>()?;
        Ok(Config { file, said })
    }

    /// Where the file says this, if it is the file that says it: its path, and the line.
    pub fn place(&self, name: &str) -> Option<String> {
        let (.., origin) = self.said.iter().find(|(key, ..)| key.name == name)?;
        let Origin::File(line) = origin else { return None };
        Some(format!("{}:{line}", self.file.as_ref()?.path.display()))
    }

    /// What holds of a setting that was said; `None` leaves the default to whoever asks.
    pub fn said(&self, name: &str) -> Option<&str> {
        let (_, value, origin) = self.said.iter().find(|(key, ..)| key.name == name)?;
        (*origin != Origin::Default).then_some(value.as_str())
    }

    /// What the file says of a setting.
    pub fn in_file(&self, name: &str) -> Option<&str> {
        Some(self.file.as_ref()?.said.get(name)?.value.as_str())
    }

    /// The path that the file says.
    pub fn path_in_file(&self, name: &str, env: Env<'_>) -> Option<PathBuf> {
        self.in_file(name).map(|text| file::path(text, env))
    }

    /// What of it may change while the agent runs.
    pub fn settings(&self) -> Settings {
        rules::settings(self.file.as_ref(), &|name| {
            let found = self.said.iter().find(|(key, ..)| key.name == name);
            found.map(|(_, value, _)| value.clone()).unwrap_or_default()
        })
    }
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// With the file, which is named.
    File(String),
    /// With a variable, which is named.
    Environment(String),
}

/// Whether there is a file; for a doctor, who says what to do about what is wrong.
///
/// # Errors
/// What is wrong.
pub fn look(args: &Args, env: Env<'_>) -> Result<bool, Trouble> {
    let is_there = file::read(env).map_err(Trouble::File)?.is_some();
    Config::load(args, env).map_err(|failure| Trouble::Environment(failure.message))?;
    Ok(is_there)
}

fn wrong(why: impl Into<String>) -> Failure {
    Failure::new(exit::CONFIG, why)
}

/// What holds of one setting, and what says so.
fn effective(
    key: &'static Key,
    args: &Args,
    env: Env<'_>,
    file: Option<&File>,
) -> Result<(&'static Key, String, Origin), Failure> {
    if let Some((option, value)) = key.options.iter().find_map(|name| Some((*name, of_option(name, args)?))) {
        return Ok((key, value, Origin::Option(option)));
    }
    let text = |name: &str| env(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
    if let Some((name, value)) = key.env.iter().find_map(|name| Some((*name, text(name)?))) {
        let value = value.trim();
        // A path in the environment may be relative, as it always could be.
        if key.kind != keys::Kind::Path {
            key.kind.check(value).map_err(|why| wrong(format!("{name} {why}")))?;
        }
        return Ok((key, value.to_owned(), Origin::Env(name)));
    }
    if let Some(said) = file.and_then(|file| file.said.get(key.name)) {
        return Ok((key, said.value.clone(), Origin::File(said.line)));
    }
    Ok((key, key.default.to_owned(), Origin::Default))
}

fn of_option(name: &str, args: &Args) -> Option<String> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    match name {
        "spool" => path(&args.spool),
        "gateway" => args.gateway.clone(),
        "token-file" => path(&args.token_file),
        "fingerprint" => args.fingerprint.clone(),
        "admin" => args.admin.then(|| "true".to_owned()),
        "verbose" => args.verbose.then(|| "debug".to_owned()),
        "log" => args.log.map(|format| format.word().to_owned()),
        "quiet" => args.quiet.then(|| "warn".to_owned()),
        _ => None,
    }
}

/// `spool config path|show|check`.
///
/// # Errors
/// [`exit::CONFIG`] for a configuration that is wrong.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let env = env(args);
    let Some((path, _)) = locate::config_file(&env) else {
        return Err(wrong("cannot tell where the configuration is: name it with --config FILE, or set HOME"));
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    let verb = args.ids.first().map(String::as_str).unwrap_or_default();
    if verb == "path" {
        let is_there = path.exists();
        match args.json {
            true => writeln!(out, "{:#}", json!({"path": path.to_string_lossy(), "exists": is_there}))?,
            false => writeln!(out, "{}", path.display())?,
        }
        return Ok(exit::OK);
    }
    let checked = Config::load(args, &env).and_then(|config| {
        let gateway = discover::gateway(args, &env, &config)?;
        gateway.check().map_err(|trouble| wrong(trouble.reason))?;
        locate::spool_dir(args.spool.as_deref(), &env)?;
        Ok(config)
    });
    if verb == "check" && args.json {
        let why = checked.as_ref().err().map(|failure| failure.message.clone());
        writeln!(out, "{:#}", json!({"path": path.to_string_lossy(), "ok": why.is_none(), "problem": why}))?;
        return Ok(checked.map_or_else(|failure| failure.exit, |_| exit::OK));
    }
    let config = checked?;
    if verb == "check" {
        let what = if config.file.is_some() { "is right" } else { "is not there: the defaults hold" };
        writeln!(out, "{} {what}", path.display())?;
        return Ok(exit::OK);
    }
    show(&config, args, &env, out)?;
    Ok(exit::OK)
}

fn show(config: &Config, args: &Args, env: Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let file = config.file.as_ref();
    let path = file.map(|file| file.path.display().to_string()).unwrap_or_default();
    let dir = locate::spool_dir(args.spool.as_deref(), env)?;
    let gateway = discover::gateway(args, env, config)?;
    let secret = gateway.token.as_ref().or(gateway.password.as_ref());
    let mut rows: Vec<(String, String, String)> = Vec::new();
    for (key, value, origin) in &config.said {
        let from = match origin {
            Origin::Option(name) => format!("--{name}"),
            Origin::Env(name) => format!("${name}"),
            Origin::File(line) => format!("{path}:{line}"),
            Origin::Default => "default".to_owned(),
        };
        let value = match key.name {
            "spool" => dir.display().to_string(),
            "gateway.url" => gateway.url.clone(),
            "gateway.token-file" => secret.map_or_else(|| "none".to_owned(), ToString::to_string),
            _ => value.trim_matches(['[', ']']).to_owned(),
        };
        let is_env = key.name == "gateway.token-file" && value.starts_with('$');
        rows.push((key.name.to_owned(), value, if is_env { "environment".into() } else { from }));
    }
    for (prefix, table) in file.map(|file| file.sessions.as_slice()).unwrap_or_default() {
        for (name, said) in table {
            let word = name.strip_prefix("default.").unwrap_or(name);
            rows.push((
                format!("session.{prefix:?}.{word}"),
                said.value.clone(),
                format!("{path}:{}", said.line),
            ));
        }
    }
    for (user, prefixes) in file.iter().flat_map(|file| &file.allow) {
        rows.push((format!("allow.{user}"), prefixes.join(" "), path.clone()));
    }
    if args.json {
        let row = |(name, value, from): (String, String, String)| json!({"key": name, "value": value, "from": from});
        let rows: Vec<Value> = rows.into_iter().map(row).collect();
        writeln!(out, "{:#}", Value::Array(rows))?;
        return Ok(());
    }
    let width = |of: fn(&(String, String, String)) -> &str| {
        rows.iter().map(|r| of(r).chars().count()).max().unwrap_or(0)
    };
    let (names, values) = (width(|row| &row.0), width(|row| &row.1).min(60));
    for (name, value, from) in &rows {
        let line = format!("{name:<names$}  {value:<values$}  {from}");
        writeln!(out, "{}", spooldir::sanitize::visible(&line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
