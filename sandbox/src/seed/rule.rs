//! From RRULE to what EWS can say.

use calcard::common::PartialDateTime;
use calcard::icalendar::{
    ICalendarDay, ICalendarFrequency, ICalendarRecurrenceRule, ICalendarWeekday,
};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};

use super::Reason;
use crate::exchange::{DayIndex, DayKind, Pattern, Range, Recurrence, SeriesRule, Zone, oracle};

/// How many occurrences a translated rule is compared with its original for.
const COMPARED: usize = 400;

/// A time of the file, as far as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// A day.
    Day(Date),
    /// An instant.
    At(Timestamp),
}

impl Skipped {
    /// Whether it means this original start.
    pub(crate) fn means(self, slot: DateTime, instant: Timestamp) -> bool {
        match self {
            Skipped::Day(day) => slot.date() == day,
            Skipped::At(at) => instant == at,
        }
    }
}

/// A date or a date with a time.
pub(super) fn civil(value: &PartialDateTime) -> Option<(Date, Option<DateTime>)> {
    let day = Date::new(
        i16::try_from(value.year?).ok()?,
        i8::try_from(value.month?).ok()?,
        i8::try_from(value.day?).ok()?,
    )
    .ok()?;
    let Some(hour) = value.hour else {
        return Some((day, None));
    };
    // A leap second is written down to the second before it.
    let second = value.second.unwrap_or(0).min(59);
    let (hour, minute, second) = (
        i8::try_from(hour).ok()?,
        i8::try_from(value.minute.unwrap_or(0)).ok()?,
        i8::try_from(second).ok()?,
    );
    let time = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    Some((day, Some(day.to_datetime(time))))
}

/// A rule of a file.
///
/// The parser passes over what it does not understand, which would leave another rule. So what is expanded is what
/// was written.
#[derive(Debug)]
pub(super) struct Rule<'a> {
    parsed: &'a ICalendarRecurrenceRule,
    /// As written, without UNTIL.
    plain: String,
    /// Whether the series is one of days.
    days: bool,
}

impl<'a> Rule<'a> {
    pub(super) fn new(
        parsed: &'a ICalendarRecurrenceRule,
        written: &str,
        days: bool,
    ) -> Result<Self, Reason> {
        let mut plain = Vec::new();
        for part in written.split(';') {
            // Old exporters put blanks into lists.
            let part: String = part.chars().filter(|c| !c.is_whitespace()).collect();
            let part = part.to_ascii_uppercase();
            match part.split_once('=') {
                Some(("UNTIL", _)) if parsed.until.is_some() => {}
                Some(("INTERVAL" | "COUNT", number)) if number.parse() == Ok(0) => {
                    return Err(Reason::Rule);
                }
                Some((name, _)) if name != "UNTIL" => plain.push(part),
                None if part.is_empty() => {}
                _ => return Err(Reason::Rule),
            }
        }
        Ok(Self {
            parsed,
            plain: plain.join(";"),
            days,
        })
    }
}

/// The series that rules and further dates make from `first`.
pub(super) fn series(
    rules: &[Rule<'_>],
    dates: Vec<DateTime>,
    first: DateTime,
    zone: &Zone,
) -> Result<Option<SeriesRule>, Reason> {
    if rules.is_empty() && dates.is_empty() {
        return Ok(None);
    }
    let mut texts = Vec::new();
    for rule in rules {
        let text = text(rule, first, zone)?;
        oracle::check_rule(&text, first).map_err(|_| Reason::Rule)?;
        texts.push(text);
    }
    let original = SeriesRule::Other {
        rules: texts,
        dates,
    };
    if let ([rule], SeriesRule::Other { dates, .. }) = (rules, &original)
        && dates.is_empty()
        && let Some(translated) = translate(rule.parsed, first, &original)
    {
        return Ok(Some(translated));
    }
    Ok(Some(original))
}

/// The rule as text, with UNTIL on the clock of the series.
fn text(rule: &Rule<'_>, first: DateTime, zone: &Zone) -> Result<String, Reason> {
    if matches!(
        rule.parsed.freq,
        ICalendarFrequency::Minutely | ICalendarFrequency::Secondly
    ) {
        return Err(Reason::Rule);
    }
    let mut text = rule.plain.clone();
    if let Some(until) = &rule.parsed.until {
        let last_second = jiff::civil::time(23, 59, 59, 0);
        let end = match civil(until).ok_or(Reason::Rule)? {
            // A day means all of it.
            (day, None) => day.at(23, 59, 59, 0),
            // Google ends a series of days so, and means the day although it says UTC.
            (_, Some(wall)) if rule.days && wall.time() == last_second => wall,
            (_, Some(wall)) if until.tz_hour.is_some() => {
                let instant = jiff::tz::TimeZone::UTC
                    .to_timestamp(wall)
                    .map_err(|_| Reason::Rule)?;
                zone.rules().to_datetime(instant)
            }
            (_, Some(wall)) => wall,
        };
        text.push_str(&format!(
            ";UNTIL={}Z",
            end.max(first).strftime("%Y%m%dT%H%M%S")
        ));
    }
    Ok(text)
}

/// The EWS recurrence with the same occurrences, if there is one.
fn translate(
    rule: &ICalendarRecurrenceRule,
    first: DateTime,
    original: &SeriesRule,
) -> Option<SeriesRule> {
    let horizon = first
        .checked_add(jiff::Span::new().years(40))
        .unwrap_or(DateTime::MAX);
    let slots = oracle_slots(original, first, horizon);
    let range = match (rule.count, &rule.until) {
        (Some(count), _) => Range::Numbered(count),
        (None, Some(_)) => Range::EndDate(slots.last()?.date()),
        (None, None) => Range::NoEnd,
    };
    let candidate = SeriesRule::Ews(Recurrence {
        pattern: pattern(rule, first.date())?,
        start: first.date(),
        range,
    });
    let same = match range {
        Range::NoEnd => oracle_slots(&candidate, first, horizon)
            .iter()
            .take(COMPARED)
            .eq(slots.iter().take(COMPARED)),
        _ => oracle_slots(&candidate, first, horizon) == slots,
    };
    same.then_some(candidate)
}

fn oracle_slots(rule: &SeriesRule, first: DateTime, until: DateTime) -> Vec<DateTime> {
    oracle::slots(rule, first, until)
}

/// The pattern a rule looks like; whether it is the same is checked by expansion.
fn pattern(rule: &ICalendarRecurrenceRule, first: Date) -> Option<Pattern> {
    let interval = u32::from(rule.interval.unwrap_or(1).max(1));
    let month = rule.bymonth.first().map_or(Some(first.month()), |month| {
        i8::try_from(month.month()).ok()
    })?;
    match rule.freq {
        ICalendarFrequency::Daily if rule.byday.is_empty() => Some(Pattern::Daily { interval }),
        ICalendarFrequency::Daily | ICalendarFrequency::Weekly => {
            let mut days: Vec<Weekday> =
                rule.byday.iter().map(|day| weekday(day.weekday)).collect();
            if days.is_empty() {
                days.push(first.weekday());
            }
            Some(Pattern::Weekly {
                interval,
                days,
                first_day: rule.wkst.map_or(Weekday::Monday, weekday),
            })
        }
        ICalendarFrequency::Monthly => Some(match relative(rule) {
            Some((kind, index)) => Pattern::RelativeMonthly {
                interval,
                kind,
                index,
            },
            None if rule.byday.is_empty() => Pattern::AbsoluteMonthly {
                interval,
                day: month_day(rule, first),
            },
            None => return None,
        }),
        // Every 2 years is every 24 months.
        ICalendarFrequency::Yearly if interval > 1 => Some(match relative(rule) {
            Some((kind, index)) => Pattern::RelativeMonthly {
                interval: interval * 12,
                kind,
                index,
            },
            None if rule.byday.is_empty() => Pattern::AbsoluteMonthly {
                interval: interval * 12,
                day: month_day(rule, first),
            },
            None => return None,
        }),
        ICalendarFrequency::Yearly => Some(match relative(rule) {
            Some((kind, index)) => Pattern::RelativeYearly { month, kind, index },
            None if rule.byday.is_empty() => Pattern::AbsoluteYearly {
                month,
                day: month_day(rule, first),
            },
            None => return None,
        }),
        _ => None,
    }
}

fn month_day(rule: &ICalendarRecurrenceRule, first: Date) -> i8 {
    match rule.bymonthday.first() {
        Some(-1) => 31,
        Some(day) => *day,
        None => first.day(),
    }
}

/// `2TU`, `-1FR`, or a set of days with BYSETPOS.
fn relative(rule: &ICalendarRecurrenceRule) -> Option<(DayKind, DayIndex)> {
    let index = |position: i32| match position {
        1 => Some(DayIndex::First),
        2 => Some(DayIndex::Second),
        3 => Some(DayIndex::Third),
        4 => Some(DayIndex::Fourth),
        -1 => Some(DayIndex::Last),
        _ => None,
    };
    match (rule.byday.as_slice(), rule.bysetpos.as_slice()) {
        (
            [
                ICalendarDay {
                    ordwk: Some(position),
                    weekday: day,
                },
            ],
            [],
        ) => Some((DayKind::On(weekday(*day)), index(i32::from(*position))?)),
        ([day], [position]) => Some((DayKind::On(weekday(day.weekday)), index(*position)?)),
        (days, [position]) => {
            let weekend = days
                .iter()
                .filter(|day| {
                    matches!(
                        day.weekday,
                        ICalendarWeekday::Saturday | ICalendarWeekday::Sunday
                    )
                })
                .count();
            let kind = match (days.len(), weekend) {
                (7, 2) => DayKind::Day,
                (5, 0) => DayKind::Weekday,
                (2, 2) => DayKind::WeekendDay,
                _ => return None,
            };
            Some((kind, index(*position)?))
        }
        _ => None,
    }
}

fn weekday(day: ICalendarWeekday) -> Weekday {
    match day {
        ICalendarWeekday::Sunday => Weekday::Sunday,
        ICalendarWeekday::Monday => Weekday::Monday,
        ICalendarWeekday::Tuesday => Weekday::Tuesday,
        ICalendarWeekday::Wednesday => Weekday::Wednesday,
        ICalendarWeekday::Thursday => Weekday::Thursday,
        ICalendarWeekday::Friday => Weekday::Friday,
        ICalendarWeekday::Saturday => Weekday::Saturday,
    }
}
