//! What a feed reports, what it costs, and what it never does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{ChangesRequest, ErrorKind};
use calbridge_core::model::{CalendarRef, Coverage, Field, FieldSet, ItemRef, ShowAs};
use calbridge_sandbox::exchange::{
    Account, ExchangeOptions, Folder, FreeBusy, Profile, Range, Right,
};
use calbridge_sandbox::fault::Fault;
use jiff::SignedDuration;
use jiff::civil::date;
use support::{ANNA, BO, Bench, ROOM, after, busy, daily, dk, request, window, winter};

const PROFILES: [Profile; 2] = [Profile::Exchange2019, Profile::Gromox];

#[tokio::test]
async fn an_unchanged_calendar_costs_one_request() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    let before = bench.requests();
    let feed = bench.read(after(&feed, &first)).await.unwrap();
    assert_eq!(bench.requests() - before, 1);
    assert_eq!(
        (feed.events.len(), feed.snapshots.len(), feed.batches),
        (0, 0, 1)
    );
    let again = bench.read(after(&feed, &first)).await.unwrap();
    assert_eq!(
        again.snapshots,
        [winter()],
        "nothing was said to be covered"
    );
}

#[tokio::test]
async fn least_data_no_subject_is_asked_for_and_none_is_in_the_events() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add_series(
            ANNA,
            "2026-12-01T09:00",
            "2026-12-01T10:00",
            daily(1, date(2026, 12, 1), Range::Numbered(3)),
        );
        let feed = bench.read_true(request(ANNA, winter())).await;
        assert!(
            feed.events
                .iter()
                .all(|event| event.content.subject.is_none())
        );
        for call in bench.exchange.ledger().all() {
            for property in &call.detail.properties {
                let private = [
                    "Subject",
                    "Body",
                    "Attendees",
                    "Location",
                    "Organizer",
                    "Sensitivity",
                ];
                assert!(
                    private.iter().all(|word| !property.contains(word)),
                    "{property}"
                );
            }
            assert!(call.detail.valid, "{}", call.operation);
            assert_eq!(call.detail.impersonated.as_deref(), Some(ANNA));
            assert_eq!(call.detail.anchor.as_deref(), Some(ANNA));
            assert_eq!(call.mailboxes, [ANNA], "one mailbox per request");
        }
    }
}

#[tokio::test]
async fn other_fields_are_read_when_they_are_asked_for() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let daily = daily(1, date(2026, 12, 1), Range::Numbered(2));
        let fill = |item: calbridge_sandbox::exchange::NewItem| {
            item.with(|it| {
                it.subject = "Tavshed & <ro>".into();
                it.location = "Lokale 3".into();
                it.body = "Medbring kage".into();
                it.sensitivity = calbridge_sandbox::exchange::Sensitivity::Private;
                it.categories = vec!["Rød".into(), "Blå".into()];
            })
        };
        let item = busy("2026-12-01T09:00", "2026-12-01T10:00");
        bench
            .exchange
            .create(ANNA, fill(item.clone()).repeating(daily))
            .unwrap();
        bench.exchange.create(ANNA, fill(item)).unwrap();
        let mut request = request(ANNA, winter());
        request.fields = [
            Field::Time,
            Field::Subject,
            Field::Location,
            Field::Body,
            Field::Private,
            Field::Categories,
        ]
        .into_iter()
        .collect();
        let feed = bench.read(request.clone()).await.unwrap();
        assert_eq!(feed.events.len(), 3, "{profile:?}");
        for event in &feed.events {
            let content = &event.content;
            assert_eq!(content.subject.as_deref(), Some("Tavshed & <ro>"));
            assert_eq!(content.location.as_deref(), Some("Lokale 3"));
            assert_eq!(
                content.body.as_deref().map(str::trim),
                Some("Medbring kage")
            );
            assert_eq!(content.private, Some(true));
            assert_eq!(
                content.categories.as_deref(),
                Some(&["Rød".to_owned(), "Blå".to_owned()][..])
            );
        }
        let refs: Vec<ItemRef> = feed.events.iter().map(|event| event.item.clone()).collect();
        let source = bench.connection.source().unwrap();
        let fetched = source.fetch(&request.calendar, &refs).await.unwrap();
        for (event, fetched) in feed.events.iter().zip(fetched) {
            assert_eq!(fetched.unwrap().content, event.content, "{profile:?}");
        }
    }
}

#[tokio::test]
async fn k014_every_status_is_reported_as_it_is() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let statuses = [
            (FreeBusy::Free, ShowAs::Free),
            (FreeBusy::Tentative, ShowAs::Tentative),
            (FreeBusy::Busy, ShowAs::Busy),
            (FreeBusy::OutOfOffice, ShowAs::Away),
            (FreeBusy::WorkingElsewhere, ShowAs::Elsewhere),
            (FreeBusy::NoData, ShowAs::Unknown),
        ];
        for (day, (status, _)) in statuses.iter().enumerate() {
            let (start, end) = (
                format!("2026-12-0{}T09:00", day + 1),
                format!("2026-12-0{}T10:00", day + 1),
            );
            let item = bench.add(ANNA, &start, &end);
            bench.exchange.show_as(item, *status).unwrap();
        }
        let feed = bench.read_true(request(ANNA, winter())).await;
        let mut events = feed.events;
        events.sort_by_key(|event| event.content.time.span_in(&support::copenhagen()).0);
        let reported: Vec<_> = events
            .iter()
            .map(|event| event.content.show_as.unwrap())
            .collect();
        let expected: Vec<_> = statuses.iter().map(|(_, show_as)| *show_as).collect();
        assert_eq!(reported, expected, "{profile:?}");
    }
}

#[tokio::test]
async fn a_cancelled_meeting_is_reported_as_cancelled() {
    let bench = Bench::start(Profile::Exchange2019).await;
    let item = bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    bench.exchange.cancel(item).unwrap();
    let feed = bench.read_true(request(ANNA, winter())).await;
    assert!(feed.events[0].cancelled);
}

#[tokio::test]
async fn rooms_are_read_like_people() {
    let bench = Bench::start(Profile::Exchange2013).await;
    bench.add(ROOM, "2026-12-03T09:00", "2026-12-03T10:00");
    assert_eq!(
        bench.read_true(request(ROOM, winter())).await.events.len(),
        1
    );
}

#[tokio::test]
async fn k026_k027_k028_k029_what_leaves_the_folder_is_gone() {
    for profile in PROFILES {
        for way in 0..4 {
            let bench = Bench::start(profile).await;
            let exchange = &bench.exchange;
            let stays = busy("2026-12-04T09:00", "2026-12-04T10:00");
            exchange.create(ANNA, stays).unwrap();
            let item = exchange
                .create(ANNA, busy("2026-12-03T09:00", "2026-12-03T10:00"))
                .unwrap();
            let first = request(ANNA, winter());
            let feed = bench.read_true(first.clone()).await;
            let start = dk("2026-12-03T09:00");
            let leaves = feed
                .events
                .iter()
                .find(|event| event.content.time.span_in(&support::copenhagen()).0 == start)
                .unwrap()
                .item
                .clone();
            match way {
                0 => exchange.hard_delete(item).unwrap(),
                1 => drop(exchange.delete(item).unwrap()),
                2 => drop(exchange.move_to(item, Folder::DeletedSubfolder).unwrap()),
                _ => drop(exchange.move_to(item, Folder::OtherCalendar).unwrap()),
            }
            let feed = bench.read_true(after(&feed, &first)).await;
            assert_eq!(feed.events.len(), 1, "{profile:?} {way}");
            let source = bench.connection.source().unwrap();
            let fetched = source.fetch(&first.calendar, &[leaves]).await.unwrap();
            assert_eq!(fetched[0].as_ref().unwrap_err().kind, ErrorKind::NotFound);
        }
    }
}

#[tokio::test]
async fn k042_an_occurrence_and_an_exception_can_be_fetched() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let series = bench.add_series(
            ANNA,
            "2026-12-01T09:00",
            "2026-12-01T10:00",
            daily(1, date(2026, 12, 1), Range::Numbered(4)),
        );
        bench
            .exchange
            .move_occurrence(
                series,
                dk("2026-12-02T09:00"),
                SignedDuration::from_hours(2),
            )
            .unwrap();
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let mut refs: Vec<ItemRef> = feed.events.iter().map(|event| event.item.clone()).collect();
        refs.push(ItemRef::new("AAMkNoSuchItem=", None).unwrap());
        let source = bench.connection.source().unwrap();
        let fetched = source.fetch(&first.calendar, &refs).await.unwrap();
        assert_eq!(fetched.len(), 5);
        for (event, fetched) in feed.events.iter().zip(&fetched) {
            let fetched = fetched.as_ref().unwrap();
            assert_eq!(
                (&fetched.key, &fetched.content),
                (&event.key, &event.content)
            );
            assert_eq!(fetched.item.id, event.item.id);
        }
        assert!(fetched[4].is_err());
    }
}

#[tokio::test]
async fn k052_a_missing_recurrence_id_is_read_again_and_else_the_event_is_kept() {
    let bench = Bench::start(Profile::Exchange2019).await;
    let daily = daily(1, date(2026, 12, 1), Range::Numbered(4));
    let item = busy("2026-12-01T09:00", "2026-12-01T10:00").uid("series@x.example");
    bench.exchange.create(ANNA, item.repeating(daily)).unwrap();
    // Left out of the view only.
    bench
        .exchange
        .inject_spec("FindItem*1=no-recurrence-id")
        .unwrap();
    bench.read_true(request(ANNA, winter())).await;
    // Left out everywhere.
    bench
        .exchange
        .inject_spec("**all=no-recurrence-id")
        .unwrap();
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    assert!(feed.events.is_empty());
    assert_eq!(feed.snapshots, [winter()]);
    assert_eq!(feed.unreadable.len(), 4);
    for (item, uid, error) in &feed.unreadable {
        assert!(item.is_some());
        assert_eq!(uid.as_deref(), Some("series@x.example"));
        assert_eq!(error.code, "2959");
    }
}

#[tokio::test]
async fn a_missing_uid_is_replaced_by_the_global_object_id() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-01T09:00", "2026-12-01T10:00");
    let first = request(ANNA, winter());
    let with = bench.read_true(first.clone()).await;
    bench.exchange.inject_spec("**all=missing:UID").unwrap();
    let without = bench.read(first.clone()).await.unwrap();
    assert_eq!(without.events[0].key, with.events[0].key);
    bench
        .exchange
        .inject_spec("**all=missing:ExtendedProperty")
        .unwrap();
    let neither = bench.read(first).await.unwrap();
    assert!(neither.events.is_empty());
    assert_eq!(neither.unreadable[0].2.code, "2958");
}

#[tokio::test]
async fn k059_a_view_with_more_items_than_the_server_lists_is_split() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let daily = daily(1, date(2026, 11, 1), Range::NoEnd);
        for hour in 8..11 {
            let (start, end) = (
                format!("2026-11-01T{hour:02}:00"),
                format!("2026-11-01T{hour:02}:30"),
            );
            bench.add_series(ANNA, &start, &end, daily.clone());
        }
        // More than 2,000 in all; the range is longer than the server's two years.
        let years = window("2026-12-01T00:00", "2028-12-20T00:00");
        let feed = bench.read_true(request(ANNA, years)).await;
        assert_eq!(feed.events.len(), 750 * 3, "{profile:?}");
    }
}

#[tokio::test]
async fn exactly_as_many_items_as_asked_for_count_as_truncated() {
    let bench = Bench::start(Profile::Exchange2019).await;
    for n in 0..1001 {
        let (day, hour, minute) = (1 + n / 60, 8 + n % 60 / 6, n % 6 * 10);
        let start = format!("2026-12-{day:02}T{hour:02}:{minute:02}");
        bench
            .exchange
            .create(ANNA, busy(&start, &start).with(|it| it.end = it.start))
            .unwrap();
    }
    let feed = bench.read_true(request(ANNA, winter())).await;
    assert_eq!(feed.events.len(), 1001);
    assert!(bench.exchange.ledger().count("FindItem") >= 3);
}

#[tokio::test]
async fn a_slice_that_the_window_gained_is_read_alone() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add_series(
            ANNA,
            "2026-11-01T09:00",
            "2026-11-01T10:00",
            daily(1, date(2026, 11, 1), Range::NoEnd),
        );
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let mut next = after(&feed, &first);
        next.window = window("2026-12-02T00:00", "2027-03-02T00:00");
        let slice = window("2027-03-01T00:00", "2027-03-02T00:00");
        let feed = bench.read(next).await.unwrap();
        assert_eq!(feed.snapshots, [slice], "{profile:?}");
        assert_eq!(feed.facts(slice), bench.truth(ANNA, slice));
        assert_eq!(feed.events.len(), 1);
    }
}

#[tokio::test]
async fn a_full_read_reads_an_unchanged_calendar() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    let mut again = after(&feed, &first);
    again.full = true;
    bench.read_true(again).await;
}

#[tokio::test]
async fn a_lost_sync_state_makes_no_storm() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    bench.exchange.invalidate_sync_states(ANNA).unwrap();
    // Within the same feed: the same events, no removal, a new cursor.
    let again = bench.read_true(after(&feed, &first)).await;
    assert_eq!(again.events, feed.events);
    assert_ne!(again.cursor, feed.cursor);
    let before = bench.requests();
    let quiet = bench.read(after(&again, &first)).await.unwrap();
    assert!(quiet.events.is_empty());
    assert_eq!(bench.requests() - before, 1);
}

#[tokio::test]
async fn a_cursor_that_means_nothing_begins_anew() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    for text in ["", "{}", "garbage", r#"{"folder":"x","state":"y"}"#] {
        let mut request = request(ANNA, winter());
        request.cursor = Some(calbridge_core::connector::Cursor(text.into()));
        let result = bench.read(request).await;
        assert_eq!(result.unwrap().events.len(), 1, "{text}");
    }
}

#[tokio::test]
async fn large_folders_are_walked_to_the_end_also_where_the_server_says_last_too_early() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        let mut items = Vec::new();
        for n in 0..1100 {
            let start = format!("2025-{:02}-{:02}T09:00", 1 + n / 100, 1 + n % 28);
            let end = start.replace("09:00", "10:00");
            items.push(bench.add(ANNA, &start, &end));
        }
        bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        for item in items {
            bench.exchange.hard_delete(item).unwrap();
        }
        let feed = bench.read_true(after(&feed, &first)).await;
        // Everything was taken in: nothing is left for the next feed.
        let quiet = bench.read(after(&feed, &first)).await.unwrap();
        assert!(quiet.snapshots.is_empty(), "{profile:?}");
    }
}

#[tokio::test]
async fn two_items_with_one_uid_are_both_reported() {
    let bench = Bench::start(Profile::Exchange2019).await;
    for day in ["2026-12-03", "2026-12-04"] {
        let item = busy(&format!("{day}T09:00"), &format!("{day}T10:00")).uid("twice@x.example");
        bench.exchange.create(ANNA, item).unwrap();
    }
    let feed = bench.read_true(request(ANNA, winter())).await;
    assert_eq!(feed.events.len(), 2);
    assert_eq!(feed.events[0].key, feed.events[1].key);
    assert_ne!(feed.events[0].item, feed.events[1].item);
}

#[tokio::test]
async fn a_delegate_reads_with_the_rights_of_the_folder() {
    let mut account = Account::service("svc-calbridge", "sandbox");
    account.impersonation = calbridge_sandbox::exchange::Impersonation::Nobody;
    account.rights.insert(ANNA.into(), Right::Reviewer);
    account.rights.insert(BO.into(), Right::FolderVisible);
    let options = ExchangeOptions {
        accounts: vec![account],
        ..ExchangeOptions::default()
    };
    let bench = Bench::of(options, |settings| settings["access"] = "delegate".into()).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    bench.read_true(request(ANNA, winter())).await;
    assert!(
        bench
            .exchange
            .ledger()
            .all()
            .iter()
            .all(|call| call.detail.impersonated.is_none())
    );
    for address in [BO, ROOM] {
        let error = bench.read(request(address, winter())).await.unwrap_err();
        let kinds = [ErrorKind::Permission, ErrorKind::NotFound];
        assert!(kinds.contains(&error.kind), "{error:?}");
        assert_eq!(error.scope, calbridge_core::connector::Scope::Calendar);
    }
}

#[tokio::test]
async fn k022_k053_an_error_in_the_middle_concludes_nothing_and_the_next_feed_repeats_it() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
        bench.add(BO, "2026-12-03T09:00", "2026-12-03T10:00");
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        bench.add(ANNA, "2026-12-05T09:00", "2026-12-05T10:00");
        // The change feed answers, the window does not.
        let fault = Fault::once(calbridge_sandbox::fault::FaultKind::protocol(
            "malformed",
            None,
        ));
        bench
            .exchange
            .inject(fault.on("FindItem").for_mailbox(ANNA))
            .unwrap();
        let error = bench.read(after(&feed, &first)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Transient, "{profile:?}");
        // Others go on meanwhile, and the next feed from the same cursor tells everything.
        bench.read_true(request(BO, winter())).await;
        let feed = bench.read_true(after(&feed, &first)).await;
        assert_eq!(feed.events.len(), 2);
    }
}

#[tokio::test]
async fn a_second_calendar_is_read_by_its_folder_id() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench
        .exchange
        .create(
            ANNA,
            busy("2026-12-03T09:00", "2026-12-03T10:00").in_folder(Folder::OtherCalendar),
        )
        .unwrap();
    // The id as a listing of folders gives it.
    let document = format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><s:Header><t:RequestServerVersion Version="Exchange2013_SP1"/><t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{ANNA}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation></s:Header><s:Body><m:FindFolder Traversal="Shallow"><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape><m:ParentFolderIds><t:DistinguishedFolderId Id="calendar"/></m:ParentFolderIds></m:FindFolder></s:Body></s:Envelope>"#
    );
    let answer = reqwest::Client::new()
        .post(bench.exchange.url())
        .header("content-type", "text/xml; charset=utf-8")
        .header("x-anchormailbox", ANNA)
        .basic_auth("svc-calbridge", Some("sandbox"))
        .body(document)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let id = answer
        .split("FolderId Id=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let mut wanted = request(ANNA, winter());
    wanted.calendar = CalendarRef {
        calendar: Some(id.to_owned()),
        ..wanted.calendar
    };
    wanted.covered = Coverage::none();
    wanted.fields = FieldSet::times();
    let feed = bench.read(wanted).await.unwrap();
    assert_eq!(feed.events.len(), 1);
    assert!(
        bench
            .read_true(request(ANNA, winter()))
            .await
            .events
            .is_empty()
    );
}

#[tokio::test]
async fn a_folder_that_was_made_anew_is_read_from_the_beginning() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    for code in ["ErrorSyncFolderNotFound", "ErrorFolderNotFound"] {
        let spec = format!("SyncFolderItems*1=error:{code}");
        bench.exchange.inject_spec(&spec).unwrap();
        bench.read_true(after(&feed, &first)).await;
    }
}

#[tokio::test]
async fn a_calendar_that_changes_while_it_is_read_in_parts_is_read_again() {
    let bench = Bench::start(Profile::Exchange2019).await;
    let daily = daily(1, date(2026, 11, 1), Range::NoEnd);
    for hour in 8..22 {
        let (start, end) = (
            format!("2026-11-01T{hour:02}:00"),
            format!("2026-11-01T{hour:02}:30"),
        );
        let item = busy(&start, &end).repeating(daily.clone());
        bench.exchange.create(ANNA, item).unwrap();
    }
    let wanders = bench.add(ANNA, "2027-02-10T23:00", "2027-02-10T23:30");
    let first = request(ANNA, winter());
    // The first answer is too long; the second, the earlier half, is late.
    let wait = Fault::once(calbridge_sandbox::fault::TransportFault::Delay(
        std::time::Duration::from_millis(700),
    ));
    bench
        .exchange
        .inject(wait.on("FindItem").from_call(2))
        .unwrap();
    let moves = async {
        while bench.exchange.ledger().count("FindItem") < 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // The second is under way.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        // From the part still to be read into the one that was read.
        bench
            .exchange
            .move_in_time(wanders, SignedDuration::from_hours(-60 * 24))
            .unwrap();
    };
    let (feed, ()) = tokio::join!(bench.read(first.clone()), moves);
    let feed = feed.unwrap();
    assert_eq!(feed.facts(winter()), bench.truth(ANNA, winter()));
    assert_eq!(feed.snapshots, [winter()]);
    assert!(bench.exchange.ledger().count("FindItem") >= 6, "read twice");
    let quiet = bench.read(after(&feed, &first)).await.unwrap();
    assert!(quiet.snapshots.is_empty());
}

#[tokio::test]
async fn a_calendar_that_never_rests_is_reported_without_a_snapshot() {
    let bench = Bench::start(Profile::Exchange2019).await;
    let daily = daily(1, date(2026, 11, 1), Range::NoEnd);
    for hour in 8..22 {
        let (start, end) = (
            format!("2026-11-01T{hour:02}:00"),
            format!("2026-11-01T{hour:02}:30"),
        );
        let item = busy(&start, &end).repeating(daily.clone());
        bench.exchange.create(ANNA, item).unwrap();
    }
    let restless = bench.add(ANNA, "2027-02-10T23:00", "2027-02-10T23:30");
    let first = request(ANNA, winter());
    let reading = async {
        let feed = bench.read(first.clone()).await;
        bench.exchange.hard_delete(restless).unwrap();
        feed.unwrap()
    };
    let changing = async {
        while bench
            .exchange
            .move_in_time(restless, SignedDuration::from_mins(1))
            .is_ok()
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let (feed, ()) = tokio::join!(reading, changing);
    assert!(feed.snapshots.is_empty(), "nothing is concluded");
    assert!(feed.events.len() >= 14 * 90);
    // The next feed knows that there is something to read.
    bench.read_true(after(&feed, &first)).await;
}

#[tokio::test]
async fn what_cannot_even_be_named_concludes_nothing() {
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    for name in ["ItemId", "UID", "ExtendedProperty"] {
        let spec = format!("FindItem*all=missing:{name};GetItem*all=missing:{name}");
        bench.exchange.inject_spec(&spec).unwrap();
    }
    let feed = bench.read(request(ANNA, winter())).await.unwrap();
    assert!(feed.events.is_empty());
    let [(None, None, _)] = feed.unreadable.as_slice() else {
        panic!("{:?}", feed.unreadable)
    };
    assert!(feed.snapshots.is_empty());
}

#[tokio::test]
async fn an_item_of_no_told_type_is_read_by_itself() {
    let bench = Bench::start(Profile::Exchange2019).await;
    let daily = daily(1, date(2026, 12, 1), Range::Numbered(4));
    let item = busy("2026-12-01T09:00", "2026-12-01T10:00");
    bench.exchange.create(ANNA, item.repeating(daily)).unwrap();
    bench
        .exchange
        .inject_spec("FindItem*all=missing:CalendarItemType")
        .unwrap();
    assert_eq!(
        bench.read_true(request(ANNA, winter())).await.events.len(),
        4
    );
}

#[tokio::test]
async fn batches_are_no_larger_than_asked_and_only_the_last_has_the_checkpoint() {
    let bench = Bench::start(Profile::Exchange2019).await;
    for day in 1..6 {
        let (start, end) = (
            format!("2026-12-0{day}T09:00"),
            format!("2026-12-0{day}T10:00"),
        );
        bench.add(ANNA, &start, &end);
    }
    for max in [0, 1, 2, 6, 7] {
        let source = bench.connection.source().unwrap();
        let mut feed = source.changes(request(ANNA, winter())).await.unwrap();
        let mut sizes = Vec::new();
        let mut checkpoints = Vec::new();
        while let Some(batch) = feed.next(max).await.unwrap() {
            sizes.push(batch.changes.len());
            checkpoints.push(batch.checkpoint.is_some());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 6, "five events and a snapshot");
        assert!(sizes.iter().all(|size| *size <= max.max(1)), "{sizes:?}");
        assert_eq!(checkpoints.pop(), Some(true));
        assert!(!checkpoints.contains(&true));
        assert!(feed.next(max).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_change_elsewhere_while_a_slice_is_read_is_not_lost() {
    for exception in [false, true] {
        // Which reads slices in several requests, and hides changed exceptions.
        let bench = Bench::start(Profile::Gromox).await;
        let series = bench.add_series(
            ANNA,
            "2026-12-01T09:00",
            "2026-12-01T10:00",
            daily(7, date(2026, 12, 1), Range::NoEnd),
        );
        let single = bench.add(ANNA, "2026-12-10T09:00", "2026-12-10T10:00");
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let mut rolled = after(&feed, &first);
        rolled.window = window("2026-12-02T00:00", "2027-03-02T00:00");
        let wait = Fault::once(calbridge_sandbox::fault::TransportFault::Delay(
            std::time::Duration::from_millis(700),
        ));
        // The first FindItem asks for the newest item, the second lists.
        bench
            .exchange
            .inject(wait.on("FindItem").from_call(1))
            .unwrap();
        bench.exchange.ledger().clear();
        let changes = async {
            // By now the change feed was asked, and the first FindItem waits.
            tokio::time::sleep(std::time::Duration::from_millis(350)).await;
            let hour = SignedDuration::from_hours(1);
            if exception {
                bench
                    .exchange
                    .move_occurrence(series, dk("2026-12-15T09:00"), hour)
                    .unwrap();
            } else {
                bench.exchange.move_in_time(single, hour).unwrap();
            }
        };
        let (feed, ()) = tokio::join!(bench.read(rolled.clone()), changes);
        let feed = feed.unwrap();
        assert_eq!(feed.snapshots, [rolled.window], "all of it was read");
        assert_eq!(feed.facts(rolled.window), bench.truth(ANNA, rolled.window));
        let quiet = bench.read(after(&feed, &rolled)).await.unwrap();
        assert!(quiet.snapshots.is_empty());
    }
}

#[tokio::test]
async fn every_reading_names_the_folder_and_folders_are_told_apart() {
    for profile in PROFILES {
        let bench = Bench::start(profile).await;
        bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
        let first = request(ANNA, winter());
        let feed = bench.read_true(first.clone()).await;
        let folder = feed.folder.clone().expect("a folder");
        bench.add(ANNA, "2026-12-04T09:00", "2026-12-04T10:00");
        let next = bench.read(after(&feed, &first)).await.unwrap();
        assert_eq!(next.folder.as_ref(), Some(&folder));
        let full = ChangesRequest {
            full: true,
            ..after(&next, &first)
        };
        let feed = bench.read(full).await.unwrap();
        assert_eq!(feed.folder.as_ref(), Some(&folder));
        let other = bench.read(request(BO, winter())).await.unwrap();
        assert!(other.folder.is_some_and(|other| other != folder));
    }
}

#[tokio::test]
async fn an_answer_without_item_ids_is_garbled_and_its_window_is_read_again_though_nothing_changes()
{
    let bench = Bench::start(Profile::Exchange2019).await;
    bench.add(ANNA, "2026-12-03T09:00", "2026-12-03T10:00");
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    bench.add(ANNA, "2026-12-04T09:00", "2026-12-04T10:00");
    bench
        .exchange
        .inject_spec("FindItem*1=missing:ItemId")
        .unwrap();
    let garbled = bench.read(after(&feed, &first)).await.unwrap();
    assert_eq!((garbled.events.len(), garbled.unreadable.len()), (0, 2));
    let later = ChangesRequest {
        now: first.now + SignedDuration::from_mins(2),
        ..after(&garbled, &first)
    };
    let feed = bench.read(later.clone()).await.unwrap();
    assert_eq!((feed.events.len(), feed.unreadable.len()), (2, 0));
    let before = bench.requests();
    bench.read(after(&feed, &later)).await.unwrap();
    assert_eq!(bench.requests() - before, 1, "and then no more");
}
