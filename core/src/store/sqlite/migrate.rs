//! Formats of the file: numbered in `user_version`, brought up to date one by one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Work;
use super::{backup, open};
use crate::store::StoreError;

/// Marks our files (`application_id`): "calb".
pub(super) const APPLICATION: i64 = 0x6361_6c62;

/// Step n leads from format n to format n + 1. A step that was released is never changed.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_attempt_ticket.sql"),
    include_str!("migrations/0003_operators.sql"),
    include_str!("migrations/0004_connections.sql"),
    include_str!("migrations/0005_settled.sql"),
    include_str!("migrations/0006_others.sql"),
];

/// Brings the file to the newest format.
pub(super) fn to_newest(connection: &mut Connection, name: &str, path: Option<&Path>) -> Work<()> {
    run(connection, name, path, STEPS)
}

/// Fails unless the file has the newest format.
pub(super) fn require_newest(connection: &Connection, name: &str) -> Work<()> {
    let found = version(connection)?;
    let known = newest(STEPS);
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::TooNew {
            path: name.to_owned(),
            found,
            known,
        }
        .into()),
        std::cmp::Ordering::Less => Err(StoreError::Database(format!(
            "{name} has the older format {found}; start the service once, which brings it to {known}"
        ))
        .into()),
    }
}

/// Fails if a newer calbridge has written the file.
pub(super) fn require_known(connection: &Connection, name: &str) -> Work<()> {
    require_at_most(connection, name, STEPS)
}

fn require_at_most(connection: &Connection, name: &str, steps: &[&str]) -> Work<()> {
    let (found, known) = (version(connection)?, newest(steps));
    if found > known {
        return Err(StoreError::TooNew {
            path: name.to_owned(),
            found,
            known,
        }
        .into());
    }
    Ok(())
}

fn run(connection: &mut Connection, name: &str, path: Option<&Path>, steps: &[&str]) -> Work<()> {
    require_at_most(connection, name, steps)?;
    let (found, known) = (version(connection)?, newest(steps));
    if found == known {
        return Ok(());
    }
    if let (Some(path), true) = (path, found > 0) {
        let copy = copy_name(path, found);
        // A copy from an earlier try that was broken off may be half a copy.
        if copy.exists() {
            std::fs::remove_file(&copy).map_err(|error| open::io_error(&error, &copy))?;
        }
        backup::copy(connection, &copy)?;
    }
    for (format, step) in (0..).zip(steps) {
        if format < found {
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", format + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Where the copy goes that is made before a file of format `found` is changed.
fn copy_name(path: &Path, found: i64) -> PathBuf {
    let mut copy = path.as_os_str().to_owned();
    copy.push(format!(".format-{found}.bak"));
    PathBuf::from(copy)
}

fn version(connection: &Connection) -> Work<i64> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

fn newest(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::store::sqlite::fault::Fault;

    const OLD: &str = "CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('kept');";
    const NEW: &str = "ALTER TABLE a ADD COLUMN y TEXT; UPDATE a SET y = x || '!';";

    #[test]
    fn an_older_file_is_copied_and_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut connection = Connection::open(&path).unwrap();
        run(&mut connection, "state", Some(&path), &[OLD]).unwrap();
        assert!(!copy_name(&path, 0).exists(), "a new file needs no copy");

        run(&mut connection, "state", Some(&path), &[OLD, NEW]).unwrap();
        let y: String = connection
            .query_row("SELECT y FROM a", [], |row| row.get(0))
            .unwrap();
        assert_eq!(y, "kept!");
        assert_eq!(version(&connection).unwrap(), 2);

        let copy = Connection::open(copy_name(&path, 1)).unwrap();
        assert_eq!(version(&copy).unwrap(), 1);
        let x: String = copy
            .query_row("SELECT x FROM a", [], |row| row.get(0))
            .unwrap();
        assert_eq!(x, "kept");
        assert!(copy.prepare("SELECT y FROM a").is_err());
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut connection = Connection::open(&path).unwrap();
        run(&mut connection, "state", Some(&path), &[OLD]).unwrap();
        let broken = "ALTER TABLE a ADD COLUMN y TEXT; SELECT nonsense;";
        assert!(run(&mut connection, "state", Some(&path), &[OLD, broken]).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT y FROM a").is_err());
        // The next try makes its copy anew.
        run(&mut connection, "state", Some(&path), &[OLD, NEW]).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
    }

    #[test]
    fn a_newer_file_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, "state", None, &[OLD, NEW]).unwrap();
        let refused = run(&mut connection, "state", None, &[OLD]);
        let Err(Fault::Store(StoreError::TooNew { found, known, .. })) = refused else {
            panic!("not refused");
        };
        assert_eq!((found, known), (2, 1));
    }
}
