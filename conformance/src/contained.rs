//! What must not get out: hangs, panics, secrets, people's data.

use std::time::{Duration, Instant};

use calbridge_core::connector::{
    AttemptToken, CheckScope, Error, Hint, InventoryRequest, SourceCapabilities,
};
use calbridge_core::model::{CalendarRef, ItemRef};
use tracing::Level;

use crate::kit::{CANARY, Done, Held, Kit, Open, ensure, failed, held, skipped, unexpected};
use crate::reading::Reading;
use crate::sinks;
use crate::world::Cannot;

/// How long a connection may take to close.
const CLOSE: Duration = Duration::from_secs(10);

/// How long hints are waited for: those about what cannot be watched come first.
const HINTS: Duration = Duration::from_secs(1);

/// What was said in errors.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn error(&mut self, error: &Error) {
        self.0.push(format!("{error} {error:?}"));
    }

    fn result<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.error(&error)).ok()
    }
}

/// Uses the connector in all ways at once, and tells what was said in errors.
async fn use_all(kit: &Kit, open: &Open) -> Done<Vec<String>> {
    let mut said = Said::default();
    let capabilities = kit.capabilities()?;
    let calendar = kit.calendar()?;
    let scope = CheckScope {
        now: kit.world.now(),
        calendars: kit.world.calendars(),
    };
    if let Some(report) = said.result(open.0.check(scope).await) {
        let findings = report.findings.into_iter();
        said.0.extend(findings.map(|finding| finding.message));
    }
    said.result(open.0.roster().await);
    let calendars: Vec<CalendarRef> = [Some(calendar.clone()), kit.world.missing()]
        .into_iter()
        .flatten()
        .collect();
    if let Some(source) = &capabilities.source {
        for calendar in &calendars {
            read_in_all_ways(kit, open, source, calendar, &mut said).await?;
        }
    }
    if let Some(sink) = &capabilities.sink {
        // Nothing is written to a calendar that is not the kit's: a sink may well make it.
        if let Some(error) = sinks::one_create(kit, open, sink, &calendar).await? {
            said.error(&error);
        }
        for calendar in &calendars {
            list_in_all_ways(kit, open, calendar, &mut said).await?;
        }
    }
    Ok(said.0)
}

async fn read_in_all_ways(
    kit: &Kit,
    open: &Open,
    capabilities: &SourceCapabilities,
    calendar: &CalendarRef,
    said: &mut Said,
) -> Done {
    let source = open.source()?;
    let mut reading = Reading::of(kit, capabilities, calendar.clone())?;
    said.result(reading.try_read(kit, source, usize::MAX).await);
    // What is there, and what nobody has.
    let known = reading.view.values().map(|event| event.item.clone());
    let unknown = ItemRef::new("kit-unknown", None).ok();
    let items: Vec<ItemRef> = known.chain(unknown).collect();
    for found in said
        .result(source.fetch(calendar, &items).await)
        .into_iter()
        .flatten()
    {
        said.result(found);
    }
    let watched = source.watch(std::slice::from_ref(calendar)).await;
    if let Some(mut feed) = said.result(watched)
        && let Ok(hints) = tokio::time::timeout(HINTS, feed.next()).await
    {
        for hint in said.result(hints).into_iter().flatten() {
            if let Hint::Unwatchable(_, error) = hint {
                said.error(&error);
            }
        }
    }
    Ok(())
}

async fn list_in_all_ways(kit: &Kit, open: &Open, calendar: &CalendarRef, said: &mut Said) -> Done {
    let sink = open.sink()?;
    let request = InventoryRequest {
        calendars: vec![calendar.clone()],
        window: kit.window()?,
        now: kit.world.now(),
    };
    if let Some(mut feed) = said.result(sink.inventory(request).await) {
        while let Some(Some(page)) = said.result(feed.next().await) {
            for (_, error) in &page.failed {
                said.error(error);
            }
        }
    }
    let token = AttemptToken("kit-unknown".to_owned());
    said.result(sink.probe(calendar, &[token]).await);
    Ok(())
}

/// Uses a connector that works, one with wrong secrets, and one that reaches nothing.
async fn use_in_all_ways(kit: &Kit) -> Done<Vec<String>> {
    if let Ok(appointment) = kit.calendar() {
        // Where the world can: something personal to read.
        let _ = kit
            .world
            .put(&appointment, &kit.appointment("personal", 2, 9))
            .await;
    }
    let (settings, secrets) = (kit.world.settings(), kit.world.secrets());
    let mut ways = vec![(settings.clone(), secrets.clone())];
    ways.extend(kit.world.wrong_secrets().map(|wrong| (settings, wrong)));
    let refused = kit.world.refused().into_iter();
    ways.extend(refused.map(|refused| (refused.settings, refused.secrets)));
    ways.extend(kit.world.out_of_reach().map(|settings| (settings, secrets)));
    let mut said = Vec::new();
    for (settings, secrets) in ways {
        match kit.open_with(settings, secrets).await {
            Ok(open) => said.extend(use_all(kit, &Open(open)).await?),
            Err(error) => said.push(format!("{error} {error:?}")),
        }
    }
    Ok(said)
}

pub(crate) async fn secrets(kit: &Kit) -> Done {
    let mut secrets: Vec<String> = kit.world.secrets().into_values().collect();
    secrets.extend(
        kit.world
            .wrong_secrets()
            .into_iter()
            .flat_map(|wrong| wrong.into_values()),
    );
    let refused = kit.world.refused().into_iter();
    secrets.extend(refused.flat_map(|refused| refused.secrets.into_values()));
    secrets.retain(|secret| secret.len() >= 6);
    if secrets.is_empty() {
        return skipped("the world has no secrets");
    }
    if !kit.listening {
        return skipped("somebody else has taken the log of this process");
    }
    let said = use_in_all_ways(kit).await?;
    for secret in &secrets {
        ensure!(
            !said.iter().any(|text| text.contains(secret)),
            "a secret stands in an error"
        );
        // Records of a child process may be on their way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        ensure!(
            !crate::log::heard(Level::TRACE)
                .iter()
                .any(|text| text.contains(secret)),
            "a secret stands in the log"
        );
    }
    Ok(())
}

pub(crate) async fn personal_data(kit: &Kit) -> Done {
    if !kit.listening {
        return skipped("somebody else has taken the log of this process");
    }
    let said = use_in_all_ways(kit).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut words = vec![CANARY.to_owned()];
    let calendars = kit.world.calendars().into_iter().chain(kit.world.missing());
    words.extend(calendars.map(|calendar| calendar.address.folded()));
    for word in &words {
        let holds = |text: &String| text.to_lowercase().contains(&word.to_lowercase());
        let what = if word == CANARY {
            "a title"
        } else {
            "an address"
        };
        ensure!(
            !said.iter().any(holds),
            "{what} stands in an error or a finding"
        );
        ensure!(
            !crate::log::heard(Level::INFO).iter().any(holds),
            "{what} stands in the log, at `info` or above"
        );
    }
    Ok(())
}

pub(crate) async fn given_up(kit: &Kit) -> Done {
    let calendar = kit.calendar()?;
    let capabilities = kit.capabilities()?;
    let open = kit.open().await?;
    if let Some(source) = &capabilities.source {
        let all: Vec<_> = (0..30)
            .map(|n| kit.appointment(&format!("many-{n}"), 1 + n, 9))
            .collect();
        match kit.world.fill(&calendar, &all).await {
            Ok(()) => {}
            Err(Cannot::NotOffered(_)) => {
                return skipped("the world cannot make appointments");
            }
            Err(error) => return Err(error.into()),
        }
        let mut reading = Reading::of(kit, source, calendar)?;
        reading.max = 5;
        for n in 0..50u64 {
            // Somewhere in the middle: from at once to some milliseconds.
            let wait = Duration::from_micros((n * n * 7) % 9_000);
            let _ =
                tokio::time::timeout(wait, reading.try_read(kit, open.source()?, usize::MAX)).await;
        }
        reading.view.clear();
        reading.cursor = None;
        reading.covered = calbridge_core::model::Coverage::none();
        reading.read(kit, open.source()?).await?;
        reading.is(
            "after fifty readings that were given up",
            all.iter().map(|one| one.time.clone()),
        )?;
    } else {
        for n in 0..50u64 {
            let wait = Duration::from_micros((n * n * 7) % 9_000);
            let scope = CheckScope {
                now: kit.world.now(),
                calendars: kit.world.calendars(),
            };
            let _ = tokio::time::timeout(wait, open.0.check(scope)).await;
        }
    }
    let took = open.close().await;
    ensure!(took < CLOSE, "it took {} s to close", took.as_secs());
    Ok(())
}

pub(crate) async fn closes(kit: &Kit) -> Done {
    let capabilities = kit.capabilities()?;
    let open = kit.open().await?;
    let calendar = kit.calendar()?;
    // With a feed that nobody reads on.
    if let Some(source) = &capabilities.source {
        let mut reading = Reading::of(kit, source, calendar)?;
        reading.max = 1;
        let _ = reading.try_read(kit, open.source()?, 1).await;
    }
    let took = open.close().await;
    ensure!(took < CLOSE, "it took {} s to close", took.as_secs());
    Ok(())
}

pub(crate) async fn at_once(kit: &Kit) -> Done {
    let capabilities = kit.capabilities()?;
    let open = kit.open().await?;
    let scope = || CheckScope {
        now: kit.world.now(),
        calendars: kit.world.calendars(),
    };
    let checks = (0..8).map(|_| open.0.check(scope()));
    let reports = futures_util::future::join_all(checks).await;
    ensure!(
        reports
            .iter()
            .all(|report| report.as_ref().is_ok_and(|report| report.passed())),
        "of eight checks at the same time some fail"
    );
    let Some(source) = capabilities.source else {
        return Ok(());
    };
    let calendar = kit.calendar()?;
    match kit
        .world
        .put(&calendar, &kit.appointment("one", 2, 9))
        .await
    {
        Ok(()) => {}
        Err(Cannot::NotOffered(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let mut readings = Vec::new();
    for _ in 0..8 {
        readings.push(Reading::of(kit, &source, calendar.clone())?);
    }
    let readable = open.source()?;
    let all = readings
        .iter_mut()
        .map(|reading| reading.read(kit, readable));
    for read in futures_util::future::join_all(all).await {
        read?;
    }
    for reading in &readings {
        reading.is("one of eight readings at the same time", [kit.hour(2, 9)])?;
    }
    Ok(())
}

/// How many calls are made of each kind: the first part to warm up, and then two in which nothing may stay behind.
const CALLS: usize = 1_200;

/// What may stay behind of one of these parts all the same: noise of allocators and pools.
const NOISE: Held = Held {
    memory: 2 * 1024 * 1024,
    handles: 8,
};

/// Fails if something grew in both of the later parts.
fn flat(what: &str, marks: &[Held; 3]) -> Done {
    let grew = |of: fn(&Held) -> u64, noise: u64| {
        let [first, second, third] = marks.each_ref().map(of);
        let least = second
            .saturating_sub(first)
            .min(third.saturating_sub(second));
        (least >= noise).then(|| third - first)
    };
    if let Some(bytes) = grew(|held| held.memory, NOISE.memory) {
        let (calls, kib) = (CALLS * 2 / 3, bytes / 1024);
        return failed(format!("{calls} calls of `{what}` left {kib} KiB behind"));
    }
    if let Some(handles) = grew(|held| held.handles, NOISE.handles) {
        let calls = CALLS * 2 / 3;
        return failed(format!(
            "{calls} calls of `{what}` left {handles} files or sockets open"
        ));
    }
    Ok(())
}

/// The same call again and again, and what was held after each third.
struct Course {
    calls: usize,
    until: Instant,
    marks: Vec<Held>,
}

impl Course {
    fn begin(kit: &Kit) -> Self {
        Self {
            calls: 0,
            until: Instant::now() + kit.world.patience() / 3,
            marks: Vec::new(),
        }
    }

    /// Whether to call once more: until all are done, or there is no more time.
    fn goes_on(&mut self) -> bool {
        if self.calls > 0 && self.calls.is_multiple_of(CALLS / 3) {
            self.marks.extend(held());
        }
        self.calls += 1;
        self.calls <= CALLS && Instant::now() < self.until
    }

    /// Fails if something was left behind; false: it was too slow to tell.
    fn leaves_nothing(self, what: &str) -> Done<bool> {
        match self.marks.try_into() {
            Ok(marks) => flat(what, &marks).map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

pub(crate) async fn leaks(kit: &Kit) -> Done {
    if held().is_none() {
        return skipped("this system does not tell how much memory is used");
    }
    let capabilities = kit.capabilities()?;
    let calendar = kit.calendar()?;
    let open = kit.open().await?;
    let mut told = Vec::new();
    if let Some(of) = &capabilities.source {
        let one = kit.appointment("one", 2, 9);
        match kit.world.put(&calendar, &one).await {
            Ok(()) | Err(Cannot::NotOffered(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let source = open.source()?;
        let mut reading = Reading::of(kit, of, calendar.clone())?;
        reading.read(kit, source).await?;
        let items: Vec<ItemRef> = reading.view.into_values().map(|one| one.item).collect();
        let mut course = Course::begin(kit);
        while course.goes_on() {
            let found = source.fetch(&calendar, &items).await;
            found.map_err(|error| unexpected("`fetch`", &error))?;
        }
        told.push(course.leaves_nothing("fetch")?);
    }
    if let Some(of) = &capabilities.sink {
        let mut record = sinks::Again::begin(kit, &open, of).await?;
        let mut course = Course::begin(kit);
        while course.goes_on() {
            record.write(course.calls).await?;
        }
        told.push(course.leaves_nothing("apply")?);
    }
    if told.contains(&true) {
        Ok(())
    } else {
        skipped("the world is too slow for so many calls")
    }
}
