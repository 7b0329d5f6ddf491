//! `retry` of a target.

use std::time::Duration;

use super::{
    contract::RETRY,
    fields::{Fields, Node},
    value,
};
use crate::delivery::retry::{Pauses, Settings};

/// Reads the table.
pub(super) fn read(node: &Node<'_>) -> Option<Settings> {
    let fields = Fields::open(node, &RETRY)?;
    let exponential = exponential(&fields);
    let schedule = fields.get("schedule", |node| value::some(node, value::duration));
    let attempts = fields.get("attempts", value::count);
    let give_up_after = fields.get("give_up_after", value::duration);

    let scheduled = fields.written("schedule").is_some();
    if scheduled {
        for name in ["initial", "factor", "max"] {
            if fields.written(name).is_some() {
                fields.reading().error(
                    &fields.key_spot(name),
                    format!("`{name}` has no meaning beside `schedule`"),
                    "keep one of them",
                );
            }
        }
    }
    // Three days are meant for pauses that would otherwise go on for ever.
    let bounded = scheduled || fields.written("attempts").is_some();
    let ends_by_age = !bounded || fields.written("give_up_after").is_some();
    Some(Settings {
        pauses: if scheduled { Pauses::Schedule(schedule?) } else { exponential? },
        give_up_after: if ends_by_age { Some(give_up_after?) } else { None },
        attempts,
    })
}

fn exponential(fields: &Fields<'_>) -> Option<Pauses> {
    let initial = fields.get("initial", value::duration);
    let factor = fields.get("factor", value::factor);
    let max = fields.get("max", value::duration);
    let (initial, factor, max) = (initial?, factor?, max?);
    if max < initial {
        let written = if fields.written("max").is_some() { "max" } else { "initial" };
        fields.reading().error(
            &fields.key_spot(written),
            "`max` is shorter than `initial`",
            format!("write at least {}", shown(initial)),
        );
        return None;
    }
    Some(Pauses::Exponential { initial, factor, max })
}

/// A duration as relay.toml writes it.
pub(super) fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units: [(u128, &str); 4] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.into_iter().find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("\"{}{name}\"", millis / unit),
        None => format!("\"{millis}ms\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_in_its_largest_whole_unit() {
        assert_eq!(shown(Duration::from_hours(72)), "\"3d\"");
        assert_eq!(shown(Duration::from_hours(25)), "\"25h\"");
        assert_eq!(shown(Duration::from_millis(1500)), "\"1500ms\"");
        assert_eq!(shown(Duration::ZERO), "\"0ms\"");
    }
}
