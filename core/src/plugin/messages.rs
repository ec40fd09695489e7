//! The messages: every method's request and answer, as they stand in JSON.
//!
//! Unknown members are ignored, absent ones mean the default, instants are RFC 3339, enums are texts (or objects
//! with one member) that may be newer than the reader. [`schemas`] gives all of them as JSON Schemas; a program
//! that carries them in frames finds [`Frame`] here too.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::connector::{
    ApplyReport, AttemptToken, Capabilities, ChangeBatch, ChangesRequest, CheckReport, CheckScope,
    Error, ErrorKind, Hint, InventoryPage, InventoryRequest, Manifest, Probe, Result, Roster,
    Scope, Write,
};
use crate::model::{CalendarRef, Event, ItemRef};

/// Names of the methods.
pub mod method {
    /// [`CheckScope`](crate::connector::CheckScope) to [`CheckReport`](crate::connector::CheckReport).
    pub const CHECK: &str = "check";
    /// [`Empty`](super::Empty) to [`Roster`](crate::connector::Roster).
    pub const ROSTER: &str = "roster";
    /// [`ChangesRequest`](crate::connector::ChangesRequest) to [`Opened`](super::Opened).
    pub const CHANGES_OPEN: &str = "changes.open";
    /// [`NextChanges`](super::NextChanges) to [`ChangesPart`](super::ChangesPart).
    pub const CHANGES_NEXT: &str = "changes.next";
    /// [`FeedRequest`](super::FeedRequest) to [`Empty`](super::Empty).
    pub const CHANGES_CLOSE: &str = "changes.close";
    /// [`FetchRequest`](super::FetchRequest) to [`FetchAnswer`](super::FetchAnswer).
    pub const FETCH: &str = "fetch";
    /// [`WatchRequest`](super::WatchRequest) to [`Opened`](super::Opened).
    pub const WATCH_OPEN: &str = "watch.open";
    /// [`FeedRequest`](super::FeedRequest) to [`Hints`](super::Hints).
    pub const WATCH_NEXT: &str = "watch.next";
    /// [`WatchSet`](super::WatchSet) to [`Empty`](super::Empty).
    pub const WATCH_SET: &str = "watch.set";
    /// [`FeedRequest`](super::FeedRequest) to [`Empty`](super::Empty).
    pub const WATCH_CLOSE: &str = "watch.close";
    /// [`ApplyRequest`](super::ApplyRequest) to [`ApplyReport`](crate::connector::ApplyReport).
    pub const APPLY: &str = "apply";
    /// [`InventoryRequest`](crate::connector::InventoryRequest) to [`Opened`](super::Opened).
    pub const INVENTORY_OPEN: &str = "inventory.open";
    /// [`FeedRequest`](super::FeedRequest) to [`InventoryPart`](super::InventoryPart).
    pub const INVENTORY_NEXT: &str = "inventory.next";
    /// [`FeedRequest`](super::FeedRequest) to [`Empty`](super::Empty).
    pub const INVENTORY_CLOSE: &str = "inventory.close";
    /// [`ProbeRequest`](super::ProbeRequest) to [`ProbeAnswer`](super::ProbeAnswer).
    pub const PROBE: &str = "probe";
    /// [`Empty`](super::Empty) to [`Empty`](super::Empty): the program stops; give up what waits.
    pub const SHUTDOWN: &str = "shutdown";
    /// To the library, not to an instance: [`CapabilitiesRequest`](super::CapabilitiesRequest) to
    /// [`CapabilitiesAnswer`](super::CapabilitiesAnswer).
    pub const CAPABILITIES: &str = "capabilities";
}

/// What a library says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LibraryManifest {
    /// The contract that the library follows: 1.
    pub abi: u32,
    /// What it was built with, for support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_with: Option<String>,
    /// The connectors in it.
    pub connectors: Vec<Manifest>,
}

/// What every request may carry beside its own members.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// The call's place in a trace (W3C Trace Context, `traceparent`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The time, if the host does not run on the system's clock. The connector's clock is set to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub clock: Option<Timestamp>,
}

/// A connection is to be opened.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenRequest {
    /// The connection's name in the configuration.
    pub connection: String,
    /// The connector's settings, as its schema describes them. Secrets stand in them as references.
    #[serde(default)]
    pub settings: Value,
    /// The values of the secrets that the settings refer to, by reference as it is written there. Never log them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// References without a value, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing_secrets: BTreeMap<String, String>,
    /// The time, if the host does not run on the system's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub clock: Option<Timestamp>,
    /// The host's number of this connection; goes back in [`Heard`].
    #[serde(default)]
    pub handle: u64,
}

/// Names of secrets only.
impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequest")
            .field("connection", &self.connection)
            .field("secrets", &self.secrets.keys().collect::<Vec<_>>())
            .field("missing_secrets", &self.missing_secrets)
            .field("clock", &self.clock)
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

/// A connection was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OpenAnswer {
    /// Whether it can be read; absent: as the manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<bool>,
    /// Whether it can be written; absent: as the manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<bool>,
}

/// Nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// A feed was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Opened {
    /// Names it within this connection.
    pub feed: u64,
}

/// About a feed. To close one that is gone already is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedRequest {
    /// Which feed.
    pub feed: u64,
}

/// Asks for the next changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextChanges {
    /// Which feed.
    pub feed: u64,
    /// The most changes that are wanted.
    pub max: usize,
}

/// A part of a change feed. Without a batch and without `end` it is refused: a feed ends well only if it says so.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChangesPart {
    /// Changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<ChangeBatch>,
    /// The feed ended well.
    #[serde(default)]
    pub end: bool,
}

/// Asks for single items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FetchRequest {
    /// Whose calendar.
    pub calendar: CalendarRef,
    /// Which items.
    pub items: Vec<ItemRef>,
}

/// One result per item, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FetchAnswer {
    /// The results.
    pub results: Vec<Fetched>,
}

/// An event, or why there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Fetched {
    /// The event as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

impl From<Result<Event>> for Fetched {
    fn from(result: Result<Event>) -> Self {
        match result {
            Ok(event) => Self {
                event: Some(event),
                error: None,
            },
            Err(error) => Self {
                event: None,
                error: Some(error),
            },
        }
    }
}

impl From<Fetched> for Result<Event> {
    fn from(fetched: Fetched) -> Self {
        match (fetched.event, fetched.error) {
            (_, Some(error)) => Err(error),
            (Some(event), None) => Ok(event),
            (None, None) => Err(unreadable("fetch", "neither an event nor an error")),
        }
    }
}

/// Asks for hints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchRequest {
    /// About which calendars.
    pub calendars: Vec<CalendarRef>,
}

/// Changes the watched calendars.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchSet {
    /// Which feed.
    pub feed: u64,
    /// The calendars from now on.
    pub calendars: Vec<CalendarRef>,
}

/// Hints. None at all is a sign of life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Hints {
    /// The hints; those of a newer version are left out, which costs latency only.
    #[serde(default, deserialize_with = "those_that_are_known")]
    pub hints: Vec<Hint>,
}

/// Writes of one calendar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ApplyRequest {
    /// Whose calendar.
    pub calendar: CalendarRef,
    /// The writes.
    pub writes: Vec<Write>,
}

/// A part of an inventory. Without a page and without `end` it is refused.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InventoryPart {
    /// Records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<InventoryPage>,
    /// The inventory is complete.
    #[serde(default)]
    pub end: bool,
}

/// Asks what became of attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeRequest {
    /// Whose calendar.
    pub calendar: CalendarRef,
    /// Which attempts.
    pub tokens: Vec<AttemptToken>,
}

/// What became of attempts, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeAnswer {
    /// The answers; one that cannot be understood counts as undecidable.
    #[serde(deserialize_with = "undecidable_unless_known")]
    pub probes: Vec<Probe>,
}

/// Asks what a connector can do with these settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilitiesRequest {
    /// The connector's name.
    pub connector: String,
    /// Its settings.
    #[serde(default)]
    pub settings: Value,
}

/// What a connector can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapabilitiesAnswer {
    /// With the settings that were given.
    pub capabilities: Capabilities,
}

/// A record for the log, or news of a server's clock.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LogRecord {
    /// The module that it comes from.
    #[serde(default)]
    pub target: String,
    /// What happened. No personal data at `info` and above, no secrets ever.
    #[serde(default)]
    pub message: String,
    /// Values that go with it.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, Value>,
    /// What was going on, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<LogSpan>,
    /// A server told the time. Such a record is not shown; its level does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
}

/// Something that was going on when a record was made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LogSpan {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Values that go with it.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, Value>,
}

/// What a server's clock showed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Heard {
    /// [`OpenRequest::handle`] of the connection that heard it.
    #[serde(default)]
    pub handle: u64,
    /// The server's clock minus ours, in milliseconds.
    #[serde(default)]
    pub ahead_ms: i64,
}

/// One frame between the program and a connector that runs in a child process: four bytes, the length of what
/// follows (little endian), then this as JSON. Exactly one member is there; a frame without a known one is ignored.
///
/// The child writes `hello` first. The program then sends `open`, `call`, `cancel`, `close` and `level` on the
/// child's standard input and reads `answer` and `log` from its standard output; lines on standard error become log
/// records. The end of standard input asks the child to end.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Child to program, first of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Hello>,
    /// Program to child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<OpenFrame>,
    /// Program to child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallFrame>,
    /// Child to program: the answer to `open`, `call` or `close`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerFrame>,
    /// Program to child: the answer to a call is no longer wanted. It is answered all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelFrame>,
    /// Program to child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<CloseFrame>,
    /// Child to program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogFrame>,
    /// Program to child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelFrame>,
}

/// The first frame that a child writes; with `beginning`, the first two.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// The contract that the child follows: 1.
    pub protocol: u32,
    /// What else it can do. Nothing is defined yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// What it holds. Absent: it could not begin, and `error` says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<LibraryManifest>,
    /// Why it could not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It could not begin because the library does not follow the contract.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incompatible: bool,
    /// It is about to begin, and says what it holds in case that it does not survive it; a second one follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beginning: bool,
}

/// Opens a connection.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct OpenFrame {
    /// Goes back with the answer.
    pub id: u64,
    /// The number that the connection shall have in later frames, not 0.
    pub instance: u64,
    /// The connector's name.
    pub connector: String,
    /// An [`OpenRequest`].
    #[schemars(with = "OpenRequest")]
    pub config: Box<RawValue>,
}

/// Begins a call.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CallFrame {
    /// Goes back with the answer.
    pub id: u64,
    /// Which connection; 0: the library itself.
    #[serde(default)]
    pub instance: u64,
    /// The method's name.
    pub method: String,
    /// The method's request.
    #[schemars(with = "Value")]
    pub payload: Box<RawValue>,
}

/// Ends a call.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AnswerFrame {
    /// Which one.
    pub id: u64,
    /// 0: the payload is the answer; 1: it is an [`Error`].
    pub status: i32,
    /// The answer or the error.
    #[schemars(with = "Value")]
    pub payload: Box<RawValue>,
}

/// The answer to a call is no longer wanted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CancelFrame {
    /// Which call.
    pub id: u64,
}

/// Ends a connection. Answered when it has ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct CloseFrame {
    /// Goes back with the answer.
    pub id: u64,
    /// Which connection.
    pub instance: u64,
}

/// A record for the log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogFrame {
    /// 0 error, 1 warning, 2 information, 3 debugging, 4 everything.
    pub level: u32,
    /// A [`LogRecord`].
    #[schemars(with = "LogRecord")]
    pub record: Box<RawValue>,
}

/// Changes the finest level that is wanted.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct LevelFrame {
    /// As in [`LogFrame`].
    pub max: u32,
}

/// Reads a message.
///
/// # Errors
/// `Protocol`, naming the method. What the message holds is not repeated.
pub fn read<T: DeserializeOwned>(method: &str, payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|error| {
        // The text of a data error may hold values from the message; its place does not.
        let what = match error.classify() {
            serde_json::error::Category::Data => "a member is missing or of the wrong kind",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "it is no JSON",
        };
        unreadable(
            method,
            &format!("{what} (line {}, column {})", error.line(), error.column()),
        )
    })
}

/// Writes a message.
///
/// # Errors
/// `Protocol`, naming the method; only for what JSON cannot hold.
pub fn write<T: Serialize>(method: &str, message: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(|_| unreadable(method, "it cannot be written as JSON"))
}

fn unreadable(method: &str, what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Connection,
        "plugin.message",
        format!(
            "a message of `{method}` between calbridge and the connector cannot be read: {what}; install versions that fit each other"
        ),
    )
}

fn those_that_are_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Hint>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    Ok(values
        .into_iter()
        .filter_map(|value| serde_json::from_value(value).ok())
        .collect())
}

fn undecidable_unless_known<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Probe>, D::Error> {
    let values = Vec::<Value>::deserialize(deserializer)?;
    Ok(values
        .into_iter()
        .map(|value| serde_json::from_value(value).unwrap_or(Probe::Undecidable))
        .collect())
}

/// The JSON Schemas of all messages, by file name without ending.
#[must_use]
pub fn schemas() -> BTreeMap<Cow<'static, str>, Value> {
    let mut all = BTreeMap::new();
    let mut add = |name: String, schema: Schema| {
        let mut schema = schema.to_value();
        without_links(&mut schema);
        all.insert(Cow::Owned(name), schema);
    };
    add("manifest".to_owned(), of::<LibraryManifest>());
    add("error".to_owned(), of::<Error>());
    add("log".to_owned(), of::<LogRecord>());
    add("frame".to_owned(), of::<Frame>());
    add("open.request".to_owned(), of::<OpenRequest>());
    add("open.answer".to_owned(), of::<OpenAnswer>());
    let mut exchange = |method: &str, request: Schema, answer: Schema| {
        add(format!("{method}.request"), enveloped(request));
        add(format!("{method}.answer"), answer);
    };
    exchange(method::CHECK, of::<CheckScope>(), of::<CheckReport>());
    exchange(method::ROSTER, of::<Empty>(), of::<Roster>());
    exchange(method::CHANGES_OPEN, of::<ChangesRequest>(), of::<Opened>());
    exchange(
        method::CHANGES_NEXT,
        of::<NextChanges>(),
        of::<ChangesPart>(),
    );
    exchange(method::CHANGES_CLOSE, of::<FeedRequest>(), of::<Empty>());
    exchange(method::FETCH, of::<FetchRequest>(), of::<FetchAnswer>());
    exchange(method::WATCH_OPEN, of::<WatchRequest>(), of::<Opened>());
    exchange(method::WATCH_NEXT, of::<FeedRequest>(), of::<Hints>());
    exchange(method::WATCH_SET, of::<WatchSet>(), of::<Empty>());
    exchange(method::WATCH_CLOSE, of::<FeedRequest>(), of::<Empty>());
    exchange(method::APPLY, of::<ApplyRequest>(), of::<ApplyReport>());
    exchange(
        method::INVENTORY_OPEN,
        of::<InventoryRequest>(),
        of::<Opened>(),
    );
    exchange(
        method::INVENTORY_NEXT,
        of::<FeedRequest>(),
        of::<InventoryPart>(),
    );
    exchange(method::INVENTORY_CLOSE, of::<FeedRequest>(), of::<Empty>());
    exchange(method::PROBE, of::<ProbeRequest>(), of::<ProbeAnswer>());
    exchange(method::SHUTDOWN, of::<Empty>(), of::<Empty>());
    exchange(
        method::CAPABILITIES,
        of::<CapabilitiesRequest>(),
        of::<CapabilitiesAnswer>(),
    );
    all
}

fn of<T: JsonSchema>() -> Schema {
    SchemaGenerator::default().into_root_schema_for::<T>()
}

/// Takes the links out of the descriptions, which lead into the documentation of the Rust crate: who reads the schemas
/// may work in any language.
fn without_links(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => *text = unlinked(text),
                    other => without_links(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_links),
        _ => {}
    }
}

/// ``[`A::b`](path)`` and ``[`A::b`]`` become `` `A::b` ``.
fn unlinked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((words, after)) = link.split_once("`]") else {
            break;
        };
        out.push_str(before);
        out.push('`');
        out.push_str(words);
        out.push('`');
        rest = after
            .strip_prefix('(')
            .and_then(|target| target.split_once(')'))
            .map_or(after, |(_, after)| after);
    }
    out + rest
}

/// With the members that every request may carry.
fn enveloped(mut schema: Schema) -> Schema {
    let extra = of::<Envelope>().to_value();
    let extra = extra.get("properties").and_then(Value::as_object);
    let members = schema
        .ensure_object()
        .entry("properties")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let (Some(extra), Some(members)) = (extra, members.as_object_mut()) {
        for (name, member) in extra {
            members
                .entry(name.clone())
                .or_insert_with(|| member.clone());
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_taken_out_and_their_words_stay() {
        for (text, plain) in [
            ("As it is (`x[0]`).", "As it is (`x[0]`)."),
            ("See [`A::b`](super::A::b).", "See `A::b`."),
            ("[`A`] (not [`B`]): [`C`](c)", "`A` (not `B`): `C`"),
            ("Never [`closed", "Never [`closed"),
        ] {
            assert_eq!(unlinked(text), plain);
        }
    }

    #[test]
    fn no_schema_holds_a_link() {
        for (name, schema) in schemas() {
            let text = schema.to_string();
            assert!(!text.contains("[`") && !text.contains("`]"), "{name}");
        }
    }
}
