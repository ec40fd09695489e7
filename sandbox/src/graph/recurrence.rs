//! Recurrences in Graph's words (Graph, resources `recurrencePattern` and `recurrenceRange`).

use jiff::civil::Weekday;
use serde_json::{Value, json};

use crate::exchange::{DayIndex, DayKind, Pattern, Range, Recurrence};

pub(super) fn render(recurrence: &Recurrence, zone: &str) -> Value {
    let range = match recurrence.range {
        Range::NoEnd => {
            json!({ "type": "noEnd", "endDate": "0001-01-01", "numberOfOccurrences": 0 })
        }
        Range::EndDate(end) => {
            json!({ "type": "endDate", "endDate": end.to_string(), "numberOfOccurrences": 0 })
        }
        Range::Numbered(count) => {
            json!({ "type": "numbered", "endDate": "0001-01-01", "numberOfOccurrences": count })
        }
    };
    let mut range = range;
    range["startDate"] = json!(recurrence.start.to_string());
    range["recurrenceTimeZone"] = json!(zone);
    json!({ "pattern": pattern(&recurrence.pattern), "range": range })
}

fn pattern(pattern: &Pattern) -> Value {
    let mut value = json!({
        "interval": 1, "month": 0, "dayOfMonth": 0, "firstDayOfWeek": "sunday", "index": "first",
    });
    match pattern {
        Pattern::Daily { interval } => {
            value["type"] = json!("daily");
            value["interval"] = json!(interval);
        }
        Pattern::Weekly {
            interval,
            days,
            first_day,
        } => {
            value["type"] = json!("weekly");
            value["interval"] = json!(interval);
            value["daysOfWeek"] = days.iter().map(|day| weekday(*day)).collect();
            value["firstDayOfWeek"] = json!(weekday(*first_day));
        }
        Pattern::AbsoluteMonthly { interval, day } => {
            value["type"] = json!("absoluteMonthly");
            value["interval"] = json!(interval);
            value["dayOfMonth"] = json!(day);
        }
        Pattern::RelativeMonthly {
            interval,
            kind,
            index,
        } => {
            value["type"] = json!("relativeMonthly");
            value["interval"] = json!(interval);
            value["daysOfWeek"] = days_of(*kind);
            value["index"] = json!(index_name(*index));
        }
        Pattern::AbsoluteYearly { month, day } => {
            value["type"] = json!("absoluteYearly");
            value["month"] = json!(month);
            value["dayOfMonth"] = json!(day);
        }
        Pattern::RelativeYearly { month, kind, index } => {
            value["type"] = json!("relativeYearly");
            value["month"] = json!(month);
            value["daysOfWeek"] = days_of(*kind);
            value["index"] = json!(index_name(*index));
        }
    }
    value
}

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

fn days_of(kind: DayKind) -> Value {
    let days = match kind {
        DayKind::On(day) => vec![day],
        DayKind::Day => WEEK.to_vec(),
        DayKind::Weekday => WEEK.iter().take(5).copied().collect(),
        DayKind::WeekendDay => vec![Weekday::Saturday, Weekday::Sunday],
    };
    days.into_iter().map(weekday).collect()
}

fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}

fn index_name(index: DayIndex) -> &'static str {
    match index {
        DayIndex::First => "first",
        DayIndex::Second => "second",
        DayIndex::Third => "third",
        DayIndex::Fourth => "fourth",
        DayIndex::Last => "last",
    }
}

/// Reads a recurrence; `None` if it is none.
pub(super) fn read(value: &Value) -> Option<Recurrence> {
    let pattern = value.get("pattern")?;
    let range = value.get("range")?;
    let number = |name: &str| pattern.get(name).and_then(Value::as_u64).unwrap_or(0);
    let interval = u32::try_from(number("interval"))
        .ok()
        .filter(|one| *one > 0)?;
    let day = || {
        i8::try_from(number("dayOfMonth"))
            .ok()
            .filter(|day| (1..=31).contains(day))
    };
    let month = || {
        i8::try_from(number("month"))
            .ok()
            .filter(|month| (1..=12).contains(month))
    };
    let days = || -> Option<Vec<Weekday>> {
        let named = pattern.get("daysOfWeek")?.as_array()?;
        named
            .iter()
            .map(|name| {
                WEEK.into_iter()
                    .find(|day| Some(weekday(*day)) == name.as_str())
            })
            .collect()
    };
    let kind = || -> Option<DayKind> {
        let days = days()?;
        Some(match days.as_slice() {
            [one] => DayKind::On(*one),
            [Weekday::Saturday, Weekday::Sunday] => DayKind::WeekendDay,
            days if days.len() == 5 => DayKind::Weekday,
            days if days.len() == 7 => DayKind::Day,
            _ => return None,
        })
    };
    let index = || {
        let name = pattern
            .get("index")
            .and_then(Value::as_str)
            .unwrap_or("first");
        [
            DayIndex::First,
            DayIndex::Second,
            DayIndex::Third,
            DayIndex::Fourth,
            DayIndex::Last,
        ]
        .into_iter()
        .find(|index| index_name(*index) == name)
    };
    let first_day = pattern
        .get("firstDayOfWeek")
        .and_then(Value::as_str)
        .and_then(|name| WEEK.into_iter().find(|day| weekday(*day) == name))
        .unwrap_or(Weekday::Sunday);
    let pattern = match pattern.get("type")?.as_str()? {
        "daily" => Pattern::Daily { interval },
        "weekly" => Pattern::Weekly {
            interval,
            days: days().filter(|days| !days.is_empty())?,
            first_day,
        },
        "absoluteMonthly" => Pattern::AbsoluteMonthly {
            interval,
            day: day()?,
        },
        "relativeMonthly" => Pattern::RelativeMonthly {
            interval,
            kind: kind()?,
            index: index()?,
        },
        "absoluteYearly" => Pattern::AbsoluteYearly {
            month: month()?,
            day: day()?,
        },
        "relativeYearly" => Pattern::RelativeYearly {
            month: month()?,
            kind: kind()?,
            index: index()?,
        },
        _ => return None,
    };
    let date = |name: &str| range.get(name)?.as_str()?.parse().ok();
    let end = match range.get("type")?.as_str()? {
        "noEnd" => Range::NoEnd,
        "endDate" => Range::EndDate(date("endDate")?),
        "numbered" => {
            let count = range.get("numberOfOccurrences")?.as_u64()?;
            Range::Numbered(u32::try_from(count).ok().filter(|count| *count > 0)?)
        }
        _ => return None,
    };
    Some(Recurrence {
        pattern,
        start: date("startDate")?,
        range: end,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for pattern in [
            Pattern::Daily { interval: 3 },
            Pattern::Weekly {
                interval: 2,
                days: vec![Weekday::Monday, Weekday::Thursday],
                first_day: Weekday::Monday,
            },
            Pattern::AbsoluteMonthly {
                interval: 1,
                day: 31,
            },
            Pattern::RelativeMonthly {
                interval: 1,
                kind: DayKind::Weekday,
                index: DayIndex::Last,
            },
            Pattern::AbsoluteYearly { month: 2, day: 29 },
            Pattern::RelativeYearly {
                month: 11,
                kind: DayKind::On(Weekday::Thursday),
                index: DayIndex::Fourth,
            },
        ] {
            for range in [
                Range::NoEnd,
                Range::EndDate(date(2027, 1, 1)),
                Range::Numbered(7),
            ] {
                let recurrence = Recurrence {
                    pattern: pattern.clone(),
                    start: date(2026, 12, 1),
                    range,
                };
                assert_eq!(read(&render(&recurrence, "UTC")), Some(recurrence));
            }
        }
    }
}
