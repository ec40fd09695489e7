//! Retention.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Transaction, params};

use super::codec::At;
use super::fault::Work;
use super::{Inner, orders};
use crate::engine::guard::GUARD_SPAN;
use crate::store::{Pruned, Retention};

pub(super) fn prune(
    transaction: &Transaction<'_>,
    retention: Retention,
    now: Timestamp,
) -> Work<Pruned> {
    let mut pruned = Pruned::default();
    leavers(
        transaction,
        before(now, retention.leavers_days),
        &mut pruned,
    )?;

    let cutoff = At(before(now, retention.rows_days));
    pruned.rows += deleted(transaction.execute(
        "DELETE FROM link WHERE id IN (
             SELECT l.id FROM link l LEFT JOIN source_view v ON v.id = l.view
              WHERE -- It ended, on both sides, and no copy of it is to come, which might be given its id. A date sorts
                    -- before all instants of its day.
                    (coalesce(v.ends, l.base_ends) IS NOT NULL
                     AND coalesce(v.ends, '') < ?1 AND coalesce(l.base_ends, '') < ?1
                     AND NOT EXISTS (
                         SELECT 1 FROM link c LEFT JOIN source_view w ON w.id = c.view
                          WHERE c.member = l.member AND c.key = l.key
                            AND (w.ends >= ?1 OR c.base_ends >= ?1)))
                    -- It went, and nothing of ours is left on the sink.
                 OR (v.id IS NULL AND (l.sink_state = 'absent' OR l.is_foreign)
                     AND l.sourceless < ?1))",
        params![cutoff],
    )?);
    pruned.views += deleted(transaction.execute(
        "DELETE FROM source_view
          WHERE ends < ?1 AND NOT EXISTS (SELECT 1 FROM link WHERE view = source_view.id)",
        params![cutoff],
    )?);

    let cutoff = At(before(now, retention.calls_days));
    transaction.execute("DELETE FROM decision WHERE at < ?1", params![cutoff])?;
    pruned.calls +=
        deleted(transaction.execute("DELETE FROM call WHERE ended < ?1", params![cutoff])?);
    // Twice the guard's span: a clock that is set back a little forgets nothing.
    let cutoff = At(earlier(now, GUARD_SPAN.saturating_mul(2)));
    transaction.execute("DELETE FROM deleted_unit WHERE at < ?1", params![cutoff])?;
    orders::prune(transaction, now)?;
    Ok(pruned)
}

/// Erases what is known of calendars that left before `cutoff`.
fn leavers(transaction: &Transaction<'_>, cutoff: Timestamp, pruned: &mut Pruned) -> Work<()> {
    let cutoff = At(cutoff);
    const LEFT: &str = "SELECT id FROM member WHERE membership = 'parked' AND left_since < ?1";
    pruned.rows += deleted(transaction.execute(
        &format!("DELETE FROM link WHERE member IN ({LEFT})"),
        params![cutoff],
    )?);
    pruned.calls += deleted(transaction.execute(
        &format!("DELETE FROM call WHERE member IN ({LEFT})"),
        params![cutoff],
    )?);
    pruned.calendars += deleted(transaction.execute(
        &format!("DELETE FROM member WHERE id IN ({LEFT})"),
        params![cutoff],
    )?);
    const FORGOTTEN: &str = "SELECT id FROM calendar WHERE id NOT IN (SELECT calendar FROM member)";
    pruned.views += deleted(transaction.execute(
        &format!(
            "DELETE FROM source_view WHERE source IN
                 (SELECT id FROM source WHERE calendar IN ({FORGOTTEN}))"
        ),
        [],
    )?);
    transaction.execute(
        &format!("DELETE FROM source WHERE calendar IN ({FORGOTTEN})"),
        [],
    )?;
    transaction.execute(
        &format!("DELETE FROM calendar WHERE id IN ({FORGOTTEN})"),
        [],
    )?;
    Ok(())
}

/// Gives free pages back to the file system and empties the log. What fails is done the next time.
pub(super) fn give_back(inner: &Inner) {
    let done = inner.writer().and_then(|connection| {
        let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        connection.execute_batch("PRAGMA optimize")?;
        Ok(())
    });
    if let Err(fault) = done {
        tracing::debug!(error = %fault.named(&inner.path), "Free space was not given back.");
    }
    inner.empty_log();
}

fn deleted(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn before(now: Timestamp, days: u32) -> Timestamp {
    earlier(
        now,
        SignedDuration::from_hours(24).saturating_mul(i32::try_from(days).unwrap_or(i32::MAX)),
    )
}

fn earlier(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.checked_sub(span).unwrap_or(Timestamp::UNIX_EPOCH)
}
