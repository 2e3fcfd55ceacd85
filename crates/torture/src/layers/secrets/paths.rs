//! The canaries through every path of the programs, then the search.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::json;
use spool_gateway::fake::{Fault, Model, Rule};
use spooldir::{Dir, Id};

use super::search::{Canary, find, search};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, chat, write_private};

/// Every verb, as far as it ends by itself, and every program.
const CALLS: &[(&str, &[&str])] = &[
    ("spool", &["--help"]),
    ("spool", &["--version"]),
    ("spool", &["drain", "--help"]),
    ("spool", &["list"]),
    ("spool", &["list", "--json"]),
    ("spool", &["status"]),
    ("spool", &["status", "--json"]),
    ("spool", &["audit"]),
    ("spool", &["audit", "--json"]),
    ("spool", &["session"]),
    ("spool", &["adapt"]),
    ("spool", &["adapt", "--check"]),
    ("spool", &["nonsense"]),
    ("spool", &["drain", "--nonsense"]),
    ("spool-put", &["--help"]),
    ("spool-put", &["--session", "agent:main:telegram:direct:77000", "put by a program"]),
    ("spool-put", &["--nonsense"]),
    ("spool-run", &["--help"]),
    ("spool-run", &["--session", "agent:main:telegram:direct:77000", "--", "true"]),
    ("spool-run", &["--session", "agent:main:telegram:direct:77000", "--", "sh", "-c", "exit 7"]),
];

/// Where it is kept what the verbs told a person.
const TOLD: &str = "told";

/// What the canaries are made of.
struct Canaries {
    token: String,
    text: String,
}

/// A random word of so many hexadecimal digits.
pub(super) fn word(ground: &Ground, purpose: &str) -> String {
    let mut chance = ground.chance(purpose);
    format!("canary-{purpose}-{:016x}{:016x}", chance.next(), chance.next())
}

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let canaries = Canaries { token: word(ground, "token"), text: word(ground, "text") };
    let home = ground.room("paths")?;
    let rig = Rig::with_token(ground, home.clone(), home.join("spool"), &canaries.token)?;
    let mut walk = Walk { rig: &rig, canaries: &canaries, calls: 0 };
    walk.good(report)?;
    walk.search(report, "a good token")?;
    if ground.hunts() && report.violated() > 0 {
        return Ok(());
    }
    walk.refused(report)?;
    walk.search(report, "a refused token")?;
    if ground.hunts() {
        return Ok(());
    }
    walk.wrong_places(report)?;
    walk.repeated(report)?;
    walk.device(report)?;
    walk.configuration(report)?;
    walk.readable_by_others(report)?;
    walk.verbs()?;
    report.count("calls", walk.calls);
    walk.search(report, "everything")
}

struct Walk<'a> {
    rig: &'a Rig<'a>,
    canaries: &'a Canaries,
    calls: u64,
}

impl Walk<'_> {
    /// An agent that says all it can, with its token in a file.
    fn agent(&self) -> Outcome<Agent> {
        let mut command = self.rig.drain(&[]);
        command.env("SPOOL_LOG", "trace");
        self.rig.spawn(command)
    }

    /// Runs something to its end, and keeps what it said where it is searched.
    fn call(&mut self, room: &str, mut command: Command) -> Outcome<ExitStatus> {
        self.calls += 1;
        let said = self.rig.home.join(room).join(format!("{}", self.calls));
        fs::create_dir_all(self.rig.home.join(room))?;
        let file = File::create(&said)?;
        let mut child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
        let limit = self.rig.limit();
        let ended = crate::wait::wait_for("a program to end", limit, || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended
    }

    fn once(&mut self, change: impl FnOnce(&mut Command)) -> Outcome<ExitStatus> {
        let mut command = self.rig.command(&[], "spool");
        command.args(["drain", "--once"]).env("SPOOL_LOG", "trace");
        change(&mut command);
        self.call("said", command)
    }

    /// A record of the session that carries the canary text in every member that takes one.
    fn put(&self, n: usize) -> Outcome<Id> {
        let (id, text) = (Id::mint(), &self.canaries.text);
        let record = json!({
            "id": id.as_str(), "sessionKey": chat(n), "text": text, "label": text, "status": "failed",
            "task": {"runner": text, "command": [text], "cwd": text, "host": text, "exitCode": 1},
            "output": {"tail": text, "path": text}, "unknown": {"member": text},
        });
        self.rig.spool.publish(&id, record.to_string().as_bytes(), true)?;
        Ok(id)
    }

    fn becomes(&self, report: &mut Report, id: &Id, place: &str) {
        let there = self.rig.until(self.rig.limit(), || self.rig.places(id) == [place]);
        report.check(there, || format!("paths: {id} is {:?}, not {place}", self.rig.places(id)));
    }

    /// What the kernel shows of a process.
    fn proc(&self, report: &mut Report, agent: &Agent) -> Outcome<()> {
        for file in ["cmdline", "environ", "comm", "status", "limits", "maps"] {
            let bytes = fs::read(format!("/proc/{}/{file}", agent.pid().as_raw_nonzero()))?;
            report.check(!find(&bytes, self.canaries.token.as_bytes()), || {
                format!("the token is in /proc/PID/{file}")
            });
        }
        Ok(())
    }

    fn good(&mut self, report: &mut Report) -> Outcome<()> {
        let mut agent = self.agent()?;
        let id = self.put(0)?;
        self.becomes(report, &id, "done");
        self.proc(report, &agent)?;
        // No session, no record, another version, an error of the record's own: reasons are written for each.
        let missing = self.put(4000)?;
        self.becomes(report, &missing, "dead");
        let bad = format!(r#"{{"sessionKey":"{}","text":7,"label":"{}"}}"#, chat(0), self.canaries.text);
        fs::write(self.rig.spool.dir(Dir::New).join("bad.json"), bad)?;
        let unrouted = format!(r#"{{"text":"{}"}}"#, self.canaries.text);
        fs::write(self.rig.spool.dir(Dir::New).join("unrouted.json"), unrouted)?;
        let later = format!(r#"{{"v":2,"id":"later","text":["{}"]}}"#, self.canaries.text);
        fs::write(self.rig.spool.dir(Dir::New).join("later.json"), later)?;
        report.check(self.rig.until(self.rig.limit(), || self.rig.count(Dir::Hold) == 2), || {
            "paths: what cannot be sent is not held".to_owned()
        });
        let code = agent.end(self.rig.limit());
        report.check(code == Some(0), || format!("paths: the agent ended with {code:?}"));
        Ok(())
    }

    fn refused(&mut self, report: &mut Report) -> Outcome<()> {
        self.rig.fake.set_token(Some("quite another token"));
        let id = self.put(1)?;
        let agent = self.agent()?;
        let said = self.rig.until(self.rig.limit(), || agent.log().contains("nothing is sent until"));
        report.check(said, || format!("paths: a refused token is not said: {}", agent.log()));
        report.check(self.rig.places(&id) == ["pending"], || {
            "paths: a refused token moved a record".to_owned()
        });
        self.rig.fake.set_token(Some(&self.canaries.token));
        Ok(())
    }

    /// Nobody there, somebody else there, a silent one there, addresses with a secret in them.
    fn wrong_places(&mut self, report: &mut Report) -> Outcome<()> {
        let token = self.canaries.token.clone();
        let file = self.rig.token_file();
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let silent_url = format!("ws://{}", silent.local_addr()?);
        let urls = [
            "ws://127.0.0.1:1".to_owned(),
            format!("ws://user:{token}@127.0.0.1:1"),
            format!("ws://{token}@127.0.0.1:1"),
            format!("http://{token}@127.0.0.1:1"),
            "not a url".to_owned(),
            "wss://127.0.0.1:1".to_owned(),
        ];
        for url in urls {
            let mut command = self.rig.command(&[], "spool");
            command.args(["drain", "--gateway", &url, "--token-file"]).arg(&file).env("SPOOL_LOG", "trace");
            let mut agent = self.rig.spawn(command)?;
            let ended = agent.ended(Duration::from_millis(500));
            report.check(ended.is_none_or(|status| status.code() == Some(78)), || {
                format!("paths: an address that cannot be used: {ended:?}: {}", agent.log())
            });
        }
        let mut command = self.rig.command(&[], "spool");
        command
            .args(["drain", "--gateway", &silent_url, "--token-file"])
            .arg(&file)
            .env("SPOOL_LOG", "trace");
        let mut agent = self.rig.spawn(command)?;
        report.check(agent.ended(Duration::from_millis(700)).is_none(), || {
            "paths: it ends at silence".to_owned()
        });
        Ok(())
    }

    /// A gateway that says the token back: at the hello, in errors, in the words of a failed turn, at the end.
    fn repeated(&mut self, report: &mut Report) -> Outcome<()> {
        let token = self.canaries.token.clone();
        let fake = &self.rig.fake;
        fake.configure(|options| options.version = format!("2026.9.6 {token}"));
        let error = |code: &str| json!({"code": code, "message": format!("no {token} here"), "details": {"code": token}});
        fake.rule(Rule::on("agent").session(&chat(2)).then(Fault::Error(error("INVALID_REQUEST"))));
        fake.rule(Rule::on("agent").session(&chat(3)).then(Fault::AcceptThenError(error("UNAVAILABLE"))));
        fake.rule(Rule::on("agent").session(&chat(4)).then(Fault::FinalError(error("INTERNAL"))));
        let fails = Fault::Model(Model::Fails(format!("the provider says {token}")));
        fake.rule(Rule::on("agent").session(&chat(5)).then(fails));
        let agent = self.agent()?;
        let ids = (2..6).map(|n| self.put(n)).collect::<Outcome<Vec<Id>>>()?;
        let sent = self.rig.until(self.rig.limit(), || fake.all_commits().len() > 3);
        report.check(sent, || format!("paths: nothing is sent: {}", agent.log()));
        fake.close_connections(1008, "a policy that nobody knows");
        // What was said is written; that all is done in the end takes longer than it is worth to wait here.
        for id in &ids {
            report.check(!self.rig.places(id).is_empty(), || format!("paths: {id} is gone"));
        }
        fake.clear_rules();
        fake.configure(|options| options.version = "2026.9.6".into());
        Ok(())
    }

    /// A gateway that wants a device: a key is made, and the gateway gives a token for it.
    fn device(&mut self, report: &mut Report) -> Outcome<()> {
        self.rig.fake.configure(|options| options.device_required = true);
        let agent = self.agent()?;
        let token = self.identity().join("device.token");
        let given = self.rig.until(self.rig.limit(), || token.exists());
        report.check(given, || format!("paths: no device token is kept: {}", agent.log()));
        let id = self.put(6)?;
        self.becomes(report, &id, "done");
        self.proc(report, &agent)?;
        drop(agent);
        // Now with that token alone, and then with a key that others can read.
        self.rig.fake.set_token(Some("quite another token"));
        let agent = self.agent()?;
        let id = self.put(7)?;
        self.becomes(report, &id, "done");
        drop(agent);
        self.rig.fake.set_token(Some(&self.canaries.token));
        self.rig.fake.configure(|options| options.device_required = false);
        Ok(())
    }

    fn identity(&self) -> PathBuf {
        self.rig.home.join(".config/spool/identity")
    }

    /// The token from the environment, and from OpenClaw's own configuration, good and broken.
    fn configuration(&mut self, report: &mut Report) -> Outcome<()> {
        let (token, url) = (self.canaries.token.clone(), self.rig.fake.url());
        for name in ["SPOOL_TOKEN", "OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_PASSWORD"] {
            let id = self.put(8)?;
            let ended = self.once(|command| {
                command.env(name, &token).args(["--gateway", &url]);
            })?;
            let places = self.rig.places(&id);
            report.check(ended.code() == Some(0) && places == ["done"], || {
                format!("paths: with ${name}: {ended}, {places:?}")
            });
        }
        let config = self.config();
        let port = self.rig.fake.port();
        let good = format!("{{gateway: {{port: {port}, auth: {{mode: 'token', token: '{token}'}}}}}}");
        let broken = [
            format!("{{gateway: {{auth: {{token: '{token}"),
            format!("{{gateway: {{port: '{token}', auth: {{token: '{token}'}}}}}}"),
            format!("{{gateway: {{auth: {{token: ['{token}']}}}}}}"),
            format!("{{gateway: {{auth: {{token: {{source: 'exec', id: '{token}'}}}}}}}}"),
            format!("{{gateway: {{auth: {{token: '${{{token}}}'}}}}}}"),
        ];
        write_private(&config, &good)?;
        let ended = self.once(|command| {
            command.env("OPENCLAW_CONFIG_PATH", &config);
        })?;
        report.check(ended.code() == Some(0), || format!("paths: with OpenClaw's configuration: {ended}"));
        // With something to send: who has nothing to do needs no gateway.
        let id = self.put(8)?;
        for text in broken {
            write_private(&config, &text)?;
            let ended = self.once(|command| {
                command.env("OPENCLAW_CONFIG_PATH", &config);
            })?;
            report.check(!ended.success(), || format!("paths: a broken configuration works: {text}"));
            report.count("broken configurations", 1);
        }
        report.check(self.rig.places(&id) == ["pending"], || {
            format!("paths: without a gateway it is {:?}", self.rig.places(&id))
        });
        write_private(&config, &good)
    }

    fn config(&self) -> PathBuf {
        self.rig.home.join("openclaw.json")
    }

    /// Files with a secret in them that others may read are refused, and said.
    fn readable_by_others(&mut self, report: &mut Report) -> Outcome<()> {
        use std::os::unix::fs::PermissionsExt;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        let (url, file, config) = (self.rig.fake.url(), self.rig.token_file(), self.config());
        for mode in [0o640, 0o604, 0o620, 0o644, 0o666] {
            set(&file, mode)?;
            let ended = self.once(|command| {
                command.args(["--gateway", &url, "--token-file"]).arg(&file);
            })?;
            report
                .check(ended.code() == Some(78), || format!("paths: a token file of mode {mode:o}: {ended}"));
            set(&config, mode)?;
            let ended = self.once(|command| {
                command.env("OPENCLAW_CONFIG_PATH", &config);
            })?;
            report.check(ended.code() == Some(78), || {
                format!("paths: a configuration of mode {mode:o}: {ended}")
            });
            report.count("refused files", 2);
        }
        set(&file, 0o600)?;
        set(&config, 0o600)?;
        let key = self.identity().join("device.key");
        set(&key, 0o640)?;
        self.rig.fake.configure(|options| options.device_required = true);
        self.put(8)?;
        let ended = self.once(|command| {
            command.args(["--gateway", &url, "--token-file"]).arg(&file);
        })?;
        report.check(ended.code() == Some(78), || format!("paths: a device key of mode 640: {ended}"));
        set(&key, 0o600)?;
        self.rig.fake.configure(|options| options.device_required = false);
        Ok(())
    }

    /// Everything else that can be called, with the token in the environment.
    fn verbs(&mut self) -> Outcome<()> {
        let ids: Vec<String> = Dir::STATES
            .iter()
            .filter_map(|dir| {
                let mut first = None;
                self.rig
                    .spool
                    .each_entry(*dir, |entry, _| {
                        first.get_or_insert(entry.id.to_string());
                    })
                    .ok()?;
                first
            })
            .collect();
        let mut calls: Vec<(&str, Vec<&str>)> =
            CALLS.iter().map(|(program, args)| (*program, args.to_vec())).collect();
        for id in &ids {
            calls.push(("spool", vec!["show", id]));
            calls.push(("spool", vec!["show", "--json", id]));
            calls.push(("spool", vec!["hold", id]));
            calls.push(("spool", vec!["retry", id]));
            calls.push(("spool", vec!["dismiss", id, "--reason", "never mind"]));
        }
        for (program, args) in calls {
            let mut command = self.rig.command(&[], program);
            command.args(args).env("OPENCLAW_GATEWAY_TOKEN", &self.canaries.token);
            command.env("SPOOL_TOKEN", &self.canaries.token).env("SPOOL_LOG", "trace");
            self.call(TOLD, command)?;
        }
        Ok(())
    }

    fn search(&self, report: &mut Report, what: &str) -> Outcome<()> {
        let rig = self.rig;
        let identity = self.identity();
        let at_home = [rig.token_file(), self.config(), identity.join("device.token")];
        let mut canaries = vec![Canary::new("token", self.canaries.token.as_str(), &at_home)];
        if let Ok(key) = fs::read_to_string(identity.join("device.key")) {
            canaries.push(Canary::new("device key", key.trim(), &[identity.join("device.key")]));
        }
        let kept = fs::read(identity.join("device.token")).unwrap_or_default();
        if let Some(token) = serde_json::from_slice::<serde_json::Value>(&kept)
            .ok()
            .and_then(|v| v["deviceToken"].as_str().map(str::to_owned))
        {
            canaries.push(Canary::new("device token", token, &[identity.join("device.token")]));
        }
        // What a record says is in the record, wherever that is, and in what a person asks to be shown. The reasons
        // beside the records are searched by themselves, below.
        let mut shown: Vec<PathBuf> = Dir::STATES.iter().map(|dir| rig.spool.dir(*dir)).collect();
        shown.push(rig.home.join(TOLD));
        let text = Canary::new("text of a record", self.canaries.text.as_str(), &shown);
        canaries.push(Canary { is_secret: false, ..text });
        search(report, what, &rig.home, &canaries)?;
        for dir in Dir::STATES {
            for name in crate::layers::rig::names(&rig.spool.dir(dir)).iter().filter(|n| n.contains(".why."))
            {
                let bytes = fs::read(rig.spool.dir(dir).join(name))?;
                report.check(!find(&bytes, self.canaries.text.as_bytes()), || {
                    format!("{what}: a text is in {name}")
                });
                report.count("reasons searched", 1);
            }
        }
        Ok(())
    }
}
