//! Values of the XML Schema types that EWS uses, in all the forms that servers write them in.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::WireTime;
use crate::error::WireError;
use crate::xml::Pull;

pub(super) fn trimmed(pull: &mut Pull<'_>) -> Result<String, WireError> {
    Ok(pull.text()?.trim().to_owned())
}

pub(super) fn boolean(text: &str, what: &'static str) -> Result<bool, WireError> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(WireError::Value(what)),
    }
}

pub(super) fn time(pull: &mut Pull<'_>, what: &'static str) -> Result<WireTime, WireError> {
    wire_time(&trimmed(pull)?).ok_or(WireError::Value(what))
}

/// As [`time`]; an element without content is as good as none.
pub(super) fn time_if_any(
    pull: &mut Pull<'_>,
    what: &'static str,
) -> Result<Option<WireTime>, WireError> {
    if_any(pull, |text| wire_time(text).ok_or(WireError::Value(what)))
}

/// As [`time_if_any`], of a clock on the author's wall: with an offset it is that clock all the same. In UTC it is
/// not known whose clock it is.
pub(super) fn wall_clock_if_any(
    pull: &mut Pull<'_>,
    what: &'static str,
) -> Result<Option<WireTime>, WireError> {
    if_any(pull, |text| {
        let time = wire_time(text).ok_or(WireError::Value(what))?;
        Ok(shown(text).map_or(time, WireTime::Local))
    })
}

/// What stands before an offset other than none.
fn shown(text: &str) -> Option<DateTime> {
    let (_, clock) = text.split_once('T')?;
    let at = clock.find(['+', '-'])?;
    let offset = clock.get(at..)?;
    if !offset.contains(|c: char| ('1'..='9').contains(&c)) {
        return None;
    }
    text.strip_suffix(offset)?.parse().ok()
}

/// As [`boolean`]; an element without content is as good as none.
pub(super) fn boolean_if_any(
    pull: &mut Pull<'_>,
    what: &'static str,
) -> Result<Option<bool>, WireError> {
    if_any(pull, |text| boolean(text, what))
}

fn if_any<T>(
    pull: &mut Pull<'_>,
    read: impl Fn(&str) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    let text = trimmed(pull)?;
    if text.is_empty() {
        return Ok(None);
    }
    read(&text).map(Some)
}

/// Reads `xs:dateTime` with `Z`, with an offset (with or without colon) or with neither, and any number of
/// fraction digits.
pub(super) fn wire_time(text: &str) -> Option<WireTime> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(WireTime::Instant(at));
    }
    if text.ends_with(['Z', 'z']) {
        return None;
    }
    // A date alone is no time of day.
    text.contains('T')
        .then(|| text.parse::<DateTime>().ok())
        .flatten()
        .map(WireTime::Local)
}

/// Reads the date part of `xs:date` or `xs:dateTime`; an offset after it means nothing.
pub(super) fn date(text: &str) -> Option<Date> {
    text.trim().get(..10)?.parse().ok()
}

pub(super) fn month(text: &str) -> Option<i8> {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let at = NAMES.iter().position(|name| *name == text)?;
    i8::try_from(at + 1).ok()
}

/// `xs:duration` of days, hours, minutes and seconds, in seconds.
pub(super) fn duration_seconds(text: &str) -> Option<i32> {
    let text = text.trim();
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, times) = rest.split_once('T').unwrap_or((rest, ""));
    let mut total: i32 = 0;
    for (part, units) in [
        (days, [('D', 86_400), ('?', 0), ('?', 0)]),
        (times, [('H', 3_600), ('M', 60), ('S', 1)]),
    ] {
        let mut number = String::new();
        for c in part.chars() {
            if c.is_ascii_digit() || c == '.' {
                number.push(c);
                continue;
            }
            let (_, unit) = units.iter().find(|(name, _)| *name == c)?;
            let whole = number.split('.').next().unwrap_or_default();
            total = total.checked_add(whole.parse::<i32>().ok()?.checked_mul(*unit)?)?;
            number.clear();
        }
        if !number.is_empty() {
            return None;
        }
    }
    Some(sign * total)
}
