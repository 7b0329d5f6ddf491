//! Every provider against its fixtures: a request as received, and the event written by hand.

mod clouddial;
mod contract;
mod every_place;
mod hostile;
mod mobtexting;
mod nothing_is_lost;
mod plum;
mod synthflow;

use std::{fs, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::*;
use crate::event::{EventId, SourceName, schema};

/// A request as it stands in `tests/fixtures/providers/<provider>/<case>/request.http`. Where the
/// source must be told how to read it, `source.json` beside it holds those keys of its table.
pub(super) struct Case {
    provider: Provider,
    name: String,
    settings: Settings,
    method: String,
    query: String,
    content_type: Option<String>,
    headers: HeaderMap,
    body: Vec<u8>,
    expected: Value,
}

// === impl Case ===

impl Case {
    fn read(provider: Provider, folder: &std::path::Path) -> Self {
        let request = fs::read(folder.join("request.http")).expect("a request");
        let end = request.windows(2).position(|pair| pair == b"\n\n").expect("an empty line");
        let head = std::str::from_utf8(&request[..end]).expect("text");
        let mut lines = head.lines();
        let mut words = lines.next().expect("a request line").split(' ');
        let method = words.next().expect("a method").to_owned();
        let target = words.next().expect("a target");
        let query = target.split_once('?').map_or("", |(_, query)| query).to_owned();
        let header = |(name, value): (&str, &str)| {
            let name: HeaderName = name.parse().expect("a header's name");
            (name, HeaderValue::from_str(value).expect("a header's value"))
        };
        let headers: HeaderMap =
            lines.filter_map(|line| line.split_once(": ")).map(header).collect();
        let content_type =
            headers.get(header::CONTENT_TYPE).map(|value| value.to_str().expect("text").to_owned());
        let expected = fs::read(folder.join("expected.json")).expect("an expected event");
        Self {
            provider,
            name: folder.display().to_string(),
            settings: settings_in(provider, folder),
            method,
            query,
            content_type,
            headers,
            body: request[end + 2..].to_vec(),
            expected: serde_json::from_slice(&expected).expect("JSON"),
        }
    }

    /// Every case of every provider we know.
    fn all() -> Vec<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers");
        let cases = |provider: &Provider| {
            let folder = fs::read_dir(root.join(provider.as_str())).expect("a folder of cases");
            let mut folders: Vec<_> = folder.map(|entry| entry.expect("a case").path()).collect();
            folders.sort();
            folders.into_iter().map(|folder| Self::read(*provider, &folder)).collect::<Vec<_>>()
        };
        Provider::ALL.iter().flat_map(cases).collect()
    }

    fn callback(&self) -> Callback<'_> {
        Callback {
            method: &self.method,
            query: &self.query,
            content_type: self.content_type.as_deref(),
            body: &self.body,
        }
    }
}

/// The settings that `source.json` of a case asks for.
fn settings_in(provider: Provider, folder: &std::path::Path) -> Settings {
    let mut settings = Settings::of(provider);
    let Ok(json) = fs::read(folder.join("source.json")) else { return settings };
    let Ok(Value::Object(keys)) = serde_json::from_slice(&json) else { panic!("{folder:?}") };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    for (key, value) in &keys {
        match (key.as_str(), value) {
            ("timezone", value) => settings.timezone = TimeZone::get(&text(value)).ok(),
            ("country", value) => settings.country = Some(text(value)),
            ("fields", Value::Object(names)) => {
                settings.fields = names.iter().map(|(name, it)| (name.clone(), text(it))).collect();
            }
            _ => panic!("{folder:?}: {key}"),
        }
    }
    settings
}

fn envelope(source: &str) -> Envelope {
    Envelope {
        id: "0199c5c2-7d0e-7a55-9d6c-3f1f6c2b8a10".parse::<EventId>().expect("an id"),
        source: SourceName::new(source),
        received_at: "2025-10-27T10:01:44.120Z".parse().expect("an instant"),
    }
}

fn decoded<'a>(settings: &Settings, callback: Callback<'a>) -> Result<Decoded<'a>, Unreadable> {
    let document = read(settings, callback)?;
    Ok(normalise(settings, document, envelope(settings.provider.as_str())))
}

fn event_of(settings: &Settings, callback: Callback<'_>) -> Value {
    let decoded = decoded(settings, callback).expect("readable");
    serde_json::from_slice(&decoded.event.to_json()).expect("JSON")
}

fn post<'a>(query: &'a str, body: &'a str) -> Callback<'a> {
    Callback { method: "POST", query, content_type: None, body: body.as_bytes() }
}

fn eleven_x() -> Settings {
    Settings::of(Provider::ElevenX)
}

fn validator() -> jsonschema::Validator {
    jsonschema::options()
        .should_validate_formats(true)
        .build(&schema::closed().expect("JSON"))
        .expect("a schema")
}

#[test]
fn every_fixture_becomes_the_event_written_for_it() {
    let schema = validator();
    let cases = Case::all();
    for case in &cases {
        let event = event_of(&case.settings, case.callback());
        let shown = serde_json::to_string_pretty(&event).expect("JSON");
        assert_eq!(event, case.expected, "{}\n{shown}", case.name);
        assert!(schema.is_valid(&event), "{}", case.name);
    }
    for provider in Provider::ALL {
        assert!(cases.iter().any(|case| case.provider == *provider), "{}", provider.as_str());
    }
}

/// What the fixtures of a provider show, where it authenticates by a header.
fn scheme_of_fixtures(provider: Provider) -> Option<Scheme> {
    let secrets = |secret: &str| Secrets::new(vec![crate::secret::Secret::new(secret)]);
    match provider {
        Provider::Synthflow => Some(Scheme::Hmac(auth::Hmac::new(
            provider.signature().expect("it signs"),
            &secrets("change-me"),
        ))),
        Provider::ElevenX => Some(Scheme::Header {
            name: HeaderName::from_static(provider.auth_header().expect("it has one")),
            secret: secrets("change-me"),
        }),
        Provider::CloudDial => Some(Scheme::Basic {
            username: "relay".to_owned(),
            password: secrets("s3cret"),
            form: provider.basic_form(),
        }),
        // Their fixtures have their secret in the URL, which is the source's to choose.
        Provider::Plum | Provider::Mobtexting | Provider::Custom => None,
    }
}

/// The signatures of the fixtures are of the documents' own scheme, made by
/// `printf %s CALL_ID | openssl dgst -sha256 -hmac change-me -binary | base64`.
#[test]
fn every_fixture_brings_the_credentials_of_its_provider_and_one_byte_less_is_refused() {
    let mut checked = 0;
    for case in Case::all() {
        let Some(scheme) = scheme_of_fixtures(case.provider) else { continue };
        let name = match &scheme {
            Scheme::Header { name, .. } => name.clone(),
            Scheme::Basic { .. } => header::AUTHORIZATION,
            _ => HeaderName::from_static("http_synthflow_signature"),
        };
        let document = parse(&case.settings, case.callback()).expect("readable");
        let opens = |headers: &HeaderMap| {
            let schemes = std::slice::from_ref(&scheme);
            let (method, query) = (case.method.as_str(), case.query.as_str());
            let head = auth::Head { method, headers, path_token: None, query };
            let body = auth::Body { raw: &case.body, document: Ok(&document) };
            let now = "2025-10-27T10:01:44Z".parse().expect("an instant");
            auth::check_head(schemes, &head)
                .and_then(|()| auth::check_body(schemes, &head, body, now))
        };
        let Some(sent) = case.headers.get(&name) else { continue };
        assert_eq!(opens(&case.headers), Ok(()), "{}", case.name);
        checked += 1;

        let mut bytes = sent.as_bytes().to_vec();
        let at = bytes.len() / 2;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let mut altered = case.headers.clone();
        altered.insert(&name, HeaderValue::from_bytes(&bytes).expect("a value"));
        assert_eq!(opens(&altered), Err(Denied::Wrong), "{}", case.name);
        altered.remove(&name);
        assert_eq!(opens(&altered), Err(Denied::Missing), "{}", case.name);
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn a_provider_is_found_by_its_word_and_by_no_other() {
    for provider in Provider::ALL {
        assert_eq!(Provider::from_word(provider.as_str()), Some(*provider));
    }
    assert_eq!(Provider::from_word("11X"), None);
    assert_eq!(Provider::ElevenX.auth_header(), Some("x-api-key"));
    assert_eq!(Provider::ElevenX.max_body(), None);
}

#[test]
fn a_repeat_has_the_first_fingerprint_and_a_corrected_result_another() {
    let print = |query, body| {
        decoded(&eleven_x(), post(query, body)).expect("readable").fingerprint.expect("identified")
    };
    let first = print("ref=1", r#"{"callId":"c-1","callResult":{"outcomes":[]}}"#);

    assert_eq!(print("ref=1", r#"{"callResult":{"outcomes":[]}, "callId":"c-1"}"#), first);
    assert_ne!(print("ref=2", r#"{"callId":"c-1","callResult":{"outcomes":[]}}"#), first);
    let corrected = r#"{"callId":"c-1","callResult":{"outcomes":[{"name":"interested"}]}}"#;
    assert_ne!(print("ref=1", corrected), first);
}

#[test]
fn a_body_with_neither_a_call_id_nor_an_instant_has_no_fingerprint() {
    let print = |body| decoded(&eleven_x(), post("", body)).expect("readable").fingerprint;

    assert_eq!(print(r#"{"phoneNumber":"+15550100123","duration":5}"#), None);
    assert_eq!(print(r#"{"callId":"<string>"}"#), None);
    assert!(print(r#"{"scheduledAt":"2025-01-20T14:00:00Z"}"#).is_some());
}

#[test]
fn a_body_without_any_field_of_the_provider_is_unrecognised() {
    let reason = |body| decoded(&eleven_x(), post("", body)).err();

    assert_eq!(reason(r#"{"hello":"world"}"#), Some(Unreadable::Unrecognised));
    assert_eq!(reason("{}"), Some(Unreadable::Unrecognised));
    assert_eq!(reason("hello"), Some(Unreadable::Unrecognised));
    assert_eq!(reason(r#"{"name":null}"#), None);
}

#[test]
fn a_renamed_field_is_found_under_its_received_key_only() {
    let mut settings = eleven_x();
    settings.fields = [
        ("phoneNumber", "customer.phone"),
        ("callResult.resultType", "/a~1b/result"),
        ("name", "who"),
    ]
    .map(|(name, key)| (name.to_owned(), key.to_owned()))
    .into();

    let body = r#"{"customer":{"phone":"+15550100123","x":1},"a/b":{"result":"Busy"},"who":"Eli Example"}"#;
    let event = event_of(&settings, post("", body));
    assert_eq!(event["data"]["call"]["to"]["e164"], "+15550100123");
    assert_eq!(event["data"]["call"]["status"], "busy");
    assert_eq!(event["data"]["contact"]["name"], "Eli Example");
    assert_eq!(event["data"]["extra"], serde_json::json!({"customer": {"x": 1}}));
    let reason = read(&settings, post("", r#"{"phoneNumber":"+15550100123"}"#)).err();
    assert_eq!(reason, Some(Unreadable::Unrecognised));
}

#[test]
fn the_source_s_own_status_words_come_first() {
    let mut settings = eleven_x();
    settings.status.insert(fold_status("Gone Fishing").into_owned(), Status::NoAnswer);
    settings.status.insert(fold_status("Busy").into_owned(), Status::Abandoned);
    let status = |word: &str| {
        let body = format!(r#"{{"callResult":{{"resultType":"{word}"}}}}"#);
        event_of(&settings, post("", &body))["data"]["call"]["status"].clone()
    };

    assert_eq!(status(" gone_fishing "), "no_answer");
    assert_eq!(status("BUSY"), "abandoned");
    assert_eq!(status("Goal Not Completed"), "completed");
    assert_eq!(status("missed call"), "no_answer");
    assert_eq!(status("dial_no_answer"), "no_answer");
    assert_eq!(status("Network Failure"), "failed");
    assert_eq!(status("cancelled by user"), "canceled");
    assert_eq!(status("Declined"), "rejected");
    assert_eq!(status("left_voicemail"), "voicemail");
}

#[test]
fn a_field_s_own_zone_comes_before_the_source_s() {
    let at = |timezone: Option<&str>, own: Option<&str>| {
        let mut settings = eleven_x();
        settings.timezone = timezone.map(|name| TimeZone::get(name).expect("a zone"));
        if let Some(name) = own {
            let zone = TimeZone::get(name).expect("a zone");
            settings.timezones.insert("scheduledAt".to_owned(), zone);
        }
        let event = event_of(&settings, post("", r#"{"scheduledAt":"2025-10-26 02:30:00"}"#));
        let data = &event["data"];
        (data["call"]["scheduled_at"].clone(), data["warnings"].to_string())
    };

    let (time, warnings) = at(Some("Asia/Kolkata"), None);
    assert_eq!((time, warnings.as_str()), ("2025-10-25T21:00:00Z".into(), r#"["status_missing"]"#));
    let (time, warnings) = at(Some("Asia/Kolkata"), Some("Europe/Berlin"));
    assert_eq!(time, "2025-10-26T00:30:00Z");
    assert_eq!(warnings, r#"["status_missing","tz_ambiguous"]"#);
    let (time, warnings) = at(None, None);
    assert_eq!(time, "2025-10-26T02:30:00Z");
    assert_eq!(warnings, r#"["status_missing","tz_assumed"]"#);
}

#[test]
fn every_provider_s_zone_is_known_without_the_system_s_files() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    for provider in Provider::ALL.iter().chain([&Provider::Custom]) {
        assert!(bundled.get(provider.rules().zone).is_ok(), "{}", provider.as_str());
    }
    assert!(bundled.get("Europe/Berlin").is_ok());
}

#[test]
fn an_id_longer_than_a_kibibyte_is_dropped_and_kept_in_extra() {
    let long = "i".repeat(1025);
    let event = event_of(&eleven_x(), post("", &format!(r#"{{"callId":"{long}"}}"#)));

    assert_eq!(event["data"]["call"]["id"], Value::Null);
    assert_eq!(event.get("subject"), None);
    assert_eq!(event["data"]["extra"]["callId"], *long);
    assert_eq!(event["data"]["warnings"].to_string(), r#"["status_missing","value_dropped"]"#);
    let fits = event_of(&eleven_x(), post("", &format!(r#"{{"callId":"{}"}}"#, "i".repeat(1024))));
    assert_eq!(fits["subject"].as_str().map(str::len), Some(1024));
}

#[test]
fn a_repeated_parameter_is_a_list_and_a_get_stands_in_query_alone() {
    let get = Callback {
        method: "GET",
        query: "callId=c-9&duration=4&odd=1&ref=%C3%A5+1",
        content_type: None,
        body: b"",
    };
    let event = event_of(&eleven_x(), get);
    let data = &event["data"];
    assert_eq!(data["call"]["id"], "c-9");
    assert_eq!(data["call"]["reference"], "å 1");
    assert_eq!(data["call"]["duration_seconds"], 4);
    assert_eq!(data["extra"], serde_json::json!({}));
    assert_eq!(data["query"]["odd"], "1");

    let posted = event_of(&eleven_x(), post("a=1&b=2&a=%FF&a=3", r#"{"callId":"c-9"}"#));
    let query = serde_json::json!({"a": ["1", "\u{fffd}", "3"], "b": "2"});
    assert_eq!(posted["data"]["query"], query);
    assert_eq!(posted["data"]["warnings"].to_string(), r#"["status_missing","text_repaired"]"#);
}

#[test]
fn numbers_reach_the_target_by_their_text() {
    let body = r#"{"callId":1e400,"x":[1.50,1e400,1234567890123456789012345678901234567890,-0]}"#;
    let decoded = decoded(&eleven_x(), post("", body)).expect("readable");
    let json = String::from_utf8(decoded.event.to_json()).expect("text");

    assert!(
        json.contains(r#""extra":{"x":[1.50,1e400,1234567890123456789012345678901234567890,-0]}"#)
    );
    assert!(json.contains(r#""id":"1e400""#));
}
