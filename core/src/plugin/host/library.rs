//! Libraries in this process. The only unsafe code on the program's side.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::Instant;

use super::super::abi::{ABI_MINOR, Bytes, Done, Entry, HostV1, LogLevel, PluginV1, SYMBOL};
use super::super::messages::LibraryManifest;
use super::log::{self, Sink};
use super::slots::{self, Pending, Unwanted, garbled, no_answer, reply, wait_for};
use super::{Carrier, Instance, Launcher, LoadError, boundary, close_in_background};
use crate::connector::{Error, Result};

/// A library whose code is in this process. It is never unloaded: its threads may run at any time, and destructors
/// of thread-local values keep pointing into it.
pub(super) struct Library {
    path: PathBuf,
    functions: Functions,
    /// The level that the library was told last.
    level: AtomicU32,
}

/// The table's functions, all of them there.
#[derive(Clone, Copy)]
struct Functions {
    manifest: unsafe extern "C" fn() -> Bytes,
    init: unsafe extern "C" fn(*const HostV1) -> i32,
    open: unsafe extern "C" fn(Bytes, Bytes, Done, *mut c_void) -> *mut c_void,
    call: unsafe extern "C" fn(*mut c_void, Bytes, Bytes, Done, *mut c_void) -> u64,
    cancel: unsafe extern "C" fn(*mut c_void, u64),
    close: unsafe extern "C" fn(*mut c_void),
    set_level: Option<unsafe extern "C" fn(u32)>,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An open connection of a library; 0 is the library itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(usize);

impl Handle {
    pub(super) const LIBRARY: Self = Self(0);

    fn pointer(self) -> *mut c_void {
        // It was exposed when it came; the library may have made it any way it likes.
        ptr::with_exposed_provenance_mut(self.0)
    }
}

/// What a library says of itself; good before it has begun, too.
fn manifest(path: &Path, functions: &Functions) -> std::result::Result<LibraryManifest, LoadError> {
    // SAFETY: the manifest's bytes are static, and are there from the beginning.
    let bytes = unsafe { borrowed((functions.manifest)()) };
    serde_json::from_slice(bytes).map_err(|error| LoadError::Incompatible {
        path: path.to_owned(),
        reason: format!("its manifest cannot be read: {error}"),
    })
}

type Loaded = std::result::Result<Arc<Library>, LoadError>;

/// Every library that was begun in this process, also those that refused: none is begun twice.
static LOADED: Mutex<Option<HashMap<PathBuf, Loaded>>> = Mutex::new(None);

/// Where the records of each library go. A library is given its place in this list as `ctx`.
static SINKS: RwLock<Vec<Sink>> = RwLock::new(Vec::new());

impl Library {
    /// Loads a library, once per path, and begins it. The path must have been found trustworthy. `before` is told what
    /// it holds before it begins, if it can be read: what it does then may be the last thing that this process does.
    pub(super) fn load(path: &Path, sink: Sink, before: impl FnOnce(LibraryManifest)) -> Loaded {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = loaded.get_or_insert_default();
        if let Some(known) = loaded.get(path) {
            return known.clone();
        }
        let table = exported(path)?;
        // SAFETY: a library that exports this symbol follows the contract: the table is static. That is all anybody
        // can know of it; what is read first, the size, stands in all tables of version 1.
        let functions = unsafe { functions(table) }.map_err(|reason| LoadError::Incompatible {
            path: path.to_owned(),
            reason,
        })?;
        if let Ok(manifest) = manifest(path, &functions) {
            before(manifest);
        }
        let begun = Self::begin(path, functions, sink).map(Arc::new);
        loaded.insert(path.to_owned(), begun.clone());
        begun
    }

    fn begin(
        path: &Path,
        functions: Functions,
        sink: Sink,
    ) -> std::result::Result<Self, LoadError> {
        let ctx = {
            let mut sinks = SINKS.write().unwrap_or_else(PoisonError::into_inner);
            sinks.push(sink);
            sinks.len() - 1
        };
        let level = log::wanted().number();
        let host = HostV1 {
            #[allow(clippy::cast_possible_truncation)] // 32 bytes
            size: size_of::<HostV1>() as u32,
            abi_minor: ABI_MINOR,
            ctx: ptr::without_provenance_mut(ctx),
            log: Some(log_record),
            max_level: level,
        };
        // SAFETY: `host` is good during the call, and this is the only one.
        let status = unsafe { (functions.init)(&raw const host) };
        if status != 0 {
            return Err(LoadError::Incompatible {
                path: path.to_owned(),
                reason: format!("it refuses to begin (status {status})"),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            functions,
            level: AtomicU32::new(level),
        })
    }

    /// What the library says of itself.
    pub(super) fn manifest(&self) -> std::result::Result<LibraryManifest, LoadError> {
        manifest(&self.path, &self.functions)
    }

    /// Opens a connection. The answer may come later than this returns; without a connection it says why.
    pub(super) fn open(
        &self,
        connector: &str,
        config: &[u8],
        take: impl FnOnce(i32, &[u8]) + Send + 'static,
    ) -> Option<Handle> {
        let number = slots::wait(take);
        // SAFETY: the bytes are good during the call; `done` takes numbers from any thread at any time.
        let instance = unsafe {
            (self.functions.open)(
                Bytes::of(connector.as_bytes()),
                Bytes::of(config),
                done,
                ptr::without_provenance_mut(number),
            )
        };
        (!instance.is_null()).then(|| Handle(instance.expose_provenance()))
    }

    /// Begins a call. The answer may come before this returns its token.
    pub(super) fn call(
        &self,
        instance: Handle,
        name: &str,
        payload: &[u8],
        take: impl FnOnce(i32, &[u8]) + Send + 'static,
    ) -> u64 {
        let number = slots::wait(take);
        // SAFETY: the instance is open: whoever calls this keeps it so; the rest as for `open`.
        unsafe {
            (self.functions.call)(
                instance.pointer(),
                Bytes::of(name.as_bytes()),
                Bytes::of(payload),
                done,
                ptr::without_provenance_mut(number),
            )
        }
    }

    /// The answer is no longer wanted.
    pub(super) fn cancel(&self, instance: Handle, token: u64) {
        // SAFETY: the instance is open; a token that is not known any more is ignored.
        unsafe { (self.functions.cancel)(instance.pointer(), token) };
    }

    /// Ends a connection; may take its time. Nothing may use it meanwhile or afterwards.
    pub(super) fn close(&self, instance: Handle) {
        // SAFETY: the instance is open, and by the caller's promise this is its last use.
        unsafe { (self.functions.close)(instance.pointer()) };
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        self.level.store(level.number(), Ordering::Relaxed);
        if let Some(set_level) = self.functions.set_level {
            // SAFETY: takes a number, at any time after `init`.
            unsafe { set_level(level.number()) };
        }
    }

    /// The program's log may have been set to another level. (In a child it is the program that says so.)
    fn follow_level(&self) {
        let wanted = log::wanted();
        if self.level.load(Ordering::Relaxed) != wanted.number() {
            self.set_level(wanted);
        }
    }
}

/// Loads the file and finds its table.
fn exported(path: &Path) -> std::result::Result<*const PluginV1, LoadError> {
    let not_loadable = |error: libloading::Error| LoadError::NotLoadable {
        path: path.to_owned(),
        reason: without_path(
            path,
            // What the system says stands beneath.
            &std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string),
        ),
    };
    let library = dlopen(path).map_err(not_loadable)?;
    // Kept for ever, whatever it turns out to be: what it did when it was loaded cannot be undone.
    let library = Box::leak(Box::new(library));
    // SAFETY: the symbol has this type: so says the contract of its name.
    let entry = unsafe { library.get::<Entry>(SYMBOL.as_bytes()) }.map_err(|_| {
        LoadError::Incompatible {
            path: path.to_owned(),
            reason: format!("it does not export `{SYMBOL}`"),
        }
    })?;
    // SAFETY: takes nothing, gives a static table.
    Ok(unsafe { entry() })
}

/// The path stands before it in any case.
fn without_path(path: &Path, reason: &str) -> String {
    let reason = path
        .to_str()
        .and_then(|path| reason.strip_prefix(path)?.strip_prefix(": "))
        .unwrap_or(reason);
    reason.to_owned()
}

#[cfg(unix)]
fn dlopen(path: &Path) -> std::result::Result<libloading::os::unix::Library, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: this runs the library's initialisers. The operator has named the file, and nobody else can write it.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
}

#[cfg(windows)]
fn dlopen(path: &Path) -> std::result::Result<libloading::os::windows::Library, libloading::Error> {
    use libloading::os::windows::{
        LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_LIBRARY_SEARCH_SYSTEM32, Library,
    };
    // Its own folder and the system's; never the current one.
    let flags = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32;
    // SAFETY: this runs the library's initialisers. The operator has named the file.
    unsafe { Library::load_with_flags(path, flags) }
}

/// Checks a table and takes its functions.
///
/// # Safety
/// `table` is null, or points to a static struct that begins with its size and, as far as that goes, is a
/// [`PluginV1`].
unsafe fn functions(table: *const PluginV1) -> std::result::Result<Functions, String> {
    if table.is_null() {
        return Err("its table of functions is missing".to_owned());
    }
    // SAFETY: it begins with its size.
    let size = unsafe { ptr::read(table.cast::<u32>()) } as usize;
    let least = std::mem::offset_of!(PluginV1, set_level);
    if size < least {
        return Err(format!(
            "its table of functions has {size} bytes instead of at least {least}"
        ));
    }
    if size > 4096 {
        return Err(format!(
            "its table of functions claims to have {size} bytes"
        ));
    }
    // SAFETY: all members before `set_level` lie within `size`.
    let (manifest, init, open, call, cancel, close) = unsafe {
        (
            (*table).manifest,
            (*table).init,
            (*table).open,
            (*table).call,
            (*table).cancel,
            (*table).close,
        )
    };
    let set_level = if size >= least + size_of::<usize>() {
        // SAFETY: it lies within `size`.
        unsafe { (*table).set_level }
    } else {
        None
    };
    match (manifest, init, open, call, cancel, close) {
        (Some(manifest), Some(init), Some(open), Some(call), Some(cancel), Some(close)) => {
            Ok(Functions {
                manifest,
                init,
                open,
                call,
                cancel,
                close,
                set_level,
            })
        }
        _ => Err("a function is missing from its table".to_owned()),
    }
}

/// # Safety
/// `bytes` is good for `'a`.
unsafe fn borrowed<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.ptr.is_null() || bytes.len == 0 {
        return &[];
    }
    // SAFETY: not null, and by the caller's promise `len` bytes that nobody changes meanwhile.
    unsafe { std::slice::from_raw_parts(bytes.ptr, bytes.len) }
}

/// Takes an answer.
unsafe extern "C" fn done(user: *mut c_void, status: i32, payload: Bytes) {
    // Nothing may unwind into the library.
    let taken = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the payload is good during this call.
        let payload = unsafe { borrowed(payload) };
        if !slots::answer(user.addr(), status, payload) {
            tracing::warn!(
                target: "calbridge::plugin",
                "A connector answered something that was not asked, or answered twice; report that to its vendor."
            );
        }
    }));
    if let Err(payload) = taken {
        std::mem::forget(payload);
    }
}

/// Takes a record.
unsafe extern "C" fn log_record(ctx: *mut c_void, level: u32, record: Bytes) {
    let taken = catch_unwind(AssertUnwindSafe(|| {
        let sink = SINKS
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(ctx.addr())
            .cloned();
        if let Some(sink) = sink {
            // SAFETY: the record is good during this call.
            sink(level, unsafe { borrowed(record) });
        }
    }));
    if let Err(payload) = taken {
        std::mem::forget(payload);
    }
}

/// A library that is used in this process.
#[derive(Debug)]
pub(super) struct InProcess {
    library: Arc<Library>,
    manifest: LibraryManifest,
    launcher: Launcher,
}

impl InProcess {
    pub(super) fn load(path: &Path, launcher: Launcher) -> std::result::Result<Self, LoadError> {
        let library = Library::load(
            path,
            log::sink(path.display().to_string(), path.display().to_string()),
            drop,
        )?;
        Ok(Self {
            manifest: library.manifest()?,
            library,
            launcher,
        })
    }
}

impl Carrier for InProcess {
    fn manifest(&self) -> &LibraryManifest {
        &self.manifest
    }

    fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    fn open(
        &self,
        connector: &str,
        config: &[u8],
        handle: u64,
    ) -> Result<(Arc<dyn Instance>, Vec<u8>)> {
        log::give(handle, &self.library.path.display().to_string());
        let library = Arc::clone(&self.library);
        let asking = Asking::begin()?;
        let (connector, config) = (connector.to_owned(), config.to_vec());
        let close_deadline = self.launcher.close_deadline;
        let (sender, receiver) = mpsc::channel();
        // On a thread of its own: a library that never returns takes that one alone.
        let begun = std::thread::Builder::new()
            .name("calbridge-open".to_owned())
            .spawn(move || {
                let (tell, told) = mpsc::channel();
                library.follow_level();
                let handle = library.open(&connector, &config, move |status, payload| {
                    drop(tell.send(reply(status, payload.to_vec())));
                });
                let open = handle.map(|handle| Open {
                    library,
                    handle,
                    asking,
                    close_deadline,
                });
                // Who has lost patience closes what was opened by dropping it.
                drop(sender.send((told.recv(), open)));
            });
        if begun.is_err() {
            return Err(no_thread());
        }
        match receiver.recv_timeout(self.launcher.patience) {
            Ok((Ok(Ok(answer)), Some(open))) => Ok((Arc::new(Shared(Arc::new(open))), answer)),
            Ok((Ok(Ok(_)), None)) => {
                Err(garbled("says that the connection is open, and gives none"))
            }
            Ok((Ok(Err(failure)), _)) => Err(failure.into_error()),
            Ok((Err(_), _)) | Err(_) => Err(no_answer(self.launcher.patience)),
        }
    }

    fn ask(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let asking = Asking::begin()?;
        let library = Arc::clone(&self.library);
        let (name, payload) = (name.to_owned(), payload.to_vec());
        wait_for(self.launcher.patience, |on_reply| {
            asking.next(move || {
                library.call(Handle::LIBRARY, &name, &payload, move |status, payload| {
                    on_reply(reply(status, payload.to_vec()));
                });
            });
        })
    }
}

fn no_thread() -> Error {
    boundary(
        "plugin.no-thread",
        "the system gives no thread to ask the connector on",
    )
}

/// A thread that calls the library, one after the other: a library that blocks takes this one alone. It ends when
/// nobody has anything to ask any more.
struct Asking(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Asking {
    fn begin() -> Result<Self> {
        let (sender, questions) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        std::thread::Builder::new()
            .name("calbridge-asking".to_owned())
            .spawn(move || {
                while let Ok(ask) = questions.recv() {
                    ask();
                }
            })
            .map_err(|_| no_thread())?;
        Ok(Self(sender))
    }

    fn next(&self, ask: impl FnOnce() + Send + 'static) {
        // The thread is there for as long as this is.
        drop(self.0.send(Box::new(ask)));
    }
}

struct Open {
    library: Arc<Library>,
    handle: Handle,
    asking: Asking,
    close_deadline: std::time::Duration,
}

impl Drop for Open {
    fn drop(&mut self) {
        let library = Arc::clone(&self.library);
        let handle = self.handle;
        let what = library.path.display().to_string();
        close_in_background(&what, self.close_deadline, move || library.close(handle));
    }
}

/// Whoever may still cancel something keeps the connection open.
struct Shared(Arc<Open>);

impl Instance for Shared {
    fn call(&self, name: &str, payload: &[u8], unwanted: Option<Unwanted>) -> Pending {
        let (name, payload) = (name.to_owned(), payload.to_vec());
        Pending::begin(unwanted, |on_reply| {
            let call = Arc::new(Call::default());
            let open = Arc::clone(&self.0);
            let asked = Arc::clone(&call);
            self.0.asking.next(move || {
                // Given up before its turn came, it is not made.
                if asked.given_up.load(Ordering::Relaxed) {
                    return;
                }
                open.library.follow_level();
                let token =
                    open.library
                        .call(open.handle, &name, &payload, move |status, payload| {
                            on_reply(reply(status, payload.to_vec()));
                        });
                // It is looked at on this thread alone.
                *asked.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
            });
            let open = Arc::clone(&self.0);
            move || {
                call.given_up.store(true, Ordering::Relaxed);
                let cancelled = Arc::clone(&open);
                open.asking.next(move || {
                    let token = *call.token.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(token) = token {
                        cancelled.library.cancel(cancelled.handle, token);
                    }
                });
            }
        })
    }

    fn tell(&self, name: &str, payload: &[u8]) {
        let open = Arc::clone(&self.0);
        let (name, payload) = (name.to_owned(), payload.to_vec());
        self.0.asking.next(move || {
            open.library.call(open.handle, &name, &payload, |_, _| {});
        });
    }

    fn died(&self) -> Option<Instant> {
        None
    }
}

/// A call on its way to the library.
#[derive(Default)]
struct Call {
    given_up: AtomicBool,
    token: Mutex<Option<u64>>,
}
