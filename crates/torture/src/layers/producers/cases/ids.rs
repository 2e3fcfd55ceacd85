//! Ids: the record's own, the file's, those of others, and those that are none.

use std::time::Duration;

use super::super::case::{Case, Expect, becomes, dead, told};
use super::super::plant::{Plant, age};
use crate::layer::Outcome;

const RULE: &str = "\"id\" must be 1 to 128 of";
const TAKEN: &str = "belongs to another record";

#[rustfmt::skip]
pub(super) static CASES: &[Case] = &[
    told("id is not the name", |p| { let id = format!("other-{}", p.stem); p.id(&id) }),
    told("id of one character", |p| p.id("7")),
    told("id of 128 characters", |p| p.id(&"i".repeat(128))),
    told("id of colons", |p| p.id("a:::::")),
    told("id with dots", |p| p.id("a..b")),
    told("id with the suffix", |p| p.id("a.json")),
    told("id like a key", |p| p.id("sp-01929f3e000070008000000000000001")),
    told("id like a directory", |p| p.id("dead")),
    told("id like a uuid in capitals", |p| p.id("01929F3E-0000-7000-8000-00000000000A")),
    told("id null", |p| p.with(r#""id":null"#)),
    told("name is a uuid in capitals", |p| p.named("01929F3E-0000-7000-8000-00000000000B.json")),
    told("name is the nil uuid", |p| p.named("00000000-0000-0000-0000-000000000000.json")),
    told("name is a uuid, id is another", |p| {
        let staged = p.write(p.record(r#","id":"01929f3e-0000-7000-8000-00000000000c""#))?;
        p.drop_as(staged, "01929f3e-0000-7000-8000-00000000000d.json");
        Ok(())
    }),
    dead("id of 129 characters", RULE, |p| p.id(&"i".repeat(129))),
    dead("id of 200,000 characters", RULE, |p| p.id(&"i".repeat(200_000))),
    dead("id empty", RULE, |p| p.id("")),
    dead("id with a slash", RULE, |p| p.id("a/b")),
    dead("id that climbs", RULE, |p| p.id("../../../etc/cron.d/owned")),
    dead("id absolute", RULE, |p| p.id("/etc/owned")),
    dead("id dot dot", RULE, |p| p.id("..")),
    dead("id hidden", RULE, |p| p.id(".hidden")),
    dead("id with a leading dash", RULE, |p| p.id("-rf")),
    dead("id of a reason", RULE, |p| p.id("x.why")),
    dead("id with commas", RULE, |p| p.id("a,sp-01929f3e000070008000000000000001,0")),
    dead("id with a newline", RULE, |p| p.id("a\nb")),
    dead("id with ansi", RULE, |p| p.id("a\u{1b}[31m")),
    dead("id with a blank", RULE, |p| p.id("a b")),
    dead("id in Cyrillic", RULE, |p| p.id("\u{430}bc")),
    dead("id full-width", RULE, |p| p.id("\u{ff41}")),
    dead("id with a nul", "NUL", |p| p.id("a\0b")),
    dead("id a number", "\"id\" must be a string", |p| p.with(r#""id":7"#)),
    dead("id an object", "\"id\" must be a string", |p| p.with(r#""id":{}"#)),
    becomes("case-fold twins", Expect::Told, |p| {
        for twin in ["Twin", "twin", "TWIN"] {
            let staged = p.write(p.record(&format!(r#","id":"{twin}""#)))?;
            p.drop_as(staged, format!("{twin}.json"));
        }
        Ok(())
    }),
    dead("id of a waiting neighbour, other bytes", TAKEN, |p| {
        let id = format!("taken-{}", p.stem);
        p.id(&id)?;
        neighbour(p, &id)
    }),
    dead("id of a waiting neighbour, twice", TAKEN, |p| {
        let id = format!("taken-{}", p.stem);
        p.id(&id)?;
        let staged = p.write(p.record(&format!(r#","id":"{id}","label":"again""#)))?;
        p.drop_as(staged, format!("again-{id}.json"));
        neighbour(p, &id)
    }),
    becomes("id of a waiting neighbour, same bytes", Expect::Gone, |p| {
        let id = format!("twice-{}", p.stem);
        let record = p.record(&format!(r#","id":"{id}""#));
        let staged = p.write(&record)?;
        p.drop_as(staged, format!("copy-of-{id}.json"));
        let staged = p.write(record)?;
        age(&staged, Duration::from_secs(30))?;
        p.drop_as(staged, format!("{id}.json")).expect = Expect::Told;
        Ok(())
    }),
    dead("id of what was delivered, other bytes", "which is done", |p| former(p, "done", false)).own(),
    dead("id of what is held, other bytes", "which is held", |p| former(p, "hold", false)).own(),
    dead("id of what is dead, other bytes", "which is dead", |p| former(p, "dead", false)).own(),
    dead("id of what was dismissed, other bytes", "which is dismissed", |p| former(p, "dismissed", false)).own(),
    becomes("id of what was delivered, same bytes", Expect::Gone, |p| former(p, "done", true)).own(),
    becomes("id of what is held, same bytes", Expect::Gone, |p| former(p, "hold", true)).own(),
    becomes("id of what is dead, same bytes", Expect::Gone, |p| former(p, "dead", true)).own(),
    dead("id of a symlink in done", TAKEN, |p| {
        let id = format!("squat-{}", p.stem);
        let link = p.path();
        std::os::unix::fs::symlink(p.out.join("secret.json"), &link)?;
        p.place(link, format!("done/{id}.json")).expect = Expect::Stays;
        p.id(&id)
    }).own(),
];

/// A younger record in `new/` under its own name, which is this id.
fn neighbour(p: &mut Plant<'_>, id: &str) -> Outcome<()> {
    let record = p.fill(&format!(r#"{{"sessionKey":"$S","text":"the first $W","id":"{id}"}}"#));
    let staged = p.write(record)?;
    age(&staged, Duration::from_secs(30))?;
    p.drop_as(staged, format!("{id}.json")).expect = Expect::Told;
    Ok(())
}

/// A record in another state, and a second file with its id.
fn former(p: &mut Plant<'_>, dir: &str, same: bool) -> Outcome<()> {
    let id = format!("former-{}", p.stem);
    let record = p.record(&format!(r#","id":"{id}""#));
    let staged = p.write(&record)?;
    p.place(staged, format!("{dir}/{id}.json")).expect = Expect::Stays;
    let staged =
        p.write(if same { record } else { p.record(&format!(r#","id":"{id}","label":"other""#)) })?;
    p.drop_as(staged, format!("{id}.json"));
    Ok(())
}
