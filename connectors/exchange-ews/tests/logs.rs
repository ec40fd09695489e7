//! Least data: what the connector logs at any level. A test of its own program, for there is one subscriber.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_sandbox::exchange::Profile;
use support::{ANNA, Bench, after, busy, request, winter};

/// What is logged, at which level.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_personal_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("calbridge_exchange_ews=trace,calbridge_core=trace")
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let bench = Bench::start(Profile::Exchange2019).await;
    bench
        .exchange
        .create(ANNA, busy("2026-12-03T09:00", "2026-12-03T10:00"))
        .unwrap();
    let first = request(ANNA, winter());
    let feed = bench.read_true(first.clone()).await;
    bench.exchange.invalidate_sync_states(ANNA).unwrap();
    bench.read_true(after(&feed, &first)).await;
    for spec in [
        "FindItem=malformed",
        "GetFolder=dtd",
        "GetFolder=fault:ErrorAccessDenied",
    ] {
        bench.exchange.inject_spec(spec).unwrap();
        bench.read(request(ANNA, winter())).await.unwrap_err();
        bench.exchange.clear_faults();
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("EWS answered"), "something is logged");
    assert!(
        text.contains("read anew") && text.contains("cannot be read"),
        "{text}"
    );
    for personal in ["Canary", "anna", "kommune.example", "sandbox", "Basic "] {
        assert!(!text.contains(personal), "{personal}: {text}");
    }
}
