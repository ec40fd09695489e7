//! `sandbox`: Exchange or Planner as a local server, until stopped.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox};
use calbridge_sandbox::fault::{Fault, FaultSpecError};
use calbridge_sandbox::planner::{
    KnownCertificate, PlannerFault, PlannerOptions, PlannerSandbox, Resource,
};
use calbridge_sandbox::server::ServerOptions;
use calbridge_sandbox::tls::{CertificateSpec, Pki};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::{PlannerArgs, SandboxArgs, SandboxCommand};
use crate::error::AppError;
use crate::exit::Exit;
use crate::output::Output;

/// The holder of the client certificate that `--pki` writes.
const HOLDER: &str = "CVR:12345678-FID:1234567890123";
/// The password of the PKCS#12 file that `--pki` writes. It protects nothing.
const PASSWORD: &str = "sandbox";

#[derive(Serialize)]
struct Listening {
    url: String,
    mailboxes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

pub(super) async fn run(
    command: SandboxCommand,
    output: Output,
    shutdown: CancellationToken,
) -> Result<Exit, AppError> {
    match command {
        SandboxCommand::Exchange(args) => {
            let (server, listening) = exchange(&args).await?;
            show(output, &listening)?;
            shutdown.cancelled().await;
            drop(server);
        }
        SandboxCommand::Planner(args) => {
            let (server, listening) = planner(&args).await?;
            show(output, &listening)?;
            shutdown.cancelled().await;
            server.stop().await;
        }
    }
    Ok(Exit::Success)
}

fn show(output: Output, listening: &Listening) -> Result<(), AppError> {
    output.show(listening, || {
        let mut lines = listening.problems.clone();
        lines.push(format!(
            "Listening on {} with {} calendars. Stop with Ctrl-C.",
            listening.url,
            listening.mailboxes.len()
        ));
        lines.join("\n")
    })
}

async fn exchange(args: &SandboxArgs) -> Result<(ExchangeSandbox, Listening), AppError> {
    let seeds = seeds(args.seed.as_deref())?;
    let server = ExchangeSandbox::start(ExchangeOptions {
        server: ServerOptions {
            listen: args.listen,
            ..ServerOptions::default()
        },
        database: database(&seeds)?,
        ..ExchangeOptions::default()
    })
    .await
    .map_err(failed)?;
    for spec in &args.fault {
        server
            .inject_spec(spec)
            .map_err(|error| AppError::Usage(error.to_string()))?;
    }
    let mut mailboxes = Vec::new();
    let mut problems = Vec::new();
    for seed in seeds {
        let added = if seed.room {
            server.add_room(&seed.name, &seed.address)
        } else {
            server.add_person(&seed.name, &seed.address)
        };
        added.map_err(failed)?;
        match server.seed_ics_file(&seed.address, &seed.file) {
            Ok(report) => problems.extend(
                report
                    .problems
                    .iter()
                    .map(|problem| format!("{}: {problem}", seed.file.display())),
            ),
            Err(error) => problems.push(format!("{}: {error}", seed.file.display())),
        }
        mailboxes.push(seed.address);
    }
    let listening = Listening {
        url: server.url(),
        mailboxes,
        problems,
    };
    Ok((server, listening))
}

/// The same seed is the same mailbox database: what a client remembers of it holds. With another it does not.
fn database(seeds: &[Seed]) -> Result<u64, AppError> {
    let mut hasher = DefaultHasher::new();
    for seed in seeds {
        let content = std::fs::read(&seed.file).map_err(|error| {
            AppError::Usage(format!("{} cannot be read: {error}", seed.file.display()))
        })?;
        (&seed.address, seed.room, content).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

async fn planner(args: &PlannerArgs) -> Result<(PlannerSandbox, Listening), AppError> {
    let faults = args
        .common
        .fault
        .iter()
        .map(|spec| {
            let fault: Fault = spec.parse()?;
            PlannerFault::from_kind(&fault.kind)?;
            Ok(fault)
        })
        .collect::<Result<Vec<Fault>, FaultSpecError>>()
        .map_err(|error| AppError::Usage(error.to_string()))?;
    let seeds = seeds(args.common.seed.as_deref())?;
    let base = match &args.pki {
        Some(folder) => secure(folder, &args.jobcenter)?,
        None => PlannerOptions::default(),
    };
    let options = PlannerOptions {
        listen: args.common.listen,
        resources: seeds
            .iter()
            .map(|seed| {
                if seed.room {
                    Resource::room(&seed.name, &seed.address)
                } else {
                    Resource::case_worker(&seed.name, &seed.address)
                }
            })
            .collect(),
        faults,
        ..base
    };
    let server = PlannerSandbox::start(options).await.map_err(failed)?;
    let listening = Listening {
        url: server.url(),
        mailboxes: seeds.into_iter().map(|seed| seed.address).collect(),
        problems: Vec::new(),
    };
    Ok((server, listening))
}

/// TLS with a new authority; the authority and a client certificate are written into `folder`.
fn secure(folder: &Path, jobcenter: &str) -> Result<PlannerOptions, AppError> {
    let pki = Pki::new().map_err(failed)?;
    let known = vec![KnownCertificate::opened(HOLDER, jobcenter)];
    let options = PlannerOptions::secure(&pki, known).map_err(failed)?;
    std::fs::create_dir_all(folder).map_err(failed)?;
    pki.write_ca(&folder.join("ca.pem")).map_err(failed)?;
    let client = pki
        .issue(&CertificateSpec::client(HOLDER))
        .map_err(failed)?;
    let archive = client.pkcs12(PASSWORD).map_err(failed)?;
    std::fs::write(folder.join("client.p12"), archive).map_err(failed)?;
    Ok(options)
}

fn failed(error: impl std::fmt::Display) -> AppError {
    AppError::Failed(error.to_string())
}

/// A mailbox that a seed folder describes.
struct Seed {
    address: String,
    name: String,
    room: bool,
    file: PathBuf,
}

/// `ADDRESS.ics` files of the folder are people, those of its folder `rooms` are rooms.
fn seeds(folder: Option<&Path>) -> Result<Vec<Seed>, AppError> {
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let mut seeds = Vec::new();
    for (folder, room) in [(folder.to_owned(), false), (folder.join("rooms"), true)] {
        if room && !folder.is_dir() {
            continue;
        }
        let unreadable = |error: std::io::Error| {
            AppError::Usage(format!(
                "the folder {} cannot be read: {error}",
                folder.display()
            ))
        };
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let is_calendar = file
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("ics"));
            let address = file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .map(str::to_owned);
            let (true, Some(address)) = (is_calendar, address) else {
                continue;
            };
            if !file.is_file() {
                return Err(AppError::Usage(format!(
                    "{} is no file; put an .ics file in its place",
                    file.display()
                )));
            }
            if !address.contains('@') {
                return Err(AppError::Usage(format!(
                    "{} must be named ADDRESS.ics, for example anna@kommune.example.ics",
                    file.display()
                )));
            }
            let name = address.split('@').next().unwrap_or_default().to_owned();
            seeds.push(Seed {
                address,
                name,
                room,
                file,
            });
        }
    }
    seeds.sort_by(|a, b| (a.room, &a.address).cmp(&(b.room, &b.address)));
    Ok(seeds)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn another_seed_is_another_mailbox_database() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("anna@kommune.example.ics");
        let seeded = |content: &str| {
            std::fs::write(&file, content).unwrap();
            database(&seeds(Some(folder.path())).unwrap()).unwrap()
        };
        let first = seeded("BEGIN:VCALENDAR");
        assert_eq!(seeded("BEGIN:VCALENDAR"), first);
        assert_ne!(seeded("BEGIN:VCALENDAR\nEND:VCALENDAR"), first);
        std::fs::rename(&file, folder.path().join("bo@kommune.example.ics")).unwrap();
        let bo = database(&seeds(Some(folder.path())).unwrap()).unwrap();
        assert_ne!(bo, seeded("BEGIN:VCALENDAR"));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(seeds(Some(folder.path())).is_err());
    }
}
