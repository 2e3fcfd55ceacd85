//! What became of records, counted in the gateway's own database: lost, misdirected, doubled.
//!
//! A record is lost when no delivery names it, misdirected when a delivery in another session does, doubled when
//! more than one delivery does. The counts go into the figures of the run, so that the closing table speaks for
//! every record of every scenario and not only for those of the scenario about kills.

use super::checks::{Checks, Figures};
use super::support::{Outcome, marks};
use super::witness::Witness;

/// A record that was accepted, by its mark, and the session it is for.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) mark: String,
    pub(crate) session: String,
}

impl Expected {
    pub(crate) fn new(mark: &str, session: &str) -> Self {
        Expected { mark: mark.to_owned(), session: session.to_owned() }
    }
}

/// Follows records to their transcripts: three checks, and the figures. Gives the number of deliveries they took.
pub(crate) fn follow(
    records: &[Expected],
    witness: &Witness,
    checks: &mut Checks,
    figures: &mut Figures,
) -> Outcome<usize> {
    let rows: Vec<_> = witness.rows()?.into_iter().filter(|row| row.is_delivery()).collect();
    let named: Vec<Vec<String>> = rows.iter().map(|row| marks(&row.text)).collect();
    let (mut lost, mut wrong, mut doubled, mut used) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in records {
        let hits: Vec<usize> = (0..rows.len()).filter(|at| named[*at].contains(&record.mark)).collect();
        if hits.is_empty() {
            lost.push(record.mark.clone());
        }
        if hits.iter().any(|at| rows[*at].session != record.session) {
            wrong.push(record.mark.clone());
        }
        if hits.len() > 1 {
            let keys: Vec<&str> = hits.iter().map(|at| rows[*at].key.as_str()).collect();
            doubled.push(format!("{} under {}", record.mark, keys.join(" and ")));
        }
        used.extend(hits);
    }
    checks.that(lost.is_empty(), "every record is in a transcript", format!("lost: {}", lost.join(", ")));
    checks.that(wrong.is_empty(), "no record is in a wrong session", wrong.join(", "));
    checks.that(doubled.is_empty(), "no record is committed twice", doubled.join(", "));
    figures.records += records.len() as u64;
    figures.lost += lost.len() as u64;
    figures.wrong_session += wrong.len() as u64;
    figures.doubles += doubled.len() as u64;
    used.sort_unstable();
    used.dedup();
    Ok(used.len())
}
