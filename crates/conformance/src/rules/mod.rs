//! The rules, in the order in which they are tried: what a good run leaves, what a second one does, what is refused, and
//! what death and power cuts leave. Each names the section of `spool-format.md` that it comes from.

mod again;
mod kept;
mod killed;
mod publish;
mod refuse;

use spooldir::Dir;

use crate::bench::{Bench, Call, Ended};
use crate::stage::Stage;
use crate::verdict::{Outcome, Stop};

/// A rule.
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    /// Where it stands in `spool-format.md`.
    pub section: &'static str,
    /// What it demands.
    pub says: &'static str,
    /// The rules without which it says nothing.
    pub needs: &'static [&'static str],
    pub(crate) try_it: fn(&mut Bench<'_>) -> Outcome,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Without these nothing else can be judged.
const ANY: &[&str] = &["published"];
const ID: &[&str] = &["published", "id"];
const AGAIN: &[&str] = &["published", "id", "retry"];

/// All of them.
#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    Rule { name: "published", section: "4, 4.3", says: "exit 0 means one good record in new/, for the right session, with the right text", needs: &[], try_it: publish::published },
    Rule { name: "id", section: "3, 4.3", says: "the file is new/ID.json, and its record has that id", needs: ANY, try_it: publish::id },
    Rule { name: "tidy", section: "6, 4.3", says: "an ordinary file with one name and one's own; nothing stays in tmp/", needs: ANY, try_it: publish::tidy },
    Rule { name: "alone", section: "7", says: "nothing but tmp/ and new/ is touched, and nobody else's record", needs: ANY, try_it: publish::alone },
    Rule { name: "unseen", section: "4.3", says: "nothing is written under a name in new/", needs: ANY, try_it: publish::unseen },
    Rule { name: "texts", section: "4, 4.2", says: "difficult and long texts are published as they are, or refused", needs: ANY, try_it: publish::texts },
    Rule { name: "sessions", section: "4.1", says: "difficult sessions are published as they are, or refused", needs: ANY, try_it: publish::sessions },
    Rule { name: "retry", section: "4.3", says: "the same record under the same id again is a success, and adds nothing", needs: ID, try_it: again::retry },
    Rule { name: "moved-on", section: "4.3, 6", says: "the same when the agent has moved the entry on, which stays as it is", needs: AGAIN, try_it: again::moved_on },
    Rule { name: "conflict", section: "4.3", says: "another record under a taken id is an error, and the first one stays", needs: ID, try_it: again::conflict },
    Rule { name: "race", section: "4.3", says: "of eight at once under one id, those that say yes have published the same", needs: ID, try_it: again::race },
    Rule { name: "format", section: "2, 11", says: "a spool of another format is refused and left alone", needs: ANY, try_it: refuse::format },
    Rule { name: "missing", section: "2", says: "a spool that is not there is made rightly, or refused", needs: ANY, try_it: refuse::missing },
    Rule { name: "not-writable", section: "4.3", says: "tmp/ or new/ cannot be written: an error", needs: ANY, try_it: refuse::not_writable },
    Rule { name: "write-error", section: "4.3", says: "a write that is cut short or fails: an error, and nothing partial in new/", needs: ANY, try_it: refuse::write_error },
    Rule { name: "full-disk", section: "4.3", says: "the same on a full disk", needs: ANY, try_it: refuse::full_disk },
    Rule { name: "killed", section: "5.2", says: "a SIGKILL at any moment leaves a whole record or none, and a retry works", needs: ANY, try_it: killed::killed },
    Rule { name: "kept", section: "1, 4.3", says: "what it said yes to is there after a power cut", needs: ANY, try_it: kept::kept },
    Rule { name: "kept-retry", section: "4.3", says: "so is what it found published before, by somebody who died before the flush", needs: AGAIN, try_it: kept::kept_retry },
];

/// A long text that still fits into a variable of the environment.
const LONG: usize = 120_000;

impl Bench<'_> {
    /// Runs it where it has no reason to refuse.
    fn run_well(&mut self, stage: &Stage, call: &Call) -> Result<(), Stop> {
        match self.run(stage.root(), call)? {
            Ended::Yes => Ok(()),
            Ended::No(how) => Err(Stop::Fail(format!("it refused an ordinary record ({how})"))),
        }
    }

    /// Runs it where it may refuse, but must not say yes to what is not there, nor leave what is not whole.
    fn run_refusable(&mut self, stage: &Stage, call: &Call) -> Result<Ended, Stop> {
        let ended = self.run(stage.root(), call)?;
        judge_refusable(stage, call, &ended)?;
        Ok(ended)
    }
}

fn judge_refusable(stage: &Stage, call: &Call, ended: &Ended) -> Result<(), Stop> {
    match ended {
        Ended::Yes => stage.must_hold(call).map(drop),
        // An error may also mean that it is not known; then the record is whole.
        Ended::No(_) => stage.must_be_whole(call).map(drop),
    }
}

/// What is in `new/` and `tmp/`, for a rule by which nothing may change there.
fn contents(stage: &Stage) -> Result<Vec<(String, Vec<u8>)>, Stop> {
    let mut contents = Vec::new();
    for dir in [Dir::Tmp, Dir::New] {
        for name in stage.names(dir)? {
            let bytes = std::fs::read(stage.dir(dir).join(&name))?;
            contents.push((format!("{}/{name}", dir.name()), bytes));
        }
    }
    Ok(contents)
}
