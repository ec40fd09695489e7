//! Operators' commands beside a service that runs, and without one.
#![cfg(all(feature = "sandbox", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use support::{ANNA, BO, World, ahead, until};

fn appointments(
    world: &World,
    address: &str,
    count: usize,
) -> Vec<calbridge_sandbox::exchange::ItemHandle> {
    (0..count)
        .map(|n| {
            let day = i64::try_from(n).unwrap() + 2;
            let subject = format!("{address} {n}");
            world.appointment(
                address,
                &subject,
                &ahead(day, "09:00"),
                &ahead(day, "10:00"),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_the_service_that_runs_and_outlives_it_until_it_is_lifted() {
    let world = World::new().await;
    // There may be a reason to pause before the first run.
    world.run(&["pause"]).await.expect(0);
    appointments(&world, ANNA, 1);
    let refused = world.run(&["sync"]).await.expect(1);
    assert!(refused.stderr.contains("calbridge resume"), "{refused:?}");
    let mut service = world.start_live(&["run"]);
    until("the start", || world.started_log().contains("has started")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.in_planner(ANNA).is_empty());
    assert!(
        world.planner.ledger().is_empty(),
        "a paused service calls nobody"
    );
    let resumed = world.run(&["resume"]).await.expect(0);
    assert!(resumed.stdout.contains("goes on"), "{resumed:?}");
    until("the first sync", || world.in_planner(ANNA).len() == 1).await;

    let paused = world
        .run(&["pause", "--connection", "planner", "--json"])
        .await
        .expect(0);
    assert_eq!(paused.json()[0]["changed"], true);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    appointments(&world, BO, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.in_planner(BO).is_empty());
    let status = world.run(&["status"]).await.expect(0);
    assert!(status.stdout.contains("connection `planner`"), "{status:?}");
    // It outlives the service.
    support::signal(&service, "TERM");
    service.wait().await.unwrap();
    world.run(&["sync"]).await.expect(1);
    world
        .run(&["resume", "--connection", "planner"])
        .await
        .expect(0);
    world.run(&["sync"]).await.expect(0);
    assert_eq!(world.in_planner(BO).len(), 1);
    for unknown in [["--sync", "nope"], ["--connection", "nope"]] {
        let refused = world.run(&[&["pause"], &unknown[..]].concat()).await;
        assert!(refused.expect(2).stderr.contains("`nope`"));
    }
    let none = world.run(&["resume"]).await.expect(0);
    assert!(none.stdout.contains("Nothing is paused"), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn k158_k159_orders_are_carried_out_by_the_service_that_runs() {
    let world = World::new().await;
    world.configure(|text| text.replace("interval = \"1 s\"", "interval = \"20 h\""));
    let items = appointments(&world, ANNA, 8);
    appointments(&world, BO, 1);
    let _service = world.start_live(&["run"]);
    until("the first sync", || {
        (world.in_planner(ANNA).len(), world.in_planner(BO).len()) == (8, 1)
    })
    .await;
    // Nothing is looked at for hours, unless somebody says so.
    world.appointment(BO, "late", &ahead(5, "09:00"), &ahead(5, "10:00"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.in_planner(BO).len(), 1);
    let told = world
        .run(&["sync", "--full", "--reconcile"])
        .await
        .expect(0);
    assert!(told.stdout.contains("the service that runs"), "{told:?}");
    until("the change", || world.in_planner(BO).len() == 2).await;

    for item in &items[..7] {
        world.exchange.delete(*item).unwrap();
    }
    world.run(&["sync"]).await.expect(0);
    let held = || async {
        let status = world.run(&["status", "--json"]).await.expect(0).json();
        status["syncs"][0]["total"]["held"].as_u64().unwrap()
    };
    for _ in 0..100 {
        if held().await == 7 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(held().await, 7);
    assert_eq!(world.in_planner(ANNA).len(), 8);
    // What was held after an approval was given is not in it.
    let approved = world.run(&["approve", "--json"]).await.expect(0).json();
    assert_eq!(approved[0]["count"], 0);
    let now = jiff::Timestamp::now().to_string();
    let approved = world.run_at(&now, &["approve", "--json"], |_| {}).await;
    let approved = approved.expect(0).json();
    assert_eq!(approved[0]["count"], 7);
    assert_eq!(approved[0]["by_service"], true);
    until("the deletes", || world.in_planner(ANNA).len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_sent_again_on_request() {
    let world = World::new().await;
    appointments(&world, ANNA, 2);
    world.planner.script_nth_event(1, 3);
    world.planner.script_nth_event(2, 3);
    // Not only when it is refused: as long as something is missing there.
    world.run(&["sync"]).await.expect(5);
    world.run(&["sync"]).await.expect(5);
    assert!(world.in_planner(ANNA).is_empty());
    let sent = world.run(&["resend", ANNA]).await.expect(0);
    assert!(
        sent.stdout.contains("2 appointments are sent again"),
        "{sent:?}"
    );
    world.run(&["sync"]).await.expect(0);
    assert_eq!(world.in_planner(ANNA).len(), 2);
    let none = world.run(&["resend", ANNA, "nope"]).await.expect(0);
    assert!(none.stdout.contains("nothing to send again"), "{none:?}");
    let unknown = world.run(&["resend", "nobody@kommune.example"]).await;
    assert!(unknown.expect(2).stderr.contains("nobody@kommune.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_spent_is_trouble_of_its_calendars_and_nothing_is_lost() {
    let world = World::new().await;
    let planner = "[connections.planner]\n";
    world.configure(|text| text.replace(planner, &format!("{planner}budget = 3\n")));
    appointments(&world, ANNA, 40);
    let stopped = world.run(&["sync"]).await.expect(5);
    assert!(stopped.stdout.contains("[budget]"), "{stopped:?}");
    assert_eq!(world.in_planner(ANNA).len(), 3);
    world.configure(|text| text.replace("budget = 3\n", ""));
    world.run(&["sync"]).await.expect(0);
    assert_eq!(world.in_planner(ANNA).len(), 40);
    world.configure(|text| text.replace(planner, &format!("{planner}budget = 0\n")));
    let wrong = world.run(&["sync"]).await.expect(2);
    assert!(wrong.stderr.contains("budget"), "{wrong:?}");
}
