//! Streams as they should be, and streams that break.

use super::*;

#[tokio::test]
async fn a_change_is_told_within_a_moment_and_one_change_once() {
    for server in [
        Profile::Exchange2013,
        Profile::Exchange2019,
        Profile::Gromox,
    ] {
        let bench = Bench::with(profile(server), tempo(), "impersonation").await;
        let mut feed = bench.watch(&[ANNA, BO]).await;
        let begun = Instant::now();
        bench.add(ANNA);
        feed.news(&[ANNA]).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{server:?}");
        // Its several events were one hint; and nobody spoke of Bo.
        assert_eq!(feed.during(Duration::from_millis(300)).await, []);
        assert_eq!(bench.calls("GetStreamingEvents").len(), 1);
        assert_eq!(bench.exchange.watched(), (2, 1));
    }
}

#[tokio::test]
async fn requests_of_a_subscription_lead_to_its_server() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    for (call, address) in bench.calls("Subscribe").iter().zip([ANNA, BO]) {
        assert_eq!(call.detail.codes, ["NoError"]);
        assert!(call.detail.prefers_affinity && !call.detail.affinity_cookie);
        assert_eq!(call.detail.anchor, call.detail.impersonated);
        assert!(address.contains('@'));
    }
    feed.set(&[ANNA]).await;
    until("the farewell", || bench.calls("Unsubscribe").len() == 1).await;
    assert!(bench.calls("Unsubscribe")[0].detail.affinity_cookie);
    drop(feed);
    until("the stream's end", || bench.exchange.watched() == (0, 0)).await;
    let streams = bench.calls("GetStreamingEvents");
    assert!(streams.iter().all(|call| call.detail.affinity_cookie));
    assert!(
        streams
            .iter()
            .all(|call| call.detail.anchor == call.detail.impersonated)
    );
}

#[tokio::test]
async fn k138_a_stream_whose_time_is_up_is_opened_again_with_the_same_subscriptions() {
    let short = Tempo {
        minutes: 1,
        ..tempo()
    };
    let bench = Bench::with(options(), short, "impersonation").await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    for _ in 0..2 {
        // Opened first, and then looked at: what happened in between is not lost.
        feed.gaps(&[ANNA, BO]).await;
        bench.add(BO);
        feed.news(&[BO]).await;
    }
    assert_eq!(bench.calls("Subscribe").len(), 2);
    assert_eq!(bench.exchange.watched(), (2, 1));
}

#[tokio::test]
async fn k139_a_subscription_that_fails_is_made_anew_at_once_and_its_gap_read() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    let begun = Instant::now();
    bench.exchange.lose_subscriptions(BO).unwrap();
    feed.gaps(&[BO]).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    bench.add(BO);
    bench.add(ANNA);
    feed.news(&[ANNA, BO]).await;
    assert_eq!(bench.calls("Subscribe").len(), 3);
    // Anna's stream was left alone.
    assert_eq!(bench.exchange.watched(), (2, 2));
}

#[tokio::test]
async fn k140_after_an_outage_every_calendar_is_looked_at() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    bench.inject("Subscribe*all=close-before;GetStreamingEvents*all=close-before");
    bench.exchange.fail_over(1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    bench.add(ANNA);
    assert_eq!(bench.exchange.watched(), (0, 0));
    bench.exchange.clear_faults();
    feed.gaps(&[ANNA, BO]).await;
    bench.add(BO);
    feed.news(&[BO]).await;
}

#[tokio::test]
async fn k142_an_event_that_names_the_folder_alone_makes_its_calendar_dirty() {
    let bench = Bench::with(profile(Profile::Gromox), tempo(), "impersonation").await;
    bench.add(ANNA);
    let mut feed = bench.watch(&[ANNA]).await;
    let items = bench
        .exchange
        .items(ANNA, calbridge_sandbox::exchange::Folder::Calendar);
    bench
        .exchange
        .change(items[0], |content| content.location = "Room 3".to_owned())
        .unwrap();
    feed.news(&[ANNA]).await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_opened_again() {
    let bench = Bench::start().await;
    bench.inject("GetStreamingEvents=half-open:3000");
    let mut feed = bench.watch(&[ANNA]).await;
    // The first envelope and the first beats fit in; then nothing comes, nor an end.
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    bench.add(ANNA);
    feed.gaps(&[ANNA]).await;
    assert!(begun.elapsed() > Duration::from_secs(2));
    bench.add(ANNA);
    feed.news(&[ANNA]).await;
    assert_eq!(bench.calls("Subscribe").len(), 1, "the same subscription");
}

#[tokio::test]
async fn streams_in_odd_pieces_are_read() {
    for odd in ["pieces:1", "pieces:7", "bom", "gather:700", "delay:300"] {
        let bench = Bench::start().await;
        bench.inject(&format!("GetStreamingEvents*all={odd}"));
        let mut feed = bench.watch(&[ANNA]).await;
        bench.add(ANNA);
        feed.news(&[ANNA]).await;
        assert_eq!(bench.exchange.watched(), (1, 1), "{odd}");
    }
}

#[tokio::test]
async fn the_watch_ends_its_subscriptions_when_it_is_dropped_and_when_the_program_stops() {
    let bench = Bench::start().await;
    let feed = bench.watch(&[ANNA, BO]).await;
    assert_eq!(bench.exchange.watched(), (2, 1));
    drop(feed);
    until("the end", || bench.exchange.watched() == (0, 0)).await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    bench.shutdown.cancel();
    until("the end", || bench.exchange.watched() == (0, 0)).await;
    assert_eq!(feed.fails().await.code, "ews.watch");
}

#[tokio::test]
async fn a_feed_without_news_gives_signs_of_life() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA]).await;
    let begun = Instant::now();
    assert_eq!(feed.next().await.len(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn notifications_can_be_switched_off() {
    let entry = calbridge_core::connector::find("exchange-ews").unwrap();
    for (value, watches) in [("auto", true), ("off", false)] {
        let settings = serde_json::json!({
            "url": "https://mail.example/EWS/Exchange.asmx",
            "auth": { "kind": "bearer", "token": "env:T" },
            "notifications": value,
        });
        let capabilities = entry.capabilities(&settings).unwrap();
        assert_eq!(capabilities.source.unwrap().watch, watches);
    }
}
