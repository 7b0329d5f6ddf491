//! Plum beyond its fixtures: shapes of the event list, the status table, derived values, the probe.

use serde_json::json;

use super::*;

fn plum() -> Settings {
    Settings::of(Provider::Plum)
}

/// `data` of the event that a body becomes.
fn data(body: &str) -> Value {
    event_of(&plum(), post("", body))["data"].clone()
}

fn answer(method: &str, query: &str, taken: bool) -> Option<Handshake> {
    let callback = Callback { method, query, content_type: None, body: b"" };
    let document = parse(&plum(), callback);
    handshake(&plum(), callback, document.as_ref().map_err(|reason| *reason), taken)
        .expect("nothing to refuse")
}

#[test]
fn no_schedule_window_is_never_the_year_1970() {
    for (start, kept) in [
        ("", json!({})),
        (r#","start_timestamp":"""#, json!({})),
        (r#","start_timestamp":" ""#, json!({})),
        (r#","start_timestamp":null"#, json!({})),
        (r#","start_timestamp":"0""#, json!({"start_timestamp": "0"})),
        (r#","start_timestamp":0"#, json!({"start_timestamp": 0})),
        (
            r#","start_timestamp":"0000-00-00 00:00:00""#,
            json!({"start_timestamp": "0000-00-00 00:00:00"}),
        ),
    ] {
        let data = data(&format!(r#"{{"status":"completed"{start}}}"#));
        assert_eq!(data["call"]["scheduled_at"], Value::Null, "{start}");
        assert_eq!(data["call"]["started_at"], Value::Null, "{start}");
        assert_eq!(data["extra"], kept, "{start}");
    }
}

#[test]
fn the_window_is_read_in_either_spelling_and_neither_is_lost() {
    let of = |body: &str| {
        let data = data(body);
        (data["call"]["scheduled_at"].clone(), data["extra"].clone())
    };
    let (half_past, quarter_to) = ("2025-10-27T09:30:00Z", "2025-10-27T09:45:00Z");

    let (at, extra) = of(r#"{"start_Timestamp":"1761557400"}"#);
    assert_eq!((at, extra), (half_past.into(), json!({})));
    let (at, extra) = of(r#"{"start_timestamp":"1761557400","start_Timestamp":"1761558300"}"#);
    assert_eq!((at, extra), (half_past.into(), json!({"start_Timestamp": "1761558300"})));
    let (at, extra) = of(r#"{"start_timestamp":"","start_Timestamp":"1761558300"}"#);
    assert_eq!((at, extra), (quarter_to.into(), json!({"start_timestamp": ""})));
    let (at, extra) = of(r#"{"start_timestamp":"","start_Timestamp":""}"#);
    assert_eq!((at, extra), (Value::Null, json!({})));
}

#[test]
fn a_list_of_events_is_the_same_however_it_is_written() {
    let expected = json!([
        { "at": "2025-10-27T09:41:00Z", "event": "ringing", "event_raw": "dialing" },
        { "at": "2025-10-27T09:41:30Z", "event": "failed", "event_raw": "failed" },
    ]);
    for body in [
        r#"{"events":[{"event":"dialing","timestamp":"1761558060"},{"event":"failed","timestamp":"1761558090"}]}"#,
        r#"{"events":{"9":{"event":"dialing","timestamp":"1761558060"},"11":{"event":"failed","timestamp":"1761558090"}}}"#,
        r#"{"events":{"2":{"event":"failed","timestamp":1761558090},"1":{"event":"dialing","timestamp":1761558060}}}"#,
        r#"{"events":{"item":[{"event":"dialing","timestamp":1761558060},{"event":"failed","timestamp":1761558090}]}}"#,
        "events[0][event]=dialing&events[0][timestamp]=1761558060&events[1][event]=failed&events[1][timestamp]=1761558090",
        "events[][event]=dialing&events[][timestamp]=1761558060&events[][event]=failed&events[][timestamp]=1761558090",
        "events.0.event=dialing&events.0.timestamp=1761558060&events.1.event=failed&events.1.timestamp=1761558090",
        "events[item][0][event]=dialing&events[item][0][timestamp]=1761558060&events[item][1][event]=failed&events[item][1][timestamp]=1761558090",
    ] {
        let data = data(body);
        assert_eq!(data["call"]["timeline"], expected, "{body}");
        assert_eq!(data["extra"], json!({}), "{body}");
    }
}

#[test]
fn one_event_may_stand_by_itself() {
    let expected =
        json!([{ "at": "2025-10-27T09:41:30Z", "event": "failed", "event_raw": "failed" }]);
    for body in [
        r#"{"events":{"event":"failed","timestamp":1761558090}}"#,
        r#"{"events":{"item":{"event":"failed","timestamp":1761558090}}}"#,
        r#"{"events":{"0":{"event":"failed","timestamp":1761558090}}}"#,
        "events[event]=failed&events[timestamp]=1761558090",
    ] {
        let data = data(body);
        assert_eq!(data["call"]["timeline"], expected, "{body}");
        assert_eq!(data["extra"], json!({}), "{body}");
    }
}

#[test]
fn events_in_a_text_are_read_as_strict_json_and_the_text_is_kept() {
    for (text, events, warnings) in [
        (r#"[{"event":"failed","timestamp":1}]"#, 1, json!(["status_missing"])),
        (r#" {"0":{"event":"failed"},"1":{"event":"queued"}} "#, 2, json!(["status_missing"])),
        ("[]", 0, json!(["status_missing"])),
        ("[{'event':'failed'}]", 0, json!(["status_missing", "value_dropped"])),
        (r#"[{"event":"failed",}]"#, 0, json!(["status_missing", "value_dropped"])),
        ("failed", 0, json!(["status_missing", "value_dropped"])),
        ("7", 0, json!(["status_missing", "value_dropped"])),
    ] {
        let data = data(&json!({ "events": text }).to_string());
        assert_eq!(data["call"]["timeline"].as_array().map(Vec::len), Some(events), "{text}");
        assert_eq!(data["extra"]["events"], text);
        assert_eq!(data["warnings"], warnings, "{text}");
    }
}

#[test]
fn what_stands_beside_the_events_keeps_the_whole_list() {
    for events in [
        r#"{"0":{"event":"failed"},"count":1}"#,
        r#"{"item":[{"event":"failed"}],"count":1}"#,
        r#"[{"event":"failed","code":486}]"#,
        r#"[{"event":"failed"},"busy"]"#,
    ] {
        let data = data(&format!(r#"{{"events":{events}}}"#));
        assert_eq!(data["call"]["timeline"][0]["event"], "failed", "{events}");
        assert_eq!(data["extra"]["events"], serde_json::from_str::<Value>(events).expect("JSON"));
    }
}

#[test]
fn every_event_word_of_the_table_has_its_moment_and_any_other_is_unknown() {
    for (word, event) in [
        ("queued", "queued"),
        ("dialing", "ringing"),
        ("Connected", "in_progress"),
        (" disconnected", "completed"),
        ("canceled", "canceled"),
        ("failed", "failed"),
        ("rejected", "rejected"),
        ("transferred", "unknown"),
    ] {
        let data = data(&json!({"status": "failed", "events": [{"event": word}]}).to_string());
        assert_eq!(data["call"]["timeline"][0]["event"], event, "{word}");
        assert_eq!(data["call"]["timeline"][0]["event_raw"], word);
        assert_eq!(data["warnings"], json!([]), "{word}");
    }
}

#[test]
fn every_status_word_of_the_table_has_its_status() {
    for (body, status, reason, warnings) in [
        (r#"{"status":"completed"}"#, "completed", None, "[]"),
        (r#"{"status":"canceled"}"#, "canceled", None, "[]"),
        (r#"{"status":"cancelled"}"#, "canceled", None, "[]"),
        (r#"{"status":" FAILED "}"#, "failed", Some("unknown"), "[]"),
        (r#"{"status":"rejected"}"#, "rejected", None, "[]"),
        (r#"{"status":"no answer"}"#, "no_answer", None, "[]"),
        (r#"{"status":"abducted"}"#, "unknown", None, r#"["status_unmapped"]"#),
        (r#"{"status":""}"#, "unknown", None, r#"["status_missing"]"#),
        (r#"{"attempts":1}"#, "unknown", None, r#"["status_missing"]"#),
    ] {
        let data = data(body);
        assert_eq!(data["call"]["status"], status, "{body}");
        assert_eq!(data["call"]["reason"].as_str(), reason, "{body}");
        assert_eq!(data["warnings"].to_string(), warnings, "{body}");
        assert_eq!(data["call"]["direction"], "outbound");
    }
}

#[test]
fn a_failure_exhausted_its_attempts_when_it_made_them_all() {
    for (counts, reason) in [
        (r#","attempts":"3","max_attempts":"3""#, "attempts_exhausted"),
        (r#","attempts":4,"max_attempts":"3""#, "attempts_exhausted"),
        (r#","attempts":"10","max_attempts":"9""#, "attempts_exhausted"),
        (r#","attempts":"2","max_attempts":"3""#, "unknown"),
        (r#","attempts":"3""#, "unknown"),
        (r#","max_attempts":"3""#, "unknown"),
        (r#","attempts":"many","max_attempts":"3""#, "unknown"),
    ] {
        let data = data(&format!(r#"{{"status":"failed"{counts}}}"#));
        assert_eq!(data["call"]["reason"], reason, "{counts}");
    }
    let completed = data(r#"{"status":"completed","attempts":3,"max_attempts":3}"#);
    assert_eq!(completed["call"]["reason"], Value::Null);
}

#[test]
fn the_times_of_a_call_are_those_of_its_events() {
    let times = |events: Value| {
        let body = json!({"status": "completed", "events": events}).to_string();
        let call = &data(&body)["call"];
        let at = |name: &str| call[name].as_str().and_then(|at| at.get(17..19)).map(str::to_owned);
        let at = [at("started_at"), at("answered_at"), at("ended_at")];
        (at.map(Option::unwrap_or_default), call["duration_seconds"].clone())
    };
    let event =
        |event: &str, second: u32| json!({"event": event, "timestamp": 1_761_558_000 + second});

    // A second attempt after a first that was cut.
    let (at, talked) = times(json!([
        event("dialing", 1),
        event("connected", 2),
        event("disconnected", 5),
        event("failed", 6),
        event("dialing", 10),
        event("connected", 12),
        event("disconnected", 42),
    ]));
    assert_eq!(at, ["01", "02", "42"]);
    assert_eq!(talked, 40);
    // Without a disconnected: the last that ended an attempt.
    let (at, talked) =
        times(json!([event("rejected", 3), event("failed", 7), event("canceled", 5)]));
    assert_eq!(at, ["", "", "05"]);
    assert_eq!(talked, Value::Null);
    let (at, talked) = times(json!([event("connected", 3), event("failed", 7)]));
    assert_eq!(at, ["", "03", "07"]);
    assert_eq!(talked, Value::Null);
    // A talk that ends before it begins has no length.
    let (_, talked) = times(json!([event("connected", 9), event("disconnected", 7)]));
    assert_eq!(talked, Value::Null);
    // An event without a time is none to count by.
    let (at, _) = times(json!([{"event": "dialing", "timestamp": ""}, event("dialing", 4)]));
    assert_eq!(at, ["04", "", ""]);
}

#[test]
fn a_stated_duration_comes_before_the_derived_one() {
    let events = r#""events":[{"event":"connected","timestamp":100},{"event":"disconnected","timestamp":159}]"#;
    for (duration, seconds, warnings) in [
        ("", json!(59), "[]"),
        (r#","duration":"60""#, json!(60), "[]"),
        (r#","duration":90"#, json!(90), r#"["duration_mismatch"]"#),
        (r#","duration":"""#, json!(59), "[]"),
        (r#","duration":-1"#, Value::Null, r#"["value_dropped"]"#),
    ] {
        let data = data(&format!(r#"{{"status":"completed",{events}{duration}}}"#));
        assert_eq!(data["call"]["duration_seconds"], seconds, "{duration}");
        assert_eq!(data["warnings"].to_string(), warnings, "{duration}");
    }
}

#[test]
fn times_are_out_of_order_only_when_the_calls_own_are() {
    let warnings = |queued: u32, first: u32, dialing: u32, last_attempt: u32| {
        let body = json!({
            "status": "failed",
            "queued_timestamp": queued,
            "last_attempt_timestamp": last_attempt,
            "events": [
                {"event": "queued", "timestamp": first},
                {"event": "dialing", "timestamp": dialing},
            ],
        });
        data(&body.to_string())["warnings"].to_string()
    };

    assert_eq!(warnings(100, 107, 110, 110), "[]");
    assert_eq!(warnings(100, 99, 110, 110), "[]");
    assert_eq!(warnings(120, 121, 110, 110), r#"["time_order"]"#);
    assert_eq!(warnings(100, 107, 110, 109), r#"["time_order"]"#);
}

#[test]
fn the_time_of_a_call_without_events_is_its_last_attempt() {
    let time = |last: &str| {
        let body = format!(
            r#"{{"status":"failed","queued_timestamp":"1761558000","last_attempt_timestamp":{last}}}"#
        );
        let event = event_of(&plum(), post("", &body));
        assert!(event["data"]["extra"]["last_attempt_timestamp"].is_string());
        (event["time"].clone(), event["data"]["warnings"].to_string())
    };

    assert_eq!(time(r#""1761558060""#), ("2025-10-27T09:41:00Z".into(), "[]".to_owned()));
    assert_eq!(time(r#""0""#), ("2025-10-27T09:40:00Z".into(), "[]".to_owned()));
    assert_eq!(time(r#""""#), ("2025-10-27T09:40:00Z".into(), "[]".to_owned()));
}

#[test]
fn a_number_in_quotes_of_its_own_is_read_by_the_source_s_country() {
    let body = r#"{"phone_number":"'6175550142'"}"#;
    let mut settings = plum();
    let to = |settings: &Settings| event_of(settings, post("", body))["data"]["call"]["to"].clone();

    assert_eq!(to(&settings), json!({"raw": "'6175550142'", "e164": null, "ext": null}));
    settings.country = Some("US".to_owned());
    assert_eq!(to(&settings), json!({"raw": "'6175550142'", "e164": "+16175550142", "ext": null}));
}

#[test]
fn a_wrapped_body_is_the_one_inside_and_what_surrounds_it_is_kept() {
    let body = r#"{"success":true,"status":"ok","call_details":{"status":"canceled","queued_timestamp":"1429214458","odd":[1]},"ms":3}"#;
    let data = data(body);

    assert_eq!(data["call"]["status"], "canceled");
    assert_eq!(data["call"]["queued_at"], "2015-04-16T20:00:58Z");
    let extra = json!({"success": true, "status": "ok", "call_details": {"odd": [1]}, "ms": 3});
    assert_eq!(data["extra"], extra);

    let mut settings = plum();
    settings.fields.insert("status".to_owned(), "state".to_owned());
    let renamed =
        event_of(&settings, post("", r#"{"call_details":{"state":"failed"},"state":"x"}"#));
    assert_eq!(renamed["data"]["call"]["status"], "failed");
    assert_eq!(renamed["data"]["extra"], json!({"state": "x"}));

    let form = event_of(&plum(), post("", "success=1&call_details[status]=failed"));
    assert_eq!(form["data"]["call"]["status"], "failed");
    assert_eq!(form["data"]["extra"], json!({"success": "1"}));
}

#[test]
fn a_body_without_a_field_of_plum_is_unrecognised() {
    let reason = |body| read(&plum(), post("", body)).err().map(Unreadable::as_str);

    assert_eq!(reason(r#"{"success":false}"#), Some("unrecognised"));
    assert_eq!(reason(r#"{"success":true,"call_details":{"hello":1}}"#), Some("unrecognised"));
    assert_eq!(reason(r#"{"success":true,"call_details":[]}"#), Some("unrecognised"));
    assert_eq!(reason(r#"{"success":true,"call_details":{"attempts":1}}"#), None);
    // The sample of the status API as it is printed.
    assert_eq!(reason("{'success':true,'call_details':{'status':'canceled'}}"), Some("not_json"));
}

#[test]
fn the_query_tells_two_calls_apart_and_an_equal_request_is_a_repeat() {
    let body = r#"{"status":"completed","queued_timestamp":"1761558000"}"#;
    let print = |query, body| {
        decoded(&plum(), post(query, body)).expect("readable").fingerprint.map(|it| it.to_vec())
    };

    assert!(print("ref=1", body).is_some());
    assert_eq!(print("ref=1", body), print("ref=1", body));
    assert_ne!(print("ref=1", body), print("ref=2", body));
    assert_eq!(print("ref=1", r#"{"status":"completed"}"#), None);
    let event_only = r#"{"status":"canceled","events":[{"event":"canceled","timestamp":"9"}]}"#;
    assert!(print("", event_only).is_some());
}

#[test]
fn a_get_or_head_without_a_field_is_a_probe_where_gets_are_not_taken() {
    for (method, query) in [
        ("GET", ""),
        ("HEAD", ""),
        ("GET", "ref=17&to=%2B15550100123"),
        ("HEAD", "ref=17&ref=18&a=1&a[b]=2"),
    ] {
        let answer = answer(method, query, false).expect("a probe");
        assert_eq!((answer.content_type(), answer.body()), ("text/plain; charset=utf-8", &b""[..]));
        assert!(Provider::Plum.probes_by(method));
    }
    for (method, query, taken) in [
        ("GET", "ref=17", true),
        ("GET", "ref=17&status=completed", false),
        ("HEAD", "events[0][event]=failed", false),
        ("GET", "call_details.status=failed", false),
        ("GET", "%73tatus=failed", false),
        ("PUT", "", false),
        ("POST", "", true),
        ("get", "", false),
    ] {
        assert!(answer(method, query, taken).is_none(), "{method} {query}");
    }
    assert!(!Provider::Plum.probes_by("PUT"));
}

#[test]
fn a_renamed_field_is_no_probe_and_the_name_it_had_is_one() {
    let mut settings = plum();
    settings.fields.insert("status".to_owned(), "call.state".to_owned());
    let probes = |query| {
        let callback = Callback { method: "GET", query, content_type: None, body: b"" };
        handshake(&settings, callback, Err(Unreadable::Empty), false).expect("no refusal").is_some()
    };

    assert!(!probes("call[state]=failed"));
    assert!(!probes("attempts=1"));
    assert!(probes("status=failed"));
}

#[test]
fn no_other_provider_is_probed() {
    for provider in Provider::ALL.iter().filter(|provider| **provider != Provider::Plum) {
        let callback = Callback { method: "GET", query: "", content_type: None, body: b"" };
        let answer = handshake(&Settings::of(*provider), callback, Err(Unreadable::Empty), false);
        assert!(matches!(answer, Ok(None)), "{}", provider.as_str());
        assert!(!provider.probes_by("GET"));
    }
}

#[test]
fn hostile_events_are_refused_or_read_in_place_of_nothing() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let many = format!("[{}{{}}]", r#"{"event":"failed"},"#.repeat(100_000));
    let twice = r#"[{"event":"failed","event":"queued"}]"#.to_owned();
    let surrogate = r#"[{"event":"\ud800"}]"#.to_owned();
    let long = format!("[\"{}\"", "x".repeat(1 << 20));
    for text in [deep, many, twice, surrogate, long] {
        let data = data(&json!({"status": "failed", "events": text}).to_string());
        assert_eq!(data["call"]["timeline"], json!([]));
        assert_eq!(data["extra"]["events"], text);
        assert_eq!(data["warnings"], json!(["value_dropped"]));
    }
    let far = r#"{"status":"failed","events":{"1000000000":{"event":"failed"},"18446744073709551616":{"event":"queued"},"7":{"event":"queued"}}}"#;
    let data = data(far);
    let words: Vec<_> = data["call"]["timeline"].as_array().expect("a list").iter().collect();
    assert_eq!(words.len(), 2);
    assert_eq!(words[0]["event"], "queued");
    assert_eq!(words[1]["event"], "failed");
    assert!(data["extra"]["events"]["18446744073709551616"].is_object());
}
