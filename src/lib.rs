//! Hookswitch takes the call-result callbacks of telephony and voice-AI providers, answers only
//! once they are durable, and forwards one normalised event to every target a route names.

#![forbid(unsafe_code)]

pub mod admin;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod drain;
pub mod event;
pub mod ingest;
pub mod metrics;
pub mod provider;
pub mod relay;
pub mod route;
pub mod secret;
pub mod signature;
pub mod store;

#[cfg(doc)]
#[doc = include_str!("docs/guide.md")]
pub mod guide {}
