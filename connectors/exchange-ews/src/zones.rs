//! Which zone an event was made in.
//!
//! Exchange names zones by Windows ids, but stored items carry whatever their author's program wrote: IANA
//! names, display names, localised names, custom definitions. The ladder: Windows id or IANA name; a table of
//! localised and display names; the registry name inside the definition's periods; a known zone with the
//! definition's offsets; a fixed rule made of the definition.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::tz::{Offset, TimeZone};

use calbridge_core::model::zone::by_name;

use crate::response::WireTime;

/// A zone's full definition (EWS `TimeZoneDefinitionType`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) id: String,
    /// The display name, in the server's language.
    pub(crate) name: String,
    pub(crate) periods: Vec<DefinitionPeriod>,
    /// Group id and its rules.
    pub(crate) groups: Vec<(String, Vec<DefinitionRule>)>,
    pub(crate) transitions: Vec<Transition>,
}

/// A period: an offset that is in force for a part of the year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DefinitionPeriod {
    pub(crate) id: String,
    /// UTC minus local time, in seconds.
    pub(crate) bias: i32,
}

/// When a period begins, each year.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DefinitionRule {
    /// The period's id.
    pub(crate) period: String,
    /// Seconds after midnight, local time before the change.
    pub(crate) offset: i32,
    /// The month and the day; absent for a zone without changes.
    pub(crate) when: Option<(i8, RuleDay)>,
}

/// A day of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleDay {
    /// The n-th such weekday; -1 and 5 for the last.
    Nth(i8, Weekday),
    /// A day of the month.
    Day(i8),
}

/// From when a group of rules is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) group: String,
    pub(crate) from: Option<WireTime>,
}

/// Display names, folded and without the offset in front; localised ones for the countries where calbridge's
/// systems are at home.
const NAMES: &[(&str, &str)] = &[
    ("romansk normaltid", "Europe/Copenhagen"),
    ("romance (normaltid)", "Europe/Copenhagen"),
    ("romanische zeit", "Europe/Copenhagen"),
    ("romance zeit", "Europe/Copenhagen"),
    ("centraleuropæisk tid", "Europe/Copenhagen"),
    ("centraleuropæisk normaltid", "Europe/Copenhagen"),
    ("brussels, copenhagen, madrid, paris", "Europe/Copenhagen"),
    ("bruxelles, københavn, madrid, paris", "Europe/Copenhagen"),
    ("brüssel, kopenhagen, madrid, paris", "Europe/Copenhagen"),
    ("mitteleuropäische zeit", "Europe/Berlin"),
    ("mitteleuropäische sommerzeit", "Europe/Berlin"),
    ("west-europa (standaardtijd)", "Europe/Amsterdam"),
    ("westeuropäische normalzeit", "Europe/Berlin"),
    ("vesteuropa (normaltid)", "Europe/Berlin"),
    ("västeuropa, normaltid", "Europe/Stockholm"),
    ("vest-europa (normaltid)", "Europe/Oslo"),
    (
        "amsterdam, berlin, bern, rome, stockholm, vienna",
        "Europe/Berlin",
    ),
    (
        "amsterdam, berlin, bern, rom, stockholm, wien",
        "Europe/Berlin",
    ),
    (
        "amsterdam, berlin, bern, oslo, rom, stockholm, wien",
        "Europe/Berlin",
    ),
    ("berlin, bern, rom, stockholm, wien", "Europe/Berlin"),
    (
        "belgrade, bratislava, budapest, ljubljana, prague",
        "Europe/Budapest",
    ),
    ("sarajevo, skopje, warsaw, zagreb", "Europe/Warsaw"),
    ("heure d’europe centrale", "Europe/Paris"),
    ("paris, madrid", "Europe/Paris"),
    ("dublin, edinburgh, lisbon, london", "Europe/London"),
    ("dublin, edinburgh, lissabon, london", "Europe/London"),
    ("gmt, normaltid", "Europe/London"),
    ("athens, bucharest", "Europe/Bucharest"),
    (
        "helsinki, kyiv, riga, sofia, tallinn, vilnius",
        "Europe/Helsinki",
    ),
    ("osteuropäische zeit", "Europe/Helsinki"),
    ("østeuropæisk tid", "Europe/Helsinki"),
    ("monrovia, reykjavik", "Atlantic/Reykjavik"),
    ("greenland", "America/Nuuk"),
    ("grønland", "America/Nuuk"),
    ("eastern time (us & canada)", "America/New_York"),
    ("central time (us & canada)", "America/Chicago"),
    ("mountain time (us & canada)", "America/Denver"),
    ("pacific time (us & canada)", "America/Los_Angeles"),
    ("atlantic time (canada)", "America/Halifax"),
    ("newfoundland", "America/St_Johns"),
    ("arizona", "America/Phoenix"),
    ("alaska", "America/Anchorage"),
    ("hawaii", "Pacific/Honolulu"),
    ("guadalajara, mexico city, monterrey", "America/Mexico_City"),
    ("bogota, lima, quito", "America/Bogota"),
    ("brasilia", "America/Sao_Paulo"),
    ("city of buenos aires", "America/Argentina/Buenos_Aires"),
    ("azores", "Atlantic/Azores"),
    ("casablanca", "Africa/Casablanca"),
    ("west central africa", "Africa/Lagos"),
    ("harare, pretoria", "Africa/Johannesburg"),
    ("cairo", "Africa/Cairo"),
    ("jerusalem", "Asia/Jerusalem"),
    ("istanbul", "Europe/Istanbul"),
    ("minsk", "Europe/Minsk"),
    ("moscow, st. petersburg", "Europe/Moscow"),
    ("moscow, st. petersburg, volgograd", "Europe/Moscow"),
    ("kuwait, riyadh", "Asia/Riyadh"),
    ("baghdad", "Asia/Baghdad"),
    ("nairobi", "Africa/Nairobi"),
    ("tehran", "Asia/Tehran"),
    ("abu dhabi, muscat", "Asia/Dubai"),
    ("kabul", "Asia/Kabul"),
    ("islamabad, karachi", "Asia/Karachi"),
    ("chennai, kolkata, mumbai, new delhi", "Asia/Kolkata"),
    ("kathmandu", "Asia/Kathmandu"),
    ("dhaka", "Asia/Dhaka"),
    ("bangkok, hanoi, jakarta", "Asia/Bangkok"),
    ("beijing, chongqing, hong kong, urumqi", "Asia/Shanghai"),
    ("kuala lumpur, singapore", "Asia/Singapore"),
    ("perth", "Australia/Perth"),
    ("taipei", "Asia/Taipei"),
    ("osaka, sapporo, tokyo", "Asia/Tokyo"),
    ("seoul", "Asia/Seoul"),
    ("adelaide", "Australia/Adelaide"),
    ("darwin", "Australia/Darwin"),
    ("brisbane", "Australia/Brisbane"),
    ("canberra, melbourne, sydney", "Australia/Sydney"),
    ("hobart", "Australia/Hobart"),
    ("auckland, wellington", "Pacific/Auckland"),
    ("coordinated universal time", "UTC"),
    ("koordineret universel tid", "UTC"),
    ("koordinierte weltzeit", "UTC"),
    ("tzone://microsoft/utc", "UTC"),
    ("cest", "Europe/Berlin"),
    ("mez", "Europe/Berlin"),
    ("mesz", "Europe/Berlin"),
];

/// Zones that a definition is compared with, the likeliest first. Enough to name most definitions; what is
/// not among them becomes a fixed rule with the same offsets.
const CANDIDATES: &[&str] = &[
    "Europe/Copenhagen",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Helsinki",
    "Atlantic/Reykjavik",
    "America/Nuuk",
    "Atlantic/Faroe",
    "Europe/Bucharest",
    "Europe/Istanbul",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "UTC",
];

/// Finds zones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zones {
    /// The mailboxes' own zone, preferred where several fit.
    home: Option<TimeZone>,
}

impl Zones {
    pub(crate) fn new(home: Option<&str>) -> Self {
        Self {
            home: home.and_then(by_name),
        }
    }

    /// The mailboxes' own zone, where it is configured.
    pub(crate) fn home(&self) -> Option<&TimeZone> {
        self.home.as_ref()
    }

    /// The zone of a name alone.
    pub(crate) fn named(&self, name: &str) -> Option<TimeZone> {
        by_name(name).or_else(|| by_table(name))
    }

    /// The zone of an item, by its zone id and its definition.
    pub(crate) fn find(
        &self,
        id: Option<&str>,
        definition: Option<&Definition>,
    ) -> Option<TimeZone> {
        if let Some(zone) = id.and_then(|id| self.named(id)) {
            return Some(zone);
        }
        let definition = definition?;
        self.named(&definition.id)
            .or_else(|| self.named(&definition.name))
            .or_else(|| by_registry_name(definition))
            .or_else(|| {
                let rule = fixed_rule(definition)?;
                Some(self.same_offsets(&rule).unwrap_or(rule))
            })
    }

    /// A known zone with the same changes, to the second, in the years around now.
    fn same_offsets(&self, rule: &TimeZone) -> Option<TimeZone> {
        let candidates = CANDIDATES
            .iter()
            .filter_map(|name| TimeZone::get(name).ok());
        let wanted = changes(rule)?;
        self.home
            .iter()
            .cloned()
            .chain(candidates)
            .find(|zone| changes(zone).as_ref() == Some(&wanted))
    }
}

/// The offsets from UTC in two years, each with its first instant. Which years does not matter: a definition's last
/// rule has no end.
fn changes(zone: &TimeZone) -> Option<Vec<(Timestamp, Offset)>> {
    let utc = |year| {
        TimeZone::UTC
            .to_timestamp(date(year, 1, 1).at(0, 0, 0, 0))
            .ok()
    };
    let (first, end) = (utc(2025)?, utc(2027)?);
    let mut found = vec![(first, zone.to_offset(first))];
    let later = zone
        .following(first)
        .take_while(|change| change.timestamp() < end);
    found.extend(later.map(|change| (change.timestamp(), change.offset())));
    found.dedup_by_key(|(_, offset)| *offset);
    Some(found)
}

fn by_table(name: &str) -> Option<TimeZone> {
    let folded = name.trim().to_lowercase();
    // "(UTC+01:00) Brussels, Copenhagen, Madrid, Paris": the cities tell, the offset does not.
    let folded = match folded
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
    {
        Some((_, rest)) => rest.trim(),
        None => folded.as_str(),
    };
    let (_, zone) = NAMES.iter().find(|(known, _)| *known == folded)?;
    TimeZone::get(zone).ok()
}

/// Windows writes its own id into the periods' ids: `trule:Microsoft/Registry/Romance Standard Time/1-Standard`.
fn by_registry_name(definition: &Definition) -> Option<TimeZone> {
    definition.periods.iter().find_map(|period| {
        let rest = period.id.strip_prefix("trule:Microsoft/Registry/")?;
        by_name(rest.split('/').next()?)
    })
}

/// A zone with the rules of the definition's last group, as a POSIX rule.
pub(crate) fn fixed_rule(definition: &Definition) -> Option<TimeZone> {
    let last = definition
        .transitions
        .iter()
        .max_by_key(|transition| transition.from)
        .map(|transition| transition.group.as_str());
    let rules: &[DefinitionRule] = match last {
        Some(id) => definition
            .groups
            .iter()
            .find(|(group, _)| group == id)
            .map(|(_, rules)| rules.as_slice())
            .unwrap_or_default(),
        None => definition
            .groups
            .last()
            .map(|(_, rules)| rules.as_slice())
            .unwrap_or_default(),
    };
    let bias = |id: &str| {
        definition
            .periods
            .iter()
            .find(|period| period.id == id)
            .map(|period| period.bias)
    };
    let text = match rules {
        [] => match (last.and_then(bias), definition.periods.as_slice()) {
            // A transition may lead to a period directly.
            (Some(bias), _) => format!("<Z>{}", posix_time(bias)),
            (None, [only]) => format!("<Z>{}", posix_time(only.bias)),
            _ => return None,
        },
        [only] => format!("<Z>{}", posix_time(bias(&only.period)?)),
        [one, other] => {
            let (one_bias, other_bias) = (bias(&one.period)?, bias(&other.period)?);
            if one_bias == other_bias {
                format!("<Z>{}", posix_time(one_bias))
            } else {
                // Summer time has the smaller bias.
                let (summer, winter, summer_bias, winter_bias) = if one_bias < other_bias {
                    (one, other, one_bias, other_bias)
                } else {
                    (other, one, other_bias, one_bias)
                };
                format!(
                    "<STD>{}<DST>{},{},{}",
                    posix_time(winter_bias),
                    posix_time(summer_bias),
                    posix_rule(summer)?,
                    posix_rule(winter)?
                )
            }
        }
        _ => return None,
    };
    // The names between angle brackets must have three characters.
    TimeZone::posix(&text.replace("<Z>", "<UTC>")).ok()
}

fn posix_rule(rule: &DefinitionRule) -> Option<String> {
    let (month, day) = rule.when?;
    let time = posix_time(rule.offset);
    Some(match day {
        RuleDay::Nth(nth, weekday) => {
            let week = if (1..=4).contains(&nth) { nth } else { 5 };
            format!("M{month}.{week}.{}/{time}", weekday.to_sunday_zero_offset())
        }
        RuleDay::Day(day) => {
            // A Julian day without 29 February. 2025 is a common year.
            let at = Date::new(2025, month, day).ok()?;
            format!("J{}/{time}", at.day_of_year())
        }
    })
}

fn posix_time(seconds: i32) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let all = seconds.unsigned_abs();
    format!(
        "{sign}{:02}:{:02}:{:02}",
        all / 3600,
        all / 60 % 60,
        all % 60
    )
}

/// The IANA name, where the zone has one.
pub(crate) fn iana_name(zone: &TimeZone) -> Option<String> {
    zone.iana_name().map(str::to_owned)
}

/// The instant that a clock in `zone` shows this way; the earlier one of two, after the gap of a spring
/// change.
pub(crate) fn instant(zone: &TimeZone, at: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_zoned(at)
        .compatible()
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn summer_time(bias: i32, from: (i8, RuleDay), to: (i8, RuleDay)) -> Definition {
        Definition {
            id: "Customized Time Zone".into(),
            name: "whatever".into(),
            periods: vec![
                DefinitionPeriod {
                    id: "S".into(),
                    bias,
                },
                DefinitionPeriod {
                    id: "D".into(),
                    bias: bias - 3600,
                },
            ],
            groups: vec![(
                "0".into(),
                vec![
                    DefinitionRule {
                        period: "D".into(),
                        offset: 7200,
                        when: Some(from),
                    },
                    DefinitionRule {
                        period: "S".into(),
                        offset: 10_800,
                        when: Some(to),
                    },
                ],
            )],
            transitions: vec![Transition {
                group: "0".into(),
                from: None,
            }],
        }
    }

    fn name(zones: &Zones, id: &str) -> Option<String> {
        zones.find(Some(id), None).as_ref().and_then(iana_name)
    }

    #[test]
    fn names_of_all_sorts_are_known() {
        let zones = Zones::default();
        for (id, means) in [
            ("W. Europe Standard Time", "Europe/Berlin"),
            ("Europe/Copenhagen", "Europe/Copenhagen"),
            (
                "(UTC+01:00) Brussels, Copenhagen, Madrid, Paris",
                "Europe/Copenhagen",
            ),
            (
                "(UTC+01:00) Bruxelles, København, Madrid, Paris",
                "Europe/Copenhagen",
            ),
            ("Mitteleuropäische Zeit", "Europe/Berlin"),
            ("Kuala Lumpur, Singapore", "Asia/Singapore"),
            ("tzone://Microsoft/Utc", "UTC"),
        ] {
            assert_eq!(name(&zones, id).as_deref(), Some(means), "{id}");
        }
        assert!(name(&zones, "Romance Standard Time").is_some());
        for id in [
            "",
            "tzone://Microsoft/Custom",
            "Customized Time Zone",
            "Mars/Olympus",
        ] {
            assert_eq!(name(&zones, id), None, "{id}");
        }
    }

    #[test]
    fn every_name_in_the_table_leads_to_a_zone() {
        for (name, zone) in NAMES {
            assert_eq!(*name, name.to_lowercase());
            assert!(TimeZone::get(zone).is_ok(), "{zone}");
        }
    }

    #[test]
    fn a_custom_definition_is_recognised_by_its_offsets() {
        let europe = summer_time(
            -3600,
            (3, RuleDay::Nth(-1, Weekday::Sunday)),
            (10, RuleDay::Nth(-1, Weekday::Sunday)),
        );
        let zone = Zones::default()
            .find(Some("Customized Time Zone"), Some(&europe))
            .unwrap();
        assert_eq!(iana_name(&zone).as_deref(), Some("Europe/Copenhagen"));
        let zone = Zones::new(Some("Europe/Vienna"))
            .find(None, Some(&europe))
            .unwrap();
        assert_eq!(iana_name(&zone).as_deref(), Some("Europe/Vienna"));
    }

    #[test]
    fn a_definition_whose_changes_fall_on_the_days_of_another_zone_is_not_that_zone() {
        // As New York, but at midnight: Cuba.
        let mut cuba = summer_time(
            18_000,
            (3, RuleDay::Nth(2, Weekday::Sunday)),
            (11, RuleDay::Nth(1, Weekday::Sunday)),
        );
        for (rule, offset) in cuba.groups[0].1.iter_mut().zip([0, 3600]) {
            rule.offset = offset;
        }
        let zone = Zones::default().find(None, Some(&cuba)).unwrap();
        assert_eq!(iana_name(&zone), None);
        let offset = |text: &str| zone.to_offset(text.parse().unwrap()).seconds();
        assert_eq!(offset("2026-03-08T05:00:00Z"), -14_400);
        assert_eq!(offset("2026-11-01T05:00:00Z"), -18_000);
    }

    #[test]
    fn a_definition_like_no_zone_becomes_a_fixed_rule() {
        let odd = summer_time(
            -2700,
            (5, RuleDay::Day(1)),
            (9, RuleDay::Nth(2, Weekday::Monday)),
        );
        let zone = Zones::default().find(None, Some(&odd)).unwrap();
        assert_eq!(iana_name(&zone), None);
        let offset = |text: &str| zone.to_offset(text.parse().unwrap()).seconds();
        assert_eq!(offset("2026-04-30T12:00:00Z"), 2700);
        assert_eq!(offset("2026-05-01T12:00:00Z"), 6300);
        assert_eq!(offset("2026-09-13T12:00:00Z"), 6300);
        assert_eq!(offset("2026-09-14T12:00:00Z"), 2700);
    }

    #[test]
    fn the_registry_name_in_a_period_tells_the_zone() {
        let definition = Definition {
            periods: vec![DefinitionPeriod {
                id: "trule:Microsoft/Registry/Eastern Standard Time/2007-Standard".into(),
                bias: 18_000,
            }],
            ..Definition::default()
        };
        let zone = Zones::default()
            .find(Some("Kunde X"), Some(&definition))
            .unwrap();
        assert_eq!(iana_name(&zone).as_deref(), Some("America/New_York"));
    }

    #[test]
    fn a_definition_without_rules_has_one_offset_or_none() {
        let mut definition = Definition {
            periods: vec![DefinitionPeriod {
                id: "A".into(),
                bias: -19_800,
            }],
            ..Definition::default()
        };
        let zone = Zones::default().find(None, Some(&definition)).unwrap();
        assert_eq!(iana_name(&zone).as_deref(), Some("Asia/Kolkata"));
        definition.periods.clear();
        assert!(Zones::default().find(None, Some(&definition)).is_none());
    }
}
