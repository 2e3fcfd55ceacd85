//! Looks at, sends to and probes a session of a running gateway from the command line.
//!
//! ```text
//! OPENCLAW_TOKEN=... cargo run -p spool-gateway --example openclaw -- ws://127.0.0.1:18789 look SESSION
//! ... send|message|note SESSION KEY TEXT      ... probe SESSION KEY [FORMER-KEY...]
//! ```
//! `IDENTITY=DIR` adds a device identity, `ADMIN=1` asks for admin scope, `UNTIL=committed` returns at the commit,
//! `FINGERPRINT=HEX` pins a certificate, `REPLY_TO=CHANNEL,TO` names a route.

use std::time::Instant;

use spool_gateway::openclaw::{Config, OpenClawConnector};
use spool_gateway::receiver::{Connector, Delivery, Evidence, Gateway, Look, Mode, Route, Session};
use spool_gateway::secret::Source;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, verb, session_key, rest @ ..] = args.as_slice() else {
        return eprintln!("usage: openclaw URL look|send|message|note|probe SESSION [KEY [TEXT]]");
    };
    let var = |name: &str| std::env::var(name).ok();
    let mut config = Config::new(url);
    config.token = var("OPENCLAW_TOKEN").map(|_| Source::Env("OPENCLAW_TOKEN".into()));
    config.identity_dir = var("IDENTITY").map(Into::into);
    config.admin = var("ADMIN").is_some();
    config.tls_fingerprint = var("FINGERPRINT");
    let started = Instant::now();
    let connector = OpenClawConnector::new(config);
    let gateway = match connector.connect().await {
        Ok(gateway) => gateway,
        Err(trouble) => return println!("{:?}: {trouble}", trouble.kind),
    };
    println!("{:?} {:?}", started.elapsed(), gateway.server());
    let key = rest.first().cloned().unwrap_or_default();
    let delivery = Delivery {
        key: key.clone(),
        former_keys: if verb == "probe" { rest.iter().skip(1).cloned().collect() } else { Vec::new() },
        session_key: session_key.clone(),
        text: format!("[job {key}] {}", rest.get(1).map_or("is done", String::as_str)),
        mode: match verb.as_str() {
            "message" => Mode::Message,
            "note" => Mode::Note,
            _ if var("MODE").as_deref() == Some("message") => Mode::Message,
            _ if var("MODE").as_deref() == Some("note") => Mode::Note,
            _ => Mode::Turn,
        },
        route: var("REPLY_TO").and_then(|route| {
            let (channel, to) = route.split_once(',')?;
            Some(Route { channel: channel.into(), to: to.into(), ..Route::default() })
        }),
        traceparent: None,
    };
    let look = gateway.look(session_key).await;
    println!("{:?} {look:?}", started.elapsed());
    match verb.as_str() {
        "look" => {}
        "probe" => println!("{:?} {:?}", started.elapsed(), gateway.probe(&delivery).await),
        _ => {
            let session = match look {
                Ok(Look::Open(session)) => session,
                _ if var("BLIND").is_some() => Session { pin: Some("nobody".into()), route: None },
                _ => return,
            };
            let until = if var("UNTIL").is_some() { Evidence::Committed } else { Evidence::Sent };
            let seen = |evidence: Evidence| println!("{:?} seen {evidence}", started.elapsed());
            println!("{:?}", gateway.send(&delivery, &session, until, &seen).await);
            println!("{:?} probe {:?}", started.elapsed(), gateway.probe(&delivery).await);
        }
    }
}
