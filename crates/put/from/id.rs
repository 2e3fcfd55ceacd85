//! Ids made of what a runner calls its own: the same event has the same id, whoever asks.

use spooldir::Id;

/// Longer ids are cut and end in a digest, so that there is room for [`other`].
const LONGEST: usize = 100;

/// The id of an event: the runner's name and the parts, with colons between. `None` when a part is missing: half of an
/// id would make one record of two events.
pub fn stable(runner: &str, parts: &[Option<String>]) -> Option<Id> {
    let mut raw = runner.to_owned();
    for part in parts {
        raw.push(':');
        raw.push_str(part.as_deref().filter(|part| !part.trim().is_empty())?);
    }
    Id::new(&fit(&raw)).ok()
}

/// The id of an event that another event with other words took first: the same for the same bytes.
pub fn other(id: &Id, bytes: &[u8]) -> Option<Id> {
    let start: String = id.as_str().chars().take(LONGEST).collect();
    Id::new(&format!("{start}.{:016x}", digest(bytes))).ok()
}

/// Makes it fit the grammar of ids; what had to be changed is told apart by a digest of the whole.
fn fit(raw: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    if raw.len() <= LONGEST && raw.chars().all(is_good) && !raw.ends_with(".why") {
        return raw.to_owned();
    }
    let start = raw.chars().map(|c| if is_good(c) { c } else { '-' }).take(LONGEST - 17);
    format!("{}.{:016x}", start.collect::<String>(), digest(raw.as_bytes()))
}

/// FNV-1a. Two events that collide are told apart by their bytes, like any two records.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> Option<String> {
        let parts: Vec<_> = parts.iter().map(|p| Some((*p).to_owned())).collect();
        stable("codex", &parts).map(|id| id.to_string())
    }

    #[test]
    fn an_id_is_readable_where_it_can_be_and_always_its_own() {
        assert_eq!(of(&["t-1", "u.2"]).unwrap(), "codex:t-1:u.2");
        let (slash, dash) = (of(&["a/b"]).unwrap(), of(&["a-b"]).unwrap());
        assert!(slash.starts_with("codex:a-b.") && slash != dash, "{slash}");
        let long = of(&[&"x".repeat(500)]).unwrap();
        assert!(long.len() <= LONGEST && long != of(&[&"x".repeat(501)]).unwrap(), "{long}");
        assert_ne!(of(&["é"]), of(&["è"]));
        assert!(of(&["x.why"]).is_some());
        assert_eq!(of(&["a", " "]), None);
        assert_eq!(stable("codex", &[None]), None);
    }

    #[test]
    fn other_words_under_the_same_id_get_another_one_that_is_as_stable() {
        let id = Id::new(&of(&[&"x".repeat(500)]).unwrap()).unwrap();
        assert_eq!(other(&id, b"a"), other(&id, b"a"));
        assert_ne!(other(&id, b"a"), other(&id, b"b"));
    }
}
