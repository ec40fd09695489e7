//! The child's side: a library, spoken to in frames.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use serde_json::value::RawValue;

use super::super::abi::{ABI, ERR, LogLevel, OK};
use super::super::messages::{
    AnswerFrame, CallFrame, CloseFrame, Frame, Hello, LogFrame, OpenFrame,
};
use super::library::{Handle, Library};
use super::log::Sink;
use super::slots::garbled;
use super::{LoadError, boundary, frame, trust};
use crate::connector::Error;

/// How long what is under way may hold the process up when its input has ended.
const LEAVE: Duration = Duration::from_secs(1);

/// Loads the library and carries out what the program asks for, until the program ends or closes the pipe. What the
/// program started as a child does, and nothing else: its standard output belongs to the frames.
///
/// Call it before a runtime or a logger is made. Interrupt and termination signals are ignored: the program ends its
/// children itself, when their work is done.
#[must_use]
pub fn run(path: &Path, sha256: Option<&str>) -> ExitCode {
    let (Ok(output), Ok(input)) = (take_stdout(), take_stdin()) else {
        return ExitCode::FAILURE;
    };
    ignore_signals();
    let frames = Frames::begin(output);
    // From the beginning: a library may also block in what it does when it is loaded.
    let Ok(asked) = listen(input) else {
        return ExitCode::FAILURE;
    };
    let library = trust::check(path, sha256).and_then(|path| {
        let library = Library::load(&path, forward(frames.clone()), |manifest| {
            frames.send(&Frame {
                hello: Some(Hello {
                    protocol: ABI,
                    features: Vec::new(),
                    manifest: Some(manifest),
                    error: None,
                    incompatible: false,
                    beginning: true,
                }),
                ..Frame::default()
            });
        })?;
        let manifest = library.manifest()?;
        Ok((library, manifest))
    });
    let (hello, library) = match library {
        Ok((library, manifest)) => (
            Hello {
                protocol: ABI,
                features: Vec::new(),
                manifest: Some(manifest),
                error: None,
                incompatible: false,
                beginning: false,
            },
            Some(library),
        ),
        Err(error) => (
            Hello {
                protocol: ABI,
                features: Vec::new(),
                manifest: None,
                incompatible: matches!(error, LoadError::Incompatible { .. }),
                error: Some(reason(error)),
                beginning: false,
            },
            None,
        ),
    };
    frames.send(&Frame {
        hello: Some(hello),
        ..Frame::default()
    });
    let Some(library) = library else {
        frames.finish();
        return ExitCode::FAILURE;
    };
    let child = Arc::new(Child {
        library,
        frames,
        instances: Mutex::default(),
        calls: Arc::default(),
    });
    while let Ok(frame) = asked.recv() {
        child.take(frame);
    }
    // The program is gone or wants no more; nobody is left to wait for what is going on.
    std::process::exit(0)
}

/// Reads frames on a thread of its own: the end of the input is also noticed while the library blocks in a call, and
/// ends the process, whatever is under way.
fn listen(input: File) -> io::Result<mpsc::Receiver<Frame>> {
    let (asked, frames) = mpsc::channel();
    std::thread::Builder::new()
        .name("calbridge-input".to_owned())
        .spawn(move || {
            let mut input = BufReader::with_capacity(64 * 1024, input);
            while let Ok(Some(frame)) = frame::read(&mut input) {
                if asked.send(frame).is_err() {
                    break;
                }
            }
            drop(asked);
            std::thread::sleep(LEAVE);
            end();
        })?;
    Ok(frames)
}

/// Ends the process and what it has started, without asking the library: what it does at the end may block, too.
#[cfg(unix)]
fn end() -> ! {
    use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
    let own = getpid();
    // Started by hand it may share its group with others.
    let _killed = if getpgrp() == own {
        kill_process_group(own, Signal::KILL)
    } else {
        kill_process(own, Signal::KILL)
    };
    std::process::abort()
}

/// Ends the process without asking the library: what it does at the end may block, too.
#[cfg(windows)]
fn end() -> ! {
    std::process::abort()
}

/// The program puts the path before it.
fn reason(error: LoadError) -> String {
    match error {
        LoadError::NotLoadable { reason, .. } | LoadError::Incompatible { reason, .. } => reason,
        other => other.to_string(),
    }
}

struct Child {
    library: Arc<Library>,
    frames: Frames,
    instances: Mutex<HashMap<u64, Handle>>,
    /// What is going on: the instance, and the token as soon as there is one.
    calls: Arc<Mutex<GoingOn>>,
}

type GoingOn = HashMap<u64, (Handle, Option<u64>)>;

impl Child {
    fn take(self: &Arc<Self>, frame: Frame) {
        if let Some(call) = frame.call {
            self.call(&call);
        } else if let Some(cancel) = frame.cancel {
            let found = lock(&self.calls).get(&cancel.id).copied();
            if let Some((instance, Some(token))) = found {
                self.library.cancel(instance, token);
            }
        } else if let Some(open) = frame.open {
            // Both may take their time; frames are read on.
            let child = Arc::clone(self);
            std::thread::spawn(move || child.open(&open));
        } else if let Some(close) = frame.close {
            let child = Arc::clone(self);
            std::thread::spawn(move || child.close(&close));
        } else if let Some(level) = frame.level {
            self.library.set_level(LogLevel::from_number(level.max));
        }
    }

    fn open(&self, open: &OpenFrame) {
        let (tell, told) = mpsc::channel();
        let handle = self.library.open(
            &open.connector,
            open.config.get().as_bytes(),
            move |status, payload| drop(tell.send((status, payload.to_vec()))),
        );
        // The answer goes out when the connection can be found: the program may use it at once.
        let Ok((status, payload)) = told.recv() else {
            return;
        };
        match handle {
            Some(handle) => {
                lock(&self.instances).insert(open.instance, handle);
            }
            None if status == OK => {
                let error = garbled("says that the connection is open, and gives none");
                self.frames.refuse(open.id, &error);
                return;
            }
            None => {}
        }
        self.frames.answer(open.id, status, &payload);
    }

    fn call(&self, call: &CallFrame) {
        let instance = match call.instance {
            0 => Some(Handle::LIBRARY),
            number => lock(&self.instances).get(&number).copied(),
        };
        let Some(instance) = instance else {
            self.frames.refuse(
                call.id,
                &boundary("plugin.closed", "the connection is closed"),
            );
            return;
        };
        let id = call.id;
        lock(&self.calls).insert(id, (instance, None));
        let calls = Arc::clone(&self.calls);
        let frames = self.frames.clone();
        let payload = call.payload.get().as_bytes();
        let token = self
            .library
            .call(instance, &call.method, payload, move |status, payload| {
                lock(&calls).remove(&id);
                frames.answer(id, status, payload);
            });
        // It may have been answered already.
        if let Some(going_on) = lock(&self.calls).get_mut(&id) {
            going_on.1 = Some(token);
        }
    }

    fn close(&self, close: &CloseFrame) {
        let handle = lock(&self.instances).remove(&close.instance);
        if let Some(handle) = handle {
            self.library.close(handle);
        }
        self.frames.answer(close.id, 0, b"{}");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Log records become frames.
fn forward(frames: Frames) -> Sink {
    Arc::new(move |level, record| {
        if let Ok(record) = serde_json::from_slice::<Box<RawValue>>(record) {
            frames.send(&Frame {
                log: Some(LogFrame { level, record }),
                ..Frame::default()
            });
        }
    })
}

/// The way out, for many threads.
#[derive(Clone)]
struct Frames {
    output: Arc<Mutex<File>>,
}

impl Frames {
    fn begin(output: File) -> Self {
        Self {
            output: Arc::new(Mutex::new(output)),
        }
    }

    fn send(&self, frame: &Frame) {
        match frame::bytes(frame) {
            Ok(bytes) => {
                if lock(&self.output).write_all(&bytes).is_err() {
                    // The program is gone.
                    std::process::exit(0);
                }
            }
            Err(_) => {
                if let Some(answer) = &frame.answer {
                    self.refuse(answer.id, &garbled("is too large"));
                }
            }
        }
    }

    fn answer(&self, id: u64, status: i32, payload: &[u8]) {
        match serde_json::from_slice::<Box<RawValue>>(payload) {
            Ok(payload) => self.send(&Frame {
                answer: Some(AnswerFrame {
                    id,
                    status,
                    payload,
                }),
                ..Frame::default()
            }),
            Err(_) => self.refuse(id, &garbled("is no JSON")),
        }
    }

    fn refuse(&self, id: u64, error: &Error) {
        if let Ok(error) = serde_json::to_vec(error) {
            self.answer(id, ERR, &error);
        }
    }

    fn finish(&self) {
        // Nothing is kept back; the program must only get to read it before the pipe breaks.
        drop(lock(&self.output).flush());
    }
}

/// Takes standard output for the frames alone; what the library prints goes to standard error.
#[cfg(unix)]
fn take_stdout() -> io::Result<File> {
    let output = rustix::io::fcntl_dupfd_cloexec(io::stdout(), FIRST_FREE)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(File::from(output))
}

/// Takes standard input for the frames alone: what the library starts finds an empty one.
#[cfg(unix)]
fn take_stdin() -> io::Result<File> {
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), FIRST_FREE)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(File::from(input))
}

/// Behind the standard streams.
#[cfg(unix)]
const FIRST_FREE: std::os::fd::RawFd = 3;

/// Windows has no safe way to put another handle in its place: a library that prints breaks its frames.
#[cfg(windows)]
fn take_stdout() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    io::stdout()
        .as_handle()
        .try_clone_to_owned()
        .map(File::from)
}

/// As for standard output; a program that the library starts must be given an input of its own.
#[cfg(windows)]
fn take_stdin() -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    io::stdin().as_handle().try_clone_to_owned().map(File::from)
}

/// On a thread of its own, for as long as the process runs.
fn ignore_signals() {
    let watching = std::thread::Builder::new()
        .name("calbridge-signals".to_owned())
        .spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(swallow_signals());
            }
        });
    // Without it a signal ends the child, which the program notices.
    drop(watching);
}

#[cfg(unix)]
async fn swallow_signals() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
async fn swallow_signals() {
    while tokio::signal::ctrl_c().await.is_ok() {}
}
