//! What must not get out: hangs, panics, secrets, people's data.

use std::time::Duration;

use calbridge_core::connector::CheckScope;
use tracing::Level;

use crate::kit::{CANARY, Done, Kit, Open, ensure, skipped};
use crate::reading::Reading;
use crate::sinks;

/// How long a connection may take to close.
const CLOSE: Duration = Duration::from_secs(10);

/// Uses the connector in all ways at once, and tells what was said in errors.
async fn use_all(kit: &Kit, open: &Open) -> Done<Vec<String>> {
    let mut errors = Vec::new();
    let capabilities = kit.capabilities()?;
    let calendar = kit.calendar()?;
    let scope = CheckScope {
        now: kit.world.now(),
        calendars: kit.world.calendars(),
    };
    match open.0.check(scope).await {
        Ok(report) => errors.extend(report.findings.into_iter().map(|finding| finding.message)),
        Err(error) => errors.push(error.to_string()),
    }
    if let Some(source) = &capabilities.source {
        for calendar in [Some(calendar.clone()), kit.world.missing()]
            .into_iter()
            .flatten()
        {
            let mut reading = Reading::of(kit, source, calendar)?;
            if let Err(error) = reading.try_read(kit, open.source()?, usize::MAX).await {
                errors.push(format!("{error} {error:?}"));
            }
        }
    }
    // Nothing is written to a calendar that is not the kit's: a sink may well make it.
    if let Some(sink) = &capabilities.sink
        && let Some(error) = sinks::one_create(kit, open, sink, &calendar).await?
    {
        errors.push(format!("{error} {error:?}"));
    }
    Ok(errors)
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
            Err(crate::world::Cannot::NotOffered(_)) => {
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
        Err(crate::world::Cannot::NotOffered(_)) => return Ok(()),
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
