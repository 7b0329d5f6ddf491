//! Synthflow: its words, its shapes old and new, and what is learnt from a call.

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings::of(Provider::Synthflow)
}

fn event(body: &Value) -> Value {
    event_of(&settings(), post("", &body.to_string()))
}

fn warnings(event: &Value) -> Vec<&str> {
    event["data"]["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// The call of this status, end and judgement of who answered.
fn call(status: &str, end: Value, analysis: Value) -> Value {
    let mut body = json!({ "call": { "status": status } });
    body["call"]["end_call_reason"] = end;
    body["analysis"]["answered_by_human"] = analysis;
    event(&body)["data"]["call"].clone()
}

fn extracted(actions: Value, collected: Value) -> (Value, Value) {
    let mut body = json!({ "call": { "status": "completed" } });
    body["executed_actions"] = actions;
    body["collected_variables"] = collected;
    let event = event(&body);
    assert_eq!(event["data"]["extra"]["executed_actions"], body["executed_actions"]);
    let kept = event["data"]["extra"].get("collected_variables").cloned();
    (event["data"]["extracted"].clone(), kept.unwrap_or(json!("taken")))
}

#[test]
fn every_documented_status_has_its_word() {
    for (word, status, reason) in [
        ("completed", "completed", json!(null)),
        ("failed", "failed", json!(null)),
        ("queue", "queued", json!(null)),
        ("queued", "queued", json!(null)),
        ("Queue ", "queued", json!(null)),
        ("pending", "queued", json!(null)),
        ("registered", "queued", json!(null)),
        ("paused", "in_progress", json!("on_hold")),
        ("initiated", "ringing", json!(null)),
        ("ringing", "ringing", json!(null)),
        ("in-progress", "in_progress", json!(null)),
        ("no-answer", "no_answer", json!(null)),
        ("busy", "busy", json!(null)),
        ("hangup_on_voicemail", "voicemail", json!("voicemail_detected")),
        ("left_voicemail", "voicemail", json!("voicemail_message_left")),
        ("canceled", "canceled", json!(null)),
        ("user-canceled", "canceled", json!(null)),
        ("spam", "rejected", json!("spam")),
        // A word of the shared table.
        ("timeout", "no_answer", json!(null)),
    ] {
        let call = call(word, json!(null), json!(null));
        assert_eq!((&call["status"], &call["reason"]), (&json!(status), &reason), "{word}");
        assert_eq!(call["status_raw"], word);
        let going_on = ["queued", "ringing", "in_progress"].contains(&status);
        assert_eq!(call["final"], !going_on, "{word}");
    }
}

#[test]
fn every_documented_end_has_its_reason_and_says_who_answered() {
    for (word, status, reason, answered_by) in [
        ("voicemail", "voicemail", "voicemail_detected", json!("machine")),
        ("voicemail_message_left", "voicemail", "voicemail_message_left", json!("machine")),
        ("human_goodbye", "completed", "callee_hangup", json!("human")),
        ("agent_goodbye", "completed", "agent_hangup", json!("human")),
        ("human_pick_up_cut_off", "completed", "cut_off", json!("human")),
        ("max_duration", "completed", "max_duration", json!(null)),
        ("undefined", "completed", "unknown", json!(null)),
        ("custom_end_call", "completed", "custom", json!(null)),
        ("user_canceled", "completed", "caller_hangup", json!(null)),
        ("Agent Goodbye", "completed", "agent_hangup", json!("human")),
        ("gone_fishing", "completed", "unknown", json!(null)),
    ] {
        let call = call("completed", json!(word), json!(null));
        assert_eq!(call["status"], status, "{word}");
        assert_eq!(call["reason"], reason, "{word}");
        assert_eq!(call["reason_raw"], word);
        assert_eq!(call["answered_by"], answered_by, "{word}");
    }
}

#[test]
fn the_end_makes_a_voicemail_of_a_completed_call_only() {
    assert_eq!(call("failed", json!("voicemail"), json!(null))["status"], "failed");
    assert_eq!(call("canceled", json!("user_canceled"), json!(null))["status"], "canceled");
    // What the status says of the reason comes first.
    let paused = call("paused", json!("agent_goodbye"), json!(null));
    assert_eq!(
        (&paused["reason"], &paused["reason_raw"]),
        (&json!("on_hold"), &json!("agent_goodbye"))
    );
}

#[test]
fn who_answered_is_said_by_the_end_then_the_status_then_the_analysis() {
    let answered =
        |status, end: Value, analysis: Value| call(status, end, analysis)["answered_by"].clone();

    assert_eq!(answered("completed", json!("human_goodbye"), json!("false")), "human");
    assert_eq!(answered("hangup_on_voicemail", json!("max_duration"), json!("true")), "machine");
    assert_eq!(answered("left_voicemail", json!(null), json!("true")), "machine");
    assert_eq!(answered("completed", json!("max_duration"), json!("true")), "human");
    assert_eq!(answered("completed", json!(null), json!(true)), "human");
    assert_eq!(answered("completed", json!(null), json!("false")), "machine");
    assert_eq!(answered("no-answer", json!(null), json!("false")), json!(null));
    for unsaid in ["partial", "not_applicable", "null", ""] {
        assert_eq!(answered("completed", json!(null), json!(unsaid)), json!(null), "{unsaid}");
    }
}

#[test]
fn two_statuses_conflict_when_they_mean_different_things() {
    let of = |outer: &str, inner: &str| {
        let event = event(&json!({ "status": outer, "call": { "status": inner } }));
        let kept = event["data"]["extra"].get("status").is_some();
        let warnings = warnings(&event).join(",");
        (event["data"]["call"]["status"].as_str().map(str::to_owned), warnings, kept)
    };
    let said = |status: &str| Some(status.to_owned());

    assert_eq!(of("completed", "completed"), (said("completed"), String::new(), false));
    assert_eq!(of("Queued", "queue"), (said("queued"), String::new(), true));
    assert_eq!(of("completed", "busy"), (said("busy"), "status_conflict".to_owned(), true));
    let unheard = "status_conflict,status_unmapped".to_owned();
    assert_eq!(of("completed", "in_progress_new"), (said("unknown"), unheard, true));
    assert_eq!(of("", "busy"), (said("busy"), String::new(), false));
    assert_eq!(of("busy", ""), (said("busy"), String::new(), false));
    assert_eq!(of("busy", "<string>"), (said("busy"), "placeholder".to_owned(), false));
    assert_eq!(of("", " "), (said("unknown"), "status_missing".to_owned(), false));
}

#[test]
fn a_status_refined_by_the_end_is_no_conflict() {
    let body = json!({ "status": "completed", "call": { "status": "completed", "end_call_reason": "voicemail" } });
    let event = event(&body);

    assert_eq!(event["data"]["call"]["status"], "voicemail");
    assert_eq!(warnings(&event), Vec::<&str>::new());
}

#[test]
fn the_shape_is_the_older_one_only_when_the_reason_stands_where_errors_go() {
    let of = |error: Value, end: &str| {
        let body = json!({ "error_message": error, "call": { "status": "completed", "end_call_reason": end } });
        let event = event(&body);
        let call = &event["data"]["call"];
        (call["reason"].clone(), call["reason_raw"].clone(), warnings(&event).join(","))
    };

    let legacy = (json!("voicemail_detected"), json!("voicemail"), "legacy_shape".to_owned());
    assert_eq!(of(json!("voicemail"), "completed"), legacy);
    let error = (json!("unknown"), json!("completed"), String::new());
    assert_eq!(of(json!("SIP 503"), "completed"), error);
    assert_eq!(of(json!(""), "completed"), error);
    let newer = (json!("callee_hangup"), json!("human_goodbye"), String::new());
    assert_eq!(of(json!("agent_goodbye"), "human_goodbye"), newer);
}

#[test]
fn a_custom_end_is_told_in_the_customer_s_own_words_wherever_they_stand() {
    for body in [
        json!({ "call": { "end_call_reason": "custom_end_call", "custom_end_call_reason": "rude" } }),
        json!({ "call": { "end_call_reason": "custom_end_call" }, "custom_end_call_reason": "rude" }),
    ] {
        let call = event(&body)["data"]["call"].clone();
        assert_eq!((&call["reason"], &call["reason_raw"]), (&json!("custom"), &json!("rude")));
    }
    let other = event(
        &json!({ "call": { "end_call_reason": "undefined", "custom_end_call_reason": "rude" } }),
    );
    assert_eq!(other["data"]["call"]["reason_raw"], "undefined");
    assert_eq!(other["data"]["extra"]["call"]["custom_end_call_reason"], "rude");
}

#[test]
fn what_actions_returned_comes_first_and_what_was_collected_fills_the_gaps() {
    let value = |value: Value| json!({ "value": value, "collected": true });
    let actions = json!({
        "extract_info_a": { "return_value": { "a": "1" } },
        "info_extractor_b": { "return_value": { "b": null } },
        "extract_info_c": { "return_value": { "extract_info_c": "" } },
        "extract_info_d": { "return_value": "[REDACTED]" },
    });
    let collected = json!({ "a": value(json!("2")), "b": value(json!("3")), "c": value(json!("4")), "e": value(json!(null)) });
    let (found, kept) = extracted(actions, collected);

    assert_eq!(found, json!({ "a": "1", "b": "3", "c": "4", "d": null, "e": null }));
    // The value that another one came before stays.
    let flag = json!({ "collected": true });
    assert_eq!(kept, json!({ "a": value(json!("2")), "b": flag, "c": flag, "e": flag }));
}

#[test]
fn a_later_action_fills_what_an_earlier_one_left_open() {
    let actions = json!({
        "extract_info_zip": { "return_value": { "zip": null } },
        "info_extractor_zip": { "return_value": { "zip": "10115" } },
        "later": { "return_value": { "zip": "10117" } },
    });

    assert_eq!(extracted(actions, json!(null)).0, json!({ "zip": "10115" }));
}

#[test]
fn a_text_that_holds_an_object_is_read_and_any_other_value_stands_for_itself() {
    let returned = |value: Value| {
        extracted(json!({ "extract_info_x": { "return_value": value } }), json!(null)).0
    };

    assert_eq!(
        returned(json!(" {\"a\": 1.50, \"b\": [\"c\"]} ")),
        json!({ "a": 1.50, "b": ["c"] })
    );
    for text in ["{\"a\": 1", "{'a': 1}", "[1, 2]", "blue", "{}x"] {
        assert_eq!(returned(json!(text)), json!({ "x": text }), "{text}");
    }
    assert_eq!(returned(json!(7)), json!({ "x": 7 }));
    assert_eq!(returned(json!(false)), json!({ "x": false }));
    assert_eq!(returned(json!(["a"])), json!({ "x": ["a"] }));
    for nothing in [json!(null), json!(""), json!({}), json!("{}")] {
        assert_eq!(returned(nothing), json!({}));
    }
}

#[test]
fn names_keep_everything_but_the_prefix_of_their_action() {
    let named = |name: &str| extracted(json!({ name: { "return_value": 1 } }), json!(null)).0;

    assert_eq!(named("extract_info_user email"), json!({ "user email": 1 }));
    assert_eq!(named("info_extractor_user email"), json!({ "user email": 1 }));
    assert_eq!(named("extract_info_"), json!({ "extract_info_": 1 }));
    assert_eq!(named("my_extract_info_a"), json!({ "my_extract_info_a": 1 }));
    assert_eq!(named("extract_info_a\nb"), json!({ "a\nb": 1 }));
}

#[test]
fn variables_of_another_shape_stay_in_extra() {
    let unread =
        json!({ "a": "text", "b": {}, "c": { "collected": true }, "d": [1], "e": { "f": {} } });
    assert_eq!(extracted(json!({}), unread.clone()), (json!({}), unread));
    assert_eq!(extracted(json!({}), json!({})), (json!({}), json!({})));
    let by_agent = json!({ "agent-id": { "a": { "value": "1" }, "b": { "value": null, "collected": false } } });
    let left = json!({ "agent-id": { "b": { "collected": false } } });
    assert_eq!(extracted(json!({}), by_agent), (json!({ "a": "1", "b": null }), left));
    assert_eq!(extracted(json!({}), json!({ "a": { "value": 1 } })).1, "taken");

    let event = event(&json!({ "collected_variables": "text" }));
    assert_eq!(event["data"]["extra"]["collected_variables"], "text");
    assert_eq!(warnings(&event), ["status_missing", "value_dropped"]);
}

#[test]
fn the_end_is_the_start_and_the_duration_when_both_are_known() {
    let times = |start: Value, duration: Value| {
        let event = event(
            &json!({ "call": { "status": "completed", "start_time": start, "duration": duration } }),
        );
        (
            event["data"]["call"]["ended_at"].clone(),
            event["time"].clone(),
            warnings(&event).join(","),
        )
    };
    let received = json!("2025-10-27T10:01:44.120Z");

    let (ended, time, warned) = times(json!("2025-10-27T10:59:46+01:00"), json!("113"));
    assert_eq!((ended, time), (json!("2025-10-27T10:01:39Z"), json!("2025-10-27T10:01:39Z")));
    assert_eq!(warned, "");
    assert_eq!(times(json!(null), json!(5)), (json!(null), received.clone(), String::new()));
    let started = json!("2025-10-27T09:00:00Z");
    assert_eq!(times(started.clone(), json!(null)), (json!(null), started.clone(), String::new()));
    assert_eq!(
        times(started.clone(), json!(-5)),
        (json!(null), started.clone(), "value_dropped".to_owned())
    );
    // Seconds beyond the last year that can be written.
    assert_eq!(times(started.clone(), json!(9_007_199_254_740_992_u64)).0, json!(null));
    // A naive time is UTC, and says so.
    let (ended, _, warned) = times(json!("2025-10-27T09:00:00.5"), json!(1));
    assert_eq!((ended, warned.as_str()), (json!("2025-10-27T09:00:01.500Z"), "tz_assumed"));
}

#[test]
fn the_analysis_is_verbatim() {
    let body =
        r#"{"call":{"status":"completed"},"analysis":{"z":"null","a":1.50,"list":[{}],"":" "}}"#;
    let decoded = decoded(&settings(), post("", body)).expect("readable");
    let json = String::from_utf8(decoded.event.to_json()).expect("text");

    assert!(json.contains(r#""analysis":{"z":"null","a":1.50,"list":[{}],"":" "}"#), "{json}");
}

#[test]
fn an_equal_replay_is_a_duplicate_and_an_altered_transcript_is_not() {
    let print = |transcript: &str| {
        let body = json!({ "call": { "call_id": "c-1", "transcript": transcript } }).to_string();
        decoded(&settings(), post("", &body)).expect("readable").fingerprint.expect("identified")
    };

    assert_eq!(print("bot: Hello"), print("bot: Hello"));
    assert_ne!(print("bot: Hello"), print("bot: Goodbye"));
}

#[test]
fn a_transcript_of_megabytes_is_read_whole_under_the_default_limit() {
    let transcript = "\nhuman: Hi. \u{2019}".repeat(200_000);
    let body = json!({ "call": { "call_id": "c-1", "transcript": transcript } }).to_string();

    let limit = Provider::Synthflow.max_body().expect("its own");
    assert_eq!(limit, 8 * 1024 * 1024);
    assert!((3 << 20..limit).contains(&body.len()), "{}", body.len());
    let event = event_of(&settings(), post("", &body));
    assert_eq!(event["data"]["call"]["transcript"], transcript.trim());
}
