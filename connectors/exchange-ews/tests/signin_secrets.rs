//! Passwords, hashes and tokens appear nowhere: in no record of any library at any level, in no error, in no `Debug`.
//! The whole process listens, so this is a program of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use calbridge_sandbox::exchange::{Account, ExchangeOptions, SignIn, Spoil};
use serde_json::json;
use support::{ANNA, Bench, request, winter};

const PASSWORD: &str = "Canary-Password-7";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn set_password(bench: &Bench, password: &str) {
    let mut secrets = bench.secrets.0.lock().unwrap();
    secrets.insert("env:EXCHANGE".into(), password.into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_secret_is_said_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut said = String::new();
    for kind in ["ntlm", "negotiate", "basic"] {
        for spoil in [
            None,
            Some(Spoil::NotBase64),
            Some(Spoil::Cut(40)),
            Some(Spoil::Endless),
        ] {
            for password in [PASSWORD, "Canary-Wrong-8"] {
                let options = ExchangeOptions {
                    accounts: vec![Account::service("KOMMUNE\\canary-user", PASSWORD)],
                    sign_in: SignIn {
                        basic: kind == "basic",
                        spoil,
                        ..SignIn::windows()
                    },
                    ..ExchangeOptions::default()
                };
                let bench = Bench::of(options, |settings| {
                    settings["auth"] = json!({
                        "kind": kind,
                        "user": "KOMMUNE\\canary-user",
                        "password": "env:EXCHANGE",
                    });
                })
                .await;
                set_password(&bench, password);
                for _ in 0..2 {
                    let result = bench.read(request(ANNA, winter())).await;
                    if let Err(error) = result {
                        said += &format!("{error} {error:?}\n");
                    }
                }
            }
        }
    }
    said += &String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("A sign-in failed"), "something is logged");
    let utf16: Vec<String> = PASSWORD
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .map(|byte| byte.to_string())
        .collect();
    for secret in [
        "Canary-",
        "canary-user",
        // NTLMSSP, in base64, and as a list of bytes.
        "TlRMTVNT",
        "78, 84, 76, 77, 83, 83, 80",
        // The password as NTLM hashes it.
        &utf16.join(", "),
        "Basic S09",
    ] {
        if let Some(at) = said.find(secret) {
            let from = said[..at].rfind('\n').unwrap_or(0);
            let line: String = said[from..].chars().take(400).collect();
            panic!("{secret}: {line}");
        }
    }
}
