//! Answers that say the same in other words, and answers that say nothing: how a SOAP service may write them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{ApplyReport, InventoryRequest, Outcome, Write};
use calbridge_core::model::Window;
use support::*;

const GUID: &str = "b6a7a5a2-54a2-4f0e-8a9d-6f2f8f1f7c10";

/// What becomes of writes if the server answers with these bytes.
async fn answered(answer: Vec<u8>, writes: &[Write]) -> ApplyReport {
    let mut setup = setup().await;
    let (url, _) = canned(answer);
    setup.settings["url"] = url.into();
    apply(&setup.open(), writes).await
}

fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

const TEXT: &str = "Content-Type: text/xml; charset=utf-8";

#[tokio::test]
async fn the_same_answer_in_other_words_is_the_same() {
    let plain = receipts(GUID, &[("event-1", 0, "")]);
    let prefixed = plain
        .replace("<s:", "<SOAP-ENV:")
        .replace("</s:", "</SOAP-ENV:")
        .replace("xmlns:s=", "xmlns:SOAP-ENV=");
    let declared = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n<!-- gateway -->\r\n{plain}\r\n"
    );
    let header = plain.replacen(
        "<s:Body>",
        "<s:Header><w:Action xmlns:w='http://www.w3.org/2005/08/addressing'>x</w:Action></s:Header><s:Body>",
        1,
    );
    let spaced = plain.replace("><", ">\n\t<").replace(">0<", "> 0\n<");
    let cdata = plain.replace(
        "<OriginSystemIdentifier>event-1<",
        "<OriginSystemIdentifier><![CDATA[event-1]]><",
    );
    let unnamed_code = plain.replace(
        "<EventMessage></EventMessage>",
        "<EventMessage i:nil='true' xmlns:i='http://www.w3.org/2001/XMLSchema-instance'/>",
    );
    let later_version = plain.replace(
        "<ConflictNotificationSent>",
        "<SomethingNew>1</SomethingNew><ConflictNotificationSent>",
    );
    let mut chunked =
        format!("HTTP/1.1 200 OK\r\n{TEXT}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in plain.as_bytes().chunks(7) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for (name, answer) in [
        ("plain", with_head(TEXT, plain.as_bytes())),
        ("prefixes", with_head(TEXT, prefixed.as_bytes())),
        ("declaration", with_head(TEXT, declared.as_bytes())),
        ("header", with_head(TEXT, header.as_bytes())),
        ("spaces", with_head(TEXT, spaced.as_bytes())),
        ("cdata", with_head(TEXT, cdata.as_bytes())),
        ("nil", with_head(TEXT, unnamed_code.as_bytes())),
        ("more", with_head(TEXT, later_version.as_bytes())),
        ("chunked", chunked),
        (
            "content type",
            with_head("content-type: APPLICATION/XML", plain.as_bytes()),
        ),
        ("no content type", with_head("X: y", plain.as_bytes())),
    ] {
        let report = answered(answer, &creates(1)).await;
        assert!(is_done(outcome(&report, 1)), "{name}: {report:?}");
        assert_eq!(
            report.receipts[0].reference.as_deref(),
            Some(GUID),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_receipt_that_says_nothing_settles_nothing() {
    let plain = receipts(GUID, &[("event-1", 0, ""), ("event-2", 0, "")]);
    let nil = "i:nil='true' xmlns:i='http://www.w3.org/2001/XMLSchema-instance'";
    let first = |from: &str, to: &str| plain.replacen(from, to, 1);
    for body in [
        first("<EventErrorCode>", &format!("<EventErrorCode {nil}>")),
        first(
            "<c:CodeListItemIdentifier>0</c:CodeListItemIdentifier>",
            &format!("<c:CodeListItemIdentifier {nil}/>"),
        ),
        first(
            "<c:CodeListItemIdentifier>0<",
            "<c:CodeListItemIdentifier>-<",
        ),
        first(
            "<c:CodeListItemIdentifier>0<",
            "<c:CodeListItemIdentifier>0.0<",
        ),
        first(
            "<OriginSystemIdentifier>event-1</OriginSystemIdentifier>",
            &format!("<OriginSystemIdentifier {nil}>event-1</OriginSystemIdentifier>"),
        ),
        first(
            "<CalendarEventReceipt>",
            &format!("<CalendarEventReceipt {nil}>"),
        ),
        first(
            "<OriginSystemIdentifier>event-1<",
            "<OriginSystemIdentifier>event-3<",
        ),
        first(
            "<OriginSystemIdentifier>event-1<",
            "<OriginSystemIdentifier>event-2<",
        ),
    ] {
        let report = answered(with_head(TEXT, body.as_bytes()), &creates(2)).await;
        assert_eq!(outcome(&report, 1), &Outcome::Unknown, "{body}");
        assert!(is_done(outcome(&report, 2)), "{body}: {report:?}");
        assert_eq!(report.trouble, None);
    }
}

#[tokio::test]
async fn two_receipts_for_one_event_that_do_not_agree_settle_nothing() {
    let body = receipts(
        GUID,
        &[("event-1", 7, ""), ("event-1", 0, ""), ("event-2", 0, "")],
    );
    let report = answered(with_head(TEXT, body.as_bytes()), &creates(2)).await;
    assert_eq!(outcome(&report, 1), &Outcome::Unknown, "{report:?}");
    assert!(is_done(outcome(&report, 2)));
    let body = receipts(GUID, &[("event-1", 0, ""), ("EVENT-1", 0, "")]);
    let report = answered(with_head(TEXT, body.as_bytes()), &creates(1)).await;
    assert!(is_done(outcome(&report, 1)), "{report:?}");
}

#[tokio::test]
async fn a_hundred_thousand_receipts_are_no_trouble() {
    let many: Vec<String> = (0..100_000)
        .map(|number| format!("other-{number}"))
        .collect();
    let mut all: Vec<(&str, i64, &str)> = many.iter().map(|id| (id.as_str(), 7, "")).collect();
    all.push(("event-1", 0, ""));
    let mut setup = setup().await;
    let (url, _) = canned(with_head(TEXT, receipts(GUID, &all).as_bytes()));
    setup.settings["url"] = url.into();
    setup.settings["http"]["max_response"] = 100_000_000.into();
    let started = std::time::Instant::now();
    let report = apply(&setup.open(), &creates(1)).await;
    assert!(is_done(outcome(&report, 1)));
    assert!(started.elapsed().as_secs() < 20);
}

#[tokio::test]
async fn what_is_no_soap_1_1_is_told_and_leaves_open_what_was_sent() {
    let plain = receipts(GUID, &[("event-1", 0, "")]);
    let soap_1_2 = plain.replace(
        "http://schemas.xmlsoap.org/soap/envelope/",
        "http://www.w3.org/2003/05/soap-envelope",
    );
    let mtom = format!(
        "--b\r\nContent-Type: application/xop+xml; charset=UTF-8; type=\"text/xml\"\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <0>\r\n\r\n{plain}\r\n--b--\r\n"
    );
    let utf_16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let two = plain.replacen("</s:Body>", "</s:Body><s:Body/>", 1) + &plain;
    for (name, head, body) in [
        ("SOAP 1.2", TEXT, soap_1_2.into_bytes()),
        (
            "MTOM",
            "Content-Type: multipart/related; type=\"application/xop+xml\"; boundary=b",
            mtom.into_bytes(),
        ),
        ("UTF-16", "Content-Type: text/xml; charset=utf-16", utf_16),
        ("two documents", TEXT, two.into_bytes()),
        (
            "update",
            TEXT,
            plain
                .replace("CreateEventsResponse", "UpdateEventsResponse")
                .into_bytes(),
        ),
        (
            "gzip that is none",
            "Content-Type: text/xml\r\nContent-Encoding: gzip",
            plain.clone().into_bytes(),
        ),
    ] {
        let report = answered(with_head(head, &body), &creates(1)).await;
        assert_eq!(outcome(&report, 1), &Outcome::Unknown, "{name}");
        let trouble = report.trouble.unwrap();
        assert_eq!(trouble.code, "6905", "{name}: {trouble}");
    }
}

#[tokio::test]
async fn a_listed_event_that_is_nil_or_lacks_its_mailbox_proves_no_absence() {
    let event = |inside: &str| {
        format!(
            "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><GetEventsResponse xmlns='http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/' xmlns:i='http://www.w3.org/2001/XMLSchema-instance'>{inside}<ServiceRequestLogReferenceIdentifier>{GUID}</ServiceRequestLogReferenceIdentifier></GetEventsResponse></s:Body></s:Envelope>"
        )
    };
    let times = "<CalendarEventStartTime>2026-12-01T09:00:00</CalendarEventStartTime><CalendarEventEndTime>2026-12-01T10:00:00</CalendarEventEndTime>";
    let mailbox = format!("<OriginEmailAddress>{ANNA}</OriginEmailAddress>");
    for (inside, complete) in [
        (String::new(), true),
        (
            format!(
                "<CalendarEvent>{times}<OriginSystemIdentifier>a</OriginSystemIdentifier>{mailbox}</CalendarEvent>"
            ),
            true,
        ),
        (
            format!(
                "<CalendarEvent>{times}<OriginSystemIdentifier i:nil='true'>a</OriginSystemIdentifier>{mailbox}</CalendarEvent>"
            ),
            false,
        ),
        (
            format!(
                "<CalendarEvent>{times}<OriginSystemIdentifier>a</OriginSystemIdentifier><OriginEmailAddress i:nil='true'/></CalendarEvent>"
            ),
            false,
        ),
        ("<CalendarEvent i:nil='true'/>".to_owned(), false),
    ] {
        let mut setup = setup().await;
        let (url, _) = canned(http("200 OK", &event(&inside)));
        setup.settings["url"] = url.into();
        let request = InventoryRequest {
            calendars: vec![calendar(ANNA)],
            window: Window::new(at("2026-11-21T23:00:00Z"), at("2027-02-21T23:00:00Z")).unwrap(),
            now: at(NOW),
        };
        let mut feed = setup
            .open()
            .sink()
            .unwrap()
            .inventory(request)
            .await
            .unwrap();
        let page = feed.next().await.unwrap().unwrap();
        assert_eq!(page.complete.len() == 1, complete, "{inside}: {page:?}");
        assert_eq!(page.failed.len() == 1, !complete, "{inside}");
    }
}
