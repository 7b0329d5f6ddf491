//! Opening the file: why it may be refused, and the lock that keeps a second writer out.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::ErrorCode;

/// Why a store could not be opened: one line each, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "the store {} is in use by {holder}; stop that process first, or use its admin API",
        path.display()
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// A later release made it.
    #[error(
        "the store {} has schema version {found}, this program knows versions up to {ours}; \
         use the release that wrote it or a later one, or restore a backup made before that",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest we know.
        ours: usize,
    },
    /// An earlier release made it, and it was opened for reading only.
    #[error(
        "the store {} has schema version {found}, this program reads version {ours}; \
         start the relay once to bring it there",
        path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// The one we know.
        ours: usize,
    },
    /// There is no file, and it was opened for reading only.
    #[error("there is no store {}; no relay has run with this relay.toml", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// The file is something else.
    #[error(
        "{} is not a SQLite database, or a damaged one; name another file, or restore a backup",
        path.display()
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is another program's database.
    #[error("{} is a database of another program; name another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The path is a folder.
    #[error("the store {} is a folder; name a file in it", path.display())]
    IsDirectory {
        /// The folder.
        path: PathBuf,
    },
    /// The path is a device, a pipe or a socket.
    #[error("the store {} is no ordinary file; name a file on a disk", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// A file or folder on the way cannot be read, made or written.
    #[error(
        "cannot open the store: {}: {error}; the user that runs this program must be able to \
         read and write the file and its folder",
        path.display()
    )]
    Unreadable {
        /// What could not be opened.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Anything else `SQLite` says.
    #[error("cannot open the store {}: {error}", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What it said.
        error: String,
    },
}

/// A database that nobody else writes to, not opened yet.
#[derive(Debug)]
pub struct Held {
    /// Where it really is.
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
}

/// The lock beside the database, held as long as this lives.
#[derive(Debug)]
pub(super) struct Lock(Arc<Mutex<Option<File>>>);

/// What the lock says of its holder, for whoever is refused by it or looks for the relay. Cloning
/// shares it.
#[derive(Clone, Debug)]
pub struct Note(Arc<Mutex<Option<File>>>);

/// Where the relay that has a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process, in its own numbering.
    pub pid: u32,
    /// Its admin address.
    pub admin: SocketAddr,
    /// The SHA-256 of the certificate it shows there; without one it speaks plain HTTP.
    pub certificate: Option<[u8; 32]>,
}

// === impl OpenError ===

impl OpenError {
    /// The kind of trouble `SQLite` had with `path`.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::NotADatabase { path }
            }
            Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                let error = io::Error::new(io::ErrorKind::PermissionDenied, error.to_string());
                Self::Unreadable { path, error }
            }
            _ => Self::Failed { path, error: error.to_string() },
        }
    }
}

// === impl Held ===

impl Held {
    /// Makes the file unless it is there, and takes its lock.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let path = prepare(path)?;
        let lock = Lock::take(&path)?;
        Ok(Self { path, lock })
    }

    /// What the lock says, to be kept true.
    pub fn note(&self) -> Note {
        Note(Arc::clone(&self.lock.0))
    }
}

// === impl Lock ===

impl Lock {
    /// Takes the lock of the database at `path`, and notes who holds it.
    fn take(path: &Path) -> Result<Self, OpenError> {
        let beside = beside(path, LOCK);
        let unreadable = |error| OpenError::Unreadable { path: beside.clone(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(PRIVATE)
            .open(&beside)
            .map_err(unreadable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: path.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        write(&mut file, "").map_err(unreadable)?;
        Ok(Self(Arc::new(Mutex::new(Some(file)))))
    }
}

impl Drop for Lock {
    /// The file stays: removing it would let two openers lock two files of one name.
    fn drop(&mut self) {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(file) = file else { return };
        if let Err(error) = file.set_len(0).and_then(|()| file.unlock()) {
            tracing::debug!(%error, "the lock of the store is left to the system to release");
        }
    }
}

// === impl Note ===

impl Note {
    /// Says where the holder is asked; nothing once the lock is gone.
    pub fn tell(&self, admin: SocketAddr, certificate: Option<[u8; 32]>) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.as_mut() else { return Ok(()) };
        let certificate = certificate.map(|digest| format!("\n{CERTIFICATE_NOTE}{}", hex(&digest)));
        write(file, &format!(", {ADMIN_NOTE}{admin}{}", certificate.unwrap_or_default()))
    }
}

// === impl Holder ===

impl Holder {
    /// Who has the database at `path`, or last had it and was killed.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let note = read(&mut File::open(beside(path, LOCK)).ok()?)?;
        let mut lines = note.lines();
        let (pid, admin) = lines.next()?.strip_prefix("pid ")?.split_once(", ")?;
        let certificate = match lines.next() {
            Some(line) => Some(unhex(line.strip_prefix(CERTIFICATE_NOTE)?)?),
            None => None,
        };
        let admin = admin.strip_prefix(ADMIN_NOTE)?.parse().ok()?;
        Some(Self { pid: pid.parse().ok()?, admin, certificate })
    }
}

fn write(file: &mut File, more: &str) -> io::Result<()> {
    let note = format!("pid {}{more}\n", std::process::id());
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(note.as_bytes())
}

fn read(file: &mut File) -> Option<String> {
    let mut note = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut note).ok().map(|_| note)
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Makes the parent folders and the file itself, and says where it really is, so that two names
/// of one file share one lock.
pub(super) fn prepare(path: &Path) -> Result<PathBuf, OpenError> {
    let unreadable = |path: &Path, error| OpenError::Unreadable { path: path.to_owned(), error };
    refuse_other_kinds(path)?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|error| unreadable(parent, error))?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(path)
        .map_err(|error| unreadable(path, error))?;
    fs::canonicalize(path).map_err(|error| unreadable(path, error))
}

/// Refuses whatever is there and cannot be a store, before it is opened: that of a pipe waits.
fn refuse_other_kinds(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(OpenError::IsDirectory { path: path.to_owned() }),
        Ok(found) if !found.is_file() => Err(OpenError::NotAFile { path: path.to_owned() }),
        // What is not there is made; what cannot be looked at cannot be opened, which says why.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Where a file that is there really is.
pub(super) fn existing(path: &Path) -> Result<PathBuf, OpenError> {
    refuse_other_kinds(path)?;
    fs::canonicalize(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Missing { path: path.to_owned() },
        _ => OpenError::Unreadable { path: path.to_owned(), error },
    })
}

/// The files of a store at `path`: the database, its log, the index of that, and the lock.
pub fn files_of(path: &Path) -> [PathBuf; 4] {
    ["", LOG, "-shm", LOCK].map(|suffix| beside(path, suffix))
}

/// The end of the log's name.
pub(super) const LOG: &str = "-wal";

/// The end of the lock's.
const LOCK: &str = ".lock";

/// Callbacks hold people's numbers and words: nobody but the owner reads the file. `SQLite` gives
/// its log the mode of the database.
pub(super) const PRIVATE: u32 = 0o600;

/// What stands before the address in the note of the lock.
const ADMIN_NOTE: &str = "admin API ";

/// What stands before the digest of the certificate, in a line of its own.
const CERTIFICATE_NOTE: &str = "certificate sha256 ";

/// Longer than any note we write.
const NOTE_BYTES_MAX: u64 = 256;

/// The file that is called like the database and a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn holder(file: &mut File) -> String {
    let note = read(file).unwrap_or_default();
    match note.lines().next() {
        Some(first) => first.to_owned(),
        None => "another process".to_owned(),
    }
}
