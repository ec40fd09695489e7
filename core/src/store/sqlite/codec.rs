//! Model values as columns.

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::{Work, unreadable, unwritable};
use crate::connector::Op;
use crate::engine::{OnSink, SourceView, ViewId};
use crate::model::{
    CalendarKind, Content, Event, EventKey, EventTime, GroupRef, ItemRef, Origin, OriginalStart,
    ShowAs,
};
use crate::store::Membership;

/// An instant as sortable text: UTC, ISO 8601, without zone letter. (With the letter, `00Z` would sort behind
/// `00.5Z`.)
pub(super) struct At(pub(super) Timestamp);

impl At {
    pub(super) fn text(&self) -> String {
        let mut text = self.0.to_string();
        if text.ends_with('Z') {
            text.pop();
        }
        text
    }
}

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.text()))
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        format!("{}Z", value.as_str()?)
            .parse()
            .map(Self)
            .map_err(|_| FromSqlError::InvalidType)
    }
}

/// An optional instant.
pub(super) fn at(instant: Option<Timestamp>) -> Option<At> {
    instant.map(At)
}

/// Reads an instant.
pub(super) fn read_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, At>(column).map(|at| at.0)
}

/// Reads an optional instant.
pub(super) fn read_at_opt(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<At>>(column).map(|at| at.map(|at| at.0))
}

/// Reads a count.
pub(super) fn read_count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| unreadable(column))
}

/// A value as JSON text.
pub(super) fn json<T: Serialize>(value: &T) -> Work<String> {
    serde_json::to_string(value).map_err(unwritable)
}

/// An optional value as JSON text.
pub(super) fn json_opt<T: Serialize>(value: Option<&T>) -> Work<Option<String>> {
    value.map(json).transpose()
}

/// Reads JSON text.
pub(super) fn read_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|_| unreadable(column))?;
    serde_json::from_str(text).map_err(|_| unreadable(column))
}

/// Reads optional JSON text.
pub(super) fn read_json_opt<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => read_json(row, column).map(Some),
    }
}

/// A closed set of values with fixed words.
pub(super) trait Word: Sized + Copy + 'static {
    const WORDS: &'static [(Self, &'static str)];
    /// What stands for a word that is not known.
    const ELSE: Option<Self> = None;

    fn word(self) -> &'static str
    where
        Self: PartialEq,
    {
        Self::WORDS
            .iter()
            .find(|(value, _)| *value == self)
            .map_or("other", |(_, word)| word)
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(_, known)| *known == word)
            .map(|(value, _)| *value)
            .or(Self::ELSE)
    }
}

impl Word for OnSink {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Absent, "absent"),
        (Self::Present, "present"),
        (Self::Unknown, "unknown"),
    ];
}

impl Word for Op {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Create, "create"),
        (Self::Update, "update"),
        (Self::Delete, "delete"),
    ];
}

impl Word for Membership {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Active, "active"), (Self::Parked, "parked")];
}

impl Word for CalendarKind {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Person, "person"),
        (Self::Room, "room"),
        (Self::Other, "other"),
    ];
    const ELSE: Option<Self> = Some(Self::Other);
}

impl Word for ShowAs {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Free, "free"),
        (Self::Tentative, "tentative"),
        (Self::Busy, "busy"),
        (Self::Away, "away"),
        (Self::Elsewhere, "elsewhere"),
        (Self::Unknown, "unknown"),
        (Self::Other, "other"),
    ];
    const ELSE: Option<Self> = Some(Self::Other);
}

/// Reads a word.
pub(super) fn read_word<T: Word>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let word = row
        .get_ref(column)?
        .as_str()
        .map_err(|_| unreadable(column))?;
    T::of_word(word).ok_or_else(|| unreadable(column))
}

/// Reads an optional word.
pub(super) fn read_word_opt<T: Word>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => read_word(row, column).map(Some),
    }
}

/// Reads a key from the text of [`EventKey::as_text`].
pub(super) fn read_key(row: &Row<'_>, column: usize) -> rusqlite::Result<EventKey> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(|_| unreadable(column))?;
    let (uid, original) = match text.split_once('\n') {
        None => (text, None),
        Some((uid, original)) => {
            let original = if original.contains('T') {
                original.parse().map(OriginalStart::Instant)
            } else {
                original.parse().map(OriginalStart::Date)
            };
            (uid, Some(original.map_err(|_| unreadable(column))?))
        }
    };
    EventKey::new(uid, original).map_err(|_| unreadable(column))
}

/// Reads an optional mark; one that is none of ours is nobody's.
fn read_origin(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Origin>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.and_then(|text| Origin::parse(&text).ok()))
}

/// An event's time as four columns: start, end, whether all-day, zone.
pub(super) struct TimeColumns<'a> {
    pub(super) starts: String,
    pub(super) ends: String,
    pub(super) all_day: bool,
    pub(super) zone: Option<&'a str>,
}

impl<'a> TimeColumns<'a> {
    pub(super) fn of(time: &'a EventTime) -> Self {
        match time {
            EventTime::Timed { start, end, zone } => Self {
                starts: At(*start).text(),
                ends: At(*end).text(),
                all_day: false,
                zone: zone.as_deref(),
            },
            EventTime::AllDay { start, end } => Self {
                starts: start.to_string(),
                ends: end.to_string(),
                all_day: true,
                zone: None,
            },
        }
    }
}

/// Reads an event's time from four columns.
pub(super) fn read_time(row: &Row<'_>, first: usize) -> rusqlite::Result<EventTime> {
    if row.get(first + 2)? {
        let date = |column: usize| -> rusqlite::Result<Date> {
            let text = row
                .get_ref(column)?
                .as_str()
                .map_err(|_| unreadable(column))?;
            text.parse().map_err(|_| unreadable(column))
        };
        EventTime::all_day(date(first)?, date(first + 1)?)
    } else {
        EventTime::timed(
            read_at(row, first)?,
            read_at(row, first + 1)?,
            row.get(first + 3)?,
        )
    }
    .map_err(|_| unreadable(first))
}

/// The columns of a content, in the order in which [`read_content`] reads them.
pub(super) const CONTENT: [&str; 10] = [
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

/// Reads a content from ten columns; `None` where there is none.
pub(super) fn read_content(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Content>> {
    if row.get_ref(first)? == ValueRef::Null {
        return Ok(None);
    }
    Ok(Some(Content {
        time: read_time(row, first)?,
        show_as: read_word_opt(row, first + 4)?,
        private: row.get(first + 5)?,
        subject: row.get(first + 6)?,
        location: row.get(first + 7)?,
        categories: read_json_opt(row, first + 8)?,
        body: row.get(first + 9)?,
    }))
}

/// The columns of a source view, in the order in which [`read_view`] reads them.
pub(super) fn view_columns(table: &str) -> String {
    let mut columns: Vec<String> = [
        "id",
        "key",
        "ordinal",
        "item",
        "item_version",
        "group_id",
        "group_version",
        "cancelled",
        "origin",
    ]
    .iter()
    .chain(&CONTENT)
    .map(|column| format!("{table}.{column}"))
    .collect();
    columns.shrink_to_fit();
    columns.join(", ")
}

/// How many columns [`read_view`] reads.
pub(super) const VIEW_COLUMNS: usize = 9 + CONTENT.len();

/// Reads a source view; `None` where there is none.
pub(super) fn read_view(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<SourceView>> {
    let Some(id) = row.get::<_, Option<i64>>(first)? else {
        return Ok(None);
    };
    let group = match row.get::<_, Option<String>>(first + 5)? {
        None => None,
        Some(id) => Some(GroupRef {
            id,
            version: row.get(first + 6)?,
        }),
    };
    Ok(Some(SourceView {
        id: ViewId(id),
        ordinal: row.get(first + 2)?,
        event: Event {
            key: read_key(row, first + 1)?,
            item: ItemRef {
                id: row.get(first + 3)?,
                version: row.get(first + 4)?,
            },
            group,
            content: read_content(row, first + 9)?.ok_or_else(|| unreadable(first + 9))?,
            cancelled: row.get(first + 7)?,
            origin: read_origin(row, first + 8)?,
        },
    }))
}
