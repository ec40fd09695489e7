//! What a TZID means.

use std::collections::HashMap;
use std::str::FromStr as _;

use calcard::common::PartialDateTime;
use calcard::common::timezone::Tz;
use calcard::icalendar::{
    ICalendarComponent, ICalendarComponentType, ICalendarProperty, ICalendarRecurrenceRule,
    ICalendarValue, ICalendarWeekday,
};
use jiff::tz::TimeZone;

use crate::exchange::Zone;

/// The zones of a file.
pub(super) struct Zones {
    /// Of floating times and days.
    pub(super) home: Zone,
    defined: HashMap<String, TimeZone>,
}

impl Zones {
    pub(super) fn new<'a>(
        home: Zone,
        components: impl Iterator<Item = &'a ICalendarComponent>,
    ) -> Self {
        let mut defined = HashMap::new();
        // The parser keeps a zone's observances as components that follow their zone.
        let mut open: Option<(String, Observances)> = None;
        for component in components {
            match component.component_type {
                ICalendarComponentType::VTimezone => {
                    finish(&mut defined, open.take());
                    let id = component
                        .property(&ICalendarProperty::Tzid)
                        .and_then(|entry| entry.values.first())
                        .and_then(|value| value.as_text());
                    open = id.map(|id| (id.to_owned(), Observances::default()));
                }
                ICalendarComponentType::Standard => {
                    if let Some((_, observances)) = &mut open {
                        observances.add_standard(component);
                    }
                }
                ICalendarComponentType::Daylight => {
                    if let Some((_, observances)) = &mut open {
                        observances.add_daylight(component);
                    }
                }
                _ => {}
            }
        }
        finish(&mut defined, open);
        Zones { home, defined }
    }

    /// A Windows id, an IANA name (under its Windows id), the file's own definition, or a display name that calcard
    /// knows.
    pub(super) fn find(&self, tzid: &str) -> Option<Zone> {
        let name = tzid.trim().trim_matches('"').trim();
        if let Some(zone) = Zone::find(name) {
            return if name.contains('/') {
                Zone::windows_for_iana(name)
            } else {
                Some(zone)
            };
        }
        // "/vendor/2005_1/Europe/Berlin" and the like.
        let parts: Vec<&str> = name.split('/').collect();
        for length in [3, 2] {
            if let Some(tail) = parts
                .len()
                .checked_sub(length)
                .and_then(|from| parts.get(from..))
                && parts.len() > length
                && let Some(zone) = Zone::windows_for_iana(&tail.join("/"))
            {
                return Some(zone);
            }
        }
        if let Some(rules) = self.defined.get(name) {
            return Some(Zone::custom(name, rules.clone()));
        }
        if name.eq_ignore_ascii_case("tzone://Microsoft/Utc") {
            return Some(Zone::utc().with_id(name));
        }
        let known = Tz::from_str(name)
            .ok()
            .and_then(|zone| zone.name().map(|name| name.into_owned()));
        known
            .filter(|iana| !iana.starts_with("Etc/GMT"))
            .and_then(|iana| Zone::windows_for_iana(&iana))
            .map(|zone| zone.with_id(name))
    }
}

/// The newest rule of each half of the year.
#[derive(Default)]
struct Observances {
    standard: Option<Observance>,
    daylight: Option<Observance>,
}

struct Observance {
    begins: i32,
    /// Seconds east of UTC.
    offset: i32,
    /// `,Mm.w.d/time` of a POSIX rule; `None` without a yearly rule.
    change: Option<String>,
}

impl Observances {
    fn add_standard(&mut self, component: &ICalendarComponent) {
        newest(&mut self.standard, component);
    }

    fn add_daylight(&mut self, component: &ICalendarComponent) {
        newest(&mut self.daylight, component);
    }

    fn rules(&self) -> Option<TimeZone> {
        let standard = self.standard.as_ref().or(self.daylight.as_ref())?;
        let fixed = || TimeZone::posix(&format!("<STD>{}", posix_offset(standard.offset))).ok();
        match (&standard.change, &self.daylight) {
            (Some(to_standard), Some(daylight)) => match &daylight.change {
                Some(to_daylight) => TimeZone::posix(&format!(
                    "<STD>{}<DST>{}{to_daylight}{to_standard}",
                    posix_offset(standard.offset),
                    posix_offset(daylight.offset)
                ))
                .ok(),
                None => fixed(),
            },
            _ => fixed(),
        }
    }
}

fn finish(defined: &mut HashMap<String, TimeZone>, open: Option<(String, Observances)>) {
    if let Some((id, observances)) = open
        && let Some(rules) = observances.rules()
    {
        defined.insert(id.trim().trim_matches('"').trim().to_owned(), rules);
    }
}

fn newest(slot: &mut Option<Observance>, component: &ICalendarComponent) {
    let Some(observance) = observance(component) else {
        return;
    };
    if slot
        .as_ref()
        .is_none_or(|held| held.begins <= observance.begins)
    {
        *slot = Some(observance);
    }
}

fn observance(component: &ICalendarComponent) -> Option<Observance> {
    let time = |name: &ICalendarProperty| {
        component
            .property(name)?
            .values
            .first()?
            .as_partial_date_time()
    };
    let to = time(&ICalendarProperty::Tzoffsetto)?;
    let start = time(&ICalendarProperty::Dtstart)?;
    let rule = component
        .property(&ICalendarProperty::Rrule)
        .and_then(|entry| match entry.values.first() {
            Some(ICalendarValue::RecurrenceRule(rule)) => Some(rule),
            _ => None,
        });
    let change = rule
        .filter(|rule| rule.until.is_none())
        .and_then(|rule| posix_change(rule, start));
    Some(Observance {
        begins: i32::from(start.year.unwrap_or(0)),
        offset: seconds_east(to)?,
        change,
    })
}

fn seconds_east(offset: &PartialDateTime) -> Option<i32> {
    let seconds = i32::from(offset.tz_hour?) * 3600 + i32::from(offset.tz_minute.unwrap_or(0)) * 60;
    Some(if offset.tz_minus { -seconds } else { seconds })
}

/// POSIX counts west of Greenwich.
fn posix_offset(seconds_east: i32) -> String {
    let sign = if seconds_east > 0 { "-" } else { "" };
    format!(
        "{sign}{}:{:02}",
        seconds_east.abs() / 3600,
        seconds_east.abs() % 3600 / 60
    )
}

/// `,Mm.w.d/h:m`: both iCalendar and POSIX say the time of a change on the clock before it.
fn posix_change(rule: &ICalendarRecurrenceRule, start: &PartialDateTime) -> Option<String> {
    let month = rule
        .bymonth
        .first()
        .map(|month| month.month())
        .or(start.month)?;
    let day = rule.byday.first()?;
    let week = match day.ordwk {
        Some(-1) => 5,
        Some(week @ 1..=4) => week,
        // BYDAY=SU;BYMONTHDAY=8,9,…: the week in which those days lie.
        None => i16::from((rule.bymonthday.first()? - 1) / 7 + 1),
        Some(_) => return None,
    };
    let weekday = match day.weekday {
        ICalendarWeekday::Sunday => 0,
        ICalendarWeekday::Monday => 1,
        ICalendarWeekday::Tuesday => 2,
        ICalendarWeekday::Wednesday => 3,
        ICalendarWeekday::Thursday => 4,
        ICalendarWeekday::Friday => 5,
        ICalendarWeekday::Saturday => 6,
    };
    Some(format!(
        ",M{month}.{week}.{weekday}/{}:{:02}",
        start.hour.unwrap_or(0),
        start.minute.unwrap_or(0)
    ))
}
