//! The library's side of the boundary. An author sees [`plugin_entry!`](crate::plugin_entry) alone.
//!
//! The library has a runtime of its own, which never ends, as the library is never unloaded. `entry` is the only
//! module with unsafe code: it turns C functions and pointers into `Completion`s and calls of `Guest`.

mod clock;
mod entry;
mod instance;
mod log;
mod secrets;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Runtime;

use super::abi::{ABI, ERR};
use super::messages::{LibraryManifest, OpenRequest, read};
use crate::connector::{Error, ErrorKind, Result, Scope, connectors};
use instance::{Instance, Target};

pub use entry::table;

/// Ends an `open` or a `call` exactly once: with what it is given, or, if it is dropped, with `Cancelled`.
struct Completion {
    tell: Option<Tell>,
}

/// Takes a status and an answer.
type Tell = Box<dyn FnOnce(i32, &[u8]) + Send>;

impl Completion {
    fn new(tell: impl FnOnce(i32, &[u8]) + Send + 'static) -> Self {
        Self {
            tell: Some(Box::new(tell)),
        }
    }

    fn end(mut self, result: Result<Vec<u8>>) {
        self.tell_now(result);
    }

    fn tell_now(&mut self, result: Result<Vec<u8>>) {
        if let Some(tell) = self.tell.take() {
            match result {
                Ok(answer) => tell(super::abi::OK, &answer),
                Err(error) => {
                    // An error is plain data; JSON can hold it.
                    let error = serde_json::to_vec(&error).unwrap_or_default();
                    tell(ERR, &error);
                }
            }
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.tell_now(Err(cancelled()));
    }
}

fn cancelled() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        Scope::Connection,
        "plugin.cancelled",
        "the call was given up before the connector answered",
    )
}

fn panicked() -> Error {
    let place = log::last_panic().map_or_else(String::new, |place| format!(" at {place}"));
    Error::new(
        ErrorKind::Panicked,
        Scope::Connection,
        "plugin.panicked",
        format!("the connector panicked{place}; that is a fault in it, report it to its vendor"),
    )
}

/// Runs foreign code; what it panics with is thrown away.
fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // Dropping it could panic again.
            std::mem::forget(payload);
            None
        }
    }
}

/// What a library keeps from `init` on.
struct Guest {
    runtime: Runtime,
    /// Calls to the library itself.
    library: Arc<Instance>,
    /// By number, so that a stale one from a faulty host finds nothing instead of freed memory.
    instances: Mutex<HashMap<usize, Arc<Instance>>>,
    next: AtomicUsize,
    log: log::Log,
}

static GUEST: OnceLock<Guest> = OnceLock::new();

impl Guest {
    /// The manifest as JSON; it stays for ever.
    fn manifest() -> &'static [u8] {
        static MANIFEST: OnceLock<Vec<u8>> = OnceLock::new();
        MANIFEST.get_or_init(|| {
            let manifest = LibraryManifest {
                abi: ABI,
                built_with: Some(format!("calbridge-core {}", env!("CARGO_PKG_VERSION"))),
                connectors: connectors().iter().map(|entry| entry.manifest()).collect(),
            };
            serde_json::to_vec(&manifest).unwrap_or_default()
        })
    }

    /// Once. `false`: it was called before, or there are no threads to be had.
    fn init(log: log::Sink, max_level: u32, own: &'static [&'static str]) -> bool {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
        let Ok(runtime) = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("calbridge-plugin")
            .enable_all()
            .build()
        else {
            return false;
        };
        let mut begun = false;
        GUEST.get_or_init(|| {
            begun = true;
            Self {
                library: Arc::new(Instance::library(runtime.handle().clone())),
                runtime,
                instances: Mutex::default(),
                next: AtomicUsize::new(1),
                log: log::Log::begin(log, max_level, own),
            }
        });
        begun
    }

    fn get() -> Option<&'static Self> {
        GUEST.get()
    }

    /// 0 after an error.
    fn open(&'static self, connector: &[u8], config: &[u8], completion: Completion) -> usize {
        let opened = caught(|| {
            let _inside = self.runtime.enter();
            let connector = String::from_utf8_lossy(connector);
            let request: OpenRequest = read("open", config)?;
            Target::open(&connector, request, &self.log)
        })
        .unwrap_or_else(|| Err(panicked()));
        match opened {
            Ok((target, answer)) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let instance = Instance::new(self.runtime.handle().clone(), target);
                self.instances
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(number, Arc::new(instance));
                completion.end(Ok(answer));
                number
            }
            Err(error) => {
                completion.end(Err(error));
                0
            }
        }
    }

    fn call(
        &'static self,
        instance: usize,
        method: &[u8],
        payload: &[u8],
        completion: Completion,
    ) -> u64 {
        match self.instance(instance) {
            Some(instance) => instance.call(method, payload, completion),
            None => {
                completion.end(Err(cancelled()));
                0
            }
        }
    }

    fn cancel(&'static self, instance: usize, token: u64) {
        if let Some(instance) = self.instance(instance) {
            instance.cancel(token);
        }
    }

    fn close(&'static self, instance: usize) {
        let closed = self
            .instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance);
        if let Some(closed) = closed {
            closed.end();
            // The connection's destructor may want the runtime, and may panic.
            let _inside = self.runtime.enter();
            caught(|| drop(closed));
        }
    }

    fn instance(&self, number: usize) -> Option<Arc<Instance>> {
        if number == 0 {
            return Some(Arc::clone(&self.library));
        }
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    }
}

/// Makes a `cdylib` crate a library that calbridge can load. Names the connector crates in it; without names the
/// crate's own connectors are meant.
///
/// ```ignore
/// calbridge_core::plugin_entry!(my_connector);
/// ```
///
/// A library with `panic = "abort"` is refused when it is compiled: a panic in it would end the whole program.
#[macro_export]
macro_rules! plugin_entry {
    ($($connector:ident),* $(,)?) => {
        // A crate that nothing names is not linked, and its connectors with it.
        $(use $connector as _;)*

        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a connector library must be built with `panic = \"unwind\"`: take `panic = \"abort\"` out of the profile"
        );

        /// The table of functions by which calbridge uses this library.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub extern "C" fn calbridge_plugin_v1() -> *const $crate::plugin::abi::PluginV1 {
            $crate::plugin::guest::table(&[
                ::core::module_path!(),
                $(::core::stringify!($connector)),*
            ])
        }
    };
}
