//! Turns relay.toml into the settings of every room, and names every problem with its place.
//!
//! Knows the settings types of the rooms and nothing of what they do. The file is read once into
//! a spanned tree; one reader a table walks it, and each value becomes its own small type or a
//! [`Problem`] with line, column and remedy. No reader stops at the first problem.
//!
//! [`contract`] is the one list of what may be written: the readers take defaults from it, "did
//! you mean" its names, and a JSON Schema can be printed from it. `environment` is the only
//! place of this crate that reads environment variables and secret files.
//!
//! Relative paths in relay.toml (the store, file targets, secret files) start at the directory
//! the command is run in, not at the file's own.

pub mod contract;
pub mod endpoint;
mod environment;
pub mod json_schema;
pub mod key;
pub mod problem;

mod admin;
mod auth;
mod changes;
mod custom;
mod document;
mod excerpt;
mod fields;
mod files;
mod hmac;
mod mapping;
mod reading;
mod redacted;
mod retry;
mod root;
mod route;
mod secrets;
mod server;
mod source;
mod store;
mod target;
mod tls;
mod unclosed;
mod value;
mod when;

#[cfg(test)]
mod tests;

pub use changes::Changes;
pub use environment::Environment;
pub use problem::{Place, Problem, Problems, Severity};
pub use redacted::Redacted;
pub use root::{Config, Rename, Whereabouts};
