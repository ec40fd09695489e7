//! The end of identity changes: a vanished view takes on what the appeared one holds.

use std::sync::LazyLock;

use rusqlite::{OptionalExtension, Transaction, params};

use super::fault::Work;
use super::round::{REPORTED, free_ordinal};
use crate::engine::ViewId;
use crate::engine::identity::Pair;

/// The vanished view takes on all that the appeared one holds, under an ordinal of its own.
static TAKE_ON: LazyLock<String> = LazyLock::new(|| {
    let set: Vec<String> = REPORTED
        .iter()
        .map(|column| format!("{column} = new.{column}"))
        .collect();
    format!(
        "UPDATE source_view AS old
            SET key = new.key, ordinal = ?3, item = new.item, seen_round = new.seen_round,
                gone_round = NULL, {}
           FROM source_view AS new
          WHERE old.id = ?1 AND new.id = ?2",
        set.join(", ")
    )
});

/// Lets the vanished view of each pair take on what the appeared one holds.
pub(super) fn join(transaction: &Transaction<'_>, source: i64, pairs: &[Pair]) -> Work<()> {
    let mut joined = Vec::with_capacity(pairs.len());
    for pair in pairs {
        if let Some(plan) = plan(transaction, source, *pair)? {
            joined.push(plan);
        }
    }
    // Ordinals first become free: pairs may pass keys on to one another. Negative ones clash with nobody.
    for plan in &joined {
        let mut free =
            transaction.prepare_cached("UPDATE source_view SET ordinal = -id WHERE id = ?1")?;
        free.execute([plan.pair.appeared.0])?;
        if plan.kept_ordinal.is_none() {
            free.execute([plan.pair.vanished.0])?;
        }
    }
    for plan in &joined {
        let ordinal = match plan.kept_ordinal {
            Some(ordinal) => ordinal,
            None => free_ordinal(transaction, source, &plan.key)?,
        };
        transaction.prepare_cached(&TAKE_ON)?.execute(params![
            plan.pair.vanished.0,
            plan.pair.appeared.0,
            ordinal
        ])?;
        transaction
            .prepare_cached("DELETE FROM source_view WHERE id = ?1")?
            .execute([plan.pair.appeared.0])?;
    }
    Ok(())
}

/// How a pair is joined.
struct Joined {
    pair: Pair,
    /// The appeared view's key.
    key: String,
    /// The vanished view's ordinal, if it has the same key already.
    kept_ordinal: Option<u32>,
}

/// `None` for a pair that cannot be joined: both stay as they are, and the vanished one comes up again.
fn plan(transaction: &Transaction<'_>, source: i64, pair: Pair) -> Work<Option<Joined>> {
    let read = |view: ViewId| -> Work<Option<(String, u32, bool)>> {
        Ok(transaction
            .prepare_cached(
                "SELECT key, ordinal, EXISTS (SELECT 1 FROM link WHERE view = v.id)
                   FROM source_view v WHERE id = ?1 AND source = ?2",
            )?
            .query_row(params![view.0, source], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?)
    };
    let (Some((old_key, old_ordinal, _)), Some((key, _, linked))) =
        (read(pair.vanished)?, read(pair.appeared)?)
    else {
        tracing::warn!("A pair of source views was left alone: one of the two is not there.");
        return Ok(None);
    };
    if linked {
        tracing::warn!("A pair of source views was left alone: the new one has a row already.");
        return Ok(None);
    }
    Ok(Some(Joined {
        pair,
        kept_ordinal: (old_key == key).then_some(old_ordinal),
        key,
    }))
}
