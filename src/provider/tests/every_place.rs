//! Every place of a mapper that looks for a field is needed: with any one of them blind, something
//! is lost, or a fixture becomes another event than the one written for it.

use std::collections::BTreeSet;

use super::{
    super::sight::{Place, hiding, places},
    nothing_is_lost::{bodies, lost},
    *,
};

/// The fields that a mapper only looks at, to decide something: they stay in `extra` whoever
/// reads them, so that the fixtures must tell.
const LOOKED_AT: &[&str] = &[
    "Date/Time",
    "LogDateTime",
    "analysis.answered_by_human",
    "call.end_call_reason",
    "date",
    "duration",
    "error_message",
    "executed_actions",
    "last_attempt_timestamp",
    "phoneNumberExt",
    "rescheduledAt",
    "source",
    "start_Timestamp",
    "start_timestamp",
    "status",
    "unixtime",
];

/// What is known of one provider: its fixtures, and the bodies of those that are JSON.
struct Known {
    provider: Provider,
    cases: Vec<Case>,
}

// === impl Known ===

impl Known {
    fn all() -> impl Iterator<Item = Self> {
        Provider::ALL.iter().map(|provider| {
            let cases = Case::all().into_iter().filter(|case| case.provider == *provider);
            Self { provider: *provider, cases: cases.collect() }
        })
    }

    /// Every place that its mapper looked from.
    fn places(&self) -> BTreeSet<Place> {
        places(|| assert!(!self.changes_a_fixture() && !self.loses_something()))
    }

    /// Whether the oracle finds something lost or made up.
    fn loses_something(&self) -> bool {
        let own = bodies().iter().filter(|(provider, _)| *provider == self.provider);
        own.map(|(_, body)| body).any(|body| {
            let text = body.to_string();
            let decoded = decoded(&Settings::of(self.provider), post("", &text));
            let Ok(decoded) = decoded else { return true };
            let event = decoded.event.to_json();
            let event = serde_json::from_slice(&event).expect("JSON");
            !lost(self.provider, body, &event).is_empty()
        })
    }

    fn changes_a_fixture(&self) -> bool {
        self.cases.iter().any(|case| event_of(&case.settings, case.callback()) != case.expected)
    }
}

#[test]
fn a_mapper_without_any_one_of_its_places_loses_something() {
    let (mut tried, mut unneeded) = (0, Vec::new());
    for known in Known::all() {
        for place in known.places() {
            tried += 1;
            if hiding(&place, || known.loses_something()) {
                continue;
            }
            let is_seen = hiding(&place, || known.changes_a_fixture());
            if !is_seen || !LOOKED_AT.contains(&place.path.as_str()) {
                unneeded.push((is_seen, place));
            }
        }
    }
    assert!(tried > 100, "{tried}");
    assert!(unneeded.is_empty(), "{unneeded:#?}");
}

/// What `fields` and `timezones` of a source may name is what the mappers read.
#[test]
fn the_names_of_a_provider_s_fields_are_those_that_its_mapper_reads() {
    for known in Known::all() {
        let provider = known.provider;
        let seen: BTreeSet<String> = known.places().into_iter().map(|place| place.path).collect();
        let named: BTreeSet<&str> =
            provider.fields().iter().chain(provider.times()).copied().collect();
        let unread: Vec<_> = named.iter().filter(|name| !seen.contains(**name)).collect();
        assert!(unread.is_empty(), "{unread:?} of {}", provider.as_str());
        let lists = ["events.", "outcomes.", "agentActions.", "humanActions."];
        let unnamed: Vec<_> = seen
            .iter()
            .filter(|path| !named.contains(path.as_str()))
            .filter(|path| !lists.iter().any(|list| path.contains(list)))
            .collect();
        assert!(unnamed.is_empty(), "{unnamed:?} of {}", provider.as_str());
    }
}
