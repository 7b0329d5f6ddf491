//! The tests of the whole: one binary, in reading order.
#![expect(clippy::float_cmp, reason = "a count on the metrics page is a whole number, exactly")]
#![expect(clippy::unnecessary_debug_formatting, reason = "a path in relay.toml stands in quotes")]
#![expect(
    clippy::string_slice,
    clippy::match_wild_err_arm,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::let_underscore_must_use,
    reason = "a test that meets the unexpected fails"
)]

mod harness;

mod road;

mod ingest;

mod providers;

mod rereading;

mod delivery;

mod order;

mod isolation;

mod metrics;

mod contract;

mod reload;

mod tls;

mod shutdown;

mod durability;

mod crash;

mod cli;

mod admin;

mod operator;

mod long_work;

mod shown;

mod architecture;
