//! What follows from the end of a stream.

use calbridge_core::model::CalendarRef;
use tokio::time::{Duration, Instant};

use super::{Mode, Open, Supervisor};
use crate::config::Access;
use crate::watch::line::End;
use crate::watch::reaction::{self, Reaction};

/// How many streams in a row must have been held back before events are pulled.
const WITHHELD: u32 = 3;
/// How many anchors are tried before an account's budget of streams is taken for spent.
const CROWDED: usize = 3;
/// After how many streams in a row that did not last even a minute events are pulled.
const HOPELESS: u32 = 3;
/// After how many streams in a row that lasted they are asked to last longer again.
const TRUSTED: u32 = 10;
/// How often in a row a stream may not find a calendar's subscription before it is pulled.
const STRAYED: u32 = 4;

impl Supervisor {
    pub(super) fn ended(&mut self, number: u64, end: End, now: Instant) {
        let named = match &end {
            End::Failed(_, ids) => self.calendars_of(number, ids),
            _ => Vec::new(),
        };
        let Some(open) = self.lines.remove(&number) else {
            return;
        };
        let lasted = open.begun.map(|begun| now.duration_since(begun));
        let calendars = self.free(number, open.calendars.clone(), now);
        // A minute is the least that a stream can be asked to last.
        let settled = lasted.is_some_and(|lasted| lasted >= self.inner.tempo.minute / 2);
        if settled {
            for calendar in &calendars {
                if let Some(member) = self.members.get_mut(calendar) {
                    member.failures = 0;
                }
            }
            if let Some(server) = self.servers.get_mut(&open.server) {
                server.failures = 0;
            }
        }
        match &end {
            End::Closed => {
                self.closed();
                self.merge(&open.server, now);
                if !settled && !calendars.is_empty() {
                    self.put_off(&open, None, now);
                }
                return;
            }
            _ => tracing::info!(
                code = end.error().code,
                error = %end.error(),
                calendars = calendars.len(),
                "A stream of notifications ended."
            ),
        }
        match end {
            End::Closed => {}
            End::Withheld => {
                self.withheld += 1;
                if self.withheld >= WITHHELD || matches!(self.mode, Mode::Pulls { .. }) {
                    self.all_pulls(now, &end.error());
                } else {
                    self.put_off(&open, None, now);
                }
            }
            End::Silent | End::Broken => {
                if lasted.is_some_and(|lasted| self.broke(lasted, open.minutes)) {
                    self.all_pulls(now, &end.error());
                } else if self.put_off(&open, None, now) >= self.inner.tempo.gives_up {
                    for calendar in &calendars {
                        self.pull_instead(calendar, now);
                    }
                    self.recover_later(now);
                }
            }
            End::Failed(error, ids) => match reaction::of(&error) {
                Reaction::Resubscribe => {
                    for calendar in named {
                        if self.strayed(&calendar) {
                            self.pull_instead(&calendar, now);
                            self.recover_later(now);
                        } else {
                            self.failed(&calendar, &error, now);
                        }
                    }
                }
                Reaction::Operator => {
                    // Where nobody is named, it is the one on whose behalf the stream was to be opened.
                    let blamed = if ids.is_empty() {
                        vec![open.anchor.clone()]
                    } else {
                        named
                    };
                    for calendar in blamed {
                        self.failed(&calendar, &error, now);
                    }
                }
                Reaction::FewerStreams => {
                    self.fewer(&open, now);
                    self.put_off(&open, None, now);
                }
                Reaction::NotOffered => self.all_pulls(now, &error),
                // Other servers' streams are another matter, whatever the scope.
                Reaction::FewerSubscriptions | Reaction::Later | Reaction::Nobody => {
                    self.put_off(&open, error.wait(), now);
                }
            },
        }
    }

    /// Whether a stream failed to find the calendar's subscription again and again: a front that tells no servers
    /// apart, perhaps. Pulling has a way of its own.
    pub(super) fn strayed(&mut self, calendar: &CalendarRef) -> bool {
        let Some(member) = self.members.get_mut(calendar) else {
            return false;
        };
        member.strays += 1;
        member.strays >= STRAYED
    }

    /// A server rests for a while: next to nothing after the first failure. Gives its failures in a row.
    pub(super) fn put_off(&mut self, open: &Open, told: Option<Duration>, now: Instant) -> u32 {
        let tempo = self.inner.tempo;
        let server = self.servers.entry(open.server.clone()).or_default();
        server.failures += 1;
        let failures = server.failures;
        let wait = match failures {
            1 => tempo.retry / 25,
            more => tempo.back_off(more - 1),
        };
        let wait = wait.max(told.unwrap_or_default());
        let wait = self.jittered(wait, &open.anchor);
        if let Some(server) = self.servers.get_mut(&open.server) {
            server.not_before = Some(now + wait);
        }
        failures
    }

    /// A stream broke: where that happens again and again at one age, something ends long connections, and streams
    /// are asked to end before that. True if even the shortest do not last.
    pub(super) fn broke(&mut self, lasted: Duration, minutes: u32) -> bool {
        let minute = self.inner.tempo.minute;
        let slack = if minutes > 1 { minute / 2 } else { minute / 20 };
        // What breaks in its first seconds has other reasons than its age.
        if lasted < minute / 6 || lasted + slack >= minute * minutes {
            return false;
        }
        self.closes = 0;
        let (count, age) = self.breaks;
        let alike = lasted.abs_diff(age) <= age / 5;
        if minutes <= 1 {
            self.breaks = (count + 1, lasted);
            return self.breaks.0 >= HOPELESS;
        }
        self.breaks = (if alike { count + 1 } else { 1 }, lasted);
        if self.breaks.0 >= 2 {
            let whole = lasted.min(age).as_secs_f64() / minute.as_secs_f64().max(0.001);
            let shorter = (1..minutes)
                .rev()
                .find(|shorter| f64::from(*shorter) < whole);
            self.minutes = shorter.unwrap_or(1);
            self.breaks = (0, Duration::ZERO);
            tracing::info!(
                minutes = self.minutes,
                "Streams of notifications break at one age; they are asked to end before it."
            );
        }
        false
    }

    /// A stream ended when it was to: what broke streams before may be over.
    pub(super) fn closed(&mut self) {
        self.breaks = (0, Duration::ZERO);
        self.closes += 1;
        if self.closes >= TRUSTED && self.minutes < self.inner.tempo.minutes {
            self.closes = 0;
            self.minutes = (self.minutes * 2).min(self.inner.tempo.minutes);
        }
    }

    /// The budget of streams is spent: that of the mailbox on whose behalf it was, so another one has a try; or the
    /// account's.
    pub(super) fn fewer(&mut self, open: &Open, now: Instant) {
        let impersonates = self.inner.client.settings().access == Access::Impersonation;
        self.crowded.insert(open.anchor.clone());
        let tried = |calendar: &CalendarRef| self.crowded.contains(calendar);
        let spent = self.crowded.len() >= CROWDED || open.calendars.iter().all(tried);
        if !impersonates {
            self.most_lines = self.lines.len();
        } else if spent {
            for calendar in &open.calendars {
                self.pull_instead(calendar, now);
            }
        }
        if spent || !impersonates {
            tracing::info!(
                streams = self.lines.len(),
                "Exchange allows no more streams; the other calendars are pulled."
            );
        }
        self.recover_later(now);
    }

    /// What is pulled for want of streams is streamed again some time.
    pub(super) fn recover_later(&mut self, now: Instant) {
        self.most_again.get_or_insert(now + self.inner.tempo.probe);
    }
}
