//! What the journal knows of entries: attempts, the last error, the evidence. It is read once, for the entries that
//! are asked for; nothing that a verb *does* depends on it, so a journal that cannot be read is only said.

use std::collections::HashMap;

use spooldir::Spool;
use spooldir::journal::Line;

/// What the journal knows of one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The most attempts that a line speaks of.
    pub attempts: u32,
    /// The reason of the last thing that went wrong.
    pub last_error: Option<String>,
    /// The last evidence of the last delivery.
    pub evidence: Option<String>,
    /// The last delivery key.
    pub key: Option<String>,
}

impl History {
    /// Takes in the next line about the entry.
    pub fn add(&mut self, line: &Line) {
        self.attempts = self.attempts.max(line.attempts.unwrap_or(0));
        match line.event.as_str() {
            // A new delivery starts without evidence.
            "take" => self.evidence = None,
            "fail" | "condemn" | "hold" | "rekey" | "tell" if line.reason.is_some() => {
                self.last_error.clone_from(&line.reason);
            }
            _ => {}
        }
        if line.evidence.is_some() {
            self.evidence.clone_from(&line.evidence);
        }
        if line.key.is_some() {
            self.key.clone_from(&line.key);
        }
    }
}

/// Shows each line of the journal; says on stderr when that did not go well.
pub fn each_line(spool: &Spool, see: impl FnMut(Line)) {
    match spool.each_line(see) {
        Ok(0) => {}
        Ok(torn) => crate::complain(&format!("{torn} lines of the journal cannot be read and are left out")),
        Err(e) => crate::complain(&format!("{e}; attempts, errors and evidence may be missing below")),
    }
}

/// The histories of the entries in `wanted`.
pub fn read(spool: &Spool, wanted: impl Iterator<Item = String>) -> HashMap<String, History> {
    let mut histories: HashMap<String, History> = wanted.map(|id| (id, History::default())).collect();
    each_line(spool, |line| {
        if let Some(history) = histories.get_mut(&line.id) {
            history.add(&line);
        }
    });
    histories
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: &str) -> Line {
        Line { event: event.into(), id: "a".into(), ..Line::default() }
    }

    #[test]
    fn the_last_delivery_counts_and_errors_are_remembered() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let evidence = |word: &str| Line { evidence: Some(word.into()), ..line("evidence") };
        spool
            .note(&[
                Line { key: Some("k1".into()), ..line("take") },
                evidence("accepted"),
                Line { attempts: Some(2), ..line("fail").because("slow") },
                Line { key: Some("k2".into()), ..line("take") },
            ])
            .unwrap();
        let of = || read(&spool, ["a".to_owned(), "b".to_owned()].into_iter());
        let expected =
            History { attempts: 2, last_error: Some("slow".into()), evidence: None, key: Some("k2".into()) };
        assert_eq!(of()["a"], expected);
        assert_eq!(of()["b"], History::default());
        let proved = line("prove").because("not an error");
        spool.note(&[Line { evidence: Some("sent".into()), ..proved }]).unwrap();
        assert_eq!(of()["a"], History { evidence: Some("sent".into()), ..expected });
    }
}
