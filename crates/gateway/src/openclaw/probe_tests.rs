use super::*;

fn raw(value: Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

fn history(answer: Value) -> History {
    History::read(&raw(answer)).unwrap()
}

#[test]
fn a_row_proves_its_key_wherever_the_gateway_puts_it() {
    let history = history(json!({"messages": [
        {"role": "user", "content": "[job] K1", "idempotencyKey": "K1:user"},
        {"role": "user", "content": "[job] K2", "__openclaw": {"idempotencyKey": "K2:user"}},
        {"role": "assistant", "content": [{"type": "text", "text": "reply"}], "stopReason": "stop",
         "__openclaw": {"runId": "K1"}},
        {"role": "assistant", "content": [{"type": "text", "text": "m"}], "idempotencyKey": "K4"},
        {"role": 7, "content": {}}, null
    ]}));
    assert!(history.committed("K1") && history.committed("K2"));
    assert!(!history.committed("K") && !history.committed("K4") && !history.committed("K1:user"));
    assert!(history.row("K4").is_some(), "the mirror of a message");
    assert!(history.rows[2].contains("reply") && history.rows[2].last && history.rows[2].run == "K1");
}

#[test]
fn pending_inputs_are_told_apart_by_their_run() {
    let history = history(json!({"messages": [],
        "pendingInputs": {"items": [
            {"id": "1", "runId": "other", "state": "interrupted"},
            {"id": "2", "runId": "K", "state": "queued"}], "total": 2},
        "inputReceipts": [{"runId": "K", "state": "pending"}, {"runId": "L", "state": "pending"},
            {"runId": "C", "state": "consumed", "consumedByEventId": "e"}]}));
    assert_eq!(history.pending("K"), Some("queued"));
    assert_eq!(history.pending("L"), Some("pending"), "only a receipt tells");
    assert_eq!(history.pending("M"), None);
    assert_eq!(history.pending("C"), None);
    assert!(history.committed("C"));
}

#[test]
fn an_answer_belongs_to_its_run_and_without_runs_to_the_text_before_it() {
    let row = |role: &str, key: &str, run: &str| json!({"role": role, "idempotencyKey": key, "__openclaw": {"runId": run}});
    let interleaved = history(json!({"messages": [row("user", "A:user", ""), row("user", "B:user", ""),
        row("assistant", "", "A"), row("assistant", "M", "")]}));
    assert_eq!((interleaved.outcome("A"), interleaved.outcome("B")), (Some(Reply::Replied), None));
    let nameless = history(json!({"messages": [row("user", "A:user", ""), row("assistant", "", ""),
        row("user", "B:user", ""), row("assistant", "M", ""), row("user", "C:user", "")]}));
    assert_eq!(nameless.outcome("A"), Some(Reply::Replied), "the row after its text");
    assert_eq!(nameless.outcome("B"), None, "the mirror of a message is not an answer");
    assert_eq!((nameless.outcome("C"), nameless.outcome("D")), (None, None));
}

// As read from 2026.7.1, which keeps no keys and puts a preamble before the text.
#[test]
fn without_keys_the_text_names_the_turn() {
    let history = history(json!({"messages": [
        {"role": "user", "content": "[Inter-session message] sourceTool=spool isUser=false\n[job seven-1] is done",
         "provenance": {"kind": "inter_session", "sourceTool": "spool"}},
        {"role": "assistant", "content": [{"type": "text", "text": "reply ok: seven-9"}], "stopReason": "stop"},
        {"role": "user", "content": "[Inter-session message] sourceTool=spool isUser=false\n[job seven-4] FAIL400"},
        {"role": "assistant", "content": [{"type": "text",
            "text": "The agent run failed before producing a reply."}], "stopReason": "error"},
        {"role": "user", "content": "what is seven-8?", "idempotencyKey": "channel-user:v1:ec50"}]}));
    assert_eq!((history.committed("seven-1"), history.outcome("seven-1")), (true, Some(Reply::Replied)));
    assert!(history.committed("seven-4") && matches!(history.outcome("seven-4"), Some(Reply::Failed(_))));
    assert!(!history.committed("seven-9"), "an agent may repeat a key");
    assert!(!history.committed("seven-8"), "a person may, too; where rows have keys, the key decides");
}

#[test]
fn a_step_that_calls_a_tool_is_not_the_reply() {
    for (stop, last) in [("toolUse", false), ("error", false), ("stop", true), ("", true)] {
        assert_eq!(Row::read(&raw(json!({"role": "assistant", "stopReason": stop}))).last, last, "{stop}");
    }
}

#[test]
fn what_is_no_history_is_not_an_empty_one() {
    for answer in [json!({}), json!(null), json!({"messages": {}}), json!({"kind": "reset"})] {
        assert!(History::read(&raw(answer.clone())).is_none(), "{answer}");
    }
}

#[test]
fn of_a_history_without_end_the_newest_rows_are_kept() {
    let rows: Vec<Value> = (0..5000)
        .map(|n| json!({"role": "user", "content": "x", "idempotencyKey": format!("K{n}:user")}))
        .collect();
    let history = history(json!({"messages": rows, "pendingInputs": {"items": vec![json!({}); 5000]}}));
    assert_eq!((history.rows.len(), history.pending.len()), (1000, 1000));
    assert!(history.committed("K4999") && !history.committed("K3"));
}

#[test]
fn members_of_the_wrong_kind_cost_only_themselves() {
    let history = history(
        json!({"messages": [{"role": ["user"], "idempotencyKey": "A:user", "__openclaw": 7,
        "timestamp": "now", "content": {"text": "A"}}], "pendingInputs": [], "inputReceipts": {"runId": "A"}}),
    );
    assert!(history.committed("A"));
    assert_eq!((history.rows[0].at, history.pending.len(), history.receipts.len()), (None, 0, 0));
}

#[test]
fn the_newest_keys_are_asked_for_and_not_too_many() {
    let delivery = Delivery {
        key: "K~99".into(),
        former_keys: (0..99).map(|epoch| format!("K~{epoch}")).collect(),
        session_key: "S".into(),
        text: String::new(),
        mode: crate::receiver::Mode::Turn,
        route: None,
        traceparent: None,
    };
    let keys = keys(&delivery);
    assert_eq!((keys[0], keys[1], keys.len()), ("K~99", "K~98", KEYS));
}

#[test]
fn a_turn_asked_before_a_restart_proves_to_nobody_that_they_were_told() {
    let row = |role: &str, key: &str, run: &str, at: u64| json!({"role": role, "idempotencyKey": key, "timestamp": at, "__openclaw": {"runId": run}});
    let history = history(json!({"messages": [row("user", "A:user", "", 10), row("assistant", "", "A", 30),
        row("user", "B:user", "", 40), {"role": "user", "idempotencyKey": "C:user"}]}));
    assert!(
        history.is_of_a_former_life("A", 20),
        "answered by a resumed turn, which was not shown the report"
    );
    assert!(history.is_of_a_former_life("A", 35), "answered before it, but perhaps not sent");
    assert!(!history.is_of_a_former_life("A", 10));
    assert!(!history.is_of_a_former_life("B", 35), "asked after it");
    assert!(!history.is_of_a_former_life("C", 20), "nothing is known");
    assert!(!history.is_of_a_former_life("D", 20), "not there at all");
}
