//! Streams or pulling: which of the two, and when the other is tried again.

use calbridge_core::connector::Error;
use calbridge_core::model::CalendarRef;
use tokio::time::Instant;

use super::members::{Member, Place};
use super::{Mode, Supervisor};

impl Supervisor {
    pub(super) fn pull_instead(&mut self, calendar: &CalendarRef, now: Instant) {
        self.stirred = true;
        let Some(member) = self.members.get_mut(calendar) else {
            return;
        };
        member.pulls = true;
        if let Some(subscription) = member.again(now) {
            self.unsubscribe(calendar.clone(), subscription);
        }
    }

    /// Streams do not work: all is pulled.
    pub(super) fn all_pulls(&mut self, now: Instant, why: &Error) {
        let again = now + self.inner.tempo.probe;
        if matches!(self.mode, Mode::Streams) {
            tracing::warn!(
                code = why.code,
                error = %why,
                "Streams of notifications do not work here; events are pulled, and streams are tried again later."
            );
        }
        self.mode = Mode::Pulls { again };
        self.withheld = 0;
        for (_, open) in self.lines.drain() {
            open.task.abort();
        }
        let calendars: Vec<CalendarRef> = self
            .members
            .iter()
            .filter(|(_, member)| !member.pulls)
            .map(|(calendar, _)| calendar.clone())
            .collect();
        for calendar in calendars {
            self.pull_instead(&calendar, now);
        }
    }

    /// Streams may work (again): those that are pulled are streamed.
    pub(super) fn all_streams(&mut self, now: Instant) {
        self.mode = Mode::Streams;
        let pulled: Vec<CalendarRef> = self
            .members
            .iter()
            .filter(|(_, member)| member.pulls)
            .map(|(calendar, _)| calendar.clone())
            .collect();
        for calendar in pulled {
            self.stream_instead(&calendar, now);
        }
    }

    pub(super) fn stream_instead(&mut self, calendar: &CalendarRef, now: Instant) {
        self.stirred = true;
        let Some(member) = self.members.get_mut(calendar) else {
            return;
        };
        member.pulls = false;
        if let Place::Pulling { task } = &member.place {
            task.abort();
        }
        if let Some(subscription) = member.again(now) {
            self.unsubscribe(calendar.clone(), subscription);
        }
    }

    /// Where streams did not work, one calendar tries again.
    pub(super) fn probe(&mut self, now: Instant) {
        let Mode::Pulls { again } = self.mode else {
            return;
        };
        if again > now {
            return;
        }
        self.mode = Mode::Pulls {
            again: now + self.inner.tempo.probe,
        };
        let pulled = |member: &Member| matches!(member.place, Place::Pulling { .. });
        let mut candidates = self.members.iter();
        let first = candidates.find(|(_, member)| pulled(member));
        if let Some(calendar) = first.map(|(calendar, _)| calendar.clone()) {
            self.stream_instead(&calendar, now);
        }
    }
}
