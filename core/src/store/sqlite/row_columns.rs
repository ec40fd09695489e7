//! A row as columns of the table `link`.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::codec::{
    At, TimeColumns, Word, at, json_opt, read_at, read_at_opt, read_content, read_json_opt,
    read_key, read_word, read_word_opt,
};
use super::fault::Work;
use crate::connector::{AttemptToken, Op};
use crate::engine::project::MASKED_SUBJECT;
use crate::engine::{Attempt, DeadLetter, LinkId, Retry, Row, SinkView};
use crate::model::{Content, SideRef};
use crate::store::{NewRow, StoreError};

/// The columns in the order in which [`read_link`] reads them.
const COLUMNS: [&str; 42] = [
    "id",
    "key",
    "ordinal",
    "group_id",
    "sink_state",
    "remote_id",
    "remote_assigned",
    "remote_version",
    "acknowledged",
    "is_foreign",
    "agreed",
    "attempt_token",
    "attempt_op",
    "attempt_at",
    "attempt_target",
    "dead_code",
    "dead_message",
    "dead_op",
    "dead_at",
    "dead_desired",
    "dead_basis",
    "retry_tries",
    "retry_not_before",
    "retry_code",
    "held_since",
    "approved",
    "base_starts",
    "base_ends",
    "base_all_day",
    "base_zone",
    "base_show_as",
    "base_private",
    "base_subject",
    "base_location",
    "base_categories",
    "base_body",
    "attempt_before",
    "retry_desired",
    "held_by_stop",
    "attempt_ticket",
    "first_contact",
    "sourceless",
];

/// The columns of the table `l`.
pub(super) fn link_columns() -> String {
    COLUMNS.map(|column| format!("l.{column}")).join(", ")
}

/// Reads a row without its source view.
pub(super) fn read_link(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Row> {
    let remote = match row.get::<_, Option<String>>(first + 5)? {
        None => None,
        Some(id) => Some(SideRef {
            id,
            assigned: row.get(first + 6)?,
            version: row.get(first + 7)?,
        }),
    };
    let attempt = match row.get::<_, Option<String>>(first + 11)? {
        None => None,
        Some(token) => Some(Attempt {
            token: AttemptToken(token),
            op: read_word(row, first + 12)?,
            at: read_at(row, first + 13)?,
            target: read_json_opt(row, first + 14)?,
            before: read_word_opt(row, first + 36)?.unwrap_or_default(),
            ticket: row.get(first + 39)?,
        }),
    };
    let dead = match row.get::<_, Option<String>>(first + 15)? {
        None => None,
        Some(code) => Some(DeadLetter {
            code,
            message: row.get(first + 16)?,
            op: read_word_opt(row, first + 17)?.unwrap_or(Op::Update),
            at: read_at(row, first + 18)?,
            desired: read_json_opt(row, first + 19)?,
            basis: row.get(first + 20)?,
        }),
    };
    let retry = match row.get::<_, Option<u32>>(first + 21)? {
        None => None,
        Some(tries) => Some(Retry {
            tries,
            not_before: read_at(row, first + 22)?,
            code: row.get(first + 23)?,
            desired: read_json_opt(row, first + 37)?,
        }),
    };
    Ok(Row {
        link: LinkId(row.get(first)?),
        key: read_key(row, first + 1)?,
        ordinal: row.get(first + 2)?,
        group: row.get(first + 3)?,
        source: None,
        sink: SinkView {
            state: read_word(row, first + 4)?,
            remote,
            content: read_content(row, first + 26)?,
            acknowledged: read_at_opt(row, first + 8)?,
            foreign: row.get(first + 9)?,
        },
        agreed: read_json_opt(row, first + 10)?,
        attempt,
        dead,
        retry,
        held_since: read_at_opt(row, first + 24)?,
        held_by_stop: row.get(first + 38)?,
        approved: read_at_opt(row, first + 25)?,
        first_contact: row.get(first + 40)?,
        sourceless: read_at_opt(row, first + 41)?,
    })
}

/// What the sink holds, as columns.
struct Base<'a> {
    time: Option<TimeColumns<'a>>,
    categories: Option<String>,
    content: Option<&'a Content>,
}

impl<'a> Base<'a> {
    fn of(content: Option<&'a Content>) -> Work<Self> {
        Ok(Self {
            time: content.map(|content| TimeColumns::of(&content.time)),
            categories: json_opt(content.and_then(|content| content.categories.as_ref()))?,
            content,
        })
    }

    fn starts(&self) -> Option<&str> {
        self.time.as_ref().map(|time| time.starts.as_str())
    }

    fn ends(&self) -> Option<&str> {
        self.time.as_ref().map(|time| time.ends.as_str())
    }

    fn all_day(&self) -> Option<bool> {
        self.time.as_ref().map(|time| time.all_day)
    }

    fn zone(&self) -> Option<&str> {
        self.time.as_ref().and_then(|time| time.zone)
    }

    fn show_as(&self) -> Option<&'static str> {
        self.content
            .and_then(|content| content.show_as)
            .map(Word::word)
    }

    fn private(&self) -> Option<bool> {
        self.content.and_then(|content| content.private)
    }

    fn subject(&self) -> Option<&str> {
        self.content.and_then(|content| content.subject.as_deref())
    }

    fn location(&self) -> Option<&str> {
        self.content.and_then(|content| content.location.as_deref())
    }

    fn body(&self) -> Option<&str> {
        self.content.and_then(|content| content.body.as_deref())
    }
}

/// Makes a row.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    member: i64,
    new: &NewRow,
    now: Timestamp,
) -> Work<LinkId> {
    let base = Base::of(new.sink.content.as_ref())?;
    let remote = new.remote.as_ref().or(new.sink.remote.as_ref());
    transaction
        .prepare_cached(
            "INSERT INTO link
                    (member, view, key, ordinal, group_id, sink_state, remote_id, remote_assigned,
                     remote_version, acknowledged, is_foreign, base_starts, base_ends, base_all_day,
                     base_zone, base_show_as, base_private, base_subject, base_location,
                     base_categories, base_body, sourceless, first_contact)
             SELECT ?1, v.id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                    ?18, ?19, ?20, ?21, CASE WHEN v.id IS NULL THEN ?22 END, ?23
               FROM (SELECT 1) LEFT JOIN source_view v ON v.id = ?2",
        )?
        .execute(params![
            member,
            new.view.map(|view| view.0),
            new.key.as_text(),
            new.ordinal,
            new.group,
            new.sink.state.word(),
            remote.map(|remote| &remote.id),
            remote.and_then(|remote| remote.assigned.as_ref()),
            remote.and_then(|remote| remote.version.as_ref()),
            at(new.sink.acknowledged),
            new.sink.foreign,
            base.starts(),
            base.ends(),
            base.all_day(),
            base.zone(),
            base.show_as(),
            base.private(),
            base.subject(),
            base.location(),
            base.categories,
            base.body(),
            At(now),
            new.first_contact,
        ])?;
    Ok(LinkId(transaction.last_insert_rowid()))
}

/// Stores a row as it is now; tells whether a plain value gave way to a mask or to nothing.
pub(super) fn update(
    transaction: &Transaction<'_>,
    member: i64,
    row: &Row,
    now: Timestamp,
) -> Work<bool> {
    let base = Base::of(row.sink.content.as_ref())?;
    let masked = takes_away(transaction, row.link, &base)?;
    let remote = row.sink.remote.as_ref();
    let attempt = row.attempt.as_ref();
    let dead = row.dead.as_ref();
    let retry = row.retry.as_ref();
    let changed = transaction
        .prepare_cached(
            // The view may have gone since the row was read.
            "UPDATE link
                SET view = (SELECT id FROM source_view WHERE id = ?3),
                    sourceless = CASE WHEN EXISTS (SELECT 1 FROM source_view WHERE id = ?3) THEN NULL
                                      ELSE coalesce(sourceless, ?4) END,
                    key = ?5, ordinal = ?6, group_id = ?7, sink_state = ?8, remote_id = ?9,
                    remote_assigned = ?10, remote_version = ?11, acknowledged = ?12,
                    is_foreign = ?13, agreed = ?14, attempt_token = ?15, attempt_op = ?16,
                    attempt_at = ?17, attempt_target = ?18, dead_code = ?19, dead_message = ?20,
                    dead_op = ?21, dead_at = ?22, dead_desired = ?23, dead_basis = ?24,
                    retry_tries = ?25, retry_not_before = ?26, retry_code = ?27, held_since = ?28,
                    approved = ?29, base_starts = ?30, base_ends = ?31, base_all_day = ?32,
                    base_zone = ?33, base_show_as = ?34, base_private = ?35, base_subject = ?36,
                    base_location = ?37, base_categories = ?38, base_body = ?39,
                    attempt_before = ?40, retry_desired = ?41, held_by_stop = ?42, attempt_ticket = ?43,
                    first_contact = ?44
              WHERE id = ?1 AND member = ?2",
        )?
        .execute(params![
            row.link.0,
            member,
            row.source.as_ref().map(|view| view.id.0),
            At(now),
            row.key.as_text(),
            row.ordinal,
            row.group,
            row.sink.state.word(),
            remote.map(|remote| &remote.id),
            remote.and_then(|remote| remote.assigned.as_ref()),
            remote.and_then(|remote| remote.version.as_ref()),
            at(row.sink.acknowledged),
            row.sink.foreign,
            json_opt(row.agreed.as_ref())?,
            attempt.map(|attempt| &attempt.token.0),
            attempt.map(|attempt| attempt.op.word()),
            at(attempt.map(|attempt| attempt.at)),
            json_opt(attempt.and_then(|attempt| attempt.target.as_ref()))?,
            dead.map(|dead| &dead.code),
            dead.map(|dead| &dead.message),
            dead.map(|dead| dead.op.word()),
            at(dead.map(|dead| dead.at)),
            json_opt(dead.and_then(|dead| dead.desired.as_ref()))?,
            dead.map(|dead| &dead.basis),
            retry.map(|retry| retry.tries),
            at(retry.map(|retry| retry.not_before)),
            retry.map(|retry| &retry.code),
            at(row.held_since),
            at(row.approved),
            base.starts(),
            base.ends(),
            base.all_day(),
            base.zone(),
            base.show_as(),
            base.private(),
            base.subject(),
            base.location(),
            base.categories,
            base.body(),
            attempt.map(|attempt| attempt.before.word()),
            json_opt(retry.and_then(|retry| retry.desired.as_ref()))?,
            row.held_by_stop,
            attempt.and_then(|attempt| attempt.ticket.as_ref()),
            row.first_contact,
        ])?;
    if changed == 0 {
        return Err(StoreError::NotFound("row").into());
    }
    Ok(masked)
}

/// Whether a text that the row holds is replaced by a mask or by nothing.
fn takes_away(transaction: &Transaction<'_>, link: LinkId, base: &Base<'_>) -> Work<bool> {
    let old = transaction
        .prepare_cached(
            "SELECT base_subject, base_location, base_categories, base_body FROM link
              WHERE id = ?1
                AND coalesce(base_subject, base_location, base_categories, base_body) IS NOT NULL",
        )?
        .query_row([link.0], |row| {
            Ok::<[Option<String>; 4], _>([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        })
        .optional()?;
    let Some(old) = old else {
        return Ok(false);
    };
    let new = [
        base.subject(),
        base.location(),
        base.categories.as_deref(),
        base.body(),
    ];
    let masks = [MASKED_SUBJECT, "", "[]", ""];
    Ok(old.iter().zip(new).zip(masks).any(|((old, new), mask)| {
        let new = new.unwrap_or(mask);
        new == mask
            && old
                .as_deref()
                .is_some_and(|old| !old.is_empty() && old != mask)
    }))
}
