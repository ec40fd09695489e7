//! Mailboxes, servers and networks in trouble.

use super::*;

const CARL: &str = "carl@kommune.example";

#[tokio::test]
async fn k149_a_mailbox_that_cannot_be_subscribed_is_told_and_holds_up_no_other() {
    let bench = Bench::start().await;
    bench.inject("Subscribe@bo@kommune.example*all=error:ErrorFolderNotFound");
    let mut feed = bench.begin(&[CARL, BO, ANNA]).await;
    let no_mailbox = feed.unwatchable(CARL).await;
    assert_eq!(no_mailbox.code, "4915");
    assert!(!no_mailbox.to_string().contains(CARL));
    drop(feed);
    let mut feed = bench.begin(&[CARL, BO, ANNA]).await;
    assert_eq!(feed.unwatchable(BO).await.code, "4207");
    drop(feed);
    let mut feed = bench.watch(&[ANNA]).await;
    feed.set(&[CARL, BO, ANNA]).await;
    bench.add(ANNA);
    // It is said once, however often it is tried.
    let heard = feed.during(Duration::from_millis(3000)).await;
    let of = |address: &str| heard.iter().filter(|(_, who)| who == address).count();
    assert_eq!((of(CARL), of(BO), of(ANNA)), (1, 1, 1), "{heard:?}");
    assert!(bench.calls("Subscribe").len() > 7);
}

#[tokio::test]
async fn k150_a_mailbox_that_can_be_subscribed_again_is_watched_and_looked_at() {
    let bench = Bench::start().await;
    let mut feed = bench.begin(&[ANNA, CARL]).await;
    feed.unwatchable(CARL).await;
    bench.exchange.add_person("Carl", CARL).unwrap();
    feed.gaps(&[CARL]).await;
    bench.add(CARL);
    feed.news(&[CARL]).await;
}

#[tokio::test]
async fn a_mailbox_that_does_not_answer_holds_up_no_other() {
    let bench = Bench::start().await;
    bench
        .exchange
        .add_room("Room", "room@kommune.example")
        .unwrap();
    bench.inject("Subscribe@bo@kommune.example*all=hang-before");
    // Before the account was let in once, requests go one by one.
    let mut feed = bench.watch(&["room@kommune.example"]).await;
    let begun = Instant::now();
    feed.set(&[BO, ANNA]).await;
    feed.gaps(&[ANNA]).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    bench.add(ANNA);
    feed.news(&[ANNA]).await;
}

#[tokio::test]
async fn a_mailbox_that_is_disabled_or_renamed_meanwhile_leaves_the_others_alone() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    // Of all, the one on whose behalf the stream is open.
    bench.exchange.disable_mailbox(ANNA, true).unwrap();
    let error = feed.unwatchable(ANNA).await;
    assert_eq!(error.code, "4208");
    bench.exchange.fail_over(1);
    feed.gaps(&[BO]).await;
    bench.add(BO);
    feed.news(&[BO]).await;
    bench.exchange.disable_mailbox(ANNA, false).unwrap();
    feed.gaps(&[ANNA]).await;
    bench
        .exchange
        .rename_mailbox(BO, "bo.ny@kommune.example")
        .unwrap();
    feed.set(&[ANNA, "bo.ny@kommune.example"]).await;
    feed.gaps(&["bo.ny@kommune.example"]).await;
    bench.add(ANNA);
    bench.add("bo.ny@kommune.example");
    feed.news(&[ANNA, "bo.ny@kommune.example"]).await;
}

/// Each code that makes a subscription useless, in a stream and when it is opened: another subscription, and a look.
#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_a_lost_subscription_is_got_over() {
    for code in [
        "ErrorSubscriptionNotFound",
        "ErrorInvalidSubscription",
        "ErrorExpiredSubscription",
        "ErrorReadEventsFailed",
        "ErrorEventNotFound",
        "ErrorInvalidWatermark",
        "ErrorMissedNotificationEvents",
        "ErrorProxyRequestNotAllowed",
        "ErrorNewEventStreamConnectionOpened",
    ] {
        let bench = Bench::start().await;
        bench.inject(&format!("GetStreamingEvents=stream-error:{code}"));
        let mut feed = bench.watch(&[ANNA, BO]).await;
        // Both are subscribed to once more.
        until("other subscriptions", || {
            bench.calls("Subscribe").len() == 4
        })
        .await;
        until("a stream", || {
            bench.calls("GetStreamingEvents").len() >= 2 && bench.exchange.watched().1 > 0
        })
        .await;
        feed.during(Duration::from_millis(300)).await;
        bench.add(ANNA);
        feed.news(&[ANNA]).await;
        bench.inject(&format!("GetStreamingEvents=error:{code}"));
        bench.exchange.fail_over(1);
        feed.gaps(&[ANNA, BO]).await;
        bench.add(BO);
        feed.news(&[BO]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_or_failing_server_is_asked_again_later() {
    for (fault, operation) in [
        ("busy-fault:400", "Subscribe"),
        ("busy-items:400", "Subscribe"),
        ("busy-503:1", "Subscribe"),
        ("busy-wrapped:400", "Subscribe"),
        ("error:ErrorMailboxFailover", "Subscribe"),
        ("status:502", "Subscribe"),
        ("malformed", "Subscribe"),
        ("twice", "Subscribe"),
        ("busy-fault:400", "GetStreamingEvents"),
        ("busy-items:400", "GetStreamingEvents"),
        ("busy-503:1", "GetStreamingEvents"),
        ("error:ErrorInternalServerError", "GetStreamingEvents"),
        (
            "stream-error:ErrorMailboxMoveInProgress",
            "GetStreamingEvents",
        ),
        ("status:500", "GetStreamingEvents"),
        ("raw:no http at all", "GetStreamingEvents"),
        ("dtd", "GetStreamingEvents"),
        ("reset-before", "GetStreamingEvents"),
    ] {
        let bench = Bench::start().await;
        bench.inject(&format!("{operation}={fault}"));
        let mut feed = bench.watch(&[ANNA]).await;
        bench.streams(1).await;
        feed.during(Duration::from_millis(100)).await;
        bench.add(ANNA);
        feed.news(&[ANNA]).await;
        assert!(
            bench
                .calls(operation)
                .iter()
                .all(|call| call.operation == operation)
        );
    }
}

#[tokio::test]
async fn back_off_that_the_server_asks_for_is_kept() {
    let bench = Bench::start().await;
    bench.inject("Subscribe=busy-fault:2500");
    let begun = Instant::now();
    let _feed = bench.watch(&[ANNA]).await;
    assert!(begun.elapsed() >= Duration::from_millis(2500));
    assert_eq!(bench.calls("Subscribe").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_streams_are_not_offered_events_are_pulled() {
    for server in [Profile::Exchange2019, Profile::Gromox] {
        let mut options = profile(server);
        options.notifications.streaming = false;
        let bench = Bench::with(options, tempo(), "impersonation").await;
        let mut feed = bench.watch(&[ANNA, BO]).await;
        for address in [ANNA, BO, ANNA] {
            bench.add(address);
            feed.news(&[address]).await;
        }
        assert_eq!(bench.exchange.watched(), (2, 0));
        // A lost subscription is made anew, and its gap read.
        bench.exchange.lose_subscriptions(BO).unwrap();
        feed.gaps(&[BO]).await;
        bench.add(BO);
        feed.news(&[BO]).await;
        assert_eq!(feed.during(Duration::from_millis(500)).await, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_streams_are_held_back_events_are_pulled_until_streams_work() {
    let probing = Tempo {
        first: Duration::from_millis(500),
        probe: Duration::from_secs(2),
        ..tempo()
    };
    let bench = Bench::with(options(), probing, "impersonation").await;
    bench.inject("GetStreamingEvents*all=hang-before");
    let mut feed = bench.watch(&[ANNA, BO]).await;
    assert!(!bench.calls("Subscribe").is_empty());
    bench.add(BO);
    feed.news(&[BO]).await;
    assert_eq!(bench.exchange.watched().1, 0);
    // One of them tries again; the other is pulled all the while.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    bench.exchange.clear_faults();
    feed.gaps(&[ANNA, BO]).await;
    until("streams", || bench.exchange.watched().1 >= 1).await;
    until("nobody is pulled", || bench.exchange.watched().0 == 2).await;
    feed.during(Duration::from_millis(500)).await;
    let pulled = bench.calls("GetEvents").len();
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.calls("GetEvents").len(), pulled);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_is_offered_calendars_are_told_to_be_unwatchable() {
    let mut options = options();
    options.notifications.streaming = false;
    options.notifications.pull = false;
    let bench = Bench::with(options, tempo(), "impersonation").await;
    let mut feed = bench.begin(&[ANNA, BO]).await;
    assert_eq!(feed.unwatchable(ANNA).await.code, "4208");
    let calls = bench.calls("Subscribe").len();
    assert!(calls <= 8, "{calls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_connections_break_at_an_age_streams_end_before_it() {
    let keeping = ExchangeOptions {
        keep_requests: true,
        ..options()
    };
    let bench = Bench::with(keeping, tempo(), "impersonation").await;
    // After the first envelope and some beats: after a good minute of this test's.
    bench.inject("GetStreamingEvents*3=truncate:4500");
    let mut feed = bench.watch(&[ANNA]).await;
    for _ in 0..3 {
        feed.gaps(&[ANNA]).await;
    }
    bench.exchange.clear_faults();
    feed.gaps(&[ANNA]).await;
    bench.add(ANNA);
    feed.news(&[ANNA]).await;
    assert_eq!(bench.calls("Subscribe").len(), 1);
    let asked = |call: &Call<ExchangeCall>| {
        let request = call.detail.request.clone().unwrap();
        let text = String::from_utf8(request.to_vec()).unwrap();
        let (_, rest) = text.split_once("<m:ConnectionTimeout>").unwrap();
        rest.split('<').next().unwrap().parse::<u32>().unwrap()
    };
    let minutes: Vec<u32> = bench
        .calls("GetStreamingEvents")
        .iter()
        .map(asked)
        .collect();
    assert_eq!(minutes[..4], [29, 29, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_connection_lasts_a_minute_events_are_pulled() {
    let bench = Bench::start().await;
    bench.inject("GetStreamingEvents*all=truncate:2200");
    let mut feed = bench.watch(&[ANNA]).await;
    until("pulling", || !bench.calls("GetEvents").is_empty()).await;
    let streams = bench.calls("GetStreamingEvents").len();
    feed.during(Duration::from_millis(300)).await;
    bench.add(ANNA);
    feed.news(&[ANNA]).await;
    assert_eq!(bench.calls("GetStreamingEvents").len(), streams);
    assert!(streams <= 6, "{streams}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_stream_breaks_at_once_events_are_pulled() {
    let bench = Bench::start().await;
    bench.inject("GetStreamingEvents*all=truncate:1100");
    let mut feed = bench.watch(&[ANNA]).await;
    until("pulling", || !bench.calls("GetEvents").is_empty()).await;
    let streams = bench.calls("GetStreamingEvents").len();
    assert!((3..=8).contains(&streams), "{streams}");
    feed.during(Duration::from_millis(300)).await;
    bench.add(ANNA);
    feed.news(&[ANNA]).await;
}

#[tokio::test]
async fn a_server_that_ends_streams_at_once_is_not_asked_without_end() {
    let mut options = options();
    options.notifications.minute = Duration::from_millis(1);
    let bench = Bench::with(options, tempo(), "impersonation").await;
    let _feed = bench.watch(&[ANNA]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let calls = bench.calls("GetStreamingEvents").len();
    assert!((2..=8).contains(&calls), "{calls}");
}

#[tokio::test]
async fn a_mailbox_for_which_the_whole_server_seems_down_holds_up_no_other() {
    let bench = Bench::start().await;
    let people: Vec<String> = (0..20)
        .map(|number| format!("person{number:02}@kommune.example"))
        .collect();
    for address in &people {
        bench.exchange.add_person("Somebody", address).unwrap();
    }
    bench.inject("Subscribe@anna@kommune.example*all=status:503");
    let mut all: Vec<&str> = people.iter().map(String::as_str).collect();
    all.insert(0, ANNA);
    let mut feed = bench.begin(&all).await;
    feed.gaps(&all[1..]).await;
    bench.add(all[20]);
    feed.news(&[all[20]]).await;
}

#[tokio::test]
async fn too_many_subscriptions_leave_those_that_are_there_alone() {
    let mut options = options();
    options.notifications.max_subscriptions = 1;
    let bench = Bench::with(options, tempo(), "delegate").await;
    let mut feed = bench.begin(&[ANNA, BO]).await;
    let heard = feed.during(Duration::from_millis(1500)).await;
    let kinds: BTreeSet<&str> = heard.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, BTreeSet::from(["gap", "unwatchable"]), "{heard:?}");
    assert_eq!(bench.exchange.watched(), (1, 1));
}

#[tokio::test]
async fn a_refused_password_is_not_tried_again_and_again() {
    let bench = Bench::start().await;
    bench
        .exchange
        .set_accounts(vec![Account::service("svc-calbridge", "another")]);
    let _feed = bench.begin(&[ANNA, BO]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.exchange.ledger().len(), 1);
}

#[tokio::test]
async fn nobody_listens() {
    let bench = Bench::start().await;
    let url = bench.exchange.url();
    bench.exchange.stop().await;
    let (source, _shutdown) = connect(&url, tempo(), "impersonation");
    let mut feed = Feed(source.watch(&refs(&[ANNA])).await.unwrap());
    assert_eq!(feed.during(Duration::from_secs(2)).await, []);
}

#[tokio::test]
async fn what_streams_never_find_is_pulled() {
    let bench = Bench::start().await;
    bench.inject("GetStreamingEvents*all=error:ErrorSubscriptionNotFound");
    let mut feed = bench.watch(&[ANNA, BO]).await;
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    let tried = bench.calls("GetStreamingEvents").len();
    assert!((4..=8).contains(&tried), "{tried}");
    assert_eq!(bench.exchange.watched().1, 0);
}
