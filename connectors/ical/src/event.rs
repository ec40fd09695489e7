//! One `VEVENT`, read but not yet expanded.

use calcard::icalendar::{
    ICalendarComponent, ICalendarParameterName, ICalendarPeriod, ICalendarProperty, ICalendarValue,
};
use jiff::civil::DateTime;

use crate::components::{Component, outermost};
use crate::value::{Length, Moment, Wrong, civil};
use crate::zone::Zones;

/// One `VEVENT`: an event, the master of a series, or what one occurrence of it was changed to.
#[derive(Debug, Clone)]
pub(crate) struct Vevent {
    /// Where it begins in the file.
    pub(crate) line: usize,
    /// Its place among the revisions of the same event.
    pub(crate) sequence: i64,
    /// `RECURRENCE-ID`: which occurrence it replaces.
    pub(crate) replaces: Option<Moment>,
    /// When it begins. Absent: a cancellation that names no time.
    pub(crate) start: Option<Moment>,
    /// How long it lasts.
    pub(crate) length: Length,
    /// `RRULE`s.
    pub(crate) rules: Vec<Rule>,
    /// `RDATE`s, which may have lengths of their own.
    pub(crate) also: Vec<(Moment, Length)>,
    /// `EXDATE`s.
    pub(crate) except: Vec<Moment>,
    /// It says that it is cancelled.
    pub(crate) cancelled: bool,
    /// All its properties, for those that are only carried over.
    pub(crate) properties: ICalendarComponent,
}

/// An `RRULE`.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// As written, without `UNTIL`.
    pub(crate) text: String,
    /// `UNTIL` on the clock of the start.
    pub(crate) until: Option<DateTime>,
}

impl Vevent {
    /// Whether it stands for more than one occurrence.
    pub(crate) fn recurs(&self) -> bool {
        !self.rules.is_empty() || !self.also.is_empty()
    }

    /// Reads a component.
    ///
    /// # Errors
    /// [`Wrong`].
    pub(crate) fn read(component: &Component, zones: &Zones) -> Result<Self, Wrong> {
        let parsed = component.parse().ok_or(Wrong::Syntax)?;
        let properties = outermost(&parsed).ok_or(Wrong::Syntax)?.clone();
        let cancelled = component.cancels
            || text(&properties, &ICalendarProperty::Status)
                .is_some_and(|status| status.eq_ignore_ascii_case("CANCELLED"));
        if properties.has_property(&ICalendarProperty::Exrule) {
            return Err(Wrong::ExceptionRule);
        }
        let replaces = moments(&properties, &ICalendarProperty::RecurrenceId, zones)
            .map_err(|wrong| wrong.or(Wrong::Original))?
            .into_iter()
            .next();
        if properties
            .property(&ICalendarProperty::RecurrenceId)
            .is_some_and(|entry| entry.has_parameter(&ICalendarParameterName::Range))
        {
            return Err(Wrong::Range);
        }
        let start = moments(&properties, &ICalendarProperty::Dtstart, zones)?
            .into_iter()
            .next();
        let mut event = Self {
            line: component.line,
            sequence: properties
                .property(&ICalendarProperty::Sequence)
                .and_then(|entry| entry.values.first()?.as_integer())
                .unwrap_or(0),
            replaces,
            start: None,
            length: Length::Days(1),
            rules: Vec::new(),
            also: Vec::new(),
            except: Vec::new(),
            cancelled,
            properties,
        };
        match start {
            Some(start) => event.read_times(start, component, zones)?,
            None if cancelled => {}
            None => return Err(Wrong::Start),
        }
        Ok(event)
    }

    fn read_times(
        &mut self,
        start: Moment,
        component: &Component,
        zones: &Zones,
    ) -> Result<(), Wrong> {
        let properties = &self.properties;
        let end = moments(properties, &ICalendarProperty::Dtend, zones)
            .map_err(|wrong| wrong.or(Wrong::End))?
            .into_iter()
            .next();
        let (start, end) = whole_days(properties, start, end);
        let duration = properties
            .property(&ICalendarProperty::Duration)
            .and_then(|entry| entry.values.first());
        self.length = match (&end, duration) {
            (None, Some(ICalendarValue::Duration(duration))) => Length::of(duration, &start)?,
            (None, Some(_)) => return Err(Wrong::End),
            _ => Length::between(&start, end.as_ref(), &zones.home)?,
        };
        self.except = moments(properties, &ICalendarProperty::Exdate, zones)
            .map_err(|wrong| wrong.or(Wrong::Dates))?;
        self.also = additions(properties, self.length, zones)?;
        self.rules = component
            .raw("RRULE")
            .map(|text| rule(text, &start, zones))
            .collect::<Result<_, _>>()?;
        self.start = Some(start);
        Ok(())
    }
}

impl Wrong {
    /// This if it says more than "no date", else `other`.
    fn or(self, other: Self) -> Self {
        if self == Self::Start { other } else { self }
    }
}

/// The text of a property.
pub(crate) fn text(properties: &ICalendarComponent, name: &ICalendarProperty) -> Option<String> {
    let value = properties.property(name)?.values.first()?;
    Some(value.as_text()?.to_owned())
}

/// All dates and times that a property gives, in all its content lines. An empty value is none.
fn moments(
    properties: &ICalendarComponent,
    name: &ICalendarProperty,
    zones: &Zones,
) -> Result<Vec<Moment>, Wrong> {
    let mut all = Vec::new();
    for entry in properties.properties(name) {
        for value in &entry.values {
            match value {
                ICalendarValue::PartialDateTime(value) => {
                    all.push(Moment::read(value, entry, zones)?);
                }
                ICalendarValue::Text(text) if text.trim().is_empty() => {}
                _ => return Err(Wrong::Start),
            }
        }
    }
    Ok(all)
}

/// `RDATE`s: dates, times, or periods with a length of their own.
fn additions(
    properties: &ICalendarComponent,
    length: Length,
    zones: &Zones,
) -> Result<Vec<(Moment, Length)>, Wrong> {
    let mut all = Vec::new();
    for entry in properties.properties(&ICalendarProperty::Rdate) {
        for value in &entry.values {
            all.push(match value {
                ICalendarValue::PartialDateTime(value) => {
                    (Moment::read(value, entry, zones)?, length)
                }
                ICalendarValue::Period(ICalendarPeriod::Range { start, end }) => {
                    let start = Moment::read(start, entry, zones)?;
                    let end = Moment::read(end, entry, zones)?;
                    let length = Length::between(&start, Some(&end), &zones.home)?;
                    (start, length)
                }
                ICalendarValue::Period(ICalendarPeriod::Duration { start, duration }) => {
                    let start = Moment::read(start, entry, zones)?;
                    let length = Length::of(duration, &start)?;
                    (start, length)
                }
                ICalendarValue::Text(text) if text.trim().is_empty() => continue,
                _ => return Err(Wrong::Dates),
            });
        }
    }
    Ok(all)
}

/// Outlook marks whole days that it writes as times from midnight to midnight (MS-OXCICAL,
/// X-MICROSOFT-CDO-ALLDAYEVENT).
fn whole_days(
    properties: &ICalendarComponent,
    start: Moment,
    end: Option<Moment>,
) -> (Moment, Option<Moment>) {
    let marked = text(
        properties,
        &ICalendarProperty::Other("X-MICROSOFT-CDO-ALLDAYEVENT".to_owned()),
    )
    .is_some_and(|value| value.eq_ignore_ascii_case("TRUE"));
    let midnight = |at: &Moment| at.wall().time() == jiff::civil::Time::midnight();
    match end {
        Some(end) if marked && midnight(&start) && midnight(&end) => (
            Moment::Day(start.wall().date()),
            Some(Moment::Day(end.wall().date())),
        ),
        end => (start, end),
    }
}

/// A rule with its `UNTIL` on the clock of the start.
///
/// `UNTIL` should have the type of `DTSTART`; exporters get that wrong both ways. A day means all of that
/// day; an instant means what the clock of the start (at home, for a series of days) shows then.
fn rule(written: &str, start: &Moment, zones: &Zones) -> Result<Rule, Wrong> {
    let home = &zones.home;
    let mut until = None;
    let mut parts = Vec::new();
    for part in written.split(';') {
        // Blanks within a list are an old Exchange's.
        let part: String = part.chars().filter(|c| !c.is_whitespace()).collect();
        match part.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("UNTIL") => {
                until = Some(end_of_rule(value, start, home)?);
            }
            _ if part.is_empty() => {}
            _ => parts.push(part),
        }
    }
    Ok(Rule {
        text: parts.join(";"),
        until,
    })
}

fn end_of_rule(value: &str, start: &Moment, home: &jiff::tz::TimeZone) -> Result<DateTime, Wrong> {
    let utc = value.ends_with(['Z', 'z']);
    let (date, time) = value
        .trim_end_matches(['Z', 'z'])
        .split_once(['T', 't'])
        .unwrap_or((value, ""));
    let digits = |text: &str, from: usize, to: usize| -> Result<u16, Wrong> {
        let digits = text.get(from..to).ok_or(Wrong::Rule)?;
        digits.parse().map_err(|_| Wrong::Rule)
    };
    let small = |text: &str, from: usize, to: usize| {
        digits(text, from, to).and_then(|n| u8::try_from(n).map_err(|_| Wrong::Rule))
    };
    let mut parsed = calcard::common::PartialDateTime {
        year: Some(digits(date, 0, 4)?),
        month: Some(small(date, 4, 6)?),
        day: Some(small(date, 6, 8)?),
        ..Default::default()
    };
    if time.is_empty() {
        let day = civil(&parsed).map_err(|_| Wrong::Rule)?.date();
        return Ok(day.at(23, 59, 59, 0));
    }
    parsed.hour = Some(small(time, 0, 2)?);
    parsed.minute = Some(small(time, 2, 4)?);
    parsed.second = Some(small(time, 4, 6)?);
    let wall = civil(&parsed).map_err(|_| Wrong::Rule)?;
    // Google ends a series of days with the last second of its last day, and says UTC without meaning it.
    let literal = matches!(start, Moment::Day(_)) && time == "235959";
    if !utc || literal {
        return Ok(wall);
    }
    let at = Moment::Time(wall, jiff::tz::TimeZone::UTC).instant(home)?;
    Ok(start.zone(home).to_datetime(at))
}
