//! The two ways, each with a Planner of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use calbridge_core::model::CalendarRef;
use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox, Profile};
use calbridge_sandbox::planner::{KnownCertificate, PlannerOptions, PlannerSandbox, Resource};
use calbridge_sandbox::tls::{CertificateSpec, Pki, Validity};
use jiff::civil::date;

use crate::support::{Done, HOLDER, World};

/// A calendar's file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl File {
    pub(crate) fn address(&self) -> String {
        format!("{}@kommune.example", self.name)
    }

    fn handle(&self) -> String {
        CalendarRef::primary(self.address()).unwrap().handle()
    }
}

/// The calendars of a folder, by name.
pub(crate) fn folder(path: &Path) -> Option<Vec<File>> {
    let mut files: Vec<File> = std::fs::read_dir(path)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ics"))
        .map(|path| File {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            path,
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Some(files)
}

/// When, and what is kept in step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// The clock of everybody.
    pub(crate) now: &'a str,
    /// As in the configuration.
    pub(crate) window: &'a str,
}

/// What Planner holds of a calendar: id, start, end.
pub(crate) type Fact = (String, String, String);

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing of it is believed.
    Whole {
        code: String,
        message: String,
        /// By which messages may name the calendar.
        handle: String,
    },
    /// The events that begin in these lines cannot be used.
    Events(Vec<usize>),
}

/// What a way came to, by the name of the file.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) held: BTreeMap<String, Vec<Fact>>,
    pub(crate) trouble: BTreeMap<String, Trouble>,
}

impl Came {
    /// Only the times, in order.
    pub(crate) fn spans(&self, name: &str) -> Vec<(String, String)> {
        let mut spans: Vec<_> = self.held[name]
            .iter()
            .map(|(_, start, end)| (start.clone(), end.clone()))
            .collect();
        spans.sort();
        spans
    }
}

/// A world with nobody but the files' owners, and with certificates that were valid when the calendars were made.
pub(crate) async fn world(files: &[File], setting: Setting<'_>) -> World {
    let mut world = World::new().await;
    let now = setting.now.parse().unwrap();
    world.exchange.set_clock(Some(now));

    let pki = Pki::new().unwrap();
    let known = vec![KnownCertificate::opened(HOLDER, "10100")];
    let mut options = PlannerOptions::secure(&pki, known).unwrap();
    options.clock = Some(now);
    options.keep_xml = true;
    options.resources = files
        .iter()
        .map(|file| Resource::case_worker("Somebody", &file.address()))
        .collect();
    world.planner = PlannerSandbox::start(options).await.unwrap();
    pki.write_ca(&world.dir.path().join("ca.pem")).unwrap();
    let always = Validity::Between(date(2000, 1, 1), date(2090, 1, 1));
    let client = pki
        .issue(&CertificateSpec::client(HOLDER).valid(always))
        .unwrap();
    let pkcs12 = client.pkcs12("p12-secret").unwrap();
    std::fs::write(world.dir.path().join("client.p12"), pkcs12).unwrap();
    world
}

fn held(world: &World, files: &[File]) -> BTreeMap<String, Vec<Fact>> {
    let of = |file: &File| {
        let mut facts: Vec<Fact> = world
            .planner
            .events(&file.address())
            .into_iter()
            .map(|record| (record.id, record.start.to_string(), record.end.to_string()))
            .collect();
        facts.sort();
        facts
    };
    files
        .iter()
        .map(|file| (file.name.clone(), of(file)))
        .collect()
}

/// Copies files into a folder of their own, named by their owners' addresses.
pub(crate) fn copy_files(world: &World, files: &[File]) -> PathBuf {
    let folder = world.dir.path().join("calendars");
    std::fs::create_dir(&folder).unwrap();
    for file in files {
        std::fs::copy(&file.path, folder.join(format!("{}.ics", file.address()))).unwrap();
    }
    folder
}

/// The way through `ical-source`.
pub(crate) struct FilesWay<'a> {
    pub(crate) world: World,
    files: &'a [File],
    setting: Setting<'a>,
}

impl<'a> FilesWay<'a> {
    /// The files are copied, and the program is set up to read the copies.
    pub(crate) async fn new(files: &'a [File], setting: Setting<'a>) -> Self {
        let world = world(files, setting).await;
        let folder = copy_files(&world, files);
        let connection = format!(
            "[connections.files]\nconnector = \"ical-source\"\npath = {folder:?}\n[[sync]]"
        );
        world.configure(|text| {
            let text = text
                .replace("[[sync]]", &connection)
                .replace("source = \"exchange\"", "source = \"files\"");
            format!("{text}window = {}\n", setting.window)
        });
        Self {
            world,
            files,
            setting,
        }
    }

    /// Where the program finds a file.
    pub(crate) fn place(&self, file: &File) -> PathBuf {
        let name = format!("calendars/{}.ics", file.address());
        self.world.dir.path().join(name)
    }

    /// Brings Planner in step.
    pub(crate) async fn came(&self) -> Came {
        let done = self
            .world
            .run_at(self.setting.now, &["sync", "--json"], |_| {})
            .await;
        Came {
            held: held(&self.world, self.files),
            trouble: trouble_of_files(self.files, &done),
        }
    }
}

/// Through `ical-source`.
pub(crate) async fn by_files(files: &[File], setting: Setting<'_>) -> Came {
    FilesWay::new(files, setting).await.came().await
}

/// What the program says of the files.
fn trouble_of_files(files: &[File], done: &Done) -> BTreeMap<String, Trouble> {
    let report = done.json();
    let calendars = report["syncs"][0]["calendars"]
        .as_array()
        .unwrap_or_else(|| panic!("{done:#?}"));
    let mut trouble = BTreeMap::new();
    for file in files {
        let calendar = calendars
            .iter()
            .find(|calendar| calendar["calendar"]["address"] == file.address())
            .unwrap_or_else(|| panic!("{} does not take part: {report}", file.name));
        if let Some(failed) = calendar.get("failed").filter(|failed| !failed.is_null()) {
            let text = |key: &str| failed[key].as_str().unwrap().to_owned();
            trouble.insert(
                file.name.clone(),
                Trouble::Whole {
                    code: text("code"),
                    message: text("message"),
                    handle: file.handle(),
                },
            );
        } else if calendar["report"]["unreadable"] != 0 {
            let lines = unreadable_lines(&done.stderr, &file.handle());
            trouble.insert(file.name.clone(), Trouble::Events(lines));
        }
    }
    assert_eq!(
        done.code,
        Some(if trouble.is_empty() { 0 } else { 5 }),
        "{done:?}"
    );
    trouble
}

/// The places that the log names for a calendar.
fn unreadable_lines(log: &str, handle: &str) -> Vec<usize> {
    const PLACE: &str = "the VEVENT that begins in line ";
    let mut lines: Vec<usize> = log
        .lines()
        .filter(|line| line.contains(handle))
        .filter_map(|line| {
            let (_, rest) = line.split_once(PLACE)?;
            let digits = rest.split(' ').next()?;
            digits.parse().ok()
        })
        .collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// The way through mailboxes of Exchange: the world, and what of the files could not be imported.
pub(crate) async fn exchange_way(
    files: &[File],
    setting: Setting<'_>,
    profile: Profile,
) -> (World, BTreeMap<String, Trouble>) {
    let mut world = world(files, setting).await;
    let options = ExchangeOptions {
        profile,
        keep_requests: true,
        ..ExchangeOptions::default()
    };
    world.exchange = ExchangeSandbox::start(options).await.unwrap();
    world.exchange.set_clock(Some(setting.now.parse().unwrap()));
    let mut trouble = BTreeMap::new();
    for file in files {
        let address = file.address();
        world.exchange.add_person("Somebody", &address).unwrap();
        let report = world.exchange.seed_ics_file(&address, &file.path).unwrap();
        if report.problems.is_empty() {
            continue;
        }
        let lines = report.problems.iter().map(|problem| problem.line).collect();
        trouble.insert(file.name.clone(), Trouble::Events(lines));
    }
    world.configure(|text| format!("{text}window = {}\n", setting.window));
    (world, trouble)
}

/// Through mailboxes of Exchange.
pub(crate) async fn by_exchange(files: &[File], setting: Setting<'_>) -> Came {
    let (came, unreadable) = by_server(files, setting, Profile::Exchange2019).await;
    assert!(unreadable.is_empty(), "{unreadable:?}");
    came
}

/// Through mailboxes of a server; besides, the files with events that could not be read from it.
pub(crate) async fn by_server(
    files: &[File],
    setting: Setting<'_>,
    profile: Profile,
) -> (Came, Vec<String>) {
    let (world, trouble) = exchange_way(files, setting, profile).await;
    let done = world.run_at(setting.now, &["sync", "--json"], |_| {}).await;
    let report = done.json();
    assert!(report["failed"].as_array().unwrap().is_empty(), "{done:?}");
    let calendars = report["syncs"][0]["calendars"].as_array().unwrap();
    assert_eq!(calendars.len(), files.len(), "{done:?}");
    let mut unreadable = Vec::new();
    for calendar in calendars {
        assert!(calendar["failed"].is_null(), "{done:?}");
        if calendar["report"]["unreadable"] != 0 {
            let address = calendar["calendar"]["address"].as_str().unwrap();
            unreadable.push(address.split('@').next().unwrap().to_owned());
        }
    }
    unreadable.sort();
    let code = if unreadable.is_empty() { 0 } else { 5 };
    assert_eq!(done.code, Some(code), "{done:?}");
    let came = Came {
        held: held(&world, files),
        trouble,
    };
    (came, unreadable)
}

/// How the two ways, or one and the truth, differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    /// The times by the files' way are not the true ones.
    FileTimes,
    /// The times by Exchange's way are not the true ones.
    ExchangeTimes,
    /// The two ways differ in ids, or in the times of an id.
    Ids,
}

/// What differs for a file.
pub(crate) fn compare(
    name: &str,
    by_files: &Came,
    by_exchange: &Came,
    truth: &[(String, String)],
) -> Vec<(Difference, String)> {
    let mut found = Vec::new();
    for (difference, came) in [
        (Difference::FileTimes, by_files),
        (Difference::ExchangeTimes, by_exchange),
    ] {
        let spans = came.spans(name);
        if spans != truth {
            found.push((difference, differ(truth, &spans)));
        }
    }
    let (files, exchange) = (&by_files.held[name], &by_exchange.held[name]);
    if files != exchange {
        found.push((Difference::Ids, differ(files, exchange)));
    }
    found
}

pub(crate) fn differ<T: PartialEq + std::fmt::Debug>(wanted: &[T], is: &[T]) -> String {
    let missing: Vec<_> = wanted.iter().filter(|one| !is.contains(one)).collect();
    let extra: Vec<_> = is.iter().filter(|one| !wanted.contains(one)).collect();
    format!(
        "{} of {}; {} missing, as {:?}; {} too many, as {:?}",
        is.len(),
        wanted.len(),
        missing.len(),
        missing.iter().take(2).collect::<Vec<_>>(),
        extra.len(),
        extra.iter().take(2).collect::<Vec<_>>(),
    )
}
