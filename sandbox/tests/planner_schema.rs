//! Whatever the contract does not allow is refused before it counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod planner_support;

use planner_support::*;

/// A good request, changed in one place.
async fn changed(from: &str, to: &str) -> Answer {
    let planner = plain().await;
    let content = plain_event(ANNA, "uid-1");
    let body = envelope("CreateEvents", &Who::default(), &content);
    assert!(body.contains(from), "{from}");
    let answer = post(
        &http(),
        &planner.url(),
        &action("CreateEvents"),
        body.replacen(from, to, 1),
    )
    .await
    .unwrap();
    if answer.status != 200 {
        assert!(planner.content().0.is_empty());
        assert_eq!(planner.ledger().last().unwrap().status, answer.status);
    }
    answer
}

#[tokio::test]
async fn violations_are_plain_faults() {
    let nested = "<a>".repeat(10_000);
    for (from, to) in [
        // Order and presence.
        (
            "<e:OriginSystemIdentifier>uid-1</e:OriginSystemIdentifier>",
            "",
        ),
        (
            "<e:CalendarEventEndTime>2026-12-01T10:00:00</e:CalendarEventEndTime>",
            "",
        ),
        (
            "</e:OriginEmailAddress>",
            "</e:OriginEmailAddress><e:Subject>x</e:Subject>",
        ),
        ("<e:CalendarEvent>", "<e:CalendarEvent>text"),
        (
            "<e:CalendarEventStartTime>2026-12-01T09:00:00</e:CalendarEventStartTime><e:CalendarEventEndTime>2026-12-01T10:00:00</e:CalendarEventEndTime>",
            "<e:CalendarEventEndTime>2026-12-01T10:00:00</e:CalendarEventEndTime><e:CalendarEventStartTime>2026-12-01T09:00:00</e:CalendarEventStartTime>",
        ),
        // Namespaces.
        (
            "PlannerExternalCalendarService/2015/03/27/",
            "PlannerExternalCalendarService/2015/03/27",
        ),
        (
            "RequestUserMetadata/2015/01/21/",
            "RequestUserMetadata/2015/01/21",
        ),
        (
            "rep.oio.dk/ams.dk/xml/schemas/2005/09/01/",
            "rep.oio.dk/ams.dk/xml/schemas/2005/09/01",
        ),
        (
            "pjaktass/2013/06/07/CodeListBase/",
            "pjaktass/2013/06/07/CodeListBase",
        ),
        (
            "<e:OriginSystemIdentifier>uid-1</e:OriginSystemIdentifier>",
            "<OriginSystemIdentifier>uid-1</OriginSystemIdentifier>",
        ),
        // Values.
        ("2026-12-01T09:00:00", "2026-12-01 09:00:00"),
        ("2026-12-01T09:00:00", "2026-12-01T09:00"),
        ("2026-12-01T09:00:00", "01-12-2026T09:00:00"),
        ("2026-12-01T09:00:00", ""),
        ("anna@kommune.example", "anna"),
        ("anna@kommune.example", "anna;x@kommune.example"),
        ("anna@kommune.example", " anna@kommune.example"),
        ("anna@kommune.example", "Anna &lt;anna@kommune.example>"),
        (
            "<c:CodeListItemIdentifier xmlns:c=\"http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/\">3</c:CodeListItemIdentifier>",
            "3",
        ),
        (
            ">3</c:CodeListItemIdentifier>",
            ">three</c:CodeListItemIdentifier>",
        ),
        (
            ">3</c:CodeListItemIdentifier>",
            ">-1</c:CodeListItemIdentifier>",
        ),
        (
            ">3</c:CodeListItemIdentifier>",
            ">100000001</c:CodeListItemIdentifier>",
        ),
        (
            "<o:OrganisationCode>10100</o:OrganisationCode>",
            "<o:OrganisationCode>Odense</o:OrganisationCode>",
        ),
        (
            "<o:OrganisationCode>10100</o:OrganisationCode>",
            "<o:OrganisationCode>123456789</o:OrganisationCode>",
        ),
        (
            "<a:OrganisationTypeIdentifier>8</a:OrganisationTypeIdentifier>",
            "<a:OrganisationTypeIdentifier>0</a:OrganisationTypeIdentifier>",
        ),
        (
            "<a:OrganisationTypeIdentifier>8</a:OrganisationTypeIdentifier>",
            "<a:OrganisationTypeIdentifier>101</a:OrganisationTypeIdentifier>",
        ),
        (
            "<a:OrganisationCode>10100</a:OrganisationCode>",
            "<a:OrganisationCode></a:OrganisationCode>",
        ),
        ("test : CreateEvents", ""),
        ("2026-11-22T14:05:09.1234567+01:00", "now"),
        // Attributes.
        (
            "<e:OriginSystemIdentifier>",
            "<e:OriginSystemIdentifier id=\"1\">",
        ),
        (
            "<e:OriginSystemIdentifier>",
            "<e:OriginSystemIdentifier i:nil=\"true\" xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">",
        ),
        // XML.
        ("</s:Envelope>", ""),
        ("<s:Envelope", "<!DOCTYPE x><s:Envelope"),
        ("<s:Envelope", "<!DOCTYPE x [<!ENTITY a \"b\">]><s:Envelope"),
        ("<s:Body>", nested.as_str()),
        ("uid-1", "&undefined;"),
        // SOAP.
        (
            "http://schemas.xmlsoap.org/soap/envelope/",
            "http://www.w3.org/2003/05/soap-envelope",
        ),
        ("CreateEventsRequest", "MoveEventsRequest"),
        ("</s:Body>", "<x/></s:Body>"),
    ] {
        let answer = changed(from, to).await;
        assert!(
            answer.is_plain_fault(),
            "{from} -> {}: {answer:?}",
            to.get(..80).unwrap_or(to)
        );
    }
}

#[tokio::test]
async fn forms_that_the_contract_allows_pass() {
    for (from, to) in [
        ("2026-12-01T09:00:00", " 2026-12-01T09:00:00.0000000 "),
        ("<e:CalendarEvent>", "<!-- c --><e:CalendarEvent>\n  "),
        ("uid-1", "uid&amp;<![CDATA[<x>]]>"),
        (
            "anna@kommune.example</e:OriginEmailAddress>",
            "anna@kommune.example</e:OriginEmailAddress><e:PlannerResourceIdentifier>7D0F2F0A-3c52-4a7e-9d55-0c9e2a3b1f01</e:PlannerResourceIdentifier>",
        ),
        (
            "<o:OrganisationCode>10100</o:OrganisationCode>",
            "<o:OrganisationCode>-1</o:OrganisationCode>",
        ),
        (
            "</s:Header>",
            "<w:Extra xmlns:w=\"urn:w\" s:mustUnderstand=\"0\"/></s:Header>",
        ),
        (
            "</u:UserIdentifier>",
            "</u:UserIdentifier><u:UserEmail>a@b.example</u:UserEmail>",
        ),
    ] {
        let answer = changed(from, to).await;
        assert_eq!(answer.status, 200, "{from} -> {to}: {}", answer.text);
    }
}

#[tokio::test]
async fn missing_and_doubled_headers_are_refused() {
    let planner = plain().await;
    let who = Who::default();
    let good = envelope("GetResources", &who, "");
    let all = headers("GetResources", &who);
    let at = all.find("<a:ActiveOrganisationHeader").unwrap();
    let (user, organisation) = all.split_at(at);
    for header in [user, organisation, "", &format!("{all}{organisation}")] {
        let body = good.replace(&all, header);
        let answer = post(&http(), &planner.url(), &action("GetResources"), body)
            .await
            .unwrap();
        assert!(answer.is_plain_fault(), "{header}");
    }
    // Their order does not matter.
    let body = good.replace(&all, &format!("{organisation}{user}"));
    assert_eq!(
        post(&http(), &planner.url(), &action("GetResources"), body)
            .await
            .unwrap()
            .status,
        200
    );
    let understand = "<w:Security xmlns:w=\"urn:w\" s:mustUnderstand=\"1\"/>";
    let body = good.replace("</s:Header>", &format!("{understand}</s:Header>"));
    let answer = post(&http(), &planner.url(), &action("GetResources"), body)
        .await
        .unwrap();
    assert_eq!(answer.all("faultcode"), ["s:MustUnderstand"]);
}

#[tokio::test]
async fn the_action_must_be_quoted_and_fit_the_body() {
    let planner = plain().await;
    let body = envelope("GetResources", &Who::default(), "");
    for wrong in [
        action("GetResources").replace('"', ""),
        action("GetEvents"),
        "\"\"".to_owned(),
        action("GetResources").replace('#', "/"),
    ] {
        let answer = post(&http(), &planner.url(), &wrong, body.clone())
            .await
            .unwrap();
        assert!(answer.is_plain_fault(), "{wrong}");
    }
}

#[tokio::test]
async fn get_events_and_get_resources_are_checked_too() {
    let planner = plain().await;
    let good = get_events(
        &[ANNA],
        "2026-12-01T00:00:00+01:00",
        "2026-12-02T00:00:00+01:00",
    );
    assert_eq!(call(&planner, "GetEvents", &good).await.status, 200);
    let long = format!("<e:RID>{}</e:RID>", "x".repeat(65));
    let rid = format!("<e:RID>{ANNA}</e:RID>");
    for (from, to) in [
        (rid.as_str(), "<e:RID></e:RID>"),
        (rid.as_str(), long.as_str()),
        ("<e:CalendarResourceName/>", ""),
        ("<e:IsCaseWorker>true", "<e:IsCaseWorker>yes"),
        ("<e:CalendarResourceDescription/>", "<e:WorkingHours/>"),
        (
            "+01:00</e:EventStartFromDateTime>",
            "+1</e:EventStartFromDateTime>",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(
            call(&planner, "GetEvents", &good.replacen(from, to, 1))
                .await
                .is_plain_fault(),
            "{to}"
        );
    }
    let wrong = "<e:EmailAddressIdentifier>nobody</e:EmailAddressIdentifier>";
    assert!(call(&planner, "GetResources", wrong).await.is_plain_fault());
    assert!(call(&planner, "CreateEvents", "").await.is_plain_fault());
}

#[tokio::test]
async fn http_is_checked_before_soap() {
    let planner = plain().await;
    let client = http();
    let send = |request: reqwest::RequestBuilder| async {
        request.send().await.unwrap().status().as_u16()
    };
    let body = envelope("GetResources", &Who::default(), "");
    assert_eq!(send(client.get(planner.url())).await, 405);
    assert_eq!(
        send(
            client
                .post(format!("{}x", planner.url()))
                .body(body.clone())
        )
        .await,
        404
    );
    for kind in [
        "application/soap+xml; charset=utf-8",
        "text/plain",
        "text/xml; charset=iso-8859-1",
    ] {
        let request = client
            .post(planner.url())
            .header("content-type", kind)
            .body(body.clone());
        assert_eq!(send(request).await, 415, "{kind}");
    }
    assert_eq!(send(client.post(planner.url()).body(body)).await, 415);
    let answer = post(
        &client,
        &planner.url(),
        &action("GetResources"),
        vec![b'<', 0xff],
    )
    .await
    .unwrap();
    assert!(answer.is_plain_fault());
}
