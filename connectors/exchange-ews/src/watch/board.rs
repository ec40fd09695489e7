//! Hints until they are asked for: at most one entry for each calendar, however much happens.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use calbridge_core::connector::{Error, ErrorKind, Hint, Result, Scope};
use calbridge_core::model::CalendarRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Tempo;

#[derive(Debug)]
enum News {
    Dirty,
    Gap,
    Unwatchable(Error),
}

#[derive(Debug, Default)]
struct State {
    wanted: HashSet<CalendarRef>,
    news: HashMap<CalendarRef, (News, Instant)>,
    ended: Option<Error>,
}

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: Notify,
    tempo: Tempo,
}

impl Board {
    pub(crate) fn new(tempo: Tempo) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            tempo,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which calendars are watched; news of others is forgotten.
    pub(crate) fn want(&self, calendars: &[CalendarRef]) {
        let mut state = self.state();
        state.wanted = calendars.iter().cloned().collect();
        let State { wanted, news, .. } = &mut *state;
        news.retain(|calendar, _| wanted.contains(calendar));
    }

    fn put(&self, calendar: &CalendarRef, news: News, ripe: Instant) {
        let mut state = self.state();
        if !state.wanted.contains(calendar) {
            return;
        }
        match state.news.get_mut(calendar) {
            None => {
                state.news.insert(calendar.clone(), (news, ripe));
            }
            // More of the same changes nothing, and puts nothing off.
            Some((News::Dirty | News::Gap, _)) if matches!(news, News::Dirty) => {}
            Some(known) => *known = (news, ripe),
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Something happened in the calendar.
    pub(crate) fn dirty(&self, calendar: &CalendarRef) {
        self.put(calendar, News::Dirty, Instant::now() + self.tempo.debounce);
    }

    /// It is watched from now on, and may have changed before.
    pub(crate) fn gap(&self, calendar: &CalendarRef) {
        self.put(calendar, News::Gap, Instant::now());
    }

    /// It is not watched.
    pub(crate) fn unwatchable(&self, calendar: &CalendarRef, error: Error) {
        self.put(calendar, News::Unwatchable(error), Instant::now());
    }

    /// There is no more to come.
    pub(crate) fn end(&self, error: Error) {
        self.state().ended.get_or_insert(error);
        self.changed.notify_one();
    }

    /// Ends the board when it is dropped: whoever would write on it is gone, whatever became of it.
    pub(crate) fn fate(self: &Arc<Self>) -> Fate {
        Fate(Arc::clone(self))
    }

    /// Waits for ripe news. Given up half-way, it has taken none.
    ///
    /// # Errors
    /// There is no more to come.
    pub(crate) async fn next(&self) -> Result<Vec<Hint>> {
        let alive = Instant::now() + self.tempo.alive;
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            let until = {
                let mut state = self.state();
                let hints: Vec<Hint> = state
                    .news
                    .extract_if(|_, (_, ripe)| *ripe <= now)
                    .map(|(calendar, (news, _))| match news {
                        News::Dirty => Hint::Dirty(calendar),
                        News::Gap => Hint::Gap(calendar),
                        News::Unwatchable(error) => Hint::Unwatchable(calendar, error),
                    })
                    .collect();
                if !hints.is_empty() {
                    return Ok(hints);
                }
                if let Some(error) = &state.ended {
                    return Err(error.clone());
                }
                let ripe = state.news.values().map(|(_, ripe)| *ripe).min();
                ripe.unwrap_or(alive).min(alive)
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until) => {
                    if until == alive {
                        return Ok(Vec::new());
                    }
                }
            }
        }
    }
}

/// See [`Board::fate`].
pub(crate) struct Fate(Arc<Board>);

impl Drop for Fate {
    fn drop(&mut self) {
        self.0.end(Error::new(
            ErrorKind::Transient,
            Scope::Connection,
            "ews.watch",
            "the watch on calendars ended; it is begun again, and calendars are polled meanwhile",
        ));
    }
}
