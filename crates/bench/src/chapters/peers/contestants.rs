//! The peers: for each, how one record of 1 KiB is handed to it by a program that starts, does it and ends.
//!
//! Each says what it flushes before it says yes, for that is what it costs: not all of them promise the same.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::packages::{Package, quietly};
use crate::bench::{Bench, Outcome, which};
use crate::chapters::record;
use crate::counts::wait;

/// One that takes part.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// What it has flushed when it says yes.
    pub(super) flushes: &'static str,
    /// Its stdin.
    pub(super) input: Vec<u8>,
    pub(super) command: Box<dyn Fn() -> Command>,
    /// Whether it takes seconds, and its failure is none of the measurement: there is nobody for it to talk to.
    pub(super) is_slow: bool,
    _server: Option<Server>,
}

impl Peer {
    fn new(name: &'static str, flushes: &'static str, command: impl Fn() -> Command + 'static) -> Peer {
        Peer { name, flushes, input: record(), command: Box::new(command), is_slow: false, _server: None }
    }

    fn with_input(self, input: Vec<u8>) -> Peer {
        Peer { input, ..self }
    }
}

/// A server that ends with its peer.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to be done about one that cannot be ended.
        let _ended = self.0.kill().and_then(|()| self.0.wait()).is_ok();
    }
}

/// How a peer is prepared.
pub(super) type Prepare = fn(&Bench, &Path) -> Outcome<Peer>;

/// All that are known, with what is installed or fetched for each. The quick form takes those that need nothing.
pub(super) const ALL: &[(&str, bool, Prepare)] = &[
    ("sh recipe", true, shell),
    ("sqlite3 CLI", true, sqlite),
    ("rusqlite", false, rusqlite),
    ("safecat", false, safecat),
    ("maildrop", false, maildrop),
    ("nullmailer-inject", false, nullmailer),
    ("postfix sendmail", false, postfix),
    ("redis-cli XADD", false, redis),
    ("openclaw system event", false, openclaw),
];

/// Commands are made again and again: from what one was.
fn again(template: Command) -> impl Fn() -> Command {
    move || {
        let mut command = Command::new(template.get_program());
        command.args(template.get_args()).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// A mail whose text is the record.
fn mail() -> Vec<u8> {
    let mut mail = b"From: spool@localhost\nTo: root@localhost\nSubject: bench\n\n".to_vec();
    mail.extend_from_slice(&record());
    mail.push(b'\n');
    mail
}

/// The five lines of `spool-format.md`.
fn shell(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    let format = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spool-format.md");
    let text = std::fs::read_to_string(format)?;
    let recipe = text.split("```sh recipe\n").nth(1).and_then(|rest| rest.split("```").next());
    let recipe = recipe.ok_or("spool-format.md has no shell recipe")?.to_owned();
    drop(spooldir::Spool::create(dir)?);
    let mut command = Command::new(which("sh").ok_or("there is no sh")?);
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("SPOOL_DIR", dir).env("session", "agent:main:main");
    command.env("text", "x".repeat(960)).arg("-c").arg(recipe);
    let _unused = bench;
    Ok(Peer::new("sh recipe", "file, directory", again(command)).with_input(Vec::new()))
}

fn sqlite(_: &Bench, dir: &Path) -> Outcome<Peer> {
    let program = which("sqlite3").ok_or("sqlite3 is not installed")?;
    let file = dir.join("records.db");
    let table = "PRAGMA journal_mode=WAL; CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB NOT NULL);";
    quietly(Command::new(&program).arg(&file).arg(table))?;
    let body = String::from_utf8(record())?.replace('\'', "''");
    let insert = format!("PRAGMA synchronous=FULL;\nINSERT INTO record (body) VALUES ('{body}');\n");
    let mut command = Command::new(program);
    command.arg(file);
    Ok(Peer::new("sqlite3 CLI", "WAL; checkpoint at the end", again(command)).with_input(insert.into_bytes()))
}

fn rusqlite(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    let mut command = bench.program("rusqlite-put");
    if !Path::new(command.get_program()).exists() {
        return Err("it is built for the whole form only".into());
    }
    command.arg(dir.join("records.db"));
    Ok(Peer::new("rusqlite", "WAL; checkpoint at the end", again(command)))
}

fn rooms(dir: &Path, names: &[&str]) -> Outcome<()> {
    for name in names {
        std::fs::create_dir_all(dir.join(name))?;
    }
    Ok(())
}

fn safecat(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    rooms(dir, &["tmp", "new"])?;
    let mut command = Package::fetch("safecat", &bench.packages)?.program("usr/bin/safecat")?;
    command.arg(dir.join("tmp")).arg(dir.join("new"));
    Ok(Peer::new("safecat", "file", again(command)))
}

fn maildrop(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    rooms(dir, &["box/tmp", "box/new", "box/cur"])?;
    let filter = dir.join("filter");
    std::fs::write(&filter, format!("to \"{}\"\n", dir.join("box/").display()))?;
    std::fs::set_permissions(&filter, PermissionsExt::from_mode(0o600))?;
    let mut command = Package::fetch("maildrop", &bench.packages)?.program("usr/bin/maildrop")?;
    command.arg(filter).env("HOME", dir);
    Ok(Peer::new("maildrop", "file", again(command)).with_input(mail()))
}

/// Its queue is where it was compiled to be: mounted there, for this process and its children alone.
fn nullmailer(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    if !bench.has_own_mounts {
        return Err("its queue is at a fixed place, which only root can put elsewhere for a while".into());
    }
    rooms(dir, &["nullmailer/tmp", "nullmailer/queue", "nullmailer/failed"])?;
    let package = Package::fetch("nullmailer", &bench.packages)?;
    quietly(Command::new("chown").args(["-R", "mail"]).arg(dir.join("nullmailer")))?;
    quietly(Command::new("chmod").args(["-R", "a+rX"]).arg(dir))?;
    quietly(Command::new("mount").arg("--bind").arg(dir).arg("/var/spool"))?;
    let lower = format!("lowerdir={}:/usr/sbin", package.path("usr/sbin").display());
    quietly(Command::new("mount").args(["-t", "overlay", "-o", &lower, "peers", "/usr/sbin"]))?;
    let command = package.program("usr/bin/nullmailer-inject")?;
    Ok(Peer::new("nullmailer-inject", "file, directory", again(command)).with_input(mail()))
}

fn postfix(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can have a mail system of its own".into());
    }
    let package = Package::fetch("postfix", &bench.packages)?;
    rooms(dir, &["queue/maildrop", "queue/public", "queue/pid", "conf", "data"])?;
    let at = |path: &str| package.path(path).display().to_string();
    let (queue, data) = (dir.join("queue"), dir.join("data"));
    let settings = [
        ("compatibility_level", "3.6".to_owned()),
        ("queue_directory", queue.display().to_string()),
        ("data_directory", data.display().to_string()),
        ("command_directory", at("usr/sbin")),
        ("daemon_directory", at("usr/lib/postfix/sbin")),
        ("shlib_directory", at("usr/lib/postfix")),
        // Accounts that every system has, in place of its own.
        ("mail_owner", "mail".to_owned()),
        ("setgid_group", "staff".to_owned()),
        ("myhostname", "localhost.localdomain".to_owned()),
        ("inet_interfaces", "loopback-only".to_owned()),
        ("import_environment", "MAIL_CONFIG LD_LIBRARY_PATH".to_owned()),
        ("export_environment", "MAIL_CONFIG LD_LIBRARY_PATH".to_owned()),
    ];
    let text: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    std::fs::write(dir.join("conf/main.cf"), text)?;
    let mut command = package.program("usr/sbin/sendmail")?;
    command.arg("-C").arg(dir.join("conf")).arg("-t");
    Ok(Peer::new("postfix sendmail", "file, after its rename", again(command)).with_input(mail()))
}

fn redis(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    let package = Package::fetch("redis-server", &bench.packages)?;
    // Short enough for the address of a socket.
    let home = tempdir("bench-redis")?;
    let socket = home.join("socket");
    let mut server = package.program("usr/bin/redis-server")?;
    server.args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir"]);
    server.arg(dir).arg("--unixsocket").arg(&socket);
    let mut server = Server(server.spawn()?);
    let start = Instant::now();
    while !socket.exists() {
        if start.elapsed() > Duration::from_secs(20) || server.0.try_wait()?.is_some() {
            return Err("its server does not come up".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut command = package.program("usr/bin/redis-cli")?;
    command.arg("-s").arg(&socket).args(["-x", "XADD", "records", "*", "record"]);
    let peer = Peer::new("redis-cli XADD", "append-only file, in its server", again(command));
    Ok(Peer { _server: Some(server), ..peer })
}

fn tempdir(name: &str) -> Outcome<PathBuf> {
    let dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The call that the project is there to replace. Without a gateway it fails; what is measured then is what the call
/// costs before it says anything to anybody.
fn openclaw(bench: &Bench, dir: &Path) -> Outcome<Peer> {
    let (Some(node), Some(entry)) = (&bench.node, &bench.openclaw) else {
        return Err("the package is not there".into());
    };
    let mut command = Command::new(node);
    command.env_clear().env("HOME", dir).env("PATH", "/usr/bin:/bin").arg(entry);
    command.args(["system", "event", "--mode", "now", "--text", &"x".repeat(960)]);
    command.args(["--url", "ws://127.0.0.1:9", "--token", "none"]);
    let peer = Peer::new("openclaw system event", "nothing: no gateway answers", again(command));
    Ok(Peer { is_slow: true, input: Vec::new(), ..peer })
}

/// Runs it once to its end.
pub(super) fn hand_over(peer: &Peer) -> Outcome<()> {
    use std::io::Write as _;
    let mut child = (peer.command)().stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever fails early reads nothing; how it ended says so.
        let _is_read = stdin.write_all(&peer.input).is_ok();
    }
    let status = wait(&mut child, Duration::from_secs(60))?;
    match status.success() || peer.is_slow {
        true => Ok(()),
        false => Err(format!("it ended with {status}").into()),
    }
}
