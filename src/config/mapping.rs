//! The keys of `[sources.*.map]`: our field on the left, where it stands in the body on the right.

use super::key::{Key, Kind, Table, Words};

/// `[sources.*.map]`
pub(super) static MAP: Table = Table {
    doc: "What stands where in the bodies of a custom provider; the left side is our field.",
    keys: &[
        Key::optional("name", Kind::Text, "What events call the provider.")
            .or_from("the source's name"),
        Key::optional(
            "changing",
            Kind::List(&Kind::Place),
            "What differs when a callback is repeated.",
        ),
        Key::optional("call", Kind::Table(&MAP_CALL), "The call itself."),
        Key::optional("agent", Kind::Table(&MAP_AGENT), "Who, on our side, made the call."),
        Key::optional("contact", Kind::Table(&MAP_CONTACT), "Whom the call was for."),
        Key::optional("campaign", Kind::Table(&MAP_CAMPAIGN), "The campaign or flow."),
        Key::optional("sequence", Kind::Table(&MAP_SEQUENCE), "The sequence."),
        Key::optional("meeting", Kind::Table(&MAP_MEETING), "A meeting the call arranged."),
        Key::optional("disposition", Kind::Rule(&RULE_TEXT), "The wrap-up reason given."),
        Key::optional("notes", Kind::Rule(&RULE_TEXT), "Its free text."),
        Key::optional("outcomes", Kind::Table(&MAP_OUTCOMES), "What came of the call."),
        Key::optional("actions", Kind::Table(&MAP_ACTIONS), "What was done because of it."),
        Key::optional("extracted", Kind::Picked, "What was learnt: a table, or values by name."),
        Key::optional("analysis", Kind::Place, "The provider's own analysis, a table."),
        Key::optional("logged_at", Kind::Rule(&RULE_TIME), "When the callback was made."),
    ],
};

pub(super) static MAP_CALL: Table = Table {
    doc: "The call itself.",
    keys: &[
        Key::optional("id", Kind::Place, "The provider's call id."),
        Key::optional("reference", Kind::Place, "What you correlate by."),
        Key::optional("direction", Kind::Rule(&RULE_DIRECTION), "Who called whom."),
        Key::optional("from", Kind::Rule(&RULE_NUMBER), "The calling number."),
        Key::optional("to", Kind::Rule(&RULE_NUMBER), "The called number."),
        Key::optional("via", Kind::Rule(&RULE_NUMBER), "The bridge or DID."),
        Key::optional(
            "status",
            Kind::Rule(&RULE_STATUS),
            "The status word; `status` of the source translates words of its own.",
        ),
        Key::optional("reason", Kind::Rule(&RULE_REASON), "Why it ended."),
        Key::optional("answered_by", Kind::Rule(&RULE_ANSWERED_BY), "Who answered."),
        Key::optional("queued_at", Kind::Rule(&RULE_TIME), "When it was queued."),
        Key::optional("scheduled_at", Kind::Rule(&RULE_TIME), "When it was planned for."),
        Key::optional("started_at", Kind::Rule(&RULE_TIME), "When dialling began."),
        Key::optional("answered_at", Kind::Rule(&RULE_TIME), "When it was answered."),
        Key::optional("ended_at", Kind::Rule(&RULE_TIME), "When it ended."),
        Key::optional("duration_seconds", Kind::Place, "Seconds, or hours:minutes:seconds."),
        Key::optional("billable_seconds", Kind::Place, "Seconds, or hours:minutes:seconds."),
        Key::optional("attempts", Kind::Place, "Attempts made."),
        Key::optional("max_attempts", Kind::Place, "Attempts that would be made."),
        Key::optional("retry_wait_seconds", Kind::Place, "Seconds between attempts."),
        Key::optional("recording_url", Kind::Place, "Where the recording is."),
        Key::optional("url", Kind::Place, "Where the provider shows the call."),
        Key::optional("summary", Kind::Rule(&RULE_TEXT), "A summary of the talk."),
        Key::optional("transcript", Kind::Place, "The talk."),
        Key::optional("legs", Kind::Table(&MAP_LEGS), "Its two legs."),
        Key::optional("timeline", Kind::Table(&MAP_TIMELINE), "What happened when."),
    ],
};

pub(super) static MAP_LEGS: Table = Table {
    doc: "The two legs of a call.",
    keys: &[
        Key::optional("from", Kind::Table(&MAP_LEG), "The leg to the caller."),
        Key::optional("to", Kind::Table(&MAP_LEG), "The leg to the called."),
    ],
};

pub(super) static MAP_LEG: Table = Table {
    doc: "One leg of a call.",
    keys: &[
        Key::optional("status", Kind::Place, "Its status word."),
        Key::optional("duration_seconds", Kind::Place, "Seconds, or hours:minutes:seconds."),
    ],
};

pub(super) static MAP_TIMELINE: Table = Table {
    doc: "What happened when: a list of tables.",
    keys: &[
        Key::required("from", Kind::Place, "Where the list stands."),
        Key::optional("at", Kind::Text, "The name of the time in an entry."),
        Key::optional("event", Kind::Text, "The name of the status word in an entry."),
        Key::optional("format", Kind::Text, "How their times are written, as of any time.")
            .or_from("RFC 3339, unix seconds, or YYYY-MM-DD HH:MM:SS"),
    ],
};

pub(super) static MAP_AGENT: Table = Table {
    doc: "Who, on our side, made the call.",
    keys: &[
        Key::optional("id", Kind::Rule(&RULE_TEXT), "The provider's id of the agent."),
        Key::optional("name", Kind::Rule(&RULE_TEXT), "The agent's name."),
        Key::optional("email", Kind::Rule(&RULE_TEXT), "The agent's address."),
    ],
};

pub(super) static MAP_CONTACT: Table = Table {
    doc: "Whom the call was for.",
    keys: &[
        Key::optional("name", Kind::Rule(&RULE_TEXT), "The contact's name."),
        Key::optional("email", Kind::Rule(&RULE_TEXT), "The contact's address."),
    ],
};

pub(super) static MAP_CAMPAIGN: Table = Table {
    doc: "The campaign or flow.",
    keys: &[
        Key::optional("id", Kind::Rule(&RULE_TEXT), "The provider's id of it."),
        Key::optional("name", Kind::Rule(&RULE_TEXT), "Its name."),
    ],
};

pub(super) static MAP_SEQUENCE: Table = Table {
    doc: "The sequence.",
    keys: &[
        Key::optional("id", Kind::Rule(&RULE_TEXT), "The provider's id of it."),
        Key::optional("state", Kind::Rule(&RULE_TEXT), "Where it stands."),
    ],
};

pub(super) static MAP_MEETING: Table = Table {
    doc: "A meeting the call arranged.",
    keys: &[
        Key::optional("start", Kind::Rule(&RULE_TIME), "When it begins."),
        Key::optional("end", Kind::Rule(&RULE_TIME), "When it ends."),
        Key::optional("host", Kind::Rule(&RULE_TEXT), "Who hosts it."),
    ],
};

pub(super) static MAP_OUTCOMES: Table = Table {
    doc: "What came of the call: a list of tables.",
    keys: &[
        Key::required("from", Kind::Place, "Where the list stands."),
        Key::optional("name", Kind::Text, "The name of the outcome's name in an entry."),
        Key::optional("reason", Kind::Text, "The name of the reason in an entry."),
    ],
};

pub(super) static MAP_ACTIONS: Table = Table {
    doc: "What was done because of the call: a list of tables.",
    keys: &[
        Key::required("from", Kind::Place, "Where the list stands."),
        Key::optional("actor", Kind::Word(&ACTORS), "Who does them.").or_from("\"agent\""),
        Key::optional("key", Kind::Text, "The name of the action's key in an entry."),
        Key::optional("status", Kind::Text, "The name of its status in an entry."),
        Key::optional("completed_at", Kind::Text, "The name of its time in an entry."),
        Key::optional("description", Kind::Text, "The name of its description in an entry."),
        Key::optional("format", Kind::Text, "How their times are written, as of any time.")
            .or_from("RFC 3339, unix seconds, or YYYY-MM-DD HH:MM:SS"),
    ],
};

pub(super) static RULE_TEXT: Table = Table {
    doc: "A text.",
    keys: &[
        Key::optional("from", Kind::Place, "Where it stands."),
        Key::optional("constant", Kind::Text, "Or what it always is."),
    ],
};

pub(super) static RULE_STATUS: Table = Table {
    doc: "A status.",
    keys: &[
        Key::optional("from", Kind::Place, "Where its word stands."),
        Key::optional("constant", Kind::Status, "Or what it always is."),
    ],
};

pub(super) static RULE_REASON: Table = Table {
    doc: "A reason.",
    keys: &[
        Key::optional("from", Kind::Place, "Where its word stands."),
        Key::optional("constant", Kind::Word(&REASONS), "Or what it always is."),
        Key::optional("words", Kind::Map(&Kind::Word(&REASONS)), "Their word = our reason."),
    ],
};

pub(super) static RULE_DIRECTION: Table = Table {
    doc: "A direction.",
    keys: &[
        Key::optional("from", Kind::Place, "Where its word stands."),
        Key::optional("constant", Kind::Word(&DIRECTIONS), "Or what it always is."),
        Key::optional("words", Kind::Map(&Kind::Word(&DIRECTIONS)), "Their word = our direction."),
    ],
};

pub(super) static RULE_ANSWERED_BY: Table = Table {
    doc: "Who answered.",
    keys: &[
        Key::optional("from", Kind::Place, "Where its word stands."),
        Key::optional("constant", Kind::Word(&ANSWERERS), "Or what it always is."),
        Key::optional("words", Kind::Map(&Kind::Word(&ANSWERERS)), "Their word = our word."),
    ],
};

pub(super) static RULE_NUMBER: Table = Table {
    doc: "A phone number.",
    keys: &[
        Key::optional("from", Kind::Place, "Where it stands."),
        Key::optional("constant", Kind::Text, "Or what it always is, such as your own number."),
        Key::optional("ext", Kind::Place, "Where its extension stands."),
    ],
};

pub(super) static RULE_TIME: Table = Table {
    doc: "A time.",
    keys: &[
        Key::required("from", Kind::Place, "Where it stands."),
        Key::optional(
            "format",
            Kind::Text,
            "\"rfc2822\", \"unix_ms\", or directives such as \"%d/%m/%Y %H:%M\".",
        )
        .or_from("RFC 3339, unix seconds, or YYYY-MM-DD HH:MM:SS"),
    ],
};

static DIRECTIONS: Words = Words { now: &["inbound", "outbound"] };

static ANSWERERS: Words = Words { now: &["human", "machine"] };

static ACTORS: Words = Words { now: &["agent", "human"] };

/// The reasons of the event, in its order; a test compares the two.
pub(super) static REASONS: Words = Words {
    now: &[
        "caller_hangup",
        "callee_hangup",
        "agent_hangup",
        "voicemail_detected",
        "voicemail_message_left",
        "max_duration",
        "cut_off",
        "no_agent",
        "invalid_number",
        "unallocated_number",
        "congestion",
        "network_error",
        "unavailable",
        "restricted",
        "do_not_call",
        "spam",
        "on_hold",
        "attempts_exhausted",
        "not_confirmed",
        "transfer",
        "custom",
        "unknown",
    ],
};
