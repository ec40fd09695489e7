//! The five requests and their answers (Planner WSDL).

use calbridge_core::model::WallSpan;
use quick_xml::escape::escape;

use crate::map::{WireTime, rid, wall_text};
use crate::soap::{Element, XmlError, parse};

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const ECS: &str = "http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/";
const CODE_LIST: &str = "http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/";
const METADATA: &str = "http://service.bm.dk/RequestUserMetadata/2015/01/21/";
const USER: &str = "http://service.bm.dk/pjaktass/2015/01/21/RequestUserStructure/";
const USER_TYPE: &str =
    "http://service.bm.dk/pjaktass/2015/01/21/RequestUserTypeIdentifierCodeList/";
const ORGANISATION: &str = "http://service.bm.dk/pjaktass/2015/01/21/RequestOrganisationStructure/";
const ACTIVE_ORGANISATION: &str = "http://rep.oio.dk/ams.dk/xml/schemas/2005/09/01/";
const FAULT: &str = "http://service.bm.dk/xml/schemas/2011/01/12/";
const ACTION: &str = "http://service.bm.dk/pjaktass/1/PlannerExternalCalendarService#";

/// User type "system".
const SYSTEM: u8 = 3;
/// Organisation type "jobcenter".
const JOBCENTER: u8 = 8;

/// The five operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    CreateEvents,
    UpdateEvents,
    DeleteEvents,
    GetEvents,
    GetResources,
}

impl Operation {
    /// The name in the WSDL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateEvents => "CreateEvents",
            Self::UpdateEvents => "UpdateEvents",
            Self::DeleteEvents => "DeleteEvents",
            Self::GetEvents => "GetEvents",
            Self::GetResources => "GetResources",
        }
    }

    /// The value of the SOAPAction header, quoted as SOAP 1.1 wants it.
    pub(crate) fn action(self) -> String {
        format!("\"{ACTION}{}\"", self.name())
    }
}

/// What both headers say.
#[derive(Debug, Clone)]
pub(crate) struct Caller<'a> {
    pub(crate) request_user: &'a str,
    pub(crate) jobcenter: &'a str,
    /// The present, Danish time with offset.
    pub(crate) registered: String,
}

/// One event of a write. Its PlannerResourceIdentifier and CalendarEventIdentifier are never sent.
#[derive(Debug, Clone)]
pub(crate) struct WireEvent {
    pub(crate) span: WallSpan,
    pub(crate) id: String,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) enum Request<'a> {
    /// Create, update or delete events of one mailbox.
    Write {
        address: &'a str,
        events: &'a [WireEvent],
    },
    /// List the events of mailboxes that start in a range (Danish time with offset).
    GetEvents {
        addresses: &'a [&'a str],
        from: String,
        to: String,
    },
    /// List all case workers and rooms of the jobcenter.
    GetResources,
}

impl Request<'_> {
    /// The mailbox that the request is about, or the first of several.
    pub(crate) fn first_address(&self) -> Option<&str> {
        match self {
            Self::Write { address, .. } => Some(address),
            Self::GetEvents { addresses, .. } => addresses.first().copied(),
            Self::GetResources => None,
        }
    }
}

/// Writes the envelope of a request.
pub(crate) fn envelope(operation: Operation, caller: &Caller<'_>, request: &Request<'_>) -> String {
    let name = operation.name();
    let user = escape(caller.request_user);
    let jobcenter = escape(caller.jobcenter);
    let registered = &caller.registered;
    let mut out = format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<s:Envelope xmlns:s="{SOAP}"><s:Header><m:RequestUserMetadataHeader xmlns:m="{METADATA}"><u:RequestUserStructure xmlns:u="{USER}"><u:UserFullName>calbridge : {name}</u:UserFullName><t:RequestUserTypeIdentifier xmlns:t="{USER_TYPE}"><c:CodeListItemIdentifier xmlns:c="{CODE_LIST}">{SYSTEM}</c:CodeListItemIdentifier></t:RequestUserTypeIdentifier><u:UserIdentifier>{user}</u:UserIdentifier></u:RequestUserStructure><o:RequestOrganisationStructure xmlns:o="{ORGANISATION}"><o:OrganisationTypeIdentifier><c:CodeListItemIdentifier xmlns:c="{CODE_LIST}">{JOBCENTER}</c:CodeListItemIdentifier></o:OrganisationTypeIdentifier><o:OrganisationCode>{jobcenter}</o:OrganisationCode></o:RequestOrganisationStructure><m:RegistrationDateTime>{registered}</m:RegistrationDateTime></m:RequestUserMetadataHeader><a:ActiveOrganisationHeader xmlns:a="{ACTIVE_ORGANISATION}"><a:OrganisationTypeIdentifier>{JOBCENTER}</a:OrganisationTypeIdentifier><a:OrganisationCode>{jobcenter}</a:OrganisationCode></a:ActiveOrganisationHeader></s:Header><s:Body><e:{name}Request xmlns:e="{ECS}">"#
    );
    match request {
        Request::Write { address, events } => {
            for event in *events {
                out.push_str(&format!(
                    "<e:CalendarEvent><e:CalendarEventStartTime>{}</e:CalendarEventStartTime><e:CalendarEventEndTime>{}</e:CalendarEventEndTime><e:OriginSystemIdentifier>{}</e:OriginSystemIdentifier><e:OriginEmailAddress>{}</e:OriginEmailAddress></e:CalendarEvent>",
                    wall_text(event.span.start),
                    wall_text(event.span.end),
                    escape(event.id.as_str()),
                    escape(*address),
                ));
            }
        }
        Request::GetEvents {
            addresses,
            from,
            to,
        } => {
            for address in *addresses {
                out.push_str(&format!(
                    "<e:CalendarResource><e:CalendarResourceName></e:CalendarResourceName><e:RID>{}</e:RID><e:CalendarResourceEmailAddress>{}</e:CalendarResourceEmailAddress><e:CalendarResourceDescription></e:CalendarResourceDescription><e:IsCaseWorker>true</e:IsCaseWorker></e:CalendarResource>",
                    escape(rid(address)),
                    escape(*address),
                ));
            }
            out.push_str(&format!(
                "<e:EventStartFromDateTime>{from}</e:EventStartFromDateTime><e:EventStartToDateTime>{to}</e:EventStartToDateTime>"
            ));
        }
        Request::GetResources => {}
    }
    out.push_str(&format!("</e:{name}Request></s:Body></s:Envelope>"));
    out
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the answer cannot be read: {0}")]
    Xml(#[from] XmlError),
    #[error("the answer is XML, but no SOAP 1.1 envelope")]
    NotSoap,
    #[error("the answer is to another question: `{expected}` is missing")]
    Unexpected {
        /// The element that should be there.
        expected: String,
    },
}

/// A SOAP fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The faultcode without prefix (`Server`, `Client`).
    pub(crate) code: String,
    /// The faultstring. May hold personal data.
    pub(crate) text: String,
    /// The service's own details.
    pub(crate) details: Option<FaultDetails>,
}

/// FaultDetails.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FaultDetails {
    pub(crate) code: Option<i64>,
    /// May hold personal data.
    pub(crate) message: Option<String>,
}

/// What an envelope carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The response element.
    Response(Element),
    Fault(Fault),
}

/// Opens the envelope of an answer.
pub(crate) fn open(operation: Operation, body: &[u8]) -> Result<Answer, WireError> {
    let root = parse(body)?;
    if !root.is(SOAP, "Envelope") {
        return Err(WireError::NotSoap);
    }
    let body = root.child("Body").ok_or(WireError::NotSoap)?;
    if let Some(fault) = body.child("Fault") {
        return Ok(Answer::Fault(read_fault(fault)));
    }
    let expected = format!("{}Response", operation.name());
    body.child_in(ECS, &expected)
        .cloned()
        .map(Answer::Response)
        .ok_or(WireError::Unexpected { expected })
}

fn read_fault(fault: &Element) -> Fault {
    // SOAP 1.1 leaves the names inside a fault without namespace; not every server does.
    let inside = |name: &str| fault.children.iter().find(|child| &*child.name == name);
    let text = |name: &str| {
        inside(name)
            .and_then(Element::said)
            .unwrap_or_default()
            .to_owned()
    };
    let code = text("faultcode");
    let details = inside("detail")
        .and_then(|detail| detail.child_in(FAULT, "FaultDetails"))
        .filter(|details| !details.nil)
        .map(|details| FaultDetails {
            code: details
                .text_of("ErrorCode")
                .and_then(|code| code.parse().ok()),
            message: details.text_of("Message").map(str::to_owned),
        });
    Fault {
        code: code.rsplit(':').next().unwrap_or_default().to_owned(),
        text: text("faultstring"),
        details,
    }
}

/// The reference id of a call, by which Planner's support finds it. It is logged, so nothing but a GUID is one.
pub(crate) fn reference(response: &Element) -> Option<String> {
    response
        .text_of("ServiceRequestLogReferenceIdentifier")
        .and_then(identifier)
}

/// The receipt of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventReceipt {
    pub(crate) id: String,
    pub(crate) code: i64,
    pub(crate) assigned: Option<String>,
    /// May hold personal data.
    pub(crate) message: Option<String>,
    pub(crate) conflict_notice: bool,
}

/// Reads the receipts of a write. Those that lack their id or code are left out: their events count as
/// unanswered. The second number tells how many.
pub(crate) fn receipts(response: &Element) -> (Vec<EventReceipt>, usize) {
    let mut broken = 0;
    let read = response
        .children("CalendarEventReceipt")
        .filter_map(|receipt| {
            let read = read_receipt(receipt);
            broken += usize::from(read.is_none());
            read
        })
        .collect();
    (read, broken)
}

fn read_receipt(receipt: &Element) -> Option<EventReceipt> {
    let code = receipt
        .child("EventErrorCode")?
        .child_in(CODE_LIST, "CodeListItemIdentifier")?
        .said()?
        .parse()
        .ok()?;
    Some(EventReceipt {
        // White space belongs to the id.
        id: receipt.child("OriginSystemIdentifier")?.text.clone(),
        code,
        assigned: receipt
            .text_of("CalendarEventIdentifier")
            .and_then(identifier),
        message: receipt.text_of("EventMessage").map(str::to_owned),
        conflict_notice: matches!(
            receipt.text_of("ConflictNotificationSent"),
            Some("true" | "1")
        ),
    })
}

/// A GUID that says something; all zeros stand for none.
fn identifier(text: &str) -> Option<String> {
    let id = uuid::Uuid::try_parse(text).ok()?;
    (!id.is_nil()).then(|| id.to_string())
}

/// One event that Planner lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedEvent {
    pub(crate) address: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) start: Option<WireTime>,
    pub(crate) end: Option<WireTime>,
    pub(crate) assigned: Option<String>,
}

/// Reads the answer to GetEvents. What an event lacks, or has in another form, is absent.
pub(crate) fn events(response: &Element) -> Vec<ListedEvent> {
    response
        .children("CalendarEvent")
        .map(|event| ListedEvent {
            address: event.text_of("OriginEmailAddress").map(str::to_owned),
            id: event
                .child("OriginSystemIdentifier")
                .map(|id| id.text.clone())
                .filter(|id| !id.trim().is_empty()),
            start: event
                .text_of("CalendarEventStartTime")
                .and_then(WireTime::parse),
            end: event
                .text_of("CalendarEventEndTime")
                .and_then(WireTime::parse),
            assigned: event
                .text_of("CalendarEventIdentifier")
                .and_then(identifier),
        })
        .collect()
}

/// One case worker or room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedResource {
    pub(crate) address: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) is_case_worker: bool,
}

/// Reads the answer to GetResources.
pub(crate) fn resources(response: &Element) -> Vec<ListedResource> {
    response
        .children("CalendarResource")
        .map(|resource| ListedResource {
            address: resource
                .text_of("CalendarResourceEmailAddress")
                .map(str::to_owned),
            resource: resource
                .text_of("PlannerResourceIdentifier")
                .and_then(identifier),
            is_case_worker: !matches!(resource.text_of("IsCaseWorker"), Some("false" | "0")),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CALLER: Caller<'static> = Caller {
        request_user: "CVR:12345678-FID:1234567890123",
        jobcenter: "10100",
        registered: String::new(),
    };

    fn caller() -> Caller<'static> {
        Caller {
            registered: "2026-11-22T14:05:09+01:00".to_owned(),
            ..CALLER
        }
    }

    fn written(operation: Operation) -> String {
        let event = |id: &str| WireEvent {
            span: WallSpan {
                start: "2026-12-01T09:00:00".parse().unwrap(),
                end: "2026-12-01T10:30:00".parse().unwrap(),
            },
            id: id.to_owned(),
        };
        let events = [event("UID-0001"), event("<UID> & 2$20261208-090000")];
        let request = match operation {
            Operation::GetEvents => Request::GetEvents {
                addresses: &["vejleder1@kommune.example", "lokale2@kommune.example"],
                from: "2026-11-22T00:00:00+01:00".to_owned(),
                to: "2027-02-22T00:00:00+01:00".to_owned(),
            },
            Operation::GetResources => Request::GetResources,
            _ => Request::Write {
                address: "vejleder1@kommune.example",
                events: &events,
            },
        };
        envelope(operation, &caller(), &request)
    }

    /// The committed requests. They differ from what is written in line breaks between elements alone.
    #[test]
    fn the_five_requests_are_the_committed_ones() {
        for (operation, golden) in [
            (
                Operation::CreateEvents,
                include_str!("../tests/golden/CreateEvents.xml"),
            ),
            (
                Operation::UpdateEvents,
                include_str!("../tests/golden/UpdateEvents.xml"),
            ),
            (
                Operation::DeleteEvents,
                include_str!("../tests/golden/DeleteEvents.xml"),
            ),
            (
                Operation::GetEvents,
                include_str!("../tests/golden/GetEvents.xml"),
            ),
            (
                Operation::GetResources,
                include_str!("../tests/golden/GetResources.xml"),
            ),
        ] {
            let joined: String = golden.lines().map(str::trim).collect();
            let written: String = written(operation).lines().collect();
            assert_eq!(written, joined, "{operation:?}");
            assert!(parse(written.as_bytes()).is_ok());
        }
    }

    #[test]
    fn k094_soap_actions_are_quoted_and_name_the_operation() {
        assert_eq!(
            Operation::GetResources.action(),
            "\"http://service.bm.dk/pjaktass/1/PlannerExternalCalendarService#GetResources\""
        );
    }

    fn soap(body: &str) -> Vec<u8> {
        format!("<s:Envelope xmlns:s='{SOAP}'><s:Body>{body}</s:Body></s:Envelope>").into_bytes()
    }

    fn response(operation: Operation, body: &str) -> Element {
        let name = operation.name();
        let body = soap(&format!(
            "<{name}Response xmlns='{ECS}' xmlns:c='{CODE_LIST}'>{body}</{name}Response>"
        ));
        match open(operation, &body).unwrap() {
            Answer::Response(element) => element,
            Answer::Fault(fault) => panic!("{fault:?}"),
        }
    }

    fn receipt(id: &str, code: &str) -> String {
        format!(
            "<CalendarEventReceipt><CalendarEventIdentifier>2b5c9c0e-0f0b-4c2a-8a64-7b7d3d4a0001</CalendarEventIdentifier><EventErrorCode><c:CodeListItemIdentifier>{code}</c:CodeListItemIdentifier></EventErrorCode><OriginSystemIdentifier>{id}</OriginSystemIdentifier><ConflictNotificationSent>true</ConflictNotificationSent></CalendarEventReceipt>"
        )
    }

    #[test]
    fn receipts_without_id_or_with_a_code_that_is_none_are_left_out() {
        let body = [
            receipt("one", "0"),
            receipt("two", "zero"),
            receipt("three", "99999999999999999999"),
            receipt("four", ""),
            receipt("five", " 8 "),
            "<CalendarEventReceipt/>".to_owned(),
        ]
        .concat();
        let (read, broken) = receipts(&response(Operation::CreateEvents, &body));
        let read: Vec<_> = read
            .iter()
            .map(|receipt| (receipt.id.as_str(), receipt.code, receipt.conflict_notice))
            .collect();
        assert_eq!(read, [("one", 0, true), ("five", 8, true)]);
        assert_eq!(broken, 4);
    }

    #[test]
    fn an_identifier_of_zeros_or_of_no_guid_is_none() {
        for text in ["00000000-0000-0000-0000-000000000000", "{x}", ""] {
            assert_eq!(identifier(text), None);
        }
    }

    #[test]
    fn k100_answers_without_events_and_resources_are_empty_lists() {
        let none = response(Operation::GetEvents, "");
        assert!(events(&none).is_empty());
        assert_eq!(reference(&none), None);
        assert!(resources(&response(Operation::GetResources, "")).is_empty());
    }

    #[test]
    fn events_and_resources_with_missing_or_wrong_parts_are_read_as_far_as_they_go() {
        let body = "<CalendarEvent><CalendarEventStartTime>yesterday</CalendarEventStartTime><CalendarEventEndTime>2026-12-01T10:00:00</CalendarEventEndTime><OriginSystemIdentifier>uid</OriginSystemIdentifier></CalendarEvent><CalendarEvent/>";
        let read = events(&response(Operation::GetEvents, body));
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].start, read[0].end.is_some()), (None, true));
        assert_eq!(
            (&read[0].address, read[0].id.as_deref()),
            (&None, Some("uid"))
        );
        assert_eq!(read[1].id, None);
        let body = "<CalendarResource><CalendarResourceEmailAddress>a@x.dk</CalendarResourceEmailAddress><IsCaseWorker>maybe</IsCaseWorker></CalendarResource>";
        let read = resources(&response(Operation::GetResources, body));
        assert_eq!(read[0].address.as_deref(), Some("a@x.dk"));
        assert!(read[0].is_case_worker);
        assert_eq!(read[0].resource, None);
    }

    #[test]
    fn k103_faults_with_and_without_details_and_with_nil_members_are_read() {
        let nil = "xmlns:i='http://www.w3.org/2001/XMLSchema-instance' i:nil='true'";
        let fault = |detail: &str| {
            let body = soap(&format!(
                "<s:Fault><faultcode>s:Server</faultcode><faultstring>Service failure</faultstring>{detail}</s:Fault>"
            ));
            match open(Operation::GetEvents, &body).unwrap() {
                Answer::Fault(fault) => fault,
                Answer::Response(_) => panic!(),
            }
        };
        assert_eq!(fault("").details, None);
        assert_eq!(fault("<detail><other/></detail>").details, None);
        let none = format!("<detail><f:FaultDetails xmlns:f='{FAULT}' {nil}/></detail>");
        assert_eq!(fault(&none).details, None);
        let some = format!(
            "<detail><f:FaultDetails xmlns:f='{FAULT}'><f:ErrorCode>4711</f:ErrorCode><f:Message>why</f:Message><f:InnerException {nil}/></f:FaultDetails></detail>"
        );
        let read = fault(&some);
        assert_eq!(read.code, "Server");
        assert_eq!(
            read.details,
            Some(FaultDetails {
                code: Some(4711),
                message: Some("why".to_owned())
            })
        );
    }

    #[test]
    fn other_documents_are_told_apart() {
        for (body, expected) in [
            (b"<html/>".to_vec(), WireError::NotSoap),
            (
                format!("<s:Envelope xmlns:s='{SOAP}'/>").into_bytes(),
                WireError::NotSoap,
            ),
            (
                soap(""),
                WireError::Unexpected {
                    expected: "GetEventsResponse".to_owned(),
                },
            ),
            (
                soap(&format!("<CreateEventsResponse xmlns='{ECS}'/>")),
                WireError::Unexpected {
                    expected: "GetEventsResponse".to_owned(),
                },
            ),
            (Vec::new(), WireError::Xml(XmlError::CutOff)),
        ] {
            assert_eq!(open(Operation::GetEvents, &body), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in "(<(CalendarEvent|CalendarEventReceipt|OriginSystemIdentifier|EventErrorCode|c:CodeListItemIdentifier)>|</[a-z]{0,3}>|[0-9a-z ]{0,5}){0,20}") {
            let name = "CreateEventsResponse";
            let body = soap(&format!("<{name} xmlns='{ECS}' xmlns:c='{CODE_LIST}'>{body}</{name}>"));
            if let Ok(Answer::Response(element)) = open(Operation::CreateEvents, &body) {
                let _ = (receipts(&element), events(&element), resources(&element), reference(&element));
            }
        }

        #[test]
        fn ids_and_addresses_survive_the_envelope(id in "[ -~æøåÆØÅ€]{1,80}") {
            let events = [WireEvent {
                span: WallSpan {
                    start: "2026-12-01T09:00:00".parse().unwrap(),
                    end: "2026-12-01T10:30:00".parse().unwrap(),
                },
                id: id.clone(),
            }];
            let request = Request::Write { address: "a@x.dk", events: &events };
            let text = envelope(Operation::CreateEvents, &caller(), &request);
            let root = parse(text.as_bytes()).unwrap();
            let event = &root.child("Body").unwrap().children[0].children[0];
            prop_assert_eq!(&event.child("OriginSystemIdentifier").unwrap().text, &id);
        }
    }
}
