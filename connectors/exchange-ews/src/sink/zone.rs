//! The Windows id of a zone, by which EWS names zones (`StartTimeZone`, Exchange 2010 and later).

use calbridge_core::model::zone::by_name;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The zone that is written where no other has a Windows id.
pub(crate) const UTC: &str = "UTC";

/// IANA names and Windows ids (CLDR, windowsZones): the zones of calbridge's users first, then one for each Windows
/// zone with users of its own. Others are found by their offsets.
const ZONES: &[(&str, &str)] = &[
    ("Europe/Copenhagen", "Romance Standard Time"),
    ("Europe/Berlin", "W. Europe Standard Time"),
    ("UTC", UTC),
    ("Etc/UTC", UTC),
    ("Europe/Paris", "Romance Standard Time"),
    ("Europe/Madrid", "Romance Standard Time"),
    ("Europe/Brussels", "Romance Standard Time"),
    ("Europe/Warsaw", "Central European Standard Time"),
    ("Europe/Zagreb", "Central European Standard Time"),
    ("Europe/Budapest", "Central Europe Standard Time"),
    ("Europe/Prague", "Central Europe Standard Time"),
    ("Europe/London", "GMT Standard Time"),
    ("Europe/Dublin", "GMT Standard Time"),
    ("Europe/Lisbon", "GMT Standard Time"),
    ("Atlantic/Faroe", "GMT Standard Time"),
    ("Atlantic/Reykjavik", "Greenwich Standard Time"),
    ("America/Nuuk", "Greenland Standard Time"),
    ("Europe/Helsinki", "FLE Standard Time"),
    ("Europe/Kyiv", "FLE Standard Time"),
    ("Europe/Bucharest", "GTB Standard Time"),
    ("Europe/Athens", "GTB Standard Time"),
    ("Europe/Istanbul", "Turkey Standard Time"),
    ("Europe/Minsk", "Belarus Standard Time"),
    ("Europe/Moscow", "Russian Standard Time"),
    ("America/New_York", "Eastern Standard Time"),
    ("America/Chicago", "Central Standard Time"),
    ("America/Denver", "Mountain Standard Time"),
    ("America/Phoenix", "US Mountain Standard Time"),
    ("America/Los_Angeles", "Pacific Standard Time"),
    ("America/Anchorage", "Alaskan Standard Time"),
    ("America/Halifax", "Atlantic Standard Time"),
    ("America/St_Johns", "Newfoundland Standard Time"),
    ("America/Sao_Paulo", "E. South America Standard Time"),
    ("Pacific/Honolulu", "Hawaiian Standard Time"),
    ("Africa/Johannesburg", "South Africa Standard Time"),
    ("Africa/Lagos", "W. Central Africa Standard Time"),
    ("Africa/Cairo", "Egypt Standard Time"),
    ("Africa/Nairobi", "E. Africa Standard Time"),
    ("Asia/Jerusalem", "Israel Standard Time"),
    ("Asia/Riyadh", "Arab Standard Time"),
    ("Asia/Dubai", "Arabian Standard Time"),
    ("Asia/Karachi", "Pakistan Standard Time"),
    ("Asia/Kolkata", "India Standard Time"),
    ("Asia/Kathmandu", "Nepal Standard Time"),
    ("Asia/Dhaka", "Bangladesh Standard Time"),
    ("Asia/Bangkok", "SE Asia Standard Time"),
    ("Asia/Shanghai", "China Standard Time"),
    ("Asia/Singapore", "Singapore Standard Time"),
    ("Australia/Perth", "W. Australia Standard Time"),
    ("Asia/Tokyo", "Tokyo Standard Time"),
    ("Asia/Seoul", "Korea Standard Time"),
    ("Australia/Adelaide", "Cen. Australia Standard Time"),
    ("Australia/Brisbane", "E. Australia Standard Time"),
    ("Australia/Sydney", "AUS Eastern Standard Time"),
    ("Pacific/Auckland", "New Zealand Standard Time"),
];

/// The Windows id of a zone: by its name, else that of a zone whose clocks show the same in the year after `at`.
pub(crate) fn windows_id(zone: &TimeZone, at: Timestamp) -> Option<&'static str> {
    let named = zone
        .iana_name()
        .and_then(|name| ZONES.iter().find(|(known, _)| *known == name));
    if let Some((_, id)) = named {
        return Some(id);
    }
    let same = |name: &str| {
        by_name(name).is_some_and(|other| {
            days_after(at).all(|day| zone.to_offset(day) == other.to_offset(day))
        })
    };
    ZONES.iter().find(|(name, _)| same(name)).map(|(_, id)| *id)
}

fn days_after(at: Timestamp) -> impl Iterator<Item = Timestamp> {
    (0..125).filter_map(move |n| {
        at.checked_add(jiff::SignedDuration::from_hours(72 * n))
            .ok()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn id(name: &str) -> Option<&'static str> {
        let at = "2026-12-01T00:00:00Z".parse().unwrap();
        windows_id(&TimeZone::get(name).unwrap(), at)
    }

    #[test]
    fn zones_have_the_ids_that_cldr_says() {
        assert_eq!(id("Europe/Copenhagen"), Some("Romance Standard Time"));
        assert_eq!(id("Europe/Berlin"), Some("W. Europe Standard Time"));
        assert_eq!(id("UTC"), Some("UTC"));
        for (name, windows) in ZONES {
            let ours = TimeZone::get(name).unwrap();
            let theirs = by_name(windows).unwrap_or_else(|| by_name(name).unwrap());
            let at = "2026-12-01T00:00:00Z".parse().unwrap();
            assert!(
                days_after(at).all(|day| ours.to_offset(day) == theirs.to_offset(day)),
                "{name} is not {windows}"
            );
        }
    }

    #[test]
    fn others_have_that_of_a_zone_with_the_same_clocks() {
        assert_eq!(id("Europe/Oslo"), Some("Romance Standard Time"));
        assert_eq!(id("Pacific/Chatham"), None);
        let at = "2026-12-01T00:00:00Z".parse().unwrap();
        let rule = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(windows_id(&rule, at), Some("Romance Standard Time"));
    }
}
