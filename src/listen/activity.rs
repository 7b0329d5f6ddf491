//! Whether anything is being served on one connection, and for how long nothing was.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::service::Service;
use pin_project_lite::pin_project;

/// The requests of one connection. Cloning shares it.
///
/// Two counters and one timer that is set rarely: a request costs two additions, and wakes nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A road whose requests are counted.
#[derive(Clone, Debug)]
pub(super) struct Noted<S> {
    road: S,
    activity: Activity,
}

pin_project! {
    /// A request that is being served.
    pub(super) struct Serving<F> {
        #[pin]
        serving: F,
        _counted: Counted,
    }
}

/// Counts the end when it is dropped, however a request ends.
struct Counted(Activity);

// === impl Activity ===

impl Activity {
    /// The same road, which is active while a request is on it.
    pub(super) fn noting<S>(&self, road: S) -> Noted<S> {
        Noted { road, activity: self.clone() }
    }

    /// Resolves once nothing was served for that long, and at most for twice as long.
    pub(super) async fn none_for(&self, limit: Duration) {
        let mut before = self.counts();
        loop {
            tokio::time::sleep(limit).await;
            let now @ (begun, ended) = self.counts();
            if now == before && begun == ended {
                return;
            }
            before = now;
        }
    }

    fn begin(&self) -> Counted {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.begun.load(Ordering::Relaxed), self.0.ended.load(Ordering::Relaxed))
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Noted ===

impl<S, R> Service<R> for Noted<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Serving<S::Future>;

    fn call(&self, request: R) -> Self::Future {
        let counted = self.activity.begin();
        Serving { serving: self.road.call(request), _counted: counted }
    }
}

// === impl Serving ===

impl<F: Future> Future for Serving<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().serving.poll(cx)
    }
}
