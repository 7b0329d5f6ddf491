//! Every event that any test produces is held against the closed schema.

use std::sync::LazyLock;

use jsonschema::Validator;

static CLOSED: LazyLock<Validator> = LazyLock::new(|| {
    let schema = hookswitch::event::schema::closed().unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

pub(crate) fn assert_is_a_call_event(event: &serde_json::Value) {
    let problems: Vec<String> = CLOSED
        .iter_errors(event)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "not a call event: {problems:#?}\n{event:#}");
}
