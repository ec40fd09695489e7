//! What `strace` tells of a process, as far as it concerns a state file.

use std::collections::HashMap;
use std::path::Path;

/// The calls that change files. Those that are not understood below must not concern the state file.
pub(crate) const CALLS: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,msync,sync_file_range,unlink,unlinkat,rename,renameat,renameat2,link,linkat,copy_file_range,sendfile";

/// Something that happened to the folder, in order. Files go by their names in it.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Created(String),
    Wrote {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncated {
        file: String,
        length: usize,
    },
    Synced(String),
    FolderSynced,
    Removed(String),
    /// The store has answered.
    Acknowledged {
        verb: usize,
        fence: i64,
    },
}

impl Event {
    /// Whether the disk may hold something else after it.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Created(_) | Self::Wrote { .. } | Self::Truncated { .. } | Self::Removed(_) => {
                true
            }
            Self::Synced(_) | Self::FolderSynced | Self::Acknowledged { .. } => false,
        }
    }
}

/// Reads a log of `strace -f -y -xx`.
pub(crate) fn read(log: &str, folder: &Path) -> Vec<Event> {
    let mut waiting: HashMap<&str, String> = HashMap::new();
    let mut events = Vec::new();
    for line in log.lines() {
        let (process, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        // Another thread's call came between beginning and end of this one.
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            waiting.insert(process, begun.trim_end().to_owned());
            continue;
        }
        let whole = match call.strip_prefix("<... ") {
            Some(rest) => {
                let (_, end) = rest.split_once("resumed>").unwrap();
                format!("{}{end}", waiting.remove(process).unwrap())
            }
            None => call.to_owned(),
        };
        events.extend(event(&whole, folder));
    }
    assert!(waiting.is_empty(), "calls without an end: {waiting:?}");
    events
}

fn event(call: &str, folder: &Path) -> Option<Event> {
    // Signals and ends of threads.
    let (name, rest) = call.split_once('(')?;
    if call.starts_with("+++") || call.starts_with("---") {
        return None;
    }
    let (arguments, result) = rest.rsplit_once(" = ").expect("a call has a result");
    let arguments = arguments.trim_end().strip_suffix(')').unwrap();
    if result.starts_with(['-', '?']) {
        return None;
    }
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let of = |text: &str| -> Option<String> {
        let path = String::from_utf8(bytes(text)).unwrap();
        Path::new(&path)
            .strip_prefix(folder)
            .ok()
            .map(|path| path.to_str().unwrap().to_owned())
    };
    let descriptor = |argument: &str| {
        let (_, path) = argument.split_once('<')?;
        of(path.strip_suffix('>')?)
    };
    let quoted = |argument: &str| argument.trim_matches('"').to_owned();
    let size = |text: &str| text.parse::<usize>().unwrap();
    // Memory that processes share, and the lock, mean nothing after a power cut.
    let lasting =
        |file: String| (!file.ends_with("-shm") && !file.ends_with(".lock")).then_some(file);

    match name {
        "openat" => {
            let file = lasting(of(&quoted(arguments[1]))?)?;
            arguments[2]
                .contains("O_CREAT")
                .then_some(Event::Created(file))
        }
        "write" => {
            let file = lasting(descriptor(arguments[0])?)?;
            assert_eq!(file, "acknowledged", "SQLite writes at offsets");
            let text = String::from_utf8(bytes(&quoted(arguments[1]))).unwrap();
            let (verb, fence) = text.split_once(' ').unwrap();
            Some(Event::Acknowledged {
                verb: verb.parse().unwrap(),
                fence: fence.parse().unwrap(),
            })
        }
        "pwrite64" => {
            let file = lasting(descriptor(arguments[0])?)?;
            let bytes = bytes(&quoted(arguments[1]));
            assert_eq!(bytes.len(), size(result), "a write in pieces: {name}");
            Some(Event::Wrote {
                file,
                at: size(arguments[3]),
                bytes,
            })
        }
        "ftruncate" => Some(Event::Truncated {
            file: lasting(descriptor(arguments[0])?)?,
            length: size(arguments[1]),
        }),
        "fsync" | "fdatasync" => {
            let file = lasting(descriptor(arguments[0])?)?;
            Some(if file.is_empty() {
                Event::FolderSynced
            } else {
                Event::Synced(file)
            })
        }
        "unlink" => Some(Event::Removed(lasting(of(&quoted(arguments[0]))?)?)),
        _ => {
            for argument in arguments {
                let path = argument.trim_matches('"');
                let concerned = descriptor(argument)
                    .or_else(|| path.starts_with("\\x").then(|| of(path)).flatten())
                    .and_then(lasting);
                assert!(concerned.is_none(), "{name} is not understood");
            }
            None
        }
    }
}

/// `\x41\x42` as bytes.
fn bytes(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    let text = text.as_bytes();
    assert!(text.len().is_multiple_of(4), "everything is in hexadecimal");
    text.chunks_exact(4)
        .map(|four| {
            assert_eq!(&four[..2], b"\\x");
            digit(four[2]) * 16 + digit(four[3])
        })
        .collect()
}
