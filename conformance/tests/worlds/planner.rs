//! The sandbox's Planner behind TLS with client certificates: the kit looks at what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use calbridge_conformance::{Cannot, Refused, World};
use calbridge_core::model::{CalendarRef, EventTime};
use calbridge_sandbox::planner::{
    KnownCertificate, PlannerOptions, PlannerSandbox, Resource, receipt_code,
};
use calbridge_sandbox::tls::{CertificateSpec, Pki, Signer};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ANNA, Nobody, ZONE};

const HOLDER: &str = "CVR:12345678-FID:1234567890123";
const NOBODY: &str = "CVR:87654321-FID:3210987654321";
/// Known, and not let in yet.
const LATECOMER: &str = "CVR:12345678-FID:9876543210987";
const KNOWN: &str = "client.p12";
const FOREIGN: &str = "foreign.p12";
const UNKNOWN: &str = "unknown.p12";
const CLOSED: &str = "closed.p12";
const JOBCENTER: &str = "10100";
const ROOM: &str = "room1@kit.example";
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
        let known = vec![
            KnownCertificate::opened(HOLDER, JOBCENTER),
            KnownCertificate {
                opened: false,
                ..KnownCertificate::opened(LATECOMER, JOBCENTER)
            },
        ];
        let mut options = PlannerOptions::secure(&pki, known).unwrap();
        options.resources = vec![
            Resource::case_worker("Anna Berg", ANNA),
            Resource::room("Room 1", ROOM),
        ];
        options.clock = Some(super::now());
        let server = PlannerSandbox::start(options).await.unwrap();
        let dir = TempDir::new().unwrap();
        pki.write_ca(&dir.path().join("ca.pem")).unwrap();
        let client = CertificateSpec::client(HOLDER);
        for (file, spec) in [
            (KNOWN, client.clone()),
            (FOREIGN, client.signed_by(Signer::Stranger)),
            (UNKNOWN, CertificateSpec::client(NOBODY)),
            (CLOSED, CertificateSpec::client(LATECOMER)),
        ] {
            let archive = pki.issue(&spec).unwrap().pkcs12(PASSWORD).unwrap();
            std::fs::write(dir.path().join(file), archive).unwrap();
        }
        Self {
            server,
            dir,
            nobody: Nobody::new(),
        }
    }

    fn settings_for(&self, url: &str, holder: &str, certificate: &str) -> Value {
        json!({
            "url": url,
            "jobcenter": JOBCENTER,
            "request_user": holder,
            "certificate": { "pkcs12": self.dir.path().join(certificate), "password": REFERENCE },
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
        self.settings_for(&self.server.url(), HOLDER, KNOWN)
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        [(REFERENCE.to_owned(), PASSWORD.to_owned())].into()
    }

    /// An expired one is not among them: the connector sees that itself, and does not show it to anybody.
    fn refused(&self) -> Vec<Refused> {
        [
            ("a certificate of another authority", HOLDER, FOREIGN),
            ("a certificate that Planner does not know", NOBODY, UNKNOWN),
            ("a certificate that is not opened yet", LATECOMER, CLOSED),
        ]
        .map(|(what, holder, certificate)| Refused {
            what,
            settings: self.settings_for(&self.server.url(), holder, certificate),
            secrets: self.secrets(),
        })
        .into()
    }

    fn out_of_reach(&self) -> Option<Value> {
        let url = format!(
            "https://{}/PlannerExternalCalendarService.svc",
            self.nobody.address()
        );
        Some(self.settings_for(&url, HOLDER, KNOWN))
    }

    fn now(&self) -> Timestamp {
        super::now()
    }

    fn zone(&self) -> &'static str {
        ZONE
    }

    fn calendars(&self) -> Vec<CalendarRef> {
        super::calendars([ANNA, ROOM])
    }

    fn missing(&self) -> Option<CalendarRef> {
        super::missing()
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
        if !on {
            super::struck(
                calls
                    .all()
                    .iter()
                    .any(|call| !call.detail.faults.is_empty()),
            )?;
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
