//! One open connection of a library, and the calls that are going on.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, Abortable};
use serde::Deserialize as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::super::dispatch::{Dispatcher, library_call, no_such_connector};
use super::super::messages::{Envelope, OpenRequest, method, write};
use super::clock::GuestClock;
use super::log::Log;
use super::secrets::SentSecrets;
use super::{Completion, cancelled, panicked};
use crate::connector::{Context, Result, find};

/// What calls go to.
pub(super) enum Target {
    Library,
    Connection {
        name: String,
        dispatcher: Dispatcher,
        clock: Arc<GuestClock>,
        shutdown: CancellationToken,
    },
}

impl Target {
    /// Opens a connection; the second is the answer to `open`.
    pub(super) fn open(
        connector: &str,
        request: OpenRequest,
        log: &Log,
    ) -> Result<(Self, Vec<u8>)> {
        let entry = find(connector).ok_or_else(|| no_such_connector(connector))?;
        let clock = Arc::new(GuestClock::new(request.handle, request.clock, log.sink()));
        let shutdown = CancellationToken::new();
        let context = Context {
            connection: request.connection.clone(),
            clock: Arc::<GuestClock>::clone(&clock),
            secrets: Arc::new(SentSecrets::new(request.secrets, request.missing_secrets)),
            shutdown: shutdown.clone(),
        };
        let span = tracing::error_span!(target: "calbridge::plugin", "open", connection = request.connection);
        let connection = span.in_scope(|| entry.open(request.settings, context))?;
        let dispatcher = Dispatcher::new(connection);
        let answer = write("open", &dispatcher.sides())?;
        let target = Self::Connection {
            name: request.connection,
            dispatcher,
            clock,
            shutdown,
        };
        Ok((target, answer))
    }

    async fn call(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Library => library_call(name, payload),
            Self::Connection {
                name: connection,
                dispatcher,
                clock,
                shutdown,
            } => {
                let mut json = serde_json::Deserializer::from_slice(payload);
                // A payload that is no object is refused by whoever reads it for its method.
                let envelope = Envelope::deserialize(&mut json).unwrap_or_default();
                if let Some(now) = envelope.clock {
                    clock.set(now);
                }
                if name == method::SHUTDOWN {
                    shutdown.cancel();
                }
                let span = tracing::error_span!(
                    target: "calbridge::plugin",
                    "call",
                    method = name,
                    connection,
                    traceparent = envelope.traceparent,
                );
                dispatcher.call(name, payload).instrument(span).await
            }
        }
    }
}

/// One open connection, or the library itself.
pub(super) struct Instance {
    runtime: Handle,
    target: Arc<Target>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    going_on: Mutex<GoingOn>,
    idle: Condvar,
}

#[derive(Default)]
struct GoingOn {
    last: u64,
    closing: bool,
    calls: HashMap<u64, AbortHandle>,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, GoingOn> {
        self.going_on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Made before the task is: a task that is aborted before its first poll runs nothing of its own, but drops what it
/// was given. Its call then still ends, and leaves the table.
struct Call {
    token: u64,
    calls: Arc<Calls>,
    completion: Option<Completion>,
}

impl Call {
    fn end(mut self, result: Result<Vec<u8>>) {
        if let Some(completion) = self.completion.take() {
            completion.end(result);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Answered first: `close` waits until the table is empty, and by then nothing may be outstanding.
        drop(self.completion.take());
        let mut going_on = self.calls.lock();
        going_on.calls.remove(&self.token);
        if going_on.calls.is_empty() {
            self.calls.idle.notify_all();
        }
    }
}

impl Instance {
    pub(super) fn library(runtime: Handle) -> Self {
        Self::new(runtime, Target::Library)
    }

    pub(super) fn new(runtime: Handle, target: Target) -> Self {
        Self {
            runtime,
            target: Arc::new(target),
            calls: Arc::default(),
        }
    }

    /// Begins a call. The answer may be given before this returns its token.
    pub(super) fn call(&self, name: &[u8], payload: &[u8], completion: Completion) -> u64 {
        let (abort, registration) = AbortHandle::new_pair();
        let token = {
            let mut going_on = self.calls.lock();
            if going_on.closing {
                drop(going_on);
                completion.end(Err(cancelled()));
                return 0;
            }
            going_on.last += 1;
            let token = going_on.last;
            going_on.calls.insert(token, abort);
            token
        };
        let call = Call {
            token,
            calls: Arc::clone(&self.calls),
            completion: Some(completion),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let payload = payload.to_vec();
        let target = Arc::clone(&self.target);
        let work = async move {
            let answer = AssertUnwindSafe(target.call(&name, &payload)).catch_unwind();
            match answer.await {
                Ok(result) => result,
                Err(payload) => {
                    // Dropping it could panic again.
                    std::mem::forget(payload);
                    Err(panicked())
                }
            }
        };
        self.runtime.spawn(async move {
            let call = call;
            match Abortable::new(work, registration).await {
                Ok(result) => call.end(result),
                Err(_) => call.end(Err(cancelled())),
            }
        });
        token
    }

    /// The answer to a call is no longer wanted: its future is dropped at the next opportunity.
    pub(super) fn cancel(&self, token: u64) {
        // Outside the lock: waking a task may run it.
        let abort = self.calls.lock().calls.get(&token).cloned();
        if let Some(abort) = abort {
            abort.abort();
        }
    }

    /// Gives up all calls and waits until the last one is answered.
    pub(super) fn end(&self) {
        if let Target::Connection { shutdown, .. } = self.target.as_ref() {
            shutdown.cancel();
        }
        let aborts: Vec<AbortHandle> = {
            let mut going_on = self.calls.lock();
            going_on.closing = true;
            going_on.calls.values().cloned().collect()
        };
        for abort in aborts {
            abort.abort();
        }
        let mut going_on = self.calls.lock();
        while !going_on.calls.is_empty() {
            going_on = self
                .calls
                .idle
                .wait(going_on)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
