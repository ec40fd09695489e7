//! Zone names.

use jiff::tz::TimeZone;

/// The zone that `name` means: an IANA name or a Windows zone id (mapped by CLDR, territory 001).
///
/// `None` for custom, localised and unknown names; a connector has more to go by (the zone's definition).
#[must_use]
pub fn by_name(name: &str) -> Option<TimeZone> {
    let name = name.trim();
    if name.is_empty() {
        return None;
    }
    if let Ok(windows) = name.parse::<windows_timezones::WindowsTimezone>() {
        // CLDR maps this one to Paris for the world; Denmark shares its rules since 1980.
        return TimeZone::get(windows.tzdb_id()).ok();
    }
    TimeZone::get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_iana_names_are_known_and_others_are_not() {
        for name in ["Romance Standard Time", "Europe/Copenhagen", "UTC"] {
            assert!(by_name(name).is_some(), "{name}");
        }
        for name in ["", "Customized Time Zone", "tzone://Microsoft/Custom"] {
            assert!(by_name(name).is_none(), "{name}");
        }
    }
}
