//! Which calendars share which streams.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use calbridge_core::connector::Error;
use calbridge_core::model::CalendarRef;
use tokio::time::Instant;

use super::members::{Member, Place};
use super::{Mode, NAP, Open, Supervisor};
use crate::watch::line::Line;

impl Supervisor {
    /// Opens streams for those that are ready. `waiting`: how many are still to be subscribed.
    pub(super) fn form(&mut self, now: Instant, waiting: usize) -> Instant {
        let tempo = self.inner.tempo;
        let mut ready: BTreeMap<String, Vec<(CalendarRef, Instant)>> = BTreeMap::new();
        for (calendar, member) in &self.members {
            if let (Place::Ready { since }, Some(subscription)) =
                (&member.place, &member.subscription)
            {
                let of_server = ready.entry(subscription.server.clone()).or_default();
                of_server.push((calendar.clone(), *since));
            }
        }
        let mut wake = now + NAP;
        for (server, mut calendars) in ready {
            let held = self.servers.get(&server).and_then(|one| one.not_before);
            if let Some(held) = held.filter(|held| *held > now) {
                wake = wake.min(held);
                continue;
            }
            let oldest = calendars.iter().map(|(_, since)| *since).min();
            let given_up = oldest.map_or(now, |oldest| oldest + tempo.gather);
            let settled = self.moved + tempo.settle;
            let alone = waiting == 0 && (self.subscribing == 0 || settled <= now);
            let full_only = !alone && given_up > now;
            if full_only {
                wake = wake.min(given_up);
                if waiting == 0 {
                    wake = wake.min(settled);
                }
            }
            calendars.sort_by(|one, other| one.0.address.as_str().cmp(other.0.address.as_str()));
            let mut calendars: Vec<CalendarRef> =
                calendars.into_iter().map(|(one, _)| one).collect();
            let fewest = if full_only { tempo.group } else { 1 };
            while calendars.len() >= fewest {
                let rest = calendars.split_off(calendars.len().min(tempo.group));
                self.open(&server, calendars, now);
                calendars = rest;
            }
        }
        wake
    }

    /// Opens a stream for at most as many calendars as one may have; where there may be no more streams, with those
    /// of one that has room; else they are pulled.
    pub(super) fn open(&mut self, server: &str, mut calendars: Vec<CalendarRef>, now: Instant) {
        let tempo = self.inner.tempo;
        if self.lines.len() >= self.most_lines {
            let roomy = self
                .lines
                .iter()
                .filter(|(_, open)| {
                    open.server == server && open.calendars.len() + calendars.len() <= tempo.group
                })
                .min_by_key(|(_, open)| open.calendars.len())
                .map(|(number, _)| *number);
            match roomy {
                Some(number) => calendars.extend(self.close(number, now)),
                None => {
                    for calendar in calendars {
                        self.pull_instead(&calendar, now);
                    }
                    return;
                }
            }
        }
        let number = self.number();
        let mut subscriptions = HashMap::new();
        for calendar in &calendars {
            if let Some(member) = self.members.get_mut(calendar)
                && let Some(subscription) = &member.subscription
            {
                subscriptions.insert(subscription.id.clone(), calendar.clone());
                member.place = Place::Reading { line: number };
            }
        }
        let uncrowded = calendars.iter().find(|one| !self.crowded.contains(one));
        let Some(anchor) = uncrowded.or(calendars.first()).cloned() else {
            return;
        };
        let cookie = self
            .members
            .get(&anchor)
            .and_then(|member| member.subscription.as_ref()?.cookie.clone());
        let line = Line {
            number,
            anchor: anchor.clone(),
            cookie,
            subscriptions,
            minutes: self.minutes,
        };
        let task = tokio::spawn(line.run(
            Arc::clone(&self.inner),
            Arc::clone(&self.board),
            self.tell.clone(),
        ));
        let open = Open {
            server: server.to_owned(),
            anchor,
            calendars: calendars.into_iter().collect(),
            begun: None,
            minutes: self.minutes,
            task: task.abort_handle(),
        };
        self.lines.insert(number, open);
    }

    /// Closes a stream; its calendars are ready for another.
    pub(super) fn close(&mut self, number: u64, now: Instant) -> Vec<CalendarRef> {
        let Some(open) = self.lines.remove(&number) else {
            return Vec::new();
        };
        open.task.abort();
        self.free(number, open.calendars, now)
    }

    /// Calendars of a stream that ended are ready for another. Those that went elsewhere meanwhile are left out.
    pub(super) fn free(
        &mut self,
        number: u64,
        calendars: HashSet<CalendarRef>,
        now: Instant,
    ) -> Vec<CalendarRef> {
        let mut freed = Vec::new();
        for calendar in calendars {
            if let Some(member) = self.members.get_mut(&calendar)
                && matches!(member.place, Place::Reading { line } if line == number)
            {
                member.place = Place::Ready { since: now };
                freed.push(calendar);
            }
        }
        freed
    }

    /// A stream's time was up: if its server has more streams than need be, they become one.
    pub(super) fn merge(&mut self, server: &str, now: Instant) {
        let others: Vec<u64> = self
            .lines
            .iter()
            .filter(|(_, open)| open.server == server)
            .map(|(number, _)| *number)
            .collect();
        let held = |member: &&Member| {
            let subscription = member.subscription.as_ref();
            subscription.is_some_and(|one| one.server == server) && !member.pulls
        };
        let total = self.members.values().filter(held).count();
        if others.len() + 1 > total.div_ceil(self.inner.tempo.group) {
            for number in others {
                self.close(number, now);
            }
        }
    }

    pub(super) fn opened(&mut self, number: u64, now: Instant) {
        let Some(open) = self.lines.get_mut(&number) else {
            return;
        };
        open.begun = Some(now);
        tracing::debug!(
            calendars = open.calendars.len(),
            minutes = open.minutes,
            "A stream of notifications has begun."
        );
        for calendar in &open.calendars {
            if let Some(member) = self.members.get_mut(calendar) {
                member.strays = 0;
            }
        }
        self.withheld = 0;
        if matches!(self.mode, Mode::Pulls { .. }) {
            self.all_streams(now);
        }
    }

    pub(super) fn lost(
        &mut self,
        number: u64,
        subscriptions: &[String],
        error: &Error,
        now: Instant,
    ) {
        for calendar in self.calendars_of(number, subscriptions) {
            if let Some(open) = self.lines.get_mut(&number) {
                open.calendars.remove(&calendar);
            }
            self.failed(&calendar, error, now);
        }
    }

    /// The calendars of a stream whose subscriptions these are; all of them, where none is named.
    pub(super) fn calendars_of(&self, number: u64, subscriptions: &[String]) -> Vec<CalendarRef> {
        let Some(open) = self.lines.get(&number) else {
            return Vec::new();
        };
        let named = |calendar: &CalendarRef| {
            let subscription = self
                .members
                .get(calendar)
                .and_then(|member| member.subscription.as_ref());
            subscription.is_some_and(|one| subscriptions.contains(&one.id))
        };
        open.calendars
            .iter()
            .filter(|calendar| subscriptions.is_empty() || named(calendar))
            .cloned()
            .collect()
    }
}
