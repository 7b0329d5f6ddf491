//! Conditions and routes as an operator writes them.

use std::{collections::BTreeSet, thread};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn faults(text: &str) -> Vec<Fault> {
    match Condition::parse(text) {
        Ok((_, warnings)) => warnings,
        Err(faults) => faults,
    }
}

/// The message of the one error there is, and what of the text it marks.
fn refused(text: &str) -> (String, String) {
    let faults = Condition::parse(text).expect_err(text);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    let fault = faults.into_iter().next().expect("one");
    assert_eq!(fault.weight, Weight::Error);
    (fault.message, text.get(fault.span).unwrap_or_default().to_owned())
}

fn event() -> Value {
    let mut event: Value = serde_json::from_str(&full_event()).expect("JSON");
    event["data"]["call"]["status"] = json!("completed");
    event["data"]["call"]["duration_seconds"] = json!(184);
    event["data"]["provider"] = json!("11x");
    event["data"]["extra"] = json!({"Wrap Up": "sold", "depth": {"n": 1.5}});
    event
}

fn ask(text: &str, event: &Value) -> Result<bool, Failure> {
    let (condition, _) =
        Condition::parse(text).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"));
    condition.holds(&Subject::new(event.to_string().as_bytes()))
}

fn holds(text: &str) -> Result<bool, Failure> {
    ask(text, &event())
}

fn route(name: &str, to: &[&str]) -> Settings {
    Settings {
        name: name.to_owned(),
        to: to.iter().map(|name| TargetName::new(name)).collect(),
        ..Settings::default()
    }
}

fn when(text: &str) -> Condition {
    Condition::parse(text).expect(text).0
}

fn chosen(routes: Vec<Settings>, event: &Value) -> Chosen {
    let source = SourceName::new("julian");
    let facts = Facts { source: &source, provider: "11x", status: Status::Completed };
    Routes::new(routes).choose(facts, event.to_string().as_bytes())
}

fn names(names: &[&str]) -> Vec<TargetName> {
    names.iter().map(|name| TargetName::new(name)).collect()
}

#[test]
fn a_condition_asks_for_any_field_of_an_event() {
    for text in [
        "data.call.duration_seconds > 10",
        "data.call.duration_seconds > 10.5 && data.call.duration_seconds < 1000",
        "data.call.status == 'completed'",
        "data['call']['status'] in ['completed', 'busy']",
        "type != 'call.completed' || source.startsWith('2025')",
        "has(data.extra.depth) && data.extra.depth.n == 1.5",
        "data.extra['Wrap Up'] == 'sold'",
        "!has(data.extra.nothing)",
        "has(data.agent.name)",
        "data.outcomes.exists(o, o.name != null && o.name.contains('2025'))",
        "data.call.legs.all(l, l.role == 'from')",
        "data.call.legs[0].status == 'queued'",
        "['20', '19'].exists(p, data.notes.startsWith(p))",
        "data.call.summary.matches('^[0-9]{4}-')",
        "size(data.warnings) == 1",
        "data.call.final ? data.provider == '11x' : false",
        "'größer' != data.notes && data.call.id != null",
    ] {
        assert_eq!(holds(text), Ok(true), "{text}");
        assert_eq!(faults(text).len(), 0, "{text}");
    }
    assert_eq!(holds("data.call.duration_seconds > 184"), Ok(false));
}

#[test]
fn a_wrong_field_is_refused_with_its_place_and_the_names_there_are() {
    let text = "data.call.durations > 10";
    let faults = Condition::parse(text).expect_err("a wrong field");
    assert_eq!(text.get(faults[0].span.clone()), Some("durations"));
    assert_eq!(faults[0].message, "`data.call` has no field `durations`");
    let Remedy::Names { written, known } = &faults[0].remedy else { panic!("{faults:?}") };
    assert_eq!(written, "durations");
    assert!(known.contains(&"duration_seconds"));

    for (text, message, marked) in [
        ("'ü' == '' || data.cal.id == ''", "`data` has no field `cal`", "cal"),
        ("call.status == 'busy'", "an event has no `call`", "call"),
        ("has(data.agent.nam)", "`data.agent` has no field `nam`", "nam"),
        ("data['cal'] == null", "`data` has no field `cal`", "cal"),
        ("data.outcomes.exists(o, o.nam == '')", "`data.outcomes[]` has no field `nam`", "nam"),
        (
            "(data.call.final ? data.call.from : null).e146 == ''",
            "`data.call.from` has no field `e146`",
            "e146",
        ),
        (
            "[data.call.from, data.agent][0].e146 == ''",
            "`data.call.from` has no field `e146`",
            "e146",
        ),
        ("{'a': data.call}.a.wrong == 1", "`data.call` has no field `wrong`", "wrong"),
        ("{'a': data.call}['a'].wrong == 1", "`data.call` has no field `wrong`", "wrong"),
        ("{7: data.call}[7].wrong == 1", "`data.call` has no field `wrong`", "wrong"),
        ("{data.call.id: data.call}.a.wrong == 1", "`data.call` has no field `wrong`", "wrong"),
        ("{'a': data.call}[data.call.id].wrong == 1", "`data.call` has no field `wrong`", "wrong"),
        (
            "{'x': {'y': [data.call]}}.x.y[0].from.e146 == ''",
            "`data.call.from` has no field `e146`",
            "e146",
        ),
        (
            "(data.call.final ? {'a': data.call} : {'a': null}).a.e146 == ''",
            "`data.call` has no field `e146`",
            "e146",
        ),
        ("{'a': data.call}.b == null", "this map has no `b`", "b"),
        ("has({'a': data.call}.a.wrong)", "`data.call` has no field `wrong`", "wrong"),
        ("data.call.legs[int('0')].rol == 'to'", "`data.call.legs[]` has no field `rol`", "rol"),
        (
            "[data.call.legs][0].exists(l, l.rol == 'to')",
            "`data.call.legs[]` has no field `rol`",
            "rol",
        ),
        (
            "[data.call.from].exists(p, p.e146 == '')",
            "`data.call.from` has no field `e146`",
            "e146",
        ),
        (
            "data.call.legs.status == 'busy'",
            "`data.call.legs` is a list and has no field `status`",
            "status",
        ),
        (
            "data.call.status.x == 'busy'",
            "`data.call.status` is one value and has no field `x`",
            "x",
        ),
    ] {
        assert_eq!(refused(text), (message.to_owned(), marked.to_owned()), "{text}");
    }
}

#[test]
fn a_word_that_a_closed_list_lacks_is_warned_of() {
    for text in [
        "data.call.status == 'complete'",
        "'complete' != data.call.status",
        "data.call.status in ['completed', 'complete']",
        "type == 'completed'",
    ] {
        let warnings = faults(text);
        assert_eq!(warnings.len(), 1, "{text}");
        assert_eq!(warnings[0].weight, Weight::Warning);
        assert!(warnings[0].message.contains("is never \"complete"), "{warnings:?}");
    }
}

#[test]
fn what_a_condition_may_cost_is_bounded_before_any_event() {
    for (text, message) in [
        (
            "data.outcomes.all(a, data.outcomes.all(b, a == b))",
            "a list is walked for each entry of another",
        ),
        (
            "data.outcomes.exists(o, data.notes.contains(o.name))",
            "`data` is looked at again for each entry of a list",
        ),
        (
            "size(data.outcomes.map(o, o.name)) > 1",
            "`map` and `filter` make lists, and a route wants yes or no",
        ),
        (
            "size(data.outcomes.filter(o, o.name == 'a')) > 1",
            "`map` and `filter` make lists, and a route wants yes or no",
        ),
        ("data.notes.matches(data.call.summary)", "the pattern of `matches` must stand here"),
        ("data.notes.matches('(a{1000}){1000}')", "this pattern cannot be used"),
        ("data.notes.matches('(')", "this pattern cannot be used"),
        ("data == data", "`data` as a whole cannot be asked about"),
        ("data[data.provider] == 1", "which field this is cannot be known"),
        ("timestamp(time) > time", "there is no function `timestamp` here"),
    ] {
        let faults = Condition::parse(text).expect_err(text);
        assert_eq!(faults[0].message, message, "{text}");
    }
    let sum = ["data.notes"; 10].join(" + ");
    assert_eq!(refused(&format!("{sum} == ''")).0, "too many additions");
}

#[test]
fn hostile_text_is_refused_before_it_can_harm_the_stack() {
    let deep =
        |open: &str, close: &str, times: usize| open.repeat(times) + "true" + &close.repeat(times);
    let mut texts = vec![
        deep("(", ")", 100_000),
        deep("(", ")", 900),
        deep("[", "]", 900),
        deep("{'a':", "}", 300),
        deep("!", "", 2000),
        deep("-", "", 2000),
        "true?".repeat(400),
        "true?true:".repeat(200) + "true",
        "data".to_owned() + &".a".repeat(1000),
        "data.extra".to_owned() + &".a".repeat(1000),
        "data.extra".to_owned() + &"[0]".repeat(600),
        "true".to_owned() + &" && true".repeat(250),
        "true".to_owned() + &"||true".repeat(330),
        "1".to_owned() + &"+1".repeat(1000),
        "1".to_owned() + &"<1".repeat(1000),
        "'\\'' + ".to_owned() + &"(".repeat(1500),
        "r'\\' + ".to_owned() + &deep("(", ")", 900),
        "\u{0}".repeat(2000),
        "data.notes.size()".repeat(100),
        "\"\"\"\"".to_owned() + &deep("(", ")", 800),
    ];
    for nesting in [11, 12, 13, 24, 32, 33, 64, 65, 96, 127, 128, 129, 250] {
        texts.push(deep("(", ")", nesting));
        texts.push(deep("!(", ")", nesting));
        texts.push("1".to_owned() + &"+1".repeat(nesting));
        texts.push("1".to_owned() + &" in 1".repeat(nesting));
        texts.push("true?true:".repeat(nesting) + "true");
        texts.push("data.extra".to_owned() + &"[0]".repeat(nesting));
        texts.push("data.extra".to_owned() + &".a".repeat(nesting) + " == 1");
    }
    // What the thread that reloads has, in a build whose frames are several times those of a
    // release.
    let small = thread::Builder::new().stack_size(2 * 1024 * 1024);
    let tried = small.spawn(move || {
        let event = full_event();
        for text in texts {
            if let Ok((condition, _)) = Condition::parse(&text) {
                let subject = Subject::new(event.as_bytes());
                // What it says of the event does not matter here, that it says something does.
                drop(condition.holds(&subject));
            }
        }
    });
    tried.expect("a thread").join().expect("no text ends the thread");
    assert!(Condition::parse(&deep("(", ")", 900)).is_err());
    assert!(Condition::parse(&deep("(", ")", 10)).is_ok());
    assert!(Condition::parse(&("true".to_owned() + &" && true".repeat(30))).is_ok());
}

#[test]
fn a_condition_fails_through_a_null_by_the_name_of_its_field() {
    let mut event = event();
    event["data"]["call"]["duration_seconds"] = json!(null);
    event["data"]["agent"] = json!(null);
    event["data"]["outcomes"] = json!([{"name": "a", "reason": null}]);
    let null = |field: &str| Err(Failure::Null { field: field.to_owned() });

    assert_eq!(ask("data.call.duration_seconds > 10", &event), null("data.call.duration_seconds"));
    assert_eq!(ask("data.agent.name == 'Ada'", &event), null("data.agent"));
    assert_eq!(ask("has(data.agent.name)", &event), null("data.agent"));
    assert_eq!(ask("data.extra.nothing == 1", &event), null("data.extra.nothing"));
    assert_eq!(ask("data.call.legs[7].role == 'to'", &event), null("data.call.legs[7]"));
    assert_eq!(
        ask("data.outcomes.all(o, o.reason.contains('x'))", &event),
        null("data.outcomes[].reason")
    );
    let guarded = "data.call.duration_seconds != null && data.call.duration_seconds > 10";
    assert_eq!(ask(guarded, &event), Ok(false));
    assert!(matches!(ask("data.call.status > 1", &event), Err(Failure::Unfit(_))));
    assert_eq!(ask("data.call.status", &event), Err(Failure::NotBool));
}

/// An event with gaps: fields that are null, lists with a null inside, and fields that are not there.
fn gappy() -> Value {
    let mut event = event();
    for field in ["duration_seconds", "answered_by", "direction", "summary", "recording_url"] {
        event["data"]["call"][field] = json!(null);
    }
    event["data"]["agent"] = json!(null);
    event["data"]["notes"] = json!(null);
    event["data"]["call"]["legs"] = json!([
        {"role": "from", "status": "completed", "status_raw": null, "duration_seconds": 3},
        {"role": "to", "status": null, "status_raw": "x", "duration_seconds": null},
    ]);
    event["data"]["outcomes"] = json!([
        {"name": null, "reason": "no"}, {"name": "sold", "reason": null},
    ]);
    event["data"]["extra"] = json!({
        "yes": true, "three": 3, "none": null, "also": null, "tags": ["a", null, "b"],
        "limits": {"x": 1}, "plan": "y", "deep": {"a": {"b": null}}, "rows": [{"x": 1}],
    });
    event
}

#[test]
fn a_condition_that_fails_names_the_null_at_which_it_failed() {
    let event = gappy();
    for (text, named) in [
        // What was looked at, and did no harm, is not named.
        ("data.agent != null || data.notes.startsWith('x')", "data.notes"),
        ("data.agent == null && data.notes.startsWith('x')", "data.notes"),
        ("data.agent == data.notes && data.extra.none < 1", "data.extra.none"),
        ("data.extra.none in ['a'] || data.extra.also > 1", "data.extra.also"),
        ("data.extra.none in data.extra.tags && data.extra.also", "data.extra.also"),
        ("[data.notes, 1] != [] && data.call.summary.contains('a')", "data.call.summary"),
        // A side that does not decide.
        ("!data.extra.yes || data.notes > 1", "data.notes"),
        ("data.notes > 1 || !data.extra.yes", "data.notes"),
        ("data.extra.yes && data.notes", "data.notes"),
        ("data.notes && data.extra.yes", "data.notes"),
        ("!data.extra.yes || data.extra.none", "data.extra.none"),
        // Both fail: the right one, for had it a value, that could have decided.
        ("data.extra.also > 1 || data.extra.none > 1", "data.extra.none"),
        ("data.extra.none > 1 && data.extra.also > 1", "data.extra.also"),
        // The way that was taken.
        ("data.notes == null ? data.extra.none > 1 : data.notes > 'a'", "data.extra.none"),
        ("data.notes != null ? data.notes > 'a' : data.extra.none > 1", "data.extra.none"),
        ("data.extra.none ? data.notes > 'a' : true", "data.extra.none"),
        ("(data.extra.none > 1) ? data.notes > 'a' : true", "data.extra.none"),
        ("(data.extra.yes ? data.extra.none : data.notes) > 1", "data.extra.none"),
        ("(data.extra.yes ? data.extra : data.extra.deep).gone > 1", "data.extra.gone"),
        // Ways that end too early.
        ("data.notes == null && data.agent.name == 'Ada'", "data.agent"),
        ("data.notes == null && data.extra.deep.a.b.c == 1", "data.extra.deep.a.b"),
        ("data.notes == null && data.extra['deep']['gone'].c == 1", "data.extra.deep.gone"),
        ("data.notes == null && has(data.agent.name)", "data.agent"),
        ("data.notes == null && has(data.extra.gone.x)", "data.extra.gone"),
        ("!has(data.extra.gone) && data.extra.also.gone", "data.extra.also"),
        ("data.notes == null && data.call.legs[2].role == 'to'", "data.call.legs[2]"),
        (
            "data.call.legs[1].status == null && data.call.legs[1].duration_seconds > 1",
            "data.call.legs[1].duration_seconds",
        ),
        ("data.notes == null && data.extra.limits[data.extra.plan] > 1", "data.extra.limits[]"),
        ("data.notes == null && data.extra.limits[data.extra.none] > 1", "data.extra.none"),
        // Calls.
        ("data.notes == null && data.call.summary.matches('a')", "data.call.summary"),
        ("data.notes == null && 'abc'.contains(data.extra.none)", "data.extra.none"),
        ("data.notes == null && size(data.extra.none) == 0", "data.extra.none"),
        ("data.notes == null && data.extra.none.size() == 0", "data.extra.none"),
        ("size(data.extra.tags) == 3 && data.notes.size() == 0", "data.notes"),
        ("data.notes == null && int(data.extra.none) == 0", "data.extra.none"),
        ("data.notes == null && !data.extra.none", "data.extra.none"),
        ("data.notes == null && -data.extra.none == 0", "data.extra.none"),
        // Comparisons and sums, either side.
        ("data.notes == null && 1 < data.extra.none", "data.extra.none"),
        ("data.notes == null && data.extra.none >= 1", "data.extra.none"),
        ("data.notes == null && data.extra.three + data.extra.none > 1", "data.extra.none"),
        ("data.notes == null && 7 - 2 * data.extra.also > 1", "data.extra.also"),
        ("data.notes == null && data.extra.three % data.extra.also > 1", "data.extra.also"),
        ("data.notes == null && 'x' in data.extra.none", "data.extra.none"),
        ("data.notes == null && data.extra.none in {'a': 1}", "data.extra.none"),
        ("data.notes == null && [data.extra.also, data.extra.none][1] > 1", "data.extra.none"),
        (
            "data.notes == null && {'a': data.extra.also, 'b': data.extra.none}.b > 1",
            "data.extra.none",
        ),
        (
            "data.notes == null && {'a': 1, 'y': data.extra.none}[data.extra.plan] > 1",
            "data.extra.none",
        ),
        ("data.notes == null && {data.extra.none: 1} == {}", "data.extra.none"),
        // Lists with a null inside.
        (
            "data.outcomes.exists(o, o.name == null) && data.outcomes.all(o, o.reason < 'z')",
            "data.outcomes[].reason",
        ),
        (
            "data.outcomes.all(o, o.name == null || o.reason.contains('x'))",
            "data.outcomes[].reason",
        ),
        (
            "data.outcomes.exists(o, o.reason != null && o.name.contains('x'))",
            "data.outcomes[].name",
        ),
        (
            "data.outcomes.exists_one(o, o.name == 'sold' && o.reason.contains('x'))",
            "data.outcomes[].reason",
        ),
        ("data.extra.rows.exists(r, r.x == 1 && r.gone)", "data.extra.rows[].gone"),
        (
            "data.call.legs.all(l, l.status_raw == null || l.duration_seconds > 1)",
            "data.call.legs[].duration_seconds",
        ),
        ("data.extra.tags.all(t, t < 'z')", "data.extra.tags[]"),
        ("data.notes == null && data.extra.none.exists(t, t == 'a')", "data.extra.none"),
        ("data.notes == null && data.extra.gone.exists(t, t == 'a')", "data.extra.gone"),
        ("['a', data.extra.none].all(p, p < 'x')", "data.extra.none"),
        ("['a'].all(p, data.notes == null && data.call.summary.contains(p))", "data.call.summary"),
        // However the left one fails.
        ("1 / 0 == data.extra.three || data.notes > 1", "data.notes"),
        ("data.extra.none && data.notes > 1", "data.notes"),
        ("data.notes > 1 && data.extra.yes", "data.notes"),
        ("data.notes > 1 && data.extra.none", "data.notes"),
        // What is neither true nor false because it is null.
        ("data.extra.none", "data.extra.none"),
        ("data.notes == null ? data.extra.also : true", "data.extra.also"),
    ] {
        let failure = Failure::Null { field: named.to_owned() };
        assert_eq!(ask(text, &event), Err(failure), "{text}");
    }
}

#[test]
fn a_null_that_decides_nothing_fails_no_condition() {
    let event = gappy();
    for (text, gives) in [
        ("data.agent == null || data.extra.three < 1", true),
        ("data.extra.yes || data.notes.startsWith('x')", true),
        ("data.notes.startsWith('x') || data.extra.yes", true),
        ("!data.extra.yes && data.notes > 1", false),
        ("data.notes > 1 && !data.extra.yes", false),
        ("data.outcomes.exists(o, o.name.contains('so'))", true),
        ("data.outcomes.all(o, o.name.contains('x'))", false),
        ("['y', data.extra.also, data.extra.none].all(p, p == null || p < 'x')", false),
    ] {
        assert_eq!(ask(text, &event), Ok(gives), "{text}");
    }
}

#[test]
fn a_null_is_not_named_where_a_condition_fails_by_something_else() {
    let event = gappy();
    for (text, what) in [
        ("data.notes == null && data.extra.three.startsWith('x')", "startsWith"),
        ("data.agent == null && data.call.status > 1", "_>_"),
        ("data.extra.none == null && int('x') == 1", "int"),
        ("data.notes == null && 1 / 0 == data.extra.three", "ivision"),
        ("data.extra.none in data.extra.three", "in"),
        ("data.notes == null && data.extra.tags[-1] == 'a'", "bounds"),
        ("data.notes == null && data.extra.limits[1.5] == 1", "1.5"),
        ("data.call.summary < 'a' || {'a': 1}[data.extra.plan] == 1", "o such key"),
        ("data.notes > 1 && 1 / 0 == data.extra.three", "ivision"),
        ("data.outcomes.exists(o, o.name == null && o.reason > 1)", "_>_"),
        ("['a', data.notes].exists(p, p != null && p > 1)", "_>_"),
        ("data.notes == null && data.extra.three.exists(t, t == 'a')", "iterable"),
        ("data.extra.three ? data.notes == null : data.agent == null", "bool"),
        ("data.notes == null && null < 3", "_<_"),
    ] {
        let failed = ask(text, &event);
        assert!(
            matches!(&failed, Err(Failure::Unfit(message)) if message.contains(what)),
            "{text}: {failed:?}"
        );
    }
    assert_eq!(ask("data.notes == null ? data.call.status : true", &event), Err(Failure::NotBool));
}

/// Conditions of every kind over what the event has, and has not.
fn conditions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "data.extra.yes",
        "data.extra.three",
        "data.extra.none",
        "data.extra.also",
        "data.extra.gone",
        "data.extra.tags",
        "data.extra.deep.a",
        "data.extra.deep.a.b",
        "data.extra.rows[0].x",
        "data.extra.rows[1]",
        "data.extra.limits[data.extra.plan]",
        "data.notes",
        "data.call.status",
        "true",
        "false",
        "1",
        "'a'",
        "null",
        "[]",
        "has(data.extra.gone)",
        "has(data.extra.none.x)",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 24, 3, |inner| {
        (0..14, inner.clone(), inner.clone(), inner).prop_map(|(kind, a, b, c)| match kind {
            0 => format!("({a} && {b})"),
            1 => format!("({a} || {b})"),
            2 => format!("({a} ? {b} : {c})"),
            3 => format!("({a} < {b})"),
            4 => format!("({a} + {b} == {c})"),
            5 => format!("!{a}"),
            6 => format!("({a} in {b})"),
            7 => format!("({a} in [{b}, {c}])"),
            8 => format!("(size({a}) > 0)"),
            9 => format!("'ab'.contains({a})"),
            10 => format!("[{a}, {b}][1]"),
            11 => format!("[{a}, {b}].exists(x, x || {c})"),
            12 => format!("[{a}, {b}].all(x, x < {c})"),
            _ => format!("({a} == {b})"),
        })
    })
}

/// Whether what a name stands for is null, or not there.
fn is_gap(value: Option<&Value>, steps: &[&str]) -> bool {
    match (value, steps) {
        (None | Some(Value::Null), _) => true,
        (Some(_), []) => false,
        (Some(value), [step, rest @ ..]) => match (value, step.parse::<usize>()) {
            (Value::Array(entries), Ok(at)) => is_gap(entries.get(at), rest),
            (_, _) if step.is_empty() => true,
            _ => is_gap(value.get(step), rest),
        },
    }
}

proptest! {
    #[test]
    fn whatever_is_named_as_the_null_of_a_failure_is_null_or_not_there(text in conditions()) {
        let event = gappy();
        let Ok((condition, _)) = Condition::parse(&text) else { return Ok(()) };
        let told = condition.holds(&Subject::new(event.to_string().as_bytes()));

        let judged = condition.judges(&Subject::new(event.to_string().as_bytes()));
        prop_assert_eq!(told.clone().ok(), judged);
        if let Err(Failure::Null { field }) = told {
            let steps: Vec<&str> = field.split(['.', '[']).map(|it| it.trim_end_matches(']')).collect();
            prop_assert!(is_gap(Some(&event), &steps), "{} names {}", text, field);
        }
    }
}

#[test]
fn a_number_that_no_condition_names_harms_none() {
    let mut text = event().to_string();
    text =
        text.replace("\"Wrap Up\"", "\"huge\":1e400,\"long\":12345678901234567890123,\"Wrap Up\"");
    let ask =
        |when: &str| Condition::parse(when).expect(when).0.holds(&Subject::new(text.as_bytes()));

    assert_eq!(ask("data.call.duration_seconds == 184"), Ok(true));
    assert_eq!(ask("data.extra.long > 1.0e22 && data.extra.huge > data.extra.long"), Ok(true));
}

#[test]
fn a_condition_reads_only_the_members_of_the_event_it_names() {
    let mut event = event();
    event["data"]["extra"] = json!({"a": 1});
    let text = event.to_string().replace("{\"a\":1}", "{\"a\":1,\"a\":[1e]}");
    let ask =
        |when: &str| Condition::parse(when).expect(when).0.holds(&Subject::new(text.as_bytes()));

    // Text that is no JSON is no event at all; nothing of it is guessed.
    assert_eq!(ask("data.extra.a == 1"), Err(Failure::NoEvent));
    assert_eq!(chosen(vec![route("all", &["crm"])], &json!("no event")).targets, names(&["crm"]));
}

#[test]
fn routes_take_by_source_provider_status_and_condition() {
    let mut other_source = route("source", &["a"]);
    other_source.from = BTreeSet::from([SourceName::new("plum")]);
    let mut other_provider = route("provider", &["b"]);
    other_provider.provider = BTreeSet::from(["plum".to_owned()]);
    let mut other_status = route("status", &["c"]);
    other_status.status = BTreeSet::from([Status::Busy]);
    let mut false_condition = route("condition", &["d"]);
    false_condition.when = Some(when("data.provider == 'plum'"));
    let mut all = route("all", &["e", "f"]);
    all.from = BTreeSet::from([SourceName::new("julian")]);
    all.provider = BTreeSet::from(["11x".to_owned()]);
    all.status = BTreeSet::from([Status::Completed]);
    all.when = Some(when("data.provider == '11x'"));
    let twice = route("twice", &["f", "e", "g"]);
    let none = [other_source, other_provider, other_status, false_condition];

    let taken = chosen([none.as_slice(), &[all, twice]].concat(), &event());
    let untaken = chosen(none.to_vec(), &event());

    assert_eq!(taken, Chosen { targets: names(&["e", "f", "g"]), failed: Vec::new() });
    assert_eq!(untaken, Chosen::default());
}

#[test]
fn a_route_whose_condition_fails_does_not_take_the_event_and_is_named() {
    let mut failing = route("failing", &["a", "b"]);
    failing.when = Some(when("data.extra.nothing == 1"));
    let mut unasked = route("unasked", &["a"]);
    unasked.status = BTreeSet::from([Status::Busy]);
    unasked.when = Some(when("data.extra.nothing == 1"));

    let chosen = chosen(vec![failing, unasked, route("all", &["b"])], &event());

    assert_eq!(chosen.targets, names(&["b"]));
    assert_eq!(chosen.failed, ["failing"]);
}
