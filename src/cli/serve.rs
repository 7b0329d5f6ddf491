//! `hookswitch serve`: the main job.

use hookswitch::relay::{Ended, Relay, StartError};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{ConfigPath, block_on, exit::Exit, load, logs::Logs, start_failed};

/// Run the relay until SIGTERM or Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "SIGTERM and Ctrl-C drain: no new callbacks, those in flight are answered, \
                  deliveries that are out come back, at most `shutdown_grace`. A second signal \
                  ends at once; nothing that was acked is lost either way."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    path: ConfigPath,
    #[command(flatten)]
    logs: Logs,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (config, warnings) = match load(&arguments.path.config) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    arguments.logs.start();
    for warning in warnings {
        tracing::warn!(place = %warning.place, "{}", warning.message);
    }
    block_on(async {
        // Registered before anything is started: a signal during the start is not lost.
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be received");
            return Exit::Failed;
        };
        let relay = match Relay::bind(config).await {
            Ok(relay) => relay,
            Err(error) => return start_failed(&error),
        };
        let addresses = relay.addresses();
        tracing::info!(
            callbacks = %addresses.callbacks,
            admin = %addresses.admin,
            version = env!("CARGO_PKG_VERSION"),
            "listening for callbacks on {}, for operators on {}",
            addresses.callbacks,
            addresses.admin,
        );
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let told = tokio::sync::Notify::new();
        let running = relay.run(told.notified());
        let mut running = std::pin::pin!(running);
        tokio::select! {
            ended = &mut running => return exit(ended),
            () = signalled() => told.notify_one(),
        }
        tokio::select! {
            ended = &mut running => exit(ended),
            () = signalled() => {
                tracing::warn!("a second signal: ending at once");
                Exit::Failed
            }
        }
    })
}

fn exit(ended: Result<Ended, StartError>) -> Exit {
    match ended {
        Err(error) => return start_failed(&error),
        Ok(Ended::Drained) => tracing::info!("stopped; everything came to its end"),
        Ok(Ended::GraceOver) => {
            tracing::warn!("stopped; the grace time was over first, the rest is retried at start");
        }
    }
    Exit::Done
}
