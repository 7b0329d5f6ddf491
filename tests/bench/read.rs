//! What it costs to read a callback and make its event, as a ratio to `serde_json` skipping over
//! the same bytes (`from_slice::<IgnoredAny>`).
//!
//! `cargo bench --bench read`. Each provider's body is a fixture. The two, and the event as JSON,
//! take turns in rounds of one run, so that a machine that slows down slows all of them; a row is
//! the median over the rounds. `READ_ROUNDS` changes how many.
//!
//! `read BODY WHAT TIMES` does one of them so many times and nothing else: this is what
//! `tests/bench/instructions` counts the instructions of.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark that meets the unexpected ends"
)]

use std::{
    env, fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use hookswitch::{
    event::{Envelope, EventId, SourceName, number},
    provider::{Callback, Decoded, Provider, Settings, normalise, read},
};
use serde::de::IgnoredAny;

/// The binary's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The fixture that stands for its provider: the longest that is JSON. Synthflow's is the sample
/// of its documents. `pace` is what the benchmark of that name sends.
const BODIES: [(&str, Provider, &str); 6] = [
    ("plum", Provider::Plum, "document-sample-wrapped"),
    ("synthflow", Provider::Synthflow, "document-sample"),
    ("mobtexting", Provider::Mobtexting, "c2c-completed"),
    ("11x", Provider::ElevenX, "goal-completed"),
    ("clouddial", Provider::CloudDial, "result"),
    (PACE, Provider::ElevenX, ""),
];

const PACE: &str = "pace";

/// What is measured.
const WORK: [What; 3] = [What::Skip, What::Normalise, What::Json];

#[derive(Clone, Copy)]
enum What {
    /// `serde_json` skipping over the body: the yardstick.
    Skip,
    /// Read and normalise, which includes the fingerprint.
    Normalise,
    /// The same, and the event written as JSON.
    Json,
}

/// One provider's callback and how it is read.
struct Subject {
    settings: Settings,
    content_type: Option<String>,
    body: Vec<u8>,
    envelope: Envelope,
}

fn main() {
    number::load_plans();
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [body, what, times] = arguments.as_slice() {
        let body = BODIES.into_iter().find(|(known, ..)| known == body).unwrap();
        let what = WORK.into_iter().find(|known| known.as_str() == what).unwrap();
        Subject::of(body).work(what, times.parse().unwrap());
        return;
    }
    let rounds = env::var("READ_ROUNDS").ok().map_or(1001, |rounds| rounds.parse().unwrap());
    println!("| body | bytes | skip, ns | normalise, ns | ratio | with JSON, ns | ratio |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for body in BODIES {
        let subject = Subject::of(body);
        let [skip, normalise, json] = subject.measured(rounds);
        println!(
            "| {} | {} | {skip:.0} | {normalise:.0} | {:.1} | {json:.0} | {:.1} |",
            body.0,
            subject.body.len(),
            normalise / skip,
            json / skip,
        );
    }
}

/// The content type and the body of a fixture.
fn request(provider: Provider, fixture: &str) -> (Option<String>, Vec<u8>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/providers");
    let file = root.join(provider.as_str()).join(fixture).join("request.http");
    let request = fs::read(file).unwrap();
    let end = request.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let head = std::str::from_utf8(&request[..end]).unwrap();
    let content_type = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.to_owned());
    (content_type, request[end + 2..].to_vec())
}

// === impl What ===

impl What {
    fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Normalise => "normalise",
            Self::Json => "json",
        }
    }
}

// === impl Subject ===

impl Subject {
    fn of((name, provider, fixture): (&str, Provider, &str)) -> Self {
        let (content_type, body) = if name == PACE {
            (Some("application/json".to_owned()), include_bytes!("callback.json").to_vec())
        } else {
            request(provider, fixture)
        };
        Self {
            settings: Settings::of(provider),
            content_type,
            body,
            envelope: Envelope {
                id: "0199c5c2-7d0e-7a55-9d6c-3f1f6c2b8a10".parse::<EventId>().unwrap(),
                source: SourceName::new(provider.as_str()),
                received_at: "2025-10-27T10:01:44.120Z".parse().unwrap(),
            },
        }
    }

    /// A function of its own, so that callgrind's `--toggle-collect` finds it.
    #[inline(never)]
    fn work(&self, what: What, times: u32) {
        for _ in 0..times {
            let body = black_box(self.body.as_slice());
            match what {
                What::Skip => drop(black_box(serde_json::from_slice::<IgnoredAny>(body).unwrap())),
                What::Normalise => drop(black_box(self.decoded(body))),
                What::Json => drop(black_box(self.decoded(body).event.to_json())),
            }
        }
    }

    fn decoded<'a>(&'a self, body: &'a [u8]) -> Decoded<'a> {
        let content_type = self.content_type.as_deref();
        let callback = Callback { method: "POST", query: "", content_type, body };
        let document = read(&self.settings, callback).unwrap_or_else(|error| panic!("{error}"));
        normalise(&self.settings, document, self.envelope.clone())
    }

    /// The median nanoseconds of each work.
    fn measured(&self, rounds: usize) -> [f64; 3] {
        /// So short that most rounds are not interrupted, and most interrupted ones do not count.
        const ROUND: Duration = Duration::from_micros(100);
        let times = WORK.map(|what| {
            let start = Instant::now();
            self.work(what, 50);
            let each = start.elapsed() / 50;
            u32::try_from(ROUND.as_nanos() / each.as_nanos().max(1)).unwrap().max(1)
        });
        let mut taken = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            for ((taken, what), times) in taken.iter_mut().zip(WORK).zip(times) {
                let start = Instant::now();
                self.work(what, times);
                taken.push(start.elapsed().as_nanos() as f64 / f64::from(times));
            }
        }
        taken.map(|mut taken| {
            taken.sort_by(f64::total_cmp);
            taken[taken.len() / 2]
        })
    }
}
