//! JSON from strangers: strict where leniency hides a mistake.
//!
//! What it keeps true: a key stands once in its object, no string holds a NUL, nothing nests deeper than
//! [`MAX_DEPTH`], nothing follows the document. No message quotes the document: it may hold what must not be logged.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use spool_seeded::Bug;

/// How deep objects and arrays may nest.
pub const MAX_DEPTH: usize = 32;

/// Reads one JSON document.
///
/// # Errors
/// A sentence with the line and column, which never quotes the document.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader).map_err(|e| describe(&e, bytes))?;
    reader.end().map_err(|e| describe(&e, bytes))?;
    Ok(value)
}

/// Our own messages are safe to repeat; those of the parser are reduced to what and where.
fn describe(error: &serde_json::Error, bytes: &[u8]) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    if let Some(at) = text.find(OURS) {
        let rest = &text[at + OURS.len()..];
        let end = rest.find(" at line").unwrap_or(rest.len());
        return format!("{} at {place}", &rest[..end]);
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return "the file is empty".into();
    }
    if bytes.iter().all(|b| *b == 0) {
        return "the file holds only zero bytes (a crash before its data was written?)".into();
    }
    match std::str::from_utf8(bytes) {
        Err(bad) => return format!("invalid UTF-8 at byte {}", bad.valid_up_to()),
        Ok(text) if text.starts_with('\u{feff}') => return "a byte order mark before the JSON".into(),
        Ok(_) => {}
    }
    match error.classify() {
        serde_json::error::Category::Eof => format!("the JSON ends too early at {place}"),
        _ => format!("not JSON at {place}"),
    }
}

/// Marks the messages that are ours.
const OURS: &str = "\u{1}";

struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(&self) -> Result<Strict, E> {
        if self.depth >= MAX_DEPTH && !spool_seeded::is(Bug::DeepJson) {
            return Err(E::custom(format!("{OURS}nested deeper than {MAX_DEPTH}")));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

fn no_nul<E: de::Error>(text: &str) -> Result<(), E> {
    if text.contains('\0') { Err(E::custom(format!("{OURS}a NUL character in a string"))) } else { Ok(()) }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Value, E> {
        no_nul(v)?;
        Ok(Value::from(v))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.deeper()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            no_nul(&key)?;
            if members.contains_key(&key) && !spool_seeded::is(Bug::DuplicateMembers) {
                return Err(de::Error::custom(format!("{OURS}a key stands twice in one object")));
            }
            let value = map.next_value_seed(self.deeper()?)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_documents_are_read_as_they_are() {
        for text in ["{}", "[1,-2,3.5,null,true]", "{\"a\":{\"b\":[\"\\u00e9\"]}}", " \"x\" \n"] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn each_flaw_is_named_without_quoting() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let cases: [(&[u8], &str); 11] = [
            (b"{\"secret\":1,\"secret\":2}", "twice"),
            (b"{\"a\":{\"secret\":1,\"secret\":2}}", "twice"),
            (b"{\"a\":\"secret\\u0000\"}", "NUL"),
            (deep.as_bytes(), "nested deeper"),
            (b"{\"secret\":1", "ends too early"),
            (b"{\"secret\":1} {}", "not JSON"),
            (b"{\"secret\":1e999}", "not JSON"),
            (b"{\"secret\":\"\xff\"}", "invalid UTF-8 at byte 11"),
            (b"", "empty"),
            (b"\0\0\0\0", "zero bytes"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
        ];
        for (bytes, expected) in cases {
            let message = parse(bytes).unwrap_err();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
            assert!(!message.contains("secret"), "{message:?} quotes the document");
        }
    }
}
