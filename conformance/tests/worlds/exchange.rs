//! The sandbox's Exchange server behind TLS: the kit puts items into its mailboxes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use calbridge_conformance::{Appointment, Cannot, Refused, World};
use calbridge_core::model::{CalendarRef, EventTime};
use calbridge_sandbox::exchange::{
    self as sandbox, Account, ExchangeOptions, ExchangeSandbox, Folder, FreeBusy, ItemHandle,
    NewItem, Notifications, Pattern, Profile, Range, Recurrence, Sensitivity, StoreError, Zone,
};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ANNA, BO, Nobody, ZONE};

const USER: &str = "svc-calbridge";
const PASSWORD: &str = "Kirsebærhave-4711";
const REFERENCE: &str = "env:EXCHANGE";

/// For `exchange-ews`.
pub struct Exchange {
    server: ExchangeSandbox,
    dir: TempDir,
    nobody: Nobody,
    /// By address and the kit's name.
    items: Mutex<BTreeMap<(String, String), ItemHandle>>,
}

fn failed(error: StoreError) -> Cannot {
    Cannot::Failed(error.to_string())
}

impl Exchange {
    pub async fn new(profile: Profile) -> Self {
        let pki = Pki::new().unwrap();
        let dir = TempDir::new().unwrap();
        pki.write_ca(&dir.path().join("ca.pem")).unwrap();
        let tls = pki.server_config(&CertificateSpec::server(), ClientAuth::None);
        let server = ExchangeSandbox::start(ExchangeOptions {
            server: ServerOptions {
                tls: Some(tls.unwrap()),
                ..ServerOptions::default()
            },
            profile,
            accounts: vec![Account::service(USER, PASSWORD)],
            require_anchor: true,
            notifications: Notifications {
                heartbeat: Duration::from_secs(1),
                ..Notifications::default()
            },
            ..ExchangeOptions::default()
        });
        let server = server.await.unwrap();
        server.set_clock(Some(super::now()));
        server.add_person("Anna Berg", ANNA).unwrap();
        server.add_person("Bo Dal", BO).unwrap();
        Self {
            server,
            dir,
            nobody: Nobody::new(),
            items: Mutex::default(),
        }
    }

    fn settings_for(&self, url: &str) -> Value {
        json!({
            "url": url,
            "auth": { "kind": "basic", "user": USER, "password": REFERENCE },
            "home_zone": ZONE,
            "writable": true,
            // A few items already take several requests.
            "batch": 5,
            "http": { "extra_ca": [self.dir.path().join("ca.pem")], "proxy": "none", "timeout": "20 s" },
        })
    }
}

#[async_trait]
impl World for Exchange {
    fn settings(&self) -> Value {
        self.settings_for(&self.server.url())
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        [(REFERENCE.to_owned(), PASSWORD.to_owned())].into()
    }

    fn wrong_secrets(&self) -> Option<BTreeMap<String, String>> {
        Some([(REFERENCE.to_owned(), "Æblehave-1174".to_owned())].into())
    }

    fn refused(&self) -> Vec<Refused> {
        let mut settings = self.settings();
        settings["auth"]["user"] = json!("svc-nobody");
        vec![Refused {
            what: "an account that is not there",
            settings,
            secrets: self.secrets(),
        }]
    }

    fn out_of_reach(&self) -> Option<Value> {
        let url = format!("https://{}/EWS/Exchange.asmx", self.nobody.address());
        Some(self.settings_for(&url))
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

    fn patience(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn clear(&self) -> Result<(), Cannot> {
        self.server.clear_faults();
        self.items.lock().unwrap().clear();
        for address in [ANNA, BO] {
            for folder in [Folder::Calendar, Folder::DeletedItems] {
                for item in self.server.items(address, folder) {
                    self.server.hard_delete(item).map_err(failed)?;
                }
            }
        }
        self.server.ledger().clear();
        Ok(())
    }

    async fn put(&self, calendar: &CalendarRef, appointment: &Appointment) -> Result<(), Cannot> {
        let address = calendar.address.as_str();
        let zone = Zone::denmark();
        let content = content(appointment, &zone);
        let rule = appointment
            .daily
            .as_ref()
            .map(|daily| rule(daily.count, &content));
        let name = (calendar.address.folded(), appointment.name.clone());
        let mut items = self.items.lock().unwrap();
        let item = match items.get(&name) {
            // The item stays the same, as when a user moves it.
            Some(item) => {
                let known = self.server.reschedule(*item, rule, |old| *old = content);
                known.map_err(failed)?;
                *item
            }
            None => {
                let mut new = NewItem::new(content);
                new.series = rule;
                let item = self.server.create(address, new).map_err(failed)?;
                items.insert(name, item);
                item
            }
        };
        let Some(daily) = &appointment.daily else {
            return Ok(());
        };
        let original = |n: u32| {
            let first = instant(&appointment.time).to_zoned(TimeZone::get(ZONE).unwrap());
            first.checked_add(i64::from(n).days()).unwrap().timestamp()
        };
        if let Some((n, time)) = &daily.moved {
            let moved = self.server.change_occurrence(item, original(*n), |one| {
                (one.start, one.end) = span(time, &zone);
            });
            moved.map_err(failed)?;
        }
        if let Some(n) = daily.cancelled {
            let deleted = self.server.delete_occurrence(item, original(n));
            deleted.map_err(failed)?;
        }
        Ok(())
    }

    async fn remove(&self, calendar: &CalendarRef, name: &str) -> Result<(), Cannot> {
        let name = (calendar.address.folded(), name.to_owned());
        match self.items.lock().unwrap().remove(&name) {
            Some(item) => self.server.delete(item).map(drop).map_err(failed),
            None => Err(Cannot::Failed("no such appointment".to_owned())),
        }
    }

    async fn held(&self, calendar: &CalendarRef) -> Result<Vec<EventTime>, Cannot> {
        let items = self
            .server
            .items(calendar.address.as_str(), Folder::Calendar);
        items
            .into_iter()
            .map(|item| {
                let held = self.server.read(item).map_err(failed)?.3;
                let time = if held.all_day {
                    EventTime::all_day(held.local_start().date(), held.local_end().date())
                } else {
                    EventTime::timed(held.start, held.end, None)
                };
                time.map_err(|error| Cannot::Failed(error.to_string()))
            })
            .collect()
    }

    async fn refuse(&self, calendar: &CalendarRef, time: &EventTime) -> Result<(), Cannot> {
        let spec = format!(
            "CreateItem@{}*all=start-refused:{}",
            calendar.address.as_str(),
            instant(time)
        );
        let added = self.server.inject_spec(&spec);
        added.map_err(|error| Cannot::Failed(error.to_string()))
    }

    async fn throttle(&self, on: bool) -> Result<(), Cannot> {
        self.faults(on, "**all=busy-fault:2000")
    }

    async fn fail(&self, on: bool) -> Result<(), Cannot> {
        // The first items come, the others do not.
        self.faults(on, "GetItem#2*all=fault:ErrorInternalServerError")
    }
}

impl Exchange {
    fn faults(&self, on: bool, spec: &str) -> Result<(), Cannot> {
        self.server.clear_faults();
        let calls = self.server.ledger();
        if !on {
            super::struck(calls.all().iter().any(|call| call.status >= 500))?;
        }
        calls.clear();
        if on {
            let added = self.server.inject_spec(spec);
            added.map_err(|error| Cannot::Failed(error.to_string()))?;
        }
        Ok(())
    }
}

fn instant(time: &EventTime) -> Timestamp {
    match time {
        EventTime::Timed { start, .. } => *start,
        other => panic!("the kit's series have a time of day: {other:?}"),
    }
}

/// As Exchange keeps it: whole days from midnight to midnight.
fn span(time: &EventTime, zone: &Zone) -> (Timestamp, Timestamp) {
    match time {
        EventTime::Timed { start, end, .. } => (*start, *end),
        EventTime::AllDay { start, end } => {
            let midnight = |day: jiff::civil::Date| {
                let zoned = day.to_zoned(zone.rules().clone());
                zoned.unwrap().timestamp()
            };
            (midnight(*start), midnight(*end))
        }
        other => panic!("a time that this world does not know: {other:?}"),
    }
}

fn content(appointment: &Appointment, zone: &Zone) -> sandbox::Appointment {
    let (start, end) = span(&appointment.time, zone);
    let mut content = sandbox::Appointment::new(&appointment.subject, start, end, zone);
    content.all_day = matches!(appointment.time, EventTime::AllDay { .. });
    content.free_busy = FreeBusy::Busy;
    content.location = format!("{} place", appointment.subject);
    content.body = format!("{} text", appointment.subject);
    content.categories = vec!["Kit".to_owned()];
    if appointment.private {
        content.sensitivity = Sensitivity::Private;
    }
    content
}

fn rule(count: u32, content: &sandbox::Appointment) -> sandbox::SeriesRule {
    sandbox::SeriesRule::Ews(Recurrence {
        pattern: Pattern::Daily { interval: 1 },
        start: content.local_start().date(),
        range: Range::Numbered(count),
    })
}
