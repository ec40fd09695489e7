//! Rounds: what a source reports, page by page, and what follows from it at the end.

use std::sync::LazyLock;

use rusqlite::{OptionalExtension, ToSql, Transaction, params};

use super::codec::{
    At, TimeColumns, Word, json, json_opt, read_at_opt, read_json, read_time, read_view,
    view_columns,
};
use super::fault::Work;
use super::overlap::overlaps_everywhere;
use super::pairing;
use crate::connector::Cursor;
use crate::engine::SourceView;
use crate::model::{Event, EventTime, Origin, Window};
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
            "SELECT cursor, binding, covered, finished, full, unreadable, folder_since, round FROM source
              WHERE connection = ?1 AND calendar = ?2",
        )?
        .query_row(params![connection, calendar.0], |row| {
            Ok(SourceState {
                cursor: row.get::<_, Option<String>>(0)?.map(Cursor),
                binding: row.get(1)?,
                covered: read_json(row, 2)?,
                finished: read_at_opt(row, 3)?,
                full: read_at_opt(row, 4)?,
                unreadable: row.get(5)?,
                folder_since: read_at_opt(row, 6)?,
                round: Some(Round(row.get(7)?)),
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

/// The columns of a view that hold what the source reports of it: the version of its item and all that follows.
pub(super) const REPORTED: [&str; 15] = [
    "item_version",
    "group_id",
    "group_version",
    "cancelled",
    "origin",
    "starts",
    "ends",
    "all_day",
    "zone",
    "show_as",
    "private",
    "subject",
    "location",
    "categories",
    "body",
];

/// The number of the first of `REPORTED` among a statement's values.
const FIRST: usize = 5;

/// A known view as it is reported now.
static UPDATE_VIEW: LazyLock<String> = LazyLock::new(|| {
    let set: Vec<String> = (FIRST..)
        .zip(REPORTED)
        .map(|(number, column)| format!("{column} = ?{number}"))
        .collect();
    format!(
        "UPDATE source_view SET seen_round = ?4, gone_round = NULL, {}
          WHERE source = ?1 AND key = ?2 AND item = ?3",
        set.join(", ")
    )
});

/// A new view; its ordinal comes last.
static INSERT_VIEW: LazyLock<String> = LazyLock::new(|| {
    let last = FIRST + REPORTED.len();
    let numbers: Vec<String> = (1..=last).map(|number| format!("?{number}")).collect();
    format!(
        "INSERT INTO source_view (source, key, item, seen_round, {}, ordinal) VALUES ({})",
        REPORTED.join(", "),
        numbers.join(", ")
    )
});

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
        if event.group.is_none() && event.key.original().is_none() {
            // What the item was before: a series, or an event with another UID.
            for statement in [
                "UPDATE source_view SET gone_round = ?3
                  WHERE source = ?1 AND group_id = ?2 AND seen_round < ?3",
                "UPDATE source_view SET gone_round = ?3
                  WHERE source = ?1 AND item = ?2 AND group_id IS NULL
                    AND instr(key, char(10)) = 0 AND seen_round < ?3",
            ] {
                self.transaction
                    .prepare_cached(statement)?
                    .execute(params![self.source, event.item.id, self.round.0])?;
            }
        }
        let show_as = content.show_as.map(Word::word);
        let origin = event.origin.as_ref().map(Origin::as_text);
        // In the order of `REPORTED`, after what a view is known by.
        let mut values: Vec<&dyn ToSql> = vec![
            &self.source,
            &key,
            &event.item.id,
            &self.round.0,
            &event.item.version,
            &group,
            &group_version,
            &event.cancelled,
            &origin,
            &time.starts,
            &time.ends,
            &time.all_day,
            &time.zone,
            &show_as,
            &content.private,
            &content.subject,
            &content.location,
            &categories,
            &content.body,
        ];
        let updated = self
            .transaction
            .prepare_cached(&UPDATE_VIEW)?
            .execute(values.as_slice())?;
        if updated > 0 {
            return Ok(masked);
        }
        let ordinal = free_ordinal(self.transaction, self.source, &key)?;
        values.push(&ordinal);
        self.transaction
            .prepare_cached(&INSERT_VIEW)?
            .execute(values.as_slice())?;
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
        // The single event that became this series.
        self.transaction
            .prepare_cached(
                "UPDATE source_view SET gone_round = ?3
                  WHERE source = ?1 AND item = ?2 AND group_id IS NULL AND seen_round < ?3",
            )?
            .execute(params![self.source, group, self.round.0])?;
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
pub(super) fn free_ordinal(transaction: &Transaction<'_>, source: i64, key: &str) -> Work<u32> {
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
    if vanished.is_empty() {
        // Nothing to pair with: a calendar that has not changed is not read through for it.
        return Ok(RoundChanges::default());
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
    values: &[&dyn ToSql],
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
    pairing::join(transaction, source, &end.pairs)?;
    transaction
        .prepare_cached(
            "UPDATE source SET covered = ?2, binding = ?3, finished = ?4,
                    full = CASE WHEN ?5 THEN ?4 ELSE full END, cursor = coalesce(?6, cursor),
                    unreadable = ?7 OR (unreadable AND NOT ?5),
                    folder_since = CASE WHEN ?8 IS NULL AND ?5 THEN NULL
                                        WHEN ?8 IS NULL OR ?8 IS folder THEN folder_since
                                        ELSE ?4 END,
                    folder = CASE WHEN ?8 IS NULL AND NOT ?5 THEN folder ELSE ?8 END
              WHERE id = ?1",
        )?
        .execute(params![
            source,
            json(&end.covered)?,
            end.binding,
            At(end.at),
            end.full,
            end.checkpoint.as_ref().map(|cursor| &cursor.0),
            end.unreadable,
            end.folder,
        ])?;
    Ok(())
}
