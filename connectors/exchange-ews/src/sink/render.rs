//! Records as EWS writes them: whole new items, and one entry per changed property of known ones.
//!
//! Exchange applies what it is sent property by property; a property that did not change is not sent. Writing the zones
//! of unchanged times moves appointments, so they come with changed times only. The order of elements is that of
//! Microsoft's schema (types.xsd, `ItemType` and `CalendarItemType`).

use std::fmt::Write as _;

use calbridge_core::connector::AttemptToken;
use calbridge_core::model::zone::by_name;
use calbridge_core::model::{Content, EventTime, Field, FieldSet, ShowAs};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::mark::{self, Mark};
use super::text;
use super::zone::{UTC, windows_id};
use crate::soap::escape;

/// Why a record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) code: &'static str,
    pub(crate) why: &'static str,
}

/// How records are written.
#[derive(Debug, Clone)]
pub(crate) struct Render {
    /// The zone in which whole days are days.
    pub(crate) home: TimeZone,
    /// How many minutes before the start Outlook reminds; not at all where absent.
    pub(crate) reminder: Option<u32>,
}

/// Start and end as they go over the wire.
struct Wire {
    start: Timestamp,
    end: Timestamp,
    all_day: bool,
    zone: &'static str,
}

impl Render {
    fn times(&self, time: &EventTime) -> Result<Wire, Unfit> {
        match time {
            EventTime::Timed { start, end, zone } => {
                let own = zone.as_deref().and_then(by_name);
                let zone = own.as_ref().unwrap_or(&self.home);
                Ok(Wire {
                    start: to_second(*start),
                    end: to_second(*end),
                    all_day: false,
                    zone: windows_id(zone, *start)
                        .or_else(|| windows_id(&self.home, *start))
                        .unwrap_or(UTC),
                })
            }
            EventTime::AllDay { .. } => {
                let (start, end) = time.span_in(&self.home);
                let zone = windows_id(&self.home, start).ok_or(Unfit {
                    code: "ews.write.zone",
                    why: "a whole day needs a zone that Exchange knows: no Windows time zone has the clocks of `home_zone`",
                })?;
                Ok(Wire {
                    start,
                    end,
                    all_day: true,
                    zone,
                })
            }
            _ => Err(Unfit {
                code: "ews.write.time",
                why: "this version cannot write such a time into Exchange",
            }),
        }
    }

    /// The instants of an occurrence's whole days, in the zone of its series.
    fn times_in(&self, time: &EventTime, series: Option<&TimeZone>) -> Result<Wire, Unfit> {
        let mut wire = self.times(time)?;
        if let (EventTime::AllDay { .. }, Some(series)) = (time, series) {
            (wire.start, wire.end) = time.span_in(series);
        }
        Ok(wire)
    }

    /// A new item (EWS CreateItem, `t:CalendarItem`).
    ///
    /// # Errors
    /// A time that Exchange cannot hold.
    pub(crate) fn new_item(
        &self,
        mark: &Mark,
        token: &AttemptToken,
        target: &Content,
    ) -> Result<String, Unfit> {
        let wire = self.times(&target.time)?;
        let mut xml = String::from("<t:CalendarItem>");
        if let Some(subject) = target.subject.as_deref().map(text::line) {
            let _ = write!(xml, "<t:Subject>{}</t:Subject>", escape(&subject));
        }
        let _ = write!(
            xml,
            "<t:Sensitivity>{}</t:Sensitivity>",
            sensitivity(target.private.unwrap_or(false))
        );
        if let Some(body) = target.body.as_deref().map(text::body) {
            xml.push_str(&body_element(&body));
        }
        let categories = text::categories(target.categories.as_deref().unwrap_or_default());
        if !categories.is_empty() {
            xml.push_str(&categories_element(&categories));
        }
        let _ = write!(
            xml,
            "<t:ReminderIsSet>{}</t:ReminderIsSet>",
            self.reminder.is_some()
        );
        if let Some(minutes) = self.reminder {
            let _ = write!(
                xml,
                "<t:ReminderMinutesBeforeStart>{minutes}</t:ReminderMinutesBeforeStart>"
            );
        }
        xml.push_str(&mark::properties(mark, token));
        let _ = write!(
            xml,
            "<t:UID>{}</t:UID><t:Start>{}</t:Start><t:End>{}</t:End><t:IsAllDayEvent>{}</t:IsAllDayEvent><t:LegacyFreeBusyStatus>{}</t:LegacyFreeBusyStatus>",
            escape(&mark.uid()),
            wire.start,
            wire.end,
            wire.all_day,
            free_busy(target.show_as.unwrap_or_default())
        );
        if let Some(location) = target.location.as_deref().map(text::line) {
            let _ = write!(xml, "<t:Location>{}</t:Location>", escape(&location));
        }
        let _ = write!(
            xml,
            r#"<t:StartTimeZone Id="{0}"/><t:EndTimeZone Id="{0}"/></t:CalendarItem>"#,
            wire.zone
        );
        Ok(xml)
    }

    /// The entries that bring an item from `current` to `target` (EWS UpdateItem, `t:Updates`). Where nothing is known
    /// of a field, it is written. `series`: it is an occurrence, whose zone is that of its series.
    ///
    /// # Errors
    /// A time that Exchange cannot hold.
    pub(crate) fn updates(
        &self,
        current: Option<&Content>,
        target: &Content,
        series: Option<Option<&TimeZone>>,
    ) -> Result<String, Unfit> {
        let mut xml = String::new();
        for field in self.differing(current, target) {
            match field {
                Field::Time => xml.push_str(&self.time_updates(current, target, series)?),
                Field::ShowAs => {
                    let status = free_busy(target.show_as.unwrap_or_default());
                    let name = "LegacyFreeBusyStatus";
                    xml.push_str(&set_simple("calendar", name, status));
                }
                Field::Private => {
                    let value = sensitivity(target.private.unwrap_or(false));
                    xml.push_str(&set_simple("item", "Sensitivity", value));
                }
                Field::Subject => {
                    let value = text::line(target.subject.as_deref().unwrap_or_default());
                    xml.push_str(&set_text("item", "Subject", &value));
                }
                Field::Location => {
                    let value = text::line(target.location.as_deref().unwrap_or_default());
                    xml.push_str(&set_text("calendar", "Location", &value));
                }
                Field::Body => {
                    let value = text::body(target.body.as_deref().unwrap_or_default());
                    if value.is_empty() {
                        xml.push_str(&delete("item:Body"));
                    } else {
                        xml.push_str(&set("item:Body", &body_element(&value)));
                    }
                }
                Field::Categories => {
                    let names = text::categories(target.categories.as_deref().unwrap_or_default());
                    if names.is_empty() {
                        xml.push_str(&delete("item:Categories"));
                    } else {
                        xml.push_str(&set("item:Categories", &categories_element(&names)));
                    }
                }
                _ => {}
            }
        }
        Ok(xml)
    }

    /// Start and end together: one alone may lie on the wrong side of the other.
    fn time_updates(
        &self,
        current: Option<&Content>,
        target: &Content,
        series: Option<Option<&TimeZone>>,
    ) -> Result<String, Unfit> {
        let wire = self.times_in(&target.time, series.flatten())?;
        let was_all_day = current.map(|held| matches!(held.time, EventTime::AllDay { .. }));
        let mut xml = String::new();
        // A day begins in the zone that the item names, so that one is named with it.
        if series.is_none() && (wire.all_day || was_all_day != Some(false)) {
            for name in ["StartTimeZone", "EndTimeZone"] {
                let zone = format!(r#"<t:{name} Id="{}"/>"#, wire.zone);
                xml.push_str(&set(&format!("calendar:{name}"), &zone));
            }
        }
        if was_all_day != Some(wire.all_day) {
            let value = wire.all_day.to_string();
            xml.push_str(&set_simple("calendar", "IsAllDayEvent", &value));
        }
        xml.push_str(&set_simple("calendar", "Start", &wire.start.to_string()));
        xml.push_str(&set_simple("calendar", "End", &wire.end.to_string()));
        Ok(xml)
    }

    /// The fields of `target` in which an item differs from it, as Exchange would keep it.
    pub(crate) fn differing(&self, current: Option<&Content>, target: &Content) -> Vec<Field> {
        let wanted = target.fields();
        let Some(held) = current else {
            return wanted.iter().collect();
        };
        let line = |text: &Option<String>| text::line(text.as_deref().unwrap_or_default());
        wanted
            .iter()
            .filter(|field| match field {
                Field::Time => !same_time(&held.time, &target.time),
                Field::ShowAs => held.show_as.map(free_busy) != target.show_as.map(free_busy),
                Field::Private => held.private != target.private,
                Field::Subject => {
                    held.subject.is_none() || line(&held.subject) != line(&target.subject)
                }
                Field::Location => {
                    held.location.is_none() || line(&held.location) != line(&target.location)
                }
                Field::Body => {
                    let wanted = target.body.as_deref().unwrap_or_default();
                    !held
                        .body
                        .as_deref()
                        .is_some_and(|held| text::same_body(held, wanted))
                }
                Field::Categories => {
                    let wanted = target.categories.as_deref().unwrap_or_default();
                    let held = held.categories.as_deref();
                    !held.is_some_and(|held| text::same_categories(held, wanted))
                }
                _ => false,
            })
            .collect()
    }
}

/// The fields of several contents.
pub(crate) fn all_fields<'a>(contents: impl Iterator<Item = &'a Content>) -> FieldSet {
    contents.fold(FieldSet::times(), |all, one| all.union(&one.fields()))
}

/// EWS takes fractions of a second, and the store does not keep them.
fn to_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn same_time(one: &EventTime, other: &EventTime) -> bool {
    match (one, other) {
        (
            EventTime::Timed { start, end, .. },
            EventTime::Timed {
                start: other_start,
                end: other_end,
                ..
            },
        ) => {
            (to_second(*start), to_second(*end)) == (to_second(*other_start), to_second(*other_end))
        }
        (one, other) => one == other,
    }
}

fn sensitivity(private: bool) -> &'static str {
    if private { "Private" } else { "Normal" }
}

/// EWS `LegacyFreeBusyType`. What is not known to be anything else keeps the time from being given away.
fn free_busy(show_as: ShowAs) -> &'static str {
    match show_as {
        ShowAs::Free => "Free",
        ShowAs::Tentative => "Tentative",
        ShowAs::Away => "OOF",
        ShowAs::Elsewhere => "WorkingElsewhere",
        _ => "Busy",
    }
}

fn body_element(text: &str) -> String {
    format!(r#"<t:Body BodyType="Text">{}</t:Body>"#, escape(text))
}

fn categories_element(names: &[String]) -> String {
    let mut xml = String::from("<t:Categories>");
    for name in names {
        let _ = write!(xml, "<t:String>{}</t:String>", escape(name));
    }
    xml + "</t:Categories>"
}

fn set(uri: &str, element: &str) -> String {
    format!(
        r#"<t:SetItemField><t:FieldURI FieldURI="{uri}"/><t:CalendarItem>{element}</t:CalendarItem></t:SetItemField>"#
    )
}

fn set_simple(space: &str, name: &str, value: &str) -> String {
    set(
        &format!("{space}:{name}"),
        &format!("<t:{name}>{}</t:{name}>", escape(value)),
    )
}

/// An empty text is no text.
fn set_text(space: &str, name: &str, value: &str) -> String {
    if value.is_empty() {
        delete(&format!("{space}:{name}"))
    } else {
        set_simple(space, name, value)
    }
}

fn delete(uri: &str) -> String {
    format!(r#"<t:DeleteItemField><t:FieldURI FieldURI="{uri}"/></t:DeleteItemField>"#)
}

/// One of our own properties, set.
pub(crate) fn set_property(name: &str, value: &str) -> String {
    format!(
        "<t:SetItemField>{}<t:CalendarItem>{}</t:CalendarItem></t:SetItemField>",
        mark::path(name),
        mark::property(name, value)
    )
}
