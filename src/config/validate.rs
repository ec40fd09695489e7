//! Checks a part of the configuration against a JSON Schema and puts what is wrong into words. Values are
//! never repeated: any of them may be a secret that stands in the wrong place.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::mistake::{list, suggest};
use super::path::{KeyPath, Step};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where, from the root of what was checked.
    pub(crate) path: KeyPath,
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) help: Option<String>,
    /// A text was expected; from the environment or the command line it may have been taken for a number.
    pub(crate) text_expected: bool,
    /// No branch of a choice fits: whoever reads the value may have a better word for it.
    pub(crate) choice: bool,
}

/// A schema that is ready to check with.
#[derive(Debug)]
pub(crate) struct Checker {
    schema: Value,
    validator: Validator,
}

impl Checker {
    /// # Errors
    /// The schema is none.
    pub(crate) fn new(mut schema: Value) -> Result<Self, String> {
        bound(&mut schema);
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .build(&schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// Everything that is wrong with `value`.
    pub(crate) fn check(&self, value: &Value) -> Vec<Found> {
        self.validator
            .iter_errors(value)
            .flat_map(|error| explain(&error, &self.schema))
            .collect()
    }
}

/// Gives whole numbers the greatest value that their kind holds: beyond it stands an error without words.
fn bound(schema: &mut Value) {
    if let Some(table) = schema.as_object_mut()
        && !table.contains_key("maximum")
    {
        let most = match table.get("format").and_then(Value::as_str) {
            Some("uint8") => Some(u64::from(u8::MAX)),
            Some("uint16") => Some(u64::from(u16::MAX)),
            Some("uint32") => Some(u64::from(u32::MAX)),
            Some("int32") => u64::try_from(i32::MAX).ok(),
            _ => None,
        };
        if let Some(most) = most {
            table.insert("maximum".to_owned(), most.into());
        }
    }
    match schema {
        Value::Object(table) => table.values_mut().for_each(bound),
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}

fn explain(error: &ValidationError<'_>, schema: &Value) -> Vec<Found> {
    let path = key_path(error.instance_path());
    let found = |path: KeyPath, message: String, help: Option<String>| Found {
        path,
        message,
        help,
        text_expected: false,
        choice: false,
    };
    let around = parent(error.schema_path(), schema);
    if around.is_some_and(|schema| schema.get("writeOnly") == Some(&Value::Bool(true))) {
        return vec![found(
            path,
            "a secret may not stand in the configuration".to_owned(),
            Some(
                "put the secret elsewhere and refer to it: `env:NAME`, `file:PATH`, `credential:NAME` or `keyring:SERVICE/USER`"
                    .to_owned(),
            ),
        )];
    }
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let allowed = properties(around);
            unexpected
                .iter()
                .map(|name| {
                    found(
                        path.clone().key(name),
                        "unknown key".to_owned(),
                        suggest(name, &allowed),
                    )
                })
                .collect()
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let about = around
                .and_then(|schema| {
                    schema
                        .get("properties")?
                        .get(name)?
                        .get("description")?
                        .as_str()
                })
                .map(first_sentence);
            vec![found(path, format!("the key `{name}` is missing"), about)]
        }
        ValidationErrorKind::Type { kind } => {
            let names: Vec<&str> = match kind {
                TypeKind::Single(kind) => vec![type_name(&kind.to_string())],
                TypeKind::Multiple(kinds) => kinds
                    .iter()
                    .map(|kind| type_name(&kind.to_string()))
                    .collect(),
            };
            vec![wrong_type(path, names, error.instance())]
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&Value> = options.as_array().into_iter().flatten().collect();
            vec![found(path, not_one_of(&options), None)]
        }
        ValidationErrorKind::Constant { expected_value } => {
            vec![found(path, not_one_of(&[expected_value.as_ref()]), None)]
        }
        ValidationErrorKind::Minimum { limit } => {
            // The greatest value of a kind of number is no limit that anybody set.
            let most = around
                .and_then(|schema| schema.get("maximum"))
                .filter(|most| most.as_u64().is_none_or(|most| most < u64::from(u32::MAX)));
            vec![found(path, range(Some(limit), most), None)]
        }
        ValidationErrorKind::Maximum { limit } => {
            let least = around.and_then(|schema| schema.get("minimum"));
            vec![found(path, range(least, Some(limit)), None)]
        }
        ValidationErrorKind::ExclusiveMinimum { limit } => {
            vec![found(path, format!("must be more than {limit}"), None)]
        }
        ValidationErrorKind::ExclusiveMaximum { limit } => {
            vec![found(path, format!("must be less than {limit}"), None)]
        }
        ValidationErrorKind::MinLength { limit: 1 } => {
            vec![found(path, "must not be empty".to_owned(), None)]
        }
        ValidationErrorKind::MinItems { limit: 1 } => {
            vec![found(path, "must not be an empty list".to_owned(), None)]
        }
        ValidationErrorKind::Pattern { .. } => {
            vec![found(
                path,
                "does not have the form that is asked for".to_owned(),
                about(around),
            )]
        }
        ValidationErrorKind::Format { format } if format == "uri" => vec![found(
            path,
            "is not an address of the form https://HOST/PATH".to_owned(),
            about(around),
        )],
        ValidationErrorKind::OneOfNotValid { context } | ValidationErrorKind::AnyOf { context } => {
            choose(&path, error.instance(), context, schema)
        }
        other => vec![found(
            path,
            format!("breaks the rule `{}`", other.keyword()),
            about(around),
        )],
    }
}

/// None of several branches fits: says what is wrong with the one that was meant.
fn choose(
    path: &KeyPath,
    instance: &Value,
    branches: &[Vec<ValidationError<'static>>],
    schema: &Value,
) -> Vec<Found> {
    let here = |error: &ValidationError<'_>| key_path(error.instance_path()) == *path;
    let mut types = Vec::new();
    let mut open: Vec<&Vec<ValidationError<'static>>> = Vec::new();
    for branch in branches {
        let mut fits = true;
        for error in branch.iter().filter(|error| here(error)) {
            if let ValidationErrorKind::Type { kind } = error.kind() {
                fits = false;
                match kind {
                    TypeKind::Single(kind) => types.push(type_name(&kind.to_string())),
                    TypeKind::Multiple(kinds) => {
                        types.extend(kinds.iter().map(|kind| type_name(&kind.to_string())));
                    }
                }
            }
        }
        if fits {
            open.push(branch);
        }
    }
    if open.is_empty() {
        return vec![wrong_type(path.clone(), types, instance)];
    }
    let choice = |path: KeyPath, message: String| Found {
        path,
        message,
        help: None,
        text_expected: false,
        choice: true,
    };
    // Plain alternatives: `one-way`, `two-way`.
    let options: Vec<&Value> = open
        .iter()
        .flat_map(|branch| branch.iter())
        .filter(|error| here(error))
        .flat_map(|error| options_of(error))
        .collect();
    if open.iter().all(|branch| {
        branch
            .iter()
            .any(|error| here(error) && !options_of(error).is_empty())
    }) {
        return vec![choice(path.clone(), not_one_of(&options))];
    }
    // Tables that a key tells apart: drop those whose key says otherwise.
    let tag = |branch: &[ValidationError<'static>]| {
        branch.iter().find_map(|error| {
            let at = key_path(error.instance_path());
            (at.0.len() == path.0.len() + 1 && !options_of(error).is_empty()).then_some(at)
        })
    };
    if let Some(at) = open.iter().find_map(|branch| tag(branch)) {
        let options: Vec<&Value> = open
            .iter()
            .flat_map(|branch| branch.iter())
            .filter(|error| key_path(error.instance_path()) == at)
            .flat_map(|error| options_of(error))
            .collect();
        open.retain(|branch| tag(branch).is_none());
        if open.is_empty() {
            return vec![choice(at, not_one_of(&options))];
        }
    }
    // What every branch lacks is what tells them apart; the rest follows from it.
    let lacks = |branch: &[ValidationError<'static>], name: &Value| {
        branch.iter().any(|error| {
            here(error)
                && matches!(error.kind(), ValidationErrorKind::Required { property } if property == name)
        })
    };
    if let [first, others @ ..] = open.as_slice()
        && !others.is_empty()
    {
        let tags: Vec<Found> = first
            .iter()
            .filter(|error| {
                matches!(error.kind(), ValidationErrorKind::Required { property }
                    if here(error) && others.iter().all(|branch| lacks(branch, property)))
            })
            .flat_map(|error| explain(error, schema))
            .collect();
        if !tags.is_empty() {
            return tags;
        }
    }
    open.into_iter()
        .min_by_key(|branch| branch.len())
        .map(|branch| {
            branch
                .iter()
                .flat_map(|error| explain(error, schema))
                .collect()
        })
        .unwrap_or_default()
}

fn options_of<'a>(error: &'a ValidationError<'_>) -> Vec<&'a Value> {
    match error.kind() {
        ValidationErrorKind::Constant { expected_value } => vec![expected_value.as_ref()],
        ValidationErrorKind::Enum { options } => options.as_array().into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

fn not_one_of(options: &[&Value]) -> String {
    let names: Vec<String> = options.iter().map(|option| option.to_string()).collect();
    match names.as_slice() {
        [only] => format!("must be {only}"),
        _ => format!("must be one of {}", names.join(", ")),
    }
}

fn range(least: Option<&Value>, most: Option<&Value>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("must be from {least} to {most}"),
        (Some(least), None) => format!("must be {least} or more"),
        (None, Some(most)) => format!("must be {most} or less"),
        (None, None) => "is out of range".to_owned(),
    }
}

fn wrong_type(path: KeyPath, expected: Vec<&str>, value: &Value) -> Found {
    let mut expected: Vec<&str> = expected
        .into_iter()
        .filter(|name| *name != "nothing")
        .collect();
    expected.dedup();
    let text_expected = expected.contains(&TEXT);
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => type_name("boolean"),
        Value::Number(number) if number.is_f64() => type_name("number"),
        Value::Number(_) => type_name("integer"),
        Value::String(_) => TEXT,
        Value::Array(_) => type_name("array"),
        Value::Object(_) => type_name("object"),
    };
    let help = (text_expected && !value.is_array() && !value.is_object())
        .then(|| "put the value into quotation marks".to_owned());
    Found {
        path,
        message: format!(
            "{WRONG_TYPE}: expected {}, found {found}",
            expected.join(" or ")
        ),
        help,
        text_expected,
        choice: false,
    }
}

/// How a mistake about a type begins.
pub(super) const WRONG_TYPE: &str = "wrong type";

const TEXT: &str = "a text";

fn type_name(json: &str) -> &'static str {
    match json {
        "string" => TEXT,
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        _ => "nothing",
    }
}

fn about(schema: Option<&Value>) -> Option<String> {
    Some(first_sentence(schema?.get("description")?.as_str()?))
}

fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    match text.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => text,
    }
}

fn properties(schema: Option<&Value>) -> Vec<&str> {
    schema
        .and_then(|schema| schema.get("properties")?.as_object())
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

/// The schema whose keyword complains.
fn parent<'a>(location: &Location, schema: &'a Value) -> Option<&'a Value> {
    let pointer = location.as_str();
    schema.pointer(pointer.rsplit_once('/')?.0)
}

fn key_path(location: &Location) -> KeyPath {
    KeyPath(
        location
            .segments()
            .map(|segment| match segment {
                LocationSegment::Property(name) => Step::Key(name.into_owned()),
                LocationSegment::Index(index) => Step::Index(index),
            })
            .collect(),
    )
}

/// Names in a sentence, as [`list`].
pub(crate) fn allowed(names: &[&str]) -> String {
    list(names)
}
