//! What other queues got wrong in the field, each seen by a test before anybody here runs into it.

use std::time::Duration;

use serde_json::json;
use spool_gateway::fake::{At, Fault, Model, Rule, errors};
use spooldir::Dir;

use crate::support::{Bench, INTERNAL, ROUTED};

#[tokio::test]
async fn a_notice_that_cannot_be_told_makes_no_further_notice() {
    let b = Bench::new().await;
    b.fake.set_model(Model::Fails("the provider is out of credit".into()));
    let no = json!({"code": "INTERNAL", "message": "nobody is to be told"});
    b.fake.rule(Rule::on("send").always().then(Fault::Error(no)));
    let id = b.put(ROUTED, "the build is done", "");
    b.run(async {
        b.until_done(1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    let told = b.fake.requests_of("send").len();
    assert!((1..=b.options.tell_attempts as usize).contains(&told), "told {told} times");
    assert_eq!((b.commits(&id), b.fake.requests_of("agent").len()), (1, 1), "and no second turn");
    assert_eq!(b.evidence(&id).as_deref(), Some("committed"));
    let note = b.lines().into_iter().rev().find(|line| line.event == "prove").and_then(|line| line.reason);
    assert!(note.is_some_and(|note| note.contains("nobody was told")));
    b.audit();
}

#[tokio::test]
async fn a_doorbell_is_no_reason_to_try_a_record_again_before_it_is_due() {
    let b = Bench::new().await;
    let wait = Duration::from_millis(1500);
    let later = json!({"code": "INTERNAL", "message": "not now", "retryAfterMs": wait.as_millis() as u64});
    b.fake.rule(Rule::on("agent").session(ROUTED).then(Fault::Error(later)));
    b.put(ROUTED, "x", "");
    b.run(async {
        b.until("it is deferred", |b| b.count(Dir::Deferred) == 1).await;
        for n in 1..=8 {
            b.put(INTERNAL, "x", "");
            b.until_done(n).await;
        }
        b.until_done(9).await;
    })
    .await;
    let tries: Vec<_> =
        b.fake.requests_of("agent").into_iter().filter(|r| r.params["sessionKey"] == ROUTED).collect();
    assert_eq!(tries.len(), 2);
    // A due time counts whole milliseconds of the wall clock.
    let waited = tries[1].at - tries[0].at + Duration::from_millis(5);
    assert!(waited >= wait, "{waited:?}");
}

#[tokio::test]
async fn what_may_be_under_way_is_not_sent_again_even_under_its_own_key() {
    for at in [At::Accepted, At::Committed, At::Told, At::Final] {
        let b = Bench::new().await;
        let turn = Duration::from_millis(600);
        b.fake.rule(Rule::on("agent").then(Fault::TurnLasts(turn)).then(Fault::Drop(at)));
        let id = b.put(ROUTED, "x", "");
        b.run(b.until_done(1)).await;
        assert_eq!(b.fake.requests_of("agent").len(), 1, "{at:?}: a receiver need not know a key again");
        assert_eq!((b.commits(&id), b.fake.requests_of("send").len()), (1, 0), "{at:?}");
        b.audit();
    }
}

#[tokio::test]
async fn a_permanent_refusal_at_the_head_holds_up_neither_its_own_lane_nor_others() {
    let b = Bench::new().await;
    let words = "invalid agent params: at /message: must NOT be this";
    b.fake.rule(Rule::on("agent").containing("poison").always().then(Fault::Error(errors::invalid(words))));
    let bad = b.put(ROUTED, "poison", "");
    let same = b.put(ROUTED, "x", "");
    let other = b.put(INTERNAL, "x", "");
    b.run(b.until("all is settled", |b| b.count(Dir::Done) == 2 && b.count(Dir::Dead) == 1)).await;
    assert_eq!((b.commits(&bad), b.commits(&same), b.commits(&other)), (0, 1, 1));
    let tries = b.fake.requests_of("agent");
    let poisoned =
        tries.iter().filter(|r| r.params["message"].as_str().unwrap().contains(bad.as_str())).count();
    assert!(poisoned <= 2, "once in company, once alone: {poisoned}");
    b.audit();
}
