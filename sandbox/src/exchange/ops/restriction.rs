//! Restrictions (EWS RestrictionType) over the textual values of properties.

use std::cmp::Ordering;

use crate::exchange::time::{WireTime, parse_date_time};
use crate::exchange::xml::Element;

/// Whether a restriction holds. `None`: it uses something that cannot be searched for.
pub(super) fn holds(filter: &Element, get: &dyn Fn(&str) -> Option<String>) -> Option<bool> {
    match filter.local() {
        "And" => filter
            .children
            .iter()
            .try_fold(true, |all, part| Some(all && holds(part, get)?)),
        "Or" => filter
            .children
            .iter()
            .try_fold(false, |any, part| Some(any || holds(part, get)?)),
        "Not" => filter
            .children
            .first()
            .and_then(|part| holds(part, get))
            .map(|held| !held),
        "Exists" => Some(get(&field(filter)?).is_some()),
        "IsEqualTo" => compare(filter, get).map(|order| order == Some(Ordering::Equal)),
        "IsNotEqualTo" => compare(filter, get).map(|order| order != Some(Ordering::Equal)),
        "IsGreaterThan" => compare(filter, get).map(|order| order == Some(Ordering::Greater)),
        "IsGreaterThanOrEqualTo" => {
            compare(filter, get).map(|order| order.is_some_and(Ordering::is_ge))
        }
        "IsLessThan" => compare(filter, get).map(|order| order == Some(Ordering::Less)),
        "IsLessThanOrEqualTo" => {
            compare(filter, get).map(|order| order.is_some_and(Ordering::is_le))
        }
        "Contains" => {
            let wanted = filter.child("t:Constant")?.get("Value")?.to_lowercase();
            let value = get(&field(filter)?).unwrap_or_default().to_lowercase();
            Some(match filter.get("ContainmentMode") {
                Some("FullString") => value == wanted,
                Some("Prefixed") => value.starts_with(&wanted),
                _ => value.contains(&wanted),
            })
        }
        _ => None,
    }
}

/// The property that a condition is about: a FieldURI, or an extended path in one line.
fn field(condition: &Element) -> Option<String> {
    let path = condition.children.first()?;
    match path.local() {
        "FieldURI" => path.get("FieldURI").map(str::to_owned),
        "ExtendedFieldURI" => {
            let path = crate::exchange::shape::extended_path(path);
            Some(
                path.iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        }
        _ => None,
    }
}

fn compare(condition: &Element, get: &dyn Fn(&str) -> Option<String>) -> Option<Option<Ordering>> {
    let wanted = condition
        .child("t:FieldURIOrConstant")?
        .child("t:Constant")?
        .get("Value")?;
    let Some(value) = get(&field(condition)?) else {
        return Some(None);
    };
    if let (Some(WireTime::Instant(left)), Some(WireTime::Instant(right))) =
        (parse_date_time(&value), parse_date_time(wanted))
    {
        return Some(Some(left.cmp(&right)));
    }
    if let (Ok(left), Ok(right)) = (value.parse::<i64>(), wanted.parse::<i64>()) {
        return Some(Some(left.cmp(&right)));
    }
    Some(Some(value.as_str().cmp(wanted)))
}
