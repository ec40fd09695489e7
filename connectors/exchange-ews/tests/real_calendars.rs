//! Calendars that real programs wrote, where they are at hand: what the connector reads of them is what the
//! sandbox's oracle says, from servers that expand and from one that does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use calbridge_core::model::Window;
use calbridge_sandbox::exchange::{Folder, Profile};
use jiff::SignedDuration;
use support::{ANNA, Bench, request};

#[tokio::test]
async fn real_calendars_are_read_as_they_are() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/calendars");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: there are no calendars beside the workspace");
        return;
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ics"))
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    let mut events = 0;
    for profile in [Profile::Exchange2019, Profile::Gromox] {
        for path in &paths {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bench = Bench::with(profile, |settings| {
                settings["home_zone"] = "Europe/Copenhagen".into();
            })
            .await;
            bench.exchange.seed_ics_file(ANNA, path).unwrap();
            let starts = bench
                .exchange
                .items(ANNA, Folder::Calendar)
                .into_iter()
                .map(|item| bench.exchange.read(item).unwrap().3.start);
            let Some(first) = starts.min() else { continue };
            // Two years, over which every change of the clock and most exceptions lie.
            let window = Window::new(
                first
                    .checked_sub(SignedDuration::from_hours(24 * 7))
                    .unwrap(),
                first
                    .checked_add(SignedDuration::from_hours(24 * 730))
                    .unwrap(),
            )
            .unwrap();
            let feed = bench.read(request(ANNA, window)).await.unwrap();
            let facts = feed.facts(window);
            // A rule that EWS cannot say reaches us as a series without one; what is known of it is kept.
            let kept: Vec<&str> = feed
                .unreadable
                .iter()
                .filter(|(_, _, error)| profile == Profile::Gromox && error.code == "ews.series")
                .filter_map(|(_, uid, _)| uid.as_deref())
                .collect();
            let mut truth = bench.truth(ANNA, window);
            truth.retain(|fact| {
                !kept
                    .iter()
                    .any(|uid| fact.key.split('\n').next() == Some(*uid))
            });
            events += facts.len();
            if facts != truth || feed.unreadable.len() != kept.len() {
                let missing: Vec<_> = truth.difference(&facts).take(2).collect();
                let extra: Vec<_> = facts.difference(&truth).take(2).collect();
                wrong.push(format!(
                    "{profile:?} {name}: missing {missing:?}, too many {extra:?}, unreadable {:?}",
                    feed.unreadable
                        .iter()
                        .map(|entry| &entry.2.code)
                        .collect::<Vec<_>>()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(events > 500, "{events}");
}
