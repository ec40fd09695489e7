//! Libraries in child processes. Threads and pipes only: a child can be asked from any thread, in a runtime or not.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use super::super::messages::{
    CallFrame, CancelFrame, CloseFrame, Frame, Hello, LevelFrame, LibraryManifest, OpenFrame,
};
use super::slots::{Failure, OnReply, Pending, Unwanted, reply, wait_for};
use super::{Carrier, Instance, Launcher, LoadError, boundary, close_in_background, frame, log};
use crate::connector::{Error, Result};

/// The number of the one connection in a child.
const INSTANCE: u64 = 1;

/// How long a child may take to end when its input has ended.
const LEAVE: Duration = Duration::from_secs(2);

/// How long what a child said last may still be on its way when it has ended.
const DRAIN: Duration = Duration::from_millis(500);

/// A library whose connections run in children, one each.
pub(super) struct Program {
    path: PathBuf,
    sha256: Option<String>,
    launcher: Launcher,
    manifest: LibraryManifest,
    /// Answers questions to the library itself. Started when it is needed; the next connection takes it over.
    front: Mutex<Option<Arc<Child>>>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Program {
    pub(super) fn start(
        path: PathBuf,
        sha256: Option<String>,
        launcher: Launcher,
    ) -> std::result::Result<Self, LoadError> {
        let (front, manifest) = match Child::start(&path, sha256.as_deref(), &launcher) {
            Ok((child, manifest)) => (Some(Arc::new(child)), manifest),
            // What it holds is known: its connections are in trouble, and nobody else.
            Err(NotStarted {
                error,
                manifest: Some(manifest),
            }) => {
                tracing::error!(
                    target: "calbridge::plugin",
                    plugin = %path.display(),
                    %error,
                    "A connector library does not begin; its connections are tried again when they are needed."
                );
                (None, *manifest)
            }
            Err(NotStarted { error, .. }) => return Err(error),
        };
        Ok(Self {
            path,
            sha256,
            launcher,
            manifest,
            front: Mutex::new(front),
        })
    }

    /// A child that holds no connection yet: the one that was asked about the library, if there is one.
    fn child(&self) -> Result<Child> {
        let front = {
            let mut front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
            front.take()
        };
        if let Some(child) = front.and_then(Arc::into_inner)
            && child.died().is_none()
        {
            return Ok(child);
        }
        self.start_child()
    }

    fn start_child(&self) -> Result<Child> {
        Child::start(&self.path, self.sha256.as_deref(), &self.launcher)
            .map(|(child, _)| child)
            .map_err(|failure| boundary("plugin.no-process", failure.error.to_string()))
    }

    fn front(&self) -> Result<Arc<Child>> {
        let mut front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
        match front.as_ref() {
            Some(child) if child.died().is_none() => Ok(Arc::clone(child)),
            _ => {
                let child = Arc::new(self.start_child()?);
                *front = Some(Arc::clone(&child));
                Ok(child)
            }
        }
    }
}

impl Carrier for Program {
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
        let child = Arc::new(self.child()?);
        log::give(handle, &speaker(child.process));
        let answer = wait_for(self.launcher.patience, |on_reply| {
            child.send(on_reply, |id| {
                Ok(Frame {
                    open: Some(OpenFrame {
                        id,
                        instance: INSTANCE,
                        connector: connector.to_owned(),
                        config: raw(config)?,
                    }),
                    ..Frame::default()
                })
            });
        })?;
        tracing::info!(
            target: "calbridge::plugin",
            plugin = child.shared.name,
            connector,
            process = child.process,
            "A connector runs in a process of its own."
        );
        Ok((Arc::new(Open(child)), answer))
    }

    fn ask(&self, name: &str, payload: &[u8]) -> Result<Vec<u8>> {
        let child = self.front()?;
        wait_for(self.launcher.patience, |on_reply| {
            child.call(0, name, payload, on_reply);
        })
    }
}

/// A connection in a child of its own.
struct Open(Arc<Child>);

impl Instance for Open {
    fn call(&self, name: &str, payload: &[u8], unwanted: Option<Unwanted>) -> Pending {
        if let Some((_, error)) = self.0.shared.lock().dead.clone() {
            return Pending::not_sent(error);
        }
        Pending::begin(unwanted, |on_reply| {
            let child = Arc::clone(&self.0);
            let id = child.call(INSTANCE, name, payload, on_reply);
            move || child.cancel(id)
        })
    }

    fn tell(&self, name: &str, payload: &[u8]) {
        self.0.call(INSTANCE, name, payload, Box::new(drop));
    }

    fn died(&self) -> Option<Instant> {
        self.0.died()
    }
}

/// A child process. Dropped, it is asked to end, and killed if it does not.
pub(super) struct Child {
    shared: Arc<Shared>,
    /// The system's number of the process.
    process: u32,
    /// Frames for the child; without it the child's input ends.
    input: Option<mpsc::Sender<Vec<u8>>>,
    next: AtomicU64,
    level: AtomicU32,
    close_deadline: Duration,
}

/// Why there is no child.
struct NotStarted {
    error: LoadError,
    /// What its library holds, if it ended while it began: what may be otherwise the next time.
    manifest: Option<Box<LibraryManifest>>,
}

impl From<LoadError> for NotStarted {
    fn from(error: LoadError) -> Self {
        Self {
            error,
            manifest: None,
        }
    }
}

struct Shared {
    name: String,
    process: Mutex<Running>,
    state: Mutex<State>,
    ended: Condvar,
}

struct Running {
    process: Process,
    /// Its number may be another process's by now.
    reaped: bool,
}

#[derive(Default)]
struct State {
    /// Set under the same lock as the table of those who wait, so that a call cannot slip between.
    dead: Option<(Instant, Error)>,
    /// It lived on without saying anything, and was killed.
    mute: bool,
    /// The child was asked to end.
    dismissed: bool,
    waiting: HashMap<u64, OnReply>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the process: what it has started may keep its output open for longer.
    fn reap(&self, number: u32) -> String {
        await_end(self, number);
        let mut running = self.running();
        // What it has left behind goes with it.
        if !running.reaped {
            kill_group(&running.process);
        }
        let status = running.process.wait();
        running.reaped = true;
        drop(running);
        match status {
            Ok(_) if self.lock().mute => "killed, because it stopped speaking".to_owned(),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// Ends the process, and what it has started.
    fn kill(&self) {
        let mut running = self.running();
        if running.reaped {
            return;
        }
        kill_group(&running.process);
        if let Err(error) = running.process.kill() {
            tracing::warn!(
                target: "calbridge::plugin",
                plugin = self.name,
                %error,
                "The child process of a connector cannot be killed."
            );
        }
    }

    /// The child is gone: all who wait for it learn it.
    fn bury(&self, how: &str) {
        let error = boundary(
            "plugin.process-ended",
            format!(
                "the process of the connector ended ({how}); it is started again when it is needed"
            ),
        );
        let (waiting, dismissed) = {
            let mut state = self.lock();
            state.dead = Some((Instant::now(), error.clone()));
            (std::mem::take(&mut state.waiting), state.dismissed)
        };
        self.ended.notify_all();
        if !dismissed {
            tracing::error!(
                target: "calbridge::plugin",
                plugin = self.name,
                code = error.code,
                calls = waiting.len(),
                how,
                "The process of a connector ended by itself; report that to its vendor."
            );
        }
        for on_reply in waiting.into_values() {
            on_reply(Err(Failure::Lost(error.clone())));
        }
    }

    /// Waits until the child is gone.
    fn gone_within(&self, deadline: Duration) -> bool {
        let state = self.lock();
        let (state, _) = self
            .ended
            .wait_timeout_while(state, deadline, |state| state.dead.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.dead.is_some()
    }
}

impl Child {
    fn start(
        path: &Path,
        sha256: Option<&str>,
        launcher: &Launcher,
    ) -> std::result::Result<(Self, LibraryManifest), NotStarted> {
        let failed = |reason: String| LoadError::Child {
            path: path.to_owned(),
            reason,
        };
        let mut command = Command::new(&launcher.program);
        command
            .args(&launcher.arguments)
            .arg(path)
            .args(sha256)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        apart(&mut command);
        let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
        let number = process.id();
        let pipes = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        );
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed("it has no pipes".to_owned()).into());
        };
        let shared = Arc::new(Shared {
            name: path.display().to_string(),
            process: Mutex::new(Running {
                process,
                reaped: false,
            }),
            state: Mutex::default(),
            ended: Condvar::new(),
        });
        let (input, frames) = mpsc::channel();
        let (tell_hello, hello) = mpsc::channel();
        let (tell_silent, silent) = mpsc::channel();
        let threads = [
            thread("calbridge-child-in", move || write_frames(stdin, &frames)),
            thread("calbridge-child-out", {
                let shared = Arc::clone(&shared);
                move || {
                    let why = read_frames(stdout, &shared, number, &tell_hello);
                    fall_silent(&shared, why, &tell_silent);
                }
            }),
            thread("calbridge-child-end", {
                let shared = Arc::clone(&shared);
                move || {
                    let how = shared.reap(number);
                    // Whatever keeps its output open, it is not the child.
                    let why = silent.recv_timeout(DRAIN).ok().flatten();
                    shared.bury(&why.map_or(how.clone(), |why| format!("{why}; {how}")));
                }
            }),
            thread("calbridge-child-err", {
                let name = shared.name.clone();
                move || read_lines(stderr, &name)
            }),
        ];
        // From here on dropping the child ends it.
        let child = Self {
            shared,
            process: number,
            input: Some(input),
            next: AtomicU64::new(1),
            level: AtomicU32::new(u32::MAX),
            close_deadline: launcher.close_deadline,
        };
        if threads.iter().any(std::result::Result::is_err) {
            child.shared.kill();
            return Err(failed("there are no threads to be had".to_owned()).into());
        }
        let mut manifest = None;
        let hello = loop {
            let error =
                match hello.recv_timeout(launcher.patience) {
                    Ok(hello) if hello.beginning && hello.protocol == super::ABI => {
                        manifest = hello.manifest.map(Box::new);
                        continue;
                    }
                    Ok(hello) => break hello,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        child.shared.kill();
                        failed("it does not say what it holds, or that it is ready".to_owned())
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => {
                        child.shared.gone_within(2 * LEAVE);
                        let why = child.shared.lock().dead.clone();
                        failed(why.map_or_else(
                            || "it ended at once".to_owned(),
                            |(_, error)| error.message,
                        ))
                    }
                };
            return Err(NotStarted { error, manifest });
        };
        let incompatible = |reason: String| LoadError::Incompatible {
            path: path.to_owned(),
            reason,
        };
        let error = match hello {
            Hello {
                error: Some(error),
                incompatible: true,
                ..
            } => incompatible(error),
            Hello {
                error: Some(error), ..
            } => LoadError::NotLoadable {
                path: path.to_owned(),
                reason: error,
            },
            Hello { protocol, .. } if protocol != super::ABI => incompatible(format!(
                "it speaks version {protocol} of the plug-in contract"
            )),
            Hello {
                manifest: Some(manifest),
                ..
            } => return Ok((child, manifest)),
            Hello { manifest: None, .. } => {
                incompatible("it does not say what it holds".to_owned())
            }
        };
        Err(error.into())
    }

    fn died(&self) -> Option<Instant> {
        self.shared.lock().dead.as_ref().map(|(at, _)| *at)
    }

    /// Sends a frame that is answered. `make` is given its number.
    fn send(&self, on_reply: OnReply, make: impl FnOnce(u64) -> serde_json::Result<Frame>) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = make(id)
            .map_err(std::io::Error::from)
            .and_then(|frame| frame::bytes(&frame));
        let Ok(bytes) = bytes else {
            on_reply(Err(Failure::NotSent(boundary(
                "plugin.message",
                "a message to the connector cannot be written",
            ))));
            return id;
        };
        self.follow_level();
        {
            let mut state = self.shared.lock();
            if let Some((_, error)) = state.dead.clone() {
                drop(state);
                on_reply(Err(Failure::NotSent(error)));
                return id;
            }
            state.waiting.insert(id, on_reply);
        }
        // A child that is dying takes nothing more; whoever waits learns it with the others.
        self.post(bytes);
        id
    }

    fn call(&self, instance: u64, name: &str, payload: &[u8], on_reply: OnReply) -> u64 {
        self.send(on_reply, |id| {
            Ok(Frame {
                call: Some(CallFrame {
                    id,
                    instance,
                    method: name.to_owned(),
                    payload: raw(payload)?,
                }),
                ..Frame::default()
            })
        })
    }

    fn cancel(&self, id: u64) {
        let frame = Frame {
            cancel: Some(CancelFrame { id }),
            ..Frame::default()
        };
        if let Ok(bytes) = frame::bytes(&frame) {
            self.post(bytes);
        }
    }

    fn post(&self, bytes: Vec<u8>) {
        if let Some(input) = &self.input {
            // The other end is gone only when the child is.
            drop(input.send(bytes));
        }
    }

    /// The program's log may have been set to another level.
    fn follow_level(&self) {
        let wanted = log::wanted().number();
        if self.level.swap(wanted, Ordering::Relaxed) != wanted {
            let frame = Frame {
                level: Some(LevelFrame { max: wanted }),
                ..Frame::default()
            };
            if let Ok(bytes) = frame::bytes(&frame) {
                self.post(bytes);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.died().is_some() {
            return;
        }
        let (sender, closed) = mpsc::channel();
        let on_reply = Box::new(move |_| {
            // Nobody waits longer than the deadline.
            let _late = sender.send(());
        });
        self.send(on_reply, |id| {
            Ok(Frame {
                close: Some(CloseFrame {
                    id,
                    instance: INSTANCE,
                }),
                ..Frame::default()
            })
        });
        self.shared.lock().dismissed = true;
        let input = self.input.take();
        let shared = Arc::clone(&self.shared);
        let deadline = self.close_deadline;
        let what = shared.name.clone();
        close_in_background(&what, deadline + 3 * LEAVE, move || {
            if closed.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::error!(
                    target: "calbridge::plugin",
                    plugin = shared.name,
                    seconds = deadline.as_secs(),
                    "A connector did not end in time; its process is killed."
                );
                shared.kill();
            }
            // Its input ends, and so does it.
            drop(input);
            if !shared.gone_within(LEAVE) {
                shared.kill();
                shared.gone_within(LEAVE);
            }
        });
    }
}

fn raw(json: &[u8]) -> serde_json::Result<Box<RawValue>> {
    serde_json::from_slice(json)
}

fn thread(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn write_frames(mut stdin: ChildStdin, frames: &mpsc::Receiver<Vec<u8>>) {
    while let Ok(frame) = frames.recv() {
        if stdin
            .write_all(&frame)
            .and_then(|()| stdin.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Each child speaks for itself, whatever library is in it.
fn speaker(number: u32) -> String {
    format!("process {number}")
}

/// Reads until the child says nothing more; tells what was wrong with what it said, if something was.
fn read_frames(
    stdout: ChildStdout,
    shared: &Shared,
    number: u32,
    tell_hello: &mpsc::Sender<Hello>,
) -> Option<String> {
    let mut stdout = BufReader::with_capacity(64 * 1024, stdout);
    let sink = log::sink(shared.name.clone(), speaker(number));
    loop {
        match frame::read(&mut stdout) {
            Ok(Some(frame)) => {
                if let Some(answer) = frame.answer {
                    let waiting = shared.lock().waiting.remove(&answer.id);
                    // Of an answer to what was not asked nothing is made.
                    if let Some(on_reply) = waiting {
                        let payload = String::from(Box::<str>::from(answer.payload));
                        on_reply(reply(answer.status, payload.into_bytes()));
                    }
                } else if let Some(record) = frame.log {
                    sink(record.level, record.record.get().as_bytes());
                } else if let Some(hello) = frame.hello {
                    // One that cannot begin ends at once, and has said why.
                    if hello.error.is_some() || hello.manifest.is_none() {
                        shared.lock().dismissed = true;
                    }
                    // Only the first one is waited for.
                    drop(tell_hello.send(hello));
                }
            }
            Ok(None) => return None,
            Err(error) => return Some(error.to_string()),
        }
    }
}

/// A child that does not speak any more, or another language, is no use even if it lives on.
fn fall_silent(shared: &Shared, why: Option<String>, tell: &mpsc::Sender<Option<String>>) {
    let wrong = why.is_some();
    // Whoever waits for it may have lost patience.
    drop(tell.send(why));
    if wrong {
        shared.kill();
    } else if !shared.gone_within(LEAVE) {
        shared.lock().mute = true;
        shared.kill();
    }
}

/// Waits for the end of a process and leaves its number with it, so that its group can be ended safely.
#[cfg(unix)]
fn await_end(_: &Shared, number: u32) {
    use rustix::io::Errno;
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = pid(number) else {
        return;
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
}

#[cfg(windows)]
fn await_end(shared: &Shared, _: u32) {
    while matches!(shared.running().process.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(unix)]
fn pid(number: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(number).ok()?)
}

/// What the child has started is in its group, unless it took pains.
#[cfg(unix)]
fn kill_group(process: &Process) {
    if let Some(pid) = pid(process.id()) {
        // Nobody may be left in it.
        let _nobody = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(windows)]
fn kill_group(_: &Process) {}

/// Lines on standard error may hold anything, so they are for fault finding only.
fn read_lines(stderr: ChildStderr, name: &str) {
    const MOST: u64 = 8 * 1024;
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr).take(MOST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::debug!(
                    target: "calbridge::plugin",
                    plugin = name,
                    line = text.trim_end(),
                    "The process of a connector wrote to standard error."
                );
            }
        }
    }
}

/// Ctrl-C on the console is for the program; it ends its children itself. Lists of processes name it.
#[cfg(unix)]
fn apart(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
    // In lists of processes it shall not stand as `/proc/self/exe`.
    command.arg0("calbridge");
}

/// Ctrl-C on the console is for the program; it ends its children itself.
#[cfg(windows)]
fn apart(command: &mut Command) {
    use std::os::windows::process::CommandExt as _;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;
    const CREATE_NO_WINDOW: u32 = 0x0800_0000;
    command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
}
