//! Manifest, settings, `open`, `check`, roster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use calbridge_core::connector::{CheckScope, ErrorKind, Scope, Severity};
use serde_json::Value;

use crate::kit::{Done, Kit, ensure, failed, skipped, unexpected};
use crate::reading::Reading;

pub(crate) async fn manifest(kit: &Kit) -> Done {
    let manifest = kit.entry.manifest();
    for (name, text) in [
        ("id", &manifest.id),
        ("version", &manifest.version),
        ("title", &manifest.title),
    ] {
        ensure!(!text.trim().is_empty(), "the manifest's `{name}` is empty");
    }
    let capabilities = &manifest.capabilities;
    ensure!(
        capabilities.source.is_some() || capabilities.sink.is_some(),
        "the connector is neither source nor sink"
    );
    if let Some(sink) = &capabilities.sink {
        ensure!(
            sink.idempotent_upsert || sink.probe,
            "a sink must be safe to write twice (`idempotent_upsert`), or tell what became of a write (`probe`)"
        );
        ensure!(sink.max_batch > 0 && sink.max_in_flight > 0, "a limit is 0");
    }
    ensure!(
        kit.capabilities()?.source.is_some() == capabilities.source.is_some(),
        "with the world's settings it is another kind of connector"
    );
    Ok(())
}

pub(crate) async fn schema(kit: &Kit) -> Done {
    let schema = kit.entry.manifest().settings;
    if let Err(error) = jsonschema::validator_for(&schema) {
        return failed(format!("the settings' schema is no JSON Schema: {error}"));
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return failed("the settings' schema has no `properties`");
    };
    for (name, property) in properties {
        ensure!(
            property.get("description").is_some(),
            "the setting `{name}` has no description: it is the operator's documentation"
        );
    }
    Ok(())
}

pub(crate) async fn settings_work(kit: &Kit) -> Done {
    let schema = kit.entry.manifest().settings;
    let Ok(validator) = jsonschema::validator_for(&schema) else {
        return skipped("the schema is no JSON Schema");
    };
    let settings = kit.world.settings();
    if let Some(error) = validator.iter_errors(&settings).next() {
        return failed(format!(
            "the world's settings do not fit the schema: {error}"
        ));
    }
    kit.open().await.map(drop)
}

pub(crate) async fn missing_setting(kit: &Kit) -> Done {
    let schema = kit.entry.manifest().settings;
    let required = schema.get("required").and_then(Value::as_array);
    let required: Vec<&str> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if required.is_empty() {
        return skipped("no setting is required");
    }
    for name in required {
        let mut settings = kit.world.settings();
        if let Some(members) = settings.as_object_mut() {
            members.remove(name);
        }
        match kit.open_with(settings, kit.world.secrets()).await {
            Ok(_) => return failed(format!("it opens without the required setting `{name}`")),
            Err(error) => {
                ensure!(
                    error.kind == ErrorKind::Config,
                    "without `{name}` the error is {:?}, not Config",
                    error.kind
                );
                ensure!(
                    error.message.contains(name),
                    "the error does not name `{name}`: {}",
                    error.message
                );
            }
        }
    }
    Ok(())
}

pub(crate) async fn unknown_setting(kit: &Kit) -> Done {
    const MISSPELT: &str = "no_such_setting";
    let mut settings = kit.world.settings();
    if let Some(members) = settings.as_object_mut() {
        members.insert(MISSPELT.to_owned(), Value::Bool(true));
    }
    match kit.open_with(settings, kit.world.secrets()).await {
        Ok(_) => failed("a misspelt setting passes without a word"),
        Err(error) if error.kind == ErrorKind::Config => Ok(()),
        Err(error) => Err(unexpected("a misspelt setting", &error)),
    }
}

pub(crate) async fn opens_offline(kit: &Kit) -> Done {
    let Some(settings) = kit.world.out_of_reach() else {
        return skipped("the world has no settings by which nothing is reached");
    };
    let begun = Instant::now();
    let opened = kit.open_with(settings, kit.world.secrets()).await;
    opened.map_err(|error| unexpected("`open` must not need the system", &error))?;
    ensure!(
        begun.elapsed() < Duration::from_secs(5),
        "`open` took {} s: it must do no network",
        begun.elapsed().as_secs()
    );
    Ok(())
}

pub(crate) async fn check_passes(kit: &Kit) -> Done {
    let open = kit.open().await?;
    let scope = CheckScope {
        now: kit.world.now(),
        calendars: vec![kit.calendar()?],
    };
    let report = open.0.check(scope).await;
    let report = report.map_err(|error| unexpected("`check`", &error))?;
    ensure!(!report.findings.is_empty(), "`check` found nothing at all");
    for finding in &report.findings {
        ensure!(
            finding.severity != Severity::Failed,
            "`check` says of a system that works: {}: {}",
            finding.name,
            finding.message
        );
    }
    Ok(())
}

/// Whatever way it is used first, the error has this kind.
async fn first_error(
    kit: &Kit,
    settings: Value,
    secrets: BTreeMap<String, String>,
) -> Done<Option<(ErrorKind, Scope)>> {
    let open = match kit.open_with(settings, secrets).await {
        Ok(open) => crate::kit::Open(open),
        Err(error) => return Err(unexpected("`open`", &error)),
    };
    let calendar = kit.calendar()?;
    if let Ok(capabilities) = kit.source_capabilities() {
        let mut reading = Reading::of(kit, &capabilities, calendar)?;
        let read = reading.try_read(kit, open.source()?, usize::MAX).await;
        return Ok(read.err().map(|error| (error.kind, error.scope)));
    }
    let capabilities = kit.sink_capabilities()?;
    let outcome = crate::sinks::one_create(kit, &open, &capabilities, &calendar).await?;
    Ok(outcome.map(|error| (error.kind, error.scope)))
}

pub(crate) async fn wrong_secret(kit: &Kit) -> Done {
    let Some(wrong) = kit.world.wrong_secrets() else {
        return skipped("the world has no secrets that are refused");
    };
    match first_error(kit, kit.world.settings(), wrong).await? {
        Some((ErrorKind::Auth, Scope::Connection)) => Ok(()),
        Some((kind, scope)) => failed(format!(
            "a refused secret is an error of kind {kind:?} and scope {scope:?}, not Auth and Connection: it would be tried again and again, until the account is locked"
        )),
        None => failed("it works with a wrong secret"),
    }
}

pub(crate) async fn refused_sign_in(kit: &Kit) -> Done {
    let all = kit.world.refused();
    if all.is_empty() {
        return skipped("the world has no sign-in that is refused");
    }
    for refused in all {
        let what = refused.what;
        match first_error(kit, refused.settings, refused.secrets).await? {
            Some((ErrorKind::Auth | ErrorKind::Permission, Scope::Connection)) => {}
            Some((kind, scope)) => {
                return failed(format!(
                    "{what} is refused, and the error is of kind {kind:?} and scope {scope:?}, not Auth or Permission and Connection: it would be tried again and again, and nobody be told"
                ));
            }
            None => return failed(format!("it works with {what}")),
        }
    }
    Ok(())
}

pub(crate) async fn unreachable(kit: &Kit) -> Done {
    let Some(settings) = kit.world.out_of_reach() else {
        return skipped("the world has no settings by which nothing is reached");
    };
    match first_error(kit, settings, kit.world.secrets()).await? {
        Some((ErrorKind::Transient | ErrorKind::NotFound, _)) => Ok(()),
        Some((kind, _)) => failed(format!(
            "out of reach is an error of kind {kind:?}, not Transient or NotFound"
        )),
        None => failed("nothing can be reached, and it says that all is well"),
    }
}

pub(crate) async fn check_tells_trouble(kit: &Kit) -> Done {
    let Some(settings) = kit.world.out_of_reach() else {
        return skipped("the world has no settings by which nothing is reached");
    };
    let open = kit.open_with(settings, kit.world.secrets()).await;
    let open = open.map_err(|error| unexpected("`open`", &error))?;
    let scope = CheckScope {
        now: kit.world.now(),
        calendars: vec![kit.calendar()?],
    };
    match open.check(scope).await {
        Ok(report) if report.passed() => {
            failed("`check` finds nothing wrong, and nothing can be reached")
        }
        _ => Ok(()),
    }
}

pub(crate) async fn roster(kit: &Kit) -> Done {
    if !kit.capabilities()?.roster {
        return skipped("the connector has no roster");
    }
    let open = kit.open().await?;
    let mut rosters = Vec::new();
    for _ in 0..2 {
        let roster = open.0.roster().await;
        let roster = roster.map_err(|error| unexpected("`roster`", &error))?;
        let mut all: Vec<(String, String)> = roster
            .entries
            .iter()
            .map(|entry| {
                let calendar = &entry.calendar;
                (
                    calendar.owner.as_str().to_owned(),
                    calendar.address.folded(),
                )
            })
            .collect();
        all.sort();
        rosters.push(all);
    }
    ensure!(
        rosters.first() == rosters.last(),
        "two rosters in a row are not the same"
    );
    let roster = rosters.pop().unwrap_or_default();
    let mut once = roster.clone();
    once.dedup();
    ensure!(once == roster, "an entry is in the roster twice");
    for calendar in kit.world.calendars() {
        let there = |one: &(String, String)| one.1 == calendar.address.folded();
        ensure!(
            roster.iter().any(there),
            "calendar {} of the world is not in the roster",
            calendar.handle()
        );
    }
    Ok(())
}
