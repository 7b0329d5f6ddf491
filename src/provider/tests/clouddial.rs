//! CloudDial: results and their notes, zones by field, and keys of the customer's choice.

use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings::of(Provider::CloudDial)
}

fn event(body: &Value) -> Value {
    event_of(&settings(), post("", &body.to_string()))
}

fn warnings(event: &Value) -> Vec<&str> {
    event["data"]["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn call(result: &str, notes: &str, agent: &str) -> Value {
    let body = json!({ "Result": result, "ResultNotes": notes, "WrapUpByName": agent });
    event(&body)["data"]["call"].clone()
}

fn zones(timezone: Option<&str>, own: &[(&str, &str)]) -> Settings {
    let zone = |name: &str| TimeZone::get(name).expect("a zone");
    let mut settings = settings();
    settings.timezone = timezone.map(zone);
    settings.timezones =
        own.iter().map(|(field, name)| ((*field).to_owned(), zone(name))).collect();
    settings
}

const TIMES: &str = r#"{"Result":"Connected","LogDateTime":"2019-06-19T16:11:07","CallStart":"2019-06-20 01:01:00","CallEnd":"2019-06-20 01:03:00"}"#;

#[test]
fn every_result_with_its_notes_has_its_status_and_reason() {
    for (result, notes, status, reason, refined) in [
        ("Connected", "anything", "completed", json!(null), false),
        ("Call Connected", "", "completed", json!(null), false),
        ("AMD", "", "voicemail", json!("voicemail_detected"), false),
        ("Busy", "Busy", "busy", json!(null), false),
        ("Busy", "Disconnected (404)", "busy", json!(null), false),
        ("Disconnected", "Disconnected (404)", "failed", json!("unallocated_number"), true),
        ("Disconnected", " disconnected_(404) ", "failed", json!("unallocated_number"), true),
        ("Disconnected", "Disconnected (487)", "rejected", json!("restricted"), true),
        ("Disconnected", "Disconnected (500)", "failed", json!("unknown"), false),
        ("Disconnected", "Disconnected (404) twice", "failed", json!("unknown"), false),
        ("Disconnected", "", "failed", json!("unknown"), false),
        ("No Agent", "", "abandoned", json!("no_agent"), false),
        ("No Agent Message Left", "", "abandoned", json!("no_agent"), false),
        ("No Answer", "Timeout waiting for remote party", "no_answer", json!(null), false),
        ("Permanent Failure", "Destination Out Of Order", "failed", json!("network_error"), true),
        ("Permanent Failure", "Network Out Of Order", "failed", json!("network_error"), true),
        ("Permanent Failure", "Incompatible Destination", "failed", json!("network_error"), true),
        ("Permanent Failure", "Invalid Number Format", "failed", json!("invalid_number"), true),
        ("Permanent Failure", "Unallocated Number", "failed", json!("unallocated_number"), true),
        (
            "Permanent Failure",
            "Permanent Failure - Unallocated Number",
            "failed",
            json!("unallocated_number"),
            true,
        ),
        (
            "Permanent Failure",
            "The customer has an Unallocated Number",
            "failed",
            json!("unknown"),
            false,
        ),
        ("Permanent Failure", "Rejected or Forbidden (403)", "failed", json!("unknown"), false),
        ("Rejected", "Call Rejected (603)", "rejected", json!(null), false),
        ("Remote Party Hang Up", "", "completed", json!("callee_hangup"), false),
        (
            "Restricted",
            "Disconnected, Restricted or Rejected (487)",
            "rejected",
            json!("restricted"),
            false,
        ),
        ("Temporarily Unavailable", "Rejected or Forbidden (403)", "rejected", json!(null), true),
        ("Temporarily Unavailable", "Temporarily Unavailable (403)", "rejected", json!(null), true),
        (
            "Temporarily Unavailable",
            "Party currently unavailable. (480)",
            "failed",
            json!("unavailable"),
            true,
        ),
        (
            "Temporarily Unavailable",
            "Restricted or Rejected (408)",
            "failed",
            json!("unavailable"),
            true,
        ),
        ("Temporarily Unavailable", "later", "failed", json!("unavailable"), false),
        ("Temporary Failure", "Normal Temporary Failure", "failed", json!("unavailable"), false),
        ("Unspecified", "Other Failure - Unspecified", "failed", json!("unknown"), false),
        (
            "Not Confirmed",
            "Call Confirmation Not Received",
            "abandoned",
            json!("not_confirmed"),
            false,
        ),
        (" no answer ", "", "no_answer", json!(null), false),
        ("PERMANENT_FAILURE", "UNALLOCATED NUMBER", "failed", json!("unallocated_number"), true),
    ] {
        let call = call(result, notes, "Clara Example");
        assert_eq!(call["status"], status, "{result}: {notes}");
        assert_eq!(call["reason"], reason, "{result}: {notes}");
        let raw = if refined { json!(notes) } else { json!(null) };
        assert_eq!(call["reason_raw"], raw, "{result}: {notes}");
        assert_eq!(call["status_raw"], result);
    }
}

#[test]
fn a_result_may_hold_a_whole_text_of_the_notes() {
    for (result, status, reason) in [
        ("Disconnected (404)", "failed", json!("unallocated_number")),
        ("Disconnected (487)", "rejected", json!("restricted")),
        ("Destination Out Of Order", "failed", json!("network_error")),
        ("Invalid Number Format", "failed", json!("invalid_number")),
        ("Permanent Failure: Unallocated Number", "failed", json!("unallocated_number")),
        ("Rejected or Forbidden (403)", "rejected", json!(null)),
        ("Temporarily Unavailable (480)", "failed", json!("unavailable")),
        ("Call Rejected (603)", "rejected", json!(null)),
        ("Disconnected, Restricted or Rejected (487)", "rejected", json!("restricted")),
        ("Timeout waiting for remote party", "no_answer", json!(null)),
        ("Normal Temporary Failure", "failed", json!("unavailable")),
        ("Other Failure - Unspecified", "failed", json!("unknown")),
        ("Call Confirmation Not Received", "abandoned", json!("not_confirmed")),
    ] {
        let call = call(result, "free text", "");
        assert_eq!((&call["status"], &call["reason"]), (&json!(status), &reason), "{result}");
        assert_eq!(call["reason_raw"], json!(null), "{result}");
    }
}

#[test]
fn the_notes_are_notes_whether_they_refined_or_not() {
    for notes in ["Disconnected (404)", "rang twice"] {
        let event = event(&json!({ "Result": "Disconnected", "ResultNotes": notes }));
        assert_eq!(event["data"]["notes"], notes);
    }
}

#[test]
fn a_remote_hang_up_that_no_agent_wrapped_up_is_abandoned() {
    for (agent, status) in [
        ("clara@example.com", "completed"),
        ("Clara Example", "completed"),
        ("", "abandoned"),
        (" ", "abandoned"),
    ] {
        let call = call("Remote Party Hang Up", "", agent);
        assert_eq!((&call["status"], &call["reason"]), (&json!(status), &json!("callee_hangup")));
    }
}

#[test]
fn without_a_result_the_wrap_up_decides() {
    let of = |body: Value| {
        let event = event(&body);
        let status = event["data"]["call"]["status"].as_str().map(str::to_owned);
        (status, warnings(&event).join(","))
    };
    let said = |status: &str, warning: &str| (Some(status.to_owned()), warning.to_owned());

    assert_eq!(of(json!({ "WrapUpByName": "Clara Example" })), said("completed", "status_derived"));
    assert_eq!(of(json!({ "Wrap Up Reason": "Call Back" })), said("completed", "status_derived"));
    assert_eq!(of(json!({ "Result": " ", "Reference": "1" })), said("unknown", "status_missing"));
    // The notes alone decide nothing, and neither does a placeholder.
    assert_eq!(
        of(json!({ "ResultNotes": "Disconnected (404)" })),
        said("unknown", "status_missing")
    );
    assert_eq!(
        of(json!({ "WrapUpByName": "<string>" })),
        said("unknown", "placeholder,status_missing")
    );
    assert_eq!(of(json!({ "Result": "Gone Fishing" })), said("unknown", "status_unmapped"));
}

#[test]
fn the_source_s_own_word_is_not_refined() {
    let mut settings = settings();
    settings.status.insert(fold_status("Connected").into_owned(), Status::InProgress);
    settings.status.insert(fold_status("Disconnected").into_owned(), Status::NoAnswer);
    let of = |result: &str| {
        let body = json!({ "Result": result, "ResultNotes": "Disconnected (404)" }).to_string();
        event_of(&settings, post("", &body))["data"]["call"].clone()
    };

    assert_eq!(of("connected")["status"], "in_progress");
    let disconnected = of("Disconnected");
    assert_eq!(disconnected["status"], "no_answer");
    assert_eq!(
        (&disconnected["reason"], &disconnected["reason_raw"]),
        (&json!(null), &json!(null))
    );
}

#[test]
fn the_log_has_its_own_zone_and_only_unset_zones_are_assumed() {
    let utc = event_of(&zones(None, &[("LogDateTime", "UTC")]), post("", TIMES));
    assert_eq!(utc["data"]["call"]["started_at"], "2019-06-19T15:01:00Z");
    // 16:11:07Z is after the start; the times of the call are still of a zone nobody set.
    assert_eq!(warnings(&utc), ["tz_assumed"]);

    let set = zones(Some("Australia/Brisbane"), &[("LogDateTime", "UTC")]);
    assert_eq!(warnings(&event_of(&set, post("", TIMES))), Vec::<&str>::new());
    let perth = event_of(&zones(Some("Australia/Perth"), &[]), post("", TIMES));
    assert_eq!(perth["data"]["call"]["ended_at"], "2019-06-19T17:03:00Z");
    assert_eq!(warnings(&perth), ["time_order"]);

    let fold = r#"{"Result":"Connected","CallStart":"2025-04-06 02:30:00","CallEnd":"2025-04-06 03:30:00"}"#;
    let sydney = event_of(&zones(Some("Australia/Sydney"), &[]), post("", fold));
    assert_eq!(sydney["data"]["call"]["started_at"], "2025-04-05T15:30:00Z");
    assert_eq!(sydney["data"]["call"]["duration_seconds"], 7200);
    assert_eq!(warnings(&sydney), ["tz_ambiguous"]);
}

#[test]
fn the_log_time_is_the_event_s_only_where_the_call_has_none_and_stays_in_extra() {
    let alone = event(&json!({ "Result": "Busy", "LogDateTime": "2019-06-19T16:11:07" }));
    assert_eq!(alone["time"], "2019-06-19T06:11:07Z");
    let both = event(
        &json!({ "Result": "Busy", "LogDateTime": "2019-06-19T16:11:07Z", "CallStart": "2019-06-19T15:00:00Z" }),
    );
    assert_eq!(both["time"], "2019-06-19T15:00:00Z");
    let zero = event(&json!({ "Result": "Busy", "LogDateTime": "0000-00-00 00:00:00" }));
    assert_eq!(zero["time"], "2025-10-27T10:01:44.120Z");
    for event in [alone, both, zero] {
        assert!(event["data"]["extra"]["LogDateTime"].is_string());
    }
}

#[test]
fn the_duration_is_what_lies_between_start_and_end() {
    let seconds = |start: &str, end: &str| {
        let event = event(&json!({ "Result": "Connected", "CallStart": start, "CallEnd": end }));
        (event["data"]["call"]["duration_seconds"].clone(), warnings(&event).join(","))
    };

    assert_eq!(seconds("2019-06-20 01:01:00", "2019-06-20 01:03:00").0, 120);
    assert_eq!(
        seconds("2019-06-20T01:01:00.9Z", "2019-06-20T01:01:02.8Z"),
        (json!(1), String::new())
    );
    assert_eq!(seconds("2019-06-20T01:01:00Z", "2019-06-20T01:01:00Z"), (json!(0), String::new()));
    assert_eq!(
        seconds("2019-06-20T01:01:01Z", "2019-06-20T01:01:00Z"),
        (json!(null), "time_order".to_owned())
    );
    assert_eq!(seconds("2019-06-20T01:01:01Z", "").0, json!(null));
}

#[test]
fn the_agent_is_an_address_or_a_name() {
    let agent = |by: &str| event(&json!({ "WrapUpByName": by }))["data"]["agent"].clone();

    assert_eq!(
        agent("clara@example.com"),
        json!({ "id": null, "name": null, "email": "clara@example.com" })
    );
    assert_eq!(
        agent("Clara Example"),
        json!({ "id": null, "name": "Clara Example", "email": null })
    );
    assert_eq!(agent(""), json!(null));
}

#[test]
fn national_numbers_are_australian_unless_the_source_says_otherwise() {
    let body = r#"{"Result":"Busy","PhoneCalled":"0770100123"}"#;
    assert_eq!(event_of(&settings(), post("", body))["data"]["call"]["to"]["e164"], "+61770100123");
    let mut british = settings();
    british.country = Some("GB".to_owned());
    let body = r#"{"Result":"Busy","PhoneCalled":"02079460123"}"#;
    assert_eq!(event_of(&british, post("", body))["data"]["call"]["to"]["e164"], "+442079460123");
}

#[test]
fn an_integration_with_the_customer_s_own_keys_is_the_same_call() {
    let mut settings = settings();
    settings.fields = [
        ("CampaignName", "campaign"),
        ("Reference", "ref_no"),
        ("Customer Name", "who"),
        ("Date/Time", "when"),
        ("Result", "outcome"),
        ("ResultNotes", "cause"),
        ("PhoneCalled", "phone"),
        ("WrapUpByName", "agent"),
        ("WrapUpReasonName", "reason"),
    ]
    .map(|(name, key)| (name.to_owned(), key.to_owned()))
    .into();
    let query = "campaign=Autumn&ref_no=c-6&who=Dora+Example&when=2025-10-27T19:00:05&outcome=Disconnected\
        &cause=Disconnected+(404)&phone=0255501234&agent=clara%40example.com&reason=Call+Back&tier=gold";
    let get = Callback { method: "GET", query, content_type: None, body: b"" };
    let by_get = event_of(&settings, get);

    let call = &by_get["data"]["call"];
    assert_eq!(by_get["subject"], "c-6");
    assert_eq!(by_get["time"], "2025-10-27T09:00:05Z");
    assert_eq!(call["direction"], "outbound");
    assert_eq!(call["to"]["e164"], "+61255501234");
    assert_eq!(
        (&call["status"], &call["reason"]),
        (&json!("failed"), &json!("unallocated_number"))
    );
    assert_eq!(call["reason_raw"], "Disconnected (404)");
    assert_eq!(by_get["data"]["agent"]["email"], "clara@example.com");
    assert_eq!(by_get["data"]["contact"]["name"], "Dora Example");
    assert_eq!(by_get["data"]["campaign"]["name"], "Autumn");
    assert_eq!(by_get["data"]["disposition"], "Call Back");
    assert_eq!(by_get["data"]["notes"], "Disconnected (404)");
    assert_eq!(by_get["data"]["extra"], json!({}));
    assert_eq!(by_get["data"]["query"]["tier"], "gold");
    assert_eq!(warnings(&by_get), ["tz_assumed"]);

    // The same fields as a posted JSON body: only where the rest is kept differs.
    let body: serde_json::Map<String, Value> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    let mut by_post = event_of(&settings, post("", &Value::from(body).to_string()));
    assert_eq!(by_post["data"]["extra"], json!({ "tier": "gold", "when": "2025-10-27T19:00:05" }));
    by_post["data"]["extra"] = json!({});
    by_post["data"]["query"] = by_get["data"]["query"].clone();
    assert_eq!(by_post, by_get);
}

#[test]
fn a_field_renamed_away_is_not_read_under_its_own_name() {
    let mut settings = settings();
    settings.fields.insert("Result".to_owned(), "outcome".to_owned());
    let event = event_of(&settings, post("", r#"{"Result":"Busy","outcome":"No Answer"}"#));

    assert_eq!(event["data"]["call"]["status"], "no_answer");
    assert_eq!(event["data"]["extra"], json!({ "Result": "Busy" }));
}

#[test]
fn of_a_field_s_two_names_the_webhook_s_is_read_and_the_other_kept() {
    let event = event(&json!({ "Result": "Busy", "Dial Result": "No Answer" }));

    assert_eq!(event["data"]["call"]["status"], "busy");
    assert_eq!(event["data"]["extra"], json!({ "Dial Result": "No Answer" }));
}

#[test]
fn json_announced_as_a_form_is_read_as_json() {
    let callback = Callback {
        method: "POST",
        query: "",
        content_type: Some("application/x-www-form-urlencoded"),
        body: b"\n\n{\n\n \"LogDateTime\": \"2019-06-19T16:11:07\",\n\n \"Reference\": \"a=b&c\"\n\n}\n",
    };
    let event = event_of(&settings(), callback);

    assert_eq!(event["subject"], "a=b&c");
    assert_eq!(event["data"]["extra"], json!({ "LogDateTime": "2019-06-19T16:11:07" }));
    assert_eq!(warnings(&event), ["content_type_mismatch", "status_missing", "tz_assumed"]);
}

#[test]
fn two_calls_to_one_number_are_told_apart_by_their_start() {
    let print = |start: &str| {
        let body = json!({ "PhoneCalled": "0770100123", "Reference": "123", "CallStart": start })
            .to_string();
        decoded(&settings(), post("", &body)).expect("readable").fingerprint.expect("identified")
    };

    assert_eq!(print("2019-06-20 01:01:00"), print("2019-06-20 01:01:00"));
    assert_ne!(print("2019-06-20 01:01:00"), print("2019-06-20 02:01:00"));
    let body = r#"{"PhoneCalled":"0770100123","Reference":"123"}"#;
    assert_eq!(decoded(&settings(), post("", body)).expect("readable").fingerprint, None);
}
