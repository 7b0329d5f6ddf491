//! The published JSON Schema (2020-12) of the event, and its closed form for tests.

use serde_json::Value;

/// The schema as it ships: open, because keys are added within a version.
pub const CALL_EVENT_SCHEMA: &str = include_str!("call-event.schema.json");

/// The schema with `unevaluatedProperties: false` at every object of fixed keys: what an event of
/// *this* release may hold and nothing else. Formats are to be asserted.
pub fn closed() -> serde_json::Result<Value> {
    let mut schema = serde_json::from_str(CALL_EVENT_SCHEMA)?;
    close(&mut schema);
    Ok(schema)
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(close);
            if members.get("properties").is_some_and(Value::is_object)
                && members.contains_key("required")
            {
                members.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeSet};

    use jiff::Timestamp;
    use jsonschema::Validator;
    use serde_json::{Map, json};

    use super::*;
    use crate::event::{
        Action, Agent, AnsweredBy, Call, CallEvent, Campaign, Contact, DATA_SCHEMA, Data,
        Direction, Envelope, EventId, Leg, Meeting, Moment, Number, Outcome, Reason, Sequence,
        SourceName, Status, Warning, value,
    };

    /// The objects whose keys are the provider's or the customer's.
    const FREE: [&str; 4] = ["extracted", "analysis", "extra", "query"];

    fn validator() -> Validator {
        jsonschema::options()
            .should_validate_formats(true)
            .build(&closed().expect("the schema is JSON"))
            .expect("the schema is a schema")
    }

    fn envelope() -> Envelope {
        Envelope {
            id: "0199c5c2-7d0e-7a55-9d6c-3f1f6c2b8a10".parse::<EventId>().expect("an id"),
            source: SourceName::new("eleven-x"),
            received_at: at("2025-10-27T10:01:44.120Z"),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[expect(clippy::unnecessary_wraps, reason = "what the fields it fills are")]
    fn text(text: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(text))
    }

    #[expect(clippy::unnecessary_wraps, reason = "what the fields it fills are")]
    fn number() -> Option<Number<'static>> {
        Some(Number {
            raw: "+1 555 010 0123 x4".into(),
            e164: Some("+15550100123".to_owned()),
            ext: text("4"),
        })
    }

    fn json_of(data: Data<'_>) -> Value {
        let event = CallEvent { envelope: envelope(), data };
        serde_json::from_slice(&event.to_json()).expect("JSON")
    }

    fn bare() -> Value {
        json_of(Data { provider: "11x".into(), ..Data::default() })
    }

    fn full_call() -> Call<'static> {
        let when = Some(at("2025-10-27T10:00:00Z"));
        Call {
            id: text("call-1"),
            reference: text("order-7"),
            direction: Direction::Outbound,
            from: number(),
            to: number(),
            via: number(),
            status: Status::Voicemail,
            status_raw: text("Voicemail"),
            reason: Some(Reason::VoicemailDetected),
            reason_raw: text("voicemail"),
            answered_by: Some(AnsweredBy::Machine),
            queued_at: when,
            scheduled_at: when,
            started_at: when,
            answered_at: when,
            ended_at: Some(at("2025-10-27T10:01:39.500Z")),
            duration_seconds: Some(99),
            billable_seconds: Some(60),
            attempts: Some(1),
            max_attempts: Some(3),
            retry_wait_seconds: Some(0),
            recording_url: text("https://example.com/a.mp3"),
            url: text("http://example.com/calls/1"),
            summary: text("short"),
            transcript: text("bot: hello"),
            legs: vec![Leg {
                role: "from",
                status: Status::Completed,
                status_raw: text("RECEIVED"),
                duration_seconds: Some(3),
            }],
            timeline: vec![Moment { at: when, event: Status::Ringing, event_raw: text("dialing") }],
        }
    }

    fn full() -> Value {
        let free: value::Object<'_> = vec![
            ("n".into(), value::Value::Number("1.50".into())),
            ("deep".into(), value::Value::Array(vec![value::Value::Null])),
        ];
        let query = vec![("a".into(), value::Value::String("1".into()))];
        json_of(Data {
            provider: "11x".into(),
            call: full_call(),
            agent: Some(Agent { id: text("a"), name: text("b"), email: text("c@example.com") }),
            contact: Some(Contact { name: text("Anna Example"), email: text("a@example.com") }),
            campaign: Some(Campaign { id: text("1"), name: text("spring") }),
            sequence: Some(Sequence { id: text("1"), state: text("in progress") }),
            meeting: Some(Meeting {
                start: Some(at("2025-10-28T10:00:00Z")),
                end: Some(at("2025-10-28T11:00:00Z")),
                host: text("host@example.com"),
            }),
            disposition: text("Goal Completed"),
            notes: text("called back"),
            outcomes: vec![Outcome { name: text("interested"), reason: text("asked") }],
            actions: vec![Action {
                key: text("schedule_meeting"),
                actor: "agent",
                status: text("completed"),
                completed_at: Some(at("2025-10-27T10:01:00Z")),
                description: text("scheduled"),
            }],
            extracted: free.clone(),
            analysis: Vec::new(),
            extra: Vec::new(),
            query,
            warnings: Warning::ALL.iter().copied().collect::<BTreeSet<_>>(),
            logged_at: None,
        })
    }

    /// The pointers of every key whose name is the contract's.
    fn keys(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let at = format!("{at}/{name}");
                    if !FREE.contains(&name.as_str()) {
                        keys(value, &at, found);
                    }
                    found.push(at);
                }
            }
            Value::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    keys(entry, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }

    fn keys_of(event: &Value) -> Vec<String> {
        let mut found = Vec::new();
        keys(event, "", &mut found);
        found
    }

    fn parent<'v>(event: &'v mut Value, key: &str) -> (&'v mut Map<String, Value>, String) {
        let (parent, name) = key.rsplit_once('/').expect("a key");
        let parent = event.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        (parent, name.to_owned())
    }

    fn kind(value: &Value) -> u8 {
        match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        }
    }

    #[test]
    fn an_event_with_everything_and_one_with_nothing_are_valid_closed() {
        let schema = validator();
        for event in [full(), bare()] {
            let errors: Vec<_> = schema.iter_errors(&event).map(|it| it.to_string()).collect();
            assert!(errors.is_empty(), "{errors:#?}");
        }
    }

    #[test]
    fn the_schema_has_exactly_the_keys_of_a_full_event() {
        fn names(schema: &Value, found: &mut BTreeSet<String>) {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                found.extend(properties.keys().cloned());
            }
            match schema {
                Value::Object(members) => members.values().for_each(|it| names(it, found)),
                Value::Array(entries) => entries.iter().for_each(|it| names(it, found)),
                _ => {}
            }
        }
        let mut in_schema = BTreeSet::new();
        names(&closed().expect("JSON"), &mut in_schema);
        let in_event: BTreeSet<String> = keys_of(&full())
            .iter()
            .filter_map(|key| key.rsplit_once('/').map(|(_, name)| name.to_owned()))
            .collect();

        assert_eq!(in_schema, in_event);
        assert_eq!(full()["dataschema"], json!(DATA_SCHEMA));
    }

    #[test]
    fn without_any_one_required_key_an_event_is_refused() {
        let schema = validator();
        let mut tried = 0;
        for event in [full(), bare()] {
            for key in keys_of(&event).iter().filter(|key| *key != "/subject") {
                let mut event = event.clone();
                let (parent, name) = parent(&mut event, key);
                parent.remove(&name).expect("the key is there");
                assert!(!schema.is_valid(&event), "valid without {key}");
                tried += 1;
            }
        }
        let full_keys = keys_of(&full()).len() - 1;
        assert_eq!(tried, full_keys + keys_of(&bare()).len());
        assert_eq!(full_keys, 88, "a key was added: count it here");
    }

    #[test]
    fn with_any_one_key_of_another_type_an_event_is_refused() {
        let schema = validator();
        let others =
            [json!(null), json!(true), json!(7.5), json!("odd\n"), json!([7]), json!({"odd": 7})];
        let bare = bare();
        let mut tried = BTreeSet::new();
        for event in [full(), bare.clone()] {
            for key in keys_of(&event) {
                let was = event.pointer(&key).expect("the key is there").clone();
                // In a bare event null is what a nullable key holds; in the entries of lists, and
                // in parts of what is null as a whole, every key but these is nullable.
                let nullable = match bare.pointer(&key) {
                    Some(value) => value.is_null(),
                    None => !["/raw", "/role", "/actor", "/status", "/event", "/subject"]
                        .iter()
                        .any(|name| key.ends_with(name) && !key.contains("/actions/0/status")),
                };
                for other in others.iter().filter(|other| kind(other) != kind(&was)) {
                    if other.is_null() && nullable {
                        continue;
                    }
                    // What a null may be instead is tried by the full event.
                    if was.is_null()
                        && full().pointer(&key).is_some_and(|it| kind(it) == kind(other))
                    {
                        continue;
                    }
                    let mut event = event.clone();
                    *event.pointer_mut(&key).expect("the key is there") = other.clone();
                    assert!(!schema.is_valid(&event), "{key} may be {other}");
                    tried.insert(key.clone());
                }
            }
        }
        let all: BTreeSet<String> = keys_of(&full()).into_iter().chain(keys_of(&bare)).collect();
        assert_eq!(tried, all);
    }

    #[test]
    fn with_a_key_more_anywhere_an_event_is_refused_closed_and_accepted_as_published() {
        let closed = validator();
        let open: Value = serde_json::from_str(CALL_EVENT_SCHEMA).expect("JSON");
        let open = jsonschema::options().build(&open).expect("a schema");
        let event = full();
        let keys = keys_of(&event);
        let mut objects: BTreeSet<&str> =
            keys.iter().filter_map(|key| key.rsplit_once('/')).map(|(parent, _)| parent).collect();
        objects.insert("");
        for object in objects {
            let mut event = event.clone();
            let members = event.pointer_mut(object).and_then(Value::as_object_mut).expect("one");
            members.insert("odd".to_owned(), json!(1));
            assert!(!closed.is_valid(&event), "{object} may hold more");
            assert!(open.is_valid(&event), "{object} is closed as published");
        }
    }

    #[test]
    fn formats_and_patterns_are_asserted() {
        let schema = validator();
        for (key, value) in [
            ("/id", "0199c5c2"),
            ("/time", "2025-13-27T10:01:39Z"),
            ("/time", "2025-10-27T10:01:39+00:00"),
            ("/data/received_at", "2025-10-27 10:01:39Z"),
            ("/source", "/sources/Eleven X"),
            ("/type", "call.done"),
            ("/data/call/to/e164", "15550100123"),
            ("/data/call/url", "javascript:alert(1)"),
            ("/data/call/status", "finished"),
        ] {
            let mut event = full();
            *event.pointer_mut(key).expect("the key is there") = json!(value);
            assert!(!schema.is_valid(&event), "{key} may be {value}");
        }
    }
}
