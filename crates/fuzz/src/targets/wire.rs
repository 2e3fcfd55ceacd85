//! What a gateway says, by message.

use std::sync::LazyLock;
use std::time::Duration;

use spool_gateway::openclaw::{Config, readers};
use spool_gateway::receiver::{Evidence, Look, Reply, Trouble};

use crate::feed::Feed;
use crate::promises::Shape;

/// The longest wait that a gateway can ask of us.
const WAIT: Duration = Duration::from_secs(300);

fn check(trouble: &Trouble) {
    let reason = &trouble.reason;
    assert!(!reason.chars().any(char::is_control), "control characters in {reason:?}");
    assert!(reason.len() < 4096, "{} bytes of words", reason.len());
    assert!(trouble.retry_after.is_none_or(|wait| wait <= WAIT), "waits {:?}", trouble.retry_after);
}

/// Whether it says two things: a member of one object is given twice. Nothing of that is believed.
fn says_two_things(text: &str) -> bool {
    serde_json::from_str::<Shape>(text).is_ok_and(|shape| shape.is_doubled)
}

pub(super) fn frame(data: &[u8]) {
    // The socket hands over nothing but UTF-8.
    let Ok(text) = std::str::from_utf8(data) else { return };
    match readers::frame(text) {
        readers::Frame::Response(_, Err(troubles)) => troubles.iter().for_each(check),
        readers::Frame::Response(_, Ok(payload)) | readers::Frame::Event(_, Some(payload)) => {
            assert!(payload == "null" || text.contains(&payload), "a payload from elsewhere");
        }
        _ => {}
    }
}

pub(super) fn hello(data: &[u8]) {
    static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::new("ws://127.0.0.1:18789"));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((nonce, _)) = readers::challenge(text) {
        assert!(nonce.len() <= 512, "{} bytes to sign", nonce.len());
        assert!(!says_two_things(text), "signs one of two challenges");
    }
    match readers::hello(text, &CONFIG) {
        Err(trouble) => check(&trouble),
        Ok(hello) => {
            assert!(!says_two_things(text), "believes one of two hellos");
            assert!((3..=4).contains(&hello.protocol), "protocol {}", hello.protocol);
            let silence = Duration::from_secs(2)..=Duration::from_secs(600);
            assert!(silence.contains(&hello.silence), "silent for {:?}", hello.silence);
            for words in [Some(&hello.version), hello.boot_id.as_ref()].into_iter().flatten() {
                assert!(!words.chars().any(char::is_control) && words.chars().count() <= 301, "{words:?}");
            }
        }
    }
}

pub(super) fn history(data: &[u8]) {
    const KEYS: [&str; 2] = ["sp-0192837465564738291001928374655a", "k"];
    let mut feed = Feed::new(data);
    let choice = feed.byte();
    let Ok(text) = std::str::from_utf8(&data[data.len().min(1)..]) else { return };
    match choice % 4 {
        0 => {
            let told = readers::history(text, &KEYS).unwrap_or_default();
            for (told, key) in told.iter().zip(KEYS) {
                // The key has to stand there for anything to be said of it.
                let is_named = text.contains(key) || text.contains("\\u");
                assert!(
                    is_named || !(told.is_committed || told.outcome.is_some()),
                    "evidence from nowhere: {told:?}"
                );
            }
        }
        1 => {
            if let Some(Look::Open(session)) = readers::session(text) {
                assert!(!says_two_things(text), "believes one of two sessions");
                assert!(
                    session.pin.is_some_and(|pin| !pin.is_empty()),
                    "an open session without an identity"
                );
                if let Some(route) = session.route {
                    assert!(!route.channel.is_empty() && !route.to.is_empty(), "half a route");
                }
            }
        }
        _ => {
            let committed = choice & 4 != 0;
            let (reply, rungs) = readers::final_answer(text, committed, choice & 8 != 0);
            let is_ok = text.contains("ok") || text.contains("\\u");
            assert!(is_ok || rungs.is_empty(), "{rungs:?} of an answer that is not ok");
            assert!(
                rungs.is_empty() || !says_two_things(text),
                "{rungs:?} of an answer that says two things"
            );
            match reply {
                Ok(Reply::Sent) => assert_eq!(rungs.last(), Some(&Evidence::Sent)),
                Ok(Reply::Failed(why)) => assert!(!why.chars().any(char::is_control), "{why:?}"),
                Ok(_) => assert!(is_ok),
                Err(trouble) => check(&trouble),
            }
        }
    }
}
