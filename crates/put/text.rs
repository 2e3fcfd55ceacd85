//! Text from anywhere: made fit for a record rather than refused, for a completion must not be lost because its text is
//! long or broken.

use std::io::{self, Read};

/// The room for a text in its record, in bytes of JSON. Leaves the other members enough of the record's limit.
pub const LIMIT: usize = 200 * 1024;

/// A text, and what had to be done to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fitted {
    pub text: String,
    /// Sentences for stderr.
    pub notes: Vec<String>,
}

/// Reads a text to its end, keeping no more of it than can be used: whoever writes into the pipe is not cut off.
///
/// # Errors
/// Those of read(2).
pub fn read(mut input: &mut dyn Read) -> io::Result<Fitted> {
    // A character more than the limit, so that it shows that there is more.
    let most = LIMIT as u64 + 4;
    // Room for most, so that it is read in one go.
    let mut bytes = Vec::with_capacity(4000);
    (&mut input).take(most).read_to_end(&mut bytes)?;
    let rest = if bytes.len() as u64 == most { io::copy(&mut input, &mut io::sink())? } else { 0 };
    let total = bytes.len() as u64 + rest;
    Ok(fit(&bytes, total))
}

/// Makes bytes a text that fits: what is not UTF-8, and NUL, becomes U+FFFD; what is too long is cut, and ends in a mark.
/// `total` is how many bytes there were altogether.
pub fn fit(bytes: &[u8], total: u64) -> Fitted {
    let mut notes = Vec::new();
    let lossy = String::from_utf8_lossy(bytes);
    let is_cut = lossy.chars().map(json_len).sum::<usize>() > LIMIT;
    let mark = format!("\n[cut by spool-put: the text was {total} bytes long]");
    let mut room = if is_cut { LIMIT - mark.len() - 1 } else { LIMIT };
    let mut text = String::with_capacity(lossy.len().min(LIMIT));
    for c in lossy.chars().map(sayable) {
        let Some(left) = room.checked_sub(json_len(c)) else { break };
        room = left;
        text.push(c);
    }
    if matches!(lossy, std::borrow::Cow::Owned(_)) || bytes.contains(&0) {
        notes.push("bytes of the text that were not UTF-8, or NUL, were replaced".to_owned());
    }
    if is_cut {
        notes.push(format!("the text was cut: of its {total} bytes {} are kept", text.len()));
        text.push_str(&mark);
    }
    Fitted { text, notes }
}

/// The start of a text that takes at most so many bytes of JSON, with an ellipsis where something is missing. NUL, which
/// no record may say, becomes U+FFFD here too, wherever the text came from.
pub fn cut(text: &str, room: usize) -> String {
    if len(text) <= room {
        return text.chars().map(sayable).collect();
    }
    let mut left = room.saturating_sub('…'.len_utf8());
    let fits = |c: &char| {
        let rest = left.checked_sub(json_len(*c));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    text.chars().take_while(fits).map(sayable).chain(['…']).collect()
}

/// The character, or what stands for it in a record.
fn sayable(c: char) -> char {
    if c == '\0' { char::REPLACEMENT_CHARACTER } else { c }
}

/// How many bytes a text takes in a JSON string.
pub fn len(text: &str) -> usize {
    text.chars().map(json_len).sum()
}

/// How many bytes a character takes in a JSON string.
fn json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        // As the one that stands for it.
        '\0' => 3,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(bytes: &[u8]) -> Fitted {
        fit(bytes, bytes.len() as u64)
    }

    #[test]
    fn an_ordinary_text_is_left_as_it_is() {
        let text = "été \u{1f99e}\n\"quoted\"\u{1b}[0m";
        assert_eq!(fitted(text.as_bytes()), Fitted { text: text.into(), notes: vec![] });
        let full = "x".repeat(LIMIT);
        assert_eq!(fitted(full.as_bytes()).text, full);
    }

    #[test]
    fn what_json_cannot_hold_is_replaced() {
        let fit = fitted(b"a\0b\xffc");
        assert_eq!(fit.text, "a\u{fffd}b\u{fffd}c");
        assert_eq!(fit.notes.len(), 1);
        assert_eq!(cut("a\0b", 10), "a\u{fffd}b");
        assert_eq!(cut("a\0bcdefgh", 8), "a\u{fffd}b…");
    }

    #[test]
    fn whatever_is_too_long_fits_afterwards_and_says_so() {
        for piece in ["x", "\u{1}", "\"", "é", "\u{1f99e}", "\0", "\n"] {
            let long = piece.repeat(LIMIT + 1);
            let fit = fitted(long.as_bytes());
            let json = serde_json::to_string(&fit.text).unwrap();
            assert!(json.len() <= LIMIT + 2 && json.len() > LIMIT - 200, "{piece:?}: {}", json.len());
            assert!(fit.text.ends_with(&format!("the text was {} bytes long]", long.len())), "{piece:?}");
        }
    }

    #[test]
    fn a_long_input_is_read_to_its_end() {
        let mut input = io::repeat(b'x').take(3_000_000);
        let fit = read(&mut input).unwrap();
        assert!(fit.text.ends_with("the text was 3000000 bytes long]"));
        assert_eq!(input.limit(), 0);
        let short = read(&mut &b"done"[..]).unwrap();
        assert_eq!(short.text, "done");
    }
}
