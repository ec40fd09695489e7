//! Connectors that do one thing wrongly: each is caught by the test that is about it, and one that does nothing wrongly
//! passes all.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod beside;
mod connector;

use std::sync::Arc;

use calbridge_conformance::{Report, Selection, World, run, tests};
use calbridge_core::connector::find;
use connector::MemoryWorld;

async fn report(fault: &'static str, selection: Selection) -> Report {
    run(
        find("memory").unwrap(),
        Arc::new(MemoryWorld::new(fault)),
        &selection,
        |_| {},
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_connector_passes_all_and_none_is_skipped() {
    let report = report("", Selection::All).await;
    assert!(report.passed(), "{}", report.table());
    assert_eq!(report.skipped(), [""; 0]);
    assert_eq!(report.tests.len(), tests().len());
}

/// The fault, and the test that is about it.
const CAUGHT: &[(&str, &str)] = &[
    ("does network in open", "open_needs_no_network"),
    ("finds nothing wrong", "check_tells_trouble"),
    ("calls a wrong password transient", "wrong_secret_is_auth"),
    (
        "takes a refused certificate for a passing fault",
        "refused_sign_in_does_not_pass",
    ),
    (
        "works with any certificate",
        "refused_sign_in_does_not_pass",
    ),
    ("lists people twice", "roster_is_stable"),
    ("forgets that the window rolls", "window_is_kept_and_rolls"),
    ("tells more than was asked", "only_what_was_asked_is_told"),
    ("lies about fields", "declared_fields_are_told"),
    ("does not tell free or busy", "declared_fields_are_told"),
    ("does not read on", "unchanged_calendar_is_quiet"),
    ("repeats cursors", "changed_appointment_is_told"),
    ("loses deletes", "deleted_appointment_is_gone"),
    ("takes any cursor", "strange_cursor_is_expired"),
    ("ignores max", "batches_keep_to_the_limit"),
    (
        "gives the cursor too early",
        "broken_off_reading_loses_nothing",
    ),
    ("answers out of order", "fetch_answers_in_order"),
    ("makes new keys each time", "keys_are_stable"),
    ("mixes calendars", "calendars_are_read_apart"),
    (
        "takes a missing calendar for an empty one",
        "missing_calendar_is_an_error",
    ),
    (
        "takes half a list for a whole one",
        "failed_listing_deletes_nothing",
    ),
    ("calls throttling transient", "throttled_reading_says_so"),
    ("gives no hints", "watch_gives_hints"),
    ("says done and does nothing", "create_makes_a_record"),
    ("shifts what it stores", "update_changes_a_record"),
    (
        "doubles what is repeated",
        "repeated_create_makes_one_record",
    ),
    (
        "calls an update of nothing unchanged",
        "update_of_nothing_is_a_conflict",
    ),
    ("ignores versions", "older_version_is_a_conflict"),
    ("numbers outcomes by position", "each_write_has_its_outcome"),
    (
        "gives up a batch for one bad write",
        "one_bad_write_spoils_no_other",
    ),
    ("lists without a window", "inventory_keeps_to_the_window"),
    ("never says complete", "inventory_keeps_to_the_window"),
    (
        "takes half an inventory for a whole one",
        "failed_inventory_forgets_nothing",
    ),
    ("finds nothing again", "probe_tells_attempts_apart"),
    ("hangs", "full_reading_tells_everything"),
    ("blocks", "full_reading_tells_everything"),
    ("panics", "full_reading_tells_everything"),
    ("does not close", "closes_in_time"),
    ("logs secrets", "secrets_stay_secret"),
    ("logs titles", "personal_data_stays_out"),
    ("puts addresses into errors", "personal_data_stays_out"),
    ("leaks", "repeated_reading_leaks_nothing"),
    ("puts secrets into spans", "secrets_stay_secret"),
    ("tells spans secrets later", "secrets_stay_secret"),
    ("puts titles into spans", "personal_data_stays_out"),
    ("tells secrets in errors of roster", "secrets_stay_secret"),
    ("tells secrets in errors of fetch", "secrets_stay_secret"),
    ("tells secrets in errors of watch", "secrets_stay_secret"),
    (
        "tells secrets in errors of inventory",
        "secrets_stay_secret",
    ),
    ("tells secrets in errors of probe", "secrets_stay_secret"),
    (
        "tells titles in errors of roster",
        "personal_data_stays_out",
    ),
    ("tells titles in errors of fetch", "personal_data_stays_out"),
    ("tells titles in errors of watch", "personal_data_stays_out"),
    (
        "tells titles in errors of inventory",
        "personal_data_stays_out",
    ),
    ("tells titles in errors of probe", "personal_data_stays_out"),
    ("leaks memory in fetch", "repeated_calls_leak_nothing"),
    ("leaks memory in apply", "repeated_calls_leak_nothing"),
    ("leaks handles in fetch", "repeated_calls_leak_nothing"),
    ("leaks handles in apply", "repeated_calls_leak_nothing"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_fault_is_caught_by_the_test_that_is_about_it() {
    for (fault, test) in CAUGHT {
        let report = report(fault, Selection::Named((*test).to_owned())).await;
        assert_eq!(
            report.failed(),
            [*test],
            "a connector that {fault}:\n{}",
            report.table()
        );
    }
}

/// Nor does any of them stop or spoil what others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sync_beside_each_fault_is_neither_stopped_nor_spoilt() {
    fn side(world: &MemoryWorld) -> beside::Side<'_> {
        beside::Side {
            entry: find("memory").unwrap(),
            settings: world.settings(),
            world,
        }
    }
    for (fault, _) in CAUGHT {
        let [from, to] = ["from", "to"].map(|side| MemoryWorld::named(side, fault, ""));
        let [bad, worse] = ["bad", "worse"].map(|side| MemoryWorld::named(side, fault, fault));
        for world in [&from, &to, &bad, &worse] {
            world.clear().await.unwrap();
        }
        for n in 0..5 {
            let one = beside::appointment(&bad, &format!("b{n}"), 2 + n);
            bad.put(&bad.calendars().remove(0), &one).await.unwrap();
        }
        let good = [side(&from), side(&to)];
        let broken = [side(&bad), side(&worse)];
        beside::play(fault, good, broken).await;
    }
}
