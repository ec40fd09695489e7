//! What users do in Outlook, done to the Exchange server.

use calbridge_sandbox::exchange::{
    Appointment, ExchangeSandbox, Folder, FreeBusy, ItemHandle, NewItem, Pattern, Range,
    Recurrence, Zone,
};
use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};

use super::data::{Change, OutlookSeries, What};
use super::failed;
use crate::error::AppError;

/// Does one change in all its mailboxes.
///
/// # Errors
/// The change names an appointment that is not there, or more than one.
pub(super) fn apply(exchange: &ExchangeSandbox, change: &Change) -> Result<(), AppError> {
    for mailbox in &change.mailboxes {
        apply_to(exchange, mailbox, &change.uid, &change.what)?;
    }
    Ok(())
}

fn apply_to(
    exchange: &ExchangeSandbox,
    mailbox: &str,
    uid: &str,
    what: &What,
) -> Result<(), AppError> {
    let zone = Zone::denmark();
    let one = |was: Option<DateTime>| find(exchange, mailbox, uid, was);
    match what {
        What::Create {
            subject,
            start,
            end,
        } => {
            let item = NewItem::at(subject, *start, *end, &zone).uid(uid);
            exchange.create(mailbox, item).map(drop).map_err(failed)
        }
        What::Move { start, end } => {
            let times = times(*start, *end, &zone)?;
            let set = |content: &mut Appointment| set_times(content, times);
            exchange.change(one(None)?, set).map_err(failed)
        }
        What::Cancel => exchange.cancel(one(None)?).map_err(failed),
        What::Free => exchange.show_as(one(None)?, FreeBusy::Free).map_err(failed),
        What::Busy => exchange.show_as(one(None)?, FreeBusy::Busy).map_err(failed),
        What::Delete { was } => exchange.delete(one(*was)?).map(drop).map_err(failed),
        What::MoveOccurrence {
            occurrence,
            start,
            end,
        } => {
            let times = times(*start, *end, &zone)?;
            let set = |content: &mut Appointment| set_times(content, times);
            exchange
                .change_occurrence(one(None)?, instant(*occurrence, &zone)?, set)
                .map_err(failed)
        }
        What::DeleteOccurrence { occurrence } => exchange
            .delete_occurrence(one(None)?, instant(*occurrence, &zone)?)
            .map_err(failed),
        What::Reschedule {
            start,
            end,
            weekly_on,
            count,
        } => {
            let rule = Recurrence {
                pattern: Pattern::Weekly {
                    interval: 1,
                    days: weekly_on
                        .iter()
                        .map(|day| weekday(day))
                        .collect::<Result<_, _>>()?,
                    first_day: Weekday::Monday,
                },
                start: start.date(),
                range: Range::Numbered(*count),
            };
            let times = times(*start, *end, &zone)?;
            let set = |content: &mut Appointment| set_times(content, times);
            exchange
                .reschedule(one(None)?, Some(rule.into()), set)
                .map_err(failed)
        }
    }
}

/// Puts a series on a day of the month into a mailbox.
///
/// # Errors
/// There is no such mailbox.
pub(super) fn outlook_series(
    exchange: &ExchangeSandbox,
    series: &OutlookSeries,
) -> Result<(), AppError> {
    let rule = Recurrence {
        pattern: Pattern::AbsoluteMonthly {
            interval: 1,
            day: series.every_month_on_day,
        },
        start: series.start.date(),
        range: Range::NoEnd,
    };
    let item = NewItem::at(&series.subject, series.start, series.end, &Zone::denmark())
        .uid(&series.uid)
        .repeating(rule);
    exchange
        .create(&series.mailbox, item)
        .map(drop)
        .map_err(failed)
}

/// The one item of a calendar with this UID, or that of them which begins at `was`.
fn find(
    exchange: &ExchangeSandbox,
    mailbox: &str,
    uid: &str,
    was: Option<DateTime>,
) -> Result<ItemHandle, AppError> {
    let was = was.map(|was| instant(was, &Zone::denmark())).transpose()?;
    let mut found = Vec::new();
    for item in exchange.items(mailbox, Folder::Calendar) {
        let (of, _, _, content) = exchange.read(item).map_err(failed)?;
        if of == uid && was.is_none_or(|was| content.start == was) {
            found.push(item);
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        _ => Err(failed(format!(
            "{uid} names {} appointments of {mailbox}",
            found.len()
        ))),
    }
}

fn set_times(content: &mut Appointment, (start, end): (Timestamp, Timestamp)) {
    content.start = start;
    content.end = end;
    content.all_day = false;
}

fn times(start: DateTime, end: DateTime, zone: &Zone) -> Result<(Timestamp, Timestamp), AppError> {
    Ok((instant(start, zone)?, instant(end, zone)?))
}

fn instant(wall: DateTime, zone: &Zone) -> Result<Timestamp, AppError> {
    zone.rules()
        .to_ambiguous_timestamp(wall)
        .compatible()
        .map_err(failed)
}

fn weekday(name: &str) -> Result<Weekday, AppError> {
    Ok(match name {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        other => return Err(failed(format!("`{other}` is no weekday"))),
    })
}
