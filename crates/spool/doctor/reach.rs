//! The way to the sessions: the token and the device identity, the gateway's address and who else can reach it, the
//! gateway itself, and the sessions that waiting entries name.
//!
//! The gateway is asked over a connection of our own, which sends nothing. A device identity is used where there is
//! one; none is made here, for a new device is something that a person has to approve.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use spool_gateway::openclaw::{Config, OpenClawConnector};
use spool_gateway::receiver::{Connector, Gateway, Kind, Look, Server, Trouble};
use spooldir::record::MAX_BYTES;
use spooldir::{Dir, Record, Spool};
use tokio::time::timeout;

use super::{Check, Verdict};
use crate::args::Args;
use crate::view::brief;
use crate::{Failure, config, discover, drain};

/// How long the gateway may take for all of its answers.
const PATIENCE: Duration = Duration::from_secs(45);
/// How many entries of a state are opened to see whom they are for, and how many sessions are asked for.
const MAX_OPENED: usize = 256;
const MAX_ASKED: usize = 32;

/// Looks at it.
///
/// # Errors
/// When the kernel gives no more descriptors.
pub(super) fn look(spool: Option<&Spool>, args: &Args, checks: &mut Vec<Check>) -> Result<(), Failure> {
    let waiting = spool.map(waiting).unwrap_or_default();
    let env = config::env(args);
    let Ok(ours) = config::Config::load(args, &env) else {
        // What is wrong with it has been said.
        checks
            .push(Check::note("token", "not looked for, and no gateway either: the configuration is wrong"));
        checks.extend(unasked(&waiting));
        return Ok(());
    };
    let config = discover::gateway(args, &env, &ours).and_then(|config| {
        config.points_at().map(|at| (config, at)).map_err(|trouble| Failure::new(0, trouble.reason))
    });
    let (mut config, (host, port, is_loopback)) = match config {
        Ok(found) => found,
        Err(failure) => {
            let file = ours.place("gateway.token-file").filter(|_| failure.message.contains("token file"));
            let named = file.map(|place| format!(" or name another one in {place};")).unwrap_or_default();
            let remedy =
                format!("mend what it says;{named} without it no agent starts (78), and records wait");
            checks.push(Check::wrong("token", failure.message, remedy));
            checks.extend(unasked(&waiting));
            return Ok(());
        }
    };
    checks.push(token(&config));
    checks.push(identity(&mut config));
    let listeners = if is_loopback { listeners(port) } else { None };
    checks.push(address(&host, port, is_loopback, listeners.as_deref()));
    let url = config.url.clone();
    drain::runtime()?.block_on(async {
        let asked = timeout(PATIENCE, ask(config, &url, &waiting, checks)).await;
        if asked.is_err() {
            let words = format!("{url} did not answer everything within {} s", PATIENCE.as_secs());
            checks.push(Check::wrong("gateway", words, "is it busy, or stopped? openclaw gateway status"));
        }
    });
    Ok(())
}

fn token(config: &Config) -> Check {
    const NAME: &str = "token";
    let Some(source) = config.token.as_ref().or(config.password.as_ref()) else {
        let words =
            "none is known: only a gateway without authentication, or one that knows this device, lets us in";
        let remedy = "--token-file FILE, SPOOL_TOKEN_FILE, or OpenClaw's own configuration of this user";
        return Check::note(NAME, words).remedy(remedy);
    };
    let what = if config.token.is_some() { "token" } else { "password" };
    match source.read() {
        Ok(_) => Check::ok(NAME, format!("the {what} is that of {source}")),
        Err(why) => {
            Check::wrong(NAME, why, "write the gateway's token there; it is read anew for each connect")
        }
    }
}

/// The device identity. One that is not there is taken out of the configuration, so that none is made.
fn identity(config: &mut Config) -> Check {
    const NAME: &str = "identity";
    let Some(dir) = config.identity_dir.clone() else {
        return Check::note(NAME, "nothing says where it would be: neither XDG_CONFIG_HOME nor HOME is set");
    };
    let key = dir.join("device.key");
    match std::fs::metadata(&key) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            config.identity_dir = None;
            Check::ok(
                NAME,
                format!("none so far; spool drain makes one in {} if the gateway wants it", dir.display()),
            )
        }
        Err(e) => Check::wrong(NAME, format!("cannot look at {}: {e}", key.display()), "mend its directory"),
        Ok(meta) if meta.mode() & 0o077 != 0 => {
            let words = format!("others may read {}", key.display());
            let remedy = "remove it and let spool drain make a new one, which the gateway must then approve";
            Check::wrong(NAME, words, remedy)
        }
        Ok(_) => Check::ok(NAME, format!("the device's key is {}", key.display())),
    }
}

fn address(host: &str, port: u16, is_loopback: bool, listeners: Option<&[IpAddr]>) -> Check {
    const NAME: &str = "address";
    if !is_loopback {
        return Check::ok(NAME, format!("{host}:{port}, through TLS to a pinned certificate"));
    }
    let Some(listeners) = listeners else {
        return Check::ok(
            NAME,
            format!("{host}:{port}, on this machine; who else can reach it is not known here"),
        );
    };
    let open: Vec<String> = listeners.iter().filter(|ip| !ip.is_loopback()).map(IpAddr::to_string).collect();
    if listeners.is_empty() {
        return Check::note(NAME, format!("nobody listens at {host}:{port} at present"));
    }
    if open.is_empty() {
        return Check::ok(NAME, format!("{host}:{port}, on this machine only"));
    }
    let words = format!("port {port} is open to other machines too (bound to {})", open.join(", "));
    let remedy = "if nobody needs that: openclaw config set gateway.bind loopback; else its token is all that protects it";
    Check::new(NAME, Verdict::Note, words).remedy(remedy)
}

/// The addresses at which somebody listens on this port; `None` where the system does not tell (proc(5), `net/tcp`).
fn listeners(port: u16) -> Option<Vec<IpAddr>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).ok());
    let [four, six] = tables;
    let four = four?;
    Some([four, six.unwrap_or_default()].iter().flat_map(|table| listening(table, port)).collect())
}

fn listening(table: &str, port: u16) -> Vec<IpAddr> {
    const LISTEN: &str = "0A";
    let address = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (ip, at) = local.split_once(':')?;
        let is_it = state == LISTEN && u16::from_str_radix(at, 16).ok()? == port;
        // Words of 32 bits, each in the order of this machine.
        let words: Option<Vec<u8>> = (0..ip.len() / 8)
            .map(|n| u32::from_str_radix(ip.get(n * 8..n * 8 + 8)?, 16).ok())
            .map(|word| word.map(u32::to_ne_bytes))
            .collect::<Option<Vec<_>>>()
            .map(|words| words.concat());
        let ip: IpAddr = match words?.as_slice() {
            four @ [_, _, _, _] => <[u8; 4]>::try_from(four).ok()?.into(),
            six => <[u8; 16]>::try_from(six).ok()?.into(),
        };
        is_it.then(|| ip.to_canonical())
    };
    table.lines().filter_map(address).collect()
}

async fn ask(config: Config, url: &str, waiting: &Waiting, checks: &mut Vec<Check>) {
    let (has_identity, admin) = (config.identity_dir.is_some(), config.admin);
    let gateway = match OpenClawConnector::new(config).connect().await {
        Ok(gateway) => gateway,
        Err(trouble) => {
            checks.push(unreachable(&trouble, has_identity));
            checks.extend(unasked(waiting));
            return;
        }
    };
    checks.extend(hello(gateway.server(), url, admin));
    let mut answers = Vec::new();
    for key in waiting.sessions.keys().take(MAX_ASKED) {
        answers.push((key.as_str(), gateway.look(key).await));
    }
    checks.push(sessions(waiting, &answers));
}

fn unreachable(trouble: &Trouble, has_identity: bool) -> Check {
    const NAME: &str = "gateway";
    if trouble.kind != Kind::Refused {
        let remedy = "start it (openclaw gateway start); records wait, and no attempt is counted";
        return Check::wrong(NAME, trouble.reason.clone(), remedy);
    }
    let remedy = if has_identity {
        "mend the token, or approve the device; the agent notices by itself"
    } else {
        "mend the token; if it is the device that is asked for, spool drain makes one, to be approved"
    };
    Check::wrong(NAME, trouble.reason.clone(), remedy)
}

fn hello(server: &Server, url: &str, admin: bool) -> [Check; 2] {
    let (version, protocol) = (&server.version, server.protocol);
    let words = format!("{url} answers: version {}, protocol {protocol}", brief(version, 40));
    let gateway = if protocol >= 4 {
        Check::ok("gateway", words)
    } else {
        let remedy =
            "update OpenClaw to 2026.7 or later; until then a reset of a session can double a delivery";
        Check::note("gateway", format!("{words}, which knows no pins and no search")).remedy(remedy)
    };
    let granted = brief(&server.scopes.join(", "), 300);
    let is_admin = server.scopes.iter().any(|scope| scope == "operator.admin");
    let scopes = if admin && !is_admin {
        let remedy = "use a token with admin scope; only records with \"deliver\":\"note\" need it";
        Check::wrong(
            "scopes",
            format!("granted: {granted}; not operator.admin, which --admin asks for"),
            remedy,
        )
    } else {
        Check::ok("scopes", format!("granted: {granted}"))
    };
    [gateway, scopes]
}

/// Who is waited for by entries that are held, deferred or dead.
#[derive(Debug, Default)]
struct Waiting {
    /// How many entries each session has, of those that were opened.
    sessions: BTreeMap<String, usize>,
    /// How many name none.
    unrouted: usize,
}

fn waiting(spool: &Spool) -> Waiting {
    let mut waiting = Waiting::default();
    for dir in [Dir::Hold, Dir::Deferred, Dir::Dead] {
        let mut entries = Vec::new();
        // A directory that cannot be listed has been said.
        let _listed = spool
            .each_entry(dir, |entry, _| {
                if entries.len() < MAX_OPENED {
                    entries.push(entry);
                }
            })
            .is_ok();
        for entry in entries {
            let Ok(content) = spool.fs().read(&spool.path(&entry), MAX_BYTES) else { continue };
            match Record::parse(&content.bytes).map(|record| record.session_key) {
                Ok(Some(key)) => *waiting.sessions.entry(key).or_default() += 1,
                Ok(None) => waiting.unrouted += 1,
                Err(_) => {}
            }
        }
    }
    waiting
}

fn unasked(waiting: &Waiting) -> Option<Check> {
    let n = waiting.sessions.len();
    let words =
        format!("entries that are held, deferred or dead name {n}, and the gateway cannot be asked for them");
    (n > 0 || waiting.unrouted > 0).then(|| Check::note("sessions", words))
}

fn sessions(waiting: &Waiting, answers: &[(&str, Result<Look, Trouble>)]) -> Check {
    const NAME: &str = "sessions";
    const MAX_NAMED: usize = 5;
    let (mut bad, mut open) = (Vec::new(), 0);
    for (key, answer) in answers {
        let why = match answer {
            Ok(Look::Open(_)) => {
                open += 1;
                continue;
            }
            Ok(Look::Missing) => "is not there".to_owned(),
            Ok(Look::Archived) => "is archived".to_owned(),
            Ok(Look::Closed) => "takes no messages".to_owned(),
            Err(trouble) => format!("cannot be asked for: {}", brief(&trouble.reason, 200)),
        };
        let n = waiting.sessions.get(*key).copied().unwrap_or_default();
        bad.push(format!("{} {why} ({n} entries)", brief(key, 200)));
    }
    if waiting.unrouted > 0 {
        bad.push(format!("{} entries name no session", waiting.unrouted));
    }
    if !bad.is_empty() {
        let more = if bad.len() > MAX_NAMED { "; ..." } else { "" };
        let words = format!("{}{more}", bad.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join("; "));
        let remedy = "spool retry ID --session KEY sends an entry elsewhere; a restored session: spool release, spool retry";
        return Check::wrong(NAME, words, remedy);
    }
    match open {
        0 => Check::ok(NAME, "nothing is held, deferred or dead"),
        n => Check::ok(NAME, format!("all {n} that held, deferred or dead entries name are there and open"))
            .remedy(
                "spool list --state held and --state dead say why these wait; spool release, spool retry",
            ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_read_from_the_kernels_table() {
        let four = "  sl  local_address rem_address   st tx_queue\n\
             0: 0100007F:4965 00000000:0000 0A 00000000:00000000\n\
             1: 00000000:4966 00000000:0000 0A 00000000:00000000\n\
             2: 0100007F:4966 0100007F:D431 01 00000000:00000000\n\
             nonsense\n";
        let six = "   0: 00000000000000000000000000000000:4965 00000000000000000000000000000000:0000 0A 0\n\
             1: 0000000000000000FFFF00000100007F:4967 00000000000000000000000000000000:0000 0A 0\n";
        let ips = |table, port| listening(table, port).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        if cfg!(target_endian = "little") {
            assert_eq!(ips(four, 0x4965), ["127.0.0.1"]);
            assert_eq!(ips(six, 0x4967), ["127.0.0.1"]);
        }
        assert_eq!(ips(four, 0x4966), ["0.0.0.0"]);
        assert_eq!(ips(six, 0x4965), ["::"]);
        assert!(ips(four, 1).is_empty());
        let here: IpAddr = [127, 0, 0, 1].into();
        let of = |listeners: Option<&[IpAddr]>| address("127.0.0.1", 1, true, listeners);
        assert_eq!(of(Some(&[here])).verdict, Verdict::Ok);
        assert_eq!(of(Some(&[here, [0, 0, 0, 0].into()])).verdict, Verdict::Note);
        assert_eq!(of(Some(&[])).verdict, Verdict::Note);
        assert_eq!(of(None).verdict, Verdict::Ok);
    }

    #[test]
    fn old_protocols_and_missing_scopes_are_said() {
        let server = |protocol, scopes: &[&str]| Server {
            version: "2026.3.13".into(),
            protocol,
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            ..Server::default()
        };
        let [gateway, scopes] = hello(&server(3, &["operator.write"]), "ws://x", false);
        assert_eq!((gateway.verdict, scopes.verdict), (Verdict::Note, Verdict::Ok));
        let [gateway, scopes] = hello(&server(4, &["operator.write"]), "ws://x", true);
        assert_eq!((gateway.verdict, scopes.verdict), (Verdict::Ok, Verdict::Wrong));
        let [_, scopes] = hello(&server(4, &["operator.admin"]), "ws://x", true);
        assert_eq!(scopes.verdict, Verdict::Ok);
    }

    #[test]
    fn an_identity_that_is_not_there_is_not_made_and_an_open_one_is_wrong() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("identity");
        let mut config = Config { identity_dir: Some(dir.clone()), ..Config::new("ws://127.0.0.1:1") };
        assert_eq!(identity(&mut config.clone()).verdict, Verdict::Ok);
        identity(&mut config);
        assert!(config.identity_dir.is_none() && !dir.exists());
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("device.key"), "x").unwrap();
        let mode = |mode| {
            let open = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(dir.join("device.key"), open).unwrap();
            identity(&mut Config { identity_dir: Some(dir.clone()), ..Config::new("ws://127.0.0.1:1") })
                .verdict
        };
        assert_eq!((mode(0o644), mode(0o600)), (Verdict::Wrong, Verdict::Ok));
    }
}
