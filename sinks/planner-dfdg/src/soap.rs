//! XML into a small tree, with limits. Prefixes do not matter; namespaces do. No document type, no entities.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

/// How deep elements may be nested. Planner's deepest answer has eight levels.
const MAX_DEPTH: usize = 32;
/// How many elements an answer may have. A calendar with ten thousand events has some 70 000.
const MAX_ELEMENTS: usize = 1_000_000;

/// Why a text is no XML that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error("it is not well-formed XML")]
    Malformed,
    #[error("it is cut off")]
    CutOff,
    #[error("it has a document type declaration, which SOAP forbids")]
    DocumentType,
    #[error("it refers to an entity that is not predefined")]
    Entity,
    #[error("its elements are nested too deeply")]
    TooDeep,
    #[error("it has too many elements")]
    TooMany,
}

/// An element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Element {
    /// The namespace; empty for none.
    pub(crate) namespace: Box<str>,
    /// The name without prefix.
    pub(crate) name: Box<str>,
    /// The text directly inside.
    pub(crate) text: String,
    /// `xsi:nil="true"`.
    pub(crate) nil: bool,
    /// The elements directly inside.
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Whether it has this name.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        &*self.namespace == namespace && &*self.name == name
    }

    /// The first child with this name, in the same namespace as this element.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.child_in(&self.namespace, name)
    }

    /// The first child with this name.
    pub(crate) fn child_in(&self, namespace: &str, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(namespace, name))
    }

    /// The children with this name, in the same namespace as this element.
    pub(crate) fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children
            .iter()
            .filter(move |child| child.is(&self.namespace, name))
    }

    /// The trimmed text of a child, if it is there and says something.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).and_then(Self::said)
    }

    /// The trimmed text, if there is any and it is not nil.
    pub(crate) fn said(&self) -> Option<&str> {
        let text = self.text.trim();
        (!self.nil && !text.is_empty()).then_some(text)
    }
}

/// Reads a document.
pub(crate) fn parse(body: &[u8]) -> Result<Element, XmlError> {
    let text = std::str::from_utf8(body).map_err(|_| XmlError::NotUtf8)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root: Option<Element> = None;
    let mut elements = 0_usize;
    loop {
        let (resolved, event) = reader.read_resolved_event().map_err(|error| match error {
            quick_xml::Error::Syntax(_) => XmlError::CutOff,
            _ => XmlError::Malformed,
        })?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if open.len() >= MAX_DEPTH {
                    return Err(XmlError::TooDeep);
                }
                if elements > MAX_ELEMENTS {
                    return Err(XmlError::TooMany);
                }
                if open.is_empty() && root.is_some() {
                    return Err(XmlError::Malformed);
                }
                let element = element(&resolved, &start)?;
                open.push(element);
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > MAX_ELEMENTS {
                    return Err(XmlError::TooMany);
                }
                let element = element(&resolved, &start)?;
                close(element, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or(XmlError::Malformed)?;
                close(element, &mut open, &mut root)?;
            }
            Event::Text(text) => add(&mut open, &text.xml10_content())?,
            Event::CData(text) => add(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => match &*reference.xml10_content() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err(XmlError::Entity),
                    },
                    Err(_) => return Err(XmlError::Malformed),
                };
                open.last_mut()
                    .ok_or(XmlError::Malformed)?
                    .text
                    .push(character);
            }
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() {
        return Err(XmlError::CutOff);
    }
    root.ok_or(XmlError::CutOff)
}

fn close(
    mut element: Element,
    open: &mut [Element],
    root: &mut Option<Element>,
) -> Result<(), XmlError> {
    if element.nil {
        // It says nothing, whatever stands in it against the schema.
        element.text.clear();
        element.children.clear();
    }
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn add(open: &mut [Element], text: &str) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err(XmlError::Malformed),
    }
    Ok(())
}

fn element(resolved: &ResolveResult<'_>, start: &BytesStart<'_>) -> Result<Element, XmlError> {
    let namespace = match resolved {
        ResolveResult::Bound(namespace) => namespace.0,
        ResolveResult::Unbound => "",
        ResolveResult::Unknown(_) => return Err(XmlError::Malformed),
    };
    let mut nil = false;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| XmlError::Malformed)?;
        if attribute.key.local_name().into_inner() == "nil" {
            nil = matches!(attribute.value.trim(), "true" | "1");
        }
    }
    Ok(Element {
        namespace: namespace.into(),
        name: start.local_name().into_inner().into(),
        nil,
        ..Element::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prefixes_do_not_matter_and_namespaces_do() {
        let one = parse(b"<a:x xmlns:a='urn:a'><a:y> 1&amp;&#50; </a:y></a:x>").unwrap();
        let two = parse(b"<x xmlns='urn:a'><y><![CDATA[ 1&2 ]]></y></x>").unwrap();
        assert_eq!(one, two);
        assert_eq!(one.text_of("y"), Some("1&2"));
        let other = parse(b"<x xmlns='urn:b'/>").unwrap();
        assert!(!other.is("urn:a", "x"));
    }

    #[test]
    fn nil_and_empty_say_nothing() {
        let x = parse(
            b"<x xmlns:i='http://www.w3.org/2001/XMLSchema-instance'><y i:nil='true'>1</y><z> </z></x>",
        )
        .unwrap();
        assert_eq!(x.text_of("y"), None);
        assert_eq!(x.text_of("z"), None);
    }

    #[test]
    fn what_is_hostile_or_broken_is_refused() {
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        for (text, error) in [
            ("", XmlError::CutOff),
            ("plain text", XmlError::Malformed),
            ("<a><b></a>", XmlError::Malformed),
            ("<a>", XmlError::CutOff),
            ("<a", XmlError::CutOff),
            ("<a/><b/>", XmlError::Malformed),
            ("<a/>text", XmlError::Malformed),
            ("<p:a/>", XmlError::Malformed),
            (
                "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
                XmlError::DocumentType,
            ),
            ("<a>&e;</a>", XmlError::Entity),
            (deep.as_str(), XmlError::TooDeep),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(parse(b"<a>\xff</a>"), Err(XmlError::NotUtf8));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        assert_eq!(parse(many.as_bytes()), Err(XmlError::TooMany));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_markup_panics(text in "[<>/a-c:&;!\\[\\]\"'= #x0-9\\-]{0,200}") {
            let _ = parse(text.as_bytes());
        }
    }
}
