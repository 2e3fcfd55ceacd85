//! How the spool and its agent are, in every form in which it is told, with records that would like to say more: a
//! page, a metrics file, a line for a monitor, and the metrics that an agent serves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use spool_drain::status::{AgentStatus, GatewayStatus};
use spool_gateway::fake::{FakeThread, Options};
use spooldir::journal::Line;
use spooldir::lock::AgentLock;
use spooldir::moves::Why;
use spooldir::{Entry, Event, Id, State};

use crate::support::TempSpool;
use crate::support::programs::{Agent, Cli, drain_args, state, wait_until, write_token};

const TOKEN: &str = "correct-token";
/// What the format lets a session key be.
const SESSION: &str = "agent:main:<script>alert(1)</script>\"} 1 | x=1 \\ &amp;";
const LABEL: &str = "<img src=x onerror=alert(2)>\u{1b}]0;x\u{7}\n# EOF\nspool_forged 1";

/// A spool with a dead entry whose every text is hostile.
fn hostile() -> TempSpool {
    let spool = TempSpool::new();
    let record = json!({"id": "dead-1", "sessionKey": SESSION, "label": LABEL, "text": LABEL});
    let id = Id::new("dead-1").unwrap();
    spool.spool.publish(&id, record.to_string().as_bytes(), false).unwrap();
    let entry = Entry::new(id, State::Pending);
    let why = Why { reason: LABEL.into(), ..Why::default() };
    let dead = spool.spool.advance_why(&entry, &Event::Condemn, &why).unwrap();
    let accept = Line { session_key: Some(SESSION.into()), ..Line::about("accept", &entry) };
    spool.spool.note(&[accept, Line::moved(&Event::Condemn, &dead).because(LABEL)]).unwrap();
    spool
}

/// As if an agent were running that sees its gateway so.
fn agent(spool: &TempSpool, gateway: &str) -> AgentLock {
    let lock = AgentLock::take(&spool.spool).unwrap();
    let now = spooldir::time::now_ms();
    let gateway = GatewayStatus { state: gateway.into(), since: now, ..GatewayStatus::default() };
    let status = AgentStatus { pid: 7, started_at: now, updated_at: now, gateway, ..AgentStatus::default() };
    assert!(spool_drain::status::write(&spool.spool, &status));
    lock
}

fn line_of(spool: &TempSpool, code: i32) -> String {
    let ran = Cli::new(spool, &["status", "--check"]).run().exits(code);
    assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{ran:?}");
    assert_eq!(ran.stdout.matches('|').count(), 1, "{ran:?}");
    ran.stdout
}

#[test]
fn a_monitor_gets_one_line_and_its_number() {
    let well = TempSpool::new();
    assert!(line_of(&well, 2).starts_with("SPOOL CRITICAL - no agent is running"));
    let lock = agent(&well, "up");
    let line = line_of(&well, 0);
    assert!(line.starts_with("SPOOL OK - 0 under way") && line.contains("| pending=0 sending=0"), "{line}");
    drop(lock);
    let ill = hostile();
    let _lock = agent(&ill, "down");
    let line = line_of(&ill, 1);
    assert!(line.starts_with("SPOOL WARNING - the gateway is down (and 1 more) |"), "{line}");
    let nowhere = well.home().join("nowhere");
    let ran = Cli::new(&well, &["status", "--check"]).env("SPOOL_DIR", &nowhere).run().exits(3);
    assert!(ran.stdout.starts_with("SPOOL UNKNOWN - cannot") && ran.stdout.lines().count() == 1, "{ran:?}");
}

#[test]
fn the_page_is_one_file_in_which_records_stay_text() {
    let spool = hostile();
    let path = spool.home().join("spool.html");
    let file = path.to_str().unwrap();
    for _ in 0..2 {
        let ran = Cli::new(&spool, &["status", "--html", file]).run().exits(0);
        assert_eq!((ran.stdout, ran.stderr), (String::new(), String::new()));
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    for forbidden in ["<script", "<img", "\u{1b}", "\u{7}", "http://", "https://", " src=", " href="] {
        let text = page.replace("&lt;img src=x", "");
        assert!(!text.contains(forbidden), "{forbidden:?}: {page}");
    }
    for told in ["&lt;script&gt;", "No agent", "spool drain", "dead-1", "<svg", "default-src 'none'"] {
        assert!(page.contains(told), "{told}: {page}");
    }
    let printed = Cli::new(&spool, &["status", "--html", "-"]).run().exits(0).stdout;
    assert!(printed.contains("&lt;script&gt;"));
    let ran = Cli::new(&spool, &["status", "--html", "/nowhere/x.html"]).run().exits(73);
    assert!(ran.stderr.contains("cannot write /nowhere/x.html"), "{ran:?}");
}

#[test]
fn a_metrics_file_has_one_end_and_no_line_of_a_record() {
    let spool = hostile();
    let path = spool.home().join("spool.prom");
    Cli::new(&spool, &["status", "--metrics", path.to_str().unwrap()]).run().exits(0);
    let text = std::fs::read_to_string(&path).unwrap();
    let own = |text: &str| text.lines().all(|line| line.starts_with("spool_") || line.starts_with("# "));
    assert!(own(&text) && text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    assert!(!text.contains("spool_forged") && text.contains("spool_entries{state=\"dead\"} 1\n"), "{text}");
    assert!(text.contains("alert(1)</script>\\\"} 1 | x=1 \\\\ &amp;\",state=\"dead\"} 1\n"), "{text}");
    let printed = Cli::new(&spool, &["status", "--metrics"]).run().exits(0).stdout;
    assert!(own(&printed) && printed.contains("spool_agent_running 0\n"), "{printed}");
}

#[test]
fn the_json_names_lanes_in_trouble_and_the_next_thing_to_do() {
    let spool = hostile();
    let report: Value =
        serde_json::from_str(&Cli::new(&spool, &["status", "--json"]).run().exits(3).stdout).unwrap();
    assert_eq!(report["next"], "spool drain");
    assert_eq!(
        (&report["lanes"][0]["sessionKey"], &report["lanes"][0]["dead"]),
        (&json!(SESSION), &json!(1))
    );
    assert_eq!((&report["lanesInTrouble"], &report["lastDay"]["died"]), (&json!(1), &json!(1)));
    let shown = Cli::new(&spool, &["status"]).run().exits(3).stdout;
    assert!(shown.ends_with("next      spool drain\n") && !shown.contains('\u{1b}'), "{shown:?}");
}

fn fetch(address: &str, request: &str) -> String {
    let mut visitor = TcpStream::connect(address).unwrap();
    visitor.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    visitor.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    visitor.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_agent_serves_its_metrics_to_this_machine_alone_and_delivers_meanwhile() {
    let spool = TempSpool::new();
    write_token(&spool, TOKEN);
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    let session = "agent:main:telegram:direct:77001";
    gateway.add_chat(session, 77001);
    let agent = Agent::start_with(&spool, &gateway, &["--metrics", "127.0.0.1:0"]);
    wait_until("it says where", || agent.log().contains("/metrics\n"));
    let log = agent.log();
    let (_, address) = log.split_once("serving metrics on http://").unwrap();
    let (address, _) = address.split_once('/').unwrap();
    // Visitors who say nothing cost those who come after them seconds, and deliveries nothing.
    let idle: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let id = Id::mint();
    let record = json!({"id": id.as_str(), "sessionKey": session, "text": "x"});
    spool.spool.publish(&id, record.to_string().as_bytes(), true).unwrap();
    wait_until("it is delivered", || state(&spool.spool, id.as_str()) == "done");
    let good = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let answer = fetch(address, &good);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text;"), "{answer}");
    assert!(answer.contains("\nspool_agent_running 1\n") && answer.ends_with("# EOF\n"), "{answer}");
    assert!(
        fetch(address, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n").starts_with("HTTP/1.1 403 ")
    );
    drop(idle);
    let token = spool.home().join("token");
    let other = TempSpool::new();
    let url = gateway.url();
    let [drain, flag, url, token_flag] = drain_args(&url);
    let serve = |at: &str| {
        let args = [drain, flag, url, token_flag, token.to_str().unwrap(), "--once", "--metrics", at];
        Cli::new(&other, &args).run()
    };
    serve("0.0.0.0:0").exits(64).says("only loopback addresses");
    serve("9469").exits(64).says("is no address and port");
    serve(address).exits(69).says("cannot serve metrics on");
    assert_eq!(agent.stop(), 0);
}
