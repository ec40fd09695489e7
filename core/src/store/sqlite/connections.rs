//! How connections answered last.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::codec::{At, json_opt, read_at_opt, read_json_opt};
use super::fault::Work;
use crate::store::{ConnectionState, ConnectionTrouble};

pub(super) fn all(transaction: &Transaction<'_>) -> Work<Vec<ConnectionState>> {
    let mut statement = transaction
        .prepare_cached("SELECT name, reached, trouble FROM connection ORDER BY name")?;
    let states = statement.query_map([], |row| {
        Ok(ConnectionState {
            connection: row.get(0)?,
            reached: read_at_opt(row, 1)?,
            trouble: read_json_opt(row, 2)?,
        })
    })?;
    Ok(states.collect::<Result<_, _>>()?)
}

pub(super) fn reached(transaction: &Transaction<'_>, name: &str, at: Timestamp) -> Work<()> {
    transaction
        .prepare_cached(
            "INSERT INTO connection (name, reached) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET reached = excluded.reached, trouble = NULL",
        )?
        .execute(params![name, At(at)])?;
    Ok(())
}

pub(super) fn in_trouble(
    transaction: &Transaction<'_>,
    name: &str,
    trouble: &ConnectionTrouble,
) -> Work<()> {
    transaction
        .prepare_cached(
            "INSERT INTO connection (name, trouble) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET trouble = excluded.trouble",
        )?
        .execute(params![name, json_opt(Some(trouble))?])?;
    Ok(())
}
