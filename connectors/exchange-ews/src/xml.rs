//! A forgiving, bounded pull reader over XML.
//!
//! Exchange and its look-alikes differ in prefixes, element order, repeats and unasked elements, and let
//! characters through that XML 1.0 forbids. Elements are therefore matched by local name, what is not known
//! is skipped, and illegal characters become U+FFFD. What no honest server sends is refused: a document type
//! declaration, entities other than the five of XML, and deep nesting. The size of a document is bounded by
//! the HTTP layer.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The deepest nesting that is followed. EWS answers need about fifteen levels.
pub(crate) const MAX_DEPTH: usize = 64;

/// Why a document cannot be read. Positions are bytes from its beginning; nothing of its content is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    /// Not well-formed.
    #[error("the XML is malformed at byte {0}")]
    Malformed(u64),
    /// It ends in the middle.
    #[error("the XML ends too early, at byte {0}")]
    Truncated(u64),
    /// It has a document type declaration.
    #[error("the XML has a document type declaration, which is refused (at byte {0})")]
    DocType(u64),
    /// It refers to an entity of its own.
    #[error("the XML refers to an entity, which is refused (at byte {0})")]
    Entity(u64),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the XML is nested deeper than {MAX_DEPTH} elements (at byte {0})")]
    TooDeep(u64),
}

/// A start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// The local name.
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
}

impl Open {
    /// The value of an attribute, by local name.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The reader. It stands after a start tag; [`Pull::children`], [`Pull::text`] or nothing may follow: what a
/// caller leaves unread is skipped by the enclosing [`Pull::children`].
pub(crate) struct Pull<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
}

enum Step {
    Open(Open),
    Close,
    Text(String),
    End,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(document: &'a str) -> Self {
        let mut reader = Reader::from_str(document.strip_prefix('\u{feff}').unwrap_or(document));
        reader.config_mut().expand_empty_elements = true;
        Self { reader, depth: 0 }
    }

    fn at(&self) -> u64 {
        self.reader.buffer_position()
    }

    fn step(&mut self) -> Result<Step, XmlError> {
        loop {
            let at = self.at();
            let event = self
                .reader
                .read_event()
                .map_err(|error| classify(&error, self.reader.error_position()))?;
            match event {
                Event::Start(start) | Event::Empty(start) => {
                    if self.depth >= MAX_DEPTH {
                        return Err(XmlError::TooDeep(at));
                    }
                    self.depth += 1;
                    return Ok(Step::Open(open(&start, at)?));
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Step::Close);
                }
                Event::Text(text) => return Ok(Step::Text(legal(&text.xml10_content()))),
                Event::CData(text) => return Ok(Step::Text(legal(&text.xml10_content()))),
                Event::GeneralRef(reference) => {
                    return resolve(&reference, at).map(|c| Step::Text(c.to_string()));
                }
                Event::DocType(_) => return Err(XmlError::DocType(at)),
                Event::Eof if self.depth > 0 => return Err(XmlError::Truncated(at)),
                Event::Eof => return Ok(Step::End),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            }
        }
    }

    /// The document element.
    pub(crate) fn root(&mut self) -> Result<Open, XmlError> {
        loop {
            match self.step()? {
                Step::Open(open) => return Ok(open),
                Step::Text(text) if text.trim().is_empty() => {}
                Step::Text(_) | Step::Close => return Err(XmlError::Malformed(self.at())),
                Step::End => return Err(XmlError::Truncated(self.at())),
            }
        }
    }

    /// Calls `each` for every child of the element whose start tag was just read, and reads up to its end
    /// tag. What `each` leaves unread of the child is skipped.
    pub(crate) fn children<E: From<XmlError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, &Open) -> Result<(), E>,
    ) -> Result<(), E> {
        let inside = self.depth;
        loop {
            match self.step()? {
                Step::Open(open) => {
                    each(self, &open)?;
                    self.leave(inside)?;
                }
                Step::Close => return Ok(()),
                Step::Text(_) => {}
                Step::End => return Err(XmlError::Truncated(self.at()).into()),
            }
        }
    }

    /// The text of the element whose start tag was just read, that of nested elements left out.
    pub(crate) fn text(&mut self) -> Result<String, XmlError> {
        let inside = self.depth;
        let mut all = String::new();
        loop {
            match self.step()? {
                Step::Text(text) => all.push_str(&text),
                Step::Open(_) => self.leave(inside)?,
                Step::Close => return Ok(all),
                Step::End => return Err(XmlError::Truncated(self.at())),
            }
        }
    }

    /// Reads on until no more than `depth` elements are open.
    fn leave(&mut self, depth: usize) -> Result<(), XmlError> {
        while self.depth > depth {
            if matches!(self.step()?, Step::End) {
                return Err(XmlError::Truncated(self.at()));
            }
        }
        Ok(())
    }

    /// Reads to the end of the document; anything but white space there is refused.
    pub(crate) fn finish(&mut self) -> Result<(), XmlError> {
        loop {
            match self.step()? {
                Step::End => return Ok(()),
                Step::Text(text) if text.trim().is_empty() => {}
                _ if self.depth == 0 => return Err(XmlError::Malformed(self.at())),
                _ => return Err(XmlError::Malformed(self.at())),
            }
        }
    }
}

fn classify(error: &quick_xml::Error, at: u64) -> XmlError {
    use quick_xml::errors::IllFormedError;
    match error {
        quick_xml::Error::Syntax(_) => XmlError::Truncated(at),
        quick_xml::Error::IllFormed(IllFormedError::MissingEndTag(_)) => XmlError::Truncated(at),
        _ => XmlError::Malformed(at),
    }
}

fn open(start: &BytesStart<'_>, at: u64) -> Result<Open, XmlError> {
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| XmlError::Malformed(at))?;
        attributes.push((
            attribute.key.local_name().into_inner().to_owned(),
            unescape(&attribute.value, at)?,
        ));
    }
    Ok(Open {
        name: start.local_name().into_inner().to_owned(),
        attributes,
    })
}

/// The character that `&name;` stands for, `name` without its frame.
fn resolve(name: &str, at: u64) -> Result<char, XmlError> {
    let digits = match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => name.strip_prefix('#').ok_or(XmlError::Entity(at))?,
    };
    let number = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => digits.parse(),
    }
    .map_err(|_| XmlError::Malformed(at))?;
    Ok(char::from_u32(number)
        .filter(|c| is_legal(*c))
        .unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn unescape(raw: &str, at: u64) -> Result<String, XmlError> {
    if !raw.contains('&') {
        return Ok(legal(raw));
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';').ok_or(XmlError::Malformed(at))?;
        out.push_str(&legal(before));
        out.push(resolve(name, at)?);
        rest = after;
    }
    out.push_str(&legal(rest));
    Ok(out)
}

/// Whether XML 1.0 allows the character.
fn is_legal(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn legal(text: &str) -> String {
    if text.chars().all(is_legal) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if is_legal(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn leaf(document: &str) -> Result<String, XmlError> {
        let mut pull = Pull::new(document);
        pull.root()?;
        let text = pull.text()?;
        pull.finish()?;
        Ok(text)
    }

    #[test]
    fn names_are_matched_without_prefix_and_unread_parts_are_skipped() {
        let mut pull = Pull::new(
            r#"<?xml version="1.0"?><!-- c --><x:a xmlns:x="u" x:k="1&amp;2"><b><c>no</c></b><y:d>yes</y:d><b/></x:a>"#,
        );
        let root = pull.root().unwrap();
        assert_eq!(
            (root.name.as_str(), root.attribute("k")),
            ("a", Some("1&2"))
        );
        let mut seen = Vec::new();
        pull.children::<XmlError>(|pull, open| {
            if open.name == "d" {
                seen.push(pull.text()?);
            } else {
                seen.push(open.name.clone());
            }
            Ok(())
        })
        .unwrap();
        pull.finish().unwrap();
        assert_eq!(seen, ["b", "yes", "b"]);
    }

    #[test]
    fn illegal_characters_are_replaced() {
        assert_eq!(
            leaf("<a>x&#x0B;y&#0;\u{1}z</a>").unwrap(),
            "x\u{fffd}y\u{fffd}\u{fffd}z"
        );
        assert_eq!(leaf("<a><![CDATA[<&]]>&lt;&#229;</a>").unwrap(), "<&<å");
    }

    #[test]
    fn a_doctype_and_entities_are_refused() {
        assert!(matches!(
            leaf("<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><a>&e;</a>"),
            Err(XmlError::DocType(_))
        ));
        assert!(matches!(leaf("<a>&e;</a>"), Err(XmlError::Entity(_))));
        assert!(matches!(leaf("<a k='&e;'/>"), Err(XmlError::Entity(_))));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "<a>".repeat(100_000);
        assert!(matches!(leaf(&deep), Err(XmlError::TooDeep(_))));
    }

    #[test]
    fn truncated_and_malformed_documents_are_told_apart() {
        assert!(matches!(leaf("<a><b>te"), Err(XmlError::Truncated(_))));
        assert!(matches!(leaf("<a>text</a"), Err(XmlError::Truncated(_))));
        assert!(matches!(leaf(""), Err(XmlError::Truncated(_))));
        assert!(matches!(leaf("<a></b>"), Err(XmlError::Malformed(_))));
        assert!(matches!(leaf("<a/><a/>"), Err(XmlError::Malformed(_))));
        assert!(matches!(leaf("not xml"), Err(XmlError::Malformed(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_the_reader_panic(text in "[<>/&;#x0-9a-c!\\[\\]\"'= -]{0,80}") {
            let _ = leaf(&text);
            let mut pull = Pull::new(&text);
            if pull.root().is_ok() {
                let _ = pull.children::<XmlError>(|pull, _| pull.text().map(|_| ()));
            }
        }
    }
}
