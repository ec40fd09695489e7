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

/// The reference id of a call, by which Planner's support finds it.
pub(crate) fn reference(response: &Element) -> Option<String> {
    response
        .text_of("ServiceRequestLogReferenceIdentifier")
        .map(str::to_owned)
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
