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
