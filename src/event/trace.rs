//! `traceparent` (W3C Trace Context): which trace an event belongs to.

use std::fmt::Write as _;

use crate::event::{EventId, TraceState};

/// What the sender of a callback says of its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: TraceParent,
    /// `tracestate`, which says nothing without the other.
    pub state: Option<TraceState>,
}

/// A trace, and how it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    flags: u8,
}

/// The sender records this trace.
const SAMPLED: u8 = 1;

// === impl TraceParent ===

impl TraceParent {
    /// Reads the header of a caller; `None` where it is not what the recommendation says. A
    /// version we do not know may have more behind what we read.
    pub fn parse(header: &str) -> Option<Self> {
        let mut fields = header.split('-');
        let version = bytes::<1>(fields.next()?)?;
        let trace = bytes::<16>(fields.next()?)?;
        let parent = bytes::<8>(fields.next()?)?;
        let [flags] = bytes::<1>(fields.next()?)?;
        let ends = match version {
            [0] => fields.next().is_none(),
            [0xff] => false,
            _ => true,
        };
        (ends && trace != [0; 16] && parent != [0; 8]).then_some(Self { trace, flags })
    }

    /// The trace of an event whose caller sent none: the same at every attempt and to every
    /// target, and found by the event's id.
    pub fn of_event(id: EventId) -> Self {
        // A target whose tracer follows its caller would else record none of them.
        Self { trace: *id.as_bytes(), flags: SAMPLED }
    }

    /// The trace id and the flags, to be kept.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [self.flags; 17];
        for (to, from) in bytes.iter_mut().zip(self.trace) {
            *to = from;
        }
        bytes
    }

    /// What [`TraceParent::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 17]) -> Self {
        let [trace @ .., flags] = bytes;
        Self { trace, flags }
    }

    /// The header of one request within the trace, which `span` tells from others.
    pub fn header(self, span: u64) -> String {
        let mut header = String::with_capacity(HEADER_CHARS);
        header.push_str("00-");
        for byte in self.trace {
            // Writing to a String cannot fail.
            write!(header, "{byte:02x}").unwrap_or_default();
        }
        // No span is called 0.
        write!(header, "-{:016x}-{:02x}", span.max(1), self.flags & SAMPLED).unwrap_or_default();
        header
    }
}

const HEADER_CHARS: usize = 55;

/// So many bytes in lower-case hex.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the recommendation.
    const PUBLISHED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_passed_on_with_a_span_of_its_own() {
        let parent = TraceParent::parse(PUBLISHED).unwrap();

        let header = parent.header(0x0123_4567_89ab_cdef);

        assert_eq!(header, "00-4bf92f3577b34da6a3ce929d0e0e4736-0123456789abcdef-01");
        assert_eq!(TraceParent::parse(&header), Some(parent));
        let unsampled = TraceParent::parse(&PUBLISHED.replace("-01", "-00")).unwrap();
        assert!(unsampled.header(0).ends_with("-0000000000000001-00"));
        let later = format!("cc-{}-more", PUBLISHED.get(3..).unwrap());
        assert_eq!(TraceParent::parse(&later), Some(parent));
        assert_eq!(TraceParent::from_bytes(unsampled.to_bytes()), unsampled);
        assert_ne!(TraceParent::from_bytes(parent.to_bytes()), unsampled);
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47\u{e9}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_event_without_a_trace_has_one_of_its_own() {
        let id = EventId::new("2026-03-01T12:00:00Z".parse().unwrap(), [7; 10]);

        let header = TraceParent::of_event(id).header(9);

        let digits = id.to_string().replace('-', "");
        assert_eq!(header, format!("00-{digits}-0000000000000009-01"));
        assert!(TraceParent::parse(&header).is_some());
    }
}
