//! `spool adapt` on the configuration of other programs: put in, known again, taken out, with every other byte kept.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::programs::Cli;
use crate::support::{Ran, which};

/// A runner whose file is edited: its file in an empty home, and a rich one of somebody's with the piece that has to
/// be there afterwards.
struct Case {
    tool: &'static str,
    file: &'static str,
    rich: &'static str,
    puts: &'static str,
}

const CASES: &[Case] = &[
    Case {
        tool: "codex",
        file: ".codex/config.toml",
        rich: "# my Codex\nmodel = 'gpt-6' # the large one\n\n[sandbox_workspace_write]\nnetwork_access   = true\n\
               writable_roots = [\n  \"/srv/cache\", # shared\n]\n\n[mcp_servers.docs] # help\ncommand = \"docs\"\n",
        puts: "\"--from\", \"codex\"]",
    },
    Case {
        tool: "codex-hook",
        file: ".codex/config.toml",
        rich: "notify = [\"say\", \"done\"] # keeps its place\n\n[[hooks.Stop]]\n[[hooks.Stop.hooks]]\ntype = \"command\"\n\
               command = 'beep --from codex-hook' # mine\n\n[features]\nhooks = true\n",
        puts: "--from codex-hook\"",
    },
    Case {
        tool: "claude",
        file: ".claude/settings.json",
        rich: "{\n    // house rules\n    \"model\": \"opus\",\n    \"hooks\": {\n        \"Stop\": [\n            \
               {\"hooks\": [{\"type\": \"command\", \"command\": \"beep\"}]} // mine\n        ],\n        \
               \"PreToolUse\": [{\"matcher\":   \"Bash\", \"hooks\": []}]\n    },\n    \"env\": {\"A\": \"\\u0041\"}\n}\n",
        puts: "\"args\": [\"--from\", \"claude\"]",
    },
    Case {
        tool: "gemini",
        file: ".gemini/settings.json",
        rich: "{\r\n\t\"ui\": {\"theme\": \"x\",},\r\n\t/* hooks */ \"hooks\": {\r\n\t\t\"AfterAgent\": [],\r\n\t},\r\n}\r\n",
        puts: "\"timeout\": 5000",
    },
    Case {
        tool: "goose",
        file: ".agents/plugins/spool/hooks/hooks.json",
        rich: "{ \"hooks\": { \"SessionStart\": [ { \"hooks\": [] } ] } }",
        puts: "--from goose\"",
    },
    Case {
        tool: "cursor",
        file: ".cursor/hooks.json",
        rich: "\u{feff}{\n  \"version\": 1,\n  \"hooks\": {\n    \"stop\": [\n      { \"command\": \"./mine.sh\" }\n    ]\n  }\n}",
        puts: "--from cursor\"",
    },
    Case {
        tool: "copilot",
        file: ".copilot/hooks/spool.json",
        rich: "{\"version\":1,\"hooks\":{\"sessionStart\":[{\"type\":\"command\",\"bash\":\"date\"}]}}\n",
        puts: "--from copilot\"",
    },
];

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.spool-backup"))
    }

    /// `spool adapt ARGS` with nothing but this home. Nothing is in the path.
    fn adapt(&self, args: &[&str]) -> Ran {
        let args: Vec<&str> = [&["adapt"], args].concat();
        Cli::without_spool(self.0.path(), &args).run()
    }

    /// Everything in it that is a file.
    fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut dirs) = (Vec::new(), vec![self.0.path().to_owned()]);
        while let Some(dir) = dirs.pop() {
            for item in fs::read_dir(dir).unwrap() {
                let path = item.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { files.push(path) }
            }
        }
        files
    }
}

fn spool_put() -> &'static str {
    env!("CARGO_BIN_EXE_spool-put")
}

#[test]
fn an_empty_home_is_configured_once_and_left_empty_again() {
    for case in CASES {
        let home = Home::new();
        let tool = case.tool;
        home.adapt(&[tool, "--check"]).exits(1);
        let ran = home.adapt(&[tool, "--apply"]).exits(0);
        assert!(ran.stdout.starts_with("configured") && ran.stderr.is_empty(), "{tool}: {ran:?}");
        let text = home.read(case.file);
        assert!(text.contains(case.puts) && text.contains(spool_put()), "{tool}: {text}");
        let mode = fs::metadata(home.path(case.file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{tool}");
        let ran = home.adapt(&[tool, "--apply"]).exits(0);
        assert!(!ran.stdout.contains("configured"), "{tool}: {ran:?}");
        assert_eq!(home.read(case.file), text, "{tool}: twice is once");
        home.adapt(&[tool, "--check"]).exits(0);
        home.adapt(&[tool, "--remove"]).exits(0);
        assert_eq!(home.files(), Vec::<PathBuf>::new(), "{tool}");
        let ran = home.adapt(&[tool, "--remove"]).exits(0);
        assert!(!ran.stdout.contains("removed"), "{tool}: {ran:?}");
    }
}

/// The lines of the old text that are not in the new one, in order.
fn lost<'a>(old: &'a str, new: &str) -> Vec<&'a str> {
    let mut rest = new.split('\n');
    old.split('\n').filter(|line| !rest.clone().any(|l| l == *line) || !rest.any(|l| l == *line)).collect()
}

#[test]
fn a_rich_file_keeps_all_it_had_and_gets_its_bytes_back() {
    for case in CASES {
        let home = Home::new();
        let (tool, file) = (case.tool, case.file);
        let path = home.write(file, case.rich);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        home.adapt(&[tool, "--check"]).exits(1);
        home.adapt(&[tool, "--apply"]).exits(0);
        let text = home.read(file);
        assert!(text.contains(case.puts), "{tool}: {text}");
        // What was there stands in its order; only a line that something was added to may differ, by a comma or so.
        for line in lost(case.rich, &text) {
            let kept = line.trim_end_matches(['\r', ',', ']', '}']).trim_end();
            let is_opened = line.contains("hooks") || line.contains("AfterAgent") || line.contains("mine");
            assert!(text.contains(kept) || is_opened, "{tool} lost {line:?}: {text}");
        }
        for comment in
            ["# my Codex", "# the large one", "# shared", "# help", "# mine", "// mine", "/* hooks */"]
        {
            assert_eq!(case.rich.contains(comment), text.contains(comment), "{tool} {comment}: {text}");
        }
        assert_eq!(case.rich.contains("\r\n"), text.contains("\r\n"), "{tool}: line ends");
        let (ends, crlf) = (text.matches('\n').count(), text.matches("\r\n").count());
        assert!(crlf == 0 || crlf == ends, "{tool}: line ends");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "{tool}");
        assert_eq!(fs::read_to_string(home.backup(file)).unwrap(), case.rich, "{tool}");
        home.adapt(&[tool, "--apply"]).exits(0);
        assert_eq!(home.read(file), text, "{tool}: twice is once");
        assert_eq!(
            fs::read_to_string(home.backup(file)).unwrap(),
            case.rich,
            "{tool}: the backup stays the first"
        );
        home.adapt(&[tool, "--check"]).exits(0);
        home.adapt(&[tool, "--remove"]).exits(0);
        assert_eq!(home.read(file), case.rich, "{tool}");
        assert!(!home.backup(file).exists(), "{tool}: nothing is left behind");
    }
}

#[test]
fn what_somebody_changed_since_stays_when_ours_is_removed() {
    for (tool, file, mark, add) in [
        ("codex", ".codex/config.toml", "[mcp_servers.docs]", "[profiles.new]\nmodel = 'x'\n\n"),
        ("codex-hook", ".codex/config.toml", "[features]", "[profiles.new]\nmodel = 'x'\n\n"),
        ("claude", ".claude/settings.json", "\"model\"", "\"verbose\": true, // new\n    "),
        ("cursor", ".cursor/hooks.json", "\"hooks\"", "\"mine\": 1,\n  "),
    ] {
        let case = CASES.iter().find(|case| case.tool == tool).unwrap();
        let home = Home::new();
        home.write(file, case.rich);
        home.adapt(&[tool, "--apply"]).exits(0);
        let edited = home.read(file).replacen(mark, &format!("{add}{mark}"), 1);
        home.write(file, &edited);
        home.adapt(&[tool, "--remove"]).exits(0);
        let expected = case.rich.replacen(mark, &format!("{add}{mark}"), 1);
        assert_eq!(home.read(file), expected, "{tool}");
        assert!(home.backup(file).exists(), "{tool}");
        home.adapt(&[tool, "--check"]).exits(1);
    }
}

#[test]
fn a_broken_or_strange_file_is_left_alone() {
    for case in CASES {
        let strange: &[(&str, &str)] = match case.file.rsplit_once('.').unwrap().1 {
            "toml" => &[("model = ", "not good TOML"), ("sandbox_workspace_write = 3\n", "is not a table")],
            _ => &[
                ("{\"hooks\": ", "not good JSON"),
                ("{\"a\": 1 \"b\": 2}", "not good JSON"),
                ("[1]", "not a JSON object"),
                ("{\"hooks\": []}", "\"hooks\" is not an object"),
                ("{\"hooks\": {}, \"hooks\": {}}", "there twice"),
            ],
        };
        for (text, says) in strange {
            let home = Home::new();
            home.write(case.file, text);
            let count = home.files().len();
            let ran = home.adapt(&[case.tool, "--apply"]).exits(78).says(says).says("left as it is");
            assert!(ran.stderr.contains(case.file), "{ran:?}");
            assert_eq!(home.read(case.file), *text, "{}", case.tool);
            // goose has a second file, which there was no trouble with.
            assert_eq!(home.files().len(), count + usize::from(case.tool == "goose"), "{}", case.tool);
            let ran = home.adapt(&[case.tool, "--check"]).exits(1);
            assert!(ran.stdout.contains("unusable") || ran.stdout.contains("missing"), "{ran:?}");
        }
    }
}

#[test]
fn what_is_read_only_stays_and_what_cannot_be_made_is_said() {
    for case in CASES {
        let home = Home::new();
        let path = home.write(case.file, case.rich);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        home.adapt(&[case.tool, "--apply"]).exits(77).says("read-only");
        assert_eq!(home.read(case.file), case.rich);
        assert!(!home.backup(case.file).exists());
        // A file stands where the directory should be.
        let home = Home::new();
        let dir = case.file.split('/').next().unwrap();
        fs::write(home.path(dir), "").unwrap();
        let ran = home.adapt(&[case.tool, "--apply"]);
        assert!([73, 74].contains(&ran.code) && ran.stderr.contains("cannot"), "{}: {ran:?}", case.tool);
    }
}

#[test]
fn a_link_of_a_dotfile_manager_stays_a_link() {
    let home = Home::new();
    let real = home.write("dotfiles/claude.json", "{}");
    fs::create_dir(home.path(".claude")).unwrap();
    std::os::unix::fs::symlink("../dotfiles/claude.json", home.path(".claude/settings.json")).unwrap();
    home.adapt(&["claude", "--apply"]).exits(0);
    assert!(fs::symlink_metadata(home.path(".claude/settings.json")).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("StopFailure"));
    home.adapt(&["claude", "--remove"]).exits(0);
    assert_eq!(fs::read_to_string(&real).unwrap(), "{}");
}

#[test]
fn another_notify_of_codex_is_never_replaced() {
    let home = Home::new();
    let theirs = "notify = [\"say\", \"done\"]\n";
    home.write(".codex/config.toml", theirs);
    home.adapt(&["codex", "--apply"]).exits(78).says("codex-hook --apply");
    assert_eq!(home.read(".codex/config.toml"), theirs);
    let ran = home.adapt(&["codex", "--check"]).exits(1);
    assert!(ran.stdout.contains("notify calls another program"), "{ran:?}");
    home.adapt(&["codex-hook", "--apply"]).exits(0);
    home.adapt(&["codex-hook", "--check"]).exits(0);
    home.adapt(&["codex-hook", "--remove"]).exits(0);
    assert_eq!(home.read(".codex/config.toml"), theirs);
}

#[test]
fn a_call_that_a_person_made_longer_counts_and_is_not_taken_out() {
    let home = Home::new();
    let theirs = "notify = [\"spool-put\", \"--from\", \"codex\", \"--session\", \"k\"]\n";
    home.write(".codex/config.toml", theirs);
    home.adapt(&["codex", "--apply"]).exits(0);
    assert!(home.read(".codex/config.toml").starts_with(theirs));
    home.adapt(&["codex", "--remove"]).exits(0).says("more options");
    assert!(home.read(".codex/config.toml").starts_with(theirs));
    let theirs = r#"{"hooks": {"stop": [{"command": "spool-put --from cursor --urgent"}]}}"#;
    home.write(".cursor/hooks.json", theirs);
    home.adapt(&["cursor", "--check"]).exits(0);
    home.adapt(&["cursor", "--remove"]).exits(0).says("more options");
    assert_eq!(home.read(".cursor/hooks.json"), theirs);
}

#[test]
fn hooks_that_are_switched_off_are_said() {
    let home = Home::new();
    home.write(".claude/settings.json", "{\"disableAllHooks\": true}");
    home.adapt(&["claude", "--apply"]).exits(0).says("switched off");
    home.adapt(&["claude", "--check"]).exits(1);
    home.write(".codex/config.toml", "[features]\nhooks = false\n");
    home.adapt(&["codex-hook", "--apply"]).exits(0).says("switched off");
}

#[test]
fn each_home_of_codex_is_configured() {
    let home = Home::new();
    fs::create_dir(home.path(".codex")).unwrap();
    fs::create_dir(home.path(".codex-coding-agent")).unwrap();
    let ran = home.adapt(&["codex", "--apply"]).exits(0);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");
    assert!(home.read(".codex-coding-agent/config.toml").contains("writable_roots"));
    let (a, b) = (home.path("a"), home.path("b"));
    let homes = ["--codex-home", a.to_str().unwrap(), "--codex-home", b.to_str().unwrap()];
    let ran = home.adapt(&[&["codex", "--apply"], &homes[..]].concat()).exits(0);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran:?}");
    assert!(home.read("a/config.toml").contains("notify") && home.read("b/config.toml").contains("notify"));
    fs::remove_file(home.path("b/config.toml")).unwrap();
    home.adapt(&[&["codex", "--check"], &homes[..]].concat()).exits(1);
    // CODEX_HOME comes first, and is the one that is made when none is there.
    let home = Home::new();
    let named = home.path("elsewhere");
    Cli::without_spool(home.0.path(), &["adapt", "codex", "--apply"])
        .env("CODEX_HOME", &named)
        .run()
        .exits(0);
    assert!(named.join("config.toml").exists() && !home.path(".codex").exists());
}

#[test]
fn a_spool_and_a_directory_elsewhere_are_written_down() {
    let home = Home::new();
    let (spool, dir) = (home.path("my spool"), home.path("project/.claude"));
    let args = ["claude", "--apply", "--spool", spool.to_str().unwrap(), "--dir", dir.to_str().unwrap()];
    home.adapt(&args).exits(0);
    let settings: Value = serde_json::from_str(&home.read("project/.claude/settings.json")).unwrap();
    let handler = &settings["hooks"]["Stop"][0]["hooks"][0];
    assert_eq!(handler["command"], spool_put());
    assert_eq!(handler["args"], json!(["--from", "claude", "--spool", spool]));
    let args = ["cursor", "--apply", "--spool", spool.to_str().unwrap()];
    home.adapt(&args).exits(0);
    assert!(home.read(".cursor/hooks.json").contains(&format!("--spool '{}'", spool.display())));
    home.adapt(&["cursor", "--remove"]).exits(0);
    assert!(!home.path(".cursor/hooks.json").exists());
}

#[test]
fn a_program_in_the_path_is_called_by_its_name() {
    let home = Home::new();
    let bin = Path::new(spool_put()).parent().unwrap();
    let ran = Cli::without_spool(home.0.path(), &["adapt", "goose"]).env("PATH", bin).run().exits(0);
    assert!(ran.stdout.contains("\"spool-put --from goose\""), "{ran:?}");
}

#[test]
fn the_list_tells_what_is_here_and_what_reports() {
    let home = Home::new();
    fs::create_dir(home.path(".claude")).unwrap();
    home.write(".gemini/settings.json", "{");
    fs::create_dir_all(home.path("bin")).unwrap();
    home.write("bin/pueue", "");
    home.adapt(&["claude", "--apply"]).exits(0);
    let list = |args: &[&str]| {
        Cli::without_spool(home.0.path(), &[&["adapt"], args].concat())
            .env("PATH", home.path("bin"))
            .run()
            .exits(0)
    };
    let words: Vec<String> = list(&[])
        .stdout
        .lines()
        .skip(1)
        .map(|l| l.split("  ").next().unwrap().to_owned() + " " + l[12..].split("  ").next().unwrap())
        .collect();
    assert_eq!(words, ["claude yes", "gemini unusable", "pueue by hand"]);
    let all: Value = serde_json::from_str(&list(&["--json"]).stdout).unwrap();
    let of = |tool: &str| all.as_array().unwrap().iter().find(|t| t["tool"] == tool).unwrap().clone();
    assert_eq!((&of("claude")["installed"], &of("claude")["configured"]), (&true.into(), &true.into()));
    assert_eq!((&of("gemini")["configured"], &of("pueue")["configured"]), (&false.into(), &Value::Null));
    assert!(of("gemini")["files"][0]["lacks"][0].as_str().unwrap().contains("not good JSON"));
    assert_eq!(of("codex")["installed"], false);
    let ran = home.adapt(&["claude", "--check", "--json"]).exits(0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), of("claude"));
}

#[test]
fn what_has_no_file_to_edit_is_told_and_nothing_is_written() {
    let home = Home::new();
    for tool in ["aider", "systemd", "pueue", "tsp", "gha", "openclaw", "cron"] {
        let ran = home.adapt(&[tool]).exits(0);
        assert!(ran.stdout.contains("spool"), "{ran:?}");
        home.adapt(&[tool, "--apply"]).exits(64).says("no file that could be edited safely");
    }
    for case in CASES {
        let ran = home.adapt(&[case.tool]).exits(0);
        assert!(ran.stdout.contains(case.file) && ran.stdout.contains(case.puts), "{ran:?}");
    }
    home.adapt(&["vim"]).exits(64).says("no adapter for \"vim\"");
    assert_eq!(home.files(), Vec::<PathBuf>::new());
}

#[test]
fn the_plugin_for_opencode_comes_goes_and_reports() {
    let home = Home::new();
    let file = ".config/opencode/plugins/spool.js";
    home.write(file, "// somebody else's\n");
    home.adapt(&["opencode", "--apply"]).exits(78).says("did not write it");
    fs::remove_file(home.path(file)).unwrap();
    home.adapt(&["opencode", "--apply"]).exits(0);
    home.adapt(&["opencode", "--apply"]).exits(0);
    home.adapt(&["opencode", "--check"]).exits(0);
    if let Some(node) = which("node") {
        drive_plugin(&home, &node, file);
    } else {
        eprintln!("skipped: no node here");
    }
    home.adapt(&["opencode", "--remove"]).exits(0);
    assert!(!home.path(file).exists());
}

/// Loads the plugin as opencode does, with a stand-in for `spool-put` that keeps what it is told.
fn drive_plugin(home: &Home, node: &Path, file: &str) {
    let (put, told) = (home.path("spool-put"), home.path("told"));
    fs::write(&put, format!("#!/bin/sh\ncat >>'{}'\necho \"|$*\" >>'{}'\n", told.display(), told.display()))
        .unwrap();
    fs::set_permissions(&put, fs::Permissions::from_mode(0o755)).unwrap();
    let plugin = home.read(file).replace(spool_put(), put.to_str().unwrap());
    fs::write(home.path("plugin.mjs"), plugin).unwrap();
    let script = r#"
        import { Spool } from "./plugin.mjs"
        const session = {
          get: async ({ path }) => ({ data: { parentID: path.id === "child" ? "main" : undefined } }),
          messages: async () => ({ data: [
            { info: { id: "m1", role: "user" }, parts: [{ type: "text", text: "do it" }] },
            { info: { id: "m2", role: "assistant" }, parts: [{ type: "text", text: "did it" }] },
          ] }),
        }
        const hooks = await Spool({ client: { session }, directory: "/src" })
        const error = { name: "ProviderAuthError", data: { message: "no key" } }
        for (const [type, properties] of [
          ["session.updated", { sessionID: "main" }], ["session.idle", { sessionID: "child" }],
          ["session.idle", { sessionID: "main" }],
          ["session.error", { sessionID: "other", error }], ["session.idle", { sessionID: "other" }],
        ]) await hooks.event({ event: { type, properties } })
        const output = { env: {} }
        await hooks["shell.env"]({}, output)
        console.log(output.env.SPOOL_SESSION)
    "#;
    fs::write(home.path("drive.mjs"), script).unwrap();
    let mut command = std::process::Command::new(node);
    let output =
        command.arg("drive.mjs").current_dir(home.0.path()).env("SPOOL_SESSION", "k").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "k\n");
    let told = fs::read_to_string(told).unwrap();
    let told: Vec<(Value, &str)> = told
        .lines()
        .map(|line| line.rsplit_once('|').unwrap())
        .map(|(payload, args)| (serde_json::from_str(payload).unwrap(), args))
        .collect();
    let properties = |id: &str| json!({"sessionID": id});
    let mut failed = properties("other");
    failed["error"] = json!({"name": "ProviderAuthError", "data": {"message": "no key"}});
    let expected = [
        json!({"type": "session.idle", "properties": properties("main"), "directory": "/src", "messageID": "m2",
            "text": "did it"}),
        json!({"type": "session.error", "properties": failed, "directory": "/src", "messageID": "m2"}),
    ];
    assert_eq!(told, expected.map(|payload| (payload, "--from opencode")));
}
