//! Calendars of real programs, where they lie beside the workspace: the same by both ways, every difference
//! accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::ways::{Difference, File, Setting, by_exchange, by_files, compare, folder};

const NO_UID: &str = "each way makes up a UID of its own where there is none";

/// All differences that there may be, with the reason.
const EXPLAINED: [(&str, Difference, &str); 6] = [
    ("broken-exchange-cdo-no-uid", Difference::Ids, NO_UID),
    (
        "broken-exchange-unfolded-description",
        Difference::Ids,
        NO_UID,
    ),
    ("broken-google-empty-exdate", Difference::Ids, NO_UID),
    ("broken-stray-line", Difference::Ids, NO_UID),
    ("exchange-owa-display-name-tz", Difference::Ids, NO_UID),
    ("thunderbird-latin1", Difference::Ids, NO_UID),
];

/// Files that only one way finds broken, with the reason.
const BROKEN_ON_ONE_WAY: [(&str, &str); 3] = [
    (
        "broken-stray-line",
        "a line between components that is no property: an import names it, and it takes nothing from a calendar",
    ),
    (
        "broken-outlook-freebusy-dates",
        "a VCALENDAR without a VEVENT is an empty calendar, but nothing to import",
    ),
    (
        "nextcloud-itip-cancel",
        "a cancellation need not say when (RFC 5546, 3.2.5), but cannot be imported without",
    ),
];

/// The year in which a file's first event begins; none where no event says so.
fn year(file: &File) -> Option<i16> {
    let bytes = std::fs::read(&file.path).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let mut inside = false;
    let mut years = Vec::new();
    for line in text.lines() {
        match line.trim_end() {
            "BEGIN:VEVENT" => inside = true,
            "END:VEVENT" => inside = false,
            line if inside && line.starts_with("DTSTART") => {
                let value = line.rsplit(':').next().unwrap_or_default();
                years.extend(value.get(..4).and_then(|year| year.parse::<i16>().ok()));
            }
            _ => {}
        }
    }
    years.into_iter().min()
}

#[tokio::test(flavor = "multi_thread")]
async fn real_calendars_reach_planner_the_same_by_both_ways_when_they_were_made() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/calendars");
    let Some(files) = folder(&place) else {
        println!("skipped: there are no calendars beside the workspace");
        return;
    };
    // Two years at a time, so that most have events, exceptions and changes of the clock in the window.
    let mut by_time: BTreeMap<i16, Vec<File>> = BTreeMap::new();
    for file in files {
        let year = year(&file).unwrap_or(2024);
        by_time.entry(year - year % 2).or_default().push(file);
    }
    let mut differences: BTreeMap<(String, Difference), String> = BTreeMap::new();
    let mut one_sided: BTreeMap<String, String> = BTreeMap::new();
    let (mut told, mut events) = (BTreeSet::new(), 0);
    for (year, files) in &by_time {
        let now = format!("{year}-01-02T06:00:00Z");
        let setting = Setting {
            now: &now,
            window: "{ past = \"1 month\", future = \"26 months\" }",
        };
        let (by_files, by_exchange) =
            tokio::join!(by_files(files, setting), by_exchange(files, setting));
        for file in files {
            let name = &file.name;
            events += by_files.held[name].len();
            if !by_files.held[name].is_empty() {
                told.insert(name.clone());
            }
            // What Exchange's way should tell is another test's matter; here it is the measure.
            for (difference, what) in
                compare(name, &by_files, &by_exchange, &by_exchange.spans(name))
            {
                differences.insert((name.clone(), difference), what);
            }
            let (mine, other) = (by_files.trouble.get(name), by_exchange.trouble.get(name));
            if mine.is_some() != other.is_some() {
                one_sided.insert(name.clone(), format!("{mine:?}, {other:?}"));
            }
        }
    }
    println!("{events} events in {} files", told.len());
    for (name, difference, _) in EXPLAINED {
        let key = (name.to_owned(), difference);
        assert!(
            differences.remove(&key).is_some(),
            "{key:?} is no difference"
        );
    }
    for (name, _) in BROKEN_ON_ONE_WAY {
        assert!(one_sided.remove(name).is_some(), "{name} is no difference");
    }
    // A difference that is not explained is a defect of a connector or of the sandbox.
    assert!(
        differences.is_empty() && one_sided.is_empty(),
        "{differences:#?}{one_sided:#?}"
    );
    assert!(events > 1000 && told.len() > 30, "{events} {told:?}");
}
