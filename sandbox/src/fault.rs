//! What can be made to go wrong, for which calls, and the text form for the command line.
//!
//! # The text form
//!
//! ```text
//! OPERATION[@MAILBOX][#NTH][*COUNT]=KIND[:ARGUMENT]
//! ```
//!
//! - `OPERATION`: name of the operation on the wire (`CreateEvents`, `SyncFolderItems`), letter
//!   case does not matter; `*` means every operation.
//! - `@MAILBOX`: only calls that concern this address; letter case does not matter.
//! - `#NTH`: the first matching call that is struck, counted from 1. Default 1.
//! - `*COUNT`: how many matching calls are struck from there on; `*all` means without end.
//!   Default 1.
//! - `KIND`: one of [`TRANSPORT_KINDS`], or of the server's own
//!   ([`exchange::FAULT_KINDS`](crate::exchange::FAULT_KINDS),
//!   [`planner::FAULT_KINDS`](crate::planner::FAULT_KINDS)).
//!
//! ```
//! use calbridge_sandbox::fault::{Fault, FaultKind, TransportFault};
//!
//! let fault: Fault = "CreateEvents@anna@kommune.example#2*3=hang-after".parse()?;
//! assert_eq!(fault.mailbox.as_deref(), Some("anna@kommune.example"));
//! assert_eq!((fault.first, fault.count), (2, Some(3)));
//! assert_eq!(fault.kind, FaultKind::Transport(TransportFault::HangAfter));
//! assert_eq!(fault.to_string().parse::<Fault>()?, fault);
//! # Ok::<(), calbridge_sandbox::fault::FaultSpecError>(())
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::server::{Body, Reply, Response};

/// A kind of fault, as it is written, and what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The name, with what follows it: `delay:MS`; in brackets what may be left out.
    pub form: &'static str,
    /// What happens.
    pub meaning: &'static str,
}

impl Kind {
    pub(crate) const fn new(form: &'static str, meaning: &'static str) -> Self {
        Self { form, meaning }
    }

    /// The name alone.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.form
            .split_once([':', '['])
            .map_or(self.form, |(name, _)| name)
    }
}

/// What every server can be made to do.
pub const TRANSPORT_KINDS: &[Kind] = &[
    Kind::new("delay:MS", "the answer comes after so many milliseconds"),
    Kind::new("reset-before", "TCP reset before the request is processed"),
    Kind::new("reset-after", "TCP reset after the request was processed"),
    Kind::new(
        "close-before",
        "orderly end of the connection without an answer, before processing",
    ),
    Kind::new("close-after", "the same after processing"),
    Kind::new(
        "hang-before",
        "nothing is processed, and no answer until the client gives up",
    ),
    Kind::new(
        "hang-after",
        "processed, and no answer until the client gives up",
    ),
    Kind::new(
        "hang-half",
        "processed; half of the answer, and the rest not until the client gives up",
    ),
    Kind::new(
        "truncate:BYTES",
        "processed; the body is cut after so many bytes",
    ),
    Kind::new(
        "status:CODE",
        "an HTTP status with a short page, before processing",
    ),
    Kind::new("status-after:CODE", "the same after processing"),
    Kind::new(
        "raw:TEXT",
        "processed; these bytes for an answer (\\r, \\n, \\\\ are understood)",
    ),
    Kind::new(
        "twice",
        "processed; the answer is sent twice on one connection",
    ),
];

/// A server's own kinds and those of the transport, as a list in a sentence.
#[must_use]
pub fn known(own: &[Kind]) -> String {
    let names = |kinds: &[Kind]| -> String {
        kinds
            .iter()
            .map(|kind| kind.form)
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "{}; and on the transport: {}",
        names(own),
        names(TRANSPORT_KINDS)
    )
}

/// A server's own kinds and those of the transport, a line each: for help.
#[must_use]
pub fn table(own: &[Kind]) -> String {
    let kinds = || own.iter().chain(TRANSPORT_KINDS);
    let width = kinds().map(|kind| kind.form.len()).max().unwrap_or(0);
    kinds()
        .map(|kind| format!("  {:width$}  {}\n", kind.form, kind.meaning))
        .collect()
}

/// Refuses a kind that stands in no list: what cannot be looked up cannot be used.
pub(crate) fn require_known(name: &str, own: &[Kind]) -> Result<(), FaultSpecError> {
    if own.iter().any(|kind| kind.name() == name) {
        Ok(())
    } else {
        Err(FaultSpecError::UnknownKind {
            kind: name.to_owned(),
            known: known(own),
        })
    }
}

/// One thing that goes wrong, and for which calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Operation on the wire; none means every operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Address that the call must concern; none means every call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// First matching call that is struck, counted from 1.
    #[serde(default = "one")]
    pub first: u32,
    /// How many matching calls are struck from there on; none means without end.
    #[serde(default = "some_one")]
    pub count: Option<u32>,
    /// What happens.
    pub kind: FaultKind,
}

fn one() -> u32 {
    1
}

// Serde's default for a field has the field's type.
#[allow(clippy::unnecessary_wraps)]
fn some_one() -> Option<u32> {
    Some(1)
}

impl Fault {
    /// Strikes the next call of any operation once.
    #[must_use]
    pub fn once(kind: impl Into<FaultKind>) -> Self {
        Self {
            operation: None,
            mailbox: None,
            first: 1,
            count: Some(1),
            kind: kind.into(),
        }
    }

    /// Strikes every call.
    #[must_use]
    pub fn always(kind: impl Into<FaultKind>) -> Self {
        Self {
            count: None,
            ..Self::once(kind)
        }
    }

    /// Only this operation.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only calls that concern this address.
    #[must_use]
    pub fn for_mailbox(mut self, address: &str) -> Self {
        self.mailbox = Some(address.to_owned());
        self
    }

    /// Beginning with this matching call, counted from 1.
    #[must_use]
    pub fn from_call(mut self, nth: u32) -> Self {
        self.first = nth.max(1);
        self
    }

    /// So many matching calls.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }

    fn matches<S: AsRef<str>>(&self, operation: &str, mailboxes: &[S]) -> bool {
        self.operation
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(operation))
            && self.mailbox.as_ref().is_none_or(|wanted| {
                let wanted = wanted.to_lowercase();
                mailboxes
                    .iter()
                    .any(|mailbox| mailbox.as_ref().to_lowercase() == wanted)
            })
    }
}

/// What happens: below the protocol, or in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum FaultKind {
    /// Understood by every server.
    Transport(TransportFault),
    /// Interpreted by the server concerned.
    Protocol {
        /// Name of the kind.
        name: String,
        /// What follows the colon.
        argument: Option<String>,
    },
}

impl FaultKind {
    /// A kind that the server interprets.
    #[must_use]
    pub fn protocol(name: &str, argument: Option<&str>) -> Self {
        Self::Protocol {
            name: name.to_owned(),
            argument: argument.map(str::to_owned),
        }
    }
}

impl From<TransportFault> for FaultKind {
    fn from(fault: TransportFault) -> Self {
        Self::Transport(fault)
    }
}

/// Trouble that has nothing to do with what the request says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportFault {
    /// The answer comes so much later.
    Delay(Duration),
    /// TCP reset; nothing was processed.
    ResetBefore,
    /// Processed, then TCP reset.
    ResetAfter,
    /// The connection ends; nothing was processed.
    CloseBefore,
    /// Processed, then the connection ends.
    CloseAfter,
    /// Nothing is processed and no answer comes.
    HangBefore,
    /// Processed, and no answer comes: the client sees a timeout.
    HangAfter,
    /// Processed; half of the body comes, and then nothing more.
    HangHalf,
    /// Processed; the body is cut after so many bytes.
    Truncate(usize),
    /// An HTTP status; nothing was processed.
    Status(StatusCode),
    /// Processed, then an HTTP status, as of a gateway that lost patience.
    StatusAfter(StatusCode),
    /// Processed; these bytes instead of an HTTP answer, then the end of the connection.
    Raw(Bytes),
    /// Processed; the answer is sent twice.
    Twice,
}

/// Why a fault's text form was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FaultSpecError {
    /// There is no `=`.
    #[error(
        "a fault is written OPERATION[@MAILBOX][#NTH][*COUNT]=KIND[:ARGUMENT], but there is no `=`"
    )]
    NoKind,
    /// No operation before the `=`.
    #[error("a fault must begin with an operation's name, or with * for all operations")]
    NoOperation,
    /// `#NTH` or `*COUNT` is no number from 1.
    #[error("`{text}` after `{sign}` must be a whole number from 1{}", if *sign == '*' { ", or `all`" } else { "" })]
    Number {
        /// The character before it.
        sign: char,
        /// What stands there.
        text: String,
    },
    /// The argument is missing or not usable.
    #[error("the fault `{kind}` needs {expected} after a colon")]
    Argument {
        /// Name of the kind.
        kind: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The server does not know the kind.
    #[error("there is no fault `{kind}`; known are {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
}

impl FromStr for Fault {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, kind) = text.trim().split_once('=').ok_or(FaultSpecError::NoKind)?;
        // A leading star is the operation, any other one begins the count.
        let (operation, rest) = match target.strip_prefix('*') {
            Some(rest) => (None, rest),
            None => {
                let end = target.find(['@', '#', '*']).unwrap_or(target.len());
                let (name, rest) = target.split_at(end);
                if name.trim().is_empty() {
                    return Err(FaultSpecError::NoOperation);
                }
                (Some(name.trim().to_owned()), rest)
            }
        };
        let (rest, count) = match rest.rsplit_once('*') {
            None => (rest, Some(1)),
            Some((rest, "all")) => (rest, None),
            Some((rest, number)) => (rest, Some(whole_number('*', number)?)),
        };
        let (rest, first) = match rest.rsplit_once('#') {
            None => (rest, 1),
            Some((rest, number)) => (rest, whole_number('#', number)?),
        };
        let mailbox = match rest.strip_prefix('@') {
            Some(mailbox) => Some(mailbox.to_owned()),
            None if rest.is_empty() => None,
            None => return Err(FaultSpecError::NoOperation),
        };
        Ok(Self {
            operation,
            mailbox,
            first,
            count,
            kind: kind.parse()?,
        })
    }
}

fn whole_number(sign: char, text: &str) -> Result<u32, FaultSpecError> {
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| FaultSpecError::Number {
            sign,
            text: text.to_owned(),
        })
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation.as_deref().unwrap_or("*"))?;
        if let Some(mailbox) = &self.mailbox {
            write!(f, "@{mailbox}")?;
        }
        if self.first != 1 {
            write!(f, "#{}", self.first)?;
        }
        match self.count {
            Some(1) => {}
            Some(count) => write!(f, "*{count}")?,
            None => f.write_str("*all")?,
        }
        write!(f, "={}", self.kind)
    }
}

impl FromStr for FaultKind {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name.trim(), Some(argument)),
            None => (text.trim(), None),
        };
        let need = |expected| FaultSpecError::Argument {
            kind: name.to_owned(),
            expected,
        };
        let status = || {
            argument
                .and_then(|code| StatusCode::from_bytes(code.trim().as_bytes()).ok())
                .ok_or(need("an HTTP status code"))
        };
        let listed = TRANSPORT_KINDS.iter().any(|kind| kind.name() == name);
        let transport = match name {
            "" => return Err(FaultSpecError::NoKind),
            _ if !listed => return Ok(Self::protocol(name, argument)),
            "delay" => {
                let ms = argument.and_then(|ms| ms.trim().parse().ok());
                TransportFault::Delay(Duration::from_millis(ms.ok_or(need("milliseconds"))?))
            }
            "reset-before" => TransportFault::ResetBefore,
            "reset-after" => TransportFault::ResetAfter,
            "close-before" => TransportFault::CloseBefore,
            "close-after" => TransportFault::CloseAfter,
            "hang-before" => TransportFault::HangBefore,
            "hang-after" => TransportFault::HangAfter,
            "hang-half" => TransportFault::HangHalf,
            "truncate" => {
                let bytes = argument.and_then(|bytes| bytes.trim().parse().ok());
                TransportFault::Truncate(bytes.ok_or(need("a number of bytes"))?)
            }
            "status" => TransportFault::Status(status()?),
            "status-after" => TransportFault::StatusAfter(status()?),
            "raw" => TransportFault::Raw(unescape(argument.ok_or(need("a text"))?)),
            "twice" => TransportFault::Twice,
            _ => return Ok(Self::protocol(name, argument)),
        };
        Ok(Self::Transport(transport))
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(TransportFault::Delay(time)) => write!(f, "delay:{}", time.as_millis()),
            Self::Transport(TransportFault::ResetBefore) => f.write_str("reset-before"),
            Self::Transport(TransportFault::ResetAfter) => f.write_str("reset-after"),
            Self::Transport(TransportFault::CloseBefore) => f.write_str("close-before"),
            Self::Transport(TransportFault::CloseAfter) => f.write_str("close-after"),
            Self::Transport(TransportFault::HangBefore) => f.write_str("hang-before"),
            Self::Transport(TransportFault::HangAfter) => f.write_str("hang-after"),
            Self::Transport(TransportFault::HangHalf) => f.write_str("hang-half"),
            Self::Transport(TransportFault::Truncate(bytes)) => write!(f, "truncate:{bytes}"),
            Self::Transport(TransportFault::Status(code)) => write!(f, "status:{}", code.as_u16()),
            Self::Transport(TransportFault::StatusAfter(code)) => {
                write!(f, "status-after:{}", code.as_u16())
            }
            Self::Transport(TransportFault::Raw(bytes)) => {
                let text = String::from_utf8_lossy(bytes);
                let text = text
                    .replace('\\', "\\\\")
                    .replace('\r', "\\r")
                    .replace('\n', "\\n");
                write!(f, "raw:{text}")
            }
            Self::Transport(TransportFault::Twice) => f.write_str("twice"),
            Self::Protocol {
                name,
                argument: None,
            } => f.write_str(name),
            Self::Protocol {
                name,
                argument: Some(argument),
            } => write!(f, "{name}:{argument}"),
        }
    }
}

impl From<FaultKind> for String {
    fn from(kind: FaultKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for FaultKind {
    type Error = FaultSpecError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn unescape(text: &str) -> Bytes {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('r') => out.push('\r'),
            Some('n') => out.push('\n'),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out.into_bytes().into()
}

/// The faults of a server, with how often each was matched.
#[derive(Debug, Default)]
pub struct FaultPlan(Mutex<Vec<(Fault, u32)>>);

impl FaultPlan {
    /// A plan with these faults.
    #[must_use]
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(Mutex::new(
            faults.into_iter().map(|fault| (fault, 0)).collect(),
        ))
    }

    /// Adds a fault; its count begins now.
    pub fn add(&self, fault: Fault) {
        self.lock().push((fault, 0));
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Counts a call and says what strikes it, in the order in which the faults were added.
    pub fn strike<S: AsRef<str>>(&self, operation: &str, mailboxes: &[S]) -> Vec<FaultKind> {
        let mut struck = Vec::new();
        self.lock().retain_mut(|(fault, seen)| {
            if !fault.matches(operation, mailboxes) {
                return true;
            }
            *seen = seen.saturating_add(1);
            let Some(past) = seen.checked_sub(fault.first) else {
                return true;
            };
            if fault.count.is_none_or(|count| past < count) {
                struck.push(fault.kind.clone());
            }
            fault
                .count
                .is_none_or(|count| past.saturating_add(1) < count)
        });
        struck
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Fault, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Plays the transport faults that come before a request is processed.
///
/// Delays happen here. `Some` is the whole answer: the request must not be processed.
pub async fn before(kinds: &[FaultKind]) -> Option<Reply> {
    for kind in kinds {
        let FaultKind::Transport(fault) = kind else {
            continue;
        };
        match fault {
            TransportFault::Delay(time) => tokio::time::sleep(*time).await,
            TransportFault::ResetBefore => return Some(Reply::Reset),
            TransportFault::CloseBefore => return Some(Reply::Close),
            TransportFault::HangBefore => return Some(Reply::Hang),
            TransportFault::Status(code) => return Some(status_page(*code).into()),
            _ => {}
        }
    }
    None
}

/// Plays the transport faults that come after a request was processed.
#[must_use]
pub fn after(kinds: &[FaultKind], response: Response) -> Reply {
    for kind in kinds {
        let FaultKind::Transport(fault) = kind else {
            continue;
        };
        match fault {
            TransportFault::ResetAfter => return Reply::Reset,
            TransportFault::CloseAfter => return Reply::Close,
            TransportFault::HangAfter => return Reply::Hang,
            TransportFault::HangHalf => return halved(response).into(),
            TransportFault::Truncate(bytes) => {
                return Reply::Truncate {
                    response,
                    bytes: *bytes,
                };
            }
            TransportFault::StatusAfter(code) => return status_page(*code).into(),
            TransportFault::Raw(bytes) => {
                return Reply::Raw {
                    bytes: bytes.clone(),
                    close: true,
                };
            }
            TransportFault::Twice => return Reply::Twice(response),
            _ => {}
        }
    }
    response.into()
}

/// The response's head, which promises all of the body, the first half of that, and no end.
///
/// A streamed body comes as nothing but its head.
fn halved(mut response: Response) -> Response {
    let half = match &response.body {
        Body::Full(full) => {
            response
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(full.len()));
            full.slice(..full.len() / 2)
        }
        Body::Stream(_) => Bytes::new(),
    };
    let pieces = futures_util::stream::iter([Ok(half)]);
    response.body = Body::Stream(pieces.chain(futures_util::stream::pending()).boxed());
    response
}

/// A page as a web server or gateway shows it, with `Retry-After` where clients look for one.
#[must_use]
pub fn status_page(code: StatusCode) -> Response {
    let reason = code.canonical_reason().unwrap_or("Status");
    let number = code.as_u16();
    let page = format!(
        "<!DOCTYPE html><html><head><title>{number} - {reason}</title></head><body><h1>{number} - {reason}</h1></body></html>"
    );
    let response = Response::new(code, "text/html; charset=utf-8", page);
    if code == StatusCode::SERVICE_UNAVAILABLE || code == StatusCode::TOO_MANY_REQUESTS {
        response.with_header("retry-after", "1")
    } else {
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "CreateEvents=reset-after",
            "*=delay:250",
            "*#3*2=status:503",
            "*@anna@kommune.example*all=hang-after",
            "GetEvents@anna@kommune.example#2=truncate:100",
            "GetResources=raw:HTTP/1.1 200 OK\\r\\n\\r\\n",
            "CreateEvents=code:15/2",
            "*=twice",
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        }
    }

    #[test]
    fn every_transport_kind_that_is_listed_is_understood() {
        for kind in TRANSPORT_KINDS {
            let text = kind
                .form
                .replace("MS", "5")
                .replace("BYTES", "5")
                .replace("CODE", "503");
            let read: FaultKind = text.parse().unwrap();
            assert!(matches!(read, FaultKind::Transport(_)), "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_is_expected() {
        for (text, part) in [
            ("CreateEvents", "no `=`"),
            ("=reset-after", "operation"),
            ("CreateEvents#0=twice", "from 1"),
            ("CreateEvents*x=twice", "`all`"),
            ("CreateEvents=delay", "milliseconds"),
            ("CreateEvents=status:99", "HTTP status"),
            ("CreateEvents=", "no `=`"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_plan_strikes_the_calls_it_names() {
        let plan = FaultPlan::new(["CreateEvents@A@x.example#2*2=reset-after"
            .parse::<Fault>()
            .unwrap()]);
        let call = |operation: &str, mailbox: &str| plan.strike(operation, &[mailbox]).len();
        assert_eq!(call("CreateEvents", "a@x.example"), 0);
        assert_eq!(call("CreateEvents", "b@x.example"), 0);
        assert_eq!(call("GetEvents", "a@x.example"), 0);
        assert_eq!(call("createevents", "A@X.example"), 1);
        assert_eq!(call("CreateEvents", "a@x.example"), 1);
        assert_eq!(call("CreateEvents", "a@x.example"), 0);
    }

    #[tokio::test]
    async fn half_an_answer_is_half_of_what_its_head_promises_and_then_nothing() {
        use crate::server::{Request, Server, ServerOptions};
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let server = Server::start(ServerOptions::default(), |_: Request| async {
            let response = Response::text(StatusCode::OK, "hello, world");
            after(&[TransportFault::HangHalf.into()], response)
        })
        .await
        .unwrap();
        let mut client = tokio::net::TcpStream::connect(server.address())
            .await
            .unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut seen = Vec::new();
        let reading = async { while client.read_buf(&mut seen).await.unwrap() > 0 {} };
        let ended = tokio::time::timeout(Duration::from_millis(500), reading).await;
        assert!(ended.is_err(), "the connection stays open");
        let text = String::from_utf8(seen).unwrap();
        assert!(text.contains("content-length: 12\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nhello,"), "{text}");
    }
}
