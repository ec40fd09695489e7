//! Zones that a series brings with it: whole, odd and broken definitions, and a server that does not expand and
//! tells them.

use std::collections::BTreeMap;

use calbridge_sandbox::exchange::{DayKind, Pattern, Range};
use chrono::{DateTime, NaiveDate, Utc};

use super::rows::{Change, Row, whole_days};
use super::rules::{Clock, Slot, text};
use super::support::script::{Script, created, folder, found, got, item, sync};

/// A definition, by the id that the series names.
pub(crate) struct Definition {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// Inside `t:StartTimeZone`; none, where only the id comes.
    pub(crate) inside: String,
}

fn period(id: &str, hours: &str) -> String {
    format!(r#"<t:Period Bias="{hours}" Name="{id}" Id="{id}"/>"#)
}

fn groups(groups: &[(&str, String)]) -> String {
    let groups: String = groups
        .iter()
        .map(|(id, rules)| format!(r#"<t:TransitionsGroup Id="{id}">{rules}</t:TransitionsGroup>"#))
        .collect();
    format!("<t:TransitionsGroups>{groups}</t:TransitionsGroups>")
}

/// To a period, each year: at so many minutes, on the n-th of a weekday of a month.
fn on(period: &str, minutes: u32, month: u32, day: &str, nth: i32) -> String {
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!(
        r#"<t:RecurringDayTransition><t:To Kind="Period">{period}</t:To><t:TimeOffset>PT{hours}H{minutes}M</t:TimeOffset><t:Month>{month}</t:Month><t:DayOfWeek>{day}</t:DayOfWeek><t:Occurrence>{nth}</t:Occurrence></t:RecurringDayTransition>"#
    )
}

fn on_date(period: &str, hours: u32, month: u32, day: u32) -> String {
    format!(
        r#"<t:RecurringDateTransition><t:To Kind="Period">{period}</t:To><t:TimeOffset>PT{hours}H</t:TimeOffset><t:Month>{month}</t:Month><t:Day>{day}</t:Day></t:RecurringDateTransition>"#
    )
}

fn always(period: &str) -> String {
    format!(r#"<t:Transition><t:To Kind="Period">{period}</t:To></t:Transition>"#)
}

const TO_GROUP: &str =
    r#"<t:Transitions><t:Transition><t:To Kind="Group">0</t:To></t:Transition></t:Transitions>"#;

/// Winter and summer time, in force for ever.
fn both(winter: &str, summer: &str, rules: &str) -> String {
    let periods = format!("{}{}", period("W", winter), period("S", summer));
    let groups = groups(&[("0", rules.to_owned())]);
    format!("<t:Periods>{periods}</t:Periods>{groups}{TO_GROUP}")
}

fn europe() -> String {
    on("S", 120, 3, "Sunday", -1) + &on("W", 180, 10, "Sunday", -1)
}

/// Definitions of zones that their ids do not name, each with the clock that has the same rules.
pub(crate) fn whole() -> Vec<(Definition, Clock)> {
    use chrono_tz::{America, Asia, Australia, Europe, Pacific};
    let own = |inside: String| Definition {
        id: "tzone://Microsoft/Custom",
        name: "Customized Time Zone",
        inside,
    };
    let since_2007 = {
        let old = on("S", 120, 4, "Sunday", 1) + &on("W", 120, 10, "Sunday", -1);
        let new = on("S", 120, 3, "Sunday", 2) + &on("W", 120, 11, "Sunday", 1);
        let periods = period("W", "PT5H") + &period("S", "PT4H");
        let groups = groups(&[("0", old), ("1", new)]);
        format!(
            r#"<t:Periods>{periods}</t:Periods>{groups}<t:Transitions><t:Transition><t:To Kind="Group">0</t:To></t:Transition><t:AbsoluteDateTransition><t:To Kind="Group">1</t:To><t:DateTime>2007-01-01T00:00:00</t:DateTime></t:AbsoluteDateTransition></t:Transitions>"#
        )
    };
    let registry = {
        let id = "trule:Microsoft/Registry/Romance Standard Time/1-Standard";
        format!("<t:Periods>{}</t:Periods>", period(id, "-PT1H"))
    };
    let named = |zone| Clock::Named(zone);
    vec![
        (
            own(both("-PT1H", "-PT2H", &europe())),
            named(Europe::Copenhagen),
        ),
        // Summer over the turn of the year.
        (
            own(both(
                "-PT12H",
                "-PT13H",
                &(on("S", 120, 9, "Sunday", -1) + &on("W", 180, 4, "Sunday", 1)),
            )),
            named(Pacific::Auckland),
        ),
        // Half an hour of summer time.
        (
            own(both(
                "-PT10H30M",
                "-PT11H",
                &(on("S", 120, 10, "Sunday", 1) + &on("W", 120, 4, "Sunday", 1)),
            )),
            named(Australia::Lord_Howe),
        ),
        // A day of spring that begins at one.
        (
            own(both(
                "PT5H",
                "PT4H",
                &(on("S", 0, 3, "Sunday", 2) + &on("W", 60, 11, "Sunday", 1)),
            )),
            named(America::Havana),
        ),
        (own(since_2007), named(America::New_York)),
        (
            own(both(
                "-PT1H",
                "-PT2H",
                &(on_date("S", 2, 4, 1) + &on_date("W", 3, 10, 1)),
            )),
            Clock::AprilToOctober,
        ),
        // Without changes, told as a group of one rule, and as a single period.
        (
            own(format!(
                "<t:Periods>{}</t:Periods>{}{TO_GROUP}",
                period("W", "-PT5H45M"),
                groups(&[("0", always("W"))])
            )),
            named(Asia::Kathmandu),
        ),
        (
            own(format!("<t:Periods>{}</t:Periods>", period("W", "-PT9H"))),
            named(Asia::Tokyo),
        ),
        // The definition says less than the name inside it.
        (own(registry), named(Europe::Copenhagen)),
        // By what Outlook shows.
        (
            Definition {
                id: "",
                name: "(UTC+01:00) Amsterdam, Berlin, Bern, Rom, Stockholm, Wien",
                inside: String::new(),
            },
            named(Europe::Berlin),
        ),
    ]
}

/// Definitions that define nothing.
pub(crate) fn broken() -> Vec<(&'static str, Definition)> {
    let own = |inside: String| Definition {
        id: "Customized Time Zone",
        name: "",
        inside,
    };
    let rules = |periods: String, rules: String| {
        own(format!(
            "<t:Periods>{periods}</t:Periods>{}{TO_GROUP}",
            groups(&[("0", rules)])
        ))
    };
    let two = || period("W", "-PT1H") + &period("S", "-PT2H");
    vec![
        ("nothing but an id", own(String::new())),
        (
            "an empty id",
            Definition {
                id: "",
                name: "",
                inside: String::new(),
            },
        ),
        ("no period", rules(String::new(), europe())),
        (
            "a period that is not there",
            rules(period("W", "-PT1H"), europe()),
        ),
        (
            "an offset that is none",
            rules(period("W", "one hour") + &period("S", "two"), europe()),
        ),
        (
            "a month that is none",
            rules(
                two(),
                on("S", 120, 13, "Sunday", -1) + &on("W", 180, 10, "Sunday", -1),
            ),
        ),
        (
            "a weekday that is none",
            rules(
                two(),
                on("S", 120, 3, "Someday", -1) + &on("W", 180, 10, "Sunday", -1),
            ),
        ),
        (
            "three changes a year",
            rules(two(), europe() + &on("S", 120, 12, "Sunday", 1)),
        ),
        (
            "two periods and no rule",
            own(format!("<t:Periods>{}</t:Periods>", two())),
        ),
        (
            "a group that is not there",
            own(format!(
                r#"<t:Periods>{}</t:Periods>{}<t:Transitions><t:Transition><t:To Kind="Group">7</t:To></t:Transition></t:Transitions>"#,
                two(),
                groups(&[("0", europe())])
            )),
        ),
        (
            "an offset of two days",
            rules(period("W", "-PT48H") + &period("S", "-PT49H"), europe()),
        ),
        (
            "a change on 31 February",
            rules(two(), on_date("S", 2, 2, 31) + &on_date("W", 3, 10, 1)),
        ),
    ]
}

impl Definition {
    fn xml(&self) -> String {
        let Self { id, name, inside } = self;
        format!(
            r#"<t:StartTimeZoneId>{id}</t:StartTimeZoneId><t:StartTimeZone Id="{id}" Name="{name}">{inside}</t:StartTimeZone>"#
        )
    }
}

/// A server that has these series in every calendar, all in the zone of one definition.
pub(crate) async fn serve(definition: &Definition, rows: &[Row]) -> Script {
    let zone = definition.xml();
    let mut items = BTreeMap::new();
    let mut masters = Vec::new();
    for row in rows {
        let id = row.uid.trim_end_matches("@matrix.example").to_owned();
        let master = master(&id, row, &zone, &mut items);
        masters.push((id.clone(), master.clone()));
        items.insert(id, master);
    }
    let all: String = masters
        .iter()
        .map(|(id, _)| created(id, "RecurringMaster"))
        .collect();
    let listed: Vec<String> = masters.into_iter().map(|(_, master)| master).collect();
    Script::start(move |body, _| {
        if body.contains("GetFolder") {
            return folder("F");
        }
        if body.contains("<m:SyncFolderItems>") {
            let known = body.contains("<m:SyncState>");
            return sync("s1", if known { "" } else { &all });
        }
        if body.contains("FindItem") {
            // A view shows the masters as they are: this server does not expand.
            return found(&listed);
        }
        let ids = body.split(r#"<t:ItemId Id=""#).skip(1);
        let asked: Vec<String> = ids
            .map(|rest| items[rest.split('"').next().unwrap()].clone())
            .collect();
        got(&asked)
    })
    .await
}

fn master(id: &str, row: &Row, zone: &str, items: &mut BTreeMap<String, String>) -> String {
    let (mut changed, mut deleted) = (String::new(), String::new());
    for (number, (slot, change)) in row.changes.iter().enumerate() {
        let original = text(slot.start);
        let (start, end, all_day) = match change {
            Change::Deleted | Change::MovedThenDeleted => {
                // One that was moved and then deleted is told by its original start alone.
                deleted += &format!(
                    "<t:DeletedOccurrence><t:Start>{original}</t:Start></t:DeletedOccurrence>"
                );
                continue;
            }
            Change::Moved(by) => moved(row, slot, *by),
            Change::OtherKind if row.all_day() => {
                let (start, end) = row.ten_to_eleven(slot);
                (start, end, false)
            }
            Change::OtherKind => {
                let date = slot.wall.date();
                (
                    midnight(row, date),
                    midnight(row, date.succ_opt().unwrap()),
                    true,
                )
            }
        };
        let (start, end) = (text(start), text(end));
        let name = format!("{id}.{number}");
        changed += &format!(
            r#"<t:Occurrence><t:ItemId Id="{name}"/><t:Start>{start}</t:Start><t:End>{end}</t:End><t:OriginalStart>{original}</t:OriginalStart></t:Occurrence>"#
        );
        // Some servers leave out of an exception what it has of its series.
        let more = if number % 2 == 0 { zone } else { "" };
        let exception = item(&name, "Exception", &start, &end, more);
        items.insert(name, whole_day(exception, all_day));
    }
    let list = |name: &str, inside: &str| match inside {
        "" => String::new(),
        inside => format!("<t:{name}>{inside}</t:{name}>"),
    };
    let first = &row.slots[0];
    let more = format!(
        "{zone}{}{}{}",
        recurrence(row),
        list("ModifiedOccurrences", &changed),
        list("DeletedOccurrences", &deleted)
    );
    let (start, end) = (text(first.start), text(first.end));
    whole_day(
        item(id, "RecurringMaster", &start, &end, &more),
        row.all_day(),
    )
}

fn whole_day(item: String, all_day: bool) -> String {
    if all_day {
        item.replace(
            "<t:IsAllDayEvent>false</t:IsAllDayEvent>",
            "<t:IsAllDayEvent>true</t:IsAllDayEvent>",
        )
    } else {
        item
    }
}

/// The instants of a moved occurrence; whole days go from midnight to midnight.
pub(crate) fn moved(row: &Row, slot: &Slot, by: i64) -> (DateTime<Utc>, DateTime<Utc>, bool) {
    use chrono::TimeDelta;
    if !row.all_day() {
        let by = TimeDelta::minutes(by);
        return (slot.start + by, slot.end + by, false);
    }
    let first = slot.wall.date() + TimeDelta::minutes(whole_days(by));
    let length = (slot.end - slot.start + TimeDelta::hours(12)).num_days();
    let after = first + TimeDelta::days(length);
    (midnight(row, first), midnight(row, after), true)
}

pub(crate) fn midnight(row: &Row, date: NaiveDate) -> DateTime<Utc> {
    row.clock.instant(date.and_time(chrono::NaiveTime::MIN)).0
}

fn recurrence(row: &Row) -> String {
    let element = |name: &str, inside: String| format!("<t:{name}>{inside}</t:{name}>");
    let interval = |n: &u32| element("Interval", n.to_string());
    let kind = |kind: &DayKind| {
        element(
            "DaysOfWeek",
            match kind {
                DayKind::On(day) => format!("{day:?}"),
                other => format!("{other:?}"),
            },
        )
    };
    let month = |month: &i8| {
        let first = NaiveDate::from_ymd_opt(2000, u32::from(month.unsigned_abs()), 1).unwrap();
        element("Month", first.format("%B").to_string())
    };
    let pattern = match &row.pattern {
        Pattern::Daily { interval: n } => element("DailyRecurrence", interval(n)),
        Pattern::Weekly {
            interval: n,
            days,
            first_day,
        } => {
            let days: Vec<_> = days.iter().map(|day| format!("{day:?}")).collect();
            let days = element("DaysOfWeek", days.join(" "));
            let first = element("FirstDayOfWeek", format!("{first_day:?}"));
            element("WeeklyRecurrence", format!("{}{days}{first}", interval(n)))
        }
        Pattern::AbsoluteMonthly { interval: n, day } => {
            let day = element("DayOfMonth", day.to_string());
            element("AbsoluteMonthlyRecurrence", format!("{}{day}", interval(n)))
        }
        Pattern::RelativeMonthly {
            interval: n,
            kind: days,
            index,
        } => {
            let index = element("DayOfWeekIndex", format!("{index:?}"));
            let inside = format!("{}{}{index}", interval(n), kind(days));
            element("RelativeMonthlyRecurrence", inside)
        }
        Pattern::AbsoluteYearly { month: m, day } => {
            let day = element("DayOfMonth", day.to_string());
            element("AbsoluteYearlyRecurrence", format!("{day}{}", month(m)))
        }
        Pattern::RelativeYearly {
            month: m,
            kind: days,
            index,
        } => {
            let index = element("DayOfWeekIndex", format!("{index:?}"));
            let inside = format!("{}{index}{}", kind(days), month(m));
            element("RelativeYearlyRecurrence", inside)
        }
    };
    // Dates carry the offset that was in force; what it is matters to nobody.
    let start = element("StartDate", format!("{}+01:00", row.start));
    let range = match row.range {
        Range::NoEnd => element("NoEndRecurrence", start),
        Range::EndDate(end) => {
            let end = element("EndDate", format!("{end}+01:00"));
            element("EndDateRecurrence", start + &end)
        }
        Range::Numbered(count) => {
            let count = element("NumberOfOccurrences", count.to_string());
            element("NumberedRecurrence", start + &count)
        }
    };
    element("Recurrence", pattern + &range)
}
