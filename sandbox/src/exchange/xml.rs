//! A small element tree for requests and answers.
//!
//! Names carry a fixed prefix for the namespaces that EWS uses (`s`, `m`, `t`), whatever prefix the sender chose, so
//! that the rest of the server compares plain strings.

use std::fmt::Write as _;

use quick_xml::XmlVersion;
use quick_xml::events::Event;
use quick_xml::events::attributes::AttrError;
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// SOAP 1.1 envelope namespace.
pub(crate) const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// EWS messages namespace.
pub(crate) const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
/// EWS types namespace.
pub(crate) const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
/// EWS errors namespace.
pub(crate) const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

/// Elements nested deeper than this are refused, as any careful parser does.
const MAX_DEPTH: usize = 64;

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XmlError {
    /// The text is not well-formed XML.
    #[error("the document is not well-formed: {0}")]
    Malformed(String),
    /// Document type declarations are refused: they are how entity bombs are written.
    #[error("a document type declaration is not allowed")]
    Doctype,
    /// More levels than any real request has.
    #[error("the elements are nested too deeply")]
    Depth,
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        XmlError::Malformed(error.to_string())
    }
}

impl From<AttrError> for XmlError {
    fn from(error: AttrError) -> Self {
        XmlError::Malformed(error.to_string())
    }
}

/// One element with its attributes, text and children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Qualified by the fixed prefix, as `t:ItemId`; `?:Name` in a foreign namespace.
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Element>,
    pub(crate) text: String,
}

impl Element {
    /// An empty element.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Element {
            name: name.into(),
            ..Element::default()
        }
    }

    /// An element that holds text only.
    pub(crate) fn text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Element {
            name: name.into(),
            text: text.into(),
            ..Element::default()
        }
    }

    /// Adds an attribute.
    pub(crate) fn attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a child.
    pub(crate) fn with(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    pub(crate) fn with_all(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// The first child of this qualified name.
    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this qualified name.
    pub(crate) fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }

    /// The value of an attribute.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The name without its prefix.
    pub(crate) fn local(&self) -> &str {
        self.name
            .split_once(':')
            .map_or(self.name.as_str(), |(_, local)| local)
    }

    /// Writes the element; prefixes must be declared by an ancestor.
    pub(crate) fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            let _ = write!(out, " {name}=\"{}\"", escape(value));
        }
        if self.children.is_empty() && self.text.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        out.push_str(&escape(&self.text));
        for child in &self.children {
            child.write(out);
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }
}

/// Escapes text for element content and attributes. Characters that XML 1.0 forbids are written as character
/// references, as Exchange does: a reader must cope.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(character),
            control if (control as u32) < 0x20 => {
                let _ = write!(out, "&#x{:X};", control as u32);
            }
            other => out.push(other),
        }
    }
    out
}

fn prefix_of(namespace: &str) -> &'static str {
    match namespace {
        SOAP => "s",
        MESSAGES => "m",
        TYPES => "t",
        ERRORS => "e",
        _ => "?",
    }
}

/// Reads a whole document.
pub(crate) fn parse(document: &[u8]) -> Result<Element, XmlError> {
    let text =
        std::str::from_utf8(document).map_err(|error| XmlError::Malformed(error.to_string()))?;
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    loop {
        let (resolved, event) = reader.read_resolved_event()?;
        match event {
            Event::Start(start) => {
                if open.len() >= MAX_DEPTH {
                    return Err(XmlError::Depth);
                }
                if root.is_some() {
                    return Err(XmlError::Malformed(
                        "content after the root element".to_owned(),
                    ));
                }
                let prefix = match resolved {
                    ResolveResult::Bound(Namespace(namespace)) => prefix_of(namespace),
                    ResolveResult::Unbound => "?",
                    ResolveResult::Unknown(prefix) => {
                        return Err(XmlError::Malformed(format!(
                            "the prefix {prefix} is not declared"
                        )));
                    }
                };
                let mut element =
                    Element::new(format!("{prefix}:{}", start.local_name().into_inner()));
                for attribute in start.attributes() {
                    let attribute = attribute?;
                    let name = attribute.key.into_inner();
                    if name == "xmlns" || name.starts_with("xmlns:") || name.starts_with("xml:") {
                        continue;
                    }
                    let value = attribute.normalized_value(XmlVersion::Implicit1_0)?;
                    element
                        .attributes
                        .push((name.to_owned(), value.into_owned()));
                }
                open.push(element);
            }
            Event::End(_) => {
                if let Some(mut element) = open.pop() {
                    if !element.children.is_empty() && element.text.trim().is_empty() {
                        element.text.clear();
                    }
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => root = Some(element),
                    }
                }
            }
            Event::Text(text) => append(&mut open, &text.xml10_content())?,
            Event::CData(text) => append(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let resolved = match reference.resolve_char_ref()? {
                    Some(character) => character.to_string(),
                    None => quick_xml::escape::resolve_predefined_entity(&reference)
                        .ok_or_else(|| XmlError::Malformed("an entity is not defined".to_owned()))?
                        .to_owned(),
                };
                append(&mut open, &resolved)?;
            }
            Event::DocType(_) => return Err(XmlError::Doctype),
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
    if !open.is_empty() {
        return Err(XmlError::Malformed(
            "the document ends inside an element".to_owned(),
        ));
    }
    root.ok_or_else(|| XmlError::Malformed("there is no root element".to_owned()))
}

fn append(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => {
            return Err(XmlError::Malformed(
                "text outside the root element".to_owned(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_get_the_fixed_prefix() {
        let root = parse(format!("<q:Envelope xmlns:q=\"{SOAP}\"><Body xmlns=\"{SOAP}\">a&amp;b&#x41;</Body></q:Envelope>").as_bytes()).unwrap();
        assert_eq!(root.name, "s:Envelope");
        assert_eq!(root.child_text("s:Body"), Some("a&bA"));
    }

    #[test]
    fn doctype_depth_and_open_ends_are_refused() {
        assert!(matches!(
            parse(b"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"),
            Err(XmlError::Doctype)
        ));
        assert!(matches!(parse(b"<a>&x;</a>"), Err(XmlError::Malformed(_))));
        assert!(matches!(parse(b"<a><b></a>"), Err(XmlError::Malformed(_))));
        assert!(matches!(parse(b"<a>"), Err(XmlError::Malformed(_))));
        assert!(matches!(
            parse("<a>".repeat(100).as_bytes()),
            Err(XmlError::Depth)
        ));
    }

    #[test]
    fn writing_escapes() {
        let mut out = String::new();
        Element::text("t:Subject", "a<b & \"c\" \u{b}")
            .attr("Id", "x\"y")
            .write(&mut out);
        assert_eq!(
            out,
            "<t:Subject Id=\"x&quot;y\">a&lt;b &amp; &quot;c&quot; &#xB;</t:Subject>"
        );
    }
}
