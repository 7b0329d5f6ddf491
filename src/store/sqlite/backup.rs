//! A copy of the store while it runs.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::open::{PRIVATE, beside};
use crate::store::StoreError;

/// Copies the database at `from` to the new file `to`, on a thread of its own: it takes as long
/// as the disk does. What it reads is one moment; until it is done the log cannot be folded in
/// beyond that moment, and grows by what comes in.
pub(super) async fn run(from: PathBuf, to: PathBuf) -> Result<(), StoreError> {
    let (reply, answer) = oneshot::channel();
    let work = move || drop(reply.send(copy(&from, &to)));
    let started = std::thread::Builder::new().name("store-backup".to_owned()).spawn(work);
    started.map_err(|error| failed(&error))?;
    answer.await.unwrap_or(Err(StoreError::Closed))
}

/// Under a name of its own first, so that a backup that was cut short is not taken for one.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Io(format!("{} exists already", to.display()).into()));
    }
    let parent = to.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let part = beside(to, ".part");
    fs::create_dir_all(parent).map_err(|error| failed(&error))?;
    let begun = begin(&part)?;
    let copied = vacuum(from, &part).and_then(|()| {
        let settle = || -> io::Result<()> {
            begun.sync_all()?;
            // Not a rename, which would replace a file that has come meanwhile.
            fs::hard_link(&part, to)?;
            File::open(parent)?.sync_all()
        };
        settle().map_err(|error| failed(&error))
    });
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "what is left of a backup stays at {}", part.display());
        }
        _ => {}
    }
    copied
}

/// An empty file that nobody else may read, locked while it is filled. What a backup that was cut
/// off left there is removed, and not written over: it may be a whole backup, which has its own
/// name already.
fn begin(part: &Path) -> Result<File, StoreError> {
    let in_use = |_| StoreError::Io("another backup to it is under way".into());
    match OpenOptions::new().write(true).open(part) {
        Ok(left) => {
            left.try_lock().map_err(in_use)?;
            fs::remove_file(part).map_err(|error| failed(&error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(part);
    let made = made.map_err(|error| failed(&error))?;
    made.try_lock().map_err(in_use)?;
    Ok(made)
}

/// Fills a file; `SQLite` takes an empty one for a new one.
fn vacuum(from: &Path, part: &Path) -> Result<(), StoreError> {
    let told = |error: rusqlite::Error| StoreError::Io(error.to_string().into());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from, flags).map_err(told)?;
    let name = part.to_str().ok_or_else(|| StoreError::Io("its path is not UTF-8".into()))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(told)?;
    Ok(())
}

fn failed(error: &io::Error) -> StoreError {
    StoreError::Io(error.to_string().into())
}
