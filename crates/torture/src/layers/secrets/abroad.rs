//! The token goes to this machine, or through TLS to a pinned certificate, or nowhere.
//!
//! A listener on all addresses of this machine leads to a gateway that would take the token. Reached under an address
//! that is not the loopback's, it must not see as much as a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::paths::word;
use super::search::find;
use crate::ground::{self, Ground};
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Rig, chat};

/// The number of a configuration that cannot work.
const CONFIG: i32 = 78;
/// Room for what a client says.
const KEPT: usize = 1 << 20;

/// A listener that leads to the gateway and writes down what it heard from clients.
struct Door {
    port: u16,
    connections: Arc<AtomicU64>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Door {
    /// Leads to the gateway at `port`, or answers every request with `answer`.
    fn open(to: u16, answer: Option<String>) -> Outcome<Door> {
        let listener = TcpListener::bind("0.0.0.0:0")?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(AtomicU64::new(0));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (count, keep) = (Arc::clone(&connections), Arc::clone(&heard));
        // Ends with the process: nobody waits for it.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (keep, answer) = (Arc::clone(&keep), answer.clone());
                thread::spawn(move || drop(serve(stream, to, answer, &keep)));
            }
        });
        Ok(Door { port, connections, heard })
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    fn heard(&self) -> Vec<u8> {
        self.heard.lock().map(|heard| heard.clone()).unwrap_or_default()
    }
}

fn serve(mut client: TcpStream, to: u16, answer: Option<String>, keep: &Mutex<Vec<u8>>) -> Outcome<()> {
    let mut gateway = match &answer {
        None => Some(TcpStream::connect(("127.0.0.1", to))?),
        Some(_) => None,
    };
    if let Some(gateway) = &gateway {
        let (mut from, mut back) = (gateway.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ended = std::io::copy(&mut from, &mut back).is_ok();
            let _closed = back.shutdown(Shutdown::Both).is_ok();
        });
    }
    let mut chunk = [0; 4096];
    loop {
        let n = client.read(&mut chunk)?;
        let bytes = chunk.get(..n).unwrap_or_default();
        if let Ok(mut keep) = keep.lock()
            && keep.len() < KEPT
        {
            keep.extend_from_slice(bytes);
        }
        match (&mut gateway, &answer) {
            _ if n == 0 => return Ok(()),
            (Some(gateway), _) => gateway.write_all(bytes)?,
            (None, Some(answer)) => client.write_all(answer.as_bytes())?,
            (None, None) => {}
        }
    }
}

/// The address of this machine on a network, if it is on one. Nothing is sent to find out.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address that is reserved for documentation.
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let token = word(ground, "abroad");
    let home = ground.room("abroad")?;
    let rig = Rig::with_token(ground, home.clone(), home.join("spool"), &token)?;
    let sent = rig.put(&chat(0))?;
    let door = Door::open(rig.fake.port(), None)?;
    let own = own_address();
    // On Linux 0.0.0.0 leads to this machine too, but nobody can tell that from the address.
    let mut hosts = vec!["0.0.0.0".to_owned(), "[::ffff:127.0.0.1]".to_owned()];
    hosts.extend(own.clone());
    for host in hosts {
        for (url, more) in [
            (format!("ws://{host}:{}", door.port), &[][..]),
            (format!("wss://{host}:{}", door.port), &[][..]),
            (format!("ws://{host}:{}/?token=x", door.port), &["--admin"][..]),
        ] {
            let mut command = rig.command(&[], "spool");
            command.args(["drain", "--gateway", &url, "--token-file"]).arg(rig.token_file()).args(more);
            let mut agent = rig.spawn(command)?;
            let abroad = || door.connections() > 0;
            // With the token on its way there is nothing more to wait for.
            let mut ended = None;
            rig.until(rig.limit(), || {
                ended = agent.ended(Duration::ZERO);
                ended.is_some() || abroad()
            });
            report.count("addresses", 1);
            report.check(!abroad(), || format!("abroad: {url} was connected to in the clear"));
            report.check(abroad() || ended.and_then(|status| status.code()) == Some(CONFIG), || {
                format!("abroad: {url}: {ended:?}: {}", agent.log())
            });
            if ground.hunts() && report.violated() > 0 {
                return Ok(());
            }
        }
    }
    report.check(rig.fake.requests_of("connect").is_empty(), || "abroad: the gateway was greeted".to_owned());
    if let Some(address) = &own {
        false_localhost(&rig, report, address, &door)?;
    } else {
        report.fact("no address but the loopback's: only 0.0.0.0 was tried");
    }
    redirect(&rig, report, &token)?;

    // The same gateway on the loopback, seen from the wire: nothing secret before it is a WebSocket.
    let near = Door::open(rig.fake.port(), None)?;
    let url = format!("ws://127.0.0.1:{}/some/path?session=x", near.port);
    let mut command = rig.command(&[], "spool");
    command.args(["drain", "--once", "--gateway", &url, "--token-file"]).arg(rig.token_file());
    let mut agent = rig.spawn(command)?;
    let ended = agent.ended(rig.limit()).and_then(|status| status.code());
    report.check(ended == Some(0), || {
        format!("abroad: on the loopback it ended with {ended:?}: {}", agent.log())
    });
    let heard = near.heard();
    let head: Vec<u8> =
        heard.windows(4).position(|w| w == b"\r\n\r\n").map_or(heard.clone(), |at| heard[..at].to_vec());
    report.check(!find(&head, token.as_bytes()), || {
        "abroad: the token is in the request for an upgrade".to_owned()
    });
    let lower = head.to_ascii_lowercase();
    report.check(!find(&lower, b"authorization") && !find(&lower, b"cookie"), || {
        "abroad: the request for an upgrade carries credentials".to_owned()
    });
    rig.all_delivered(report, "abroad", &[sent]);
    Ok(())
}

/// `localhost` that is another machine, as a hosts file can have it.
fn false_localhost(rig: &Rig<'_>, report: &mut Report, address: &str, door: &Door) -> Outcome<()> {
    if rig.ground.hunts() {
        return Ok(());
    }
    if !ground::is_root() || !Path::new("/etc/hosts").exists() {
        report.fact("skipped: a false localhost (a mount of its own needs root)");
        return Ok(());
    }
    let hosts = rig.home.join("hosts");
    std::fs::write(&hosts, format!("{address} localhost\n"))?;
    let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
    let prefix = ["unshare", "--mount", "sh", "-c", script].map(Into::into);
    let prefix = [&prefix[..], &[hosts.into_os_string()]].concat();
    let mut command = rig.command(&prefix, "spool");
    let url = format!("ws://localhost:{}", door.port);
    command.args(["drain", "--once", "--gateway", &url, "--token-file"]).arg(rig.token_file());
    let mut agent = rig.spawn(command)?;
    let ended = agent.ended(rig.limit()).and_then(|status| status.code());
    report.count("addresses", 1);
    report.check(ended == Some(75), || format!("abroad: a false localhost: {ended:?}: {}", agent.log()));
    report.check(door.connections() == 0, || "abroad: a false localhost was connected to".to_owned());
    Ok(())
}

/// What answers the request for an upgrade with another place is not followed there.
fn redirect(rig: &Rig<'_>, report: &mut Report, token: &str) -> Outcome<()> {
    for code in [301, 302, 303, 307, 308] {
        let target = Door::open(rig.fake.port(), None)?;
        let to = format!("http://127.0.0.1:{}/", target.port);
        let answer = format!("HTTP/1.1 {code} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let door = Door::open(0, Some(answer))?;
        let url = format!("ws://127.0.0.1:{}", door.port);
        let mut command = rig.command(&[], "spool");
        command.args(["drain", "--once", "--gateway", &url, "--token-file"]).arg(rig.token_file());
        let mut agent = rig.spawn(command)?;
        let ended = agent.ended(rig.limit()).and_then(|status| status.code());
        report.count("redirects", 1);
        report.check(ended == Some(CONFIG), || {
            format!("abroad: a redirect ({code}): {ended:?}: {}", agent.log())
        });
        report.check(target.connections() == 0, || format!("abroad: a redirect ({code}) was followed"));
        report.check(!find(&door.heard(), token.as_bytes()), || {
            format!("abroad: the token was shown to who redirects ({code})")
        });
    }
    Ok(())
}
