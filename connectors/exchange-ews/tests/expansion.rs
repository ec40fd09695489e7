//! Series, compared with the sandbox's oracle: expanded by the server (Exchange) and by us (a server that does
//! not expand). The same cases run against both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::model::{EventTime, OriginalStart, ShowAs};
use calbridge_sandbox::exchange::{
    DayIndex, DayKind, FreeBusy, NewItem, Pattern, Profile, Range, Zone,
};
use jiff::SignedDuration;
use jiff::civil::{Weekday, date};
use support::{ANNA, Bench, after, busy, daily, dk, every, request, weekly, window, winter};

const PROFILES: [Profile; 3] = [
    Profile::Exchange2013,
    Profile::Exchange2019,
    Profile::Gromox,
];

#[tokio::test]
async fn k035_a_weekly_series_without_end_gives_one_event_per_occurrence() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add_series(
            ANNA,
            "2026-12-07T09:00",
            "2026-12-07T10:00",
            weekly(&[Weekday::Monday], date(2026, 12, 7), Range::NoEnd),
        );
        let feed = bench.read_true(request(ANNA, winter())).await;
        assert_eq!(feed.events.len(), 12, "{profile:?}");
        let groups: std::collections::BTreeSet<_> = feed
            .events
            .iter()
            .map(|event| event.group.clone().unwrap().id)
            .collect();
        assert_eq!(groups.len(), 1);
        let first = feed.events.iter().map(|event| event.key.original()).min();
        let slot = OriginalStart::Instant(dk("2026-12-07T09:00"));
        assert_eq!(first.unwrap(), Some(slot));
    }
}

#[tokio::test]
async fn k036_a_daily_series_begun_two_years_ago() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add_series(
            ANNA,
            "2024-11-01T22:00",
            "2024-11-02T02:00",
            daily(1, date(2024, 11, 1), Range::NoEnd),
        );
        // The night before the window reaches into it.
        let feed = bench.read_true(request(ANNA, winter())).await;
        assert_eq!(feed.events.len(), 91, "{profile:?}");
    }
}

#[tokio::test]
async fn k037_series_that_ended_before_or_begin_after_the_window() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let ended = weekly(
            &[Weekday::Monday],
            date(2025, 1, 6),
            Range::EndDate(date(2026, 11, 30)),
        );
        let later = weekly(&[Weekday::Monday], date(2027, 3, 1), Range::Numbered(9));
        for (start, end, rule) in [
            ("2025-01-06T09:00", "2025-01-06T10:00", ended),
            ("2027-03-01T09:00", "2027-03-01T10:00", later),
        ] {
            bench.add_series(ANNA, start, end, rule);
        }
        let feed = bench.read_true(request(ANNA, winter())).await;
        assert!(feed.events.is_empty(), "{profile:?}");
    }
}

#[tokio::test]
async fn k038_k039_k040_k041_one_occurrence_deleted_moved_or_set_free() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let series = bench.add_series(
            ANNA,
            "2026-12-07T09:00",
            "2026-12-07T10:00",
            weekly(&[Weekday::Monday], date(2026, 12, 7), Range::NoEnd),
        );
        let first = request(ANNA, winter());
        let before = bench.read_true(first.clone()).await;
        let exchange = &bench.exchange;
        exchange
            .delete_occurrence(series, dk("2026-12-14T09:00"))
            .unwrap();
        exchange
            .move_occurrence(
                series,
                dk("2026-12-21T09:00"),
                SignedDuration::from_hours(1),
            )
            .unwrap();
        exchange
            .change_occurrence(series, dk("2026-12-28T09:00"), |it| {
                it.free_busy = FreeBusy::Free;
            })
            .unwrap();
        let second = after(&before, &first);
        let later = bench.read_true(second.clone()).await;
        assert_eq!(later.events.len(), before.events.len() - 1, "{profile:?}");
        let on = |original: &str| {
            let original = Some(OriginalStart::Instant(dk(original)));
            later
                .events
                .iter()
                .find(|event| event.key.original() == original)
        };
        assert!(on("2026-12-14T09:00").is_none());
        let moved = on("2026-12-21T09:00").unwrap();
        let (start, _) = moved.content.time.span_in(&support::copenhagen());
        assert_eq!(
            start,
            dk("2026-12-21T10:00"),
            "the key keeps the original start"
        );
        assert_eq!(
            on("2026-12-28T09:00").unwrap().content.show_as,
            Some(ShowAs::Free)
        );
        assert_eq!(
            on("2027-01-04T09:00").unwrap().content.show_as,
            Some(ShowAs::Busy)
        );

        // Moved and then deleted: gone for good.
        exchange
            .delete_occurrence(series, dk("2026-12-21T09:00"))
            .unwrap();
        let last = bench.read_true(after(&later, &second)).await;
        assert_eq!(last.events.len(), before.events.len() - 2, "{profile:?}");
    }
}

#[tokio::test]
async fn k043_a_relative_yearly_series() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let rule = every(
            Pattern::RelativeYearly {
                month: 11,
                kind: DayKind::On(Weekday::Monday),
                index: DayIndex::Last,
            },
            date(2019, 11, 1),
            Range::NoEnd,
        );
        bench.add_series(ANNA, "2019-11-25T13:00", "2019-11-25T14:00", rule);
        let november = window("2026-11-21T00:00", "2027-02-21T00:00");
        let feed = bench.read_true(request(ANNA, november)).await;
        assert_eq!(feed.events.len(), 1, "{profile:?}");
    }
}

#[tokio::test]
async fn k044_a_yearly_series_in_january_is_seen_in_november() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let rule = every(
            Pattern::AbsoluteYearly { month: 1, day: 6 },
            date(2020, 1, 6),
            Range::NoEnd,
        );
        bench.add_series(ANNA, "2020-01-06T08:00", "2020-01-06T09:00", rule);
        let feed = bench.read_true(request(ANNA, winter())).await;
        assert_eq!(feed.events.len(), 1, "{profile:?}");
    }
}

#[tokio::test]
async fn k045_29_february_in_a_common_year_is_the_28th() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let yearly = every(
            Pattern::AbsoluteYearly { month: 2, day: 29 },
            date(2024, 2, 29),
            Range::NoEnd,
        );
        let monthly = every(
            Pattern::AbsoluteMonthly {
                interval: 1,
                day: 31,
            },
            date(2026, 1, 31),
            Range::Numbered(14),
        );
        for (start, end, rule) in [
            ("2024-02-29T08:00", "2024-02-29T09:00", yearly),
            ("2026-01-31T08:00", "2026-01-31T09:00", monthly),
        ] {
            bench.add_series(ANNA, start, end, rule);
        }
        let feed = bench.read_true(request(ANNA, winter())).await;
        let starts: std::collections::BTreeSet<_> = feed
            .events
            .iter()
            .map(|event| event.content.time.span_in(&support::copenhagen()).0)
            .collect();
        assert!(starts.contains(&dk("2027-02-28T08:00")), "{profile:?}");
        // 31 December, 31 January, 28 February (two series).
        assert_eq!(feed.events.len(), 4, "{profile:?}");
    }
}

#[tokio::test]
async fn k046_a_monthly_series_begun_fifteen_years_ago() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let rule = every(
            Pattern::AbsoluteMonthly {
                interval: 1,
                day: 15,
            },
            date(2011, 11, 15),
            Range::Numbered(400),
        );
        bench.add_series(ANNA, "2011-11-15T10:00", "2011-11-15T11:30", rule);
        let feed = bench.read_true(request(ANNA, winter())).await;
        assert_eq!(feed.events.len(), 3, "{profile:?}");
    }
}

#[tokio::test]
async fn k047_k048_a_series_is_shortened_and_becomes_a_single() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let rule = |range| weekly(&[Weekday::Tuesday], date(2026, 12, 1), range);
        let item = bench
            .exchange
            .create(
                ANNA,
                busy("2026-12-01T09:00", "2026-12-01T10:00").repeating(rule(Range::NoEnd)),
            )
            .unwrap();
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        assert_eq!(feed.events.len(), 13);
        bench
            .exchange
            .reschedule(item, Some(rule(Range::Numbered(4)).into()), |_| {})
            .unwrap();
        let second = after(&feed, &first);
        let feed = bench.read_true(second.clone()).await;
        assert_eq!(feed.events.len(), 4, "{profile:?}");
        bench.exchange.reschedule(item, None, |_| {}).unwrap();
        let feed = bench.read_true(after(&feed, &second)).await;
        assert_eq!(feed.events.len(), 1, "{profile:?}");
        assert_eq!(feed.events[0].key.original(), None);
        assert_eq!(feed.events[0].group, None);
    }
}

#[tokio::test]
async fn k049_a_master_in_deleted_items_is_no_longer_reported() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let item = bench.add_series(
            ANNA,
            "2026-12-01T09:00",
            "2026-12-01T10:00",
            weekly(&[Weekday::Tuesday], date(2026, 12, 1), Range::NoEnd),
        );
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        assert_eq!(feed.events.len(), 13);
        bench.exchange.delete(item).unwrap();
        let feed = bench.read_true(after(&feed, &first)).await;
        assert!(feed.events.is_empty(), "{profile:?}");
    }
}

#[tokio::test]
async fn k050_more_than_200_occurrences_in_the_window() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add_series(
            ANNA,
            "2026-10-01T07:00",
            "2026-10-01T07:15",
            daily(1, date(2026, 10, 1), Range::NoEnd),
        );
        let year = window("2026-12-01T00:00", "2027-12-01T00:00");
        let feed = bench.read_true(request(ANNA, year)).await;
        assert_eq!(feed.events.len(), 365, "{profile:?}");
    }
}

#[tokio::test]
async fn k051_a_series_across_both_changes_of_the_clock() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        for (start, end) in [
            ("2026-10-01T09:00", "2026-10-01T10:00"),
            // In the hour that comes twice in autumn and is skipped in spring.
            ("2026-10-01T02:30", "2026-10-01T03:30"),
            ("2026-10-01T23:00", "2026-10-02T04:00"),
        ] {
            bench.add_series(ANNA, start, end, daily(1, date(2026, 10, 1), Range::NoEnd));
        }
        for (start, end) in [
            ("2026-10-20T00:00", "2026-11-01T00:00"),
            ("2027-03-20T00:00", "2027-04-05T00:00"),
        ] {
            bench.read_true(request(ANNA, window(start, end))).await;
        }
    }
}

#[tokio::test]
async fn all_six_patterns_with_all_three_ranges() {
    let patterns = |start: jiff::civil::Date| {
        let mut all = vec![
            Pattern::Daily { interval: 3 },
            Pattern::Weekly {
                interval: 2,
                days: vec![Weekday::Tuesday, Weekday::Sunday],
                first_day: Weekday::Sunday,
            },
            Pattern::Weekly {
                interval: 3,
                days: vec![Weekday::Monday, Weekday::Wednesday, Weekday::Sunday],
                first_day: Weekday::Monday,
            },
            Pattern::AbsoluteMonthly {
                interval: 2,
                day: 30,
            },
            Pattern::AbsoluteYearly {
                month: 12,
                day: start.day(),
            },
        ];
        for index in [
            DayIndex::First,
            DayIndex::Second,
            DayIndex::Third,
            DayIndex::Fourth,
            DayIndex::Last,
        ] {
            all.push(Pattern::RelativeMonthly {
                interval: 1,
                kind: DayKind::Weekday,
                index,
            });
            all.push(Pattern::RelativeMonthly {
                interval: 2,
                kind: DayKind::On(Weekday::Friday),
                index,
            });
        }
        for kind in [DayKind::Day, DayKind::WeekendDay] {
            all.push(Pattern::RelativeYearly {
                month: 1,
                kind,
                index: DayIndex::Last,
            });
        }
        all
    };
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let start = date(2025, 3, 19);
        for range in [
            Range::NoEnd,
            Range::EndDate(date(2027, 1, 15)),
            Range::Numbered(40),
            Range::Numbered(3),
        ] {
            for pattern in patterns(start) {
                let rule = every(pattern, start, range);
                let first = rule.dates().next().unwrap();
                let item = NewItem::at(
                    "Canary subject",
                    first.at(14, 0, 0, 0),
                    first.at(15, 0, 0, 0),
                    &Zone::denmark(),
                );
                bench.exchange.create(ANNA, item.repeating(rule)).unwrap();
            }
        }
        bench.read_true(request(ANNA, winter())).await;
        bench
            .read_true(request(
                ANNA,
                window("2025-03-01T00:00", "2025-06-01T00:00"),
            ))
            .await;
    }
}

#[tokio::test]
async fn whole_days_are_dates_in_their_own_zone() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let exchange = &bench.exchange;
        let new_york = Zone::find("Eastern Standard Time").unwrap();
        exchange
            .create(
                ANNA,
                NewItem::all_day("a", date(2026, 12, 24), 3, &Zone::denmark()),
            )
            .unwrap();
        exchange
            .create(ANNA, NewItem::all_day("b", date(2027, 1, 5), 1, &new_york))
            .unwrap();
        exchange
            .create(
                ANNA,
                NewItem::all_day("c", date(2027, 1, 7), 1, &Zone::utc()),
            )
            .unwrap();
        let rule = weekly(&[Weekday::Friday], date(2026, 12, 4), Range::Numbered(8));
        let series = exchange
            .create(
                ANNA,
                NewItem::all_day("d", date(2026, 12, 4), 1, &Zone::denmark()).repeating(rule),
            )
            .unwrap();
        exchange
            .delete_occurrence(series, dk("2026-12-11T00:00"))
            .unwrap();
        let feed = bench.read(request(ANNA, winter())).await.unwrap();
        let mut days: Vec<String> = feed
            .events
            .iter()
            .map(|event| match &event.content.time {
                EventTime::AllDay { start, end } => format!("{start}/{end}"),
                other => panic!("{other:?}"),
            })
            .collect();
        days.sort();
        assert_eq!(
            days,
            [
                "2026-12-04/2026-12-05",
                "2026-12-18/2026-12-19",
                "2026-12-24/2026-12-27",
                "2026-12-25/2026-12-26",
                "2027-01-01/2027-01-02",
                "2027-01-05/2027-01-06",
                "2027-01-07/2027-01-08",
                "2027-01-08/2027-01-09",
                "2027-01-15/2027-01-16",
                "2027-01-22/2027-01-23",
            ],
            "{profile:?}"
        );
        let originals = feed
            .events
            .iter()
            .filter(|event| matches!(event.key.original(), Some(OriginalStart::Date(_))))
            .count();
        assert_eq!(originals, 7);
    }
}

#[tokio::test]
async fn an_exception_becomes_a_whole_day_and_moves_into_the_window_from_outside() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let series = bench.add_series(
            ANNA,
            "2026-11-02T09:00",
            "2026-11-02T10:00",
            weekly(&[Weekday::Monday], date(2026, 11, 2), Range::NoEnd),
        );
        bench
            .exchange
            .change_occurrence(series, dk("2026-12-14T09:00"), |it| {
                it.start = dk("2026-12-14T00:00");
                it.end = dk("2026-12-15T00:00");
                it.all_day = true;
            })
            .unwrap();
        bench
            .exchange
            .move_occurrence(
                series,
                dk("2026-11-30T09:00"),
                SignedDuration::from_hours(48),
            )
            .unwrap();
        let feed = bench.read_true(request(ANNA, winter())).await;
        let keys: Vec<_> = feed
            .events
            .iter()
            .map(|event| event.key.original())
            .collect();
        assert!(
            keys.contains(&Some(OriginalStart::Instant(dk("2026-12-14T09:00")))),
            "{profile:?}"
        );
        assert!(
            keys.contains(&Some(OriginalStart::Instant(dk("2026-11-30T09:00")))),
            "{profile:?}"
        );
    }
}

#[tokio::test]
async fn zones_without_a_known_name_keep_their_clock() {
    let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    for profile in PROFILES {
        let bench = Bench::with(profile, |settings| {
            if profile == Profile::Gromox {
                // Which gives no definitions.
                settings["home_zone"] = "Europe/Copenhagen".into();
            }
        })
        .await;
        let zones = [
            Zone::custom("Customized Time Zone", berlin.clone()),
            Zone::denmark().with_id("Mitteleuropäische Zeit"),
            Zone::denmark().with_id("tzone://Microsoft/Custom"),
            Zone::denmark().with_id("Europe/Copenhagen"),
        ];
        for zone in &zones {
            let rule = weekly(&[Weekday::Monday], date(2026, 10, 5), Range::NoEnd);
            let item = NewItem::at(
                "Canary subject",
                date(2026, 10, 5).at(9, 0, 0, 0),
                date(2026, 10, 5).at(10, 0, 0, 0),
                zone,
            );
            bench.exchange.create(ANNA, item.repeating(rule)).unwrap();
            bench
                .exchange
                .create(ANNA, NewItem::all_day("x", date(2026, 12, 10), 1, zone))
                .unwrap();
        }
        bench.read_true(request(ANNA, winter())).await;
    }
}

#[tokio::test]
async fn a_series_in_no_known_zone_is_kept_rather_than_guessed() {
    let bench = Bench::start(Profile::Gromox).await;
    let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let zone = Zone::custom("Customized Time Zone", berlin);
    let rule = weekly(&[Weekday::Monday], date(2026, 10, 5), Range::NoEnd);
    let item = NewItem::at(
        "Canary subject",
        date(2026, 10, 5).at(9, 0, 0, 0),
        date(2026, 10, 5).at(10, 0, 0, 0),
        &zone,
    );
    bench
        .exchange
        .create(ANNA, item.uid("odd@x.example").repeating(rule))
        .unwrap();
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    assert_eq!(feed.events.len(), 1);
    let [(Some(_), Some(uid), error)] = feed.unreadable.as_slice() else {
        panic!("{:?}", feed.unreadable)
    };
    assert_eq!(uid, "odd@x.example");
    assert_eq!(error.code, "ews.series.zone");
}
