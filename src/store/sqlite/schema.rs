//! The layout of the file: how a connection is set up, and the numbered steps to this version.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use super::open::OpenError;

/// What is really in force on the writer's connection, as `SQLite` reads it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// `wal`.
    pub journal_mode: String,
    /// `normal`: the sync at each commit is ours.
    pub synchronous: &'static str,
    /// Bytes of a page; fixed when the file is made.
    pub page_size: i64,
    /// 0: the log is folded into the database by a thread of ours, see `fold`.
    pub wal_autocheckpoint: i64,
    /// Negative: KiB of page cache.
    pub cache_size: i64,
    /// `none`, `full` or `incremental`; fixed when the file is made.
    pub auto_vacuum: &'static str,
    /// The version of the layout.
    pub schema_version: usize,
}

/// The layout, one step a version. A step is never changed once released: the next is added.
pub(super) const STEPS: &[&str] = &[
    include_str!("schema/0001_base.sql"),
    include_str!("schema/0002_watch.sql"),
    include_str!("schema/0003_removal.sql"),
    include_str!("schema/0004_lanes.sql"),
    include_str!("schema/0005_failed_routes.sql"),
    include_str!("schema/0006_trace.sql"),
    include_str!("schema/0007_new_id.sql"),
    include_str!("schema/0008_trace_state.sql"),
    include_str!("schema/0009_not_before.sql"),
];

/// `PRAGMA application_id`, so that another program's database is not taken for ours: `HkSw`.
const APPLICATION_ID: i64 = 0x486B_5377;

/// How long to wait for a lock of another process, such as a person's `sqlite3` that writes. Not
/// longer: the whole queue waits with it, and its callers are told 503 after five seconds.
const BUSY_TIMEOUT_MS: u32 = 1_000;

/// How long the emptying of the log waits for a reader, with the writer waiting behind it.
const EMPTYING_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(100);

/// Statements kept compiled per connection: more than there are, so that none is compiled twice.
const STATEMENTS_KEPT: usize = 96;

/// Set before the first table, because they are part of the file's format.
const FORMAT: &str = "PRAGMA page_size = 8192;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;";

/// NORMAL syncs the log before a checkpoint and the database after it. The sync of the log at every
/// commit, which is what a receipt promises, is ours: see `log`. Checkpoints are too: see `fold`.
const WRITER: &str = "PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA cache_size = -16384;
    PRAGMA secure_delete = FAST;
    PRAGMA temp_store = MEMORY;";

/// Smaller than the writer's: there are several readers, and most of what they read is new.
const READER: &str = "PRAGMA query_only = ON;
    PRAGMA cache_size = -2048;
    PRAGMA temp_store = MEMORY;";

/// Opens the writer's connection, making or migrating the file as needed.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let told = |error: rusqlite::Error| OpenError::of(path, &error);
    let mut connection = Connection::open_with_flags(path, flags).map_err(told)?;
    busy_timeout(&connection).map_err(told)?;
    keep_statements(&connection).map_err(told)?;
    let found = version(&connection, path)?;
    connection.execute_batch(FORMAT).map_err(told)?;
    connection.execute_batch(WRITER).map_err(told)?;
    migrate(&mut connection, found).map_err(told)?;
    Ok(connection)
}

/// Opens a connection that folds the log in and writes nothing else. It syncs as the writer's does.
pub(super) fn open_folder(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    busy_timeout(&connection)?;
    connection.execute_batch(WRITER)?;
    Ok(connection)
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    busy_timeout(&connection)?;
    keep_statements(&connection)?;
    connection.execute_batch(READER)?;
    Ok(connection)
}

/// Folds the log in and empties it, by a connection of its own: the writer goes on meanwhile.
/// False when readers were in the way.
pub(super) fn empty_log(path: &Path) -> rusqlite::Result<bool> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Less than the writer waits for us.
    connection.busy_timeout(EMPTYING_TIMEOUT)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        let is_busy: bool = row.get(0)?;
        Ok(!is_busy)
    })
}

/// Reads back what holds.
pub(super) fn in_force(connection: &Connection) -> rusqlite::Result<InForce> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(InForce {
        journal_mode: connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?,
        synchronous: match number("synchronous")? {
            0 => "off",
            1 => "normal",
            2 => "full",
            _ => "extra",
        },
        page_size: number("page_size")?,
        wal_autocheckpoint: number("wal_autocheckpoint")?,
        cache_size: number("cache_size")?,
        auto_vacuum: match number("auto_vacuum")? {
            0 => "none",
            1 => "full",
            _ => "incremental",
        },
        schema_version: usize::try_from(number("user_version")?).unwrap_or_default(),
    })
}

/// Statements stay compiled, whatever values they are given: `SQLite` would look at their plans again
/// for the values of some, and ours name their indexes.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn busy_timeout(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS.into()))
}

/// The version of the file: 0 of a new one. Refuses what is not ours or newer than we are.
fn version(connection: &Connection, path: &Path) -> Result<usize, OpenError> {
    let number = |sql| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|error| OpenError::of(path, &error))
    };
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let found = number("PRAGMA user_version")?;
    if application != APPLICATION_ID && (application != 0 || tables != 0 || found != 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    match usize::try_from(found) {
        Ok(found) if found <= STEPS.len() => Ok(found),
        _ => Err(OpenError::Newer { path: path.to_owned(), found, ours: STEPS.len() }),
    }
}

/// Refuses a file whose layout is not this version's: whoever only reads cannot bring it there.
pub(super) fn check_current(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match version(connection, path)? {
        found if found == STEPS.len() => Ok(()),
        // Made by a relay that did not get as far as to put anything in it.
        0 => Err(OpenError::Missing { path: path.to_owned() }),
        found => Err(OpenError::Older { path: path.to_owned(), found, ours: STEPS.len() }),
    }
}

/// Takes every step after `found`, each in a transaction of its own.
fn migrate(connection: &mut Connection, found: usize) -> rusqlite::Result<()> {
    for (step, version) in STEPS.iter().zip(1_i64..).skip(found) {
        let step_taken = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step_taken.execute_batch(step)?;
        step_taken.pragma_update(None, "application_id", APPLICATION_ID)?;
        step_taken.pragma_update(None, "user_version", version)?;
        step_taken.commit()?;
        // A new file takes all of them, which is nothing to be told of.
        if found > 0 {
            tracing::info!(version, "brought the store to schema version {version}");
        }
    }
    Ok(())
}
