//! A file cut into its components, each with its place.
//!
//! The parser that reads a component mends broken structures without a word and knows no lines. So structure is
//! looked at here: what is not whole is reported, and the components beside it are kept.

use calcard::icalendar::ICalendarComponent;
use calcard::{Entry, Parser};

use super::{Reason, SeedProblem};

/// A whole component of a calendar.
#[derive(Debug)]
pub(super) struct Part {
    /// Line of its BEGIN, from 1.
    pub(super) line: usize,
    /// `VEVENT`, `VTIMEZONE`, in upper case.
    pub(super) kind: String,
    /// Its content lines, unfolded.
    lines: Vec<String>,
}

impl Part {
    /// The component, followed by those inside it.
    pub(super) fn components(&self) -> Vec<ICalendarComponent> {
        match Parser::new(&self.lines.join("\r\n")).entry() {
            Entry::ICalendar(calendar) => calendar.components,
            _ => Vec::new(),
        }
    }

    /// The values of a property as they are written.
    pub(super) fn written(&self, name: &str) -> Vec<&str> {
        self.lines
            .iter()
            .filter_map(|line| property(line))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

/// Cuts a file. What stands outside of a VCALENDAR, or is not ended where it should be, is a problem.
pub(super) fn cut(bytes: &[u8]) -> (Vec<Part>, Vec<SeedProblem>) {
    let mut cut = Cut::default();
    for (line, text) in content_lines(bytes) {
        cut.take(line, text);
    }
    cut.give_up(Reason::Component);
    if cut.in_calendar {
        cut.problem(cut.calendar_line, Reason::Component);
    }
    if cut.calendar_line == 0 && cut.problems.is_empty() {
        cut.problem(1, Reason::NoCalendar);
    }
    (cut.parts, cut.problems)
}

#[derive(Debug, Default)]
struct Cut {
    parts: Vec<Part>,
    problems: Vec<SeedProblem>,
    in_calendar: bool,
    /// Where the last VCALENDAR begins; 0 before the first.
    calendar_line: usize,
    open: Option<Part>,
    /// The components that are open inside of the open one.
    inner: Vec<String>,
}

impl Cut {
    fn problem(&mut self, line: usize, reason: Reason) {
        self.problems.push(SeedProblem { line, reason });
    }

    /// The open component is not whole.
    fn give_up(&mut self, reason: Reason) {
        self.inner.clear();
        if let Some(part) = self.open.take() {
            self.problem(part.line, reason);
        }
    }

    fn take(&mut self, line: usize, text: String) {
        let keyword = property(&text)
            .map(|(name, value)| (name.to_ascii_uppercase(), value.trim().to_ascii_uppercase()));
        match keyword {
            Some((name, kind)) if name == "BEGIN" => self.begin(line, kind, text),
            Some((name, kind)) if name == "END" => self.end(line, &kind, text),
            Some(_) if self.open.is_some() => self.keep(text),
            // A calendar's own property.
            Some(_) if self.in_calendar => {}
            None if text.trim().is_empty() => {}
            // Some exporters do not fold their texts: what is left of them is no property, and no loss.
            None if self.open.is_some() => {}
            None if self.in_calendar => self.problem(line, Reason::Line),
            _ if self.calendar_line == 0 && self.problems.is_empty() => {
                self.problem(line, Reason::NoCalendar);
            }
            // Behind a calendar there is what mail programs append.
            _ => {}
        }
    }

    fn keep(&mut self, text: String) {
        if let Some(part) = &mut self.open {
            part.lines.push(text);
        }
    }

    fn begin(&mut self, line: usize, kind: String, text: String) {
        if kind == "VCALENDAR" {
            self.give_up(Reason::Component);
            if self.in_calendar {
                self.problem(self.calendar_line, Reason::Component);
            }
            self.in_calendar = true;
            self.calendar_line = line;
            return;
        }
        if !self.in_calendar {
            if kind == "VEVENT" {
                self.problem(line, Reason::NoCalendar);
            }
            return;
        }
        // Events are not nested: one that begins inside of another shows that the other is not ended.
        if kind == "VEVENT" {
            self.give_up(Reason::Component);
        }
        match &mut self.open {
            Some(part) => {
                part.lines.push(text);
                self.inner.push(kind);
            }
            None => {
                self.open = Some(Part {
                    line,
                    kind,
                    lines: vec![text],
                });
            }
        }
    }

    fn end(&mut self, line: usize, kind: &str, text: String) {
        if kind == "VCALENDAR" {
            self.give_up(Reason::Component);
            if !std::mem::take(&mut self.in_calendar) {
                self.problem(line, Reason::Component);
            }
            return;
        }
        let Some(part) = &mut self.open else {
            if self.in_calendar {
                self.problem(line, Reason::Component);
            }
            return;
        };
        part.lines.push(text);
        match self.inner.pop() {
            Some(inner) if inner == kind => {}
            None if part.kind == kind => self.parts.extend(self.open.take()),
            _ => self.give_up(Reason::Component),
        }
    }
}

/// Name and value of a content line: what stands before the first colon outside of quotes, without parameters,
/// and what stands behind it.
fn property(line: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let colon = line.find(|c| {
        quoted ^= c == '"';
        c == ':' && !quoted
    })?;
    let (head, value) = line.split_at_checked(colon)?;
    let name = head.split(';').next().unwrap_or(head).trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!name.is_empty() && name.chars().all(is_name))
        .then(|| (name, value.get(1..).unwrap_or_default()))
}

/// The content lines, each with its first line's number.
///
/// Lines are joined as bytes, since a fold may stand inside of a character (RFC 5545, section 3.1). A content line
/// that is not UTF-8 is taken for Latin-1.
fn content_lines(bytes: &[u8]) -> Vec<(usize, String)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut joined: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line, joined.last_mut()) {
            ([b' ' | b'\t', rest @ ..], Some((_, before))) => before.extend_from_slice(rest),
            _ => joined.push((index + 1, line.to_vec())),
        }
    }
    joined
        .into_iter()
        .map(|(line, bytes)| {
            let text = match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => error.as_bytes().iter().copied().map(char::from).collect(),
            };
            (line, text)
        })
        .collect()
}
