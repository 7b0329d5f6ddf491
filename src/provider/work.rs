//! What reading a callback costs, counted: tests hold it linear in the bytes of the body.
//!
//! Whatever walks over bytes that a sender chose says how many. Outside of tests nothing is
//! counted.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static VISITED: Cell<usize> = const { Cell::new(0) };
}

/// Notes that so many bytes were looked at.
#[cfg(not(test))]
#[inline]
pub(super) fn visited(_: usize) {}

/// Notes that so many bytes were looked at.
#[cfg(test)]
pub(super) fn visited(bytes: usize) {
    VISITED.set(VISITED.get() + bytes);
}

/// What `work` gives, and how many bytes it looked at.
#[cfg(test)]
pub(super) fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = VISITED.get();
    let result = work();
    (result, VISITED.get() - before)
}
