//! Folders with a file for each mailbox.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use async_trait::async_trait;
use calbridge_conformance::{Appointment, Cannot, World};
use calbridge_core::model::{CalendarRef, EventTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ANNA, BO, ZONE};

/// For `ical-source`: the kit writes the files.
pub struct Source {
    dir: TempDir,
    held: Mutex<BTreeMap<String, BTreeMap<String, Appointment>>>,
    broken: Mutex<bool>,
}

impl Source {
    pub fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            held: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    fn file(&self, address: &str) -> PathBuf {
        self.dir.path().join(format!("{address}.ics"))
    }

    fn store(&self) {
        let broken = *self.broken.lock().unwrap();
        for (address, appointments) in &*self.held.lock().unwrap() {
            let mut text = calendar(appointments.values());
            if broken {
                // Cut in the middle of an event, as when a copy is broken off.
                text.truncate(text.len() / 2);
            }
            fs::write(self.file(address), text).unwrap();
        }
    }
}

#[async_trait]
impl World for Source {
    fn settings(&self) -> Value {
        json!({ "path": self.dir.path(), "zone": ZONE })
    }

    fn out_of_reach(&self) -> Option<Value> {
        Some(json!({ "path": self.dir.path().join("nowhere"), "zone": ZONE }))
    }

    fn now(&self) -> Timestamp {
        super::now()
    }

    fn zone(&self) -> &'static str {
        ZONE
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        super::calendars([ANNA, BO])
    }

    fn missing(&self) -> Option<CalendarRef> {
        super::missing()
    }

    fn most(&self) -> usize {
        10_000
    }

    async fn clear(&self) -> Result<(), Cannot> {
        *self.held.lock().unwrap() = [ANNA, BO]
            .map(|address| (address.to_owned(), BTreeMap::new()))
            .into();
        *self.broken.lock().unwrap() = false;
        self.store();
        Ok(())
    }

    async fn put(&self, calendar: &CalendarRef, appointment: &Appointment) -> Result<(), Cannot> {
        self.fill(calendar, std::slice::from_ref(appointment)).await
    }

    async fn fill(
        &self,
        calendar: &CalendarRef,
        appointments: &[Appointment],
    ) -> Result<(), Cannot> {
        for one in appointments {
            let mut held = self.held.lock().unwrap();
            let of = held.entry(calendar.address.folded()).or_default();
            of.insert(one.name.clone(), one.clone());
        }
        self.store();
        Ok(())
    }

    async fn remove(&self, calendar: &CalendarRef, name: &str) -> Result<(), Cannot> {
        let mut held = self.held.lock().unwrap();
        held.entry(calendar.address.folded())
            .or_default()
            .remove(name);
        drop(held);
        self.store();
        Ok(())
    }

    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        *self.broken.lock().unwrap() = on;
        self.store();
        Ok(())
    }
}

/// RFC 5545, as plain as it can be.
fn calendar<'a>(appointments: impl Iterator<Item = &'a Appointment>) -> String {
    let mut text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//kit//EN\r\n".to_owned();
    for one in appointments {
        let event = |text: &mut String, time: &EventTime, more: &str| {
            let (start, end) = (stamp("DTSTART", time, true), stamp("DTEND", time, false));
            let class = if one.private { "CLASS:PRIVATE\r\n" } else { "" };
            write!(
                text,
                "BEGIN:VEVENT\r\nUID:{}@kit\r\nDTSTAMP:20260101T000000Z\r\n{start}\r\n{end}\r\nSUMMARY:{}\r\n{class}{more}END:VEVENT\r\n",
                one.name,
                escaped(&one.subject),
            )
            .unwrap();
        };
        let Some(daily) = &one.daily else {
            event(&mut text, &one.time, "");
            continue;
        };
        let original = |n: u32| {
            let EventTime::Timed { start, .. } = one.time else {
                panic!("the kit's series have a time of day")
            };
            let zoned = start.to_zoned(TimeZone::get(ZONE).unwrap());
            let at = zoned.checked_add(i64::from(n).days()).unwrap();
            at.strftime("%Y%m%dT%H%M%S").to_string()
        };
        let mut more = format!("RRULE:FREQ=DAILY;COUNT={}\r\n", daily.count);
        if let Some(n) = daily.cancelled {
            write!(more, "EXDATE;TZID={ZONE}:{}\r\n", original(n)).unwrap();
        }
        event(&mut text, &one.time, &more);
        if let Some((n, time)) = &daily.moved {
            let more = format!("RECURRENCE-ID;TZID={ZONE}:{}\r\n", original(*n));
            event(&mut text, time, &more);
        }
    }
    text + "END:VCALENDAR\r\n"
}

fn stamp(name: &str, time: &EventTime, start: bool) -> String {
    match time {
        EventTime::Timed {
            start: from, end, ..
        } => {
            let at = if start { from } else { end };
            let zoned = at.to_zoned(TimeZone::get(ZONE).unwrap());
            format!("{name};TZID={ZONE}:{}", zoned.strftime("%Y%m%dT%H%M%S"))
        }
        EventTime::AllDay { start: from, end } => {
            let day = if start { from } else { end };
            format!("{name};VALUE=DATE:{}", day.strftime("%Y%m%d"))
        }
        _ => panic!("a time that this world does not know"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace(';', "\\;")
        .replace(',', "\\,")
}

/// For `ical-sink`: the kit looks into the files.
pub struct Sink(TempDir);

impl Sink {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

#[async_trait]
impl World for Sink {
    fn settings(&self) -> Value {
        json!({ "folder": self.0.path() })
    }

    fn out_of_reach(&self) -> Option<Value> {
        Some(json!({ "folder": self.0.path().join("nowhere") }))
    }

    fn now(&self) -> Timestamp {
        super::now()
    }

    fn zone(&self) -> &'static str {
        ZONE
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        super::calendars([ANNA, BO])
    }

    async fn clear(&self) -> Result<(), Cannot> {
        for entry in fs::read_dir(self.0.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        Ok(())
    }

    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        let files = fs::read_dir(self.0.path()).unwrap();
        let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        for file in files {
            let aside = file.with_extension("aside");
            if on {
                // Cut in the middle of an event, as when a disk is full.
                let mut text = fs::read_to_string(&file).unwrap();
                fs::rename(&file, &aside).unwrap();
                text.truncate(text.len() / 2);
                fs::write(&file, text).unwrap();
            } else if aside.exists() {
                fs::rename(&aside, &file).unwrap();
            }
        }
        Ok(())
    }

    async fn held(&self, calendar: &CalendarRef) -> Result<Vec<EventTime>, Cannot> {
        let file = self
            .0
            .path()
            .join(format!("{}.ics", calendar.address.folded()));
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut times = Vec::new();
        let (mut start, mut end) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("DTSTART") {
                start = value.to_owned();
            } else if let Some(value) = line.strip_prefix("DTEND") {
                end = value.to_owned();
            } else if line == "END:VEVENT" {
                times.push(time(&start, &end));
            }
        }
        Ok(times)
    }
}

fn time(start: &str, end: &str) -> EventTime {
    let value = |text: &str| text.rsplit(':').next().unwrap().to_owned();
    let (from, to) = (value(start), value(end));
    if start.contains("VALUE=DATE") {
        let day = |text: &str| jiff::civil::Date::strptime("%Y%m%d", text).unwrap();
        return EventTime::all_day(day(&from), day(&to)).unwrap();
    }
    let instant = |text: &str| {
        let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).unwrap();
        at.to_zoned(TimeZone::UTC).unwrap().timestamp()
    };
    EventTime::timed(instant(&from), instant(&to), None).unwrap()
}
