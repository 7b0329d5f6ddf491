//! The closed vocabularies of the event: status, reason, direction, warnings.
//!
//! `providers.md` C.1 (statuses, reasons) and the tables of `event.md` are the source. Each
//! enum knows its words in one table, so that parsing, printing and the JSON Schema agree.

use std::fmt;

use crate::event::json::Json;

/// Makes an enum of words: the variants, their text, the list of all, and back from text.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every word, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in the event.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The variant of exactly this word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Json for $name {
            fn write_json(&self, to: &mut Vec<u8>) {
                self.as_str().write_json(to);
            }
        }
    };
}

words! {
    /// What became of the call: the twelve words every provider's own are mapped to.
    #[derive(Default)]
    Status {
        /// Accepted, not dialled.
        Queued = "queued",
        /// Dialling or ringing.
        Ringing = "ringing",
        /// Answered and going on, also on hold.
        InProgress = "in_progress",
        /// A person, or the flow as intended, was reached and the call ended.
        Completed = "completed",
        /// Rang out, missed, timed out.
        NoAnswer = "no_answer",
        /// The callee was busy.
        Busy = "busy",
        /// A machine answered.
        Voicemail = "voicemail",
        /// Answered, but no agent spoke with the callee.
        Abandoned = "abandoned",
        /// Withdrawn before answer.
        Canceled = "canceled",
        /// Refused by the callee or the network.
        Rejected = "rejected",
        /// Technical failure, bad number, congestion.
        Failed = "failed",
        /// Not understood; never refused.
        #[default]
        Unknown = "unknown",
    }
}

words! {
    /// Why the call ended as it did.
    Reason {
        /// The caller hung up.
        CallerHangup = "caller_hangup",
        /// The callee hung up.
        CalleeHangup = "callee_hangup",
        /// The agent hung up.
        AgentHangup = "agent_hangup",
        /// A machine was detected.
        VoicemailDetected = "voicemail_detected",
        /// A message was left on a machine.
        VoicemailMessageLeft = "voicemail_message_left",
        /// The longest allowed duration was reached.
        MaxDuration = "max_duration",
        /// Cut off without a goodbye.
        CutOff = "cut_off",
        /// No agent was free.
        NoAgent = "no_agent",
        /// The number is not one.
        InvalidNumber = "invalid_number",
        /// The number belongs to nobody.
        UnallocatedNumber = "unallocated_number",
        /// The network was congested.
        Congestion = "congestion",
        /// The network failed.
        NetworkError = "network_error",
        /// The callee could not be reached for now.
        Unavailable = "unavailable",
        /// Restricted by the network or the account.
        Restricted = "restricted",
        /// On a do-not-call list.
        DoNotCall = "do_not_call",
        /// Marked as spam.
        Spam = "spam",
        /// On hold.
        OnHold = "on_hold",
        /// Every attempt failed.
        AttemptsExhausted = "attempts_exhausted",
        /// The callee did not confirm.
        NotConfirmed = "not_confirmed",
        /// Transferred.
        Transfer = "transfer",
        /// The customer's own reason; its text is in `reason_raw`.
        Custom = "custom",
        /// Stated, not understood.
        Unknown = "unknown",
    }
}

words! {
    /// Who called whom.
    #[derive(Default)]
    Direction {
        /// The callee called us.
        Inbound = "inbound",
        /// We called the callee.
        Outbound = "outbound",
        /// Not said.
        #[default]
        Unknown = "unknown",
    }
}

words! {
    /// Who answered.
    AnsweredBy {
        /// A person.
        Human = "human",
        /// A machine.
        Machine = "machine",
    }
}

words! {
    /// What a reader of the event should know about how it was made (`event.md`, warnings).
    /// In alphabetical order, which is the order of the list in the event.
    Warning {
        /// The header says JSON and the body is a form, or the reverse.
        ContentTypeMismatch = "content_type_mismatch",
        /// A stated duration differs from every stated interval.
        DurationMismatch = "duration_mismatch",
        /// The body was repaired before it could be read.
        JsonRepaired = "json_repaired",
        /// Synthflow's swapped `error_message` and `end_call_reason`.
        LegacyShape = "legacy_shape",
        /// A number has letters in place of digits.
        NumberMasked = "number_masked",
        /// A placeholder of a document or test button stood for a value.
        Placeholder = "placeholder",
        /// Two status fields disagree.
        StatusConflict = "status_conflict",
        /// No status word: another field decided.
        StatusDerived = "status_derived",
        /// No status word and nothing that could stand for it.
        StatusMissing = "status_missing",
        /// A status word that no table has.
        StatusUnmapped = "status_unmapped",
        /// Invalid text was replaced.
        TextRepaired = "text_repaired",
        /// Instants are out of order.
        TimeOrder = "time_order",
        /// A naive time fell into a fold or a gap.
        TzAmbiguous = "tz_ambiguous",
        /// A naive time was read in a zone nobody configured.
        TzAssumed = "tz_assumed",
        /// A value was present but unusable in its field.
        ValueDropped = "value_dropped",
    }
}

// === impl Status ===

impl Status {
    /// Whether no further result of this call is expected.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Ringing | Self::InProgress | Self::Unknown)
    }

    /// The CloudEvents `type` of an event with this status: `call.` and the word.
    pub fn event_type(self) -> String {
        format!("call.{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_itself() {
        assert!(Status::ALL.iter().all(|word| Status::from_word(word.as_str()) == Some(*word)));
        assert!(Reason::ALL.iter().all(|word| Reason::from_word(word.as_str()) == Some(*word)));
        assert_eq!(Status::ALL.len(), 12);
    }

    #[test]
    fn warnings_are_declared_in_the_order_they_are_listed() {
        assert!(Warning::ALL.is_sorted_by_key(|warning| warning.as_str()));
        assert!(Warning::ALL.is_sorted());
    }
}
