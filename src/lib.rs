//! The library behind the `hookswitch` command: one room a module, assembled by [`relay`].
#![doc = include_str!("docs/architecture.md")]
#![forbid(unsafe_code)]

pub mod admin;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod drain;
pub mod event;
pub mod ingest;
pub mod listen;
pub mod metrics;
pub mod provider;
pub mod relay;
pub mod route;
pub mod secret;
pub mod signature;
pub mod store;

#[cfg(doc)]
#[doc = include_str!("docs/targets.md")]
pub mod targets {}

#[cfg(doc)]
#[doc = include_str!("docs/guide.md")]
pub mod guide {}

#[cfg(doc)]
#[doc = include_str!("docs/operating.md")]
pub mod operating {}

#[cfg(doc)]
#[doc = include_str!("docs/decisions.md")]
pub mod decisions {}
