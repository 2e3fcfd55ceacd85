//! Sessions that a record must not reach, and keys that are none.

use super::super::case::{Case, dead, held, told};

const NONE: &str = "";

#[rustfmt::skip]
pub(super) static CASES: &[Case] = &[
    held("no session", "no session is named", |p| p.raw(r#"{"text":"$W"}"#)),
    held("session null", "no session is named", |p| p.raw(r#"{"sessionKey":null,"text":"$W"}"#)),
    held("session empty", "no session is named", |p| p.to("")),
    held("session of blanks", "no session is named", |p| p.to("  \u{3000} ")),
    dead("session a number", "\"sessionKey\" must be a string", |p| p.raw(r#"{"sessionKey":7,"text":"$W"}"#)),
    dead("session an array", "\"sessionKey\" must be a string", |p| p.raw(r#"{"sessionKey":["$S"],"text":"$W"}"#)),
    dead("session an object", "\"sessionKey\" must be a string", |p| p.raw(r#"{"sessionKey":{"$S":1},"text":"$W"}"#)),
    dead("session of another agent", NONE, |p| p.to("agent:other:main")),
    dead("session that does not exist", NONE, |p| p.to("agent:main:nobody")),
    dead("session that climbs", NONE, |p| p.to("agent:main:../../etc/passwd")),
    dead("session with separators", NONE, |p| p.to("agent:main:a/b\\c")),
    dead("session with a query", NONE, |p| p.to("agent:main:x?admin=true#y")),
    dead("session with quotes", NONE, |p| p.to("agent:main:\",\"admin\":true,\"x\":\"")),
    dead("session a wildcard", NONE, |p| p.to("agent:main:*")),
    dead("session agent and nothing", NONE, |p| p.to("agent:")),
    dead("session agent without a name", NONE, |p| p.to("agent::main")),
    dead("session of colons", NONE, |p| p.to("::::")),
    dead("session with a newline", "control characters", |p| p.to("agent:main:a\nb")),
    dead("session with a carriage return", "control characters", |p| p.to("agent:main:a\rb")),
    dead("session with ansi", "control characters", |p| p.to("agent:main:\u{1b}[31m")),
    dead("session with delete", "control characters", |p| p.to("agent:main:\u{7f}")),
    dead("session with a c1 control", "control characters", |p| p.to("agent:main:\u{85}")),
    dead("session with a blank before it", "must not be blank, or start or end", |p| { let s = format!(" {}", p.session); p.to(&s) }),
    dead("session with a blank after it", "must not be blank, or start or end", |p| { let s = format!("{}\u{a0}", p.session); p.to(&s) }),
    dead("session of 513 bytes", "at most 512 bytes", |p| p.to(&format!("agent:main:{}", "s".repeat(502)))),
    dead("session of 4 KB", "at most 512 bytes", |p| p.to(&"s".repeat(4096))),
    dead("session of 512 bytes", NONE, |p| p.to(&format!("agent:main:{}", "s".repeat(501)))),
    dead("session of emoji", NONE, |p| p.to("agent:main:\u{1f980}\u{1f3f3}\u{fe0f}")),
    dead("session of ours with a zero-width", NONE, |p| { let s = format!("{}\u{200b}", p.session); p.to(&s) }),
    dead("session of ours with a direction mark", NONE, |p| { let s = p.session.replacen("main", "ma\u{202e}in", 1); p.to(&s) }),
    dead("session of ours in capitals", NONE, |p| { let s = p.session.to_uppercase(); p.to(&s) }),
    dead("session of ours in Cyrillic", NONE, |p| { let s = p.session.replace('a', "\u{430}"); p.to(&s) }),
    dead("session of ours full-width", NONE, |p| { let s = p.session.replace('a', "\u{ff41}"); p.to(&s) }),
    dead("session of ours, longer", NONE, |p| { let s = format!("{}:sub", p.session); p.to(&s) }),
    dead("session of ours, one character short", NONE, |p| { let mut s = p.session.clone(); s.pop(); p.to(&s) }),
    told("session by its short name", |p| { let s = p.session.replace("agent:main:", ""); p.to(&s)?; if let Some(piece) = p.pieces.last_mut() { piece.session = format!("agent:main:{s}"); } Ok(()) }),
    told("two sessions, one record each", |p| {
        p.with(r#""label":"first""#)?;
        let other = p.fill(r#"{"sessionKey":"$S-b","text":"$W"}"#);
        let staged = p.write(other)?;
        let session = format!("{}-b", p.session);
        p.sessions.push(session.clone());
        let name = format!("b-{}", p.json());
        p.drop_as(staged, name).session = session;
        Ok(())
    }),
];
