//! What a person picks events and dead letters by, and how it becomes a question.

use hookswitch::clock::Clock;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use serde_json::{Map, Value, json};

/// Which events.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Picked {
    /// Of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// With this call status, such as `no_answer` or `voicemail`.
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// With this call id or reference.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// From or to this number, as +15550100123.
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// From this moment on: RFC 3339, or a time ago such as 30m, 2h, 7d.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    since: Option<Timestamp>,
    /// Before this moment: RFC 3339, or a time ago.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    until: Option<Timestamp>,
    /// With a delivery to this target.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

/// How much of a list, and from where.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Part {
    /// At most so many.
    #[arg(long, value_name = "N", default_value = "50", value_parser = some)]
    pub(super) limit: usize,
    /// Go on where a list ended: its `next`.
    #[arg(long, value_name = "CURSOR")]
    pub(super) cursor: Option<String>,
}

// === impl Picked ===

impl Picked {
    /// As a query, with further parameters.
    pub(super) fn query(&self, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.pairs() {
            query.append_pair(name, &value);
        }
        for (name, value) in more {
            query.append_pair(name, value);
        }
        format!("?{}", query.finish())
    }

    /// As the members of a JSON body.
    pub(super) fn members(&self) -> Map<String, Value> {
        self.pairs().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }

    /// Whether anything is picked by.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs().next().is_none()
    }

    /// Whether anything but an end is picked by, which picks nothing: all is older than tomorrow.
    pub(super) fn is_choice(&self) -> bool {
        self.pairs().any(|(name, _)| name != "until")
    }

    /// Whether a moment is named to begin at.
    pub(super) fn has_since(&self) -> bool {
        self.since.is_some()
    }

    /// Only what happened before `now`, so that what comes meanwhile is left alone.
    pub(super) fn before(mut self, now: Timestamp) -> Self {
        self.until.get_or_insert(now);
        self
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let instant = |at: Option<Timestamp>| at.map(|at| at.to_string());
        [
            ("source", self.source.clone()),
            ("status", self.status.clone()),
            ("call", self.call.clone()),
            ("number", self.number.clone()),
            ("since", instant(self.since)),
            ("until", instant(self.until)),
            ("target", self.target.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// RFC 3339, or how long ago.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = || {
        let span: Span = text.parse().ok()?;
        let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).ok()?;
        let ago = jiff::SignedDuration::try_from_secs_f64(seconds.abs()).ok()?;
        Clock::system().now().checked_sub(ago).ok()
    };
    ago()
        .ok_or_else(|| "write 2026-11-27T09:00:00Z, or a time ago such as 30m, 2h or 7d".to_owned())
}

// === impl Part ===

impl Part {
    /// Says that there may be more than what was shown.
    pub(super) fn tell_next(shown: usize, next: &Value) {
        if let Some(next) = next.as_str() {
            eprintln!("{shown} shown; more with --limit, or from --cursor {next}");
        }
    }
}

/// One or more.
fn some(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("write how many, 1 or more".to_owned()),
    }
}

/// `50/s`, `50`: how many a second.
pub(super) fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse() {
        Ok(rate) if rate > 0 => Ok(rate),
        _ => Err("write how many a second, such as 50/s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_a_time_ago() {
        assert_eq!(instant("2026-11-27T09:00:00Z").unwrap().to_string(), "2026-11-27T09:00:00Z");
        let now = Clock::system().now();
        for (text, seconds) in [("90s", 90), ("2h", 7200), ("7d", 604_800), ("1d12h", 129_600)] {
            let ago = now.duration_since(instant(text).unwrap()).as_secs();
            assert!((ago - seconds).abs() <= 1, "{text}: {ago}");
        }
        assert!(instant("yesterday").is_err());
    }

    #[test]
    fn a_rate_is_so_many_a_second() {
        assert_eq!((rate("50/s"), rate("7")), (Ok(50), Ok(7)));
        assert!(rate("0").is_err() && rate("fast").is_err() && rate("5/m").is_err());
    }
}
