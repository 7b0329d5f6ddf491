//! `hookswitch serve`: the main job.

use std::sync::Arc;

use hookswitch::{
    config::{Config, Environment},
    relay::{Ended, Loader, Relay, StartError},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::cli::{ConfigPath, block_on, exit::Exit, load, logs::Logs, start_failed};

/// Run the relay until SIGTERM or Ctrl-C; SIGHUP reads relay.toml again.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "SIGTERM and Ctrl-C drain: no new callbacks, those in flight are answered, \
                  deliveries that are out come back, at most `shutdown_grace`. A second signal \
                  ends at once; nothing that was acked is lost either way.\n\n\
                  Examples:\n  hookswitch serve\n  \
                  hookswitch serve --config /etc/hookswitch/relay.toml --log-format json"
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
    let _logging = arguments.logs.start();
    for warning in warnings {
        tracing::warn!(place = %warning.place, "{}", warning.message);
    }
    block_on(async {
        // Registered before anything is started: a signal during the start is not lost.
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
        ) else {
            tracing::error!("signals cannot be received");
            return Exit::Failed;
        };
        let path = arguments.path.config.clone();
        let load: Loader = Arc::new(move || Config::load(&path, &Environment::of_process()));
        let reload = Arc::new(Notify::new());
        let relay = match Relay::bind(config).await {
            Ok(relay) => relay.reloading(load, Arc::clone(&reload)),
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
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    Some(()) = hangup.recv() => reload.notify_one(),
                }
            }
        };
        let told = Notify::new();
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
