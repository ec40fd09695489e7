//! Writing.

use std::time::{Duration, Instant};

use calbridge_core::connector::{
    ApplyReport, AttemptToken, Error, ExternalIds, InventoryEntry, InventoryRequest, Op, Outcome,
    Probe, SideState, SinkCapabilities, Write, WriteId,
};
use calbridge_core::model::{
    CalendarRef, Content, EventKey, EventTime, Field, ShowAs, SideRef, Window,
};
use jiff::tz::TimeZone;

use crate::kit::{
    CANARY, Done, Kit, Open, Stop, difference, ensure, failed, skipped, sorted, unexpected,
};

/// What shall be held: the time, and of the rest what the sink says that it keeps.
fn content(sink: &SinkCapabilities, time: EventTime, label: &str) -> Content {
    let keeps = |field| sink.fields.contains(field);
    let text = |what: &str| format!("{CANARY} {what} {label}");
    Content {
        time,
        show_as: keeps(Field::ShowAs).then_some(ShowAs::Busy),
        subject: keeps(Field::Subject).then(|| text("title")),
        location: keeps(Field::Location).then(|| text("place")),
        body: keeps(Field::Body).then(|| text("text")),
        private: keeps(Field::Private).then_some(false),
        categories: keeps(Field::Categories).then(|| vec!["Kit".to_owned()]),
    }
}

/// Writes, one after the other.
struct Desk<'a> {
    kit: &'a Kit,
    open: &'a Open,
    can: SinkCapabilities,
    calendar: CalendarRef,
    next: u64,
}

/// A record that was written.
#[derive(Clone)]
struct Record {
    key: EventKey,
    remote: SideRef,
    content: Content,
}

impl<'a> Desk<'a> {
    fn new(kit: &'a Kit, open: &'a Open, can: SinkCapabilities) -> Done<Self> {
        Ok(Self {
            kit,
            open,
            can,
            calendar: kit.calendar()?,
            next: 0,
        })
    }

    fn key(label: &str) -> Done<EventKey> {
        EventKey::new(&format!("{label}@kit"), None)
            .map_err(|error| Stop::Failed(error.to_string()))
    }

    fn create(&mut self, label: &str, time: EventTime) -> Done<Write> {
        let key = Self::key(label)?;
        let remote = match &self.can.external_ids {
            ExternalIds::Chosen { .. } => SideRef::new(key.uid()).ok(),
            _ => None,
        };
        let target = content(&self.can, time, label);
        Ok(self.write(Op::Create, key, remote, Some(target), None))
    }

    fn update(&mut self, record: &Record, time: EventTime) -> Write {
        let target = content(&self.can, time, record.key.uid());
        let (key, remote) = (record.key.clone(), Some(record.remote.clone()));
        self.write(
            Op::Update,
            key,
            remote,
            Some(target),
            Some(record.content.clone()),
        )
    }

    fn delete(&mut self, record: &Record) -> Write {
        let (key, remote) = (record.key.clone(), Some(record.remote.clone()));
        self.write(Op::Delete, key, remote, None, Some(record.content.clone()))
    }

    fn write(
        &mut self,
        op: Op,
        key: EventKey,
        remote: Option<SideRef>,
        target: Option<Content>,
        base: Option<Content>,
    ) -> Write {
        self.next += 1;
        Write {
            id: WriteId(self.next),
            op,
            key,
            remote,
            target,
            base,
            group_version: None,
            token: AttemptToken(format!("kit-{}-{}", std::process::id(), self.next)),
        }
    }

    async fn try_apply(&self, writes: &[Write]) -> Result<ApplyReport, Error> {
        self.open
            .sink()
            .map_err(|_| Error::unsupported("writing"))?
            .apply(&self.calendar, writes)
            .await
    }

    /// The outcomes in the order of the writes; each write has just one.
    async fn apply(&self, writes: &[Write]) -> Done<Vec<Outcome>> {
        let report = self.try_apply(writes).await;
        let report = report.map_err(|error| unexpected("`apply`", &error))?;
        if let Some(trouble) = &report.trouble {
            return Err(unexpected("`apply` tells of trouble", trouble));
        }
        ensure!(
            report.outcomes.len() == writes.len(),
            "{} writes have {} outcomes",
            writes.len(),
            report.outcomes.len()
        );
        writes
            .iter()
            .map(|write| {
                let mut own = report
                    .outcomes
                    .iter()
                    .filter(|outcome| outcome.id == write.id);
                match (own.next(), own.next()) {
                    (Some(one), None) => Ok(one.outcome.clone()),
                    (None, _) => failed("a write has no outcome with its id"),
                    _ => failed("a write has two outcomes"),
                }
            })
            .collect()
    }

    /// Makes a record.
    async fn make(&mut self, label: &str, time: EventTime) -> Done<Record> {
        let write = self.create(label, time)?;
        self.send(write).await
    }

    /// Sends a write that makes or changes a record.
    async fn send(&mut self, write: Write) -> Done<Record> {
        let outcome = self.apply(std::slice::from_ref(&write)).await?.pop();
        let target = write.target.clone();
        match (outcome, target) {
            (Some(Outcome::Done { remote, stored }), Some(target)) => {
                let remote = remote.or(write.remote);
                let Some(remote) = remote else {
                    return failed("a record was made, and its address is not told");
                };
                Ok(Record {
                    key: write.key,
                    remote,
                    content: stored.unwrap_or(target),
                })
            }
            (Some(Outcome::Unchanged), Some(content)) if write.remote.is_some() => Ok(Record {
                key: write.key,
                remote: write
                    .remote
                    .ok_or_else(|| Stop::Failed("no address".to_owned()))?,
                content,
            }),
            (other, _) => failed(format!("{:?} came to {}", write.op, named(other.as_ref()))),
        }
    }

    /// What is there, listed completely.
    async fn listed_in(&self, window: Window) -> Done<Vec<InventoryEntry>> {
        if self.can.inventory.is_none() {
            return skipped("the sink cannot list what it holds");
        }
        let request = InventoryRequest {
            calendars: vec![self.calendar.clone()],
            window,
            now: self.kit.world.now(),
        };
        let feed = self.open.sink()?.inventory(request).await;
        let mut feed = feed.map_err(|error| unexpected("`inventory`", &error))?;
        let (mut entries, mut complete) = (Vec::new(), false);
        while let Some(page) = feed
            .next()
            .await
            .map_err(|error| unexpected("`inventory`", &error))?
        {
            if let Some((_, error)) = page.failed.first() {
                return Err(unexpected("`inventory` of the calendar", error));
            }
            complete |= page.complete.contains(&self.calendar);
            entries.extend(page.entries);
        }
        ensure!(
            complete,
            "the inventory ended, and does not say that the calendar is complete"
        );
        ensure!(
            entries.iter().all(|entry| entry.calendar == self.calendar),
            "the inventory tells of a calendar that nobody asked for"
        );
        Ok(entries)
    }

    /// Fails unless the sink holds just these records, seen through the connector, and behind its back where the world
    /// can look there. What was written may show a while later.
    async fn holds(&self, what: &str, records: &[&Record]) -> Done {
        let until = Instant::now() + Duration::from_millis(self.can.own_write_delay_ms);
        loop {
            let found = self.compare(records).await?;
            match found {
                None => break,
                Some(why) if Instant::now() >= until => return failed(format!("{what}: {why}")),
                Some(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        match self.kit.world.held(&self.calendar).await {
            Ok(held) => {
                let zone = self.clock();
                let as_walls = |times: Vec<EventTime>| {
                    let mut all: Vec<String> =
                        times.iter().map(|time| wall(time, zone.as_ref())).collect();
                    all.sort();
                    all
                };
                let expected = records.iter().map(|record| record.content.time.clone());
                let difference = difference(&as_walls(expected.collect()), &as_walls(held));
                ensure!(
                    difference.is_empty(),
                    "{what}, in the system itself: {difference}"
                );
                Ok(())
            }
            Err(crate::world::Cannot::NotOffered(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn compare(&self, records: &[&Record]) -> Done<Option<String>> {
        let found = self.listed_in(self.kit.window()?).await?;
        for record in records {
            let same: Vec<_> = found
                .iter()
                .filter(|entry| entry.remote.id == record.remote.id)
                .collect();
            let [entry] = same.as_slice() else {
                return Ok(Some(format!("a record is listed {} times", same.len())));
            };
            if let Some(key) = &entry.key
                && *key != record.key
            {
                return Ok(Some("a record is listed with another key".to_owned()));
            }
            let Some(content) = &entry.content else {
                continue;
            };
            if let Some(field) = self.differs(&record.content, content) {
                return Ok(Some(format!("a record is listed with another {field:?}")));
            }
        }
        Ok((found.len() != records.len())
            .then(|| format!("{} records are listed, not {}", found.len(), records.len())))
    }

    fn clock(&self) -> Option<TimeZone> {
        let zone = self.can.wall_clock.as_deref()?;
        TimeZone::get(zone).ok()
    }

    /// The first of the declared fields in which they differ.
    fn differs(&self, expected: &Content, found: &Content) -> Option<Field> {
        let zone = self.clock();
        if wall(&expected.time, zone.as_ref()) != wall(&found.time, zone.as_ref()) {
            return Some(Field::Time);
        }
        let told = found.fields();
        let checks = [
            (Field::ShowAs, expected.show_as == found.show_as),
            (Field::Subject, expected.subject == found.subject),
            (Field::Location, expected.location == found.location),
            (Field::Body, expected.body == found.body),
            (Field::Private, expected.private == found.private),
            (Field::Categories, expected.categories == found.categories),
        ];
        checks
            .into_iter()
            .find(|(field, same)| {
                self.can.fields.contains(*field) && told.contains(*field) && !same
            })
            .map(|(field, _)| field)
    }
}

/// A time as the sink's clock shows it, if it keeps a clock.
fn wall(time: &EventTime, zone: Option<&TimeZone>) -> String {
    match zone {
        Some(zone) => {
            let span = time.wall_in(zone);
            format!("{} to {}", span.start, span.end)
        }
        None => sorted([time.clone()]).concat(),
    }
}

fn named(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "nothing".to_owned(),
        Some(Outcome::Done { .. }) => "Done".to_owned(),
        Some(Outcome::Unchanged) => "Unchanged".to_owned(),
        Some(Outcome::Accepted { .. }) => "Accepted".to_owned(),
        Some(Outcome::Unknown) => "Unknown".to_owned(),
        Some(Outcome::Foreign) => "Foreign".to_owned(),
        Some(Outcome::Rejected { code, .. }) => format!("Rejected ({code})"),
        Some(Outcome::Conflict { .. }) => "Conflict".to_owned(),
        Some(Outcome::Retry { .. }) => "Retry".to_owned(),
        Some(_) => "an outcome that the kit does not know".to_owned(),
    }
}

/// One record that is written again and again.
pub(crate) struct Again<'a> {
    desk: Desk<'a>,
    record: Record,
}

impl<'a> Again<'a> {
    pub(crate) async fn begin(kit: &'a Kit, open: &'a Open, can: &SinkCapabilities) -> Done<Self> {
        let mut desk = Desk::new(kit, open, can.clone())?;
        let record = desk.make("again", kit.hour(2, 9)).await?;
        Ok(Self { desk, record })
    }

    /// Moves it to and fro.
    pub(crate) async fn write(&mut self, n: usize) -> Done {
        let hour = if n.is_multiple_of(2) { 14 } else { 9 };
        let write = self.desk.update(&self.record, self.desk.kit.hour(2, hour));
        self.record = self.desk.send(write).await?;
        Ok(())
    }
}

/// Makes one record; the error, if there was one.
pub(crate) async fn one_create(
    kit: &Kit,
    open: &Open,
    capabilities: &SinkCapabilities,
    calendar: &CalendarRef,
) -> Done<Option<Error>> {
    let mut desk = Desk::new(kit, open, capabilities.clone())?;
    desk.calendar = calendar.clone();
    let write = desk.create("first", kit.hour(2, 9))?;
    match desk.try_apply(std::slice::from_ref(&write)).await {
        Err(error) => Ok(Some(error)),
        Ok(report) => Ok(report.trouble),
    }
}

pub(crate) async fn create(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let one = desk.make("one", kit.hour(2, 9)).await?;
    let two = desk.make("two", kit.hour(3, 10)).await?;
    ensure!(
        one.remote.id != two.remote.id,
        "two records have one address"
    );
    desk.holds("after two creates", &[&one, &two]).await
}

pub(crate) async fn whole_days(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let date = |days| kit.at(days, 12).to_zoned(kit.zone()).date();
    let time = EventTime::AllDay {
        start: date(3),
        end: date(5),
    };
    let days = desk.make("days", time).await?;
    desk.holds("after whole days were written", &[&days]).await
}

pub(crate) async fn update(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let one = desk.make("one", kit.hour(2, 9)).await?;
    let two = desk.make("two", kit.hour(3, 10)).await?;
    let write = desk.update(&one, kit.hour(5, 14));
    let one = desk.send(write).await?;
    desk.holds("after an update", &[&one, &two]).await
}

pub(crate) async fn delete(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let one = desk.make("one", kit.hour(2, 9)).await?;
    let two = desk.make("two", kit.hour(3, 10)).await?;
    let delete = desk.delete(&one);
    let outcome = desk.apply(&[delete]).await?.pop();
    ensure!(
        matches!(outcome, Some(Outcome::Done { .. })),
        "a delete came to {}",
        named(outcome.as_ref())
    );
    desk.holds("after a delete", &[&two]).await
}

pub(crate) async fn delete_twice(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let one = desk.make("one", kit.hour(2, 9)).await?;
    for _ in 0..2 {
        let delete = desk.delete(&one);
        let outcome = desk.apply(&[delete]).await?.pop();
        ensure!(
            matches!(outcome, Some(Outcome::Done { .. } | Outcome::Unchanged)),
            "deleting what is gone came to {}: it is done",
            named(outcome.as_ref())
        );
    }
    desk.holds("after deleting twice", &[]).await
}

pub(crate) async fn create_twice(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    if !can.idempotent_upsert {
        return skipped("the sink does not promise that writing twice makes one record");
    }
    let mut desk = Desk::new(kit, &open, can)?;
    // As if no answer had come: the same attempt again.
    let write = desk.create("one", kit.hour(2, 9))?;
    let one = desk.send(write.clone()).await?;
    let outcome = desk.apply(&[write]).await?.pop();
    let fine = match &outcome {
        Some(Outcome::Done { remote, .. }) => remote
            .as_ref()
            .is_none_or(|remote| remote.id == one.remote.id),
        Some(Outcome::Unchanged) => true,
        Some(Outcome::Conflict {
            theirs: SideState::Present { remote, .. },
        }) => remote.id == one.remote.id,
        _ => false,
    };
    ensure!(
        fine,
        "an attempt to create that is repeated came to {}",
        named(outcome.as_ref())
    );
    desk.holds("after the same create came twice", &[&one])
        .await
}

pub(crate) async fn update_of_nothing(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let one = desk.make("one", kit.hour(2, 9)).await?;
    let delete = desk.delete(&one);
    desk.apply(&[delete]).await?;
    let update = desk.update(&one, kit.hour(4, 9));
    let outcome = desk.apply(&[update]).await?.pop();
    match outcome {
        Some(Outcome::Conflict {
            theirs: SideState::Absent,
        }) => Ok(()),
        // A sink that takes ids from us may make it anew.
        Some(Outcome::Done { remote, stored }) => {
            let again = Record {
                content: stored
                    .unwrap_or_else(|| content(&desk.can, kit.hour(4, 9), one.key.uid())),
                remote: remote.unwrap_or_else(|| one.remote.clone()),
                key: one.key.clone(),
            };
            desk.holds(
                "after an update of what was gone, which is said to be done",
                &[&again],
            )
            .await
        }
        other => failed(format!(
            "an update of what is gone came to {}: it is a Conflict with what is there, nothing",
            named(other.as_ref())
        )),
    }
}

pub(crate) async fn stale_version(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    if !can.conditional_write {
        return skipped("the sink does not honour versions");
    }
    let mut desk = Desk::new(kit, &open, can)?;
    let old = desk.make("one", kit.hour(2, 9)).await?;
    let write = desk.update(&old, kit.hour(3, 9));
    let new = desk.send(write).await?;
    for write in [desk.update(&old, kit.hour(4, 9)), desk.delete(&old)] {
        let op = write.op;
        let outcome = desk.apply(&[write]).await?.pop();
        ensure!(
            matches!(
                outcome,
                Some(Outcome::Conflict {
                    theirs: SideState::Present { .. }
                })
            ),
            "{op:?} of an older version came to {}: somebody's change would be lost",
            named(outcome.as_ref())
        );
    }
    desk.holds("after writes to an older version", &[&new])
        .await
}

pub(crate) async fn one_outcome_each(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let most = can.max_batch.min(20);
    let mut desk = Desk::new(kit, &open, can)?;
    let mut writes = Vec::new();
    for n in 0..most {
        let day = i32::try_from(n).unwrap_or_default() + 1;
        writes.push(desk.create(&format!("batch-{n}"), kit.hour(day, 9))?);
    }
    // Ids are no positions.
    let last = writes.len();
    for (n, write) in writes.iter_mut().enumerate() {
        write.id = WriteId(1_000 + 7 * (last - n) as u64);
    }
    let outcomes = desk.apply(&writes).await?;
    let mut records = Vec::new();
    for (write, outcome) in writes.into_iter().zip(outcomes) {
        let (Outcome::Done { remote, stored }, Some(target)) = (&outcome, write.target) else {
            return failed(format!(
                "a create in a batch came to {}",
                named(Some(&outcome))
            ));
        };
        let Some(remote) = remote.clone().or(write.remote) else {
            return failed("a record was made, and its address is not told");
        };
        records.push(Record {
            key: write.key,
            remote,
            content: stored.clone().unwrap_or(target),
        });
    }
    let all: Vec<&Record> = records.iter().collect();
    desk.holds("after a batch", &all).await
}

pub(crate) async fn one_bad_write(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let most = can.max_batch.min(5);
    let mut desk = Desk::new(kit, &open, can)?;
    if most < 3 {
        return skipped("the sink takes writes one by one");
    }
    let bad = kit.hour(2, 9);
    kit.world.refuse(&desk.calendar, &bad).await?;
    let mut writes = Vec::new();
    for n in 0..most {
        let day = i32::try_from(n).unwrap_or_default() + 1;
        writes.push(desk.create(&format!("batch-{n}"), kit.hour(day, 9))?);
    }
    let report = desk.try_apply(&writes).await;
    match report {
        // The engine halves the batch until the refused write stands alone.
        Err(error) => {
            ensure!(
                error.kind == calbridge_core::connector::ErrorKind::Rejected,
                "a batch with one write that is refused is an error of kind {:?}",
                error.kind
            );
            Ok(())
        }
        Ok(report) => {
            for write in &writes {
                let is_bad = write
                    .target
                    .as_ref()
                    .is_some_and(|target| target.time == bad);
                let outcome = report.outcomes.iter().find(|one| one.id == write.id);
                let outcome = outcome.map(|one| &one.outcome);
                let fits = if is_bad {
                    matches!(outcome, Some(Outcome::Rejected { .. }))
                } else {
                    matches!(outcome, Some(Outcome::Done { .. }))
                };
                ensure!(
                    fits,
                    "in a batch with one write that is refused, {} came to {}",
                    if is_bad { "that one" } else { "another one" },
                    named(outcome)
                );
            }
            Ok(())
        }
    }
}

pub(crate) async fn inventory_window(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    let near = desk.make("near", kit.hour(3, 9)).await?;
    let far = desk.make("far", kit.hour(40, 9)).await?;
    let found = desk.listed_in(kit.days(0, 10)?).await?;
    let ids: Vec<&str> = found.iter().map(|entry| entry.remote.id.as_str()).collect();
    ensure!(
        ids.contains(&near.remote.id.as_str()),
        "a record in the window is not listed"
    );
    let outside = found.iter().find(|entry| entry.remote.id == far.remote.id);
    ensure!(
        outside.is_none_or(|entry| entry.content.is_none()),
        "a record far outside the window is listed in it"
    );
    Ok(())
}

pub(crate) async fn failing_inventory(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    if can.inventory.is_none() {
        return skipped("the sink cannot list what it holds");
    }
    let mut desk = Desk::new(kit, &open, can)?;
    let mut records = Vec::new();
    for n in 1..=6 {
        let record = desk.make(&format!("record-{n}"), kit.hour(n, 9)).await?;
        records.push(record);
    }
    kit.world.fail(true).await?;
    let listed = desk.listed_in(kit.window()?).await;
    kit.world.fail(false).await?;
    // An error, or a calendar that is not said to be complete.
    if let Ok(listed) = listed {
        ensure!(
            listed.len() == records.len(),
            "a listing that failed half-way was told as a complete one: {} of {} records would be made anew",
            records.len() - listed.len().min(records.len()),
            records.len()
        );
    }
    let all: Vec<&Record> = records.iter().collect();
    desk.holds("after a listing that failed", &all).await
}

pub(crate) async fn calendars_do_not_mix(kit: &Kit) -> Done {
    let calendars = kit.world.calendars();
    let [first, second, ..] = calendars.as_slice() else {
        return skipped("the world has one calendar only");
    };
    let (open, can) = kit.open_sink().await?;
    let mut desk = Desk::new(kit, &open, can)?;
    desk.calendar = first.clone();
    let mine = desk.make("mine", kit.hour(2, 9)).await?;
    desk.calendar = second.clone();
    let theirs = desk.make("theirs", kit.hour(3, 9)).await?;
    desk.holds("the second calendar", &[&theirs]).await?;
    desk.calendar = first.clone();
    desk.holds("the first calendar", &[&mine]).await
}

pub(crate) async fn probing(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    if !can.probe {
        return skipped("the sink cannot tell what became of attempts");
    }
    let mut desk = Desk::new(kit, &open, can)?;
    let sent = desk.create("sent", kit.hour(2, 9))?;
    let never = desk.create("never", kit.hour(3, 9))?;
    let record = desk.send(sent.clone()).await?;
    let tokens = [never.token, sent.token];
    let answers = open.sink()?.probe(&desk.calendar, &tokens).await;
    let answers = answers.map_err(|error| unexpected("`probe`", &error))?;
    match answers.as_slice() {
        [
            Probe::Absent | Probe::Undecidable,
            Probe::Found { remote, .. },
        ] => {
            ensure!(
                remote.id == record.remote.id,
                "the probe finds another record"
            );
            Ok(())
        }
        [_, _] => failed("the probe does not tell an attempt that was made from one that was not"),
        more => failed(format!(
            "2 attempts were asked after, and {} answers came",
            more.len()
        )),
    }
}

pub(crate) async fn throttled(kit: &Kit) -> Done {
    let (open, can) = kit.open_sink().await?;
    kit.world.throttle(true).await?;
    let calendar = kit.calendar()?;
    let outcome = one_create(kit, &open, &can, &calendar).await;
    kit.world.throttle(false).await?;
    use calbridge_core::connector::ErrorKind::{Paced, Throttled};
    match outcome? {
        Some(error) if matches!(error.kind, Throttled | Paced) => Ok(()),
        Some(error) => Err(unexpected(
            "a system that asks to slow down, when it is written",
            &error,
        )),
        None => failed("the system asks to slow down, and the connector does not say so"),
    }
}
