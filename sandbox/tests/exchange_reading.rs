//! The reading operations of the Exchange server, by hand-written requests over a socket.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exchange_common;

use calbridge_sandbox::exchange::{
    Account, ExchangeOptions, ExchangeSandbox, Folder, FreeBusy, Impersonation, NewItem, Pattern,
    Range, Recurrence, Right, Sensitivity, Zone,
};
use exchange_common::{ANNA, BO, Client, start};
use jiff::civil::{Weekday, date};
use jiff::{SignedDuration, Timestamp};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn meeting(subject: &str, day: i8) -> NewItem {
    NewItem::at(
        subject,
        date(2026, 3, day).at(9, 0, 0, 0),
        date(2026, 3, day).at(10, 0, 0, 0),
        &Zone::denmark(),
    )
}

fn weekly() -> NewItem {
    let recurrence = Recurrence {
        pattern: Pattern::Weekly {
            interval: 1,
            days: vec![Weekday::Monday],
            first_day: Weekday::Monday,
        },
        start: date(2026, 3, 2),
        range: Range::Numbered(8),
    };
    meeting("Weekly", 2).repeating(recurrence).uid("weekly-1")
}

const FIELDS: &[&str] = &[
    "item:Subject",
    "item:Sensitivity",
    "<t:ExtendedFieldURI DistinguishedPropertySetId=\"Meeting\" PropertyId=\"35\" PropertyType=\"Binary\"/>",
    "item:LastModifiedTime",
    "calendar:UID",
    "calendar:RecurrenceId",
    "calendar:Start",
    "calendar:End",
    "calendar:OriginalStart",
    "calendar:IsAllDayEvent",
    "calendar:LegacyFreeBusyStatus",
    "calendar:IsCancelled",
    "calendar:CalendarItemType",
    "calendar:Recurrence",
    "calendar:ModifiedOccurrences",
    "calendar:DeletedOccurrences",
    "calendar:StartTimeZoneId",
];

#[tokio::test]
async fn the_change_feed_is_complete_paged_and_newest_first() {
    let exchange = start(ExchangeOptions::default()).await;
    let items: Vec<_> = (1..=5)
        .map(|day| {
            exchange
                .create(ANNA, meeting("M", day).uid(format!("m{day}")))
                .unwrap()
        })
        .collect();
    let client = Client::new(&exchange, ANNA);

    let first = client.sync(None, 2).await;
    assert_eq!(first.all("UID"), ["m5", "m4"]);
    assert_eq!(first.one("IncludesLastItemInRange"), "false");
    // A change in the middle of the walk: a known item is an update, an unknown one still a creation.
    exchange
        .change(items[4], |item| item.subject.push('!'))
        .unwrap();
    exchange
        .change(items[0], |item| item.subject.push('!'))
        .unwrap();
    exchange.hard_delete(items[3]).unwrap();
    let second = client.sync(Some(&first.one("SyncState")), 2).await;
    assert_eq!(second.all("Delete").len(), 1);
    assert_eq!(second.all("Create").len(), 1);
    assert_eq!(second.all("UID"), ["m1"]);
    let third = client.sync(Some(&second.one("SyncState")), 2).await;
    assert_eq!(third.all("Update").len(), 1);
    assert_eq!(third.all("UID"), ["m5", "m3"]);
    let fourth = client.sync(Some(&third.one("SyncState")), 512).await;
    assert_eq!(fourth.all("UID"), ["m2"]);
    assert_eq!(fourth.one("IncludesLastItemInRange"), "true");
    let quiet = client.sync(Some(&fourth.one("SyncState")), 512).await;
    assert_eq!(quiet.one("Changes"), "");
    assert_eq!(exchange.ledger().count("SyncFolderItems"), 5);
}

#[tokio::test]
async fn occurrences_never_show_up_in_the_feed_but_touch_their_master() {
    let exchange = start(ExchangeOptions::default()).await;
    let series = exchange.create(ANNA, weekly()).unwrap();
    let client = Client::new(&exchange, ANNA);
    let first = client.sync(None, 512).await;
    assert_eq!(first.all("CalendarItemType"), ["RecurringMaster"]);
    exchange
        .move_occurrence(
            series,
            at("2026-03-09T08:00:00Z"),
            SignedDuration::from_hours(1),
        )
        .unwrap();
    exchange
        .delete_occurrence(series, at("2026-03-16T08:00:00Z"))
        .unwrap();
    let second = client.sync(Some(&first.one("SyncState")), 512).await;
    assert_eq!(second.all("Update").len(), 1);
    assert_eq!(second.ids(), first.ids());

    let master = client.get(&second.ids(), FIELDS).await;
    assert_eq!(master.codes(), ["NoError"]);
    let modified = master.one("ModifiedOccurrences");
    assert!(
        modified.contains("<t:Start>2026-03-09T09:00:00Z</t:Start>"),
        "{modified}"
    );
    assert!(
        modified.contains("<t:OriginalStart>2026-03-09T08:00:00Z</t:OriginalStart>"),
        "{modified}"
    );
    assert_eq!(
        master.one("DeletedOccurrence"),
        "<t:Start>2026-03-16T08:00:00Z</t:Start>"
    );
    assert!(
        master
            .one("Recurrence")
            .contains("<t:StartDate>2026-03-02+01:00</t:StartDate>"),
        "{}",
        master.text
    );
}

#[tokio::test]
async fn a_view_is_expanded_and_equals_the_oracle() {
    let exchange = start(ExchangeOptions::default()).await;
    let series = exchange.create(ANNA, weekly()).unwrap();
    exchange
        .create(
            ANNA,
            meeting("Single", 4).with(|item| item.sensitivity = Sensitivity::Private),
        )
        .unwrap();
    exchange
        .create(
            ANNA,
            NewItem::all_day("Holiday", date(2026, 3, 29), 1, &Zone::denmark()),
        )
        .unwrap();
    let before = Client::new(&exchange, ANNA)
        .view("2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z", None, &[])
        .await
        .ids();
    exchange
        .move_occurrence(
            series,
            at("2026-03-09T08:00:00Z"),
            SignedDuration::from_hours(1),
        )
        .unwrap();
    exchange
        .delete_occurrence(series, at("2026-03-16T08:00:00Z"))
        .unwrap();

    let client = Client::new(&exchange, ANNA);
    let fields = [
        "calendar:UID",
        "calendar:Start",
        "calendar:End",
        "calendar:CalendarItemType",
    ];
    let view = client
        .view(
            "2026-03-01T00:00:00Z",
            "2026-04-08T00:00:00Z",
            None,
            &fields,
        )
        .await;
    assert_eq!(view.codes(), ["NoError"]);
    let truth = exchange.occurrences(ANNA, at("2026-03-01T00:00:00Z"), at("2026-04-08T00:00:00Z"));
    let starts: Vec<String> = truth
        .iter()
        .map(|occurrence| occurrence.start.to_string())
        .collect();
    assert_eq!(view.all("Start"), starts);
    // The switch to summer time on 29 March: the same wall clock, another instant.
    assert!(
        starts.contains(&"2026-03-23T08:00:00Z".to_owned())
            && starts.contains(&"2026-03-30T07:00:00Z".to_owned())
    );
    assert_eq!(
        view.all("CalendarItemType")
            .iter()
            .filter(|kind| *kind == "Exception")
            .count(),
        1
    );
    // Ids of occurrences change form when they become exceptions, and both forms find it.
    let after = client
        .view("2026-03-09T00:00:00Z", "2026-03-10T00:00:00Z", None, &[])
        .await
        .ids();
    assert_ne!(before, after);
    let both = client
        .get(&[before[0].clone(), after[0].clone()], FIELDS)
        .await;
    assert_eq!(
        both.all("Start"),
        ["2026-03-09T09:00:00Z", "2026-03-09T09:00:00Z"]
    );
    assert_eq!(
        both.all("RecurrenceId"),
        ["2026-03-09T08:00:00Z", "2026-03-09T08:00:00Z"]
    );
}

#[tokio::test]
async fn view_bounds_exclude_and_limits_bite() {
    let exchange = start(ExchangeOptions::default()).await;
    exchange.create(ANNA, meeting("M", 4)).unwrap();
    let client = Client::new(&exchange, ANNA);
    assert!(
        client
            .view("2026-03-04T09:00:00Z", "2026-03-05T00:00:00Z", None, &[])
            .await
            .ids()
            .is_empty()
    );
    assert!(
        client
            .view("2026-03-04T00:00:00Z", "2026-03-04T08:00:00Z", None, &[])
            .await
            .ids()
            .is_empty()
    );
    assert_eq!(
        client
            .view("2026-03-04T08:59:59Z", "2026-03-05T00:00:00Z", None, &[])
            .await
            .ids()
            .len(),
        1
    );
    let big = client
        .view("2026-01-01T00:00:00Z", "2028-01-01T00:00:01Z", None, &[])
        .await;
    assert_eq!(big.codes(), ["ErrorCalendarViewRangeTooBig"]);
    assert_eq!(
        client
            .view("2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z", None, &[])
            .await
            .codes(),
        ["NoError"]
    );

    let daily = Recurrence {
        pattern: Pattern::Daily { interval: 1 },
        start: date(2026, 1, 1),
        range: Range::NoEnd,
    };
    for _ in 0..2 {
        exchange
            .create(ANNA, meeting("Daily", 1).repeating(daily.clone()))
            .unwrap();
    }
    let many = client
        .view("2026-01-01T00:00:00Z", "2027-12-31T00:00:00Z", None, &[])
        .await;
    assert_eq!(many.codes(), ["ErrorExceededFindCountLimit"]);
    assert!(
        many.text
            .contains("<t:Value Name=\"PolicyLimit\">1000</t:Value>")
    );
    let cut = client
        .view(
            "2026-01-01T00:00:00Z",
            "2027-12-31T00:00:00Z",
            Some(1000),
            &[],
        )
        .await;
    assert_eq!(cut.ids().len(), 1000);
}

#[tokio::test]
async fn ids_differ_by_case_and_change_on_move() {
    let exchange = start(ExchangeOptions::default()).await;
    let one = exchange.create(ANNA, meeting("One", 4).uid("one")).unwrap();
    exchange.create(ANNA, meeting("Two", 5).uid("two")).unwrap();
    let client = Client::new(&exchange, ANNA);
    let sync = client.sync(None, 512).await;
    let ids = sync.ids();
    assert!(ids[0] != ids[1] && ids[0].eq_ignore_ascii_case(&ids[1]));
    assert_eq!(
        client.get(&ids, &["item:Subject"]).await.all("Subject"),
        ["Two", "One"]
    );

    let trashed = exchange.delete(one).unwrap();
    let next = client.sync(Some(&sync.one("SyncState")), 512).await;
    assert_eq!(next.all("Delete").len(), 1);
    assert_eq!(next.ids(), [ids[1].clone()]);
    let old_and_new = client
        .get(
            &[ids[1].clone(), exchange.read(trashed).unwrap().1],
            &["calendar:UID"],
        )
        .await;
    assert_eq!(old_and_new.codes(), ["ErrorItemNotFound", "NoError"]);
    let trash = client
        .sync_of("<t:DistinguishedFolderId Id=\"deleteditems\"/>", None, 512)
        .await;
    assert_eq!(trash.all("UID"), ["one"]);
    exchange.move_to(trashed, Folder::DeletedSubfolder).unwrap();
    let gone = client
        .sync_of(
            "<t:DistinguishedFolderId Id=\"deleteditems\"/>",
            Some(&trash.one("SyncState")),
            512,
        )
        .await;
    assert_eq!(gone.all("Delete").len(), 1);
}

/// The server starts anew with these appointments of Anna's.
async fn restarted(database: Option<u64>, appointments: i8) -> (ExchangeSandbox, Client) {
    let options = ExchangeOptions {
        database: database.unwrap_or(ExchangeOptions::default().database),
        ..ExchangeOptions::default()
    };
    let exchange = ExchangeSandbox::start(options).await.unwrap();
    exchange.add_person("Anna Berg", ANNA).unwrap();
    for day in 1..=appointments {
        exchange.create(ANNA, meeting("A", day)).unwrap();
    }
    let client = Client::new(&exchange, ANNA);
    (exchange, client)
}

#[tokio::test]
async fn a_sync_state_of_another_database_or_of_a_later_time_is_refused() {
    let (first, client) = restarted(Some(1), 2).await;
    let state = client.sync(None, 512).await.one("SyncState");
    drop(first);
    for (database, appointments, code) in [
        (Some(1), 2, "NoError"),
        (Some(1), 3, "NoError"),
        // A backup of the time before the second appointment.
        (Some(1), 1, "ErrorInvalidSyncStateData"),
        (Some(2), 2, "ErrorInvalidSyncStateData"),
        (None, 2, "ErrorInvalidSyncStateData"),
    ] {
        let (_exchange, client) = restarted(database, appointments).await;
        let answer = client.sync(Some(&state), 512).await;
        assert_eq!(answer.codes(), [code], "{database:?} {appointments}");
    }
}

#[tokio::test]
async fn a_sync_state_is_bound_checked_and_can_be_lost() {
    let exchange = start(ExchangeOptions::default()).await;
    exchange.create(ANNA, meeting("M", 4)).unwrap();
    let client = Client::new(&exchange, ANNA);
    let state = client.sync(None, 512).await.one("SyncState");
    let bad = |answer: &exchange_common::Answer| answer.codes() == ["ErrorInvalidSyncStateData"];
    assert!(bad(&client
        .sync(Some(&state[..state.len() - 4]), 512)
        .await));
    assert!(bad(&client
        .sync_of(
            "<t:DistinguishedFolderId Id=\"deleteditems\"/>",
            Some(&state),
            512
        )
        .await));
    assert!(!bad(&client.sync(Some(&state), 512).await));
    exchange.invalidate_sync_states(ANNA).unwrap();
    assert!(bad(&client.sync(Some(&state), 512).await));
}

#[tokio::test]
async fn occurrences_are_found_by_index_and_the_master_by_occurrence() {
    let exchange = start(ExchangeOptions::default()).await;
    let series = exchange.create(ANNA, weekly()).unwrap();
    exchange
        .delete_occurrence(series, at("2026-03-09T08:00:00Z"))
        .unwrap();
    let client = Client::new(&exchange, ANNA);
    let id = client.sync(None, 512).await.ids()[0].clone();
    let by_index: Vec<String> = (0..=9)
        .map(|index| {
            format!("<t:OccurrenceItemId RecurringMasterId=\"{id}\" InstanceIndex=\"{index}\"/>")
        })
        .collect();
    let answer = client.get(&by_index, FIELDS).await;
    let codes = answer.codes();
    assert_eq!(
        codes[0],
        "ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange"
    );
    assert_eq!(codes[1], "NoError");
    assert_eq!(codes[2], "ErrorCalendarOccurrenceIsDeletedFromRecurrence");
    assert_eq!(
        codes[9],
        "ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange"
    );
    let occurrence = answer.ids()[0].clone();
    let master = client
        .get(
            &[format!(
                "<t:RecurringMasterItemId OccurrenceId=\"{occurrence}\"/>"
            )],
            FIELDS,
        )
        .await;
    assert_eq!(master.one("CalendarItemType"), "RecurringMaster");
}

#[tokio::test]
async fn all_day_items_are_midnights_of_the_creators_zone() {
    let exchange = start(ExchangeOptions::default()).await;
    exchange
        .create(
            ANNA,
            NewItem::all_day("Holiday", date(2026, 3, 28), 2, &Zone::denmark())
                .with(|item| item.free_busy = FreeBusy::OutOfOffice),
        )
        .unwrap();
    let client = Client::new(&exchange, ANNA);
    let ids = client.sync(None, 512).await.ids();
    let item = client.get(&ids, FIELDS).await;
    assert_eq!(item.one("Start"), "2026-03-27T23:00:00Z");
    assert_eq!(item.one("End"), "2026-03-29T22:00:00Z");
    assert_eq!(item.one("LegacyFreeBusyStatus"), "OOF");
    assert_eq!(item.one("StartTimeZoneId"), "Romance Standard Time");
    let odd = Zone::denmark().with_id("tzone://Microsoft/Custom");
    exchange
        .create(ANNA, meeting("Odd", 4).with(|item| item.start_zone = odd))
        .unwrap();
    let ids = client.sync(None, 512).await.ids();
    assert_eq!(
        client.get(&ids[..1], FIELDS).await.one("StartTimeZoneId"),
        "tzone://Microsoft/Custom"
    );
}

#[tokio::test]
async fn schema_violations_are_faults() {
    let exchange = start(ExchangeOptions::default()).await;
    let mut client = Client::new(&exchange, ANNA);
    let fault = |answer: exchange_common::Answer, code: &str| {
        assert_eq!(
            (answer.status, answer.codes()),
            (500, vec![code.to_owned()]),
            "{}",
            answer.text
        );
    };
    fault(client.sync(None, 513).await, "ErrorSchemaValidation");
    fault(
        client.get(&["AAMk".to_owned()], &["calendar:Uid"]).await,
        "ErrorSchemaValidation",
    );
    fault(
        client.call("<m:GetItem><m:ItemIds/></m:GetItem>").await,
        "ErrorSchemaValidation",
    );
    fault(
        client.call("<m:PlayTheOrgan/>").await,
        "ErrorInvalidRequest",
    );
    fault(
        client.post("<s:Envelope".to_owned()).await.unwrap(),
        "ErrorSchemaValidation",
    );
    client.version = None;
    fault(client.sync(None, 512).await, "ErrorInvalidServerVersion");
    client.version = Some("Exchange2016".to_owned());
    assert_eq!(client.sync(None, 512).await.status, 200);
}

#[tokio::test]
async fn sign_in_impersonation_and_delegation_are_enforced() {
    let mut delegate = Account {
        user: "delegate".to_owned(),
        password: Some("pw".to_owned()),
        ..Account::default()
    };
    delegate.rights.insert(ANNA.to_owned(), Right::Reviewer);
    delegate.rights.insert(BO.to_owned(), Right::FolderVisible);
    let narrow = Account {
        user: "narrow".to_owned(),
        password: Some("pw".to_owned()),
        impersonation: Impersonation::Only(vec![ANNA.to_owned()]),
        token: Some("token-1".to_owned()),
        ..Account::default()
    };
    let exchange = start(ExchangeOptions {
        accounts: vec![
            Account::service("svc-calbridge", "sandbox"),
            delegate,
            narrow,
        ],
        ..ExchangeOptions::default()
    })
    .await;
    let mut client = Client::new(&exchange, ANNA);
    client.password = "wrong".to_owned();
    let refused = client.sync(None, 512).await;
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.headers.get_all("www-authenticate").iter().count(),
        2
    );

    let fault = |answer: &exchange_common::Answer, code: &str| {
        assert_eq!(
            (answer.status, answer.codes()),
            (500, vec![code.to_owned()])
        );
    };
    let mut client = Client::new(&exchange, BO);
    "narrow".clone_into(&mut client.user);
    "pw".clone_into(&mut client.password);
    fault(&client.sync(None, 512).await, "ErrorImpersonateUserDenied");
    client.impersonate = Some(ANNA.to_owned());
    fault(&client.sync(None, 512).await, "ErrorInvalidRequest"); // the anchor still names Bo
    client.anchor = Some(ANNA.to_owned());
    assert_eq!(client.sync(None, 512).await.status, 200);
    client.impersonate = Some("nobody@kommune.example".to_owned());
    fault(&client.sync(None, 512).await, "ErrorNonExistentMailbox");

    exchange
        .rename_mailbox(ANNA, "anna.holm@kommune.example")
        .unwrap();
    let moved = Client::new(&exchange, ANNA).sync(None, 512).await;
    fault(&moved, "ErrorNonPrimarySmtpAddress");
    assert!(moved.text.contains(">anna.holm@kommune.example</t:Value>"));
    exchange.disable_mailbox(BO, true).unwrap();
    fault(
        &Client::new(&exchange, BO).sync(None, 512).await,
        "ErrorAccountDisabled",
    );
    exchange.disable_mailbox(BO, false).unwrap();
    exchange
        .rename_mailbox("anna.holm@kommune.example", ANNA)
        .unwrap();

    let mut client = Client::new(&exchange, ANNA);
    (
        client.user,
        client.password,
        client.impersonate,
        client.anchor,
    ) = ("delegate".to_owned(), "pw".to_owned(), None, None);
    let of = |address: &str| {
        format!(
            "<t:DistinguishedFolderId Id=\"calendar\"><t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"
        )
    };
    assert_eq!(
        client.sync_of(&of(ANNA), None, 9).await.codes(),
        ["NoError"]
    );
    assert_eq!(
        client.sync_of(&of(BO), None, 9).await.codes(),
        ["ErrorAccessDenied"]
    );
    assert_eq!(
        client
            .sync_of(&of("x@kommune.example"), None, 9)
            .await
            .codes(),
        ["ErrorNonExistentMailbox"]
    );
    assert_eq!(
        client.sync(None, 9).await.codes(),
        ["ErrorMissingEmailAddress"]
    );

    let bearer = client.http.post(exchange.url()).bearer_auth("token-1").body(Client::new(&exchange, ANNA).envelope("<m:ResolveNames ReturnFullContactData=\"false\"><m:UnresolvedEntry>smtp:bo@kommune.example</m:UnresolvedEntry></m:ResolveNames>"));
    let bearer = bearer.send().await.unwrap();
    assert_eq!(bearer.status().as_u16(), 200);
    assert!(
        bearer
            .text()
            .await
            .unwrap()
            .contains("<t:Name>Bo Dahl</t:Name>")
    );
}

#[tokio::test]
async fn the_ledger_remembers_what_was_asked() {
    let exchange = start(ExchangeOptions {
        keep_requests: true,
        ..ExchangeOptions::default()
    })
    .await;
    let client = Client::new(&exchange, ANNA);
    client
        .get(
            &["AAMk1".to_owned(), "AAMk2".to_owned()],
            &["calendar:Start"],
        )
        .await;
    let call = exchange.ledger().last().unwrap();
    assert_eq!(
        (call.operation.as_str(), call.status, call.code.as_deref()),
        ("GetItem", 200, Some("ErrorInvalidIdMalformed"))
    );
    assert_eq!(call.mailboxes, [ANNA]);
    assert_eq!(call.detail.anchor.as_deref(), Some(ANNA));
    assert_eq!(call.detail.properties, ["IdOnly", "calendar:Start"]);
    assert_eq!(
        (call.detail.asked, call.detail.answered, call.detail.valid),
        (2, 0, true)
    );
    assert!(call.detail.request.unwrap().starts_with(b"<?xml"));
    assert!(call.response_bytes > 100);
}

#[tokio::test]
async fn folders_are_found_with_their_change_marks() {
    let exchange = start(ExchangeOptions::default()).await;
    exchange.set_clock(Some(at("2026-03-01T06:00:00Z")));
    let item = exchange.create(ANNA, meeting("M", 4)).unwrap();
    exchange.hard_delete(item).unwrap();
    exchange.create(ANNA, meeting("N", 5)).unwrap();
    let client = Client::new(&exchange, ANNA);
    let answer = client
        .call(
            "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI=\"folder:TotalCount\"/>\
             <t:ExtendedFieldURI PropertyTag=\"0x670A\" PropertyType=\"SystemTime\"/><t:ExtendedFieldURI PropertyTag=\"0x670B\" PropertyType=\"Integer\"/>\
             </t:AdditionalProperties></m:FolderShape><m:FolderIds><t:DistinguishedFolderId Id=\"calendar\"/></m:FolderIds></m:GetFolder>",
        )
        .await;
    assert_eq!(answer.all("Value"), ["2026-03-01T06:00:00Z", "1"]);
    assert_eq!(answer.one("TotalCount"), "1");
    assert_eq!(answer.headers["date"], "Sun, 01 Mar 2026 06:00:00 GMT");
    let found = client
        .call(
            "<m:FindFolder Traversal=\"Deep\"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>\
             <m:Restriction><t:IsEqualTo><t:FieldURI FieldURI=\"folder:FolderClass\"/><t:FieldURIOrConstant><t:Constant Value=\"IPF.Appointment\"/>\
             </t:FieldURIOrConstant></t:IsEqualTo></m:Restriction><m:ParentFolderIds><t:DistinguishedFolderId Id=\"msgfolderroot\"/></m:ParentFolderIds></m:FindFolder>",
        )
        .await;
    assert_eq!(
        found.all("DisplayName"),
        ["Calendar", "Second calendar", "Old calendar"]
    );
}

#[tokio::test]
async fn other_items_may_lie_in_a_calendar() {
    let exchange = start(ExchangeOptions::default()).await;
    exchange
        .create(
            ANNA,
            meeting("Note", 4).with(|item| item.class = "IPM.Post".to_owned()),
        )
        .unwrap();
    let series = exchange.create(ANNA, weekly()).unwrap();
    exchange
        .move_occurrence(
            series,
            at("2026-03-09T08:00:00Z"),
            SignedDuration::from_hours(1),
        )
        .unwrap();
    let client = Client::new(&exchange, ANNA);
    let feed = client.sync(None, 512).await;
    assert_eq!(feed.text.matches("<t:Message>").count(), 1);
    assert_eq!(feed.all("UID"), ["weekly-1"]);
    let items = client
        .get(&feed.ids(), &["item:ItemClass", "calendar:Start"])
        .await;
    assert_eq!(items.all("ItemClass"), ["IPM.Appointment", "IPM.Post"]);
    assert_eq!(items.all("Start").len(), 1);
    let view = client
        .view(
            "2026-03-01T00:00:00Z",
            "2026-03-10T00:00:00Z",
            None,
            &["item:ItemClass"],
        )
        .await;
    assert_eq!(
        view.all("ItemClass"),
        [
            "IPM.Appointment.Occurrence",
            "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}"
        ]
    );
}
