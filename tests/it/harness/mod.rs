//! A whole relay on free ports, senders that speak HTTP to it, and targets that follow a script.

mod event_schema;
mod gate;
mod metrics_page;
mod process;
mod relay;
mod sender;
mod shown;
mod target;
mod troubled;

pub(crate) use event_schema::assert_is_a_call_event;
pub(crate) use gate::Gate;
pub(crate) use metrics_page::Page;
pub(crate) use process::{Process, write_config};
pub(crate) use relay::{Relay, Setup};
pub(crate) use sender::{API_KEY, Ack, Raw, callback, client, post};
pub(crate) use shown::assert_shown;
pub(crate) use target::{Delivery, Reply, Target};
pub(crate) use troubled::{GONE, troubled};

use std::{future::Future, time::Duration};

/// How long anything is waited for: far longer than it takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition, and says what it was when it does not come.
pub(crate) async fn eventually<F>(what: &str, mut holds: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain: {what}");
}

/// Waits for a future, and says what it was when it does not end.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
