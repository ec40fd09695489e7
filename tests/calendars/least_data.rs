//! Least data: what Planner does not need is not asked for, not kept, not logged and not sent. Every text of the
//! seeded calendars is a canary.

use std::path::Path;

use calbridge_sandbox::exchange::Profile;

use crate::support::World;
use crate::ways::{File, FilesWay, Setting, exchange_way};

const SETTING: Setting<'_> = Setting {
    now: "2026-10-19T06:00:00Z",
    window: "{ past = \"1 month\", future = \"3 months\" }",
};

/// In every text below; nothing else has it.
const CANARY: &str = "kanarie";

/// Every property of an appointment that says more than when it is, in the forms that different programs use.
const CALENDAR: &str = "BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Kalender//DA
X-WR-CALNAME:Kanariefugl
BEGIN:VEVENT
UID:plain
DTSTAMP:20260901T080000Z
DTSTART;TZID=Europe/Copenhagen:20261021T090000
DTEND;TZID=Europe/Copenhagen:20261021T100000
SUMMARY;LANGUAGE=da:Kanarie-emne
DESCRIPTION:Kanarie-tekst\\nom en borger
X-ALT-DESC;FMTTYPE=text/html:<p>Kanarie-html</p>
LOCATION:Kanarie-sted
CATEGORIES:Kanarie-kategori
COMMENT:Kanarie-kommentar
CONTACT:Kanarie-kontakt
URL:https://kanarie.example/moede
ATTACH:https://kanarie.example/fil
ORGANIZER;CN=Kanarie Leder:mailto:kanarie.leder@kommune.example
ATTENDEE;CN=Kanarie Borger;PARTSTAT=ACCEPTED:mailto:kanarie.borger@kommune.example
ATTENDEE;CN=Kanarie Lokale;CUTYPE=ROOM:mailto:kanarie.lokale@kommune.example
END:VEVENT
BEGIN:VEVENT
UID:series
DTSTAMP:20260901T080000Z
DTSTART;TZID=Europe/Copenhagen:20261022T110000
DTEND;TZID=Europe/Copenhagen:20261022T120000
RRULE:FREQ=WEEKLY;COUNT=6
SUMMARY:Kanarie-serie
CLASS:PRIVATE
BEGIN:VALARM
ACTION:DISPLAY
TRIGGER:-PT15M
DESCRIPTION:Kanarie-alarm
END:VALARM
END:VEVENT
BEGIN:VEVENT
UID:series
DTSTAMP:20260901T080000Z
RECURRENCE-ID;TZID=Europe/Copenhagen:20261105T110000
DTSTART;TZID=Europe/Copenhagen:20261106T110000
DTEND;TZID=Europe/Copenhagen:20261106T120000
SUMMARY:Kanarie-undtagelse
LOCATION:Kanarie-andet-sted
END:VEVENT
END:VCALENDAR
";

/// An event that cannot be read, all of it canaries.
const UNREADABLE: &str = "BEGIN:VEVENT
UID:kanarie-uid
DTSTAMP:20260901T080000Z
DTSTART;TZID=Kanarie/Zone:20261021T090000
DTEND;TZID=Kanarie/Zone:20261021T100000
SUMMARY:Kanarie-ulaeselig
END:VEVENT
END:VCALENDAR";

fn holds(bytes: &[u8]) -> bool {
    let folded = bytes.to_ascii_lowercase();
    let wide: Vec<u8> = CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [CANARY.as_bytes(), &wide]
        .iter()
        .any(|needle| folded.windows(needle.len()).any(|window| window == *needle))
}

/// The calendar of `name`, as a file of its own in `folder`.
fn file(folder: &Path, name: &str, text: &str) -> File {
    let path = folder.join(format!("{name}.ics"));
    std::fs::write(&path, text.replace('\n', "\r\n")).unwrap();
    File {
        name: name.to_owned(),
        path,
    }
}

/// Runs the commands of a day, with trouble at first, and searches everything that came of them.
async fn nothing_in(world: &World, name: &str) {
    world
        .planner
        .inject("CreateEvents#1=status-after:502".parse().unwrap())
        .unwrap();
    let mut log = String::new();
    let mut out = String::new();
    let address = format!("{name}@kommune.example");
    for (minute, args) in [
        &["sync", "--json"][..],
        &["sync"],
        &["sync", "--full", "--reconcile", "--json"],
        &["plan", "--json"],
        &["status", "--json"],
        &["explain", &address, "2026-10-21"],
        &["check"],
    ]
    .into_iter()
    .enumerate()
    {
        let now = format!("2026-10-19T07:{:02}:00Z", 5 * minute);
        let now_at = now.parse().unwrap();
        world.planner.set_clock(Some(now_at));
        world.exchange.set_clock(Some(now_at));
        let done = world.run_at(&now, args, |_| {}).await;
        log.push_str(&done.stderr);
        out.push_str(&done.stdout);
    }
    // What is searched is there, and a canary would be found.
    assert!(holds(CALENDAR.as_bytes()));
    assert_eq!(world.planner.events(&address).len(), 7, "{log}");
    assert!(log.contains(" INFO ") && log.contains(" WARN "), "{log}");
    assert!(world.state_holds(&address), "the state file is elsewhere");
    let ledger: Vec<String> = world
        .planner
        .ledger()
        .all()
        .into_iter()
        .flat_map(|call| [call.detail.request_xml, call.detail.response_xml])
        .flatten()
        .collect();
    let ledger = ledger.join("\n");
    assert!(ledger.contains(&address) && ledger.contains("CreateEvents"));

    assert!(!holds(log.as_bytes()), "{log}");
    assert!(!log.contains(&address), "{log}");
    assert!(!holds(out.as_bytes()), "{out}");
    assert!(!holds(ledger.as_bytes()), "{ledger}");
    for entry in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!holds(&bytes), "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_an_appointment_leaves_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let files = [file(folder.path(), "carla", CALENDAR)];
    let (world, trouble) = exchange_way(&files, SETTING, Profile::Exchange2019).await;
    assert!(trouble.is_empty(), "{trouble:?}");
    world
        .exchange
        .inject_spec("GetItem#1=truncate:700")
        .unwrap();
    nothing_in(&world, "carla").await;

    // Nothing was asked for that says more than when, and whether it counts.
    let calls = world.exchange.ledger().all();
    assert!(calls.iter().any(|call| call.operation == "SyncFolderItems"));
    for call in &calls {
        assert!(call.detail.valid, "{call:?}");
        let request = String::from_utf8(call.detail.request.clone().unwrap().to_vec()).unwrap();
        assert!(!holds(request.as_bytes()), "{request}");
        for forbidden in [
            "Subject",
            "Body",
            "Attendees",
            "Organizer",
            "Location",
            "Categories",
            "Display",
            "Sender",
            "From",
            "Attachments",
            "Mime",
            "AllProperties",
            "Default",
        ] {
            let asked = call
                .detail
                .properties
                .iter()
                .find(|property| property.contains(forbidden));
            assert!(asked.is_none(), "{}: {asked:?}", call.operation);
        }
    }
    assert!(
        calls.iter().any(|call| call
            .detail
            .properties
            .iter()
            .any(|one| one.contains("Start"))),
        "{calls:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_a_file_is_kept_logged_or_sent() {
    let folder = tempfile::tempdir().unwrap();
    let text = CALENDAR.replace("END:VCALENDAR", UNREADABLE);
    let files = [file(folder.path(), "carla", &text)];
    let way = FilesWay::new(&files, SETTING).await;
    nothing_in(&way.world, "carla").await;
    // A file that breaks in the middle of a text tells nothing of it either.
    let whole = std::fs::read_to_string(way.place(&files[0])).unwrap();
    let middle = whole.find("-tekst").unwrap();
    std::fs::write(way.place(&files[0]), &whole[..middle]).unwrap();
    let done = way
        .world
        .run_at("2026-10-19T09:00:00Z", &["sync"], |_| {})
        .await;
    assert_ne!(done.code, Some(0), "{done:?}");
    assert!(done.all().contains("cut short"), "{done:?}");
    assert!(!holds(done.all().as_bytes()), "{done:?}");
}
