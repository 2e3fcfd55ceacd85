//! What lies where no producer has any business: in the agent's own directories.
//!
//! Whoever can write there is the agent's user and can do anything; nobody can be kept out. But nothing there may hang
//! the agent, be followed out of the spool, or stop the others.

use rustix::fs::FileType;

use super::super::case::{Case, Expect, becomes, dead, stays, told};
use super::super::plant::Plant;
use crate::layer::Outcome;

const KEY: &str = "sp-01929f3e0000700080000000";

#[rustfmt::skip]
pub(super) static CASES: &[Case] = &[
    stays("a record in tmp", |p| at(p, "tmp/$I.json")),
    stays("a record in the root", |p| at(p, "$I.json")),
    stays("a record in logs", |p| at(p, "logs/$I.json")),
    stays("a fifo in tmp", |p| fifo(p, "tmp/$I.json")),
    stays("a symlink in tmp", |p| link(p, "tmp/$I.json")),
    told("a record in sending", |p| { let to = format!("sending/$I,{KEY}{},0.json", hex(p)); at(p, &to) }).own(),
    told("a record in sending, tenth epoch", |p| { let to = format!("sending/$I,{KEY}{}~10,3.json", hex(p)); at(p, &to) }).own(),
    dead("garbage in sending", "changed after it was published", |p| { let to = format!("sending/$I,{KEY}{},0.json", hex(p)); garbage(p, &to) }).own(),
    dead("a giant in sending", "changed after it was published", |p| {
        p.sparse(8 << 30)?;
        if let Some(piece) = p.pieces.last_mut() { piece.to = format!("sending/{},{KEY}00000001,0.json", p.stem).into(); }
        Ok(())
    }).own(),
    stays("a symlink in sending", |p| { let to = format!("sending/$I,{KEY}{},0.json", hex(p)); link(p, &to) }),
    stays("a fifo in sending", |p| { let to = format!("sending/$I,{KEY}{},0.json", hex(p)); fifo(p, &to) }),
    stays("a name that is none in sending", |p| at(p, "sending/$I.json")),
    stays("a key that is none in sending", |p| at(p, "sending/$I,sp-xyz,0.json")),
    stays("attempts beyond the limit in sending", |p| { let to = format!("sending/$I,{KEY}{},4294967296.json", hex(p)); at(p, &to) }),
    told("a record in deferred", |p| at(p, "deferred/$I,-,0,1.json")).own(),
    told("a record in deferred, all attempts used", |p| at(p, "deferred/$I,-,4294967295,1.json")).own(),
    told("a record in deferred, with a key", |p| { let to = format!("deferred/$I,{KEY}{},2,1.json", hex(p)); at(p, &to) }).own(),
    dead("garbage in deferred", "changed after it was published", |p| garbage(p, "deferred/$I,-,0,1.json")).own(),
    stays("a symlink in deferred", |p| link(p, "deferred/$I,-,0,1.json")),
    stays("a fifo in deferred", |p| fifo(p, "deferred/$I,-,0,1.json")),
    stays("a name that is none in deferred", |p| at(p, "deferred/$I,-,03,1.json")),
    stays("garbage in hold", |p| garbage(p, "hold/$I.json")),
    stays("garbage in dead", |p| garbage(p, "dead/$I.json")),
    stays("garbage in done", |p| garbage(p, "done/$I.json")),
    stays("garbage in dismissed", |p| garbage(p, "dismissed/$I.json")),
    stays("a fifo in dead", |p| fifo(p, "dead/$I.json")),
    stays("a fifo for a reason", |p| { at(p, "dead/$I.json")?; fifo(p, "dead/$I.why.json") }),
    stays("a symlink for a reason", |p| { at(p, "dead/$I.json")?; link(p, "dead/$I.why.json") }),
    stays("a hostile reason", |p| {
        at(p, "hold/$I.json")?;
        let staged = p.write("{\"reason\":\"\\u001b[31mred\\n2026-01-01 forged\\u202e\",\"at\":18446744073709551615}")?;
        let to = p.fill("hold/$I.why.json");
        p.place(staged, to);
        Ok(())
    }),
    stays("a reason without an entry", |p| garbage(p, "dead/$I.why.json")),
    stays("a symlink in done", |p| link(p, "done/$I.json")),
    stays("a fifo in the journal", |p| fifo(p, "journal/$I.jsonl.fifo")),
    stays("garbage in the journal", |p| garbage(p, "journal/2020-01-$I.jsonl")),
    stays("garbage in runs", |p| garbage(p, "runs/$I.json")).own(),
    stays("a symlink in runs", |p| link(p, "runs/$I.json")).own(),
    stays("a fifo in runs", |p| fifo(p, "runs/$I.json")).own(),
    becomes("a run whose log is a symlink to a secret", Expect::Gone, |p| { run(p)?; link(p, "logs/$I.log") }).own(),
    becomes("a run whose log is a fifo", Expect::Gone, |p| { run(p)?; fifo(p, "logs/$I.log") }).own(),
    becomes("a run whose log is a second name of a secret", Expect::Gone, |p| {
        run(p)?;
        let staged = p.path();
        std::fs::hard_link(p.out.join("secret.txt"), &staged)?;
        let to = p.fill("logs/$I.log");
        p.place(staged, to).expect = Expect::Stays;
        Ok(())
    }).own(),
    becomes("a run whose log is a giant", Expect::Gone, |p| {
        run(p)?;
        let staged = p.path();
        std::fs::File::create(&staged)?.set_len(1 << 40)?;
        let to = p.fill("logs/$I.log");
        p.place(staged, to).expect = Expect::Stays;
        Ok(())
    }).own(),
    stays("a run whose lease is a fifo", |p| { run(p)?; fifo(p, "runs/$I.lock") }).own(),
    stays("a run whose lease is a symlink to a fifo", |p| {
        run(p)?;
        let fifo = p.out.join(format!("fifo-{}", p.stem));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)?;
        let staged = p.path();
        std::os::unix::fs::symlink(fifo, &staged)?;
        let to = p.fill("runs/$I.lock");
        p.place(staged, to);
        Ok(())
    }).own(),
];

/// Eight digits that no other case has.
fn hex(p: &Plant<'_>) -> String {
    let number: String = p.stem.chars().filter(char::is_ascii_digit).collect();
    format!("{number:0>8}")
}

fn put(p: &mut Plant<'_>, bytes: String, to: &str) -> Outcome<()> {
    let staged = p.write(bytes)?;
    let to = p.fill(to);
    p.place(staged, to);
    Ok(())
}

fn at(p: &mut Plant<'_>, to: &str) -> Outcome<()> {
    let record = p.record("");
    put(p, record, to)
}

fn garbage(p: &mut Plant<'_>, to: &str) -> Outcome<()> {
    put(p, "\u{1b}[31m{garbage".to_owned(), to)
}

fn link(p: &mut Plant<'_>, to: &str) -> Outcome<()> {
    let staged = p.path();
    std::os::unix::fs::symlink(p.out.join("secret.json"), &staged)?;
    let to = p.fill(to);
    p.place(staged, to).expect = Expect::Stays;
    Ok(())
}

fn fifo(p: &mut Plant<'_>, to: &str) -> Outcome<()> {
    let staged = p.path();
    rustix::fs::mknodat(rustix::fs::CWD, &staged, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)?;
    let to = p.fill(to);
    p.place(staged, to).expect = Expect::Stays;
    Ok(())
}

/// An intent whose wrapper is gone: the agent reports it.
fn run(p: &mut Plant<'_>) -> Outcome<()> {
    let intent =
        p.fill(r#"{"v":1,"id":"$I","sessionKey":"$S","label":"$W","command":["make"],"startedAt":1}"#);
    put(p, intent, "runs/$I.json")
}
