//! What reading a body makes of good, broken and hostile bytes.

use proptest::prelude::*;

use super::*;

fn with_type(
    content_type: Option<&str>,
    body: &[u8],
) -> Result<(String, Vec<Warning>), Unreadable> {
    let callback = Callback { method: "POST", query: "", content_type, body };
    let document = read(callback, true)?;
    let json = String::from_utf8(Value::Object(document.root).to_json()).expect("text");
    Ok((json, document.warnings.into_iter().collect()))
}

fn body(body: impl AsRef<[u8]>) -> Result<(String, Vec<Warning>), Unreadable> {
    with_type(None, body.as_ref())
}

fn json(text: impl AsRef<[u8]>) -> String {
    let (json, warnings) = body(text).expect("readable");
    assert_eq!(warnings, []);
    json
}

fn form(text: &str) -> String {
    json(text)
}

fn reason(text: impl AsRef<[u8]>) -> &'static str {
    body(text).expect_err("unreadable").as_str()
}

#[test]
fn json_keeps_names_nesting_order_and_the_text_of_numbers() {
    for text in [
        "{}",
        r#"{"b":1,"a":[],"":{},"c":[null,true,false,{"x":"y"}]}"#,
        r#"{"n":[1.50,1e400,-0,-0.0e-7,1E+2,1234567890123456789012345678901234567890]}"#,
        r#"{"s":"\"\\/ é 😀"}"#,
    ] {
        assert_eq!(json(text), text);
    }
    assert_eq!(json("\u{feff} \r\n\t{ \"a\" : [ 1 , 2 ] }\n"), r#"{"a":[1,2]}"#);
    assert_eq!(json(r#"{"s":"\u0041\n\/\ud83d\ude00\u0000"}"#), "{\"s\":\"A\\n/😀\\u0000\"}");
}

#[test]
fn strings_borrow_from_the_body_unless_they_are_escaped() {
    let text = br#"{"plain":"a long text","escaped":"a\nb"}"#;
    let callback = Callback { method: "POST", query: "", content_type: None, body: text };
    let document = read(callback, true).expect("readable");
    let borrowed: Vec<bool> = document
        .root
        .iter()
        .map(|(_, value)| matches!(value, Value::String(Cow::Borrowed(_))))
        .collect();

    assert_eq!(borrowed, [true, false]);
    assert!(document.root.iter().all(|(name, _)| matches!(name, Cow::Borrowed(_))));
}

#[test]
fn the_listed_repairs_are_made_and_noted() {
    for (text, expected) in [
        (r#"{"a":1,}"#, r#"{"a":1}"#),
        (r#"{"a":[1,2, ],}"#, r#"{"a":[1,2]}"#),
        (r#"{"a":91806828XXXX}"#, r#"{"a":"91806828XXXX"}"#),
        (r#"{"a":[0731051xxx,9180****1234,X1]}"#, r#"{"a":["0731051xxx","9180****1234","X1"]}"#),
        ("{\"a\":\"one\ntwo\tthree\u{0}\"}", r#"{"a":"one\ntwo\tthree\u0000"}"#),
    ] {
        let (json, warnings) = body(text).expect("repaired");
        assert_eq!(json, expected);
        assert_eq!(warnings, [Warning::JsonRepaired], "{text}");
        let callback =
            Callback { method: "POST", query: "", content_type: None, body: text.as_bytes() };
        assert_eq!(read(callback, false).err(), Some(Unreadable::NotJson), "{text}");
    }
}

#[test]
fn nothing_else_is_repaired() {
    for text in [
        "{'a':1}",
        "{a:1}",
        r#"{"a":1 /* b */}"#,
        r#"{"a":1"#,
        r#"{"a":[1}"#,
        r#"{"a":"#,
        "{",
        r#"{"a":XXXX}"#,
        r#"{"a":****}"#,
        r#"{"a":12abc}"#,
        r#"{"a":007}"#,
        r#"{"a":+1}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":NaN}"#,
        r#"{"a":0x1F}"#,
        r#"{"a":1,,}"#,
        "{,}",
        r#"{"a":[,]}"#,
        r#"{"a" 1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":tru}"#,
        r#"{"a":"\x41"}"#,
        r#"{"a":"\u12"}"#,
        r#"{"a":"b}"#,
        r#"{"a":1}{"b":2}"#,
        r#"{"a":1}x"#,
        "{91XX:1}",
        r#"{"a":91-XX}"#,
        "{\"a\":1}\0",
        r#"{"a":1]"#,
        r#"{"a":truefalse}"#,
    ] {
        assert_eq!(reason(text), "not_json", "{text}");
    }
}

#[test]
fn broken_text_becomes_replacement_characters_and_is_noted() {
    for (text, expected) in [
        (br#"{"a":"\ud800"}"#.as_slice(), "{\"a\":\"\u{fffd}\"}"),
        (br#"{"a":"\udc00x"}"#, "{\"a\":\"\u{fffd}x\"}"),
        (br#"{"a":"\ud800\u0041"}"#, "{\"a\":\"\u{fffd}A\"}"),
        (br#"{"a":"\ud800\ud83d\ude00"}"#, "{\"a\":\"\u{fffd}😀\"}"),
        (br#"{"a":"\ud800\n"}"#, "{\"a\":\"\u{fffd}\\n\"}"),
        (b"{\"a\":\"x\xffy\"}", "{\"a\":\"x\u{fffd}y\"}"),
        (b"{\"a\":\"\xe2\x82\"}", "{\"a\":\"\u{fffd}\"}"),
        (b"{\"\xc3\":1}", "{\"\u{fffd}\":1}"),
        (b"a=%ff&b=\xff", "{\"a\":\"\u{fffd}\",\"b\":\"\u{fffd}\"}"),
    ] {
        let (json, warnings) = body(text).expect("repaired");
        assert_eq!(json, expected);
        assert_eq!(warnings, [Warning::TextRepaired]);
    }
    assert_eq!(reason(br#"{"a":"\ud800\uZZZZ"}"#), "not_json");
}

#[test]
fn each_reason_has_its_body() {
    assert_eq!(reason(""), "empty");
    assert_eq!(reason("\u{feff} \n"), "empty");
    assert_eq!(reason("[1]"), "not_an_object");
    assert_eq!(reason(r#"{"a":1,"b":2,"\u0061":3}"#), "duplicate_key");
    assert_eq!(reason(r#"{"x":[{"a":1,"a":1}]}"#), "duplicate_key");
    assert_eq!(reason("<calls><call/></calls>"), "unsupported");
    for reason in Unreadable::ALL {
        assert!(reason.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    }
}

#[test]
fn only_a_header_that_says_the_other_thing_is_a_mismatch() {
    let mismatch = |content_type, body: &str| {
        let (_, warnings) = with_type(content_type, body.as_bytes()).expect("readable");
        warnings == [Warning::ContentTypeMismatch]
    };
    let form = Some("application/x-www-form-urlencoded");

    assert!(mismatch(form, r#"{"a":1}"#));
    assert!(mismatch(Some("Application/JSON; charset=utf-8"), "a=1"));
    assert!(mismatch(Some("application/cloudevents+json"), "a=1"));
    for (content_type, body) in [
        (form, "a=1"),
        (Some("application/json"), r#"{"a":1}"#),
        (None, "a=1"),
        (None, r#"{"a":1}"#),
        (Some("text/plain"), "a=1"),
        (Some("application/octet-stream"), r#"{"a":1}"#),
        (Some("multipart/form-data; boundary=x"), r#"{"a":1}"#),
    ] {
        assert!(!mismatch(content_type, body), "{content_type:?} {body}");
    }
}

#[test]
fn a_limit_is_the_last_size_that_is_read() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(body(nested(MAX_DEPTH)).is_ok());
    assert_eq!(reason(nested(MAX_DEPTH + 1)), "too_deep");
    let list = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(body(list(MAX_DEPTH - 1)).is_ok());
    assert_eq!(reason(list(MAX_DEPTH)), "too_deep");
    let key = |depth: usize| format!("a{}=1", "[b]".repeat(depth - 1));
    assert!(body(key(MAX_DEPTH)).is_ok());
    assert_eq!(reason(key(MAX_DEPTH + 1)), "too_deep");

    let entries = |count: usize| format!("{{\"a\":[{}]}}", vec!["0"; count - 1].join(","));
    assert!(body(entries(MAX_FIELDS)).is_ok());
    assert_eq!(reason(entries(MAX_FIELDS + 1)), "too_many_fields");
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|at| format!("\"k{at}\":{at}")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert!(body(members(MAX_FIELDS)).is_ok());
    assert_eq!(reason(members(MAX_FIELDS + 1)), "too_many_fields");
    let pairs =
        |count: usize| (0..count).map(|at| format!("k{at}=1")).collect::<Vec<_>>().join("&");
    assert!(body(pairs(MAX_FIELDS)).is_ok());
    assert_eq!(reason(pairs(MAX_FIELDS + 1)), "too_many_fields");
}

#[test]
fn form_keys_with_brackets_or_dots_nest() {
    for (text, expected) in [
        ("a=1&b=x+y%21&c", r#"{"a":"1","b":"x y!","c":""}"#),
        ("&&a=1&", r#"{"a":"1"}"#),
        ("a=b=c", r#"{"a":"b=c"}"#),
        ("a[b]=1&a[c][d]=2&a.e=3", r#"{"a":{"b":"1","c":{"d":"2"},"e":"3"}}"#),
        ("a%5Bb%5D=1", r#"{"a":{"b":"1"}}"#),
        (
            "events[0][event]=queued&events[0].timestamp=1&events.1.event=dialing",
            r#"{"events":[{"event":"queued","timestamp":"1"},{"event":"dialing"}]}"#,
        ),
        (
            "events[][event]=a&events[][timestamp]=1&events[][event]=b",
            r#"{"events":[{"event":"a","timestamp":"1"},{"event":"b"}]}"#,
        ),
        ("a[]=1&a[]=2", r#"{"a":["1","2"]}"#),
        ("a[][b][]=1&a[][b][]=2&a[][c]=3&a[][c]=4", r#"{"a":[{"b":["1","2"],"c":"3"},{"c":"4"}]}"#),
        ("a[1000000000]=z&a[7]=y&a[10]=x", r#"{"a":["y","x","z"]}"#),
        ("a[2]=c&a[]=d&a[0]=a", r#"{"a":["a","c","d"]}"#),
        ("a[01]=x&a[1]=y", r#"{"a":{"01":"x","1":"y"}}"#),
        ("a[0]=x&a[b]=y", r#"{"a":{"0":"x","b":"y"}}"#),
        ("a[99999999999999999999999]=x", r#"{"a":{"99999999999999999999999":"x"}}"#),
        ("0=a&1=b", r#"{"0":"a","1":"b"}"#),
        (
            "a[b=1&[0]=2&a..b=3&.a=4&a]=5&a[b]c=6&a.=7",
            r#"{"a[b":"1","[0]":"2","a..b":"3",".a":"4","a]":"5","a[b]c":"6","a.":"7"}"#,
        ),
        ("a[b.c]=1", r#"{"a":{"b.c":"1"}}"#),
        ("=x", r#"{"":"x"}"#),
    ] {
        assert_eq!(form(text), expected, "{text}");
    }
    for text in ["a=1&a=2", "a=1&a[b]=2", "a[b]=1&a=2", "a[b]=1&a.b=2", "a[]=1&a[0]=2", "a=1&a[]=2"]
    {
        assert_eq!(reason(text), "duplicate_key", "{text}");
    }
}

/// A body of parts, each its headers behind `name=` and its content.
fn parts(parts: &[(&str, &str)]) -> String {
    let part = |(head, text): &(&str, &str)| {
        format!("--x\r\ncontent-disposition: form-data; name={head}\r\n\r\n{text}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--x--\r\n"
}

fn multipart(body: impl AsRef<[u8]>) -> Result<(String, Vec<Warning>), Unreadable> {
    with_type(Some("Multipart/Form-Data; boundary=\"x\""), body.as_ref())
}

#[test]
fn the_parts_of_a_multipart_form_are_its_fields() {
    for (fields, expected) in [
        (&[("status", "completed")][..], r#"{"status":"completed"}"#),
        (&[("a", "x+y%21&b=1"), ("b", "")], r#"{"a":"x+y%21&b=1","b":""}"#),
        (&[("a", "one\r\ntwo\r\n--y\r\n")], r#"{"a":"one\r\ntwo\r\n--y\r\n"}"#),
        (
            &[("events[0][event]", "queued"), ("\"events[0].timestamp\"", "1")],
            r#"{"events":[{"event":"queued","timestamp":"1"}]}"#,
        ),
        (
            &[("events[][event]", "a"), ("events[][event]", "b")],
            r#"{"events":[{"event":"a"},{"event":"b"}]}"#,
        ),
        (&[("a\r\ncontent-type: text/plain; charset=utf-8", "é")], r#"{"a":"é"}"#),
        (&[("a\r\nContent-Type: application/json", "{\"b\":1}")], r#"{"a":"{\"b\":1}"}"#),
        (&[], "{}"),
    ] {
        assert_eq!(multipart(parts(fields)), Ok((expected.to_owned(), vec![])), "{fields:?}");
    }
    let repaired = parts(&[("a", "x?y")]).replace('?', "\u{0}").into_bytes();
    let repaired: Vec<u8> = repaired.into_iter().map(|b| if b == 0 { 0xFF } else { b }).collect();
    let expected = ("{\"a\":\"x\u{fffd}y\"}".to_owned(), vec![Warning::TextRepaired]);
    assert_eq!(multipart(repaired), Ok(expected));
}

#[test]
fn files_and_parts_that_do_not_add_up_are_unsupported() {
    for body in [
        parts(&[("a; filename=\"b.txt\"", "text")]),
        parts(&[("a; filename=\"\"", "")]),
        parts(&[("a\r\ncontent-type: audio/wav", "RIFF")]),
        parts(&[("a\r\ncontent-type: application/octet-stream", "x")]),
        "--x\r\ncontent-disposition: form-data\r\n\r\nnameless\r\n--x--\r\n".to_owned(),
        "--x\r\n\r\nheadless\r\n--x--\r\n".to_owned(),
        "--x\r\ncontent-disposition: form-data; name=a\r\n\r\nendless".to_owned(),
        parts(&[("a", "1")]).replace("--x--", "--x"),
        "a=1&b=2".to_owned(),
    ] {
        assert_eq!(multipart(&body), Err(Unreadable::Unsupported), "{body}");
    }
    let body = parts(&[("a", "1")]);
    for said in
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=y"]
    {
        assert_eq!(with_type(Some(said), body.as_bytes()), Err(Unreadable::Unsupported), "{said}");
    }
}

#[test]
fn a_multipart_form_has_the_limits_of_a_form() {
    assert_eq!(multipart(parts(&[("a", "1"), ("a", "2")])), Err(Unreadable::DuplicateKey));
    let names: Vec<String> = (0..=MAX_FIELDS).map(|at| format!("k{at}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert!(multipart(parts(&fields[..MAX_FIELDS])).is_ok());
    assert_eq!(multipart(parts(&fields)), Err(Unreadable::TooManyFields));
    let deep = format!("a{}", "[b]".repeat(MAX_DEPTH));
    assert_eq!(multipart(parts(&[(&deep, "1")])), Err(Unreadable::TooDeep));
    // Not a mismatch: the header says what it is.
    assert_eq!(multipart(r#"{"a":1}"#), Ok((r#"{"a":1}"#.to_owned(), vec![])));
}

#[test]
fn json_is_never_read_as_a_form_however_it_is_announced() {
    let text = "\n\n{ \"LogDateTime\": \"2019-06-19T16:11:07\"\n\n}";
    let (json, _) =
        with_type(Some("application/x-www-form-urlencoded"), text.as_bytes()).expect("readable");

    assert_eq!(json, r#"{"LogDateTime":"2019-06-19T16:11:07"}"#);
}

#[test]
fn the_query_of_a_get_is_its_body() {
    let callback = Callback {
        method: "GET",
        query: "status=ANSWER&endat=2021-04-09+16:27:55",
        content_type: Some("application/json"),
        body: b"ignored",
    };
    let document = read(callback, true).expect("readable");

    let endat = Value::String("2021-04-09 16:27:55".into());
    assert_eq!(document.at(&Place::new("/endat")), Some(&endat));
    assert!(document.from_query);
    assert!(document.warnings.is_empty());
}

#[test]
fn many_parameters_are_grouped_as_few_are() {
    let few =
        |count: usize| (0..count).map(|at| format!("k{at}={at}&")).collect::<Vec<_>>().concat();
    for count in [2, 15, 16, 17, 40, 100_000] {
        let query = format!("{0}k0=again&k{1}=last&k0=3", few(count), count - 1);
        let parameters = parameters(&query, &mut BTreeSet::new());
        let list = |texts: &[&str]| {
            Value::Array(
                texts.iter().map(|text| Value::String((*text).to_owned().into())).collect(),
            )
        };
        assert_eq!(parameters.len(), count);
        assert_eq!(parameters[0].1, list(&["0", "again", "3"]));
        assert_eq!(parameters[count - 1].1, list(&[&(count - 1).to_string(), "last"]));
    }
}

#[test]
fn values_are_found_and_removed_by_pointer() {
    let text = br#"{"a/b":{"~":"x"},"list":[{"token":"t"}],"token":"s3cret","n":1}"#;
    let callback = Callback { method: "POST", query: "", content_type: None, body: text };
    let mut document = read(callback, true).expect("readable");

    let place = |pointer: &str| Place::read(pointer).expect("a pointer");
    assert_eq!(document.at(&place("/a~1b/~0")), Some(&Value::String("x".into())));
    assert_eq!(document.at(&place("/list/0/token")), Some(&Value::String("t".into())));
    assert_eq!(document.at(&place("/n")), Some(&Value::Number("1".into())));
    assert_eq!(document.at(&place("/m")), None);
    assert_eq!(document.remove_at(&place("/token")), Some(Value::String("s3cret".into())));
    assert_eq!(document.remove_at(&place("/token")), None);
    assert_eq!(document.remove_at(&place("/a~1b/~0")), Some(Value::String("x".into())));
}

#[test]
fn what_can_stand_in_no_body_is_no_place() {
    for pointer in ["/a~2b", "/a~", "/~"] {
        assert_eq!(Place::read(pointer), Err(PlaceError::Escape), "{pointer}");
    }
    assert!(Place::read("a~2b").is_ok());
    assert!(Place::read(&"/a".repeat(64)).is_ok());
    assert_eq!(Place::read(&"/a".repeat(65)), Err(PlaceError::TooDeep));
    assert_eq!(Place::read(&format!("a{}", "[a]".repeat(64))), Err(PlaceError::TooDeep));
}

/// Bodies made to hurt: each is refused or read, the same each time, in work that grows with its
/// length only (a quadratic reader would not end these within the life of a test run).
#[test]
fn hostile_bytes_are_refused_or_read_and_the_same_each_time() {
    let many = 100_000;
    let members = (0..many).map(|at| format!("\"k{at}\":1,")).collect::<Vec<_>>().concat();
    let pairs = (0..many).map(|at| format!("k{at}=1&")).collect::<Vec<_>>().concat();
    let long = "x".repeat(8 << 20);
    let cases: Vec<(Vec<u8>, Option<&str>)> = vec![
        (format!("{{{members}\"z\":1}}").into(), Some("too_many_fields")),
        (pairs.into(), Some("too_many_fields")),
        ("{\"a\":".repeat(10_000).into(), Some("too_deep")),
        ("[".repeat(10_000).into(), Some("too_deep")),
        (format!("a{}=1", "[b]".repeat(10_000)).into(), Some("too_deep")),
        (format!("a{}=1", ".b".repeat(10_000)).into(), Some("too_deep")),
        (format!("a{}=1", "[]".repeat(10_000)).into(), Some("too_deep")),
        (format!("a{}=1&", "[]".repeat(63)).repeat(5000).into(), None),
        (format!("{{{}}}", "\"a\":1,".repeat(9_999)).into(), Some("duplicate_key")),
        ("a=1&".repeat(9_999).into(), Some("duplicate_key")),
        (format!("{{\"a\":\"{long}\"}}").into(), None),
        (format!("{{\"{long}\":1}}").into(), None),
        (format!("{{\"a\":\"{}\"}}", "\\u00e9".repeat(1 << 20)).into(), None),
        (format!("{{\"a\":\"{}\"}}", "\\ud800".repeat(1 << 20)).into(), None),
        (format!("{{\"a\":{}}}", "9".repeat(1 << 20)).into(), None),
        (format!("{{\"a\":{}X}}", "9".repeat(1 << 20)).into(), None),
        (format!("{{\"a\":[{}1]}}", "1,".repeat(9_998)).into(), None),
        (format!("{{\"a\":{}}}", "9X".repeat(1 << 20) + "-").into(), Some("not_json")),
        (format!("a={}", "%ff".repeat(1 << 20)).into(), None),
        (format!("a={}", "+".repeat(1 << 20)).into(), None),
        ("x=0&[a][b]=1&a]b[=2&a[[b]]=3&a.[b]=4&a[.b]=5".into(), None),
        ("a[1000000000]=1".into(), None),
        (b"\0\0\0".to_vec(), None),
        (b"{\"a\":\"\0\"}".to_vec(), None),
        (b"{\"a\":\xff}".to_vec(), Some("not_json")),
        (vec![0xff; 1 << 20], None),
        (b"{".repeat(1 << 20), Some("not_json")),
        (b" ".repeat(8 << 20), Some("empty")),
    ];
    for (text, expected) in cases {
        let start = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
        let first = body(&text);
        assert_eq!(first.as_ref().err().map(|reason| reason.as_str()), expected, "{start}");
        assert_eq!(first, body(&text), "{start}");
    }
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_serde_json_writes_is_read_as_what_it_says(tree in tree()) {
        let text = serde_json::json!({ "tree": tree }).to_string();
        prop_assert_eq!(json(&text), text);
    }

    #[test]
    fn strict_reading_agrees_with_serde_json_on_what_is_json(
        text in r#"\{("[ab]":([01x*.,eE"-]|true|null|\[|\]|\{|\}|[ \n]|\\u?|"){0,8},?){0,3}\}?"#
    ) {
        let callback =
            Callback { method: "POST", query: "", content_type: None, body: text.as_bytes() };
        let ours = read(callback, false);
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        let stricter = matches!(ours, Err(Unreadable::DuplicateKey));
        prop_assert!(stricter || ours.is_ok() == theirs.is_ok(), "{:?} {:?}", ours, theirs);
    }

    #[test]
    fn no_bytes_at_all_make_the_reader_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'{'), Just(b'"'), Just(b'['), Just(b'&'), Just(b'=')], 0..200)
    ) {
        let _read = body(&bytes);
    }
}
