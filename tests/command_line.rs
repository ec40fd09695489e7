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
    // Each is built as a library, too; the kit's smoke set runs on each of them.
    let plugins = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/plugins")).unwrap();
    let mut plugins: Vec<String> = plugins
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    plugins.sort();
    assert_eq!(ids, plugins);
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

/// The reference of all settings is what `connectors docs` prints. With `CALBRIDGE_UPDATE_DOCS=1` the page
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
    let generated = text(&["connectors", "docs"]);
    if std::env::var_os("CALBRIDGE_UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{generated}")).unwrap();
    } else {
        assert!(
            tail.replace("\r\n", "\n") == generated,
            "docs/integrators/configuration.md is out of date; run `CALBRIDGE_UPDATE_DOCS=1 cargo test --test command_line`"
        );
    }
}
