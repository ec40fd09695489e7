//! FindItem, with CalendarView (expanded by the server) and with paging (masters and single items).

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::get_item::expanded;
use super::restriction;
use crate::exchange::access::{Context, folder_id};
use crate::exchange::goid::global_object_id;
use crate::exchange::item::Folder;
use crate::exchange::render::{Style, Subject, calendar_item};
use crate::exchange::shape::Shape;
use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::time::parse_date_time;
use crate::exchange::xml::Element;

/// EWSFindCountLimit: the most items that one find returns.
const FIND_LIMIT: usize = 1000;

/// EWS FindItem.
pub(super) fn find_item(context: &mut Context<'_>, request: &Element) -> Outcome {
    let ids = request
        .child("m:ParentFolderIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let messages = ids.iter().map(|id| {
        let found = context
            .folder(id, false)
            .and_then(|(mailbox, folder)| find(context, request, mailbox, folder));
        match found {
            Ok(root) => success("FindItem", [root]),
            Err(error) => failure("FindItem", &error),
        }
    });
    Outcome::Answer(answer("FindItem", messages.collect::<Vec<_>>()))
}

fn find(
    context: &Context<'_>,
    request: &Element,
    mailbox: usize,
    folder: Folder,
) -> Result<Element, EwsError> {
    let shape = Shape::read(request.child("m:ItemShape"));
    let style = Style {
        profile: context.profile,
        zone: &context.zone,
        list: true,
    };
    let folder_id = folder_id(mailbox, folder);
    let (subjects, attributes) = match request.child("m:CalendarView") {
        Some(view) => {
            if request.child("m:Restriction").is_some() || request.child("m:SortOrder").is_some() {
                return Err(EwsError::new(
                    "ErrorInvalidRestriction",
                    "A restriction or sort order cannot be combined with a calendar view.",
                ));
            }
            let found = calendar_view(context, view, mailbox, folder)?;
            let count = found.len().to_string();
            (
                found,
                vec![
                    ("TotalItemsInView", count),
                    ("IncludesLastItemInRange", "true".to_owned()),
                ],
            )
        }
        None => page(context, request, mailbox, folder)?,
    };
    let items = subjects
        .iter()
        .map(|subject| calendar_item(subject, &shape, &style, &folder_id))
        .collect::<Vec<_>>();
    let root = attributes
        .into_iter()
        .fold(Element::new("m:RootFolder"), |root, (name, value)| {
            root.attr(name, value)
        });
    Ok(root.with(Element::new("t:Items").with_all(items)))
}

/// Occurrences, exceptions and single items of a range, sorted by start. It cannot be paged.
fn calendar_view<'a>(
    context: &'a Context<'_>,
    view: &Element,
    mailbox: usize,
    folder: Folder,
) -> Result<Vec<Subject<'a>>, EwsError> {
    let bound = |name: &str| {
        view.get(name)
            .and_then(parse_date_time)
            .and_then(|time| time.instant(&context.zone))
            .ok_or_else(|| EwsError::of("ErrorInvalidRequest"))
    };
    let (from, to) = (bound("StartDate")?, bound("EndDate")?);
    if to < from {
        return Err(EwsError::of("ErrorCalendarEndDateIsEarlierThanStartDate"));
    }
    let most = match view
        .get("MaxEntriesReturned")
        .map(|text| text.trim().parse::<i64>())
    {
        None => None,
        Some(Ok(number)) if number > 0 => usize::try_from(number).ok(),
        Some(_) => {
            return Err(EwsError::new(
                "ErrorInvalidPagingMaxRows",
                "The maximum number of rows must be greater than zero.",
            ));
        }
    };
    if context.profile.is_gromox() {
        // Quirk of gromox: a filter on the stored first instance, both bounds inclusive, nothing expanded.
        let items = context.store.items_in(mailbox, folder);
        let mut found: Vec<Subject<'_>> = items
            .filter(|item| item.appointment.end >= from && item.appointment.start <= to)
            .map(Subject::Item)
            .collect();
        found.truncate(most.unwrap_or(usize::MAX));
        return Ok(found);
    }
    let two_years = from
        .to_zoned(jiff::tz::TimeZone::UTC)
        .checked_add(jiff::Span::new().years(2));
    if two_years.is_ok_and(|limit| to > limit.timestamp()) {
        return Err(EwsError::of("ErrorCalendarViewRangeTooBig"));
    }
    let mut found = expanded(context.store.items_in(mailbox, folder), from, to);
    match most {
        Some(most) if most <= FIND_LIMIT => found.truncate(most),
        _ if found.len() > FIND_LIMIT => {
            return Err(EwsError::of("ErrorExceededFindCountLimit")
                .with_value("PolicyLimit", FIND_LIMIT.to_string()));
        }
        _ => {}
    }
    Ok(found)
}

type Page<'a> = (Vec<Subject<'a>>, Vec<(&'static str, String)>);

/// Masters and single items, filtered, sorted and paged.
fn page<'a>(
    context: &'a Context<'_>,
    request: &Element,
    mailbox: usize,
    folder: Folder,
) -> Result<Page<'a>, EwsError> {
    let mut found: Vec<Subject<'_>> = Vec::new();
    let filter = request
        .child("m:Restriction")
        .and_then(|restriction| restriction.children.first());
    for item in context.store.items_in(mailbox, folder) {
        let subject = Subject::Item(item);
        let held = match filter {
            None => true,
            Some(filter) => restriction::holds(filter, &|field| value(&subject, field))
                .ok_or_else(|| {
                    EwsError::new(
                        "ErrorUnsupportedPathForQuery",
                        "The property cannot be used in a restriction.",
                    )
                })?,
        };
        if held {
            found.push(subject);
        }
    }
    sort(&mut found, request.child("m:SortOrder"));
    let total = found.len();
    let view = request.child("m:IndexedPageItemView");
    let number = |name: &str| {
        view.and_then(|view| view.get(name))
            .and_then(|text| text.trim().parse::<usize>().ok())
    };
    let most = number("MaxEntriesReturned")
        .unwrap_or(FIND_LIMIT)
        .min(FIND_LIMIT);
    if most == 0 {
        return Err(EwsError::new(
            "ErrorInvalidPagingMaxRows",
            "The maximum number of rows must be greater than zero.",
        ));
    }
    let offset = number("Offset").unwrap_or(0).min(total);
    let page: Vec<Subject<'_>> = found.into_iter().skip(offset).take(most).collect();
    let next = offset + page.len();
    let mut attributes = Vec::new();
    if view.is_some() {
        attributes.push(("IndexedPagingOffset", next.to_string()));
    }
    attributes.push(("TotalItemsInView", total.to_string()));
    attributes.push(("IncludesLastItemInRange", (next >= total).to_string()));
    Ok((page, attributes))
}

fn sort(found: &mut [Subject<'_>], order: Option<&Element>) {
    let keys: Vec<(String, bool)> = order
        .into_iter()
        .flat_map(|order| &order.children)
        .filter_map(|part| {
            Some((
                part.children.first()?.get("FieldURI")?.to_owned(),
                part.get("Order") == Some("Descending"),
            ))
        })
        .collect();
    found.sort_by(|left, right| {
        keys.iter()
            .map(|(field, descending)| {
                let order = value(left, field).cmp(&value(right, field));
                if *descending { order.reverse() } else { order }
            })
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    });
}

/// The searchable properties as text.
fn value(subject: &Subject<'_>, field: &str) -> Option<String> {
    let content = subject.appointment();
    let instant =
        |instant: jiff::Timestamp| Some(instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let clean = || Some(STANDARD.encode(global_object_id(&subject.item().uid, None)));
    match field {
        "calendar:Start" => instant(content.start),
        "calendar:End" => instant(content.end),
        "item:Subject" => Some(content.subject.clone()),
        "calendar:Location" => Some(content.location.clone()),
        "calendar:LegacyFreeBusyStatus" => Some(content.free_busy.as_str().to_owned()),
        "calendar:IsAllDayEvent" => Some(content.all_day.to_string()),
        "calendar:CalendarItemType" => Some(subject.kind().to_owned()),
        "item:Sensitivity" => Some(content.sensitivity.as_str().to_owned()),
        "item:ItemClass" => Some("IPM.Appointment".to_owned()),
        "item:LastModifiedTime" => instant(subject.modified()),
        "item:DateTimeCreated" | "item:DateTimeReceived" => instant(subject.item().created),
        path if path.contains("PropertyType=Binary")
            && (path.contains("PropertyId=35 ") || path.contains("PropertyId=3 ")) =>
        {
            clean()
        }
        path => content
            .extended
            .iter()
            .find(|stored| {
                stored
                    .path
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(" ")
                    == path
            })
            .and_then(|stored| stored.values.first().cloned()),
    }
}
