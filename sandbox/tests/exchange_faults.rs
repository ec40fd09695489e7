//! Faults and the gromox profile, seen by a client.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exchange_common;

use calbridge_sandbox::exchange::{
    ExchangeOptions, ExchangeSandbox, NewItem, Pattern, Profile, Range, Recurrence, Zone,
};
use exchange_common::{ANNA, BO, Client, start};
use jiff::SignedDuration;
use jiff::civil::date;

fn daily() -> NewItem {
    let recurrence = Recurrence {
        pattern: Pattern::Daily { interval: 1 },
        start: date(2026, 3, 2),
        range: Range::Numbered(5),
    };
    NewItem::at(
        "Daily",
        date(2026, 3, 2).at(9, 0, 0, 0),
        date(2026, 3, 2).at(10, 0, 0, 0),
        &Zone::denmark(),
    )
    .repeating(recurrence)
}

async fn filled() -> (ExchangeSandbox, Client, Vec<String>) {
    let exchange = start(ExchangeOptions::default()).await;
    for day in 1..=3 {
        exchange
            .create(
                ANNA,
                NewItem::at(
                    "M",
                    date(2026, 4, day).at(9, 0, 0, 0),
                    date(2026, 4, day).at(10, 0, 0, 0),
                    &Zone::denmark(),
                ),
            )
            .unwrap();
    }
    let client = Client::new(&exchange, ANNA);
    let ids = client.sync(None, 512).await.ids();
    (exchange, client, ids)
}

#[tokio::test]
async fn busy_has_four_shapes() {
    let (exchange, client, ids) = filled().await;
    exchange.inject_spec("GetItem=busy-fault:1500; GetItem#2=busy-items; GetItem#3=busy-503:7; GetItem#4=busy-wrapped").unwrap();
    let fault = client.get(&ids, &[]).await;
    assert_eq!(
        (fault.status, fault.codes()),
        (500, vec!["ErrorServerBusy".to_owned()])
    );
    assert_eq!(fault.one("Value"), "1500");
    let items = client.get(&ids, &[]).await;
    assert_eq!(
        (items.status, items.codes()),
        (200, vec!["ErrorServerBusy".to_owned(); 3])
    );
    assert_eq!(items.one("Value"), "297749");
    let plain = client.get(&ids, &[]).await;
    assert_eq!(
        (plain.status, plain.headers["retry-after"].to_str().unwrap()),
        (503, "7")
    );
    let wrapped = client.get(&ids, &[]).await;
    assert_eq!(
        (wrapped.status, wrapped.codes()),
        (500, vec!["ErrorInternalServerError".to_owned()])
    );
    assert!(wrapped.all("Value").contains(&"ErrorServerBusy".to_owned()));
    assert_eq!(client.get(&ids, &[]).await.codes(), ["NoError"; 3]);
}

#[tokio::test]
async fn single_items_of_a_batch_fail() {
    let (exchange, client, ids) = filled().await;
    exchange.inject_spec("GetItem=item-error:ErrorItemCorrupt/2;GetItem#2=batch-stop:1;GetItem#3=error:ErrorTimeoutExpired;GetItem#4=fault:ErrorMailboxMoveInProgress").unwrap();
    assert_eq!(
        client.get(&ids, &[]).await.codes(),
        ["NoError", "ErrorItemCorrupt", "NoError"]
    );
    let stopped = client.get(&ids, &[]).await;
    assert_eq!(
        stopped.codes(),
        [
            "NoError",
            "ErrorBatchProcessingStopped",
            "ErrorBatchProcessingStopped"
        ]
    );
    assert_eq!(stopped.text.matches("ResponseClass=\"Warning\"").count(), 2);
    assert_eq!(
        client.get(&ids, &[]).await.codes(),
        ["ErrorTimeoutExpired"; 3]
    );
    assert_eq!(
        client.get(&ids, &[]).await.codes(),
        ["ErrorMailboxMoveInProgress"]
    );
}

#[tokio::test]
async fn spoiled_answers() {
    let (exchange, client, ids) = filled().await;
    exchange
        .inject_spec("GetItem=malformed;GetItem#2=dtd;GetItem#3=deep:5000;GetItem#4=oversized:3000000;GetItem#5=truncate:200;GetItem#6=reset-after;GetItem#7=unauthorized;GetItem#8=status:500")
        .unwrap();
    assert!(client.get(&ids, &[]).await.text.contains("</s:Bodie>"));
    assert!(client.get(&ids, &[]).await.text.contains("<!ENTITY e9"));
    assert_eq!(client.get(&ids, &[]).await.text.len(), 5000 * 7);
    assert!(client.get(&ids, &[]).await.text.len() >= 3_000_000);
    let get = format!(
        "<m:GetItem>{}<m:ItemIds><t:ItemId Id=\"{}\"/></m:ItemIds></m:GetItem>",
        exchange_common::shape(&[]),
        ids[0]
    );
    assert!(client.post(client.envelope(&get)).await.is_err());
    assert!(client.post(client.envelope(&get)).await.is_err());
    assert_eq!(client.get(&ids, &[]).await.status, 401);
    let page = client.get(&ids, &[]).await;
    assert!(page.status == 500 && page.text.contains("<html>"));
}

#[tokio::test]
async fn wrong_contents() {
    let (exchange, client, ids) = filled().await;
    exchange.inject_spec("GetItem=wrong-types;GetItem#2=unknown-enum;GetItem#3=missing:UID;GetItem#4=duplicate-ids;FindItem=view-limit:1;SyncFolderItems=duplicate-items").unwrap();
    let fields = [
        "calendar:UID",
        "calendar:Start",
        "calendar:LegacyFreeBusyStatus",
    ];
    assert_eq!(
        client.get(&ids, &fields).await.one("Start"),
        "the day after"
    );
    assert_eq!(
        client.get(&ids, &fields).await.one("LegacyFreeBusyStatus"),
        "Daydreaming"
    );
    assert!(client.get(&ids, &fields).await.all("UID").is_empty());
    let same = client.get(&ids, &fields).await.ids();
    assert!(same[0] == same[1] && same[1] == same[2]);
    let view = client
        .view(
            "2026-04-01T00:00:00Z",
            "2026-05-01T00:00:00Z",
            Some(500),
            &[],
        )
        .await;
    assert_eq!(
        (view.ids().len(), view.codes()),
        (1, vec!["NoError".to_owned()])
    );
    assert_eq!(client.sync(None, 512).await.ids().len(), 6);
}

#[tokio::test]
async fn faults_strike_by_operation_mailbox_and_turn() {
    let (exchange, client, ids) = filled().await;
    exchange.inject_spec(&format!("*@{BO}*all=fault:ErrorADUnavailable;GetItem#2=error:ErrorItemNotFound;SyncFolderItems@{ANNA}=slow:200")).unwrap();
    assert_eq!(client.get(&ids, &[]).await.codes(), ["NoError"; 3]);
    assert_eq!(
        client.get(&ids, &[]).await.codes(),
        ["ErrorItemNotFound"; 3]
    );
    assert_eq!(
        Client::new(&exchange, BO).sync(None, 9).await.codes(),
        ["ErrorADUnavailable"]
    );
    let begin = std::time::Instant::now();
    client.sync(None, 512).await;
    assert!(begin.elapsed().as_millis() >= 150);
    assert!(exchange.inject_spec("GetItem=explode").is_err());
    assert!(exchange.inject_spec("GetItem=error:404").is_err());
    exchange.clear_faults();
    assert_eq!(
        Client::new(&exchange, BO).sync(None, 9).await.codes(),
        ["NoError"]
    );
}

#[tokio::test]
async fn the_clock_of_the_server_can_be_wrong() {
    let exchange = start(ExchangeOptions::default()).await;
    exchange.set_clock(Some("2026-03-01T06:00:00Z".parse().unwrap()));
    exchange.set_date_skew(SignedDuration::from_mins(-7));
    let answer = Client::new(&exchange, ANNA).sync(None, 9).await;
    assert_eq!(answer.headers["date"], "Sun, 01 Mar 2026 05:53:00 GMT");
}

#[tokio::test]
async fn gromox_has_its_quirks() {
    let exchange = start(ExchangeOptions {
        profile: Profile::Gromox,
        ..ExchangeOptions::default()
    })
    .await;
    let series = exchange.create(ANNA, daily()).unwrap();
    let client = Client::new(&exchange, ANNA);
    // An invalid state is an initial sync; a page may ask for more than 512; unknown fields are ignored.
    let first = client.sync(Some("AAAA"), 5000).await;
    assert_eq!((first.status, first.all("Create").len()), (200, 1));
    // Exceptions do not touch their master.
    exchange
        .move_occurrence(
            series,
            "2026-03-03T08:00:00Z".parse().unwrap(),
            SignedDuration::from_hours(2),
        )
        .unwrap();
    assert_eq!(
        client
            .sync(Some(&first.one("SyncState")), 512)
            .await
            .one("Changes"),
        ""
    );
    let item = client
        .get(
            &first.ids(),
            &[
                "calendar:Nonsense",
                "calendar:ModifiedOccurrences",
                "calendar:StartTimeZone",
            ],
        )
        .await;
    assert!(
        item.one("ModifiedOccurrences")
            .contains("<t:OriginalStart>2026-03-02T23:00:00.000000Z"),
        "{}",
        item.text
    );
    assert!(
        item.one("Recurrence")
            .contains("<t:StartDate>2026-03-02T00:00:00.000000Z"),
        "{}",
        item.text
    );
    assert_eq!(item.text.matches("<t:StartTimeZone ").count(), 2);
    // A view is a filter on the first instance; its range has no limit.
    let view = client
        .view("2026-03-01T00:00:00Z", "2036-03-01T00:00:00Z", None, &[])
        .await;
    assert_eq!(view.all("CalendarItemType"), ["RecurringMaster"]);
    assert!(
        client
            .view("2026-03-03T00:00:00Z", "2026-03-30T00:00:00Z", None, &[])
            .await
            .ids()
            .is_empty()
    );
    // A fault comes with 200, without detail, and twice: the second copy follows on the same connection.
    let mut wrong = Client::new(&exchange, ANNA);
    wrong.zone = Some("Nowhere".to_owned());
    let fault = wrong.post(wrong.envelope("<m:GetItem/>")).await.unwrap();
    assert_eq!(fault.status, 200);
    assert!(
        fault.text.contains("<faultcode>ErrorTimeZone</faultcode>")
            && !fault.text.contains("detail"),
        "{}",
        fault.text
    );
    wrong.zone = None;
    wrong.impersonate = Some("x@kommune.example".to_owned());
    assert!(
        Client {
            http: reqwest::Client::new(),
            ..wrong
        }
        .sync(None, 9)
        .await
        .text
        .contains("ErrorCannotFindUser")
    );
}

#[tokio::test]
async fn gromox_answers_a_fault_twice_on_one_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let options = ExchangeOptions {
        profile: Profile::Gromox,
        ..ExchangeOptions::default()
    };
    let exchange = start(options).await;
    let mut client = Client::new(&exchange, ANNA);
    client.zone = Some("Nowhere".to_owned());
    let body = client.envelope("<m:GetItem/>");
    let mut socket = tokio::net::TcpStream::connect(exchange.server().address())
        .await
        .unwrap();
    let head = format!(
        "POST /EWS/Exchange.asmx HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic c3ZjLWNhbGJyaWRnZTpzYW5kYm94\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut buffer = vec![0; 65536];
    let reading = async {
        while seen.matches("HTTP/1.1 200 OK").count() < 2 {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection ended early: {seen}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), reading)
        .await
        .unwrap();
    assert_eq!(exchange.ledger().len(), 1);
}
