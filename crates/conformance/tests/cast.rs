//! The producers that come with the kit, judged: the references pass, the careless ones fail what their heads say. What
//! needs root is tried where there is root. All rules of all of them, with many kills, are the torture's work.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure that should be seen")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use spool_conformance::cast::{self, Actor};
use spool_conformance::{Judgement, Options, RULES, judge};

/// In CI everything is to be there.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Judges these, two at a time; those that lack their language are named.
fn judged(actors: &[Actor], options: impl Fn(&Actor) -> Options + Sync) -> Vec<(&Actor, Judgement)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(actor) = actors.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(program) = actor.lacks() {
                assert!(!is_ci(), "there is no {program} for {}", actor.name);
                eprintln!("skipped: there is no {program} for {}", actor.name);
                continue;
            }
            let scratch = tempfile::tempdir().unwrap();
            let command = actor.command(scratch.path()).unwrap();
            let judgement = judge(&command, &actor.options(&options(actor)), scratch.path()).unwrap();
            println!("{}\n{judgement}\n", actor.name);
            done.push((actor, judgement));
        }
        done
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn the_references_pass_every_rule_that_can_be_tried() {
    let references: Vec<Actor> = cast::all().unwrap().into_iter().filter(|a| !a.is_careless()).collect();
    assert_eq!(references.len(), 4);
    for (actor, judgement) in judged(&references, |_| Options { kills: 12, races: 2, ..Options::default() }) {
        assert_eq!(judgement.findings.len(), RULES.len());
        assert!(judgement.failed().is_empty(), "{}:\n{judgement}", actor.name);
        assert!(judgement.passed().len() >= 9, "{}:\n{judgement}", actor.name);
    }
}

#[test]
fn the_careless_ones_fail_what_their_heads_say() {
    let careless: Vec<Actor> = cast::all().unwrap().into_iter().filter(Actor::is_careless).collect();
    assert!(careless.len() >= 10);
    let only = |actor: &Actor| {
        let only =
            ["published", "id"].into_iter().map(str::to_owned).chain(actor.must_fail.clone()).collect();
        Options { kills: 4, races: 4, only, ..Options::default() }
    };
    for (actor, judgement) in judged(&careless, only) {
        assert_eq!(actor.wrong(&judgement), None, "{judgement}");
        let failed = judgement.failed();
        let not_tried = judgement.not_tried();
        for rule in &actor.must_fail {
            let is_seen = failed.contains(&rule.as_str()) || not_tried.contains(&rule.as_str());
            assert!(is_seen, "{} passes {rule}:\n{judgement}", actor.name);
        }
    }
}

/// Each rule has somebody who fails it.
#[test]
fn every_rule_can_fail() {
    let careless = cast::all().unwrap();
    for rule in RULES {
        let has =
            careless.iter().any(|a| a.must_fail.iter().chain(&a.may_fail).any(|name| name == rule.name));
        assert!(has, "nobody fails {}", rule.name);
    }
}

/// The two recipes of the page are the two references, word for word: one cannot change without the other.
#[test]
fn the_recipes_of_the_page_are_the_references() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(home.join("../../spool-format.md")).unwrap();
    for (info, file) in [("sh recipe", "sh/publish.sh"), ("python recipe", "python/publish.py")] {
        let recipe = page.split_once(&format!("```{info}\n")).unwrap().1.split_once("```").unwrap().0;
        let program = std::fs::read_to_string(home.join("producers").join(file)).unwrap();
        assert!(program.ends_with(recipe), "{file} does not end in the recipe of the page");
    }
}

#[test]
fn the_rules_of_the_page_are_those_of_the_kit() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| `") && !line.contains("SPOOL_")).collect();
    let due: Vec<String> =
        RULES.iter().map(|rule| format!("| `{}` | {} | {} |", rule.name, rule.section, rule.says)).collect();
    assert_eq!(rows, due);
}
