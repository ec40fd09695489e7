//! Subscriptions: made, refused, ended.

use std::sync::Arc;

use calbridge_core::connector::{Error, Result, Scope};
use calbridge_core::model::CalendarRef;
use tokio::time::{Duration, Instant};

use super::members::Place;
use super::{Event, Subscription, Supervisor};
use crate::client::{Affinity, ServerFacts};
use crate::config::Access;
use crate::error::WireError;
use crate::request;
use crate::source::Inner;
use crate::watch::pull;
use crate::watch::reaction::{self, Reaction};

/// HangingConnectionLimit, where streams are charged to the account: Exchange 2013, and later versions.
const STREAMS_2013: usize = 3;
const STREAMS_LATER: usize = 10;

impl Supervisor {
    pub(super) fn subscribe(&mut self, calendar: CalendarRef) {
        let ticket = self.number();
        let Some(member) = self.members.get_mut(&calendar) else {
            return;
        };
        member.place = Place::Subscribing { ticket };
        let pulls = member.pulls;
        self.subscribing += 1;
        let (inner, tell) = (Arc::clone(&self.inner), self.tell.clone());
        tokio::spawn(async move {
            let (facts, result) = subscribe(&inner, &calendar, pulls).await;
            let subscribed = Event::Subscribed {
                calendar,
                ticket,
                facts,
                result,
            };
            let _ = tell.send(subscribed).await;
        });
    }

    /// Ends a subscription; what becomes of it does not matter: it lapses by itself.
    pub(super) fn unsubscribe(&self, calendar: CalendarRef, subscription: Subscription) {
        let (inner, turns) = (Arc::clone(&self.inner), Arc::clone(&self.turns));
        tokio::spawn(async move {
            if let Ok(_turn) = turns.acquire().await {
                unsubscribe(&inner, &calendar, &subscription).await;
            }
        });
    }

    pub(super) fn subscribed(
        &mut self,
        calendar: CalendarRef,
        ticket: u64,
        facts: &ServerFacts,
        result: Result<Subscription>,
        now: Instant,
    ) {
        self.subscribing = self.subscribing.saturating_sub(1);
        self.moved = now;
        self.learn(facts);
        let here = self.members.get_mut(&calendar).filter(
            |member| matches!(member.place, Place::Subscribing { ticket: own } if own == ticket),
        );
        let Some(member) = here else {
            // It left meanwhile.
            if let Ok(subscription) = result {
                self.unsubscribe(calendar, subscription);
            }
            return;
        };
        match result {
            Ok(subscription) => {
                self.hold = None;
                self.holds = 0;
                member.told = false;
                member.subscription = Some(subscription.clone());
                member.place = if member.pulls {
                    let task = tokio::spawn(pull::run(
                        Arc::clone(&self.inner),
                        Arc::clone(&self.board),
                        self.tell.clone(),
                        Arc::clone(&self.turns),
                        calendar,
                        subscription,
                    ));
                    Place::Pulling {
                        task: task.abort_handle(),
                    }
                } else {
                    Place::Ready { since: now }
                };
            }
            Err(error) => self.failed(&calendar, &error, now),
        }
    }

    /// Without impersonation all streams are charged to the account, whose limit is the version's.
    pub(super) fn learn(&mut self, facts: &ServerFacts) {
        if self.inner.client.settings().access == Access::Delegate
            && let Some(version) = &facts.version
            && self.most_again.is_none()
        {
            let each = if version.minor == "0" {
                STREAMS_2013
            } else {
                STREAMS_LATER
            };
            self.most_lines = each.saturating_mul(self.inner.client.accounts().count());
        }
    }

    /// A calendar could not be subscribed, or no longer be read.
    pub(super) fn failed(&mut self, calendar: &CalendarRef, error: &Error, now: Instant) {
        let tempo = self.inner.tempo;
        let reaction = reaction::of(error);
        if reaction == Reaction::Nobody {
            self.holds += 1;
            let wait = tempo
                .back_off(self.holds)
                .max(error.wait().unwrap_or_default());
            self.hold = Some(now + self.jittered(wait, calendar));
            tracing::warn!(
                code = error.code,
                %error,
                "Calendars cannot be watched now; it is tried again."
            );
            if let Some(member) = self.members.get_mut(calendar) {
                // Others first: it may be the only one.
                member.failures += 1;
                let failures = member.failures;
                member.again(now);
                let due = now + wait.max(tempo.back_off(failures));
                member.place = Place::Waiting { due };
            }
            return;
        }
        let Some(member) = self.members.get_mut(calendar) else {
            return;
        };
        member.failures += 1;
        let failures = member.failures;
        let wait = match reaction {
            // At once, and later only if that was of no use.
            Reaction::Resubscribe if failures == 1 => Duration::ZERO,
            Reaction::NotOffered if !member.pulls => {
                member.pulls = true;
                Duration::ZERO
            }
            Reaction::NotOffered | Reaction::Operator => tempo.slow_back_off(failures),
            Reaction::FewerSubscriptions => tempo.probe / 2,
            _ => tempo
                .back_off(failures)
                .max(error.wait().unwrap_or_default()),
        };
        let lasting = !wait.is_zero()
            && (failures >= 3 || !matches!(reaction, Reaction::Resubscribe | Reaction::Later));
        let tells = lasting && !member.told;
        member.told |= lasting;
        member.again(now);
        let due = now + self.jittered(wait, calendar);
        if let Some(member) = self.members.get_mut(calendar) {
            member.place = Place::Waiting { due };
        }
        if tells {
            let error = reaction::unwatchable(error);
            tracing::warn!(
                calendar = calendar.handle(),
                code = error.code,
                %error,
                "A calendar cannot be watched."
            );
            self.board.unwatchable(calendar, error);
        } else {
            tracing::debug!(
                calendar = calendar.handle(),
                code = error.code,
                ?reaction,
                "A calendar is not watched now."
            );
        }
    }
}

/// Subscribes to a calendar on behalf of its mailbox. The server that answers keeps the subscription.
async fn subscribe(
    inner: &Inner,
    calendar: &CalendarRef,
    pulls: bool,
) -> (ServerFacts, Result<Subscription>) {
    let target = inner.target(calendar);
    let body = if pulls {
        request::subscribe_pull(&target, pull::LIFETIME)
    } else {
        request::subscribe_streaming(&target)
    };
    let affinity = Affinity {
        anchor: &calendar.address,
        cookie: None,
    };
    let answer = inner
        .client
        .ask(Some(&calendar.address), Some(affinity), &body)
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (ServerFacts::default(), Err(error)),
    };
    let facts = answer.facts;
    let result = answer.reply.and_then(|reply| {
        let message = reply.messages.into_iter().next();
        let message = message.ok_or_else(|| missing("a response message"))?;
        let message = inner.client.checked(message, Scope::Calendar)?;
        let id = message
            .subscription
            .filter(|id| !id.is_empty())
            .ok_or_else(|| missing("a subscription"))?;
        let endpoints = inner.client.endpoints();
        let server = facts.back_end.clone().or_else(|| facts.cookie.clone());
        let server = server.or_else(|| endpoints.group(&calendar.address));
        let mut server = server.unwrap_or_default();
        // Two sites may give their servers the same names.
        if let Some(place) = endpoints.place(&calendar.address) {
            server = format!("{place}|{server}");
        }
        let accounts = inner.client.accounts();
        Ok(Subscription {
            id,
            // An account's streams read its own subscriptions alone.
            server: match accounts.count() {
                1 => server,
                _ => format!("{}|{server}", accounts.of(&calendar.address)),
            },
            cookie: facts.cookie.clone(),
            watermark: message.watermark,
        })
    });
    (facts, result)
}

pub(super) async fn unsubscribe(
    inner: &Inner,
    calendar: &CalendarRef,
    subscription: &Subscription,
) {
    let affinity = Affinity {
        anchor: &calendar.address,
        cookie: subscription.cookie.as_deref(),
    };
    let body = request::unsubscribe(&subscription.id);
    let _ = inner
        .client
        .ask(Some(&calendar.address), Some(affinity), &body)
        .await;
}

fn missing(what: &'static str) -> Error {
    WireError::Missing(what).of("Subscribe")
}
