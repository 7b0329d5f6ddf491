//! MOBtexting beyond its fixtures: status table, zones, numbers, duplicates, the challenge.

use serde_json::json;

use super::*;
use crate::secret::Secret;

fn mobtexting() -> Settings {
    Settings::of(Provider::Mobtexting)
}

/// `data` of the event that a body becomes.
fn data(body: &str) -> Value {
    event_of(&mobtexting(), post("", body))["data"].clone()
}

fn fingerprint(callback: Callback<'_>) -> Option<[u8; 16]> {
    decoded(&mobtexting(), callback).expect("readable").fingerprint
}

/// The answer to a body with these validation keys: what stands in it, or why it is refused.
fn answer(keys: Option<&[&str]>, callback: Callback<'_>) -> Result<Option<String>, Denied> {
    let mut settings = mobtexting();
    settings.validation_key =
        keys.map(|keys| Secrets::new(keys.iter().map(|key| Secret::new(*key)).collect()));
    let document = parse(&settings, callback);
    let answer = handshake(&settings, callback, document.as_ref().map_err(|reason| *reason), true)?;
    Ok(answer.map(|answer| {
        assert_eq!(answer.content_type(), "application/json");
        String::from_utf8(answer.body().to_vec()).expect("text")
    }))
}

#[test]
fn every_status_word_of_the_table_has_its_status_and_reason() {
    for (word, status, reason) in [
        ("ANSWER", "completed", None),
        ("answer", "completed", None),
        (" ANSWER ", "completed", None),
        ("COMPLETED", "completed", None),
        ("BUSY", "busy", None),
        ("NOANSWER", "no_answer", None),
        ("NO ANSWER", "no_answer", None),
        ("CANCEL", "canceled", Some("caller_hangup")),
        ("CONGESTION", "failed", Some("congestion")),
        ("CHANUNAVAIL", "failed", Some("unavailable")),
        ("RECEIVED", "completed", None),
        ("MISSED", "no_answer", None),
        ("DONTCALL", "rejected", Some("do_not_call")),
        ("TORTURE", "rejected", Some("restricted")),
        ("INVALIDARGS", "failed", Some("invalid_number")),
    ] {
        let data = data(&json!({"status": word}).to_string());
        assert_eq!(data["call"]["status"], status, "{word}");
        assert_eq!(data["call"]["reason"].as_str(), reason, "{word}");
        assert_eq!(data["call"]["status_raw"], word);
        assert_eq!(data["call"]["direction"], "unknown");
        assert_eq!(data["warnings"], json!([]), "{word}");
    }
    let unheard_of = data(r#"{"status":"DIVERTED","hangup_by":"agent"}"#);
    assert_eq!(unheard_of["call"]["status"], "unknown");
    assert_eq!(unheard_of["warnings"], json!(["status_unmapped"]));
    assert_eq!(data(r#"{"from":"1"}"#)["warnings"], json!(["status_missing"]));
}

#[test]
fn a_call_missed_after_an_ivr_took_it_was_abandoned() {
    let of = |first: &str, settings: &Settings| {
        let body = json!({"status": "MISSED", "status1": first}).to_string();
        let call = event_of(settings, post("", &body))["data"]["call"].clone();
        (call["status"].clone(), call["reason"].clone())
    };
    let mut settings = mobtexting();

    assert_eq!(of("RECEIVED", &settings), ("abandoned".into(), "no_agent".into()));
    assert_eq!(of("received ", &settings), ("abandoned".into(), "no_agent".into()));
    assert_eq!(of("NOANSWER", &settings), ("no_answer".into(), Value::Null));
    assert_eq!(of("", &settings), ("no_answer".into(), Value::Null));
    settings.status.insert("missed".to_owned(), Status::Failed);
    assert_eq!(of("RECEIVED", &settings), ("failed".into(), Value::Null));
}

#[test]
fn who_hung_up_is_the_reason_unless_the_status_gives_one() {
    for (status, by, reason) in [
        ("ANSWER", json!("caller"), json!("caller_hangup")),
        ("ANSWER", json!(" Agent"), json!("agent_hangup")),
        ("ANSWER", json!("system"), json!("unknown")),
        ("ANSWER", json!(""), json!(null)),
        ("ANSWER", json!(null), json!(null)),
        ("CANCEL", json!("agent"), json!("caller_hangup")),
        ("CONGESTION", json!("caller"), json!("congestion")),
    ] {
        let data = data(&json!({"status": status, "hangup_by": by}).to_string());
        assert_eq!(data["call"]["reason"], reason, "{status} {by}");
        let raw = if by == "" { Value::Null } else { by };
        assert_eq!(data["call"]["reason_raw"], raw);
        assert_eq!(data["extra"], json!({}));
    }
}

#[test]
fn a_call_has_two_legs_when_either_states_its_status() {
    let legs = |body: &str| data(body)["call"]["legs"].clone();
    let leg = |role, status, raw: Option<&str>, seconds: Option<u64>| json!({"role": role, "status": status, "status_raw": raw, "duration_seconds": seconds});

    assert_eq!(
        legs(
            r#"{"status":"BUSY","status1":"ANSWER","status2":"BUSY","duration":"12","billing":0}"#
        ),
        json!([
            leg("from", "completed", Some("ANSWER"), Some(12)),
            leg("to", "busy", Some("BUSY"), Some(0)),
        ])
    );
    assert_eq!(
        legs(r#"{"status":"CANCEL","status1":"CANCEL","status2":""}"#),
        json!([leg("from", "canceled", Some("CANCEL"), None), leg("to", "unknown", None, None)])
    );
    assert_eq!(
        legs(r#"{"status2":"MISSED"}"#),
        json!([leg("from", "unknown", None, None), leg("to", "no_answer", Some("MISSED"), None)])
    );
    assert_eq!(
        legs(r#"{"source":"C2C","status":"ANSWER","duration":"12","billing":"9"}"#),
        json!([])
    );
    let unheard_of = data(r#"{"status":"ANSWER","status1":"DIVERTED"}"#);
    assert_eq!(unheard_of["call"]["legs"][0]["status"], "unknown");
    assert_eq!(unheard_of["warnings"], json!(["status_unmapped"]));
}

#[test]
fn the_platform_makes_the_calls_of_both_its_sources() {
    for (source, direction) in [
        (json!("OBD"), "outbound"),
        (json!("C2C"), "outbound"),
        (json!("c2c "), "outbound"),
        (json!("IVR"), "unknown"),
        (json!(1), "unknown"),
    ] {
        let data = data(&json!({"status": "ANSWER", "source": source}).to_string());
        assert_eq!(data["call"]["direction"], direction, "{source}");
        assert_eq!(data["extra"]["source"], source);
        assert_eq!(data["warnings"], json!([]));
    }
}

#[test]
fn date_and_unixtime_show_the_zone_when_they_are_one_moment() {
    // 1761559300 is 2025-10-27T10:01:40Z.
    for (date, unixtime, started_at, assumed) in [
        ("2025-10-27 15:31:40", json!("1761559300"), "2025-10-27T06:30:00Z", false),
        ("2025-10-27 10:01:40", json!("1761559300"), "2025-10-27T12:00:00Z", false),
        ("2025-10-27 14:01:40", json!(1_761_559_300), "2025-10-27T08:00:00Z", false),
        ("2025-10-27 06:31:40", json!("1761559300"), "2025-10-27T15:30:00Z", false),
        ("2025-10-27 15:46:40", json!("1761559300"), "2025-10-27T06:15:00Z", false),
        ("2025-10-28 00:01:40", json!("1761559300"), "2025-10-26T22:00:00Z", false),
        ("2025-10-26 20:01:40", json!("1761559300"), "2025-10-28T02:00:00Z", false),
        // Beyond 14 hours, between the quarters, another year, no moment at all: India.
        ("2025-10-28 00:16:40", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("2025-10-26 19:46:40", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("2025-10-27 14:01:41", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("2025-10-27 14:01:40", json!("1761559300.5"), "2025-10-27T06:30:00Z", true),
        ("2024-10-27 14:01:40", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("2025-10-27T14:01:40+04:00", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("today", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("", json!("1761559300"), "2025-10-27T06:30:00Z", true),
        ("2025-10-27 14:01:40", json!("0"), "2025-10-27T06:30:00Z", true),
        ("2025-10-27 14:01:40", json!(null), "2025-10-27T06:30:00Z", true),
        ("2025-10-27 14:01:40", json!("2025-10-27T10:01:40Z"), "2025-10-27T06:30:00Z", true),
    ] {
        let body = json!({"status": "ANSWER", "start_at": "2025-10-27 12:00:00", "date": date, "unixtime": unixtime});
        let data = data(&body.to_string());
        assert_eq!(data["call"]["started_at"], started_at, "{date} {unixtime}");
        let warned = data["warnings"].to_string().contains("tz_assumed");
        assert_eq!(warned, assumed, "{date} {unixtime}");
        assert_eq!(data["extra"], json!({"date": date, "unixtime": unixtime}));
    }
}

#[test]
fn a_configured_zone_comes_before_the_one_that_is_shown() {
    let body = r#"{"status":"ANSWER","start_at":"2025-10-27 12:00:00","end_at":"2025-10-27 12:01:00","date":"2025-10-27 15:31:40","unixtime":"1761559300"}"#;
    let mut settings = mobtexting();
    settings.timezones.insert("start_at".to_owned(), TimeZone::UTC);
    let call = event_of(&settings, post("", body))["data"]["call"].clone();
    assert_eq!(call["started_at"], "2025-10-27T12:00:00Z");
    assert_eq!(call["ended_at"], "2025-10-27T06:31:00Z");

    settings.timezone = TimeZone::get("Asia/Dubai").ok();
    let event = event_of(&settings, post("", body));
    assert_eq!(event["data"]["call"]["ended_at"], "2025-10-27T08:01:00Z");
    assert_eq!(event["data"]["warnings"], json!(["time_order"]));
}

#[test]
fn times_are_of_twenty_four_hours() {
    let data = data(r#"{"status":"ANSWER","start_at":"2021-04-09 04:27:39"}"#);

    assert_eq!(data["call"]["started_at"], "2021-04-08T22:57:39Z");
    assert_eq!(data["warnings"], json!(["tz_assumed"]));
}

#[test]
fn the_moment_of_sending_is_the_time_of_a_call_without_any() {
    let time = |body: &str| {
        let event = event_of(&mobtexting(), post("", body));
        (event["time"].clone(), event["data"]["warnings"].to_string())
    };
    let received = "2025-10-27T10:01:44.120Z";

    let both = r#"{"status":"BUSY","date":"2025-10-27 15:31:40","unixtime":"1761559300"}"#;
    assert_eq!(time(both), ("2025-10-27T10:01:40Z".into(), "[]".to_owned()));
    let date = r#"{"status":"BUSY","date":"2025-10-27 15:31:40"}"#;
    assert_eq!(time(date), ("2025-10-27T10:01:40Z".into(), r#"["tz_assumed"]"#.to_owned()));
    assert_eq!(time(r#"{"status":"BUSY","unixtime":"soon"}"#), (received.into(), "[]".to_owned()));
}

#[test]
fn a_log_before_the_start_is_out_of_order() {
    let body = r#"{"status":"ANSWER","start_at":"2025-10-27 15:31:41","date":"2025-10-27 15:31:40","unixtime":"1761559300"}"#;
    assert_eq!(data(body)["warnings"], json!(["time_order"]));
}

#[test]
fn numbers_come_with_the_country_code_or_without_and_flows_are_none() {
    for (sent, raw, e164) in [
        (json!("918000000100"), "918000000100", Some("+918000000100")),
        (json!(918_000_000_100_u64), "918000000100", Some("+918000000100")),
        (json!("9000000101"), "9000000101", Some("+919000000101")),
        (json!("09000000101"), "09000000101", Some("+919000000101")),
        (json!("+442079460123"), "+442079460123", Some("+442079460123")),
        (json!("00442079460123"), "00442079460123", Some("+442079460123")),
        (json!("442079460123"), "442079460123", None),
        (json!("flow:220"), "flow:220", None),
        (json!("12345"), "12345", None),
    ] {
        let data = data(&json!({"status": "ANSWER", "to": sent}).to_string());
        assert_eq!(data["call"]["to"], json!({"raw": raw, "e164": e164, "ext": null}), "{sent}");
        assert_eq!(data["warnings"], json!([]), "{sent}");
    }
    let masked = data(r#"{"status":"ANSWER","from":"91891952XXXX"}"#);
    assert_eq!(masked["call"]["from"]["e164"], Value::Null);
    assert_eq!(masked["warnings"], json!(["number_masked"]));
}

#[test]
fn ids_may_be_numbers_null_or_absent() {
    for (body, flow, mid) in [
        (r#"{"status":"BUSY","flow_id":123,"mid":7}"#, json!("123"), json!("7")),
        (r#"{"status":"BUSY","flow_id":"123","mid":null}"#, json!("123"), json!(null)),
        (r#"{"status":"BUSY"}"#, json!(null), json!(null)),
        (r#"{"status":"BUSY","flow_id":"","mid":""}"#, json!(null), json!(null)),
    ] {
        let data = data(body);
        assert_eq!(data["campaign"]["id"], flow, "{body}");
        assert_eq!(data["call"]["reference"], mid, "{body}");
        assert_eq!(data["extra"], json!({}), "{body}");
    }
}

#[test]
fn a_recording_is_a_web_address_or_none() {
    for (url, kept) in [
        ("https://youraudiofilelocation/", true),
        ("http://media.example.com/1.mp3?sig=a%2Fb", true),
        ("javascript:alert(1)", false),
        ("file:///etc/passwd", false),
    ] {
        let data = data(&json!({"status": "ANSWER", "recording_url": url}).to_string());
        let (at, extra, warnings) = if kept {
            (json!(url), json!({}), json!([]))
        } else {
            (json!(null), json!({"recording_url": url}), json!(["value_dropped"]))
        };
        assert_eq!(data["call"]["recording_url"], at);
        assert_eq!(data["extra"], extra);
        assert_eq!(data["warnings"], warnings);
    }
}

#[test]
fn the_document_s_sample_is_unreadable_without_repairs() {
    let case = Case::all()
        .into_iter()
        .find(|case| case.name.ends_with("mobtexting/document-sample"))
        .expect("the case");
    let settings = Settings { repair_json: false, ..mobtexting() };

    assert!(read(&mobtexting(), case.callback()).is_ok());
    assert_eq!(read(&settings, case.callback()).err(), Some(Unreadable::NotJson));
}

#[test]
fn a_repaired_repeat_is_one_and_numbers_of_another_type_are_not() {
    let cases = Case::all();
    let print = |name: &str| {
        let case = cases.iter().find(|case| case.name.ends_with(name)).expect("the case");
        fingerprint(case.callback()).expect("identified")
    };

    assert_eq!(print("obd-trailing-comma"), print("obd-answer"));
    assert_ne!(print("obd-numeric"), print("obd-answer"));
}

#[test]
fn a_repeat_may_differ_in_the_moment_it_was_sent_and_in_nothing_else() {
    let body = |date: &str, duration: &str| {
        format!(
            r#"{{"status":"ANSWER","start_at":"2025-10-27 12:00:00","duration":"{duration}","date":"2025-10-27 {date}","unixtime":"{date}"}}"#
        )
    };
    let print = |body: &str| fingerprint(post("ref=1", body)).expect("identified");
    assert_eq!(print(&body("12:01:00", "9")), print(&body("12:31:00", "9")));
    assert_ne!(print(&body("12:01:00", "9")), print(&body("12:01:00", "8")));

    let get = |query| Callback { method: "GET", query, content_type: None, body: b"" };
    let print = |query| fingerprint(get(query)).expect("identified");
    let first = print("start_at=2025-10-27+12:00:00&status=ANSWER&ref=1&unixtime=1761559300");
    assert_eq!(
        print("start_at=2025-10-27+12:00:00&status=ANSWER&ref=1&unixtime=1761561100"),
        first
    );
    assert_ne!(
        print("start_at=2025-10-27+12:00:00&status=ANSWER&ref=2&unixtime=1761559300"),
        first
    );

    assert_eq!(fingerprint(post("", r#"{"status":"ANSWER","mid":"1"}"#)), None);
}

#[test]
fn a_renamed_moment_of_sending_is_left_out_of_the_comparison_too() {
    let mut settings = mobtexting();
    settings.fields.insert("unixtime".to_owned(), "sent".to_owned());
    let print = |body| decoded(&settings, post("", body)).expect("readable").fingerprint;

    let first = print(r#"{"status":"ANSWER","start_at":"2025-10-27 12:00:00","sent":"1"}"#);
    assert!(first.is_some());
    let again = print(r#"{"status":"ANSWER","start_at":"2025-10-27 12:00:00","sent":"2"}"#);
    assert_eq!(again, first);
}

#[test]
fn its_own_token_never_stands_in_the_query() {
    let body = r#"{"status":"ANSWER"}"#;
    let event = event_of(&mobtexting(), post("token=k3y&ref=1&tokens=2", body));

    assert_eq!(event["data"]["query"], json!({"ref": "1", "tokens": "2"}));
    assert_eq!(event["data"]["call"]["reference"], "1");
}

#[test]
fn its_own_token_is_stripped_before_a_request_is_stored_unless_it_is_a_field() {
    let mut settings = mobtexting();
    let strip =
        |settings: &Settings, query: &str| strip_query(settings, &[], "POST", query).into_owned();

    assert_eq!(strip(&settings, "token=k3y&ref=1&tokens=2"), "ref=1&tokens=2");
    assert_eq!(strip(&Settings::of(Provider::Plum), "token=k3y"), "token=k3y");
    settings.fields.insert("mid".to_owned(), "token".to_owned());
    assert_eq!(strip(&settings, "token=k3y"), "token=k3y");
}

#[test]
fn a_challenge_is_echoed_and_nothing_else_is() {
    let challenge = r#"{"validation_key":"k3y","challenge":"a234qwe"}"#;
    let echoed = Ok(Some(r#"{"challenge":"a234qwe"}"#.to_owned()));

    assert_eq!(answer(None, post("token=k3y", challenge)), echoed);
    assert_eq!(answer(Some(&["k3y"]), post("token=k3y", challenge)), echoed);
    assert_eq!(answer(Some(&["new", "k3y"]), post("", challenge)), echoed);
    assert_eq!(answer(None, post("", "validation_key=k3y&challenge=a234qwe")), echoed);
    let quoted = r#"{"challenge":"a\"\n\u00e9</script>","validation_key":"k3y"}"#;
    let answered = answer(None, post("", quoted)).expect("authentic").expect("answered");
    assert_eq!(answered, "{\"challenge\":\"a\\\"\\né</script>\"}");
    let number = r#"{"challenge":12345678901234567890,"validation_key":1}"#;
    let answered = answer(Some(&["1"]), post("", number)).expect("authentic");
    assert_eq!(answered.as_deref(), Some(r#"{"challenge":12345678901234567890}"#));

    for body in [
        r#"{"challenge":"a234qwe"}"#,
        r#"{"validation_key":"k3y"}"#,
        r#"{"validation_key":"k3y","challenge":null}"#,
        r#"{"validation_key":["k3y"],"challenge":"a"}"#,
        r#"{"validation_key":"k3y","challenge":"a234qwe","status":"ANSWER"}"#,
        r#"{"status":"ANSWER"}"#,
        r#"["validation_key","challenge"]"#,
        "",
    ] {
        assert_eq!(answer(Some(&["k3y"]), post("", body)), Ok(None), "{body}");
    }
    let get = Callback {
        method: "GET",
        query: "validation_key=k3y&challenge=a",
        content_type: None,
        body: b"",
    };
    assert_eq!(answer(None, get), Ok(None));
}

#[test]
fn a_challenge_with_another_key_is_not_authentic() {
    let challenge = r#"{"validation_key":"k3y","challenge":"a234qwe"}"#;

    for keys in [&["other"][..], &["k3", "k3yy"], &[""], &[]] {
        assert_eq!(answer(Some(keys), post("token=k3y", challenge)), Err(Denied::Wrong));
    }
}
