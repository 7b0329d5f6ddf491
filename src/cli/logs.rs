//! Logs: to standard error, as text or JSON.
//!
//! A thread of its own writes them, so that nobody waits for whoever reads them: a pipe that is not
//! read fills up, and a callback would wait behind the next line.

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use clap::ValueEnum;
use serde_json::json;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

/// How much is logged, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`), or a filter such as
    /// `info,hookswitch::delivery=debug`.
    #[arg(long, value_name = "FILTER", env = "HOOKSWITCH_LOG", default_value = "info",
          value_parser = filter)]
    log: String,
    /// The form of a line.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Lines on their way to standard error, and how many were not taken.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Told>,
    lost: Arc<AtomicU64>,
}

/// What the writing thread is told.
#[derive(Debug)]
enum Told {
    Line(Vec<u8>),
    /// To say when everything before is written.
    End(SyncSender<()>),
}

/// One line while it is put together.
#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    lines: Lines,
}

/// Sees the last lines written before the process ends.
#[must_use]
#[derive(Debug)]
pub(super) struct Logging(Option<SyncSender<Told>>);

/// Lines that wait for their reader, some hundred bytes each; what is more is counted and left out.
const LINES_WAITING_MAX: usize = 4096;

/// What a library says of a certificate at every attempt, without the target's name: the attempt
/// says it too. A filter that names it has it again.
const SAID_BY_US: &str = "rustls_platform_verifier=off";

/// How long the end of the process waits for its last lines to be read.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

/// A filter that says what it means. A word that is no level (`warning`) would be the name of a part
/// that nobody has, and silence all others.
fn filter(text: &str) -> Result<String, String> {
    let words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[']));
    let known = |word: &str| {
        word.is_empty() || word.starts_with("hookswitch") || word.parse::<LevelFilter>().is_ok()
    };
    if let Some(word) = words.into_iter().find(|word| !known(word)) {
        return Err(format!(
            "{word:?} is no level: write error, warn, info, debug, or hookswitch::delivery=debug"
        ));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

// === impl Logs ===

impl Logs {
    /// Sends every line of this process to standard error: standard output may be a target.
    pub(super) fn start(&self) -> Logging {
        let (queue, told) = sync_channel(LINES_WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let lines = Lines { queue: queue.clone(), lost: Arc::clone(&lost) };
        let format = self.log_format;
        let write = move || write(&told, &lost, format);
        let writing = std::thread::Builder::new().name("logs".to_owned()).spawn(write);
        // What an empty filter lets through, which it is not any more.
        let own = if self.log.is_empty() { "error" } else { &self.log };
        let filter = format!("{SAID_BY_US},{own}");
        let lines = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(lines)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false);
        match self.log_format {
            Format::Text => lines.init(),
            Format::Json => lines.json().flatten_event(true).init(),
        }
        Logging(writing.is_ok().then_some(queue))
    }
}

/// Writes what it is told, until nobody is left to tell.
fn write(told: &Receiver<Told>, lost: &AtomicU64, format: Format) {
    let mut stderr = io::stderr();
    for told in told {
        match told {
            Told::Line(text) => {
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    stderr.write_all(missing(lost, format).as_bytes()).unwrap_or_default();
                }
                stderr.write_all(&text).unwrap_or_default();
            }
            Told::End(written) => written.send(()).unwrap_or_default(),
        }
    }
}

/// The line in the place of those that were left out.
fn missing(lost: u64, format: Format) -> String {
    let message = format!("{lost} lines are missing here: nobody read them in time");
    match format {
        Format::Text => format!("{message}\n"),
        Format::Json => format!("{}\n", json!({ "level": "WARN", "message": message })),
    }
}

// === impl Lines ===

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { text: Vec::new(), lines: self.clone() }
    }
}

// === impl Line ===

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        if self.lines.queue.try_send(Told::Line(text)).is_err() {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl Logging ===

impl Drop for Logging {
    fn drop(&mut self) {
        let Some(queue) = &self.0 else { return };
        let (written, end) = sync_channel(1);
        if queue.try_send(Told::End(written)).is_ok() {
            end.recv_timeout(LAST_LINES_MAX).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_would_silence_the_log_by_a_slip_is_refused() {
        for text in
            ["info", "WARN", "off", "trace", "", "info,hookswitch::delivery=debug", "hyper=debug"]
        {
            assert_eq!(filter(text).as_deref(), Ok(text));
        }
        for text in ["warning", "inf", "info,hyper", "info,hookswitch=loud", "hookswitch=debug=1"] {
            assert!(filter(text).is_err(), "{text}");
        }
    }
}
