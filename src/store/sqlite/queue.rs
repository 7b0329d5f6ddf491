//! A bounded queue before a thread, which takes a group at a time.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::StoreError;

/// What waits for a thread. Closing refuses what comes later, and loses nothing that is in.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
    /// Whoever takes next is given something, be it nothing.
    nudged: bool,
    /// Threads asleep, so that a push under load costs no system call.
    asleep: usize,
    /// So many are waited for; before, a push wakes nobody.
    wanted: usize,
    /// How many were taken last.
    taken: usize,
}

// === impl Queue ===

impl<T> Queue<T> {
    /// An empty one.
    pub(super) fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            closed: false,
            nudged: false,
            asleep: 0,
            wanted: 1,
            taken: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds `item` unless `bound` are waiting already.
    pub(super) fn push(&self, item: T, bound: usize) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.waiting.len() >= bound {
            return Err(StoreError::Overloaded);
        }
        state.waiting.push_back(item);
        let wake = state.asleep > 0 && state.waiting.len() >= state.wanted;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// As [`Queue::take`], but once there is something it waits until there are as many as were
    /// taken last, or `patience` is over: who comes as often as not comes again, and a group costs
    /// hardly more than one. Who comes alone waits for nobody. Of one taker only.
    pub(super) fn gather(
        &self,
        patience: Duration,
        fits: impl FnMut(&T) -> bool,
    ) -> Option<Vec<T>> {
        let mut state = self.wait(self.lock())?;
        let until = Instant::now() + patience;
        while !state.closed && !state.nudged && state.waiting.len() < state.taken {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.wanted = state.taken;
            state.asleep += 1;
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.asleep -= 1;
            state.wanted = 1;
        }
        let group = state.take(fits);
        state.taken = group.len();
        Some(group)
    }

    /// Waits for something, then takes what is there, in order, while `fits` says so of each; the
    /// first always fits. An empty group after a nudge; `None` once the queue is closed and empty.
    pub(super) fn take(&self, fits: impl FnMut(&T) -> bool) -> Option<Vec<T>> {
        Some(self.wait(self.lock())?.take(fits))
    }

    /// Waits until something is there, or a nudge. `None` once the queue is closed and empty.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> Option<MutexGuard<'a, State<T>>> {
        while state.waiting.is_empty() && !state.nudged {
            if state.closed {
                return None;
            }
            state.asleep += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
        Some(state)
    }

    /// Takes everything that is there or comes within `pause`, and whether the queue is closed.
    pub(super) fn take_for(&self, pause: Duration) -> (Vec<T>, bool) {
        let mut state = self.lock();
        if state.waiting.is_empty() && !state.closed {
            state.asleep += 1;
            state =
                self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
            state.asleep -= 1;
        }
        (state.waiting.drain(..).collect(), state.closed)
    }

    /// Makes whoever takes look up, though nothing may be there.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.changed.notify_all();
    }

    /// Takes nothing more in.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Why what was taken in is not answered: it is closed, or `else_why`.
    pub(super) fn gave_up(&self, else_why: &str) -> StoreError {
        if self.lock().closed { StoreError::Closed } else { StoreError::Io(else_why.into()) }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl<T> State<T> {
    /// What is there, in order, while it `fits`; the first always does.
    fn take(&mut self, mut fits: impl FnMut(&T) -> bool) -> Vec<T> {
        self.nudged = false;
        let mut group = Vec::with_capacity(self.waiting.len());
        while let Some(item) = self.waiting.front() {
            if !fits(item) && !group.is_empty() {
                break;
            }
            group.extend(self.waiting.pop_front());
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_alone_waits_for_nobody_and_who_came_in_company_waits_for_it() {
        let queue = Queue::new();
        let forever = Duration::from_hours(1);
        queue.push(1, 9).unwrap();
        assert_eq!(queue.gather(forever, |_| true), Some(vec![1]));
        queue.push(2, 9).unwrap();
        queue.push(3, 9).unwrap();
        assert_eq!(queue.gather(forever, |_| true), Some(vec![2, 3]));

        queue.push(4, 9).unwrap();
        let gathered = std::thread::scope(|scope| {
            let gathering = scope.spawn(|| queue.gather(forever, |_| true));
            while queue.lock().asleep == 0 {
                std::thread::yield_now();
            }
            queue.push(5, 9).unwrap();
            gathering.join().unwrap()
        });
        assert_eq!(gathered, Some(vec![4, 5]));
    }

    #[test]
    fn company_that_does_not_come_is_waited_for_no_longer_than_patience() {
        let queue = Queue::new();
        queue.push(1, 9).unwrap();
        queue.push(2, 9).unwrap();
        assert_eq!(queue.gather(Duration::ZERO, |_| true), Some(vec![1, 2]));

        queue.push(3, 9).unwrap();
        assert_eq!(queue.gather(Duration::from_millis(1), |_| true), Some(vec![3]));
        queue.push(4, 9).unwrap();
        queue.close();
        assert_eq!(queue.gather(Duration::from_hours(1), |_| true), Some(vec![4]));
        assert_eq!(queue.gather(Duration::from_hours(1), |_| true), None);
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let queue = Queue::new();
        queue.push(1, 2).unwrap();
        queue.push(2, 2).unwrap();

        assert_eq!(queue.push(3, 2), Err(StoreError::Overloaded));
        assert_eq!(queue.push(3, 3), Ok(()));
        assert_eq!(queue.take(|_| true), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_group_ends_where_it_no_longer_fits_and_never_is_empty() {
        let queue = Queue::new();
        for item in [5, 1, 7] {
            queue.push(item, 9).unwrap();
        }

        assert_eq!(queue.take(|item| *item < 4), Some(vec![5, 1]));
        assert_eq!(queue.take(|item| *item < 4), Some(vec![7]));
    }

    #[test]
    fn a_nudge_is_an_empty_group_once() {
        let queue = Queue::<u8>::new();
        queue.nudge();

        assert_eq!(queue.take(|_| true), Some(vec![]));
        queue.close();
        assert_eq!(queue.take(|_| true), None);
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has_and_takes_nothing_in() {
        let queue = Queue::new();
        queue.push(1, 9).unwrap();
        queue.close();

        assert_eq!(queue.push(2, 9), Err(StoreError::Closed));
        assert_eq!(queue.take(|_| true), Some(vec![1]));
        assert_eq!(queue.take(|_| true), None);
    }
}
