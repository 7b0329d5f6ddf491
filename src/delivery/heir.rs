//! Takes over what a target's old name is owed.
//!
//! A lane begins when the lane of the old name has ended, so that no attempt is out under it: its
//! outcome would be lost with the row that moves, and the delivery be attempted again meanwhile.

use std::{pin::pin, time::Duration};

use tracing::{info, warn};

use crate::{delivery::errand::Shared, route::TargetName};

/// Takes over beside the attempts of the target, for as long as its lane runs: what was routed to
/// the old name just before a reload may be committed after it. Where calls keep their order it only
/// waits for that, and ends: the lane is to begin anew, and takes over before its first attempt.
pub(super) async fn watch(shared: &Shared) {
    let Some(old) = &shared.target.renamed_from else { return std::future::pending().await };
    let wake = shared.store.wake(old);
    loop {
        // Registered before each look, as in the lane.
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        if !shared.target.by_call {
            take_over(shared, old).await;
        }
        woken.await;
        if shared.target.by_call {
            return;
        }
    }
}

/// Has the store keep the order this target wants, however often it takes. Where that is the order
/// of calls, everything is taken over first: it may be older than what is there.
pub(super) async fn line_up(shared: &Shared) {
    let Shared { target, store, .. } = shared;
    if target.by_call
        && let Some(old) = &target.renamed_from
    {
        take_over(shared, old).await;
    }
    while let Err(error) = store.take_turns(&target.name, target.by_call).await {
        warn!(target = %target.name, %error, "the store does not line up the deliveries");
        tokio::time::sleep(STORE_PAUSE).await;
    }
}

/// Takes over all there is now, a step at a time, so that others can commit between two.
async fn take_over(shared: &Shared, old: &TargetName) {
    let Shared { target, store, .. } = shared;
    let mut adopted = 0;
    let mut is_failing = false;
    loop {
        match store.adopt(old, &target.name).await {
            Ok(0) => break,
            Ok(step) => adopted += step,
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    warn!(target = %target.name, %old, %error, "what {old} is owed is not taken over");
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
        tokio::task::yield_now().await;
    }
    if adopted > 0 {
        info!(target = %target.name, %old, adopted, "took over {adopted} deliveries of {old}");
    }
}

/// Before the store is asked again after it failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
