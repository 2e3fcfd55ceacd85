//! What is done after a crash, by the agent that starts, by its upkeep in time, and by a person who names an entry that
//! has two names. Each is the product's own way of doing it; only its order is told here.

use std::time::Duration;

use spooldir::fs::Unfit;
use spooldir::journal::Line;
use spooldir::record::{MAX_BYTES, Record};
use spooldir::{Dir, Entry, Error, Event, Id};

use super::ledger::entries;
use super::scene::{Scene, why};
use crate::layer::Outcome;

impl Scene {
    /// What every start does after a crash, and what the producers do that were told nothing.
    pub(super) fn recover(&mut self, patience: Duration) -> Outcome<()> {
        // The agent takes away what is old before it looks at what is new.
        self.prune_again()?;
        self.intake(Duration::ZERO)?;
        self.take_up(Dir::Sending)?;
        self.take_up(Dir::Deferred)?;
        self.mend()?;
        self.intake(patience)?;
        if self.fs.look(|image| entries(image).iter().any(|s| image.links(s.ino) > 1)) {
            if patience.is_zero() {
                self.mend_new()?;
            }
            self.intake(patience)?;
        }
        self.report_lost()?;
        self.sweep()?;
        Ok(())
    }

    /// The agent reads what is to be sent (again), as `spool_drain` does: what has two names is mended, what is no
    /// record any more is dead.
    fn take_up(&mut self, dir: Dir) -> Result<(), Error> {
        let there: Vec<Entry> = self.fs.look(|image| {
            entries(image).into_iter().filter(|s| s.dir == dir).filter_map(|s| s.entry).collect()
        });
        for entry in there {
            let spool = self.spool()?;
            let path = spool.path(&entry);
            let read = match spool.fs().read(&path, MAX_BYTES) {
                Err(Unfit::Linked(_)) if spool.mend(&entry.id)? => spool.fs().read(&path, MAX_BYTES),
                other => other,
            };
            let is_good = match read {
                Ok(content) => Record::parse(&content.bytes).is_ok(),
                Err(e) => e.is_gone(),
            };
            if !is_good {
                let line = Line::about("condemn", &spool.advance_why(&entry, &Event::Condemn, &why())?);
                spool.note(&[line])?;
            }
        }
        Ok(())
    }

    /// A person names an entry, as for `spool retry`: of two names one goes first.
    fn mend(&self) -> Result<(), Error> {
        let names: Vec<Id> = self.fs.look(|image| {
            let seen = entries(image).into_iter().filter(|s| image.links(s.ino) > 1 && s.dir != Dir::New);
            seen.filter_map(|s| s.entry.map(|e| e.id)).collect()
        });
        for id in names {
            self.spool()?.mend(&id)?;
        }
        Ok(())
    }

    /// What intake does with two names in `new/` and `tmp/` when it has looked at them for long enough.
    fn mend_new(&self) -> Result<(), Error> {
        let names: Vec<String> = self.fs.look(|image| {
            let seen = entries(image).into_iter().filter(|s| image.links(s.ino) > 1 && s.dir == Dir::New);
            seen.map(|s| s.name).collect()
        });
        for name in names {
            let spool = self.spool()?;
            spool.mend_file(&spool.dir(Dir::New).join(name), super::begun_ms())?;
        }
        Ok(())
    }
}
