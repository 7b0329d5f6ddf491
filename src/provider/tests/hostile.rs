//! Bodies made to hurt, for every provider: what becomes of them, and that the work of it, counted
//! and not timed, grows with their length only.
//!
//! Counted are the bytes the reader and the mappers look at ([`work`]) and the memory they ask
//! for. Each shape is tried at a size, twice and four times that: work that is linear grows by
//! twice as much on the second step as on the first, quadratic work by four times.

use allocation_counter::measure;

use super::*;
use crate::provider::work;

/// A mapping that reads every kind of field there is, each from a place of its own name.
fn custom() -> Settings {
    use mapping::{At, Rule, TimeFormat};
    let at = |place: &str, format: Option<TimeFormat>| {
        Rule::At(At { from: Place::new(place), ext: None, format, words: BTreeMap::new() })
    };
    let list = |from: &str, members: &[(&str, &str)]| Rule::List {
        from: Place::new(from),
        members: members.iter().map(|(ours, own)| ((*ours).into(), (*own).into())).collect(),
        format: None,
    };
    let directives = TimeFormat::directives("%d/%m/%Y %H:%M:%S").expect("directives");
    let rules = [
        ("call.id", at("id", None)),
        ("call.reference", at("/deep/er/reference", None)),
        ("call.from", at("from", None)),
        ("call.to", at("to", None)),
        ("call.status", at("status", None)),
        ("call.reason", at("reason", None)),
        ("call.direction", at("direction", None)),
        ("call.answered_by", at("answered", None)),
        ("call.queued_at", at("queued", None)),
        ("call.started_at", at("started", Some(TimeFormat::UnixMilliseconds))),
        ("call.answered_at", at("picked_up", Some(TimeFormat::Rfc2822))),
        ("call.ended_at", at("ended", Some(directives))),
        ("call.duration_seconds", at("seconds", None)),
        ("call.recording_url", at("url", None)),
        ("call.transcript", at("talk", None)),
        ("call.timeline", list("events", &[("at", "timestamp"), ("event", "event")])),
        ("outcomes", list("outcomes", &[("name", "event"), ("reason", "timestamp")])),
        ("actions", list("actions", &[("key", "event"), ("completed_at", "timestamp")])),
        ("extracted", Rule::Picked([("zip".to_owned(), Place::new("zip"))].into())),
        ("analysis", at("analysis", None)),
    ];
    let rules = rules.into_iter().map(|(field, rule)| (field.to_owned(), rule)).collect();
    let mapping = Arc::new(Mapping::new("own".to_owned(), vec![Place::new("/sent/at")], rules));
    Settings { mapping, repair_json: true, ..Settings::of(Provider::Custom) }
}

/// How the source of each provider is read, and the paths of its fields.
fn sources() -> Vec<(Settings, Vec<Vec<&'static str>>)> {
    let own = |provider: &Provider| (Settings::of(*provider), nothing_is_lost::fields(*provider));
    let of_custom = [
        "id",
        "from",
        "to",
        "status",
        "reason",
        "direction",
        "answered",
        "queued",
        "started",
        "picked_up",
        "ended",
        "seconds",
        "url",
        "talk",
        "events",
        "outcomes",
        "zip",
        "analysis",
    ];
    let mut paths: Vec<_> = of_custom.into_iter().map(|name| vec![name]).collect();
    paths.push(vec!["deep", "er", "reference"]);
    let mut sources: Vec<_> = Provider::ALL.iter().map(own).chain([(custom(), paths)]).collect();
    for (settings, paths) in &mut sources {
        // By a field that no document names alone, no body is recognised.
        let documented = settings.provider.rules().documented;
        paths.retain(|path| documented.is_empty() || documented.contains(&path[0]));
    }
    sources
}

/// A shape of body, and what becomes of it.
struct Shape {
    name: &'static str,
    /// The largest size; half and a quarter of it are tried too.
    size: usize,
    /// The body; the text is one of the provider's fields.
    body: fn(&str, usize) -> Vec<u8>,
    content_type: Option<&'static str>,
    /// The reason when it cannot be read.
    outcome: Option<Unreadable>,
}

/// The work of one body.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    visited: usize,
    allocations: usize,
    allocated: usize,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const MULTIPART: Option<&str> = Some("multipart/form-data; boundary=x");

const fn shape(
    name: &'static str,
    size: usize,
    outcome: Option<Unreadable>,
    body: fn(&str, usize) -> Vec<u8>,
) -> Shape {
    Shape { name, size, body, content_type: None, outcome }
}

fn text(field: &str, inside: &str) -> Vec<u8> {
    format!("{{\"{field}\":\"{inside}\"}}").into_bytes()
}

fn beside(field: &str, members: &str) -> Vec<u8> {
    format!("{{\"{field}\":\"1\",{members}}}").into_bytes()
}

fn each(count: usize, write: impl Fn(usize) -> String) -> String {
    (0..count).map(write).collect()
}

fn part(name: &str, text: &str) -> String {
    format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
}

#[rustfmt::skip]
fn shapes() -> Vec<Shape> {
    use Unreadable::{DuplicateKey, NotJson, TooDeep, TooManyFields, Unrecognised};
    vec![
        shape("fields in JSON",         100_000, Some(TooManyFields), |field, n| beside(field, &(each(n, |at| format!("\"k{at}\":1,")) + "\"z\":1"))),
        shape("fields of a form",       100_000, Some(TooManyFields), |field, n| (format!("{field}=1&") + &each(n, |at| format!("k{at}=1&"))).into()),
        shape("parameters to brackets", 100_000, Some(TooManyFields), |field, n| (format!("{field}=1&") + &each(n, |at| format!("a[{at}][b]=1&"))).into()),
        shape("entries of a list",      100_000, Some(TooManyFields), |field, n| beside(field, &format!("\"a\":[{}1]", "1,".repeat(n)))),
        shape("fields that fit, JSON",  9_900, None, |field, n| beside(field, &(each(n, |at| format!("\"k{at}\":1,")) + "\"z\":1"))),
        shape("fields that fit, form",  9_900, None, |field, n| (format!("{field}=1&") + &each(n, |at| format!("k{at}=1&"))).into()),
        shape("names that look alike",  9_900, None, |field, n| beside(field, &(each(n, |at| format!("\"alike---{at:05}---alike\":1,")) + "\"z\":1"))),
        shape("objects in a list",      3_000, None, |field, n| beside(field, &format!("\"a\":[{}1]", "{\"event\":\"a\",\"timestamp\":1},".repeat(n)))),
        shape("entries of empty brackets", 3_000, None, |field, n| (format!("{field}=1&") + &"a[][event]=a&a[][timestamp]=1&".repeat(n)).into()),
        shape("objects, deep",          10_000, Some(TooDeep), |_, n| "{\"a\":".repeat(n).into()),
        shape("lists, deep",            10_000, Some(TooDeep), |field, n| beside(field, &format!("\"a\":{}", "[".repeat(n)))),
        shape("brackets, deep",         10_000, Some(TooDeep), |field, n| format!("{field}=1&a{}=1", "[b]".repeat(n)).into()),
        shape("dots, deep",             10_000, Some(TooDeep), |field, n| format!("{field}=1&a{}=1", ".b".repeat(n)).into()),
        shape("empty brackets, deep",   10_000, Some(TooDeep), |field, n| format!("{field}=1&a{}=1", "[]".repeat(n)).into()),
        shape("brackets and dots",      64 * KIB, Some(TooDeep), |field, n| format!("{field}=1&{}=1", "a[b.c].d[".repeat(n / 9)).into()),
        shape("brackets that never close", 64 * KIB, None, |field, n| format!("{field}=1&a{}=1", "[".repeat(n)).into()),
        shape("many mixtures",          1_000, None, |field, n| (format!("{field}=1&") + &each(n, |at| format!("a{at}[b.c]=1&a{at}]b[=2&a{at}[[b]]=3&a{at}.[b]=4&"))).into()),
        shape("indexes of a thousand million", 3_000, None, |field, n| (format!("{field}=1&") + &each(n, |at| format!("a[{}]=1&", 1_000_000_000 - at))).into()),
        shape("one long string",        8 * MIB, None, |field, n| text(field, &"x".repeat(n))),
        shape("one long name",          MIB, None, |field, n| beside(field, &format!("\"{}\":1", "x".repeat(n)))),
        shape("one long value of a form", MIB, None, |field, n| format!("{field}={}", "x+%41".repeat(n / 5)).into()),
        shape("one key again and again", 9_000, Some(DuplicateKey), |field, n| beside(field, &("\"a\":1,".repeat(n) + "\"z\":1"))),
        shape("one pair again and again", 9_000, Some(DuplicateKey), |field, n| (format!("{field}=1&") + &"a=1&".repeat(n)).into()),
        shape("lone surrogates",        64 * KIB, None, |field, n| text(field, &"\\ud800".repeat(n / 6))),
        shape("surrogates the wrong way", 64 * KIB, None, |field, n| text(field, &"\\udc00\\ud800".repeat(n / 12))),
        shape("escapes",                64 * KIB, None, |field, n| text(field, &"\\n\\\"\\u00e9".repeat(n / 10))),
        shape("NULs, escaped",          64 * KIB, None, |field, n| text(field, &"\\u0000".repeat(n / 6))),
        shape("NULs, raw",              64 * KIB, None, |field, n| text(field, &"\0".repeat(n))),
        shape("control characters",     64 * KIB, None, |field, n| text(field, &"\u{1}\t\u{1f}".repeat(n / 3))),
        shape("nothing but NULs",       64 * KIB, Some(Unrecognised), |_, n| vec![0; n]),
        shape("numbers beyond a float", 9_900, None, |field, n| beside(field, &format!("\"a\":[{}1]", "1e400,".repeat(n)))),
        shape("numbers of forty digits", 9_900, None, |field, n| beside(field, &format!("\"a\":[{}1]", "1234567890123456789012345678901234567890,".repeat(n)))),
        shape("one long number",        256 * KIB, None, |field, n| format!("{{\"{field}\":{}}}", "9".repeat(n)).into()),
        shape("one long masked number", 256 * KIB, None, |field, n| format!("{{\"{field}\":{}X}}", "9".repeat(n)).into()),
        shape("numbers that are none",  256 * KIB, Some(NotJson), |field, n| format!("{{\"{field}\":{}-}}", "9X".repeat(n / 2)).into()),
        shape("broken UTF-8 in a string", 64 * KIB, None, |field, n| { let mut body = text(field, &"?".repeat(n)); for byte in &mut body { if *byte == b'?' { *byte = 0xFF; } } body }),
        shape("NULs in a form",         64 * KIB, None, |field, n| format!("{field}={}", "%00".repeat(n / 3)).into()),
        Shape { content_type: MULTIPART, ..shape("NULs, controls and broken UTF-8 in a part", 64 * KIB, None, |field, n| { let mut body = part(field, &"\0\u{1}?".repeat(n / 3)).into_bytes(); for byte in &mut body { if *byte == b'?' { *byte = 0xFF; } } body.extend_from_slice(b"--x--\r\n"); body }) },
        shape("broken UTF-8 in a form", 64 * KIB, None, |field, n| format!("{field}={}", "%ff%c3".repeat(n / 6)).into()),
        shape("nothing but broken UTF-8", 64 * KIB, Some(Unrecognised), |_, n| vec![0xFF; n]),
        shape("opening braces",         64 * KIB, Some(NotJson), |_, n| vec![b'{'; n]),
        shape("white space",            MIB, Some(Unreadable::Empty), |_, n| vec![b' '; n]),
        shape("white space inside",     256 * KIB, None, |field, n| format!("{{{0}\"{field}\"{0}:{0}1{0}}}", " ".repeat(n / 4)).into()),
        shape("ampersands",             256 * KIB, None, |field, n| format!("{field}=1{}", "&".repeat(n)).into()),
        Shape { content_type: MULTIPART, ..shape("fields of a multipart form", 80_000, Some(TooManyFields), |field, n| (part(field, "1") + &each(n, |at| part(&format!("k{at}"), "1")) + "--x--\r\n").into()) },
        Shape { content_type: MULTIPART, ..shape("fields that fit, multipart", 9_900, None, |field, n| (part(field, "1") + &each(n, |at| part(&format!("k{at}"), "1")) + "--x--\r\n").into()) },
        Shape { content_type: MULTIPART, ..shape("one long part",              MIB, None, |field, n| (part(field, &"\r\n-".repeat(n / 3)) + "--x--\r\n").into()) },
        Shape { content_type: MULTIPART, ..shape("a part without an end",      MIB, Some(Unreadable::Unsupported), |field, n| part(field, &"\r\n--".repeat(n / 4)).into()) },
    ]
}

/// What becomes of a body, and what it costs.
fn outcome(settings: &Settings, callback: Callback<'_>) -> (Result<Vec<u8>, Unreadable>, Cost) {
    let mut counted = None;
    let memory = measure(|| {
        counted = Some(work::counted(|| {
            let decoded = decoded(settings, callback)?;
            Ok(decoded.event.to_json())
        }));
    });
    let (outcome, visited) = counted.expect("counted");
    let count = |count: u64| usize::try_from(count).expect("fits");
    let allocations = count(memory.count_total);
    (outcome, Cost { visited, allocations, allocated: count(memory.bytes_total) })
}

/// Whether the step from the half to the whole costs about twice that from the quarter to the
/// half, or hardly anything.
fn is_linear([quarter, half, whole]: [usize; 3], slack: usize) -> bool {
    whole.saturating_sub(half) <= 3 * half.saturating_sub(quarter) + slack
}

fn check(
    settings: &Settings,
    content_type: Option<&str>,
    name: &str,
    bodies: [Vec<u8>; 3],
) -> Vec<Result<Vec<u8>, Unreadable>> {
    let mut outcomes = Vec::new();
    let costs = bodies.map(|body| {
        let callback = Callback { method: "POST", query: "", content_type, body: &body };
        let (first, cost) = outcome(settings, callback);
        let (again, _) = outcome(settings, callback);
        assert_eq!(first, again, "{name}");
        // No body costs more than a few times its length, and a lot of small values.
        assert!(cost.visited < 60 * body.len() + 64 * KIB, "{name}: {cost:?} of {}", body.len());
        assert!(
            cost.allocated < 100 * body.len() + 256 * KIB,
            "{name}: {cost:?} of {}",
            body.len()
        );
        outcomes.push(first);
        cost
    });
    assert_linear(settings, name, costs);
    outcomes
}

fn assert_linear(settings: &Settings, name: &str, costs: [Cost; 3]) {
    let name = format!("{} of {}: {costs:?}", name, settings.name());
    assert!(is_linear(costs.map(|cost| cost.visited), 16 * KIB), "{name}");
    assert!(is_linear(costs.map(|cost| cost.allocations), 64), "{name}");
    assert!(is_linear(costs.map(|cost| cost.allocated), 64 * KIB), "{name}");
}

#[test]
fn hostile_bytes_have_their_outcome_in_linear_work_with_every_provider() {
    // What is made once and kept is not the first body's cost.
    crate::event::number::load_plans();
    for (settings, paths) in sources() {
        let field = settings.provider.rules().documented.first().unwrap_or(&paths[0][0]);
        for Shape { name, size, body, content_type, outcome } in shapes() {
            let bodies = [size / 4, size / 2, size].map(|size| body(field, size));
            for seen in check(&settings, content_type, name, bodies) {
                assert_eq!(seen.err(), outcome, "{name} of {}", settings.name());
            }
        }
    }
}

/// Every field that a mapper reads gets long texts that its kind may have opinions on.
#[test]
fn long_texts_in_any_field_are_read_in_linear_work() {
    crate::event::number::load_plans();
    for (settings, paths) in sources() {
        for path in paths {
            for filling in
                ["x", "9", "+", " ", "<", "0:", "https://a", "2025-10-27T10:00:00.0", "{\"a\":"]
            {
                let body = |size: usize| {
                    let text = serde_json::json!(filling.repeat(size / filling.len()));
                    let nested = path
                        .iter()
                        .rev()
                        .fold(text, |inner, name| serde_json::json!({ *name: inner }));
                    nested.to_string().into_bytes()
                };
                let name = format!("{} of {filling:?}", path.join("."));
                let bodies = [4, 8, 16].map(|size| body(size * KIB));
                for seen in check(&settings, None, &name, bodies) {
                    assert!(seen.is_ok(), "{name}");
                }
            }
        }
    }
}

/// Every field gets what JSON allows and few readers expect.
#[test]
fn strange_values_in_any_field_are_dropped_or_kept_and_never_lost() {
    let digits = "1234567890123456789012345678901234567890";
    for (settings, paths) in sources() {
        for path in paths {
            for value in [
                "1e400",
                "-1e400",
                digits,
                "-0",
                "1E+2",
                "\"\\u0000\"",
                "\"\\ud800\"",
                "[[]]",
                "[{}]",
            ] {
                let open: String = path.iter().map(|name| format!("{{\"{name}\":")).collect();
                let body = format!("{open}{value}{}", "}".repeat(path.len()));
                let decoded = decoded(&settings, post("", &body)).expect("readable");
                let event = decoded.event.to_json();
                let event = String::from_utf8(event).expect("text");
                let sent = match value {
                    "\"\\ud800\"" => "\u{fffd}",
                    value => value,
                };
                assert!(event.contains(sent), "{value} at {path:?}: {event}");
            }
        }
    }
    let body = r#"{"call":{"status":"completed","duration":1e400}}"#;
    let decoded = decoded(&Settings::of(Provider::Synthflow), post("", body)).expect("readable");
    assert_eq!(decoded.event.data.call.duration_seconds, None);
    assert!(decoded.event.data.warnings.contains(&crate::event::Warning::ValueDropped));
}

fn moments(count: usize) -> String {
    let entry = |at| format!("{{\"event\":\"dialing\",\"timestamp\":{}}},", 1_761_558_000 + at);
    format!("[{}{{}}]", each(count, entry))
}

fn named(count: usize, name: &str, value: &str) -> String {
    format!("{{{}\"z\":1}}", each(count, |at| format!("\"{name}{at}\":{value},")))
}

/// Writes so many entries.
type Write = fn(usize) -> String;

/// The lists and maps that mappers walk themselves.
#[rustfmt::skip]
const OWN_LISTS: &[(Provider, &str, usize, Write)] = &[
    (Provider::Plum, "a list", 3_000, |n| format!("{{\"events\":{}}}", moments(n))),
    (Provider::Plum, "indexes", 3_000, |n| format!("{{\"events\":{}}}", named(n, "", "{\"event\":\"a\",\"timestamp\":1}"))),
    (Provider::Plum, "items", 3_000, |n| format!("{{\"events\":{{\"item\":{}}}}}", moments(n))),
    (Provider::Plum, "JSON in a text", 3_000, |n| format!("{{\"events\":{}}}", serde_json::json!(moments(n)))),
    (Provider::Plum, "wrapped", 3_000, |n| format!("{{\"call_details\":{{\"events\":{}}}}}", moments(n))),
    (Provider::ElevenX, "outcomes", 3_000, |n| format!("{{\"callResult\":{{\"outcomes\":{}}}}}", moments(n))),
    (Provider::ElevenX, "actions", 3_000, |n| format!("{{\"callResult\":{{\"agentActions\":{}}}}}", moments(n))),
    (Provider::ElevenX, "variables", 9_000, |n| format!("{{\"callResult\":{{\"extractedVariables\":{}}}}}", named(n, "v", "\"<string>\""))),
    (Provider::Synthflow, "actions", 2_500, |n| format!("{{\"executed_actions\":{}}}", named(n, "extract_info_", "{\"return_value\":{\"zip\":\"1\"}}"))),
    (Provider::Synthflow, "texts", 4_000, |n| format!("{{\"executed_actions\":{}}}", named(n, "a", "{\"return_value\":\"{\\\"zip\\\":1}\"}"))),
    (Provider::Synthflow, "variables", 4_000, |n| format!("{{\"collected_variables\":{}}}", named(n, "v", "{\"value\":\"1\"}"))),
    (Provider::Synthflow, "agents", 2_500, |n| format!("{{\"collected_variables\":{}}}", named(n, "v", "{\"a\":{\"value\":\"1\"}}"))),
    (Provider::Custom, "events", 3_000, |n| format!("{{\"events\":{}}}", moments(n))),
    (Provider::Custom, "outcomes", 3_000, |n| format!("{{\"outcomes\":{}}}", moments(n))),
    (Provider::Custom, "actions", 3_000, |n| format!("{{\"actions\":{}}}", moments(n))),
];

#[test]
fn long_lists_and_maps_of_the_providers_own_are_read_in_linear_work() {
    crate::event::number::load_plans();
    for (provider, name, size, write) in OWN_LISTS {
        let settings = match provider {
            Provider::Custom => custom(),
            provider => Settings::of(*provider),
        };
        let bodies = [size / 4, size / 2, *size].map(|count| write(count).into_bytes());
        for seen in check(&settings, None, name, bodies) {
            assert!(seen.is_ok(), "{name}: {:?}", seen.err());
        }
    }
}

/// As long as the longest body of a provider is by default.
#[test]
fn eight_mebibytes_in_one_value_are_read_in_linear_work_in_any_form_of_body() {
    let settings = Settings::of(Provider::Synthflow);
    let form = |size: usize| format!("status={}", "x".repeat(size)).into_bytes();
    let multipart = |size: usize| (part("status", &"x".repeat(size)) + "--x--\r\n").into_bytes();
    let sizes = [2 * MIB, 4 * MIB, 8 * MIB];
    for seen in check(&settings, None, "a form", sizes.map(form)) {
        assert!(seen.is_ok());
    }
    for seen in check(&settings, MULTIPART, "a part", sizes.map(multipart)) {
        assert!(seen.is_ok());
    }
}

/// What follows a first parameter.
#[rustfmt::skip]
const QUERIES: &[(&str, usize, Option<Unreadable>, Write)] = &[
    ("parameters",          100_000, Some(Unreadable::TooManyFields), |n| each(n, |at| format!("&k{at}=1"))),
    ("parameters that fit", 9_900, None, |n| each(n, |at| format!("&k{at}=1"))),
    ("brackets, deep",      10_000, Some(Unreadable::TooDeep), |n| format!("&a{}=1", "[b]".repeat(n))),
    ("dots, deep",          10_000, Some(Unreadable::TooDeep), |n| format!("&a{}=1", ".b".repeat(n))),
    ("an index",            1_000, None, |n| format!("&a[{}]=1{}", 1_000_000_000, "&".repeat(n))),
    ("broken UTF-8, NULs",  64 * KIB, None, |n| format!("&a={}", "%ff%00".repeat(n / 6))),
];

/// Of a GET the query is the body, and beside a POST it is kept.
#[test]
fn a_hostile_query_has_its_outcome_in_linear_work_too() {
    for (settings, paths) in sources() {
        let field = settings.provider.rules().documented.first().unwrap_or(&paths[0][0]);
        for (name, size, outcome, write) in QUERIES {
            let mut costs = [Cost { visited: 0, allocations: 0, allocated: 0 }; 3];
            for (cost, size) in costs.iter_mut().zip([size / 4, size / 2, *size]) {
                let query = format!("{field}=1{}", write(size));
                let get = Callback { method: "GET", query: &query, content_type: None, body: b"" };
                let (seen, counted) = self::outcome(&settings, get);
                assert_eq!(self::outcome(&settings, get).0, seen, "{name}");
                assert_eq!(seen.err(), *outcome, "{name} of {}", settings.name());
                *cost = counted;
                // Beside a body it is only kept: any number of parameters, none of them nested.
                let body = format!("{{\"{field}\":\"1\"}}");
                let (seen, _) = self::outcome(&settings, post(&query, &body));
                assert!(seen.is_ok(), "{name} of {}", settings.name());
            }
            assert_linear(&settings, name, costs);
        }
    }
}

#[test]
fn the_measure_tells_quadratic_work_from_linear() {
    let costs = |work: fn(usize) -> usize| [2_500, 5_000, 10_000].map(work);

    assert!(is_linear(costs(|n| 40 * n + 1000), 16 * KIB));
    assert!(is_linear(costs(|_| 1000), 0));
    assert!(!is_linear(costs(|n| n * n), 64 * KIB));
    assert!(!is_linear(costs(|n| n * n / 50), 64 * KIB));
}
