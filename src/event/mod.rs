//! The normalised call event: what every target receives, whichever provider called.
//!
//! Holds only what a target can see: the event's shape, its vocabularies, its JSON Schema, and
//! the rules for the values in it (phone numbers, instants). Everything here is pure.

mod call_event;
mod golden;
mod id;
pub mod instant;
pub(crate) mod json;
mod layout;
pub mod number;
pub mod schema;
mod trace;
mod trace_state;
pub mod value;
mod word;

pub use call_event::{
    Action, Agent, Call, CallEvent, Campaign, Contact, DATA_SCHEMA, Data, Envelope, Leg, Meeting,
    Moment, Number, Outcome, Sequence, SourceName,
};
pub use golden::GOLDEN;
pub use id::EventId;
pub use trace::{Trace, TraceParent};
pub use trace_state::TraceState;
pub use word::{AnsweredBy, Direction, Reason, Status, Warning};
