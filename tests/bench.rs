//! The counts that `calbridge bench` prints. Times are for people to read.
#![cfg(all(
    feature = "exchange-ews",
    feature = "planner-dfdg",
    feature = "sandbox"
))]
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::Value;

#[test]
fn a_measured_day_writes_what_changed_and_asks_once_per_unchanged_calendar() {
    let done = Command::new(env!("CARGO_BIN_EXE_calbridge"))
        .args(["bench", "--calendars", "11", "--events", "60", "--json"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let measured: Value = serde_json::from_slice(&done.stdout).unwrap();
    let steps = measured["steps"].as_array().unwrap();
    let writes = |step: &Value| ["created", "updated", "deleted"].map(|what| step[what].as_u64());
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            Some("first"),
            Some("second"),
            Some("unchanged"),
            Some("day"),
            Some("complete")
        ]
    );
    assert_eq!(writes(&steps[0]), [Some(660), Some(0), Some(0)]);
    assert_eq!(writes(&steps[1]), [Some(0); 3]);
    assert_eq!(writes(&steps[2]), [Some(0); 3]);
    // Two of eleven calendars changed, each in three places.
    assert_eq!(writes(&steps[3]), [Some(2); 3]);
    assert_eq!(writes(&steps[4]), [Some(0); 3]);
    assert_eq!(steps[2]["exchange_requests"], 11);
    assert!(
        steps
            .iter()
            .all(|step| step["peak_memory_kb"].as_u64() > Some(1000))
    );
}
