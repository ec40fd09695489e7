//! The program writes calendars into Exchange: from files, through trouble, and again after its memory is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_sandbox::exchange::{Attendee, Folder, NewItem, Person, Zone};
use jiff::Timestamp;
use serde_json::Value;
use support::{ANNA, Done, World, wall};

const FROM: &str = "2026-11-01T00:00:00Z";
const TO: &str = "2027-03-01T00:00:00Z";

/// A calendar with a single appointment, whole days, and a series with an exception.
const CALENDAR: &str = "BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Kalender//DA
BEGIN:VEVENT
UID:single
DTSTAMP:20261101T080000Z
DTSTART;TZID=Europe/Copenhagen:20261201T090000
DTEND;TZID=Europe/Copenhagen:20261201T103000
SUMMARY:Byggesag
LOCATION:Lokale 3
DESCRIPTION:Første linje\\nanden linje
CATEGORIES:Rød
END:VEVENT
BEGIN:VEVENT
UID:days
DTSTAMP:20261101T080000Z
DTSTART;VALUE=DATE:20261224
DTEND;VALUE=DATE:20261227
SUMMARY:Jul
X-MICROSOFT-CDO-BUSYSTATUS:OOF
END:VEVENT
BEGIN:VEVENT
UID:series
DTSTAMP:20261101T080000Z
DTSTART;TZID=Europe/Copenhagen:20261202T110000
DTEND;TZID=Europe/Copenhagen:20261202T120000
RRULE:FREQ=WEEKLY;COUNT=4
SUMMARY:Tavlemøde
END:VEVENT
BEGIN:VEVENT
UID:series
DTSTAMP:20261101T080000Z
RECURRENCE-ID;TZID=Europe/Copenhagen:20261209T110000
DTSTART;TZID=Europe/Copenhagen:20261210T130000
DTEND;TZID=Europe/Copenhagen:20261210T140000
SUMMARY:Tavlemøde\\, flyttet
END:VEVENT
END:VCALENDAR
";

struct Way {
    world: World,
}

impl Way {
    async fn new() -> Self {
        let way = Self {
            world: World::new().await,
        };
        let folder = way.world.dir.path().join("calendars");
        std::fs::create_dir(&folder).unwrap();
        way.put(CALENDAR);
        let files = format!(
            "[connections.files]\nconnector = \"ical-source\"\npath = {folder:?}\n[[sync]]"
        );
        way.world.configure(|text| {
            let text = text
                .replace("home_zone", "writable = true\nhome_zone")
                .replace("timeout = \"20 s\"", "timeout = \"3 s\"")
                .replace("[[sync]]", &files)
                .replace("source = \"exchange\"", "source = \"files\"")
                .replace("sink = \"planner\"", "sink = \"exchange\"");
            format!("{text}window = {{ past = \"1 month\", future = \"3 months\" }}\n")
        });
        way
    }

    fn put(&self, text: &str) {
        let file = self.world.dir.path().join(format!("calendars/{ANNA}.ics"));
        std::fs::write(file, text.replace('\n', "\r\n")).unwrap();
    }

    async fn sync(&self, minute: u32) -> Done {
        let now = format!("2026-11-23T08:{minute:02}:00Z");
        self.world.exchange.set_clock(Some(now.parse().unwrap()));
        self.world.run_at(&now, &["sync", "--json"], |_| {}).await
    }

    async fn good(&self, minute: u32) -> Value {
        let report = self.sync(minute).await.expect(0).json();
        report["syncs"][0]["total"].clone()
    }

    /// Subject, start and end of what the calendar holds.
    fn held(&self) -> Vec<(String, String, String)> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        self.world
            .exchange
            .occurrences(ANNA, at(FROM), at(TO))
            .into_iter()
            .map(|one| match one.dates {
                Some((first, after)) => (one.subject, first.to_string(), after.to_string()),
                None => (one.subject, one.start.to_string(), one.end.to_string()),
            })
            .collect()
    }

    fn count(&self, operation: &str) -> usize {
        let calls = self.world.exchange.ledger().all();
        let of = calls.iter().filter(|call| call.operation == operation);
        of.count()
    }

    fn writes(&self) -> usize {
        ["CreateItem", "UpdateItem", "DeleteItem"]
            .iter()
            .map(|operation| self.count(operation))
            .sum()
    }
}

fn as_meant() -> Vec<(String, String, String)> {
    [
        ("Byggesag", "2026-12-01T08:00:00Z", "2026-12-01T09:30:00Z"),
        ("Tavlemøde", "2026-12-02T10:00:00Z", "2026-12-02T11:00:00Z"),
        (
            "Tavlemøde, flyttet",
            "2026-12-10T12:00:00Z",
            "2026-12-10T13:00:00Z",
        ),
        ("Tavlemøde", "2026-12-16T10:00:00Z", "2026-12-16T11:00:00Z"),
        ("Tavlemøde", "2026-12-23T10:00:00Z", "2026-12-23T11:00:00Z"),
        ("Jul", "2026-12-24", "2026-12-27"),
    ]
    .map(|(subject, start, end)| (subject.to_owned(), start.to_owned(), end.to_owned()))
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_to_exchange_and_stay_in_step() {
    let way = Way::new().await;
    // Somebody's own appointment and meeting lie there too.
    way.world
        .appointment(ANNA, "Own", "2027-01-05T09:00", "2027-01-05T10:00");
    let meeting = NewItem::at(
        "Meeting",
        wall("2027-01-06T09:00"),
        wall("2027-01-06T10:00"),
        &Zone::denmark(),
    )
    .with(|item| {
        item.required = vec![Attendee {
            person: Person::new("Carl", "carl@elsewhere.example"),
            ..Attendee::default()
        }];
    });
    let meeting = way.world.exchange.create(ANNA, meeting).unwrap();
    let untouched = way.world.exchange.read(meeting).unwrap();
    let with_own = |mut meant: Vec<(String, String, String)>| {
        for (subject, day) in [("Own", 5), ("Meeting", 6)] {
            let at = |hour| format!("2027-01-{day:02}T{hour:02}:00:00Z");
            meant.push((subject.to_owned(), at(8), at(9)));
        }
        meant
    };

    let total = way.good(1).await;
    assert_eq!(total["created"], 6, "{total}");
    assert_eq!(way.held(), with_own(as_meant()));
    // Nothing changed, nothing is written; not either when all is compared.
    way.world.exchange.ledger().clear();
    for args in [
        &["sync", "--json"][..],
        &["sync", "--full", "--reconcile", "--json"],
    ] {
        let done = way.world.run_at("2026-11-23T08:05:00Z", args, |_| {}).await;
        done.expect(0);
    }
    assert_eq!(way.writes(), 0);
    assert!(way.count("FindItem") > 0);

    // One is changed, one goes, one is new.
    let changed = CALENDAR
        .replace("LOCATION:Lokale 3", "LOCATION:Lokale 4")
        .replace("DTSTART;VALUE=DATE:20261224", "DTSTART;VALUE=DATE:20261223")
        .replace("COUNT=4", "COUNT=3");
    way.put(&changed);
    let total = way.good(10).await;
    assert_eq!(
        (&total["created"], &total["updated"], &total["deleted"]),
        (&0.into(), &2.into(), &1.into()),
        "{total}"
    );
    let mut meant = as_meant();
    meant.remove(4);
    meant[4].1 = "2026-12-23".to_owned();
    assert_eq!(
        {
            let mut held = way.held();
            held.sort();
            held
        },
        {
            let mut meant = with_own(meant);
            meant.sort();
            meant
        }
    );
    assert_eq!(way.world.exchange.read(meeting).unwrap(), untouched);

    // What somebody changed in Exchange is put back once it is looked at.
    let single = way.world.exchange.find(ANNA, "single")[0];
    way.world
        .exchange
        .change(single, |held| "Somebody's".clone_into(&mut held.subject))
        .unwrap();
    let done = way
        .world
        .run_at(
            "2026-11-23T08:20:00Z",
            &["sync", "--reconcile", "--json"],
            |_| {},
        )
        .await;
    done.expect(0);
    assert_eq!(
        way.world.exchange.read(single).unwrap().3.subject,
        "Byggesag"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_answers_are() {
    for fault in [
        "CreateItem#1=reset-after",
        "CreateItem#1=hang-after",
        "CreateItem#1=status-after:500",
        "CreateItem#1=item-refused:ErrorTimeoutExpired/2",
        "CreateItem#1=malformed",
        "GetItem#1=status:500",
        "FindItem#1=reset-before",
    ] {
        let way = Way::new().await;
        way.world.exchange.inject_spec(fault).unwrap();
        for minute in [1, 15, 30, 45] {
            way.sync(minute).await;
        }
        assert_eq!(way.held(), as_meant(), "{fault}");
        way.world.exchange.ledger().clear();
        way.sync(59).await.expect(0);
        assert_eq!(way.writes(), 0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_memory_nothing_is_doubled() {
    let way = Way::new().await;
    way.good(1).await;
    assert_eq!(way.held(), as_meant());
    for entry in std::fs::read_dir(way.world.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("state.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    way.world.exchange.ledger().clear();
    for minute in [10, 20, 30] {
        way.sync(minute).await;
    }
    assert_eq!(way.held(), as_meant());
    let items = way.world.exchange.items(ANNA, Folder::Calendar);
    assert_eq!(items.len(), 6);
    assert_eq!(way.count("CreateItem") + way.count("DeleteItem"), 0);
}
