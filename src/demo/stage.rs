//! The stage: both servers, certificates, secrets, a configuration file, and calbridge between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use calbridge_core::clock::{Clock, FixedClock};
use calbridge_core::engine::{Engine, Silent, SyncConfig, SyncOptions, SyncReport};
use calbridge_sandbox::exchange::{Account, ExchangeOptions, ExchangeSandbox};
use calbridge_sandbox::ledger::Call;
use calbridge_sandbox::planner::{
    CalledEvent, KnownCertificate, PlannerCall, PlannerOptions, PlannerSandbox, Resource,
};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, ClientAuth, Pki};
use jiff::ToSpan as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::data::{Data, Setup};
use super::table::Table;
use super::{Break, changes, failed};
use crate::commands::session::Session;
use crate::config::{self, LogConfig, LogLevel, Sources};
use crate::error::AppError;
use crate::log;
use crate::progress::Bars;

/// Who calls Planner: the holder of the client certificate.
const HOLDER: &str = "CVR:12345678-UUID:4c5d1f0e-7c9b-4b1e-9a55-0d2f3b6a7c81";
const CVR: &str = "NTRDK-12345678";
const SERIAL: &str = "UI:DK-O:G:4c5d1f0e-7c9b-4b1e-9a55-0d2f3b6a7c81";
/// The service account on Exchange.
const ACCOUNT: &str = "NORDBY\\svc-calbridge";

/// Both servers and calbridge between them. The folder goes when this is dropped.
pub(super) struct Stage {
    pub(super) data: Data,
    pub(super) exchange: ExchangeSandbox,
    pub(super) planner: PlannerSandbox,
    /// The configuration file that calbridge was started with.
    pub(super) config: PathBuf,
    clock: Arc<FixedClock>,
    shutdown: CancellationToken,
    engine: Engine,
    sync: SyncConfig,
    /// Number of the last call to Planner that was looked at.
    seen: u64,
    _folder: TempDir,
}

/// What one sync did.
#[derive(Debug)]
pub(super) struct Round {
    /// What calbridge says.
    pub(super) report: SyncReport,
    /// What Planner says: every event that was sent to it, in order, with the operation.
    pub(super) sent: Vec<(String, CalledEvent)>,
    /// How many calls of any kind reached Planner.
    pub(super) calls: usize,
}

impl Round {
    /// How many events Planner really created, changed and removed.
    pub(super) fn effects(&self) -> [usize; 3] {
        ["CreateEvents", "UpdateEvents", "DeleteEvents"].map(|operation| {
            let of = |(name, event): &&(String, CalledEvent)| name == operation && event.effective;
            self.sent.iter().filter(of).count()
        })
    }
}

impl Stage {
    /// Starts the servers, fills them, writes the configuration and opens it as the program does.
    ///
    /// # Errors
    /// No free port, no writable temporary folder, or a configuration that does not work.
    pub(super) async fn set(shutdown: CancellationToken) -> Result<Self, AppError> {
        log::begin(&LogConfig {
            level: LogLevel::Error,
            ..LogConfig::default()
        });
        let data = Data::load()?;
        let setup = &data.setup;
        let folder = tempfile::Builder::new()
            .prefix("calbridge-demo-")
            .tempdir()
            .map_err(failed)?;
        let pki = Pki::new().map_err(failed)?;
        let password = random();
        let exchange = exchange(setup, &pki, &password).await?;
        let planner = planner(setup, &pki).await?;
        let config = write_files(folder.path(), setup, &pki, &password, &exchange, &planner)?;

        let clock = Arc::new(FixedClock::new(setup.now));
        let session = Session {
            config: config::load(&Sources {
                file: config.clone(),
                ..Sources::default()
            })?,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            shutdown: shutdown.clone(),
        };
        let syncs = session.config.syncs.clone();
        let sync = syncs
            .first()
            .cloned()
            .ok_or_else(|| failed("its configuration has no sync"))?;
        let engine = session.engine(syncs).await?;
        Ok(Self {
            data,
            exchange,
            planner,
            config,
            clock,
            shutdown,
            engine,
            sync,
            seen: 0,
            _folder: folder,
        })
    }

    /// One sync, as `calbridge sync` does it.
    ///
    /// # Errors
    /// Nothing could be done at all.
    pub(super) async fn sync(&mut self, show: bool) -> Result<Round, AppError> {
        let (options, stop) = (SyncOptions::default(), &self.shutdown);
        let report = match Bars::new(!show) {
            Some(bars) => {
                self.engine
                    .sync_once(&self.sync, &options, stop, &bars)
                    .await
            }
            None => {
                self.engine
                    .sync_once(&self.sync, &options, stop, &Silent)
                    .await
            }
        }?;
        let calls: Vec<Call<PlannerCall>> =
            self.planner.ledger().select(|call| call.number > self.seen);
        self.seen = calls.last().map_or(self.seen, |call| call.number);
        let sent = calls.iter().flat_map(|call| {
            let events = call.detail.events.iter().cloned();
            events.map(|event| (call.operation.clone(), event))
        });
        Ok(Round {
            report,
            sent: sent.collect(),
            calls: calls.len(),
        })
    }

    /// An operator approves what the guard holds, as `calbridge approve` does; then the next sync. Answers how many
    /// deletes that were.
    ///
    /// # Errors
    /// Nothing could be done at all.
    pub(super) async fn approve(&mut self) -> Result<(u64, Round), AppError> {
        let approved = self
            .engine
            .approve(&self.sync, &[], self.clock.now())
            .await?;
        Ok((approved, self.sync(false).await?))
    }

    /// Lets the clocks of all three show the time of the changes.
    pub(super) fn time_passes(&self) {
        let now = self.data.setup.changed_at;
        self.clock.set(now);
        self.exchange.set_clock(Some(now));
        self.planner.set_clock(Some(now));
    }

    /// Does all changes.
    ///
    /// # Errors
    /// A change names an appointment that is not there.
    pub(super) fn change(&self) -> Result<(), AppError> {
        self.data
            .changes
            .iter()
            .try_for_each(|change| changes::apply(&self.exchange, change))
    }

    /// What Planner holds.
    pub(super) fn content(&self) -> Table {
        Table::of(self.planner.content())
    }

    /// Does damage to one record in Planner. calbridge is not told.
    ///
    /// # Errors
    /// Planner holds nothing.
    pub(super) fn break_planner(&self, what: Break) -> Result<(), AppError> {
        let content = self.content();
        // In the middle, so that nothing special is hit.
        let victim = content
            .lines()
            .get(content.len() / 2)
            .ok_or_else(|| failed("Planner holds nothing that could be broken"))?;
        let (mailbox, id) = (&victim.mailbox, &victim.id);
        match what {
            Break::Loss => {
                self.planner.remove_event(mailbox, id);
            }
            Break::Duplicate => {
                let copy = format!("{id}-copy");
                self.planner
                    .put_event(mailbox, &copy, victim.start, victim.end);
            }
            Break::Time => {
                let [start, end] = [victim.start, victim.end].map(|at| at.saturating_add(1.hour()));
                self.planner.put_event(mailbox, id, start, end);
            }
        }
        Ok(())
    }

    /// Stops the servers.
    pub(super) async fn strike(self) {
        self.exchange.stop().await;
        self.planner.stop().await;
    }
}

/// A password that nobody knows: it protects nothing but is asked for.
fn random() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    let word = || {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    format!("{:016x}{:016x}", word(), word())
}

async fn exchange(setup: &Setup, pki: &Pki, password: &str) -> Result<ExchangeSandbox, AppError> {
    let tls = pki
        .server_config(&CertificateSpec::server(), ClientAuth::None)
        .map_err(failed)?;
    let exchange = ExchangeSandbox::start(ExchangeOptions {
        server: ServerOptions {
            tls: Some(tls),
            ..ServerOptions::default()
        },
        accounts: vec![Account::service(ACCOUNT, password)],
        ..ExchangeOptions::default()
    })
    .await
    .map_err(failed)?;
    exchange.set_clock(Some(setup.now));
    for mailbox in &setup.exchange {
        let (name, address) = (&mailbox.name, &mailbox.address);
        if mailbox.room {
            exchange.add_room(name, address)
        } else {
            exchange.add_person(name, address)
        }
        .map_err(failed)?;
        let Some(seed) = Data::seed(address) else {
            continue;
        };
        let report = exchange.seed_ics(address, seed).map_err(failed)?;
        if let Some(problem) = report.problems.first() {
            return Err(failed(format!("the calendar of {address}, {problem}")));
        }
    }
    for series in &setup.outlook_series {
        changes::outlook_series(&exchange, series)?;
    }
    Ok(exchange)
}

async fn planner(setup: &Setup, pki: &Pki) -> Result<PlannerSandbox, AppError> {
    let known = vec![KnownCertificate::opened(HOLDER, &setup.jobcenter)];
    let resources = setup.planner.resources.iter().map(|one| {
        if one.room {
            Resource::room(&one.name, &one.address)
        } else {
            Resource::case_worker(&one.name, &one.address)
        }
    });
    let planner = PlannerSandbox::start(PlannerOptions {
        resources: resources.collect(),
        keep_xml: true,
        clock: Some(setup.now),
        ..PlannerOptions::secure(pki, known).map_err(failed)?
    })
    .await
    .map_err(failed)?;
    for own in &setup.planner.own {
        planner.put_own_appointment(&own.mailbox, &own.id, own.start, own.end);
    }
    for left in &setup.planner.left_by_predecessor {
        planner.put_event(&left.mailbox, &left.id, left.start, left.end);
    }
    Ok(planner)
}

/// Writes certificates, secrets and the configuration into the folder, which only this account may enter.
fn write_files(
    folder: &Path,
    setup: &Setup,
    pki: &Pki,
    password: &str,
    exchange: &ExchangeSandbox,
    planner: &PlannerSandbox,
) -> Result<PathBuf, AppError> {
    let path = |name: &str| folder.join(name);
    let (ca, identity_file) = (path("ca.pem"), path("oces3.p12"));
    let (exchange_secret, identity_secret) = (path("exchange.password"), path("oces3.password"));
    pki.write_ca(&ca).map_err(failed)?;
    let specification = CertificateSpec {
        organisation: Some("Nordby Kommune".to_owned()),
        organisation_identifier: Some(CVR.to_owned()),
        ..CertificateSpec::client(SERIAL)
    };
    let identity = pki.issue(&specification).map_err(failed)?;
    let identity_password = random();
    let archive = identity.pkcs12(&identity_password).map_err(failed)?;
    std::fs::write(&identity_file, archive).map_err(failed)?;
    write_private(&exchange_secret, password)?;
    write_private(&identity_secret, &identity_password)?;

    let file = path("calbridge.toml");
    let text = format!(
        r#"# Written by `calbridge demo`. The servers, the certificate and the passwords live as long as the demo.

[connections.exchange]
connector = "exchange-ews"
url = {exchange_url}
auth = {{ kind = "basic", user = {account}, password = {exchange_secret} }}
home_zone = {zone}
http = {{ extra_ca = [{ca}], proxy = "none" }}

[connections.planner]
connector = "planner-dfdg"
url = {planner_url}
jobcenter = {jobcenter}
request_user = {holder}
certificate = {{ pkcs12 = {identity}, password = {identity_secret} }}
http = {{ extra_ca = [{ca}], proxy = "none" }}

[[sync]]
name = "jobcenter"
source = "exchange"
sink = "planner"
direction = "one-way"
window = {{ past = "0 days", future = "{months} months" }}

[state]
path = {state}
"#,
        exchange_url = quoted(&exchange.url()),
        account = quoted(ACCOUNT),
        exchange_secret = quoted(&format!("file:{}", exchange_secret.display())),
        zone = quoted(&setup.zone),
        ca = quoted(&ca.display().to_string()),
        planner_url = quoted(&planner.url()),
        jobcenter = quoted(&setup.jobcenter),
        holder = quoted(HOLDER),
        identity = quoted(&identity_file.display().to_string()),
        identity_secret = quoted(&format!("file:{}", identity_secret.display())),
        months = setup.future_months,
        state = quoted(&path("calbridge.db").display().to_string()),
    );
    std::fs::write(&file, text).map_err(failed)?;
    Ok(file)
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Writes a secret so that only this account may read it.
fn write_private(path: &Path, secret: &str) -> Result<(), AppError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(failed)?;
    std::io::Write::write_all(&mut file, secret.as_bytes()).map_err(failed)
}
