//! The five operations over plain HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod planner_support;

use calbridge_sandbox::planner::{
    Operation, PeriodEdges, PlannerOptions, PlannerSandbox, Resource, Seed, TimeForm, receipt_code,
};
use planner_support::*;

const NINE: &str = "2026-12-01T09:00:00";
const TEN: &str = "2026-12-01T10:00:00";

#[tokio::test]
async fn create_update_delete_and_their_second_times() {
    let planner = plain().await;
    let first = plain_event(ANNA, "uid-1");
    assert_eq!(call(&planner, "CreateEvents", &first).await.codes(), [0]);
    assert_eq!(
        call(&planner, "CreateEvents", &first).await.codes(),
        [receipt_code::EXISTS]
    );
    let moved = event(ANNA, "uid-1", NINE, "2026-12-01T11:30:00");
    assert_eq!(call(&planner, "UpdateEvents", &moved).await.codes(), [0]);
    assert_eq!(
        planner.event(ANNA, "uid-1").unwrap().end,
        time("2026-12-01T11:30:00")
    );
    assert_eq!(call(&planner, "DeleteEvents", &first).await.codes(), [0]);
    assert_eq!(
        call(&planner, "DeleteEvents", &first).await.codes(),
        [receipt_code::NOT_FOUND]
    );
    assert_eq!(
        call(&planner, "UpdateEvents", &first).await.codes(),
        [receipt_code::NOT_FOUND]
    );
    assert!(planner.content().0.is_empty());
    assert_eq!(planner.effective_creates("uid-1"), 1);
    assert_eq!(planner.calls(Operation::CreateEvents).len(), 2);
    assert_eq!(planner.effective(Operation::DeleteEvents, "uid-1"), 1);
}

#[tokio::test]
async fn address_and_id_ignore_letter_case() {
    let planner = plain().await;
    call(&planner, "CreateEvents", &plain_event(ANNA, "uid-Æ1")).await;
    let other = plain_event("ANNA@Kommune.Example", "UID-æ1");
    assert_eq!(
        call(&planner, "CreateEvents", &other).await.codes(),
        [receipt_code::EXISTS]
    );
    assert_eq!(call(&planner, "DeleteEvents", &other).await.codes(), [0]);
}

#[tokio::test]
async fn receipts_come_in_order_with_ids_and_a_reference() {
    let planner =
        plain_with(|options| options.clock = Some("2026-11-22T13:05:10Z".parse().unwrap())).await;
    let events = format!(
        "{}{}{}",
        plain_event(ANNA, "a"),
        event(BO, "b", TEN, NINE),
        plain_event("nobody@kommune.example", "c")
    );
    let answer = call(&planner, "CreateEvents", &events).await;
    assert_eq!(
        answer.codes(),
        [
            0,
            receipt_code::END_BEFORE_START,
            receipt_code::UNKNOWN_RESOURCE
        ]
    );
    assert_eq!(answer.all("OriginSystemIdentifier"), ["a", "b", "c"]);
    assert_eq!(
        answer.all("EventReceivalTime")[0],
        "2026-11-22T14:05:10+01:00"
    );
    assert_eq!(answer.all("PlannerResourceIdentifier").len(), 2);
    assert_eq!(answer.all("EventMessage").len(), 2);
    let entry = planner.ledger().last().unwrap();
    assert_eq!(
        answer.all("ServiceRequestLogReferenceIdentifier"),
        [entry.detail.reference.unwrap().to_string()]
    );
    assert_eq!(entry.mailboxes, [ANNA, BO, "nobody@kommune.example"]);
    assert_eq!(entry.status, 200);
    let headers = entry.detail.headers.unwrap();
    assert_eq!(headers.user_full_name, "test : CreateEvents");
    assert_eq!(
        (headers.active_organisation.as_str(), headers.user_type),
        (JOBCENTER, 3)
    );
    assert!(
        entry
            .detail
            .request_xml
            .unwrap()
            .contains("CreateEventsRequest")
    );
}

#[tokio::test]
async fn an_empty_id_and_wrong_identifiers_are_rejected() {
    let planner = plain().await;
    assert_eq!(
        call(&planner, "CreateEvents", &plain_event(ANNA, " "))
            .await
            .codes(),
        [receipt_code::NO_ID]
    );
    let long = "x".repeat(256);
    assert_eq!(
        call(&planner, "CreateEvents", &plain_event(ANNA, &long))
            .await
            .codes(),
        [receipt_code::ID_TOO_LONG]
    );
    planner.put_event(ANNA, "known", time(NINE), time(TEN));
    let wrong = "7d0f2f0a-3c52-4a7e-9d55-0c9e2a3b1f01";
    let event = plain_event(ANNA, "known");
    let resource = event.replace("</e:OriginEmailAddress>", &format!("</e:OriginEmailAddress><e:PlannerResourceIdentifier>{wrong}</e:PlannerResourceIdentifier>"));
    assert_eq!(
        call(&planner, "UpdateEvents", &resource).await.codes(),
        [receipt_code::WRONG_RESOURCE]
    );
    let identifier = event.replace(
        "</e:OriginEmailAddress>",
        &format!(
            "</e:OriginEmailAddress><e:CalendarEventIdentifier>{wrong}</e:CalendarEventIdentifier>"
        ),
    );
    assert_eq!(
        call(&planner, "UpdateEvents", &identifier).await.codes(),
        [receipt_code::WRONG_EVENT]
    );
    assert!(planner.ledger().last().unwrap().detail.events[0].with_identifiers);
}

#[tokio::test]
async fn planners_own_appointments_are_answered_13_and_others_that_overlap_are_told() {
    let planner = plain().await;
    planner.put_own_appointment(ANNA, "own-1", time(NINE), time(TEN));
    for operation in ["CreateEvents", "UpdateEvents", "DeleteEvents"] {
        let answer = call(&planner, operation, &plain_event(ANNA, "OWN-1")).await;
        assert_eq!(answer.codes(), [receipt_code::PLANNERS_OWN]);
    }
    let overlap = event(ANNA, "mine", "2026-12-01T09:59:00", "2026-12-01T11:00:00");
    let beside = event(ANNA, "next", TEN, "2026-12-01T11:00:00");
    let elsewhere = plain_event(BO, "bo");
    let answer = call(
        &planner,
        "CreateEvents",
        &format!("{overlap}{beside}{elsewhere}"),
    )
    .await;
    assert_eq!(answer.codes(), [0, 0, 0]);
    assert_eq!(
        answer.all("ConflictNotificationSent"),
        ["true", "false", "false"]
    );
    assert_eq!(planner.events(ANNA).len(), 2);
}

#[tokio::test]
async fn get_events_filters_on_start_and_calendar() {
    let planner = plain().await;
    planner.put_event(
        ANNA,
        "before",
        time("2026-11-30T23:00:00"),
        time("2026-12-01T09:00:00"),
    );
    planner.put_event(
        ANNA,
        "first",
        time("2026-12-01T00:00:00"),
        time("2026-12-01T01:00:00"),
    );
    planner.put_event(
        ANNA,
        "last",
        time("2026-12-01T23:59:59"),
        time("2026-12-05T01:00:00"),
    );
    planner.put_event(
        ANNA,
        "after",
        time("2026-12-02T00:00:00"),
        time("2026-12-02T01:00:00"),
    );
    planner.put_event(BO, "bo", time(NINE), time(TEN));
    planner.put_own_appointment(ANNA, "own", time(NINE), time(TEN));
    let day = get_events(
        &["ANNA@kommune.example"],
        "2026-12-01T00:00:00+01:00",
        "2026-12-01T23:00:00Z",
    );
    for (edges, ids) in [
        (PeriodEdges::Open, &["last"][..]),
        (PeriodEdges::Closed, &["first", "last", "after"]),
        (PeriodEdges::HalfOpen, &["first", "last"]),
    ] {
        planner.reconfigure(|options| options.period_edges = edges);
        let answer = call(&planner, "GetEvents", &day).await;
        assert_eq!(answer.all("OriginSystemIdentifier"), ids, "{edges:?}");
    }
    let answer = call(&planner, "GetEvents", &day).await;
    assert_eq!(
        answer.all("CalendarEventStartTime")[0],
        "2026-12-01T00:00:00+01:00"
    );
    assert_eq!(answer.all("OriginEmailAddress")[0], ANNA);

    let both = get_events(&[ANNA, BO], "2026-12-01T00:00:00", "2026-12-02T00:00:00");
    assert_eq!(
        call(&planner, "GetEvents", &both)
            .await
            .all("OriginSystemIdentifier"),
        ["first", "last", "bo"]
    );
    assert_eq!(
        call(&planner, "GetEvents", "")
            .await
            .all("OriginSystemIdentifier")
            .len(),
        5
    );

    planner.reconfigure(|options| {
        options.list_own = true;
        options.answer_times = TimeForm::Wall;
    });
    let answer = call(&planner, "GetEvents", &day).await;
    assert_eq!(
        answer.all("OriginSystemIdentifier"),
        ["first", "own", "last"]
    );
    assert_eq!(answer.all("CalendarEventStartTime")[1], NINE);
}

#[tokio::test]
async fn get_resources_lists_all_or_the_named() {
    let planner = plain().await;
    planner.add_resource(Resource {
        description: Some("Team <A> & B".to_owned()),
        ..Resource::case_worker("Anna again", ANNA)
    });
    let all = call(&planner, "GetResources", "").await;
    assert_eq!(
        all.all("CalendarResourceName"),
        ["Anna", "Bo", "Room 1", "Anna again"]
    );
    assert_eq!(all.all("IsCaseWorker"), ["true", "true", "false", "true"]);
    assert_eq!(all.all("CalendarResourceDescription"), ["Team <A> & B"]);
    assert_eq!(all.all("WorkingHoursWeekday").len(), 15);
    let one = call(
        &planner,
        "GetResources",
        &format!(
            "<e:EmailAddressIdentifier>{}</e:EmailAddressIdentifier>",
            BO.to_uppercase()
        ),
    )
    .await;
    assert_eq!(one.all("CalendarResourceEmailAddress"), [BO]);
    assert!(planner.remove_resource(ANNA));
    assert!(!planner.remove_resource(ANNA));
    assert_eq!(
        call(&planner, "GetResources", "").await.all("RID"),
        ["bo", "room1"]
    );
    assert_eq!(
        call(&planner, "CreateEvents", &plain_event(ANNA, "x"))
            .await
            .codes(),
        [receipt_code::UNKNOWN_RESOURCE]
    );
}

#[tokio::test]
async fn times_are_kept_as_danish_wall_clock_across_both_changes() {
    let planner = plain().await;
    let events = [
        // Winter and summer, sent as instants.
        event(
            ANNA,
            "winter",
            "2026-12-01T08:00:00Z",
            "2026-12-01T09:00:00Z",
        ),
        event(
            ANNA,
            "summer",
            "2026-07-01T08:00:00Z",
            "2026-07-01T09:00:00Z",
        ),
        // Half past two before the autumn change to ten past two after it: backwards on the wall.
        event(
            ANNA,
            "fold",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:10:00+01:00",
        ),
        event(
            ANNA,
            "spring",
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:30:00Z",
        ),
    ];
    let answer = call(&planner, "CreateEvents", &events.concat()).await;
    assert_eq!(answer.codes(), [0, 0, receipt_code::END_BEFORE_START, 0]);
    let table = planner.content().to_string();
    assert_eq!(
        table,
        format!(
            "{ANNA}\t2026-03-29T01:30:00\t2026-03-29T03:30:00\tspring\n\
             {ANNA}\t2026-07-01T10:00:00\t2026-07-01T11:00:00\tsummer\n\
             {ANNA}\t2026-12-01T09:00:00\t2026-12-01T10:00:00\twinter\n"
        )
    );
    assert!(planner.ledger().last().unwrap().detail.events[0].with_offset);
}

#[tokio::test]
async fn scripted_codes_by_id_and_by_number() {
    let planner = plain().await;
    planner.script_code("b", 15, Some(1));
    planner.script_code("never", 70000, None);
    planner.script_nth_event(4, -1);
    let three = [
        plain_event(ANNA, "a"),
        plain_event(ANNA, "B"),
        plain_event(ANNA, "never"),
    ]
    .concat();
    assert_eq!(
        call(&planner, "CreateEvents", &three).await.codes(),
        [0, 15, 70000]
    );
    let three = [
        plain_event(ANNA, "d"),
        plain_event(ANNA, "b"),
        plain_event(ANNA, "never"),
    ]
    .concat();
    assert_eq!(
        call(&planner, "CreateEvents", &three).await.codes(),
        [-1, 0, 70000]
    );
    let ids: Vec<String> = planner
        .events(ANNA)
        .into_iter()
        .map(|record| record.id)
        .collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(planner.effective_creates("never"), 0);
}

#[tokio::test]
async fn scripted_codes_by_begin() {
    let planner = plain().await;
    let begin: jiff::civil::DateTime = "2026-12-01T09:00:00".parse().unwrap();
    planner.script_start(BO, begin, 3);
    planner.script_start(ANNA, begin, 3);
    let other = event(ANNA, "b", "2026-12-01T09:30:00", "2026-12-01T10:00:00");
    let three = [plain_event(ANNA, "a"), other, plain_event(ANNA, "c")].concat();
    assert_eq!(
        call(&planner, "CreateEvents", &three).await.codes(),
        [3, 0, 0]
    );
    planner.clear_scripts();
    assert_eq!(
        call(&planner, "CreateEvents", &plain_event(BO, "a"))
            .await
            .codes(),
        [0]
    );
}

#[tokio::test]
async fn an_outage_keeps_the_state() {
    let planner = plain().await;
    call(&planner, "CreateEvents", &plain_event(ANNA, "a")).await;
    planner.stop().await;
    assert!(
        try_call(&http(), &planner, "GetResources", "")
            .await
            .unwrap_err()
            .is_connect()
    );
    planner.resume().await.unwrap();
    assert_eq!(
        call(&planner, "CreateEvents", &plain_event(ANNA, "a"))
            .await
            .codes(),
        [receipt_code::EXISTS]
    );
}

#[tokio::test]
async fn the_wsdl_is_served_with_the_real_address() {
    let planner = plain().await;
    let response = http()
        .get(format!("{}?wsdl", planner.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    roxmltree::Document::parse(&text).unwrap();
    assert!(text.contains(&format!("location=\"{}\"", planner.url())));
    assert!(planner.ledger().is_empty());
}

#[tokio::test]
async fn a_seed_file_fills_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("planner.json");
    let text = format!(
        r#"{{"case_workers": [{{"name": "Anna", "address": "{ANNA}"}}],
             "rooms": [{{"name": "Room 1", "address": "{ROOM}"}}],
             "events": [{{"mailbox": "{ANNA}", "id": "old", "start": "{NINE}", "end": "{TEN}"}}],
             "own": [{{"mailbox": "{ROOM}", "id": "own", "start": "{NINE}", "end": "{TEN}"}}]}}"#
    );
    std::fs::write(&path, &text).unwrap();
    let seed = Seed::read(&path).unwrap();
    let planner = PlannerSandbox::start(seed.options(PlannerOptions::default()))
        .await
        .unwrap();
    seed.fill(&planner);
    let answer = call(
        &planner,
        "CreateEvents",
        &format!("{}{}", plain_event(ANNA, "old"), plain_event(ROOM, "own")),
    )
    .await;
    assert_eq!(
        answer.codes(),
        [receipt_code::EXISTS, receipt_code::PLANNERS_OWN]
    );

    for (from, to, part) in [
        ("rooms", "room", "unknown field `room`"),
        (NINE, "nine", "not usable"),
        (ANNA, "anna", "entry 1"),
    ] {
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Seed::read(&path).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(
        Seed::read(directory.path())
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_at_one_time_one_is_effective() {
    let planner = plain().await;
    let client = http();
    let content = plain_event(ANNA, "same");
    let calls = (0..20).map(|_| try_call(&client, &planner, "CreateEvents", &content));
    let mut codes: Vec<i64> = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .flat_map(|answer| answer.unwrap().codes())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes.first(), Some(&0));
    assert!(
        codes
            .iter()
            .skip(1)
            .all(|code| *code == receipt_code::EXISTS)
    );
    assert_eq!(planner.effective_creates("same"), 1);
    assert_eq!(planner.ledger().len(), 20);
}
