//! The contract of `store/mod.rs`, sentence by sentence.
