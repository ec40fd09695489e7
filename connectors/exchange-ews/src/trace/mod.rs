//! Requests and answers of one mailbox in a file, for support: redacted, and for a limited time.

mod redact;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use calbridge_core::clock::Clock;
use calbridge_core::connector::{Context, Error, ErrorKind, Result, Scope};
use calbridge_core::http::HttpResponse;
use calbridge_core::model::Address;
use jiff::{SignedDuration, Timestamp};
use url::Url;

use self::redact::Ids;
use crate::config::TraceSettings;
use crate::signin::Failure;

/// The largest file, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// Headers of an answer that tell how it came, and nothing about anybody.
const HEADERS: [&str; 10] = [
    "date",
    "server",
    "content-type",
    "retry-after",
    "request-id",
    "x-calculatedbetarget",
    "x-beserver",
    "x-feserver",
    "x-diaginfo",
    "connection",
];

/// The file, and what goes into it.
#[derive(Debug)]
pub(crate) struct Trace {
    mailbox: Address,
    from: Timestamp,
    lasts: SignedDuration,
    clock: Arc<dyn Clock>,
    key: [u8; 32],
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: Option<File>,
    written: usize,
    number: u64,
}

impl Trace {
    /// Opens the file; what is in it stays.
    ///
    /// # Errors
    /// `Config`: it cannot be opened.
    pub(crate) fn open(settings: &TraceSettings, context: &Context) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&settings.file).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                Scope::Connection,
                "config.trace",
                format!(
                    "`trace`: the file {} cannot be written: {error}",
                    settings.file.display()
                ),
            )
        })?;
        // Ids are told apart within one file's run, and nowhere else.
        let random = std::hash::RandomState::new();
        let mut hasher = blake3::Hasher::new();
        for salt in 0_u8..4 {
            let part = std::hash::BuildHasher::hash_one(&random, salt);
            hasher.update(&part.to_le_bytes());
        }
        let trace = Self {
            mailbox: settings.mailbox.clone(),
            from: context.clock.now(),
            lasts: SignedDuration::try_from(settings.lasts.get())
                .unwrap_or(SignedDuration::from_mins(10)),
            clock: Arc::clone(&context.clock),
            key: *hasher.finalize().as_bytes(),
            out: Mutex::new(Out {
                file: Some(file),
                written: 0,
                number: 0,
            }),
        };
        trace.put(&format!(
            "calbridge {}: requests to Exchange for one mailbox, and its answers. Left out: credentials, addresses, names, texts; ids are shortened.\n",
            env!("CARGO_PKG_VERSION")
        ));
        Ok(trace)
    }

    /// The number of a request that is to be noted.
    pub(crate) fn request(
        &self,
        mailbox: Option<&Address>,
        url: &Url,
        operation: &str,
        document: &[u8],
    ) -> Option<u64> {
        let wanted = mailbox.is_none_or(|mailbox| *mailbox == self.mailbox);
        if !wanted || !self.goes_on() {
            return None;
        }
        let number = {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.number += 1;
            out.number
        };
        let text = String::from_utf8_lossy(document);
        self.put(&format!(
            "\n>> {number} at {}: {operation}, {} bytes, to {}{}\n{}",
            self.clock.now(),
            document.len(),
            redact::harmless(url.host_str().unwrap_or_default()),
            if mailbox.is_none() {
                ", for no mailbox"
            } else {
                ""
            },
            redact::document(&text, self)
        ));
        Some(number)
    }

    /// What came of a request.
    pub(crate) fn came(&self, number: u64, sent: &Result<HttpResponse, Failure>, took: Duration) {
        let head = format!("\n<< {number} after {} ms:", took.as_millis());
        let text = match sent {
            Ok(answer) => format!("{head} {}", self.answer(answer)),
            Err(Failure::Http(failure)) => format!("{head} no answer [{}]\n", failure.cause.code()),
            Err(Failure::Error(error)) => format!("{head} not sent [{}]\n", error.code),
        };
        self.put(&text);
    }

    fn answer(&self, answer: &HttpResponse) -> String {
        let mut text = format!(
            "status {}, {} bytes\n",
            answer.status.as_u16(),
            answer.body.len()
        );
        for name in HEADERS {
            if let Some(value) = answer.header(name) {
                let value = value.split(';').next().unwrap_or_default();
                let value = redact::harmless(value.replace(['/', ','], " ").trim());
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        let body = String::from_utf8_lossy(&answer.body);
        text.push_str(&redact::document(&body, self));
        text
    }

    fn goes_on(&self) -> bool {
        let age = self.clock.now().duration_since(self.from);
        if age <= self.lasts && age >= -self.lasts {
            return true;
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut file) = out.file.take() {
            let _ = writeln!(file, "\nThe time is up.");
        }
        false
    }

    fn put(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut file) = out.file.take() else {
            return;
        };
        out.written = out.written.saturating_add(text.len());
        if out.written > LARGEST {
            let _ = writeln!(file, "\nThe file is full.");
            return;
        }
        match file.write_all(text.as_bytes()) {
            Ok(()) => out.file = Some(file),
            // Work goes on without it.
            Err(error) => {
                tracing::warn!(%error, "The trace of requests cannot be written and ends.");
            }
        }
    }
}

impl Ids for Trace {
    fn short(&self, id: &str) -> String {
        let hash = blake3::keyed_hash(&self.key, id.as_bytes()).to_hex();
        format!("#{}", hash.get(..8).unwrap_or_default())
    }
}
