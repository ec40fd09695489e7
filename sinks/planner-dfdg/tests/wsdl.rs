//! An extra check: the committed requests are valid by the service's own schemas. The WSDL is not part of this
//! repository; `CALBRIDGE_PLANNER_WSDL` says where it is. Without it, or without `xmllint`, nothing is checked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const XSD: &str = "http://www.w3.org/2001/XMLSchema";

fn wsdl() -> Option<String> {
    let path = match std::env::var_os("CALBRIDGE_PLANNER_WSDL") {
        Some(path) => PathBuf::from(path),
        None => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/planner-ecs.wsdl")
        }
    };
    std::fs::read_to_string(path).ok()
}

/// The `xmlns:` declarations of a start tag.
fn declarations(tag: &str) -> BTreeMap<String, String> {
    tag.split_whitespace()
        .filter_map(|part| part.strip_prefix("xmlns:")?.split_once("=\""))
        .map(|(prefix, rest)| {
            let uri = rest.split('"').next().unwrap();
            (prefix.to_owned(), uri.to_owned())
        })
        .collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let at = tag.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    tag[at..].split('"').next().unwrap()
}

/// Writes the schemas that stand in the WSDL as files that import one another, and one for the envelope.
fn write_schemas(wsdl: &str, dir: &Path) -> PathBuf {
    let definitions = &wsdl[wsdl.find("<wsdl:definitions").unwrap()..];
    let outer = declarations(&definitions[..definitions.find('>').unwrap()]);
    let schemas: Vec<(&str, &str)> = wsdl
        .split("<schema ")
        .skip(1)
        .map(|part| {
            part[..part.find("</schema>").unwrap()]
                .split_once('>')
                .unwrap()
        })
        .collect();
    let namespaces: Vec<&str> = schemas
        .iter()
        .map(|(tag, _)| attribute(tag, "targetNamespace"))
        .collect();
    let imports = |own: &str| -> String {
        namespaces
            .iter()
            .enumerate()
            .filter(|(_, namespace)| **namespace != own)
            .map(|(n, namespace)| {
                format!("<import namespace=\"{namespace}\" schemaLocation=\"{n}.xsd\"/>")
            })
            .collect()
    };
    for (n, (tag, content)) in schemas.iter().enumerate() {
        let own = declarations(tag);
        let more: String = outer
            .iter()
            .filter(|(prefix, _)| !own.contains_key(*prefix))
            .map(|(prefix, uri)| format!(" xmlns:{prefix}=\"{uri}\""))
            .collect();
        let rest: String = content
            .lines()
            .filter(|line| !line.trim_start().starts_with("<import "))
            .collect();
        let imports = imports(namespaces[n]);
        let text = format!("<schema xmlns=\"{XSD}\"{more} {tag}>{imports}{rest}</schema>");
        std::fs::write(dir.join(format!("{n}.xsd")), text).unwrap();
    }
    let envelope = dir.join("envelope.xsd");
    let any = "<complexType><sequence><any namespace=\"##other\" processContents=\"strict\" maxOccurs=\"unbounded\"/></sequence></complexType>";
    let text = format!(
        "<schema xmlns=\"{XSD}\" targetNamespace=\"http://schemas.xmlsoap.org/soap/envelope/\" elementFormDefault=\"qualified\">{}<element name=\"Envelope\"><complexType><sequence><element name=\"Header\">{any}</element><element name=\"Body\">{any}</element></sequence></complexType></element></schema>",
        imports("")
    );
    std::fs::write(&envelope, text).unwrap();
    envelope
}

fn valid(schema: &Path, document: &Path) -> (bool, String) {
    let output = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .args([schema, document])
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), says)
}

#[test]
fn the_committed_requests_are_valid_by_the_wsdl() {
    let Some(wsdl) = wsdl() else {
        eprintln!("skipped: no WSDL");
        return;
    };
    if Command::new("xmllint").arg("--version").output().is_err() {
        eprintln!("skipped: no xmllint");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let schema = write_schemas(&wsdl, dir.path());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for entry in std::fs::read_dir(golden).unwrap() {
        let path = entry.unwrap().path();
        let (good, says) = valid(&schema, &path);
        assert!(good, "{says}");
        // The check can fail: a request with a misspelt element does.
        let wrong = dir.path().join("wrong.xml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&wrong, text.replace("UserIdentifier>", "UserIdentifer>")).unwrap();
        assert!(!valid(&schema, &wrong).0);
        count += 1;
    }
    assert_eq!(count, 5);
}
