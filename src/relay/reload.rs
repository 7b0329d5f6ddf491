//! Reads relay.toml again and has the rooms go by it: all of it, or nothing.
//!
//! Everything is read, checked and made ready before the first thing is changed; what can fail
//! comes first. Callbacks and attempts that are under way end by the settings they began with.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus::IntGauge;
use tokio::sync::{Mutex, oneshot};

use crate::{
    admin::{Orphaned, Orphans, ReloadProblem, ReloadRefused, ReloadReport, Token},
    clock::Clock,
    config::{Changes, Config, Problem, Problems},
    delivery,
    drain::Drain,
    event::SourceName,
    ingest::{self, Rereader},
    listen::{Security, Tls},
    metrics::Metrics,
    relay::Addresses,
    route::{Routes, TargetName},
    store::{Store, StoreError, sqlite::Note},
};

/// Reads the configuration anew, its secrets and files with it. It may block.
pub type Loader = Arc<dyn Fn() -> Result<(Config, Vec<Problem>), Problems> + Send + Sync>;

/// Everything a reload needs.
pub(super) struct Reloader {
    pub(super) load: Option<Loader>,
    /// The configuration in force.
    pub(super) in_force: InForce,
    /// The one the relay was started with, which some keys go by until it is started again.
    pub(super) started: Arc<Now>,
    pub(super) rooms: Rooms,
    pub(super) series: Series,
    /// One at a time: held from the first byte read to the last thing changed.
    pub(super) turn: Mutex<()>,
}

/// What is changed.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) store: Arc<dyn Store>,
    pub(super) ingest: ingest::Handle,
    pub(super) delivery: delivery::Handle,
    pub(super) token: Token,
    /// How the admin listener is secured.
    pub(super) security: Security,
    /// Where the relay really listens, whatever the file says by now.
    pub(super) bound: Addresses,
    /// Where the verbs look for this relay.
    pub(super) note: Option<Note>,
    /// Where the work of a reload runs.
    pub(super) drain: Drain,
}

/// The configuration in force. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct InForce(Arc<RwLock<Arc<Now>>>);

/// What is asked of it between reloads.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) config: Config,
    pub(super) rereader: Rereader,
}

/// The last reload, for the metrics.
#[derive(Debug)]
pub(super) struct Series {
    success: IntGauge,
    time: IntGauge,
    clock: Clock,
}

// === impl Series ===

impl Series {
    /// Registers them: the start counts as the first.
    pub(super) fn new(metrics: &Metrics, clock: &Clock) -> Self {
        let success = metrics.gauge(
            "config_reload_success",
            "1 when the last reading of relay.toml came into force, 0 when it was refused.",
        );
        let time = metrics.gauge(
            "config_reload_time_seconds",
            "When relay.toml last came into force, as unix time.",
        );
        let series = Self { success, time, clock: clock.clone() };
        series.note(true);
        series
    }

    fn note(&self, success: bool) {
        self.success.set(i64::from(success));
        if success {
            self.time.set(self.clock.now().as_second());
        }
    }
}

// === impl InForce ===

impl InForce {
    pub(super) fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Now::new(config)))))
    }

    /// What is in force at this moment.
    pub(super) fn now(&self) -> Arc<Now> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, config: Config) {
        let now = Arc::new(Now::new(config));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

// === impl Now ===

impl Now {
    fn new(config: Config) -> Self {
        let routes = Routes::new(config.routes.clone());
        let rereader = Rereader::new(config.ingest.sources.clone(), routes);
        Self { config, rereader }
    }
}

// === impl Reloader ===

impl Reloader {
    /// Whether there is a file to read again.
    pub(super) fn can_reload(&self) -> bool {
        self.load.is_some()
    }

    /// Reads the file and has everybody go by it, or changes nothing and says why.
    pub(super) async fn reload(&self, orphans: Orphans) -> Result<ReloadReport, ReloadRefused> {
        let _turn = self.turn.lock().await;
        let told = self.read_and_change(orphans).await;
        self.series.note(matches!(told, Ok(_) | Err(ReloadRefused::Unfinished(_))));
        match &told {
            Ok(report) => tell(report),
            Err(why) => tell_refused(why),
        }
        told
    }

    async fn read_and_change(&self, orphans: Orphans) -> Result<ReloadReport, ReloadRefused> {
        let (mut next, warnings) = self.read().await?;
        let before = self.in_force.now();
        let mut changes = before.config.changes(&next);
        changes.needs_restart = self.started.config.changes(&next).needs_restart;
        // What takes effect at the next start only is in force as it was, and compared as such.
        self.rooms.keep_token(&before.config, &mut next, &mut changes);
        self.rooms.refuse_placeholders(&next)?;
        let targets: Vec<TargetName> =
            next.delivery.targets.iter().map(|target| target.name.clone()).collect();
        let known = known(&next, &targets);
        let orphaned = self.rooms.orphans(&known);
        match orphans {
            Orphans::Refuse => {
                // What was kept before is as well off as it was.
                let newly: Vec<Orphaned> = orphaned
                    .into_iter()
                    .filter(|orphaned| has_target(&before.config, orphaned))
                    .collect();
                if !newly.is_empty() {
                    return Err(ReloadRefused::Orphans(newly));
                }
            }
            // A store that takes nothing now would leave them as they are.
            Orphans::Dead if !orphaned.is_empty() => {
                let refusal = self.rooms.store.refusal();
                refusal.map_or(Ok(()), |why| Err(ReloadRefused::Failed(why.to_string())))?;
            }
            _ => {}
        }

        let same = |target: &TargetName| {
            let table = format!("targets.{target}");
            !changes.changed.contains(&table) && !changes.added.contains(&table)
        };
        let unchanged: BTreeSet<TargetName> =
            targets.iter().filter(|target| same(target)).cloned().collect();
        // The one step that can fail, and it changes nothing when it does.
        let delivery = self.rooms.delivery.reload(&next.delivery, &unchanged).await;
        delivery.map_err(|error| ReloadRefused::Failed(error.to_string()))?;
        let sources: Vec<SourceName> =
            next.ingest.sources.iter().map(|source| source.name.clone()).collect();
        self.rooms.store.declare(&sources, &targets);
        self.rooms.store.limit(next.store.limits());
        self.rooms.ingest.change(next.ingest.clone(), Routes::new(next.routes.clone()));
        self.rooms.token.change(next.admin.token.clone());
        self.rooms.security.change(next.admin.tls.as_ref());
        if let Some(note) = &self.rooms.note {
            keep_note(note, self.rooms.bound.admin, &next);
        }

        // Counted again: callbacks may have been routed to a target until it was gone.
        let mut orphaned = self.rooms.orphans(&known);
        self.in_force.change(next);
        if orphans == Orphans::Dead {
            orphaned = self.rooms.bury(&orphaned, &known).await?;
        }
        let Changes { added, changed, removed, needs_restart } = changes;
        let warnings = warnings.iter().map(problem).collect();
        Ok(ReloadReport { added, changed, removed, needs_restart, orphaned, warnings })
    }

    /// Reads the file on a thread of its own, for a disk may be slow.
    async fn read(&self) -> Result<(Config, Vec<Problem>), ReloadRefused> {
        let failed = |why: &str| ReloadRefused::Failed(format!("relay.toml was not read: {why}"));
        let load = self.load.clone().ok_or_else(|| failed("it is not known where it is"))?;
        let (tell, told) = oneshot::channel();
        let work = move || drop(tell.send(load()));
        let started = self.rooms.drain.spawn_thread("reload", work);
        started.map_err(|error| failed(&error.to_string()))?;
        let read = told.await.map_err(|_| failed("the reader ended early"))?;
        read.map_err(|problems| ReloadRefused::Invalid(problems.iter().map(problem).collect()))
    }
}

// === impl Rooms ===

impl Rooms {
    /// What targets that are not `known` are owed.
    fn orphans(&self, known: &[TargetName]) -> Vec<Orphaned> {
        let orphans = self.store.orphans(known);
        orphans.iter().map(|(target, pending)| Orphaned::new(target, *pending)).collect()
    }

    /// A secret that everybody knows is for loopback only: the address that was taken counts, and
    /// not the one that will be taken at the next start.
    fn refuse_placeholders(&self, next: &Config) -> Result<(), ReloadRefused> {
        for table in &next.placeholders {
            let listener = match table.split('.').next() {
                Some("sources") => self.bound.callbacks,
                Some("admin") => self.bound.admin,
                _ => continue,
            };
            if !listener.ip().is_loopback() {
                return Err(ReloadRefused::Failed(format!(
                    "[{table}] has the secret of the shipped relay.toml, and the relay listens on \
                     {listener} until it is restarted: make a secret of your own"
                )));
            }
        }
        Ok(())
    }

    /// Buries what these targets are owed, once what is out to them has come back: it may have been
    /// delivered. Tells what was buried.
    async fn bury(
        &self,
        orphaned: &[Orphaned],
        known: &[TargetName],
    ) -> Result<Vec<Orphaned>, ReloadRefused> {
        let gone: Vec<TargetName> =
            orphaned.iter().map(|orphan| TargetName::new(&orphan.target)).collect();
        if !self.delivery.ended(&gone).await {
            let why = "attempts that are out have not come back in time";
            return Err(ReloadRefused::Unfinished(why.to_owned()));
        }
        let orphaned = self.orphans(known);
        for orphan in &orphaned {
            let buried = self.bury_all(&TargetName::new(&orphan.target)).await;
            buried.map_err(|error| ReloadRefused::Unfinished(error.to_string()))?;
        }
        Ok(orphaned)
    }

    async fn bury_all(&self, target: &TargetName) -> Result<(), StoreError> {
        while self.store.bury_orphans(target).await? > 0 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// A listener that others reach stays guarded: without a token it would be open to them, and
    /// where the file says it listens on loopback, it does so only after the next start.
    fn keep_token(&self, before: &Config, next: &mut Config, changes: &mut Changes) {
        if next.admin.token.is_none() && !self.bound.admin.ip().is_loopback() {
            next.admin.token.clone_from(&before.admin.token);
            changes.needs_restart.push("admin.token".to_owned());
        }
    }
}

/// Says beside the store how the relay is asked, whatever relay.toml says by then. Without it the
/// verbs go by relay.toml.
pub(super) fn keep_note(note: &Note, admin: SocketAddr, config: &Config) {
    if let Err(error) = note.tell(admin, config.admin.tls.as_ref().map(Tls::fingerprint)) {
        tracing::warn!(%error, "the lock of the store does not say where the relay is asked");
    }
}

/// Whether these deliveries have their target in `config`.
fn has_target(config: &Config, orphaned: &Orphaned) -> bool {
    config.delivery.targets.iter().any(|target| target.name.as_str() == orphaned.target)
}

/// Every target that has somebody to deliver what it is owed: those of `next`, and the old names
/// that one of them takes over.
fn known(next: &Config, targets: &[TargetName]) -> Vec<TargetName> {
    let renamed = next.renames.iter().map(|rename| rename.old.clone());
    targets.iter().cloned().chain(renamed).collect()
}

fn problem(problem: &Problem) -> ReloadProblem {
    ReloadProblem {
        place: problem.place.to_string(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
        rendered: problem.to_string(),
    }
}

fn tell(report: &ReloadReport) {
    for warning in &report.warnings {
        tracing::warn!(place = warning.place, "{}", warning.message);
    }
    for Orphaned { target, pending } in &report.orphaned {
        tracing::warn!(
            target,
            pending,
            "{pending} deliveries wait for {target}, which is not in relay.toml any more"
        );
    }
    if !report.needs_restart.is_empty() {
        let keys = report.needs_restart.join(", ");
        tracing::warn!(keys, "takes effect at the next start only: {keys}");
    }
    tracing::info!(
        added = report.added.join(", "),
        changed = report.changed.join(", "),
        removed = report.removed.join(", "),
        "reloaded relay.toml"
    );
}

fn tell_refused(why: &ReloadRefused) {
    match why {
        ReloadRefused::Invalid(problems) => {
            for problem in problems {
                tracing::error!(place = problem.place, "{}", problem.message);
            }
        }
        ReloadRefused::Orphans(orphaned) => {
            for Orphaned { target, pending } in orphaned {
                tracing::error!(target, pending, "{pending} deliveries wait for {target}");
            }
        }
        ReloadRefused::Failed(_) => {}
        ReloadRefused::Unfinished(_) => {
            tracing::error!("reloaded relay.toml, but {why}");
            return;
        }
    }
    tracing::error!(error = %why, "relay.toml was not reloaded; everything is as it was");
}
