//! The one timer of a connection, for the time of its heads.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Sleep, Timer};
use tokio::time::{Instant, sleep_until};

/// Times the heads of one connection for hyper, of which one is waited for at a time.
///
/// All of them share one timer of the runtime, which is set anew only when it goes off: to set and
/// clear one for each request takes a lock that all connections share.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

/// The time of one head.
#[derive(Debug)]
struct HeadTime {
    timer: HeadTimer,
    deadline: Instant,
}

// === impl HeadTimer ===

#[expect(clippy::disallowed_types, reason = "hyper's own instants, made of ours")]
impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HeadTime { timer: self.clone(), deadline: deadline.into() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

// === impl HeadTime ===

impl Future for HeadTime {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timer = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(self.deadline)));
        if timer.deadline() > self.deadline {
            timer.as_mut().reset(self.deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() == self.deadline {
                return Poll::Ready(());
            }
            // It was set for an earlier head, which was there in time.
            timer.as_mut().reset(self.deadline);
        }
    }
}

impl Sleep for HeadTime {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Waits a second for a head whose time began now, and then has it come.
    async fn head(timer: &HeadTimer) {
        let time = timer.sleep(LIMIT);
        assert!(tokio::time::timeout(Duration::from_secs(1), time).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn each_head_has_the_whole_of_its_time() {
        let timer = HeadTimer::default();
        for _ in 0..100 {
            head(&timer).await;
        }
        let began = Instant::now();
        timer.sleep(LIMIT).await;
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_time_after_a_longer_one_is_kept() {
        let timer = HeadTimer::default();
        head(&timer).await;
        let began = Instant::now();
        timer.sleep(Duration::from_secs(2)).await;
        assert_eq!(began.elapsed().as_secs(), 2);
    }
}
