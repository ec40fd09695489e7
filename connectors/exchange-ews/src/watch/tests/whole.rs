//! Nothing lost, nothing doubled: what a reader holds who reads after each hint and never else, against what the
//! mailbox holds, while connections, servers and mailboxes fail.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use calbridge_core::connector::{Change, ChangesRequest};
use calbridge_core::model::{Coverage, Event, FieldSet, Window};
use calbridge_sandbox::exchange::{ItemHandle, Pattern, Range, Recurrence};
use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

const NEW_BO: &str = "bo.ny@kommune.example";

fn window() -> Window {
    let at = |text: &str| text.parse().unwrap();
    Window::new(at("2026-12-01T00:00:00Z"), at("2027-03-01T00:00:00Z")).unwrap()
}

/// What is known of a calendar.
struct View {
    request: ChangesRequest,
    events: BTreeMap<String, Event>,
    /// Whether a hint has come since it was read to the end.
    stale: bool,
}

impl View {
    fn new(address: &str) -> Self {
        Self {
            request: ChangesRequest {
                calendar: calendar(address),
                cursor: None,
                window: window(),
                covered: Coverage::none(),
                fields: FieldSet::times(),
                full: false,
                now: Timestamp::now(),
            },
            events: BTreeMap::new(),
            stale: true,
        }
    }

    /// Reads as the core does: what came before an error is not taken, but for the place to go on at.
    async fn read(&mut self, source: &Exchange) -> Result<()> {
        self.request.now = Timestamp::now();
        let mut feed = source.changes(self.request.clone()).await?;
        let (mut events, mut covered) = (BTreeMap::new(), Vec::new());
        while let Some(batch) = feed.next(100).await? {
            for change in batch.changes {
                match change {
                    Change::Item(event) => {
                        let key = event.key.as_text();
                        let before = events.insert(key, event);
                        assert!(before.is_none(), "told twice: {before:?}");
                    }
                    Change::Snapshot { covered: window } => covered.push(window),
                    other => panic!("not expected: {other:?}"),
                }
            }
            self.request.cursor = batch.checkpoint.or(self.request.cursor.take());
        }
        for window in covered {
            self.request.covered.add(window);
            self.events.clear();
        }
        self.events.extend(events);
        self.stale = false;
        Ok(())
    }

    fn facts(&self) -> Vec<String> {
        let facts = self.events.values().map(|event| {
            let (start, end) = event.content.time.span_in(&jiff::tz::TimeZone::UTC);
            format!("{} {start}/{end}", event.key.uid())
        });
        let mut facts: Vec<String> = facts.collect();
        facts.sort();
        facts
    }
}

/// A reader.
struct Reader {
    feed: Feed,
    views: BTreeMap<String, View>,
    reads: usize,
}

impl Reader {
    async fn start(source: &Exchange, addresses: &[&str]) -> Self {
        let views = addresses
            .iter()
            .map(|address| ((*address).to_owned(), View::new(address)));
        Self {
            feed: Feed(source.watch(&refs(addresses)).await.unwrap()),
            views: views.collect(),
            reads: 0,
        }
    }

    /// Reads what hints ask for until the views hold what the mailboxes hold.
    async fn settle(&mut self, bench: &Bench, source: &Exchange, when: &str) {
        let latest = Instant::now() + 2 * PATIENCE;
        loop {
            for (address, view) in &mut self.views {
                if view.stale {
                    self.reads += 1;
                    // What cannot be read now is read later.
                    let _ = (address, view.read(source).await);
                }
            }
            let wrong = self
                .views
                .iter()
                .find(|(address, view)| view.facts() != truth(&bench.exchange, address));
            let Some((address, view)) = wrong else {
                return;
            };
            assert!(
                Instant::now() < latest,
                "{when}: {address} holds {:?}, told {:?}",
                truth(&bench.exchange, address),
                view.facts()
            );
            let patience = Duration::from_millis(100);
            if let Ok(hints) = tokio::time::timeout(patience, self.feed.0.next()).await {
                for (_, address, _) in hints.expect("no end").into_iter().map(read) {
                    if let Some(view) = self.views.get_mut(&address) {
                        view.stale = true;
                    }
                }
            }
        }
    }
}

/// What a mailbox holds.
fn truth(exchange: &ExchangeSandbox, address: &str) -> Vec<String> {
    let all = exchange.occurrences(address, window().start(), window().end());
    let mut facts: Vec<String> = all
        .iter()
        .map(|one| format!("{} {}/{}", one.uid, one.start, one.end))
        .collect();
    facts.sort();
    facts
}

/// What people do to a calendar: another appointment each time, and what was made before is moved, then deleted.
#[derive(Default)]
struct Hand {
    items: Vec<ItemHandle>,
    made: u32,
}

impl Hand {
    fn act(&mut self, exchange: &ExchangeSandbox, address: &str) {
        let day = date(2026, 12, 1) + jiff::Span::new().days(i64::from(self.made % 80));
        let at = |hour| day.at(hour, 0, 0, 0);
        let mut item = NewItem::at("Canary subject", at(9), at(10), &Zone::denmark());
        if self.made.is_multiple_of(5) {
            item = item.repeating(Recurrence {
                pattern: Pattern::Daily { interval: 2 },
                start: day,
                range: Range::Numbered(4),
            });
        }
        self.made += 1;
        self.items.push(exchange.create(address, item).unwrap());
        if let [.., before, _] = self.items[..] {
            let hour = SignedDuration::from_hours(1);
            exchange.move_in_time(before, hour).unwrap();
        }
        if self.items.len() > 3 {
            exchange.delete(self.items.remove(0)).unwrap();
        }
    }
}

/// What lies between us and the server: it can break any stream at any byte of what the server sends, head and chunk
/// sizes included, and forget connections without a word to anybody.
struct Middle {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// How many streams were asked for.
    streams: AtomicUsize,
    /// After how many bytes the next stream ends.
    cut: Mutex<Option<usize>>,
    /// How many bytes the stream that was opened last has sent.
    sent: AtomicUsize,
    /// The orders to connections: which breaking of streams it is, and which forgetting.
    orders: watch::Sender<(usize, usize)>,
}

impl Middle {
    async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let host = to.split('/').nth(2).unwrap().to_owned();
        let url = to.replace(&host, &own);
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&host).await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&shared)));
            }
        });
        Self { url, state }
    }

    fn order(&self, change: impl FnOnce(&mut (usize, usize))) {
        self.state.orders.send_modify(change);
    }

    /// Ends the streams that are open; the next one ends after so many bytes.
    fn break_streams(&self, next: Option<usize>) {
        *self.state.cut.lock().unwrap() = next;
        self.order(|orders| orders.0 += 1);
    }

    /// Forgets all connections that there are: nothing comes through them any more, nor their end.
    fn forget(&self) {
        self.order(|orders| orders.1 += 1);
    }

    fn streams(&self) -> usize {
        self.state.streams.load(Ordering::SeqCst)
    }
}

/// Carries bytes both ways.
async fn carry(mut client: TcpStream, mut server: TcpStream, state: Arc<State>) {
    let mut orders = state.orders.subscribe();
    let (mut up, mut down) = ([0; 16 * 1024], [0; 16 * 1024]);
    // Of a stream: how many bytes were sent, and how many may be.
    let mut stream: Option<(usize, usize)> = None;
    let mut asked = Vec::new();
    loop {
        tokio::select! {
            biased;
            changed = orders.changed() => {
                let ended = changed.is_err();
                let (_, forgotten) = *orders.borrow_and_update();
                if forgotten > 0 && !ended {
                    // Both sockets stay open.
                    std::future::pending::<()>().await;
                }
                if ended || stream.is_some() {
                    return;
                }
            }
            count = client.read(&mut up) => {
                let Ok(count @ 1..) = count else { return };
                asked.extend_from_slice(&up[..count]);
                if has(&asked, b"<m:GetStreamingEvents>") {
                    asked.clear();
                    let cut = state.cut.lock().unwrap().take();
                    stream = Some((0, cut.unwrap_or(usize::MAX)));
                    state.streams.fetch_add(1, Ordering::SeqCst);
                    state.sent.store(0, Ordering::SeqCst);
                } else if has(&asked, b"</s:Envelope>") {
                    asked.clear();
                }
                if server.write_all(&up[..count]).await.is_err() { return }
            }
            count = server.read(&mut down) => {
                let Ok(mut count @ 1..) = count else { return };
                let mut last = false;
                if let Some((sent, most)) = &mut stream {
                    last = *sent + count >= *most;
                    count = count.min(*most - *sent);
                    *sent += count;
                    state.sent.store(*sent, Ordering::SeqCst);
                }
                if client.write_all(&down[..count]).await.is_err() || last { return }
            }
        }
    }
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|some| some == what)
}

fn quick() -> Tempo {
    Tempo {
        retry: Duration::from_millis(2),
        retry_most: Duration::from_millis(2),
        settle: Duration::ZERO,
        debounce: Duration::ZERO,
        // This many streams in a row that break are none of an ordinary day.
        gives_up: u32::MAX,
        ..tempo()
    }
}

/// Every `step`-th byte from `first`; how many, and the length of what a stream sends to its first news.
async fn cut_streams(first: usize, step: usize) -> (usize, usize) {
    // No stream gets as old as those whose age something on the way limits.
    let minute = Duration::from_secs(60);
    let mut slow = options();
    slow.notifications.minute = minute;
    let bench = Bench::with(slow, tempo(), "impersonation").await;
    let middle = Middle::start(&bench.exchange.url()).await;
    let quick = Tempo { minute, ..quick() };
    let (source, _shutdown) = connect(&middle.url, quick, "impersonation");
    let mut reader = Reader::start(&source, &[ANNA]).await;
    let mut hand = Hand::default();
    hand.act(&bench.exchange, ANNA);
    reader.settle(&bench, &source, "the beginning").await;
    bench.streams(1).await;
    let sent = || middle.state.sent.load(Ordering::SeqCst);
    let begun = sent();
    bench
        .exchange
        .create(
            ANNA,
            NewItem::at(
                "Canary subject",
                date(2026, 12, 24).at(9, 0, 0, 0),
                date(2026, 12, 24).at(10, 0, 0, 0),
                &Zone::denmark(),
            ),
        )
        .unwrap();
    until("news", || sent() > begun + 500).await;
    let length = sent();
    reader
        .settle(&bench, &source, "a stream that is whole")
        .await;

    let mut cuts = 0;
    for bytes in (first..length).step_by(step) {
        let before = middle.streams();
        middle.break_streams(Some(bytes));
        until(&format!("the stream to be cut after {bytes} bytes"), || {
            middle.streams() > before
        })
        .await;
        // Before the cut or after it, as it happens; what was told of it or not, it is known in the end.
        hand.act(&bench.exchange, ANNA);
        until(
            &format!("the stream after the one that was cut after {bytes} bytes"),
            || middle.streams() > before + 1,
        )
        .await;
        reader
            .settle(&bench, &source, &format!("cut after {bytes} bytes"))
            .await;
        cuts += 1;
    }
    // And the next that happens is told by the stream that is open now.
    let before = middle.streams();
    hand.act(&bench.exchange, ANNA);
    reader.settle(&bench, &source, "after all cuts").await;
    assert_eq!(middle.streams(), before);
    (cuts, length)
}

/// Every byte where `CALBRIDGE_FULL` is set, every 29th else.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_at_any_byte_loses_nothing_and_doubles_nothing() {
    let step = match std::env::var_os("CALBRIDGE_FULL") {
        Some(_) => 1,
        None => 29,
    };
    let lanes: Vec<_> = (0..4)
        .map(|lane| tokio::spawn(cut_streams(lane * step, 4 * step)))
        .collect();
    let (mut cuts, mut length) = (0, 0);
    for lane in lanes {
        let (count, bytes) = lane.await.unwrap();
        cuts += count;
        length = bytes;
    }
    assert!(length > 2000, "{length}");
    assert!(cuts + 4 >= length / step, "{cuts} of {length}");
    println!("a stream of {length} bytes, head and chunks included, was cut at {cuts} places");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_forgotten_on_the_way_lose_nothing() {
    let bench = Bench::with(options(), tempo(), "impersonation").await;
    let middle = Middle::start(&bench.exchange.url()).await;
    let (source, _shutdown) = connect(&middle.url, quick(), "impersonation");
    let mut reader = Reader::start(&source, &[ANNA, BO]).await;
    let (mut anna, mut bo) = (Hand::default(), Hand::default());
    reader.settle(&bench, &source, "the beginning").await;
    until("the stream", || middle.streams() > 0).await;
    for round in 0..3 {
        let before = middle.streams();
        // The stream, and every connection that is kept for the next request.
        middle.forget();
        anna.act(&bench.exchange, ANNA);
        bo.act(&bench.exchange, BO);
        let when = format!("forgotten for the {round}. time");
        reader.settle(&bench, &source, &when).await;
        assert!(middle.streams() > before, "another stream");
    }
}

type Strike = fn(&Bench);

/// What befalls the server while the calendars change.
const STRIKES: &[(&str, Strike)] = &[
    ("a web page with status 500", |bench| {
        let page = r"<html><body><h1>Server Error in '/EWS' Application.</h1></body></html>";
        let raw = format!(
            r"raw:HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        for operation in ["SyncFolderItems", "FindItem", "GetStreamingEvents"] {
            bench.inject(&format!("{operation}*2={raw}"));
        }
        bench.exchange.fail_over(1);
    }),
    ("answers that come twice", |bench| {
        for operation in ["SyncFolderItems", "FindItem", "Subscribe"] {
            bench.inject(&format!("{operation}*3=twice"));
        }
        bench.exchange.fail_over(1);
    }),
    ("faults, after which some servers answer twice", |bench| {
        for operation in ["SyncFolderItems", "FindItem", "Subscribe"] {
            bench.inject(&format!(
                "{operation}=fault:ErrorInternalServerTransientError"
            ));
        }
        bench.exchange.fail_over(1);
    }),
    ("sync states that are no longer good", |bench| {
        bench.exchange.invalidate_sync_states(ANNA).unwrap();
        bench.exchange.invalidate_sync_states(BO).unwrap();
    }),
    ("a clock ten minutes ahead", |bench| {
        bench.exchange.set_date_skew(SignedDuration::from_mins(10));
        bench
            .exchange
            .set_clock(Some(Timestamp::now() + SignedDuration::from_mins(10)));
    }),
    ("a clock ten minutes behind", |bench| {
        bench.exchange.set_date_skew(SignedDuration::from_mins(-10));
        bench
            .exchange
            .set_clock(Some(Timestamp::now() - SignedDuration::from_mins(10)));
    }),
    ("the right clock again", |bench| {
        bench.exchange.set_date_skew(SignedDuration::ZERO);
        bench.exchange.set_clock(None);
    }),
    ("a mailbox that is moved to another server", |bench| {
        bench.exchange.move_to_server(BO, 2).unwrap();
    }),
    ("and back again", |bench| {
        bench.exchange.move_to_server(BO, 1).unwrap();
    }),
    ("a mailbox that is disabled", |bench| {
        bench.exchange.disable_mailbox(BO, true).unwrap();
        bench.exchange.fail_over(1);
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_servers_and_mailboxes_nothing_is_lost_or_doubled() {
    for server in [
        Profile::Exchange2019,
        Profile::Exchange2013,
        Profile::Gromox,
    ] {
        let bench = Bench::with(profile(server), quick(), "impersonation").await;
        let mut reader = Reader::start(&bench.source, &[ANNA, BO]).await;
        let (mut anna, mut bo) = (Hand::default(), Hand::default());
        anna.act(&bench.exchange, ANNA);
        bo.act(&bench.exchange, BO);
        reader.settle(&bench, &bench.source, "the beginning").await;
        for (name, strike) in STRIKES {
            let when = format!("{server:?}: {name}");
            anna.act(&bench.exchange, ANNA);
            strike(&bench);
            anna.act(&bench.exchange, ANNA);
            bo.act(&bench.exchange, BO);
            if *name == "a mailbox that is disabled" {
                // What it held is kept while it is away.
                let held = reader.views[BO].facts();
                let bo = reader.views.remove(BO).unwrap();
                reader.settle(&bench, &bench.source, &when).await;
                let mut bo = View { stale: true, ..bo };
                bo.read(&bench.source).await.unwrap_err();
                assert_eq!(bo.facts(), held, "{when}");
                bench.exchange.disable_mailbox(BO, false).unwrap();
                bo.stale = false;
                reader.views.insert(BO.to_owned(), bo);
            }
            reader.settle(&bench, &bench.source, &when).await;
        }

        // Renamed: the calendar goes on under its new address, from where it was.
        bench.exchange.rename_mailbox(BO, NEW_BO).unwrap();
        let mut renamed = reader.views.remove(BO).unwrap();
        renamed.request.calendar = calendar(NEW_BO);
        reader.views.insert(NEW_BO.to_owned(), renamed);
        reader.feed.set(&[ANNA, NEW_BO]).await;
        bo.act(&bench.exchange, NEW_BO);
        reader.settle(&bench, &bench.source, "renamed").await;
        println!("{server:?}: read {} times", reader.reads);
    }
}
