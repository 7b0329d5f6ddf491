//! A body made from an event by a template.
//!
//! Bounded in what it may compute, in how deep it may call, in how deep and large its values may be
//! and in what it may write: the event that goes in was made by a stranger. Where the body is JSON
//! every value is written as JSON, so that no text of an event can end the string it stands in.
//! Pure.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;
use minijinja::{
    AutoEscape, Environment, ErrorKind, State, UndefinedBehavior, Value, filters,
    value::{Kwargs, Rest, ValueOrKwargs},
};
use serde::de::IgnoredAny;

use crate::{delivery::weight, event::GOLDEN};

/// A template that was read. Cloning shares it.
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    environment: Environment<'static>,
    content_type: HeaderValue,
    is_json: bool,
}

/// Why a template cannot be used, or makes nothing of an event.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It is no template.
    #[error("{0}")]
    Syntax(Told),
    /// It fails on an event.
    #[error("the template fails: {0}")]
    Fails(Told),
    /// It writes too much.
    #[error("the template makes more than {OUTPUT_BYTES_MAX} bytes")]
    TooLong,
    /// What it makes is not what it says.
    #[error("what the template makes is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// The event that goes in is damaged.
    #[error("the stored event cannot be read: {0}")]
    Event(serde_json::Error),
    /// The content type fits in no header.
    #[error("no header can carry this content type")]
    ContentType,
}

/// An error of the template engine, in one line, with the words of the template it is about.
#[derive(Debug)]
pub struct Told {
    error: minijinja::Error,
    about: Option<String>,
}

/// How a template does on the golden events.
#[derive(Debug, Default)]
pub struct Trial {
    /// How many there were.
    pub events: usize,
    /// Those it fails on, each by its name.
    pub failed: Vec<(&'static str, TemplateError)>,
}

// === impl Template ===

impl Template {
    /// Reads a template whose output has this content type.
    pub fn new(source: String, content_type: &str) -> Result<Self, TemplateError> {
        let is_json = is_json(content_type);
        let content_type =
            HeaderValue::from_str(content_type).map_err(|_| TemplateError::ContentType)?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_auto_escape_callback(move |_| {
            if is_json { AutoEscape::Json } else { AutoEscape::None }
        });
        environment.set_formatter(weight::write);
        for (name, filter) in weight::text_filters() {
            environment.add_filter(name, weight::paid(filter));
        }
        environment.add_filter("escaped", escaped);
        environment.add_filter("indent", indent);
        environment.add_filter("tojson", to_json);
        environment
            .add_function("debug", |_: Rest<ValueOrKwargs>| not_here("`tojson` shows a value"));
        environment.add_function("namespace", |_: Rest<ValueOrKwargs>| {
            not_here("filters carry a value through a list: selectattr, map, sum, join, length")
        });
        // Else the first of all errors would hold the whole template and what it was given.
        environment.set_debug(false);
        let syntax = |error| TemplateError::Syntax(Told { error, about: None });
        environment.add_template_owned(NAME, source).map_err(syntax)?;
        Ok(Self(Arc::new(Compiled { environment, content_type, is_json })))
    }

    /// Makes the body.
    pub(super) fn render(&self, json: &[u8]) -> Result<Bytes, TemplateError> {
        let Compiled { environment, is_json, .. } = &*self.0;
        let event: Value = serde_json::from_slice(json).map_err(TemplateError::Event)?;
        let fails = |error, source| TemplateError::Fails(Told::new(error, source));
        let template = environment.get_template(NAME).map_err(|error| fails(error, ""))?;
        let mut output = Capped::default();
        match template.render_captured_to(event, &mut output) {
            Ok(_) => {}
            Err(_) if output.is_full => return Err(TemplateError::TooLong),
            Err(error) => return Err(fails(error, template.source())),
        }
        if *is_json {
            let checked = serde_json::from_slice::<IgnoredAny>(&output.bytes);
            checked.map_err(TemplateError::NotJson)?;
        }
        Ok(output.bytes.into())
    }

    /// What the body is.
    pub(super) fn content_type(&self) -> HeaderValue {
        self.0.content_type.clone()
    }

    /// Tries it on what the callbacks of every provider become.
    pub fn trial(&self) -> Trial {
        let mut trial = Trial::default();
        for &(name, event) in GOLDEN {
            trial.events += 1;
            if let Err(error) = self.render(event.as_bytes()) {
                trial.failed.push((name, error));
            }
        }
        trial
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template(…)")
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// A field that is not there is an error in a filter too: a filter that writes something for it
/// would hide a wrong name in every event.
fn there(value: &Value) -> Result<&Value, minijinja::Error> {
    if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { Ok(value) }
}

/// A function that other templates have and these do not: what a loop hands on to its next turn
/// through a `namespace` can hold itself, or nest deeper than any stack.
fn not_here(instead: &str) -> Result<Value, minijinja::Error> {
    let message = format!("a template of a target has no such function; {instead}");
    Err(minijinja::Error::new(ErrorKind::UnknownFunction, message))
}

/// A value as JSON, as the engine writes it; before each line it writes what it is told, however
/// much that is.
fn to_json(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    named: Kwargs,
) -> Result<Value, minijinja::Error> {
    let told = indent.clone().map_or_else(|| named.peek("indent"), |indent| Ok(Some(indent)))?;
    weight::pay_indented(state, there(value)?, told.map_or(Ok(0), narrow)?)?;
    filters::tojson(value, indent, named)
}

/// Lines moved to the right, by what the engine is told as it tells `tojson`.
fn indent(
    state: &mut State<'_, '_>,
    given: Rest<ValueOrKwargs>,
) -> Result<Value, minijinja::Error> {
    let given = given.into_values();
    let told = given.get(1).and_then(|told| {
        if told.is_kwargs() { told.get_attr("width").ok() } else { Some(told.clone()) }
    });
    let width = told.filter(|told| !told.is_undefined()).map_or(Ok(INDENT_MAX), narrow)?;
    if let Some(value) = given.first() {
        weight::pay(state, value)?;
        let lines = value.as_str().map_or(0, |text| text.split('\n').count());
        weight::pay_bytes(state, u64::try_from(lines).unwrap_or(u64::MAX).saturating_mul(width))?;
    }
    Value::from_function(filters::indent).call(state, &given)
}

/// How many spaces a filter is told to write before a line; told `true`, it has a width of its own.
fn narrow(told: Value) -> Result<u64, minijinja::Error> {
    match u64::try_from(told) {
        Ok(width) if width > INDENT_MAX => Err(minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("an indent is at most {INDENT_MAX}"),
        )),
        Ok(_) | Err(_) => Ok(INDENT_MAX),
    }
}

/// The text of a value as it stands between the quotes of a JSON string; of null nothing.
fn escaped(state: &State<'_, '_>, value: &Value) -> Result<Value, minijinja::Error> {
    let value = there(value)?;
    if value.is_none() {
        return Ok(Value::from_safe_string(String::new()));
    }
    weight::pay(state, value)?;
    let quoted = serde_json::to_string(&value.to_string()).map_err(|error| {
        minijinja::Error::new(ErrorKind::BadSerialization, "not text").with_source(error)
    })?;
    let inside = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    Ok(Value::from_safe_string(inside.to_owned()))
}

/// The one template of its environment.
const NAME: &str = "template";

/// Steps and data of one rendering: a few milliseconds of a processor, and far more than a loop
/// over the longest transcript takes.
const FUEL: u64 = 1_000_000;

/// Spaces for each level of JSON, and before a line.
const INDENT_MAX: u64 = 16;

/// Macros within macros.
const RECURSION_MAX: usize = 64;

/// Twice the longest body a preset takes.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

// === impl TemplateError ===

impl TemplateError {
    /// The line of the template, from 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Syntax(told) | Self::Fails(told) => told.error.line(),
            _ => None,
        }
    }
}

// === impl Told ===

impl Told {
    fn new(error: minijinja::Error, source: &str) -> Self {
        let about = error.range().and_then(|range| source.get(range));
        let about = about.filter(|about| about.len() <= ABOUT_BYTES_MAX).map(str::to_owned);
        Self { error, about }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error.kind())?;
        if let Some(detail) = self.error.detail() {
            write!(f, ": {detail}")?;
        }
        match (&self.about, self.error.line()) {
            (Some(about), Some(line)) => write!(f, " ({about}, line {line})"),
            (None, Some(line)) => write!(f, " (line {line})"),
            (_, None) => Ok(()),
        }
    }
}

/// Longer words of a template say less than its line.
const ABOUT_BYTES_MAX: usize = 100;

// === impl Capped ===

/// Output that ends at its limit.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(bytes.len()) > OUTPUT_BYTES_MAX {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] =
        br#"{"id":"e1","data":{"call":{"id":"a\"b</x>","from":null,"legs":[1,2]}}}"#;

    fn json(source: &str) -> Template {
        Template::new(source.to_owned(), "application/json").unwrap()
    }

    fn made(template: &Template) -> String {
        String::from_utf8(template.render(EVENT).unwrap().into()).unwrap()
    }

    #[test]
    fn where_the_body_is_json_no_text_of_an_event_ends_its_string() {
        let plain = json(r#"{"call": {{ data.call.id }}, "from": {{ data.call.from }}}"#);
        assert_eq!(made(&plain), r#"{"call": "a\"b</x>", "from": null}"#);
        let inside =
            json(r#"{"text": "call {{ data.call.id | escaped }}{{ data.call.from | escaped }}"}"#);
        assert_eq!(made(&inside), r#"{"text": "call a\"b</x>"}"#);
        let value: serde_json::Value =
            serde_json::from_str(&made(&json(r#"{"legs": {{ data.call | tojson }}}"#))).unwrap();
        assert_eq!(value["legs"]["id"], "a\"b</x>");
        assert_eq!(made(&json("{{ data.call.legs }}")), "[1,2]");
    }

    #[test]
    fn where_it_is_text_values_are_written_as_they_are() {
        let text = Template::new("{{ data.call.id }} {{ id | urlencode }}".into(), "text/plain");

        assert_eq!(made(&text.unwrap()), "a\"b</x> e1");
    }

    #[test]
    fn a_field_that_is_not_there_is_an_error_with_its_line() {
        let template = json("{\n\"from\": {{ data.call.from.e164 }} }");

        let error = template.render(EVENT).unwrap_err();

        assert_eq!(error.line(), Some(2));
        assert!(error.to_string().starts_with("the template fails: undefined value"), "{error}");
        assert!(!error.to_string().contains("</x>"));
    }

    #[test]
    fn a_field_that_is_not_there_is_an_error_behind_a_filter_too() {
        for filtered in [
            r#""{{ data.sumary | escaped }}""#,
            "{{ data.sumary | tojson }}",
            "{{ data.sumary | tojson(2) }}",
            "{{ data.sumary | tojson(indent=true) }}",
        ] {
            let error = json(filtered).render(EVENT).unwrap_err();

            let said = error.to_string();
            assert!(said.starts_with("the template fails: undefined value"), "{filtered}: {said}");
        }
        let kept =
            r#"["{{ data.sumary | default("a") | escaped }}", {{ data.call.from | tojson }}]"#;
        assert_eq!(made(&json(kept)), r#"["a", null]"#);
        let wide = made(&json("{{ data.call.legs | tojson(indent=2) }}"));
        assert_eq!(wide, "[\n  1,\n  2\n]");
    }

    #[test]
    fn what_is_not_json_though_it_says_so_is_an_error() {
        let error = json(r#"{"call": "{{ data.call.id }}"}"#).render(EVENT).unwrap_err();

        assert!(matches!(error, TemplateError::NotJson(_)), "{error}");
        let loose = Template::new("{oops".into(), "text/plain").unwrap();
        assert_eq!(made(&loose), "{oops");
    }

    #[test]
    fn time_depth_and_length_are_bounded() {
        let endless = json(
            "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}1{% endfor %}{% endfor %}{% endfor %}",
        );
        assert!(matches!(endless.render(EVENT), Err(TemplateError::Fails(_))));
        let deep = json("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
        assert!(matches!(deep.render(EVENT), Err(TemplateError::Fails(_))));
        let long = "x".repeat(1024 * 1024);
        let long = json(&format!("{{% for a in range(20) %}}{long}{{% endfor %}}"));
        assert!(matches!(long.render(EVENT), Err(TemplateError::TooLong)));
        for width in ["4294967296", "indent=4294967296", "17"] {
            let wide = json(&format!("{{{{ data.call.legs | tojson({width}) }}}}"));
            let error = wide.render(EVENT).unwrap_err().to_string();
            assert!(error.contains("an indent is at most 16"), "{width}: {error}");
        }
    }

    fn refusal(template: &Template) -> String {
        template.render(EVENT).unwrap_err().to_string()
    }

    #[test]
    fn what_would_nest_deeper_than_any_stack_in_a_loop_is_refused() {
        let nests = "{% set ns = namespace(l=[]) %}{% for x in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}";
        let holds_itself = "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}";
        for hostile in [nests, &format!("{nests}{{{{ ns.l }}}}"), holds_itself] {
            let said = refusal(&json(hostile));
            assert!(said.contains("no such function; filters carry a value"), "{hostile}: {said}");
        }
        assert!(refusal(&json("{{ debug() }}")).contains("no such function; `tojson`"));
        let (open, close) = ("[".repeat(60), "]".repeat(60));
        let nested = |times: usize| {
            let again = format!("{{% set a = {open}a{close} %}}").repeat(times);
            json(&format!("{{% set a = 1 %}}{again}{{{{ a }}}}"))
        };
        assert_eq!(made(&nested(2)).len(), 241);
        assert!(refusal(&nested(5)).contains("nested more than 256 deep"));
    }

    #[test]
    fn a_value_that_is_small_until_it_is_text_is_paid_for_before_it_is() {
        let doubled = format!("{{% set a = [1, 1] %}}{}", "{% set a = [a, a] %}".repeat(60));
        let repeated = "{% set a = [[[1] * 90000000] * 90000000] * 90000000 %}";
        let wide = "{% set a = [\"x\" * 100000] * 90000000 %}";
        for hostile in [&doubled, repeated, wide] {
            let said = refusal(&json(&format!("{hostile}{{{{ a }}}}")));
            assert!(said.contains("out of fuel"), "{hostile}: {said}");
        }
        for walked in [
            "{% set text %}{{ a }}{% endset %}1",
            "{% filter upper %}{{ a }}{% endfilter %}",
            "{{ a | tojson }}",
            "{{ a | tojson(indent=16) }}",
            "{{ a | escaped }}",
            "{{ a | string }}",
            "{{ a | pprint }}",
            "{{ a | upper }}",
            "{{ a | lower }}",
            "{{ a | title }}",
            "{{ a | capitalize }}",
            "{{ a | trim }}",
            "{{ a | safe }}",
            "{{ a | e }}",
            "{{ a | escape }}",
            "{{ a | indent }}",
            "{{ a | join }}",
            "{{ [a] | map('string') | list }}",
            "{{ '%s' | format(a) }}",
            "{{ '%(x)s' | format(x=a) }}",
            "{{ a | urlencode }}",
        ] {
            let said = refusal(&json(&format!("{doubled}{walked}")));
            assert!(said.contains("out of fuel"), "{walked}: {said}");
        }
    }

    #[test]
    fn no_argument_of_a_filter_makes_it_take_more_than_it_pays_for() {
        for hostile in [
            "{{ 'x' * 900000000 }}",
            "{{ ('x' * 9000000) | replace('x', 'y' * 9000000) }}",
            "{{ range(100000) | join('x' * 10000) }}",
            "{{ [1] | batch(900000000, 1) | list }}",
            "{{ [1] | slice(900000000, 1) | list }}",
            "{{ '%900000000d' | format(1) }}",
            "{{ ('\n' * 30000000) | indent(16, true, true) }}",
            "{{ ('\n' * 30000000) | indent(width=16, blank=true) }}",
        ] {
            let said = refusal(&json(hostile));
            assert!(said.contains("out of fuel"), "{hostile}: {said}");
        }
        assert!(refusal(&json("{{ 'x' | indent(900000000) }}")).contains("at most 16"));
        assert!(refusal(&json("{{ 'x' | indent(width=900000000) }}")).contains("at most 16"));
        assert!(refusal(&json("{{ range(900000000) }}")).contains("too many elements"));
        let recursive = "{% for x in [[1]] recursive %}{{ loop([[x]]) }}{% endfor %}";
        assert!(refusal(&json(recursive)).contains("recursion limit"));
    }

    #[test]
    fn a_template_that_cannot_be_read_says_where() {
        let error = Template::new("{\n{{ data.".into(), "application/json").unwrap_err();

        assert_eq!(error.line(), Some(2));
        assert!(error.to_string().starts_with("syntax error"), "{error}");
        let error = Template::new("{}".into(), "a\nb").unwrap_err();
        assert!(matches!(error, TemplateError::ContentType));
    }

    #[test]
    fn a_template_is_tried_on_the_golden_events_of_every_provider() {
        let sound = json(r#"{"id": {{ id }}, "status": {{ data.call.status }}}"#).trial();
        assert!(sound.failed.is_empty() && sound.events == GOLDEN.len());
        let partly = json(r#"{"to": {{ data.call.to.e164 }}}"#).trial();
        assert!(partly.failed.iter().any(|(name, _)| *name == "11x/minimal"), "{partly:?}");
        assert!(partly.failed.len() < partly.events);
        let never = json("{{ data.cal.id }}").trial();
        assert_eq!(never.failed.len(), never.events);
    }
}
