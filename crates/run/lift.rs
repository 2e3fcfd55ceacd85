//! The final message of a runner that reports in JSON (`--parse`), taken out of its output.
//!
//! Claude Code (`claude -p --output-format json`, or `stream-json`) ends with an object of `"type":"result"`; Codex
//! (`codex exec --json`) writes one event a line, of which the last `agent_message` is the answer. Only what is
//! needed is read, everything else may be there or not, and lines that are no JSON (stderr is in the same file) are
//! passed over: a runner of next year must not cost the report.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use spooldir::sanitize;

use crate::args::Format;

/// How much of the end of the output is looked through, in bytes.
const WINDOW: u64 = 4 * 1024 * 1024;
/// The longest message that is taken over, in bytes.
const MAX_TEXT: usize = 32 * 1024;

/// What the runner said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifted {
    pub text: String,
    /// Whether it said that it failed.
    pub has_failed: bool,
}

/// Looks for the final message; `None` when there is none to be found.
pub fn lift(format: Format, log: &Path) -> Option<Lifted> {
    let end = read_end(log).ok()?;
    let found = match format {
        Format::Claude => claude(&end),
        Format::Codex => codex(&end),
    }?;
    let text = cut(spooldir::sanitize::text(&found.text));
    (!text.is_empty()).then_some(Lifted { text, ..found })
}

fn read_end(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(WINDOW)))?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(sanitize::boundary_before(&text, MAX_TEXT));
        text.push_str("\n[cut by spool-run; the whole of it is in the log]");
    }
    text
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClaudeResult {
    r#type: String,
    subtype: String,
    is_error: bool,
    result: Option<String>,
}

fn claude(output: &str) -> Option<Lifted> {
    let read = |line: &str| -> Option<ClaudeResult> {
        let line = line.trim();
        let is_result = |r: &ClaudeResult| r.r#type == "result";
        match line.as_bytes().first()? {
            b'{' => serde_json::from_str(line).ok().filter(is_result),
            // With --verbose all messages come as one array.
            b'[' => serde_json::from_str::<Vec<ClaudeResult>>(line).ok()?.into_iter().rfind(is_result),
            _ => None,
        }
    };
    let result = output.lines().rev().find_map(read)?;
    let text = result.result.unwrap_or_else(|| {
        // Some failures have no words of their own, only a kind such as error_max_turns.
        if result.is_error { format!("It failed: {}.", result.subtype) } else { String::new() }
    });
    Some(Lifted { text, has_failed: result.is_error })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CodexEvent {
    r#type: String,
    item: CodexItem,
    error: CodexError,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CodexItem {
    r#type: String,
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CodexError {
    message: String,
}

fn codex(output: &str) -> Option<Lifted> {
    let mut last = None;
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let Ok(event) = serde_json::from_str::<CodexEvent>(line) else { continue };
        match event.r#type.as_str() {
            "item.completed" if event.item.r#type == "agent_message" => {
                last = Some(Lifted { text: event.item.text, has_failed: false });
            }
            "turn.failed" => last = Some(Lifted { text: event.error.message, has_failed: true }),
            _ => {}
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifted(format: Format, output: &str) -> Option<(String, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, output).unwrap();
        lift(format, &log).map(|l| (l.text, l.has_failed))
    }

    #[test]
    fn claudes_result_is_found_among_other_lines() {
        let good = r#"{"type":"result","subtype":"success","is_error":false,"result":"Fixed\u001b[1m it.","num_turns":3}"#;
        let noise = "warning: x\n{\"type\":\"assistant\",\"message\":{}}\n";
        let of = |output: &str| lifted(Format::Claude, output);
        assert_eq!(of(&format!("{noise}{good}\nbye\n")), Some(("Fixed it.".into(), false)));
        assert_eq!(of(&format!(r#"[{{"type":"system"}},{good}]"#)), Some(("Fixed it.".into(), false)));
        let bad = r#"{"type":"result","subtype":"error_max_turns","is_error":true}"#;
        assert_eq!(of(bad), Some(("It failed: error_max_turns.".into(), true)));
        for none in ["", "plain text", "{\"type\":\"result\"", r#"{"type":"result","result":" "}"#] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn codexs_last_message_or_failure_is_found() {
        let message = |text: &str| {
            format!(
                r#"{{"type":"item.completed","item":{{"id":"i","type":"agent_message","text":"{text}"}}}}"#
            )
        };
        let start = r#"{"type":"thread.started","thread_id":"t"}"#;
        let other = r#"{"type":"item.completed","item":{"type":"command_execution","text":"ls"}}"#;
        let failed = r#"{"type":"turn.failed","error":{"message":"quota"}}"#;
        let of = |lines: &[&str]| lifted(Format::Codex, &lines.join("\n"));
        let (one, two) = (message("One."), message("Two."));
        assert_eq!(of(&[start, &one, "noise", &two, other]), Some(("Two.".into(), false)));
        assert_eq!(of(&[start, &one, failed]), Some(("quota".into(), true)));
        assert_eq!(of(&[start, other]), None);
    }

    #[test]
    fn only_the_end_of_a_long_output_is_read_and_a_long_message_is_cut() {
        let noise = "x".repeat(1024) + "\n";
        let good = format!(r#"{{"type":"result","result":"{}"}}"#, "é".repeat(MAX_TEXT));
        let (text, _) = lifted(Format::Claude, &(noise.repeat(5 * 1024) + &good)).unwrap();
        assert!(text.len() < MAX_TEXT + 100 && text.ends_with("in the log]"));
    }
}
