//! As much of a store as delivery asks for, in memory.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    event::{EventId, SourceName},
    route::TargetName,
    store::{
        Admission, Again, Answer, Attempt, BuryReason, DeadCount, DeadFilter, DeadPage, Delivery,
        DeliveryId, DeliveryRecord, Due, Erased, Erasure, EventCursor, EventFilter, EventPage,
        Handed, Lapse, Limits, Moved, Order, PastAttempt, PurgeCursor, Purged, Receipt, Replay,
        Replayed, Room, Settlement, Store, StoreError, StoredEvent, StoredRequest, Totals,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Delivered,
    Dead(BuryReason),
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: DeliveryId,
    pub(super) target: TargetName,
    pub(super) event: EventId,
    pub(super) json: Bytes,
    pub(super) since: Timestamp,
    pub(super) next_at: Timestamp,
    pub(super) state: State,
    pub(super) attempts: Vec<Attempt>,
    /// What is said of it when no attempt buried it.
    pub(super) said: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    rows: Mutex<Vec<Row>>,
    wakes: Mutex<HashMap<TargetName, Arc<Notify>>>,
    /// Handed over at the next wake, instead of a request to look.
    handed: Mutex<HashMap<TargetName, Handed>>,
    paused: Mutex<BTreeMap<TargetName, Timestamp>>,
    stood: Mutex<HashMap<TargetName, Duration>>,
    /// The present, as the last test that moved it said.
    pub(super) now: Mutex<Timestamp>,
    /// How many questions were answered.
    pub(super) answered: AtomicUsize,
    /// How many of the next calls fail.
    pub(super) due_fails: AtomicUsize,
    pub(super) settle_fails: AtomicUsize,
    pub(super) pause_fails: AtomicUsize,
    /// How many of the next questions panic.
    pub(super) due_panics: AtomicUsize,
    pub(super) adopt_panics: AtomicUsize,
}

impl Row {
    fn delivery(self, stood: Duration) -> Delivery {
        Delivery {
            id: self.id,
            target: self.target,
            event: self.event,
            json: self.json,
            trace: None,
            since: self.since,
            stood,
            round: 0,
            new_id: false,
            attempts: u32::try_from(self.attempts.len()).unwrap(),
        }
    }
}

impl Memory {
    /// What a commit of one event with these targets leaves behind, to be looked for.
    pub(super) fn enqueue(&self, targets: &[&str], json: &str, now: Timestamp) {
        self.insert(targets, json, now);
        for target in targets {
            self.wake(&TargetName::new(target)).notify_waiters();
        }
    }

    /// What a commit leaves behind, before anybody is told.
    pub(super) fn insert(&self, targets: &[&str], json: &str, now: Timestamp) {
        let mut rows = self.rows.lock().unwrap();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&rows.len().to_be_bytes());
        let event = EventId::new(now, random);
        for target in targets {
            let id = DeliveryId(i64::try_from(rows.len()).unwrap() + 1);
            rows.push(Row {
                id,
                target: TargetName::new(target),
                event,
                json: Bytes::copy_from_slice(json.as_bytes()),
                since: now,
                next_at: now,
                state: State::Pending,
                attempts: Vec::new(),
                said: None,
            });
        }
    }

    /// Hands over those rows of the target, as a commit does that may be late in telling.
    pub(super) fn hand_over(&self, target: &str, which: impl Fn(&Row) -> bool) {
        let rows = self.rows(target).into_iter().filter(which);
        let rows = rows.map(|row| Row { attempts: Vec::new(), ..row });
        let deliveries = rows.map(|row| row.delivery(Duration::ZERO)).collect();
        let handed = Handed { deliveries, ..Handed::default() };
        self.handed.lock().unwrap().insert(TargetName::new(target), handed);
        self.wake(&TargetName::new(target)).notify_waiters();
    }

    /// How long the target has stood still: pauses of after a delivery's acceptance only.
    fn stood(&self, target: &TargetName, now: Timestamp) -> Duration {
        let stood = self.stood.lock().unwrap().get(target).copied().unwrap_or_default();
        let since = self.paused.lock().unwrap().get(target).copied();
        stood + since.map_or(Duration::ZERO, |since| now.duration_since(since).unsigned_abs())
    }

    pub(super) fn rows(&self, target: &str) -> Vec<Row> {
        let rows = self.rows.lock().unwrap();
        rows.iter().filter(|row| row.target.as_str() == target).cloned().collect()
    }

    pub(super) fn count(&self, target: &str, state: State) -> usize {
        self.rows(target).iter().filter(|row| row.state == state).count()
    }
}

fn fails(left: &AtomicUsize) -> Result<(), StoreError> {
    let failed = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    failed.map_or(Ok(()), |_| Err(StoreError::Io("unplugged".into())))
}

impl Store for Memory {
    fn due(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        room: Room,
    ) -> Answer<'_, Due> {
        let mut rows: Vec<Row> = self.rows(target.as_str());
        rows.retain(|row| row.state == State::Pending && !held.contains(&row.id));
        rows.sort_by_key(|row| (row.next_at, row.id));
        let next_at = rows.iter().map(|row| row.next_at).find(|next_at| *next_at > now);
        let (mut room, mut more) = ((room.first, room.further), (false, false));
        rows.retain(|row| {
            let (left, more) = match row.attempts.len() {
                0 => (&mut room.0, &mut more.0),
                _ => (&mut room.1, &mut more.1),
            };
            let is_due = row.next_at <= now;
            *more |= is_due && *left == 0;
            let fits = is_due && *left > 0;
            *left -= usize::from(fits);
            fits
        });
        let stood = self.stood(target, now);
        let through = self.rows.lock().unwrap().iter().map(|row| row.id).max().unwrap_or_default();
        let deliveries = rows.into_iter().map(|row| row.delivery(stood)).collect();
        let result = fails(&self.due_fails).map(|()| Due { deliveries, next_at, more, through });
        let panics = fails(&self.due_panics).is_err();
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(!panics, "as a test wants it");
            self.answered.fetch_add(1, Ordering::SeqCst);
            result
        })
    }

    fn settle(
        &self,
        delivery: Delivery,
        attempt: Attempt,
        settlement: Settlement,
    ) -> Answer<'_, ()> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            fails(&self.settle_fails)?;
            let mut rows = self.rows.lock().unwrap();
            let row = rows.iter_mut().find(|row| row.id == delivery.id).unwrap();
            assert_eq!(row.state, State::Pending, "settled after its end");
            assert_eq!(usize::try_from(attempt.number).unwrap(), row.attempts.len() + 1);
            row.attempts.push(attempt);
            match settlement {
                Settlement::Delivered => row.state = State::Delivered,
                Settlement::Retry { at } => row.next_at = at,
                Settlement::Dead { reason } => row.state = State::Dead(reason),
            }
            Ok(())
        })
    }

    /// It keeps no order: what does is tried with the real store.
    fn take_turns(&self, _: &TargetName, _: bool) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn pause(&self, target: &TargetName) -> Answer<'_, bool> {
        if let Err(error) = fails(&self.pause_fails) {
            return Box::pin(async move {
                tokio::task::yield_now().await;
                Err(error)
            });
        }
        let mut paused = self.paused.lock().unwrap();
        let changed = !paused.contains_key(target);
        let now = *self.now.lock().unwrap();
        paused.entry(target.clone()).or_insert(now);
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(changed)
        })
    }

    fn resume(&self, target: &TargetName) -> Answer<'_, bool> {
        let since = self.paused.lock().unwrap().remove(target);
        if let Some(since) = since {
            let stood = self.now.lock().unwrap().duration_since(since).unsigned_abs();
            *self.stood.lock().unwrap().entry(target.clone()).or_default() += stood;
        }
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(since.is_some())
        })
    }

    fn lapse(
        &self,
        target: &TargetName,
        now: Timestamp,
        held: &[DeliveryId],
        lapse: Lapse,
    ) -> Answer<'_, u64> {
        let stood = self.stood(target, now);
        let mut rows = self.rows.lock().unwrap();
        let mut count = 0;
        for row in rows.iter_mut() {
            let is_old = row.since + stood + lapse.older_than <= now;
            let is_its = row.target == *target && !held.contains(&row.id);
            if is_its && is_old && row.state == State::Pending {
                row.state = State::Dead(BuryReason::ExpiredWhileTripped);
                row.said.clone_from(&lapse.error);
                count += 1;
            }
        }
        Box::pin(async move { Ok(count) })
    }

    fn wake(&self, target: &TargetName) -> Arc<Notify> {
        Arc::clone(self.wakes.lock().unwrap().entry(target.clone()).or_default())
    }

    fn handed(&self, target: &TargetName) -> Handed {
        let handed = self.handed.lock().unwrap().remove(target);
        handed.unwrap_or(Handed { look: true, ..Handed::default() })
    }

    fn commit(&self, _: Admission) -> Answer<'_, Receipt> {
        unasked()
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<StoredEvent>> {
        let rows = self.rows.lock().unwrap();
        let row = rows.iter().find(|row| row.event == id).cloned();
        drop(rows);
        let event = row.map(|row| StoredEvent {
            id,
            source: SourceName::new("julian"),
            provider: "11x".to_owned(),
            received_at: row.since,
            state: "routed",
            reason: None,
            request: StoredRequest {
                method: "POST".to_owned(),
                query: String::new(),
                content_type: Some("text/x-odd".to_owned()),
                body: Bytes::from_static(b"CallSid=c1"),
            },
            json: Some(row.json),
            failed_routes: Vec::new(),
        });
        Box::pin(async { Ok(event) })
    }

    fn dead_letters(&self, _: DeadFilter, _: Option<DeliveryId>, _: usize) -> Answer<'_, DeadPage> {
        unasked()
    }

    fn events(
        &self,
        _: EventFilter,
        _: Order,
        _: Option<EventCursor>,
        _: usize,
    ) -> Answer<'_, EventPage> {
        unasked()
    }

    fn deliveries_of(&self, _: EventId) -> Answer<'_, Vec<DeliveryRecord>> {
        unasked()
    }

    fn attempts(
        &self,
        _: DeliveryId,
        _: Option<(u32, u32)>,
        _: usize,
    ) -> Answer<'_, Vec<PastAttempt>> {
        unasked()
    }

    fn redrive(
        &self,
        _: DeadFilter,
        _: Option<DeliveryId>,
        _: Again,
        _: usize,
    ) -> Answer<'_, Moved> {
        unasked()
    }

    fn discard(&self, _: DeadFilter, _: Option<DeliveryId>, _: usize) -> Answer<'_, Moved> {
        unasked()
    }

    fn count_dead(&self, _: DeadFilter, _: Duration) -> Answer<'_, DeadCount> {
        unasked()
    }

    fn release(&self, _: Admission) -> Answer<'_, bool> {
        unasked()
    }

    fn replay(
        &self,
        _: Replay,
        _: Option<EventCursor>,
        _: Again,
        _: usize,
    ) -> Answer<'_, Replayed> {
        unasked()
    }

    fn adopt(&self, old: &TargetName, new: &TargetName) -> Answer<'_, u64> {
        assert!(fails(&self.adopt_panics).is_ok(), "as a test wants it");
        let mut rows = self.rows.lock().unwrap();
        let mut adopted = 0;
        for row in rows.iter_mut().filter(|row| row.target == *old) {
            row.target = new.clone();
            adopted += 1;
        }
        drop(rows);
        if adopted > 0 {
            self.wake(new).notify_one();
        }
        Box::pin(async move { Ok(adopted) })
    }

    fn bury_orphans(&self, _: &TargetName) -> Answer<'_, u64> {
        unasked()
    }

    fn purge(&self, _: Option<PurgeCursor>) -> Answer<'_, Purged> {
        unasked()
    }

    fn erase(&self, _: Erasure, _: Option<EventCursor>) -> Answer<'_, Erased> {
        unasked()
    }

    fn backup(&self, _: PathBuf) -> Answer<'_, ()> {
        unasked()
    }

    fn declare(&self, _: &[SourceName], _: &[TargetName]) {}

    fn limit(&self, _: Limits) {}

    fn totals(&self) -> Totals {
        Totals { paused: self.paused.lock().unwrap().clone(), ..Totals::default() }
    }

    fn oldest_pending(&self) -> Answer<'_, Vec<(TargetName, Timestamp)>> {
        unasked()
    }

    fn refusal(&self) -> Option<StoreError> {
        None
    }

    fn close(&self) -> Answer<'_, ()> {
        unasked()
    }
}

fn unasked<'a, T>() -> Answer<'a, T> {
    Box::pin(async { panic!("delivery has no business asking for this") })
}
