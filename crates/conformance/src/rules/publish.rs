//! What one good run leaves, and what is made of difficult records.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::inotify::ReadFlags;
use spooldir::{Dir, Id};

use super::LONG;
use crate::bench::{Bench, Call};
use crate::verdict::{Outcome, must};
use crate::watch::Watch;

pub(super) fn published(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    for text in ["done", "The nightly build is done: 312 tests passed."] {
        let call = bench.call(text);
        bench.run_well(&stage, &call)?;
        stage.must_hold(&call)?;
        stage.clear()?;
    }
    Ok(String::new())
}

pub(super) fn id(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    for id in [Id::mint(), Id::new("build:42.1_a-B")?] {
        let call = Call { id: Some(id.clone()), ..bench.call_with_id("done")? };
        bench.run_well(&stage, &call)?;
        let (name, bytes) = stage.must_hold(&call)?;
        stage.must_be_named(&name, &bytes, &id)?;
        stage.clear()?;
    }
    Ok(String::new())
}

pub(super) fn tidy(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let call = bench.call("done");
    bench.run_well(&stage, &call)?;
    let (name, _) = stage.must_hold(&call)?;
    let meta = fs::symlink_metadata(stage.dir(Dir::New).join(&name))?;
    must(meta.nlink() == 1, || format!("new/{name} has {} names: intake will not take it", meta.nlink()))?;
    let own = rustix::process::geteuid().as_raw();
    must(meta.uid() == own, || format!("new/{name} belongs to user {}, not {own}", meta.uid()))?;
    let left = stage.names(Dir::Tmp)?;
    must(left.is_empty(), || format!("it left tmp/{} behind", left.join(", tmp/")))?;
    let mode = meta.permissions().mode() & 0o7777;
    Ok(if mode & 0o077 == 0 {
        String::new()
    } else {
        format!("its mode is {mode:04o}; section 2 says that it SHOULD be 0600")
    })
}

pub(super) fn alone(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let before = stage.surroundings()?;
    for _ in 0..2 {
        let call = bench.call("done");
        bench.run_well(&stage, &call)?;
        stage.must_hold(&call)?;
        stage.must_be_as(&before)?;
        stage.clear()?;
    }
    Ok(String::new())
}

pub(super) fn unseen(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let new = stage.dir(Dir::New);
    for text in ["done".to_owned(), "long ".repeat(LONG / 5)] {
        let call = bench.call(text);
        let mut watch = Watch::on(&[&new])?;
        bench.run_well(&stage, &call)?;
        let mut created = Vec::new();
        for happening in watch.happened()? {
            let name = happening.name.to_string_lossy().into_owned();
            must(!happening.what.contains(ReadFlags::MODIFY), || {
                format!("new/{name} was written while it had that name")
            })?;
            // A file that was moved there may be closed there; one that was opened there may have been mapped.
            let is_open =
                happening.what.contains(ReadFlags::CLOSE_WRITE) && created.contains(&happening.name);
            must(!is_open, || format!("new/{name} was open for writing under that name"))?;
            if happening.what.contains(ReadFlags::CREATE) {
                created.push(happening.name);
            }
        }
        stage.clear()?;
    }
    Ok(String::new())
}

/// Texts that a producer may trip over: what they are, and whether they hold what JSON escapes.
fn difficult_texts() -> Vec<(&'static str, bool, OsString)> {
    let mut texts: Vec<(&'static str, bool, OsString)> = vec![
        ("words for a shell", false, "$(touch here) ; `id` ${HOME} %s %n * ~ 'single' & < > |".into()),
        ("one that begins with a dash", false, "-n --help".into()),
        ("one that begins with an at sign", false, "@/etc/hostname".into()),
        ("blanks at both ends", false, "  two  ".into()),
        ("UTF-8", false, "Grüße, 世界, мир, \u{1f680}\u{200d}\u{1f525}, \u{2028}, \u{feff}".into()),
        ("120,000 bytes", false, "x".repeat(LONG).into()),
        ("120,000 bytes of UTF-8", false, "é".repeat(LONG / 2).into()),
        ("quotes", true, r#"he said "no", then 'yes'"#.into()),
        ("backslashes", true, r"C:\new\table \u0041 \".into()),
        ("newlines and tabs", true, "one\n\ttwo\r\nthree\n\n".into()),
        ("control characters", true, "\u{1b}[31mred\u{1b}[0m \u{1} \u{8} \u{7f} \u{85}".into()),
        ("JSON", true, r#"","id":"other","text":"{}"#.into()),
        ("120,000 quotes", true, "\"".repeat(LONG).into()),
        ("60,000 control characters, over the limit in JSON", true, "\u{1}".repeat(LONG / 2).into()),
    ];
    texts.push(("bytes that are not UTF-8", true, OsString::from_vec(b"a\xff\xfeb\xc3".to_vec())));
    texts
}

pub(super) fn texts(bench: &mut Bench<'_>) -> Outcome {
    let mut refused = Vec::new();
    let mut left_out = 0;
    let stage = bench.stage()?;
    for (what, is_escaped, text) in difficult_texts() {
        if is_escaped && bench.options.plain {
            left_out += 1;
            continue;
        }
        let may_be_cut = bench.options.cuts && text.len() >= LONG / 2;
        let call = Call { may_be_cut, ..bench.call(text) };
        let ended = bench.run_refusable(&stage, &call).map_err(|stop| stop.with(what))?;
        if !ended.is_yes() {
            refused.push(what);
        }
        stage.clear()?;
    }
    Ok(remark(&refused, left_out))
}

pub(super) fn sessions(bench: &mut Bench<'_>) -> Outcome {
    let sessions = [
        ("a plain one", false, "agent:main:main".to_owned()),
        ("UTF-8", false, "agent:main:grüße:世界".to_owned()),
        ("blanks and dollars inside", false, "agent:main:a b $HOME %s".to_owned()),
        ("512 bytes", false, format!("agent:{}", "s".repeat(506))),
        ("quotes and backslashes", true, r#"agent:main:"a\b"#.to_owned()),
        ("a newline, which none can have", true, "agent:main\n:main".to_owned()),
        ("a blank at its end, which none can have", true, "agent:main ".to_owned()),
        ("513 bytes, which none can have", true, "s".repeat(513)),
        ("none", true, String::new()),
    ];
    let mut refused = Vec::new();
    let mut left_out = 0;
    let stage = bench.stage()?;
    for (what, is_escaped, session) in sessions {
        if is_escaped && bench.options.plain {
            left_out += 1;
            continue;
        }
        let call = Call { session, ..bench.call("done") };
        let ended = bench.run_refusable(&stage, &call).map_err(|stop| stop.with(what))?;
        if !ended.is_yes() {
            refused.push(what);
        }
        stage.clear()?;
    }
    Ok(remark(&refused, left_out))
}

fn remark(refused: &[&str], left_out: usize) -> String {
    let mut words = Vec::new();
    if !refused.is_empty() {
        words.push(format!("refused: {}", refused.join(", ")));
    }
    if left_out > 0 {
        words.push(format!("{left_out} left out: it is declared to be for plain ones only"));
    }
    words.join("; ")
}
