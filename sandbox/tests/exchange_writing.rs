//! CreateItem, UpdateItem and DeleteItem, by hand-written requests.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exchange_common;

use calbridge_sandbox::exchange::{ExchangeOptions, FreeBusy};
use exchange_common::{ANNA, Answer, Client, start};

const MARK: &str = "<t:ExtendedFieldURI PropertySetId=\"6f6a4a1e-0000-4000-8000-5d1f2a3b4c5d\" PropertyName=\"Origin\" PropertyType=\"String\"/>";

async fn create(client: &Client, content: &str) -> Answer {
    client
        .call(&format!(
            "<m:CreateItem SendMeetingInvitations=\"SendToNone\"><m:SavedItemFolderId><t:DistinguishedFolderId Id=\"calendar\"/></m:SavedItemFolderId>\
             <m:Items><t:CalendarItem>{content}</t:CalendarItem></m:Items></m:CreateItem>"
        ))
        .await
}

async fn update(client: &Client, resolution: &str, id: &str, updates: &str) -> Answer {
    client
        .call(&format!(
            "<m:UpdateItem ConflictResolution=\"{resolution}\" SendMeetingInvitationsOrCancellations=\"SendToNone\"><m:ItemChanges><t:ItemChange>{id}\
             <t:Updates>{updates}</t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>"
        ))
        .await
}

fn set(field: &str, element: &str) -> String {
    format!(
        "<t:SetItemField><t:FieldURI FieldURI=\"{field}\"/><t:CalendarItem>{element}</t:CalendarItem></t:SetItemField>"
    )
}

/// The first t:ItemId of an answer, whole.
fn item_id(answer: &Answer) -> String {
    let begin = answer
        .text
        .find("<t:ItemId")
        .unwrap_or_else(|| panic!("{}", answer.text));
    let end = answer.text[begin..].find("/>").unwrap();
    answer.text[begin..begin + end + 2].to_owned()
}

const SINGLE: &str = "<t:Subject>Optaget</t:Subject><t:UID>ev42@calbridge</t:UID><t:Start>2026-03-06T13:00:00</t:Start><t:End>2026-03-06T14:00:00</t:End>\
    <t:LegacyFreeBusyStatus>OOF</t:LegacyFreeBusyStatus><t:StartTimeZone Id=\"Romance Standard Time\"/><t:EndTimeZone Id=\"Romance Standard Time\"/>";

#[tokio::test]
async fn an_item_is_created_changed_under_lock_and_deleted() {
    let exchange = start(ExchangeOptions::default()).await;
    let client = Client::new(&exchange, ANNA);
    let marked = SINGLE.replace(
        "<t:UID>",
        &format!(
            "<t:ExtendedProperty>{MARK}<t:Value>node;ev42</t:Value></t:ExtendedProperty><t:UID>"
        ),
    );
    let created = create(&client, &marked).await;
    assert_eq!(created.codes(), ["NoError"], "{}", created.text);
    let id = item_id(&created);
    let read = client
        .get(
            std::slice::from_ref(&id),
            &["calendar:UID", "calendar:Start", "item:Subject", MARK],
        )
        .await;
    assert_eq!(
        (
            read.one("UID").as_str(),
            read.one("Start").as_str(),
            read.one("Value").as_str()
        ),
        ("ev42@calbridge", "2026-03-06T12:00:00Z", "node;ev42")
    );

    let moved = set("calendar:Start", "<t:Start>2026-03-06T13:00:00Z</t:Start>")
        + &set("calendar:End", "<t:End>2026-03-06T13:30:00Z</t:End>");
    let first = update(&client, "NeverOverwrite", &id, &moved).await;
    assert_eq!(first.codes(), ["NoError"], "{}", first.text);
    let fresh = item_id(&first);
    assert_ne!(fresh, id);
    assert_eq!(
        update(&client, "NeverOverwrite", &id, &moved).await.codes(),
        ["ErrorIrresolvableConflict"]
    );
    assert_eq!(
        update(&client, "AlwaysOverwrite", &id, &moved)
            .await
            .codes(),
        ["NoError"]
    );
    let keyless = format!("{} />", id.split(" ChangeKey").next().unwrap());
    assert_eq!(
        update(&client, "NeverOverwrite", &keyless, &moved)
            .await
            .codes(),
        ["ErrorChangeKeyRequiredForWriteOperations"]
    );
    let two = "<t:SetItemField><t:FieldURI FieldURI=\"calendar:Start\"/><t:CalendarItem><t:Start>2026-03-06T13:00:00Z</t:Start><t:End>2026-03-06T14:00:00Z</t:End></t:CalendarItem></t:SetItemField>";
    assert_eq!(
        update(&client, "AlwaysOverwrite", &id, two).await.codes(),
        ["ErrorUpdatePropertyMismatch"]
    );
    let backwards = set("calendar:End", "<t:End>2026-03-06T01:00:00Z</t:End>");
    assert_eq!(
        update(&client, "AlwaysOverwrite", &id, &backwards)
            .await
            .codes(),
        ["ErrorCalendarEndDateIsEarlierThanStartDate"]
    );
    let truth = exchange.occurrences(
        ANNA,
        "2026-03-01T00:00:00Z".parse().unwrap(),
        "2026-04-01T00:00:00Z".parse().unwrap(),
    );
    assert_eq!(
        (
            truth.len(),
            truth[0].end.to_string().as_str(),
            truth[0].free_busy
        ),
        (1, "2026-03-06T13:30:00Z", FreeBusy::OutOfOffice)
    );

    let delete = format!(
        "<m:DeleteItem DeleteType=\"MoveToDeletedItems\" SendMeetingCancellations=\"SendToNone\"><m:ItemIds>{id}</m:ItemIds></m:DeleteItem>"
    );
    assert_eq!(
        client
            .call(&delete.replace(" SendMeetingCancellations=\"SendToNone\"", ""))
            .await
            .codes(),
        ["ErrorSendMeetingCancellationsRequired"]
    );
    assert_eq!(client.call(&delete).await.codes(), ["NoError"]);
    assert_eq!(client.call(&delete).await.codes(), ["ErrorItemNotFound"]);
    let trash = client
        .sync_of("<t:DistinguishedFolderId Id=\"deleteditems\"/>", None, 9)
        .await;
    assert_eq!(trash.all("UID"), ["ev42@calbridge"]);
}

#[tokio::test]
async fn a_series_is_created_and_single_occurrences_are_written() {
    let exchange = start(ExchangeOptions::default()).await;
    let client = Client::new(&exchange, ANNA);
    let weekly = SINGLE.replace(
        "<t:StartTimeZone",
        "<t:Recurrence><t:WeeklyRecurrence><t:Interval>1</t:Interval><t:DaysOfWeek>Friday</t:DaysOfWeek></t:WeeklyRecurrence><t:NumberedRecurrence>\
         <t:StartDate>2026-03-06</t:StartDate><t:NumberOfOccurrences>5</t:NumberOfOccurrences></t:NumberedRecurrence></t:Recurrence><t:StartTimeZone",
    );
    let created = create(&client, &weekly).await;
    assert_eq!(created.codes(), ["NoError"], "{}", created.text);
    let master = created.ids()[0].clone();
    let occurrence = |index: u32| {
        format!("<t:OccurrenceItemId RecurringMasterId=\"{master}\" InstanceIndex=\"{index}\"/>")
    };
    let subject = set("item:Subject", "<t:Subject>Another</t:Subject>");
    assert_eq!(
        update(&client, "AlwaysOverwrite", &occurrence(2), &subject)
            .await
            .codes(),
        ["NoError"]
    );
    let far = set("calendar:Start", "<t:Start>2026-03-30T13:00:00Z</t:Start>")
        + &set("calendar:End", "<t:End>2026-03-30T14:00:00Z</t:End>");
    assert_eq!(
        update(&client, "AlwaysOverwrite", &occurrence(3), &far)
            .await
            .codes(),
        ["ErrorOccurrenceCrossingBoundary"]
    );
    let delete = format!(
        "<m:DeleteItem DeleteType=\"HardDelete\" SendMeetingCancellations=\"SendToNone\"><m:ItemIds>{}</m:ItemIds></m:DeleteItem>",
        occurrence(4)
    );
    assert_eq!(client.call(&delete).await.codes(), ["NoError"]);
    let view = client
        .view(
            "2026-03-01T00:00:00Z",
            "2026-05-01T00:00:00Z",
            None,
            &[
                "item:Subject",
                "calendar:Start",
                "calendar:CalendarItemType",
            ],
        )
        .await;
    assert_eq!(
        view.all("CalendarItemType"),
        ["Occurrence", "Exception", "Occurrence", "Occurrence"]
    );
    assert_eq!(
        view.all("Start"),
        [
            "2026-03-06T12:00:00Z",
            "2026-03-13T12:00:00Z",
            "2026-03-20T12:00:00Z",
            "2026-04-03T11:00:00Z"
        ]
    );
    assert_eq!(
        view.all("Subject"),
        ["Optaget", "Another", "Optaget", "Optaget"]
    );

    // New times for the whole series begin it anew.
    let earlier = set("calendar:Start", "<t:Start>2026-03-06T08:00:00Z</t:Start>")
        + &set("calendar:End", "<t:End>2026-03-06T09:00:00Z</t:End>");
    let whole = format!("<t:ItemId Id=\"{master}\"/>");
    assert_eq!(
        update(&client, "AlwaysOverwrite", &whole, &earlier)
            .await
            .codes(),
        ["NoError"]
    );
    let view = client
        .view(
            "2026-03-01T00:00:00Z",
            "2026-05-01T00:00:00Z",
            None,
            &["calendar:CalendarItemType"],
        )
        .await;
    assert_eq!(view.all("CalendarItemType"), ["Occurrence"; 5]);
}

#[tokio::test]
async fn wrong_writes_are_refused() {
    let exchange = start(ExchangeOptions::default()).await;
    let client = Client::new(&exchange, ANNA);
    let missing = client.call(&format!("<m:CreateItem><m:Items><t:CalendarItem>{SINGLE}</t:CalendarItem></m:Items></m:CreateItem>")).await;
    assert_eq!(missing.codes(), ["ErrorSendMeetingInvitationsRequired"]);
    let order =
        SINGLE.replace("<t:Subject>Optaget</t:Subject>", "") + "<t:Subject>Optaget</t:Subject>";
    assert_eq!(
        create(&client, &order).await.codes(),
        ["ErrorSchemaValidation"]
    );
    let backwards = SINGLE.replace("2026-03-06T14", "2026-03-06T12");
    assert_eq!(
        create(&client, &backwards).await.codes(),
        ["ErrorCalendarEndDateIsEarlierThanStartDate"]
    );
    assert_eq!(
        create(&client, &SINGLE.replace("Romance", "Atlantis"))
            .await
            .codes(),
        ["ErrorTimeZone"]
    );
    let inbox = client
        .call(&format!(
            "<m:CreateItem SendMeetingInvitations=\"SendToNone\"><m:SavedItemFolderId><t:DistinguishedFolderId Id=\"inbox\"/></m:SavedItemFolderId>\
             <m:Items><t:CalendarItem>{SINGLE}</t:CalendarItem></m:Items></m:CreateItem>"
        ))
        .await;
    assert_eq!(
        inbox.codes(),
        ["ErrorCannotCreateCalendarItemInNonCalendarFolder"]
    );
    let day = "<t:Subject>Day</t:Subject><t:Start>2026-03-06T10:00:00Z</t:Start><t:End>2026-03-06T11:00:00Z</t:End><t:IsAllDayEvent>true</t:IsAllDayEvent>\
               <t:StartTimeZone Id=\"Romance Standard Time\"/>";
    assert_eq!(create(&client, day).await.codes(), ["NoError"]);
    let truth = exchange.occurrences(
        ANNA,
        "2026-03-01T00:00:00Z".parse().unwrap(),
        "2026-04-01T00:00:00Z".parse().unwrap(),
    );
    assert_eq!(
        truth[0].dates,
        Some((jiff::civil::date(2026, 3, 6), jiff::civil::date(2026, 3, 7)))
    );
}

#[tokio::test]
async fn a_zone_without_times_moves_them_and_with_times_does_not() {
    let exchange = start(ExchangeOptions::default()).await;
    let client = Client::new(&exchange, ANNA);
    let created = create(&client, SINGLE).await;
    let id = item_id(&created);
    let zone = set(
        "calendar:StartTimeZone",
        "<t:StartTimeZone Id=\"GMT Standard Time\"/>",
    );
    let start_of = || {
        exchange.occurrences(
            ANNA,
            "2026-03-01T00:00:00Z".parse().unwrap(),
            "2026-04-01T00:00:00Z".parse().unwrap(),
        )[0]
        .start
        .to_string()
    };
    assert_eq!(start_of(), "2026-03-06T12:00:00Z");
    let alone = update(&client, "AlwaysOverwrite", &id, &zone).await;
    assert_eq!(alone.codes(), ["NoError"], "{}", alone.text);
    assert_eq!(start_of(), "2026-03-06T13:00:00Z", "13:00 in London now");
    let back = set(
        "calendar:StartTimeZone",
        "<t:StartTimeZone Id=\"Romance Standard Time\"/>",
    ) + &set("calendar:Start", "<t:Start>2026-03-06T08:00:00Z</t:Start>")
        + &set("calendar:End", "<t:End>2026-03-06T09:00:00Z</t:End>");
    let both = update(&client, "AlwaysOverwrite", &id, &back).await;
    assert_eq!(both.codes(), ["NoError"], "{}", both.text);
    assert_eq!(start_of(), "2026-03-06T08:00:00Z");
}

#[tokio::test]
async fn single_items_of_a_batch_can_be_refused_and_mailboxes_be_full() {
    let exchange = start(ExchangeOptions::default()).await;
    let client = Client::new(&exchange, ANNA);
    let three = |hour: u32| {
        let item = format!(
            "{}</t:CalendarItem><t:CalendarItem>",
            SINGLE.replace("2026-03-06T13", &format!("2026-03-06T{hour:02}"))
        );
        format!("{item}{item}{SINGLE}")
    };
    exchange
        .inject_spec("CreateItem#1=item-refused:ErrorMessageSizeExceeded/2")
        .unwrap();
    exchange
        .inject_spec("CreateItem#2=start-refused:2026-03-06T11:00:00Z")
        .unwrap();
    let refused = create(&client, &three(13)).await;
    assert_eq!(
        refused.codes(),
        ["NoError", "ErrorMessageSizeExceeded", "NoError"]
    );
    let refused = create(&client, &three(12)).await;
    assert_eq!(
        refused.codes(),
        [
            "ErrorInvalidPropertySet",
            "ErrorInvalidPropertySet",
            "NoError"
        ]
    );
    exchange.set_quota(ANNA, Some(4)).unwrap();
    let full = create(&client, &three(13)).await;
    assert_eq!(
        full.codes(),
        ["NoError", "ErrorQuotaExceeded", "ErrorQuotaExceeded"]
    );
    exchange.set_quota(ANNA, None).unwrap();
    assert_eq!(create(&client, SINGLE).await.codes(), ["NoError"]);
}

#[tokio::test]
async fn somebody_else_can_be_quicker() {
    let exchange = start(ExchangeOptions::default()).await;
    let client = Client::new(&exchange, ANNA);
    let id = item_id(&create(&client, SINGLE).await);
    exchange.inject_spec("UpdateItem#1=touched").unwrap();
    let subject = set("item:Subject", "<t:Subject>Another</t:Subject>");
    let codes = update(&client, "NeverOverwrite", &id, &subject)
        .await
        .codes();
    assert_eq!(codes, ["ErrorIrresolvableConflict"]);
}
