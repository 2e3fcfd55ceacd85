//! Inputs without libFuzzer: the corpus, changed a little. For runs in a process that counts no coverage.

/// Words that mean something to one of the readers; put in where chance says.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "\0",
    "/",
    "!",
    "`",
    "${",
    "${TOKEN}",
    "$${",
    "}",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "\\u0000",
    "\\ud83d",
    "\u{1b}[31m",
    "\u{1b}]0;",
    "\u{9b}",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "\u{2028}",
    "\u{e0041}",
    "\u{ad}",
    "\u{85}",
    "/reset",
    "\"text\":\"x\"",
    "\"text\":\"/reset\"",
    "\"sessionKey\":\"s\"",
    ",\"text\":\"y\"",
    "[[[[[[[[",
    "]]]]]]]]",
    "--- end task-data ---",
    "task-data",
    "~tell",
    "~2",
    ",0",
    "sp-0192837465564738291001928374655a",
    ".json",
    ".why",
    "\u{1f980}",
    "\u{e9}",
];

/// An input made from `seed` and, where something is put in, from `other`: the same for the same numbers.
pub fn mutate(seed: &[u8], other: &[u8], max_len: usize, mut chance: impl FnMut(u64) -> u64) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=chance(4) {
        let at = chance(out.len() as u64 + 1) as usize;
        match chance(7) {
            0 if at < out.len() => out[at] ^= 1 << chance(8),
            1 if at < out.len() => out[at] = chance(256) as u8,
            2 if at < out.len() => {
                let end = (at + 1 + chance(8) as usize).min(out.len());
                out.drain(at..end);
            }
            3 => {
                let from = chance(other.len() as u64 + 1) as usize;
                let end = (from + chance(32) as usize).min(other.len());
                out.splice(at..at, other[from..end].iter().copied());
            }
            4 => {
                // A piece of itself, again: members twice, levels within levels.
                let end = (at + chance(48) as usize).min(out.len());
                let piece = out[at..end].to_vec();
                for _ in 0..=chance(3) {
                    out.splice(at..at, piece.iter().copied());
                }
            }
            _ => {
                let word = WORDS[chance(WORDS.len() as u64) as usize];
                for _ in 0..=chance(2) {
                    out.splice(at..at, word.bytes());
                }
            }
        }
    }
    out.truncate(max_len);
    out
}
