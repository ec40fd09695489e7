//! Copies of the file while work goes on.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::fault::{Fault, Work};
use super::{Inner, open};
use crate::store::{StoreError, StoreResult};

/// How often a locked file is tried again, and the wait between two tries.
const MAX_TRIES: u32 = 100;
const WAIT: std::time::Duration = std::time::Duration::from_millis(50);

/// Copies the store to `target`, which must not exist.
pub(super) fn online(inner: &Inner, target: &Path) -> StoreResult<()> {
    let copied = || {
        if inner.reader.is_none() {
            return copy(&*inner.writer()?, target);
        }
        // A connection of its own: neither writers nor readers wait for the copy.
        let source = Connection::open_with_flags(
            &inner.path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        copy(&source, target)
    };
    copied().map_err(|fault| fault.named(&inner.path))
}

/// Copies what `source` sees to a new file, and checks the copy. A copy that failed is removed.
pub(super) fn copy(source: &Connection, target: &Path) -> Work<()> {
    let new = open::private_options().create_new(true).open(target);
    if let Err(error) = new {
        let error = if error.kind() == std::io::ErrorKind::AlreadyExists {
            StoreError::Backup {
                path: open::shown(target),
                detail: "there is a file already; name another".to_owned(),
            }
        } else {
            about_copy(open::io_error(&error, target).into(), "", target)
        };
        return Err(error.into());
    }
    let original = source.path().unwrap_or("in memory").to_owned();
    let copied =
        fill(source, &original, target).map_err(|fault| about_copy(fault, &original, target));
    if copied.is_err()
        && let Err(error) = std::fs::remove_file(target)
    {
        tracing::warn!(error = %error.kind(), "A backup that failed could not be removed.");
    }
    Ok(copied?)
}

/// What went wrong with the copy is no trouble of the state file; but damage is the original's, as the copy holds
/// just what that does.
fn about_copy(fault: Fault, original: &str, target: &Path) -> StoreError {
    let path = open::shown(target);
    let detail = match fault.named(&path) {
        StoreError::ReadOnly { .. } => "this account may not write there".to_owned(),
        StoreError::DiskFull { .. } => "no space is left".to_owned(),
        StoreError::Database(detail) => detail,
        StoreError::Corrupt { detail, .. } => {
            return StoreError::Corrupt {
                path: original.to_owned(),
                detail,
            };
        }
        other => return other,
    };
    StoreError::Backup { path, detail }
}

fn fill(source: &Connection, original: &str, target: &Path) -> Work<()> {
    let mut copy = Connection::open_with_flags(
        target,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    {
        let backup = Backup::new(source, &mut copy)?;
        // All pages in one step: under the write-ahead log that is one snapshot which keeps nobody from
        // writing. Smaller steps would start anew after each write.
        let mut tries = 0;
        while backup.step(-1)? != StepResult::Done {
            tries += 1;
            if tries > MAX_TRIES {
                return Err(StoreError::Backup {
                    path: open::shown(target),
                    detail: format!("{original} is locked by another program; close that first"),
                }
                .into());
            }
            std::thread::sleep(WAIT);
        }
    }
    // One file, without a log beside it.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    let found: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        Ok(())
    } else {
        Err(StoreError::Corrupt {
            path: original.to_owned(),
            detail: "a copy's integrity_check fails; no backup was made".to_owned(),
        }
        .into())
    }
}
