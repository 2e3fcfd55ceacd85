//! The targets in this process: the corpus as it is, then changed at random, the same for the same seed.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::time::{Duration, Instant};

use spool_fuzz::{TARGETS, Target, mutate::mutate};

use super::printable;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// Feeds all targets for so long, or with a bug to hunt until the first violation.
pub(super) fn run(ground: &Ground, within: Duration, report: &mut Report) -> Outcome<()> {
    let corpora = TARGETS.iter().map(|target| Ok((target, corpus(target)?))).collect::<Outcome<Vec<_>>>()?;
    // What a target says when it panics is reported here, once.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    feed_all(ground, within, &corpora, report);
    set_hook(hook);
    Ok(())
}

/// A target's corpus, in the order of the names.
pub(super) fn corpus(target: &Target) -> Outcome<Vec<Vec<u8>>> {
    let dir = target.corpus();
    let wrong = |e: std::io::Error| format!("cannot read the corpus {}: {e}", dir.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(wrong)? {
        paths.push(entry.map_err(wrong)?.path());
    }
    paths.sort();
    if paths.is_empty() {
        return Err(format!("the corpus {} is empty", dir.display()).into());
    }
    paths.iter().map(|path| Ok(std::fs::read(path).map_err(wrong)?)).collect()
}

fn feed_all(ground: &Ground, within: Duration, corpora: &[(&Target, Vec<Vec<u8>>)], report: &mut Report) {
    let deadline = Instant::now() + within;
    for (target, corpus) in corpora {
        for input in corpus {
            report.count("corpus inputs", 1);
            if feed(target, input, report) && ground.hunts() {
                return;
            }
        }
    }
    let mut chance = ground.chance("fuzz in process");
    let mut broken = vec![false; corpora.len()];
    while Instant::now() < deadline {
        for ((target, corpus), broken) in corpora.iter().zip(&mut broken) {
            // One finding a target: the next inputs would find the same again.
            for _ in 0..if *broken { 0 } else { 32 } {
                let (Some(seed), Some(other)) = (chance.pick(corpus), chance.pick(corpus)) else { continue };
                let input = mutate(seed, other, target.max_len, |n| chance.below(n));
                report.count("inputs in process", 1);
                *broken |= feed(target, &input, report);
                if *broken && ground.hunts() {
                    return;
                }
            }
        }
    }
}

/// Feeds one input; whether that broke a promise.
fn feed(target: &Target, input: &[u8], report: &mut Report) -> bool {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) else { return false };
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    let said: String = said.chars().take(500).collect();
    report.violation(format!("{}: {said}: {}", target.name, printable(input)));
    true
}
