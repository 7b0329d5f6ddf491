//! Status words: the matching rule of `providers.md` C.1 and the shared table of C.8.

use std::borrow::Cow;

use super::fields::Fields;
use crate::event::{Reason, Status, Warning};

/// What a status word says.
pub(super) type Meaning = (Status, Option<Reason>);

/// What a provider's own table makes of a folded word.
pub(super) type Table = fn(&str) -> Option<Meaning>;

/// The meaning of a word: by the source's own map, else the provider's table, else the shared
/// words; else `unknown`, with a warning.
pub(super) fn meaning(fields: &mut Fields<'_, '_>, word: &str, table: Table) -> Meaning {
    let word = fold(word);
    let own = fields.settings.status.get(word.as_ref()).map(|status| (*status, None));
    let shared = || shared(&word).map(|status| (status, None));
    own.or_else(|| table(&word)).or_else(shared).unwrap_or_else(|| {
        fields.warn(Warning::StatusUnmapped);
        (Status::Unknown, None)
    })
}

/// Trims, lower-cases, and makes `_` and blanks to `-`. The keys of a source's `status` map are
/// folded by this too.
pub fn fold(word: &str) -> Cow<'_, str> {
    let word = word.trim();
    if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Cow::Borrowed(word);
    }
    Cow::Owned(word.to_lowercase().replace(['_', ' '], "-"))
}

/// The exact words of C.8, folded. Where it lists a word for a state and for an event (`answered`),
/// the state stands here.
fn shared(word: &str) -> Option<Status> {
    Some(match word {
        "queued" | "queue" | "scheduled" | "created" | "new" | "allocated" | "registered"
        | "pending" | "requested" => Status::Queued,
        "initiated"
        | "ringing"
        | "started"
        | "dialing"
        | "calling"
        | "setup"
        | "proceeding"
        | "connected-to-system" => Status::Ringing,
        "in-progress" | "ongoing" | "connected" | "forwarding" | "hold" | "parked"
        | "connected-to-agent" => Status::InProgress,
        "completed" | "complete" | "ended" | "done" | "hangup" | "disconnected" | "call.hangup"
        | "answered" | "answer" => Status::Completed,
        "no-answer"
        | "noanswer"
        | "unanswered"
        | "timeout"
        | "missed"
        | "not-answered"
        | "notanswered"
        | "noresponse"
        | "dial-no-answer"
        | "agents-did-not-answer"
        | "customer-did-not-answer" => Status::NoAnswer,
        "busy" | "user-busy" | "dial-busy" | "customer-busy" | "targetbusy" => Status::Busy,
        "voicemail" | "machine" | "voicemail-reached" | "left-voicemail" | "amd" => {
            Status::Voicemail
        }
        "abandoned" | "short-abandoned" | "no-available-agent" | "user-disconnected" => {
            Status::Abandoned
        }
        "canceled" | "cancelled" | "cancel" | "originator-cancel" | "manually-canceled"
        | "manual-stopped" | "call-canceled" => Status::Canceled,
        "rejected" | "call-rejected" | "user-declined" | "destinationblocked" | "scam-detected"
        | "marked-as-spam" => Status::Rejected,
        "failed"
        | "error"
        | "dial-failed"
        | "invalid-destination"
        | "not-found"
        | "invalidnumber"
        | "congestion" => Status::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_whatever_their_case_and_joints() {
        for word in ["no-answer", "NO ANSWER", " No_Answer ", "No Answer"] {
            assert_eq!(shared(&fold(word)), Some(Status::NoAnswer), "{word}");
        }
        assert_eq!(shared(&fold("in_progress_new")), None);
        assert_eq!(shared(&fold("completed.")), None);
    }
}
