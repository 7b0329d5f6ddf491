//! From a commit to the owner of a target by way of memory: the queue is read only when it must be.
//!
//! A target that keeps up wants each delivery once, a moment after its commit. The table has it,
//! but the commit had it in hand. So it waits here until its owner takes it. Nothing depends on
//! that: what does not fit is let go, and the owner told to look for it in the table.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::store::{Delivery, Handed};

/// What waits for the owner of one target.
#[derive(Debug, Default)]
pub(super) struct Handover {
    waiting: Mutex<Waiting>,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    handed: Handed,
    /// Of the events in it.
    bytes: usize,
}

/// Deliveries that wait for one owner: more than one group of commits has of one target, mostly.
const DELIVERIES_MAX: usize = 1024;

/// Bytes of their events: as many as the owner keeps in memory by himself.
const BYTES_MAX: usize = 1024 * 1024;

// === impl Handover ===

impl Handover {
    /// Told when there is something to take.
    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Hands a delivery over that is committed, and that whoever looks for it finds by now.
    pub(super) fn offer(&self, delivery: Delivery) {
        let mut waiting = self.lock();
        // Whoever has to look anyway finds this one too.
        if waiting.handed.look {
            return;
        }
        let bytes = waiting.bytes.saturating_add(delivery.json.len());
        let is_first = waiting.handed.deliveries.is_empty();
        if waiting.handed.deliveries.len() < DELIVERIES_MAX && (bytes <= BYTES_MAX || is_first) {
            waiting.handed.deliveries.push(delivery);
            waiting.bytes = bytes;
        } else {
            waiting.must_look();
        }
        drop(waiting);
        // Else the owner has been told already, and takes this one with the others.
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Has the owner look what is due.
    pub(super) fn call(&self) {
        self.lock().must_look();
        self.wake.notify_one();
    }

    /// Has the owner let go of what it keeps, and look what is due.
    pub(super) fn recall(&self) {
        let mut waiting = self.lock();
        waiting.must_look();
        waiting.handed.recall = true;
        drop(waiting);
        self.wake.notify_one();
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Handed {
        std::mem::take(&mut *self.lock()).handed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Waiting ===

impl Waiting {
    fn must_look(&mut self) {
        let recall = self.handed.recall;
        *self = Self { handed: Handed { deliveries: Vec::new(), look: true, recall }, bytes: 0 };
    }
}
