//! Clauses of `providers.md` and `event.md` that no fixture shows by itself.

use serde_json::json;

use super::*;

fn data(provider: Provider, body: &Value) -> Value {
    data_in(&Settings::of(provider), "", body)
}

fn data_in(settings: &Settings, query: &str, body: &Value) -> Value {
    event_of(settings, post(query, &body.to_string()))["data"].clone()
}

fn warnings(data: &Value) -> Vec<&str> {
    let warnings = data["warnings"].as_array().expect("a list");
    warnings.iter().map(|warning| warning.as_str().expect("a word")).collect()
}

fn print(settings: &Settings, query: &str, body: &Value) -> Option<[u8; 16]> {
    decoded(settings, post(query, &body.to_string())).expect("readable").fingerprint
}

fn renaming(provider: Provider, names: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::of(provider);
    let owned = |(name, key): &(&str, &str)| ((*name).to_owned(), (*key).to_owned());
    settings.fields = names.iter().map(owned).collect();
    settings
}

// --- C.0: reading ---

#[test]
fn every_documented_field_alone_makes_a_body_the_provider_s() {
    for provider in Provider::ALL {
        for name in provider.rules().documented {
            let body = json!({ *name: null }).to_string();
            let document = read(&Settings::of(*provider), post("", &body));
            assert!(document.is_ok(), "{name} of {}", provider.as_str());
        }
    }
    let inner = r#"{"custom_end_call_reason":"x"}"#;
    let reason = read(&Settings::of(Provider::Synthflow), post("", inner)).err();
    assert_eq!(reason, Some(Unreadable::Unrecognised));
}

#[test]
fn a_form_may_follow_a_byte_order_mark_and_white_space() {
    let settings = Settings::of(Provider::Plum);
    let event = event_of(&settings, post("", "\u{feff}\r\n status=completed"));
    assert_eq!(event["data"]["call"]["status_raw"], "completed");
}

#[test]
fn text_is_repaired_where_json_is_not() {
    let settings = Settings { repair_json: false, ..Settings::of(Provider::Plum) };
    let body = b"{\"status\":\"x\xff\"}";
    let callback = Callback { method: "POST", query: "", content_type: None, body };
    let event = event_of(&settings, callback);
    assert_eq!(event["data"]["call"]["status_raw"], "x\u{fffd}");
    assert_eq!(warnings(&event["data"]), ["status_unmapped", "text_repaired"]);
}

// --- C.2: fields, wherever they are received ---

#[test]
fn a_field_that_is_received_in_a_list_is_read_and_the_list_stays() {
    let body = json!({ "calls": [{ "s": "BUSY", "n": "918000000102", "at": "1761559300",
        "u": "https://app.example.com/a", "d": 7 }] });
    let settings = renaming(
        Provider::Mobtexting,
        &[
            ("status", "/calls/0/s"),
            ("to", "/calls/0/n"),
            ("start_at", "calls[0].at"),
            ("recording_url", "/calls/0/u"),
            ("duration", "/calls/0/d"),
        ],
    );

    let data = data_in(&settings, "", &body);
    let call = &data["call"];
    assert_eq!((&call["status"], &call["status_raw"]), (&json!("busy"), &json!("BUSY")));
    assert_eq!(call["to"]["e164"], "+918000000102");
    assert_eq!(call["started_at"], "2025-10-27T10:01:40Z");
    assert_eq!(call["recording_url"], "https://app.example.com/a");
    assert_eq!(call["duration_seconds"], 7);
    assert_eq!(data["extra"], body);
    assert_eq!(warnings(&data), Vec::<&str>::new());
}

#[test]
fn a_list_and_a_map_behind_an_index_are_read_too() {
    let settings = renaming(
        Provider::ElevenX,
        &[
            ("callResult.outcomes", "/results/0/outcomes"),
            ("callResult.extractedVariables", "/results/0/learnt"),
        ],
    );
    let body = json!({ "callId": "c",
        "results": [{ "outcomes": [{ "name": "won" }], "learnt": { "zip": "10115" } }] });

    let data = data_in(&settings, "", &body);
    assert_eq!(data["outcomes"], json!([{ "name": "won", "reason": null }]));
    assert_eq!(data["extracted"], json!({ "zip": "10115" }));
    assert_eq!(data["extra"]["results"], body["results"]);
}

#[test]
fn the_provider_s_own_reference_comes_before_that_of_the_url() {
    let settings = Settings::of(Provider::Mobtexting);
    let both = data_in(&settings, "ref=order-9", &json!({ "mid": "7", "status": "BUSY" }));
    assert_eq!(both["call"]["reference"], "7");
    assert_eq!(both["query"]["ref"], "order-9");
    let url = data_in(&settings, "ref=order-9", &json!({ "status": "BUSY" }));
    assert_eq!(url["call"]["reference"], "order-9");
}

#[test]
fn a_reference_longer_than_a_kibibyte_is_dropped_wherever_it_stands() {
    let long = "r".repeat(1025);
    let settings = Settings::of(Provider::Mobtexting);
    let field = event_of(&settings, post("", &json!({ "mid": long }).to_string()));
    assert_eq!(field["data"]["call"]["reference"], Value::Null);
    assert_eq!(field["data"]["extra"]["mid"], *long);
    assert_eq!(field.get("subject"), None);
    assert!(warnings(&field["data"]).contains(&"value_dropped"));

    let url = data_in(&settings, &format!("ref={long}"), &json!({ "status": "BUSY" }));
    assert_eq!(url["call"]["reference"], Value::Null);
    assert_eq!(url["query"]["ref"], *long);
    assert_eq!(warnings(&url), ["value_dropped"]);
}

#[test]
fn a_placeholder_is_null_with_a_warning_also_in_the_url_and_among_what_was_learnt() {
    let settings = eleven_x();
    let url = data_in(&settings, "ref=%3Cstring%3E", &json!({ "callId": "c" }));
    assert_eq!(url["call"]["reference"], Value::Null);
    assert_eq!(url["query"]["ref"], "<string>");
    assert_eq!(warnings(&url), ["placeholder", "status_missing"]);

    let learnt = json!({ "callId": "c", "callResult": { "extractedVariables":
        { "budget": "<string>", "city": " ", "zip": "10115", "list": ["<string>"] } } });
    let data = data(Provider::ElevenX, &learnt);
    let expected = json!({ "budget": null, "city": null, "zip": "10115", "list": ["<string>"] });
    assert_eq!(data["extracted"], expected);
    let kept = json!({ "extractedVariables": { "budget": "<string>" } });
    assert_eq!(data["extra"]["callResult"], kept);
    assert_eq!(warnings(&data), ["placeholder", "status_missing"]);
}

#[test]
fn a_name_in_angle_brackets_is_no_placeholder() {
    for name in ["<Anna Example>", "<>", "a <string>"] {
        let data = data(Provider::ElevenX, &json!({ "callId": "c", "name": name }));
        assert_eq!(data["contact"]["name"], name);
        assert_eq!(warnings(&data), ["status_missing"], "{name}");
    }
}

// --- C.3: repeats ---

#[test]
fn the_log_alone_identifies_a_call_unless_it_is_another_at_each_try() {
    let settings = Settings::of(Provider::CloudDial);
    let logged = json!({ "Result": "Busy", "LogDateTime": "2019-06-19T16:11:07" });
    assert!(print(&settings, "", &logged).is_some());
    assert_eq!(print(&settings, "", &json!({ "Result": "Busy" })), None);

    // Two calls of MOBtexting that differ in nothing else: a doubled result can be repaired, a
    // lost one cannot.
    let settings = Settings::of(Provider::Mobtexting);
    let sent = json!({ "status": "BUSY", "to": "918000000102", "unixtime": "1761559300" });
    assert_eq!(print(&settings, "", &sent), None);
}

#[test]
fn a_mobtexting_repeat_is_one_however_its_moment_of_sending_is_named() {
    for (key, body) in [
        ("sent", json!({ "sent": "1" })),
        ("/sent", json!({ "sent": "1" })),
        ("meta.sent", json!({ "meta": { "sent": "1", "x": 1 } })),
        ("/meta/sent", json!({ "meta": { "sent": "1" } })),
        ("/list/1", json!({ "list": ["0", "1"] })),
    ] {
        let settings = renaming(Provider::Mobtexting, &[("unixtime", key)]);
        let at_try = |sent: &str, other: &str| {
            let text = body.to_string().replace("\"1\"", &format!("\"{sent}\""));
            let mut body: Value = serde_json::from_str(&text).expect("JSON");
            body["status"] = json!(other);
            body["start_at"] = json!("2025-10-27 12:00:00");
            print(&settings, "", &body).expect("identified")
        };
        assert_eq!(at_try("1761559300", "BUSY"), at_try("1761559900", "BUSY"), "{key}");
        assert_ne!(at_try("1761559300", "BUSY"), at_try("1761559300", "ANSWER"), "{key}");
    }
}

#[test]
fn the_other_providers_repeat_a_callback_as_it_was() {
    let settings = Settings::of(Provider::Plum);
    let body = |at: u64| json!({ "status": "completed", "last_attempt_timestamp": at });
    let first = print(&settings, "", &body(1_761_558_060));
    assert_eq!(first, print(&settings, "", &body(1_761_558_060)));
    assert_ne!(first, print(&settings, "", &body(1_761_558_061)));
}

#[test]
fn a_get_and_a_post_of_the_same_fields_are_two_events() {
    let settings = Settings::of(Provider::Mobtexting);
    let fields = "status=ANSWER&start_at=2025-10-27+12:00:00";
    let get = Callback { method: "GET", query: fields, content_type: None, body: b"" };
    let posted = decoded(&settings, post("", fields)).expect("readable").fingerprint;
    let got = decoded(&settings, get).expect("readable").fingerprint;
    assert!(posted.is_some() && got.is_some());
    assert_ne!(posted, got);
}

#[test]
fn a_credential_of_the_provider_that_is_a_field_under_any_name_of_it_stays() {
    let stripped = |fields: &[(&str, &str)]| {
        let settings = renaming(Provider::Mobtexting, fields);
        strip_query(&settings, &[], "GET", "token=7&status=BUSY").into_owned()
    };
    assert_eq!(stripped(&[]), "status=BUSY");
    assert_eq!(stripped(&[("mid", "token")]), "token=7&status=BUSY");
    assert_eq!(stripped(&[("mid", "/token")]), "token=7&status=BUSY");
}

// --- C.6, C.7, C.8: words ---

#[test]
fn notes_of_clouddial_refine_a_result_only_word_for_word() {
    let status = |result: &str, notes: &str| {
        let body = json!({ "Result": result, "ResultNotes": notes });
        let call = data(Provider::CloudDial, &body)["call"].clone();
        (call["status"].clone(), call["reason"].clone())
    };

    let unallocated = (json!("failed"), json!("unallocated_number"));
    assert_eq!(status("Disconnected", "Disconnected (404)"), unallocated);
    assert_eq!(status("Permanent Failure", "Unallocated Number"), unallocated);
    assert_eq!(status("Permanent Failure", "Permanent Failure - Unallocated Number"), unallocated);
    assert_eq!(status("Permanent Failure", "Permanent Failure: Unallocated Number"), unallocated);
    let unknown = (json!("failed"), json!("unknown"));
    for notes in ["(404)", "Disconnected(404)", "Disconnected -- (404)", "Disconnected (404)."] {
        assert_eq!(status("Disconnected", notes), unknown, "{notes}");
    }
    assert_eq!(status("(404)", "").0, "unknown");
    assert_eq!(status("Disconnected (404)", ""), unallocated);
    let refused = (json!("rejected"), Value::Null);
    assert_eq!(status("Temporarily Unavailable", "Rejected or Forbidden (403)"), refused);
    assert_eq!(status("Temporarily Unavailable", "Temporarily Unavailable (403)"), refused);
}

#[test]
fn a_newer_reason_of_synthflow_says_who_answered_by_its_beginning() {
    let ended = |word: &str| {
        let body = json!({ "call": { "status": "completed", "end_call_reason": word } });
        let call = data(Provider::Synthflow, &body)["call"].clone();
        [&call["status"], &call["reason"], &call["answered_by"]].map(Value::clone)
    };
    let said = |answered_by: Value| [json!("completed"), json!("unknown"), answered_by];
    assert_eq!(ended("human_transfer"), said(json!("human")));
    assert_eq!(ended("Voicemail Full"), said(json!("machine")));
    assert_eq!(ended("humane"), said(Value::Null));
}

#[test]
fn the_status_of_11x_is_derived_by_what_the_call_left() {
    let derived = |body: Value| {
        let data = data(Provider::ElevenX, &body);
        let warnings = warnings(&data).join(" ");
        (data["call"]["status"].as_str().expect("a status").to_owned(), warnings)
    };
    let said = |status: &str, warnings: &str| (status.to_owned(), warnings.to_owned());

    let later = "2025-02-04T09:15:00Z";
    assert_eq!(
        derived(json!({ "callId": "c", "duration": 0, "rescheduledAt": later,
            "callResult": { "transcription": "hi" } })),
        said("completed", "status_derived")
    );
    assert_eq!(
        derived(json!({ "callId": "c", "duration": 0, "rescheduledAt": later })),
        said("no_answer", "status_derived")
    );
    assert_eq!(
        derived(json!({ "callId": "c", "rescheduledAt": "0001-01-01T00:00:00Z" })),
        said("unknown", "status_missing")
    );
    assert_eq!(
        derived(json!({ "callId": "c", "duration": 0, "rescheduledAt": "<string>" })),
        said("unknown", "placeholder status_missing")
    );
    let stated = |word: &str| derived(json!({ "callResult": { "resultType": word } })).0;
    assert_eq!(stated("Carrier error"), "failed");
    assert_eq!(stated("Rejected by callee"), "rejected");
}

#[rustfmt::skip]
const SHARED_WORDS: &[(&str, &[&str])] = &[
    ("queued", &["queued", "queue", "scheduled", "created", "new", "allocated", "registered", "pending", "requested"]),
    ("ringing", &["initiated", "ringing", "started", "dialing", "calling", "setup", "proceeding", "connected_to_system"]),
    ("in_progress", &["in-progress", "ongoing", "connected", "forwarding", "hold", "parked", "connected_to_agent"]),
    ("completed", &["completed", "complete", "ended", "done", "hangup", "disconnected", "call.hangup", "Answered", "Answer"]),
    ("no_answer", &["no-answer", "noanswer", "unanswered", "timeout", "missed", "not_answered", "NotAnswered", "NoResponse", "dial_no_answer", "agents_did_not_answer", "customer-did-not-answer"]),
    ("busy", &["busy", "user_busy", "dial_busy", "customer-busy", "TargetBusy"]),
    ("voicemail", &["voicemail", "machine", "voicemail_reached", "left_voicemail", "amd"]),
    ("abandoned", &["abandoned", "short_abandoned", "no_available_agent", "user_disconnected"]),
    ("canceled", &["canceled", "cancelled", "cancel", "originator_cancel", "manually-canceled", "manual_stopped", "call_canceled"]),
    ("rejected", &["rejected", "call_rejected", "user_declined", "DestinationBlocked", "scam_detected", "marked_as_spam"]),
    ("failed", &["failed", "error", "dial_failed", "invalid_destination", "not_found", "InvalidNumber", "Congestion"]),
    ("unknown", &["in_progress_new", "abandonedish", "completed.", "200"]),
];

#[test]
fn the_times_of_a_mapping_are_its_times_and_nothing_else() {
    let settings = custom(&[
        ("call.id", "id"),
        ("call.started_at", "/times/start"),
        ("meeting.start", "from"),
        ("meeting.end", "to"),
        ("meeting.host", "host"),
    ]);
    assert_eq!(settings.mapping.times(), ["times.start", "to", "from"]);
}

/// A custom source whose rules read these fields from these places.
fn custom(rules: &[(&str, &str)]) -> Settings {
    let rule = |(field, place): &(&str, &str)| {
        let from = Place::new(place);
        let at = mapping::At { from, ext: None, format: None, words: BTreeMap::new() };
        ((*field).to_owned(), mapping::Rule::At(at))
    };
    let rules = rules.iter().map(rule).collect();
    let mapping = Arc::new(Mapping::new("own".to_owned(), Vec::new(), rules));
    Settings { mapping, ..Settings::of(Provider::Custom) }
}

#[test]
fn every_shared_status_word_means_what_the_table_says() {
    let settings = custom(&[("call.status", "s")]);
    for (status, words) in SHARED_WORDS {
        for word in *words {
            let data = data_in(&settings, "", &json!({ "s": word }));
            assert_eq!(data["call"]["status"], **status, "{word}");
            let unmapped = warnings(&data).contains(&"status_unmapped");
            assert_eq!(unmapped, *status == "unknown", "{word}");
        }
    }
}

// --- event.md: `time` ---

#[test]
fn the_time_of_an_event_is_that_of_its_last_known_moment() {
    let dialled = json!({ "status": "completed", "last_attempt_timestamp": 1_761_558_060,
        "events": [
            { "event": "dialing", "timestamp": 1_761_558_060 },
            { "event": "connected", "timestamp": 1_761_558_070 },
            { "event": "hold_music", "timestamp": 1_761_558_071 },
        ] });
    let event = event_of(&Settings::of(Provider::Plum), post("", &dialled.to_string()));
    assert_eq!(event["data"]["call"]["ended_at"], Value::Null);
    assert_eq!(event["time"], "2025-10-27T09:41:11Z");
}

#[test]
fn an_answer_is_later_than_the_start_of_its_call() {
    let settings = custom(&[("call.started_at", "start"), ("call.answered_at", "answer")]);
    let body = json!({ "start": "2025-10-27T10:00:00Z", "answer": "2025-10-27T10:00:09Z" });
    assert_eq!(event_of(&settings, post("", &body.to_string()))["time"], "2025-10-27T10:00:09Z");
}

// --- C.9: times and numbers ---

#[test]
fn the_times_of_a_custom_source_are_utc_unless_it_says_otherwise() {
    let body = json!({ "s": "busy", "times": { "start": "2025-10-27 09:00:00" } });
    let rules = [("call.status", "s"), ("call.started_at", "/times/start")];
    let assumed = data_in(&custom(&rules), "", &body);
    assert_eq!(assumed["call"]["started_at"], "2025-10-27T09:00:00Z");
    assert_eq!(warnings(&assumed), ["tz_assumed"]);
    for name in ["times.start", "start"] {
        let mut settings = custom(&rules);
        let zone = TimeZone::get("Asia/Kolkata").expect("a zone");
        settings.timezones.insert(name.to_owned(), zone);
        assert!(settings.mapping.times().contains(&"times.start".to_owned()));
        let own = data_in(&settings, "", &body);
        assert_eq!(own["call"]["started_at"], "2025-10-27T03:30:00Z", "{name}");
        assert_eq!(warnings(&own), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn a_time_before_the_year_nought_is_dropped_and_stays() {
    let naive = json!({ "status": "BUSY", "start_at": "0000-01-01 00:00:00" });
    let mobtexting = data(Provider::Mobtexting, &naive);
    assert_eq!(mobtexting["call"]["started_at"], Value::Null);
    assert_eq!(mobtexting["extra"]["start_at"], naive["start_at"]);
    assert!(warnings(&mobtexting).contains(&"value_dropped"));
    let zoned = json!({ "callId": "c", "scheduledAt": "0000-01-01T00:00:00+01:00" });
    let eleven_x = data(Provider::ElevenX, &zoned);
    assert_eq!(eleven_x["call"]["scheduled_at"], Value::Null);
    assert!(warnings(&eleven_x).contains(&"value_dropped"));
}

#[test]
fn a_nested_field_and_the_member_of_a_list_have_their_own_zones() {
    let zoned = |provider: Provider, name: &str| {
        let mut settings = Settings::of(provider);
        let zone = TimeZone::get("Asia/Kolkata").expect("a zone");
        settings.timezones.insert(name.to_owned(), zone);
        settings
    };
    let start = json!({ "call": { "status": "completed", "start_time": "2025-10-27T09:00:00" } });
    for name in ["call.start_time", "start_time"] {
        let data = data_in(&zoned(Provider::Synthflow, name), "", &start);
        assert_eq!(data["call"]["started_at"], "2025-10-27T03:30:00Z", "{name}");
        assert_eq!(warnings(&data), Vec::<&str>::new(), "{name}");
    }
    let done = json!({ "callId": "c", "callResult": { "agentActions":
        [{ "actionKey": "mail", "completedAt": "2025-10-27 09:00:00" }] } });
    for name in ["callResult.agentActions.completedAt", "completedAt"] {
        let data = data_in(&zoned(Provider::ElevenX, name), "", &done);
        assert_eq!(data["actions"][0]["completed_at"], "2025-10-27T03:30:00Z", "{name}");
        assert_eq!(warnings(&data), ["status_missing"], "{name}");
    }
}

#[test]
fn a_gap_in_a_call_s_zone_is_told() {
    let mut settings = Settings::of(Provider::CloudDial);
    settings.timezone = TimeZone::get("Australia/Sydney").ok();
    let body = json!({ "Result": "Busy", "CallStart": "2025-10-05 02:30:00" });
    let data = data_in(&settings, "", &body);
    assert_eq!(data["call"]["started_at"], "2025-10-04T16:30:00Z");
    assert_eq!(warnings(&data), ["tz_ambiguous"]);
}

#[test]
fn more_than_fifteen_digits_are_no_number_of_mobtexting() {
    let body = json!({ "status": "BUSY", "to": "9180000001000000" });
    let data = data(Provider::Mobtexting, &body);
    assert_eq!(data["call"]["to"]["e164"], Value::Null);
    assert_eq!(warnings(&data), Vec::<&str>::new());
}
