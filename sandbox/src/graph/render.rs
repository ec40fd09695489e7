//! Events as Graph writes them (Graph v1.0, resource `event`).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::{Map, Value, json};

use super::ids::EventId;
use super::query::Prefer;
use super::recurrence;
use crate::exchange::goid::global_object_id;
use crate::exchange::ids::change_key;
use crate::exchange::item::Item;
use crate::exchange::{Answer, Appointment, Attendee, FreeBusy, Person, Sensitivity, SeriesRule};

/// Which part of an item is shown.
#[derive(Debug, Clone)]
pub(super) struct Shown<'a> {
    pub(super) item: &'a Item,
    pub(super) content: Appointment,
    /// Of a member of a series: where the rule put it.
    pub(super) slot: Option<DateTime>,
    /// The member was changed.
    pub(super) exception: bool,
    /// The change number by which it is known.
    pub(super) change: u64,
}

impl<'a> Shown<'a> {
    /// A single event, or the master of a series.
    pub(super) fn whole(item: &'a Item) -> Self {
        Self {
            item,
            content: item.appointment.clone(),
            slot: None,
            exception: false,
            change: item.change,
        }
    }

    /// One member of a series, if there is such a one.
    pub(super) fn member(item: &'a Item, slot: DateTime) -> Option<Self> {
        let instance = item.instance(slot)?;
        Some(Self {
            item,
            content: instance.appointment,
            slot: Some(slot),
            exception: instance.exception.is_some(),
            change: instance
                .exception
                .map_or(item.change, |one| one.change.max(item.change)),
        })
    }

    /// All members that touch a range.
    pub(super) fn members(item: &'a Item, from: Timestamp, to: Timestamp) -> Vec<Self> {
        let slots = item.instances(from, to).into_iter().map(|one| one.slot);
        slots.filter_map(|slot| Self::member(item, slot)).collect()
    }

    fn kind(&self) -> &'static str {
        match (self.slot, self.exception, &self.item.series) {
            (None, _, None) => "singleInstance",
            (None, _, Some(_)) => "seriesMaster",
            (Some(_), false, _) => "occurrence",
            (Some(_), true, _) => "exception",
        }
    }

    pub(super) fn id(&self, immutable: bool) -> EventId {
        id_of(self.item, self.slot, immutable)
    }

    pub(super) fn etag(&self) -> String {
        format!("W/\"{}\"", change_key(self.change))
    }

    /// What a list of changes tells of an unchanged occurrence.
    pub(super) fn bare(&self, prefer: &Prefer) -> Value {
        json!({
            "@odata.etag": self.etag(),
            "id": self.id(prefer.immutable).text(),
            "type": self.kind(),
            "seriesMasterId": id_of(self.item, None, prefer.immutable).text(),
            "start": self.time(self.content.start, prefer),
            "end": self.time(self.content.end, prefer),
        })
    }

    /// All properties.
    pub(super) fn full(&self, owner: &Person, prefer: &Prefer) -> Value {
        let content = &self.content;
        let member = self.slot.is_some();
        let mut value = json!({
            "@odata.etag": self.etag(),
            "id": self.id(prefer.immutable).text(),
            "changeKey": change_key(self.change),
            "createdDateTime": self.item.created.to_string(),
            "lastModifiedDateTime": self.item.modified.to_string(),
            "categories": content.categories,
            "transactionId": null,
            "originalStartTimeZone": zone_name(content.start_zone.id()),
            "originalEndTimeZone": zone_name(content.end_zone.id()),
            "iCalUId": self.uid(),
            "reminderMinutesBeforeStart": content.reminder.unwrap_or(15),
            "isReminderOn": content.reminder.is_some(),
            "hasAttachments": false,
            "subject": content.subject,
            "bodyPreview": content.body.chars().take(255).collect::<String>(),
            "importance": "normal",
            "sensitivity": sensitivity(content.sensitivity),
            "isAllDay": content.all_day,
            "isCancelled": content.cancelled,
            "isOrganizer": is_organizer(content, owner),
            "responseRequested": true,
            "seriesMasterId": null,
            "showAs": show_as(content.free_busy),
            "type": self.kind(),
            "webLink": format!("https://outlook.office365.example/owa/?itemid={}", self.item.number),
            "onlineMeetingUrl": null,
            "isOnlineMeeting": content.online_meeting,
            "onlineMeetingProvider": if content.online_meeting { "teamsForBusiness" } else { "unknown" },
            "allowNewTimeProposals": true,
            "isDraft": false,
            "hideAttendees": false,
        });
        let further = json!({
            "recurrence": null,
            "onlineMeeting": null,
            "responseStatus": { "response": response(content, owner), "time": "0001-01-01T00:00:00Z" },
            "body": body(content, prefer),
            "start": self.time(content.start, prefer),
            "end": self.time(content.end, prefer),
            "location": location(&content.location),
            "locations": locations(&content.location),
            "attendees": attendees(content),
            "organizer": { "emailAddress": address(content.organizer.as_ref().unwrap_or(owner)) },
        });
        if let (Value::Object(all), Value::Object(further)) = (&mut value, further) {
            all.extend(further);
        }
        if member {
            value["seriesMasterId"] = json!(id_of(self.item, None, prefer.immutable).text());
        } else if let Some(series) = &self.item.series
            && let SeriesRule::Ews(rule) = &series.rule
        {
            value["recurrence"] = recurrence::render(rule, &zone_name(content.start_zone.id()));
        }
        if content.online_meeting {
            value["onlineMeeting"] = json!({
                "joinUrl": format!("https://teams.example/l/meetup-join/{}", self.item.number),
            });
        }
        if self.exception
            && let Some(slot) = self.slot
        {
            value["originalStart"] = json!(self.item.slot_instant(slot).to_string());
        }
        value
    }

    /// Of a member, the UID with the day of its original start in it.
    fn uid(&self) -> String {
        match self.slot {
            Some(slot) => instance_uid(&self.item.uid, slot.date()),
            None => self.item.uid.clone(),
        }
    }

    fn time(&self, at: Timestamp, prefer: &Prefer) -> Value {
        let wall = if self.content.all_day {
            // A day is a date: midnight, whatever the zone.
            let day = self.content.start_zone.rules().to_datetime(at).date();
            day.at(0, 0, 0, 0)
        } else {
            prefer.zone.rules().to_datetime(at)
        };
        json!({
            "dateTime": format!("{}.{:07}", wall.strftime("%Y-%m-%dT%H:%M:%S"), wall.subsec_nanosecond() / 100),
            "timeZone": prefer.zone_name,
        })
    }
}

pub(super) fn id_of(item: &Item, slot: Option<DateTime>, immutable: bool) -> EventId {
    EventId {
        number: if immutable { item.origin } else { item.number },
        immutable,
        slot,
    }
}

fn instance_uid(uid: &str, day: Date) -> String {
    global_object_id(uid, Some(day))
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect()
}

/// What is not a Windows zone is told as a custom one.
fn zone_name(id: &str) -> String {
    if crate::exchange::Zone::find(id).is_some() {
        id.to_owned()
    } else {
        "tzone://Microsoft/Custom".to_owned()
    }
}

pub(super) fn is_organizer(content: &Appointment, owner: &Person) -> bool {
    content
        .organizer
        .as_ref()
        .is_none_or(|organizer| organizer.address.eq_ignore_ascii_case(&owner.address))
}

pub(super) fn show_as(status: FreeBusy) -> &'static str {
    match status {
        FreeBusy::Free => "free",
        FreeBusy::Tentative => "tentative",
        FreeBusy::Busy => "busy",
        FreeBusy::OutOfOffice => "oof",
        FreeBusy::WorkingElsewhere => "workingElsewhere",
        FreeBusy::NoData => "unknown",
    }
}

pub(super) fn sensitivity(sensitivity: Sensitivity) -> &'static str {
    match sensitivity {
        Sensitivity::Normal => "normal",
        Sensitivity::Personal => "personal",
        Sensitivity::Private => "private",
        Sensitivity::Confidential => "confidential",
    }
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Unknown => "none",
        Answer::Organizer => "organizer",
        Answer::Tentative => "tentativelyAccepted",
        Answer::Accept => "accepted",
        Answer::Decline => "declined",
        Answer::NoResponseReceived => "notResponded",
    }
}

fn response(content: &Appointment, owner: &Person) -> &'static str {
    if is_organizer(content, owner) {
        "organizer"
    } else {
        answer(content.my_answer)
    }
}

fn body(content: &Appointment, prefer: &Prefer) -> Value {
    if prefer.text_bodies {
        return json!({ "contentType": "text", "content": content.body });
    }
    let escaped = content
        .body
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\n', "<br>\n");
    json!({ "contentType": "html", "content": format!("<html><head></head><body>{escaped}</body></html>") })
}

fn location(name: &str) -> Value {
    json!({ "displayName": name, "locationType": "default", "uniqueId": name, "uniqueIdType": "private" })
}

fn locations(name: &str) -> Value {
    if name.is_empty() {
        json!([])
    } else {
        json!([location(name)])
    }
}

fn address(person: &Person) -> Value {
    json!({ "name": person.name, "address": person.address })
}

fn attendees(content: &Appointment) -> Value {
    let list = |kind: &'static str, people: &[Attendee]| -> Vec<Value> {
        people
            .iter()
            .map(|one| {
                json!({
                    "type": kind,
                    "status": { "response": answer(one.answer), "time": "0001-01-01T00:00:00Z" },
                    "emailAddress": address(&one.person),
                })
            })
            .collect()
    };
    [
        list("required", &content.required),
        list("optional", &content.optional),
        list("resource", &content.resources),
    ]
    .concat()
    .into()
}

/// The names that `$select` knows.
pub(super) const PROPERTIES: &[&str] = &[
    "id",
    "changeKey",
    "createdDateTime",
    "lastModifiedDateTime",
    "categories",
    "transactionId",
    "originalStartTimeZone",
    "originalEndTimeZone",
    "iCalUId",
    "reminderMinutesBeforeStart",
    "isReminderOn",
    "hasAttachments",
    "subject",
    "bodyPreview",
    "importance",
    "sensitivity",
    "isAllDay",
    "isCancelled",
    "isOrganizer",
    "responseRequested",
    "seriesMasterId",
    "showAs",
    "type",
    "webLink",
    "onlineMeetingUrl",
    "isOnlineMeeting",
    "onlineMeetingProvider",
    "allowNewTimeProposals",
    "isDraft",
    "hideAttendees",
    "recurrence",
    "onlineMeeting",
    "responseStatus",
    "body",
    "start",
    "end",
    "location",
    "locations",
    "attendees",
    "organizer",
    "originalStart",
];

/// Only the selected properties; id and version always stay.
pub(super) fn selected(value: Value, names: Option<&[String]>) -> Value {
    let (Value::Object(all), Some(names)) = (value.clone(), names) else {
        return value;
    };
    let kept: Map<String, Value> = all
        .into_iter()
        .filter(|(name, _)| name == "id" || name == "@odata.etag" || names.contains(name))
        .collect();
    kept.into()
}
