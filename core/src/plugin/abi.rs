//! The binary contract, version 1: what stands in `calbridge.h`, in Rust.
//!
//! Types only. The rules that go with them stand in the header, and in the [module above](super).

use std::ffi::c_void;

/// The number of the contract. A change of meaning is a new number and a new symbol.
pub const ABI: u32 = 1;

/// What was appended to version 1 so far.
pub const ABI_MINOR: u32 = 0;

/// The symbol that a library exports: a [`Entry`].
pub const SYMBOL: &str = "calbridge_plugin_v1";

/// Status of an answer: the payload is the answer.
pub const OK: i32 = 0;

/// Status of an answer: the payload is an [`Error`](crate::connector::Error).
pub const ERR: i32 = 1;

/// Borrowed bytes, good until the function that they were given to returns (those of a manifest: for ever).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// Where they begin. May be null if there are none.
    pub ptr: *const u8,
    /// How many there are.
    pub len: usize,
}

impl Bytes {
    /// Borrows from a slice.
    #[must_use]
    pub const fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }
}

/// Takes an answer. Called exactly once for each `open` and `call`, on any thread, perhaps before they return.
pub type Done = unsafe extern "C" fn(user: *mut c_void, status: i32, payload: Bytes);

/// Takes a record for the log: a level and a [`LogRecord`](super::messages::LogRecord).
pub type Log = unsafe extern "C" fn(ctx: *mut c_void, level: u32, record: Bytes);

/// What the host gives a library in `init`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct HostV1 {
    /// Size of this struct as the host knows it.
    pub size: u32,
    /// What of version 1 the host knows.
    pub abi_minor: u32,
    /// Goes with `log`.
    pub ctx: *mut c_void,
    /// Takes records from any thread.
    pub log: Option<Log>,
    /// The finest level that is wanted: [`LogLevel`].
    pub max_level: u32,
}

/// What a library offers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PluginV1 {
    /// Size of this struct as the library knows it.
    pub size: u32,
    /// What of version 1 the library knows.
    pub abi_minor: u32,
    /// [`LibraryManifest`](super::messages::LibraryManifest) as JSON, static.
    pub manifest: Option<unsafe extern "C" fn() -> Bytes>,
    /// Called once, before all else but `manifest`. The struct must be copied. Not 0: the library cannot be used.
    pub init: Option<unsafe extern "C" fn(host: *const HostV1) -> i32>,
    /// Opens a connection; null after an error.
    pub open: Option<
        unsafe extern "C" fn(
            connector: Bytes,
            config: Bytes,
            done: Done,
            user: *mut c_void,
        ) -> *mut c_void,
    >,
    /// Begins a call and returns at once with a token for `cancel`. A null instance means the library itself.
    pub call: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            method: Bytes,
            payload: Bytes,
            done: Done,
            user: *mut c_void,
        ) -> u64,
    >,
    /// The answer to a call is no longer wanted.
    pub cancel: Option<unsafe extern "C" fn(instance: *mut c_void, token: u64)>,
    /// Ends a connection; returns when no answer is outstanding and no thread uses it.
    pub close: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// Changes the finest level that is wanted.
    pub set_level: Option<unsafe extern "C" fn(level: u32)>,
}

/// The exported function.
pub type Entry = unsafe extern "C" fn() -> *const PluginV1;

/// Levels of log records, as numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// Something does not work.
    Error = 0,
    /// Works, and will need attention.
    Warn = 1,
    /// What an operator wants to know.
    Info = 2,
    /// For fault finding.
    Debug = 3,
    /// Everything.
    Trace = 4,
}

impl LogLevel {
    /// The level with this number; a finer one than is known counts as the finest.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Error,
            1 => Self::Warn,
            2 => Self::Info,
            3 => Self::Debug,
            _ => Self::Trace,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl From<tracing::Level> for LogLevel {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}
