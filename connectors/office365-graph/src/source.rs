//! The connection and its readable side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use calbridge_core::connector::{
    CalendarSource, ChangeFeed, ChangesRequest, CheckReport, CheckScope, Connection, Context,
    Error, ErrorKind, Result, Scope,
};
use calbridge_core::http::Urgency;
use calbridge_core::model::{CalendarRef, Event, FieldSet, ItemRef, zone};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::tz::TimeZone;

use crate::client::Client;
use crate::config::Settings;
use crate::feed::Feed;
use crate::map::Mapper;
use crate::view::SIDE_BY_SIDE;
use crate::wire::Kind;

/// One configured connection.
#[derive(Debug, Clone)]
pub struct Office365 {
    pub(crate) inner: Arc<Inner>,
}

/// What feeds share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) home: Option<TimeZone>,
    /// Per calendar, the fields that its last feed was asked for: a single reading asks for no more.
    fields: Mutex<HashMap<CalendarRef, FieldSet>>,
}

impl Inner {
    pub(crate) fn mapper(&self, fields: FieldSet) -> Mapper {
        Mapper {
            fields,
            home: self.home.clone(),
        }
    }

    fn remember_fields(&self, calendar: &CalendarRef, fields: &FieldSet) {
        let mut known = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(calendar.clone(), fields.clone());
    }

    fn fields_of(&self, calendar: &CalendarRef) -> FieldSet {
        let known = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(calendar).cloned().unwrap_or_else(FieldSet::times)
    }
}

impl Office365 {
    /// # Errors
    /// `Config`.
    pub(crate) fn open(settings: Settings, context: Context) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            inner: Arc::new(Inner {
                home: settings.home_zone.as_deref().and_then(zone::by_name),
                fields: Mutex::default(),
                client: Client::new(settings, context)?,
            }),
        })
    }
}

#[async_trait]
impl Connection for Office365 {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        Ok(crate::check::check(&self.inner, &scope).await)
    }

    fn source(&self) -> Option<&dyn CalendarSource> {
        Some(self)
    }
}

#[async_trait]
impl CalendarSource for Office365 {
    async fn changes(&self, request: ChangesRequest) -> Result<Box<dyn ChangeFeed>> {
        self.inner
            .remember_fields(&request.calendar, &request.fields);
        Ok(Box::new(Feed::new(Arc::clone(&self.inner), request)))
    }

    async fn fetch(&self, calendar: &CalendarRef, items: &[ItemRef]) -> Result<Vec<Result<Event>>> {
        let mapper = self.inner.mapper(self.inner.fields_of(calendar));
        let ids: Vec<String> = items.iter().map(|item| item.id.clone()).collect();
        futures_util::stream::iter(ids)
            .map(|id| {
                let mapper = &mapper;
                async move {
                    match self.inner.describe(calendar, &id, mapper).await {
                        Err(error) if error.scope != Scope::Item => Err(error),
                        one => Ok(one),
                    }
                }
            })
            .buffered(SIDE_BY_SIDE)
            .try_collect()
            .await
    }
}

impl Inner {
    async fn describe(&self, calendar: &CalendarRef, id: &str, mapper: &Mapper) -> Result<Event> {
        let item = self.read_one(calendar, id, mapper, Urgency::Now).await?;
        match item.kind() {
            Kind::Single => mapper.single(&item),
            Kind::Master => Err(Error::new(
                ErrorKind::Unsupported,
                Scope::Item,
                "graph.series",
                "the id is that of a whole series",
            )),
            Kind::Occurrence | Kind::Exception => {
                let master = match &item.series_master_id {
                    Some(master) => Some(
                        self.read_one(calendar, master, mapper, Urgency::Now)
                            .await?,
                    ),
                    None => None,
                };
                mapper.member(&item, master.as_ref())
            }
        }
    }
}
