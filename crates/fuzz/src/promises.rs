//! Promises about texts, and a second opinion on JSON. Written without the product's own helpers on purpose.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whether nobody would see this character, or would see others differently for it.
pub(crate) fn is_unseen(c: char) -> bool {
    let n = c as u32;
    matches!(n,
        // C0 and C1 but for the end of a line and the tabulator, and DEL.
        0x00..=0x08 | 0x0b..=0x1f | 0x7f..=0x9f
        // Directions of writing.
        | 0x061c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069
        // Of no width, or drawn as nothing; other ends of a line.
        | 0xad | 0x034f | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200d | 0x2028 | 0x2029
        | 0x2060..=0x2065 | 0x206a..=0x206f | 0x3164 | 0xfeff | 0xffa0 | 0xfff9..=0xfffb
        // Variation selectors and tags.
        | 0xfe00..=0xfe0f | 0xe0000..=0xe01ef)
}

/// Words for a person: one line, of bounded length, nothing hidden in it that could act on a terminal.
pub(crate) fn check_sentence(sentence: &str) {
    assert!(!sentence.chars().any(char::is_control), "control characters in {sentence:?}");
    assert!(sentence.len() < 4096, "{} bytes of words: {:.200}", sentence.len(), sentence);
    check_silence(sentence);
}

/// A word that stands for a secret in the corpus.
pub(crate) const SECRET: &str = "hunter2";

/// No sentence repeats what was read.
pub(crate) fn check_silence(sentence: &str) {
    assert!(!sentence.contains(SECRET), "quotes what was read: {sentence:?}");
}

/// What a session or a person reads: starts with `[`, names the key near its start, can be taken for no command, hides
/// nothing, and is at most 16 KiB.
pub(crate) fn check_delivery(text: &str, key: &str) {
    assert!(text.starts_with('['), "starts with {:?}", text.chars().next());
    assert!(text.find(key).is_some_and(|at| at < 80), "does not name its key near its start: {text:.200?}");
    assert!(text.len() <= 16 * 1024, "{} bytes", text.len());
    if let Some(c) = text.chars().find(|c| is_unseen(*c)) {
        panic!("U+{:04X} reaches the session: {text:.300?}", c as u32);
    }
    for line in text.split('\n') {
        assert!(!line.starts_with(['/', '!']), "a line begins like a command: {line:.100?}");
    }
}

/// The fence of a turn: two lines of their own around the body, which does not hold what marks them. Returns the mark.
pub(crate) fn check_fence(text: &str) -> &str {
    let begins: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("--- begin ")?.strip_suffix(" ---")).collect();
    let [mark] = begins[..] else { panic!("{} lines begin a fence: {text:.300?}", begins.len()) };
    let (begin, end) = (format!("\n--- begin {mark} ---\n"), format!("--- end {mark} ---\n"));
    assert_eq!(text.matches(&end).count(), 1, "the fence ends more than once, or never");
    let body = text.split_once(&begin).and_then(|(_, rest)| rest.strip_suffix(&end));
    let Some(body) = body else { panic!("something follows the fence: {text:.300?}") };
    assert!(!body.contains(mark), "the body holds the mark of its fence");
    assert!(body.is_empty() || body.ends_with('\n'), "the end of the fence is on no line of its own");
    mark
}

/// The shape of a JSON document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many objects and arrays are open at most.
    pub(crate) depth: usize,
    /// Whether an object has a member twice.
    pub(crate) is_doubled: bool,
    /// Whether a string holds a NUL.
    pub(crate) has_nul: bool,
}

impl Shape {
    fn take(&mut self, inner: Shape) {
        self.depth = self.depth.max(inner.depth + 1);
        self.is_doubled |= inner.is_doubled;
        self.has_nul |= inner.has_nul;
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Shape, D::Error> {
        reader.deserialize_any(ShapeOf)
    }
}

struct ShapeOf;

impl<'de> Visitor<'de> for ShapeOf {
    type Value = Shape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::default())
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::default())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::default())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::default())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::default())
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Shape, E> {
        Ok(Shape { has_nul: v.contains('\0'), ..Shape::default() })
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = Shape { depth: 1, ..Shape::default() };
        while let Some(inner) = seq.next_element()? {
            shape.take(inner);
        }
        Ok(shape)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shape = Shape { depth: 1, ..Shape::default() };
        let mut names: Vec<String> = Vec::new();
        while let Some((name, inner)) = map.next_entry::<String, Shape>()? {
            shape.take(inner);
            shape.has_nul |= name.contains('\0');
            shape.is_doubled |= names.contains(&name);
            names.push(name);
        }
        Ok(shape)
    }
}
