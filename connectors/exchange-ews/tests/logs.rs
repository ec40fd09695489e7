//! What the connector logs: nothing personal at any level, and what an operator has to know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_sandbox::exchange::{NewItem, Profile, Range, Zone};
use jiff::civil::date;
use support::{ANNA, Bench, after, daily, request, winter};

/// What is logged, at which level.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Listens to this thread, on which the whole test runs, as long as the guard lives.
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("calbridge_exchange_ews=trace,calbridge_core=trace")
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn nothing_personal_is_logged() {
    let (log, _listening) = Log::start();
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    bench.exchange.invalidate_sync_states(ANNA).unwrap();
    bench.read_true(after(&feed, &first)).await;
    for spec in [
        "FindItem=malformed",
        "GetFolder=dtd",
        "GetFolder=fault:ErrorAccessDenied",
    ] {
        bench.exchange.inject_spec(spec).unwrap();
        bench.read(request(ANNA, winter())).await.unwrap_err();
        bench.exchange.clear_faults();
    }
    let text = log.text();
    assert!(text.contains("EWS answered"), "something is logged");
    assert!(
        text.contains("read anew") && text.contains("cannot be read"),
        "{text}"
    );
    for personal in ["Canary", "anna", "kommune.example", "sandbox", "Basic "] {
        assert!(!text.contains(personal), "{personal}: {text}");
    }
}

/// An appointment in a zone; the server tells the zone's name alone.
fn in_zone(zone: &Zone) -> NewItem {
    let day = date(2026, 12, 1);
    NewItem::at("Canary", day.at(9, 0, 0, 0), day.at(10, 0, 0, 0), zone)
}

#[tokio::test]
async fn a_zone_that_is_named_and_not_known_is_told_once_for_each_reading() {
    let rules = jiff::tz::TimeZone::get("Europe/Copenhagen").unwrap();
    let odd = Zone::custom("Annas Zone", rules);
    let whole_day = |zone: &Zone| NewItem::all_day("Canary", date(2026, 12, 10), 1, zone);
    let series = |zone: &Zone| in_zone(zone).repeating(daily(7, date(2026, 12, 1), Range::NoEnd));
    for (items, told) in [
        // What is read in the zone is in doubt; a known zone and an instant are not.
        (vec![series(&odd)], Some("events=1")),
        (vec![whole_day(&odd)], Some("events=1")),
        (
            vec![whole_day(&odd), series(&odd), series(&Zone::denmark())],
            Some("events=2"),
        ),
        (
            vec![
                in_zone(&odd),
                whole_day(&Zone::denmark()),
                series(&Zone::denmark()),
            ],
            None,
        ),
    ] {
        let (log, _listening) = Log::start();
        let bench = Bench::with(Profile::Gromox, |settings| {
            settings["home_zone"] = "Europe/Copenhagen".into();
        })
        .await;
        for item in items {
            bench.exchange.create(ANNA, item).unwrap();
        }
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let text = log.text();
        let warnings: Vec<&str> = text.lines().filter(|line| line.contains("WARN")).collect();
        match told {
            Some(count) => {
                let [line] = warnings.as_slice() else {
                    panic!("{warnings:?}")
                };
                assert!(
                    line.contains(r#"code="ews.zone""#) && line.contains(count),
                    "{line}"
                );
                assert!(
                    line.contains("home_zone") && line.contains("calendar="),
                    "{line}"
                );
            }
            None => assert!(warnings.is_empty(), "{warnings:?}"),
        }
        for personal in ["Annas", "anna", "Canary", "kommune.example"] {
            assert!(!text.contains(personal), "{personal}: {text}");
        }
        // Nothing is read, nothing is told.
        bench.read(after(&feed, &first)).await.unwrap();
        assert_eq!(log.text().matches("WARN").count(), warnings.len());
    }
}
