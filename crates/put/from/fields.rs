//! What was handed over, whatever its shape: fields with names, and values that are text.

use std::ffi::OsString;

use serde_json::Value;

/// A variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The fields of an announcement.
pub enum Fields<'a> {
    /// A JSON document; a path of names and numbers with dots between leads into it.
    Json(&'a Value),
    /// The environment, of which only what is asked for is seen.
    Env(Env<'a>),
    /// Arguments: `{1}` is the first one, `{name}` is that of `name=value`.
    Words(&'a [String]),
}

impl Fields<'_> {
    /// The value of a field; one that is empty, or no text, number or truth value, is not there.
    pub fn get(&self, path: &str) -> Option<String> {
        let found = match self {
            Fields::Json(document) => match at(document, path)? {
                Value::String(text) => Some(text.clone()),
                Value::Null | Value::Object(_) | Value::Array(_) => None,
                other => Some(other.to_string()),
            },
            Fields::Env(env) => env(path).map(|value| value.to_string_lossy().into_owned()),
            Fields::Words(words) => match path.parse::<usize>() {
                Ok(place) => words.get(place.checked_sub(1)?).cloned(),
                Err(_) => words
                    .iter()
                    .find_map(|word| word.split_once('=').filter(|(name, _)| *name == path))
                    .map(|(_, value)| value.to_owned()),
            },
        };
        // JSON can say NUL, which no record may.
        found.map(|value| value.replace('\0', "\u{fffd}")).filter(|value| !value.trim().is_empty())
    }

    /// The first of these fields that is there.
    pub fn first(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.get(path))
    }

    /// Whether a field is a list or an object with something in it.
    pub fn is_filled(&self, path: &str) -> bool {
        match self {
            Fields::Json(document) => match at(document, path) {
                Some(Value::Array(items)) => !items.is_empty(),
                Some(Value::Object(members)) => !members.is_empty(),
                _ => false,
            },
            _ => false,
        }
    }
}

/// Follows a path, after looking for a member of that whole name.
fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    path.split('.').try_fold(document, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => value.get(step),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_leads_into_json() {
        let document =
            json!({"a": {"b": [1, {"c": "x"}]}, "d.e": true, "n": null, "blank": " ", "o": {}, "l": [0]});
        let fields = Fields::Json(&document);
        for (path, expected) in [("a.b.0", "1"), ("a.b.1.c", "x"), ("d.e", "true")] {
            assert_eq!(fields.get(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["a", "a.b", "a.b.7", "n", "blank", "nothing", "a.b.1.c.d", ""] {
            assert_eq!(fields.get(path), None, "{path}");
        }
        assert_eq!(fields.first(&["n", "d.e"]).as_deref(), Some("true"));
        let nul = json!({"cwd": "/a\0b"});
        assert_eq!(Fields::Json(&nul).get("cwd").as_deref(), Some("/a\u{fffd}b"));
        assert!(fields.is_filled("l") && !fields.is_filled("o") && !fields.is_filled("n"));
    }

    #[test]
    fn arguments_have_places_and_names() {
        let words = ["id=4".to_owned(), "log=/a=b".to_owned(), "x".to_owned()];
        let fields = Fields::Words(&words);
        assert_eq!(fields.get("3").as_deref(), Some("x"));
        assert_eq!(fields.get("log").as_deref(), Some("/a=b"));
        assert_eq!((fields.get("0"), fields.get("4"), fields.get("exit")), (None, None, None));
    }
}
