//! Pull: a source's feed, into views. Pages are stored as they come; only a round that ended well makes
//! anything gone.

use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::project::mask;
use super::unit::{Demand, PassError, Unit};
use super::{Rules, identity};
use crate::connector::{Change, ChangeFeed, ChangesRequest, Cursor, Error, ErrorKind, Scope};
use crate::model::{Coverage, Event, EventKey, Field, FieldSet, ItemRef, Window};
use crate::store::{Round, RoundEnd, SourcePage, SourceState, ViewChange};

/// The most changes per page: one transaction each.
pub const PAGE: usize = 512;

/// What a pull brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Events that were reported.
    pub seen: u64,
    /// Views that are gone.
    pub gone: u64,
    /// Things that are there and could not be described; what is known of them was kept.
    pub unreadable: u64,
}

/// Reads a calendar's changes and stores what they say.
pub(super) async fn pull(unit: &Unit<'_>, rules: &Rules, full: bool) -> Result<Pulled, PassError> {
    let _alone = unit.source.round_of(unit.calendar).await;
    let demand = unit.demand(rules)?;
    match pull_from(unit, rules, &demand, full, true).await {
        Err(PassError::Source(error)) if error.kind == ErrorKind::CursorExpired => {
            tracing::info!(
                sync = unit.sync.name,
                calendar = unit.handle,
                code = error.code,
                "The source's cursor is no longer good; the calendar is read from the beginning."
            );
            pull_from(unit, rules, &demand, full, false).await
        }
        done => done,
    }
}

async fn pull_from(
    unit: &Unit<'_>,
    rules: &Rules,
    demand: &Demand,
    full: bool,
    with_cursor: bool,
) -> Result<Pulled, PassError> {
    let Some(source) = unit.source.connection().source() else {
        return Err(PassError::Source(Error::unsupported("reading")));
    };
    let fields = demand.fields.clone();
    let binding = format!("{} {fields:?}", unit.source.version());
    let known = unit.source_state().await?;
    let known = if with_cursor && known.binding == binding {
        known
    } else {
        SourceState::default()
    };
    let mut covered = known.covered;
    covered.clip(demand.window);
    // The store keeps no more than was asked for, whatever a source reports; qualification needs free or busy.
    let kept = fields.union(&FieldSet::from_iter([Field::ShowAs]));
    let resumed = known.cursor.is_some();
    let request = ChangesRequest {
        calendar: unit.reference.clone(),
        cursor: known.cursor,
        window: demand.window,
        covered: covered.clone(),
        fields,
        full,
        now: unit.clock.now(),
    };

    let now = unit.clock.now();
    let permit = unit
        .source
        .reads
        .enter(now)
        .await
        .map_err(PassError::Source)?;
    let read = async {
        let mut feed = source.changes(request).await?;
        unit.touched.store(true, Ordering::Relaxed);
        let round = unit
            .store
            .begin_round(unit.fence, unit.source.name(), unit.calendar)
            .await?;
        let mut reading = Reading::new(unit, round, kept, resumed);
        reading.drain(feed.as_mut()).await?;
        reading.confirm(source).await?;
        Ok::<_, PassError>(reading)
    };
    let reading = read.await;
    drop(permit);
    let now = unit.clock.now();
    unit.source.reads.report(
        reading.as_ref().err().and_then(PassError::source_error),
        now,
    );
    let reading = reading?;

    let mut reading = reading;
    if reading.nameless {
        // Nothing may be concluded from what is missing, and the ranges are read again next time.
        reading.listed.clear();
        reading.checkpoint = None;
    }
    for window in &reading.listed {
        covered.add(*window);
    }
    covered.clip(demand.window);
    reading.finish(rules, demand, covered, binding, now).await
}

/// One round under way.
struct Reading<'a> {
    unit: &'a Unit<'a>,
    round: Round,
    listed: Vec<Window>,
    uncertain: Vec<ItemRef>,
    checkpoint: Option<Cursor>,
    folder: Option<String>,
    pulled: Pulled,
    /// Something was there that could not even be named: what is missing from a list may be just that.
    nameless: bool,
    /// The fields that are kept.
    kept: FieldSet,
    /// The feed goes on from a cursor.
    resumed: bool,
}

impl<'a> Reading<'a> {
    fn new(unit: &'a Unit<'a>, round: Round, kept: FieldSet, resumed: bool) -> Self {
        Self {
            unit,
            round,
            kept,
            resumed,
            listed: Vec::new(),
            uncertain: Vec::new(),
            checkpoint: None,
            folder: None,
            pulled: Pulled::default(),
            nameless: false,
        }
    }

    async fn drain(&mut self, feed: &mut dyn ChangeFeed) -> Result<(), PassError> {
        while let Some(batch) = feed.next(PAGE).await? {
            if self.unit.shutdown.is_cancelled() {
                return Err(PassError::Cancelled);
            }
            if batch.folder.is_some() {
                self.folder = batch.folder;
            }
            let changes: Vec<ViewChange> = batch
                .changes
                .into_iter()
                .flat_map(|c| self.take(c))
                .collect();
            // What is missing from a listed range, and whether an uncertain removal is one, is known at the
            // end only: a cursor that claims to know it must wait for the end. So must one of a feed that
            // began anew: resumed in the middle, it would never tell what went before it began.
            let early = self.resumed && self.listed.is_empty() && self.uncertain.is_empty();
            self.store(changes, batch.checkpoint.clone().filter(|_| early))
                .await?;
            if !early && batch.checkpoint.is_some() {
                self.checkpoint = batch.checkpoint;
            }
        }
        Ok(())
    }

    fn take(&mut self, change: Change) -> Vec<ViewChange> {
        match change {
            Change::Item(event) => {
                self.pulled.seen += 1;
                vec![self.seen(event)]
            }
            Change::Removed {
                item,
                certain: true,
            } => vec![ViewChange::Gone(item)],
            Change::Removed {
                item,
                certain: false,
            } => {
                self.uncertain.push(item);
                Vec::new()
            }
            Change::Group {
                group,
                members,
                covered,
            } => {
                self.pulled.seen += members.len() as u64;
                let mut changes: Vec<_> = members
                    .into_iter()
                    .map(|member| self.seen(member))
                    .collect();
                changes.push(ViewChange::GroupGone {
                    group: group.id,
                    covered,
                });
                changes
            }
            Change::Snapshot { covered } => {
                self.listed.push(covered);
                Vec::new()
            }
            Change::Unreadable { item, uid, error } => {
                self.pulled.unreadable += 1;
                tracing::warn!(
                    sync = self.unit.sync.name,
                    calendar = self.unit.handle,
                    code = error.code,
                    error = error.message,
                    "An event could not be read; what is known of it is kept."
                );
                self.nameless |= item.is_none() && uid.is_none();
                // Kept by the UID as it stands in keys.
                let uid = uid
                    .and_then(|uid| EventKey::new(&uid, None).ok())
                    .map(|key| key.uid().to_owned());
                vec![ViewChange::Kept { item, uid }]
            }
        }
    }

    fn seen(&self, mut event: Event) -> ViewChange {
        event.content = event.content.only(&self.kept);
        if event.content.private == Some(true) {
            // No rule ever needs the texts of a private event.
            mask(&mut event.content);
        }
        ViewChange::Seen(event)
    }

    /// An uncertain removal is fetched before it is believed.
    async fn confirm(
        &mut self,
        source: &dyn crate::connector::CalendarSource,
    ) -> Result<(), PassError> {
        let uncertain = std::mem::take(&mut self.uncertain);
        for items in uncertain.chunks(PAGE) {
            let answers = source.fetch(&self.unit.reference, items).await?;
            let mut changes = Vec::with_capacity(items.len());
            for (position, item) in items.iter().enumerate() {
                changes.push(match answers.get(position) {
                    Some(Ok(event)) => self.seen(event.clone()),
                    Some(Err(error))
                        if error.kind == ErrorKind::NotFound && error.scope == Scope::Item =>
                    {
                        ViewChange::Gone(item.clone())
                    }
                    Some(Err(_)) | None => ViewChange::Kept {
                        item: Some(item.clone()),
                        uid: None,
                    },
                });
            }
            self.store(changes, None).await?;
        }
        Ok(())
    }

    async fn store(
        &self,
        changes: Vec<ViewChange>,
        checkpoint: Option<Cursor>,
    ) -> Result<(), PassError> {
        if changes.is_empty() && checkpoint.is_none() {
            return Ok(());
        }
        let page = SourcePage {
            connection: self.unit.source.name().to_owned(),
            calendar: self.unit.calendar,
            round: self.round,
            changes,
            checkpoint,
        };
        self.unit.store.commit_page(self.unit.fence, page).await?;
        Ok(())
    }

    async fn finish(
        mut self,
        rules: &Rules,
        demand: &Demand,
        covered: Coverage,
        binding: String,
        now: Timestamp,
    ) -> Result<Pulled, PassError> {
        let connection = self.unit.source.name();
        let changes = self
            .unit
            .store
            .round_changes(connection, self.unit.calendar, self.round, &self.listed)
            .await?;
        let pairs = identity::pair(&changes.vanished, &changes.appeared, &rules.zone);
        let gone: Vec<_> = changes
            .vanished
            .iter()
            .map(|view| view.id)
            .filter(|id| !pairs.iter().any(|pair| pair.vanished == *id))
            .collect();
        self.pulled.gone = gone.len() as u64;
        let mut listed = Coverage::none();
        for window in &self.listed {
            listed.add(*window);
        }
        self.unit
            .store
            .finish_round(
                self.unit.fence,
                RoundEnd {
                    connection: connection.to_owned(),
                    calendar: self.unit.calendar,
                    round: self.round,
                    pairs,
                    gone,
                    covered,
                    binding,
                    checkpoint: self.checkpoint.take(),
                    full: listed.covers(demand.window),
                    unreadable: self.pulled.unreadable > 0,
                    folder: self.folder.take(),
                    at: now,
                },
            )
            .await?;
        Ok(self.pulled)
    }
}
