//! Policy, by the real agent against the fake gateway: each rule once, and that none of them loses anything.

use serde_json::json;
use spool_gateway::fake::{At, FakeThread, Fault, Options, Rule};
use spooldir::{Dir, Id};

use crate::config::configure;
use crate::support::TempSpool;
use crate::support::programs::{Agent, Cli, drop_record, state, wait_until, write_token};

const TOKEN: &str = "correct-token";
const SESSION: &str = "agent:main:telegram:direct:77001";
const OTHER: &str = "agent:main:telegram:direct:77002";

/// A gateway with two chats, and a spool whose agent is configured like this.
fn bench(config: &str) -> (TempSpool, FakeThread) {
    let spool = TempSpool::new();
    write_token(&spool, TOKEN);
    configure(&spool, config);
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    gateway.add_chat(SESSION, 77001);
    gateway.add_chat(OTHER, 77002);
    (spool, gateway)
}

/// Puts a record with more members.
fn put(spool: &TempSpool, id: &str, session: &str, more: &serde_json::Value) {
    let mut record = json!({"id": id, "sessionKey": session, "text": format!("this is {id}")});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spool.spool.publish(&Id::new(id).unwrap(), record.to_string().as_bytes(), true).unwrap();
}

/// How many turns a session had.
pub fn turns(gateway: &FakeThread, session: &str) -> usize {
    gateway.all_commits().iter().filter(|(s, _, _)| s == session).count()
}

#[track_caller]
fn becomes(spool: &TempSpool, id: &str, word: &str) {
    wait_until(&format!("{id} becomes {word}"), || state(&spool.spool, id) == word);
}

fn audit(spool: &TempSpool) {
    Cli::new(spool, &["audit"]).run().exits(0);
}

#[test]
fn records_that_do_not_say_how_are_handed_over_as_the_configuration_says() {
    let (spool, gateway) = bench("[session.\"agent:main:telegram:direct:77001\"]\ndeliver = \"message\"\n");
    let _agent = Agent::start(&spool, &gateway);
    put(&spool, "silent", SESSION, &json!({}));
    becomes(&spool, "silent", "done");
    assert_eq!(turns(&gateway, SESSION), 0);
    assert_eq!(gateway.chat_messages("telegram", "telegram:77001").len(), 1);
    put(&spool, "says", SESSION, &json!({"deliver": "turn"}));
    put(&spool, "other", OTHER, &json!({}));
    becomes(&spool, "says", "done");
    becomes(&spool, "other", "done");
    assert_eq!((turns(&gateway, SESSION), turns(&gateway, OTHER)), (1, 1));
}

/// A message that was begun is asked for, and repeated, as a message, although it would be a turn by now.
#[test]
fn a_delivery_keeps_its_mode_when_the_configuration_changes_under_it() {
    let (spool, gateway) = bench("[default]\ndeliver = \"message\"\n");
    let agent = Agent::start(&spool, &gateway);
    // Sent, but the agent is not told of it, and dies.
    gateway.rule(Rule::on("send").then(Fault::Mute(At::Final)));
    put(&spool, "begun", SESSION, &json!({}));
    let chat = || gateway.chat_messages("telegram", "telegram:77001").len();
    wait_until("the chat has it", || chat() == 1);
    agent.kill();
    assert_eq!(state(&spool.spool, "begun"), "sending");
    configure(&spool, "");
    let _agent = Agent::start(&spool, &gateway);
    becomes(&spool, "begun", "done");
    assert_eq!((turns(&gateway, SESSION), chat()), (0, 1), "{:?}", gateway.all_commits());
}

#[test]
fn a_window_of_its_own_gathers_what_comes_for_one_session() {
    let (spool, gateway) =
        bench("[session.\"agent:main:telegram:direct:77001\"]\nwindow = \"1h\"\nwindow-max = \"1h\"\n");
    let agent = Agent::start(&spool, &gateway);
    put(&spool, "a", SESSION, &json!({}));
    put(&spool, "quick", OTHER, &json!({}));
    becomes(&spool, "quick", "done");
    put(&spool, "b", SESSION, &json!({}));
    put(&spool, "quick-2", OTHER, &json!({}));
    becomes(&spool, "quick-2", "done");
    assert_eq!((state(&spool.spool, "a"), state(&spool.spool, "b")), ("pending", "pending"));
    configure(&spool, "");
    agent.signal("HUP");
    becomes(&spool, "a", "done");
    becomes(&spool, "b", "done");
    assert_eq!(turns(&gateway, SESSION), 1);
}

#[test]
fn in_quiet_hours_successes_are_deferred_and_go_out_together_when_they_are_taken_back() {
    // All day but a minute: whatever time it is, the hours hold. (In that minute nothing would be proved.)
    let minute = spooldir::time::now_ms() / 60_000 % 1440;
    let minute = (minute + 720) % 1440;
    let next = (minute + 1) % 1440;
    let hours = format!("{:02}:{:02}-{:02}:{:02} UTC", next / 60, next % 60, minute / 60, minute % 60);
    let (spool, gateway) = bench(&format!("[default]\nquiet-hours = {hours:?}\n"));
    let agent = Agent::start(&spool, &gateway);
    put(&spool, "good-1", SESSION, &json!({"status": "ok"}));
    put(&spool, "good-2", SESSION, &json!({}));
    put(&spool, "bad", SESSION, &json!({"status": "failed"}));
    put(&spool, "loud", SESSION, &json!({"status": "ok", "urgent": true}));
    becomes(&spool, "bad", "done");
    becomes(&spool, "loud", "done");
    becomes(&spool, "good-1", "deferred");
    becomes(&spool, "good-2", "deferred");
    assert_eq!(agent.stop(), 0);
    let before = turns(&gateway, SESSION);
    configure(&spool, "");
    Cli::new(&spool, &["retry", "good-1", "good-2"]).run().exits(0);
    let _agent = Agent::start(&spool, &gateway);
    becomes(&spool, "good-1", "done");
    becomes(&spool, "good-2", "done");
    assert_eq!(turns(&gateway, SESSION), before + 1);
    audit(&spool);
}

#[test]
fn what_was_put_off_goes_out_together_when_it_is_due() {
    let (spool, gateway) = bench("");
    let soon = spooldir::time::now_ms() + 2000;
    for n in 0..5 {
        put(&spool, &format!("later-{n}"), SESSION, &json!({"notBefore": soon}));
    }
    let _agent = Agent::start(&spool, &gateway);
    for n in 0..5 {
        becomes(&spool, &format!("later-{n}"), "done");
    }
    assert_eq!(turns(&gateway, SESSION), 1, "{:?}", gateway.all_commits());
    audit(&spool);
}

#[test]
fn what_is_for_a_missing_session_goes_to_its_fallback_and_says_whom_it_was_for() {
    let gone = "agent:main:telegram:direct:99999";
    let (spool, gateway) = bench(&format!("[default]\nfallback = {OTHER:?}\n"));
    let agent = Agent::start(&spool, &gateway);
    put(&spool, "lost", gone, &json!({}));
    becomes(&spool, "lost", "dismissed");
    becomes(&spool, "lost.2", "done");
    let commits = gateway.all_commits();
    let [(session, _, text)] = commits.as_slice() else { panic!("{commits:?}") };
    assert_eq!(session, OTHER);
    assert!(
        text.contains(gone) && text.contains("does not exist") && text.contains("this is lost"),
        "{text}"
    );
    let shown = Cli::new(&spool, &["show", "lost"]).run().exits(0).stdout;
    assert!(shown.contains(OTHER) && shown.contains("lost.2"), "{shown}");
    // Never otherwise: an archived session waits for a person.
    gateway.archive(SESSION, true);
    put(&spool, "archived", SESSION, &json!({}));
    becomes(&spool, "archived", "held");
    // And never twice.
    gateway.delete(OTHER);
    put(&spool, "both-gone", gone, &json!({}));
    becomes(&spool, "both-gone", "dismissed");
    becomes(&spool, "both-gone.2", "dead");
    assert_eq!(gateway.all_commits().iter().filter(|(_, _, text)| text.contains("both-gone")).count(), 0);
    assert_eq!(agent.stop(), 0);
    audit(&spool);
}

#[test]
fn beyond_the_budget_deliveries_are_gathered_and_status_says_so() {
    let (spool, gateway) = bench("[default]\nbudget = \"2 in 1h\"\nwindow = \"10ms\"\n");
    let agent = Agent::start(&spool, &gateway);
    for id in ["one", "two"] {
        put(&spool, id, SESSION, &json!({}));
        becomes(&spool, id, "done");
    }
    for n in 0..5 {
        put(&spool, &format!("storm-{n}"), SESSION, &json!({}));
    }
    wait_until("status says so", || {
        let said = Cli::new(&spool, &["status"]).run();
        said.code == 1 && said.stdout.contains("more than its budget")
    });
    put(&spool, "elsewhere", OTHER, &json!({}));
    becomes(&spool, "elsewhere", "done");
    assert!((0..5).all(|n| state(&spool.spool, &format!("storm-{n}")) == "pending"));
    // Whoever is urgent takes along what waits.
    put(&spool, "urgent", SESSION, &json!({"urgent": true}));
    becomes(&spool, "urgent", "done");
    for n in 0..5 {
        becomes(&spool, &format!("storm-{n}"), "done");
    }
    assert_eq!(turns(&gateway, SESSION), 3, "the storm is one delivery");
    put(&spool, "after", SESSION, &json!({}));
    configure(&spool, "[default]\nbudget = \"off\"\n");
    agent.signal("HUP");
    becomes(&spool, "after", "done");
    assert_eq!(agent.stop(), 0);
    audit(&spool);
}

#[test]
fn who_may_not_write_to_a_session_is_held_and_a_stranger_is_taken_only_by_name() {
    let me = rustix::process::geteuid().as_raw();
    let (spool, gateway) = bench(&format!("[allow]\n{me} = [\"agent:main:telegram:direct:77002\"]\n"));
    let agent = Agent::start(&spool, &gateway);
    put(&spool, "mine", OTHER, &json!({}));
    put(&spool, "not-mine", SESSION, &json!({}));
    becomes(&spool, "mine", "done");
    becomes(&spool, "not-mine", "held");
    let shown = Cli::new(&spool, &["show", "not-mine"]).run().exits(0).stdout;
    assert!(shown.contains(&format!("user {me} may not write to {SESSION}")), "{shown}");
    if me != 0 {
        eprintln!("skipped: files of other users, which only root can make");
        return;
    }
    let drop_as = |uid: u32, id: &str, session: &str| {
        drop_record(
            &spool,
            "x.tmp",
            json!({"id": id, "sessionKey": session, "text": "x"}).to_string().as_bytes(),
        );
        let (from, to) =
            (spool.spool.dir(Dir::New).join("x.tmp"), spool.spool.dir(Dir::New).join(format!("{id}.json")));
        std::os::unix::fs::chown(&from, Some(uid), None).unwrap();
        spool.spool.fs().rename(&from, &to).unwrap();
    };
    drop_as(4242, "stranger", OTHER);
    wait_until("a stranger is left alone", || agent.log().contains("belongs to user 4242"));
    configure(&spool, &format!("[allow]\n4242 = [{OTHER:?}]\n"));
    agent.signal("HUP");
    becomes(&spool, "stranger", "done");
    drop_as(4242, "too-far", SESSION);
    becomes(&spool, "too-far", "held");
    Cli::new(&spool, &["release", "not-mine"]).run().exits(0);
    becomes(&spool, "not-mine", "done");
    audit(&spool);
}

/// A completion that starts a turn that starts a job that completes: a turn gets no more than its budget at once, what
/// comes on top is gathered into few deliveries, all of it arrives once, and `spool status` says what goes on.
#[test]
fn a_storm_of_jobs_that_start_jobs_is_gathered_and_loses_nothing() {
    const QUICK: usize = 12;
    const ALL: usize = 60;
    let (spool, gateway) = bench("[default]\nbudget = \"12 in 2m\"\nwindow = \"10ms\"\n");
    let agent = Agent::start(&spool, &gateway);
    let mut ids = Vec::new();
    let mut start_job = || {
        let id = format!("storm-{:04}", ids.len());
        put(&spool, &id, SESSION, &json!({"status": "ok"}));
        ids.push(id);
        ids.len()
    };
    start_job();
    let mut answered = 0;
    wait_until("the budget is used up", || {
        let turns = turns(&gateway, SESSION);
        if turns > answered {
            answered = turns;
            start_job();
        }
        answered >= QUICK
    });
    // Jobs that were started before end, whatever is delivered; until somebody looks.
    while start_job() < ALL {}
    wait_until("status says so", || {
        let said = Cli::new(&spool, &["status"]).run();
        let is_told =
            said.code == 1 && said.stdout.contains(SESSION) && said.stdout.contains("more than its budget");
        is_told || start_job() == 0
    });
    for id in &ids {
        becomes(&spool, id, "done");
        assert_eq!(gateway.commits_containing(id), 1, "{id}");
    }
    let turns = turns(&gateway, SESSION);
    assert!(turns > QUICK && turns * 3 < ids.len(), "{} records came in {turns} turns", ids.len());
    assert_eq!(agent.stop(), 0);
    audit(&spool);
    let told = Cli::new(&spool, &["list", "--state", "done", "--ids"]).run().exits(0).stdout;
    assert_eq!(told.lines().count(), ids.len(), "nothing is dropped, held or dead");
}
