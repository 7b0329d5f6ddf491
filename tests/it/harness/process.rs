//! The real binary, as an operator runs it.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
    task::JoinSet,
};

use crate::harness::{Page, client, within};

/// A `hookswitch serve` that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) callbacks: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: mpsc::Receiver<String>,
    _reading: JoinSet<()>,
}

/// Lines of a log that are kept for a test that reads none: beyond, nobody reads the pipe.
const LINES_MAX: usize = 100_000;

// === impl Process ===

impl Process {
    /// The command itself, for tests that expect it not to run.
    pub(crate) fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookswitch"));
        command.env_remove("HOOKSWITCH_LOG").kill_on_drop(true).stdin(Stdio::null());
        command
    }

    /// Starts `serve` on relay.toml and waits until it listens.
    pub(crate) async fn serve(config: &Path) -> Self {
        let mut command = Self::command();
        command.args(["serve", "--log-format", "json", "--config"]).arg(config);
        Self::listening(command).await
    }

    /// Starts a command that ends up as `serve --log-format json`.
    pub(crate) async fn listening(command: Command) -> Self {
        Self::read(command, LINES_MAX).await
    }

    /// The same, whose log nobody reads from then on.
    pub(crate) async fn unread(command: Command) -> Self {
        Self::read(command, 1).await
    }

    async fn read(mut command: Command, lines_max: usize) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (said, mut log) = mpsc::channel(lines_max);
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if said.send(line).await.is_err() {
                    break;
                }
            }
        });
        loop {
            let line = within("the relay to listen", log.recv()).await;
            let line = line.expect("the relay ended before it listened");
            let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line) else {
                panic!("{line}");
            };
            if let (Some(callbacks), Some(admin)) =
                (entry["callbacks"].as_str(), entry["admin"].as_str())
            {
                let (callbacks, admin) = (callbacks.parse().unwrap(), admin.parse().unwrap());
                return Self { child, callbacks, admin, log, _reading: reading };
            }
        }
    }

    /// What it writes to its standard output, which the command has as a pipe.
    pub(crate) fn output(&mut self) -> Lines<BufReader<ChildStdout>> {
        BufReader::new(self.child.stdout.take().unwrap()).lines()
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    /// For a relay that runs under a tracer: the process that is traced.
    fn traced(&self) -> Option<i32> {
        let id = self.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// One scrape.
    pub(crate) async fn metrics(&self) -> Page {
        let page = client().get(format!("http://{}/metrics", self.admin)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        Page::parse(&page.text().await.unwrap())
    }

    /// `SIGTERM`, and waits until the log says that it is stopping.
    pub(crate) async fn begin_stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        loop {
            let line = within("the relay to begin to stop", self.log.recv()).await.unwrap();
            if line.contains("\"stopping\"") {
                return;
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.traced().unwrap_or_else(|| self.id());
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal)
            .unwrap();
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// `SIGHUP`, and waits until the log says what came of it.
    pub(crate) async fn hang_up(&mut self) -> String {
        self.hung_up().await.pop().unwrap()
    }

    /// The same; everything that the log says until then.
    pub(crate) async fn hung_up(&mut self) -> Vec<String> {
        self.signal(rustix::process::Signal::HUP);
        let mut lines = Vec::new();
        loop {
            lines.push(within("the end of a reload", self.log.recv()).await.unwrap());
            if lines.last().is_some_and(|line| line.contains("reloaded")) {
                return lines;
            }
        }
    }

    /// `SIGTERM`, and waits for its end. What it logged meanwhile comes with it.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, Vec<String>) {
        self.signal(rustix::process::Signal::TERM);
        let mut lines = Vec::new();
        while let Some(line) = within("the relay's last lines", self.log.recv()).await {
            lines.push(line);
        }
        (within("the relay's end", self.child.wait()).await.unwrap(), lines)
    }
}

/// Writes relay.toml into a folder and returns its path.
pub(crate) fn write_config(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("relay.toml");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}
