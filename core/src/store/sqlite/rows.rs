//! Rows, and what is counted of them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::codec::{At, VIEW_COLUMNS, read_count, read_view, view_columns};
use super::fault::Work;
use super::row_columns::{self, link_columns, read_link};
use super::{log, orders, roster, round};
use crate::engine::LinkId;
use crate::store::{CalendarId, Counts, RowCommit, Rows, StoreError};

/// No source has this id.
const NO_SOURCE: i64 = -1;

pub(super) fn rows(
    transaction: &Transaction<'_>,
    sync: &str,
    connection: &str,
    calendar: CalendarId,
) -> Work<Rows> {
    let member = roster::member(transaction, sync, calendar)?;
    let source = round::source(transaction, connection, calendar)?.unwrap_or(NO_SOURCE);
    let (view, link) = (view_columns("v"), link_columns());
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {view}, {link} FROM link l
           LEFT JOIN source_view v ON v.id = l.view AND v.source = ?2
          WHERE l.member = ?1 ORDER BY l.id"
    ))?;
    let rows = statement
        .query_map(params![member, source], |row| {
            let mut link = read_link(row, VIEW_COLUMNS)?;
            link.source = read_view(row, 0)?;
            Ok(link)
        })?
        .collect::<Result<_, _>>()?;
    let unlinked = round::views(
        transaction,
        &format!(
            "SELECT {view} FROM source_view v
              WHERE v.source = ?1
                AND NOT EXISTS (SELECT 1 FROM link WHERE view = v.id AND member = ?2)
              ORDER BY v.id"
        ),
        &[&source, &member],
    )?;
    Ok(Rows { rows, unlinked })
}

/// Stores the changes; answers the new ids, and whether a plain value gave way to a mask or to nothing.
pub(super) fn commit(
    transaction: &Transaction<'_>,
    commit: &RowCommit,
    now: Timestamp,
) -> Work<(Vec<LinkId>, bool)> {
    let member = commit
        .calendar
        .map(|calendar| roster::member(transaction, &commit.sync, calendar))
        .transpose()?;
    let calls = log::store_calls(transaction, &commit.sync, member, &commit.calls)?;
    if let Some(spent) = &commit.spent {
        orders::spend(transaction, spent)?;
    }
    let Some(member) = member else {
        let calls_alone = commit.insert.is_empty()
            && commit.update.is_empty()
            && commit.decisions.is_empty()
            && commit.deleted_units.is_empty();
        return if calls_alone {
            Ok((Vec::new(), false))
        } else {
            Err(StoreError::NotFound("calendar").into())
        };
    };
    // Rows that let go of their view come first, so that another one may take it.
    let (letting_go, others): (Vec<_>, Vec<_>) =
        commit.update.iter().partition(|row| row.source.is_none());
    let mut masked = false;
    for row in letting_go.into_iter().chain(others) {
        masked |= row_columns::update(transaction, member, row, now)?;
    }
    let mut inserted = Vec::with_capacity(commit.insert.len());
    for row in &commit.insert {
        inserted.push(row_columns::insert(transaction, member, row, now)?);
    }
    log::store_decisions(transaction, member, &commit.decisions, &calls)?;
    for unit in &commit.deleted_units {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO deleted_unit (member, unit, at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![member, unit, At(now)])?;
    }
    Ok((inserted, masked))
}

/// The newest instant that a commit speaks of: the time at which it is made.
pub(super) fn newest_instant(commit: &RowCommit) -> Option<Timestamp> {
    let decisions = commit.decisions.iter().map(|decision| decision.at);
    let calls = commit.calls.iter().map(|call| call.receipt.ended);
    let rows = commit.update.iter().flat_map(|row| {
        [
            row.sink.acknowledged,
            row.attempt.as_ref().map(|attempt| attempt.at),
            row.dead.as_ref().map(|dead| dead.at),
            row.held_since,
        ]
        .into_iter()
        .flatten()
    });
    decisions.chain(calls).chain(rows).max()
}

pub(super) fn deleted_units(
    transaction: &Transaction<'_>,
    sync: &str,
    calendar: CalendarId,
    since: Timestamp,
) -> Work<BTreeSet<String>> {
    let mut statement = transaction.prepare_cached(
        "SELECT d.unit FROM deleted_unit d JOIN member m ON m.id = d.member
          WHERE m.sync = ?1 AND m.calendar = ?2 AND d.at >= ?3",
    )?;
    // Instants before the year 0 do not sort as text.
    let since = since.max(Timestamp::UNIX_EPOCH);
    let units = statement.query_map(params![sync, calendar.0, At(since)], |row| row.get(0))?;
    Ok(units.collect::<Result<_, _>>()?)
}

/// Held and not approved since.
const HELD: &str = "l.held_since IS NOT NULL AND (l.approved IS NULL OR l.approved < l.held_since)";

pub(super) fn held_calendars(
    transaction: &Transaction<'_>,
    sync: &str,
) -> Work<BTreeSet<CalendarId>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT DISTINCT m.calendar FROM link l JOIN member m ON m.id = l.member
          WHERE m.sync = ?1 AND NOT l.held_by_stop AND NOT l.first_contact AND {HELD}"
    ))?;
    let held = statement.query_map([sync], |row| Ok(CalendarId(row.get(0)?)))?;
    Ok(held.collect::<Result<_, _>>()?)
}

pub(super) fn approve(
    transaction: &Transaction<'_>,
    sync: &str,
    calendar: CalendarId,
    given: Timestamp,
    now: Timestamp,
) -> Work<u64> {
    let member = roster::member(transaction, sync, calendar)?;
    let approved = transaction
        .prepare_cached(&format!(
            "UPDATE link AS l SET approved = max(?2, l.held_since)
              WHERE l.member = ?1 AND {HELD} AND (l.held_since <= ?2 OR l.held_since > ?3)"
        ))?
        .execute(params![member, At(given), At(now)])?;
    Ok(u64::try_from(approved).unwrap_or_default())
}

pub(super) fn counts(
    transaction: &Transaction<'_>,
    sync: &str,
    connection: &str,
    calendar: CalendarId,
) -> Work<Counts> {
    let member = roster::member(transaction, sync, calendar)?;
    let source = round::source(transaction, connection, calendar)?.unwrap_or(NO_SOURCE);
    Ok(transaction
        .prepare_cached(&format!(
            "SELECT (SELECT count(*) FROM source_view WHERE source = ?2),
                    count(*) FILTER (WHERE l.sink_state = 'present' AND NOT l.is_foreign),
                    count(*) FILTER (WHERE l.retry_tries IS NOT NULL),
                    count(*) FILTER (WHERE l.sink_state = 'unknown'),
                    count(*) FILTER (WHERE l.dead_code IS NOT NULL),
                    count(*) FILTER (WHERE {HELD}),
                    count(*) FILTER (WHERE l.is_foreign)
               FROM link l WHERE l.member = ?1"
        ))?
        .query_row(params![member, source], |row| {
            Ok(Counts {
                source: read_count(row, 0)?,
                sink: read_count(row, 1)?,
                retrying: read_count(row, 2)?,
                unknown: read_count(row, 3)?,
                dead: read_count(row, 4)?,
                held: read_count(row, 5)?,
                foreign: read_count(row, 6)?,
            })
        })?)
}
