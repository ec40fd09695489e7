//! The files: reading one, and replacing one as a whole.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use calbridge_core::connector::{Error, ErrorKind, Result, Scope};
use calbridge_core::model::CalendarRef;

use crate::shift::Sheet;

/// Where a person's file is.
pub(crate) fn path(folder: &Path, calendar: &CalendarRef) -> Result<PathBuf> {
    let name = calendar.address.folded();
    // An address comes from another system: it must not lead out of the folder.
    let good = |c: char| c.is_alphanumeric() || "@._+-".contains(c);
    if calendar.calendar.is_some() || name.starts_with('.') || !name.chars().all(good) {
        return Err(Error::new(
            ErrorKind::NotFound,
            Scope::Calendar,
            "rota.address",
            "the rota keeps one file per person, and no file can be named after this calendar; leave it out of the sync",
        ));
    }
    Ok(folder.join(format!("{name}.json")))
}

/// A file's content and fingerprint; none if there is no such file.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Option<(Sheet, String)>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => {
            file.take(max_bytes + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| failed("read", &error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &error)),
    }
    if bytes.len() as u64 > max_bytes {
        return Err(damaged("it is larger than `max_bytes` allows"));
    }
    // A file that is cut short is an error. Taken for an empty one it would delete everybody's appointments.
    let sheet = serde_json::from_slice(&bytes)
        .map_err(|error| damaged(&format!("line {}, column {}", error.line(), error.column())))?;
    Ok(Some((sheet, blake3::hash(&bytes).to_hex().to_string())))
}

/// Replaces a file: it is the old one or the new one, never half of it.
pub(crate) fn replace(path: &Path, sheet: &Sheet) -> Result<()> {
    let attempt = || {
        let new = path.with_extension("json.new");
        let mut file = fs::File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, sheet)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    attempt().map_err(|error| failed("written", &error))
}

/// The addresses that files are named after.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let attempt = || {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            names.extend(
                name.to_str()
                    .and_then(|name| name.strip_suffix(".json"))
                    .map(str::to_owned),
            );
        }
        names.sort();
        Ok(names)
    };
    attempt().map_err(|error: io::Error| {
        let mut error = failed("read", &error);
        error.scope = Scope::Connection;
        error
    })
}

/// What went wrong with a file, by what can be done about it. calbridge reacts to kind and scope alone.
fn failed(what: &str, error: &io::Error) -> Error {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "look at `folder`"),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Permission,
            "give the account that calbridge runs under the right to it",
        ),
        _ => (ErrorKind::Transient, "it is tried again"),
    };
    let message = format!(
        "the rota's files cannot be {what} ({}); {advice}",
        error.kind()
    );
    Error::new(kind, Scope::Calendar, "rota.file", message)
}

fn damaged(why: &str) -> Error {
    let message = format!(
        "a file of the rota is damaged ({why}); mend it, until then nothing of it is taken over"
    );
    Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "rota.damaged",
        message,
    )
}
