//! Time zones: an id as the wire shows it, and the rules behind it.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday, date};
use jiff::tz::{Dst, TimeZone};
use windows_timezones::WindowsTimezone;

use super::time::duration;
use super::xml::Element;

/// A zone as an item carries it. The id is what the server answers, whatever it is worth; the rules are what the
/// server computes with. Real mailboxes hold Windows ids, but also `tzone://Microsoft/Custom`,
/// `Customized Time Zone`, IANA names, display names and nothing at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    id: String,
    name: String,
    rules: TimeZone,
}

impl Zone {
    /// Coordinated universal time, under its Windows id `UTC`.
    #[must_use]
    pub fn utc() -> Self {
        Zone {
            id: "UTC".to_owned(),
            name: "(UTC) Coordinated Universal Time".to_owned(),
            rules: TimeZone::UTC,
        }
    }

    /// Romance Standard Time, the Windows zone of Denmark, with the rules of Europe/Copenhagen.
    #[must_use]
    pub fn denmark() -> Self {
        Zone::find("Romance Standard Time").unwrap_or_else(Zone::utc)
    }

    /// Any id with any rules: for the odd ids that real mailboxes hold.
    #[must_use]
    pub fn custom(id: impl Into<String>, rules: TimeZone) -> Self {
        let id = id.into();
        Zone {
            name: id.clone(),
            id,
            rules,
        }
    }

    /// Finds a zone by its Windows id or its IANA name; `None` if it is neither.
    #[must_use]
    pub fn find(id: &str) -> Option<Self> {
        if id.eq_ignore_ascii_case("UTC") {
            return Some(Zone::utc());
        }
        if let Ok(windows) = id.parse::<WindowsTimezone>() {
            let name = if windows == WindowsTimezone::RomanceStandardTime {
                "Europe/Copenhagen"
            } else {
                windows.tzdb_id()
            };
            let rules = TimeZone::get(name).ok()?;
            return Some(Zone {
                id: windows.name().to_owned(),
                name: windows.description().to_owned(),
                rules,
            });
        }
        TimeZone::get(id).ok().map(|rules| Zone::custom(id, rules))
    }

    /// The Windows zone with the same rules as an IANA zone in `year`, preferring the zones of the countries calbridge
    /// is used in; the IANA zone itself where there is none.
    #[must_use]
    pub fn windows_for_iana(name: &str) -> Option<Self> {
        let rules = TimeZone::get(name).ok()?;
        let preferred = match name {
            "Europe/Copenhagen" | "Europe/Paris" | "Europe/Madrid" | "Europe/Brussels" => {
                Some("Romance Standard Time")
            }
            "Europe/Berlin" | "Europe/Amsterdam" | "Europe/Vienna" | "Europe/Rome"
            | "Europe/Stockholm" | "Europe/Oslo" | "Europe/Zurich" => {
                Some("W. Europe Standard Time")
            }
            "Europe/Warsaw" => Some("Central European Standard Time"),
            "Europe/Kyiv" | "Europe/Kiev" | "Europe/Helsinki" => Some("FLE Standard Time"),
            "Europe/Dublin" | "Europe/London" | "Europe/Lisbon" => Some("GMT Standard Time"),
            _ => None,
        };
        if let Some(found) = preferred.and_then(Zone::find) {
            return Some(Zone { rules, ..found });
        }
        let exact = WINDOWS_IDS
            .iter()
            .filter_map(|id| Zone::find(id))
            .find(|zone| zone.rules.iana_name() == Some(name));
        Some(exact.unwrap_or_else(|| Zone::custom(name, rules)))
    }

    /// The id as the wire shows it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The display name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules the server computes with.
    #[must_use]
    pub fn rules(&self) -> &TimeZone {
        &self.rules
    }

    /// The same rules under another id.
    #[must_use]
    pub fn with_id(&self, id: impl Into<String>) -> Self {
        Zone::custom(id, self.rules.clone())
    }

    /// The full definition (EWS TimeZoneDefinitionType) with the rules that hold in `year`.
    pub(crate) fn definition(&self, element: &str, year: i16) -> Element {
        let prefix = format!("trule:Microsoft/Registry/{}/1", self.id);
        let standard_id = format!("{prefix}-Standard");
        let daylight_id = format!("{prefix}-Daylight");
        let (changes, standard) = self.yearly_rule(year);
        let period = |id: &str, name: &str, minutes: i64| {
            Element::new("t:Period")
                .attr("Bias", duration(-minutes))
                .attr("Name", name)
                .attr("Id", id)
        };
        let mut periods =
            Element::new("t:Periods").with(period(&standard_id, "Standard", standard));
        let mut group = Element::new("t:TransitionsGroup").attr("Id", "0");
        if changes.is_empty() {
            group = group.with(
                Element::new("t:Transition")
                    .with(Element::text("t:To", &standard_id).attr("Kind", "Period")),
            );
        }
        for change in &changes {
            if change.daylight {
                periods = periods.with(period(&daylight_id, "Daylight", change.minutes));
            }
            let to = if change.daylight {
                &daylight_id
            } else {
                &standard_id
            };
            group = group.with(
                Element::new("t:RecurringDayTransition")
                    .with(Element::text("t:To", to).attr("Kind", "Period"))
                    .with(Element::text("t:TimeOffset", duration(change.at_minutes)))
                    .with(Element::text("t:Month", change.month.to_string()))
                    .with(Element::text("t:DayOfWeek", weekday_name(change.weekday)))
                    .with(Element::text("t:Occurrence", change.occurrence.to_string())),
            );
        }
        Element::new(element)
            .attr("Id", &self.id)
            .attr("Name", &self.name)
            .with(periods)
            .with(Element::new("t:TransitionsGroups").with(group))
            .with(Element::new("t:Transitions").with(
                Element::new("t:Transition").with(Element::text("t:To", "0").attr("Kind", "Group")),
            ))
    }

    /// The pair of changes of a year with daylight saving time (empty without) and the standard offset in minutes.
    fn yearly_rule(&self, year: i16) -> (Vec<Change>, i64) {
        let begin = super::time::to_instant(date(year, 1, 1).at(0, 0, 0, 0), &self.rules)
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let end = date(year, 1, 1)
            .checked_add(jiff::Span::new().years(1))
            .ok()
            .and_then(|next| super::time::to_instant(next.at(0, 0, 0, 0), &self.rules))
            .unwrap_or(Timestamp::MAX);
        let at_start = self.rules.to_offset_info(begin);
        let mut standard = i64::from(at_start.offset().seconds()) / 60;
        let mut before = at_start.offset();
        let mut changes = Vec::new();
        for transition in self.rules.following(begin) {
            if transition.timestamp() >= end {
                break;
            }
            let wall = before.to_datetime(transition.timestamp());
            let minutes = i64::from(transition.offset().seconds()) / 60;
            let daylight = transition.dst() == Dst::Yes;
            if !daylight {
                standard = minutes;
            }
            let in_month = wall.date().days_in_month();
            let occurrence = if wall.day() + 7 > in_month {
                -1
            } else {
                i64::from((wall.day() - 1) / 7) + 1
            };
            changes.push(Change {
                daylight,
                minutes,
                at_minutes: i64::from(wall.hour()) * 60 + i64::from(wall.minute()),
                month: wall.month(),
                weekday: wall.weekday(),
                occurrence,
            });
            before = transition.offset();
        }
        let pair =
            changes.len() == 2 && changes.iter().filter(|change| change.daylight).count() == 1;
        if pair {
            (changes, standard)
        } else {
            (Vec::new(), standard)
        }
    }

    /// The date on which an instant falls in this zone.
    #[must_use]
    pub fn date_of(&self, instant: Timestamp) -> Date {
        instant.to_zoned(self.rules.clone()).date()
    }
}

struct Change {
    daylight: bool,
    minutes: i64,
    at_minutes: i64,
    month: i8,
    weekday: Weekday,
    occurrence: i64,
}

/// The name of a weekday in EWS (DayOfWeekType).
pub(crate) fn weekday_name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

/// The Windows zones that the server offers in GetServerTimeZones.
pub(crate) const WINDOWS_IDS: &[&str] = &[
    "UTC",
    "GMT Standard Time",
    "Greenwich Standard Time",
    "W. Europe Standard Time",
    "Romance Standard Time",
    "Central Europe Standard Time",
    "Central European Standard Time",
    "GTB Standard Time",
    "FLE Standard Time",
    "E. Europe Standard Time",
    "Turkey Standard Time",
    "Russian Standard Time",
    "Egypt Standard Time",
    "South Africa Standard Time",
    "Israel Standard Time",
    "Arabian Standard Time",
    "India Standard Time",
    "China Standard Time",
    "Singapore Standard Time",
    "Tokyo Standard Time",
    "AUS Eastern Standard Time",
    "New Zealand Standard Time",
    "Azores Standard Time",
    "Greenland Standard Time",
    "E. South America Standard Time",
    "Atlantic Standard Time",
    "Eastern Standard Time",
    "Central Standard Time",
    "Mountain Standard Time",
    "Pacific Standard Time",
    "Alaskan Standard Time",
    "Hawaiian Standard Time",
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_danish_definition_has_both_changes() {
        let mut out = String::new();
        Zone::denmark()
            .definition("t:StartTimeZone", 2026)
            .write(&mut out);
        assert!(out.contains("Bias=\"-PT1H\" Name=\"Standard\""), "{out}");
        assert!(out.contains("Bias=\"-PT2H\" Name=\"Daylight\""), "{out}");
        assert!(out.contains("<t:TimeOffset>PT2H</t:TimeOffset><t:Month>3</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek><t:Occurrence>-1<"), "{out}");
        assert!(
            out.contains("<t:TimeOffset>PT3H</t:TimeOffset><t:Month>10</t:Month>"),
            "{out}"
        );
    }

    #[test]
    fn every_offered_zone_exists() {
        for id in WINDOWS_IDS {
            assert_eq!(Zone::find(id).unwrap().id(), *id);
        }
        assert_eq!(
            Zone::windows_for_iana("Europe/Copenhagen").unwrap().id(),
            "Romance Standard Time"
        );
        assert_eq!(
            Zone::windows_for_iana("Asia/Tokyo").unwrap().id(),
            "Tokyo Standard Time"
        );
        assert!(Zone::find("Nowhere Standard Time").is_none());
    }
}
