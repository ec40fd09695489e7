//! Orders, pauses and what was spent of budgets.

use jiff::{SignedDuration, Timestamp, Unit};
use rusqlite::{OptionalExtension, Transaction, params};

use super::codec::{At, json, read_at, read_count, read_json};
use super::fault::Work;
use crate::store::{
    Order, OrderAnswer, OrderId, Pause, PauseScope, Spent, StoreError, WaitingOrder,
};

pub(super) fn pauses(transaction: &Transaction<'_>) -> Work<Vec<Pause>> {
    let mut statement =
        transaction.prepare_cached("SELECT scope, since FROM pause ORDER BY since, scope")?;
    let pauses = statement.query_map([], |row| {
        Ok(Pause {
            scope: read_json(row, 0)?,
            since: read_at(row, 1)?,
        })
    })?;
    Ok(pauses.collect::<Result<_, _>>()?)
}

pub(super) fn pause(
    transaction: &Transaction<'_>,
    scope: &PauseScope,
    now: Timestamp,
) -> Work<bool> {
    let made = transaction
        .prepare_cached("INSERT INTO pause (scope, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![json(scope)?, At(now)])?;
    Ok(made > 0)
}

pub(super) fn resume(transaction: &Transaction<'_>, scope: &PauseScope) -> Work<bool> {
    let lifted = transaction
        .prepare_cached("DELETE FROM pause WHERE scope = ?1")?
        .execute(params![json(scope)?])?;
    Ok(lifted > 0)
}

pub(super) fn give(transaction: &Transaction<'_>, order: &Order, now: Timestamp) -> Work<OrderId> {
    transaction
        .prepare_cached("INSERT INTO operator_order (given, content) VALUES (?1, ?2)")?
        .execute(params![At(now), json(order)?])?;
    Ok(OrderId(transaction.last_insert_rowid()))
}

pub(super) fn open(transaction: &Transaction<'_>) -> Work<Vec<WaitingOrder>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, given, content FROM operator_order WHERE answered IS NULL ORDER BY id",
    )?;
    let open = statement.query_map([], |row| {
        Ok(WaitingOrder {
            id: OrderId(row.get(0)?),
            given: read_at(row, 1)?,
            order: read_json(row, 2)?,
        })
    })?;
    Ok(open.collect::<Result<_, _>>()?)
}

pub(super) fn answer(
    transaction: &Transaction<'_>,
    order: OrderId,
    answer: &OrderAnswer,
    now: Timestamp,
) -> Work<()> {
    let (count, refused) = match answer {
        OrderAnswer::Done(count) => (i64::try_from(*count).ok(), None),
        OrderAnswer::Refused(why) => (None, Some(why)),
    };
    transaction
        .prepare_cached(
            "UPDATE operator_order SET answered = ?2, count = ?3, refused = ?4 WHERE id = ?1",
        )?
        .execute(params![order.0, At(now), count, refused])?;
    Ok(())
}

pub(super) fn answered(transaction: &Transaction<'_>, order: OrderId) -> Work<Option<OrderAnswer>> {
    let found = transaction
        .prepare_cached(
            "SELECT answered IS NOT NULL, coalesce(count, 0), refused FROM operator_order WHERE id = ?1",
        )?
        .query_row([order.0], |row| {
            let refused: Option<String> = row.get(2)?;
            let count = read_count(row, 1)?;
            let answer = refused.map_or(OrderAnswer::Done(count), OrderAnswer::Refused);
            Ok(row.get::<_, bool>(0)?.then_some(answer))
        })
        .optional()?;
    found.ok_or_else(|| StoreError::NotFound("order").into())
}

/// Counts writes that are about to be sent, if the budget allows them.
pub(super) fn spend(transaction: &Transaction<'_>, spending: &Spent) -> Work<()> {
    let before = spent(transaction, &spending.connection, spending.since)?;
    if before.saturating_add(spending.writes) > spending.budget {
        let connection = spending.connection.clone();
        return Err(StoreError::OverBudget { connection }.into());
    }
    transaction
        .prepare_cached(
            "INSERT INTO spent (connection, hour, writes) VALUES (?1, ?2, ?3)
             ON CONFLICT (connection, hour) DO UPDATE SET writes = writes + excluded.writes",
        )?
        .execute(params![
            spending.connection,
            At(hour(spending.at)),
            i64::try_from(spending.writes).unwrap_or(i64::MAX)
        ])?;
    Ok(())
}

pub(super) fn spent(
    transaction: &Transaction<'_>,
    connection: &str,
    since: Timestamp,
) -> Work<u64> {
    let since = since.max(Timestamp::UNIX_EPOCH);
    Ok(transaction
        .prepare_cached(
            "SELECT coalesce(sum(writes), 0) FROM spent WHERE connection = ?1 AND hour > ?2",
        )?
        .query_row(params![connection, At(hour(since))], |row| {
            read_count(row, 0)
        })?)
}

/// Forgets what nobody asks for any more.
pub(super) fn prune(transaction: &Transaction<'_>, now: Timestamp) -> Work<()> {
    let cutoff = now
        .checked_sub(SignedDuration::from_hours(24 * 7))
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .max(Timestamp::UNIX_EPOCH);
    transaction.execute(
        "DELETE FROM operator_order WHERE answered < ?1",
        params![At(cutoff)],
    )?;
    transaction.execute("DELETE FROM spent WHERE hour < ?1", params![At(cutoff)])?;
    Ok(())
}

fn hour(at: Timestamp) -> Timestamp {
    at.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Hour)
            .mode(jiff::RoundMode::Floor),
    )
    .unwrap_or(at)
}
