//! The reference of settings, as Markdown, from JSON Schemas. A loaded connector's schema may be anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use calbridge_core::connector::Manifest;
use serde_json::Value;

/// The settings of these connectors, and before them those of the program itself, if its schema is given.
pub(super) fn page(whole: Option<&Value>, manifests: &[Manifest]) -> String {
    let mut page = String::new();
    // Tables that several connectors share are described once.
    let mut shared: BTreeMap<String, Value> = BTreeMap::new();
    for (title, definition) in [
        ("`[[sync]]`", "SyncConfig"),
        ("`[plugins.NAME]`", "PluginSettings"),
        ("`[state]`", "StateConfig"),
        ("`[log]`", "LogConfig"),
    ] {
        let Some(whole) = whole else {
            break;
        };
        let _ = writeln!(page, "\n## {title}\n");
        let mut own = Vec::new();
        table_of(&mut page, &whole["$defs"][definition], whole, &mut own);
        inner(&mut page, whole, own, &mut shared, "");
    }
    for manifest in manifests {
        let (id, title) = (&manifest.id, &manifest.title);
        let _ = writeln!(page, "\n## Connector `{id}`\n\n{title}.\n");
        let mut own = Vec::new();
        let settings = &manifest.settings;
        table_of(&mut page, settings, settings, &mut own);
        inner(&mut page, settings, own, &mut shared, id);
    }
    for (name, schema) in &shared {
        let _ = writeln!(
            page,
            "\n## Table `{}`\n\n{}\n",
            key_of(name),
            about(&schema["$defs"][name])
        );
        let mut more = Vec::new();
        table_of(&mut page, &schema["$defs"][name], schema, &mut more);
        inner(&mut page, schema, more, &mut BTreeMap::new(), key_of(name));
    }
    page
}

fn key_of(definition: &str) -> &str {
    match definition {
        "HttpSettings" => "http",
        other => other,
    }
}

/// The tables inside a table.
fn inner(
    page: &mut String,
    root: &Value,
    mut names: Vec<(String, String)>,
    shared: &mut BTreeMap<String, Value>,
    of: &str,
) {
    let mut told = BTreeSet::new();
    while !names.is_empty() {
        let (key, name) = names.remove(0);
        // A table may hold itself.
        if !told.insert((key.clone(), name.clone())) {
            continue;
        }
        if name == "HttpSettings" {
            shared.insert(name, root.clone());
            continue;
        }
        let schema = &root["$defs"][&name];
        let of = if of.is_empty() {
            String::new()
        } else {
            format!(" of `{of}`")
        };
        let _ = writeln!(page, "\n### `{key}`{of}\n\n{}\n", about(schema));
        match schema["oneOf"].as_array() {
            Some(cases) => {
                for case in cases {
                    let kind = &case["properties"]["kind"]["const"];
                    let _ = writeln!(page, "With `kind = {kind}`: {}\n", about(case));
                    table_of(page, case, root, &mut names);
                    page.push('\n');
                }
                page.pop();
            }
            None => table_of(page, schema, root, &mut names),
        }
    }
}

fn table_of(page: &mut String, schema: &Value, root: &Value, inner: &mut Vec<(String, String)>) {
    page.push_str("| key | what it takes | default | meaning |\n|---|---|---|---|\n");
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        if property.get("const").is_some() && key == "kind" {
            continue;
        }
        let definition =
            reference(property).and_then(|name| Some((name, root["$defs"].get(name)?)));
        if let Some((name, definition)) = definition
            && holds_keys(definition)
        {
            inner.push((key.clone(), name.to_owned()));
        }
        let default = match property
            .get("default")
            .or_else(|| definition.and_then(|(_, d)| d.get("default")))
        {
            _ if required.contains(&key.as_str()) => "**required**".to_owned(),
            _ if key == "path" && schema["properties"].get("retention").is_some() => String::new(),
            Some(Value::Object(_)) | Some(Value::Null) | None => String::new(),
            Some(value) => format!("`{}`", friendly(value)),
        };
        let mut text = about(property);
        if text.is_empty() {
            text = definition
                .map(|(_, definition)| about(definition))
                .unwrap_or_default();
        }
        let _ = writeln!(
            page,
            "| `{key}` | {} | {default} | {} |",
            kind(property, root),
            text.replace('|', "\\|")
        );
    }
}

/// Lengths of time as people write them.
fn friendly(value: &Value) -> String {
    value
        .as_str()
        .filter(|text| text.starts_with("PT"))
        .and_then(|text| text.parse::<jiff::SignedDuration>().ok())
        .map_or_else(|| value.to_string(), |length| format!("\"{length:#}\""))
}

fn holds_keys(definition: &Value) -> bool {
    definition.get("properties").is_some()
        || definition["oneOf"]
            .as_array()
            .is_some_and(|cases| cases.iter().any(|case| case.get("properties").is_some()))
}

fn reference(property: &Value) -> Option<&str> {
    let direct = property.get("$ref").and_then(Value::as_str);
    let among = || {
        property["anyOf"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|case| case.get("$ref")?.as_str())
    };
    direct.or_else(among)?.strip_prefix("#/$defs/")
}

fn about(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ")
        .replace("  ", " ")
        .trim()
        .to_owned()
}

fn kind(property: &Value, root: &Value) -> String {
    if let Some(name) = reference(property) {
        if name == "SecretRef" {
            return "reference to a secret".to_owned();
        }
        let definition = &root["$defs"][name];
        if let Some(cases) = definition["oneOf"].as_array() {
            let names: Vec<String> = cases
                .iter()
                .filter_map(|case| Some(format!("`{}`", case.get("const")?)))
                .collect();
            if !names.is_empty() {
                return names.join(", ");
            }
        }
        if let Some(names) = definition["enum"].as_array() {
            return names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ");
        }
        return match holds_keys(definition) {
            true => "table, see below".to_owned(),
            false => simple(definition),
        };
    }
    simple(property)
}

fn simple(schema: &Value) -> String {
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => vec!["string"],
    };
    if types == ["integer"] {
        let (least, most) = (&schema["minimum"], &schema["maximum"]);
        return match (least.as_u64(), most.as_u64()) {
            (Some(least), Some(most)) if most < u64::from(u32::MAX) => {
                format!("whole number, {least} to {most}")
            }
            (Some(least), _) if least > 0 => format!("whole number, at least {least}"),
            _ => "whole number".to_owned(),
        };
    }
    let words: Vec<&str> = types
        .into_iter()
        .map(|name| match name {
            "number" => "number",
            "boolean" => "true or false",
            "array" => "list of texts",
            "object" => "table",
            _ => "text",
        })
        .collect();
    words.join(" or ")
}
