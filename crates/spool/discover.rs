//! Where the gateway is and what opens it: from what was said on the command line, the environment, our configuration,
//! and at last from OpenClaw's own.
//!
//! | | in this order |
//! |---|---|
//! | URL | `--gateway`, `SPOOL_GATEWAY`, `OPENCLAW_GATEWAY_URL`, `ws://127.0.0.1:PORT` with the port of `OPENCLAW_GATEWAY_PORT`, our `gateway.url`, that with OpenClaw's `gateway.port`, 18789 |
//! | token or password | `--token-file`, `SPOOL_TOKEN_FILE`, `SPOOL_TOKEN`, `OPENCLAW_GATEWAY_TOKEN`, `OPENCLAW_GATEWAY_PASSWORD`, our `gateway.token-file`, OpenClaw's `gateway.auth` |
//! | device identity | `$XDG_CONFIG_HOME/spool/identity`, `~/.config/spool/identity` |
//!
//! What it keeps true: what is found is the *place* of the secret, which the client reads anew for each connect, so
//! that a mended file is enough; a file that others can read is refused; no message shows a secret or anything of
//! the configuration; the spool is not touched. The identity is kept outside of the spool, which others may mount.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use spool_gateway::openclaw::Config;
use spool_gateway::secret::Source;
use spooldir::exit;

use crate::Failure;
use crate::args::Args;
use crate::config::Config as Ours;
use crate::openclaw_config::{self as openclaw, Env, Settings};

/// Where OpenClaw's gateway listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 18_789;
/// The largest configuration that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Finds the gateway.
///
/// # Errors
/// One sentence with [`exit::CONFIG`]: a token file or a configuration that cannot be used.
pub fn gateway(args: &Args, env: Env<'_>, ours: &Ours) -> Result<Config, Failure> {
    let text = |name: &str| env(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
    let said_url =
        args.gateway.clone().or_else(|| text("SPOOL_GATEWAY")).or_else(|| text("OPENCLAW_GATEWAY_URL"));
    let said_port = text("OPENCLAW_GATEWAY_PORT").map(|port| port.trim().parse::<u16>());
    let said_port = said_port.transpose().map_err(|_| wrong("OPENCLAW_GATEWAY_PORT is not a port number"))?;
    // A port in the environment stands above a whole address in the file.
    let said_url = if said_port.is_some() {
        said_url
    } else {
        said_url.or_else(|| ours.in_file("gateway.url").map(str::to_owned))
    };
    let mut config = Config::new("");
    config.admin = ours.said("gateway.admin") == Some("true");
    config.identity_dir = identity_dir(env);
    config.tls_fingerprint = ours.said("gateway.fingerprint").map(str::to_owned);
    let file = args.token_file.clone().or_else(|| text("SPOOL_TOKEN_FILE").map(PathBuf::from));
    let var = |name: &str| text(name).map(|_| Source::Env(name.to_owned()));
    if let Some(file) = file {
        check_token_file(&file)?;
        config.token = Some(Source::File(file));
    } else if let Some(token) = var("SPOOL_TOKEN").or_else(|| var("OPENCLAW_GATEWAY_TOKEN")) {
        config.token = Some(token);
    } else if let Some(password) = var("OPENCLAW_GATEWAY_PASSWORD") {
        config.password = Some(password);
    } else if let Some(file) = ours.path_in_file("gateway.token-file", env) {
        check_token_file(&file)?;
        config.token = Some(Source::File(file));
    }
    let has_secret = config.token.is_some() || config.password.is_some();
    let has_url = said_url.is_some() || said_port.is_some();
    // Not read where nothing of it is needed: a broken one is then no concern of ours.
    let theirs = if has_secret && has_url { None } else { openclaw::path(env) };
    let mut port = said_port;
    if let Some(path) = theirs
        && let Some(settings) = read_settings(&path, env)?
    {
        port = port.or(settings.port);
        if !has_secret && settings.holds_secret {
            check_private(&path).map_err(|why| unusable(&path, &why))?;
        }
        if !has_secret && settings.has_token {
            config.token = Some(Source::Inside(path, openclaw::token));
        } else if !has_secret && settings.has_password {
            config.password = Some(Source::Inside(path, openclaw::password));
        }
    }
    config.url = said_url.unwrap_or_else(|| format!("ws://127.0.0.1:{}", port.unwrap_or(DEFAULT_PORT)));
    Ok(config)
}

fn wrong(why: impl Into<String>) -> Failure {
    Failure::new(exit::CONFIG, why)
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    let remedy = "mend it, or use --gateway and --token-file";
    wrong(format!("cannot use OpenClaw's configuration {}: {why}; {remedy}", path.display()))
}

/// What the configuration says; `None` when there is none.
fn read_settings(path: &Path, env: Env<'_>) -> Result<Option<Settings>, Failure> {
    let fail = |why: &dyn std::fmt::Display| unusable(path, why);
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(&e)),
        Ok(meta) if !meta.is_file() => return Err(fail(&"it is not a file")),
        Ok(meta) if meta.len() > MAX_CONFIG => return Err(fail(&"it is larger than 1 MiB")),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|e| fail(&e))?;
    openclaw::settings(&text, env).map(Some).map_err(|why| fail(&why))
}

/// Looks at a token file before the agent starts with it.
fn check_token_file(path: &Path) -> Result<(), Failure> {
    check_private(path).map_err(|why| wrong(format!("cannot use the token file {}: {why}", path.display())))
}

/// A file with a secret in it is for us alone.
fn check_private(path: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("{e}; write the gateway's token into it"))?;
    if !meta.is_file() {
        return Err("it is not a file".into());
    }
    if meta.mode() & 0o077 != 0 {
        return Err("others may read it; run chmod 600 on it".into());
    }
    Ok(())
}

/// Where the identity is kept, if there is a home.
pub fn identity_dir(env: Env<'_>) -> Option<PathBuf> {
    let var = |name: &str| env(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let config = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|home| home.join(".config")));
    config.map(|dir| dir.join("spool/identity"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new(config: &str) -> Home {
            let home = Home(tempfile::tempdir().unwrap());
            std::fs::create_dir(home.at(".openclaw")).unwrap();
            std::fs::write(home.at(".openclaw/openclaw.json"), config).unwrap();
            home.set_mode(".openclaw/openclaw.json", 0o600);
            home
        }

        fn set_mode(&self, name: &str, mode: u32) {
            std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            std::fs::write(self.at(name), "secret\n").unwrap();
            self.set_mode(name, mode);
            self.at(name)
        }

        fn find(&self, args: &Args, vars: &[(&str, &str)]) -> Result<Config, String> {
            let home = self.0.path().as_os_str().to_owned();
            let env = |name: &str| {
                let said = vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
                said.or_else(|| (name == "HOME").then(|| home.clone()))
            };
            Ours::load(args, &env).and_then(|ours| gateway(args, &env, &ours)).map_err(|failure| {
                assert_eq!(failure.exit, exit::CONFIG);
                failure.message
            })
        }
    }

    #[test]
    fn the_first_that_says_something_names_the_gateway() {
        let home = Home::new("{gateway: {port: 19000}}");
        let flag = Args { gateway: Some("ws://127.0.0.1:1".into()), ..Args::default() };
        let vars = [
            ("SPOOL_GATEWAY", "ws://127.0.0.1:2"),
            ("OPENCLAW_GATEWAY_URL", "ws://127.0.0.1:3"),
            ("OPENCLAW_GATEWAY_PORT", "4"),
        ];
        let none = Args::default();
        let url = |args: &Args, vars: &[(&str, &str)]| home.find(args, vars).unwrap().url;
        assert_eq!(url(&flag, &vars), "ws://127.0.0.1:1");
        assert_eq!(url(&none, &vars), "ws://127.0.0.1:2");
        assert_eq!(url(&none, &vars[1..]), "ws://127.0.0.1:3");
        assert_eq!(url(&none, &vars[2..]), "ws://127.0.0.1:4");
        assert_eq!(url(&none, &[]), "ws://127.0.0.1:19000");
        assert_eq!(Home::new("{}").find(&none, &[]).unwrap().url, "ws://127.0.0.1:18789");
        assert!(home.find(&none, &[("OPENCLAW_GATEWAY_PORT", "x")]).unwrap_err().contains("PORT"));
    }

    #[test]
    fn the_first_that_says_something_opens_it() {
        let home = Home::new("{gateway: {auth: {token: 'theirs'}}}");
        let file = home.file("token", 0o600);
        let file = file.to_str().unwrap();
        let flag = Args { token_file: Some(file.into()), ..Args::default() };
        let vars = [
            ("SPOOL_TOKEN_FILE", file),
            ("SPOOL_TOKEN", "a"),
            ("OPENCLAW_GATEWAY_TOKEN", "b"),
            ("OPENCLAW_GATEWAY_PASSWORD", "c"),
        ];
        let none = Args::default();
        let from = |args: &Args, vars: &[(&str, &str)]| {
            let config = home.find(args, vars).unwrap();
            let word = if config.token.is_some() { "token" } else { "password" };
            format!("{word} {}", config.token.or(config.password).unwrap())
        };
        assert_eq!(from(&flag, &vars[1..]), format!("token {file}"));
        assert_eq!(from(&none, &vars), format!("token {file}"));
        assert_eq!(from(&none, &vars[1..]), "token $SPOOL_TOKEN");
        assert_eq!(from(&none, &vars[2..]), "token $OPENCLAW_GATEWAY_TOKEN");
        assert_eq!(from(&none, &vars[3..]), "password $OPENCLAW_GATEWAY_PASSWORD");
        assert_eq!(from(&none, &[]), format!("token {}", home.at(".openclaw/openclaw.json").display()));
        let theirs = home.find(&none, &[]).unwrap().token.unwrap();
        assert_eq!(theirs.read().unwrap().expose(), "theirs");
        let other = Home::new("{gateway: {auth: {mode: 'password', password: 'p'}}}");
        let password = other.find(&none, &[]).unwrap();
        assert_eq!(password.password.unwrap().read().unwrap().expose(), "p");
        assert!(password.token.is_none());
        let open = Home::new("{}").find(&none, &[]).unwrap();
        assert!(open.token.is_none() && open.password.is_none());
    }

    #[test]
    fn a_token_file_that_others_can_read_is_refused() {
        let home = Home::new("{}");
        let refused =
            |path: PathBuf| home.find(&Args { token_file: Some(path), ..Args::default() }, &[]).unwrap_err();
        for mode in [0o640, 0o604, 0o644] {
            let why = refused(home.file("token", mode));
            assert!(why.contains("chmod 600") && !why.contains("secret"), "{why}");
        }
        assert!(refused(home.at("absent")).contains("absent"));
        assert!(refused(home.0.path().to_owned()).contains("not a file"));
    }

    #[test]
    fn a_configuration_that_holds_the_token_is_refused_where_others_can_read_it() {
        let home = Home::new("{gateway: {auth: {token: 'hunter2'}}}");
        home.set_mode(".openclaw/openclaw.json", 0o644);
        let why = home.find(&Args::default(), &[]).unwrap_err();
        assert!(why.contains("chmod 600") && !why.contains("hunter2"), "{why}");
        home.find(&Args::default(), &[("SPOOL_TOKEN", "t")]).unwrap();
        let named = Home::new("{gateway: {auth: {token: '${SECRET}'}}}");
        named.set_mode(".openclaw/openclaw.json", 0o644);
        named.find(&Args::default(), &[]).unwrap();
    }

    #[test]
    fn a_broken_configuration_is_named_and_not_quoted_and_only_if_it_is_needed() {
        let home = Home::new("{gateway: {auth: {token: 'hunter2");
        let why = home.find(&Args::default(), &[]).unwrap_err();
        assert!(why.contains("openclaw.json") && why.contains("--token-file"), "{why}");
        assert!(!why.contains("hunter2"), "{why}");
        home.find(&Args::default(), &[("SPOOL_TOKEN", "t"), ("SPOOL_GATEWAY", "ws://127.0.0.1:1")]).unwrap();
    }

    #[test]
    fn the_identity_is_outside_of_the_spool() {
        let home = Home::new("{}");
        let dir = |vars: &[(&str, &str)]| home.find(&Args::default(), vars).unwrap().identity_dir.unwrap();
        assert_eq!(dir(&[("XDG_CONFIG_HOME", "/x")]), Path::new("/x/spool/identity"));
        assert_eq!(dir(&[("XDG_CONFIG_HOME", "rel")]), home.at(".config/spool/identity"));
    }
}
