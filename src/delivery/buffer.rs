//! What is due and waits for the gate, and who of it goes first.
//!
//! The oldest goes first, except that first attempts have a share of their own: behind an outage
//! there may be more retries than a target takes in hours, and a new event must not wait for all
//! of them. Further attempts go among themselves in the order they are due, so that an old event
//! that fails again and again does not keep the others from their next attempt.

use std::collections::VecDeque;

use crate::store::{Delivery, DeliveryId, Room};

/// Deliveries of one target, in the order of the store.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    first: VecDeque<Delivery>,
    further: VecDeque<Delivery>,
    /// Further attempts sent in a row while a first attempt waited.
    row: usize,
}

/// Whether an attempt is the first of its delivery's round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is.
    First,
    /// It was attempted before.
    Further,
}

/// Of so many attempts in a row one is a first one, when one waits.
const SHARE: usize = 4;

// === impl Buffer ===

impl Buffer {
    /// Takes what the store found.
    pub(super) fn extend(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            self.queue(Kind::of(&delivery)).push_back(delivery);
        }
    }

    /// Takes back one that was not attempted.
    pub(super) fn put_back(&mut self, delivery: Delivery) {
        self.queue(Kind::of(&delivery)).push_front(delivery);
    }

    /// Which kind goes next, when further attempts may be made only if `further_may`.
    pub(super) fn next(&self, further_may: bool) -> Option<Kind> {
        match (self.first.front(), self.further.front()) {
            (None, None) => None,
            (None, Some(_)) => further_may.then_some(Kind::Further),
            (Some(_), None) => Some(Kind::First),
            (Some(first), Some(further)) => {
                let is_older = (further.since, further.id) < (first.since, first.id);
                let goes = is_older && further_may && self.row + 1 < SHARE;
                Some(if goes { Kind::Further } else { Kind::First })
            }
        }
    }

    /// Takes the next of a kind out.
    pub(super) fn pop(&mut self, kind: Kind) -> Option<Delivery> {
        self.row = match kind {
            Kind::Further if !self.first.is_empty() => self.row.saturating_add(1),
            Kind::First | Kind::Further => 0,
        };
        self.queue(kind).pop_front()
    }

    /// Forgets everything; the store still has it.
    pub(super) fn clear(&mut self) {
        (self.first, self.further, self.row) = (VecDeque::new(), VecDeque::new(), 0);
    }

    /// Who is in it.
    pub(super) fn ids(&self) -> impl Iterator<Item = DeliveryId> {
        self.first.iter().chain(&self.further).map(|delivery| delivery.id)
    }

    /// How many more of each fit, when `max` of each may wait.
    pub(super) fn room(&self, max: usize) -> Room {
        Room {
            first: max.saturating_sub(self.first.len()),
            further: max.saturating_sub(self.further.len()),
        }
    }

    fn queue(&mut self, kind: Kind) -> &mut VecDeque<Delivery> {
        match kind {
            Kind::First => &mut self.first,
            Kind::Further => &mut self.further,
        }
    }
}

// === impl Kind ===

impl Kind {
    fn of(delivery: &Delivery) -> Self {
        if delivery.attempts == 0 { Self::First } else { Self::Further }
    }
}

/// How many of `concurrency` slots further attempts may take: the rest is kept for first ones, so
/// that a new event does not wait for retries that hang. A single slot is shared in time instead.
pub(super) fn further_slots(concurrency: usize) -> usize {
    concurrency.saturating_sub(concurrency.div_ceil(SHARE)).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::{event::EventId, route::TargetName};

    fn delivery(id: i64, since: i64, attempts: u32) -> Delivery {
        let since = Timestamp::from_second(1_800_000_000 + since).unwrap();
        Delivery {
            id: DeliveryId(id),
            target: TargetName::new("crm"),
            event: EventId::new(since, [0; 10]),
            json: Bytes::new(),
            trace: None,
            since,
            stood: Duration::ZERO,
            round: 0,
            new_id: false,
            attempts,
        }
    }

    fn order(buffer: &mut Buffer, further_may: bool) -> Vec<i64> {
        let mut order = Vec::new();
        while let Some(kind) = buffer.next(further_may) {
            order.push(buffer.pop(kind).unwrap().id.0);
        }
        order
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut buffer = Buffer::default();
        buffer.extend(vec![delivery(2, 5, 0), delivery(1, 0, 3), delivery(3, 7, 0)]);

        assert_eq!(order(&mut buffer, true), [1, 2, 3]);
    }

    #[test]
    fn every_fourth_is_a_first_attempt_while_one_waits() {
        let mut buffer = Buffer::default();
        buffer.extend((0..8).map(|id| delivery(id, 0, 1)).collect());
        buffer.extend((10..12).map(|id| delivery(id, 100, 0)).collect());

        assert_eq!(order(&mut buffer, true), [0, 1, 2, 10, 3, 4, 5, 11, 6, 7]);
    }

    #[test]
    fn when_the_slots_of_further_attempts_are_taken_only_first_ones_go() {
        let mut buffer = Buffer::default();
        buffer.extend(vec![delivery(1, 0, 1), delivery(2, 5, 0)]);

        assert_eq!(order(&mut buffer, false), [2]);
        assert_eq!(order(&mut buffer, true), [1]);
    }

    #[test]
    fn a_quarter_of_the_slots_is_kept_for_first_attempts() {
        let slots: Vec<_> = [1, 2, 3, 4, 8, 32].into_iter().map(further_slots).collect();
        assert_eq!(slots, [1, 1, 2, 3, 6, 24]);
    }
}
