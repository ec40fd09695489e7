//! Elements in sequence, and values of the simple types.

use roxmltree::{Node, NodeType};
use uuid::Uuid;

use super::super::names::{CODE_LIST, SOAP, XSI};
use super::super::time::{WireTime, parse_date_time};
use super::{Result, SchemaError};

/// The children of an element, taken in the order of an `xs:sequence`.
pub(super) struct Sequence<'a, 'input> {
    parent: Node<'a, 'input>,
    children: std::iter::Peekable<std::vec::IntoIter<Node<'a, 'input>>>,
}

impl<'a, 'input> Sequence<'a, 'input> {
    pub(super) fn new(parent: Node<'a, 'input>) -> Result<Self> {
        no_attributes(parent)?;
        Ok(Self {
            parent,
            children: elements(parent)?.into_iter().peekable(),
        })
    }

    pub(super) fn optional(&mut self, namespace: &str, name: &str) -> Option<Node<'a, 'input>> {
        self.children
            .next_if(|node| node.has_tag_name((namespace, name)))
    }

    pub(super) fn required(&mut self, namespace: &str, name: &str) -> Result<Node<'a, 'input>> {
        if let Some(node) = self.optional(namespace, name) {
            return Ok(node);
        }
        let (parent, expected) = (qualified(self.parent), format!("{{{namespace}}}{name}"));
        Err(match self.children.peek() {
            Some(found) => SchemaError::Unexpected {
                parent,
                expected,
                found: qualified(*found),
            },
            None => SchemaError::Missing { parent, expected },
        })
    }

    pub(super) fn end(mut self) -> Result<()> {
        match self.children.next() {
            None => Ok(()),
            Some(found) => Err(SchemaError::Unexpected {
                parent: qualified(self.parent),
                expected: "the end".to_owned(),
                found: qualified(found),
            }),
        }
    }
}

fn qualified(node: Node<'_, '_>) -> String {
    let tag = node.tag_name();
    format!("{{{}}}{}", tag.namespace().unwrap_or_default(), tag.name())
}

/// Element children; text other than white space between them is refused.
pub(super) fn elements<'a, 'input>(parent: Node<'a, 'input>) -> Result<Vec<Node<'a, 'input>>> {
    let mut found = Vec::new();
    for node in parent.children() {
        match node.node_type() {
            NodeType::Element => found.push(node),
            NodeType::Text if !node.text().unwrap_or_default().trim().is_empty() => {
                return Err(value(parent, "element-only content"));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn no_attributes(node: Node<'_, '_>) -> Result<()> {
    // SOAP's own attributes and those of XML Schema instances may stand anywhere.
    let foreign = node
        .attributes()
        .any(|attribute| !matches!(attribute.namespace(), Some(SOAP | XSI)));
    let nil = node
        .attribute((XSI, "nil"))
        .is_some_and(|nil| matches!(nil.trim(), "true" | "1"));
    if foreign || nil {
        Err(SchemaError::Attribute(qualified(node)))
    } else {
        Ok(())
    }
}

/// The whole text of a simple element.
pub(super) fn text(node: Node<'_, '_>) -> Result<String> {
    no_attributes(node)?;
    let mut whole = String::new();
    for child in node.children() {
        match child.node_type() {
            NodeType::Text => whole.push_str(child.text().unwrap_or_default()),
            NodeType::Element => return Err(value(node, "simple value")),
            _ => {}
        }
    }
    Ok(whole)
}

/// `xs:string` with a length in characters.
pub(super) fn string(node: Node<'_, '_>, shortest: usize, longest: usize) -> Result<String> {
    let text = text(node)?;
    if (shortest..=longest).contains(&text.chars().count()) {
        Ok(text)
    } else {
        Err(value(node, "text of the allowed length"))
    }
}

pub(super) fn value(node: Node<'_, '_>, kind: &'static str) -> SchemaError {
    SchemaError::Value {
        element: qualified(node),
        kind,
    }
}

/// `xs:int` between two bounds; the outer `None` is a value outside.
pub(super) fn integer(node: Node<'_, '_>, lowest: u32, highest: u32) -> Option<Result<u32>> {
    let text = match text(node) {
        Ok(text) => text,
        Err(error) => return Some(Err(error)),
    };
    let number = text.trim().parse::<i32>().ok()?;
    let number = u32::try_from(number).ok()?;
    (lowest..=highest).contains(&number).then_some(Ok(number))
}

/// `CodeListItemIdentifierType`: an element with one number inside.
pub(super) fn code(node: Node<'_, '_>) -> Result<u32> {
    let mut fields = Sequence::new(node)?;
    let item = fields.required(CODE_LIST, "CodeListItemIdentifier")?;
    fields.end()?;
    integer(item, 0, 100_000_000).ok_or_else(|| value(item, "code list number"))?
}

pub(super) fn date_time(node: Node<'_, '_>) -> Result<WireTime> {
    parse_date_time(&text(node)?).ok_or_else(|| value(node, "dateTime"))
}

pub(super) fn guid(node: Node<'_, '_>) -> Result<Uuid> {
    let text = text(node)?;
    // The hyphenated form only: the library also takes braces, URNs and bare digits.
    (text.len() == 36)
        .then(|| Uuid::try_parse(&text).ok())
        .flatten()
        .ok_or_else(|| value(node, "guid"))
}

pub(super) fn email(node: Node<'_, '_>) -> Result<String> {
    let text = text(node)?;
    if is_email(&text) {
        Ok(text)
    } else {
        Err(value(node, "e-mail address"))
    }
}

/// `EmailAddressIdentifierType`: up to 191 characters, `@`, 1 to 64 characters, none of them white
/// space or one of `> ( ) [ ] \ , ; : @`.
pub(in crate::planner) fn is_email(text: &str) -> bool {
    let allowed = |part: &str| {
        part.chars().all(|c| {
            !c.is_whitespace()
                && !matches!(
                    c,
                    '>' | '(' | ')' | '[' | ']' | '\\' | ',' | ';' | ':' | '@'
                )
        })
    };
    text.split_once('@').is_some_and(|(local, domain)| {
        local.chars().count() <= 191
            && (1..=64).contains(&domain.chars().count())
            && allowed(local)
            && allowed(domain)
    })
}
