//! Twenty calendars of some ten events, and what changes in them.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use calbridge_sandbox::exchange::{FreeBusy, ItemHandle, NewItem, Zone};
use jiff::{SignedDuration, Timestamp};

use crate::support::{ANNA, BO, ROOM, World, wall};

pub fn addresses() -> Vec<String> {
    let others = (0..17).map(|person| format!("person{person}@kommune.example"));
    [ANNA, BO, ROOM]
        .map(str::to_owned)
        .into_iter()
        .chain(others)
        .collect()
}

/// A calendar like many: a weekly series with exceptions, days off, appointments, free time.
pub fn calendar(person: usize) -> String {
    let hour = 8 + person % 8;
    let day = 1 + person;
    let mut events = format!(
        "BEGIN:VEVENT\r\nUID:weekly-{person}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART;TZID=Europe/Copenhagen:20261125T{hour:02}0000\r\nDURATION:PT45M\r\nRRULE:FREQ=WEEKLY;COUNT=6\r\nEXDATE;TZID=Europe/Copenhagen:20261209T{hour:02}0000\r\nSUMMARY:Team\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:weekly-{person}\r\nDTSTAMP:20261101T000000Z\r\nRECURRENCE-ID;TZID=Europe/Copenhagen:20261202T{hour:02}0000\r\nDTSTART;TZID=Europe/Copenhagen:20261203T110000\r\nDURATION:PT30M\r\nSUMMARY:Team, moved\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:off-{person}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART;VALUE=DATE:202612{:02}\r\nDTEND;VALUE=DATE:202612{:02}\r\nSUMMARY:Off\r\nX-MICROSOFT-CDO-BUSYSTATUS:OOF\r\nEND:VEVENT\r\n\
         BEGIN:VEVENT\r\nUID:lunch-{person}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:20261127T110000Z\r\nDTEND:20261127T113000Z\r\nSUMMARY:Lunch\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT\r\n",
        day,
        day + 2,
    );
    for day in 24..28 {
        events.push_str(&format!(
            "BEGIN:VEVENT\r\nUID:single-{person}-{day}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:202611{day}T{person:02}0000Z\r\nDTEND:202611{day}T{person:02}3000Z\r\nSUMMARY:Single\r\nEND:VEVENT\r\n",
        ));
    }
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n{events}END:VCALENDAR\r\n")
}

/// Moves, cancels, deletes and adds; the same in every world.
pub fn change(world: &World, person: usize, address: &str) {
    let exchange = &world.exchange;
    let item = |uid: &str| -> ItemHandle {
        exchange
            .find(address, &format!("{uid}-{person}"))
            .into_iter()
            .chain(exchange.find(address, &format!("single-{person}-{uid}")))
            .next()
            .unwrap()
    };
    exchange
        .move_in_time(item("24"), SignedDuration::from_mins(45))
        .unwrap();
    match person % 3 {
        0 => exchange.cancel(item("25")).unwrap(),
        1 => exchange.show_as(item("25"), FreeBusy::Free).unwrap(),
        _ => exchange.hard_delete(item("25")).unwrap(),
    }
    if person.is_multiple_of(2) {
        exchange.delete(item("26")).unwrap();
    } else {
        exchange.show_as(item("lunch"), FreeBusy::Busy).unwrap();
    }
    // Copenhagen is an hour ahead of UTC in winter.
    let original: Timestamp = format!("2026-12-16T{:02}:00:00Z", 7 + person % 8)
        .parse()
        .unwrap();
    if person % 4 < 2 {
        exchange
            .move_occurrence(item("weekly"), original, SignedDuration::from_hours(3))
            .unwrap();
    } else {
        exchange
            .delete_occurrence(item("weekly"), original)
            .unwrap();
    }
    for number in 0..2 {
        let start = format!("2026-12-{:02}T13:00", 20 + number);
        let end = format!("2026-12-{:02}T14:30", 20 + number);
        let new = NewItem::at("New", wall(&start), wall(&end), &Zone::denmark());
        exchange
            .create(address, new.uid(format!("new-{person}-{number}")))
            .unwrap();
    }
}
