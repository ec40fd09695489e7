//! What Planner holds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    Error, ErrorKind, InventoryEntry, InventoryFeed, InventoryPage, InventoryRequest, Result, Scope,
};
use calbridge_core::model::{CalendarRef, Content, SideRef, Window};

use crate::answer::Why;
use crate::client::Client;
use crate::codes;
use crate::map;
use crate::wire::{self, ListedEvent, Operation, Request};

/// After so many chunks that could not even be sent the rest is not tried.
const MAX_UNREACHABLE: u32 = 2;

/// Lists calendars by GetEvents, some at a time. A chunk that is too much is cut in half; one that fails does
/// not stop the others.
pub(crate) struct Inventory {
    client: Arc<Client>,
    window: Window,
    chunks: VecDeque<Vec<CalendarRef>>,
    unreachable: u32,
}

impl Inventory {
    pub(crate) fn new(client: Arc<Client>, request: InventoryRequest) -> Self {
        let size = client.settings.calendars_per_call();
        let mut seen = HashSet::new();
        let calendars: Vec<CalendarRef> = request
            .calendars
            .into_iter()
            .filter(|calendar| seen.insert(calendar.address.folded()))
            .collect();
        Self {
            client,
            window: request.window,
            chunks: calendars.chunks(size).map(<[_]>::to_vec).collect(),
            unreachable: 0,
        }
    }
}

#[async_trait]
impl InventoryFeed for Inventory {
    async fn next(&mut self) -> Result<Option<InventoryPage>> {
        loop {
            let Some(chunk) = self.chunks.pop_front() else {
                return Ok(None);
            };
            let mut page = InventoryPage::default();
            // One address that the schema refuses would make the whole call fail.
            let (fitting, others): (Vec<_>, Vec<_>) = chunk
                .into_iter()
                .partition(|calendar| map::address_fits(calendar.address.as_str()));
            page.failed.extend(others.into_iter().map(|calendar| {
                let error = Error::new(
                    ErrorKind::Rejected,
                    Scope::Calendar,
                    "planner.address",
                    "Planner takes no such mailbox address",
                );
                (calendar, error)
            }));
            if fitting.is_empty() {
                return Ok(Some(page));
            }
            let addresses: Vec<&str> = fitting
                .iter()
                .map(|calendar| calendar.address.as_str())
                .collect();
            let (from, to) = map::filter(self.window.start(), self.window.end());
            let request = Request::GetEvents {
                addresses: &addresses,
                from: map::offset_text(from, &self.client.zone),
                to: map::offset_text(to, &self.client.zone),
            };
            match self.client.call(Operation::GetEvents, &request, 0).await {
                Ok(call) => {
                    self.unreachable = 0;
                    let events = wire::events(&call.response);
                    self.take(fitting, events, &mut page);
                    return Ok(Some(page));
                }
                Err(failed) => {
                    // A fault may come from one of the calendars, or from their number.
                    let smaller_may_help =
                        failed.why.is_about_size() || matches!(failed.why, Why::Fault(_));
                    if smaller_may_help && fitting.len() > 1 {
                        let (one, two) = fitting.split_at(fitting.len() / 2);
                        self.chunks.push_front(two.to_vec());
                        self.chunks.push_front(one.to_vec());
                        // Those that the schema refuses are told with what is listed next.
                        if page.failed.is_empty() {
                            continue;
                        }
                        return Ok(Some(page));
                    }
                    match failed.why {
                        Why::NotTried => return Err(failed.error),
                        Why::NotSent(_)
                        | Why::Denied(_)
                        | Why::Access(_)
                        | Why::Busy
                        | Why::Unavailable => {
                            self.unreachable += 1;
                            if self.unreachable >= MAX_UNREACHABLE || self.chunks.is_empty() {
                                return Err(failed.error);
                            }
                        }
                        _ => self.unreachable = 0,
                    }
                    tracing::error!(
                        code = codes::CHUNK_FAILED,
                        calendars = fitting.len(),
                        error = %failed.error,
                        "Planner's events could not be listed for some calendars; the others go on."
                    );
                    let error = Error {
                        scope: Scope::Calendar,
                        ..failed.error
                    };
                    page.failed.extend(
                        fitting
                            .into_iter()
                            .map(|calendar| (calendar, error.clone())),
                    );
                    return Ok(Some(page));
                }
            }
        }
    }
}

/// What becomes of one listed event.
enum Found {
    /// It is outside of what was asked.
    Aside,
    /// It belongs to the calendar with this folded address.
    Entry(String, SideRef, Option<Content>),
    /// It belongs to this calendar, and cannot be named.
    Nameless(String),
    /// It cannot even be told whose it is.
    Ownerless,
}

impl Inventory {
    fn look_at(&self, event: ListedEvent, asked: &HashMap<String, CalendarRef>) -> Found {
        let Some(address) = event.address else {
            return Found::Ownerless;
        };
        let owner = address.to_lowercase();
        if !asked.contains_key(&owner) {
            return Found::Aside;
        }
        let Some(id) = event.id else {
            return Found::Nameless(owner);
        };
        let content = match (event.start, event.end) {
            (Some(start), Some(end)) => map::listed(start, end, &self.client.zone),
            _ => None,
        };
        if let Some(content) = &content
            && !map::may_start_in(
                content.time.span_in(&self.client.zone).0,
                self.window,
                &self.client.zone,
            )
        {
            // More was asked for than the window holds.
            return Found::Aside;
        }
        let remote = SideRef {
            id,
            assigned: event.assigned,
            version: None,
        };
        Found::Entry(owner, remote, content)
    }

    fn take(&self, chunk: Vec<CalendarRef>, events: Vec<ListedEvent>, page: &mut InventoryPage) {
        let asked: HashMap<String, CalendarRef> = chunk
            .iter()
            .map(|calendar| (calendar.address.folded(), calendar.clone()))
            .collect();
        let mut broken: HashSet<String> = HashSet::new();
        let mut all_broken = false;
        let mut seen: HashSet<(String, String)> = HashSet::new();
        for event in events {
            match self.look_at(event, &asked) {
                Found::Aside => {}
                Found::Ownerless => all_broken = true,
                Found::Nameless(owner) => {
                    broken.insert(owner);
                }
                Found::Entry(owner, remote, content) => {
                    if let Some(calendar) = asked.get(&owner)
                        && seen.insert((owner, remote.id.clone()))
                    {
                        page.entries.push(InventoryEntry {
                            calendar: calendar.clone(),
                            remote,
                            content,
                            key: None,
                            origin: None,
                        });
                    }
                }
            }
        }
        for calendar in chunk {
            if all_broken || broken.contains(&calendar.address.folded()) {
                let error = Error::new(
                    ErrorKind::Protocol,
                    Scope::Calendar,
                    codes::CALL_FAILED,
                    "Planner listed an event without its id or mailbox, so nothing can be concluded from what it did not list",
                );
                page.failed.push((calendar, error));
            } else {
                page.complete.push(calendar);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use calbridge_core::clock::SystemClock;
    use calbridge_core::connector::Context;
    use calbridge_core::secret::{SecretError, SecretRef, SecretResolver};
    use serde_json::json;

    use super::*;
    use crate::map::WireTime;

    #[derive(Debug)]
    struct NoSecrets;

    impl SecretResolver for NoSecrets {
        fn resolve(
            &self,
            _: &SecretRef,
        ) -> std::result::Result<secrecy::SecretString, SecretError> {
            Ok(String::new().into())
        }
    }

    fn listed(address: Option<&str>, id: Option<&str>, start: &str, end: &str) -> ListedEvent {
        ListedEvent {
            address: address.map(str::to_owned),
            id: id.map(str::to_owned),
            start: WireTime::parse(start),
            end: WireTime::parse(end),
            assigned: None,
        }
    }

    const START: &str = "2026-12-01T09:00:00";
    const END: &str = "2026-12-01T10:00:00";

    fn page(events: Vec<ListedEvent>) -> InventoryPage {
        let settings = serde_json::from_value(json!({
            "url": "https://service.example/p.svc",
            "jobcenter": "10100",
            "request_user": "CVR:12345678-FID:1",
            "certificate": { "pkcs12": "oces.p12" },
        }))
        .unwrap();
        let context = Context {
            connection: "test".to_owned(),
            clock: Arc::new(SystemClock::default()),
            secrets: Arc::new(NoSecrets),
            shutdown: tokio_util::sync::CancellationToken::new(),
        };
        let client = Arc::new(Client::new(settings, context).unwrap());
        let calendars: Vec<_> = ["a@x.dk", "b@x.dk"]
            .map(|address| CalendarRef::primary(address).unwrap())
            .to_vec();
        let request = InventoryRequest {
            calendars: calendars.clone(),
            window: Window::new(
                "2026-11-21T23:00:00Z".parse().unwrap(),
                "2027-02-21T23:00:00Z".parse().unwrap(),
            )
            .unwrap(),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut page = InventoryPage::default();
        Inventory::new(client, request).take(calendars, events, &mut page);
        page
    }

    #[test]
    fn addresses_compare_without_letter_case_and_others_are_not_our_business() {
        let page = page(vec![
            listed(Some("A@X.dk"), Some("one"), START, END),
            listed(Some("stranger@x.dk"), Some("two"), START, END),
            listed(Some("stranger@x.dk"), None, START, END),
        ]);
        assert_eq!(page.entries.len(), 1);
        assert_eq!(page.complete.len(), 2);
        assert!(page.failed.is_empty());
    }

    #[test]
    fn k125_the_same_id_of_one_mailbox_counts_once_and_of_two_twice() {
        let page = page(vec![
            listed(Some("a@x.dk"), Some("one"), START, END),
            listed(Some("A@x.dk"), Some("one"), START, END),
            listed(Some("b@x.dk"), Some("one"), START, END),
        ]);
        assert_eq!(page.entries.len(), 2);
    }

    #[test]
    fn a_record_with_times_that_are_none_is_there_and_cannot_be_described() {
        for (start, end) in [("soon", END), (END, START), ("", "")] {
            let page = page(vec![listed(Some("a@x.dk"), Some("one"), start, end)]);
            assert_eq!(page.entries[0].content, None, "{start}");
            assert_eq!(page.complete.len(), 2);
        }
    }

    #[test]
    fn nothing_is_concluded_for_a_calendar_with_a_record_that_cannot_be_named() {
        let page = page(vec![listed(Some("a@x.dk"), None, START, END)]);
        assert_eq!(page.failed.len(), 1);
        assert_eq!(page.failed[0].0.address.as_str(), "a@x.dk");
        assert_eq!(page.complete.len(), 1);
    }

    #[test]
    fn nothing_is_concluded_at_all_where_a_record_has_no_mailbox() {
        let page = page(vec![
            listed(None, Some("one"), START, END),
            listed(Some("a@x.dk"), Some("two"), START, END),
        ]);
        assert_eq!(page.failed.len(), 2);
        assert!(page.complete.is_empty());
        assert_eq!(page.entries.len(), 1);
    }
}
