//! Two servers with as many calendars as one likes, and a configuration for them.

use std::path::PathBuf;

use calbridge_sandbox::exchange::{
    Account, ExchangeOptions, ExchangeSandbox, NewItem, Pattern, Range, Recurrence, Zone,
};
use calbridge_sandbox::planner::{KnownCertificate, PlannerOptions, PlannerSandbox, Resource};
use calbridge_sandbox::tls::{CertificateSpec, Pki};
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::Serialize;
use tempfile::TempDir;

use crate::cli::BenchArgs;
use crate::error::AppError;

/// The servers live as long as the measurement and listen on loopback: these protect nothing.
pub(super) const PASSWORD: &str = "bench";
pub(super) const PASSWORD_VARIABLE: &str = "BENCH_PASSWORD";
const HOLDER: &str = "CVR:12345678-FID:1234567890123";
const JOBCENTER: &str = "10100";
/// Working days that appointments are spread over, from the first in the window on.
const DAYS: usize = 60;
/// A series stands for so many of a calendar's events: a weekly one has as many in three months.
const OCCURRENCES: usize = 12;
/// One in so many events belongs to a series, as in the calendars of people who sit in meetings.
const IN_SERIES: usize = 4;
/// One in so many calendars changes on a day.
const CHANGED: usize = 10;

/// Both servers and the configuration. The folder goes when this is dropped.
pub(super) struct Town {
    exchange: ExchangeSandbox,
    planner: PlannerSandbox,
    calendars: usize,
    now: Timestamp,
    folder: TempDir,
}

/// How many requests the servers answered.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Served {
    pub(super) exchange_requests: usize,
    pub(super) planner_calls: usize,
}

impl Town {
    /// Starts the servers and fills them.
    ///
    /// # Errors
    /// No free port, no writable temporary folder.
    pub(super) async fn build(args: &BenchArgs) -> Result<Self, AppError> {
        let monday = monday()?;
        let now = monday
            .at(8, 0, 0, 0)
            .to_zoned(TimeZone::UTC)
            .map_err(failed)?
            .timestamp();
        let exchange = ExchangeSandbox::start(ExchangeOptions {
            accounts: vec![Account::service("svc-calbridge", PASSWORD)],
            ..ExchangeOptions::default()
        })
        .await
        .map_err(failed)?;
        exchange.set_clock(Some(now));
        let pki = Pki::new().map_err(failed)?;
        let known = vec![KnownCertificate::opened(HOLDER, JOBCENTER)];
        let mut options = PlannerOptions::secure(&pki, known).map_err(failed)?;
        options.clock = Some(now);
        for number in 0..args.calendars {
            let address = address(number);
            exchange.add_person("Somebody", &address).map_err(failed)?;
            fill(&exchange, &address, args.events)?;
            options
                .resources
                .push(Resource::case_worker("Somebody", &address));
        }
        let planner = PlannerSandbox::start(options).await.map_err(failed)?;
        if args.latency > 0 {
            let late = format!("**all=delay:{}", args.latency);
            exchange.inject_spec(&late).map_err(failed)?;
            planner
                .inject(late.parse().map_err(failed)?)
                .map_err(failed)?;
        }
        let town = Self {
            exchange,
            planner,
            calendars: args.calendars,
            now,
            folder: tempfile::tempdir()?,
        };
        town.write_files(&pki)?;
        Ok(town)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("calbridge.toml")
    }

    fn write_files(&self, pki: &Pki) -> Result<(), AppError> {
        let path = |name: &str| self.folder.path().join(name);
        pki.write_ca(&path("ca.pem")).map_err(failed)?;
        let identity = pki
            .issue(&CertificateSpec::client(HOLDER))
            .map_err(failed)?;
        let archive = identity.pkcs12(PASSWORD).map_err(failed)?;
        std::fs::write(path("client.p12"), archive)?;
        let text = format!(
            r#"
[state]
path = {state:?}

[connections.exchange]
connector = "exchange-ews"
url = "{exchange}"
auth = {{ kind = "basic", user = "svc-calbridge", password = "env:{PASSWORD_VARIABLE}" }}
home_zone = "Europe/Copenhagen"
http = {{ proxy = "none" }}

[connections.planner]
connector = "planner-dfdg"
url = "{planner}"
jobcenter = "{JOBCENTER}"
request_user = "{HOLDER}"
certificate = {{ pkcs12 = {identity:?}, password = "env:{PASSWORD_VARIABLE}" }}
calls_per_minute = 1000000
http = {{ extra_ca = [{ca:?}], proxy = "none" }}

[[sync]]
name = "bench"
source = "exchange"
sink = "planner"
window = {{ past = "0 days", future = "3 months" }}
"#,
            state = path("state.db"),
            exchange = self.exchange.url(),
            planner = self.planner.url(),
            identity = path("client.p12"),
            ca = path("ca.pem"),
        );
        Ok(std::fs::write(self.config(), text)?)
    }

    /// A tenth of the calendars change: an appointment comes, one moves, one goes.
    ///
    /// # Errors
    /// A server refuses a change: a defect of the sandbox.
    pub(super) fn a_day_passes(&self) -> Result<(), AppError> {
        for number in (0..self.calendars).step_by(CHANGED) {
            let address = address(number);
            single(&self.exchange, &address, 5, 17 * 60)?;
            let mut singles = self
                .exchange
                .find(&address, "single-0")
                .into_iter()
                .chain(self.exchange.find(&address, "single-1"));
            if let Some(moved) = singles.next() {
                let by = SignedDuration::from_mins(15);
                self.exchange.move_in_time(moved, by).map_err(failed)?;
            }
            if let Some(gone) = singles.next() {
                self.exchange.delete(gone).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// One new appointment in each of a tenth of the calendars; answers how many.
    ///
    /// # Errors
    /// A server refuses a change: a defect of the sandbox.
    pub(super) fn new_appointments(&self, minute: usize) -> Result<usize, AppError> {
        let changed = (0..self.calendars).step_by(CHANGED);
        let count = changed.len();
        for number in changed {
            single(&self.exchange, &address(number), 6, minute)?;
        }
        Ok(count)
    }

    /// A new appointment in one calendar or another.
    ///
    /// # Errors
    /// As above.
    pub(super) fn new_appointment(&self, number: usize) -> Result<(), AppError> {
        let address = address(number * 37 % self.calendars);
        single(&self.exchange, &address, 7, number)
    }

    /// Where the clock of all three stands still: on Monday of this week.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The servers' clocks run from now on.
    pub(super) fn let_clocks_run(&self) {
        self.exchange.set_clock(None);
        self.planner.set_clock(None);
    }

    pub(super) fn calendars(&self) -> usize {
        self.calendars
    }

    /// How many subscriptions and how many streams there are.
    pub(super) fn watched(&self) -> (usize, usize) {
        self.exchange.watched()
    }

    /// How many records Planner has taken and not removed.
    pub(super) fn in_planner(&self) -> usize {
        self.planner.count()
    }

    /// What was asked since the last time, which is forgotten.
    pub(super) fn served(&self) -> Served {
        let (exchange, planner) = (self.exchange.ledger(), self.planner.ledger());
        let served = Served {
            exchange_requests: exchange.len(),
            planner_calls: planner.len(),
        };
        exchange.clear();
        planner.clear();
        served
    }
}

fn address(number: usize) -> String {
    format!("person{number}@kommune.example")
}

/// Monday of this week.
fn monday() -> Result<Date, AppError> {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let back = i64::from(today.weekday().to_monday_zero_offset());
    today.checked_sub(back.days()).map_err(failed)
}

/// Working day `number` of the weeks from the next one on.
fn working_day(number: usize) -> Result<Date, AppError> {
    let (weeks, day) = (number / 5, number % 5);
    let days = i64::try_from((weeks + 1) * 7 + day).map_err(failed)?;
    monday()?.checked_add(days.days()).map_err(failed)
}

/// Wall-clock time, `minute` minutes after midnight.
fn at(day: Date, minute: usize) -> Result<DateTime, AppError> {
    let minutes = i64::try_from(minute).map_err(failed)?;
    day.at(0, 0, 0, 0)
        .checked_add(minutes.minutes())
        .map_err(failed)
}

fn fill(exchange: &ExchangeSandbox, address: &str, events: usize) -> Result<(), AppError> {
    let series = events / IN_SERIES / OCCURRENCES;
    for number in 0..series {
        let day = working_day(number % 5)?;
        let start = 7 * 60 + number / 5 * 15;
        let rule = Recurrence {
            pattern: Pattern::Weekly {
                interval: 1,
                days: vec![
                    [
                        Weekday::Monday,
                        Weekday::Tuesday,
                        Weekday::Wednesday,
                        Weekday::Thursday,
                        Weekday::Friday,
                    ][number % 5],
                ],
                first_day: Weekday::Monday,
            },
            start: day,
            range: Range::Numbered(u32::try_from(OCCURRENCES).map_err(failed)?),
        };
        let item = NewItem::at(
            "Team",
            at(day, start)?,
            at(day, start + 45)?,
            &Zone::denmark(),
        );
        exchange
            .create(address, item.repeating(rule))
            .map_err(failed)?;
    }
    for number in 0..events - series * OCCURRENCES {
        let minute = 8 * 60 + number / DAYS % 36 * 15;
        let (day, uid) = (working_day(number % DAYS)?, format!("single-{number}"));
        let item = NewItem::at(
            "Talk",
            at(day, minute)?,
            at(day, minute + 30)?,
            &Zone::denmark(),
        );
        exchange.create(address, item.uid(uid)).map_err(failed)?;
    }
    Ok(())
}

fn single(
    exchange: &ExchangeSandbox,
    address: &str,
    day: usize,
    minute: usize,
) -> Result<(), AppError> {
    let day = working_day(day)?;
    let item = NewItem::at(
        "New",
        at(day, minute)?,
        at(day, minute + 30)?,
        &Zone::denmark(),
    );
    exchange.create(address, item).map(drop).map_err(failed)
}

/// Something of the measurement's own that does not work.
pub(super) fn failed(error: impl std::fmt::Display) -> AppError {
    AppError::Failed(format!("the measurement cannot go on: {error}"))
}
