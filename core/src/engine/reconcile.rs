//! Reconciliation: what the sink lists, into the rows' views of it.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::inventory::{Taken, take};
use super::unit::{PassError, Unit, sink_capabilities};
use super::{Agreed, OnSink, Row, SinkView};
use crate::connector::{Error, InventoryEntry, InventoryRequest, Scope, Sharing};
use crate::model::{CalendarRef, Content};
use crate::store::{NewRow, RowCommit};

/// Lists what the sink holds of these calendars (all of one sync) and stores it. Answers, per unit, whether
/// its inventory is complete and how many records somebody else made or changed in a sink that is ours alone, or why
/// not. A calendar that could not be listed stays as it was.
pub(super) async fn reconcile(units: &[Unit<'_>]) -> Vec<Result<u64, PassError>> {
    let Some(first) = units.first() else {
        return Vec::new();
    };
    let listed = list(first, units).await;
    if let (Err(error), true) = (&listed, units.len() > 1)
        && error.scope != Scope::Connection
    {
        // One calendar that spoils the list keeps no other from it.
        let mut results = Vec::with_capacity(units.len());
        for unit in units {
            results.extend(Box::pin(reconcile(std::slice::from_ref(unit))).await);
        }
        return results;
    }
    let mut results = Vec::with_capacity(units.len());
    for unit in units {
        let result = match &listed {
            Err(error) => Err(PassError::Sink(error.clone())),
            Ok(listed) => match listed.calendars.get(&key(&unit.reference)) {
                Some(Ok(entries)) => store(unit, entries, listed).await,
                Some(Err(error)) => Err(PassError::Sink(error.clone())),
                None => Err(PassError::Sink(Error::new(
                    crate::connector::ErrorKind::Protocol,
                    Scope::Calendar,
                    "inventory.incomplete",
                    "the sink's inventory says nothing about this calendar; it is asked again",
                ))),
            },
        };
        results.push(result);
    }
    results
}

/// What an inventory brought, by calendar.
struct Listed {
    began: jiff::Timestamp,
    window: crate::model::Window,
    calendars: HashMap<String, Result<Vec<InventoryEntry>, Error>>,
}

fn key(calendar: &CalendarRef) -> String {
    format!(
        "{}\n{}",
        calendar.address.folded(),
        calendar.calendar.as_deref().unwrap_or_default()
    )
}

async fn list(first: &Unit<'_>, units: &[Unit<'_>]) -> Result<Listed, Error> {
    let Some(sink) = first.sink.connection().sink() else {
        return Err(Error::unsupported("inventory"));
    };
    let began = first.clock.now();
    let rules = first.rules();
    let window = rules
        .map_err(|error| Error::config(error.to_string()))?
        .window;
    let permit = first.sink.writes.enter(began).await?;
    let listing = async {
        let mut calendars: HashMap<String, Result<Vec<InventoryEntry>, Error>> = HashMap::new();
        let mut pending: HashMap<String, Vec<InventoryEntry>> = HashMap::new();
        let mut feed = sink
            .inventory(InventoryRequest {
                calendars: units.iter().map(|unit| unit.reference.clone()).collect(),
                window,
                now: began,
            })
            .await?;
        while let Some(page) = feed.next().await? {
            for entry in page.entries {
                pending.entry(key(&entry.calendar)).or_default().push(entry);
            }
            for calendar in &page.complete {
                let key = key(calendar);
                let entries = pending.remove(&key).unwrap_or_default();
                calendars.insert(key, Ok(entries));
            }
            for (calendar, error) in page.failed {
                calendars.insert(key(&calendar), Err(error));
            }
        }
        Ok(calendars)
    };
    let listed = listing.await;
    drop(permit);
    let now = first.clock.now();
    first.sink.writes.report(listed.as_ref().err(), now);
    Ok(Listed {
        began,
        window,
        calendars: listed?,
    })
}

async fn store(
    unit: &Unit<'_>,
    entries: &[InventoryEntry],
    listed: &Listed,
) -> Result<u64, PassError> {
    let sink = sink_capabilities(unit)?;
    let found = unit
        .store
        .rows(&unit.sync.name, unit.source.name(), unit.calendar)
        .await?;
    let mut commit = RowCommit {
        sync: unit.sync.name.clone(),
        calendar: Some(unit.calendar),
        ..RowCommit::default()
    };
    let first_contact = unit.first_contact || unit.observed;
    let exclusive = sink.sharing == Sharing::Exclusive;
    let prints = unit.store.prints();
    let wall_clock = sink
        .wall_clock
        .as_deref()
        .and_then(|zone| TimeZone::get(zone).ok());
    let agrees = |agreed: &Agreed, held: &Content| {
        agreed
            .sink
            .agrees_with(&prints.of(held, wall_clock.as_ref()))
    };
    let mut others = 0;
    for taken in take(&found.rows, entries, listed.window, listed.began, sink) {
        match taken {
            Taken::Changed { row, now } => {
                let before = found.rows.get(row);
                others += u64::from(exclusive && is_of_others(before, &now, agrees));
                commit.update.push(*now);
            }
            Taken::Unmatched { entry, key } => {
                let Some(entry) = entries.get(entry) else {
                    continue;
                };
                // In a sink that others write too, what is not ours is left alone: no row is made for it.
                let ours = entry
                    .origin
                    .as_ref()
                    .is_some_and(|mark| mark.sync == unit.sync.name);
                if !exclusive && !ours {
                    continue;
                }
                others += u64::from(exclusive && !first_contact);
                commit.insert.push(NewRow {
                    key,
                    ordinal: 0,
                    group: None,
                    view: None,
                    remote: Some(entry.remote.clone()),
                    sink: SinkView {
                        state: OnSink::Present,
                        remote: Some(entry.remote.clone()),
                        content: entry.content.clone(),
                        acknowledged: None,
                        foreign: false,
                    },
                    first_contact,
                });
            }
        }
    }
    if !commit.update.is_empty() || !commit.insert.is_empty() {
        unit.store.commit_rows(unit.fence, commit).await?;
    }
    if others > 0 && !unit.observed {
        tracing::warn!(
            sync = unit.sync.name,
            calendar = unit.handle,
            code = "others-write",
            records = others,
            "Somebody else makes or changes records that calbridge keeps: is a predecessor, or a second calbridge, still at work?"
        );
    }
    Ok(others)
}

/// Whether somebody else removed the record of a row, or gave it another content than was agreed. `now` is the row with
/// what was listed.
fn is_of_others(
    before: Option<&Row>,
    now: &Row,
    agrees: impl Fn(&Agreed, &Content) -> bool,
) -> bool {
    match (&now.sink.state, &now.agreed, &now.sink.content) {
        (OnSink::Present, Some(agreed), Some(held)) => !agrees(agreed, held),
        (OnSink::Absent, ..) => before.is_some_and(|row| {
            row.sink.state == OnSink::Present && row.agreed.is_some() && !row.sink.foreign
        }),
        _ => false,
    }
}
