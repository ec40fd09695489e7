//! `explain` tells the story of an appointment, and makes its decisions once more.
#![cfg(all(feature = "sandbox", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::{ANNA, World, ahead};

#[tokio::test(flavor = "multi_thread")]
async fn the_decisions_of_the_past_are_told_with_what_they_were_made_from_and_replayed() {
    let world = World::new().await;
    let item = world.appointment(ANNA, "A", &ahead(2, "09:00"), &ahead(2, "10:00"));
    world.run(&["sync"]).await.expect(0);
    let hour = jiff::SignedDuration::from_hours(1);
    world.exchange.move_in_time(item, hour).unwrap();
    world.run(&["sync"]).await.expect(0);
    world.exchange.cancel(item).unwrap();
    world.run(&["sync"]).await.expect(0);

    let day = ahead(2, "09:00");
    let (day, _) = day.split_at(10);
    let explain = async |more: &'static [&'static str]| {
        let args = [&["explain", ANNA, day], more].concat();
        world.run(&args).await.expect(0)
    };
    let story = explain(&["--json"]).await.json();
    let history = story["syncs"][0]["events"][0]["history"]
        .as_array()
        .unwrap();
    let told: Vec<(String, String)> = history
        .iter()
        .map(|past| {
            let side = |name: &str| past["from"][name].as_str().unwrap().to_owned();
            assert_eq!(past["from"]["now"], serde_json::Value::Null, "{past}");
            (side("source"), side("sink"))
        })
        .collect();
    let (nine, ten) = (format!("{day} 09:00-10:00"), format!("{day} 10:00-11:00"));
    let expected = [
        (format!("{ten}, cancelled, shown as free"), ten.clone()),
        (ten, nine.clone()),
        (nine.clone(), "nothing".to_owned()),
    ];
    assert_eq!(told, expected);
    let text = explain(&[]).await.stdout;
    let line = format!("(the source held {nine}, the other side nothing): done");
    assert!(text.contains(&line), "{text}");
}
