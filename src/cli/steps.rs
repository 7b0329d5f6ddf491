//! Long work in steps: how fast, how far, and where it stopped.
//!
//! Each step is one commit of the relay. Ctrl-C is heard between two, so that nothing is left
//! half-done; what is left is untouched, and the same command goes on with it.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    pin::Pin,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::time::Instant;

/// The steps of one command.
pub(super) struct Steps {
    done: &'static str,
    /// How many there are, where that is known.
    total: Option<u64>,
    moved: u64,
    rate: Option<u32>,
    /// When the step under way began; with a rate, when the next may.
    next_at: Instant,
    stop: Option<Stop>,
    bar: Option<ProgressBar>,
    /// Plain lines: what the last one said.
    told: u64,
    interrupted: Pin<Box<dyn Future<Output = io::Result<()>>>>,
}

/// Why there is no further step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// None is left.
    Done,
    /// Ctrl-C.
    Interrupted,
}

/// At most so many in a step: one commit of the relay, which others wait for.
const STEP_MAX: u32 = 1000;

/// A plain line every so many.
const LINE_EVERY: u64 = 10_000;

// === impl Steps ===

impl Steps {
    pub(super) fn new(
        done: &'static str,
        total: Option<u64>,
        rate: Option<u32>,
        quiet: bool,
    ) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{bar:40} {pos}/{len} {rate} {eta}").map(|it| {
                    it.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                        write!(out, "{:.0}/s", state.per_sec()).unwrap_or_default();
                    })
                });
            let bar = ProgressBar::new(total.unwrap_or_default());
            style.map(|style| bar.set_style(style)).unwrap_or_default();
            bar
        });
        Self {
            done,
            total,
            moved: 0,
            rate,
            next_at: Instant::now(),
            stop: None,
            bar,
            told: 0,
            interrupted: Box::pin(tokio::signal::ctrl_c()),
        }
    }

    /// How many the next step may take; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<u32> {
        if self.stop.is_some() {
            return None;
        }
        tokio::select! {
            biased;
            _ = &mut self.interrupted => {
                self.stop = Some(Stop::Interrupted);
                return None;
            }
            () = tokio::time::sleep_until(self.next_at) => {}
        }
        self.next_at = Instant::now();
        // Ten steps a second at most, so that a rate is even and not by bursts.
        let max = self.rate.map_or(STEP_MAX, |rate| rate.div_ceil(10).min(STEP_MAX));
        let left = self.total.map(|total| total.saturating_sub(self.moved).max(1));
        let left = left.and_then(|left| u32::try_from(left).ok()).unwrap_or(u32::MAX);
        Some(max.min(left))
    }

    pub(super) fn took(&mut self, moved: u64) {
        if moved == 0 {
            self.stop = Some(Stop::Done);
            return;
        }
        self.moved += moved;
        if self.total.is_some_and(|total| self.moved >= total) {
            self.stop = Some(Stop::Done);
        }
        if let Some(rate) = self.rate {
            let took = u32::try_from(moved).unwrap_or(u32::MAX);
            self.next_at += Duration::from_secs(1) * took / rate;
        }
        match &self.bar {
            Some(bar) => bar.set_position(self.moved),
            None if self.moved >= self.told + LINE_EVERY => {
                self.told = self.moved;
                eprintln!("{} {}{}", self.done, self.moved, self.of());
            }
            None => {}
        }
    }

    /// Why it ended, without a word.
    pub(super) fn stopped(&self) -> Stop {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.stop.unwrap_or(Stop::Done)
    }

    /// How many in all, and why it ended; says so.
    pub(super) fn finish(self) -> (u64, Stop) {
        let stop = self.stopped();
        let (done, moved, of) = (self.done, self.moved, self.of());
        match stop {
            Stop::Done => eprintln!("{done} {moved}"),
            Stop::Interrupted => eprintln!(
                "interrupted: {done} {moved}{of}, the rest is untouched; run the same \
                 command again to go on"
            ),
        }
        (moved, stop)
    }

    fn of(&self) -> String {
        self.total.map(|total| format!(" of {total}")).unwrap_or_default()
    }
}
