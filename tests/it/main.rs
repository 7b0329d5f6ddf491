//! The tests of the whole: one binary, in reading order.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::let_underscore_must_use,
    reason = "a test that meets the unexpected fails"
)]

mod harness;

mod road;

mod ingest;

mod providers;

mod delivery;

mod metrics;

mod contract;

mod shutdown;

mod durability;

mod crash;

mod cli;

mod architecture;
