//! The file as a list of components, each with its place in the file.
//!
//! calcard reads a component well, but tells no line numbers and mends a broken structure silently. So the
//! file is cut first: a cut that fails is a broken file, of which nothing may be believed; a component that
//! calcard or the mapping cannot make sense of is one broken component, and the others go on.

use calcard::icalendar::{ICalendar, ICalendarComponent};
use calcard::{Entry, Parser};

/// Why a file as a whole cannot be believed. Nothing of its content is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Nothing in it looks like iCalendar (an empty file, an HTML page, another character set).
    #[error("line {line}: not an iCalendar file; it must begin with BEGIN:VCALENDAR")]
    NotICalendar {
        /// Counted from 1.
        line: usize,
    },
    /// An `END` that does not belong to the last `BEGIN`.
    #[error(
        "line {line}: END does not match the {open} that begins in line {begun}; export the file again"
    )]
    Nesting {
        /// Where the `END` stands.
        line: usize,
        /// The component that is open there.
        open: String,
        /// Where it begins.
        begun: usize,
    },
    /// The file ends inside a component: a download or a copy was cut short.
    #[error("the file ends inside the {open} that begins in line {begun}; it was cut short")]
    Truncated {
        /// The component that is open at the end.
        open: String,
        /// Where it begins.
        begun: usize,
    },
}

/// A component directly inside `VCALENDAR`.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    /// `VEVENT`, `VTIMEZONE`, ... in upper case.
    pub(crate) name: String,
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// Its content lines without folds, from `BEGIN` to `END`.
    pub(crate) text: String,
    /// The `VCALENDAR` around it says `METHOD:CANCEL`: it tells of a cancellation (RFC 5546, section 3.2.5).
    pub(crate) cancels: bool,
}

impl Component {
    /// The component as calcard reads it, with those inside it.
    pub(crate) fn parse(&self) -> Option<ICalendar> {
        match Parser::new(&self.text).entry() {
            Entry::ICalendar(parsed) => Some(parsed),
            _ => None,
        }
    }

    /// The values of the content lines with this name, as they are written.
    pub(crate) fn raw<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| {
            let rest = line.get(name.len()..)?;
            let named = line.get(..name.len())?.eq_ignore_ascii_case(name);
            (named && rest.starts_with([':', ';'])).then(|| after_colon(rest))?
        })
    }
}

/// The component itself, without those inside it.
pub(crate) fn outermost(parsed: &ICalendar) -> Option<&ICalendarComponent> {
    parsed.components.first()
}

/// What stands behind the first colon outside quotes.
fn after_colon(rest: &str) -> Option<&str> {
    let mut quoted = false;
    let at = rest.find(|c| {
        quoted ^= c == '"';
        c == ':' && !quoted
    })?;
    rest.get(at + 1..)
}

/// Cuts a file into the components inside its `VCALENDAR`s.
///
/// # Errors
/// [`FileError`]; a file with an empty `VCALENDAR` is good and has no components.
pub(crate) fn cut(bytes: &[u8]) -> Result<Vec<Component>, FileError> {
    let mut components: Vec<Component> = Vec::new();
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut cancels = false;
    let mut found_calendar = false;
    for (number, line) in unfold(bytes) {
        let (keyword, value) = line.split_once(':').unwrap_or((&line, ""));
        let keyword = keyword.trim().to_ascii_uppercase();
        let value = value.trim().to_ascii_uppercase();
        match (keyword.as_str(), open.len()) {
            ("BEGIN", 0) if value == "VCALENDAR" => {
                found_calendar = true;
                cancels = false;
            }
            // Behind a calendar there may be another one, or what a mail gateway appended.
            (_, 0) if found_calendar || line.trim().is_empty() => continue,
            (_, 0) => return Err(FileError::NotICalendar { line: number }),
            ("BEGIN", 1) => components.push(Component {
                name: value.clone(),
                line: number,
                text: String::new(),
                cancels,
            }),
            // A calendar property: RFC 5545, section 3.6, puts them before the components.
            ("METHOD", 1) => cancels = value == "CANCEL",
            _ => {}
        }
        if keyword == "BEGIN" {
            open.push((value.clone(), number));
        }
        if open.len() > 1
            && let Some(component) = components.last_mut()
        {
            component.text.push_str(&line);
            component.text.push('\n');
        }
        if keyword == "END"
            && let Some((name, begun)) = open.pop()
            && name != value
        {
            return Err(FileError::Nesting {
                line: number,
                open: name,
                begun,
            });
        }
    }
    match open.pop() {
        Some((open, begun)) => Err(FileError::Truncated { open, begun }),
        None if found_calendar => Ok(components),
        None => Err(FileError::NotICalendar { line: 1 }),
    }
}

/// The content lines with the number of their first physical line.
///
/// Folds are taken out before bytes become text: RFC 5545, section 3.1, lets a fold stand inside a character.
/// A line that is not UTF-8 is taken as Latin-1, which old exports use without saying so.
fn unfold(bytes: &[u8]) -> impl Iterator<Item = (usize, String)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut physical = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .enumerate()
        .peekable();
    std::iter::from_fn(move || {
        let (index, first) = physical.next()?;
        let mut line = first.to_vec();
        while let Some((_, [b' ' | b'\t', rest @ ..])) = physical.peek() {
            line.extend_from_slice(rest);
            physical.next();
        }
        let text = String::from_utf8(line)
            .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
        Some((index + 1, text))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn components_are_cut_out_with_their_lines() {
        let file = "\u{feff}BEGIN:VCALENDAR\r\nX\r\n\r\nBEGIN:VEVENT\r\nUID:a\r\nSUM\r\n MARY:b\r\n\
                    BEGIN:VALARM\r\nEND:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let components = cut(file.as_bytes()).unwrap();
        assert_eq!(components.len(), 1);
        assert_eq!(
            (components[0].name.as_str(), components[0].line),
            ("VEVENT", 4)
        );
        assert_eq!(components[0].raw("summary").collect::<Vec<_>>(), ["b"]);
        assert!(components[0].text.ends_with("END:VEVENT\n"));
    }

    #[test]
    fn what_is_no_whole_calendar_is_refused_with_its_line() {
        let cases: [(&[u8], FileError); 6] = [
            (b"", FileError::NotICalendar { line: 1 }),
            (b"\n<html>", FileError::NotICalendar { line: 2 }),
            (b"B\0E\0G\0I\0N\0", FileError::NotICalendar { line: 1 }),
            (
                b"BEGIN:VEVENT\nEND:VEVENT\n",
                FileError::NotICalendar { line: 1 },
            ),
            (
                b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Secret",
                FileError::Truncated {
                    open: "VEVENT".into(),
                    begun: 2,
                },
            ),
            (
                b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\n",
                FileError::Nesting {
                    line: 3,
                    open: "VEVENT".into(),
                    begun: 2,
                },
            ),
        ];
        for (bytes, expected) in cases {
            let error = cut(bytes).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("Secret"));
        }
    }

    #[test]
    fn a_fold_inside_a_character_and_latin_1_are_read() {
        let mut file =
            b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:\xc3\n \xa6\nLOCATION:\xe6\n".to_vec();
        file.extend_from_slice(b"END:VEVENT\nEND:VCALENDAR");
        let components = cut(&file).unwrap();
        assert_eq!(components[0].raw("SUMMARY").next(), Some("\u{e6}"));
        assert_eq!(components[0].raw("LOCATION").next(), Some("\u{e6}"));
    }

    #[test]
    fn a_cancellation_is_known_by_its_method() {
        let file = "BEGIN:VCALENDAR\nMETHOD:CANCEL\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR\n\
                    BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VEVENT\nEND:VCALENDAR\n";
        let cancels: Vec<bool> = cut(file.as_bytes())
            .unwrap()
            .iter()
            .map(|c| c.cancels)
            .collect();
        assert_eq!(cancels, [true, false]);
    }
}
