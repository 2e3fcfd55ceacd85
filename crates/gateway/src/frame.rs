//! The frames of the gateway protocol: `req`, `res` and `event`, one JSON object per WebSocket text message.
//!
//! Writing is strict: only members the protocol names. Reading is tolerant and hostile at once: unknown members
//! are skipped, members of the wrong type make the frame [`Incoming::Other`], nothing panics, and a payload
//! stays unparsed text until somebody who waits for it asks, so that garbage costs no more than its own bytes.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The largest frame the gateway reads before the connect is answered.
pub const PRE_CONNECT_LIMIT: usize = 64 * 1024;
/// The largest message we read. A history of a thousand rows at the default row size stays below it.
pub const READ_LIMIT: usize = 16 * 1024 * 1024;
/// The longest answer that is read as a whole. What is read into a [`Value`] takes up to twenty times the room of its
/// text, so only a history, which is read row by row, may be longer.
pub const ANSWER_LIMIT: usize = 1024 * 1024;
/// The longest error that is read.
const FAULT_LIMIT: usize = 64 * 1024;
/// The largest request we write, whatever the gateway allows.
pub const WRITE_LIMIT: usize = 4 * 1024 * 1024;
/// The longest wait a gateway can ask of us.
pub const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(300);

/// A request.
#[derive(Debug, Serialize)]
pub(crate) struct Request<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: &'a str,
    pub method: &'a str,
    pub params: &'a Value,
    /// W3C trace context; part of the envelope from protocol 4 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A request without trace context.
    pub fn new(id: &'a str, method: &'a str, params: &'a Value) -> Self {
        Request { kind: "req", id, method, params, traceparent: None }
    }

    /// The text of the frame.
    pub fn to_text(&self) -> String {
        // Strings and a Value always serialize; an empty frame would be refused by the gateway, not lost.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a gateway says when it refuses a request (the protocol's error shape).
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Fault {
    /// The coarse code, e.g. `UNAVAILABLE`.
    #[serde(deserialize_with = "lenient")]
    pub code: String,
    /// For people.
    #[serde(deserialize_with = "lenient")]
    pub message: String,
    /// Whether the same request may succeed later.
    #[serde(deserialize_with = "lenient")]
    pub retryable: bool,
    /// How long to wait before that; use [`Fault::retry_after`].
    #[serde(deserialize_with = "lenient")]
    pub retry_after_ms: Option<f64>,
    /// Whatever else there is.
    #[serde(deserialize_with = "lenient")]
    pub details: Value,
}

impl Fault {
    /// A word of the details, e.g. `details.code`.
    pub fn detail(&self, name: &str) -> &str {
        self.details.get(name).and_then(Value::as_str).unwrap_or("")
    }

    /// The wait asked for, between nothing and [`RETRY_AFTER_LIMIT`]; nonsense is no wish.
    pub fn retry_after(&self) -> Option<Duration> {
        let ms = self.retry_after_ms.filter(|ms| ms.is_finite() && *ms >= 0.0)?;
        Some(Duration::from_millis(ms.min(RETRY_AFTER_LIMIT.as_millis() as f64) as u64))
    }
}

/// A frame from the gateway.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The answer to a request of ours.
    Response { id: String, outcome: Result<Box<RawValue>, Fault> },
    /// Something happened.
    Event { name: String, payload: Option<Box<RawValue>> },
    /// Not a frame we know: ignored.
    Other,
}

impl Incoming {
    /// Reads one text message.
    pub fn read(text: &str) -> Incoming {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
            #[serde(default, borrow)]
            id: Option<&'a RawValue>,
            #[serde(default, borrow)]
            ok: Option<&'a RawValue>,
            #[serde(default, borrow)]
            event: Option<&'a RawValue>,
            #[serde(default, borrow)]
            payload: Option<&'a RawValue>,
            #[serde(default, borrow)]
            error: Option<&'a RawValue>,
        }
        fn get<T: DeserializeOwned>(raw: Option<&RawValue>) -> Option<T> {
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        }
        let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else { return Incoming::Other };
        match envelope.kind.as_ref() {
            "res" => {
                let (Some(id), Some(ok)) = (get::<String>(envelope.id), get::<bool>(envelope.ok)) else {
                    return Incoming::Other;
                };
                let outcome = if ok {
                    Ok(envelope.payload.map_or_else(null, ToOwned::to_owned))
                } else {
                    let error = envelope.error.filter(|error| error.get().len() <= FAULT_LIMIT);
                    Err(get::<Fault>(error).unwrap_or_default())
                };
                Incoming::Response { id, outcome }
            }
            "event" => match get::<String>(envelope.event) {
                Some(name) => Incoming::Event { name, payload: envelope.payload.map(ToOwned::to_owned) },
                None => Incoming::Other,
            },
            _ => Incoming::Other,
        }
    }
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// Reads a payload tolerantly into what is asked for; an unreadable one, or one of more than [`ANSWER_LIMIT`], is `None`.
/// So is one in which a member is given twice: it says two things, and nobody knows which of them the gateway means.
pub(crate) fn payload<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    let text = raw.get();
    if text.len() > ANSWER_LIMIT || serde_json::from_str::<Unambiguous>(text).is_err() {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Any document in which no object has two members of the same name.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unambiguous;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a document without ambiguous members")
            }
            fn visit_unit<E>(self) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }
            fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
                Ok(Unambiguous)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unambiguous, A::Error> {
                while list.next_element::<Unambiguous>()?.is_some() {}
                Ok(Unambiguous)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unambiguous, A::Error> {
                let mut seen = HashSet::new();
                while let Some((name, Unambiguous)) = members.next_entry::<String, Unambiguous>()? {
                    if !seen.insert(name) {
                        return Err(de::Error::custom("a member is given twice"));
                    }
                }
                Ok(Unambiguous)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The last elements of a list, none of them read yet: a list of any length costs no more than its own text.
#[derive(Debug, Default)]
pub(crate) struct Last<'a>(pub VecDeque<&'a RawValue>);

/// How many are kept: as many rows as a history has at most.
const LAST: usize = 1000;

impl<'de: 'a, 'a> Deserialize<'de> for Last<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Last<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut last = VecDeque::new();
                while let Some(element) = list.next_element::<&'de RawValue>()? {
                    if last.len() == LAST {
                        last.pop_front();
                    }
                    last.push_back(element);
                }
                Ok(Last(last))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// For `deserialize_with`: a member of the wrong type counts as absent instead of spoiling its whole object.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Makes a foreign sentence fit for a log line: one line, no control characters, at most 300 characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(300).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_has_exactly_the_members_of_the_protocol() {
        let params = json!({"a": 1});
        let mut request = Request::new("7", "agent", &params);
        let value: Value = serde_json::from_str(&request.to_text()).unwrap();
        assert_eq!(value, json!({"type": "req", "id": "7", "method": "agent", "params": {"a": 1}}));
        request.traceparent = Some("00-x-y-01");
        let value: Value = serde_json::from_str(&request.to_text()).unwrap();
        assert_eq!(value["traceparent"], "00-x-y-01");
    }

    #[test]
    fn unknown_members_are_skipped() {
        let text = r#"{"type":"res","id":"1","ok":true,"seq":{"x":[]},"payload":{"a":1}}"#;
        let Incoming::Response { id, outcome } = Incoming::read(text) else { panic!("{text}") };
        assert_eq!(id, "1");
        assert_eq!(outcome.unwrap().get(), r#"{"a":1}"#);
    }

    #[test]
    fn an_error_keeps_what_is_readable() {
        let text = r#"{"type":"res","id":"1","ok":false,"error":
            {"code":7,"message":"no","retryable":"yes","retryAfterMs":-5,"details":{"code":"X"}}}"#;
        let Incoming::Response { outcome, .. } = Incoming::read(text) else { panic!("{text}") };
        let fault = outcome.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.message.as_str(), fault.retryable), ("", "no", false));
        assert_eq!(fault.retry_after(), None);
        assert_eq!(fault.detail("code"), "X");
    }

    #[test]
    fn what_is_read_whole_is_limited() {
        let wide = format!("[{}0]", "0,".repeat(ANSWER_LIMIT));
        let raw = RawValue::from_string(wide.clone()).unwrap();
        assert_eq!(payload::<Value>(&raw), None);
        let Last(last) = serde_json::from_str(&wide).unwrap();
        assert_eq!(last.len(), LAST);
        let text = format!(r#"{{"type":"res","id":"1","ok":false,"error":{{"code":"X","details":{wide}}}}}"#);
        let Incoming::Response { outcome: Err(fault), .. } = Incoming::read(&text) else { panic!() };
        assert_eq!(fault, Fault::default());
    }

    #[test]
    fn what_says_two_things_says_nothing() {
        let read = |text: &str| payload::<Value>(&RawValue::from_string(text.to_owned()).unwrap());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"c":2,"a":null}}]"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[[[{"":0,"":0}]]]}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let fine = r#"[{"a":1,"b":{"a":1,"c":[{"a":-1},{"a":1.5},"x",null,true]}}]"#;
        assert_eq!(read(fine), serde_json::from_str(fine).ok());
    }

    #[test]
    fn a_wait_is_clamped() {
        let wait =
            |ms: Value| serde_json::from_value::<Fault>(json!({"retryAfterMs": ms})).unwrap().retry_after();
        assert_eq!(wait(json!(500)), Some(Duration::from_millis(500)));
        assert_eq!(wait(json!(0)), Some(Duration::ZERO));
        assert_eq!(wait(json!(1e300)), Some(RETRY_AFTER_LIMIT));
        assert_eq!(wait(json!(u64::MAX)), Some(RETRY_AFTER_LIMIT));
        assert_eq!(wait(json!(-1)), None);
        assert_eq!(wait(json!("soon")), None);
    }

    #[test]
    fn hostile_text_is_ignored() {
        let deep = format!(r#"{{"type":"event","event":"x","payload":{}"#, "[".repeat(100_000));
        for text in [
            "",
            "null",
            "[]",
            "42",
            "{",
            "\u{0}",
            r#"{"type":7}"#,
            r#"{"type":"res"}"#,
            r#"{"type":"res","id":1,"ok":true}"#,
            r#"{"type":"res","id":"1","ok":"true"}"#,
            r#"{"type":"event"}"#,
            r#"{"type":"event","event":{}}"#,
            r#"{"type":"req","id":"1"}"#,
            r#"{"type":"res","type":"res","id":"1","ok":true}"#,
            &deep,
        ] {
            assert!(matches!(Incoming::read(text), Incoming::Other), "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn foreign_sentences_fit_on_a_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert!(one_line(&"x".repeat(10_000)).chars().count() <= 301);
    }
}
