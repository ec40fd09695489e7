//! The calendars of a sync.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::codec::{At, Word, at, json, read_at, read_at_opt, read_count, read_word};
use super::fault::{Work, unreadable};
use crate::model::{Address, CalendarKind, CalendarRef, OwnerId};
use crate::store::{
    CalendarId, CalendarReport, CalendarState, Left, Membership, Others, RosterChange, StoreError,
    Trouble,
};

/// The row that stands for a calendar in a sync.
pub(super) fn member(transaction: &Transaction<'_>, sync: &str, calendar: CalendarId) -> Work<i64> {
    transaction
        .prepare_cached("SELECT id FROM member WHERE sync = ?1 AND calendar = ?2")?
        .query_row(params![sync, calendar.0], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::NotFound("calendar").into())
}

pub(super) fn calendars(transaction: &Transaction<'_>, sync: &str) -> Work<Vec<CalendarState>> {
    let mut statement = transaction.prepare_cached(
        "SELECT calendar, owner, address, part, kind, membership, left_code, left_since,
                inventoried, succeeded, trouble_code, trouble_message, trouble_since,
                trouble_times, trouble_not_before, others, others_at
           FROM member WHERE sync = ?1 ORDER BY calendar",
    )?;
    let states = statement.query_map([sync], |row| {
        let left = match row.get::<_, Option<String>>(6)? {
            None => None,
            Some(code) => Some(Left {
                code,
                since: read_at(row, 7)?,
            }),
        };
        let trouble = match row.get::<_, Option<String>>(10)? {
            None => None,
            Some(code) => Some(Trouble {
                code,
                message: row.get(11)?,
                since: read_at(row, 12)?,
                times: row.get(13)?,
                not_before: read_at_opt(row, 14)?,
            }),
        };
        let others = match read_at_opt(row, 16)? {
            None => None,
            Some(at) => Some(Others {
                records: read_count(row, 15)?,
                at,
            }),
        };
        let part: String = row.get(3)?;
        Ok(CalendarState {
            id: CalendarId(row.get(0)?),
            calendar: CalendarRef {
                owner: OwnerId::new(row.get::<_, String>(1)?).map_err(|_| unreadable(1))?,
                address: Address::new(row.get::<_, String>(2)?).map_err(|_| unreadable(2))?,
                calendar: (!part.is_empty()).then_some(part),
            },
            kind: read_word(row, 4)?,
            membership: read_word(row, 5)?,
            left,
            inventoried: read_at_opt(row, 8)?,
            succeeded: read_at_opt(row, 9)?,
            trouble,
            others,
        })
    })?;
    Ok(states.collect::<Result<_, _>>()?)
}

pub(super) fn commit(
    transaction: &Transaction<'_>,
    sync: &str,
    changes: &[RosterChange],
) -> Work<()> {
    for change in changes {
        match change {
            RosterChange::Add {
                calendar,
                kind,
                left,
            } => {
                let membership = match left {
                    Some(_) => Membership::Parked,
                    None => Membership::Active,
                };
                let entry = Entry {
                    calendar,
                    kind: *kind,
                    membership,
                    left: left.as_ref(),
                };
                let id = known(transaction, sync, calendar)?.map_or_else(
                    || -> Work<CalendarId> {
                        transaction.execute("INSERT INTO calendar DEFAULT VALUES", [])?;
                        Ok(CalendarId(transaction.last_insert_rowid()))
                    },
                    Ok,
                )?;
                transaction
                    .prepare_cached(
                        "INSERT INTO member (sync, calendar, owner, address, folded, part, kind, membership)
                         VALUES (?1, ?2, '', '', '', '', '', '') ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![sync, id.0])?;
                set(transaction, sync, id, &entry)?;
            }
            RosterChange::Set {
                id,
                calendar,
                kind,
                membership,
                left,
            } => {
                let entry = Entry {
                    calendar,
                    kind: *kind,
                    membership: *membership,
                    left: left.as_ref(),
                };
                set(transaction, sync, *id, &entry)?;
            }
        }
    }
    Ok(())
}

struct Entry<'a> {
    calendar: &'a CalendarRef,
    kind: CalendarKind,
    membership: Membership,
    left: Option<&'a Left>,
}

fn set(transaction: &Transaction<'_>, sync: &str, id: CalendarId, entry: &Entry<'_>) -> Work<()> {
    if entry.membership == Membership::Active {
        // Whoever comes back begins without the trouble of former times (Kommuneklienten's K111).
        transaction
            .prepare_cached(
                "UPDATE member SET trouble_code = NULL, trouble_message = NULL, trouble_since = NULL,
                        trouble_times = NULL, trouble_not_before = NULL
                  WHERE sync = ?1 AND calendar = ?2 AND membership = ?3",
            )?
            .execute(params![sync, id.0, Membership::Parked.word()])?;
    }
    // What the sink held under another address, or before the calendar left, says nothing about now.
    transaction
        .prepare_cached(
            "UPDATE member SET inventoried = NULL
              WHERE sync = ?1 AND calendar = ?2
                AND (folded <> ?3 OR (membership = ?4 AND ?5 = ?6))",
        )?
        .execute(params![
            sync,
            id.0,
            entry.calendar.address.folded(),
            Membership::Parked.word(),
            entry.membership.word(),
            Membership::Active.word(),
        ])?;
    let changed = transaction
        .prepare_cached(
            "UPDATE member SET owner = ?3, address = ?4, folded = ?5, part = ?6, kind = ?7,
                    membership = ?8, left_code = ?9, left_since = ?10
              WHERE sync = ?1 AND calendar = ?2",
        )?
        .execute(params![
            sync,
            id.0,
            entry.calendar.owner.as_str(),
            entry.calendar.address.as_str(),
            entry.calendar.address.folded(),
            entry.calendar.calendar.as_deref().unwrap_or_default(),
            entry.kind.word(),
            entry.membership.word(),
            entry.left.map(|left| &left.code),
            at(entry.left.map(|left| left.since)),
        ])?;
    if changed == 0 {
        return Err(StoreError::NotFound("calendar").into());
    }
    Ok(())
}

/// The id by which another sync knows the calendar: by its address, as rosters of different systems have
/// different ids for one owner and may have one id for different owners. Within one sync an address may pass
/// from one owner to another, so there only both together name a calendar.
fn known(
    transaction: &Transaction<'_>,
    sync: &str,
    calendar: &CalendarRef,
) -> Work<Option<CalendarId>> {
    let part = calendar.calendar.as_deref().unwrap_or_default();
    let found = transaction
        .prepare_cached(
            "SELECT calendar FROM member AS other WHERE folded = ?1 AND part = ?2
                AND (sync = ?3 AND owner = ?4
                     OR NOT EXISTS (SELECT 1 FROM member
                                     WHERE sync = ?3 AND calendar = other.calendar))
              ORDER BY sync = ?3 DESC, calendar LIMIT 1",
        )?
        .query_row(
            params![
                calendar.address.folded(),
                part,
                sync,
                calendar.owner.as_str()
            ],
            |row| row.get(0),
        )
        .optional()?;
    Ok(found.map(CalendarId))
}

pub(super) fn report(
    transaction: &Transaction<'_>,
    sync: &str,
    calendar: CalendarId,
    report: &CalendarReport,
) -> Work<()> {
    let member = member(transaction, sync, calendar)?;
    if report.forget_inventory {
        transaction
            .prepare_cached("UPDATE member SET inventoried = NULL WHERE id = ?1")?
            .execute([member])?;
    }
    if let Some(inventoried) = report.inventoried {
        transaction
            .prepare_cached("UPDATE member SET inventoried = ?2 WHERE id = ?1")?
            .execute(params![member, at(Some(inventoried))])?;
    }
    if let Some(succeeded) = report.succeeded {
        transaction
            .prepare_cached(
                "UPDATE member SET succeeded = ?2, trouble_code = NULL, trouble_message = NULL,
                        trouble_since = NULL, trouble_times = NULL, trouble_not_before = NULL
                  WHERE id = ?1",
            )?
            .execute(params![member, at(Some(succeeded))])?;
    }
    if let Some(others) = report.others {
        transaction
            .prepare_cached("UPDATE member SET others = ?2, others_at = ?3 WHERE id = ?1")?
            .execute(params![
                member,
                i64::try_from(others.records).unwrap_or(i64::MAX),
                At(others.at)
            ])?;
    }
    if let Some(trouble) = &report.trouble {
        transaction
            .prepare_cached(
                "UPDATE member SET trouble_code = ?2, trouble_message = ?3, trouble_since = ?4,
                        trouble_times = ?5, trouble_not_before = ?6
                  WHERE id = ?1",
            )?
            .execute(params![
                member,
                trouble.code,
                trouble.message,
                at(Some(trouble.since)),
                trouble.times,
                at(trouble.not_before),
            ])?;
    }
    Ok(())
}

/// Why a calendar is parked whose sync is not configured any more.
const SYNC_REMOVED: &str = "sync-removed";

pub(super) fn retire(
    transaction: &Transaction<'_>,
    configured: &[String],
    now: Timestamp,
) -> Work<()> {
    let known = json(&configured)?;
    transaction
        .prepare_cached(
            "UPDATE member SET membership = ?2, left_code = ?3, left_since = ?4
              WHERE membership = ?5 AND sync NOT IN (SELECT value FROM json_each(?1))",
        )?
        .execute(params![
            known,
            Membership::Parked.word(),
            SYNC_REMOVED,
            At(now),
            Membership::Active.word(),
        ])?;
    Ok(())
}

pub(super) fn is_settled(
    transaction: &Transaction<'_>,
    sync: &str,
    calendar: CalendarId,
    basis: &str,
) -> Work<bool> {
    Ok(transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM member WHERE sync = ?1 AND calendar = ?2 AND settled = ?3)",
        )?
        .query_row(params![sync, calendar.0, basis], |row| row.get(0))?)
}

pub(super) fn settle(
    transaction: &Transaction<'_>,
    sync: &str,
    calendar: CalendarId,
    basis: &str,
) -> Work<()> {
    transaction
        .prepare_cached("UPDATE member SET settled = ?3 WHERE sync = ?1 AND calendar = ?2")?
        .execute(params![sync, calendar.0, basis])?;
    Ok(())
}
