//! The calendars beside this file: expected times, both ways, every difference accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use calbridge_sandbox::exchange::Profile;

use crate::ways::{
    Difference, File, FilesWay, Setting, Trouble, by_exchange, by_files, by_server, compare,
    differ, folder,
};

const WINDOW: &str = "{ past = \"1 month\", future = \"3 months\" }";

/// Over the end of summer time in Europe and America, and over its begin.
const SETTINGS: [(Setting<'_>, &str, &str); 2] = [
    (
        Setting {
            now: "2026-10-19T06:00:00Z",
            window: WINDOW,
        },
        "2026-09-19T00:00:00",
        "2027-01-19T00:00:00",
    ),
    (
        Setting {
            now: "2027-03-15T06:00:00Z",
            window: WINDOW,
        },
        "2027-02-15T00:00:00",
        "2027-06-15T00:00:00",
    ),
];

/// All differences that there may be, with the reason.
const EXPLAINED: [(&str, Difference, &str); 12] = [
    (
        "broken-cut-short",
        Difference::ExchangeTimes,
        "an import takes what it finds; a file that is kept in step must not lose its end unnoticed",
    ),
    ("broken-cut-short", Difference::Ids, "as above"),
    (
        "broken-range",
        Difference::ExchangeTimes,
        "an import names the change that it cannot make and keeps the series as it was; of a file that is kept in \
         step the whole series is left as it is, here unknown",
    ),
    ("broken-range", Difference::Ids, "as above"),
    (
        "google-days-for-hours",
        Difference::FileTimes,
        "UNTIL=20261130 of a series of hours: calbridge takes the day for a whole one, the independent tool ends \
         before its first hour; RFC 5545, 3.3.10, does not allow a day there",
    ),
    (
        "google-days-for-hours",
        Difference::ExchangeTimes,
        "as above, for the import too",
    ),
    (
        "no-uid",
        Difference::Ids,
        "each way makes up a UID of its own where there is none",
    ),
    (
        "revisions-of-one-event",
        Difference::ExchangeTimes,
        "a mailbox can hold two items with one UID, and an import makes two; a file's later SEQUENCE replaces \
         the earlier",
    ),
    ("revisions-of-one-event", Difference::Ids, "as above"),
    (
        "override-without-a-series",
        Difference::Ids,
        "an occurrence without its series becomes an appointment by itself in a mailbox",
    ),
    (
        "thunderbird-night-of-the-clock-change",
        Difference::FileTimes,
        "the hour from 02:30 on the night in spring that has none: it keeps its length from 03:30 on (RFC 5545, \
         3.8.5.3); the table takes it to begin and end at 03:30",
    ),
    (
        "thunderbird-night-of-the-clock-change",
        Difference::ExchangeTimes,
        "as above",
    ),
];

/// All of them.
pub(crate) fn own() -> Vec<File> {
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/calendars")).unwrap()
}

/// What begins between two times of the Danish wall clock, by file, from `expected.tsv`.
///
/// What began before the window is not told anew, even if it still goes on.
fn expected(from: &str, to: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut expected: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for line in include_str!("expected.tsv").lines() {
        let [name, start, end] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        if (from..to).contains(&start) {
            let spans = expected.entry(name.to_owned()).or_default();
            spans.push((start.to_owned(), end.to_owned()));
        }
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn own_calendars_reach_planner_the_same_by_both_ways() {
    let files = own();
    assert!(files.len() > 30, "{}", files.len());
    let mut found: BTreeMap<(String, Difference), String> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (setting, from, to) in SETTINGS {
        let (by_files, by_exchange) =
            tokio::join!(by_files(&files, setting), by_exchange(&files, setting));
        let expected = expected(from, to);
        for file in &files {
            let truth = expected.get(&file.name).cloned().unwrap_or_default();
            if !truth.is_empty() {
                told.insert(file.name.clone());
            }
            for (difference, what) in compare(&file.name, &by_files, &by_exchange, &truth) {
                found.insert((file.name.clone(), difference), what);
            }
        }
        let names = BROKEN.map(|(name, _)| name.to_owned());
        assert!(by_files.trouble.keys().eq(&names), "{:?}", by_files.trouble);
        assert!(
            by_exchange.trouble.keys().eq(&names),
            "{:?}",
            by_exchange.trouble
        );
        for (name, wanted) in BROKEN {
            place(
                name,
                wanted,
                &by_files.trouble[name],
                by_exchange.trouble.get(name),
            );
        }
    }
    for (name, difference, _) in EXPLAINED {
        let key = (name.to_owned(), difference);
        assert!(found.remove(&key).is_some(), "{key:?} is no difference");
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(told.len() > 25, "these have events: {told:?}");
}

/// What a broken file is an error of, and the line that must be named.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// The file as a whole; the text must hold this.
    Whole(&'static str),
    /// The event that begins in this line; the other one is told to Planner.
    Event(usize),
}

/// The files that are broken.
const BROKEN: [(&str, Wanted); 12] = [
    (
        "broken-cut-short",
        Wanted::Whole("ends inside the VEVENT that begins in line 31"),
    ),
    ("broken-date", Wanted::Event(11)),
    ("broken-empty", Wanted::Whole("line 1")),
    ("broken-end-before-start", Wanted::Event(4)),
    ("broken-negative-duration", Wanted::Event(11)),
    ("broken-nesting", Wanted::Whole("line 9")),
    ("broken-no-start", Wanted::Event(4)),
    ("broken-page-of-a-login", Wanted::Whole("line 1")),
    ("broken-range", Wanted::Event(18)),
    ("broken-rule", Wanted::Event(11)),
    ("broken-unknown-zone", Wanted::Event(4)),
    ("broken-utf-16", Wanted::Whole("line 1")),
];

/// Both ways name the place; the files' way the file as well.
fn place(name: &str, wanted: Wanted, by_files: &Trouble, by_exchange: Option<&Trouble>) {
    match (wanted, by_files) {
        (
            Wanted::Whole(text),
            Trouble::Whole {
                code,
                message,
                handle,
            },
        ) => {
            assert_eq!(code, "ical.broken-file", "{name}: {message}");
            assert!(message.contains(text), "{name}: {message}");
            assert!(message.contains(handle), "{name}: {message}");
        }
        (Wanted::Event(line), Trouble::Events(lines)) => {
            assert_eq!(lines, &[line], "{name}");
            assert!(
                by_exchange.is_none_or(|other| other == by_files),
                "{name}: {by_exchange:?}"
            );
        }
        _ => panic!("{name}: {by_files:?}"),
    }
}

/// A file that breaks is trouble for its calendar alone, keeps what Planner knows of it, and is well again with
/// the next good file.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_breaks_deletes_nothing_and_stops_nobody() {
    let files: Vec<File> = own()
        .into_iter()
        .filter(|file| ["google-cancelled", "outlook-busy-status"].contains(&file.name.as_str()))
        .collect();
    let way = FilesWay::new(&files, SETTINGS[0].0).await;
    let first = way.came().await;
    assert_eq!(first.held["google-cancelled"].len(), 9);
    assert_eq!(first.held["outlook-busy-status"].len(), 6);

    let place = way.place(&files[0]);
    let good = std::fs::read_to_string(&place).unwrap();
    for broken in [&good[..good.len() / 2], "", "<html>"] {
        std::fs::write(&place, broken).unwrap();
        // The other one changes meanwhile.
        let other = way.place(&files[1]);
        let text = std::fs::read_to_string(&other).unwrap();
        std::fs::write(&other, text.replace(":20261021T", ":20261022T")).unwrap();
        let came = way.came().await;
        assert!(
            matches!(
                came.trouble.get("google-cancelled"),
                Some(Trouble::Whole { .. })
            ),
            "{came:?}"
        );
        assert_eq!(came.trouble.len(), 1, "{came:?}");
        assert_eq!(
            came.held["google-cancelled"],
            first.held["google-cancelled"]
        );
        let moved = came.spans("outlook-busy-status");
        assert!(
            moved
                .iter()
                .all(|(start, _)| start.starts_with("2026-10-22")),
            "{moved:?}"
        );
    }
    std::fs::write(&place, good.replace("COUNT=10", "COUNT=9")).unwrap();
    let came = way.came().await;
    assert!(came.trouble.is_empty(), "{came:?}");
    assert_eq!(came.held["google-cancelled"].len(), 8);
}

/// Files with a rule that EWS has no words for: a server that does not expand it gives the master alone.
const BEYOND_EWS: [&str; 3] = [
    "month-ends",
    "outlook-leap-day",
    "thunderbird-further-dates",
];

/// What a server tells otherwise that does not expand series, with the reason.
const NOT_EXPANDED: [(&str, &str); 4] = [
    (
        "month-ends",
        "an event that cannot be read is left as it is, here unknown",
    ),
    ("thunderbird-further-dates", "as above"),
    (
        "zone-defined-otherwise",
        "gromox names a zone and does not define it; a name that nobody knows means the configured home zone",
    ),
    ("zone-without-summer-time", "as above"),
];

/// A server that does not expand series leaves it to calbridge, which has the rules of the masters alone.
#[tokio::test(flavor = "multi_thread")]
async fn own_calendars_are_the_same_from_a_server_that_does_not_expand_series() {
    let files = own();
    let mut found = BTreeMap::new();
    for (setting, ..) in SETTINGS {
        let ((expanded, none), (older, none_of_older), (by_us, unreadable)) = tokio::join!(
            by_server(&files, setting, Profile::Exchange2019),
            by_server(&files, setting, Profile::Exchange2013),
            by_server(&files, setting, Profile::Gromox),
        );
        assert!(none.is_empty(), "{none:?}");
        assert!(none_of_older.is_empty(), "{none_of_older:?}");
        assert_eq!(unreadable, BEYOND_EWS);
        for file in &files {
            let name = &file.name;
            assert_eq!(expanded.held[name], older.held[name], "{name}");
            if expanded.held[name] != by_us.held[name] {
                let what = differ(&expanded.held[name], &by_us.held[name]);
                found.insert(name.clone(), what);
            }
        }
    }
    for (name, _) in NOT_EXPANDED {
        assert!(found.remove(name).is_some(), "{name} is no difference");
    }
    assert!(found.is_empty(), "{found:#?}");
}
