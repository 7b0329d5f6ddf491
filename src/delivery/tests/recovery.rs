//! What becomes of a backlog when its target is back. Time passes only when nobody has anything to do.

use std::sync::{Mutex, atomic::AtomicBool};

use tokio::time::Instant;

use super::*;
use crate::delivery::rate_limit::Rate;

const CONCURRENCY: usize = 4;
/// Of those, what further attempts may take.
const FURTHER_SLOTS: usize = 3;
const RATE: Rate = Rate { attempts: 30, per: Duration::from_secs(1) };

/// Failed once, and made the breaker trip.
const RETRIES: usize = 24;
/// Came in while it was tripped.
const WAITING: usize = 3;
/// Come in while the backlog is worked off.
const NEW: usize = 3;
/// From this start of all on the target is quicker than the rate; until then the slots limit it.
const QUICK: usize = RETRIES + 16;

#[derive(Clone, Copy, Debug)]
struct Start {
    id: i64,
    is_first: bool,
    at: Instant,
}

/// A target without a network.
#[derive(Debug, Default)]
struct Crm {
    is_up: AtomicBool,
    starts: Mutex<Vec<Start>>,
    /// First and further attempts that are out, and the most there ever were.
    out: Mutex<[usize; 2]>,
    most_out: Mutex<usize>,
    most_further_out: Mutex<usize>,
}

impl Crm {
    fn attempt(self: Arc<Self>, delivery: &Delivery) -> Played {
        let (id, is_first) = (delivery.id.0, delivery.attempts == 0);
        Box::pin(async move {
            let nth = self.began(Start { id, is_first, at: Instant::now() });
            tokio::time::sleep(Duration::from_millis(if nth < QUICK { 400 } else { 40 })).await;
            self.out.lock().unwrap()[usize::from(!is_first)] -= 1;
            let is_up = self.is_up.load(Ordering::SeqCst);
            let status = if is_up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            // All due again at one time: without it, each is as the jitter says.
            let retry_after = Some("3600".to_owned());
            let met = Met::Answer { status, retry_after, broken: None };
            Outcome { met, error: None, snippet: None }
        })
    }

    /// Counts one more, and says how many came before it.
    fn began(&self, start: Start) -> usize {
        let mut out = self.out.lock().unwrap();
        out[usize::from(!start.is_first)] += 1;
        let mut most = self.most_out.lock().unwrap();
        *most = (*most).max(out[0] + out[1]);
        let mut most = self.most_further_out.lock().unwrap();
        *most = (*most).max(out[1]);
        let mut starts = self.starts.lock().unwrap();
        starts.push(start);
        starts.len() - 1
    }

    fn starts(&self) -> Vec<Start> {
        self.starts.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovered_target_gets_its_backlog_oldest_first_at_its_pace_with_new_events_among_it() {
    let crm = Arc::<Crm>::default();
    let mut settings = target::Settings {
        concurrency: CONCURRENCY,
        rate: Some(RATE),
        breaker: breaker::Settings {
            failures: u32::try_from(RETRIES).unwrap(),
            probe_after: Duration::from_secs(30),
        },
        ..http("crm", "http://crm.example.com/")
    };
    settings.retry.pauses = retry::Pauses::Schedule(vec![Duration::from_secs(1); 2]);
    let script = Arc::clone(&crm);
    let world = scripted_as(&settings, move |delivery| Arc::clone(&script).attempt(delivery));
    let breaker = async |state: u8| {
        let line = format!("hookswitch_target_breaker_state{{target=\"crm\"}} {state}");
        eventually(&line, || world.registry.page().contains(&line)).await;
    };
    for _ in 0..RETRIES {
        world.enqueue(&["crm"]);
    }
    breaker(2).await;
    eventually("the outcomes", || {
        world.store.rows("crm").iter().all(|row| row.attempts.len() == 1)
    })
    .await;
    assert_eq!(crm.starts().len(), RETRIES);
    world.clock.advance(Duration::from_mins(1));
    for _ in 0..WAITING {
        world.enqueue(&["crm"]);
    }

    crm.is_up.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_hours(2));
    world.store.wake(&TargetName::new("crm")).notify_one();
    breaker(1).await;
    assert_eq!(crm.starts().len(), RETRIES + 1, "the probe alone");
    breaker(0).await;
    for _ in 0..NEW {
        world.enqueue(&["crm"]);
    }
    world.delivered("crm", RETRIES + WAITING + NEW).await;

    let starts = crm.starts();
    let (trip, drain) = starts.split_at(RETRIES);
    assert_eq!((trip.len(), drain.len()), (RETRIES, RETRIES + WAITING + NEW), "each once more");
    let ids = |is_first: bool| -> Vec<i64> {
        drain.iter().filter(|start| start.is_first == is_first).map(|start| start.id).collect()
    };
    let (retries, new) = (ids(false), ids(true));
    assert_eq!((retries.len(), new.len()), (RETRIES, WAITING + NEW));
    assert!(retries.is_sorted() && new.is_sorted(), "oldest first: {retries:?} {new:?}");
    // While both wait, of four in a row one is a new event, and no retry waits behind them all.
    let last_new = drain.iter().rposition(|start| start.is_first).unwrap();
    for four in drain[1..=last_new].windows(4) {
        assert!(four.iter().any(|start| start.is_first), "{drain:?}");
        assert!(four.iter().any(|start| !start.is_first), "{drain:?}");
    }
    assert!(!drain[drain.len() - 1].is_first, "no new event waits for the last retry");
    let most = (*crm.most_out.lock().unwrap(), *crm.most_further_out.lock().unwrap());
    assert_eq!(most, (CONCURRENCY, FURTHER_SLOTS));
    // No second has more than the rate allows, which is reached as soon as it alone is the limit.
    let space = |from: Start, to: Start| to.at.duration_since(from.at);
    for window in starts.windows(usize::try_from(RATE.attempts).unwrap() + 1) {
        assert!(space(window[0], window[window.len() - 1]) >= RATE.per);
    }
    let quick = &starts[QUICK + CONCURRENCY..];
    let attempts = u32::try_from(quick.len()).unwrap();
    let paced = space(quick[0], quick[quick.len() - 1]);
    assert!(paced <= RATE.per * attempts / RATE.attempts, "{paced:?}");
}
