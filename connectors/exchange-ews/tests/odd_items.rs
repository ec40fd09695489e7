//! Odd items, in a view and in a listing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::model::{Field, ShowAs};
use support::script::{
    Script, ZONE, created, envelope, err, failure, folder, found, got, item, master, success, sync,
};
use support::{ANNA, after, read, request, window};

fn december() -> calbridge_core::model::Window {
    window("2026-12-01T00:00", "2026-12-31T00:00")
}

async fn serve(items: Vec<String>, lists: bool) -> Script {
    Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let kind = if lists { "RecurringMaster" } else { "Single" };
            let known = body.contains("<m:SyncState>");
            return sync(
                "s1",
                &if known {
                    String::new()
                } else {
                    created("M", kind)
                },
            );
        }
        if body.contains("GetItem") {
            let asked: Vec<String> = body
                .split("<t:ItemId Id=\"")
                .skip(1)
                .map(|rest| {
                    let id = rest.split('"').next().unwrap();
                    items
                        .iter()
                        .find(|item| item.contains(&format!("Id=\"{id}\"")))
                        .cloned()
                        .unwrap_or_else(|| master(""))
                })
                .collect();
            return got(&asked);
        }
        let mut all = items.clone();
        if lists {
            all.push(master(""));
        }
        found(&all)
    })
    .await
}

#[tokio::test]
async fn items_with_impossible_times_are_kept_and_spoil_no_others() {
    let good = item(
        "G",
        "Single",
        "2026-12-02T08:00:00Z",
        "2026-12-02T09:00:00Z",
        ZONE,
    );
    let point = item(
        "P",
        "Single",
        "2026-12-02T08:00:00Z",
        "2026-12-02T08:00:00Z",
        ZONE,
    );
    let backwards = item(
        "B",
        "Single",
        "2026-12-02T09:00:00Z",
        "2026-12-02T08:00:00Z",
        ZONE,
    );
    let no_start =
        item("N", "Single", "", "2026-12-02T08:00:00Z", ZONE).replace("<t:Start></t:Start>", "");
    let nonsense = item(
        "X",
        "Single",
        "0000-00-00T00:00:00Z",
        "2026-12-02T08:00:00Z",
        ZONE,
    );
    let far = item(
        "F",
        "Single",
        "4500-12-31T23:59:00Z",
        "4501-01-01T00:00:00Z",
        ZONE,
    );
    for lists in [false, true] {
        let items = vec![
            good.clone(),
            point.clone(),
            backwards.clone(),
            no_start.clone(),
            nonsense.clone(),
            far.clone(),
        ];
        let server = serve(items, lists).await;
        let feed = read(server.connect().as_ref(), request(ANNA, december()))
            .await
            .unwrap();
        let mut ids: Vec<&str> = feed
            .events
            .iter()
            .map(|e| e.item.id.as_str())
            .filter(|id| !id.contains('#'))
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["G", "P"], "{lists}");
        let mut kept: Vec<&str> = feed
            .unreadable
            .iter()
            .filter_map(|(_, uid, _)| uid.as_deref())
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, ["uid-B", "uid-N", "uid-X"], "{lists}");
        assert_eq!(feed.snapshots, [december()]);
        let again = read(
            server.connect().as_ref(),
            after(&feed, &request(ANNA, december())),
        )
        .await;
        again.unwrap();
    }
}

#[tokio::test]
async fn other_classes_are_left_out_and_subclasses_are_not() {
    let with = |id: &str, class: &str| {
        item(
            id,
            "Single",
            "2026-12-02T08:00:00Z",
            "2026-12-02T09:00:00Z",
            ZONE,
        )
        .replace("IPM.Appointment", class)
    };
    let request_item =
        with("R", "IPM.Schedule.Meeting.Request").replace("t:CalendarItem>", "t:MeetingRequest>");
    let items = vec![
        with("A", "IPM.Appointment.Live Meeting Request"),
        with("B", "ipm.appointment"),
        with("C", "IPM.AppointmentX"),
        with("D", "IPM.Note"),
        with("E", "IPM.Task"),
        request_item,
    ];
    for lists in [false, true] {
        let server = serve(items.clone(), lists).await;
        let feed = read(server.connect().as_ref(), request(ANNA, december()))
            .await
            .unwrap();
        let mut ids: Vec<&str> = feed
            .events
            .iter()
            .map(|e| e.item.id.as_str())
            .filter(|id| !id.contains('#'))
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["A", "B"], "{lists}");
        assert!(feed.unreadable.is_empty());
    }
}

#[tokio::test]
async fn whole_days_in_zones_of_all_sorts_are_the_days_of_their_author() {
    let custom = |bias: &str| {
        format!(
            r#"<t:StartTimeZoneId>tzone://Microsoft/Custom</t:StartTimeZoneId><t:StartTimeZone Id="tzone://Microsoft/Custom" Name="tzone://Microsoft/Custom"><t:Periods><t:Period Bias="{bias}" Name="Standard" Id="P"/></t:Periods><t:TransitionsGroups><t:TransitionsGroup Id="0"><t:Transition><t:To Kind="Period">P</t:To></t:Transition></t:TransitionsGroup></t:TransitionsGroups><t:Transitions><t:Transition><t:To Kind="Group">0</t:To></t:Transition></t:Transitions></t:StartTimeZone>"#
        )
    };
    let day = |id: &str, start: &str, end: &str, more: &str| {
        item(id, "Single", start, end, more).replace("IsAllDayEvent>false", "IsAllDayEvent>true")
    };
    let items = vec![
        day("A", "2026-12-01T23:00:00Z", "2026-12-02T23:00:00Z", ZONE),
        day(
            "B",
            "2026-12-02T00:00:00Z",
            "2026-12-03T00:00:00Z",
            "<t:StartTimeZoneId>UTC</t:StartTimeZoneId>",
        ),
        day(
            "C",
            "2026-12-02T05:00:00Z",
            "2026-12-03T05:00:00Z",
            "<t:StartTimeZoneId>Eastern Standard Time</t:StartTimeZoneId>",
        ),
        day(
            "D",
            "2026-12-01T11:00:00Z",
            "2026-12-02T11:00:00Z",
            "<t:StartTimeZoneId>New Zealand Standard Time</t:StartTimeZoneId>",
        ),
        day(
            "E",
            "2026-12-02T10:00:00Z",
            "2026-12-03T10:00:00Z",
            "<t:StartTimeZoneId>Hawaiian Standard Time</t:StartTimeZoneId>",
        ),
        day(
            "F",
            "2026-12-01T18:30:00Z",
            "2026-12-02T18:30:00Z",
            &custom("-PT5H30M"),
        ),
        day(
            "G",
            "2026-12-01T11:00:00Z",
            "2026-12-02T11:00:00Z",
            &custom("-PT13H"),
        ),
        day(
            "H",
            "2026-12-02T12:00:00Z",
            "2026-12-03T12:00:00Z",
            &custom("PT12H"),
        ),
        // The author's clock, with and without its offset.
        day(
            "I",
            "2026-12-01T10:00:00Z",
            "2026-12-02T10:00:00Z",
            "<t:StartTimeZoneId>?</t:StartTimeZoneId><t:StartWallClock>2026-12-02T00:00:00</t:StartWallClock><t:EndWallClock>2026-12-03T00:00:00</t:EndWallClock>",
        ),
        day(
            "J",
            "2026-12-01T10:00:00Z",
            "2026-12-02T10:00:00Z",
            "<t:StartTimeZoneId>?</t:StartTimeZoneId><t:StartWallClock>2026-12-02T00:00:00+14:00</t:StartWallClock><t:EndWallClock>2026-12-03T00:00:00+14:00</t:EndWallClock>",
        ),
    ];
    for lists in [false, true] {
        let server = serve(items.clone(), lists).await;
        let feed = read(server.connect().as_ref(), request(ANNA, december()))
            .await
            .unwrap();
        assert!(feed.unreadable.is_empty(), "{:?}", feed.unreadable);
        for event in feed.events.iter().filter(|e| !e.item.id.contains('#')) {
            let calbridge_core::model::EventTime::AllDay { start, end } = event.content.time else {
                panic!()
            };
            assert_eq!(
                (start.to_string(), end.to_string()),
                ("2026-12-02".to_owned(), "2026-12-03".to_owned()),
                "{} {lists}",
                event.item.id
            );
        }
        assert_eq!(
            feed.events
                .iter()
                .filter(|e| !e.item.id.contains('#'))
                .count(),
            items.len()
        );
    }
}

#[tokio::test]
async fn sensitivities_and_states() {
    let with = |id: &str, more: &str| {
        item(
            id,
            "Single",
            "2026-12-02T08:00:00Z",
            "2026-12-02T09:00:00Z",
            &format!("{ZONE}{more}"),
        )
    };
    let sensitive = |value: &str| format!("<t:Sensitivity>{value}</t:Sensitivity>");
    let items = vec![
        with("A", &sensitive("Normal")),
        with("B", &sensitive("Private")),
        with("C", &sensitive("Personal")),
        with("D", &sensitive("Confidential")),
        with("E", ""),
    ];
    let server = serve(items, false).await;
    let mut request = request(ANNA, december());
    request.fields = [Field::Time, Field::Private].into_iter().collect();
    let feed = read(server.connect().as_ref(), request).await.unwrap();
    let mut private: Vec<_> = feed
        .events
        .iter()
        .map(|e| (e.item.id.as_str(), e.content.private))
        .collect();
    private.sort();
    assert_eq!(
        private,
        [
            ("A", Some(false)),
            ("B", Some(true)),
            ("C", Some(true)),
            ("D", Some(true)),
            ("E", Some(false))
        ]
    );
    assert!(
        feed.events
            .iter()
            .all(|e| e.content.show_as == Some(ShowAs::Busy))
    );
}

#[tokio::test]
async fn a_damaged_item_that_spoils_every_view_stops_no_other() {
    for code in [
        "ErrorItemCorrupt",
        "ErrorCorruptData",
        "ErrorCalendarInvalidRecurrence",
        "ErrorInternalServerError",
    ] {
        let server = Script::start(move |body, _| {
            if body.contains("GetFolder") {
                return folder("F");
            }
            if body.contains("<m:SyncFolderItems>") {
                let all = created("M", "RecurringMaster") + &created("D", "RecurringMaster");
                let known = body.contains("<m:SyncState>");
                return sync("s1", if known { "" } else { &all });
            }
            let single = item(
                "S",
                "Single",
                "2026-12-02T08:00:00Z",
                "2026-12-02T09:00:00Z",
                ZONE,
            );
            let damaged = master("").replace(r#"Id="M""#, r#"Id="D""#);
            let damaged = damaged.replace("uid-M", "uid-D");
            if body.contains("CalendarView") {
                return err("FindItem", code);
            }
            if body.contains("FindItem") {
                return found(&[single, damaged, master("")]);
            }
            let messages: String = body
                .split("<t:ItemId Id=\"")
                .skip(1)
                .map(|rest| match rest.starts_with('D') {
                    true => failure("GetItem", "ErrorItemCorrupt"),
                    false => success("GetItem", &format!("<m:Items>{}</m:Items>", master(""))),
                })
                .collect();
            envelope("GetItem", &messages)
        })
        .await;
        // A server that is known to expand, and one of which it is not known.
        for expands in ["yes", "unknown"] {
            let mut request = request(ANNA, december());
            let cursor = format!(r#"{{"folder":"F","state":"","expands":"{expands}"}}"#);
            request.cursor = Some(calbridge_core::connector::Cursor(cursor));
            let feed = read(server.connect().as_ref(), request).await.unwrap();
            assert_eq!(feed.events.len(), 5, "{code}: four Mondays and the single");
            assert_eq!(feed.unreadable.len(), 1, "{code}");
            assert_eq!(feed.unreadable[0].1.as_deref(), Some("uid-D"), "{code}");
            assert_eq!(feed.snapshots, [december()], "{code}");
            assert!(
                feed.cursor.unwrap().0.contains(expands),
                "nothing is proven"
            );
        }
    }
}
