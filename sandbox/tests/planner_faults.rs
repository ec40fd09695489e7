//! Faults on demand, agreed limits, and what stays of a call whose answer never came.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod planner_support;

use std::time::{Duration, Instant};

use calbridge_sandbox::planner::{PlannerSandbox, RateAnswer, access_code};
use jiff::SignedDuration;
use planner_support::*;

fn three() -> String {
    ["a", "b", "c"].map(|id| plain_event(ANNA, id)).concat()
}

async fn struck(spec: &str) -> (PlannerSandbox, Result<Answer, reqwest::Error>) {
    let planner = plain().await;
    planner.inject(spec.parse().unwrap()).unwrap();
    // Only a hanging server needs to be given up; a busy machine must not look like one.
    let patience = if spec.contains("hang") { 1 } else { 60 };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(patience));
    http();
    let answer = try_call(&client.build().unwrap(), &planner, "CreateEvents", &three()).await;
    (planner, answer)
}

#[tokio::test]
async fn receipts_can_be_wrong_in_every_way() {
    for (kind, ids, stored) in [
        ("receipts-reversed", vec!["c", "b", "a"], 3),
        ("receipts-shuffled", vec!["b", "c", "a"], 3),
        ("receipts-missing:2", vec!["a"], 3),
        ("receipts-missing:3", vec![], 3),
        ("receipts-doubled", vec!["a", "a", "b", "b", "c", "c"], 3),
        ("receipts-foreign", vec!["a", "b", "c", "no-such-event"], 3),
        ("id-case", vec!["A", "B", "C"], 3),
        ("lost", vec!["a", "b", "c"], 0),
        ("doubled", vec!["a", "b", "c"], 6),
        ("code:15/2", vec!["a", "b", "c"], 2),
        ("code:16", vec!["a", "b", "c"], 0),
    ] {
        let (planner, answer) = struck(&format!("CreateEvents={kind}")).await;
        let answer = answer.unwrap();
        assert_eq!(answer.all("OriginSystemIdentifier"), ids, "{kind}");
        assert_eq!(planner.content().0.len(), stored, "{kind}");
        let codes: &[i64] = match kind {
            "code:15/2" => &[0, 15, 0],
            "code:16" => &[16, 16, 16],
            _ => &[],
        };
        assert!(codes.is_empty() || answer.codes() == codes, "{kind}");
        assert_eq!(planner.ledger().last().unwrap().detail.faults, [kind]);
        // Struck once only.
        let again = call(&planner, "GetResources", "").await;
        assert_eq!(again.status, 200);
    }
}

#[tokio::test]
async fn times_can_be_shifted() {
    let (planner, answer) = struck("CreateEvents=shifted:-60").await;
    assert_eq!(answer.unwrap().codes(), [0, 0, 0]);
    assert_eq!(
        planner.event(ANNA, "a").unwrap().start,
        time("2026-12-01T08:00:00")
    );
}

#[tokio::test]
async fn faults_before_and_after_processing() {
    for (kind, code, stored) in [
        ("fault", None, 0),
        ("fault-after", None, 3),
        ("fault-details:4711", Some(4711), 0),
        ("fault-details", None, 0),
        ("fault-details-after:15", Some(15), 3),
        ("fault-nil", None, 0),
    ] {
        let (planner, answer) = struck(&format!("CreateEvents@{ANNA}={kind}")).await;
        let answer = answer.unwrap();
        assert_eq!(answer.fault_code(), code, "{kind}");
        assert_eq!(
            answer.text.contains("FaultDetails"),
            kind.contains("details") || kind == "fault-nil"
        );
        assert_eq!(planner.content().0.len(), stored, "{kind}");
        assert_eq!(
            planner.effective_creates("a"),
            usize::from(stored > 0),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn no_answer_after_processing_looks_like_a_timeout() {
    for (kind, stored) in [
        ("hang-after", 3),
        ("hang-before", 0),
        ("reset-after", 3),
        ("reset-before", 0),
        ("close-after", 3),
        ("close-before", 0),
        ("truncate:100", 3),
        ("raw:garbage", 3),
    ] {
        let (planner, answer) = struck(&format!("*={kind}")).await;
        let error = answer.unwrap_err();
        assert_eq!(
            error.is_timeout(),
            kind.starts_with("hang"),
            "{kind}: {error:?}"
        );
        assert_eq!(planner.content().0.len(), stored, "{kind}");
        let entry = planner.ledger().last().unwrap();
        assert_eq!(entry.detail.reference.is_some(), stored > 0, "{kind}");
        assert_eq!(
            entry.status,
            if kind == "truncate:100" { 200 } else { 0 },
            "{kind}"
        );
    }
}

#[tokio::test]
async fn status_codes_before_and_after_processing() {
    for (kind, status, stored) in [
        ("status:403", 403, 0),
        ("status:404", 404, 0),
        ("status:502", 502, 0),
        ("status:503", 503, 0),
        ("status-after:504", 504, 3),
    ] {
        let (planner, answer) = struck(&format!("*={kind}")).await;
        assert_eq!(answer.unwrap().status, status);
        assert_eq!(planner.content().0.len(), stored, "{kind}");
        assert_eq!(planner.ledger().last().unwrap().status, status);
    }
}

#[tokio::test]
async fn delays_and_doubled_answers() {
    let before = Instant::now();
    let (_, answer) = struck("*=delay:200").await;
    assert_eq!(answer.unwrap().codes(), [0, 0, 0]);
    assert!(before.elapsed() >= Duration::from_millis(200));

    let (planner, answer) = struck("*=twice").await;
    assert_eq!(answer.unwrap().codes(), [0, 0, 0]);
    assert_eq!(planner.ledger().len(), 1);
}

#[tokio::test]
async fn answers_can_be_broken_or_hostile() {
    for (kind, parses) in [
        ("malformed", false),
        ("half", false),
        ("dtd", false),
        ("entities", false),
        ("external", false),
        ("empty", false),
        ("html", false),
        ("bad-utf8", false),
        ("deep:200", true),
        ("padding:100000", true),
        ("wrong-namespace", true),
        ("bad-time", true),
        ("bad-code", true),
        ("bad-reference", true),
        ("missing-reference", true),
    ] {
        let (planner, answer) = struck(&format!("*={kind}")).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{kind}");
        let strict = roxmltree::Document::parse(&answer.text);
        let broken = strict.is_err() || answer.text.contains('\u{fffd}');
        assert_eq!(!broken, parses, "{kind}: {}", answer.text);
        assert_eq!(planner.content().0.len(), 3, "{kind}");
        match kind {
            "dtd" | "entities" | "external" => assert!(answer.text.starts_with("<!DOCTYPE")),
            "padding:100000" => assert!(answer.text.len() > 100_000),
            "bad-time" => assert_eq!(answer.all("EventReceivalTime")[0], "yesterday"),
            "bad-code" => assert_eq!(answer.all("EventErrorCode")[0], "none"),
            "missing-reference" => assert!(
                answer
                    .all("ServiceRequestLogReferenceIdentifier")
                    .is_empty()
            ),
            _ => {}
        }
    }
}

#[tokio::test]
async fn lists_can_be_short_doubled_or_empty() {
    let planner = plain().await;
    call(&planner, "CreateEvents", &three()).await;
    for (spec, operation, element, count) in [
        (
            "GetEvents=events-missing:1",
            "GetEvents",
            "CalendarEvent",
            2,
        ),
        ("GetEvents=events-doubled", "GetEvents", "CalendarEvent", 6),
        (
            "GetResources=resources-empty",
            "GetResources",
            "CalendarResource",
            0,
        ),
    ] {
        planner.inject(spec.parse().unwrap()).unwrap();
        assert_eq!(
            call(&planner, operation, "").await.all(element).len(),
            count,
            "{spec}"
        );
    }
}

#[tokio::test]
async fn unknown_faults_are_refused_with_what_there_is() {
    let planner = plain().await;
    for spec in [
        "*=no-such-thing",
        "*=code",
        "*=receipts-missing:many",
        "*=fault-details:x",
    ] {
        let error = planner
            .inject(spec.parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("known are") || error.contains("needs"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn agreed_limits_are_enforced() {
    let planner = plain_with(|options| {
        options.limits.max_events_per_call = Some(2);
        options.limits.max_calendars_per_get = Some(1);
    })
    .await;
    let answer = call(&planner, "CreateEvents", &three()).await;
    assert_eq!(
        answer.fault_code(),
        Some(i64::from(access_code::TOO_MANY_EVENTS))
    );
    assert!(planner.content().0.is_empty());
    let two = get_events(&[ANNA, BO], "2026-12-01T00:00:00", "2026-12-02T00:00:00");
    let answer = call(&planner, "GetEvents", &two).await;
    assert_eq!(
        answer.fault_code(),
        Some(i64::from(access_code::TOO_MANY_CALENDARS))
    );
}

#[tokio::test]
async fn calls_per_minute_are_counted_by_the_servers_clock() {
    let planner = plain_with(|options| {
        options.limits.calls_per_minute = Some(2);
        options.clock = Some("2026-11-22T13:05:10Z".parse().unwrap());
    })
    .await;
    assert_eq!(call(&planner, "GetResources", "").await.status, 200);
    planner.advance_clock(SignedDuration::from_secs(30));
    assert_eq!(call(&planner, "GetResources", "").await.status, 200);
    let response = http()
        .post(planner.url())
        .header("content-type", "text/xml")
        .body(envelope("CreateEvents", &Who::default(), &three()))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    // The first call leaves the minute in 30 s.
    assert_eq!(response.headers()["retry-after"], "31");
    planner.reconfigure(|options| options.limits.rate_answer = RateAnswer::Fault);
    assert!(
        call(&planner, "CreateEvents", &three())
            .await
            .is_plain_fault()
    );
    assert!(planner.content().0.is_empty());
    planner.advance_clock(SignedDuration::from_secs(30));
    let response = call(&planner, "CreateEvents", &three()).await;
    assert_eq!(response.codes(), [0, 0, 0]);
    assert_eq!(planner.ledger().len(), 5);
}

#[tokio::test]
async fn a_set_clock_shows_in_the_date_header() {
    let planner =
        plain_with(|options| options.clock = Some("2026-11-22T13:05:10Z".parse().unwrap())).await;
    let response = http()
        .post(planner.url())
        .header("content-type", "text/xml")
        .header("soapaction", action("GetResources"))
        .body(envelope("GetResources", &Who::default(), ""))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["date"], "Sun, 22 Nov 2026 13:05:10 GMT");
}

#[tokio::test]
async fn calls_at_one_time_are_counted() {
    let planner = plain().await;
    planner.inject("*#1*3=delay:1500".parse().unwrap()).unwrap();
    tokio::join!(
        call(&planner, "GetResources", ""),
        call(&planner, "GetResources", ""),
        call(&planner, "GetResources", "")
    );
    assert_eq!(planner.most_in_flight(), 3);
}
