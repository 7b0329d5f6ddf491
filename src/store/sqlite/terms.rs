//! How the deliveries of one target age, and whether those of a call take turns.
//!
//! Ages are reckoned in the target's own time, which stands still while it is paused or orphaned.
//! Nothing of a delivery has to be written for that: its row says how long the target had stood
//! still when its age began, and the target's row how long it has by now.

use rusqlite::{Connection, Row, params};

use super::group::Fault;

/// What a target's row says beside its name and totals. Instants and spans in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// Since when a person has it paused.
    pub(super) paused_at: Option<i64>,
    /// Since when relay.toml does not name it.
    pub(super) orphaned_at: Option<i64>,
    still_since: Option<i64>,
    stood: i64,
    pub(super) turns: Turns,
}

/// Whether the deliveries of a call take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turns {
    /// Each is due by itself.
    #[default]
    None,
    /// One at a time, in the order of their acks.
    ByCall,
    /// As `ByCall`, but those of before the change have still to join the queues.
    Joining,
}

// === impl Terms ===

impl Terms {
    /// The columns that [`Terms::of`] reads, in its order.
    pub(super) const COLUMNS: &str = "paused_at, orphaned_at, still_since, stood, turns";

    /// Reads them, from column `first` on.
    pub(super) fn of(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            paused_at: row.get(first)?,
            orphaned_at: row.get(first + 1)?,
            still_since: row.get(first + 2)?,
            stood: row.get(first + 3)?,
            turns: match row.get(first + 4)? {
                0_i64 => Turns::None,
                1 => Turns::ByCall,
                _ => Turns::Joining,
            },
        })
    }

    pub(super) fn write(&self, connection: &Connection, target: i64) -> Result<(), Fault> {
        let turns: i64 = match self.turns {
            Turns::None => 0,
            Turns::ByCall => 1,
            Turns::Joining => 2,
        };
        connection
            .prepare_cached(
                "UPDATE targets SET paused_at = ?2, orphaned_at = ?3, still_since = ?4, \
                 stood = ?5, turns = ?6 WHERE id = ?1",
            )?
            .execute(params![
                target,
                self.paused_at,
                self.orphaned_at,
                self.still_since,
                self.stood,
                turns
            ])?;
        Ok(())
    }

    /// How long the target has stood still, all in all, at this instant.
    pub(super) fn stood_at(&self, at: i64) -> i64 {
        self.stood + self.still_since.map_or(0, |since| (at - since).max(0))
    }

    /// The terms once it is paused, or goes on. A second pause does not begin anew.
    pub(super) fn paused(self, paused: bool, now: i64) -> Self {
        let paused_at = paused.then(|| self.paused_at.unwrap_or(now));
        Self { paused_at, ..self }.ageing(now)
    }

    /// The terms once relay.toml names it, or does not.
    pub(super) fn orphaned(self, orphaned: bool, now: i64) -> Self {
        let orphaned_at = orphaned.then(|| self.orphaned_at.unwrap_or(now));
        Self { orphaned_at, ..self }.ageing(now)
    }

    /// The terms once its deliveries take turns so.
    pub(super) fn taking(self, turns: Turns) -> Self {
        Self { turns, ..self }
    }

    /// Stops or starts its time, as its reasons are now.
    fn ageing(self, now: i64) -> Self {
        let still = self.paused_at.is_some() || self.orphaned_at.is_some();
        match self.still_since {
            None if still => Self { still_since: Some(now), ..self },
            Some(_) if !still => Self { stood: self.stood_at(now), still_since: None, ..self },
            None | Some(_) => self,
        }
    }
}

// === impl Turns ===

impl Turns {
    /// Whether new deliveries join the queue of their call.
    pub(super) fn taken(self) -> bool {
        !matches!(self, Self::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_while_there_is_a_reason_however_many_there_are() {
        let terms = Terms::default().paused(true, 10).orphaned(true, 15);
        assert_eq!((terms.stood_at(5), terms.stood_at(20)), (0, 10));
        let terms = terms.paused(false, 30);
        assert_eq!(terms.stood_at(40), 30);

        let terms = terms.orphaned(false, 50);

        assert_eq!((terms.stood_at(50), terms.stood_at(1_000)), (40, 40));
        let terms = terms.paused(true, 100).paused(true, 110);
        assert_eq!((terms.paused_at, terms.stood_at(120)), (Some(100), 60));
    }
}
