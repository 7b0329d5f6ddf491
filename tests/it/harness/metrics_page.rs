//! A scrape, as Prometheus would read it.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of one scrape, by name with labels as they stand on the page.
#[derive(Clone, Debug)]
pub(crate) struct Page(BTreeMap<String, f64>);

// === impl Page ===

impl Page {
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// The sample of one series. Labels in any order; a missing series is a failure.
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<f64> = self.matching(name, labels).collect();
        assert_eq!(found.len(), 1, "{name}{labels:?}: {found:?} on\n{self:#?}");
        found[0]
    }

    /// The sum of every series that has these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).sum()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.matching(name, &[]).next().is_some()
    }

    /// The names of all series, labels and all.
    pub(crate) fn series(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        self.0.iter().filter_map(move |(series, value)| {
            let (own, rest) = series.split_once('{').unwrap_or((series, ""));
            let has =
                |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
            (own == name && labels.iter().all(has)).then_some(*value)
        })
    }

    /// Both accounting identities of the contract, exactly.
    pub(crate) fn assert_balanced(&self, sources: &[&str], targets: &[&str]) {
        for source in sources {
            let accepted = self.get("hookswitch_events_accepted_total", &[("source", source)]);
            let sum: f64 = ["routed", "unrouted", "quarantined"]
                .iter()
                .map(|state| self.get("hookswitch_events", &[("source", source), ("state", state)]))
                .sum();
            assert_eq!(accepted, sum, "events of {source} on\n{self:#?}");
        }
        for target in targets {
            let enqueued = self.get("hookswitch_deliveries_enqueued_total", &[("target", target)]);
            let sum: f64 = ["pending", "delivered", "dead", "discarded"]
                .iter()
                .map(|state| {
                    self.get("hookswitch_deliveries", &[("target", target), ("state", state)])
                })
                .sum();
            assert_eq!(enqueued, sum, "deliveries of {target} on\n{self:#?}");
        }
    }
}
