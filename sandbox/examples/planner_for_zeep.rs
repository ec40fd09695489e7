//! Starts Planner over TLS with a few people and an appointment of its own, says as one line of
//! JSON where it is and which files a client needs, and runs until its input ends.
//!
//! Clients written by others are pointed at it; see `scripts/zeep_check.py`.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;

use calbridge_sandbox::planner::{KnownCertificate, PlannerOptions, PlannerSandbox, Resource};
use calbridge_sandbox::tls::{CertificateSpec, Pki};

const HOLDER: &str = "CVR:12345678-FID:1234567890123";
const JOBCENTER: &str = "10100";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or("usage: planner_for_zeep DIRECTORY (where certificates are written)")?;
    std::fs::create_dir_all(&directory)?;

    let pki = Pki::new()?;
    let ca = directory.join("ca.pem");
    pki.write_ca(&ca)?;
    let client = pki
        .issue(&CertificateSpec::client(HOLDER))?
        .write_to(&directory, "client")?;
    let unknown = CertificateSpec::client("CVR:11111111-FID:1111111111111");
    let unknown = pki.issue(&unknown)?.write_to(&directory, "unknown")?;

    let mut options =
        PlannerOptions::secure(&pki, vec![KnownCertificate::opened(HOLDER, JOBCENTER)])?;
    options.resources = vec![
        Resource::case_worker("Anna Vejleder", "anna@kommune.example"),
        Resource::case_worker("Bo Vejleder", "bo@kommune.example"),
        Resource::room("Lokale 1", "lokale1@kommune.example"),
    ];
    let planner = PlannerSandbox::start(options).await?;
    planner.put_own_appointment(
        "anna@kommune.example",
        "planner-own-1",
        "2026-12-03T09:00:00".parse()?,
        "2026-12-03T10:00:00".parse()?,
    );

    let about = serde_json::json!({
        "url": planner.url(),
        "wsdl": format!("{}?wsdl", planner.url()),
        "ca": ca,
        "certificate": client.certificate,
        "key": client.key,
        "unknown_certificate": unknown.certificate,
        "unknown_key": unknown.key,
        "user": HOLDER,
        "jobcenter": JOBCENTER,
        "own": "planner-own-1",
    });
    let mut output = std::io::stdout().lock();
    writeln!(output, "{about}")?;
    output.flush()?;
    drop(output);

    let until_end = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    tokio::task::spawn_blocking(until_end).await??;
    planner.stop().await;
    Ok(())
}
