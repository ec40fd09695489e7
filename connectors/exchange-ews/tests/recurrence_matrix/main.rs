//! Every way in which a series can repeat, end, and be changed, in zones of all sorts and over the changes of the
//! clock: what the connector tells of series that it expands itself, against expanders that nobody here wrote.
//!
//! The series come over HTTP, from the sandbox's server that does not expand and, for zones that are defined with the
//! series, from a scripted one. Here they are compared with the `rrule` crate. With `CALBRIDGE_MATRIX=FILE` the rows
//! and what was told of them are written for `scripts/recurrence_check.py`, which compares them with
//! `python-dateutil`, by a translation of its own.
//!
//! `gaps.tsv` lists every start that lies in an hour which the clock leaves out in spring, or that the crate leaves out
//! (it knows no time of a day whose midnight is not there once); `CALBRIDGE_UPDATE_GAPS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod definitions;
mod rows;
mod rules;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use calbridge_core::model::{EventTime, OriginalStart};
use calbridge_sandbox::exchange::{NewItem, Pattern, Profile, Recurrence, Zone};
use jiff::SignedDuration;
use jiff::civil::{Date, date};
use rows::{CHANGES, Change, End, FAR, OFTEN, Plan, Row, SELDOM, Span, TIMES, Time};
use rules::{Clock, Reading, TABLE};
use support::{ANNA, BO, Bench, Feed, ROOM, open, read, request, settings};

/// Zones by names of all sorts, each with the clock that it means.
const NAMED: [(&str, chrono_tz::Tz); 10] = [
    ("Romance Standard Time", chrono_tz::Europe::Copenhagen),
    ("W. Europe Standard Time", chrono_tz::Europe::Berlin),
    ("GMT Standard Time", chrono_tz::Europe::London),
    ("Eastern Standard Time", chrono_tz::America::New_York),
    ("AUS Eastern Standard Time", chrono_tz::Australia::Sydney),
    ("India Standard Time", chrono_tz::Asia::Kolkata),
    ("UTC", chrono_tz::UTC),
    ("America/St_Johns", chrono_tz::America::St_Johns),
    ("Mitteleuropäische Zeit", chrono_tz::Europe::Berlin),
    (
        "(UTC+01:00) Brussels, Copenhagen, Madrid, Paris",
        chrono_tz::Europe::Copenhagen,
    ),
];

fn ends(span: Span) -> [End; 7] {
    let middle = if span.from == OFTEN.from {
        date(2026, 11, 15)
    } else {
        date(2027, 3, 31)
    };
    [
        End::No,
        End::On(middle),
        End::Ninth(0),
        End::Ninth(1),
        End::After(1),
        End::After(7),
        End::After(40),
    ]
}

/// When a series begins: long ago where it does not end, else so that changes of the clock lie in it.
fn start(span: Span, end: End, number: usize) -> Date {
    let starts = match (span.from == OFTEN.from, end) {
        (true, End::No) => [date(2021, 10, 31), date(2024, 2, 29), date(2025, 12, 30)],
        (true, _) => [date(2026, 3, 25), date(2026, 10, 21), date(2026, 2, 28)],
        (false, End::No) => [date(2016, 2, 29), date(2020, 5, 31), date(2011, 1, 15)],
        (false, _) => [date(2024, 2, 29), date(2024, 1, 31), date(2023, 8, 30)],
    };
    starts[number % starts.len()]
}

/// The rows whose zones have names, by calendar.
fn named() -> Vec<(&'static str, Vec<Row>)> {
    let mut number = 0;
    let mut calendar = |span: Span, patterns: Vec<Pattern>| {
        let mut all = Vec::new();
        for (p, pattern) in patterns.into_iter().enumerate() {
            let mut turn = 0;
            for (e, ends) in ends(span).into_iter().enumerate() {
                for (z, (zone, clock)) in NAMED.into_iter().enumerate() {
                    let plan = Plan {
                        server: "sandbox",
                        span,
                        start: start(span, ends, p + z + e),
                        // All pairs of the two, over the ends and zones of each pattern.
                        time: TIMES[(turn + p) % TIMES.len()],
                        changes: CHANGES[(turn / TIMES.len() + p) % CHANGES.len()],
                        zone,
                        clock: Clock::Named(clock),
                        ends,
                    };
                    all.push(Row::new(number, pattern.clone(), &plan));
                    turn += 1;
                    number += 1;
                }
            }
        }
        all
    };
    let (often, seldom) = (
        calendar(OFTEN, rows::often()),
        calendar(SELDOM, rows::seldom()),
    );
    let mut far = Vec::new();
    for (n, pattern) in rows::far().into_iter().enumerate() {
        for (m, time) in [Time::At(9, 0, 60), Time::Days(1)].into_iter().enumerate() {
            let plan = Plan {
                server: "sandbox",
                span: FAR,
                start: date(2024, 2, 29),
                time,
                zone: "UTC",
                clock: Clock::Named(chrono_tz::UTC),
                ends: End::No,
                changes: CHANGES[(n + m) % CHANGES.len()],
            };
            far.push(Row::new(100_000 + 2 * n + m, pattern.clone(), &plan));
        }
    }
    vec![(ANNA, often), (BO, seldom), (ROOM, far)]
}

/// Rows in a zone that the series define.
fn defined(number: usize, zone: &'static str, clock: Clock) -> Vec<Row> {
    let mut all = Vec::new();
    let patterns = rows::often().into_iter().step_by(2);
    for (p, pattern) in patterns.enumerate() {
        let mut turn = 0;
        for ends in [End::No, End::On(date(2026, 11, 15))] {
            for time in TIMES {
                let plan = Plan {
                    server: "definition",
                    span: OFTEN,
                    start: start(OFTEN, ends, p),
                    time,
                    zone,
                    clock,
                    ends,
                    changes: CHANGES[(turn + p) % CHANGES.len()],
                };
                all.push(Row::new(
                    200_000 + 1_000 * number + all.len(),
                    pattern.clone(),
                    &plan,
                ));
                turn += 1;
            }
        }
    }
    all
}

/// Puts a row's series into a mailbox of the sandbox, and changes it.
fn put(bench: &Bench, address: &str, row: &Row) {
    let known = Zone::find(&row.zone);
    let zone = known.unwrap_or_else(|| {
        let rules = jiff::tz::TimeZone::get(&row.clock.name()).unwrap();
        Zone::custom(&row.zone, rules)
    });
    let first = &row.slots[0];
    let rule = Recurrence {
        pattern: row.pattern.clone(),
        start: row.start,
        range: row.range,
    };
    let wall = |at: chrono::NaiveDateTime| at.to_string().replace(' ', "T").parse().unwrap();
    let days = (first.end - first.start + chrono::TimeDelta::hours(12)).num_days();
    let item = if row.all_day() {
        let days = u32::try_from(days).unwrap();
        NewItem::all_day(
            "Canary subject",
            rules::civil(first.wall.date()),
            days,
            &zone,
        )
    } else {
        let minutes = match row.time {
            Time::At(_, _, minutes) => minutes,
            Time::Days(_) => 0,
        };
        let end = first.wall + chrono::TimeDelta::minutes(minutes);
        NewItem::at("Canary subject", wall(first.wall), wall(end), &zone)
    };
    let exchange = &bench.exchange;
    let series = exchange
        .create(address, item.uid(&row.uid).repeating(rule))
        .unwrap();
    for (slot, change) in &row.changes {
        let original = rules::stamp(slot.start);
        let to = |start, end, all_day| {
            exchange
                .change_occurrence(series, original, |it| {
                    it.start = rules::stamp(start);
                    it.end = rules::stamp(end);
                    it.all_day = all_day;
                })
                .unwrap();
        };
        match change {
            Change::Deleted => exchange.delete_occurrence(series, original).unwrap(),
            Change::MovedThenDeleted => {
                let hour = SignedDuration::from_hours(if row.all_day() { 24 } else { 1 });
                exchange.move_occurrence(series, original, hour).unwrap();
                exchange.delete_occurrence(series, original).unwrap();
            }
            Change::Moved(by) => {
                let (start, end, all_day) = definitions::moved(row, slot, *by);
                to(start, end, all_day);
            }
            Change::OtherKind if row.all_day() => {
                let (start, end) = row.ten_to_eleven(slot);
                to(start, end, false);
            }
            Change::OtherKind => {
                let date = slot.wall.date();
                let next = date.succ_opt().unwrap();
                to(
                    definitions::midnight(row, date),
                    definitions::midnight(row, next),
                    true,
                );
            }
        }
    }
}

/// What a feed told, by UID: key and time of each event whose original start lies in the span.
fn told(feed: &Feed, span: Span) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for event in &feed.events {
        let original = event.key.original().expect("an occurrence");
        let (day, key) = match original {
            OriginalStart::Date(date) => (date, date.to_string()),
            OriginalStart::Instant(at) => (
                jiff::tz::TimeZone::UTC.to_datetime(at).date(),
                at.to_string(),
            ),
        };
        if day < span.from || day >= span.to {
            continue;
        }
        let time = match &event.content.time {
            EventTime::Timed { start, end, .. } => format!("{start}/{end}"),
            EventTime::AllDay { start, end } => format!("{start}/{end}"),
            other => panic!("{other:?}"),
        };
        let uid = event.key.uid().to_owned();
        let before = all.entry(uid).or_default().insert(key, time);
        assert_eq!(before, None, "{:?} is told twice", event.key);
    }
    all
}

/// Where two tables of one series differ.
fn differences(row: &Row, told: &BTreeMap<String, String>, reading: Reading) -> Vec<String> {
    let expected = match reading {
        Reading::Table => row.expected(&row.slots),
        Reading::Plain => row.expected(&row.expand(row.horizon(), reading)),
    };
    let all: BTreeSet<_> = expected.keys().chain(told.keys()).collect();
    all.into_iter()
        .filter(|key| expected.get(*key) != told.get(*key))
        .map(|key| {
            format!(
                "{} {:?} {:?} from {} in {} {:?}: {key} is {:?}, told {:?}",
                row.uid,
                row.pattern,
                row.range,
                row.start,
                row.zone,
                row.time,
                expected.get(key),
                told.get(key)
            )
        })
        .collect()
}

type Told = BTreeMap<String, String>;

/// The whole matrix, read.
async fn matrix() -> Vec<(Row, Told)> {
    let mut all = Vec::new();
    let bench = Bench::with(Profile::Gromox, |settings| {
        settings["http"]["timeout"] = "60s".into();
    })
    .await;
    for (address, rows) in named() {
        for row in &rows {
            put(&bench, address, row);
        }
        let span = rows[0].span;
        let feed = bench.read(request(address, span.window())).await.unwrap();
        assert!(feed.unreadable.is_empty(), "{:?}", feed.unreadable);
        add(&mut all, rows, told(&feed, span));
    }
    for (number, (definition, clock)) in definitions::whole().into_iter().enumerate() {
        let rows = defined(number, definition.id, clock);
        let server = definitions::serve(&definition, &rows).await;
        let connection = server.connect();
        let wanted = request(ANNA, OFTEN.window());
        let feed = read(connection.as_ref(), wanted).await.unwrap();
        assert!(feed.unreadable.is_empty(), "{:?}", feed.unreadable);
        add(&mut all, rows, scripted(told(&feed, OFTEN)));
    }
    all
}

/// The scripted server's UIDs in the form of the rows'.
fn scripted(told: BTreeMap<String, Told>) -> BTreeMap<String, Told> {
    told.into_iter()
        .map(|(uid, events)| {
            let row = uid.strip_prefix("uid-").unwrap();
            (format!("{row}@matrix.example"), events)
        })
        .collect()
}

fn add(all: &mut Vec<(Row, Told)>, rows: Vec<Row>, mut told: BTreeMap<String, Told>) {
    for row in rows {
        let events = told.remove(&row.uid).unwrap_or_default();
        all.push((row, events));
    }
    assert!(told.is_empty(), "series that nobody has: {:?}", told.keys());
}

#[tokio::test]
async fn what_we_expand_is_what_other_expanders_say() {
    let matrix = matrix().await;
    if let Some(path) = std::env::var_os("CALBRIDGE_MATRIX") {
        let lines: String = matrix
            .iter()
            .map(|(row, told)| format!("{}\n", row.json(told)))
            .collect();
        std::fs::write(path, lines).unwrap();
    }
    covers_all_pairs(&matrix);
    count(&matrix);

    let wrong: Vec<String> = matrix
        .iter()
        .flat_map(|(row, told)| differences(row, told, Reading::Table))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert_eq!(gaps(&matrix), include_str!("gaps.tsv"));

    // Without the table's rows on short months there would be differences, and in the series of those rows alone.
    for (row, told) in &matrix {
        let (_, place) = rules::pattern(&row.pattern, Reading::Table);
        if !differences(row, told, Reading::Plain).is_empty() {
            assert!([3, 4, 5, 8, 9].contains(&place), "{}", TABLE[place].ews);
        }
    }
    for place in [3, 4, 5, 8, 9] {
        let differ = matrix.iter().any(|(row, told)| {
            rules::pattern(&row.pattern, Reading::Table).1 == place
                && !differences(row, told, Reading::Plain).is_empty()
        });
        assert!(differ, "{} needs no translation", TABLE[place].ews);
    }

    // A difference of a minute, one event too few and one too many do not go unseen.
    let (row, told) = matrix.iter().find(|(_, told)| told.len() > 2).unwrap();
    let key = told.keys().nth(1).unwrap().clone();
    let mut spoilt = told.clone();
    spoilt.remove(&key);
    assert_eq!(differences(row, &spoilt, Reading::Table).len(), 1);
    spoilt.insert(key, "2026-01-01T00:00:00Z/2026-01-01T00:01:00Z".into());
    assert_eq!(differences(row, &spoilt, Reading::Table).len(), 1);
    spoilt = told.clone();
    spoilt.insert("2026-01-01T00:00:01Z".into(), String::new());
    assert_eq!(differences(row, &spoilt, Reading::Table).len(), 1);
}

/// Nothing of the matrix stands still beside anything else of it.
fn covers_all_pairs(matrix: &[(Row, Told)]) {
    let named = || {
        matrix
            .iter()
            .filter(|(row, _)| row.server == "sandbox" && row.span.from != FAR.from)
    };
    let zones: BTreeSet<_> = named().map(|(row, _)| &row.zone).collect();
    let patterns: BTreeSet<_> = named()
        .map(|(row, _)| format!("{:?}", row.pattern))
        .collect();
    let mut with_time = BTreeSet::new();
    let mut with_zone = BTreeSet::new();
    let mut with_end = BTreeSet::new();
    for (row, _) in named() {
        let pattern = format!("{:?}", row.pattern);
        with_time.insert((pattern.clone(), row.time));
        with_zone.insert((row.zone.clone(), row.time));
        // The ends but for their dates.
        let end = std::mem::discriminant(&row.ends);
        with_end.insert((pattern, format!("{end:?}")));
    }
    assert_eq!(patterns.len(), rows::often().len() + rows::seldom().len());
    assert_eq!(with_time.len(), patterns.len() * TIMES.len());
    assert_eq!(with_zone.len(), zones.len() * TIMES.len());
    assert_eq!(with_end.len(), patterns.len() * 4);
}

/// Counts by row of the table, by zone and by kind of change; none of them may be nothing.
fn count(matrix: &[(Row, Told)]) {
    let mut rows = [(0, 0); TABLE.len()];
    let mut zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut changes: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, told) in matrix {
        let (_, place) = rules::pattern(&row.pattern, Reading::Table);
        for place in [place, rules::end(row.range)] {
            rows[place].0 += 1;
            rows[place].1 += told.len();
        }
        let zone = zones
            .entry(format!(
                "{} {} ({})",
                row.server,
                row.zone,
                row.clock.name()
            ))
            .or_default();
        zone.0 += 1;
        zone.1 += told.len();
        for (_, change) in &row.changes {
            let kind = match change {
                Change::Deleted => "deleted",
                Change::Moved(_) => "moved",
                Change::OtherKind if row.all_day() => "a whole day that got a time",
                Change::OtherKind => "made a whole day",
                Change::MovedThenDeleted => "moved, then deleted",
            };
            *changes.entry(kind).or_default() += 1;
        }
    }
    let events: usize = matrix.iter().map(|(_, told)| told.len()).sum();
    println!("{} series, {events} occurrences", matrix.len());
    for (entry, (series, events)) in TABLE.iter().zip(rows) {
        println!(
            "{series:5} series {events:7} occurrences  {} -> {}  [{}]",
            entry.ews, entry.rrule, entry.source
        );
        assert!(events > 0, "{}", entry.ews);
    }
    for (zone, (series, events)) in zones {
        println!("{series:5} series {events:7} occurrences  zone {zone}");
        assert!(events > 0);
    }
    assert_eq!(changes.len(), 5);
    for (kind, count) in changes {
        println!("{count:5} occurrences {kind}");
    }
}

/// The starts that the clock or the crate leaves out, as the committed list has them.
fn gaps(matrix: &[(Row, Told)]) -> String {
    let mut all: BTreeMap<(String, String), (String, bool, bool, usize)> = BTreeMap::new();
    for (row, _) in matrix {
        let inside = row.slots.iter().filter(|slot| row.span.holds(slot, false));
        for slot in inside.filter(|slot| slot.gap || !slot.known) {
            let wall = slot.wall.format("%Y-%m-%d %H:%M").to_string();
            let fresh = (rules::text(slot.start), slot.gap, slot.known, 0);
            let entry = all.entry((row.clock.name(), wall)).or_insert(fresh);
            assert_eq!((entry.1, entry.2), (slot.gap, slot.known));
            entry.3 += 1;
        }
    }
    let mut out = "zone\tstart by the wall\tthe clock\twe tell\tthe crate\tseries\n".to_owned();
    for ((zone, wall), (start, gap, known, count)) in all {
        let clock = if gap {
            "leaves it out"
        } else {
            "shows it twice"
        };
        let told = if known { "the same" } else { "leaves it out" };
        writeln!(out, "{zone}\t{wall}\t{clock}\t{start}\t{told}\t{count}").unwrap();
    }
    if std::env::var_os("CALBRIDGE_UPDATE_GAPS").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/recurrence_matrix/gaps.tsv"
        );
        std::fs::write(path, &out).unwrap();
    }
    out
}

#[tokio::test]
async fn broken_zones_are_refused_or_read_at_home_and_never_guessed() {
    let home = Clock::Named(chrono_tz::Europe::Copenhagen);
    let (mut refused, mut at_home, mut events) = (0, 0, 0);
    for (number, (name, definition)) in definitions::broken().into_iter().enumerate() {
        // Every fifth has all times of day and both ends.
        let rows = defined(500 + number, definition.id, home);
        let rows: Vec<Row> = rows.into_iter().step_by(5).collect();
        let server = definitions::serve(&definition, &rows).await;
        let wanted = request(ANNA, OFTEN.window());

        // Without a zone to fall back to: whole days are dates all the same, all else is left as it was.
        let feed = read(server.connect().as_ref(), wanted.clone())
            .await
            .unwrap();
        let uids: BTreeSet<_> = feed
            .unreadable
            .iter()
            .map(|(_, uid, error)| {
                assert_eq!(error.code, "ews.series.zone", "{name}");
                uid.clone().unwrap()
            })
            .collect();
        let timed: BTreeSet<_> = rows
            .iter()
            .filter(|row| !row.all_day())
            .map(|row| format!("uid-{}", row.uid.trim_end_matches("@matrix.example")))
            .collect();
        assert_eq!(uids, timed, "{name}");
        assert!(
            feed.events
                .iter()
                .all(|event| !uids.contains(event.key.uid()))
        );
        refused += uids.len();

        let mut settings = settings(&server.url);
        settings["home_zone"] = "Europe/Copenhagen".into();
        let feed = read(open(settings).unwrap().0.as_ref(), wanted)
            .await
            .unwrap();
        assert!(feed.unreadable.is_empty(), "{name}: {:?}", feed.unreadable);
        let told = scripted(told(&feed, OFTEN));
        for row in &rows {
            let told = told.get(&row.uid).cloned().unwrap_or_default();
            let wrong = differences(row, &told, Reading::Table);
            assert!(wrong.is_empty(), "{name}: {}", wrong[0]);
            at_home += 1;
            events += told.len();
        }
    }
    println!("{refused} series refused; {at_home} with {events} occurrences read in the home zone");
}
