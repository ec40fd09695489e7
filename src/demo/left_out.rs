//! What Planner does not learn, and why: read off Exchange's calendars and Planner's content.

use std::collections::BTreeMap;

use calbridge_sandbox::exchange::{FreeBusy, Occurrence, Zone};
use calbridge_sandbox::planner::Operation;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::data::Data;
use super::failed;
use super::stage::Stage;
use super::story::{Subjects, when};
use crate::error::AppError;
use crate::output::table;

/// A table of the appointments that lie ahead and are not in Planner; one line for a series.
///
/// # Errors
/// The demo's dates are out of range.
pub(super) fn table_of(stage: &Stage, subjects: &Subjects) -> Result<String, AppError> {
    let setup = &stage.data.setup;
    let zone = Zone::denmark().rules().clone();
    let today = zone.to_datetime(setup.now).date();
    let begin = |date: Date| {
        zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0))
            .compatible()
            .map_err(failed)
    };
    let months = Span::new().months(setup.future_months);
    let days = Days {
        zone: zone.clone(),
        today,
        end: begin(today.checked_add(months).map_err(failed)?)?,
    };
    let far = begin(today.checked_add(Span::new().years(3)).map_err(failed)?)?;

    let mut groups: BTreeMap<(String, String, &'static str), Vec<Occurrence>> = BTreeMap::new();
    for mailbox in &setup.exchange {
        let address = &mailbox.address;
        let listed = setup.planner.resources.iter();
        if listed.filter(|one| one.address == *address).count() != 1 {
            continue;
        }
        for one in stage.exchange.occurrences(address, begin(today)?, far) {
            let Some(why) = why(stage, address, &one, &days) else {
                continue;
            };
            let key = (address.clone(), one.uid.clone(), why);
            groups.entry(key).or_default().push(one);
        }
    }
    // An endless series goes on beyond the window; that is nothing to tell.
    groups.retain(|(_, _, why), all| {
        *why != BEYOND || all.iter().all(|one| one.original_start.is_none())
    });
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|((address, uid, why), all)| row(&stage.data, subjects, &zone, address, uid, why, all))
        .collect();
    Ok(table(&["WHO", "WHEN", "WHAT", "WHY NOT"], &rows))
}

const BEYOND: &str = "lies beyond the window; sent once it comes near";

/// The days of the demo.
struct Days {
    zone: TimeZone,
    today: Date,
    /// Where the window ends.
    end: Timestamp,
}

fn why(stage: &Stage, address: &str, one: &Occurrence, days: &Days) -> Option<&'static str> {
    let own = stage.data.setup.planner.own.iter();
    Some(
        if own
            .filter(|own| own.mailbox == *address && own.id == one.uid)
            .any(|own| stage.planner.effective(Operation::CreateEvents, &own.id) == 0)
        {
            "is Planner's own"
        } else if one.cancelled {
            "is cancelled"
        } else if one.free_busy == FreeBusy::Free {
            "shows as free"
        } else if one.start == one.end {
            "takes no time"
        } else if days.zone.to_datetime(one.start).date() <= days.today {
            "starts today or has begun; Planner books from tomorrow on"
        } else if one.start >= days.end {
            BEYOND
        } else {
            return None;
        },
    )
}

fn row(
    data: &Data,
    subjects: &Subjects,
    zone: &TimeZone,
    address: &str,
    uid: &str,
    why: &str,
    all: &[Occurrence],
) -> Vec<String> {
    let mut at = all.first().map_or_else(String::new, |one| {
        when(zone.to_datetime(one.start), zone.to_datetime(one.end))
    });
    if all.len() > 1 {
        at.push_str(" and on");
    }
    let subject = subjects.get(&(address.to_lowercase(), uid.to_owned()));
    vec![
        data.name(address).to_owned(),
        at,
        subject.cloned().unwrap_or_default(),
        why.to_owned(),
    ]
}
