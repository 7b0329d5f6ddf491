//! The series of the store.
