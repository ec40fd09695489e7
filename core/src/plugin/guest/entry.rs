//! The C functions of a library. The only unsafe code on its side.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

use super::super::abi::{ABI_MINOR, Bytes, Done, ERR, HostV1, PluginV1};
use super::{Completion, Guest, caught};

static TABLE: PluginV1 = PluginV1 {
    #[allow(clippy::cast_possible_truncation)] // 64 bytes
    size: size_of::<PluginV1>() as u32,
    abi_minor: ABI_MINOR,
    manifest: Some(manifest),
    init: Some(init),
    open: Some(open),
    call: Some(call),
    cancel: Some(cancel),
    close: Some(close),
    set_level: Some(set_level),
};

/// The modules whose log records are the library's own.
static OWN: OnceLock<&'static [&'static str]> = OnceLock::new();

/// The table of this library; used by [`plugin_entry!`](crate::plugin_entry). `own` names the crates whose log
/// records are forwarded at any level; those of other crates from `warn` on.
#[must_use]
pub fn table(own: &'static [&'static str]) -> *const PluginV1 {
    OWN.get_or_init(|| own);
    &raw const TABLE
}

/// # Safety
/// `bytes` is good while the caller runs: so says the contract of every function that takes some.
unsafe fn borrowed<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.ptr.is_null() || bytes.len == 0 {
        return &[];
    }
    // SAFETY: not null, and by the caller's promise `len` bytes that nobody changes meanwhile.
    unsafe { std::slice::from_raw_parts(bytes.ptr, bytes.len) }
}

fn completion(done: Done, user: *mut c_void) -> Completion {
    // An `AtomicPtr` may go to another thread; the contract allows that for `user`.
    let user = AtomicPtr::new(user);
    Completion::new(move |status, payload| {
        // SAFETY: `done` and `user` came together in one call, `Completion` uses them once, and `payload` lives until
        // `done` returns.
        unsafe { done(user.into_inner(), status, Bytes::of(payload)) };
    })
}

extern "C" fn manifest() -> Bytes {
    caught(|| Bytes::of(Guest::manifest())).unwrap_or(Bytes::of(&[]))
}

unsafe extern "C" fn init(host: *const HostV1) -> i32 {
    caught(|| {
        if host.is_null() {
            return ERR;
        }
        // SAFETY: the host gives a `HostV1` that is good during this call. Its first member is its size, whatever
        // the rest; no more than what the host knows is read.
        let size = unsafe { ptr::read(host.cast::<u32>()) } as usize;
        if size < std::mem::offset_of!(HostV1, max_level) + size_of::<u32>() {
            return ERR;
        }
        // SAFETY: all members that are read lie within `size`.
        let (ctx, log, max_level) = unsafe { ((*host).ctx, (*host).log, (*host).max_level) };
        let Some(log) = log else {
            return ERR;
        };
        let ctx = AtomicPtr::new(ctx);
        let sink = Arc::new(move |level: u32, record: &[u8]| {
            // SAFETY: the host takes records with its `ctx` from any thread until the process ends, and `record` lives
            // until `log` returns.
            unsafe { log(ctx.load(Ordering::Relaxed), level, Bytes::of(record)) };
        });
        let own = OWN.get().copied().unwrap_or_default();
        if Guest::init(sink, max_level, own) {
            0
        } else {
            ERR
        }
    })
    .unwrap_or(ERR)
}

unsafe extern "C" fn open(
    connector: Bytes,
    config: Bytes,
    done: Done,
    user: *mut c_void,
) -> *mut c_void {
    let completion = completion(done, user);
    let number = caught(|| {
        // SAFETY: both are good during this call.
        let (connector, config) = unsafe { (borrowed(connector), borrowed(config)) };
        Guest::get().map_or(0, |guest| guest.open(connector, config, completion))
    });
    // The number of the instance travels in the pointer; nobody follows it.
    ptr::without_provenance_mut(number.unwrap_or_default())
}

unsafe extern "C" fn call(
    instance: *mut c_void,
    method: Bytes,
    payload: Bytes,
    done: Done,
    user: *mut c_void,
) -> u64 {
    let completion = completion(done, user);
    caught(|| {
        // SAFETY: both are good during this call.
        let (method, payload) = unsafe { (borrowed(method), borrowed(payload)) };
        Guest::get().map_or(0, |guest| {
            guest.call(instance.addr(), method, payload, completion)
        })
    })
    .unwrap_or_default()
}

extern "C" fn cancel(instance: *mut c_void, token: u64) {
    caught(|| {
        if let Some(guest) = Guest::get() {
            guest.cancel(instance.addr(), token);
        }
    });
}

extern "C" fn close(instance: *mut c_void) {
    caught(|| {
        // The library itself is never closed.
        if let (Some(guest), number @ 1..) = (Guest::get(), instance.addr()) {
            guest.close(number);
        }
    });
}

extern "C" fn set_level(level: u32) {
    caught(|| {
        if let Some(guest) = Guest::get() {
            guest.log.set_level(level);
        }
    });
}
