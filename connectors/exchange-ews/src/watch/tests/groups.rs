//! Which calendars share a stream.

use super::*;

fn many(exchange: &ExchangeSandbox, count: usize) -> Vec<String> {
    let addresses: Vec<String> = (0..count)
        .map(|number| format!("person{number:04}@kommune.example"))
        .collect();
    for address in &addresses {
        exchange.add_person("Somebody", address).unwrap();
    }
    addresses
}

fn borrowed(addresses: &[String]) -> Vec<&str> {
    addresses.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn k131_four_hundred_and_ten_mailboxes_share_three_streams_of_two_hundred_at_most() {
    let bench = Bench::with(
        options(),
        Tempo {
            gather: Duration::from_secs(60),
            ..tempo()
        },
        "impersonation",
    )
    .await;
    let people = many(&bench.exchange, 410);
    let all = borrowed(&people);
    let mut feed = bench.watch(&all).await;
    assert_eq!(bench.exchange.watched(), (410, 3));
    for address in [all[0], all[199], all[200], all[409]] {
        bench.add(address);
        feed.news(&[address]).await;
    }
    let mut sizes: Vec<usize> = bench
        .calls("GetStreamingEvents")
        .iter()
        .map(|call| call.detail.subscriptions)
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [10, 200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn k132_what_exceeds_the_budget_of_streams_is_pulled() {
    let small = Tempo {
        group: 2,
        gather: Duration::from_secs(60),
        ..tempo()
    };
    let people: Vec<String> = (0..9)
        .map(|number| format!("person{number:04}@kommune.example"))
        .collect();
    let mut server = profile(Profile::Exchange2013);
    for account in &mut server.accounts {
        account.rights = people
            .iter()
            .map(|address| (address.clone(), Right::Reviewer))
            .collect();
    }
    // As a delegate all streams are charged to the account, of which Exchange 2013 takes three.
    let bench = Bench::with(server, small, "delegate").await;
    many(&bench.exchange, 9);
    let all = borrowed(&people);
    let mut feed = bench.watch(&all).await;
    until("three streams", || bench.exchange.watched() == (9, 3)).await;
    for address in &all {
        bench.add(address);
    }
    feed.news(&all).await;
    let refused = bench
        .calls("GetStreamingEvents")
        .iter()
        .filter(|call| {
            call.detail
                .codes
                .contains(&"ErrorExceededConnectionCount".to_owned())
        })
        .count();
    assert_eq!(refused, 0, "the limit is known");
    assert!(bench.calls("GetEvents").len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_streams_that_was_not_known_is_found_out() {
    let mut server = options();
    server.notifications.max_streams = Some(1);
    let small = Tempo {
        group: 1,
        ..tempo()
    };
    let bench = Bench::with(server, small, "delegate").await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    until("one stream", || bench.exchange.watched() == (2, 1)).await;
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
}

#[tokio::test]
async fn where_one_mailbox_has_too_many_streams_another_one_s_budget_is_used() {
    let mut server = options();
    server.notifications.max_streams = Some(1);
    let bench = Bench::with(server, tempo(), "impersonation").await;
    // Somebody else reads a stream on behalf of the first.
    let (other, _shutdown) = connect(&bench.exchange.url(), tempo(), "impersonation");
    let mut elsewhere = Feed(other.watch(&refs(&[ANNA])).await.unwrap());
    elsewhere.gaps(&[ANNA]).await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    assert_eq!(bench.exchange.watched(), (3, 2));
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    feed.set(&[ANNA]).await;
    bench.exchange.fail_over(1);
    // Whoever comes second has no budget left, and pulls.
    feed.gaps(&[ANNA]).await;
    elsewhere.gaps(&[ANNA]).await;
    bench.add(ANNA);
    feed.news(&[ANNA]).await;
    elsewhere.news(&[ANNA]).await;
    until("one stream", || bench.exchange.watched() == (2, 1)).await;
}

#[tokio::test]
async fn where_the_front_tells_no_servers_apart_all_are_watched_in_the_end() {
    let mut server = options();
    server.notifications.told_servers = false;
    let bench = Bench::with(server, tempo(), "impersonation").await;
    bench.exchange.move_to_server(BO, 2).unwrap();
    let mut feed = bench.watch(&[ANNA, BO]).await;
    for address in [ANNA, BO] {
        bench.add(address);
        feed.news(&[address]).await;
    }
    // Each has a stream of its own, on whose way its server is found.
    assert_eq!(bench.exchange.watched().1, 2);
}

#[tokio::test]
async fn k134_mailboxes_of_two_servers_never_share_a_stream() {
    let bench = Bench::start().await;
    bench.exchange.move_to_server(BO, 2).unwrap();
    let mut feed = bench.watch(&[ANNA, BO]).await;
    assert_eq!(bench.exchange.watched(), (2, 2));
    bench.exchange.fail_over(2);
    feed.gaps(&[BO]).await;
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    assert_eq!(bench.calls("Subscribe").len(), 3, "Anna's was left alone");
}

#[tokio::test]
async fn k137_a_mailbox_whose_server_is_known_and_whose_subscription_is_lost_gets_another() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    // The mailbox on whose behalf the stream was opened moves away; the cookie leads where the other one stayed.
    bench.exchange.move_to_server(ANNA, 2).unwrap();
    feed.gaps(&[ANNA]).await;
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    assert_eq!(bench.exchange.watched(), (2, 2));
    assert_eq!(bench.calls("Subscribe").len(), 3);
}

#[tokio::test]
async fn k143_an_added_mailbox_is_watched_without_disturbing_the_others() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA]).await;
    feed.set(&[ANNA, BO]).await;
    feed.gaps(&[BO]).await;
    let streams = bench.calls("GetStreamingEvents").into_iter();
    let sizes: Vec<usize> = streams.map(|call| call.detail.subscriptions).collect();
    assert_eq!(sizes, [1, 1]);
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    assert_eq!(bench.exchange.watched(), (2, 2));
}

#[tokio::test]
async fn streams_are_joined_when_the_time_of_one_is_up() {
    let short = Tempo {
        minutes: 1,
        ..tempo()
    };
    let bench = Bench::with(options(), short, "impersonation").await;
    let mut feed = bench.watch(&[ANNA]).await;
    feed.set(&[ANNA, BO]).await;
    feed.gaps(&[BO]).await;
    assert_eq!(bench.exchange.watched(), (2, 2));
    feed.gaps(&[ANNA, BO]).await;
    bench.streams(1).await;
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[ANNA, BO]).await;
    assert_eq!(bench.calls("Subscribe").len(), 2);
}

#[tokio::test]
async fn k144_the_stream_is_closed_when_its_last_mailbox_is_removed() {
    let bench = Bench::start().await;
    let mut feed = bench.watch(&[ANNA, BO]).await;
    feed.set(&[BO]).await;
    until("one less", || bench.exchange.watched() == (1, 1)).await;
    bench.add(ANNA);
    bench.add(BO);
    feed.news(&[BO]).await;
    assert_eq!(feed.during(Duration::from_millis(200)).await, []);
    feed.set(&[]).await;
    until("none", || bench.exchange.watched() == (0, 0)).await;
    feed.set(&[ANNA]).await;
    feed.gaps(&[ANNA]).await;
}

/// A thousand mailboxes: set `CALBRIDGE_FULL`.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_mailboxes_are_watched_by_as_many_requests_and_five_streams() {
    let count = if std::env::var_os("CALBRIDGE_FULL").is_some() {
        1000
    } else {
        210
    };
    let bench = Bench::with(options(), Tempo::default(), "impersonation").await;
    let people = many(&bench.exchange, count);
    let all = borrowed(&people);
    let begun = Instant::now();
    let mut feed = bench.watch(&all).await;
    let took = begun.elapsed();
    let requests = bench.exchange.ledger().len();
    let streams = bench.exchange.watched().1;
    println!(
        "{count} mailboxes were watched after {:.1} s, with {requests} requests and {streams} streams",
        took.as_secs_f64()
    );
    assert_eq!(bench.exchange.watched().0, count);
    assert!(streams <= count.div_ceil(200) + 1, "{streams}");
    assert!(requests <= count + streams, "{requests}");
    bench.add(all[count - 1]);
    feed.news(&[all[count - 1]]).await;
}

/// Of so many mailboxes, which belong to the account with this name, as the server saw it.
fn those_of(bench: &Bench, account: &str) -> BTreeSet<String> {
    bench
        .calls("Subscribe")
        .into_iter()
        .filter(|call| call.detail.user.as_deref() == Some(account))
        .filter_map(|call| call.detail.impersonated)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn k133_two_accounts_have_streams_of_their_own() {
    let second = Account::service("svc-second", "sandbox");
    let mut options = options();
    options.accounts.push(second);
    let exchange = ExchangeSandbox::start(options).await.unwrap();
    let people = many(&exchange, 40);
    let all = borrowed(&people);
    let (source, shutdown) = connect_with(&exchange.url(), tempo(), |settings| {
        settings["more_accounts"] = serde_json::json!([
            { "kind": "basic", "user": "svc-second", "password": "env:EXCHANGE" },
        ]);
    });
    let bench = Bench {
        exchange,
        source,
        shutdown,
    };
    let mut feed = bench.watch(&all).await;
    assert_eq!(bench.exchange.watched(), (40, 2));
    let (first, second) = (
        those_of(&bench, "svc-calbridge"),
        those_of(&bench, "svc-second"),
    );
    assert_eq!(first.len() + second.len(), 40);
    assert!(
        first.len() > 8 && second.len() > 8,
        "{} {}",
        first.len(),
        second.len()
    );
    for stream in bench.calls("GetStreamingEvents") {
        assert_eq!(stream.detail.codes, ["NoError"]);
        let own = match stream.detail.user.as_deref() {
            Some("svc-second") => second.len(),
            _ => first.len(),
        };
        assert_eq!(
            stream.detail.subscriptions, own,
            "no subscription of the other"
        );
    }
    for address in [first.first().unwrap(), second.first().unwrap()] {
        bench.add(address);
        feed.news(&[address]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k135_without_further_accounts_the_one_account_watches_all() {
    let bench = Bench::start().await;
    let people = many(&bench.exchange, 12);
    let _feed = bench.watch(&borrowed(&people)).await;
    assert_eq!(those_of(&bench, "svc-calbridge").len(), 12);
    assert_eq!(bench.exchange.watched(), (12, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_refused_stops_its_own_part_alone() {
    let mut options = options();
    options
        .accounts
        .push(Account::service("svc-second", "another"));
    let exchange = ExchangeSandbox::start(options).await.unwrap();
    let people = many(&exchange, 20);
    let all = borrowed(&people);
    let (source, shutdown) = connect_with(&exchange.url(), tempo(), |settings| {
        settings["more_accounts"] = serde_json::json!([
            { "kind": "basic", "user": "svc-second", "password": "env:EXCHANGE" },
        ]);
    });
    let bench = Bench {
        exchange,
        source,
        shutdown,
    };
    let mut feed = bench.begin(&all).await;
    let (mut watched, mut not) = (BTreeSet::new(), BTreeSet::new());
    let latest = Instant::now() + Duration::from_secs(20);
    while watched.len() + not.len() < all.len() {
        assert!(Instant::now() < latest, "{} {}", watched.len(), not.len());
        for (kind, address, error) in feed.next().await {
            match error {
                Some(error) => {
                    assert!(error.message.contains("ews.http.401"), "{error}");
                    not.insert(address);
                }
                None => {
                    assert_eq!(kind, "gap");
                    watched.insert(address);
                }
            }
        }
    }
    assert!(
        watched.len() > 3 && not.len() > 3,
        "{} {}",
        watched.len(),
        not.len()
    );
    assert_eq!(watched.intersection(&not).count(), 0);
    assert_eq!(bench.exchange.sign_in_counts().refused, 1);
}
