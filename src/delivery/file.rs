//! Targets that are a file of JSON lines, or standard output.
//!
//! One writer a target, on a thread of its own, because a disk blocks. It writes whatever lines
//! waited while the last batch was being synchronised, in one piece, and no attempt ends before
//! its line is on disk. Any error fails the batch, whose deliveries their schedule brings back;
//! lines of it that did reach the disk are then there twice, under one id.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::drain::Drain;

/// The writer of one target, seen from its attempts. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lines(mpsc::Sender<Line>);

/// Why a line is not known to be on disk.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The system said no.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The writer has ended.
    #[error("the writer has ended")]
    Ended,
}

/// Where the lines go.
#[derive(Debug)]
pub(super) enum Sink {
    /// A file that is appended to.
    File(Appended),
    /// Standard output.
    Stdout(Continued),
}

/// A file that is appended to, opened when first written and again when it is no longer the one
/// at its path.
#[derive(Debug)]
pub(super) struct Appended {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode: who it is, whatever it is called by now.
    identity: (u64, u64),
}

/// Something that goes on where a write ended that failed, maybe within a line.
#[derive(Debug, Default)]
pub(super) struct Continued {
    is_torn: bool,
}

#[derive(Debug)]
struct Line {
    json: Bytes,
    written: oneshot::Sender<Result<(), WriteError>>,
}

// === impl Lines ===

impl Lines {
    /// Starts the writer; `waiting` lines may wait for it.
    pub(super) fn start(sink: Sink, waiting: usize, drain: &Drain) -> io::Result<Self> {
        let (lines, queue) = mpsc::channel(waiting.max(1));
        drain.spawn_thread("lines", move || write_batches(sink, queue))?;
        Ok(Self(lines))
    }

    /// Appends one line; it is on disk when this returns.
    pub(super) async fn write(&self, json: Bytes) -> Result<(), WriteError> {
        let (written, result) = oneshot::channel();
        self.0.send(Line { json, written }).await.map_err(|_| WriteError::Ended)?;
        result.await.map_err(|_| WriteError::Ended)?
    }
}

fn write_batches(mut sink: Sink, mut queue: mpsc::Receiver<Line>) {
    let mut batch = Vec::new();
    let mut text = Vec::new();
    let mut written = 0;
    while let Some(first) = queue.blocking_recv() {
        // Who came in company comes so again, and one line costs a synchronisation like a hundred.
        if queue.len() + 1 < written {
            thread::sleep(PATIENCE);
        }
        batch.push(first);
        while let (true, Ok(line)) = (batch.len() < BATCH_MAX, queue.try_recv()) {
            batch.push(line);
        }
        for line in &batch {
            append_line(&mut text, &line.json);
        }
        let result = sink.write(&text).map_err(|error| WriteError::Io(Arc::new(error)));
        written = batch.len();
        for line in batch.drain(..) {
            // An attempt that no longer listens was cut short: its delivery is not settled.
            drop(line.written.send(result.clone()));
        }
        text.clear();
        text.shrink_to(TEXT_KEPT_BYTES);
    }
}

/// Lines in one write: what one synchronisation of the disk serves at most.
const BATCH_MAX: usize = 256;

/// How long the first line of a batch waits for as many as the last batch had.
const PATIENCE: Duration = Duration::from_millis(1);

/// The buffer a writer keeps between batches, whatever the largest event was.
const TEXT_KEPT_BYTES: usize = 256 * 1024;

/// One event, one line. Outside of strings, where it stands escaped, a line break in JSON is
/// white space like any other.
fn append_line(text: &mut Vec<u8>, json: &[u8]) {
    text.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    text.push(b'\n');
}

// === impl Sink ===

impl Sink {
    /// The sink for a file of this path.
    pub(super) fn file(path: PathBuf) -> Self {
        Self::File(Appended { path, open: None })
    }

    /// The sink for standard output.
    pub(super) fn stdout() -> Self {
        Self::Stdout(Continued::default())
    }

    /// The sink for a file that is there and open, on a disk that has no room from now on until
    /// the file is opened again.
    #[cfg(test)]
    pub(super) fn on_a_full_disk(path: &Path) -> Self {
        let found = fs::metadata(path).unwrap();
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let open = Some(Open { file, identity: (found.dev(), found.ino()) });
        Self::File(Appended { path: path.to_owned(), open })
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(text),
            Self::Stdout(stdout) => {
                let mut standard = io::stdout().lock();
                standard.flush()?;
                // Behind the buffer of the library, which says not how much of a failed write it
                // wrote, and may write the rest of it before the next.
                stdout.write(&mut File::from(standard.as_fd().try_clone_to_owned()?), text)
            }
        }
    }
}

// === impl Continued ===

impl Continued {
    fn write(&mut self, out: &mut impl io::Write, text: &[u8]) -> io::Result<()> {
        if self.is_torn {
            out.write_all(b"\n")?;
            self.is_torn = false;
            warn!("the last line on standard output was torn; completed it, it is not whole JSON");
        }
        let mut rest = text;
        while !rest.is_empty() {
            let written = match out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (done, left) = rest.split_at(written.min(rest.len()));
            self.is_torn = done.last() != Some(&b'\n');
            rest = left;
        }
        out.flush()
    }
}

// === impl Appended ===

impl Appended {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if open.is_at(&self.path) => open,
            Some(_) | None => Open::at(&self.path)?,
        };
        open.file.write_all(text)?;
        open.file.sync_data()?;
        // Kept only after success: what an error left behind is looked at anew.
        self.open = Some(open);
        Ok(())
    }
}

// === impl Open ===

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            fs::create_dir_all(parent)?;
        }
        let is_new = !is_file(path)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        if is_new {
            // A file is only as durable as its entry in the folder.
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        let metadata = file.metadata()?;
        if metadata.len() > 0 {
            let mut last = [0_u8];
            file.read_exact_at(&mut last, metadata.len() - 1)?;
            if last != *b"\n" {
                warn!(
                    path = %path.display(),
                    "the last line of {} was torn; completed it, it may not be whole JSON",
                    path.display()
                );
                file.write_all(b"\n")?;
            }
        }
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { file, identity })
    }

    /// Whether the path still leads here: it does not after the file was rotated or removed.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity)
    }
}

/// Whether there is a file; an error where there is something else. A pipe holds whoever opens it
/// and forgets what nobody reads, and a device has no disk that an event would be safe on.
pub(super) fn is_file(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Err(io::Error::other("it is a pipe or a device, not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Readable by the group's tools; events name people, so not by everybody.
const MODE: u32 = 0o640;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::{
        fs::{CWD, FileType, Mode, mknodat},
        pipe::{PipeFlags, pipe_with},
    };

    use super::*;

    fn write(sink: &mut Sink, json: &str) -> io::Result<()> {
        let mut text = Vec::new();
        append_line(&mut text, json.as_bytes());
        sink.write(&text)
    }

    #[test]
    fn lines_are_appended_and_parent_folders_created() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/events.jsonl");
        let mut sink = Sink::file(path.clone());

        write(&mut sink, r#"{"id":"1"}"#).unwrap();
        write(&mut sink, "{\r\n\"id\":\"2\"\n}").unwrap();

        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines, "{\"id\":\"1\"}\n{  \"id\":\"2\" }\n");
    }

    #[test]
    fn a_torn_last_line_is_completed_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, "{\"id\":\"1\"}\n{\"id\":").unwrap();

        write(&mut Sink::file(path.clone()), r#"{"id":"2"}"#).unwrap();

        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines, "{\"id\":\"1\"}\n{\"id\":\n{\"id\":\"2\"}\n");
    }

    #[test]
    fn a_file_that_was_rotated_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("events.jsonl"), folder.path().join("old"));
        let mut sink = Sink::file(path.clone());
        write(&mut sink, "1").unwrap();
        fs::rename(&path, &rotated).unwrap();

        write(&mut sink, "2").unwrap();

        assert_eq!(fs::read_to_string(&rotated).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_an_error_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::create_dir(&path).unwrap();
        let mut sink = Sink::file(path.clone());
        assert!(write(&mut sink, "1").is_err());
        assert!(write(&mut sink, "1").is_err());
        fs::remove_dir(&path).unwrap();

        write(&mut sink, "1").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn what_is_not_a_file_is_an_error_and_nothing_is_written_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        // One that is open at both ends blocks nobody, and takes what is written.
        let mut pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();

        assert!(write(&mut Sink::file(path.clone()), "1").is_err());
        assert!(write(&mut Sink::file("/dev/null".into()), "1").is_err());

        pipe.write_all(b"mine").unwrap();
        let mut held = [0; 4];
        pipe.read_exact(&mut held).unwrap();
        assert_eq!(held, *b"mine");
    }

    /// A pipe that fails, and blocks nobody, when it is full.
    fn pipe() -> (File, File) {
        let (out, into) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        (File::from(out), File::from(into))
    }

    #[test]
    fn after_a_write_that_failed_within_a_line_the_next_event_has_a_line_of_its_own() {
        let (mut reader, mut writer) = pipe();
        let mut stdout = Continued::default();
        let mut line = |json: &str| {
            let mut text = Vec::new();
            append_line(&mut text, json.as_bytes());
            stdout.write(&mut writer, &text)
        };
        let large = "1".repeat(10_000_000);

        assert_eq!(line(&large).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // Full still: neither may this one be joined to what is there.
        assert_eq!(line("2").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut taken = Vec::new();
        assert_eq!(reader.read_to_end(&mut taken).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        line("3").unwrap();
        line("4").unwrap();

        reader.read_to_end(&mut taken).unwrap_err();
        let taken = String::from_utf8(taken).unwrap();
        let (torn, whole) = taken.split_once('\n').unwrap();
        assert!(!torn.is_empty() && large.starts_with(torn));
        assert_eq!(whole, "3\n4\n");
    }

    #[test]
    fn after_a_write_that_failed_between_two_lines_there_is_no_empty_one() {
        let (mut reader, mut writer) = pipe();
        let mut stdout = Continued::default();
        // A pipe holds whole pages: what fits ends with a line.
        let lines = [b'1', b'\n'].repeat(5_000_000);

        assert!(stdout.write(&mut writer, &lines).is_err());
        let mut taken = Vec::new();
        reader.read_to_end(&mut taken).unwrap_err();
        stdout.write(&mut writer, b"2\n").unwrap();

        let before = taken.len();
        reader.read_to_end(&mut taken).unwrap_err();
        assert!(before > 0 && taken[..before].ends_with(b"1\n"));
        assert_eq!(&taken[before..], b"2\n");
    }

    #[tokio::test]
    async fn each_of_many_writers_at_once_finds_its_line_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let drain = Drain::new();
        let lines = Lines::start(Sink::file(path.clone()), 4, &drain).unwrap();

        let writes = (0..100).map(|n: u32| {
            let (lines, path) = (&lines, &path);
            async move {
                lines.write(n.to_string().into()).await.unwrap();
                let found = fs::read_to_string(path).unwrap();
                assert!(found.lines().any(|line| line == n.to_string()));
            }
        });
        futures_util::future::join_all(writes).await;

        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 100);
        drop(lines);
        assert!(drain.finish(Duration::from_secs(10)).await);
    }
}
