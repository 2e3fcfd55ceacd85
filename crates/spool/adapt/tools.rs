//! The runners: how each is recognised, which of its files are edited and how, and what is said of those that have no
//! file that could be edited safely.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jsonc_parser::json;

use super::Edit;
use super::command::{Program, quote};
use super::json::Hooks;
use super::toml::Way;

/// A task runner.
#[derive(Debug)]
pub struct Tool {
    /// Its name on our command line.
    pub name: &'static str,
    /// The programs it is known by.
    pub programs: &'static [&'static str],
    /// What its users should know.
    pub note: &'static str,
}

const fn tool(name: &'static str, programs: &'static [&'static str], note: &'static str) -> Tool {
    Tool { name, programs, note }
}

/// All of them.
pub const TOOLS: &[Tool] = &[
    tool(
        "codex",
        &["codex"],
        "Codex calls notify after each turn that ended well. It says nothing of one that failed or was killed, nor of an\n\
         answer over 128 KiB: start Codex through spool-run, or use codex-hook, where that matters.\n\
         The writable root lets what runs in Codex's sandbox, which has no network, leave records too.",
    ),
    tool(
        "codex-hook",
        &["codex"],
        "Codex runs a hook only once you have trusted it; codex exec passes over an untrusted one in silence.\n\
         The hook gets an answer of any length. Use it or codex, not both: each reports a turn.",
    ),
    tool(
        "claude",
        &["claude"],
        "Stop reports an answer, StopFailure an API error. Nothing is said of a Claude that was killed: start it through\n\
         spool-run where that matters.",
    ),
    tool(
        "gemini",
        &["gemini"],
        "The timeout is in milliseconds. Nothing is said of a Gemini that was killed.",
    ),
    tool("goose", &["goose", "goosed"], "goose finds the plugin when it is started the next time."),
    tool("cursor", &["cursor", "cursor-agent"], "Cursor finds the hook when it is started the next time."),
    tool("copilot", &["copilot"], "The end of a Copilot session is reported, not of each answer."),
    tool("opencode", &["opencode"], "opencode finds the plugin when it is started the next time."),
    tool("aider", &["aider"], "aider says that an answer is ready, not what it says."),
    tool(
        "systemd",
        &["systemctl"],
        "A unit that is killed, times out or is never started is reported as well.",
    ),
    tool(
        "pueue",
        &["pueued", "pueue"],
        "Never put {{command}} or {{output}} into a callback: pueue escapes nothing.",
    ),
    tool(
        "tsp",
        &["tsp", "ts"],
        "task-spooler passes the number, the exit status, the output file and the command.",
    ),
    tool("gha", &[], "The runner does not tell a hook how the job ended; the record says that it did."),
    tool(
        "openclaw",
        &["openclaw"],
        "The plugin names the session to what the agent starts; the skill teaches it to use spool-run.",
    ),
    tool("cron", &["crontab"], "The wrapper reports any end of the job, its own death included."),
];

/// The tool of this name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

/// Where things are, for one call.
pub struct Place<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// The home directory.
    pub home: PathBuf,
    /// `--codex-home`, as often as it was given.
    pub codex_homes: &'a [PathBuf],
    /// `--dir`.
    pub dir: Option<&'a Path>,
    /// How we are called.
    pub program: Program,
    /// The spool.
    pub spool: String,
}

/// A file of a runner, and what is done to it.
#[derive(Debug)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// What is done to it.
    pub edit: Edit,
}

impl Place<'_> {
    fn var(&self, name: &str) -> Option<PathBuf> {
        (self.env)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The configuration directory of a tool, whether it is there or not.
    pub fn config_dir(&self, tool: &Tool) -> Option<PathBuf> {
        if let Some(dir) = self.dir {
            return Some(dir.to_owned());
        }
        let config = || {
            self.var("XDG_CONFIG_HOME")
                .filter(|p| p.is_absolute())
                .unwrap_or_else(|| self.home.join(".config"))
        };
        Some(match tool.name {
            "codex" | "codex-hook" => self.var("CODEX_HOME").unwrap_or_else(|| self.home.join(".codex")),
            "claude" => self.var("CLAUDE_CONFIG_DIR").unwrap_or_else(|| self.home.join(".claude")),
            "gemini" => self.home.join(".gemini"),
            "goose" => config().join("goose"),
            "cursor" => self.home.join(".cursor"),
            "copilot" => self.home.join(".copilot"),
            "opencode" => config().join("opencode"),
            "pueue" => config().join("pueue"),
            "openclaw" => self.var("OPENCLAW_STATE_DIR").unwrap_or_else(|| self.home.join(".openclaw")),
            _ => return None,
        })
    }

    /// The homes of Codex that are meant: those that were named; else those that are there, OpenClaw's own for its
    /// coding agent among them; else the one that Codex would make.
    fn codex_homes(&self) -> Vec<PathBuf> {
        if !self.codex_homes.is_empty() || self.dir.is_some() {
            return self.codex_homes.iter().cloned().chain(self.dir.map(Path::to_owned)).collect();
        }
        let named = self.var("CODEX_HOME");
        let first = named.clone().unwrap_or_else(|| self.home.join(".codex"));
        let mut homes: Vec<PathBuf> = Vec::new();
        let usual = [".codex", ".codex-coding-agent"].map(|name| self.home.join(name));
        for home in named.into_iter().chain(usual) {
            if home.is_dir() && !homes.contains(&home) {
                homes.push(home);
            }
        }
        if homes.is_empty() { vec![first] } else { homes }
    }

    /// The files that are edited for a tool; none where a person has to do it.
    pub fn targets(&self, tool: &Tool) -> Vec<Target> {
        let one = |path: PathBuf, edit: Edit| Target { path, edit };
        let dir = self.config_dir(tool).unwrap_or_default();
        let codex = |way: Way| {
            let homes = self.codex_homes().into_iter();
            homes.map(|home| one(home.join("config.toml"), Edit::Toml(way))).collect()
        };
        match tool.name {
            "codex" => codex(Way::Notify),
            "codex-hook" => codex(Way::Hook),
            "claude" => vec![one(dir.join("settings.json"), Edit::Hooks(CLAUDE))],
            "gemini" => vec![one(dir.join("settings.json"), Edit::Hooks(GEMINI))],
            "goose" => {
                let dir = self.dir.map_or_else(|| self.home.join(".agents/plugins/spool"), Path::to_owned);
                vec![
                    one(
                        dir.join("plugin.json"),
                        Edit::Own { text: GOOSE_PLUGIN.into(), mark: "\"name\": \"spool\"" },
                    ),
                    one(dir.join("hooks/hooks.json"), Edit::Hooks(GOOSE)),
                ]
            }
            "cursor" => vec![one(dir.join("hooks.json"), Edit::Hooks(CURSOR))],
            "copilot" => vec![one(dir.join("hooks/spool.json"), Edit::Hooks(COPILOT))],
            "opencode" => {
                let command = serde_json::Value::from(self.program.words("opencode")).to_string();
                let text = include_str!("opencode.js").replace("__COMMAND__", &command);
                vec![one(
                    dir.join("plugins/spool.js"),
                    Edit::Own { text, mark: "written by `spool adapt opencode`" },
                )]
            }
            _ => Vec::new(),
        }
    }

    /// What a person has to do for a tool that has no file to edit.
    pub fn by_hand(&self, tool: &Tool) -> Option<String> {
        let line = self.program.line(tool.name);
        let at = super::command::find_in_path("spool-put").map(|path| path.to_string_lossy().into_owned());
        let absolute =
            Program { name: at.unwrap_or_else(|| self.program.name.clone()), ..self.program.clone() };
        Some(match tool.name {
            "aider" => format!(
                "In ~/.aider.conf.yml:\n\n  notifications: true\n  notifications-command: {line}\n\n\
                 and start aider with SPOOL_SESSION set."
            ),
            "systemd" => format!(
                "Once, as ~/.config/systemd/user/spool-notify@.service (or in /etc/systemd/system):\n\n  \
                 [Unit]\n  Description=Report the end of %i to its session\n\n  \
                 [Service]\n  Type=oneshot\n  Environment=SPOOL_SESSION=SESSION\n  Environment={}\n  ExecStart={}\n\n\
                 In each unit that is to be reported:\n\n  \
                 [Unit]\n  OnSuccess=spool-notify@%n.service\n  OnFailure=spool-notify@%n.service",
                quote(&format!("SPOOL_DIR={}", self.spool)),
                absolute.line(tool.name)
            ),
            "pueue" => format!(
                "In the section daemon of ~/.config/pueue/pueue.yml, and pueued started with SPOOL_SESSION set:\n\n  \
                 callback: \"{} id={{{{id}}}} exit={{{{exit_code}}}} result='{{{{result}}}}' start={{{{start}}}} \
                 end={{{{end}}}} log='{{{{output_path}}}}'\"",
                line.replace('\\', "\\\\").replace('"', "\\\"")
            ),
            "tsp" => format!(
                "Once, a name for spool-put under which it knows its caller:\n\n  \
                 ln -s {} ~/.local/bin/spool-put-tsp\n\n\
                 In the shell that starts jobs:\n\n  export TS_ONFINISH=spool-put-tsp SPOOL_SESSION=SESSION{}",
                quote(&absolute.name),
                self.program
                    .spool
                    .as_ref()
                    .map(|dir| format!(" SPOOL_DIR={}", quote(dir)))
                    .unwrap_or_default()
            ),
            "gha" => format!(
                "Once, as spool-job-completed.sh, executable:\n\n  #!/bin/sh\n  SPOOL_SESSION=SESSION exec {}\n\n\
                 In the file .env of the self-hosted runner:\n\n  \
                 ACTIONS_RUNNER_HOOK_JOB_COMPLETED=/path/to/spool-job-completed.sh",
                absolute.line(tool.name)
            ),
            "openclaw" => "From a copy of this project:\n\n  npm pack ./integrations/openclaw\n  \
                 openclaw plugins install npm-pack:./openclaw-spool-0.1.0.tgz --force --accept-capabilities"
                .to_owned(),
            "cron" => "In the crontab:\n\n  0 3 * * *  spool-run --session SESSION --label backup -- backup"
                .to_owned(),
            _ => return None,
        })
    }
}

const CLAUDE: Hooks = Hooks {
    from: "claude",
    events: &["Stop", "StopFailure"],
    grouped: true,
    version: None,
    handler: |program| json!({ "type": "command", "command": (program.name.clone()), "args": (program.args("claude")), "timeout": 10 }),
    switch: Some((&["disableAllHooks"], true)),
};

const GEMINI: Hooks = Hooks {
    from: "gemini",
    events: &["AfterAgent"],
    grouped: true,
    version: None,
    handler: |program| json!({ "name": "spool", "type": "command", "command": (program.line("gemini")), "timeout": 5000 }),
    switch: Some((&["hooksConfig", "enabled"], false)),
};

const GOOSE: Hooks = Hooks {
    from: "goose",
    events: &["Stop"],
    grouped: true,
    version: None,
    handler: |program| json!({ "type": "command", "command": (program.line("goose")) }),
    switch: None,
};

const CURSOR: Hooks = Hooks {
    from: "cursor",
    events: &["stop"],
    grouped: false,
    version: Some(1),
    handler: |program| json!({ "command": (program.line("cursor")) }),
    switch: None,
};

const COPILOT: Hooks = Hooks {
    from: "copilot",
    events: &["sessionEnd"],
    grouped: false,
    version: Some(1),
    handler: |program| json!({ "type": "command", "bash": (program.line("copilot")), "timeoutSec": 10 }),
    switch: Some((&["disableAllHooks"], true)),
};

const GOOSE_PLUGIN: &str = r#"{
  "name": "spool",
  "version": "1.0.0",
  "description": "Reports to the session in SPOOL_SESSION that goose has answered."
}
"#;
