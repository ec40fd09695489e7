//! Opening the file: who may, whether it is sound, and how SQLite shall treat it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::fault::{Fault, Work};
use super::{Inner, SqliteStore, migrate};
use crate::engine::Fingerprinter;
use crate::store::{StoreError, StoreResult};

/// How long a statement waits for a reader of another process to let go.
const BUSY: Duration = Duration::from_secs(5);

/// More statements than the store has, so that each is prepared once.
const STATEMENTS: usize = 128;

/// Keeps other processes out until it is dropped, and remembers beside the state which lease was its last: a state
/// file that has another one was put in its place.
pub(super) struct ProcessLock {
    file: File,
}

impl ProcessLock {
    fn take(database: &Path) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let file = open_private(Path::new(&path)).map_err(|error| io_error(&error, database))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
                path: shown(database),
            }),
            Err(TryLockError::Error(error)) => Err(io_error(&error, database)),
        }
    }

    /// What was remembered: the newest lease, and how the file was left. What cannot be read is as good as nothing.
    fn remembered(&self) -> (String, Option<Left>) {
        let mut text = String::new();
        let mut file = &self.file;
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.take(LONGEST_MARK).read_to_string(&mut text));
        let text = read.map(|_| text).unwrap_or_default();
        let mut lines = text.lines();
        let mark = lines.next().unwrap_or_default().to_owned();
        (mark, lines.next().and_then(Left::read))
    }

    /// Remembers the newest lease, and forgets how the file was left. If that fails, the next start takes the file for
    /// another one, which costs a comparison and no more.
    pub(super) fn remember(&self, mark: &str) {
        let mut file = &self.file;
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(mark.as_bytes()));
        if let Err(error) = written {
            tracing::debug!(%error, "The lease was not remembered beside the state file.");
        }
    }

    /// Remembers how the file was left when all was well. If that fails, the next start reads it through.
    pub(super) fn remember_left(&self, database: &Path, checked: Timestamp) {
        if let Some(left) = Left::of(database, checked) {
            let (mark, _) = self.remembered();
            self.remember(&format!("{mark}\n{left}"));
        }
    }
}

/// How the state file was left by the last run that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    size: u64,
    /// When it was written last, in nanoseconds since 1970.
    modified: u128,
    /// When it was read through last.
    checked: Timestamp,
}

impl Left {
    /// None if it was not left well: there is a log that was not brought into the file.
    fn of(database: &Path, checked: Timestamp) -> Option<Self> {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return None;
        }
        let file = std::fs::metadata(database).ok()?;
        let modified = file.modified().ok()?;
        Some(Self {
            size: file.len(),
            modified: modified.duration_since(UNIX_EPOCH).ok()?.as_nanos(),
            checked,
        })
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            size: words.next()?.parse().ok()?,
            modified: words.next()?.parse().ok()?,
            checked: Timestamp::from_second(words.next()?.parse().ok()?).ok()?,
        })
    }

    /// Whether the file is as it was left, and was read through within a day.
    fn still_holds(self, database: &Path, now: Timestamp) -> bool {
        let age = now.duration_since(self.checked);
        Self::of(database, self.checked) == Some(self)
            && (SignedDuration::ZERO..GOOD_FOR).contains(&age)
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let checked = self.checked.as_second();
        write!(f, "{} {} {checked}", self.size, self.modified)
    }
}

/// How long a file that was left well needs not be read through again. It costs as much as the file is large.
const GOOD_FOR: SignedDuration = SignedDuration::from_hours(24);

/// More than a mark needs.
const LONGEST_MARK: u64 = 256;

/// Names a state file at its newest lease.
pub(super) fn mark(prints: &Fingerprinter, fence: i64) -> String {
    format!("{fence} {}", prints.text("state file"))
}

/// A state that was put in the place of another one (a backup, or a copy from elsewhere) knows nothing of what was
/// written since: all calendars are compared with their sinks before anything else.
fn notice_restored(writer: &Connection, lock: &ProcessLock, prints: &Fingerprinter) -> Work<()> {
    let newest: Option<i64> = writer
        .query_row("SELECT fence FROM lease", [], |row| row.get(0))
        .optional()?;
    let Some(newest) = newest else {
        return Ok(());
    };
    if lock.remembered().0 != mark(prints, newest) {
        writer.execute("UPDATE member SET inventoried = NULL", [])?;
    }
    Ok(())
}

impl SqliteStore {
    /// Opens the state file at `path` for this process alone; makes it (mode 0600) if there is none.
    ///
    /// A file of an older format is brought up to date after a copy was put beside it
    /// (`<path>.format-<number>.bak`). `now` is the present instant.
    ///
    /// This blocks: it reads the whole file once to see that it is sound, unless that was done within a day and the file
    /// is as it was left.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Busy`], [`StoreError::ReadOnly`], [`StoreError::Corrupt`],
    /// [`StoreError::TooNew`], [`StoreError::DiskFull`].
    pub fn open(path: impl AsRef<Path>, now: Timestamp) -> StoreResult<Self> {
        let path = path.as_ref();
        require_no_folder(path)?;
        // Locking first: nobody may look at a file that another process is migrating.
        let lock = ProcessLock::take(path)?;
        open_private(path).map_err(|error| io_error(&error, path))?;
        let name = shown(path);
        let left = lock.remembered().1;
        let checked = left.filter(|left| left.still_holds(path, now));
        let opened = || -> Work<Inner> {
            let mut writer = Connection::open_with_flags(path, flags())?;
            match checked {
                Some(_) => probe(&writer, &name)?,
                None => check(&writer, &name)?,
            }
            prepare_writer(&writer)?;
            migrate::to_newest(&mut writer, &name, Some(path))?;
            let prints = fingerprinter(&writer, true)?;
            notice_restored(&writer, &lock, &prints)?;
            let reader = Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            prepare(&reader)?;
            Ok(Inner {
                path: name.clone(),
                writer: Some(Mutex::new(writer)),
                reader: Some(Mutex::new(reader)),
                prints,
                told: Mutex::new(now),
                lock: Some(lock),
                checked: checked.map_or(now, |left| left.checked),
            })
        };
        opened().map(Self::of).map_err(|fault| fault.named(&name))
    }

    /// Opens the state file for reading, also while another process works with it. Verbs that write fail.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no file, or an empty one; [`StoreError::Busy`],
    /// [`StoreError::Corrupt`], [`StoreError::TooNew`];
    /// [`StoreError::Database`] for a file of an older format, which only [`SqliteStore::open`] brings up to
    /// date.
    pub fn open_read_only(path: impl AsRef<Path>) -> StoreResult<Self> {
        let path = path.as_ref();
        let name = shown(path);
        require_content(path)?;
        let opened = || -> Work<Inner> {
            let reader = open_reader(path, &name)?;
            migrate::require_newest(&reader, &name)?;
            let prints = fingerprinter(&reader, false)?;
            Ok(Inner {
                path: name.clone(),
                writer: None,
                reader: Some(Mutex::new(reader)),
                prints,
                told: Mutex::new(Timestamp::MIN),
                lock: None,
                checked: Timestamp::MIN,
            })
        };
        opened().map(Self::of).map_err(|fault| fault.named(&name))
    }

    /// Opens the state file for an operator's verbs (pauses and orders), also while another process works with it.
    ///
    /// # Errors
    /// As [`SqliteStore::open_read_only`], and [`StoreError::ReadOnly`].
    pub fn open_beside(path: impl AsRef<Path>) -> StoreResult<Self> {
        let path = path.as_ref();
        let name = shown(path);
        require_content(path)?;
        let opened = || -> Work<Inner> {
            let writer = Connection::open_with_flags(path, flags())?;
            probe(&writer, &name)?;
            prepare_writer(&writer)?;
            migrate::require_newest(&writer, &name)?;
            let prints = fingerprinter(&writer, false)?;
            Ok(Inner {
                path: name.clone(),
                writer: Some(Mutex::new(writer)),
                reader: None,
                prints,
                told: Mutex::new(Timestamp::MIN),
                lock: None,
                checked: Timestamp::MIN,
            })
        };
        opened().map(Self::of).map_err(|fault| fault.named(&name))
    }

    /// Whether [`SqliteStore::open`] would take the file: it is ours, sound, and nobody else uses it. Nothing in
    /// it is changed, an older format least of all.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is no file, or an empty one; else those of [`SqliteStore::open`].
    pub fn examine(path: impl AsRef<Path>) -> StoreResult<()> {
        let path = path.as_ref();
        let name = shown(path);
        require_content(path)?;
        let _lock = ProcessLock::take(path)?;
        open_private(path).map_err(|error| io_error(&error, path))?;
        let examined = || -> Work<()> {
            let connection = Connection::open_with_flags(path, flags())?;
            check(&connection, &name)?;
            migrate::require_known(&connection, &name)
        };
        examined().map_err(|fault| fault.named(&name))
    }

    /// A store that is gone with the process; for tests and rehearsals.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn open_in_memory() -> StoreResult<Self> {
        let name = ":memory:";
        let opened = || -> Work<Inner> {
            let mut writer = Connection::open_in_memory()?;
            prepare_writer(&writer)?;
            migrate::to_newest(&mut writer, name, None)?;
            let prints = fingerprinter(&writer, true)?;
            Ok(Inner {
                path: name.to_owned(),
                writer: Some(Mutex::new(writer)),
                reader: None,
                prints,
                told: Mutex::new(Timestamp::MIN),
                lock: None,
                checked: Timestamp::MIN,
            })
        };
        opened().map(Self::of).map_err(|fault| fault.named(name))
    }

    fn of(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }
}

/// What SQLite would say of a folder tells nobody what is wrong.
fn require_no_folder(path: &Path) -> StoreResult<()> {
    if path.is_dir() {
        Err(io_error(&io::ErrorKind::IsADirectory.into(), path))
    } else {
        Ok(())
    }
}

/// A file to be read must be there and hold something. A log beside it may hold what the file does not yet.
fn require_content(path: &Path) -> StoreResult<()> {
    require_no_folder(path)?;
    let is_empty = |path: &Path| match std::fs::metadata(path) {
        Ok(found) => Ok(found.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(unreadable(&error, path)),
    };
    if is_empty(path)? && is_empty(&log_of(path))? {
        return Err(StoreError::Missing { path: shown(path) });
    }
    match File::open(path) {
        Err(error) => Err(unreadable(&error, path)),
        Ok(_) => Ok(()),
    }
}

fn unreadable(error: &io::Error, path: &Path) -> StoreError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => StoreError::Database(format!(
            "{} may not be read by this account; use the account that the service runs under",
            shown(path)
        )),
        _ => io_error(error, path),
    }
}

/// SQLite's write-ahead log of a file.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    PathBuf::from(log)
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// A connection that only reads. Where the write-ahead log cannot be used (a folder that may not be written,
/// and nobody has the file open), the file is read as it stands.
fn open_reader(path: &Path, name: &str) -> Work<Connection> {
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let shared = Connection::open_with_flags(path, read_only)?;
    let Err(fault) = prepare(&shared).and_then(|()| probe(&shared, name)) else {
        return Ok(shared);
    };
    let no_log = std::fs::metadata(log_of(path)).map_or(true, |log| log.len() == 0);
    let unusable_log = matches!(
        &fault,
        Fault::Sql(rusqlite::Error::SqliteFailure(failure, _)) if matches!(
            failure.code,
            rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly
        )
    );
    if !(no_log && unusable_log) {
        return Err(fault);
    }
    let Ok(mut url) = url::Url::from_file_path(std::path::absolute(path).unwrap_or_default())
    else {
        return Err(fault);
    };
    url.set_query(Some("immutable=1"));
    let frozen = Connection::open_with_flags(url.as_str(), read_only | OpenFlags::SQLITE_OPEN_URI)?;
    prepare(&frozen)?;
    probe(&frozen, name)?;
    Ok(frozen)
}

/// What every connection needs.
fn prepare(connection: &Connection) -> Work<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that do not depend on bound values: else SQLite may prepare a statement anew for each value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Sorting in files would leave plain data in temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -16_000)?;
    Ok(())
}

fn prepare_writer(connection: &Connection) -> Work<()> {
    prepare(connection)?;
    // Effective only while the file is empty; in a file that is there it says nothing.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Old values are overwritten, not only unlinked.
    connection.query_row("PRAGMA secure_delete = ON", [], |_| Ok(()))?;
    Ok(())
}

/// Reads the first page.
fn probe(connection: &Connection, name: &str) -> Work<()> {
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id == migrate::APPLICATION || (id == 0 && tables == 0) {
        Ok(())
    } else {
        Err(StoreError::Corrupt {
            path: name.to_owned(),
            detail: "it is another program's database".to_owned(),
        }
        .into())
    }
}

/// Whether the file is ours and sound, before anything is changed in it.
fn check(connection: &Connection, name: &str) -> Work<()> {
    connection.busy_timeout(BUSY)?;
    probe(connection, name)?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        Ok(())
    } else {
        // What was found may quote contents.
        Err(StoreError::Corrupt {
            path: name.to_owned(),
            detail: "its quick_check fails".to_owned(),
        }
        .into())
    }
}

/// The store's key, made once.
fn fingerprinter(connection: &Connection, may_make: bool) -> Work<Fingerprinter> {
    let read = || {
        connection
            .query_row(
                "SELECT value FROM meta WHERE name = 'fingerprint-key'",
                [],
                |row| row.get::<_, [u8; 32]>(0),
            )
            .optional()
    };
    if let Some(key) = read()? {
        return Ok(Fingerprinter::new(key));
    }
    if !may_make {
        return Err(StoreError::NotFound("fingerprint key").into());
    }
    let mut key = [0; 32];
    let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    for (to, from) in key
        .iter_mut()
        .zip(random.iter().flat_map(|id| id.as_bytes()))
    {
        *to = *from;
    }
    connection.execute(
        "INSERT INTO meta (name, value) VALUES ('fingerprint-key', ?1)",
        [&key[..]],
    )?;
    Ok(Fingerprinter::new(key))
}

/// Opens or makes a file that only its owner may read. SQLite gives its side files the same mode.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    private_options().create(true).open(path)
}

/// Options for a file that only its owner may read.
pub(super) fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options
}

/// A path for error texts.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What the operating system says, as the store's error.
pub(super) fn io_error(error: &io::Error, path: &Path) -> StoreError {
    let path = shown(path);
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { path }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path },
        io::ErrorKind::NotFound => {
            StoreError::Database(format!("the folder of {path} does not exist; make it"))
        }
        io::ErrorKind::IsADirectory => {
            StoreError::Database(format!("{path} is a folder; name a file in it"))
        }
        kind => StoreError::Database(format!("{path}: {kind}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn open() -> (tempfile::TempDir, SqliteStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("state.db"), now()).unwrap();
        (folder, store)
    }

    fn pragma(store: &SqliteStore, name: &str, value: i64) {
        let writer = store.inner.writer().unwrap();
        writer
            .query_row(&format!("PRAGMA {name} = {value}"), [], |_| Ok(()))
            .optional()
            .unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_nothing_is_lost() {
        let (_folder, store) = open();
        let fence = store.acquire("a", now()).await.unwrap();
        pragma(&store, "max_page_count", 1);
        let add = |n: u32| crate::store::RosterChange::Add {
            calendar: crate::model::CalendarRef::primary(format!("{n}@k.example")).unwrap(),
            kind: crate::model::CalendarKind::Person,
            left: None,
        };
        let changes: Vec<_> = (0..500).map(add).collect();
        let full = store.commit_roster(fence, "s", &changes, now()).await;
        assert!(matches!(full, Err(StoreError::DiskFull { .. })), "{full:?}");
        assert!(store.calendars("s").await.unwrap().is_empty());
        // There is space again.
        pragma(&store, "max_page_count", 1_000_000);
        store
            .commit_roster(fence, "s", &changes, now())
            .await
            .unwrap();
        assert_eq!(store.calendars("s").await.unwrap().len(), 500);
    }

    #[tokio::test]
    async fn a_file_that_became_read_only_is_told() {
        let (_folder, store) = open();
        pragma(&store, "query_only", 1);
        let refused = store.acquire("a", now()).await;
        assert!(
            matches!(refused, Err(StoreError::ReadOnly { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn the_file_is_treated_as_decided() {
        let (_folder, store) = open();
        let writer = store.inner.writer().unwrap();
        let get = |name: &str| -> String {
            writer
                .query_row(&format!("PRAGMA {name}"), [], |row| {
                    row.get::<_, rusqlite::types::Value>(0)
                })
                .map(|value| match value {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text,
                    other => format!("{other:?}"),
                })
                .unwrap()
        };
        for (name, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("foreign_keys", "1"),
            ("secure_delete", "1"),
            ("auto_vacuum", "2"),
            ("temp_store", "2"),
            ("busy_timeout", "5000"),
        ] {
            assert_eq!(get(name), value, "{name}");
        }
    }
}
