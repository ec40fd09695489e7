//! Subscriptions, streams and pulled events, with the mailbox servers on which they live.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exchange_common;

use std::time::Duration;

use calbridge_sandbox::exchange::{
    Account, ExchangeOptions, ExchangeSandbox, Folder, NewItem, Notifications, Profile, Zone,
};
use exchange_common::{ANNA, Answer, BO, Client, start};
use jiff::civil::date;

const STREAMING: &str = "<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id=\"calendar\"/></t:FolderIds>\
    <t:EventTypes><t:EventType>CreatedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType><t:EventType>DeletedEvent</t:EventType>\
    <t:EventType>MovedEvent</t:EventType><t:EventType>CopiedEvent</t:EventType></t:EventTypes></m:StreamingSubscriptionRequest></m:Subscribe>";
const PULL: &str = "<m:Subscribe><m:PullSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id=\"calendar\"/></t:FolderIds>\
    <t:EventTypes><t:EventType>CreatedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType></t:EventTypes><t:Timeout>10</t:Timeout></m:PullSubscriptionRequest></m:Subscribe>";

fn options(notifications: Notifications) -> ExchangeOptions {
    ExchangeOptions {
        notifications,
        ..ExchangeOptions::default()
    }
}

fn quick() -> Notifications {
    Notifications {
        heartbeat: Duration::from_millis(150),
        minute: Duration::from_secs(1),
        ..Notifications::default()
    }
}

fn item(day: i8) -> NewItem {
    let at = |hour| date(2026, 12, day).at(hour, 0, 0, 0);
    NewItem::at("A subject", at(9), at(10), &Zone::denmark())
}

fn stream_body(ids: &[String], minutes: u32) -> String {
    let ids: String = ids
        .iter()
        .map(|id| format!("<t:SubscriptionId>{id}</t:SubscriptionId>"))
        .collect();
    format!(
        "<m:GetStreamingEvents><m:SubscriptionIds>{ids}</m:SubscriptionIds><m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents>"
    )
}

fn get_events(id: &str, watermark: &str) -> String {
    format!(
        "<m:GetEvents><m:SubscriptionId>{id}</m:SubscriptionId><m:Watermark>{watermark}</m:Watermark></m:GetEvents>"
    )
}

/// A stream as it comes: one text for each piece.
struct Stream(reqwest::Response);

impl Stream {
    async fn open(client: &Client, body: &str) -> Self {
        Self(send(client, body, &[]).await)
    }

    async fn piece(&mut self) -> Option<String> {
        let piece = tokio::time::timeout(Duration::from_secs(5), self.0.chunk()).await;
        let piece = piece.expect("a piece in time").ok()?;
        piece.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Reads up to the piece that holds this text.
    async fn until(&mut self, text: &str) -> String {
        loop {
            let piece = self.piece().await.expect("no end");
            if piece.contains(text) {
                return piece;
            }
        }
    }
}

async fn send(client: &Client, body: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = client
        .http
        .post(&client.url)
        .basic_auth(&client.user, Some(&client.password))
        .header("content-type", "text/xml; charset=utf-8")
        .body(client.envelope(body));
    if let Some(anchor) = &client.anchor {
        request = request.header("x-anchormailbox", anchor);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn answer(response: reqwest::Response) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

async fn subscribe(client: &Client) -> String {
    client.call(STREAMING).await.one("SubscriptionId")
}

async fn quick_server() -> ExchangeSandbox {
    start(options(quick())).await
}

#[tokio::test]
async fn a_stream_begins_at_once_beats_tells_and_closes() {
    let exchange = quick_server().await;
    let client = Client::new(&exchange, ANNA);
    let id = subscribe(&client).await;
    let mut stream = Stream::open(&client, &stream_body(std::slice::from_ref(&id), 2)).await;
    let first = stream.piece().await.unwrap();
    assert!(first.starts_with("<?xml") && first.contains("<m:ConnectionStatus>OK<"));
    assert!(stream.piece().await.unwrap().contains(">OK<"), "a beat");
    let made = exchange.create(ANNA, item(1)).unwrap();
    let told = stream.until("CreatedEvent").await;
    assert!(told.contains(&format!("<t:SubscriptionId>{id}<")), "{told}");
    let (_, wire_id, _, _) = exchange.read(made).unwrap();
    assert!(told.contains(&wire_id));
    // One change makes several events, one of them of the folder.
    assert!(told.contains("<t:ModifiedEvent>") && told.contains("<t:UnreadCount>"));
    exchange
        .change(made, |content| content.location = "Room 3".to_owned())
        .unwrap();
    stream.until("<t:ModifiedEvent>").await;
    let moved = exchange.move_to(made, Folder::DeletedItems).unwrap();
    let told = stream.until("<t:MovedEvent>").await;
    assert!(told.contains("<t:OldItemId") && told.contains("<t:OldParentFolderId"));
    exchange.hard_delete(moved).unwrap();
    let other = exchange.create(ANNA, item(2)).unwrap();
    exchange.hard_delete(other).unwrap();
    stream.until("<t:DeletedEvent>").await;
    // What happens in another mailbox is not told.
    exchange.create(BO, item(3)).unwrap();
    let mut rest = String::new();
    while let Some(piece) = stream.piece().await {
        rest.push_str(&piece);
    }
    assert!(!rest.contains("Event>"), "{rest}");
    assert!(rest.ends_with("</s:Envelope>") && rest.contains(">Closed<"));
    assert_eq!(exchange.watched(), (1, 0));
}

#[tokio::test]
async fn what_happens_between_two_connections_is_told_or_lost_as_the_server_is_set() {
    for queued in [true, false] {
        let exchange = start(options(Notifications { queued, ..quick() })).await;
        let client = Client::new(&exchange, ANNA);
        let id = subscribe(&client).await;
        exchange.create(ANNA, item(1)).unwrap();
        let mut stream = Stream::open(&client, &stream_body(&[id], 1)).await;
        let mut all = String::new();
        while let Some(piece) = stream.piece().await {
            all.push_str(&piece);
        }
        assert_eq!(all.contains("CreatedEvent"), queued, "{all}");
    }
}

#[tokio::test]
async fn one_unknown_subscription_spoils_the_request_and_is_named() {
    let exchange = quick_server().await;
    let client = Client::new(&exchange, ANNA);
    let good = subscribe(&client).await;
    let body = stream_body(&[good.clone(), "bm9uZQ==".to_owned()], 1);
    let refused = client.call(&body).await;
    assert_eq!(refused.codes(), ["ErrorSubscriptionNotFound"]);
    assert!(refused.text.contains("bm9uZQ==") && !refused.text.contains(&good));
    let mut stream = Stream::open(&client, &stream_body(&[good], 1)).await;
    assert!(stream.piece().await.unwrap().contains(">OK<"));
}

#[tokio::test]
async fn a_second_stream_of_the_same_subscription_ends_the_first() {
    let exchange = quick_server().await;
    let client = Client::new(&exchange, ANNA);
    let id = subscribe(&client).await;
    let mut first = Stream::open(&client, &stream_body(std::slice::from_ref(&id), 30)).await;
    first.piece().await.unwrap();
    let mut second = Stream::open(&client, &stream_body(&[id], 30)).await;
    second.piece().await.unwrap();
    first.until("ErrorNewEventStreamConnectionOpened").await;
    first.until(">Closed<").await;
    exchange.create(ANNA, item(1)).unwrap();
    second.until("CreatedEvent").await;
}

#[tokio::test]
async fn streams_and_subscriptions_are_limited_per_charged_mailbox() {
    for (profile, most) in [(Profile::Exchange2013, 3), (Profile::Exchange2019, 10)] {
        let exchange = start(ExchangeOptions {
            profile,
            notifications: Notifications {
                max_subscriptions: most + 1,
                ..quick()
            },
            ..ExchangeOptions::default()
        })
        .await;
        let client = Client::new(&exchange, ANNA);
        let mut open = Vec::new();
        for _ in 0..most {
            let body = stream_body(&[subscribe(&client).await], 30);
            let mut stream = Stream::open(&client, &body).await;
            stream.piece().await.unwrap();
            open.push(stream);
        }
        let one_more = subscribe(&client).await;
        let refused = client
            .call(&stream_body(std::slice::from_ref(&one_more), 1))
            .await;
        assert_eq!(refused.codes(), ["ErrorExceededConnectionCount"]);
        let refused = client.call(STREAMING).await;
        assert_eq!(refused.codes(), ["ErrorExceededSubscriptionCount"]);
        // Another mailbox has a budget of its own.
        let other = Client::new(&exchange, BO);
        let mut stream = Stream::open(&other, &stream_body(&[subscribe(&other).await], 1)).await;
        stream.piece().await.unwrap();
        // Who goes makes room.
        open.pop();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut stream = Stream::open(&client, &stream_body(&[one_more], 1)).await;
        assert!(stream.piece().await.unwrap().contains(">OK<"));
    }
}

#[tokio::test]
async fn a_subscription_lives_on_one_server_and_is_reached_by_anchor_or_cookie() {
    let exchange = quick_server().await;
    exchange.move_to_server(BO, 2).unwrap();
    let anna = Client::new(&exchange, ANNA);
    let prefer = ("x-preferserveraffinity", "true");
    let response = send(&anna, STREAMING, &[prefer]).await;
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert!(
        cookie.starts_with("X-BackEndOverrideCookie=mbx1."),
        "{cookie}"
    );
    assert_eq!(
        response.headers()["x-calculatedbetarget"],
        "mbx1.sandbox.example"
    );
    let id = answer(response).await.one("SubscriptionId");
    let body = stream_body(&[id], 1);
    // It is said once.
    let again = send(&anna, STREAMING, &[prefer, ("cookie", &cookie)]).await;
    assert!(again.headers().get("set-cookie").is_none());
    // By another mailbox's anchor the request reaches another server.
    let mut wrong = Client::new(&exchange, ANNA);
    wrong.anchor = Some(BO.to_owned());
    let lost = answer(send(&wrong, &body, &[prefer]).await).await;
    assert_eq!(lost.codes(), ["ErrorSubscriptionNotFound"]);
    // The cookie leads there in spite of it, and only together with the header.
    let without = answer(send(&wrong, &body, &[("cookie", &cookie)]).await).await;
    assert_eq!(without.codes(), ["ErrorInvalidRequest"]);
    let mut stream = Stream(send(&wrong, &body, &[prefer, ("cookie", &cookie)]).await);
    assert!(stream.piece().await.unwrap().contains(">OK<"));
    // A mailbox of another server cannot be subscribed to here.
    let bo = Client::new(&exchange, BO);
    let refused = answer(send(&bo, STREAMING, &[prefer, ("cookie", &cookie)]).await).await;
    assert_eq!(refused.codes(), ["ErrorProxyRequestNotAllowed"]);
}

#[tokio::test]
async fn a_failover_breaks_streams_and_loses_subscriptions_of_its_server_only() {
    let exchange = quick_server().await;
    exchange.move_to_server(BO, 2).unwrap();
    let (anna, bo) = (Client::new(&exchange, ANNA), Client::new(&exchange, BO));
    let (of_anna, of_bo) = (subscribe(&anna).await, subscribe(&bo).await);
    let body = stream_body(&[of_anna], 30);
    let mut broken = Stream::open(&anna, &body).await;
    let mut whole = Stream::open(&bo, &stream_body(&[of_bo], 30)).await;
    broken.piece().await.unwrap();
    whole.piece().await.unwrap();
    exchange.fail_over(1);
    while let Some(piece) = broken.piece().await {
        assert!(!piece.contains(">Closed<"), "it breaks off");
    }
    assert_eq!(
        anna.call(&body).await.codes(),
        ["ErrorSubscriptionNotFound"]
    );
    exchange.create(BO, item(1)).unwrap();
    whole.until("CreatedEvent").await;
}

#[tokio::test]
async fn a_subscription_that_fails_in_a_stream_is_named_and_the_others_go_on() {
    let exchange = quick_server().await;
    let (anna, bo) = (Client::new(&exchange, ANNA), Client::new(&exchange, BO));
    let ids = [subscribe(&anna).await, subscribe(&bo).await];
    let mut stream = Stream::open(&anna, &stream_body(&ids, 30)).await;
    stream.piece().await.unwrap();
    exchange.disable_mailbox(BO, true).unwrap();
    let told = stream.until("ErrorReadEventsFailed").await;
    assert!(told.contains(&ids[1]) && !told.contains(&ids[0]));
    exchange.create(ANNA, item(1)).unwrap();
    stream.until("CreatedEvent").await;
    exchange.lose_subscriptions(ANNA).unwrap();
    stream.until("ErrorSubscriptionNotFound").await;
    stream.until(">Closed<").await;
}

#[tokio::test]
async fn pulled_events_follow_their_watermarks() {
    let exchange = quick_server().await;
    let client = Client::new(&exchange, ANNA);
    let made = client.call(PULL).await;
    let (id, start) = (made.one("SubscriptionId"), made.one("Watermark"));
    let nothing = client.call(&get_events(&id, &start)).await;
    assert!(nothing.text.contains("StatusEvent"), "{}", nothing.text);
    exchange.create(ANNA, item(1)).unwrap();
    let told = client.call(&get_events(&id, &start)).await;
    assert!(told.text.contains("CreatedEvent"));
    assert_eq!(told.one("PreviousWatermark"), start);
    let last = told.all("Watermark").pop().unwrap();
    let nothing = client.call(&get_events(&id, &last)).await;
    assert!(nothing.text.contains("StatusEvent"));
    // The same once more: a lost answer loses nothing.
    let again = client.call(&get_events(&id, &start)).await;
    assert!(again.text.contains("CreatedEvent"));
    let wrong = client.call(&get_events(&id, "AAAA")).await;
    assert_eq!(wrong.codes(), ["ErrorInvalidWatermark"]);
    let streamed = client
        .call(&stream_body(std::slice::from_ref(&id), 1))
        .await;
    assert_eq!(streamed.codes(), ["ErrorInvalidSubscription"]);
    let end = format!("<m:Unsubscribe><m:SubscriptionId>{id}</m:SubscriptionId></m:Unsubscribe>");
    assert_eq!(client.call(&end).await.codes(), ["NoError"]);
    let gone = client.call(&get_events(&id, &last)).await;
    assert_eq!(gone.codes(), ["ErrorSubscriptionNotFound"]);
}

#[tokio::test]
async fn subscriptions_expire_and_belong_to_their_account() {
    let exchange = start(ExchangeOptions {
        accounts: vec![
            Account::service("svc-calbridge", "sandbox"),
            Account::service("other", "sandbox"),
        ],
        notifications: Notifications {
            minute: Duration::from_millis(20),
            idle: Duration::from_millis(200),
            ..quick()
        },
        ..ExchangeOptions::default()
    })
    .await;
    let client = Client::new(&exchange, ANNA);
    let mut other = Client::new(&exchange, ANNA);
    "other".clone_into(&mut other.user);
    let id = subscribe(&client).await;
    let body = stream_body(&[id], 1);
    assert_eq!(
        other.call(&body).await.codes(),
        ["ErrorSubscriptionAccessDenied"]
    );
    let pulled = client.call(PULL).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        client.call(&body).await.codes(),
        ["ErrorExpiredSubscription"]
    );
    let late = get_events(&pulled.one("SubscriptionId"), &pulled.one("Watermark"));
    assert_eq!(
        client.call(&late).await.codes(),
        ["ErrorExpiredSubscription"]
    );
}

#[tokio::test]
async fn a_server_may_offer_less() {
    let exchange = start(options(Notifications {
        streaming: false,
        ..quick()
    }))
    .await;
    let client = Client::new(&exchange, ANNA);
    let refused = client.call(STREAMING).await;
    assert_eq!(refused.codes(), ["ErrorInvalidSubscriptionRequest"]);
    assert_eq!(client.call(PULL).await.codes(), ["NoError"]);
    let exchange = start(options(Notifications {
        streaming: false,
        pull: false,
        ..quick()
    }))
    .await;
    let refused = Client::new(&exchange, ANNA).call(STREAMING).await;
    assert_eq!(
        (refused.status, refused.codes()),
        (500, vec!["ErrorInvalidRequest".to_owned()])
    );
}

#[tokio::test]
async fn gromox_names_the_folder_alone_and_knows_no_watermarks() {
    let exchange = start(ExchangeOptions {
        profile: Profile::Gromox,
        notifications: quick(),
        ..ExchangeOptions::default()
    })
    .await;
    let client = Client::new(&exchange, ANNA);
    let made = exchange.create(ANNA, item(1)).unwrap();
    let mut stream = Stream::open(&client, &stream_body(&[subscribe(&client).await], 2)).await;
    assert!(stream.piece().await.unwrap().starts_with("<?xml"));
    exchange
        .change(made, |content| content.location = "Room 3".to_owned())
        .unwrap();
    let told = stream.until("ModifiedEvent").await;
    assert!(
        told.starts_with("<s:Envelope") && !told.contains("ItemId"),
        "{told}"
    );
    let made = client.call(PULL).await;
    assert!(made.all("Watermark").is_empty());
    exchange.create(ANNA, item(2)).unwrap();
    let told = client
        .call(&get_events(&made.one("SubscriptionId"), "none"))
        .await;
    assert!(told.text.contains("<m:x ") && told.text.contains("CreatedEvent"));
}

#[tokio::test]
async fn streams_can_be_made_to_misbehave() {
    let exchange = quick_server().await;
    let client = Client::new(&exchange, ANNA);
    let id = subscribe(&client).await;
    let body = stream_body(&[id], 1);
    let strike = |spec: &str| exchange.inject_spec(&format!("GetStreamingEvents={spec}"));
    strike("pieces:7").unwrap();
    let mut stream = Stream::open(&client, &body).await;
    assert_eq!(stream.piece().await.unwrap().len(), 7);
    drop(stream);
    strike("bom").unwrap();
    let mut stream = Stream::open(&client, &body).await;
    assert!(stream.piece().await.unwrap().starts_with("\u{feff}<?xml"));
    drop(stream);
    strike("gather:700").unwrap();
    let mut stream = Stream::open(&client, &body).await;
    let piece = stream.piece().await.unwrap();
    assert!(piece.matches("</s:Envelope>").count() > 1, "{piece}");
    drop(stream);
    strike("stream-error:ErrorMissedNotificationEvents").unwrap();
    let mut stream = Stream::open(&client, &body).await;
    stream.until("ErrorMissedNotificationEvents").await;
    assert_eq!(stream.piece().await, None);
    strike("truncate:100").unwrap();
    let mut stream = Stream::open(&client, &body).await;
    assert_eq!(stream.piece().await.unwrap().len(), 100);
    assert!(stream.0.chunk().await.is_err());
    strike("half-open:100").unwrap();
    let mut stream = Stream::open(&client, &body).await;
    assert_eq!(stream.piece().await.unwrap().len(), 100);
    let silence = tokio::time::timeout(Duration::from_millis(1500), stream.0.chunk()).await;
    assert!(silence.is_err());
}
