//! Instants as the event writes them: RFC 3339, UTC, `Z`, a fraction only where it is not zero.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde::{Serialize, Serializer};

/// An instant that serialises as the event's text.
#[derive(Clone, Copy, Debug)]
pub struct Text(pub Timestamp);

// === impl Text ===

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let printer = if self.0.subsec_nanosecond() / 1_000_000 == 0 { &WHOLE } else { &MILLIS };
        serializer.serialize_str(&printer.timestamp_to_string(&self.0))
    }
}

/// For `#[serde(serialize_with)]` on a field that may be null.
#[expect(clippy::ref_option, reason = "the signature serde asks for")]
pub(super) fn serialize<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(Text).serialize(serializer)
}

const WHOLE: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
const MILLIS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
