//! Dates, times and lengths as a component gives them, and what can be wrong with them.

use calbridge_core::model::{EventTime, OriginalStart};
use calcard::common::PartialDateTime;
use calcard::icalendar::{ICalendarDuration, ICalendarEntry};
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::zone::{Zones, iana_name};

/// Why one component cannot be described. Nothing of its content is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// calcard makes nothing of it.
    #[error("it is not an iCalendar component")]
    Syntax,
    /// There is no `DTSTART`, or it is no date or time.
    #[error("DTSTART is missing or is no date")]
    Start,
    /// `DTEND` or `DURATION` is no time, or lies before the start.
    #[error("DTEND or DURATION cannot be read or ends before the start")]
    End,
    /// `RECURRENCE-ID` is no date or time.
    #[error("RECURRENCE-ID is no date")]
    Original,
    /// `RANGE=THISANDFUTURE`, which changes a series from one occurrence on.
    #[error("RECURRENCE-ID with RANGE=THISANDFUTURE is not supported; split the series in two")]
    Range,
    /// `EXDATE` or `RDATE` holds what is no date or time.
    #[error("EXDATE or RDATE holds a value that is no date")]
    Dates,
    /// `RRULE` cannot be understood.
    #[error("RRULE cannot be understood")]
    Rule,
    /// `EXRULE`, which RFC 5545 took out of iCalendar.
    #[error("EXRULE is not supported; use EXDATE")]
    ExceptionRule,
    /// More than hourly, or more occurrences than anybody can keep.
    #[error(
        "RRULE gives too many occurrences; at most hourly, and no more than 200000 until today"
    )]
    TooOften,
    /// Two series under one UID: nobody could tell their occurrences apart.
    #[error("a second series has the same UID; give it another one")]
    SecondSeries,
    /// A `TZID` that is no known name and has no usable `VTIMEZONE`.
    #[error("the TZID is no known zone and the file has no usable VTIMEZONE for it")]
    Zone,
}

/// A `DATE` or a `DATE-TIME` with its zone.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// A whole day.
    Day(Date),
    /// What the clock on the wall shows in a zone.
    Time(DateTime, TimeZone),
}

impl Moment {
    /// A value of `entry`, whose zone is `Z`, its `TZID`, or the zone of times without one.
    pub(crate) fn read(
        value: &PartialDateTime,
        entry: &ICalendarEntry,
        zones: &Zones,
    ) -> Result<Self, Wrong> {
        let wall = civil(value)?;
        if value.hour.is_none() {
            return Ok(Self::Day(wall.date()));
        }
        let zone = match (value.tz_hour, entry.tz_id()) {
            (Some(hours), _) => {
                let minutes = i32::from(hours) * 60 + i32::from(value.tz_minute.unwrap_or(0));
                let seconds = if value.tz_minus { -minutes } else { minutes } * 60;
                let offset = Offset::from_seconds(seconds).map_err(|_| Wrong::Zone)?;
                if seconds == 0 {
                    TimeZone::UTC
                } else {
                    TimeZone::fixed(offset)
                }
            }
            (None, Some(tzid)) => zones.find(tzid)?,
            (None, None) => zones.home.clone(),
        };
        Ok(Self::Time(wall, zone))
    }

    /// What the clock shows; midnight of a day.
    pub(crate) fn wall(&self) -> DateTime {
        match self {
            Self::Day(date) => date.at(0, 0, 0, 0),
            Self::Time(wall, _) => *wall,
        }
    }

    /// Another time on the same clock.
    pub(crate) fn with_wall(&self, wall: DateTime) -> Self {
        match self {
            Self::Day(_) => Self::Day(wall.date()),
            Self::Time(_, zone) => Self::Time(wall, zone.clone()),
        }
    }

    /// The zone whose clock it is; a day begins in `home`.
    pub(crate) fn zone<'a>(&'a self, home: &'a TimeZone) -> &'a TimeZone {
        match self {
            Self::Day(_) => home,
            Self::Time(_, zone) => zone,
        }
    }

    /// The instant. A time that the spring change skips is taken by the offset before it, and of a time that
    /// comes twice the first one is meant (RFC 5545, section 3.3.5). An occurrence in the gap is therefore
    /// kept, as mail clients do, although section 3.3.10 would drop it: a meeting lost is worse.
    pub(crate) fn instant(&self, home: &TimeZone) -> Result<Timestamp, Wrong> {
        self.zone(home)
            .to_ambiguous_timestamp(self.wall())
            .compatible()
            .map_err(|_| Wrong::Start)
    }

    /// The day on the wall: of an instant in UTC in `home`.
    pub(crate) fn date(&self, home: &TimeZone) -> Date {
        match self {
            Self::Time(_, zone) if *zone == TimeZone::UTC => self
                .instant(home)
                .map_or(self.wall(), |at| home.to_datetime(at))
                .date(),
            _ => self.wall().date(),
        }
    }

    /// The original start that it names in the series that begins with `first`: a day for a series of days,
    /// an instant for any other. Exporters mix both kinds up; a day in a series of times means its
    /// occurrence on that day.
    pub(crate) fn original(&self, first: &Self, home: &TimeZone) -> Result<OriginalStart, Wrong> {
        Ok(match (first, self) {
            (Self::Day(_), _) => OriginalStart::Date(self.date(home)),
            (Self::Time(wall, _), Self::Day(date)) => {
                let there = first.with_wall(date.to_datetime(wall.time()));
                OriginalStart::Instant(there.instant(home)?)
            }
            (Self::Time(..), Self::Time(..)) => OriginalStart::Instant(self.instant(home)?),
        })
    }
}

/// How long an event lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Days, for events of whole days.
    Days(i64),
    /// `DTEND` minus `DTSTART`: exactly as long at every occurrence (RFC 5545, section 3.8.5.3).
    Exact(SignedDuration),
    /// `DURATION`: its days are days on the calendar, whatever their hours.
    Nominal(i64, SignedDuration),
}

impl Length {
    /// From start to end. Without an end: a day, or no time at all (RFC 5545, section 3.6.1). An end on the
    /// day of the start is read as a whole day, which is what exporters mean by it.
    pub(crate) fn between(
        start: &Moment,
        end: Option<&Moment>,
        home: &TimeZone,
    ) -> Result<Self, Wrong> {
        match (start, end) {
            (Moment::Day(_), None) => Ok(Self::Days(1)),
            (Moment::Time(..), None) => Ok(Self::Exact(SignedDuration::ZERO)),
            (Moment::Day(first), Some(end)) => {
                let days = first.duration_until(end.date(home)).as_hours() / 24;
                if days < 0 {
                    Err(Wrong::End)
                } else {
                    Ok(Self::Days(days.max(1)))
                }
            }
            (Moment::Time(..), Some(end)) => {
                let end = match end {
                    Moment::Day(_) => start.with_wall(end.wall()),
                    Moment::Time(..) => end.clone(),
                };
                let length = end.instant(home)?.duration_since(start.instant(home)?);
                if length.is_negative() {
                    Err(Wrong::End)
                } else {
                    Ok(Self::Exact(length))
                }
            }
        }
    }

    /// What `DURATION` says of an event that begins with `start`.
    pub(crate) fn of(duration: &ICalendarDuration, start: &Moment) -> Result<Self, Wrong> {
        if duration.neg && !duration.is_empty() {
            return Err(Wrong::End);
        }
        let days = i64::from(duration.weeks) * 7 + i64::from(duration.days);
        let rest = i64::from(duration.hours) * 3600
            + i64::from(duration.minutes) * 60
            + i64::from(duration.seconds);
        Ok(match start {
            Moment::Day(_) => Self::Days((days + (rest + 86_399) / 86_400).max(1)),
            Moment::Time(..) => Self::Nominal(days, SignedDuration::from_secs(rest)),
        })
    }

    /// Days that surely hold it.
    pub(crate) fn days(self) -> i64 {
        match self {
            Self::Days(days) => days,
            Self::Exact(length) => length.as_hours() / 24 + 1,
            Self::Nominal(days, rest) => days + rest.as_hours() / 24 + 1,
        }
    }

    /// The time of an event that begins with `start` and is this long.
    pub(crate) fn from(self, start: &Moment, home: &TimeZone) -> Result<EventTime, Wrong> {
        match (start, self) {
            (Moment::Day(first), length) => {
                let days = length.days().max(1);
                let end = first.checked_add(span(days)?).map_err(|_| Wrong::End)?;
                EventTime::all_day(*first, end).map_err(|_| Wrong::End)
            }
            (Moment::Time(wall, zone), length) => {
                let begin = start.instant(home)?;
                let end = match length {
                    Self::Exact(length) => begin.checked_add(length),
                    Self::Days(days) | Self::Nominal(days, _) => {
                        let wall = wall.checked_add(span(days)?).map_err(|_| Wrong::End)?;
                        let rest = if let Self::Nominal(_, rest) = length {
                            rest
                        } else {
                            SignedDuration::ZERO
                        };
                        start.with_wall(wall).instant(home)?.checked_add(rest)
                    }
                };
                let end = end.map_err(|_| Wrong::End)?;
                EventTime::timed(begin, end, iana_name(zone)).map_err(|_| Wrong::End)
            }
        }
    }
}

/// So many days, unless there are more than a calendar has.
pub(crate) fn span(days: i64) -> Result<jiff::Span, Wrong> {
    let days = i32::try_from(days).map_err(|_| Wrong::End)?;
    0.days().try_days(days).map_err(|_| Wrong::End)
}

/// A date with or without a time, without its zone; midnight where there is no time. A leap second is the
/// second before it.
pub(crate) fn civil(value: &PartialDateTime) -> Result<DateTime, Wrong> {
    let small = |n: Option<u8>| i8::try_from(n.unwrap_or(0)).map_err(|_| Wrong::Start);
    let (Some(year), Some(_), Some(_)) = (value.year, value.month, value.day) else {
        return Err(Wrong::Start);
    };
    DateTime::new(
        i16::try_from(year).map_err(|_| Wrong::Start)?,
        small(value.month)?,
        small(value.day)?,
        small(value.hour)?,
        small(value.minute)?,
        small(value.second)?.min(59),
        0,
    )
    .map_err(|_| Wrong::Start)
}
