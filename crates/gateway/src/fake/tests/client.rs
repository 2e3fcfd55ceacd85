//! The real client gets along with the fake: the two were written from the same measurements, apart.

use std::cell::RefCell;

use super::super::{At, Channel, Fault, Rule};
use super::*;
use crate::openclaw::{Config, OpenClaw, OpenClawConnector};
use crate::receiver::{Connector, Delivery, Evidence, Gateway, Kind, Look, Mode, Probe, Reply, Session};
use crate::secret::{Secret, Source};

fn config(fake: &Fake, token: &str) -> Config {
    let mut config = Config::new(fake.url());
    config.token = Some(Source::Literal(Secret::new(token)));
    config
}

async fn connect(fake: &Fake) -> OpenClaw {
    OpenClawConnector::new(config(fake, "t")).connect().await.unwrap()
}

fn record(key: &str, mode: Mode) -> Delivery {
    Delivery {
        key: key.into(),
        former_keys: Vec::new(),
        session_key: S.into(),
        text: format!("[job {key}] done"),
        mode,
        route: None,
        traceparent: None,
    }
}

async fn session(gateway: &OpenClaw) -> Session {
    match gateway.look(S).await.unwrap() {
        Look::Open(session) => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_climbs_every_rung_of_a_turn() {
    let fake = fake().await;
    let gateway = connect(&fake).await;
    let rungs = RefCell::new(Vec::new());
    let seen = |evidence| rungs.borrow_mut().push(evidence);
    let turn = record("0190-a", Mode::Turn);
    let reply = gateway.send(&turn, &session(&gateway).await, Evidence::Sent, &seen).await.unwrap();
    assert_eq!(reply, Reply::Sent);
    assert!(rungs.borrow().contains(&Evidence::Committed), "{rungs:?}");
    assert!(matches!(gateway.probe(&turn).await.unwrap(), Probe::Committed(_)));
    assert_eq!(said(&fake).len(), 1);
    let message = record("0190-b", Mode::Message);
    let reply = gateway.send(&message, &session(&gateway).await, Evidence::Sent, &seen).await.unwrap();
    assert_eq!(reply, Reply::Sent);
    assert!(matches!(gateway.probe(&message).await.unwrap(), Probe::Committed(Reply::Sent)));
    assert_eq!(gateway.look("agent:main:nobody").await.unwrap(), Look::Missing);
    assert_eq!(fake.sessions(), [S], "looking makes no session");
}

#[tokio::test]
async fn it_learns_what_became_of_a_turn_that_a_crash_interrupted() {
    for (at, wanted) in [(At::Frame, "absent"), (At::Accepted, "burnt"), (At::Committed, "committed")] {
        let fake = fake().await;
        fake.rule(Rule::on("agent").then(Fault::Crash(at, Some(Duration::ZERO))));
        let gateway = connect(&fake).await;
        let boot = fake.boot_id();
        let turn = record("0190-k", Mode::Turn);
        let sent = gateway.send(&turn, &session(&gateway).await, Evidence::Sent, &|_| ()).await;
        assert!(sent.is_err() || sent == Ok(Reply::Pending), "{at:?} {sent:?}");
        assert!(fake.until(SOON, |f| f.is_up() && f.boot_id() != boot).await);
        let probe = connect(&fake).await.probe(&turn).await.unwrap();
        let got = match probe {
            Probe::Absent => "absent",
            Probe::Queued => "queued",
            Probe::Burnt => "burnt",
            Probe::Committed(_) => "committed",
        };
        assert_eq!(got, wanted, "{at:?}");
    }
}

#[tokio::test]
async fn it_finds_a_turn_behind_a_reset_and_no_other() {
    let fake = fake().await;
    let gateway = connect(&fake).await;
    let turn = record("0190-k", Mode::Turn);
    gateway.send(&turn, &session(&gateway).await, Evidence::Sent, &|_| ()).await.unwrap();
    fake.reset(S);
    fake.restart().await.unwrap();
    let gateway = connect(&fake).await;
    assert!(matches!(gateway.probe(&turn).await.unwrap(), Probe::Committed(_)));
    assert_eq!(gateway.probe(&record("0190-j", Mode::Turn)).await.unwrap(), Probe::Absent);
}

#[tokio::test]
async fn it_takes_refusals_for_what_they_are() {
    let fake = fake().await;
    let Err(trouble) = OpenClawConnector::new(config(&fake, "wrong")).connect().await else {
        panic!("a wrong token was taken")
    };
    assert_eq!(trouble.kind, Kind::Refused);
    let gateway = connect(&fake).await;
    let session = session(&gateway).await;
    fake.delete(S);
    fake.add_chat(S, CHAT);
    let moved = gateway.send(&record("k1", Mode::Turn), &session, Evidence::Sent, &|_| ()).await;
    assert_eq!(moved.unwrap_err().kind, Kind::Moved);
    fake.archive(S, true);
    assert_eq!(gateway.look(S).await.unwrap(), Look::Archived);
    fake.archive(S, false);
    fake.deny(S, true);
    assert_eq!(gateway.look(S).await.unwrap(), Look::Closed);
    fake.deny(S, false);
    fake.set_channel(Channel::Refuses("403: Forbidden: bot was blocked by the user".into()));
    let Look::Open(session) = gateway.look(S).await.unwrap() else { panic!("not open") };
    let failed = gateway.send(&record("k2", Mode::Turn), &session, Evidence::Sent, &|_| ()).await;
    assert!(matches!(failed, Ok(Reply::Failed(_))), "{failed:?}");
    assert_eq!((fake.commits("k1"), fake.commits("k2")), (0, 1));
}

#[tokio::test]
async fn it_can_come_as_a_device_and_write_notes_as_admin() {
    let fake = fake().await;
    let home = tempfile::tempdir().unwrap();
    let mut config = config(&fake, "t");
    config.identity_dir = Some(home.path().join("identity"));
    config.admin = true;
    for key in ["n1", "n2"] {
        let gateway = OpenClawConnector::new(config.clone()).connect().await.unwrap();
        let Look::Open(session) = gateway.look(S).await.unwrap() else { panic!("not open") };
        let note = record(key, Mode::Note);
        gateway.send(&note, &session, Evidence::Committed, &|_| ()).await.unwrap();
        assert!(fake.transcript(S).iter().any(|r| r.text.contains(key)));
    }
    assert!(said(&fake).is_empty());
}
