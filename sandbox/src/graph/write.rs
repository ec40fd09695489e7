//! Creating, changing and deleting events, and the extended properties on them.

use std::sync::atomic::Ordering;

use http::Method;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::error::GraphError;
use super::handle::lock;
use super::query::Query;
use super::recurrence;
use super::render::{PROPERTIES, Shown, is_organizer, sensitivity, show_as};
use super::service::{Answered, Asking, Context, Target};
use crate::exchange::ids::change_key;
use crate::exchange::item::{Extended, Folder};
use crate::exchange::store::StoreError;
use crate::exchange::{
    Appointment, Attendee, FreeBusy, NewItem, Person, Sensitivity, SeriesRule, Zone,
};

/// What clients may write.
const WRITABLE: &[&str] = &[
    "attendees",
    "body",
    "categories",
    "end",
    "hideAttendees",
    "importance",
    "isAllDay",
    "isOnlineMeeting",
    "isReminderOn",
    "location",
    "locations",
    "onlineMeetingProvider",
    "recurrence",
    "reminderMinutesBeforeStart",
    "responseRequested",
    "sensitivity",
    "showAs",
    "singleValueExtendedProperties",
    "start",
    "subject",
    "allowNewTimeProposals",
];

/// Answers a request that changes something.
pub(super) fn answer(
    context: &Context<'_>,
    asking: &Asking,
    target: &Target,
) -> Result<Answered, GraphError> {
    match (&asking.method, target) {
        (method, Target::Events(folder)) if *method == Method::POST => {
            create(context, asking, *folder)
        }
        (method, Target::Event(id)) if *method == Method::PATCH => update(context, asking, id),
        (method, Target::Event(id)) if *method == Method::DELETE => delete(context, asking, id),
        _ => Err(GraphError::new(
            405,
            "ErrorMethodNotAllowed",
            "Method not allowed.",
        )),
    }
}

fn create(context: &Context<'_>, asking: &Asking, folder: Folder) -> Result<Answered, GraphError> {
    let fields = fields(&asking.body, true)?;
    let transaction = fields
        .get("transactionId")
        .and_then(Value::as_str)
        .map(|id| (context.mailbox, id.to_owned()));
    context.service.exchange.store(|store| {
        let transactions = lock(&context.service.transactions);
        let known = transaction
            .as_ref()
            .and_then(|id| transactions.get(id))
            .copied();
        drop(transactions);
        if let Some(number) = known
            && let Ok(item) = store.item(number)
        {
            let shown = Shown::whole(item);
            let mut value = shown.full(context.owner, context.prefer);
            value["transactionId"] = fields.get("transactionId").cloned().unwrap_or_default();
            return Ok(Answered::new(201, value));
        }
        if store.is_full(context.mailbox) {
            return Err(GraphError::new(
                507,
                "ErrorQuotaExceeded",
                "The mailbox is full.",
            ));
        }
        for needed in ["start", "end"] {
            if !fields.contains_key(needed) {
                return Err(GraphError::new(
                    400,
                    "ErrorPropertyValidationFailure",
                    "At least one property failed validation.",
                ));
            }
        }
        let epoch = Timestamp::UNIX_EPOCH;
        let mut appointment = Appointment::new("", epoch, epoch, &Zone::utc());
        appointment.organizer = Some(context.owner.clone());
        apply(&mut appointment, &fields)?;
        let series = series(&fields)?;
        let new = NewItem {
            series,
            folder,
            ..NewItem::new(appointment)
        };
        let mails = new.appointment.is_meeting();
        let number = store.create(context.mailbox, new).map_err(refused)?;
        if let Some(id) = transaction {
            lock(&context.service.transactions).insert(id, number);
        }
        if mails {
            mail(context);
        }
        let item = store.item(number).map_err(refused)?;
        let shown = Shown::whole(item);
        let mut value = shown.full(context.owner, context.prefer);
        value["transactionId"] = fields.get("transactionId").cloned().unwrap_or_default();
        Ok(Answered::new(201, value))
    })
}

fn update(context: &Context<'_>, asking: &Asking, id: &str) -> Result<Answered, GraphError> {
    let fields = fields(&asking.body, false)?;
    context.service.exchange.store(|store| {
        let shown = context.shown(store, id)?;
        check_version(context, asking, &shown)?;
        let (number, slot) = (shown.item.number, shown.slot);
        let mut content = shown.content.clone();
        apply(&mut content, &fields)?;
        if content.end < content.start {
            return Err(refused(StoreError::EndBeforeStart));
        }
        let meeting = shown.content.is_meeting() || content.is_meeting();
        let tells = [
            "attendees",
            "start",
            "end",
            "location",
            "locations",
            "subject",
            "body",
            "recurrence",
            "isAllDay",
        ];
        let mails = meeting
            && is_organizer(&shown.content, context.owner)
            && fields.keys().any(|name| tells.contains(&name.as_str()));
        match slot {
            Some(slot) => {
                check_neighbours(&shown, slot, &content)?;
                store.update_occurrence(number, slot, |appointment| *appointment = content)
            }
            None => {
                let series = series(&fields)?;
                store.update(number, |item| {
                    item.appointment = content;
                    if series.is_some() {
                        item.set_rule(series)?;
                    }
                    Ok(())
                })
            }
        }
        .map_err(refused)?;
        if mails {
            mail(context);
        }
        let shown = context.shown(store, id)?;
        Ok(Answered::new(
            200,
            shown.full(context.owner, context.prefer),
        ))
    })
}

fn delete(context: &Context<'_>, asking: &Asking, id: &str) -> Result<Answered, GraphError> {
    context.service.exchange.store(|store| {
        let shown = context.shown(store, id)?;
        if !matches!(shown.item.folder, Folder::Calendar | Folder::OtherCalendar) {
            return Err(GraphError::not_found());
        }
        check_version(context, asking, &shown)?;
        let (number, slot) = (shown.item.number, shown.slot);
        let mails = shown.content.is_meeting() && is_organizer(&shown.content, context.owner);
        match slot {
            Some(slot) => store.delete_occurrence(number, slot).map_err(refused)?,
            None => {
                store
                    .move_item(number, Folder::DeletedItems)
                    .map_err(refused)?;
            }
        }
        if mails {
            mail(context);
        }
        Ok(Answered::new(204, Value::Null))
    })
}

/// Everybody concerned is told by mail. There is no way to prevent it.
fn mail(context: &Context<'_>) {
    context.service.mails.fetch_add(1, Ordering::Relaxed);
}

fn check_version(
    context: &Context<'_>,
    asking: &Asking,
    shown: &Shown<'_>,
) -> Result<(), GraphError> {
    let wanted = asking
        .headers
        .get("if-match")
        .and_then(|value| value.to_str().ok());
    let Some(wanted) = wanted.filter(|wanted| *wanted != "*") else {
        return Ok(());
    };
    if wanted.trim_start_matches("W/").trim_matches('"') == change_key(shown.change) {
        return Ok(());
    }
    let status = if lock(&context.service.habits).conflict_409 {
        409
    } else {
        412
    };
    Err(GraphError::new(
        status,
        "ErrorIrresolvableConflict",
        "The send or update operation could not be performed because the change key passed in the request does not match the current change key for the item.",
    ))
}

/// An occurrence does not pass its neighbours, nor share a day with one.
fn check_neighbours(
    shown: &Shown<'_>,
    slot: DateTime,
    content: &Appointment,
) -> Result<(), GraphError> {
    let reach = jiff::SignedDuration::from_hours(24 * 366);
    let (from, to) = (content.start - reach, content.end + reach);
    let zone = content.start_zone.rules();
    let day = zone.to_datetime(content.start).date();
    for other in shown.item.instances(from, to) {
        let other_day = zone.to_datetime(other.appointment.start).date();
        let crosses = if other.slot < slot {
            other_day >= day
        } else {
            other_day <= day
        };
        if other.slot != slot && crosses {
            return Err(GraphError::new(
                400,
                "ErrorOccurrenceCrossingBoundary",
                "Modified occurrence is crossing or overlapping adjacent occurrence.",
            ));
        }
    }
    Ok(())
}

fn refused(error: StoreError) -> GraphError {
    match error {
        StoreError::NoItem | StoreError::NoOccurrence => GraphError::not_found(),
        StoreError::EndBeforeStart => GraphError::new(
            400,
            "ErrorPropertyValidationFailure",
            "At least one property failed validation.",
        ),
        other => GraphError::invalid(other.to_string()),
    }
}

/// The body's properties, each of which there is and may be written.
fn fields(body: &Value, creating: bool) -> Result<Map<String, Value>, GraphError> {
    let fields = body.as_object().ok_or_else(|| {
        GraphError::new(400, "BadRequest", "Empty Payload. JSON content expected.")
    })?;
    for name in fields.keys().filter(|name| !name.starts_with('@')) {
        let writable = WRITABLE.contains(&name.as_str())
            || (creating && matches!(name.as_str(), "transactionId" | "iCalUId"));
        if !writable && PROPERTIES.contains(&name.as_str()) {
            return Err(GraphError::property(format!(
                "The property '{name}' is read-only."
            )));
        }
        if !writable {
            return Err(GraphError::new(
                400,
                "RequestBodyRead",
                format!(
                    "The property '{name}' does not exist on type 'Microsoft.OutlookServices.Event'."
                ),
            ));
        }
    }
    Ok(fields.clone())
}

fn wrong_type(name: &str) -> GraphError {
    GraphError::new(
        400,
        "RequestBodyRead",
        format!("Cannot convert the literal of property '{name}' to the expected type."),
    )
}

fn text(name: &str, value: &Value) -> Result<String, GraphError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        _ => Err(wrong_type(name)),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, GraphError> {
    value.as_bool().ok_or_else(|| wrong_type(name))
}

fn apply(appointment: &mut Appointment, fields: &Map<String, Value>) -> Result<(), GraphError> {
    if let Some(value) = fields.get("isAllDay") {
        appointment.all_day = flag("isAllDay", value)?;
    }
    for (name, value) in fields {
        match name.as_str() {
            "subject" => appointment.subject = text(name, value)?.chars().take(255).collect(),
            "body" => {
                let content = value.get("content").unwrap_or(&Value::Null);
                appointment.body = text(name, content)?;
            }
            "location" => {
                let place = value.get("displayName").unwrap_or(&Value::Null);
                appointment.location = text(name, place)?;
            }
            "categories" => {
                let names = value.as_array().ok_or_else(|| wrong_type(name))?;
                let names: Result<_, _> = names.iter().map(|one| text(name, one)).collect();
                appointment.categories = names?;
            }
            "showAs" => {
                let word = text(name, value)?;
                appointment.free_busy = [
                    FreeBusy::Free,
                    FreeBusy::Tentative,
                    FreeBusy::Busy,
                    FreeBusy::OutOfOffice,
                    FreeBusy::WorkingElsewhere,
                    FreeBusy::NoData,
                ]
                .into_iter()
                .find(|status| show_as(*status) == word)
                .ok_or_else(|| wrong_type(name))?;
            }
            "sensitivity" => {
                let word = text(name, value)?;
                appointment.sensitivity = [
                    Sensitivity::Normal,
                    Sensitivity::Personal,
                    Sensitivity::Private,
                    Sensitivity::Confidential,
                ]
                .into_iter()
                .find(|one| sensitivity(*one) == word)
                .ok_or_else(|| wrong_type(name))?;
            }
            "isReminderOn" => {
                let on = flag(name, value)?;
                let minutes = fields
                    .get("reminderMinutesBeforeStart")
                    .and_then(Value::as_u64);
                let minutes = minutes.and_then(|minutes| u32::try_from(minutes).ok());
                appointment.reminder = on.then(|| minutes.unwrap_or(15));
            }
            "isOnlineMeeting" => appointment.online_meeting = flag(name, value)?,
            "attendees" => {
                let people = value.as_array().ok_or_else(|| wrong_type(name))?;
                appointment.required = people.iter().map(attendee).collect();
                appointment.optional.clear();
                appointment.resources.clear();
            }
            "singleValueExtendedProperties" => {
                for property in value.as_array().ok_or_else(|| wrong_type(name))? {
                    let id = property
                        .get("id")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    let path = property_path(id)?;
                    let value = text(name, property.get("value").unwrap_or(&Value::Null))?;
                    appointment.extended.retain(|one| one.path != path);
                    appointment.extended.push(Extended {
                        path,
                        values: vec![value],
                        many: false,
                    });
                }
            }
            _ => {}
        }
    }
    times(appointment, fields)
}

fn attendee(value: &Value) -> Attendee {
    let address = value.get("emailAddress");
    let part = |name: &str| {
        let part = address
            .and_then(|address| address.get(name))
            .and_then(Value::as_str);
        part.unwrap_or_default()
    };
    Attendee {
        person: Person::new(part("name"), part("address")),
        ..Attendee::default()
    }
}

/// Start and end, in their zones; days are whole and share one.
fn times(appointment: &mut Appointment, fields: &Map<String, Value>) -> Result<(), GraphError> {
    let read = |name: &str| -> Result<Option<(DateTime, Zone)>, GraphError> {
        let Some(value) = fields.get(name) else {
            return Ok(None);
        };
        let wall = value
            .get("dateTime")
            .and_then(Value::as_str)
            .ok_or_else(|| wrong_type(name))?;
        let zone = value
            .get("timeZone")
            .and_then(Value::as_str)
            .unwrap_or("UTC");
        let zone = Zone::find(zone).ok_or_else(|| {
            GraphError::new(
                400,
                "TimeZoneNotSupportedException",
                "A valid TimeZone value must be specified.",
            )
        })?;
        let wall = wall
            .trim_end_matches('Z')
            .parse()
            .map_err(|_| wrong_type(name))?;
        Ok(Some((wall, zone)))
    };
    let invalid = || {
        GraphError::new(
            400,
            "ErrorPropertyValidationFailure",
            "At least one property failed validation.",
        )
    };
    let instant = |wall: DateTime, zone: &Zone| {
        zone.rules()
            .to_ambiguous_timestamp(wall)
            .compatible()
            .map_err(|_| invalid())
    };
    let (start, end) = (read("start")?, read("end")?);
    if let (Some((_, one)), Some((_, other))) = (&start, &end)
        && appointment.all_day
        && one.id() != other.id()
    {
        return Err(invalid());
    }
    if let Some((wall, zone)) = start {
        appointment.start = instant(wall, &zone)?;
        appointment.start_zone = zone;
    }
    if let Some((wall, zone)) = end {
        appointment.end = instant(wall, &zone)?;
        appointment.end_zone = zone;
    }
    if appointment.all_day {
        let midnight = jiff::civil::Time::midnight();
        let whole = appointment.local_start().time() == midnight
            && appointment.local_end().time() == midnight
            && appointment.start < appointment.end;
        if !whole {
            return Err(invalid());
        }
    }
    Ok(())
}

fn series(fields: &Map<String, Value>) -> Result<Option<SeriesRule>, GraphError> {
    match fields.get("recurrence") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => recurrence::read(value)
            .map(|rule| Some(SeriesRule::Ews(rule)))
            .ok_or_else(|| {
                GraphError::new(
                    400,
                    "ErrorPropertyValidationFailure",
                    "At least one property failed validation.",
                )
            }),
    }
}

/// `String {GUID} Name NAME`, as the attributes by which EWS knows the same property.
fn property_path(id: &str) -> Result<Vec<(String, String)>, GraphError> {
    let wrong = || {
        GraphError::new(
            400,
            "ErrorInvalidProperty",
            "The extended property's id is not valid.",
        )
    };
    let rest = id.strip_prefix("String {").ok_or_else(wrong)?;
    let (guid, name) = rest.split_once("} Name ").ok_or_else(wrong)?;
    let guid: uuid::Uuid = guid.parse().map_err(|_| wrong())?;
    let mut path = vec![
        ("PropertyName".to_owned(), name.to_owned()),
        ("PropertySetId".to_owned(), guid.to_string()),
        ("PropertyType".to_owned(), "String".to_owned()),
    ];
    path.sort();
    Ok(path)
}

fn property<'a>(appointment: &'a Appointment, id: &str) -> Option<&'a str> {
    let path = property_path(id).ok()?;
    let found = appointment.extended.iter().find(|one| one.path == path)?;
    found.values.first().map(String::as_str)
}

/// `singleValueExtendedProperties/Any(ep: ep/id eq 'ID' and ep/value eq 'VALUE')`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    id: String,
    value: String,
}

impl Filter {
    /// Values are compared without regard to letter case.
    pub(super) fn holds(&self, appointment: &Appointment) -> bool {
        property(appointment, &self.id).is_some_and(|value| value.eq_ignore_ascii_case(&self.value))
    }
}

/// The text in quotes after `before`; a quote within is doubled.
fn quoted(text: &str, before: &str) -> Option<String> {
    let rest = text.get(text.find(before)? + before.len()..)?;
    let rest = rest.trim_start().strip_prefix('\'')?;
    let mut value = String::new();
    let mut chars = rest.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\'' {
            value.push(c);
        } else if chars.peek() == Some(&'\'') {
            chars.next();
            value.push('\'');
        } else {
            return Some(value);
        }
    }
    None
}

/// # Errors
/// Anything but a comparison of an extended property.
pub(super) fn read_filter(text: &str) -> Result<Filter, GraphError> {
    let wrong = || {
        GraphError::new(
            400,
            "ErrorInvalidUrlQueryFilter",
            "The query filter contains one or more invalid nodes.",
        )
    };
    if !text
        .to_ascii_lowercase()
        .starts_with("singlevalueextendedproperties/any(")
    {
        return Err(wrong());
    }
    Ok(Filter {
        id: quoted(text, "ep/id eq").ok_or_else(wrong)?,
        value: quoted(text, "ep/value eq").ok_or_else(wrong)?,
    })
}

/// Adds the extended properties that `$expand` asks for.
///
/// # Errors
/// Any other expansion.
pub(super) fn expand(
    value: &mut Value,
    shown: &Shown<'_>,
    query: &Query,
) -> Result<(), GraphError> {
    let Some(text) = query.get("$expand") else {
        return Ok(());
    };
    if !text
        .to_ascii_lowercase()
        .starts_with("singlevalueextendedproperties")
    {
        return Err(GraphError::new(
            400,
            "ErrorInvalidUrlQuery",
            "The expansion is not supported.",
        ));
    }
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("id eq") {
        rest = rest.get(at..).unwrap_or_default();
        let Some(id) = quoted(rest, "id eq") else {
            break;
        };
        if let Some(held) = property(&shown.content, &id) {
            found.push(json!({ "id": id, "value": held }));
        }
        rest = rest.get("id eq".len()..).unwrap_or_default();
    }
    if !found.is_empty() {
        value["singleValueExtendedProperties"] = json!(found);
    }
    Ok(())
}
