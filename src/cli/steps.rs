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
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::exit::Exit;

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
    /// Plain lines: what the last one said, and when.
    told: u64,
    told_at: Instant,
    /// Whether a step was gone through.
    begun: bool,
    /// Whether a step said that it was the last.
    over: bool,
    interrupted: Pin<Box<dyn Future<Output = io::Result<()>>>>,
}

/// Why there is no further step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// None is left.
    Done,
    /// Ctrl-C.
    Interrupted,
    /// A step failed after others had not; why is printed.
    Failed(Exit),
}

/// At most so many in a step: one commit of the relay, which others wait for.
const STEP_MAX: u32 = 1000;

/// A plain line every so many, and after so long.
const LINE_EVERY: u64 = 10_000;
const LINE_AFTER: Duration = Duration::from_secs(10);

// === impl Steps ===

impl Steps {
    pub(super) fn new(
        done: &'static str,
        total: Option<u64>,
        rate: Option<u32>,
        quiet: bool,
    ) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template(template(total)).map(|it| {
                it.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                    write!(out, "{:.0}/s", state.per_sec()).unwrap_or_default();
                })
            });
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
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
            told_at: Instant::now(),
            begun: false,
            over: false,
            interrupted: Box::pin(tokio::signal::ctrl_c()),
        }
    }

    /// How many the next step may take; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<u32> {
        if self.stop.is_some() || self.over {
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
        Some(self.rate.map_or(STEP_MAX, |rate| rate.div_ceil(10).min(STEP_MAX)))
    }

    /// What a step moved: one that moved none need not be the last, for a filter may be narrow.
    pub(super) fn went(&mut self, moved: u64) {
        self.begun = true;
        self.moved += moved;
        if let Some(rate) = self.rate {
            let took = u32::try_from(moved).unwrap_or(u32::MAX);
            self.next_at += Duration::from_secs(1) * took / rate;
        }
        match &self.bar {
            Some(bar) => bar.set_position(self.moved),
            None if is_line_due(self.moved - self.told, self.told_at.elapsed()) => {
                (self.told, self.told_at) = (self.moved, Instant::now());
                eprintln!("{} {}{}", self.done, self.moved, self.of());
            }
            None => {}
        }
    }

    /// What a step gave. It is the last when its `next` is null. One that failed is the last too, and
    /// gives none; when it was the first as well, there is nothing more to tell.
    pub(super) fn given(&mut self, step: Result<Value, Exit>) -> Result<Option<Value>, Exit> {
        match step {
            Ok(given) => {
                self.over = given["next"].is_null();
                Ok(Some(given))
            }
            Err(exit) if !self.begun => Err(exit),
            Err(exit) => {
                self.stop = Some(Stop::Failed(exit));
                Ok(None)
            }
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
            Stop::Failed(_) => {
                eprintln!("stopped: {done} {moved}{of}; run the same command again to go on");
            }
        }
        (moved, stop)
    }

    fn of(&self) -> String {
        self.total.map(|total| format!(" of {total}")).unwrap_or_default()
    }
}

// === impl Stop ===

impl Stop {
    pub(super) const fn exit(self) -> Exit {
        match self {
            Self::Done => Exit::Done,
            Self::Interrupted => Exit::Interrupted,
            Self::Failed(exit) => exit,
        }
    }
}

/// A bar is full from the first step when nobody knows how many there are.
const fn template(total: Option<u64>) -> &'static str {
    match total {
        Some(_) => "{bar:40} {pos}/{len} {rate} {eta}",
        None => "{spinner} {pos} {rate}",
    }
}

/// Whether a plain line is due, so many and so long after the last.
fn is_line_due(moved: u64, after: Duration) -> bool {
    moved >= LINE_EVERY || after >= LINE_AFTER
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plain_line_is_due_after_so_many_and_after_so_long() {
        let seconds = Duration::from_secs;
        for (moved, after, due) in [
            (0, seconds(0), false),
            (9_999, seconds(9), false),
            (10_000, seconds(0), true),
            (0, seconds(10), true),
        ] {
            assert_eq!(is_line_due(moved, after), due, "{moved} {after:?}");
        }
    }

    #[tokio::test]
    async fn there_is_no_step_after_the_one_whose_next_is_null_nor_after_one_that_failed() {
        let mut steps = Steps::new("moved", None, None, true);
        assert!(steps.next().await.is_some());
        assert!(steps.given(Ok(json!({ "next": "1" }))).unwrap().is_some());
        steps.went(0);
        assert!(steps.next().await.is_some());
        assert!(steps.given(Ok(json!({ "next": null }))).unwrap().is_some());
        steps.went(0);

        assert_eq!(steps.next().await, None);
        assert_eq!(steps.stopped(), Stop::Done);

        let mut steps = Steps::new("moved", None, None, true);
        steps.given(Ok(json!({ "next": "1" }))).unwrap();
        steps.went(5);
        assert_eq!(steps.given(Err(Exit::Failed)).unwrap(), None);
        assert_eq!((steps.next().await, steps.stopped()), (None, Stop::Failed(Exit::Failed)));
    }

    #[test]
    fn a_bar_is_of_what_was_counted_and_everything_else_turns() {
        assert!(template(Some(5)).contains("{len}"));
        assert!(template(None).contains("{spinner}"));
        assert!(!template(None).contains("{bar") && !template(None).contains("{len}"));
        for total in [None, Some(5)] {
            assert!(ProgressStyle::with_template(template(total)).is_ok());
        }
    }
}
