//! Writes answers and faults.

use std::fmt::Write as _;

use http::StatusCode;
use uuid::Uuid;

use super::names::{CODE_LIST, ECS, FAULT, SOAP, XSI};
use super::schema::Operation;
use super::state::{Record, Resource};
use super::time::{TimeForm, render};

/// One receipt as it is to be written. Texts, so that a fault can write nonsense.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) resource: Option<Uuid>,
    pub(super) event: Uuid,
    pub(super) received: String,
    pub(super) code: String,
    pub(super) message: Option<String>,
    pub(super) id: String,
    pub(super) conflict: bool,
}

/// A SOAP fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SoapFault {
    /// `Client`, `Server` or `MustUnderstand`.
    pub(super) class: &'static str,
    pub(super) text: String,
    pub(super) details: Option<FaultDetails>,
}

/// Content of a `FaultDetails` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FaultDetails {
    /// The element itself is nil.
    Nil,
    /// A code (or none), with a message or nil.
    Code {
        code: Option<i32>,
        message: Option<String>,
    },
}

impl SoapFault {
    pub(super) fn plain(class: &'static str, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            details: None,
        }
    }

    pub(super) fn detailed(code: i32, message: &str) -> Self {
        Self {
            class: "Server",
            text: "Service failure".to_owned(),
            details: Some(FaultDetails::Code {
                code: Some(code),
                message: Some(message.to_owned()),
            }),
        }
    }

    pub(super) fn to_xml(&self) -> String {
        let details = match &self.details {
            None => String::new(),
            Some(FaultDetails::Nil) => format!(
                "<detail><f:FaultDetails xmlns:f=\"{FAULT}\" xmlns:i=\"{XSI}\" i:nil=\"true\"/></detail>"
            ),
            Some(FaultDetails::Code { code, message }) => {
                let code = code
                    .map(|code| format!("<f:ErrorCode>{code}</f:ErrorCode>"))
                    .unwrap_or_default();
                let message = match message {
                    Some(message) => format!("<f:Message>{}</f:Message>", escape(message)),
                    None => "<f:Message i:nil=\"true\"/>".to_owned(),
                };
                format!(
                    "<detail><f:FaultDetails xmlns:f=\"{FAULT}\" xmlns:i=\"{XSI}\">{code}{message}<f:InnerException i:nil=\"true\"/><f:StackTrace i:nil=\"true\"/><f:Source>DFDG</f:Source></f:FaultDetails></detail>"
                )
            }
        };
        envelope(&format!(
            "<s:Fault><faultcode>s:{}</faultcode><faultstring xml:lang=\"en\">{}</faultstring>{details}</s:Fault>",
            self.class,
            escape(&self.text)
        ))
    }

    /// The code for the ledger.
    pub(super) fn code(&self) -> String {
        match &self.details {
            Some(FaultDetails::Code {
                code: Some(code), ..
            }) => format!("fault:{code}"),
            Some(_) => "fault:details".to_owned(),
            None => "fault".to_owned(),
        }
    }

    /// SOAP 1.1 over HTTP answers every fault with 500.
    pub(super) const STATUS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
}

pub(super) fn envelope(body: &str) -> String {
    format!("<s:Envelope xmlns:s=\"{SOAP}\"><s:Body>{body}</s:Body></s:Envelope>")
}

fn response(operation: Operation, content: &str, reference: Uuid) -> String {
    let name = operation.name();
    envelope(&format!(
        "<{name}Response xmlns=\"{ECS}\" xmlns:c=\"{CODE_LIST}\">{content}<ServiceRequestLogReferenceIdentifier>{reference}</ServiceRequestLogReferenceIdentifier></{name}Response>"
    ))
}

pub(super) fn receipts(operation: Operation, receipts: &[Receipt], reference: Uuid) -> String {
    let mut xml = String::new();
    for receipt in receipts {
        xml.push_str("<CalendarEventReceipt>");
        if let Some(resource) = receipt.resource {
            let _ = write!(
                xml,
                "<PlannerResourceIdentifier>{resource}</PlannerResourceIdentifier>"
            );
        }
        let _ = write!(
            xml,
            "<CalendarEventIdentifier>{}</CalendarEventIdentifier><EventReceivalTime>{}</EventReceivalTime><EventErrorCode><c:CodeListItemIdentifier>{}</c:CodeListItemIdentifier></EventErrorCode>",
            receipt.event,
            escape(&receipt.received),
            escape(&receipt.code)
        );
        if let Some(message) = &receipt.message {
            let _ = write!(xml, "<EventMessage>{}</EventMessage>", escape(message));
        }
        let _ = write!(
            xml,
            "<OriginSystemIdentifier>{}</OriginSystemIdentifier><ConflictNotificationSent>{}</ConflictNotificationSent></CalendarEventReceipt>",
            escape(&receipt.id),
            receipt.conflict
        );
    }
    response(operation, &xml, reference)
}

pub(super) fn events(
    records: &[(Record, Option<Uuid>)],
    form: TimeForm,
    reference: Uuid,
) -> String {
    let mut xml = String::new();
    for (record, resource) in records {
        let _ = write!(
            xml,
            "<CalendarEvent><CalendarEventStartTime>{}</CalendarEventStartTime><CalendarEventEndTime>{}</CalendarEventEndTime><OriginSystemIdentifier>{}</OriginSystemIdentifier><OriginEmailAddress>{}</OriginEmailAddress>",
            render(record.start, form),
            render(record.end, form),
            escape(&record.id),
            escape(&record.mailbox)
        );
        if let Some(resource) = resource {
            let _ = write!(
                xml,
                "<PlannerResourceIdentifier>{resource}</PlannerResourceIdentifier>"
            );
        }
        let _ = write!(
            xml,
            "<CalendarEventIdentifier>{}</CalendarEventIdentifier></CalendarEvent>",
            record.event
        );
    }
    response(Operation::GetEvents, &xml, reference)
}

pub(super) fn resources(resources: &[Resource], reference: Uuid) -> String {
    let mut xml = String::new();
    for resource in resources {
        let _ = write!(
            xml,
            "<CalendarResource><CalendarResourceName>{}</CalendarResourceName><RID>{}</RID><CalendarResourceEmailAddress>{}</CalendarResourceEmailAddress><PlannerResourceIdentifier>{}</PlannerResourceIdentifier>",
            escape(&resource.name),
            escape(&resource.rid),
            escape(&resource.email),
            resource.id
        );
        for (weekday, begin, end) in resource.working_hours.iter().take(5) {
            // Only the time of day has a meaning; the date is any day.
            let _ = write!(
                xml,
                "<WorkingHours><WorkingHoursWeekday>{weekday}</WorkingHoursWeekday><WorkingHoursStartTime>2026-01-01T{}</WorkingHoursStartTime><WorkingHoursEndTime>2026-01-01T{}</WorkingHoursEndTime></WorkingHours>",
                begin.strftime("%H:%M:%S"),
                end.strftime("%H:%M:%S")
            );
        }
        if let Some(description) = &resource.description {
            let _ = write!(
                xml,
                "<CalendarResourceDescription>{}</CalendarResourceDescription>",
                escape(description)
            );
        }
        let _ = write!(
            xml,
            "<IsCaseWorker>{}</IsCaseWorker></CalendarResource>",
            resource.case_worker
        );
    }
    response(Operation::GetResources, &xml, reference)
}

/// Text content; characters that XML 1.0 cannot carry become a question mark.
pub(super) fn escape(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => c,
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => '?',
            c => c,
        })
        .collect();
    // A bare carriage return would be read back as a line feed.
    quick_xml::escape::escape(clean.as_str()).replace('\r', "&#13;")
}
