//! Bodies made to hurt, for every provider: what becomes of them, and that the work of it, counted
//! and not timed, grows with their length only.
//!
//! Counted are the bytes the reader and the mappers look at ([`work`]) and the memory they ask
//! for. Each shape is tried at a size, twice and four times that: work that is linear grows by
//! twice as much on the second step as on the first, quadratic work by four times.

use allocation_counter::measure;

use super::*;
use crate::provider::work;

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
            Ok(decoded.event.to_json().expect("serialises"))
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
    let name = format!("{} of {}: {costs:?}", name, settings.name());
    assert!(is_linear(costs.map(|cost| cost.visited), 16 * KIB), "{name}");
    assert!(is_linear(costs.map(|cost| cost.allocations), 64), "{name}");
    assert!(is_linear(costs.map(|cost| cost.allocated), 64 * KIB), "{name}");
    outcomes
}

#[test]
fn hostile_bytes_have_their_outcome_in_linear_work_with_every_provider() {
    // What is made once and kept is not the first body's cost.
    crate::event::number::load_plans();
    for provider in Provider::ALL {
        let settings = Settings::of(*provider);
        let field = provider.rules().documented[0];
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
    for provider in Provider::ALL {
        let settings = Settings::of(*provider);
        for path in nothing_is_lost::fields(*provider) {
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

#[test]
fn the_measure_tells_quadratic_work_from_linear() {
    let costs = |work: fn(usize) -> usize| [2_500, 5_000, 10_000].map(work);

    assert!(is_linear(costs(|n| 40 * n + 1000), 16 * KIB));
    assert!(is_linear(costs(|_| 1000), 0));
    assert!(!is_linear(costs(|n| n * n), 64 * KIB));
    assert!(!is_linear(costs(|n| n * n / 50), 64 * KIB));
}
