//! The connection and its readable side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use calbridge_core::connector::{
    CalendarSink, CalendarSource, ChangeFeed, ChangesRequest, CheckReport, CheckScope, Connection,
    Context, Error, ErrorKind, HintFeed, Result, Scope,
};
use calbridge_core::model::{CalendarRef, Event, FieldSet, ItemRef};

use crate::client::Client;
use crate::config::{Access, Notifications, Settings};
use crate::feed::Feed;
use crate::pending::Pending;
use crate::request::FolderTarget;
use crate::sink::Desk;
use crate::watch::{Tempo, Watch};
use crate::zones::Zones;

/// Whether CalendarView expands series on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Expands {
    Yes,
    No,
    #[default]
    Unknown,
}

/// One configured connection.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub(crate) inner: Arc<Inner>,
}

/// What feeds share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) zones: Zones,
    /// What any calendar of this server has shown.
    expands: AtomicU8,
    /// Per calendar, the fields that its last feed was asked for: a single read asks for no more.
    fields: Mutex<HashMap<CalendarRef, FieldSet>>,
    /// What readings that were broken off had found out.
    pub(crate) pending: Pending,
    /// Times and sizes of watches.
    pub(crate) tempo: Tempo,
    /// What writing remembers.
    pub(crate) desk: Desk,
}

impl Inner {
    pub(crate) fn expands(&self) -> Expands {
        match self.expands.load(Ordering::Relaxed) {
            1 => Expands::Yes,
            2 => Expands::No,
            _ => Expands::Unknown,
        }
    }

    pub(crate) fn learn(&self, expands: Expands) {
        let value = match expands {
            Expands::Yes => 1,
            Expands::No => 2,
            Expands::Unknown => return,
        };
        self.expands.store(value, Ordering::Relaxed);
    }

    fn remember_fields(&self, calendar: &CalendarRef, fields: &FieldSet) {
        self.fields
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(calendar.clone(), fields.clone());
    }

    fn fields_of(&self, calendar: &CalendarRef) -> FieldSet {
        self.fields
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(calendar)
            .cloned()
            .unwrap_or_else(FieldSet::times)
    }

    /// The folder that a calendar stands for.
    pub(crate) fn target(&self, calendar: &CalendarRef) -> FolderTarget {
        match (&calendar.calendar, self.client.settings().access) {
            (Some(id), _) => FolderTarget::Id(id.clone()),
            (None, Access::Impersonation) => FolderTarget::Primary { mailbox: None },
            (None, Access::Delegate) => FolderTarget::Primary {
                mailbox: Some(calendar.address.as_str().to_owned()),
            },
        }
    }
}

impl Exchange {
    /// # Errors
    /// `Config`.
    pub(crate) fn open(settings: Settings, context: Context) -> Result<Self> {
        Self::open_with(settings, context, Tempo::default())
    }

    /// As [`open`](Self::open), with other times for watches.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn open_with(settings: Settings, context: Context, tempo: Tempo) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            inner: Arc::new(Inner {
                zones: Zones::new(settings.home_zone.as_deref()),
                expands: AtomicU8::new(0),
                fields: Mutex::default(),
                pending: Pending::default(),
                client: Client::new(settings, context)?,
                tempo,
                desk: Desk::default(),
            }),
        })
    }
}

#[async_trait]
impl Connection for Exchange {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        Ok(crate::check::check(&self.inner, &scope).await)
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }

    fn sink(&self) -> Option<&dyn CalendarSink> {
        self.inner.client.settings().writable.then_some(self)
    }
}

#[async_trait]
impl CalendarSource for Exchange {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        self.inner
            .remember_fields(&request.calendar, &request.fields);
        Ok(Box::new(Feed::new(Arc::clone(&self.inner), request)))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let fields = self.inner.fields_of(calendar);
        self.inner.fetch(calendar, items, &fields).await
    }

    async fn watch(&self, calendars: &[CalendarRef]) -> Result<Box<dyn HintFeed>> {
        match self.inner.client.settings().notifications {
            Notifications::Auto => Ok(Box::new(Watch::begin(Arc::clone(&self.inner), calendars))),
            Notifications::Off => Err(Error::unsupported(
                "watch, because `notifications` is `off`",
            )),
        }
    }
}

/// The item is gone.
pub(crate) fn gone() -> Error {
    Error::new(
        ErrorKind::NotFound,
        Scope::Item,
        "ews.ErrorItemNotFound",
        "the item is no longer in the calendar",
    )
}
