//! SOAP envelopes, faults and the outcome of operations.

use http::StatusCode;

use super::notify::Stream;
use super::profile::Profile;
use super::xml::{ERRORS, Element, MESSAGES, SOAP, TYPES};
use crate::server::{Reply, Response};

/// An EWS error: a ResponseCode, a sentence, and named values (t:MessageXml).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EwsError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) values: Vec<(String, String)>,
}

impl EwsError {
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        EwsError {
            code: code.into(),
            message: message.into(),
            values: Vec::new(),
        }
    }

    /// An error with the usual sentence of its code.
    pub(crate) fn of(code: &str) -> Self {
        EwsError::new(code, sentence(code))
    }

    pub(crate) fn with_value(mut self, name: &str, value: impl Into<String>) -> Self {
        self.values.push((name.to_owned(), value.into()));
        self
    }

    /// The t:/m:MessageXml element, if there are values.
    fn message_xml(&self, name: &str) -> Option<Element> {
        (!self.values.is_empty()).then(|| {
            Element::new(name).with_all(
                self.values
                    .iter()
                    .map(|(name, value)| Element::text("t:Value", value).attr("Name", name)),
            )
        })
    }

    /// The children of a response message of class Error.
    pub(crate) fn response_parts(&self) -> Vec<Element> {
        let mut parts = vec![
            Element::text("m:MessageText", &self.message),
            Element::text("m:ResponseCode", &self.code),
            Element::text("m:DescriptiveLinkKey", "0"),
        ];
        parts.extend(self.message_xml("m:MessageXml"));
        parts
    }
}

/// Sentences that belong to codes (EWS ResponseCodeType).
fn sentence(code: &str) -> &'static str {
    match code {
        "ErrorAccessDenied" => "Access is denied. Check credentials and try again.",
        "ErrorAccountDisabled" => "The account has been disabled.",
        "ErrorBatchProcessingStopped" => {
            "An error occurred while processing the batch. The remaining items were not processed."
        }
        "ErrorCalendarOccurrenceIndexIsOutOfRecurrenceRange" => {
            "Occurrence index is out of recurrence range."
        }
        "ErrorCalendarOccurrenceIsDeletedFromRecurrence" => {
            "The occurrence has been deleted from the recurrence."
        }
        "ErrorCalendarViewRangeTooBig" => {
            "The specified view range exceeds the maximum range of two years."
        }
        "ErrorCalendarEndDateIsEarlierThanStartDate" => "EndDate is earlier than StartDate.",
        "ErrorChangeKeyRequiredForWriteOperations" => {
            "A change key is required for this operation."
        }
        "ErrorExceededFindCountLimit" => {
            "You have exceeded the maximum number of objects that can be returned for the find operation. Use paging to reduce the result size and try your request again."
        }
        "ErrorFolderNotFound" => "The specified folder could not be found in the store.",
        "ErrorImpersonateUserDenied" => {
            "The account does not have permission to impersonate the requested user."
        }
        "ErrorInternalServerError" => "An internal server error occurred. The operation failed.",
        "ErrorInvalidChangeKey" => "The change key is invalid.",
        "ErrorInvalidIdMalformed" => "Id is malformed.",
        "ErrorInvalidSyncStateData" => {
            "Synchronization state data is corrupt or otherwise invalid."
        }
        "ErrorIrresolvableConflict" => {
            "The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item."
        }
        "ErrorItemCorrupt" => "The item is corrupt.",
        "ErrorItemNotFound" => "The specified object was not found in the store.",
        "ErrorMailboxMoveInProgress" => "Mailbox move in progress. Try again later.",
        "ErrorMissingEmailAddress" => {
            "When making a request as an account that does not have a mailbox, you must specify the mailbox primary SMTP address for any distinguished folder Ids."
        }
        "ErrorNameResolutionNoResults" => "No results were found.",
        "ErrorNameResolutionMultipleResults" => "Multiple results were found.",
        "ErrorNonExistentMailbox" => "The SMTP address has no mailbox associated with it.",
        "ErrorNonPrimarySmtpAddress" => {
            "The specified email address is not the primary SMTP address."
        }
        "ErrorExceededConnectionCount" => {
            "You have exceeded the available concurrent connections for your account. Try again once your other requests have completed."
        }
        "ErrorExceededSubscriptionCount" => {
            "You have exceeded the available subscriptions for your account. Remove unnecessary subscriptions and try your request again."
        }
        "ErrorExpiredSubscription" => "The subscription has expired.",
        "ErrorInvalidPullSubscriptionId" => "The subscription is not a pull subscription.",
        "ErrorInvalidSubscriptionRequest" => "The subscription request is invalid.",
        "ErrorInvalidWatermark" => {
            "The watermark used for creating this subscription was not found."
        }
        "ErrorNewEventStreamConnectionOpened" => {
            "Another connection was opened for this subscription."
        }
        "ErrorProxyRequestNotAllowed" => "The request cannot be proxied to another server.",
        "ErrorReadEventsFailed" => {
            "Unable to retrieve events for this subscription. The subscription must be recreated."
        }
        "ErrorSubscriptionAccessDenied" => "The specified subscription belongs to another account.",
        "ErrorSubscriptionNotFound" => "The specified subscription was not found.",
        "ErrorServerBusy" => "The server cannot service this request right now. Try again later.",
        "ErrorSyncFolderNotFound" => "The folder to synchronize was not found.",
        "ErrorTimeoutExpired" => "The request timed out.",
        _ => "The operation failed.",
    }
}

/// What an operation comes to.
pub(crate) enum Outcome {
    /// An answer body.
    Answer(Element),
    /// A fault.
    Fault(EwsError),
    /// Envelopes that come as things happen.
    Stream(Stream),
}

impl From<EwsError> for Outcome {
    fn from(error: EwsError) -> Self {
        Outcome::Fault(error)
    }
}

/// The envelope around an answer.
pub(crate) fn envelope(profile: Profile, body: &Element) -> String {
    let mut version = Element::new("h:ServerVersionInfo").attr("xmlns:h", TYPES);
    for (name, value) in profile.version() {
        version = version.attr(name, value);
    }
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{SOAP}\"><s:Header>"
    );
    version.write(&mut out);
    out.push_str("</s:Header><s:Body>");
    let mut body = body.clone();
    body.attributes
        .push(("xmlns:m".to_owned(), MESSAGES.to_owned()));
    body.attributes
        .push(("xmlns:t".to_owned(), TYPES.to_owned()));
    body.write(&mut out);
    out.push_str("</s:Body></s:Envelope>");
    out
}

/// The envelope around a fault (EWS: faultcode in the types namespace, detail with ResponseCode and Message).
pub(crate) fn fault_envelope(profile: Profile, error: &EwsError) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{SOAP}\"><s:Body>"
    );
    let fault = if profile.is_gromox() {
        Element::new("s:Fault")
            .with(Element::text("faultcode", &error.code))
            .with(Element::text("faultstring", &error.message))
    } else {
        Element::new("s:Fault")
            .with(Element::text("faultcode", format!("a:{}", error.code)).attr("xmlns:a", TYPES))
            .with(Element::text("faultstring", &error.message).attr("xml:lang", "en-US"))
            .with(
                Element::new("detail")
                    .with(Element::text("e:ResponseCode", &error.code).attr("xmlns:e", ERRORS))
                    .with(Element::text("e:Message", &error.message).attr("xmlns:e", ERRORS))
                    .with_all(
                        error
                            .message_xml("t:MessageXml")
                            .map(|values| values.attr("xmlns:t", TYPES)),
                    ),
            )
    };
    fault.write(&mut out);
    out.push_str("</s:Body></s:Envelope>");
    out
}

/// The HTTP answer to a fault. gromox answers bad input with 200 and, once it knew the operation, sends a second
/// response on the same connection.
pub(crate) fn fault_reply(profile: Profile, error: &EwsError, operation_known: bool) -> Reply {
    let body = fault_envelope(profile, error);
    if !profile.is_gromox() {
        return Response::xml(StatusCode::INTERNAL_SERVER_ERROR, body).into();
    }
    let response = Response::xml(
        if operation_known {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        },
        body,
    );
    let from_header =
        error.code.starts_with("ErrorImpersonat") || error.code == "ErrorCannotFindUser";
    if operation_known && !from_header {
        Reply::Twice(response)
    } else {
        response.into()
    }
}

/// `m:{operation}Response` with one response message per outcome, in order.
pub(crate) fn answer(operation: &str, messages: impl IntoIterator<Item = Element>) -> Element {
    Element::new(format!("m:{operation}Response"))
        .with(Element::new("m:ResponseMessages").with_all(messages))
}

/// A response message of class Success.
pub(crate) fn success(operation: &str, content: impl IntoIterator<Item = Element>) -> Element {
    Element::new(format!("m:{operation}ResponseMessage"))
        .attr("ResponseClass", "Success")
        .with(Element::text("m:ResponseCode", "NoError"))
        .with_all(content)
}

/// A response message of class Error. Operations on items add an empty m:Items, as the real server does.
pub(crate) fn failure(operation: &str, error: &EwsError) -> Element {
    let message = Element::new(format!("m:{operation}ResponseMessage"))
        .attr("ResponseClass", "Error")
        .with_all(error.response_parts());
    match operation {
        "GetItem" | "CreateItem" | "UpdateItem" => message.with(Element::new("m:Items")),
        "GetFolder" => message.with(Element::new("m:Folders")),
        _ => message,
    }
}
