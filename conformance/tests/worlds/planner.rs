//! The sandbox's Planner behind TLS with client certificates: the kit looks at what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use calbridge_conformance::{Cannot, World};
use calbridge_core::model::{CalendarRef, EventTime};
use calbridge_sandbox::planner::{
    KnownCertificate, PlannerOptions, PlannerSandbox, Resource, receipt_code,
};
use calbridge_sandbox::tls::{CertificateSpec, Pki};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Nobody;

const HOLDER: &str = "CVR:12345678-FID:1234567890123";
const JOBCENTER: &str = "10100";
const ANNA: &str = "anna@kit.example";
const ROOM: &str = "room1@kit.example";
/// Planner's clock.
const ZONE: &str = "Europe/Copenhagen";
const NOW: &str = "2026-11-23T08:00:00Z";
const PASSWORD: &str = "Rugbrød-4711";
const REFERENCE: &str = "env:P12";

/// For `planner-dfdg`.
pub struct Planner {
    server: PlannerSandbox,
    dir: TempDir,
    nobody: Nobody,
}

impl Planner {
    pub async fn new() -> Self {
        let pki = Pki::new().unwrap();
        let known = vec![KnownCertificate::opened(HOLDER, JOBCENTER)];
        let mut options = PlannerOptions::secure(&pki, known).unwrap();
        options.resources = vec![
            Resource::case_worker("Anna Berg", ANNA),
            Resource::room("Room 1", ROOM),
        ];
        options.clock = Some(NOW.parse().unwrap());
        let server = PlannerSandbox::start(options).await.unwrap();
        let dir = TempDir::new().unwrap();
        pki.write_ca(&dir.path().join("ca.pem")).unwrap();
        let client = pki.issue(&CertificateSpec::client(HOLDER)).unwrap();
        let archive = client.pkcs12(PASSWORD).unwrap();
        std::fs::write(dir.path().join("client.p12"), archive).unwrap();
        Self {
            server,
            dir,
            nobody: Nobody::new(),
        }
    }

    fn settings_for(&self, url: &str) -> Value {
        json!({
            "url": url,
            "jobcenter": JOBCENTER,
            "request_user": HOLDER,
            "certificate": { "pkcs12": self.dir.path().join("client.p12"), "password": REFERENCE },
            "http": { "extra_ca": [self.dir.path().join("ca.pem")], "proxy": "none", "timeout": "20 s" },
            "calls_per_minute": 100_000,
        })
    }
}

fn wall(time: &EventTime) -> DateTime {
    time.wall_in(&TimeZone::get(ZONE).unwrap()).start
}

#[async_trait]
impl World for Planner {
    fn settings(&self) -> Value {
        self.settings_for(&self.server.url())
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        [(REFERENCE.to_owned(), PASSWORD.to_owned())].into()
    }

    fn out_of_reach(&self) -> Option<Value> {
        let url = format!(
            "https://{}/PlannerExternalCalendarService.svc",
            self.nobody.address()
        );
        Some(self.settings_for(&url))
    }

    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn zone(&self) -> &'static str {
        ZONE
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        [ANNA, ROOM]
            .map(|address| CalendarRef::primary(address).unwrap())
            .to_vec()
    }

    fn missing(&self) -> Option<CalendarRef> {
        CalendarRef::primary("nobody@kit.example").ok()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    async fn clear(&self) -> Result<(), Cannot> {
        self.server.clear_faults();
        self.server.clear_scripts();
        for record in self.server.content().0 {
            self.server.remove_event(&record.mailbox, &record.id);
        }
        self.server.ledger().clear();
        Ok(())
    }

    async fn held(&self, calendar: &CalendarRef) -> Result<Vec<EventTime>, Cannot> {
        let zone = TimeZone::get(ZONE).unwrap();
        let instant = |at: DateTime| at.to_zoned(zone.clone()).unwrap().timestamp();
        Ok(self
            .server
            .events(calendar.address.as_str())
            .into_iter()
            .map(|record| {
                EventTime::timed(instant(record.start), instant(record.end), None).unwrap()
            })
            .collect())
    }

    async fn throttle(&self, on: bool) -> Result<(), Cannot> {
        self.faults(on, "**all=status:429")
    }

    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        // The answer ends in the middle of an event.
        self.faults(on, "GetEvents*all=half")
    }

    async fn refuse(&self, calendar: &CalendarRef, time: &EventTime) -> Result<(), Cannot> {
        // One of the rejections for which there is no cure.
        self.server.script_start(
            calendar.address.as_str(),
            wall(time),
            receipt_code::END_BEFORE_START,
        );
        Ok(())
    }
}

impl Planner {
    fn faults(&self, on: bool, spec: &str) -> Result<(), Cannot> {
        self.server.clear_faults();
        let calls = self.server.ledger();
        // Nothing is proved if nobody called meanwhile.
        if !on && calls.all().iter().all(|call| call.detail.faults.is_empty()) {
            return Err(Cannot::Failed("no call was struck".to_owned()));
        }
        calls.clear();
        if on {
            let fault = spec.parse();
            let fault = fault.map_err(|error| Cannot::Failed(format!("{error}")))?;
            let added = self.server.inject(fault);
            added.map_err(|error| Cannot::Failed(error.to_string()))?;
        }
        Ok(())
    }
}
