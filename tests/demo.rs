//! `calbridge demo --once`: good as it is, and failing when a record in Planner is lost, doubled or moved.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_calbridge"))
        .arg("demo")
        .arg("--once")
        .args(arguments)
        .output()
        .unwrap()
}

/// The exit code and what was printed.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), all)
}

fn report(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = demo(&[&["--json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output).1));
    (output.status.code(), report)
}

/// How many records are missing and how many unexpected after the first sync.
fn differences(report: &serde_json::Value) -> (usize, usize) {
    let difference = &report["checks"][0]["difference"];
    let count = |side: &str| difference[side].as_array().unwrap().len();
    (count("missing"), count("unexpected"))
}

#[test]
fn planner_holds_what_an_independent_tool_expects() {
    let (code, text) = said(&demo(&[]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.trim_end().ends_with("\nas expected"), "{text}");
    assert!(text.contains("subjects that reached Planner: 0"), "{text}");
}

#[test]
fn the_report_for_machines_says_the_same() {
    let (code, report) = report(&[]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["exit"], "success");
    assert_eq!(report["as_expected"], true);
    assert_eq!(differences(&report), (0, 0));
    // The tables are no empty promise: records were made, changed and deleted.
    let rounds = report["rounds"].as_array().unwrap();
    assert!(rounds[0]["created"].as_u64().unwrap() > 150, "{report:#}");
    for what in ["created", "updated", "deleted"] {
        assert!(rounds[2][what].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(rounds[3][what], 0, "{report:#}");
    }
}

#[test]
fn a_lost_record_is_noticed() {
    let (code, report) = report(&["--break", "loss"]);
    assert_eq!((code, differences(&report)), (Some(1), (1, 0)));
    assert_eq!(report["exit"], "failed");
}

#[test]
fn a_doubled_record_is_noticed() {
    let (code, report) = report(&["--break", "duplicate"]);
    assert_eq!((code, differences(&report)), (Some(1), (0, 1)));
}

#[test]
fn a_record_at_another_time_is_noticed() {
    let (code, report) = report(&["--break", "time"]);
    assert_eq!((code, differences(&report)), (Some(1), (1, 1)));
}

#[test]
fn what_differs_is_printed() {
    let (code, text) = said(&demo(&["--break", "time"]));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("missing") && text.contains("not expected"),
        "{text}"
    );
    assert!(text.trim_end().ends_with("NOT as expected"), "{text}");
}

#[test]
fn a_break_without_once_is_a_mistake_of_the_command_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_calbridge"))
        .args(["demo", "--break", "loss"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output).1);
}
