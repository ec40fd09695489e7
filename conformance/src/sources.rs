//! Reading.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use calbridge_core::connector::{Cursor, ErrorKind, Hint, Scope};
use calbridge_core::model::{Coverage, EventTime, Field, FieldSet, ItemRef};
use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::kit::{CANARY, Done, Kit, Open, ensure, failed, skipped, unexpected, when};
use crate::reading::{Reading, Told};
use crate::world::{Appointment, Daily};

/// A calendar with some appointments, read once.
async fn begun(kit: &Kit, appointments: &[Appointment]) -> Done<(Open, Reading)> {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    kit.world.fill(&calendar, appointments).await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.read(kit, open.source()?).await?;
    reading.is(
        "the first reading",
        appointments.iter().map(|one| one.time.clone()),
    )?;
    Ok((open, reading))
}

fn three(kit: &Kit) -> Vec<Appointment> {
    vec![
        kit.appointment("one", 2, 9),
        kit.appointment("two", 3, 10),
        kit.appointment("three", 20, 11),
    ]
}

fn many(kit: &Kit, count: i32) -> Vec<Appointment> {
    (0..count)
        .map(|n| {
            let hour = i8::try_from(n % 20).unwrap_or_default();
            kit.appointment(&format!("many-{n}"), 1 + n / 20, hour)
        })
        .collect()
}

pub(crate) async fn full_reading(kit: &Kit) -> Done {
    begun(kit, &three(kit)).await.map(drop)
}

pub(crate) async fn empty_calendar(kit: &Kit) -> Done {
    begun(kit, &[]).await.map(drop)
}

pub(crate) async fn only_the_window(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    kit.world
        .put(&calendar, &kit.appointment("in", 3, 9))
        .await?;
    kit.world
        .put(&calendar, &kit.appointment("later", 45, 9))
        .await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.window = kit.days(0, 30)?;
    reading.read(kit, open.source()?).await?;
    reading.is("a window of 30 days", [kit.hour(3, 9)])?;
    // The window rolls: nothing changed in the system, and there is one more to tell.
    reading.window = kit.days(0, 60)?;
    reading.read(kit, open.source()?).await?;
    reading.is(
        "the same calendar, read on with a longer window",
        [kit.hour(3, 9), kit.hour(45, 9)],
    )
}

pub(crate) async fn only_what_was_asked(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    kit.world.fill(&calendar, &three(kit)).await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.fields = FieldSet::times();
    reading.read(kit, open.source()?).await?;
    for event in reading.view.values() {
        let told = event.content.fields();
        let more: Vec<Field> = told
            .iter()
            .filter(|field| !matches!(field, Field::Time | Field::ShowAs))
            .collect();
        ensure!(
            more.is_empty(),
            "times were asked for, and it told {more:?} as well"
        );
    }
    Ok(())
}

pub(crate) async fn declared_fields(kit: &Kit) -> Done {
    let (_, reading) = begun(kit, &three(kit)).await?;
    for event in reading.view.values() {
        let told = event.content.fields();
        for field in reading.fields.iter() {
            ensure!(
                told.contains(field) || field == Field::Attendees,
                "it declares {field:?}, and does not tell it when it is asked for"
            );
        }
        ensure!(
            event.content.show_as.is_some(),
            "it does not tell free or busy, which is always needed"
        );
        let subject = event.content.subject.as_deref();
        ensure!(
            subject.is_none_or(|subject| subject.starts_with(CANARY)),
            "the title is not the one in the system"
        );
    }
    Ok(())
}

pub(crate) async fn unchanged_is_quiet(kit: &Kit) -> Done {
    if !kit.source_capabilities()?.incremental {
        return skipped("the connector does not read incrementally");
    }
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    ensure!(
        reading.cursor.is_some(),
        "it reads incrementally and gives no cursor"
    );
    let before = reading.times();
    let told = reading.read(kit, open.source()?).await?;
    ensure!(
        told.events == 0,
        "nothing has changed, and it tells {} events again",
        told.events
    );
    ensure!(
        reading.times() == before,
        "an unchanged reading changed what is known"
    );
    Ok(())
}

/// Reads what changed, and once more: the cursor must have moved past it, and none of it may come again.
async fn read_on(kit: &Kit, open: &Open, reading: &mut Reading) -> Done {
    let before = reading.cursor.clone();
    reading.read(kit, open.source()?).await?;
    if !kit.source_capabilities()?.incremental {
        return Ok(());
    }
    ensure!(
        reading.cursor != before,
        "something changed and was told, and the cursor is the one from before"
    );
    let known = reading.times();
    let told = reading.read(kit, open.source()?).await?;
    ensure!(
        told.changes == 0,
        "{} changes are told again with the newest cursor",
        told.changes
    );
    ensure!(
        reading.times() == known,
        "a reading from the newest cursor changed what is known"
    );
    Ok(())
}

pub(crate) async fn a_new_one(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    kit.world
        .put(&reading.calendar, &kit.appointment("new", 5, 8))
        .await?;
    read_on(kit, &open, &mut reading).await?;
    let all = three(kit)
        .into_iter()
        .map(|one| one.time)
        .chain([kit.hour(5, 8)]);
    reading.is("after a new appointment", all)
}

pub(crate) async fn a_changed_one(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    kit.world
        .put(&reading.calendar, &kit.appointment("two", 4, 15))
        .await?;
    read_on(kit, &open, &mut reading).await?;
    reading.is(
        "after an appointment was moved",
        [kit.hour(2, 9), kit.hour(4, 15), kit.hour(20, 11)],
    )
}

pub(crate) async fn a_deleted_one(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    kit.world.remove(&reading.calendar, "two").await?;
    read_on(kit, &open, &mut reading).await?;
    reading.is(
        "after an appointment was deleted",
        [kit.hour(2, 9), kit.hour(20, 11)],
    )?;
    // The last ones go as well as one of many.
    for name in ["one", "three"] {
        kit.world.remove(&reading.calendar, name).await?;
    }
    reading.read(kit, open.source()?).await?;
    reading.is("after the last appointments were deleted", [])
}

pub(crate) async fn out_of_the_window(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    kit.world
        .put(&reading.calendar, &kit.appointment("two", 300, 10))
        .await?;
    reading.read(kit, open.source()?).await?;
    reading.is(
        "after an appointment was moved out of the window",
        [kit.hour(2, 9), kit.hour(20, 11)],
    )
}

pub(crate) async fn cursor_outlives_the_connection(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    open.close().await;
    kit.world.remove(&reading.calendar, "one").await?;
    kit.world
        .put(&reading.calendar, &kit.appointment("new", 6, 8))
        .await?;
    let (open, _) = kit.open_source().await?;
    reading.read(kit, open.source()?).await?;
    reading.is(
        "read on with the cursor of a connection that was closed",
        [kit.hour(3, 10), kit.hour(20, 11), kit.hour(6, 8)],
    )
}

pub(crate) async fn strange_cursors(kit: &Kit) -> Done {
    let (open, reading) = begun(kit, &three(kit)).await?;
    let own = reading
        .cursor
        .clone()
        .map(|cursor| cursor.0)
        .unwrap_or_default();
    let cut: String = own.chars().take(own.chars().count() / 2).collect();
    for strange in [
        "garbage".to_owned(),
        String::new(),
        "\u{0}\u{1F600}{\"a\":[".to_owned(),
        format!("{own}0"),
        cut,
        "9".repeat(100),
    ] {
        let mut again = reading.clone();
        again.view.clear();
        // The core believes that it knows the window: the worst case.
        again.covered = Coverage::none();
        again.covered.add(again.window);
        again.cursor = Some(Cursor(strange.clone()));
        match again.try_read(kit, open.source()?, usize::MAX).await {
            Err(error) if error.kind == ErrorKind::CursorExpired => {}
            Err(error) => {
                return failed(format!(
                    "the cursor {strange:?} is an error of kind {:?}, not CursorExpired",
                    error.kind
                ));
            }
            Ok(_) => ensure!(
                again.times() == reading.times(),
                "with the cursor {strange:?}, which it never gave, it tells less than there is: it must be CursorExpired"
            ),
        }
    }
    Ok(())
}

pub(crate) async fn full_reading_on_demand(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    let before = reading.times();
    reading.view.clear();
    reading.full = true;
    reading.read(kit, open.source()?).await?;
    ensure!(
        reading.times() == before,
        "asked to read everything again, it does not tell everything"
    );
    Ok(())
}

pub(crate) async fn batches(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    let all = many(kit, 25);
    kit.world.fill(&calendar, &all).await?;
    for max in [1, 7] {
        let mut reading = Reading::of(kit, &capabilities, calendar.clone())?;
        reading.max = max;
        let told = reading.read(kit, open.source()?).await?;
        ensure!(
            told.largest <= max,
            "{max} changes were asked for at most, and {} came",
            told.largest
        );
        reading.is("in small batches", all.iter().map(|one| one.time.clone()))?;
    }
    Ok(())
}

pub(crate) async fn broken_off(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    let all = many(kit, 40);
    kit.world.fill(&calendar, &all).await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.max = 5;
    for batches in [1, 2, 3, 5] {
        let read = reading.try_read(kit, open.source()?, batches).await;
        read.map_err(|error| unexpected("a reading that is broken off", &error))?;
    }
    reading.read(kit, open.source()?).await?;
    reading.is(
        "after readings that were broken off",
        all.iter().map(|one| one.time.clone()),
    )?;
    // And when it reads on.
    for n in 0..10 {
        kit.world
            .remove(&reading.calendar, &format!("many-{n}"))
            .await?;
    }
    for batches in [1, 1, 2] {
        let read = reading.try_read(kit, open.source()?, batches).await;
        read.map_err(|error| unexpected("a reading that is broken off", &error))?;
    }
    reading.read(kit, open.source()?).await?;
    reading.is(
        "after deletions, and readings that were broken off",
        all.iter().skip(10).map(|one| one.time.clone()),
    )
}

pub(crate) async fn fetching(kit: &Kit) -> Done {
    let (open, reading) = begun(kit, &three(kit)).await?;
    let mut known: Vec<(ItemRef, EventTime)> = reading
        .view
        .values()
        .map(|event| (event.item.clone(), event.content.time.clone()))
        .collect();
    known.reverse();
    kit.world.remove(&reading.calendar, "one").await?;
    let items: Vec<ItemRef> = known.iter().map(|(item, _)| item.clone()).collect();
    let found = open.source()?.fetch(&reading.calendar, &items).await;
    let found = found.map_err(|error| unexpected("`fetch`", &error))?;
    ensure!(
        found.len() == items.len(),
        "{} items were asked for, and {} answers came",
        items.len(),
        found.len()
    );
    for ((_, time), found) in known.iter().zip(found) {
        let gone = when(time) == when(&kit.hour(2, 9));
        match found {
            Ok(event) => {
                ensure!(!gone, "what was deleted is still answered");
                ensure!(
                    when(&event.content.time) == when(time),
                    "the answers do not come in the order of the items"
                );
            }
            Err(error) => ensure!(
                gone && error.kind == ErrorKind::NotFound,
                "an item that is {} is an error of kind {:?}",
                if gone { "gone" } else { "there" },
                error.kind
            ),
        }
    }
    Ok(())
}

pub(crate) async fn stable_keys(kit: &Kit) -> Done {
    let (open, reading) = begun(kit, &three(kit)).await?;
    let keys: BTreeSet<_> = reading
        .view
        .values()
        .map(|event| event.key.clone())
        .collect();
    ensure!(
        keys.len() == reading.view.len(),
        "two appointments have the same key"
    );
    open.close().await;
    let (open, capabilities) = kit.open_source().await?;
    let mut again = Reading::of(kit, &capabilities, reading.calendar.clone())?;
    again.read(kit, open.source()?).await?;
    ensure!(
        again.view.keys().eq(reading.view.keys()),
        "the same appointments have other items or keys when they are read again: each would be deleted and made anew"
    );
    kit.world
        .put(&reading.calendar, &kit.appointment("two", 4, 15))
        .await?;
    again.read(kit, open.source()?).await?;
    let after: BTreeSet<_> = again.view.values().map(|event| event.key.clone()).collect();
    ensure!(
        after == keys,
        "an appointment that was moved has another key"
    );
    Ok(())
}

pub(crate) async fn series(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    let mut appointment = kit.appointment("series", 2, 9);
    appointment.daily = Some(Daily {
        count: 5,
        moved: Some((1, kit.hour(3, 16))),
        cancelled: Some(3),
    });
    kit.world.put(&calendar, &appointment).await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.read(kit, open.source()?).await?;
    let expected = [
        kit.hour(2, 9),
        kit.hour(3, 16),
        kit.hour(4, 9),
        kit.hour(6, 9),
    ];
    reading.is(
        "a daily series of five with one moved and one left out",
        expected,
    )?;
    let originals: BTreeSet<_> = reading
        .view
        .values()
        .filter_map(|event| event.key.original())
        .collect();
    ensure!(
        originals.len() == 4,
        "each occurrence needs its original start in the key; {} different ones came",
        originals.len()
    );
    // The series ends.
    kit.world.remove(&reading.calendar, "series").await?;
    reading.read(kit, open.source()?).await?;
    reading.is("after the series was deleted", [])
}

pub(crate) async fn whole_days(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    let date = |days: i32| -> Date { kit.at(days, 12).to_zoned(kit.zone()).date() };
    let time = EventTime::AllDay {
        start: date(3),
        end: date(5),
    };
    let mut appointment = kit.appointment("days", 3, 0);
    appointment.time = time.clone();
    kit.world.put(&calendar, &appointment).await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.read(kit, open.source()?).await?;
    reading.is("two whole days", [time])
}

pub(crate) async fn clock_changes(kit: &Kit) -> Done {
    let zone = kit.zone();
    let mut changes = zone.following(kit.world.now());
    let Some(change) = changes.next().map(|change| change.timestamp()) else {
        return skipped("the clocks of the world's zone never change");
    };
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    let mut expected = Vec::new();
    for (n, hours) in [-3, -1, 0, 1, 3].into_iter().enumerate() {
        let start = change + hours.hours();
        let time = EventTime::Timed {
            start,
            end: start + 30.minutes(),
            zone: None,
        };
        let mut appointment = kit.appointment(&format!("change-{n}"), 0, 0);
        appointment.time = time.clone();
        kit.world.put(&calendar, &appointment).await?;
        expected.push(time);
    }
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    let around = |span: jiff::Span| change + span;
    reading.window = calbridge_core::model::Window::new(around(-(48.hours())), around(48.hours()))
        .map_err(|error| crate::kit::Stop::Failed(error.to_string()))?;
    reading.read(kit, open.source()?).await?;
    reading.is("around the next change of the clocks", expected)
}

pub(crate) async fn any_text(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    if !capabilities.fields.contains(Field::Subject) {
        return skipped("the connector tells no titles");
    }
    let calendar = kit.calendar()?;
    let subject = format!("{CANARY} <b>&amp; \"Ærøskøbing\", Ünïcode; 日本 🗓 \\n;");
    let mut appointment = kit.appointment("text", 2, 9);
    appointment.subject.clone_from(&subject);
    kit.world.put(&calendar, &appointment).await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.read(kit, open.source()?).await?;
    let told: Vec<_> = reading
        .view
        .values()
        .filter_map(|event| event.content.subject.clone())
        .collect();
    ensure!(
        told == [subject],
        "a title with unusual letters does not come as it is"
    );
    Ok(())
}

pub(crate) async fn private_ones(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    if !capabilities.fields.contains(Field::Private) {
        return skipped("the connector does not tell what is private");
    }
    let calendar = kit.calendar()?;
    let mut secret = kit.appointment("secret", 2, 9);
    secret.private = true;
    kit.world.put(&calendar, &secret).await?;
    kit.world
        .put(&calendar, &kit.appointment("open", 3, 9))
        .await?;
    let mut reading = Reading::of(kit, &capabilities, calendar)?;
    reading.read(kit, open.source()?).await?;
    reading.is(
        "a private appointment and one that is not",
        [kit.hour(2, 9), kit.hour(3, 9)],
    )?;
    for event in reading.view.values() {
        let is = when(&event.content.time) == when(&kit.hour(2, 9));
        ensure!(
            event.content.private == Some(is),
            "an appointment that is {}private is told otherwise",
            if is { "" } else { "not " }
        );
    }
    Ok(())
}

pub(crate) async fn do_not_mix(kit: &Kit) -> Done {
    let calendars = kit.world.calendars();
    let [first, second, ..] = calendars.as_slice() else {
        return skipped("the world has one calendar only");
    };
    let (open, capabilities) = kit.open_source().await?;
    kit.world.put(first, &kit.appointment("mine", 2, 9)).await?;
    kit.world
        .put(second, &kit.appointment("theirs", 3, 9))
        .await?;
    let mut mine = Reading::of(kit, &capabilities, first.clone())?;
    let mut theirs = Reading::of(kit, &capabilities, second.clone())?;
    let source = open.source()?;
    let (a, b) = futures_util::join!(mine.read(kit, source), theirs.read(kit, source));
    a?;
    b?;
    mine.is("the first calendar", [kit.hour(2, 9)])?;
    theirs.is("the second calendar", [kit.hour(3, 9)])
}

pub(crate) async fn missing_calendar(kit: &Kit) -> Done {
    let (open, capabilities) = kit.open_source().await?;
    let Some(missing) = kit.world.missing() else {
        return skipped("the world has no calendar that is missing");
    };
    let mut reading = Reading::of(kit, &capabilities, missing)?;
    match reading.try_read(kit, open.source()?, usize::MAX).await {
        Ok(_) => failed(
            "a calendar that is not there is read as an empty one: everything in it would be deleted",
        ),
        Err(error) => {
            ensure!(
                error.scope == Scope::Calendar,
                "a calendar that is not there is an error of scope {:?}: the others would wait for it",
                error.scope
            );
            ensure!(
                matches!(error.kind, ErrorKind::NotFound | ErrorKind::Permission),
                "a calendar that is not there is an error of kind {:?}",
                error.kind
            );
            Ok(())
        }
    }
}

pub(crate) async fn failing_listing(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &many(kit, 25)).await?;
    let before = reading.times();
    kit.world.fail(true).await?;
    reading.full = true;
    reading.max = 3;
    let read = reading.try_read(kit, open.source()?, usize::MAX).await;
    kit.world.fail(false).await?;
    ensure!(
        read.is_err() || reading.times() == before,
        "a listing that failed half-way was told as a complete one: {} of {} appointments would be deleted",
        before.len() - reading.times().len().min(before.len()),
        before.len()
    );
    reading.read(kit, open.source()?).await?;
    ensure!(
        reading.times() == before,
        "after a failure it does not tell all"
    );
    Ok(())
}

pub(crate) async fn watching(kit: &Kit) -> Done {
    if !kit.source_capabilities()?.watch {
        return skipped("the connector gives no hints");
    }
    let (open, reading) = begun(kit, &three(kit)).await?;
    let calendar = reading.calendar;
    let mut feed = open
        .source()?
        .watch(std::slice::from_ref(&calendar))
        .await
        .map_err(|error| unexpected("`watch`", &error))?;
    let until = Instant::now() + kit.world.patience() / 2;
    let mut changed = false;
    while Instant::now() < until {
        // What comes at the beginning is about the beginning.
        let wait = if changed {
            kit.world.patience() / 2
        } else {
            Duration::from_secs(3)
        };
        match tokio::time::timeout(wait, feed.next()).await {
            Ok(Err(error)) => return Err(unexpected("a hint feed", &error)),
            Ok(Ok(hints)) => {
                let about = |hint: &Hint| matches!(hint, Hint::Dirty(one) | Hint::Gap(one) if *one == calendar);
                if let Some(Hint::Unwatchable(_, error)) = hints
                    .iter()
                    .find(|hint| matches!(hint, Hint::Unwatchable(..)))
                {
                    return Err(unexpected("the calendar cannot be watched", error));
                }
                if changed && hints.iter().any(about) {
                    return Ok(());
                }
            }
            Err(_) if changed => break,
            Err(_) => {
                kit.world
                    .put(&calendar, &kit.appointment("new", 5, 8))
                    .await?;
                changed = true;
            }
        }
    }
    failed("the calendar changed, and no hint came")
}

pub(crate) async fn throttled(kit: &Kit) -> Done {
    let (open, mut reading) = begun(kit, &three(kit)).await?;
    let before = reading.times();
    kit.world.throttle(true).await?;
    reading.full = true;
    let read = reading.try_read(kit, open.source()?, usize::MAX).await;
    kit.world.throttle(false).await?;
    match read {
        Ok(_) => ensure!(
            reading.times() == before,
            "while it was throttled it told less than there is"
        ),
        Err(error) => ensure!(
            error.kind == ErrorKind::Throttled,
            "a system that asks to slow down is an error of kind {:?}, not Throttled",
            error.kind
        ),
    }
    Ok(())
}

/// Fills a calendar and reads it `times` times, with what each reading told.
async fn repeated(kit: &Kit, count: i32, times: usize) -> Done<Option<Vec<u64>>> {
    let (open, capabilities) = kit.open_source().await?;
    let calendar = kit.calendar()?;
    let all = many(kit, count);
    kit.world.fill(&calendar, &all).await?;
    let mut used = Vec::new();
    for _ in 0..times {
        let mut reading = Reading::of(kit, &capabilities, calendar.clone())?;
        reading.max = 512;
        reading.window = kit.days(0, 2 + count / 20)?;
        let told: Told = reading.read(kit, open.source()?).await?;
        ensure!(
            told.events >= all.len() && reading.view.len() == all.len(),
            "of {} appointments {} were told",
            all.len(),
            reading.view.len()
        );
        drop(reading);
        match crate::kit::held() {
            Some(now) => used.push(now.memory),
            None => return Ok(None),
        }
    }
    Ok(Some(used))
}

const MIB: u64 = 1024 * 1024;

pub(crate) async fn a_large_calendar(kit: &Kit) -> Done {
    let count = i32::try_from(kit.world.most().min(10_000)).unwrap_or(10_000);
    let Some(before) = crate::kit::held() else {
        return skipped("this system does not tell how much memory is used");
    };
    let Some(used) = repeated(kit, count, 1).await? else {
        return skipped("this system does not tell how much memory is used");
    };
    let grown = used
        .iter()
        .max()
        .copied()
        .unwrap_or_default()
        .saturating_sub(before.memory)
        / MIB;
    ensure!(
        grown < 256,
        "reading {count} appointments took {grown} MiB more; the ceiling is 256"
    );
    Ok(())
}

pub(crate) async fn leaks(kit: &Kit) -> Done {
    let count = i32::try_from(kit.world.most().min(400)).unwrap_or(400);
    let Some(used) = repeated(kit, count, 30).await? else {
        return skipped("this system does not tell how much memory is used");
    };
    // Ten to warm up; then twenty readings, of which none should keep anything.
    let (warm, end) = (used.get(9).copied(), used.last().copied());
    let grown = end
        .unwrap_or_default()
        .saturating_sub(warm.unwrap_or_default());
    ensure!(
        grown < 8 * MIB,
        "twenty readings of {count} appointments left {} MiB behind",
        grown / MIB
    );
    Ok(())
}
