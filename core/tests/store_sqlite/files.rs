//! The state file: who may open it, what is refused and how.

use std::path::{Path, PathBuf};

use calbridge_core::store::sqlite::SqliteStore;
use calbridge_core::store::{Retention, Store, StoreError};
use tempfile::TempDir;

use crate::support::{CONNECTION, Fixture, SYNC, add, event, now};

pub(crate) struct Place {
    _folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        Self {
            _folder: folder,
            path,
        }
    }

    pub(crate) fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path, now())
    }

    pub(crate) fn beside(&self, ending: &str) -> PathBuf {
        beside(&self.path, ending)
    }
}

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A closed file with some contents.
async fn filled() -> Place {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let events = (0..300)
        .map(|n| {
            let mut event = event(&format!("uid{n}"), &format!("item{n}"));
            event.content.subject = Some("canary-subject ".repeat(8));
            event
        })
        .collect();
    it.round_with(events).await;
    it.link_all().await;
    drop(it);
    assert!(!place.beside("-wal").exists(), "closing brings the log in");
    place
}

/// The error of opening, whose text names nothing personal.
fn refused(place: &Place) -> StoreError {
    let error = place.open().unwrap_err();
    assert!(!error.to_string().contains("canary"), "{error}");
    let read_only = SqliteStore::open_read_only(&place.path).unwrap_err();
    assert!(!read_only.to_string().contains("canary"), "{read_only}");
    error
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let place = filled().await;
    let store = place.open().unwrap();
    let calendar = store.calendars(SYNC).await.unwrap()[0].id;
    let rows = store.rows(SYNC, CONNECTION, calendar).await.unwrap();
    assert_eq!(rows.rows.len(), 300);
    let print = store.prints().text("a");
    drop(store);
    let store = place.open().unwrap();
    assert_eq!(store.prints().text("a"), print, "the key stays");
    let first = store.acquire("a", now()).await.unwrap();
    drop(store);
    let second = place.open().unwrap().acquire("a", now()).await.unwrap();
    assert!(second > first, "fences outlive a restart");
}

#[tokio::test]
async fn two_stores_have_two_keys() {
    let stores = [
        SqliteStore::open_in_memory().unwrap(),
        SqliteStore::open_in_memory().unwrap(),
    ];
    assert_ne!(stores[0].prints().text("a"), stores[1].prints().text("a"));
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    it.round_with(vec![event("a", "1")]).await;
    let copy = place.beside(".copy");
    it.store.backup(&copy).await.unwrap();
    for file in [
        place.path.clone(),
        place.beside("-wal"),
        place.beside("-shm"),
        place.beside(".lock"),
        copy,
    ] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_second_process_is_kept_out_and_may_read() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    it.round_with(vec![event("a", "1")]).await;
    let refused = place.open().unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");

    let reader = SqliteStore::open_read_only(&place.path).unwrap();
    let read = || reader.rows(SYNC, CONNECTION, it.calendar);
    assert_eq!(read().await.unwrap(), it.rows().await);
    // It sees what is written after it was opened.
    it.link_all().await;
    assert_eq!(read().await.unwrap(), it.rows().await);
    assert_eq!(reader.prints().text("a"), it.store.prints().text("a"));
    // And cannot write.
    let refused = reader.acquire("b", now()).await.unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    let refused = reader.prune(it.fence, Retention::default(), now()).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })));
    drop(it);
    place.open().unwrap();
}

#[tokio::test]
async fn a_lock_of_another_program_is_told() {
    let place = filled().await;
    let other = rusqlite::Connection::open(&place.path).unwrap();
    let store = place.open().unwrap();
    // Somebody writes with the sqlite3 tool, for longer than we wait.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.acquire("a", now()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Busy { .. }), "{refused}");
    other.execute_batch("ROLLBACK").unwrap();
    store.acquire("a", now()).await.unwrap();
}

/// Another calbridge is told from another program, before anything is opened for good.
#[tokio::test]
async fn looking_at_the_file_tells_who_has_it_and_changes_nothing() {
    let place = filled().await;
    SqliteStore::examine(&place.path).unwrap();
    let store = place.open().unwrap();
    let refused = SqliteStore::examine(&place.path).unwrap_err();
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    drop(store);
    let other = rusqlite::Connection::open(&place.path).unwrap();
    other
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")
        .unwrap();
    let refused = SqliteStore::examine(&place.path).unwrap_err();
    assert!(matches!(refused, StoreError::Busy { .. }), "{refused}");
    drop(other);
    // A file of an older format stays one.
    let older = rusqlite::Connection::open(&place.path).unwrap();
    older.pragma_update(None, "user_version", 1).unwrap();
    drop(older);
    SqliteStore::examine(&place.path).unwrap();
    assert!(!place.beside(".format-1.bak").exists());
    let newer = rusqlite::Connection::open(&place.path).unwrap();
    newer.pragma_update(None, "user_version", 1000).unwrap();
    drop(newer);
    let refused = SqliteStore::examine(&place.path).unwrap_err();
    assert!(matches!(refused, StoreError::TooNew { .. }), "{refused}");
}

#[test]
fn an_empty_file_is_none_yet_for_those_who_only_read() {
    let place = Place::new();
    std::fs::write(&place.path, "").unwrap();
    for refused in [
        SqliteStore::open_read_only(&place.path).map(drop),
        SqliteStore::examine(&place.path),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, StoreError::Missing { .. }), "{refused}");
    }
    assert_eq!(std::fs::metadata(&place.path).unwrap().len(), 0);
    place.open().unwrap();
    SqliteStore::open_read_only(&place.path).unwrap();
}

/// The copy is new: what is wrong with its content is wrong with the original's.
#[tokio::test]
async fn a_backup_of_a_damaged_file_names_the_original() {
    let place = filled().await;
    let reader = SqliteStore::open_read_only(&place.path).unwrap();
    let mut bytes = std::fs::read(&place.path).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xab);
    std::fs::write(&place.path, bytes).unwrap();
    let copy = place.beside(".copy");
    let refused = reader.backup(&copy).await.unwrap_err();
    let StoreError::Corrupt { path, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*path, place.path.display().to_string());
    assert!(!copy.exists());
}

#[tokio::test]
async fn what_is_wrong_with_a_backups_place_is_no_trouble_of_the_state_file() {
    let place = filled().await;
    let store = place.open().unwrap();
    let target = place.path.with_file_name("nowhere").join("copy.db");
    let refused = store.backup(&target).await.unwrap_err();
    assert!(matches!(refused, StoreError::Backup { .. }), "{refused}");
    assert!(refused.to_string().contains("does not exist"), "{refused}");
}

#[tokio::test]
async fn an_overwritten_header_is_corrupt() {
    let place = filled().await;
    let mut bytes = std::fs::read(&place.path).unwrap();
    bytes[..64].fill(b'x');
    std::fs::write(&place.path, bytes).unwrap();
    let error = refused(&place);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn random_bytes_are_corrupt() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..8192_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(&place.path, &bytes).unwrap();
    let error = refused(&place);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read(&place.path).unwrap(), bytes, "left as it was");
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_corrupt() {
    let whole = filled().await;
    let bytes = std::fs::read(&whole.path).unwrap();
    for keep in [50, 4096, bytes.len() / 2, bytes.len() - 4096] {
        let place = Place::new();
        std::fs::write(&place.path, &bytes[..keep]).unwrap();
        let error = refused(&place);
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{keep}: {error}"
        );
    }
}

#[tokio::test]
async fn a_page_of_rubbish_is_corrupt() {
    let place = filled().await;
    let mut bytes = std::fs::read(&place.path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&place.path, bytes).unwrap();
    let error = place.open().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}

/// To read a large file through costs as much as all else that a run without changes does.
#[tokio::test]
async fn a_file_that_was_left_well_is_read_through_once_a_day_or_when_somebody_touched_it() {
    let place = filled().await;
    drop(place.open().unwrap());
    let left = std::fs::metadata(&place.path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&place.path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&place.path, bytes).unwrap();
    let refuses = |now| match SqliteStore::open(&place.path, now) {
        Ok(_) => false,
        Err(StoreError::Corrupt { .. }) => true,
        Err(error) => panic!("{error}"),
    };
    assert!(refuses(now()), "touched");
    let file = std::fs::File::options()
        .write(true)
        .open(&place.path)
        .unwrap();
    file.set_modified(left).unwrap();
    drop(file);
    assert!(!refuses(now()), "as it was left, as far as can be seen");
    let day = jiff::SignedDuration::from_hours(24);
    assert!(refuses(now() + day), "a day later");
    assert!(refuses(now() - day), "by a clock that was set back");
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let place = Place::new();
    rusqlite::Connection::open(&place.path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let before = std::fs::read(&place.path).unwrap();
    let error = refused(&place);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let place = filled().await;
    rusqlite::Connection::open(&place.path)
        .unwrap()
        .pragma_update(None, "user_version", 999)
        .unwrap();
    let error = refused(&place);
    assert!(
        matches!(error, StoreError::TooNew { found: 999, known, .. } if known < 999),
        "{error}"
    );
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_not_quoted() {
    for (table, column) in [
        ("source_view", "starts"),
        ("source_view", "key"),
        ("source_view", "show_as"),
        ("source_view", "categories"),
        ("source_view", "ordinal"),
        ("link", "base_starts"),
        ("link", "agreed"),
        ("link", "sink_state"),
        ("member", "address"),
        ("member", "kind"),
    ] {
        let place = filled().await;
        let value = if column == "key" {
            "x\ncanary"
        } else {
            "canary"
        };
        rusqlite::Connection::open(&place.path)
            .unwrap()
            .execute(
                &format!("UPDATE {table} SET {column} = ?1 WHERE id = 1"),
                [value],
            )
            .unwrap();
        let store = place.open().unwrap();
        let known = store.calendars(SYNC).await;
        let error = match known {
            Ok(states) if column == "kind" => {
                // A kind that only a newer version knows.
                assert_eq!(states[0].kind, calbridge_core::model::CalendarKind::Other);
                continue;
            }
            Ok(states) => match store.rows(SYNC, CONNECTION, states[0].id).await {
                Ok(_) if column == "show_as" => continue,
                rows => rows.unwrap_err(),
            },
            Err(error) => error,
        };
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{column}: {error}"
        );
        assert!(!format!("{error} {error:?}").contains("canary"), "{column}");
    }
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let place = Place::new();
    let error = SqliteStore::open(place.path.join("state.db"), now()).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
    let error = SqliteStore::open_read_only(&place.path).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(!place.path.exists(), "reading makes no file");
}

#[test]
fn a_folder_in_place_of_the_file_is_told() {
    let place = Place::new();
    std::fs::create_dir(&place.path).unwrap();
    for refused in [
        place.open().map(drop),
        SqliteStore::open_read_only(&place.path).map(drop),
        SqliteStore::examine(&place.path),
    ] {
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("is a folder; name a file in it"),
            "{refused}"
        );
        assert!(refused.contains(place.path.to_str().unwrap()), "{refused}");
    }
    assert!(!place.beside(".lock").exists());
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Whether modes mean nothing to this account.
    fn is_almighty() -> bool {
        let probe = tempfile::tempdir().unwrap();
        set_mode(probe.path(), 0o500);
        let almighty = std::fs::write(probe.path().join("x"), "").is_ok();
        if almighty {
            println!("skipped: file modes do not bind this account");
        }
        almighty
    }

    #[tokio::test]
    async fn a_file_that_may_not_be_written_is_read_only() {
        let place = filled().await;
        if is_almighty() {
            return;
        }
        set_mode(&place.path, 0o400);
        let error = place.open().unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_folder_that_may_not_be_written_is_read_only_and_can_be_read() {
        let place = filled().await;
        if is_almighty() {
            return;
        }
        std::fs::remove_file(place.beside(".lock")).unwrap();
        let folder = place.path.parent().unwrap();
        set_mode(folder, 0o500);
        let error = place.open().unwrap_err();
        let read = SqliteStore::open_read_only(&place.path);
        set_mode(folder, 0o700);
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        assert_eq!(read.unwrap().calendars(SYNC).await.unwrap().len(), 1);
    }

    /// A folder in which even root may not make files.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_of_the_kernel_is_read_only() {
        let path = Path::new("/sys/calbridge-state.db");
        if !Path::new("/sys/kernel").exists() {
            println!("skipped: there is no /sys");
            return;
        }
        let error = SqliteStore::open(path, now()).unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_backup_is_whole_while_writing_goes_on() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    it.round_with(
        (0..200)
            .map(|n| event(&format!("u{n}"), &n.to_string()))
            .collect(),
    )
    .await;
    let round = it.begin().await;
    let mut copies = Vec::new();
    for n in 0..5 {
        let copy = place.beside(&format!(".{n}.copy"));
        let (backed_up, ()) = tokio::join!(it.store.backup(&copy), async {
            for m in 0..20 {
                let id = format!("{n}-{m}");
                it.checkpoint(
                    round,
                    vec![calbridge_core::store::ViewChange::Seen(event(&id, &id))],
                    &id,
                )
                .await;
            }
        });
        backed_up.unwrap();
        copies.push(copy);
    }
    for copy in copies {
        assert!(!beside(&copy, "-wal").exists());
        let found: String = rusqlite::Connection::open(&copy)
            .unwrap()
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, "ok");
        // It can be put in place and worked with.
        let restored = SqliteStore::open(&copy, now()).unwrap();
        let state = restored
            .source_state(CONNECTION, it.calendar)
            .await
            .unwrap();
        let rows = restored.rows(SYNC, CONNECTION, it.calendar).await.unwrap();
        if let Some(cursor) = state.cursor {
            assert!(
                rows.unlinked
                    .iter()
                    .any(|view| view.event.item.id == cursor.0),
                "the page of cursor {} is missing",
                cursor.0
            );
        }
        assert_eq!(restored.prints().text("a"), it.store.prints().text("a"));
        add(
            &restored,
            restored.acquire("b", now()).await.unwrap(),
            SYNC,
            "bo@k.example",
        )
        .await;
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing() {
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let target = place.beside(".copy");
    std::fs::write(&target, "precious").unwrap();
    let refused = it.store.backup(&target).await.unwrap_err();
    assert!(matches!(refused, StoreError::Backup { .. }), "{refused}");
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    assert!(it.store.backup(&place.path).await.is_err());
    let nowhere = place.path.join("copy");
    assert!(it.store.backup(&nowhere).await.is_err());
    it.round_with(vec![event("a", "1")]).await;
    // One in memory and one that is only read can be copied as well.
    let memory = Fixture::in_memory().await;
    memory.store.backup(&place.beside(".memory")).await.unwrap();
    let reader = SqliteStore::open_read_only(&place.path).unwrap();
    reader.backup(&place.beside(".read")).await.unwrap();
    let restored = SqliteStore::open(place.beside(".read"), now()).unwrap();
    let rows = restored.rows(SYNC, CONNECTION, it.calendar).await.unwrap();
    assert_eq!(rows.unlinked.len(), 1);
}

#[tokio::test]
async fn a_state_that_was_put_in_anothers_place_is_compared_with_its_sinks_first() {
    use calbridge_core::store::CalendarReport;
    let place = Place::new();
    let it = Fixture::over(place.open().unwrap()).await;
    let listed = CalendarReport {
        inventoried: Some(now()),
        ..CalendarReport::default()
    };
    let report = it
        .store
        .report_calendar(it.fence, SYNC, it.calendar, listed);
    report.await.unwrap();
    it.store.backup(&place.beside(".copy")).await.unwrap();
    drop(it);
    let inventoried = async |store: &SqliteStore| {
        let calendars = store.calendars(SYNC).await.unwrap();
        calendars[0].inventoried.is_some()
    };
    // Closed and opened, also when it was opened and nothing done, it is the same.
    for _ in 0..3 {
        drop(place.open().unwrap());
        let store = place.open().unwrap();
        assert!(inventoried(&store).await);
        store.acquire("again", now()).await.unwrap();
    }
    // The copy is put in place.
    std::fs::copy(place.beside(".copy"), &place.path).unwrap();
    let store = place.open().unwrap();
    assert!(!inventoried(&store).await);
    drop(store);
    // So is a copy on another machine, where nothing lies beside it.
    let elsewhere = Place::new();
    std::fs::copy(place.beside(".copy"), &elsewhere.path).unwrap();
    assert!(!inventoried(&elsewhere.open().unwrap()).await);
}
