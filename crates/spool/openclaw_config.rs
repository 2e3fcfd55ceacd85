//! OpenClaw's own configuration: where its gateway listens and what opens it.
//!
//! JSON5, at `$OPENCLAW_CONFIG_PATH`, else `$OPENCLAW_STATE_DIR/openclaw.json`, else `~/.openclaw/openclaw.json`. Only
//! `gateway.port` and `gateway.auth.token|password` are looked at; a text in them may name variables of the
//! environment as `${NAME}` (`$${NAME}` is the text `${NAME}`), or be an object `{source: "env", id: "NAME"}`.
//! What it keeps true: the file is only read, and no message shows anything of what it says.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use spool_gateway::secret::Secret;
use spool_seeded::Bug;

/// The environment, as the functions here ask for it.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What of the configuration matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `gateway.port`.
    pub port: Option<u16>,
    /// Whether `gateway.auth.token` is there.
    pub has_token: bool,
    /// Whether `gateway.auth.password` is there.
    pub has_password: bool,
    /// Whether one of them stands there itself, and not the name of a variable.
    pub holds_secret: bool,
}

/// Where the configuration is, if anywhere.
pub fn path(env: Env<'_>) -> Option<PathBuf> {
    let var = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("OPENCLAW_CONFIG_PATH")
        .or_else(|| var("OPENCLAW_STATE_DIR").map(|dir| dir.join("openclaw.json")))
        .or_else(|| var("HOME").map(|home| home.join(".openclaw/openclaw.json")))
}

/// Reads what matters from the text of the configuration.
///
/// # Errors
/// What is wrong, without quoting it.
pub fn settings(text: &str, env: Env<'_>) -> Result<Settings, String> {
    let root = parse(text)?;
    let auth =
        |name: &str| root.pointer("/gateway/auth").and_then(|a| a.get(name)).is_some_and(|v| !v.is_null());
    let holds = |name: &str| {
        let said = root.pointer("/gateway/auth").and_then(|a| a.get(name)).and_then(Value::as_str);
        said.is_some_and(|text| !text.contains("${"))
    };
    let settings = Settings {
        port: port(root.pointer("/gateway/port"), env)?,
        has_token: auth("token"),
        has_password: auth("password"),
        holds_secret: holds("token") || holds("password"),
    };
    // A part of it lies in another file, which only OpenClaw knows how to put together.
    let elsewhere = ["", "/gateway", "/gateway/auth"]
        .iter()
        .any(|at| root.pointer(at).is_some_and(|part| part.get("$include").is_some()));
    if elsewhere && !settings.has_token && !settings.has_password {
        return Err(
            "it takes its gateway settings from another file ($include); name the token with --token-file"
                .into(),
        );
    }
    Ok(settings)
}

fn port(value: Option<&Value>, env: Env<'_>) -> Result<Option<u16>, String> {
    let wrong = || "gateway.port is not a port number".to_owned();
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match expand(text, env)?.trim().parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(wrong()),
        },
        Some(number) => {
            // A JSON5 number may be written as 18789.0 or 0x4965.
            let number = number.as_f64().filter(|n| n.fract() == 0.0 && (1.0..=65535.0).contains(n));
            number.map(|n| Some(n as u16)).ok_or_else(wrong)
        }
    }
}

/// The token in the text of the configuration, in the form that the gateway's client asks for.
///
/// # Errors
/// What is missing, without quoting anything.
pub fn token(text: &str) -> Result<Secret, String> {
    secret(text, "token", &|name| env::var_os(name))
}

/// As [`token`], the password.
///
/// # Errors
/// As [`token`].
pub fn password(text: &str) -> Result<Secret, String> {
    secret(text, "password", &|name| env::var_os(name))
}

fn secret(text: &str, name: &str, env: Env<'_>) -> Result<Secret, String> {
    let root = parse(text)?;
    let place = format!("gateway.auth.{name}");
    let said = match root.pointer("/gateway/auth").and_then(|auth| auth.get(name)) {
        Some(Value::String(said)) => expand(said, env).map_err(|why| format!("{place}: {why}"))?,
        Some(Value::Object(reference)) => {
            let of = |member: &str| reference.get(member).and_then(Value::as_str);
            let (Some("env"), Some(id)) = (of("source"), of("id")) else {
                return Err(format!(
                    "{place} is a reference that only OpenClaw can follow; use --token-file"
                ));
            };
            // What is no name of a variable may be the secret itself, in the wrong place.
            if !is_name(id) {
                return Err(format!("{place} names an environment variable that none can be called"));
            }
            variable(id, env).map_err(|why| format!("{place}: {why}"))?
        }
        _ => return Err(format!("{place} is not there, or is no text")),
    };
    Ok(Secret::new(said))
}

fn parse(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    json5::from_str(text).map(|Tree(root)| root).map_err(|e| {
        if e.to_string().contains(DEEP) {
            return format!("it is nested deeper than {MAX_DEPTH}");
        }
        let place = e.position().map(|at| format!(" at line {}", at.line + 1)).unwrap_or_default();
        format!("it is not JSON5{place}")
    })
}

/// How deep objects and arrays may nest. The parser goes down by recursion and has no limit of its own: without one a
/// megabyte of brackets ends the program, the agent too, which reads the file anew for each connect.
const MAX_DEPTH: usize = 128;
/// Marks the refusal of what is deeper; nothing that the parser says has it.
const DEEP: &str = "\u{1}deep";

/// A whole document.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Tree, D::Error> {
        Level(0).deserialize(reader).map(Tree)
    }
}

/// A value that lies so many levels below the top.
struct Level(usize);

impl Level {
    fn below<E: de::Error>(&self) -> Result<Level, E> {
        if self.0 < MAX_DEPTH { Ok(Level(self.0 + 1)) } else { Err(E::custom(DEEP)) }
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON5")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.below()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some(name) = map.next_key::<String>()? {
            members.insert(name, map.next_value_seed(self.below()?)?);
        }
        Ok(Value::Object(members))
    }
}

fn variable(name: &str, env: Env<'_>) -> Result<String, String> {
    let value = env(name).and_then(|v| v.into_string().ok()).filter(|v| !v.is_empty());
    value.ok_or_else(|| format!("it names the environment variable {name}, which is not set here"))
}

/// Puts variables of the environment in.
fn expand(text: &str, env: Env<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let name = after.split_once('}').map(|(name, _)| name).filter(|name| is_name(name));
        match name {
            Some(name) if before.ends_with('$') => {
                out.push_str(before.strip_suffix('$').unwrap_or(before));
                out.push_str(&format!("${{{name}}}"));
            }
            Some(name) => {
                out.push_str(before);
                out.push_str(&variable(name, env)?);
            }
            None => {
                out.push_str(before);
                out.push_str("${");
                rest = &after[usize::from(spool_seeded::is(Bug::ConfigPanics))..];
                continue;
            }
        }
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    Ok(out)
}

/// Variables that OpenClaw recognises: capitals, digits, underscores.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<OsString> {
        [("TOKEN", "from-env"), ("PORT", "19001"), ("EMPTY", "")]
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn the_settings_are_found_whatever_is_around_them() {
        let of = |text: &str| settings(text, &env);
        let full = "// the lobster's own\n{gateway: {port: 0x4965, mode: 'local',\n auth: {mode: 'token', token: 'x',},},}";
        assert_eq!(
            of(full),
            Ok(Settings { port: Some(18789), has_token: true, has_password: false, holds_secret: true })
        );
        let password = r#"{"gateway":{"port":"${PORT}","auth":{"password":"x"}}}"#;
        assert_eq!(
            of(password),
            Ok(Settings { port: Some(19001), has_token: false, has_password: true, holds_secret: true })
        );
        for empty in ["{}", "{gateway: {}}", "{gateway: {auth: null, port: null}}", "[]", "null"] {
            assert_eq!(of(empty), Ok(Settings::default()), "{empty}");
        }
        for port in ["0", "65536", "1.5", "-1", "true", "'x'", "'0'", "[]"] {
            assert!(
                of(&format!("{{gateway: {{port: {port}}}}}")).unwrap_err().contains("gateway.port"),
                "{port}"
            );
        }
        assert!(of("{gateway: {$include: './g.json5'}}").unwrap_err().contains("--token-file"));
        assert!(of("{$include: './g.json5', gateway: {auth: {token: 'x'}}}").unwrap().has_token);
    }

    #[test]
    fn a_secret_is_found_and_its_variables_are_put_in() {
        for (said, is) in [
            ("'plain'", "plain"),
            ("'${TOKEN}'", "from-env"),
            ("'a-${TOKEN}-b'", "a-from-env-b"),
            ("'$${TOKEN}'", "${TOKEN}"),
            ("'${lower} $x ${TOKEN'", "${lower} $x ${TOKEN"),
            ("{source: 'env', provider: 'default', id: 'TOKEN'}", "from-env"),
        ] {
            let text = format!("{{gateway: {{auth: {{token: {said}}}}}}}");
            assert_eq!(secret(&text, "token", &env).unwrap().expose(), is, "{said}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_is_quoted() {
        for (text, says) in [
            ("{gateway: {auth: {token: 'hunter2", "not JSON5 at line 1"),
            ("hunter2", "not JSON5"),
            ("{gateway: {auth: {token: ['hunter2']}}}", "gateway.auth.token is not there"),
            ("{gateway: {auth: {token: 'hunter2${EMPTY}'}}}", "EMPTY, which is not set"),
            ("{gateway: {auth: {token: {source: 'exec', id: 'hunter2'}}}}", "only OpenClaw can follow"),
            ("{gateway: {auth: {token: {source: 'env', id: 'hunter2'}}}}", "that none can be called"),
            ("{gateway: {auth: {token: {source: 'env', id: 'TOKEN\\0\\n'}}}}", "that none can be called"),
            ("{}", "gateway.auth.token is not there"),
        ] {
            let why = secret(text, "token", &env).unwrap_err();
            assert!(why.contains(says) && !why.contains("hunter2"), "{text}: {why}");
        }
    }

    #[test]
    fn a_document_of_nothing_but_brackets_is_refused_and_ends_nothing() {
        for text in ["[".repeat(900_000), "{a:".repeat(300_000), format!("{{a: {}", "[{b:".repeat(65))] {
            for why in [settings(&text, &env).unwrap_err(), secret(&text, "token", &env).unwrap_err()] {
                assert_eq!(why, "it is nested deeper than 128");
            }
        }
        let deep = format!("{{gateway: {{port: 1}}, x: {}{}}}", "[".repeat(127), "]".repeat(127));
        assert_eq!(settings(&deep, &env).unwrap().port, Some(1));
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_was() {
        let text = "// one\n{a: [1, -2, 3.5, .5, 0x1f, +7, NaN, Infinity, null, true, 'x\\ny', 18446744073709551615],\n\
            'b c': {\"d\": {}}, e: [], e: [1,],}";
        assert_eq!(parse(text).unwrap(), json5::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn the_file_is_where_openclaw_has_it() {
        let at = |vars: &[(&str, &str)]| {
            path(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v)))
        };
        let all = [("OPENCLAW_CONFIG_PATH", "/c.json"), ("OPENCLAW_STATE_DIR", "/s"), ("HOME", "/h")];
        assert_eq!(at(&all), Some("/c.json".into()));
        assert_eq!(at(&all[1..]), Some("/s/openclaw.json".into()));
        assert_eq!(at(&all[2..]), Some("/h/.openclaw/openclaw.json".into()));
        assert_eq!(at(&[]), None);
    }
}
