//! Validation against Microsoft's EWS schemas (types.xsd and messages.xsd of Exchange2013_SP1).
//!
//! `schema/grammar.json` is made from them by `schema/generate.py` and keeps what the supported operations can reach:
//! content models, attributes and simple types. Requests are refused where the real server refuses them, and tests
//! hold the server's own answers against the same rules.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use super::xml::Element;

#[derive(Deserialize)]
struct Grammar {
    elements: HashMap<String, String>,
    types: HashMap<String, ComplexType>,
    simple: HashMap<String, SimpleType>,
}

#[derive(Deserialize)]
struct ComplexType {
    #[serde(default)]
    attributes: HashMap<String, (String, bool)>,
    base: Option<String>,
    content: Option<Particle>,
    text: Option<String>,
    #[serde(default)]
    any: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SimpleType {
    base: Option<String>,
    r#enum: Option<Vec<String>>,
    list: Option<String>,
    union: Option<Vec<String>>,
    min_inclusive: Option<i64>,
    max_inclusive: Option<i64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
enum Particle {
    Element {
        min: usize,
        max: usize,
        name: String,
        kind: String,
    },
    Sequence {
        min: usize,
        max: usize,
        parts: Vec<Particle>,
    },
    Choice {
        min: usize,
        max: usize,
        parts: Vec<Particle>,
    },
    Any {
        min: usize,
        max: usize,
    },
}

impl TryFrom<Value> for Particle {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let wrong = || "a particle is not well-formed".to_owned();
        let row = value.as_array().ok_or_else(wrong)?;
        let text = |index: usize| {
            row.get(index)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(wrong)
        };
        let number = |index: usize| {
            row.get(index)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
                .ok_or_else(wrong)
        };
        // The schemas write "unbounded"; the table keeps 0 for it.
        let (min, max) = (
            number(1)?,
            match number(2)? {
                0 => usize::MAX,
                bounded => bounded,
            },
        );
        let parts = || {
            row.get(3)
                .and_then(Value::as_array)
                .ok_or_else(wrong)?
                .iter()
                .cloned()
                .map(Particle::try_from)
                .collect::<Result<Vec<_>, _>>()
        };
        match text(0)?.as_str() {
            "el" => Ok(Particle::Element {
                min,
                max,
                name: text(3)?,
                kind: text(4)?,
            }),
            "seq" => Ok(Particle::Sequence {
                min,
                max,
                parts: parts()?,
            }),
            "choice" => Ok(Particle::Choice {
                min,
                max,
                parts: parts()?,
            }),
            "any" => Ok(Particle::Any { min, max }),
            _ => Err(wrong()),
        }
    }
}

/// What is wrong with a document, in the manner of the schema validator behind Exchange.
#[derive(Debug, Clone, thiserror::Error)]
#[error("The request failed schema validation: {0}")]
pub(crate) struct Violation(pub(crate) String);

fn grammar() -> Option<&'static Grammar> {
    static GRAMMAR: OnceLock<Option<Grammar>> = OnceLock::new();
    GRAMMAR
        .get_or_init(|| serde_json::from_str(include_str!("schema/grammar.json")).ok())
        .as_ref()
}

/// Whether the operation or header element is one that the schemas (as far as kept) define.
pub(crate) fn knows(name: &str) -> bool {
    grammar().is_some_and(|grammar| grammar.elements.contains_key(name))
}

/// Checks a global element (an operation, an answer or a SOAP header).
pub(crate) fn validate(element: &Element) -> Result<(), Violation> {
    let grammar = grammar().ok_or_else(|| Violation("The grammar cannot be read.".to_owned()))?;
    let kind = grammar.elements.get(&element.name).ok_or_else(|| {
        Violation(format!(
            "The element '{}' is not declared.",
            element.local()
        ))
    })?;
    grammar.check(element, kind)
}

impl Grammar {
    fn check(&self, element: &Element, kind: &str) -> Result<(), Violation> {
        let kind = element
            .get("xsi:type")
            .filter(|named| self.types.contains_key(*named))
            .unwrap_or(kind);
        let Some(complex) = self.types.get(kind) else {
            if let Some(child) = element.children.first() {
                return Err(Violation(format!(
                    "The element '{}' cannot contain child element '{}'.",
                    element.local(),
                    child.local()
                )));
            }
            return self.check_simple(&element.text, kind).map_err(|()| {
                Violation(format!("The '{}' element is invalid - its value is invalid according to its datatype '{kind}'.", element.local()))
            });
        };
        let chain = self.chain(complex);
        if chain.iter().any(|part| part.any) {
            return Ok(());
        }
        self.check_attributes(element, &chain)?;
        if let Some(text) = chain.iter().find_map(|part| part.text.as_deref()) {
            return self.check_simple(&element.text, text).map_err(|()| {
                Violation(format!(
                    "The '{}' element is invalid - its value is invalid.",
                    element.local()
                ))
            });
        }
        if !element.text.trim().is_empty() {
            return Err(Violation(format!(
                "The element '{}' cannot contain text.",
                element.local()
            )));
        }
        let mut rest = element.children.as_slice();
        for part in chain.iter().rev() {
            if let Some(content) = &part.content {
                rest = self.consume(content, rest, element)?;
            }
        }
        match rest.first() {
            None => Ok(()),
            Some(unexpected) => Err(Violation(format!(
                "The element '{}' has invalid child element '{}'.",
                element.local(),
                unexpected.local()
            ))),
        }
    }

    /// The type and its bases, the most derived first.
    fn chain<'a>(&'a self, complex: &'a ComplexType) -> Vec<&'a ComplexType> {
        let mut chain = vec![complex];
        let mut base = complex.base.as_deref();
        while let Some(parent) = base.and_then(|name| self.types.get(name)) {
            chain.push(parent);
            base = parent.base.as_deref();
        }
        chain
    }

    fn check_attributes(&self, element: &Element, chain: &[&ComplexType]) -> Result<(), Violation> {
        for (name, value) in &element.attributes {
            let Some((kind, _)) = chain.iter().find_map(|part| part.attributes.get(name)) else {
                // Attributes of foreign namespaces (xsi:type and the like) are not ours to judge.
                if name.contains(':') {
                    continue;
                }
                return Err(Violation(format!(
                    "The '{name}' attribute is not declared."
                )));
            };
            self.check_simple(value, kind).map_err(|()| {
                Violation(format!(
                    "The '{name}' attribute is invalid - its value is invalid."
                ))
            })?;
        }
        for part in chain {
            for (name, (_, required)) in &part.attributes {
                if *required && element.get(name).is_none() {
                    return Err(Violation(format!(
                        "The required attribute '{name}' is missing."
                    )));
                }
            }
        }
        Ok(())
    }

    /// Consumes what the particle matches. The schemas are deterministic, so the first element of a particle decides.
    fn consume<'a>(
        &self,
        particle: &Particle,
        children: &'a [Element],
        parent: &Element,
    ) -> Result<&'a [Element], Violation> {
        let (min, max) = match particle {
            Particle::Element { min, max, .. }
            | Particle::Sequence { min, max, .. }
            | Particle::Choice { min, max, .. }
            | Particle::Any { min, max } => (*min, *max),
        };
        let mut rest = children;
        let mut count = 0;
        while count < max {
            let starts = rest.first().is_some_and(|child| particle.can_start(child));
            if !starts {
                break;
            }
            let before = rest.len();
            rest = self.consume_once(particle, rest, parent)?;
            if rest.len() == before {
                break;
            }
            count += 1;
        }
        if count < min && !particle.nullable() {
            return Err(match rest.first() {
                Some(found) => Violation(format!(
                    "The element '{}' has invalid child element '{}'. List of possible elements expected: '{}'.",
                    parent.local(),
                    found.local(),
                    particle.first_name()
                )),
                None => Violation(format!(
                    "The element '{}' has incomplete content. List of possible elements expected: '{}'.",
                    parent.local(),
                    particle.first_name()
                )),
            });
        }
        Ok(rest)
    }

    fn consume_once<'a>(
        &self,
        particle: &Particle,
        children: &'a [Element],
        parent: &Element,
    ) -> Result<&'a [Element], Violation> {
        match particle {
            Particle::Element { kind, .. } => {
                if let Some((first, rest)) = children.split_first() {
                    self.check(first, kind)?;
                    return Ok(rest);
                }
                Ok(children)
            }
            Particle::Any { .. } => Ok(children.split_first().map_or(children, |(_, rest)| rest)),
            Particle::Sequence { parts, .. } => {
                let mut rest = children;
                for part in parts {
                    rest = self.consume(part, rest, parent)?;
                }
                Ok(rest)
            }
            Particle::Choice { parts, .. } => {
                match children
                    .first()
                    .and_then(|child| parts.iter().find(|part| part.can_start(child)))
                {
                    Some(part) => self.consume(part, children, parent),
                    None => Ok(children),
                }
            }
        }
    }

    fn check_simple(&self, value: &str, kind: &str) -> Result<(), ()> {
        if let Some(simple) = self.simple.get(kind) {
            if let Some(members) = &simple.union {
                return if members
                    .iter()
                    .any(|member| self.check_simple(value, member).is_ok())
                {
                    Ok(())
                } else {
                    Err(())
                };
            }
            if let Some(item) = &simple.list {
                return value
                    .split_whitespace()
                    .try_for_each(|word| self.check_simple(word, item));
            }
            if let Some(values) = &simple.r#enum {
                return if values.iter().any(|allowed| allowed == value) {
                    Ok(())
                } else {
                    Err(())
                };
            }
            let number = value.trim().parse::<i64>();
            if simple
                .min_inclusive
                .is_some_and(|min| number.as_ref().is_ok_and(|n| *n < min))
                || simple
                    .max_inclusive
                    .is_some_and(|max| number.as_ref().is_ok_and(|n| *n > max))
                || simple
                    .min_length
                    .is_some_and(|min| value.chars().count() < min)
                || simple
                    .max_length
                    .is_some_and(|max| value.chars().count() > max)
            {
                return Err(());
            }
            return self.check_simple(value, simple.base.as_deref().unwrap_or("xs:string"));
        }
        check_builtin(value, kind)
    }
}

impl Particle {
    fn can_start(&self, child: &Element) -> bool {
        match self {
            Particle::Element { name, .. } => *name == child.name,
            Particle::Any { .. } => true,
            Particle::Choice { parts, .. } => parts.iter().any(|part| part.can_start(child)),
            Particle::Sequence { parts, .. } => {
                for part in parts {
                    if part.can_start(child) {
                        return true;
                    }
                    if !part.nullable() {
                        return false;
                    }
                }
                false
            }
        }
    }

    fn nullable(&self) -> bool {
        match self {
            Particle::Element { min, .. } | Particle::Any { min, .. } => *min == 0,
            Particle::Sequence { min, parts, .. } => {
                *min == 0 || parts.iter().all(Particle::nullable)
            }
            Particle::Choice { min, parts, .. } => {
                *min == 0 || parts.iter().any(Particle::nullable)
            }
        }
    }

    fn first_name(&self) -> &str {
        match self {
            Particle::Element { name, .. } => name
                .split_once(':')
                .map_or(name.as_str(), |(_, local)| local),
            Particle::Any { .. } => "any",
            Particle::Sequence { parts, .. } | Particle::Choice { parts, .. } => {
                parts.first().map_or("", Particle::first_name)
            }
        }
    }
}

fn check_builtin(value: &str, kind: &str) -> Result<(), ()> {
    let trimmed = value.trim();
    let good = match kind {
        "xs:boolean" => matches!(trimmed, "true" | "false" | "0" | "1"),
        "xs:int" => trimmed.parse::<i32>().is_ok(),
        "xs:short" => trimmed.parse::<i16>().is_ok(),
        "xs:long" | "xs:integer" => trimmed.parse::<i64>().is_ok(),
        "xs:unsignedInt" => trimmed.parse::<u32>().is_ok(),
        "xs:unsignedShort" => trimmed.parse::<u16>().is_ok(),
        "xs:dateTime" => super::time::parse_date_time(trimmed).is_some(),
        "xs:date" => super::time::parse_date(trimmed).is_some(),
        "xs:base64Binary" => {
            use base64::Engine as _;
            let packed: String = value.split_whitespace().collect();
            base64::engine::general_purpose::STANDARD
                .decode(packed)
                .is_ok()
        }
        _ => true,
    };
    if good { Ok(()) } else { Err(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
mod tests {
    use super::super::xml::{self, MESSAGES, TYPES};
    use super::*;

    fn judge(body: &str) -> Result<(), Violation> {
        let open = body.replacen(
            '>',
            &format!(" xmlns:m=\"{MESSAGES}\" xmlns:t=\"{TYPES}\">"),
            1,
        );
        validate(&xml::parse(open.as_bytes()).unwrap())
    }

    const SYNC: &str = "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId>\
        <t:DistinguishedFolderId Id=\"calendar\"/></m:SyncFolderId><m:MaxChangesReturned>512</m:MaxChangesReturned></m:SyncFolderItems>";

    #[test]
    fn a_good_request_passes() {
        judge(SYNC).unwrap();
    }

    #[test]
    fn bounds_order_and_names_are_enforced() {
        assert!(judge(&SYNC.replace("512", "513")).is_err());
        assert!(judge(&SYNC.replace("512", "0")).is_err());
        assert!(judge(&SYNC.replace("m:SyncFolderId", "m:SyncFolderIdd")).is_err());
        assert!(judge(&SYNC.replace("Id=\"calendar\"", "Id=\"kalender\"")).is_err());
        assert!(
            judge(&SYNC.replace("<m:MaxChangesReturned>512</m:MaxChangesReturned>", "")).is_err()
        );
        let shape = "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>";
        assert!(
            judge(
                &SYNC
                    .replace(shape, "")
                    .replace("<m:MaxCh", &format!("{shape}<m:MaxCh"))
            )
            .is_err()
        );
        let field = |uri: &str| {
            SYNC.replace(
                "</t:BaseShape>",
                &format!("</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI=\"{uri}\"/></t:AdditionalProperties>"),
            )
        };
        judge(&field("calendar:UID")).unwrap();
        assert!(judge(&field("calendar:Uid")).is_err());
    }

    /// Requests of other clients and hand-written examples, where they are at hand: all follow the schemas.
    #[test]
    fn requests_of_other_clients_pass() {
        let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
        let folders = [
            shared.join("data/exchangelib-requests"),
            shared.join("reference/ews-schema/examples"),
        ];
        let mut judged = 0;
        for entry in folders
            .iter()
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
        {
            let path = entry.unwrap().path();
            let Ok(root) = xml::parse(&std::fs::read(&path).unwrap()) else {
                continue;
            };
            let parts = ["s:Header", "s:Body"]
                .into_iter()
                .filter_map(|part| root.child(part))
                .flat_map(|part| &part.children);
            for element in parts.filter(|element| knows(&element.name)) {
                // Two of the examples follow the wire against the schema (m:Notification, m:SubscriptionId).
                let on_the_wire = path.to_string_lossy().contains("GetStreamingEvents.");
                if element.name.ends_with("Response") && on_the_wire {
                    continue;
                }
                validate(element)
                    .unwrap_or_else(|violation| panic!("{}: {violation}", path.display()));
                judged += 1;
            }
        }
        eprintln!(
            "{judged} elements judged{}",
            if judged == 0 {
                ": skipped, there are no samples here"
            } else {
                ""
            }
        );
    }
}
