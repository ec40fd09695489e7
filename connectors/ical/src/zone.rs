//! What a `TZID` means.

use std::collections::HashMap;
use std::str::FromStr;

use calbridge_core::model::zone::by_name;
use calcard::common::timezone::Tz;
use calcard::icalendar::{
    ICalendarComponent, ICalendarComponentType, ICalendarProperty, ICalendarValue,
};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use crate::components::{Component, outermost};
use crate::recurrence;
use crate::value::{Wrong, civil};

/// What a zone is called that a file defines and the world does not know.
const DEFINED: &str = "VTIMEZONE";

/// The years between which a zone's definition is followed. Before and after, its offsets stand still.
const YEARS: std::ops::RangeInclusive<i16> = 1900..=2100;

/// The most changes of the clocks that one rule of a definition may give: twelve a year, all these years. Each is
/// worked out whenever the file is read.
const MAX_CHANGES: usize = 2_400;

/// The zones of one file.
#[derive(Debug)]
pub(crate) struct Zones {
    /// Of times without a zone, and of days.
    pub(crate) home: TimeZone,
    defined: HashMap<String, TimeZone>,
}

impl Zones {
    /// Reads the definitions among the components of a file. A broken definition is left out: the events
    /// that need it are told as unreadable, one by one.
    pub(crate) fn new(home: TimeZone, components: &[Component]) -> Self {
        let defined = components
            .iter()
            .filter(|component| component.name == "VTIMEZONE")
            .filter_map(|component| definition(component).ok().flatten())
            .collect();
        Self { home, defined }
    }

    /// The zone that `tzid` means: an IANA name or a Windows name, else what the file defines, else a display
    /// name or vendor's spelling that calcard knows.
    ///
    /// Names come first because the world's rules outlive the ones that were copied into a file years ago
    /// (CalConnect CC/R 0602 gives the same advice).
    pub(crate) fn find(&self, tzid: &str) -> Result<TimeZone, Wrong> {
        let name = tzid.trim().trim_matches('"').trim();
        if let Some(zone) = by_name(name).or_else(|| self.defined.get(name).cloned()) {
            return Ok(zone);
        }
        if name.eq_ignore_ascii_case("tzone://Microsoft/Utc") {
            return Ok(TimeZone::UTC);
        }
        let known = Tz::from_str(name).ok().and_then(|tz| tz.name());
        known
            // Made from the offset in a display name alone: an hour wrong in summer where clocks change.
            .filter(|iana| !iana.starts_with("Etc/GMT"))
            .and_then(|iana| by_name(&iana))
            .ok_or(Wrong::Zone)
    }
}

/// The IANA name, where the zone has one.
pub(crate) fn iana_name(zone: &TimeZone) -> Option<String> {
    zone.iana_name()
        .filter(|name| *name != DEFINED)
        .map(str::to_owned)
}

/// The id and the rules that a `VTIMEZONE` gives.
fn definition(component: &Component) -> Result<Option<(String, TimeZone)>, Wrong> {
    let Some(parsed) = component.parse() else {
        return Ok(None);
    };
    let text = |property: &ICalendarProperty| {
        let entry = outermost(&parsed)?.property(property)?;
        Some(entry.values.first()?.as_text()?.trim().to_owned())
    };
    let Some(id) = text(&ICalendarProperty::Tzid) else {
        return Ok(None);
    };
    let location = text(&ICalendarProperty::Other("X-LIC-LOCATION".to_owned()));
    if let Some(zone) = location.as_deref().and_then(by_name) {
        return Ok(Some((id, zone)));
    }
    let mut changes = Vec::new();
    for observance in &parsed.components {
        let daylight = observance.component_type == ICalendarComponentType::Daylight;
        if daylight || observance.component_type == ICalendarComponentType::Standard {
            changes.extend(changes_of(observance, daylight)?);
        }
    }
    changes.sort_by_key(|change| change.at);
    let zone = TimeZone::tzif(DEFINED, &tzif(&changes)?).map_err(|_| Wrong::Zone)?;
    Ok(Some((id, zone)))
}

/// One change of the clocks.
#[derive(Debug, Clone, Copy)]
struct ClockChange {
    at: Timestamp,
    from: Offset,
    to: Offset,
    daylight: bool,
}

/// The changes that one `STANDARD` or `DAYLIGHT` describes.
fn changes_of(observance: &ICalendarComponent, daylight: bool) -> Result<Vec<ClockChange>, Wrong> {
    let from = offset(observance, &ICalendarProperty::Tzoffsetfrom)?;
    let to = offset(observance, &ICalendarProperty::Tzoffsetto)?;
    let first = observance
        .property(&ICalendarProperty::Dtstart)
        .and_then(|entry| entry.values.first()?.as_partial_date_time())
        .ok_or(Wrong::Zone)?;
    let first = civil(first)?;
    let mut onsets: Vec<DateTime> = vec![first];
    for rule in observance.properties(&ICalendarProperty::Rrule) {
        let Some(ICalendarValue::RecurrenceRule(rule)) = rule.values.first() else {
            return Err(Wrong::Zone);
        };
        let mut text = rule.clone();
        // Its UNTIL is in UTC; the onsets are on the wall of the time before.
        let until = match text.until.take() {
            Some(until) => {
                let wall = civil(&until)?;
                let utc = until.tz_hour.is_some();
                Some(if utc {
                    from.to_datetime(Offset::UTC.to_timestamp(wall).map_err(|_| Wrong::Zone)?)
                } else {
                    wall
                })
            }
            None => None,
        };
        let last = DateTime::new(*YEARS.end(), 12, 31, 0, 0, 0, 0).map_err(|_| Wrong::Zone)?;
        onsets.extend(recurrence::expand(
            &text.to_string(),
            first,
            until,
            first,
            last,
            MAX_CHANGES,
        )?);
    }
    for date in observance.properties(&ICalendarProperty::Rdate) {
        for value in date
            .values
            .iter()
            .filter_map(ICalendarValue::as_partial_date_time)
        {
            onsets.push(civil(value)?);
        }
    }
    onsets
        .into_iter()
        .map(|wall| {
            let at = from.to_timestamp(wall).map_err(|_| Wrong::Zone)?;
            Ok(ClockChange {
                at,
                from,
                to,
                daylight,
            })
        })
        .collect()
}

fn offset(observance: &ICalendarComponent, property: &ICalendarProperty) -> Result<Offset, Wrong> {
    let value = observance
        .property(property)
        .and_then(|entry| entry.values.first()?.as_partial_date_time())
        .ok_or(Wrong::Zone)?;
    let hours = i32::from(value.tz_hour.ok_or(Wrong::Zone)?);
    let minutes = i32::from(value.tz_minute.unwrap_or(0));
    // RFC 5545 sets no bound; the world's offsets lie between -12 and +14 hours.
    if hours > 14 || minutes > 59 {
        return Err(Wrong::Zone);
    }
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if value.tz_minus { -seconds } else { seconds }).map_err(|_| Wrong::Zone)
}

/// The changes in the form in which jiff takes foreign zones: TZif version 2 (RFC 8536), with an empty block
/// of version 1.
fn tzif(changes: &[ClockChange]) -> Result<Vec<u8>, Wrong> {
    let first_year = DateTime::new(*YEARS.start(), 1, 1, 0, 0, 0, 0).map_err(|_| Wrong::Zone)?;
    let horizon = Offset::UTC
        .to_timestamp(first_year)
        .map_err(|_| Wrong::Zone)?;
    let before = changes
        .iter()
        .take_while(|change| change.at < horizon)
        .last()
        .map(|change| (change.to, change.daylight))
        .or_else(|| changes.first().map(|change| (change.from, false)))
        .ok_or(Wrong::Zone)?;
    let mut types = vec![before];
    let mut times: Vec<(i64, u8)> = Vec::new();
    for change in changes.iter().filter(|change| change.at >= horizon) {
        let kind = (change.to, change.daylight);
        let index = types
            .iter()
            .position(|known| *known == kind)
            .unwrap_or_else(|| {
                types.push(kind);
                types.len() - 1
            });
        let index = u8::try_from(index).map_err(|_| Wrong::Zone)?;
        match times.last_mut() {
            Some((at, last)) if *at == change.at.as_second() => *last = index,
            _ => times.push((change.at.as_second(), index)),
        }
    }
    let count = |n: usize| {
        u32::try_from(n)
            .map(u32::to_be_bytes)
            .map_err(|_| Wrong::Zone)
    };
    let designation = b"LMT\0";
    let header = |times: usize, types: usize, letters: usize| {
        let mut header = b"TZif2".to_vec();
        header.extend([0; 15]);
        // Counts of: UT indicators, standard indicators, leap seconds, transitions, types, letters.
        for n in [0, 0, 0, times, types, letters] {
            header.extend(count(n)?);
        }
        Ok::<_, Wrong>(header)
    };
    let mut bytes = header(0, 1, designation.len())?;
    bytes.extend([0; 6]);
    bytes.extend(designation);
    bytes.extend(header(times.len(), types.len(), designation.len())?);
    bytes.extend(times.iter().flat_map(|(at, _)| at.to_be_bytes()));
    bytes.extend(times.iter().map(|(_, index)| index));
    for (offset, daylight) in &types {
        bytes.extend(offset.seconds().to_be_bytes());
        bytes.extend([u8::from(*daylight), 0]);
    }
    bytes.extend(designation);
    bytes.extend(b"\n\n");
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::components::cut;

    fn zones(definition: &str) -> Zones {
        let file = format!("BEGIN:VCALENDAR\n{definition}\nEND:VCALENDAR\n");
        Zones::new(
            by_name("Europe/Copenhagen").unwrap(),
            &cut(file.as_bytes()).unwrap(),
        )
    }

    fn wall(zone: &TimeZone, at: &str) -> String {
        zone.to_datetime(at.parse().unwrap()).to_string()
    }

    /// As Outlook writes a zone that a user made.
    const CUSTOM: &str = "BEGIN:VTIMEZONE\nTZID:Customized Time Zone\n\
        BEGIN:STANDARD\nDTSTART:16010101T030000\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\n\
        RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10\nEND:STANDARD\n\
        BEGIN:DAYLIGHT\nDTSTART:16010101T020000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n\
        RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3\nEND:DAYLIGHT\nEND:VTIMEZONE";

    #[test]
    fn names_of_all_kinds_are_known() {
        let zones = zones("");
        for (tzid, iana) in [
            ("Europe/Copenhagen", "Europe/Copenhagen"),
            ("\"Romance Standard Time\"", "Europe/Paris"),
            (
                "/freeassociation.sourceforge.net/Tzfile/Europe/Berlin",
                "Europe/Berlin",
            ),
            ("tzone://Microsoft/Utc", "UTC"),
        ] {
            assert_eq!(iana_name(&zones.find(tzid).unwrap()).unwrap(), iana);
        }
        for tzid in ["tzone://Microsoft/Custom", "(UTC+01:00) Nowhere", ""] {
            assert!(zones.find(tzid).is_err(), "{tzid}");
        }
    }

    #[test]
    fn a_definition_is_followed_across_both_changes() {
        let zone = zones(CUSTOM).find("Customized Time Zone").unwrap();
        assert_eq!(iana_name(&zone), None);
        for (at, expected) in [
            ("2026-03-29T00:59:59Z", "2026-03-29T01:59:59"),
            ("2026-03-29T01:00:00Z", "2026-03-29T03:00:00"),
            ("2026-10-25T00:59:59Z", "2026-10-25T02:59:59"),
            ("2026-10-25T01:00:00Z", "2026-10-25T02:00:00"),
        ] {
            assert_eq!(wall(&zone, at), expected);
        }
    }

    #[test]
    fn a_definition_without_changes_has_one_offset() {
        let zone = zones(
            "BEGIN:VTIMEZONE\nTZID: 1\nBEGIN:STANDARD\nDTSTART:19700101T000000\n\
             TZOFFSETFROM:+0530\nTZOFFSETTO:+0530\nEND:STANDARD\nEND:VTIMEZONE",
        )
        .find(" 1")
        .unwrap();
        assert_eq!(wall(&zone, "2026-07-01T00:00:00Z"), "2026-07-01T05:30:00");
    }

    /// A file with many of them would keep the reader busy for minutes.
    #[test]
    fn clocks_that_change_daily_are_no_zone() {
        let daily = CUSTOM.replace("FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3", "FREQ=DAILY");
        assert!(zones(&daily).find("Customized Time Zone").is_err());
    }

    #[test]
    fn a_broken_definition_is_no_zone_and_known_names_do_not_need_theirs() {
        let broken = CUSTOM.replace("TZOFFSETFROM:+0200", "TZOFFSETFROM:+5328");
        assert!(zones(&broken).find("Customized Time Zone").is_err());
        let named = broken.replace("Customized Time Zone", "Europe/Berlin");
        assert!(zones(&named).find("Europe/Berlin").is_ok());
    }
}
