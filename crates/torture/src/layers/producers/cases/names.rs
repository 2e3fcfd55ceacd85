//! Names in `new/`: whatever bytes a directory entry can hold.
//!
//! A name that ends in `.json` and does not begin with a dot is dropped by somebody who means it; all others are
//! foreign. What a shell, a terminal or a log would make of a name must not matter to anybody.

use super::super::case::{Case, Expect, becomes, left, told};

#[rustfmt::skip]
pub(super) static CASES: &[Case] = &[
    told("newline in the name", |p| p.named("a\nb.json")),
    told("forged log line in the name", |p| p.named("x\n2026-01-01T00:00:00Z  INFO delivered.json")),
    told("carriage return in the name", |p| p.named("a\rb.json")),
    told("tab in the name", |p| p.named("a\tb.json")),
    told("ansi in the name", |p| p.named("\x1b[31mred\x1b[2J.json")),
    told("window title in the name", |p| p.named("\x1b]0;title\x07.json")),
    told("bell and delete in the name", |p| p.named("\x07\x7f.json")),
    told("c1 control in the name", |p| p.named("\u{9b}31m.json")),
    told("not utf-8", |p| p.named(b"caf\xe9\xff\xfe.json")),
    told("overlong utf-8", |p| p.named(b"\xc0\xafetc\xc0\xaf.json")),
    told("half a surrogate in the name", |p| p.named(b"\xed\xa0\x80.json")),
    told("name -rf", |p| p.named("-rf.json")),
    told("name --spool", |p| p.named("--spool=..json")),
    told("name of dashes", |p| p.named("--.json")),
    told("name of 255 bytes", |p| p.named("n".repeat(250) + ".json")),
    told("name of 255 bytes, not utf-8", |p| p.named([vec![0xfe; 250], b".json".to_vec()].concat())),
    told("name of 84 three-byte characters", |p| p.named("\u{4e00}".repeat(83) + ".json")),
    told("semicolon", |p| p.named(";rm -rf $HOME;.json")),
    told("command substitution", |p| p.named("$(touch owned).json")),
    told("backticks", |p| p.named("`id`.json")),
    told("both quotes", |p| p.named("'\".json")),
    told("pipe", |p| p.named("|sh.json")),
    told("ampersand", |p| p.named("&.json")),
    told("redirection", |p| p.named(">out.json")),
    told("star", |p| p.named("*.json")),
    told("question mark and brackets", |p| p.named("[?].json")),
    told("braces", |p| p.named("{a,b}.json")),
    told("tilde", |p| p.named("~root.json")),
    told("exclamation mark", |p| p.named("!!.json")),
    told("hash", |p| p.named("#.json")),
    told("format directives", |p| p.named("%s%n%x.json")),
    told("percent-encoded dots", |p| p.named("%2e%2e%2fformat.json")),
    told("backslashes", |p| p.named("x\\..\\..\\format.json")),
    left("backslashes that climb", |p| p.named("..\\..\\format.json")),
    told("leading blank", |p| p.named(" .json")),
    told("name of blanks", |p| p.named("   .json")),
    told("comma", |p| p.named("a,b.json")),
    told("other slashes", |p| p.named("x\u{2215}y\u{ff0f}z\u{2044}.json")),
    told("direction override in the name", |p| p.named("\u{202e}nosj.json")),
    told("zero-width in the name", |p| p.named("a\u{200b}\u{feff}b.json")),
    told("tag characters in the name", |p| p.named("\u{e0041}\u{e0042}.json")),
    told("emoji name", |p| p.named("\u{1f980}\u{1f3f3}\u{fe0f}.json")),
    told("windows device", |p| p.named("con.json")),
    told("url as a name", |p| p.named("https:example.test?x=1&y.json")),
    told("two suffixes", |p| p.named("a.json.json")),
    told("name of a reason", |p| p.named("someone.why.json")),
    told("name of a sending entry", |p| p.named("build:42,sp-01929f3e000070008000000000000001,0.json")),
    told("name of a telling entry", |p| p.named("build:42,sp-01929f3e000070008000000000000001~tell~2,0.json")),
    told("name of a deferred entry", |p| p.named("build:42,-,4294967295,18446744073709551615.json")),
    told("name of the agent's file", |p| p.named("agent.json")),
    told("name of the lock", |p| p.named("lock.json")),
    told("composed and decomposed", |p| {
        let record = p.record("");
        let staged = p.write(&record)?;
        p.drop_as(staged, "caf\u{e9}.json");
        let staged = p.write(record)?;
        p.drop_as(staged, "cafe\u{301}.json");
        Ok(())
    }),
    left("suffix alone", |p| p.named(".json")),
    left("dot dot json", |p| p.named("..json")),
    left("three dots", |p| p.named("...json")),
    left("hidden", |p| p.named(".hidden.json")),
    left("left by nfs", |p| p.named(".nfs000000000000.json")),
    left("upper-case suffix", |p| p.named("x.JSON")),
    left("mixed suffix", |p| p.named("x.Json")),
    left("suffix and a blank", |p| p.named("x.json ")),
    left("suffix and a newline", |p| p.named("x.json\n")),
    left("suffix and a dot", |p| p.named("x.json.")),
    left("half-written elsewhere", |p| p.named("x.json.tmp")),
    left("backup", |p| p.named("x.json~")),
    left("full-width suffix", |p| p.named("x\u{ff0e}json")),
    left("no suffix", |p| p.named("record")),
    left("name of a journal file", |p| p.named("2026-11-23.jsonl")),
    left("ansi without the suffix", |p| p.named("\x1b[2J\x1b]0;owned\x07")),
    left("newline without the suffix", |p| p.named("a\n2026-01-01T00:00:00Z ERROR forged")),
    left("not utf-8, without the suffix", |p| p.named(b"\xff\xfe")),
    becomes("garbage under a name with a newline", Expect::Dead("not JSON"), |p| {
        let staged = p.write("nonsense")?;
        p.drop_as(staged, "evil\n\x1b[31m2026-01-01T00:00:00Z ERROR forged.json");
        Ok(())
    }),
    becomes("link under a name with a newline", Expect::Left, |p| {
        let path = p.path();
        std::os::unix::fs::symlink("/etc/shadow", &path)?;
        p.drop_as(path, "link\n2026-01-01T00:00:00Z ERROR forged \x1b[31m.json");
        Ok(())
    }),
    becomes("garbage under a name that is not utf-8", Expect::Dead("not JSON"), |p| {
        let staged = p.write("nonsense")?;
        p.drop_as(staged, b"\xff\xfe\xe9.json");
        Ok(())
    }),
];
