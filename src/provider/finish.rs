//! The last steps every provider's event has in common: query, `extra`, and the checks of times.

use std::{borrow::Cow, collections::BTreeSet};

use jiff::Timestamp;

use super::{
    document::parameters,
    fate::{Fate, MAX_ID, text},
    fields::Fields,
};
use crate::event::{
    Call, Data, Warning,
    value::{Object, Value},
};

/// What a mapper made, and which of it the provider did not state itself.
#[derive(Debug, Default)]
pub(super) struct Mapped<'a> {
    pub(super) data: Data<'a>,
    /// `duration_seconds` was computed.
    pub(super) duration_derived: bool,
    /// `ended_at` was computed.
    pub(super) ended_derived: bool,
}

/// Puts together what was mapped, what was not, and what the URL said.
pub(super) fn finish<'a>(
    mapped: Mapped<'a>,
    fields: Fields<'a, '_>,
    query: &'a str,
    from_query: bool,
) -> Data<'a> {
    let Mapped { mut data, duration_derived, ended_derived } = mapped;
    let settings = fields.settings;
    let (rest, mut warnings) = fields.into_rest();
    data.query = parameters(query, &mut warnings);
    data.query.retain(|(name, _)| !settings.is_credential(name));
    // The parameters of a GET are the body too, and stand in `query` whole.
    data.extra = if from_query { Object::new() } else { rest };
    if data.call.reference.is_none() {
        data.call.reference = reference(&data.query, &mut warnings);
    }
    if !in_order(&data.call, data.logged_at) {
        warnings.insert(Warning::TimeOrder);
    }
    if !duration_derived && !duration_fits(&data.call, ended_derived) {
        warnings.insert(Warning::DurationMismatch);
    }
    data.warnings.append(&mut warnings);
    data
}

/// The query parameter `ref`, by which customers of providers without a call id correlate.
fn reference<'a>(query: &Object<'a>, warnings: &mut BTreeSet<Warning>) -> Option<Cow<'a, str>> {
    let (_, value) = query.iter().find(|(name, _)| name == "ref")?;
    let first = match value {
        Value::Array(values) => values.first()?,
        value => value,
    };
    match (text(first), first) {
        (Fate::Whole(text), _) if text.len() > MAX_ID => {
            warnings.insert(Warning::ValueDropped);
            None
        }
        (Fate::Whole(_), Value::String(text)) => Some(text.clone()),
        (Fate::Refused(warning), _) => {
            warnings.insert(warning);
            None
        }
        _ => None,
    }
}

/// queued ≤ started ≤ answered ≤ ended, and the log not before the start.
fn in_order(call: &Call<'_>, logged_at: Option<Timestamp>) -> bool {
    let times = [call.queued_at, call.started_at, call.answered_at, call.ended_at];
    let logged = call.started_at.zip(logged_at).is_none_or(|(start, log)| start <= log);
    logged && times.into_iter().flatten().is_sorted()
}

/// Whether a stated duration is within a second of one of the stated intervals, if there are any.
fn duration_fits(call: &Call<'_>, ended_derived: bool) -> bool {
    let Some(stated) = call.duration_seconds.and_then(|seconds| i64::try_from(seconds).ok()) else {
        return true;
    };
    let Some(ended) = call.ended_at.filter(|_| !ended_derived) else { return true };
    let mut intervals = [call.started_at, call.answered_at]
        .into_iter()
        .flatten()
        .map(|start| ended.as_millisecond().saturating_sub(start.as_millisecond()))
        .peekable();
    intervals.peek().is_none()
        || intervals.any(|millis| {
            stated.saturating_mul(1000).saturating_sub(millis).saturating_abs() <= 1000
        })
}

/// Whether a body identifies its call: by an id or at least one instant (`providers.md` C.3), the
/// log's only when `log_stays` the same at each try.
pub(super) fn identifies(data: &Data<'_>, log_stays: bool) -> bool {
    let call = &data.call;
    call.id.is_some()
        || [
            call.queued_at,
            call.scheduled_at,
            call.started_at,
            call.answered_at,
            call.ended_at,
            data.logged_at.filter(|_| log_stays),
        ]
        .iter()
        .any(Option::is_some)
        || call.timeline.iter().any(|moment| moment.at.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "what the fields it fills are")]
    fn at(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(1_700_000_000 + second).expect("in range"))
    }

    #[test]
    fn times_out_of_order_are_noticed_wherever_they_are() {
        let call = |queued_at, started_at, answered_at, ended_at| Call {
            queued_at,
            started_at,
            answered_at,
            ended_at,
            ..Call::default()
        };

        assert!(in_order(&call(at(0), at(1), at(1), at(9)), at(1)));
        assert!(in_order(&call(None, None, None, None), at(0)));
        assert!(in_order(&call(at(5), None, None, None), at(0)));
        assert!(!in_order(&call(at(2), at(1), None, None), None));
        assert!(!in_order(&call(at(2), None, None, at(1)), None));
        assert!(!in_order(&call(None, at(2), None, None), at(1)));
    }

    #[test]
    fn a_stated_duration_may_be_of_either_interval_and_a_second_off() {
        let fits = |duration, answered_at, ended_derived| {
            let call = Call {
                started_at: at(0),
                answered_at,
                ended_at: at(60),
                duration_seconds: Some(duration),
                ..Call::default()
            };
            duration_fits(&call, ended_derived)
        };

        assert!(fits(60, None, false));
        assert!(fits(61, None, false));
        assert!(!fits(62, None, false));
        assert!(fits(50, at(10), false));
        assert!(!fits(55, at(10), false));
        assert!(fits(5, None, true));
        assert!(duration_fits(&Call { duration_seconds: Some(9), ..Call::default() }, false));
        assert!(!fits(u64::MAX >> 1, None, false));
    }
}
