//! The page for vendors lists the tests as they are.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use calbridge_conformance::tests;

#[test]
fn the_page_for_vendors_lists_each_test_with_what_it_is_about() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/vendors/conformance.md");
    let text = std::fs::read_to_string(page).unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 3)
        .collect();
    let own: Vec<String> = tests()
        .iter()
        .map(|test| {
            let smoke = if test.smoke { " *" } else { "" };
            format!("| `{}`{smoke} | {} |", test.name, test.about)
        })
        .collect();
    for line in &own {
        assert!(
            listed.contains(&line.as_str()),
            "missing or different: {line}"
        );
    }
    let first = listed
        .iter()
        .position(|line| *line == own.first().unwrap())
        .unwrap();
    assert_eq!(
        listed.get(first..).unwrap(),
        own,
        "in the kit's order, and no others"
    );
}

#[test]
fn names_are_unique_and_the_smoke_set_has_about_twenty() {
    let mut names: Vec<&str> = tests().iter().map(|test| test.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), tests().len());
    let smoke = tests().iter().filter(|test| test.smoke).count();
    assert!((18..=26).contains(&smoke), "{smoke}");
}
