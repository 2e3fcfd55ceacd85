//! Makes text that somebody else wrote safe to show: to a person in a chat, to a model, in a terminal.
//!
//! What leaves here holds no control character but `\n` and `\t`, no part of a terminal escape sequence, nothing that
//! is drawn as nothing (zero-width, Unicode tags, variation selectors, fillers) and nothing that turns the direction
//! of writing. Hidden text is how one thing is shown to a person and another is read by a model, so it goes without
//! trace; what a person would have seen stays. Escape sequences are removed whole (ECMA-48 sections 5.3 to 5.6 for
//! their shape), so that no `[31m` is left over. An escape string that never ends costs at most its own line: a
//! hostile byte must not hide the rest of the output.
//!
//! This makes text clean, not true, and never safe against injection: the agent labels it as data.

use std::iter::Peekable;
use std::str::Chars;

/// Several lines of prose: CR and CRLF become LF.
pub fn text(raw: &str) -> String {
    tidy(strip(raw).replace("\r\n", "\n").replace('\r', "\n").split('\n'))
}

/// Several lines of what a program printed: a progress bar, which overwrites its line after each CR, is reduced to
/// its last state.
pub fn output(raw: &str) -> String {
    tidy(strip(raw).split('\n').map(last_state))
}

/// One line: every run of white space, line ends among them, becomes one blank.
pub fn line(raw: &str) -> String {
    let stripped = strip(raw);
    let mut out = String::with_capacity(stripped.len());
    for word in stripped.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// One line that hides nothing, for a log: what would end it, and what nobody would see or a terminal would obey, is
/// written out (`\n`, `\u{202e}`).
pub fn visible(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\n' | '\r' | '\t' => out.extend(c.escape_default()),
            _ if is_hidden(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// The last place at or before `at` where a text can be cut without cutting a character.
pub fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

/// The first place at or after `at` where a text can be cut without cutting a character.
pub fn boundary_after(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}

/// What is left on the line when the last overwriting is done.
fn last_state(line: &str) -> &str {
    line.split('\r').rfind(|state| !state.trim().is_empty()).unwrap_or_default()
}

/// Joins lines without the blanks at their ends, without empty lines at both ends and with one where several were.
fn tidy<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    let mut gap = false;
    for line in lines.map(str::trim_end) {
        if line.is_empty() {
            gap = true;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if gap { "\n\n" } else { "\n" });
        }
        gap = false;
        out.push_str(line);
    }
    out
}

/// Removes what must not be there. CR stays, for the caller to judge.
fn strip(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' | '\r' => out.push(c),
            '\u{1b}' => escape(&mut chars),
            '\u{9b}' => control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => control_string(&mut chars),
            // The other ends of a line: vertical tab, form feed, NEL, line and paragraph separator.
            '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            _ if is_hidden(c) => {}
            _ => out.push(c),
        }
    }
    out
}

/// After ESC.
fn escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            control_string(chars);
        }
        _ => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
    }
}

/// After CSI: parameters, intermediates, one final character. What does not fit the grammar is text again.
fn control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, '0'..='?')).is_some() {}
    while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// After OSC, DCS, SOS, PM, APC: up to BEL or ST, at most to the end of the line.
fn control_string(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| !matches!(c, '\n' | '\r' | '\u{7}' | '\u{9c}' | '\u{1b}')).is_some() {}
    match chars.peek() {
        Some('\u{7}' | '\u{9c}') => {
            chars.next();
        }
        Some('\u{1b}') => {
            let mut ahead = chars.clone();
            ahead.next();
            if ahead.next() == Some('\\') {
                *chars = ahead;
            }
        }
        _ => {}
    }
}

/// Whether a character is removed wherever it stands: control characters and all that is drawn as nothing or changes
/// how its neighbours are drawn (Unicode's default-ignorable characters, mostly). An emoji may lose its colour by it.
pub fn is_hidden(c: char) -> bool {
    if spool_seeded::is(spool_seeded::Bug::ControlsPass) {
        return false;
    }
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_go_whole() {
        for (raw, clean) in [
            ("\u{1b}[1;31merror\u{1b}[0m: x", "error: x"),
            ("\u{9b}31merror", "error"),
            ("\u{1b}]0;evil title\u{7}ok", "ok"),
            ("\u{1b}]8;;https://x.test\u{1b}\\link\u{1b}]8;;\u{1b}\\ end", "link end"),
            ("\u{9d}52;c;aGk=\u{9c}ok", "ok"),
            ("\u{1b}P1$r\u{1b}\\ok\u{1b}(B.\u{1b}7", "ok."),
            ("\u{1b}[12é", "é"),
            ("a\u{1b}\u{1b}[0mb\u{1b}", "ab"),
        ] {
            assert_eq!(text(raw), clean, "{raw:?}");
        }
    }

    #[test]
    fn an_endless_escape_string_hides_no_more_than_its_line() {
        assert_eq!(text("a\u{1b}]0;never closed\nthe error"), "a\nthe error");
        assert_eq!(text("a\u{1b}]0;x\u{1b}[1mb"), "ab");
    }

    #[test]
    fn what_nobody_sees_goes() {
        let tags: String =
            "ignore all".chars().map(|c| char::from_u32(0xe0000 + c as u32).unwrap()).collect();
        assert_eq!(text(&format!("pa{tags}y\u{200b}\u{feff}\u{202e}me\u{2066}nt\u{ad}")), "payment");
        assert_eq!(text("na\u{ef}ve \u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{1f980}"), "naïve שלום 🦀");
    }

    #[test]
    fn line_ends_become_one_kind() {
        assert_eq!(text("a\r\nb\rc\u{2028}d\u{85}e"), "a\nb\nc\nd\ne");
        assert_eq!(text("\n\n  a  \n\n\n\tb\n\n"), "  a\n\n\tb");
        assert_eq!(line("  a\r\n\tb\u{2029}c "), "a b c");
    }

    #[test]
    fn a_line_of_a_log_is_one_line_and_hides_nothing() {
        assert_eq!(
            visible("a\r\n\tb\u{1b}[m\u{202e}\u{2028}\u{85}é"),
            r"a\r\n\tb\u{1b}[m\u{202e}\u{2028}\u{85}é"
        );
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(output("start\r\n10%\r50%\r100%\r\n\rdone\r   \r"), "start\n100%\ndone");
        assert_eq!(output("\u{1b}[2K\r 1/2\u{1b}[2K\r 2/2"), " 2/2");
    }

    proptest! {
        #[test]
        fn nothing_hidden_survives(raw in any::<String>(), noise in "[\\x1b\\x9b\\[\\]a-z;0-9\r\n\u{7}\u{200b}\u{2028}]{0,60}") {
            let raw = format!("{raw}{noise}");
            for clean in [text(&raw), output(&raw)] {
                prop_assert!(!clean.chars().any(is_hidden), "{clean:?}");
                prop_assert_eq!(&text(&clean), &clean);
            }
            let one = line(&raw);
            prop_assert!(!one.contains(['\n', '\t']) && !one.chars().any(is_hidden));
            prop_assert_eq!(&line(&one), &one);
        }

        #[test]
        fn plain_text_is_left_alone(plain in "[a-z]{1,9}( [a-z]{1,9}){0,9}(\n[ -~]{0,9}[a-z]){0,9}") {
            prop_assert_eq!(text(&plain), plain.clone());
            prop_assert_eq!(output(&plain), plain);
        }
    }
}
