//! Commands that need no server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    not(all(feature = "exchange-ews", feature = "ical", feature = "planner-dfdg")),
    allow(dead_code)
)]

use std::process::{Command, Output};

fn calbridge(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calbridge"))
        .args(args)
        .env_remove("CALBRIDGE_CONFIG")
        .output()
        .unwrap()
}

fn text(args: &[&str]) -> String {
    let output = calbridge(args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[cfg(all(feature = "exchange-ews", feature = "ical", feature = "planner-dfdg"))]
fn connectors_are_listed() {
    insta::assert_snapshot!(text(&["connectors", "list"]));
    let manifests: serde_json::Value =
        serde_json::from_str(&text(&["connectors", "list", "--json"])).unwrap();
    let ids: Vec<&str> = manifests
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        ["exchange-ews", "ical-sink", "ical-source", "planner-dfdg"]
    );
}

#[test]
#[cfg(all(feature = "exchange-ews", feature = "ical", feature = "planner-dfdg"))]
fn schemas_are_printed() {
    for id in ["exchange-ews", "ical-sink", "ical-source", "planner-dfdg"] {
        insta::assert_snapshot!(format!("schema-{id}"), text(&["connectors", "schema", id]));
    }
    let whole: serde_json::Value = serde_json::from_str(&text(&["connectors", "schema"])).unwrap();
    let checker = jsonschema::validator_for(&whole).unwrap();
    // What is shipped to copy from is right.
    let mut examples = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let table: toml::Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let value = serde_json::to_value(table).unwrap();
        let errors: Vec<String> = checker
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, [""; 0], "{}", path.display());
        examples += 1;
    }
    assert!(examples > 0);
}

#[test]
fn an_unknown_connector_is_named() {
    let output = calbridge(&["connectors", "schema", "exchange"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("there is no connector `exchange`"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for args in [&["frobnicate"][..], &["sync", "--fast"], &["explain"], &[]] {
        assert_eq!(calbridge(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn with_json_a_wrong_command_line_is_a_document() {
    for (args, says) in [
        (&["--json", "frobnicate"][..], "frobnicate"),
        (&["sync", "--fast", "--json"], "--fast"),
        (&["explain", "--json"], "<ADDRESS>"),
        (&["check", "--json", "--log-level", "loud"], "loud"),
        (&["--json"], "no command"),
        (&["connectors", "--json"], "no command"),
    ] {
        let output = calbridge(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(output.stderr, b"", "{args:?}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["error"]["exit"], "usage", "{args:?}");
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{args:?}: {message}");
        assert!(!message.starts_with("error"), "{args:?}: {message}");
    }
    // What is asked for help is no error, and what follows `--` is no option.
    let help = calbridge(&["--json", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stdout.starts_with(b"Keeps"), "{help:?}");
    let output = calbridge(&["sync", "--fast", "--", "--json"]);
    assert_eq!(output.stdout, b"");
    assert!(output.stderr.starts_with(b"error"), "{output:?}");
}

#[test]
fn a_missing_configuration_says_what_to_do() {
    let output = calbridge(&["check", "--config", "no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("no/such/file.toml: there is no such file"),
        "{stderr}"
    );
}

/// Every kind of fault can be found out without the source code.
#[test]
#[cfg(feature = "sandbox")]
fn the_sandbox_names_every_kind_of_fault() {
    use calbridge_sandbox::{exchange, fault, planner};

    for (server, own) in [
        ("exchange", exchange::FAULT_KINDS),
        ("planner", planner::FAULT_KINDS),
    ] {
        let help = text(&["sandbox", server, "--help"]);
        // Lines may be broken anywhere between words.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, list) = help.split_once("Kinds of faults:").unwrap();
        let list = words(list);
        let wrong = calbridge(&["sandbox", server, "--fault", "*=frobnicate"]);
        assert_eq!(wrong.status.code(), Some(2));
        let refused = String::from_utf8(wrong.stderr).unwrap();
        for kind in own.iter().chain(fault::TRANSPORT_KINDS) {
            let entry = words(&format!("{} {}", kind.form, kind.meaning));
            assert!(list.contains(&entry), "{kind:?}");
            assert!(refused.contains(kind.form), "{kind:?}: {refused}");
        }
    }
}

/// The page about commands has a heading for each of them.
#[test]
#[cfg(feature = "sandbox")]
fn every_command_has_its_section() {
    let page = include_str!("../docs/integrators/commands.md");
    let help = text(&["--help"]);
    let (_, rest) = help.split_once("Commands:").unwrap();
    let (list, _) = rest.split_once("Options:").unwrap();
    let mut commands = 0;
    for line in list.lines() {
        let Some(name) = line
            .strip_prefix("  ")
            .and_then(|line| line.split(' ').next())
        else {
            continue;
        };
        if name.is_empty() || name == "help" {
            continue;
        }
        assert!(page.contains(&format!("\n## `{name}")), "{name}");
        commands += 1;
    }
    assert!(commands > 8);
}

/// The reference of all settings is made from the connectors' schemas. With `CALBRIDGE_UPDATE_DOCS=1` the page
/// is written anew.
#[test]
#[cfg(all(feature = "exchange-ews", feature = "ical", feature = "planner-dfdg"))]
fn the_reference_of_the_configuration_is_up_to_date() {
    const BEGIN: &str = "<!-- begin of the generated part -->\n";
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/integrators/configuration.md"
    );
    let page = std::fs::read_to_string(path).unwrap();
    let (head, tail) = page.split_once(BEGIN).unwrap();
    let generated = reference::all();
    if std::env::var_os("CALBRIDGE_UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{generated}")).unwrap();
    } else {
        assert!(
            tail.replace("\r\n", "\n") == generated,
            "docs/integrators/configuration.md is out of date; run `CALBRIDGE_UPDATE_DOCS=1 cargo test --test command_line`"
        );
    }
}

/// Tables of settings, from JSON Schemas.
mod reference {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use serde_json::Value;

    pub(super) fn all() -> String {
        let whole: Value = serde_json::from_str(&super::text(&["connectors", "schema"])).unwrap();
        let manifests: Value =
            serde_json::from_str(&super::text(&["connectors", "list", "--json"])).unwrap();
        let mut page = String::new();
        // Tables that several connectors share are described once.
        let mut shared: BTreeMap<String, Value> = BTreeMap::new();
        let mut own: Vec<(String, String)> = Vec::new();
        for (title, definition) in [
            ("`[[sync]]`", "SyncConfig"),
            ("`[plugins.NAME]`", "PluginSettings"),
            ("`[state]`", "StateConfig"),
            ("`[log]`", "LogConfig"),
        ] {
            let _ = writeln!(page, "\n## {title}\n");
            let table = &whole["$defs"][definition];
            table_of(&mut page, table, &whole, &mut own);
            inner(&mut page, &whole, std::mem::take(&mut own), &mut shared, "");
        }
        for manifest in manifests.as_array().unwrap() {
            let (id, title) = (
                manifest["id"].as_str().unwrap(),
                manifest["title"].as_str().unwrap(),
            );
            let _ = writeln!(page, "\n## Connector `{id}`\n\n{title}.\n");
            let mut own = Vec::new();
            let settings = &manifest["settings"];
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
            assert!(more.is_empty(), "{name} holds further tables");
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
        while !names.is_empty() {
            let (key, name) = names.remove(0);
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

    fn table_of(
        page: &mut String,
        schema: &Value,
        root: &Value,
        inner: &mut Vec<(String, String)>,
    ) {
        page.push_str("| key | what it takes | default | meaning |\n|---|---|---|---|\n");
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (key, property) in schema["properties"].as_object().unwrap() {
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
                _ if key == "path" && schema["properties"].get("retention").is_some() => {
                    String::new()
                }
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
}
