//! What SQLite says, as the store's errors.

use rusqlite::ffi;

use crate::store::StoreError;

/// Why a piece of work failed: SQLite, or a rule of the store.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Store(StoreError),
}

/// What the pieces of work answer.
pub(super) type Work<T> = Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fault {
    /// The typed error, for the file at `path`.
    pub(super) fn named(self, path: &str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => named(&error, path),
        }
    }
}

/// SQLite's own messages name tables and columns, never values; those of value conversions may quote values
/// and are left out.
fn named(error: &rusqlite::Error, path: &str) -> StoreError {
    let other = |detail: String| StoreError::Database(format!("{path}: {detail}"));
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let said = message.as_deref().unwrap_or_default();
            match (failure.code, failure.extended_code) {
                (_, ffi::SQLITE_READONLY_DBMOVED) => other(
                    "it was moved or deleted while in use; restart calbridge".to_owned(),
                ),
                (rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied, _) => {
                    StoreError::ReadOnly { path: path.to_owned() }
                }
                (rusqlite::ErrorCode::DiskFull, _) => StoreError::DiskFull { path: path.to_owned() },
                (rusqlite::ErrorCode::NotADatabase, _) => StoreError::Corrupt {
                    path: path.to_owned(),
                    detail: "it is not an SQLite database".to_owned(),
                },
                (rusqlite::ErrorCode::DatabaseCorrupt, _) => StoreError::Corrupt {
                    path: path.to_owned(),
                    detail: "its pages do not fit together".to_owned(),
                },
                (rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked, _) => {
                    StoreError::Busy { path: path.to_owned() }
                }
                (rusqlite::ErrorCode::CannotOpen, _) => other(
                    "it cannot be opened; look at its folder and the rights of the service's account"
                        .to_owned(),
                ),
                (rusqlite::ErrorCode::SystemIoFailure, code) => other(format!(
                    "reading or writing it failed (code {code}); look at the disk and the system's log"
                )),
                (_, code) => other(format!("{said} (code {code})")),
            }
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => StoreError::Corrupt {
            path: path.to_owned(),
            detail: "a value in it cannot be read".to_owned(),
        },
        _ => other("the database library refused the request".to_owned()),
    }
}

/// A value that is not what the column holds; says nothing of the value.
pub(super) fn unreadable(column: usize) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Text,
        "unreadable value".into(),
    )
}

/// The value was made by us and cannot fail to become text; if it does, nothing is stored.
pub(super) fn unwritable(_: impl std::error::Error) -> Fault {
    Fault::Store(StoreError::Database(
        "a value cannot be written as text".to_owned(),
    ))
}
