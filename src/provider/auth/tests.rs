//! Credentials as callers send them, and which of them open a source.

use std::time::Duration;

use super::*;
use crate::{
    provider::{Callback, document},
    signature::{Algorithm, Encoding},
};

fn secrets(values: &[&str]) -> Secrets {
    Secrets::new(values.iter().map(|value| Secret::new(*value)).collect())
}

fn check(
    scheme: Scheme,
    headers: &[(&str, &str)],
    token: Option<&str>,
    query: &str,
) -> Result<(), Denied> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    check_head(&[scheme], &Head { method: "POST", headers: &map, path_token: token, query })
}

fn api_key() -> Scheme {
    Scheme::Header { name: HeaderName::from_static("x-api-key"), secret: secrets(&["new", "old"]) }
}

fn basic() -> Scheme {
    Scheme::Basic {
        username: "relay".to_owned(),
        password: secrets(&["s3cret"]),
        form: BasicForm::Standard,
    }
}

#[test]
fn a_header_secret_passes_while_new_or_old_and_never_doubled() {
    assert_eq!(check(api_key(), &[("x-api-key", "new")], None, ""), Ok(()));
    assert_eq!(check(api_key(), &[("X-API-Key", "old")], None, ""), Ok(()));
    assert_eq!(check(api_key(), &[("x-api-key", "newer")], None, ""), Err(Denied::Wrong));
    assert_eq!(check(api_key(), &[("x-api-key", "")], None, ""), Err(Denied::Wrong));
    assert_eq!(check(api_key(), &[], None, ""), Err(Denied::Missing));
    let doubled = [("x-api-key", "new"), ("x-api-key", "new")];
    assert_eq!(check(api_key(), &doubled, None, ""), Err(Denied::Doubled));
}

#[test]
fn basic_passes_in_any_case_of_its_word_with_or_without_padding() {
    for sent in ["Basic cmVsYXk6czNjcmV0", "basic cmVsYXk6czNjcmV0", "BASIC  cmVsYXk6czNjcmV0"] {
        assert_eq!(check(basic(), &[("authorization", sent)], None, ""), Ok(()), "{sent}");
    }
    // The pair of RFC 7617: test and 123£.
    let of_the_rfc = Scheme::Basic {
        username: "test".to_owned(),
        password: secrets(&["123£"]),
        form: BasicForm::Standard,
    };
    let sent = [("authorization", "Basic dGVzdDoxMjPCow==")];
    assert_eq!(check(of_the_rfc, &sent, None, ""), Ok(()));
    // relay:s3cre / rela:s3cret / no colon / not base64 / another scheme
    for (sent, denied) in [
        ("Basic cmVsYXk6czNjcmU=", Denied::Wrong),
        ("Basic cmVsYXk6czNjcmU", Denied::Wrong),
        ("Basic cmVsYTpzM2NyZXQ=", Denied::Wrong),
        ("Basic cmVsYXk=", Denied::Missing),
        ("Basic ***", Denied::Missing),
        ("Bearer cmVsYXk6czNjcmV0", Denied::Missing),
        ("Basic", Denied::Missing),
    ] {
        assert_eq!(check(basic(), &[("authorization", sent)], None, ""), Err(denied), "{sent}");
    }
}

#[test]
fn a_bearer_token_passes_and_a_longer_or_shorter_one_does_not() {
    let bearer = || Scheme::Bearer { token: secrets(&["abc"]) };
    assert_eq!(check(bearer(), &[("authorization", "Bearer abc")], None, ""), Ok(()));
    assert_eq!(check(bearer(), &[("authorization", "bearer abc")], None, ""), Ok(()));
    for (sent, denied) in [
        ("Bearer abcd", Denied::Wrong),
        ("Bearer ab", Denied::Wrong),
        ("Bearer ", Denied::Wrong),
        ("Basic YWJjOmFiYw==", Denied::Missing),
        ("abc", Denied::Missing),
    ] {
        assert_eq!(check(bearer(), &[("authorization", sent)], None, ""), Err(denied), "{sent}");
    }
    assert_eq!(check(bearer(), &[], None, ""), Err(Denied::Missing));
    let twice = [("authorization", "Bearer abc"), ("authorization", "Bearer abc")];
    assert_eq!(check(bearer(), &twice, None, ""), Err(Denied::Doubled));
}

#[test]
fn a_url_token_stands_in_the_path_or_in_a_parameter() {
    let path = || Scheme::UrlToken { token: secrets(&["a b+c"]), param: None };
    assert_eq!(check(path(), &[], Some("a%20b+c"), ""), Ok(()));
    assert_eq!(check(path(), &[], Some("a"), ""), Err(Denied::Wrong));
    assert_eq!(check(path(), &[], None, ""), Err(Denied::Missing));

    let param = || Scheme::UrlToken { token: secrets(&["t0k"]), param: Some("key".to_owned()) };
    assert_eq!(check(param(), &[], None, "ref=1&key=t0k"), Ok(()));
    assert_eq!(check(param(), &[], None, "k%65y=t0k"), Ok(()));
    assert_eq!(check(param(), &[], None, "key=t0k&key=t0k"), Err(Denied::Doubled));
    assert_eq!(check(param(), &[], None, "ref=1"), Err(Denied::Missing));
}

#[test]
fn every_scheme_of_a_list_must_pass() {
    let schemes = [api_key(), basic()];
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", "new".parse().unwrap());
    let head = |headers| Head { method: "POST", headers, path_token: None, query: "" };
    assert_eq!(check_head(&schemes, &head(&headers)), Err(Denied::Missing));

    let mut both = headers.clone();
    both.insert(AUTHORIZATION, "Basic cmVsYXk6czNjcmV0".parse().unwrap());
    assert_eq!(check_head(&schemes, &head(&both)), Ok(()));
}

#[test]
fn the_parameter_that_authenticates_is_taken_out_of_the_query_and_nothing_else_is() {
    let schemes = [Scheme::UrlToken { token: secrets(&["x"]), param: Some("key".to_owned()) }];
    assert_eq!(strip_query(&schemes, |_| false, "POST", "ref=1&key=x&to=%2B1"), "ref=1&to=%2B1");
    assert_eq!(strip_query(&schemes, |_| false, "POST", "%6bey=x"), "");
    assert_eq!(strip_query(&schemes, |_| false, "POST", "monkey=1"), "monkey=1");
    assert_eq!(strip_query(&[], |_| false, "POST", "key=x"), "key=x");
}

// --- CloudDial's base64 ---

fn loose() -> Scheme {
    Scheme::Basic {
        username: "relay".to_owned(),
        password: secrets(&["s3cret", "s>?", "s3cr", "s>?x"]),
        form: BasicForm::Loose,
    }
}

/// Each is `printf %s 'relay/s3cret' | base64`, without the padding where it has none, and with
/// `| tr +/ -_` in the URL-safe alphabet.
#[test]
fn clouddials_pair_passes_in_every_form_its_documents_leave_open() {
    for sent in [
        "cmVsYXkvczNjcmV0",       // relay/s3cret
        "cmVsYXk6czNjcmV0",       // relay:s3cret
        "Basic cmVsYXk6czNjcmV0", // with the word
        "basic cmVsYXkvczNjcmV0",
        "cmVsYXk6cz4/", // relay:s>? in the standard alphabet
        "cmVsYXk6cz4_", // and in the URL-safe one
        "cmVsYXkvcz4_",
        "Basic cmVsYXkvcz4_",
        "cmVsYXkvczNjcg==", // relay/s3cr, padded and not
        "cmVsYXkvczNjcg",
        "cmVsYXk6czNjcg==",
        "Basic cmVsYXk6czNjcg",
        "cmVsYXkvcz4_eA==", // relay/s>?x in the URL-safe alphabet, padded
    ] {
        assert_eq!(check(loose(), &[("authorization", sent)], None, ""), Ok(()), "{sent}");
    }
    // relay/s3cre, padded and not / rela/s3cret / relays3cret / relay|s3cret
    for (sent, denied) in [
        ("cmVsYXkvczNjcmU=", Denied::Wrong),
        ("cmVsYXkvczNjcmU", Denied::Wrong),
        ("cmVsYS9zM2NyZXQ", Denied::Wrong),
        ("cmVsYXlzM2NyZXQ=", Denied::Missing),
        ("cmVsYXl8czNjcmV0", Denied::Missing),
        ("Bearer cmVsYXkvczNjcmV0", Denied::Missing),
        ("relay/s3cret!", Denied::Missing),
        ("", Denied::Missing),
    ] {
        assert_eq!(check(loose(), &[("authorization", sent)], None, ""), Err(denied), "{sent}");
    }
    let twice = [("authorization", "cmVsYXkvczNjcmV0"), ("authorization", "cmVsYXkvczNjcmV0")];
    assert_eq!(check(loose(), &twice, None, ""), Err(Denied::Doubled));
}

#[test]
fn ordinary_basic_takes_none_of_clouddials_forms() {
    for sent in ["cmVsYXk6czNjcmV0", "Basic cmVsYXkvczNjcmV0", "cmVsYXkvczNjcmV0"] {
        let denied = check(basic(), &[("authorization", sent)], None, "");
        assert_eq!(denied, Err(Denied::Missing), "{sent}");
    }
}

// --- signatures ---

/// Signed by every vector below.
const BODY: &str = r#"{"event":"call_ended","call":{"id":"c-1"}}"#;
/// 2025-10-27T10:01:41Z.
const SIGNED_AT: i64 = 1_761_559_301;

fn signature(headers: &[&'static str], encoding: Encoding, signed: &str) -> Signature {
    Signature {
        algorithm: Algorithm::Sha256,
        encoding,
        headers: headers.iter().map(|name| HeaderName::from_static(name)).collect(),
        part: None,
        prefix: String::new(),
        signed: Template::new(signed).expect("a template"),
        stamp: None,
    }
}

fn hmac(signature: Signature, keys: &[&str]) -> Scheme {
    Scheme::Hmac(Hmac::new(signature, &secrets(keys)))
}

fn stamp(place: StampPlace, format: StampFormat) -> Stamp {
    Stamp { place, format, tolerance: Duration::from_mins(5) }
}

/// Both checks of a POST, `late` seconds after [`SIGNED_AT`].
fn verify(scheme: &Scheme, headers: &[(&str, &str)], body: &str, late: i64) -> Result<(), Denied> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let head = Head { method: "POST", headers: &map, path_token: None, query: "" };
    let schemes = std::slice::from_ref(scheme);
    check_head(schemes, &head)?;
    let callback =
        Callback { method: "POST", query: "", content_type: None, body: body.as_bytes() };
    let document = document::read(callback, false);
    let body = Body { raw: body.as_bytes(), document: document.as_ref().map_err(|reason| *reason) };
    check_body(schemes, &head, body, Timestamp::from_second(SIGNED_AT + late).unwrap())
}

const SYNTHFLOW_HEADERS: [&str; 4] = [
    "synthflow-signature",
    "x-synthflow-signature",
    "http-synthflow-signature",
    "http_synthflow_signature",
];

/// The secret looks like one of Standard Webhooks and is used as the bytes it is.
fn synthflow() -> Scheme {
    hmac(Signature::synthflow(), &["whsec_dGVzdC1zZWNyZXQ", "old-secret"])
}

/// `printf %s 3f0f6f0e-52c5-4c0a-9d63-0d5f5f8c1a11 | openssl dgst -sha256 -hmac SECRET -binary |
/// base64`, with the two secrets in turn.
const SYNTHFLOW_SIGNED: [&str; 2] = [
    "Bv5KARysF4Yvb5q6OdrMfv4aYZpSht2P59iwNY2WKLk=",
    "YKRBRziqWqIpL1B/w/VC3qQsDN4V357Z1M6gZyut3Zk=",
];

fn synthflow_body(call: &str) -> String {
    format!(r#"{{"status":"completed","call":{{"call_id":{call},"transcript":"hello"}}}}"#)
}

#[test]
fn synthflow_passes_in_each_spelling_of_its_header_with_either_secret() {
    let body = synthflow_body(r#""3f0f6f0e-52c5-4c0a-9d63-0d5f5f8c1a11""#);
    for name in SYNTHFLOW_HEADERS.into_iter().chain(["HTTP_SYNTHFLOW_SIGNATURE"]) {
        for signed in SYNTHFLOW_SIGNED {
            assert_eq!(verify(&synthflow(), &[(name, signed)], &body, 0), Ok(()), "{name}");
        }
    }
    // It signs the call's id and nothing else: the limit of the scheme.
    let altered = body.replace("hello", "goodbye");
    let sent = [("synthflow-signature", SYNTHFLOW_SIGNED[0])];
    assert_eq!(verify(&synthflow(), &sent, &altered, 0), Ok(()));
}

#[test]
fn synthflow_is_refused_for_another_call_and_in_two_spellings_at_once() {
    let [signed, older] = SYNTHFLOW_SIGNED;
    let body = synthflow_body(r#""3f0f6f0e-52c5-4c0a-9d63-0d5f5f8c1a11""#);
    let header = |value| [("http_synthflow_signature", value)];
    // The first is that of a call whose id ends in 12, made as the others are with the first secret.
    for wrong in ["NGPkyDgT32YVETjHMzZoUg5oUhpjrxDxkGLtgelQJN0=", "", "AAAA", "not base64"] {
        assert_eq!(verify(&synthflow(), &header(wrong), &body, 0), Err(Denied::Wrong), "{wrong}");
    }
    assert_eq!(verify(&synthflow(), &[], &body, 0), Err(Denied::Missing));
    for doubled in [
        [("synthflow-signature", signed), ("x-synthflow-signature", signed)],
        [("http-synthflow-signature", signed), ("http_synthflow_signature", older)],
        [("synthflow-signature", signed), ("synthflow-signature", signed)],
    ] {
        assert_eq!(verify(&synthflow(), &doubled, &body, 0), Err(Denied::Doubled));
    }
}

#[test]
fn a_body_without_the_signed_value_is_not_authentic() {
    let sent = [("synthflow-signature", SYNTHFLOW_SIGNED[0])];
    for body in [
        r#"{"status":"completed","call":{}}"#.to_owned(),
        r#"{"call":[]}"#.to_owned(),
        synthflow_body("null"),
        synthflow_body(r#"" ""#),
        synthflow_body("{}"),
        synthflow_body(r#""3f0f6f0e-52c5-4c0a-9d63-0d5f5f8c1a11""#).replace('}', ""),
        String::new(),
    ] {
        assert_eq!(
            verify(&synthflow(), &sent, &body, 0),
            Err(Denied::SignedValueMissing),
            "{body}"
        );
    }
}

#[test]
fn a_number_is_signed_by_its_digits() {
    // printf %s 918000000100 | openssl dgst -sha256 -hmac k -binary | base64
    let scheme = hmac(signature(&["sig"], Encoding::Base64, "{json:/id}"), &["k"]);
    let sent = [("sig", "ANze/Ua41PV3c3eyoiQbJ8NDHksWdc+1BRtUQ98GJzk=")];

    assert_eq!(verify(&scheme, &sent, r#"{"id":918000000100}"#, 0), Ok(()));
    assert_eq!(verify(&scheme, &sent, "id=918000000100", 0), Ok(()));
    assert_eq!(verify(&scheme, &sent, r#"{"id":9.18000000100e11}"#, 0), Err(Denied::Wrong));
}

/// Schemes of `providers.md` B.1 with signatures over [`BODY`] at [`SIGNED_AT`]. Each was made by
/// `printf %s 'SIGNED' | openssl dgst -sha256 -hmac SECRET -r`, where SIGNED is what the template
/// says with its parts filled in (`v0:1761559301:{"event":…}`), with `-sha1` and `-sha512` where
/// the scheme has these, and `-binary | base64` in place of `-r` where it is base64.
fn signed_by_others() -> Vec<(Scheme, Vec<(&'static str, &'static str)>)> {
    let zoom = Signature {
        prefix: "v0=".to_owned(),
        stamp: Some(stamp(
            StampPlace::Header(HeaderName::from_static("x-zm-request-timestamp")),
            StampFormat::Seconds,
        )),
        ..signature(&["x-zm-signature"], Encoding::Hex, "v0:{timestamp}:{body}")
    };
    let elevenlabs = Signature {
        part: Some("v0".to_owned()),
        stamp: Some(stamp(StampPlace::Part("t".to_owned()), StampFormat::Seconds)),
        ..signature(&["elevenlabs-signature"], Encoding::Hex, "{timestamp}.{body}")
    };
    let retell = Signature {
        part: Some("d".to_owned()),
        stamp: Some(stamp(StampPlace::Part("v".to_owned()), StampFormat::Milliseconds)),
        ..signature(&["x-retell-signature"], Encoding::Hex, "{body}{timestamp}")
    };
    let callrail = Signature {
        algorithm: Algorithm::Sha1,
        ..signature(&["signature"], Encoding::Base64, "{body}")
    };
    let genesys = Signature {
        prefix: "sha256=".to_owned(),
        ..signature(&["x-hub-signature-256"], Encoding::Base64, "{body}")
    };
    let by_header = Signature {
        algorithm: Algorithm::Sha512,
        ..signature(&["x-sig"], Encoding::Hex, "POST-{header:x-nonce}.{body}")
    };
    let dated = Signature {
        stamp: Some(stamp(
            StampPlace::Header(HeaderName::from_static("x-date")),
            StampFormat::Rfc3339,
        )),
        ..signature(&["x-sig"], Encoding::Hex, "{timestamp}|{body}")
    };
    vec![
        (
            hmac(zoom, &["zoom-secret"]),
            vec![
                (
                    "x-zm-signature",
                    "v0=cde075f806c60ae62e10ee37aefce8fcc1ebce25519df57d713d85b6d2d015d9",
                ),
                ("x-zm-request-timestamp", "1761559301"),
            ],
        ),
        (
            hmac(elevenlabs, &["el-secret"]),
            vec![(
                "elevenlabs-signature",
                "t=1761559301,v0=00, \
                 v0=96d9b3dd016e44964ada34f09e67ab87db8fa2036283833608748bb22c50882e",
            )],
        ),
        (
            hmac(retell, &["retell-key"]),
            vec![(
                "x-retell-signature",
                "v=1761559301670,\
                 d=0b24ef81c1ef0e3644bd7e1ceac0881270d61d3c927220b49bfaa3ab3ca2dd7a",
            )],
        ),
        (hmac(callrail, &["company-key"]), vec![("signature", "4/atnitZ/ZyhpxYeZPLyDCE50aM=")]),
        (
            hmac(genesys, &["gen-secret"]),
            vec![("x-hub-signature-256", "sha256=02Qodm/O/3gR0Mskxz/81PQhKyOult594n+9/udEWq0=")],
        ),
        (
            hmac(by_header, &["k"]),
            vec![
                (
                    "x-sig",
                    "a97959eea52d57e9c3de56c160c19e96a4a14aaad15a48bf0168a46bdbf5d94c\
                     fd413dedc9d8e68b6c6ffde2753144c12c42dd951f23e986c7c2f3d28f329a6d",
                ),
                ("x-nonce", "nonce-1"),
            ],
        ),
        (
            hmac(dated, &["k"]),
            vec![
                ("x-sig", "eaae6b3c38cf2c48890600ebd13162a2ac4de0e7189f75658dad2a2bfe483007"),
                ("x-date", "2025-10-27T10:01:41Z"),
            ],
        ),
    ]
}

#[test]
fn signatures_of_many_shapes_pass_and_fail_with_one_byte_changed() {
    for (scheme, headers) in signed_by_others() {
        assert_eq!(verify(&scheme, &headers, BODY, 0), Ok(()), "{headers:?}");
        let changed = BODY.replace("c-1", "c-2");
        assert_eq!(verify(&scheme, &headers, &changed, 0), Err(Denied::Wrong), "{headers:?}");
        for (at, (name, value)) in headers.iter().enumerate() {
            let mut without = headers.clone();
            without.remove(at);
            assert!(verify(&scheme, &without, BODY, 0).is_err(), "without {name}");
            let mut twice = headers.clone();
            twice.push((name, value));
            assert_eq!(verify(&scheme, &twice, BODY, 0), Err(Denied::Doubled), "{name}");
        }
        // An unreadable body is still the one that was signed, or not.
        assert_eq!(verify(&scheme, &headers, "{", 0), Err(Denied::Wrong));
    }
}

/// A signature of an empty body would open every GET.
#[test]
fn the_body_of_a_get_that_is_signed_is_its_query() {
    // printf %s 'id=c-1&status=completed' | openssl dgst -sha256 -hmac k -r, and of nothing
    const SIGNED: &str = "501bdaa61904f2c0429993d45a2befa6c1aeed4ee3045ac3ac063b9d931072bb";
    const OF_NOTHING: &str = "8bb990c40a7d61cb97597a942125025be50ac8beb74436e3735b98893a7f6620";
    let scheme = hmac(signature(&["x-sig"], Encoding::Hex, "{body}"), &["k"]);
    let get = |signed: &str, query: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-sig", signed.parse().unwrap());
        let head = Head { method: "GET", headers: &headers, path_token: None, query };
        let body = Body { raw: b"", document: Err(Unreadable::Empty) };
        check_body(std::slice::from_ref(&scheme), &head, body, Timestamp::UNIX_EPOCH)
    };

    assert_eq!(get(SIGNED, "id=c-1&status=completed"), Ok(()));
    assert_eq!(get(SIGNED, "id=c-2&status=completed"), Err(Denied::Wrong));
    assert_eq!(get(OF_NOTHING, "id=c-1&status=completed"), Err(Denied::Wrong));
    assert_eq!(get(OF_NOTHING, ""), Ok(()));
}

#[test]
fn a_signed_header_that_is_not_there_is_a_missing_credential() {
    let scheme = hmac(signature(&["x-sig"], Encoding::Hex, "{header:x-id}.{body}"), &["k"]);
    assert_eq!(verify(&scheme, &[("x-sig", "00")], "{", 0), Err(Denied::Missing));
}

#[test]
fn a_signature_with_an_instant_holds_within_its_tolerance_either_way() {
    let stamped =
        |scheme: &Scheme| matches!(scheme, Scheme::Hmac(hmac) if hmac.signature().stamp.is_some());
    for (scheme, headers) in signed_by_others() {
        let late = if stamped(&scheme) { Err(Denied::Stale) } else { Ok(()) };
        assert_eq!(verify(&scheme, &headers, BODY, 299), Ok(()));
        assert_eq!(verify(&scheme, &headers, BODY, -298), Ok(()));
        assert_eq!(verify(&scheme, &headers, BODY, 302), late, "{headers:?}");
        assert_eq!(verify(&scheme, &headers, BODY, -302), late, "{headers:?}");
    }
}

#[test]
fn an_instant_that_is_none_or_doubled_is_not_authentic() {
    let (scheme, _) = signed_by_others().swap_remove(1);
    let digits = "96d9b3dd016e44964ada34f09e67ab87db8fa2036283833608748bb22c50882e";
    for (sent, denied) in [
        (format!("v0={digits}"), Denied::Missing),
        (format!("t=,v0={digits}"), Denied::Missing),
        (format!("t=soon,v0={digits}"), Denied::Missing),
        (format!("t=1761559301,t=1761559301,v0={digits}"), Denied::Doubled),
        ("t=1761559301".to_owned(), Denied::Missing),
        (format!("t=1761559302,v0={digits}"), Denied::Wrong),
        (format!("t=1761559301,v1={digits}"), Denied::Missing),
    ] {
        let sent = [("elevenlabs-signature", sent.as_str())];
        assert_eq!(verify(&scheme, &sent, BODY, 0), Err(denied), "{sent:?}");
    }
}

#[test]
fn a_template_names_something_of_the_request_that_exists() {
    for (written, error) in [
        ("", TemplateError::Constant),
        ("v0:{timestamp}", TemplateError::Constant),
        ("{body", TemplateError::Unclosed),
        ("body}", TemplateError::Unclosed),
        ("{bodi}", TemplateError::Unknown("bodi".to_owned())),
        ("{json:call/id}", TemplateError::Pointer("call/id".to_owned())),
        ("{json:/a~2}", TemplateError::Pointer("/a~2".to_owned())),
        ("{header:}", TemplateError::Header(String::new())),
        ("{header:a b}", TemplateError::Header("a b".to_owned())),
    ] {
        assert_eq!(Template::new(written), Err(error), "{written}");
    }
    assert!(Template::new("{timestamp}.{body}").expect("a template").signs_timestamp());
    assert!(!Template::new("{header:x-id}.{body}").expect("a template").signs_timestamp());
}

// --- a field of the body ---

fn token(field: &str) -> Scheme {
    Scheme::BodyField { field: Place::new(field), secret: secrets(&["t0k/en", "12345"]) }
}

#[test]
fn a_field_of_the_body_passes_in_json_and_in_a_form() {
    for (field, body) in [
        ("/token", r#"{"token":"t0k/en","id":1}"#),
        ("/token", r#"{"token":"t0k\/en"}"#),
        ("/token", r#"{"token":12345}"#),
        ("token", "id=1&token=t0k%2Fen"),
        ("/auth/token", "auth[token]=t0k/en"),
        ("auth[token]", r#"{"auth":{"token":"12345"}}"#),
    ] {
        assert_eq!(verify(&token(field), &[], body, 0), Ok(()), "{body}");
    }
    for (body, denied) in [
        (r#"{"token":"t0k/enx"}"#, Denied::Wrong),
        (r#"{"token":""}"#, Denied::Wrong),
        (r#"{"token":["t0k/en"]}"#, Denied::Missing),
        (r#"{"token":null}"#, Denied::Missing),
        (r#"{"id":1}"#, Denied::Missing),
        (r#"{"token":"t0k/en","token":"t0k/en"}"#, Denied::Doubled),
        ("token=t0k/en&token=t0k/en", Denied::Doubled),
        (r#"{"token":"t0k/en""#, Denied::Missing),
        ("", Denied::Missing),
    ] {
        assert_eq!(verify(&token("token"), &[], body, 0), Err(denied), "{body}");
    }
}

#[test]
fn of_a_get_the_field_is_a_parameter_that_is_taken_out_of_the_query() {
    let schemes = [token("auth[token]")];
    let by = |method: &str, query: &str| {
        let headers = HeaderMap::new();
        let head = Head { method, headers: &headers, path_token: None, query };
        check_body(
            &schemes,
            &head,
            Body { raw: b"", document: Err(Unreadable::Empty) },
            Timestamp::UNIX_EPOCH,
        )
    };

    let check = |query: &str| by("GET", query);
    assert_eq!(check("id=1&auth%5Btoken%5D=t0k%2Fen"), Ok(()));
    assert_eq!(by("HEAD", "auth[token]=t0k/en"), Ok(()));
    assert_eq!(by("HEAD", "auth[token]=t0k"), Err(Denied::Wrong));
    assert_eq!(by("POST", "auth[token]=t0k/en"), Err(Denied::Missing));
    assert_eq!(check("auth.token=t0k/en"), Ok(()));
    assert_eq!(check("auth.token=t0k/en&auth[token]=t0k/en"), Err(Denied::Doubled));
    assert_eq!(check("auth.token=t0k"), Err(Denied::Wrong));
    assert_eq!(check("id=1"), Err(Denied::Missing));
    assert_eq!(
        strip_query(&schemes, |_| false, "GET", "id=1&auth%5Btoken%5D=t0k%2Fen&x=2"),
        "id=1&x=2"
    );
    assert_eq!(strip_query(&schemes, |_| false, "POST", "auth[token]=x"), "auth[token]=x");
}

#[test]
fn a_stored_body_is_the_one_received_with_the_secret_masked() {
    for (field, body, expected) in [
        ("/token", r#"{ "token" : "t0k/en", "id":1.50 }"#, r#"{ "token" : "***", "id":1.50 }"#),
        ("/token", r#"{"token":12345,"id":12345}"#, r#"{"token":"***","id":12345}"#),
        // Behind an escape: the same body, written anew.
        ("/token", r#"{ "token":"t0k\/en", "id":1.50 }"#, r#"{"token":"***","id":1.50}"#),
        ("/a/0/token", r#"{"a":[{"token":"t0k\/en"}]}"#, r#"{"a":[{"token":"***"}]}"#),
        ("token", "id=1&token=t0k/en&x=2", "id=1&token=***&x=2"),
        ("token", "id=1&token=t0k%2Fen&x=2", "id=1&token=***&x=2"),
        ("auth[token]", "auth%5Btoken%5D=t0k%2Fen", "auth%5Btoken%5D=***"),
        ("/a/0", "a[7]=t0k%2Fen", r#"{"a":["***"]}"#),
    ] {
        let schemes = [token(field)];
        let callback =
            Callback { method: "POST", query: "", content_type: None, body: body.as_bytes() };
        let mut document = document::read(callback, false).expect("readable");
        let masked = masked(&schemes, "POST", body.as_bytes(), &document).expect("a secret");
        assert_eq!(String::from_utf8(masked).expect("text"), expected);
        clean(&schemes, &mut document);
        assert_eq!(document.at(&Place::new(field)), None, "{body}");
    }
    let callback = Callback { method: "POST", query: "", content_type: None, body: b"id=1" };
    let document = document::read(callback, false).expect("readable");
    assert_eq!(masked(&[token("token")], "POST", b"id=1", &document), None);
    assert_eq!(masked(&[api_key()], "POST", b"id=1", &document), None);
}
