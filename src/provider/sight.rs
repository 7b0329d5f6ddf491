//! Where a mapper looks for a field: a test hides one place at a time, and shows that each is
//! needed.
//!
//! A place is a call in a mapper's file and the path that it asks for. Outside of tests nothing is
//! hidden, and nothing is noted.

/// Whether the caller's place finds nothing at `path`, whatever is there.
#[cfg(not(test))]
#[inline]
pub(super) const fn is_hidden(_: &[&str], _: &[&str]) -> bool {
    false
}

#[cfg(test)]
pub(super) use noted::{Place, hiding, is_hidden, places};

#[cfg(test)]
mod noted {
    use std::{cell::RefCell, collections::BTreeSet, panic::Location};

    /// A call in a mapper's file, and the path that it asks for, names joined by dots.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(in super::super) struct Place {
        pub(in super::super) file: &'static str,
        pub(in super::super) line: u32,
        pub(in super::super) column: u32,
        pub(in super::super) path: String,
    }

    thread_local! {
        static SEEN: RefCell<BTreeSet<Place>> = const { RefCell::new(BTreeSet::new()) };
        static HIDDEN: RefCell<Option<Place>> = const { RefCell::new(None) };
    }

    /// Whether the caller's place finds nothing at `path` and `inner` below it, whatever is there.
    #[track_caller]
    pub(in super::super) fn is_hidden(path: &[&str], inner: &[&str]) -> bool {
        let caller = Location::caller();
        let (file, line, column) = (caller.file(), caller.line(), caller.column());
        let place = Place { file, line, column, path: [path, inner].concat().join(".") };
        let hidden = HIDDEN.with_borrow(|hidden| hidden.as_ref() == Some(&place));
        SEEN.with_borrow_mut(|seen| seen.insert(place));
        hidden
    }

    /// Every place that `work` looked from.
    pub(in super::super) fn places(work: impl FnOnce()) -> BTreeSet<Place> {
        SEEN.take();
        work();
        SEEN.take()
    }

    /// What `work` gives while a place finds nothing.
    pub(in super::super) fn hiding<T>(place: &Place, work: impl FnOnce() -> T) -> T {
        HIDDEN.set(Some(place.clone()));
        let result = work();
        HIDDEN.set(None);
        result
    }
}
