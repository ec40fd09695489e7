//! calbridge's conformance kit on this connector. What the kit needs from you is a world: settings that work, calendars
//! that belong to it, and as many ways as you have to change the system behind the connector's back. What you leave out
//! is skipped, and the report says so.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_conformance::{Appointment, Cannot, Selection, World, run};
use calbridge_core::connector::find;
use calbridge_core::model::{CalendarRef, EventTime};
use rota as _;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with the files of two people.
struct Folder(TempDir);

impl Folder {
    fn file(&self, calendar: &CalendarRef) -> PathBuf {
        self.0
            .path()
            .join(format!("{}.json", calendar.address.folded()))
    }

    fn shifts(&self, calendar: &CalendarRef) -> Vec<Value> {
        let text = fs::read_to_string(self.file(calendar)).expect("the kit's people have files");
        let sheet: Value = serde_json::from_str(&text).expect("a file is JSON");
        sheet["shifts"].as_array().cloned().unwrap_or_default()
    }

    fn write(&self, calendar: &CalendarRef, shifts: &[Value]) {
        let text = json!({ "shifts": shifts }).to_string();
        fs::write(self.file(calendar), text).expect("the folder can be written");
    }
}

#[async_trait]
impl World for Folder {
    fn settings(&self) -> Value {
        json!({ "folder": self.0.path() })
    }

    fn out_of_reach(&self) -> Option<Value> {
        Some(json!({ "folder": self.0.path().join("nowhere") }))
    }

    fn zone(&self) -> &'static str {
        "Europe/Copenhagen"
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        let calendar = |address| CalendarRef::primary(address).expect("an address");
        ["anna@firm.example", "bo@firm.example"]
            .map(calendar)
            .to_vec()
    }

    fn missing(&self) -> Option<CalendarRef> {
        CalendarRef::primary("nobody@firm.example").ok()
    }

    async fn clear(&self) -> Result<(), Cannot> {
        for calendar in self.calendars() {
            self.write(&calendar, &[]);
        }
        Ok(())
    }

    async fn put(&self, calendar: &CalendarRef, appointment: &Appointment) -> Result<(), Cannot> {
        if appointment.daily.is_some() {
            return Err(Cannot::NotOffered("the rota knows no series"));
        }
        let (start, end) = match &appointment.time {
            EventTime::Timed { start, end, .. } => (start.to_string(), end.to_string()),
            EventTime::AllDay { start, end } => (start.to_string(), end.to_string()),
            _ => return Err(Cannot::NotOffered("such times")),
        };
        let mut shifts = self.shifts(calendar);
        shifts.retain(|shift| shift["id"] != appointment.name);
        shifts.push(json!({
            "id": appointment.name, "start": start, "end": end, "title": appointment.subject
        }));
        self.write(calendar, &shifts);
        Ok(())
    }

    async fn remove(&self, calendar: &CalendarRef, name: &str) -> Result<(), Cannot> {
        let mut shifts = self.shifts(calendar);
        shifts.retain(|shift| shift["id"] != name);
        self.write(calendar, &shifts);
        Ok(())
    }

    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        for calendar in self.calendars() {
            let text = fs::read_to_string(self.file(&calendar)).expect("a file");
            let text = if on {
                // Cut in the middle, as when a copy is broken off.
                text[..text.len() / 2].to_owned() + "|" + &text
            } else {
                text.split_once('|')
                    .map_or(text.clone(), |(_, whole)| whole.to_owned())
            };
            fs::write(self.file(&calendar), text).expect("the folder can be written");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connector_conforms() {
    let connector = find("rota").expect("it is linked");
    let world = Folder(TempDir::new().expect("a folder"));
    let report = run(connector, Arc::new(world), &Selection::All, |_| {}).await;
    println!("{}", report.table());
    assert!(report.passed(), "{}", report.table());
    // What this world has no means for. A list that grows means that less is tested.
    assert_eq!(
        report.not_offered(),
        [
            "wrong_secret_is_auth",
            "refused_sign_in_does_not_pass",
            "series_are_told_as_occurrences",
            "throttled_reading_says_so",
            "one_bad_write_spoils_no_other",
            "throttled_writing_says_so",
            "secrets_stay_secret",
        ]
    );
}
