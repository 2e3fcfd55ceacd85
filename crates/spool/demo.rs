//! `spool demo`: the whole of it in a few seconds, in a temporary spool, with the built-in gateway.
//!
//! Real parts but for the gateway, which is the fake one that behaves like the measured one: records are published like
//! any other, the real agent delivers them over a real WebSocket, and what arrived is counted in the gateway's
//! transcripts, not in the agent's books. Exit 0 only if every record arrived once, in its session and in no other.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use spool_drain::{Options, sanitize};
use spool_gateway::fake::{self, Fake, Model};
use spool_gateway::openclaw::{Config, OpenClawConnector};
use spool_gateway::secret::{Secret, Source};
use spooldir::time::now_ms;
use spooldir::{Entry, Id, Spool, exit};

use crate::Failure;
use crate::args::Args;
use tokio::signal::unix::SignalKind;

use crate::drain::{asked_to_end, runtime};
use crate::{reroute, view};

/// The demo did not come out as it must.
const WRONG: u8 = 1;
const TOKEN: &str = "demo-token";
const SESSION: &str = "agent:main:telegram:direct:77001";
const CHAT: i64 = 77001;
const OTHER: &str = "agent:main:telegram:direct:77002";
const MISSING: &str = "agent:main:telegram:direct:99999";
/// How many records the story tells of.
const RECORDS: usize = 5;
/// The longest that one step may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long the gateway stays away. Longer than the agent's first attempts to reach it.
const AWAY: Duration = Duration::from_millis(1500);

/// Runs the demo. Exits 0 if the counts are right, else 1.
///
/// # Errors
/// When there is no place for a spool or no port for the gateway.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let home = Home::new();
    let spool = Spool::create(&home.0.join("spool"))?;
    let stay = args.stay;
    runtime()?.block_on(async {
        let interrupted =
            asked_to_end(&[SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()])?;
        let fake = start_gateway().await?;
        let connector = OpenClawConnector::new(Config {
            token: Some(Source::Literal(Secret::new(TOKEN))),
            ..Config::new(fake.url())
        });
        let options = Options::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let agent = spool_drain::run(&spool, &connector, &options, async {
            // An error means that the other end is gone: the same thing.
            drop(ended.await);
        });
        let show = async {
            let demo = Demo { spool: &spool, fake: &fake, started: Instant::now() };
            let code = demo.play(stay, interrupted).await;
            drop(end);
            code
        };
        let (summary, code) = tokio::join!(agent, show);
        summary?;
        code
    })
}

async fn start_gateway() -> Result<Fake, Failure> {
    let options = fake::Options {
        token: Some(TOKEN.into()),
        model: Model::Says("Understood.".into()),
        ..fake::Options::default()
    };
    let fake = Fake::start(options).await;
    let fake = fake.map_err(|e| {
        Failure::new(exit::UNAVAILABLE, format!("cannot open a port on the loopback for the demo: {e}"))
    })?;
    fake.add_chat(SESSION, CHAT);
    fake.add_chat(OTHER, CHAT + 1);
    Ok(fake)
}

struct Demo<'a> {
    spool: &'a Spool,
    fake: &'a Fake,
    started: Instant,
}

impl Demo<'_> {
    /// Plays, and says how it went. Whoever interrupts it ends it.
    async fn play(&self, stay: bool, interrupted: impl Future<Output = ()>) -> Result<u8, Failure> {
        tokio::pin!(interrupted);
        let ids = tokio::select! {
            ids = self.story() => ids?,
            () = &mut interrupted => {
                self.tell("interrupted");
                return Ok(WRONG);
            }
        };
        let is_right = self.count(&ids)?;
        if stay {
            self.invite();
            tokio::select! {
                () = self.watch() => {}
                () = &mut interrupted => self.tell("ended; the temporary spool is removed"),
            }
        }
        Ok(if is_right { exit::OK } else { WRONG })
    }

    /// The story. Returns the ids under which the records should have arrived.
    async fn story(&self) -> Result<Vec<Id>, Failure> {
        self.tell(&format!(
            "a spool in {}, a gateway at {}, an agent between them",
            self.spool.root().display(),
            self.fake.url()
        ));
        let build = self.put(SESSION, "ok", "build", "The build is done, 214 tests passed.")?;
        self.until(&build, "done").await?;
        self.tell(&format!("  delivered; the chat was answered: {:?}", self.last_reply()));

        self.fake.kill().await;
        self.tell("the gateway is killed");
        let mut waiting = vec![
            self.put(SESSION, "failed", "deploy", "The deploy failed: no space left on device.")?,
            self.put(SESSION, "ok", "backup", "The backup is complete, 3.1 GB.")?,
            self.put(SESSION, "ok", "report", "The weekly report is ready.")?,
        ];
        tokio::time::sleep(AWAY).await;
        let states = waiting.iter().map(|id| self.state(id)).collect::<Result<Vec<_>, _>>()?;
        self.tell(&format!("  the gateway is still away; the three are kept: {}", states.join(", ")));
        let back = self.fake.restart().await;
        back.map_err(|e| {
            Failure::new(exit::UNAVAILABLE, format!("cannot open the gateway's port again: {e}"))
        })?;
        let since = Instant::now();
        self.tell("the gateway is back");
        for id in &waiting {
            self.until(id, "done").await?;
        }
        self.tell(&format!(
            "  all three delivered {} ms later, in {}:",
            since.elapsed().as_millis(),
            self.turns(&waiting)
        ));
        self.quote(&waiting);

        let lost = self.put(MISSING, "ok", "import", "The import is done.")?;
        self.until(&lost, "dead").await?;
        let entry = self.entry(&lost)?;
        let why = self.spool.why(&entry).unwrap_or_default();
        self.tell(&format!("  dead: {}", view::brief(&why.reason, 160)));
        let outcome = reroute::run(self.spool, &entry, OTHER)?;
        let new = Id::new(&outcome.new_id.unwrap_or_default())?;
        self.tell(&format!("spool retry {} --session {OTHER}", short(&lost)));
        self.until(&new, "done").await?;
        self.tell(&format!("  delivered as {}", short(&new)));
        waiting.insert(0, build);
        waiting.push(new);
        Ok(waiting)
    }

    /// Counts in the gateway's transcripts what arrived, and audits the spool. The record for the session that was not
    /// there is accepted twice, under its old and its new id; the old one is dismissed.
    fn count(&self, ids: &[Id]) -> Result<bool, Failure> {
        let audit = self.spool.audit()?;
        let accepted = usize::try_from(audit.accepted).unwrap_or(0);
        let rerouted = accepted.saturating_sub(ids.len());
        let arrivals: Vec<usize> = ids.iter().map(|id| self.fake.commits_containing(id.as_str())).collect();
        let delivered = arrivals.iter().filter(|n| **n > 0).count();
        let doubles: usize = arrivals.iter().map(|n| n.saturating_sub(1)).sum();
        let lost = (ids.len() - delivered) + audit.lost.len();
        let elsewhere = self.fake.all_commits().iter().filter(|(s, ..)| s != SESSION && s != OTHER).count();
        let created = self.fake.sessions().iter().filter(|s| *s != SESSION && *s != OTHER).count();
        self.tell(&format!(
            "accepted {accepted}: delivered {delivered}, rerouted {rerouted}; \
             doubles {doubles}, lost {lost}, in a wrong session {elsewhere}, sessions created {created}"
        ));
        let holds = audit.holds();
        self.tell(if holds {
            "the audit of the spool holds"
        } else {
            "the audit of the spool DOES NOT HOLD"
        });
        let is_right = delivered == RECORDS && rerouted == 1 && doubles + lost + elsewhere + created == 0;
        Ok(is_right && holds)
    }

    fn put(&self, session: &str, status: &str, label: &str, text: &str) -> Result<Id, Failure> {
        let id = Id::mint();
        let record = json!({"v": 1, "id": id.as_str(), "sessionKey": session, "status": status, "label": label,
            "text": text, "createdAt": now_ms()});
        self.spool.publish(&id, record.to_string().as_bytes(), true)?;
        self.tell(&format!("put {} for {session}: {text}", short(&id)));
        Ok(id)
    }

    fn entry(&self, id: &Id) -> Result<Entry, Failure> {
        let entry = self.spool.find(id)?;
        entry.ok_or_else(|| Failure::new(exit::DATA, format!("{id} is nowhere in the spool")))
    }

    fn state(&self, id: &Id) -> Result<&'static str, Failure> {
        Ok(self.entry(id)?.state.word())
    }

    /// Waits until an entry is in a state.
    async fn until(&self, id: &Id, word: &str) -> Result<(), Failure> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let is = self.spool.find(id)?.map_or("on the move", |entry| entry.state.word());
            if is == word {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let why =
                    format!("the demo failed: {id} is {is} after {} s and should be {word}", LIMIT.as_secs());
                return Err(Failure::new(WRONG, why));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// In how many turns these records came to the session.
    fn turns(&self, ids: &[Id]) -> String {
        let turns = self.turns_with(ids).len();
        if turns == 1 { "one turn".into() } else { format!("{turns} turns") }
    }

    fn turns_with(&self, ids: &[Id]) -> Vec<String> {
        let has_one = |text: &String| ids.iter().any(|id| text.contains(id.as_str()));
        self.fake.all_commits().into_iter().map(|(_, _, text)| text).filter(has_one).collect()
    }

    /// Shows what the session read.
    fn quote(&self, ids: &[Id]) {
        for text in self.turns_with(ids) {
            for line in sanitize::text(&text).lines() {
                say(&format!("               | {line}"));
            }
        }
    }

    fn last_reply(&self) -> String {
        let said = self.fake.chat_messages("telegram", &format!("telegram:{CHAT}"));
        said.last().map(|m| view::brief(&m.text, 60)).unwrap_or_default()
    }

    fn invite(&self) {
        let beside = std::env::current_exe().map(|me| me.with_file_name("spool-put")).ok();
        let put = beside.filter(|path| path.is_file()).unwrap_or_else(|| "spool-put".into());
        let root = quoted(self.spool.root());
        say("\nTry it in another terminal (Ctrl-C here ends it):\n");
        say(&format!("  {} --spool {root} --session {SESSION} 'It works.'\n", quoted(&put)));
    }

    /// Shows what the chats get from now on.
    async fn watch(&self) {
        let mut known = self.fake.all_chat_messages().len();
        loop {
            self.fake.until(Duration::from_secs(3600), |fake| fake.all_chat_messages().len() > known).await;
            let said = self.fake.all_chat_messages();
            for message in said.iter().skip(known) {
                let session = message.session.as_deref().unwrap_or("-");
                let read = self.fake.all_commits().into_iter().rev().find(|(_, key, _)| *key == message.key);
                self.tell(&format!("{session} read and answered {:?}", view::brief(&message.text, 60)));
                for line in read.iter().flat_map(|(_, _, text)| text.lines()) {
                    say(&format!("               | {}", sanitize::line(line)));
                }
            }
            known = said.len();
        }
    }

    fn tell(&self, what: &str) {
        say(&format!("{:>8.3} s  {what}", self.started.elapsed().as_secs_f64()));
    }
}

/// Prints a line at once. A reader that has hung up is no reason to end the story.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _said = writeln!(out, "{line}").and_then(|()| out.flush()).is_ok();
}

/// The last characters of an id, which differ where the first ones tell the time.
fn short(id: &Id) -> String {
    let text = id.as_str();
    let from = text.rfind('-').map_or(0, |at| at + 1);
    format!("...{}", text.get(from..).unwrap_or(text))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// A directory that goes again when the demo ends, however it ends.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        Home(std::env::temp_dir().join(format!("spool-demo-{}", Id::mint())))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // It may never have been made.
        let _gone = std::fs::remove_dir_all(&self.0).is_ok();
    }
}
