//! `t:StartTimeZone`: a time zone's full definition.

use super::values::{duration_seconds, time, trimmed};
use crate::error::WireError;
use crate::recurrence::DayMask;
use crate::xml::{Open, Pull};
use crate::zones::{Definition, DefinitionPeriod, DefinitionRule, RuleDay, Transition};

/// `TimeZoneDefinitionType`.
pub(super) fn definition(pull: &mut Pull<'_>, open: &Open) -> Result<Definition, WireError> {
    let mut zone = Definition {
        id: open.attribute("Id").unwrap_or_default().to_owned(),
        name: open.attribute("Name").unwrap_or_default().to_owned(),
        ..Definition::default()
    };
    pull.children::<WireError>(|pull, open| {
        match open.name.as_str() {
            "Periods" => pull.children::<WireError>(|_, open| {
                // One that cannot be read defines nothing; the zone's name may still say it all.
                if let Some(bias) = open.attribute("Bias").and_then(duration_seconds) {
                    zone.periods.push(DefinitionPeriod {
                        id: open.attribute("Id").unwrap_or_default().to_owned(),
                        bias,
                    });
                }
                Ok(())
            })?,
            "TransitionsGroups" => pull.children::<WireError>(|pull, open| {
                let id = open.attribute("Id").unwrap_or_default().to_owned();
                let mut rules = Vec::new();
                pull.children::<WireError>(|pull, open| {
                    rules.push(transition_rule(pull, open)?);
                    Ok(())
                })?;
                zone.groups.push((id, rules));
                Ok(())
            })?,
            "Transitions" => pull.children::<WireError>(|pull, _| {
                let mut group = String::new();
                let mut from = None;
                pull.children::<WireError>(|pull, open| {
                    match open.name.as_str() {
                        "To" => group = trimmed(pull)?,
                        "DateTime" => from = Some(time(pull, "a time zone's transition")?),
                        _ => {}
                    }
                    Ok(())
                })?;
                zone.transitions.push(Transition { group, from });
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(zone)
}

pub(super) fn transition_rule(
    pull: &mut Pull<'_>,
    open: &Open,
) -> Result<DefinitionRule, WireError> {
    let recurring_day = open.name == "RecurringDayTransition";
    let recurring_date = open.name == "RecurringDateTransition";
    let mut period = String::new();
    let mut offset = 0;
    let (mut month, mut weekday, mut nth, mut day) = (None, None, None, None);
    pull.children::<WireError>(|pull, open| {
        let text = trimmed(pull)?;
        match open.name.as_str() {
            "To" => period = text,
            "TimeOffset" => offset = duration_seconds(&text).unwrap_or_default(),
            "Month" => month = text.parse::<i8>().ok().filter(|m| (1..=12).contains(m)),
            "DayOfWeek" => weekday = DayMask::parse(&text).and_then(DayMask::single),
            "Occurrence" => nth = text.parse::<i8>().ok(),
            "Day" => day = text.parse::<i8>().ok().filter(|d| (1..=31).contains(d)),
            _ => {}
        }
        Ok(())
    })?;
    let when = match (recurring_day, recurring_date, month) {
        (true, _, Some(month)) => match (weekday, nth) {
            (Some(weekday), Some(nth)) => Some((month, RuleDay::Nth(nth, weekday))),
            _ => None,
        },
        (_, true, Some(month)) => day.map(|day| (month, RuleDay::Day(day))),
        _ => None,
    };
    Ok(DefinitionRule {
        period,
        offset,
        when,
    })
}
