//! What the body of a request is, and the headers that belong to it.
//!
//! Pure: an event goes in, a message comes out, or the reason why none can be made of it.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_TYPE, InvalidHeaderName, InvalidHeaderValue},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::{
    delivery::template::{Template, TemplateError},
    store::StoredRequest,
};

/// `format` of a target.
#[derive(Clone, Debug)]
pub enum Format {
    /// The whole event as one document: structured content mode.
    CloudEvents,
    /// The data as the body, everything else in `ce-` headers: binary content mode.
    CloudEventsBinary,
    /// The callback as it came.
    Raw,
    /// Whatever a template makes of the event.
    Template(Template),
}

/// A body with the headers that belong to it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// Why no message can be made of an event. It is the same at every attempt.
#[derive(Debug, thiserror::Error)]
pub enum Unrenderable {
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The stored event is not what it should be.
    #[error("the stored event cannot be read: {0}")]
    Event(#[from] serde_json::Error),
    /// An attribute is neither text nor number nor flag.
    #[error("the attribute {0} of the event fits in no header")]
    Attribute(String),
    /// The callback is gone from the store.
    #[error("the callback it came from is not stored any more")]
    NoRequest,
    /// A header's name.
    #[error("an attribute of the event is no name of a header")]
    Name(#[from] InvalidHeaderName),
    /// A header's value.
    #[error("an attribute of the event fits in no header")]
    Value(#[from] InvalidHeaderValue),
}

// === impl Format ===

impl Format {
    /// Whether the callback is needed beside the event.
    pub(super) fn needs_request(&self) -> bool {
        matches!(self, Self::Raw)
    }

    /// The content type, where it is the same for every message.
    pub(super) fn content_type(&self) -> Option<HeaderValue> {
        match self {
            Self::CloudEvents => Some(STRUCTURED),
            Self::Template(template) => Some(template.content_type()),
            Self::CloudEventsBinary | Self::Raw => None,
        }
    }

    /// Makes the message; its headers are those that [`Format::content_type`] does not tell.
    pub(super) fn message(
        &self,
        json: &Bytes,
        request: Option<&StoredRequest>,
    ) -> Result<Message, Unrenderable> {
        match self {
            Self::CloudEvents => Ok(Message { headers: Vec::new(), body: json.clone() }),
            Self::CloudEventsBinary => binary(json),
            Self::Raw => raw(request.ok_or(Unrenderable::NoRequest)?),
            Self::Template(template) => {
                Ok(Message { headers: Vec::new(), body: template.render(json)? })
            }
        }
    }
}

/// CloudEvents, structured.
const STRUCTURED: HeaderValue =
    HeaderValue::from_static("application/cloudevents+json; charset=utf-8");

/// A callback that came by GET has its query for a body.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

fn raw(request: &StoredRequest) -> Result<Message, Unrenderable> {
    if request.method == "GET" && request.body.is_empty() {
        let body = Bytes::copy_from_slice(request.query.as_bytes());
        return Ok(Message { headers: vec![(CONTENT_TYPE, FORM)], body });
    }
    let mut headers = Vec::new();
    if let Some(content_type) = &request.content_type {
        headers.push((CONTENT_TYPE, HeaderValue::from_str(content_type)?));
    }
    Ok(Message { headers, body: request.body.clone() })
}

/// The HTTP binding of CloudEvents, 3.1.
fn binary(json: &Bytes) -> Result<Message, Unrenderable> {
    let envelope: Envelope<'_> = serde_json::from_slice(json)?;
    let mut headers = Vec::with_capacity(envelope.attributes.len());
    for (name, value) in envelope.attributes {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Unrenderable::Attribute(name.into_owned()));
            }
        };
        if name == "datacontenttype" {
            headers.push((CONTENT_TYPE, HeaderValue::try_from(text)?));
        } else {
            let value = Cow::from(utf8_percent_encode(&text, ENCODED));
            headers.push((HeaderName::try_from(format!("ce-{name}"))?, value.parse()?));
        }
    }
    let body = envelope.data.map(|data| json.slice_ref(data.get().as_bytes()));
    Ok(Message { headers, body: body.unwrap_or_default() })
}

/// What the binding has percent-encoded in a header: all but printable ASCII, and of that space,
/// quote and percent.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// An event, its data apart from its attributes.
struct Envelope<'a> {
    data: Option<&'a RawValue>,
    attributes: Vec<(Cow<'a, str>, Value)>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut envelope = Envelope { data: None, attributes: Vec::new() };
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    if name == "data" {
                        envelope.data = Some(map.next_value()?);
                    } else {
                        envelope.attributes.push((name, map.next_value()?));
                    }
                }
                Ok(envelope)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::GOLDEN;

    fn value<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
        let found = message.headers.iter().find(|(given, _)| given.as_str() == name);
        found.map(|(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn a_binary_message_is_read_back_by_the_library_of_cloudevents_for_every_golden_event() {
        for (name, golden) in GOLDEN {
            let json = Bytes::copy_from_slice(golden.as_bytes());
            let message = Format::CloudEventsBinary.message(&json, None).unwrap();

            let event: Value = serde_json::from_slice(&json).unwrap();
            let data: Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!(data, event["data"], "{name}");
            for (attribute, expected) in event.as_object().unwrap() {
                let header = match attribute.as_str() {
                    "data" => continue,
                    "datacontenttype" => "content-type".to_owned(),
                    other => format!("ce-{other}"),
                };
                let written = value(&message, &header).unwrap_or_default();
                let read = percent_encoding::percent_decode_str(written).decode_utf8().unwrap();
                assert_eq!(read, expected.as_str().unwrap(), "{name}: {attribute}");
            }
        }
    }

    #[test]
    fn what_no_header_can_carry_is_percent_encoded_as_the_binding_has_it() {
        let json = Bytes::from_static(
            r#"{"id":"1","subject":"Euro € 😀 \"5 %\"","n":7,"flag":true,"none":null}"#.as_bytes(),
        );

        let message = Format::CloudEventsBinary.message(&json, None).unwrap();

        // The first is the example of the binding's own text.
        let subject = "Euro%20%E2%82%AC%20%F0%9F%98%80%20%225%20%25%22";
        assert_eq!(value(&message, "ce-subject"), Some(subject));
        assert_eq!(value(&message, "ce-n"), Some("7"));
        assert_eq!(value(&message, "ce-flag"), Some("true"));
        assert_eq!(value(&message, "ce-none"), None);
        assert!(message.body.is_empty());
    }

    #[test]
    fn the_raw_callback_is_its_bytes_under_its_own_content_type() {
        let request = |method: &str, content_type: Option<&str>, body: &'static [u8]| {
            let request = StoredRequest {
                method: method.to_owned(),
                query: "CallSid=c1&Status=Connected".to_owned(),
                content_type: content_type.map(str::to_owned),
                body: Bytes::from_static(body),
            };
            Format::Raw.message(&Bytes::from_static(b"{}"), Some(&request)).unwrap()
        };

        let posted = request("POST", Some("text/x-odd"), b"\xff\x00 not JSON");
        assert_eq!(&*posted.body, b"\xff\x00 not JSON");
        assert_eq!(value(&posted, "content-type"), Some("text/x-odd"));
        assert!(request("POST", None, b"x").headers.is_empty());
        let got = request("GET", None, b"");
        assert_eq!(&*got.body, b"CallSid=c1&Status=Connected");
        assert_eq!(value(&got, "content-type"), Some("application/x-www-form-urlencoded"));
        let error = Format::Raw.message(&Bytes::from_static(b"{}"), None).unwrap_err();
        assert!(matches!(error, Unrenderable::NoRequest));
    }

    #[test]
    fn an_event_that_fits_in_no_header_is_unrenderable_and_not_a_panic() {
        for hostile in ["", "[]", "{\"id\":{}}", "{\"a b\":1}", "{\"data\":", "{\"\u{e9}\":1}"] {
            let json = Bytes::copy_from_slice(hostile.as_bytes());
            assert!(Format::CloudEventsBinary.message(&json, None).is_err(), "{hostile}");
        }
    }
}
