//! A town whose Planner was filled by Kommuneklienten: calendars of every kind in Exchange, and what the predecessor
//! wrote of them, under the ids that it chose.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::fmt::Write as _;

use calbridge_sandbox::exchange::{FreeBusy, Occurrence};
use calbridge_sandbox::planner::Resource;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::support::World;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        usize::try_from(z % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    /// Takes one out, whichever.
    pub fn draw<T>(&mut self, from: &mut Vec<T>) -> T {
        let at = self.below(from.len());
        from.swap_remove(at)
    }
}

pub fn denmark() -> TimeZone {
    TimeZone::get("Europe/Copenhagen").unwrap()
}

/// By which clock the predecessor's server wrote the original start of an occurrence into its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// Danish time, as is usual.
    Copenhagen,
    /// A server that runs in UTC.
    Utc,
    /// Danish winter time all the year: the wrong side of the change for occurrences in summer.
    Winter,
    /// Danish summer time all the year.
    Summer,
    /// Now this, now that: the server was moved, and restarted on either side of a change.
    Mixed,
}

impl Rendering {
    pub const ALL: [Self; 5] = [
        Self::Copenhagen,
        Self::Utc,
        Self::Winter,
        Self::Summer,
        Self::Mixed,
    ];

    /// The id of an event: its UID; of an occurrence with its original start.
    pub fn id(self, uid: &str, original: Option<Timestamp>) -> String {
        let Some(original) = original else {
            return uid.to_owned();
        };
        let wall = match self {
            Self::Copenhagen => denmark().to_datetime(original),
            Self::Utc => Offset::UTC.to_datetime(original),
            Self::Winter => Offset::constant(1).to_datetime(original),
            Self::Summer => Offset::constant(2).to_datetime(original),
            Self::Mixed => {
                let seed = original.as_second().unsigned_abs() ^ uid.len() as u64;
                let which = Dice(seed).below(4);
                return Self::ALL[which].id(uid, Some(original));
            }
        };
        format!("{uid}${}", wall.strftime("%Y%m%d-%H%M%S"))
    }

    /// An id that a server with other clocks would have chosen, if there is one.
    pub fn other_id(self, uid: &str, original: Option<Timestamp>) -> Option<String> {
        let own = self.id(uid, original);
        Self::ALL
            .into_iter()
            .map(|other| other.id(uid, original))
            .find(|id| *id != own)
    }
}

pub fn address(person: usize) -> String {
    format!("person{person}@kommune.example")
}

/// Whether the predecessor sends it at all.
pub fn is_sent(occurrence: &Occurrence) -> bool {
    occurrence.free_busy != FreeBusy::Free
        && !occurrence.cancelled
        && occurrence.start < occurrence.end
}

/// Start and end by Danish wall clock, as Planner holds them.
pub fn wall(occurrence: &Occurrence) -> (DateTime, DateTime) {
    match occurrence.dates {
        Some((first, end)) => (first.at(0, 0, 0, 0), end.at(0, 0, 0, 0)),
        None => (
            denmark().to_datetime(occurrence.start),
            denmark().to_datetime(occurrence.end),
        ),
    }
}

/// Midnight in Denmark.
pub fn midnight(day: Date) -> Timestamp {
    denmark().to_timestamp(day.at(0, 0, 0, 0)).unwrap()
}

/// The days from `today` on that are kept in step: three months.
pub fn window(today: Date) -> (Timestamp, Timestamp) {
    (midnight(today), midnight(today + 3.months()))
}

/// A calendar with about `events` occurrences in the three months after the first week of September: series in
/// several zones, at night, of whole days, with exceptions, and single appointments of every kind.
pub fn calendar(person: usize, events: usize) -> String {
    let mut text = String::from("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n");
    let mut dice = Dice(u64::try_from(person).unwrap() + 1);
    let big = events >= 150;
    let weekly = events / 60;

    // Moved over the change of the clock on 25 October, and one that does not take place.
    for series in 0..weekly {
        let (day, hour) = (3 + series % 5, 8 + series);
        let uid = format!("weekly-{person}-{series}@kommune.example");
        let zone = "Europe/Copenhagen";
        let skipped = date(2026, 9, 14) + i64::try_from(day - 3).unwrap().days();
        let moved = date(2026, 10, 19) + i64::try_from(day - 3).unwrap().days();
        master(
            &mut text,
            &uid,
            &format!("DTSTART;TZID={zone}:202608{day:02}T{hour:02}0000"),
            "DURATION:PT45M",
            &format!(
                "RRULE:FREQ=WEEKLY\r\nEXDATE;TZID={zone}:{}T{hour:02}0000",
                skipped.strftime("%Y%m%d")
            ),
        );
        exception(
            &mut text,
            &uid,
            &format!(
                "RECURRENCE-ID;TZID={zone}:{}T{hour:02}0000",
                moved.strftime("%Y%m%d")
            ),
            &format!("DTSTART;TZID={zone}:20261025T{hour:02}3000"),
        );
    }
    let mut foreign = vec![("ny", "America/New_York", "20260804T090000", "WEEKLY")];
    // In the hour that comes twice on 25 October.
    foreign.push(("night", "Europe/Copenhagen", "20260802T023000", "WEEKLY"));
    if big {
        foreign.push(("london", "Europe/London", "20260806T130000", "WEEKLY"));
        foreign.push((
            "often",
            "Europe/Copenhagen",
            "20260803T153000",
            "DAILY;INTERVAL=3",
        ));
    }
    for (name, zone, start, rule) in &foreign {
        let length = if *name == "night" {
            "DURATION:PT3H"
        } else {
            "DURATION:PT1H"
        };
        master(
            &mut text,
            &object_id(&format!("{name}-{person}")),
            &format!("DTSTART;TZID={zone}:{start}"),
            length,
            &format!("RRULE:FREQ={rule}"),
        );
    }
    // Whole days, Fridays; one of them not, one on a Thursday.
    let days = format!("days-{person}@kommune.example");
    master(
        &mut text,
        &days,
        "DTSTART;VALUE=DATE:20260807",
        "DTEND;VALUE=DATE:20260808",
        "RRULE:FREQ=WEEKLY\r\nEXDATE;VALUE=DATE:20261030\r\nX-MICROSOFT-CDO-BUSYSTATUS:OOF",
    );
    let _ = write!(
        text,
        "BEGIN:VEVENT\r\nUID:{days}\r\nDTSTAMP:20260801T000000Z\r\nRECURRENCE-ID;VALUE=DATE:20261023\r\nDTSTART;VALUE=DATE:20261022\r\nDTEND;VALUE=DATE:20261023\r\nSUMMARY:Moved\r\nX-MICROSOFT-CDO-BUSYSTATUS:OOF\r\nEND:VEVENT\r\n"
    );

    let so_far = 13 * (weekly + if big { 4 } else { 3 }) + if big { 30 } else { 0 };
    for single in 0..events.saturating_sub(so_far) {
        let day = date(2026, 9, 7) + i64::try_from(dice.below(90)).unwrap().days();
        let uid = if single % 3 == 0 {
            object_id(&format!("single-{person}-{single}"))
        } else {
            format!("Single-{person}-{single}@kommune.example")
        };
        let compact = day.strftime("%Y%m%d");
        let (when, more) = match single % 20 {
            0 => (
                format!(
                    "DTSTART;VALUE=DATE:{compact}\r\nDTEND;VALUE=DATE:{}",
                    (day + 2.days()).strftime("%Y%m%d")
                ),
                "X-MICROSOFT-CDO-BUSYSTATUS:BUSY",
            ),
            1 => (
                format!("DTSTART;TZID=Europe/Copenhagen:{compact}T220000\r\nDURATION:PT5H"),
                "X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE",
            ),
            2 => (
                format!("DTSTART:{compact}T110000Z\r\nDURATION:PT30M"),
                "TRANSP:TRANSPARENT",
            ),
            _ => (
                format!(
                    "DTSTART;TZID=Europe/Copenhagen:{compact}T{:02}{}000\r\nDURATION:PT30M",
                    7 + dice.below(11),
                    dice.below(6)
                ),
                "X-MICROSOFT-CDO-BUSYSTATUS:BUSY",
            ),
        };
        let _ = write!(
            text,
            "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260801T000000Z\r\n{when}\r\nSUMMARY:Single\r\n{more}\r\nEND:VEVENT\r\n"
        );
    }
    // Began before the days that are kept in step, and reaches into them.
    let _ = write!(
        text,
        "BEGIN:VEVENT\r\nUID:leave-{person}\r\nDTSTAMP:20260801T000000Z\r\nDTSTART;VALUE=DATE:20260904\r\nDTEND;VALUE=DATE:20260909\r\nSUMMARY:Leave\r\nX-MICROSOFT-CDO-BUSYSTATUS:OOF\r\nEND:VEVENT\r\n"
    );
    text.push_str("END:VCALENDAR\r\n");
    text
}

fn master(text: &mut String, uid: &str, start: &str, length: &str, more: &str) {
    let _ = write!(
        text,
        "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260801T000000Z\r\n{start}\r\n{length}\r\n{more}\r\nSUMMARY:Series\r\nEND:VEVENT\r\n"
    );
}

fn exception(text: &mut String, uid: &str, original: &str, start: &str) {
    let _ = write!(
        text,
        "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20260801T000000Z\r\n{original}\r\n{start}\r\nDURATION:PT45M\r\nSUMMARY:Moved\r\nEND:VEVENT\r\n"
    );
}

/// A UID as Outlook makes them: a global object id in hex.
fn object_id(name: &str) -> String {
    let mut id = String::from(
        "040000008200E00074C5B7101A82E0080000000030F2B1A4C5D6DC01000000000000000010000000",
    );
    let mut dice = Dice(name.bytes().fold(7, |sum: u64, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    }));
    for _ in 0..16 {
        let _ = write!(id, "{:02X}", dice.below(256));
    }
    id
}

/// A town of so many people, the clocks of everybody at `now`.
pub async fn town(people: usize, events: usize, now: &str) -> World {
    let world = World::new().await;
    let now: Timestamp = now.parse().unwrap();
    world.exchange.set_clock(Some(now));
    world.planner.set_clock(Some(now));
    for person in 0..people {
        let address = address(person);
        world.exchange.add_person("Somebody", &address).unwrap();
        let report = world
            .exchange
            .seed_ics(&address, &calendar(person, events))
            .unwrap();
        assert!(report.problems.is_empty(), "{report:?}");
        world
            .planner
            .add_resource(Resource::case_worker("Somebody", &address));
    }
    world
}

/// What of a calendar the predecessor has sent by `today`, from two weeks before on.
pub fn sent(world: &World, address: &str, today: Date) -> Vec<Occurrence> {
    let (start, end) = window(today);
    let start = start - SignedDuration::from_hours(14 * 24);
    let mut found = world.exchange.occurrences(address, start, end);
    found.retain(is_sent);
    found
}
