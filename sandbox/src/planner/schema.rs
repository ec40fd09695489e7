//! Reads a request and refuses whatever the service's WSDL does not allow.
//!
//! Deliberately strict: element order, namespaces, required elements and every facet. A client that
//! passes here passes a schema-validating endpoint.

mod values;

use jiff::civil::DateTime;
use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;
use uuid::Uuid;

pub(super) use self::values::is_email;
use self::values::{
    Sequence, code, date_time, elements, email, guid, integer, string, text, value,
};
use super::names::{
    ACTION, ACTIVE_ORGANISATION, ECS, ORGANISATION, SOAP, USER, USER_METADATA, USER_TYPE,
};
use super::time::{WireTime, parse_date_time};

/// The five operations of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub enum Operation {
    /// Adds events.
    CreateEvents,
    /// Changes the times of events.
    UpdateEvents,
    /// Removes events.
    DeleteEvents,
    /// Lists events by start.
    GetEvents,
    /// Lists case workers and rooms.
    GetResources,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 5] = [
        Self::CreateEvents,
        Self::UpdateEvents,
        Self::DeleteEvents,
        Self::GetEvents,
        Self::GetResources,
    ];

    /// The operation's name in the WSDL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateEvents => "CreateEvents",
            Self::UpdateEvents => "UpdateEvents",
            Self::DeleteEvents => "DeleteEvents",
            Self::GetEvents => "GetEvents",
            Self::GetResources => "GetResources",
        }
    }

    /// The operation with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }
}

/// `CalendarEventType` of a request.
#[derive(Debug, Clone)]
pub(super) struct EventElement {
    pub(super) start: WireTime,
    pub(super) end: WireTime,
    pub(super) id: String,
    pub(super) mailbox: String,
    pub(super) resource: Option<Uuid>,
    pub(super) event: Option<Uuid>,
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Write(Vec<EventElement>),
    GetEvents {
        mailboxes: Vec<String>,
        from: Option<DateTime>,
        to: Option<DateTime>,
    },
    GetResources {
        addresses: Vec<String>,
    },
}

/// What the two headers say.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Headers {
    /// `UserFullName`: free text.
    pub user_full_name: String,
    /// `RequestUserTypeIdentifier`; 3 is a system.
    pub user_type: u32,
    /// `UserIdentifier`, which must name the certificate's holder.
    pub user_identifier: String,
    /// `UserEmail`, where sent.
    pub user_email: Option<String>,
    /// Type of the requesting organisation; 8 is a jobcenter.
    pub request_organisation_type: u32,
    /// Code of the requesting organisation.
    pub request_organisation: String,
    /// `RegistrationDateTime` as it was sent.
    pub registration: String,
    /// Type of the organisation that is acted for.
    pub active_organisation_type: u32,
    /// Code of the organisation that is acted for.
    pub active_organisation: String,
    /// Local names of further SOAP headers, which the contract does not know.
    pub others: Vec<String>,
}

/// A request that the schema allows.
#[derive(Debug, Clone)]
pub(super) struct ParsedRequest {
    pub(super) operation: Operation,
    pub(super) headers: Headers,
    pub(super) body: Body,
}

/// Why a request was refused before its content counted. Its text is the fault string.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum SchemaError {
    #[error("The request is not well-formed XML, or has a document type declaration.")]
    Malformed,
    #[error("The request is not a SOAP 1.1 envelope with a header and one body element.")]
    NotSoap,
    #[error("The SOAPAction must be the quoted action of the operation in the body.")]
    Action,
    #[error("There is no operation with this request element.")]
    UnknownOperation,
    #[error("A header that must be understood is not part of the contract: {0}.")]
    MustUnderstand(String),
    #[error("The header {0} is missing, or there are several.")]
    Header(&'static str),
    #[error("Element {found} stands where {expected} is expected in {parent}.")]
    Unexpected {
        parent: String,
        expected: String,
        found: String,
    },
    #[error("Element {parent} lacks {expected}.")]
    Missing { parent: String, expected: String },
    #[error("Element {0} must not have attributes of its own.")]
    Attribute(String),
    #[error("The value of {element} is not a valid {kind}.")]
    Value { element: String, kind: &'static str },
}

type Result<T> = std::result::Result<T, SchemaError>;

/// Upper bound of XML nodes in a request; far above any batch a client should send.
const MAX_NODES: u32 = 500_000;
/// Deepest element of a valid request is the seventh level.
const MAX_DEPTH: usize = 16;

/// The operation that a request element names, without any check. Serves the log of refused calls.
pub(super) fn peek_operation(document: &Document<'_>) -> Option<Operation> {
    let body = document
        .root_element()
        .children()
        .find(|node| node.has_tag_name((SOAP, "Body")))?;
    let request = body.first_element_child()?;
    Operation::from_name(request.tag_name().name().strip_suffix("Request")?)
}

/// The addresses that a request names, without any check.
pub(super) fn peek_mailboxes(document: &Document<'_>) -> Vec<String> {
    let names = [
        "OriginEmailAddress",
        "CalendarResourceEmailAddress",
        "EmailAddressIdentifier",
    ];
    let mut found: Vec<String> = Vec::new();
    for node in document.descendants() {
        if names.contains(&node.tag_name().name())
            && let Some(text) = node.text()
            && !found.iter().any(|known| known == text)
        {
            found.push(text.to_owned());
        }
    }
    found
}

/// Parses the XML; refuses document type declarations, floods of nodes and deep nesting.
pub(super) fn parse_xml(text: &str) -> Result<Document<'_>> {
    // The parser is iterative, but dropping and walking are cheaper to bound here than to trust.
    if nesting(text) > MAX_DEPTH {
        return Err(SchemaError::Malformed);
    }
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|_| SchemaError::Malformed)
}

/// A rough depth of nesting: tags opened less tags closed. Comments and CDATA sections that contain
/// `<` count too, which is strict, but no client of this service writes any.
fn nesting(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, bytes.get(at + 1)) {
            (b'<', Some(b'/')) => depth = depth.saturating_sub(1),
            (b'<', Some(b'!' | b'?')) => {}
            (b'<', _) => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (b'/', Some(b'>')) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Checks a whole request against the contract.
pub(super) fn validate(document: &Document<'_>, action: Option<&str>) -> Result<ParsedRequest> {
    let envelope = document.root_element();
    if !envelope.has_tag_name((SOAP, "Envelope")) {
        return Err(SchemaError::NotSoap);
    }
    let parts = elements(envelope)?;
    let (header, body) = match parts.as_slice() {
        [header, body]
            if header.has_tag_name((SOAP, "Header")) && body.has_tag_name((SOAP, "Body")) =>
        {
            (*header, *body)
        }
        [body] if body.has_tag_name((SOAP, "Body")) => {
            return Err(SchemaError::Header("RequestUserMetadataHeader"));
        }
        _ => return Err(SchemaError::NotSoap),
    };
    let requests = elements(body)?;
    let [request] = requests.as_slice() else {
        return Err(SchemaError::NotSoap);
    };
    let operation = Some(request)
        .filter(|node| node.tag_name().namespace() == Some(ECS))
        .and_then(|node| node.tag_name().name().strip_suffix("Request"))
        .and_then(Operation::from_name)
        .ok_or(SchemaError::UnknownOperation)?;
    let expected = format!("\"{ACTION}{}\"", operation.name());
    if action != Some(expected.as_str()) {
        return Err(SchemaError::Action);
    }
    let headers = read_headers(header)?;
    let body = match operation {
        Operation::CreateEvents | Operation::UpdateEvents | Operation::DeleteEvents => {
            read_write(*request)?
        }
        Operation::GetEvents => read_get_events(*request)?,
        Operation::GetResources => read_get_resources(*request)?,
    };
    Ok(ParsedRequest {
        operation,
        headers,
        body,
    })
}

fn read_headers(header: Node<'_, '_>) -> Result<Headers> {
    let (mut metadata, mut active, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for node in elements(header)? {
        if node.has_tag_name((USER_METADATA, "RequestUserMetadataHeader")) {
            metadata.push(node);
        } else if node.has_tag_name((ACTIVE_ORGANISATION, "ActiveOrganisationHeader")) {
            active.push(node);
        } else {
            let name = node.tag_name().name().to_owned();
            if node
                .attribute((SOAP, "mustUnderstand"))
                .is_some_and(|value| value.trim() == "1")
            {
                return Err(SchemaError::MustUnderstand(name));
            }
            others.push(name);
        }
    }
    let [metadata] = metadata.as_slice() else {
        return Err(SchemaError::Header("RequestUserMetadataHeader"));
    };
    let [active] = active.as_slice() else {
        return Err(SchemaError::Header("ActiveOrganisationHeader"));
    };

    let mut fields = Sequence::new(*metadata)?;
    let mut user = Sequence::new(fields.required(USER, "RequestUserStructure")?)?;
    let mut organisation =
        Sequence::new(fields.required(ORGANISATION, "RequestOrganisationStructure")?)?;
    let registration = fields.required(USER_METADATA, "RegistrationDateTime")?;
    fields.end()?;
    let registration_text = text(registration)?;
    parse_date_time(&registration_text).ok_or_else(|| value(registration, "dateTime"))?;

    let user_full_name = string(user.required(USER, "UserFullName")?, 1, 140)?;
    let user_type = code(user.required(USER_TYPE, "RequestUserTypeIdentifier")?)?;
    let user_identifier = string(user.required(USER, "UserIdentifier")?, 1, 255)?;
    let user_email = user.optional(USER, "UserEmail").map(email).transpose()?;
    user.end()?;

    let request_organisation_type =
        code(organisation.required(ORGANISATION, "OrganisationTypeIdentifier")?)?;
    let request_code = organisation.required(ORGANISATION, "OrganisationCode")?;
    organisation.end()?;
    let request_organisation = text(request_code)?;
    let digits = (1..=8).contains(&request_organisation.len())
        && request_organisation
            .bytes()
            .all(|byte| byte.is_ascii_digit());
    if !digits && request_organisation != "-1" {
        return Err(value(request_code, "organisation code"));
    }

    let mut active = Sequence::new(*active)?;
    let active_type = active.required(ACTIVE_ORGANISATION, "OrganisationTypeIdentifier")?;
    let active_organisation_type =
        integer(active_type, 1, 100).ok_or_else(|| value(active_type, "organisation type"))??;
    let active_organisation = string(
        active.required(ACTIVE_ORGANISATION, "OrganisationCode")?,
        1,
        20,
    )?;
    active.end()?;

    Ok(Headers {
        user_full_name,
        user_type,
        user_identifier,
        user_email,
        request_organisation_type,
        request_organisation,
        registration: registration_text,
        active_organisation_type,
        active_organisation,
        others,
    })
}

fn read_write(request: Node<'_, '_>) -> Result<Body> {
    let mut fields = Sequence::new(request)?;
    let mut events = vec![read_event(fields.required(ECS, "CalendarEvent")?)?];
    while let Some(node) = fields.optional(ECS, "CalendarEvent") {
        events.push(read_event(node)?);
    }
    fields.end()?;
    Ok(Body::Write(events))
}

fn read_event(node: Node<'_, '_>) -> Result<EventElement> {
    let mut fields = Sequence::new(node)?;
    let event = EventElement {
        start: date_time(fields.required(ECS, "CalendarEventStartTime")?)?,
        end: date_time(fields.required(ECS, "CalendarEventEndTime")?)?,
        id: text(fields.required(ECS, "OriginSystemIdentifier")?)?,
        mailbox: email(fields.required(ECS, "OriginEmailAddress")?)?,
        resource: fields
            .optional(ECS, "PlannerResourceIdentifier")
            .map(guid)
            .transpose()?,
        event: fields
            .optional(ECS, "CalendarEventIdentifier")
            .map(guid)
            .transpose()?,
    };
    fields.end()?;
    Ok(event)
}

fn read_get_events(request: Node<'_, '_>) -> Result<Body> {
    let mut fields = Sequence::new(request)?;
    let mut mailboxes = Vec::new();
    while let Some(node) = fields.optional(ECS, "CalendarResource") {
        mailboxes.push(read_resource(node)?);
    }
    let from = fields
        .optional(ECS, "EventStartFromDateTime")
        .map(date_time)
        .transpose()?;
    let to = fields
        .optional(ECS, "EventStartToDateTime")
        .map(date_time)
        .transpose()?;
    fields.end()?;
    Ok(Body::GetEvents {
        mailboxes,
        from: from.map(|time| time.wall),
        to: to.map(|time| time.wall),
    })
}

/// `CalendarResourceType`; only the address has a meaning in a request.
fn read_resource(node: Node<'_, '_>) -> Result<String> {
    let mut fields = Sequence::new(node)?;
    text(fields.required(ECS, "CalendarResourceName")?)?;
    string(fields.required(ECS, "RID")?, 1, 64)?;
    let address = email(fields.required(ECS, "CalendarResourceEmailAddress")?)?;
    fields
        .optional(ECS, "PlannerResourceIdentifier")
        .map(guid)
        .transpose()?;
    for _ in 0..5 {
        let Some(hours) = fields.optional(ECS, "WorkingHours") else {
            break;
        };
        let mut hours = Sequence::new(hours)?;
        let weekday = hours.required(ECS, "WorkingHoursWeekday")?;
        integer(weekday, 1, 7).ok_or_else(|| value(weekday, "weekday"))??;
        date_time(hours.required(ECS, "WorkingHoursStartTime")?)?;
        date_time(hours.required(ECS, "WorkingHoursEndTime")?)?;
        hours.end()?;
    }
    fields
        .optional(ECS, "CalendarResourceDescription")
        .map(text)
        .transpose()?;
    let case_worker = fields.required(ECS, "IsCaseWorker")?;
    if !matches!(text(case_worker)?.trim(), "true" | "false" | "1" | "0") {
        return Err(value(case_worker, "boolean"));
    }
    fields.end()?;
    Ok(address)
}

fn read_get_resources(request: Node<'_, '_>) -> Result<Body> {
    let mut fields = Sequence::new(request)?;
    let mut addresses = Vec::new();
    while let Some(node) = fields.optional(ECS, "EmailAddressIdentifier") {
        addresses.push(email(node)?);
    }
    fields.end()?;
    Ok(Body::GetResources { addresses })
}
