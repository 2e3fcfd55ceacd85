//! Making text fit: fair shares of the room, quoted blocks with an explicit mark of what is missing, cuts at character
//! boundaries. Knows nothing of records; everything is counted in bytes of UTF-8.

use spooldir::sanitize::{boundary_after, boundary_before};

/// More than `   … N bytes cut\n` ever takes for a record of the largest size.
pub const MARK_MAX: usize = 28;

/// Shares room among wants: nobody gets more than it wants, and nobody less than an equal share of what others leave.
pub fn fair(wants: &[usize], mut room: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|&i| wants[i]);
    let mut shares = vec![0; wants.len()];
    for (done, &i) in order.iter().enumerate() {
        shares[i] = wants[i].min(room / (wants.len() - done));
        room -= shares[i];
    }
    shares
}

/// A length of time as people say it, in at most two units: `850 ms`, `12 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(ms: u64) -> String {
    let (s, min, h) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    let two = |big: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{big} {unit}"),
        _ => format!("{big} {unit} {small} {part}"),
    };
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{s} s"),
        60_000..3_600_000 => two(min, "min", s % 60, "s"),
        3_600_000..86_400_000 => two(h, "h", min % 60, "min"),
        _ => two(h / 24, "d", h % 24, "h"),
    }
}

/// Quoted lines of which either the first or the last are kept.
pub struct Block {
    /// The line before it, with its end.
    pub title: &'static str,
    /// Sanitised lines.
    pub content: String,
    /// Whether the last lines are the ones to keep.
    pub from_end: bool,
    /// More is never shown, whatever the room.
    pub max: usize,
}

impl Block {
    /// At most `room` bytes, if that is enough for title and mark.
    pub fn render(&self, room: usize) -> String {
        let room = room.min(self.max);
        if self.content.is_empty() {
            return String::new();
        }
        let whole: String = self.content.split('\n').map(quoted).collect();
        if self.title.len() + whole.len() <= room {
            return format!("{}{whole}", self.title);
        }
        let mut room = room.saturating_sub(self.title.len() + MARK_MAX);
        let mut kept = Vec::new();
        let lines: &mut dyn Iterator<Item = &str> =
            if self.from_end { &mut self.content.rsplit('\n') } else { &mut self.content.split('\n') };
        let mut bytes = 0;
        for line in lines {
            let part = if line.len() + 3 <= room {
                line
            } else if self.from_end {
                &line[boundary_after(line, (line.len() + 3).saturating_sub(room))..]
            } else {
                &line[..boundary_before(line, room.saturating_sub(3))]
            };
            // Not even an empty line fits, or so little of this one that it says nothing.
            if part.len() + 3 > room || (part.len() < line.len() && part.len() < 8) {
                break;
            }
            room -= part.len() + 3;
            bytes += part.len() + 1;
            kept.push(quoted(part));
            if part.len() < line.len() {
                break;
            }
        }
        let mark = mark(self.content.len().saturating_sub(bytes));
        if self.from_end {
            kept.reverse();
            format!("{}{mark}{}", self.title, kept.concat())
        } else {
            format!("{}{}{mark}", self.title, kept.concat())
        }
    }
}

fn quoted(line: &str) -> String {
    if line.is_empty() { ">\n".to_owned() } else { format!("> {line}\n") }
}

/// The line that stands for what is missing.
pub fn mark(bytes: usize) -> String {
    format!("   … {bytes} bytes cut\n")
}

/// Cuts a single line to a number of bytes, with an ellipsis where something is missing.
pub fn cut_end(text: String, room: usize) -> String {
    if text.len() <= room {
        return text;
    }
    match boundary_before(&text, room.saturating_sub('…'.len_utf8())) {
        0 => String::new(),
        end => format!("{}…", text[..end].trim_end()),
    }
}

/// As [`cut_end`], but keeps the end: the part of a path that tells most.
pub fn cut_start(text: String, room: usize) -> String {
    if text.len() <= room {
        return text;
    }
    let room = room.saturating_sub('…'.len_utf8());
    match boundary_after(&text, text.len() - room) {
        start if start == text.len() => String::new(),
        start => format!("…{}", &text[start..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_as_people_say_them() {
        for (ms, said) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (12_999, "12 s"),
            (60_000, "1 min"),
            (192_000, "3 min 12 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
            (u64::MAX, "213503982334 d 14 h"),
        ] {
            assert_eq!(duration(ms), said);
        }
    }

    #[test]
    fn the_small_get_all_and_the_large_share_the_rest() {
        assert_eq!(fair(&[10, 1000, 0, 500], 400), [10, 195, 0, 195]);
        assert_eq!(fair(&[10, 20], 400), [10, 20]);
        assert_eq!(fair(&[10, 20], 0), [0, 0]);
        assert_eq!(fair(&[], 5), [0usize; 0]);
    }

    #[test]
    fn a_block_is_cut_where_it_says_and_never_inside_a_character() {
        let content = (0..200).map(|n| format!("zeile {n} ÄÖÜ")).collect::<Vec<_>>().join("\n");
        for from_end in [false, true] {
            let block = Block { title: "t:\n", content: content.clone(), from_end, max: usize::MAX };
            for room in 60..400 {
                let text = block.render(room);
                assert!(text.len() <= room, "{room}: {text}");
                let kept: usize =
                    text.lines().filter_map(|l| l.strip_prefix("> ")).map(|l| l.len() + 1).sum();
                assert!(text.contains(&format!("… {} bytes cut", content.len() - kept)), "{text}");
                assert_eq!(text.contains("zeile 0 "), !from_end && kept > 12, "{text}");
            }
        }
    }

    #[test]
    fn single_lines_are_cut_with_an_ellipsis() {
        assert_eq!(cut_end("abcdef".into(), 6), "abcdef");
        assert_eq!(cut_end("äöüßé".into(), 8), "äö…");
        assert_eq!(cut_start("/var/log/x".into(), 8), "…log/x");
        assert_eq!(
            (cut_end("abcdef".into(), 3), cut_start("abcdef".into(), 3)),
            (String::new(), String::new())
        );
    }
}
