//! Every case of Kommuneklienten's behaviour table is accounted for: by a test that carries its id in its name,
//! or by a row of `docs/decisions-kommuneklient.md` that says why there is none.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The ids of all cases: T01 to T51 and K001 to K160.
fn all_cases() -> BTreeSet<String> {
    let tests = (1..=51).map(|n| format!("t{n:02}"));
    let derived = (1..=160).map(|n| format!("k{n:03}"));
    tests.chain(derived).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The words of a test's name that are case ids.
fn ids_of(name: &str) -> impl Iterator<Item = String> {
    name.split('_').filter_map(|word| {
        let digits = word.strip_prefix(['k', 't'])?;
        let right = (word.starts_with('k') && digits.len() == 3)
            || (word.starts_with('t') && digits.len() == 2);
        (right && digits.bytes().all(|b| b.is_ascii_digit())).then(|| word.to_owned())
    })
}

/// Case ids in the names of functions that are marked as tests.
fn tested() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    let mut ids = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let has_properties = text.contains("proptest!");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") {
                is_test |= line.contains("test]") || line.contains("test(");
                continue;
            }
            if let (true, Some(at)) = (is_test || has_properties, line.find("fn ")) {
                let name: String = line[at + 3..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                ids.extend(ids_of(&name));
            }
            is_test &= line.starts_with("//");
        }
    }
    ids
}

/// Case ids in the first column of the tables under the headings about cases without a test.
fn excused() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("docs/decisions-kommuneklient.md")).unwrap();
    let mut ids = BTreeSet::new();
    let mut counts = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            counts = heading == "Cases that fall away";
        }
        if let (true, Some(row)) = (counts, line.strip_prefix('|')) {
            let column = row.split('|').next().unwrap();
            ids.extend(
                column
                    .split(',')
                    .map(|id| id.trim().to_lowercase())
                    .filter(|id| all_cases().contains(id)),
            );
        }
    }
    ids
}

#[test]
fn every_case_has_a_test_or_a_reason() {
    let (tested, excused) = (tested(), excused());
    let missing: Vec<_> = all_cases()
        .into_iter()
        .filter(|id| !tested.contains(id) && !excused.contains(id))
        .collect();
    assert!(
        missing.is_empty(),
        "neither a test nor a reason: {missing:?}"
    );
    println!(
        "{} cases with a test, {} with a reason",
        tested.len(),
        excused.len()
    );
}

#[test]
fn a_case_with_a_test_is_not_excused() {
    let both: Vec<_> = tested().intersection(&excused()).cloned().collect();
    assert!(both.is_empty(), "a test and a reason for none: {both:?}");
}

#[test]
fn no_test_names_a_case_that_does_not_exist() {
    let unknown: Vec<_> = tested().difference(&all_cases()).cloned().collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The names of all functions.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().filter(|line| line.contains("fn ")) {
            let at = line.find("fn ").unwrap();
            let name = line[at + 3..].chars();
            names.insert(
                name.take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    names
}

#[test]
fn every_weakness_of_the_predecessor_has_a_row_and_its_tests_exist() {
    let text = std::fs::read_to_string(root().join("docs/weaknesses.md")).unwrap();
    let known = functions();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| W"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let ids: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    let all: Vec<String> = (1..=30).map(|n| format!("W{n}")).collect();
    assert_eq!(ids, all);
    for row in rows {
        let tests: Vec<&str> = row[4]
            .split(", ")
            .map(|name| name.trim_matches('`'))
            .collect();
        let missing: Vec<_> = tests
            .iter()
            .filter(|name| !known.contains(**name))
            .collect();
        assert!(missing.is_empty(), "{}: no such test: {missing:?}", row[1]);
    }
}

#[test]
fn every_decision_is_written_down() {
    let text = std::fs::read_to_string(root().join("docs/decisions-kommuneklient.md")).unwrap();
    for id in [
        "K002", "K008", "K018", "K050", "K051", "K072", "K082", "K083", "K107", "K112",
    ] {
        assert!(text.contains(&format!("| {id} |")), "{id} is not decided");
    }
}
