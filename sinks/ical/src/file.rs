//! A mailbox's file: its name, reading it, replacing it as a whole.

use std::io::{ErrorKind as Io, Read, Write};
use std::path::{Path, PathBuf};

use calbridge_core::connector::{Error, ErrorKind, Result, Scope};
use calbridge_core::model::CalendarRef;
use calcard::icalendar::{
    ICalendar, ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarProperty,
    ICalendarValue,
};
use calcard::{Entry, Parser};

/// Who wrote the file (RFC 5545, section 3.7.3): how our own files are known.
const PRODID: &str = "-//calbridge//ical-sink//EN";

/// The longest name of a file, without what a temporary one has besides. Systems do not agree on what they say of
/// a longer one; some, that there is no folder.
const MAX_NAME: usize = 255 - ".".len() - ".new".len();

/// Where the file of a calendar lies.
///
/// Only letters, digits and `@._+-` stand as they are, in lower case; all else, a leading dot, and the first
/// letter of what Windows takes for a device (`con.smith@...`), is written as `%` and two hex digits per byte.
/// So no address can name another folder, a hidden file or a device.
///
/// # Errors
/// `Unsupported` for a calendar that is not the mailbox's primary one; `Rejected` for too long an address.
pub(crate) fn path(folder: &Path, calendar: &CalendarRef) -> Result<PathBuf> {
    if calendar.calendar.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            Scope::Calendar,
            "ical.secondary",
            "the sink keeps primary calendars only",
        ));
    }
    let mut name = String::new();
    let address = calendar.address.folded();
    let device = is_device(address.split('.').next().unwrap_or_default());
    for byte in address.bytes() {
        let plain = (byte.is_ascii_alphanumeric() && !(device && name.is_empty()))
            || b"@_+-".contains(&byte);
        if plain || (byte == b'.' && !name.is_empty()) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name.push_str(".ics");
    if name.len() > MAX_NAME {
        return Err(Error::new(
            ErrorKind::Rejected,
            Scope::Calendar,
            "ical.file-name",
            "the address is too long for a file's name",
        ));
    }
    Ok(folder.join(name))
}

/// Whether Windows takes a file name for a device that has this, in lower case, before its first dot. Names are
/// the same on all systems, since a folder may be shared between them.
fn is_device(stem: &str) -> bool {
    matches!(stem, "con" | "prn" | "aux" | "nul")
        || stem
            .strip_prefix("com")
            .or_else(|| stem.strip_prefix("lpt"))
            .is_some_and(|number| number.len() == 1 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The events of a file; none if there is no file yet.
///
/// # Errors
/// Scope `Calendar` for a file that cannot be read, is too large, or is not ours; `Connection` if the folder
/// is not there.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<ICalendarComponent>> {
    let trouble = |error| io_error(&error, "read");
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == Io::NotFound && path.parent().is_some_and(Path::is_dir) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(trouble(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(trouble)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read > limit) {
        return Err(Error::new(
            ErrorKind::Protocol,
            Scope::Calendar,
            "ical.too-large",
            format!("the calendar's file is larger than {limit} bytes; raise `max_bytes`"),
        ));
    }
    parse(&bytes).ok_or_else(|| {
        Error::new(
            ErrorKind::Rejected,
            Scope::Calendar,
            "ical.not-ours",
            "the calendar's file was not written by calbridge, or was damaged since; \
             it is left as it is: move it away",
        )
    })
}

fn parse(bytes: &[u8]) -> Option<Vec<ICalendarComponent>> {
    let text = std::str::from_utf8(bytes).ok()?;
    // calcard mends a file that was cut short; such a one must not count as complete.
    if !text.trim_end().ends_with("END:VCALENDAR") {
        return None;
    }
    let mut parser = Parser::new(text);
    let (Entry::ICalendar(calendar), Entry::Eof) = (parser.entry(), parser.entry()) else {
        return None;
    };
    let mut components = calendar.components.into_iter();
    let head = components.next()?;
    let producer = head.property(&ICalendarProperty::Prodid)?.values.first()?;
    let ours = producer.as_text() == Some(PRODID);
    let events: Vec<_> = components.collect();
    let plain = |event: &ICalendarComponent| {
        event.component_type == ICalendarComponentType::VEvent && event.component_ids.is_empty()
    };
    (ours && events.iter().all(plain)).then_some(events)
}

/// The file's text for these events.
pub(crate) fn text(events: Vec<ICalendarComponent>) -> String {
    let mut head = ICalendarComponent::new(ICalendarComponentType::VCalendar);
    for (name, value) in [
        (ICalendarProperty::Version, "2.0"),
        (ICalendarProperty::Prodid, PRODID),
    ] {
        let value = ICalendarValue::Text(value.to_owned());
        head.entries
            .push(ICalendarEntry::new(name).with_value(value));
    }
    head.component_ids = (1u32..).take(events.len()).collect();
    let mut components = vec![head];
    components.extend(events);
    ICalendar { components }.to_string()
}

/// An event as it will be read back from the file.
pub(crate) fn as_read_back(event: ICalendarComponent) -> Option<ICalendarComponent> {
    let mut events = parse(text(vec![event]).as_bytes())?;
    (events.len() == 1).then(|| events.pop())?
}

/// Replaces a file as a whole: whatever goes wrong, either the old or the new one is there.
///
/// # Errors
/// Scope `Calendar`, or `Connection` if the folder or disk takes no file. The old file is unchanged then.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let trouble = |error| io_error(&error, "written");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that a reader of the folder leaves it alone.
    let temporary = path.with_file_name(format!(".{name}.new"));
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let replaced = written
        .map_err(trouble)
        .and_then(|()| std::fs::rename(&temporary, path).map_err(|error| not_replaced(&error)));
    if let Err(error) = replaced {
        // What is left over would only be overwritten at the next attempt.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    // The new name reaches the disk with the folder; without it a power cut brings the old file back, which
    // the next inventory shows.
    #[cfg(unix)]
    if let Some(Err(error)) = path
        .parent()
        .map(|folder| std::fs::File::open(folder).and_then(|folder| folder.sync_all()))
    {
        tracing::warn!(%error, "The folder could not be flushed to disk.");
    }
    Ok(())
}

/// The folder has just taken a file, so a refusal is about the file that is to be replaced: on Windows another
/// program that has it open, or the attribute read-only.
fn not_replaced(error: &std::io::Error) -> Error {
    if error.kind() != Io::PermissionDenied {
        return io_error(error, "written");
    }
    Error::new(
        ErrorKind::Transient,
        Scope::Calendar,
        "ical.in-use",
        format!(
            "the calendar's file cannot be replaced: {error}; close it in the program that has it open, and see \
             that it is not read-only; it is tried again"
        ),
    )
}

pub(crate) fn io_error(error: &std::io::Error, what: &str) -> Error {
    let (kind, scope, code, advice) = match error.kind() {
        Io::NotFound => (
            ErrorKind::NotFound,
            Scope::Connection,
            "ical.no-folder",
            "create the folder in `folder`",
        ),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => (
            ErrorKind::Permission,
            Scope::Connection,
            "ical.permission",
            "give calbridge's account the right to read and write in `folder`",
        ),
        Io::StorageFull | Io::QuotaExceeded => (
            ErrorKind::Transient,
            Scope::Connection,
            "ical.disk-full",
            "make room on the disk",
        ),
        _ => (
            ErrorKind::Transient,
            Scope::Calendar,
            "ical.io",
            "it is tried again",
        ),
    };
    Error::new(
        kind,
        scope,
        code,
        format!("the calendar's file cannot be {what}: {error}; {advice}"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_address_leads_out_of_the_folder() {
        let folder = Path::new("out");
        for (address, name) in [
            ("Jane.Doe+x@Example.org", "jane.doe+x@example.org.ics"),
            ("../../etc/passwd@x", "%2E.%2F..%2Fetc%2Fpasswd@x.ics"),
            ("..\\c:@x", "%2E.%5Cc%3A@x.ics"),
            (".hidden@x", "%2Ehidden@x.ics"),
            ("50%@x", "50%25@x.ics"),
            ("\u{e6}@x", "%C3%A6@x.ics"),
            ("Con.Smith@x", "%63on.smith@x.ics"),
            ("nul.@x", "%6Eul.@x.ics"),
            ("lpt1.hall@x", "%6Cpt1.hall@x.ics"),
            ("com10.hall@x", "com10.hall@x.ics"),
            ("con@x.org", "con@x.org.ics"),
        ] {
            let path = path(folder, &CalendarRef::primary(address).unwrap()).unwrap();
            assert_eq!(path, folder.join(name));
            assert_eq!(path.parent(), Some(folder));
        }
    }

    #[test]
    fn an_address_that_is_too_long_is_refused_before_the_disk_is_asked() {
        let named = |length| {
            let address = format!("{}@x", "a".repeat(length - "@x.ics".len()));
            path(Path::new("out"), &CalendarRef::primary(address).unwrap())
        };
        assert!(named(MAX_NAME).is_ok());
        assert_eq!(named(MAX_NAME + 1).unwrap_err().scope, Scope::Calendar);
    }

    #[test]
    fn only_whole_files_of_ours_are_read() {
        let good = text(Vec::new());
        assert!(parse(good.as_bytes()).is_some());
        for bad in [
            String::new(),
            good.replace("calbridge", "somebody"),
            good.replace("END:VCALENDAR", ""),
            good.replace("END:VCALENDAR", "BEGIN:VTODO\r\nEND:VTODO\r\nEND:VCALENDAR"),
            format!("{good}BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"),
        ] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
