//! Rounds: what a source reports, page by page, and what follows from it at the end.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension, Transaction, params};

use super::codec::{
    At, TimeColumns, Word, json, json_opt, read_at_opt, read_json, read_time, read_view,
    view_columns,
};
use super::fault::Work;
use crate::connector::Cursor;
use crate::engine::identity::Pair;
use crate::engine::{SourceView, ViewId};
use crate::model::{Event, EventTime, Window};
use crate::store::{
    CalendarId, Round, RoundChanges, RoundEnd, SourcePage, SourceState, StoreError, ViewChange,
};

/// The row that stands for a (connection, calendar), if it was ever read.
pub(super) fn source(
    transaction: &Transaction<'_>,
    connection: &str,
    calendar: CalendarId,
) -> Work<Option<i64>> {
    Ok(transaction
        .prepare_cached("SELECT id FROM source WHERE connection = ?1 AND calendar = ?2")?
        .query_row(params![connection, calendar.0], |row| row.get(0))
        .optional()?)
}

/// The source, if `round` is its newest round.
fn source_in(
    transaction: &Transaction<'_>,
    connection: &str,
    calendar: CalendarId,
    round: Round,
) -> Work<i64> {
    transaction
        .prepare_cached(
            "SELECT id FROM source WHERE connection = ?1 AND calendar = ?2 AND round = ?3",
        )?
        .query_row(params![connection, calendar.0, round.0], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::NotFound("round").into())
}

pub(super) fn state(
    transaction: &Transaction<'_>,
    connection: &str,
    calendar: CalendarId,
) -> Work<SourceState> {
    Ok(transaction
        .prepare_cached(
            "SELECT cursor, binding, covered, finished, full FROM source
              WHERE connection = ?1 AND calendar = ?2",
        )?
        .query_row(params![connection, calendar.0], |row| {
            Ok(SourceState {
                cursor: row.get::<_, Option<String>>(0)?.map(Cursor),
                binding: row.get(1)?,
                covered: read_json(row, 2)?,
                finished: read_at_opt(row, 3)?,
                full: read_at_opt(row, 4)?,
            })
        })
        .optional()?
        .unwrap_or_default())
}

pub(super) fn begin(
    transaction: &Transaction<'_>,
    connection: &str,
    calendar: CalendarId,
) -> Work<Round> {
    let known: bool = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM calendar WHERE id = ?1)")?
        .query_row([calendar.0], |row| row.get(0))?;
    if !known {
        return Err(StoreError::NotFound("calendar").into());
    }
    let round = transaction
        .prepare_cached(
            "INSERT INTO source (connection, calendar, round) VALUES (?1, ?2, 1)
             ON CONFLICT (connection, calendar) DO UPDATE SET round = round + 1
             RETURNING round",
        )?
        .query_row(params![connection, calendar.0], |row| row.get(0))?;
    Ok(Round(round))
}

/// Stores a page; tells whether plain values were replaced because an event became private.
pub(super) fn page(transaction: &Transaction<'_>, page: &SourcePage) -> Work<bool> {
    let source = source_in(transaction, &page.connection, page.calendar, page.round)?;
    let at = Place {
        transaction,
        source,
        round: page.round,
    };
    let mut masked = false;
    for change in &page.changes {
        match change {
            ViewChange::Seen(event) => masked |= at.seen(event)?,
            ViewChange::Gone(item) => at.gone(&item.id)?,
            ViewChange::GroupGone { group, covered } => at.group_gone(group, *covered)?,
            ViewChange::Kept { item, uid } => {
                if let Some(item) = item {
                    at.keep_item(&item.id)?;
                }
                if let Some(uid) = uid {
                    at.keep_uid(uid)?;
                }
            }
        }
    }
    if let Some(cursor) = &page.checkpoint {
        transaction
            .prepare_cached("UPDATE source SET cursor = ?2 WHERE id = ?1")?
            .execute(params![source, cursor.0])?;
    }
    Ok(masked)
}

/// Where a page is stored.
struct Place<'a> {
    transaction: &'a Transaction<'a>,
    source: i64,
    round: Round,
}

impl Place<'_> {
    fn seen(&self, event: &Event) -> Work<bool> {
        let key = event.key.as_text();
        let content = &event.content;
        let masked = content.private == Some(true)
            && self
                .transaction
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM source_view
                      WHERE source = ?1 AND key = ?2 AND item = ?3 AND private IS NOT 1
                        AND coalesce(subject, location, categories, body) IS NOT NULL)",
                )?
                .query_row(params![self.source, key, event.item.id], |row| row.get(0))?;
        let time = TimeColumns::of(&content.time);
        let categories = json_opt(content.categories.as_ref())?;
        let (group, group_version) = event.group.as_ref().map_or((None, None), |group| {
            (Some(&group.id), group.version.as_ref())
        });
        let show_as = content.show_as.map(Word::word);
        let updated = self
            .transaction
            .prepare_cached(
                "UPDATE source_view
                    SET seen_round = ?4, gone_round = NULL, item_version = ?5, group_id = ?6,
                        group_version = ?7, cancelled = ?8, origin = ?9, starts = ?10, ends = ?11,
                        all_day = ?12, zone = ?13, show_as = ?14, private = ?15, subject = ?16,
                        location = ?17, categories = ?18, body = ?19
                  WHERE source = ?1 AND key = ?2 AND item = ?3",
            )?
            .execute(params![
                self.source,
                key,
                event.item.id,
                self.round.0,
                event.item.version,
                group,
                group_version,
                event.cancelled,
                event.origin,
                time.starts,
                time.ends,
                time.all_day,
                time.zone,
                show_as,
                content.private,
                content.subject,
                content.location,
                categories,
                content.body,
            ])?;
        if updated > 0 {
            return Ok(masked);
        }
        let ordinal = free_ordinal(self.transaction, self.source, &key)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO source_view
                        (source, key, item, seen_round, item_version, group_id, group_version,
                         cancelled, origin, starts, ends, all_day, zone, show_as, private, subject,
                         location, categories, body, ordinal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                         ?17, ?18, ?19, ?20)",
            )?
            .execute(params![
                self.source,
                key,
                event.item.id,
                self.round.0,
                event.item.version,
                group,
                group_version,
                event.cancelled,
                event.origin,
                time.starts,
                time.ends,
                time.all_day,
                time.zone,
                show_as,
                content.private,
                content.subject,
                content.location,
                categories,
                content.body,
                ordinal,
            ])?;
        Ok(false)
    }

    fn gone(&self, item: &str) -> Work<()> {
        for statement in [
            "UPDATE source_view SET gone_round = ?3 WHERE source = ?1 AND item = ?2",
            "UPDATE source_view SET gone_round = ?3 WHERE source = ?1 AND group_id = ?2",
        ] {
            self.transaction
                .prepare_cached(statement)?
                .execute(params![self.source, item, self.round.0])?;
        }
        Ok(())
    }

    fn group_gone(&self, group: &str, covered: Window) -> Work<()> {
        let mut unseen = self.transaction.prepare_cached(
            "SELECT starts, ends, all_day, zone, id FROM source_view
              WHERE source = ?1 AND group_id = ?2 AND seen_round < ?3",
        )?;
        let unseen: Vec<(EventTime, i64)> = unseen
            .query_map(params![self.source, group, self.round.0], |row| {
                Ok((read_time(row, 0)?, row.get(4)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut mark = self
            .transaction
            .prepare_cached("UPDATE source_view SET gone_round = ?2 WHERE id = ?1")?;
        for (time, id) in unseen {
            if overlaps_everywhere(&time, covered) {
                mark.execute(params![id, self.round.0])?;
            }
        }
        Ok(())
    }

    fn keep_item(&self, item: &str) -> Work<()> {
        for statement in [
            "UPDATE source_view SET seen_round = ?3, gone_round = NULL
              WHERE source = ?1 AND item = ?2",
            "UPDATE source_view SET seen_round = ?3, gone_round = NULL
              WHERE source = ?1 AND group_id = ?2",
        ] {
            self.transaction
                .prepare_cached(statement)?
                .execute(params![self.source, item, self.round.0])?;
        }
        Ok(())
    }

    /// Keys are the UID alone, or the UID, a line feed and the original start; UIDs have no line feed.
    fn keep_uid(&self, uid: &str) -> Work<()> {
        self.transaction
            .prepare_cached(
                "UPDATE source_view SET seen_round = ?3, gone_round = NULL
                  WHERE source = ?1
                    AND (key = ?2 OR (key > ?2 || char(10) AND key < ?2 || char(11)))",
            )?
            .execute(params![self.source, uid, self.round.0])?;
        Ok(())
    }
}

/// The smallest ordinal that no view with the key has.
fn free_ordinal(transaction: &Transaction<'_>, source: i64, key: &str) -> Work<u32> {
    let mut taken = transaction.prepare_cached(
        "SELECT ordinal FROM source_view
          WHERE source = ?1 AND key = ?2 AND ordinal >= 0 ORDER BY ordinal",
    )?;
    let mut taken = taken.query(params![source, key])?;
    let mut free = 0;
    while let Some(row) = taken.next()? {
        if row.get::<_, u32>(0)? != free {
            break;
        }
        free += 1;
    }
    Ok(free)
}

/// The farthest that local midnight lies from UTC's, either way.
const FARTHEST_ZONE: SignedDuration = SignedDuration::from_hours(14);

/// Whether an event overlaps `window` whatever the zone of its days: only then does a complete listing of the
/// window that lacks it say that it is gone. An event at the window's edge may have been left out because
/// the listing side reads its days in another zone.
fn overlaps_everywhere(time: &EventTime, window: Window) -> bool {
    match time {
        EventTime::Timed { start, end, .. } => window.overlaps(*start, *end),
        EventTime::AllDay { start, end } => {
            let latest_start = midnight(*start).and_then(|at| at.checked_add(FARTHEST_ZONE).ok());
            let earliest_end = midnight(*end).and_then(|at| at.checked_sub(FARTHEST_ZONE).ok());
            matches!((latest_start, earliest_end), (Some(start), Some(end))
                if start < window.end() && window.start() < end)
        }
    }
}

fn midnight(date: Date) -> Option<Timestamp> {
    date.to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

pub(super) fn changes(
    transaction: &Transaction<'_>,
    connection: &str,
    calendar: CalendarId,
    round: Round,
    listed: &[Window],
) -> Work<RoundChanges> {
    let source = source_in(transaction, connection, calendar, round)?;
    let columns = view_columns("v");
    let mut vanished = views(
        transaction,
        &format!(
            "SELECT {columns} FROM source_view v WHERE v.source = ?1 AND v.gone_round IS NOT NULL ORDER BY v.id"
        ),
        &[&source],
    )?;
    if !listed.is_empty() {
        let unseen = views(
            transaction,
            &format!(
                "SELECT {columns} FROM source_view v WHERE v.source = ?1 AND v.gone_round IS NULL AND v.seen_round < ?2 ORDER BY v.id"
            ),
            &[&source, &round.0],
        )?;
        vanished.extend(unseen.into_iter().filter(|view| {
            listed
                .iter()
                .any(|window| overlaps_everywhere(&view.event.content.time, *window))
        }));
        vanished.sort_by_key(|view| view.id);
    }
    let mut appeared = views(
        transaction,
        &format!(
            "SELECT {columns} FROM source_view v WHERE v.source = ?1 AND v.gone_round IS NULL AND NOT EXISTS (SELECT 1 FROM link l WHERE l.view = v.id) ORDER BY v.id"
        ),
        &[&source],
    )?;
    appeared.retain(|view| {
        vanished
            .binary_search_by_key(&view.id, |gone| gone.id)
            .is_err()
    });
    Ok(RoundChanges { vanished, appeared })
}

/// Reads views with the columns of [`view_columns`].
pub(super) fn views(
    transaction: &Transaction<'_>,
    query: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Work<Vec<SourceView>> {
    let mut statement = transaction.prepare_cached(query)?;
    let views = statement.query_map(values, |row| read_view(row, 0))?;
    Ok(views
        .filter_map(Result::transpose)
        .collect::<Result<_, _>>()?)
}

pub(super) fn finish(transaction: &Transaction<'_>, end: &RoundEnd) -> Work<()> {
    let source = source_in(transaction, &end.connection, end.calendar, end.round)?;
    for view in &end.gone {
        transaction
            .prepare_cached("UPDATE link SET view = NULL, sourceless = ?2 WHERE view = ?1")?
            .execute(params![view.0, At(end.at)])?;
        transaction
            .prepare_cached("DELETE FROM source_view WHERE id = ?1 AND source = ?2")?
            .execute(params![view.0, source])?;
    }
    join(transaction, source, &end.pairs)?;
    transaction
        .prepare_cached(
            "UPDATE source SET covered = ?2, binding = ?3, finished = ?4,
                    full = CASE WHEN ?5 THEN ?4 ELSE full END, cursor = coalesce(?6, cursor)
              WHERE id = ?1",
        )?
        .execute(params![
            source,
            json(&end.covered)?,
            end.binding,
            At(end.at),
            end.full,
            end.checkpoint.as_ref().map(|cursor| &cursor.0),
        ])?;
    Ok(())
}

/// Lets the vanished view of each pair take on what the appeared one holds.
fn join(transaction: &Transaction<'_>, source: i64, pairs: &[Pair]) -> Work<()> {
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
        transaction
            .prepare_cached(
                "UPDATE source_view AS old
                    SET key = new.key, ordinal = ?3, item = new.item,
                        item_version = new.item_version, group_id = new.group_id,
                        group_version = new.group_version, seen_round = new.seen_round,
                        gone_round = NULL, cancelled = new.cancelled, origin = new.origin,
                        starts = new.starts, ends = new.ends, all_day = new.all_day,
                        zone = new.zone, show_as = new.show_as, private = new.private,
                        subject = new.subject, location = new.location,
                        categories = new.categories, body = new.body
                   FROM source_view AS new
                  WHERE old.id = ?1 AND new.id = ?2",
            )?
            .execute(params![plan.pair.vanished.0, plan.pair.appeared.0, ordinal])?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn window(start: &str, end: &str) -> Window {
        Window::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    fn day(start: &str, end: &str) -> EventTime {
        EventTime::all_day(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    #[test]
    fn an_all_day_event_at_the_edge_is_not_certainly_listed() {
        // The window of 1 to 31 March in Copenhagen.
        let march = window("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z");
        assert!(overlaps_everywhere(&day("2026-03-01", "2026-03-02"), march));
        assert!(overlaps_everywhere(&day("2026-03-31", "2026-04-01"), march));
        assert!(!overlaps_everywhere(
            &day("2026-02-28", "2026-03-01"),
            march
        ));
        assert!(!overlaps_everywhere(
            &day("2026-04-01", "2026-04-02"),
            march
        ));
        // In Honolulu this one lies inside, in Auckland before the window.
        let late = window("2026-03-01T12:00:00Z", "2026-03-31T12:00:00Z");
        assert!(!overlaps_everywhere(&day("2026-03-01", "2026-03-02"), late));
    }

    #[test]
    fn a_timed_event_overlaps_as_it_is() {
        let hour = window("2026-03-01T08:00:00Z", "2026-03-01T09:00:00Z");
        let timed = |start: &str, end: &str| {
            EventTime::timed(start.parse().unwrap(), end.parse().unwrap(), None).unwrap()
        };
        assert!(overlaps_everywhere(
            &timed("2026-03-01T08:00:00Z", "2026-03-01T08:00:00Z"),
            hour
        ));
        assert!(!overlaps_everywhere(
            &timed("2026-03-01T07:00:00Z", "2026-03-01T08:00:00Z"),
            hour
        ));
        assert!(!overlaps_everywhere(
            &timed("2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z"),
            hour
        ));
    }
}
