//! What a service is made of: the program, the words after it, the variables it needs, and where it writes.
//!
//! What the person has in their shell, a service manager does not have: what names a place is written down with its
//! value, so that the service finds what was found when it was installed. A secret never is; it has to be in a file.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use spooldir::{exit, locate};

use crate::Failure;
use crate::args::Args;
use crate::openclaw_config::Env;
use crate::{config, discover, drain};

/// Variables whose value the service gets as it is now.
const KEPT: [&str; 11] = [
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_GATEWAY_URL",
    "OPENCLAW_STATE_DIR",
    "SPOOL_BUDGET",
    "SPOOL_CONFIG",
    "SPOOL_GATEWAY",
    "SPOOL_GATEWAY_FINGERPRINT",
    "SPOOL_LOG",
    "SPOOL_TOKEN_FILE",
    "XDG_CONFIG_HOME",
];
/// Variables that hold a secret.
const SECRET: [&str; 3] = ["SPOOL_TOKEN", "OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"];

/// A service, for any manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The program, with its whole path.
    pub program: String,
    /// What it is told.
    pub words: Vec<String>,
    /// The variables it gets.
    pub environment: Vec<(String, String)>,
    /// The directories it writes to: the spool, and what belongs to its identity.
    pub writable: Vec<String>,
    /// Whether the service manager has to keep it from all else.
    pub is_confined: bool,
}

impl Settings {
    /// The service of this program, these options and this environment.
    ///
    /// # Errors
    /// [`exit::CONFIG`] when a path cannot be written into a configuration file.
    pub fn new(program: &Path, args: &Args, env: Env<'_>) -> Result<Settings, Failure> {
        let env = &config::over(args, env);
        let spool = absolute(&locate::spool_dir(args.spool.as_deref(), env)?)?;
        let mut words = vec!["drain".to_owned(), "--spool".to_owned(), spool.clone()];
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([format!("--{name}"), value]);
            }
        };
        word("config", args.config.as_deref().map(absolute).transpose()?);
        word("gateway", args.gateway.clone());
        word("token-file", args.token_file.as_deref().map(absolute).transpose()?);
        word("fingerprint", args.fingerprint.clone());
        word("metrics", drain::metrics_at(args)?.map(|address| address.to_string()));
        word("log", args.log.map(|format| format.word().to_owned()));
        let flags = [("--admin", args.admin), ("--verbose", args.verbose), ("--quiet", args.quiet)];
        words.extend(flags.into_iter().filter(|(_, is_said)| *is_said).map(|(flag, _)| flag.to_owned()));
        let mut environment = Vec::new();
        // An option stands above the variable, and is in the words.
        let kept = KEPT.into_iter().filter(|name| *name != "SPOOL_CONFIG" || args.config.is_none());
        for name in kept {
            if let Some(value) = env(name).filter(|value| !value.is_empty()) {
                let is_place = ["_FILE", "_PATH", "_DIR", "_CONFIG"].iter().any(|end| name.ends_with(end));
                let value = if is_place { absolute(Path::new(&value))? } else { text(value, name)? };
                environment.push((name.to_owned(), value));
            }
        }
        let mut writable = vec![spool];
        if let Some(dir) = discover::identity_dir(env).as_deref().and_then(Path::parent) {
            writable.push(absolute(dir)?);
        }
        let settings =
            Settings { program: absolute(program)?, words, environment, writable, is_confined: true };
        settings.check()?;
        Ok(settings)
    }

    /// A line end would be the end of a setting, and the beginning of one that nobody asked for.
    fn check(&self) -> Result<(), Failure> {
        let values = self.environment.iter().map(|(_, value)| value);
        let mut all = std::iter::once(&self.program).chain(&self.words).chain(values).chain(&self.writable);
        match all.find(|word| word.chars().any(char::is_control)) {
            Some(word) => Err(Failure::new(
                exit::CONFIG,
                format!(
                    "{word:?} holds a control character, which a service cannot be told; use another name"
                ),
            )),
            // systemd refuses such a name however it is quoted.
            None if self.program.contains(['"', '\'', '\\']) => Err(Failure::new(
                exit::CONFIG,
                format!(
                    "a service cannot be told a program with such a name: {:?}; install it elsewhere",
                    self.program
                ),
            )),
            None => Ok(()),
        }
    }

    /// Whether something it needs lies where programs without a home of their own write.
    pub fn uses_tmp(&self) -> bool {
        let values = self.environment.iter().map(|(_, value)| value);
        let mut all = std::iter::once(&self.program).chain(&self.words).chain(values).chain(&self.writable);
        all.any(|word| ["/tmp/", "/var/tmp/"].iter().any(|tmp| word.starts_with(tmp)))
    }
}

/// Fails when the gateway would be found only with a secret that is in the environment of this shell.
///
/// # Errors
/// [`exit::CONFIG`], with the remedy.
pub fn check_gateway(args: &Args, env: Env<'_>) -> Result<(), Failure> {
    let without = |name: &str| if SECRET.contains(&name) { None } else { env(name) };
    let without = config::over(args, &without);
    let ours = config::Config::load(args, &without)?;
    let config = discover::gateway(args, &without, &ours)?;
    let said = SECRET.into_iter().find(|name| env(name).is_some_and(|value| !value.is_empty()));
    if let Some(name) = said
        && config.token.is_none()
        && config.password.is_none()
    {
        return Err(Failure::new(
            exit::CONFIG,
            format!(
                "{name} is in the environment of this shell, where a service does not look; write it into a file \
                 that only you can read (chmod 600), and name that with --token-file"
            ),
        ));
    }
    config.check().map_err(|trouble| Failure::new(exit::CONFIG, trouble.reason))
}

fn text(value: OsString, what: &str) -> Result<String, Failure> {
    value.into_string().map_err(|value| {
        Failure::new(exit::CONFIG, format!("{what} {value:?} is not UTF-8, which a service cannot be told"))
    })
}

/// From the root, for a service has no directory that it is started in.
fn absolute(path: &Path) -> Result<String, Failure> {
    let fail = |e| Failure::new(exit::CONFIG, format!("cannot tell where {} is: {e}", path.display()));
    let path = std::path::absolute(path).map_err(fail)?;
    let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    text(plain.into_os_string(), "the path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<OsString> {
        let all = [
            ("HOME", "/home/me"),
            ("SPOOL_TOKEN", "a-secret"),
            ("OPENCLAW_GATEWAY_TOKEN", "a-secret"),
            ("SPOOL_GATEWAY", "ws://127.0.0.1:1"),
            ("OPENCLAW_CONFIG_PATH", "relative.json"),
        ];
        all.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn what_names_a_place_goes_along_and_a_secret_does_not() {
        let args = Args { token_file: Some("token".into()), admin: true, ..Args::default() };
        let settings = Settings::new(Path::new("/usr/bin/spool"), &args, &env).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(settings.words[..3], ["drain", "--spool", "/home/me/.local/state/spool"]);
        assert_eq!(settings.words[3..5], ["--token-file", here.join("token").to_str().unwrap()]);
        assert_eq!(settings.words[5..], ["--admin"]);
        let args = Args {
            spool: Some("/s".into()),
            config: Some("other.toml".into()),
            metrics: Some("127.0.0.1:9469".into()),
            log: Some(crate::log::Format::Json),
            verbose: true,
            ..Args::default()
        };
        let told = Settings::new(Path::new("/usr/bin/spool"), &args, &env).unwrap();
        let config = here.join("other.toml").to_str().unwrap().to_owned();
        let words = ["--config", &config, "--metrics", "127.0.0.1:9469", "--log", "json", "--verbose"];
        assert_eq!(told.words[3..], words);
        assert!(told.environment.iter().all(|(name, _)| name != "SPOOL_CONFIG"), "{told:?}");
        let args = Args { metrics: Some("-".into()), ..args };
        let why = Settings::new(Path::new("/usr/bin/spool"), &args, &env).unwrap_err();
        assert!(why.exit == exit::USAGE && why.message.contains("127.0.0.1:9469"), "{why:?}");
        assert_eq!(settings.writable, ["/home/me/.local/state/spool", "/home/me/.config/spool"]);
        let config = here.join("relative.json").to_str().unwrap().to_owned();
        let told = [("OPENCLAW_CONFIG_PATH", config.as_str()), ("SPOOL_GATEWAY", "ws://127.0.0.1:1")];
        assert_eq!(settings.environment, told.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert!(!format!("{settings:?}").contains("a-secret"));
    }

    #[test]
    fn what_would_end_a_line_is_refused() {
        let args = Args { spool: Some("/s\n[Service]\nExecStart=/bin/evil".into()), ..Args::default() };
        let why = Settings::new(Path::new("/usr/bin/spool"), &args, &env).unwrap_err();
        assert!(why.exit == exit::CONFIG && why.message.contains("control character"), "{why:?}");
        let why = Settings::new(Path::new("/opt/\"x\"/spool"), &Args::default(), &env).unwrap_err();
        assert!(why.exit == exit::CONFIG && why.message.contains("elsewhere"), "{why:?}");
    }

    #[test]
    fn a_secret_of_the_shell_is_no_secret_of_a_service() {
        let why = check_gateway(&Args::default(), &env).unwrap_err();
        assert!(why.message.contains("SPOOL_TOKEN") && why.message.contains("--token-file"), "{why:?}");
        assert!(!why.message.contains("a-secret"));
        let without = |name: &str| if SECRET.contains(&name) { None } else { env(name) };
        check_gateway(&Args::default(), &without).unwrap();
    }
}
