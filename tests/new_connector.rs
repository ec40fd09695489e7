//! `connectors new`: what it writes, and what it refuses. That the crate builds, passes the kit and can be loaded is
//! shown by `scripts/vendor_docs.py`, which takes minutes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn new(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calbridge"))
        .current_dir(folder)
        .args(["connectors", "new"])
        .args(arguments)
        .output()
        .unwrap()
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                found.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_new_connector_is_the_example_under_another_name() {
    let dir = TempDir::new().unwrap();
    let here = env!("CARGO_MANIFEST_DIR");
    let output = new(dir.path(), &["time-board", "--core", here]);
    assert!(output.status.success(), "{output:?}");
    let written = files(&dir.path().join("time-board"));
    let names = |files: &[(String, String)]| {
        let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
        names
    };
    let mut example = files(&Path::new(here).join("examples/rota"));
    example.retain(|(name, _)| !name.starts_with("target/") && name != "Cargo.lock");
    assert_eq!(
        names(&written),
        names(&example),
        "the template lists every file"
    );
    for (name, text) in &written {
        assert!(
            !text.to_lowercase().contains("rota"),
            "{name} still has the example's name"
        );
        assert!(!text.contains("../.."), "{name} points out of its folder");
    }
    let manifest = &written.first().unwrap().1;
    assert!(manifest.contains("name = \"time-board\""));
    assert!(
        manifest.contains(&format!("path = \"{here}/core\"")),
        "{manifest}"
    );
    let lib = &written
        .iter()
        .find(|(name, _)| name == "src/lib.rs")
        .unwrap()
        .1;
    assert!(
        lib.contains("pub struct TimeBoard;")
            && lib.contains("const ID: &'static str = \"time-board\";")
    );
}

/// The name is given once, also when the example's stands in it.
#[test]
fn a_name_may_hold_that_of_the_example() {
    let dir = TempDir::new().unwrap();
    let here = env!("CARGO_MANIFEST_DIR");
    for (name, snake, camel) in [
        ("duty-rota-two", "duty_rota_two", "DutyRotaTwo"),
        ("rotarota", "rotarota", "Rotarota"),
    ] {
        let output = new(dir.path(), &[name, "--core", here]);
        assert!(output.status.success(), "{output:?}");
        let written = files(&dir.path().join(name));
        let example = files(&Path::new(here).join("examples/rota"));
        for (file, text) in &written {
            let (_, mut expected) = example
                .iter()
                .find(|(other, _)| other == file)
                .unwrap()
                .clone();
            for (from, to) in [
                ("path = \"../..", format!("path = \"{here}")),
                ("librota", "lib<snake>".to_owned()),
                ("rota.dll", "<snake>.dll".to_owned()),
                ("use rota ", "use <snake> ".to_owned()),
                ("Rota", "<camel>".to_owned()),
                ("rota", "<plain>".to_owned()),
                ("<snake>", snake.to_owned()),
                ("<camel>", camel.to_owned()),
                ("<plain>", name.to_owned()),
            ] {
                expected = expected.replace(from, &to);
            }
            assert_eq!(*text, expected, "{name}: {file}");
        }
    }
}

/// What the template depends on or uses cannot be the name of the crate, or of its type.
#[test]
fn a_name_that_the_template_needs_is_refused() {
    let dir = TempDir::new().unwrap();
    let manifest = include_str!("../examples/rota/Cargo.toml");
    let dependencies: Vec<&str> = manifest
        .split("dependencies]")
        .skip(1)
        .flat_map(str::lines)
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .collect();
    assert!(dependencies.contains(&"async-trait"), "{dependencies:?}");
    let types = ["arc", "source-capabilities", "field-set"];
    for name in dependencies.iter().chain(&types) {
        let output = new(dir.path(), &[&name.replace('_', "-")]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains("is taken"), "{name}: {text}");
    }
    assert!(files(dir.path()).is_empty());
}

#[test]
fn without_a_checkout_the_crates_come_from_the_repository_at_this_version() {
    let dir = TempDir::new().unwrap();
    assert!(
        new(dir.path(), &["rota", "--folder", "elsewhere"])
            .status
            .success()
    );
    let manifest = fs::read_to_string(dir.path().join("elsewhere/Cargo.toml")).unwrap();
    let tag = concat!("tag = \"v", env!("CARGO_PKG_VERSION"), "\"");
    assert!(
        manifest.contains("git = \"https://") && manifest.contains(tag),
        "{manifest}"
    );
    assert!(!manifest.contains("path ="));
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_nothing_is_written() {
    let dir = TempDir::new().unwrap();
    let refused = |arguments: &[&str], reason: &str| {
        let output = new(dir.path(), arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
    };
    refused(&["Time Board"], "lower-case letters");
    refused(&["time--board"], "lower-case letters");
    refused(&["../up"], "lower-case letters");
    refused(&["7days"], "lower-case letters");
    refused(&["impl"], "is taken");
    refused(&["ical-source"], "is taken");
    refused(&["board", "--core", "nowhere"], "`--core nowhere`");
    refused(
        &["board", "--core", dir.path().to_str().unwrap()],
        "no checkout of calbridge",
    );
    assert!(files(dir.path()).is_empty());

    fs::create_dir(dir.path().join("board")).unwrap();
    fs::write(dir.path().join("board/mine"), "kept").unwrap();
    refused(&["board"], "there is something in");
    assert_eq!(
        files(dir.path()),
        [("board/mine".to_owned(), "kept".to_owned())]
    );
}
