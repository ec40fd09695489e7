//! Answers as servers give them, and as none should.

use super::values::{date, duration_seconds, wire_time};
use super::{FreeBusy, Item, Message, WireTime, read};
use crate::soap;

fn wrap(body: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header><h:ServerVersionInfo xmlns:h="x" MajorVersion="15" MinorVersion="2" MajorBuildNumber="1544" MinorBuildNumber="4"/></s:Header><s:Body xmlns:m="m" xmlns:t="t">{body}</s:Body></s:Envelope>"#
    )
}

fn messages(body: &str) -> Vec<Message> {
    let envelope = soap::read(&wrap(body), read).unwrap();
    assert!(envelope.version.unwrap().product().contains("2019"));
    envelope.body.unwrap().1
}

fn item_of(fields: &str) -> Item {
    let body = format!(
        r#"<m:GetItemResponse><m:ResponseMessages><m:GetItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:CalendarItem>{fields}</t:CalendarItem></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse>"#
    );
    messages(&body).remove(0).items.remove(0)
}

#[test]
fn times_come_in_many_forms() {
    let instant = |text: &str| WireTime::Instant(text.parse().unwrap());
    for (text, means) in [
        ("2026-12-07T08:00:00Z", instant("2026-12-07T08:00:00Z")),
        (
            "2026-12-07T08:00:00.000000Z",
            instant("2026-12-07T08:00:00Z"),
        ),
        (
            "2026-12-07T08:00:12.228117100Z",
            instant("2026-12-07T08:00:12.2281171Z"),
        ),
        ("2026-12-07T09:00:00+01:00", instant("2026-12-07T08:00:00Z")),
        ("2026-12-07T09:00:00+0100", instant("2026-12-07T08:00:00Z")),
        (
            "2026-12-07T09:00:00",
            WireTime::Local("2026-12-07T09:00:00".parse().unwrap()),
        ),
    ] {
        assert_eq!(wire_time(text), Some(means), "{text}");
    }
    for text in [
        "",
        "soon",
        "2026-12-07",
        "2026-13-07T08:00:00Z",
        "2026-12-07T25:00:00",
    ] {
        assert_eq!(wire_time(text), None, "{text}");
    }
    for text in [
        "2026-01-05",
        "2026-01-05+01:00",
        "2026-01-05Z",
        "2026-01-05T00:00:00.000000Z",
    ] {
        assert_eq!(date(text), Some("2026-01-05".parse().unwrap()), "{text}");
    }
}

#[test]
fn biases_are_durations() {
    for (text, seconds) in [
        ("-PT1H", -3600),
        ("PT5H", 18_000),
        ("-PT330M", -19_800),
        ("PT2H30M", 9_000),
        ("PT0S", 0),
        ("-PT60M0.0S", -3600),
        ("P1DT1S", 86_401),
    ] {
        assert_eq!(duration_seconds(text), Some(seconds), "{text}");
    }
    for text in ["", "1H", "PT", "PT1", "PTxH"] {
        assert!(
            duration_seconds(text).is_none_or(|seconds| seconds == 0),
            "{text}"
        );
    }
}

#[test]
fn elements_in_any_order_with_repeats_and_strangers() {
    let item = item_of(
        r#"<t:Start>2026-12-07T08:00:00Z</t:Start><t:New><t:Start>1</t:Start></t:New><t:UID> u </t:UID>
        <t:ItemId ChangeKey="c" Id="i"/><t:StartTimeZone Id="A" Name="a"/><t:StartTimeZone Id="A" Name="a"/>
        <t:LegacyFreeBusyStatus>Sleeping</t:LegacyFreeBusyStatus><t:IsAllDayEvent>0</t:IsAllDayEvent>"#,
    );
    assert_eq!(
        (item.id.as_str(), item.change_key.as_deref()),
        ("i", Some("c"))
    );
    assert_eq!(item.uid.as_deref(), Some("u"));
    assert_eq!(item.free_busy, Some(FreeBusy::Other));
    assert_eq!((item.all_day, item.bad), (Some(false), None));
}

#[test]
fn a_bad_value_spoils_its_item_alone() {
    let body = r#"<m:FindItemResponse><m:ResponseMessages><m:FindItemResponseMessage ResponseClass="Success">
        <m:ResponseCode>NoError</m:ResponseCode><m:RootFolder TotalItemsInView="2" IncludesLastItemInRange="true"><t:Items>
        <t:CalendarItem><t:ItemId Id="a"/><t:ModifiedOccurrences><t:Occurrence><t:Start>never</t:Start></t:Occurrence></t:ModifiedOccurrences><t:UID>x</t:UID></t:CalendarItem>
        <t:CalendarItem><t:ItemId Id="b"/></t:CalendarItem></t:Items></m:RootFolder></m:FindItemResponseMessage></m:ResponseMessages></m:FindItemResponse>"#;
    let message = messages(body).remove(0);
    assert_eq!(
        (message.total, message.includes_last),
        (Some(2), Some(true))
    );
    assert_eq!(message.items[0].bad, Some("ModifiedOccurrences"));
    assert_eq!(
        message.items[0].uid.as_deref(),
        Some("x"),
        "what follows is read on"
    );
    assert_eq!(message.items[1].bad, None);
}

#[test]
fn a_series_with_an_unknown_pattern_is_marked() {
    let recurrence = |inside: &str| {
        item_of(&format!("<t:Recurrence>{inside}</t:Recurrence>"))
            .recurrence
            .unwrap()
    };
    let range =
        "<t:NoEndRecurrence><t:StartDate>2026-01-05+01:00</t:StartDate></t:NoEndRecurrence>";
    let daily = |interval: &str| {
        recurrence(&format!(
            "<t:DailyRecurrence><t:Interval>{interval}</t:Interval></t:DailyRecurrence>{range}"
        ))
    };
    assert!(daily("2").is_ok());
    assert!(daily("0").is_err());
    assert!(daily("-1").is_err());
    assert!(recurrence(range).is_err());
    assert!(recurrence("<t:LunarRecurrence/>").is_err());
    assert!(recurrence(&format!("<t:LunarRecurrence/>{range}")).is_err());
}

#[test]
fn appointments_are_told_from_other_items() {
    for (class, is) in [
        ("IPM.Appointment", true),
        ("ipm.appointment.Live Meeting Request", true),
        ("IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}", true),
        ("IPM.Schedule.Meeting.Request", false),
        ("IPM.Note", false),
        ("IPM.AppointmentSnapshot.SkypeTeams.Meeting", false),
    ] {
        let item = Item {
            class: Some(class.to_owned()),
            ..Item::default()
        };
        assert_eq!(item.is_appointment(), is, "{class}");
    }
}

fn item_text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let name = proptest::sample::select(vec![
        "Start",
        "End",
        "UID",
        "Recurrence",
        "DailyRecurrence",
        "WeeklyRecurrence",
        "Interval",
        "DaysOfWeek",
        "NoEndRecurrence",
        "NumberedRecurrence",
        "StartDate",
        "NumberOfOccurrences",
        "StartTimeZone",
        "Periods",
        "Period",
        "TransitionsGroups",
        "TransitionsGroup",
        "RecurringDayTransition",
        "To",
        "TimeOffset",
        "Month",
        "DayOfWeek",
        "Occurrence",
        "ModifiedOccurrences",
        "DeletedOccurrences",
        "IsAllDayEvent",
        "ItemId",
        "ExtendedProperty",
        "ExtendedFieldURI",
        "Value",
        "Categories",
    ]);
    let text = proptest::sample::select(vec![
        "",
        "1",
        "-1",
        "999999999999",
        "2026-12-07T08:00:00Z",
        "9999-12-31T23:59:59Z",
        "-PT99999999H",
        "Monday",
        "true",
        "&amp;",
        "&#x0B;",
        "ø",
    ]);
    (name, text)
        .prop_map(|(name, text)| {
            format!("<t:{name} Id=\"{text}\" Bias=\"{text}\">{text}</t:{name}>")
        })
        .prop_recursive(4, 40, 6, move |inner| {
            let name = proptest::sample::select(vec![
                "Recurrence",
                "WeeklyRecurrence",
                "StartTimeZone",
                "Periods",
                "TransitionsGroups",
                "TransitionsGroup",
                "RecurringDayTransition",
                "ModifiedOccurrences",
                "Occurrence",
                "DeletedOccurrences",
            ]);
            (name, proptest::collection::vec(inner, 0..6))
                .prop_map(|(name, inner)| format!("<t:{name}>{}</t:{name}>", inner.concat()))
        })
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_the_reader_panic(fields in proptest::collection::vec(item_text(), 0..8)) {
        let body = format!(
            "<m:XResponse><m:ResponseMessages><m:x ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:CalendarItem>{}</t:CalendarItem></m:Items></m:x></m:ResponseMessages></m:XResponse>",
            fields.concat()
        );
        let _ = soap::read(&wrap(&body), read);
    }

    #[test]
    fn no_truncation_makes_the_reader_panic(at in 0usize..400) {
        let body = wrap("<m:XResponse><m:ResponseMessages><m:x ResponseClass=\"Error\"><m:ResponseCode>ErrorItemNotFound</m:ResponseCode></m:x></m:ResponseMessages></m:XResponse>");
        let part = body.get(..at.min(body.len())).unwrap_or_default();
        let result = soap::read(part, read);
        proptest::prop_assert!(part.len() == body.len() || result.is_err());
    }
}

/// Answers that were captured from a server that is not Microsoft's, where they are at hand.
#[test]
fn captured_answers_are_read() {
    let directory =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/ews-wire");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        println!("skipped: there are no captures beside the workspace");
        return;
    };
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if name.ends_with(".resp.xml") {
            count += 1;
            let envelope =
                soap::read(&text, read).unwrap_or_else(|error| panic!("{name}: {error}"));
            match envelope.body {
                Err(fault) => {
                    assert!(name.contains("Fault"), "{name}");
                    assert_eq!(fault.code, "ErrorImpersonateUserDenied");
                }
                Ok((operation, messages)) => {
                    assert!(operation.ends_with("Response"), "{name}: {operation}");
                    assert!(
                        !messages.is_empty() || name.contains("Availability"),
                        "{name}"
                    );
                    for message in messages {
                        for item in message
                            .items
                            .iter()
                            .chain(message.changes.iter().map(|change| &change.item))
                        {
                            let folders = name.contains("Hierarchy");
                            assert!(folders || !item.id.is_empty(), "{name}");
                            assert_eq!(item.bad, None, "{name}");
                            assert!(item.recurrence.as_ref().is_none_or(Result::is_ok), "{name}");
                        }
                    }
                }
            }
        } else if name.ends_with(".resp.http") {
            // Envelopes one after another, with HTTP heads or chunk sizes between.
            for part in text.split("<SOAP:Envelope").skip(1) {
                count += 1;
                let end = part.find("</SOAP:Envelope>").unwrap();
                let document = format!("<SOAP:Envelope{}</SOAP:Envelope>", &part[..end]);
                soap::read(&document, read).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
    assert!(count >= 29, "{count}");
}
