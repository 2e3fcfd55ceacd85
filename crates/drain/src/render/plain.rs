//! What a producer wrote, as it may be shown: sanitised ([`spooldir::sanitize`]), and without delivery keys.
//!
//! What became of a delivery is asked of the session's transcript, after a reset only by a search for its key. A record
//! that quoted a key (the output of a job that ran `spool list`, say) would be taken for that delivery, which would
//! then never be sent. So a key in a record is written like a UUID, `sp-0192f3e0-aaaa-7bbb-8ccc-0123456789ab`: all
//! there for people, and no match for a search, neither by characters nor by words. The search goes by words next to
//! each other, whatever stands between them, so `sp 0192..` and `SP/0192..` are treated the same.

use spool_seeded::Bug;
use spooldir::sanitize;

/// The digits of a key.
const DIGITS: usize = 32;
/// Where hyphens go, as in a UUID.
const HYPHENS: [usize; 4] = [8, 12, 16, 20];

pub fn line(text: &str) -> String {
    respelt(sanitize::line(text))
}

pub fn text(text: &str) -> String {
    respelt(sanitize::text(text))
}

pub fn output(text: &str) -> String {
    respelt(sanitize::output(text))
}

/// The same text with hyphens in what could be found as a key.
pub fn respelt(text: String) -> String {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut kept = 0;
    let mut out = String::new();
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if length >= DIGITS && follows_prefix(&text, at) && !spool_seeded::is(Bug::QuotedKey) {
            for hyphen in HYPHENS {
                out.push_str(&text[kept..at + hyphen]);
                out.push('-');
                kept = at + hyphen;
            }
        }
        at += length.max(1);
    }
    if kept == 0 {
        return text;
    }
    out.push_str(&text[kept..]);
    out
}

/// Whether what stands before is `sp` and anything that is no letter or digit.
fn follows_prefix(text: &str, at: usize) -> bool {
    let before = &text[..at];
    let word = before.trim_end_matches(|c: char| !c.is_alphanumeric());
    let is_apart = word.len() < before.len();
    is_apart && word.len() >= 2 && word.as_bytes()[word.len() - 2..].eq_ignore_ascii_case(b"sp")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0192f3e0aaaa7bbb8ccc0123456789ab";
    const APART: &str = "0192f3e0-aaaa-7bbb-8ccc-0123456789ab";

    #[test]
    fn a_key_is_written_like_a_uuid_wherever_it_stands() {
        for (before, after) in [
            ("sp-", ""),
            ("x sp-", "~2:user y"),
            ("[spool sp-", "~tell~3 \u{b7} 1 completion]"),
            ("SP-", ""),
            ("sp ", ""),
            ("sp\n\u{b7} ", "."),
            ("xsp-", "abcdef"),
        ] {
            let text = format!("{before}{DIGITS}{after} and {before}{DIGITS}{after}");
            let wanted = format!("{before}{APART}{after} and {before}{APART}{after}");
            assert_eq!(respelt(text), wanted);
        }
        let loud = format!("sp-{}", DIGITS.to_uppercase());
        assert_eq!(respelt(loud), format!("sp-{}", APART.to_uppercase()));
    }

    #[test]
    fn anything_else_is_left_as_it_is() {
        for text in [
            "",
            "sp-",
            "sp",
            "sp-0192f3e0",
            "\u{e9}",
            DIGITS,
            &format!("md5 {DIGITS} sp"),
            &format!("sp{DIGITS}"),
        ] {
            assert_eq!(respelt(text.to_owned()), text);
        }
        let uuid = format!("sp-{APART}");
        assert_eq!(respelt(uuid.clone()), uuid);
    }
}
