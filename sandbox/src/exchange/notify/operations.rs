//! Subscribe, Unsubscribe, GetEvents, and the beginning of GetStreamingEvents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::event::EventKind;
use super::stream::{self, Stream};
use super::{Kind, Notifier, Routing, Seat, State, Subscription};
use crate::exchange::access::Context;
use crate::exchange::ids::{read_watermark, subscription_id, watermark};
use crate::exchange::ops::unknown;
use crate::exchange::soap::{EwsError, Outcome, answer, failure, success};
use crate::exchange::xml::Element;

/// How many ids one GetStreamingEvents may name.
const MOST_IDS: usize = 200;
/// How many events one GetEvents tells.
const MOST_EVENTS: usize = 100;

/// Runs an operation on notifications; `None` if it is none.
pub(crate) fn run(
    context: &mut Context<'_>,
    routing: &Routing,
    request: &Element,
) -> Option<Outcome> {
    let notifier = Arc::clone(&context.store.notifier);
    let caller = Caller {
        account: context.account.user.to_lowercase(),
        charged: charged(context),
        server: routing.server,
    };
    let one = |operation: &str, result: Result<Vec<Element>, EwsError>| {
        let message = match result {
            Ok(content) => success(operation, content),
            Err(error) => failure(operation, &error),
        };
        Outcome::Answer(answer(operation, [message]))
    };
    Some(match request.local() {
        name @ ("Subscribe" | "Unsubscribe" | "GetEvents" | "GetStreamingEvents")
            if !(notifier.settings.streaming || notifier.settings.pull) =>
        {
            unknown(name)
        }
        "GetStreamingEvents" if !notifier.settings.streaming => unknown("GetStreamingEvents"),
        "Subscribe" => one("Subscribe", subscribe(context, &notifier, &caller, request)),
        "Unsubscribe" => one("Unsubscribe", unsubscribe(&notifier, &caller, request)),
        "GetEvents" => {
            let mut outcome = one("GetEvents", get_events(&notifier, &caller, request));
            if let (true, Outcome::Answer(body)) = (context.profile.is_gromox(), &mut outcome) {
                // Quirk of gromox.
                for message in body.children.iter_mut().flat_map(|list| &mut list.children) {
                    "m:x".clone_into(&mut message.name);
                }
            }
            outcome
        }
        "GetStreamingEvents" => open_stream(&notifier, &caller, request),
        _ => return None,
    })
}

/// Who asks, and which server was reached.
pub(super) struct Caller {
    account: String,
    charged: String,
    server: usize,
}

/// Whose budget a request counts in: a copy of the impersonated mailbox's, else the account's.
fn charged(context: &Context<'_>) -> String {
    match context
        .acting
        .and_then(|number| context.store.mailbox(number))
    {
        Some(mailbox) => mailbox.primary.to_lowercase(),
        None => format!("account {}", context.account.user.to_lowercase()),
    }
}

fn subscribe(
    context: &Context<'_>,
    notifier: &Notifier,
    caller: &Caller,
    request: &Element,
) -> Result<Vec<Element>, EwsError> {
    let invalid = || EwsError::of("ErrorInvalidSubscriptionRequest");
    let wanted = request.children.first().ok_or_else(invalid)?;
    let kind = match wanted.local() {
        "StreamingSubscriptionRequest" if notifier.settings.streaming => Kind::Streaming,
        "PullSubscriptionRequest" if notifier.settings.pull => {
            let minutes = wanted
                .child_text("t:Timeout")
                .and_then(|text| text.trim().parse::<u32>().ok())
                .ok_or_else(invalid)?;
            Kind::Pull(notifier.settings.minute * minutes)
        }
        // Push needs a listener that the server can reach; it is not played.
        _ => return Err(invalid()),
    };
    let all = matches!(wanted.get("SubscribeToAllFolders"), Some("true" | "1"));
    let named = wanted
        .child("t:FolderIds")
        .map(|list| list.children.as_slice())
        .unwrap_or_default();
    let mut mailboxes = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for id in named {
        let (mailbox, folder) = context.folder(id, false)?;
        mailboxes.insert(mailbox);
        folders.insert(folder);
    }
    if all {
        mailboxes.extend(context.acting);
    }
    let (Some(mailbox), 1, true) = (
        mailboxes.first().copied(),
        mailboxes.len(),
        all == named.is_empty(),
    ) else {
        return Err(invalid());
    };
    let home = context.store.mailbox(mailbox).map(|mailbox| mailbox.server);
    if home != Some(caller.server) && !context.profile.is_gromox() {
        return Err(EwsError::of("ErrorProxyRequestNotAllowed"));
    }
    let kinds = wanted
        .child("t:EventTypes")
        .into_iter()
        .flat_map(|list| &list.children)
        .filter_map(|kind| EventKind::read(kind.text.trim()))
        .collect();
    let mut state = notifier.state();
    let idle = notifier.settings.idle;
    state.subscriptions.retain(|_, one| !one.expired(idle));
    let held = state
        .subscriptions
        .values()
        .filter(|one| one.charged == caller.charged)
        .count();
    if held >= notifier.settings.max_subscriptions {
        return Err(EwsError::of("ErrorExceededSubscriptionCount"));
    }
    let next = match wanted.child_text("t:Watermark") {
        Some(text) => known_watermark(&state, text)?,
        None => state.next,
    };
    state.issued += 1;
    let id = subscription_id(state.issued, caller.server as u64);
    state.subscriptions.insert(
        id.clone(),
        Subscription {
            kind,
            account: caller.account.clone(),
            charged: caller.charged.clone(),
            mailbox,
            folders: (!all).then_some(folders),
            kinds,
            server: caller.server,
            next,
            stream: None,
            touched: Instant::now(),
            broken: None,
        },
    );
    let mut content = vec![Element::text("m:SubscriptionId", id)];
    if kind != Kind::Streaming && !context.profile.is_gromox() {
        content.push(Element::text("m:Watermark", watermark(next)));
    }
    Ok(content)
}

fn known_watermark(state: &State, text: &str) -> Result<u64, EwsError> {
    read_watermark(text.trim())
        .filter(|next| (state.first()..=state.next).contains(next))
        .ok_or_else(|| EwsError::of("ErrorInvalidWatermark"))
}

/// Finds a subscription that the caller may use.
pub(super) fn find<'a>(
    state: &'a mut State,
    notifier: &Notifier,
    caller: &Caller,
    id: &str,
) -> Result<&'a mut Subscription, &'static str> {
    if state
        .subscriptions
        .get(id)
        .is_some_and(|one| one.expired(notifier.settings.idle))
    {
        state.subscriptions.remove(id);
        return Err("ErrorExpiredSubscription");
    }
    let one = state
        .subscriptions
        .get_mut(id)
        .ok_or("ErrorSubscriptionNotFound")?;
    if one.server != caller.server {
        return Err("ErrorSubscriptionNotFound");
    }
    if one.account != caller.account {
        return Err("ErrorSubscriptionAccessDenied");
    }
    match one.broken {
        Some(code) => Err(code),
        None => Ok(one),
    }
}

fn unsubscribe(
    notifier: &Notifier,
    caller: &Caller,
    request: &Element,
) -> Result<Vec<Element>, EwsError> {
    let id = request.child_text("m:SubscriptionId").unwrap_or_default();
    let mut state = notifier.state();
    find(&mut state, notifier, caller, id.trim()).map_err(EwsError::of)?;
    state.subscriptions.remove(id.trim());
    drop(state);
    notifier.wake();
    Ok(Vec::new())
}

fn get_events(
    notifier: &Notifier,
    caller: &Caller,
    request: &Element,
) -> Result<Vec<Element>, EwsError> {
    let id = request
        .child_text("m:SubscriptionId")
        .unwrap_or_default()
        .trim();
    let gromox = notifier.profile.is_gromox();
    let mut state = notifier.state();
    let one = find(&mut state, notifier, caller, id).map_err(EwsError::of)?;
    if one.kind == Kind::Streaming {
        return Err(EwsError::of("ErrorInvalidPullSubscriptionId"));
    }
    one.touched = Instant::now();
    let one = one.clone();
    let from = if gromox {
        one.next
    } else {
        let text = request.child_text("m:Watermark").unwrap_or_default();
        known_watermark(&state, text)?
    };
    let mut notification =
        Element::new("m:Notification").with(Element::text("t:SubscriptionId", id));
    let mut next = from;
    let mut events = Vec::new();
    let mut more = false;
    for event in state.since(from) {
        if events.len() >= MOST_EVENTS {
            more = true;
            break;
        }
        next += 1;
        if one.wants(event) {
            events.push(event.element((!gromox).then_some(next)));
        }
    }
    if !gromox {
        notification = notification.with(Element::text("t:PreviousWatermark", watermark(from)));
    }
    notification = notification.with(Element::text(
        "t:MoreEvents",
        if more { "true" } else { "false" },
    ));
    if events.is_empty() && !gromox {
        events.push(
            Element::new("t:StatusEvent").with(Element::text("t:Watermark", watermark(next))),
        );
    }
    if let Some(one) = state.subscriptions.get_mut(id) {
        one.next = next;
    }
    Ok(vec![notification.with_all(events)])
}

fn open_stream(notifier: &Arc<Notifier>, caller: &Caller, request: &Element) -> Outcome {
    let ids: Vec<String> = request
        .child("m:SubscriptionIds")
        .into_iter()
        .flat_map(|list| &list.children)
        .map(|id| id.text.trim().to_owned())
        .collect();
    let minutes: u32 = request
        .child_text("m:ConnectionTimeout")
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1);
    if ids.len() > MOST_IDS {
        return EwsError::new(
            "ErrorInvalidRequest",
            "At most 200 subscriptions can be read by one request.",
        )
        .into();
    }
    let refuse = |code: &str, bad: &[String]| Outcome::Answer(stream::error(code, bad));
    let mut state = notifier.state();
    let mut bad = Vec::new();
    let mut code = "";
    for id in &ids {
        let found = find(&mut state, notifier, caller, id).and_then(|one| match one.kind {
            Kind::Streaming => Ok(()),
            Kind::Pull(_) => Err("ErrorInvalidSubscription"),
        });
        if let Err(reason) = found {
            code = reason;
            bad.push(id.clone());
        }
    }
    // One bad id spoils the request for all.
    if !bad.is_empty() {
        return refuse(code, &bad);
    }
    let held = state.open.get(&caller.charged).copied().unwrap_or_default();
    if held >= notifier.max_streams() {
        return refuse("ErrorExceededConnectionCount", &[]);
    }
    *state.open.entry(caller.charged.clone()).or_default() += 1;
    state.streams += 1;
    let (number, now) = (state.streams, state.next);
    for id in &ids {
        if let Some(one) = state.subscriptions.get_mut(id) {
            one.stream = Some(number);
            if !notifier.settings.queued {
                one.next = now;
            }
        }
    }
    let failures = state.failures(caller.server);
    drop(state);
    // An older stream of the same subscriptions learns that it was replaced.
    notifier.wake();
    let seat = Seat {
        notifier: Arc::clone(notifier),
        charged: caller.charged.clone(),
        number,
    };
    Outcome::Stream(Stream::open(
        seat,
        ids,
        caller.server,
        failures,
        notifier.settings.minute * minutes,
    ))
}
