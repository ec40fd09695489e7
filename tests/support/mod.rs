//! A municipality in small: Exchange and Planner as servers of this process, and the program as a child.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use calbridge_sandbox::exchange::{
    Account, ExchangeOptions, ExchangeSandbox, FreeBusy, ItemHandle, NewItem, Zone,
};
use calbridge_sandbox::planner::{KnownCertificate, PlannerOptions, PlannerSandbox, Resource};
use calbridge_sandbox::tls::{CertificateSpec, Pki};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub const HOLDER: &str = "CVR:12345678-FID:1234567890123";
pub const ANNA: &str = "anna@kommune.example";
pub const BO: &str = "bo@kommune.example";
pub const ROOM: &str = "lokale1@kommune.example";
/// A Monday.
pub const NOW: &str = "2026-11-23T08:00:00Z";

pub struct World {
    pub exchange: ExchangeSandbox,
    pub planner: PlannerSandbox,
    pub dir: TempDir,
    pki: Pki,
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Everything that was printed.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A time of day, so many days from now, by Danish wall clock.
pub fn ahead(days: i64, time: &str) -> String {
    let now = Timestamp::now().in_tz("Europe/Copenhagen").unwrap();
    let day = now.date() + jiff::Span::new().days(days);
    format!("{day}T{time}")
}

pub fn wall(text: &str) -> DateTime {
    text.parse().unwrap()
}

impl World {
    /// Anna, Bo and a room, in both systems, with nothing in their calendars.
    pub async fn new() -> Self {
        let now: Timestamp = NOW.parse().unwrap();
        let exchange = ExchangeSandbox::start(ExchangeOptions {
            accounts: vec![Account::service("svc-calbridge", "sandbox")],
            keep_requests: true,
            require_anchor: true,
            ..ExchangeOptions::default()
        })
        .await
        .unwrap();
        exchange.set_clock(Some(now));
        exchange.add_person("Anna Berg", ANNA).unwrap();
        exchange.add_person("Bo Dal", BO).unwrap();
        exchange.add_room("Lokale 1", ROOM).unwrap();

        let pki = Pki::new().unwrap();
        let known = vec![KnownCertificate::opened(HOLDER, "10100")];
        let mut options = PlannerOptions::secure(&pki, known).unwrap();
        options.resources = vec![
            Resource::case_worker("Anna Berg", ANNA),
            Resource::case_worker("Bo Dal", BO),
            Resource::room("Lokale 1", ROOM),
        ];
        options.keep_xml = true;
        options.clock = Some(now);
        let planner = PlannerSandbox::start(options).await.unwrap();

        let dir = tempfile::tempdir().unwrap();
        pki.write_ca(&dir.path().join("ca.pem")).unwrap();
        write_private(&dir.path().join("p12-password"), "p12-secret\n");
        let world = Self {
            exchange,
            planner,
            dir,
            pki,
        };
        world.certificate(&CertificateSpec::client(HOLDER));
        world.configure(|text| text);
        world
    }

    /// Writes the client certificate that calbridge shows Planner.
    pub fn certificate(&self, spec: &CertificateSpec) {
        let client = self.pki.issue(spec).unwrap();
        let archive = client.pkcs12("p12-secret").unwrap();
        std::fs::write(self.dir.path().join("client.p12"), archive).unwrap();
    }

    /// Writes the configuration, changed.
    pub fn configure(&self, change: impl FnOnce(String) -> String) {
        let dir = self.dir.path();
        let text = format!(
            r#"
[state]
path = {state:?}

[connections.exchange]
connector = "exchange-ews"
url = "{exchange}"
auth = {{ kind = "basic", user = "svc-calbridge", password = "env:EXCHANGE_PASSWORD" }}
home_zone = "Europe/Copenhagen"
http = {{ proxy = "none", timeout = "20 s" }}

[connections.planner]
connector = "planner-dfdg"
url = "{planner}"
jobcenter = "10100"
request_user = "{HOLDER}"
certificate = {{ pkcs12 = {p12:?}, password = "file:{password}" }}
calls_per_minute = 100000
http = {{ extra_ca = [{ca:?}], proxy = "none", timeout = "20 s" }}

[[sync]]
name = "jobcenter"
source = "exchange"
sink = "planner"
schedule = {{ interval = "1 s" }}
"#,
            state = dir.join("state.db"),
            exchange = self.exchange.url(),
            planner = self.planner.url(),
            p12 = dir.join("client.p12"),
            password = dir.join("p12-password").display(),
            ca = dir.join("ca.pem"),
        );
        std::fs::write(self.config(), change(text)).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("calbridge.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state.db")
    }

    /// An appointment by Danish wall clock.
    pub fn appointment(&self, address: &str, subject: &str, start: &str, end: &str) -> ItemHandle {
        self.exchange
            .create(
                address,
                NewItem::at(subject, wall(start), wall(end), &Zone::denmark()),
            )
            .unwrap()
    }

    /// Start and end of what Planner holds of an address, in order.
    pub fn in_planner(&self, address: &str) -> Vec<(String, String)> {
        let mut events: Vec<_> = self
            .planner
            .events(address)
            .into_iter()
            .map(|record| (record.start.to_string(), record.end.to_string()))
            .collect();
        events.sort();
        events
    }

    /// What Planner should hold of an address between two instants, as the oracle of Exchange's sandbox has it.
    pub fn truth(&self, address: &str, from: &str, to: &str) -> Vec<(String, String)> {
        let denmark = TimeZone::get("Europe/Copenhagen").unwrap();
        let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
        let mut spans: Vec<_> = self
            .exchange
            .occurrences(address, from, to)
            .into_iter()
            .filter(|occurrence| {
                occurrence.free_busy != FreeBusy::Free
                    && !occurrence.cancelled
                    && occurrence.start < occurrence.end
            })
            .map(|occurrence| match occurrence.dates {
                Some((first, end)) => (first.at(0, 0, 0, 0), end.at(0, 0, 0, 0)),
                None => (
                    denmark.to_datetime(occurrence.start),
                    denmark.to_datetime(occurrence.end),
                ),
            })
            .map(|(start, end)| (start.to_string(), end.to_string()))
            .collect();
        spans.sort();
        spans
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calbridge"));
        command
            .arg("--config")
            .arg(self.config())
            .args(args)
            .env("EXCHANGE_PASSWORD", "sandbox")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command with the clock at [`NOW`].
    pub async fn run(&self, args: &[&str]) -> Done {
        self.run_with(args, |_| {}).await
    }

    pub async fn run_with(&self, args: &[&str], change: impl FnOnce(&mut Command)) -> Done {
        self.run_at(NOW, args, change).await
    }

    pub async fn run_at(
        &self,
        now: &str,
        args: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Done {
        let mut command = self.command(args);
        command.args(["--now", now]);
        change(&mut command);
        let output = tokio::time::timeout(Duration::from_secs(120), command.output());
        output.await.expect("the program hangs").unwrap().into()
    }

    /// `sync`, which must go well, as JSON.
    pub async fn sync(&self) -> Value {
        self.run(&["sync", "--json"]).await.expect(0).json()
    }

    /// How many writes a plan comes to.
    pub async fn planned(&self) -> u64 {
        self.run(&["plan", "--json"]).await.expect(0).json()["writes"]
            .as_u64()
            .unwrap()
    }

    /// Starts a command and leaves it running, its output kept in files. The clock stands at [`NOW`].
    pub fn start(&self, args: &[&str]) -> Child {
        self.spawn(&[args, &["--now", NOW]].concat())
    }

    /// The same with the clocks of everybody running; appointments must lie ahead then.
    pub fn start_live(&self, args: &[&str]) -> Child {
        self.exchange.set_clock(None);
        self.planner.set_clock(None);
        self.spawn(args)
    }

    /// Starts a command with the clock at an instant.
    pub fn start_at(&self, now: &str, args: &[&str]) -> Child {
        self.spawn(&[args, &["--now", now]].concat())
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let file = |name: &str| std::fs::File::create(self.dir.path().join(name)).unwrap();
        self.command(args)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap()
    }

    pub fn started_log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// Whether any file of the state holds this text, in UTF-8 or UTF-16.
    pub fn state_holds(&self, text: &str) -> bool {
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("state.db")
            })
            .any(|path| {
                let bytes = std::fs::read(path).unwrap();
                [text.as_bytes(), &wide]
                    .iter()
                    .any(|needle| bytes.windows(needle.len()).any(|window| window == *needle))
            })
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come about");
}

pub fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[cfg(unix)]
pub fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-s", name, &id])
        .status()
        .unwrap();
    assert!(sent.success());
}
