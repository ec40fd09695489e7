//! Whether our clock can be believed: it must not jump, nor differ from all servers' clocks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, Heard};

/// By how much our clock may move against the time that has passed.
const JUMP: SignedDuration = SignedDuration::from_hours(1);
/// By how much our clock may differ from a server's.
const DIFFERENCE: SignedDuration = SignedDuration::from_mins(5);

/// What a server told counts for as long as others have not told something newer for so long: clocks drift.
const CURRENT: Duration = Duration::from_secs(3600);

/// What is to be thought of the present time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Believed {
    /// The time that windows are reckoned from.
    pub(super) now: Timestamp,
    /// Whether our clock is believed. If not, nothing is deleted.
    pub(super) trusted: bool,
}

/// Looks at our clock again and again.
#[derive(Debug, Default)]
pub(super) struct ClockWatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<(Timestamp, Duration)>,
    jumped: Option<Jump>,
    suspect: bool,
}

/// Our clock jumped, and nothing has confirmed it since.
#[derive(Debug, Clone, Copy)]
struct Jump {
    /// What it should have shown ...
    expected: Timestamp,
    /// ... when it had run for so long.
    at: Duration,
    /// What servers told before then was measured with another clock.
    since: Duration,
}

impl ClockWatch {
    /// Whether the clock can be believed now.
    pub(super) fn look(&self, clock: &dyn Clock) -> Believed {
        let now = clock.now();
        let Some(elapsed) = clock.elapsed() else {
            return Believed { now, trusted: true };
        };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let believed = state.look(now, elapsed, &clock.heard());
        if believed.trusted == state.suspect {
            state.suspect = !believed.trusted;
            if believed.trusted {
                tracing::info!("This computer's clock can be believed again.");
            } else {
                let off = now.duration_since(believed.now).as_secs();
                tracing::error!(
                    code = "clock",
                    seconds = off,
                    "This computer's clock seems to be wrong: it jumped, or differs from the servers' clocks. Nothing is deleted and no window moves until that is mended; synchronise it with a time server."
                );
            }
        }
        believed
    }
}

impl State {
    fn look(&mut self, now: Timestamp, elapsed: Duration, heard: &[Heard]) -> Believed {
        if let Some((wall, then)) = self.last {
            let expected = after(wall, elapsed.saturating_sub(then));
            if now.duration_since(expected).abs() > JUMP {
                self.jumped = Some(Jump {
                    since: elapsed,
                    ..self.jumped.unwrap_or(Jump {
                        expected,
                        at: elapsed,
                        since: elapsed,
                    })
                });
            }
        }
        self.last = Some((now, elapsed));
        let expected = |jump: &Jump| after(jump.expected, elapsed.saturating_sub(jump.at));
        // It was set back.
        self.jumped = self
            .jumped
            .filter(|jump| now.duration_since(expected(jump)).abs() > JUMP);
        let since = self.jumped.map_or(Duration::ZERO, |jump| jump.since);
        let newest = heard.iter().map(|heard| heard.at).max().unwrap_or_default();
        let nearest = heard
            .iter()
            .filter(|heard| heard.at >= since && heard.at + CURRENT >= newest)
            .map(|heard| heard.ahead)
            .min_by_key(|ahead| ahead.abs());
        match (nearest, &self.jumped) {
            // One server that agrees is enough: another one's clock may be wrong.
            (Some(ahead), _) if ahead.abs() <= DIFFERENCE => {
                self.jumped = None;
                Believed { now, trusted: true }
            }
            (Some(ahead), _) => Believed {
                now: now.checked_add(ahead).unwrap_or(now),
                trusted: false,
            },
            (None, Some(jump)) => Believed {
                now: expected(jump),
                trusted: false,
            },
            (None, None) => Believed { now, trusted: true },
        }
    }
}

fn after(at: Timestamp, passed: Duration) -> Timestamp {
    SignedDuration::try_from(passed)
        .ok()
        .and_then(|passed| at.checked_add(passed).ok())
        .unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn look(state: &mut State, wall: i64, elapsed: u64, heard: &[(i64, u64)]) -> (i64, bool) {
        let heard: Vec<Heard> = heard
            .iter()
            .map(|(ahead, at)| Heard {
                ahead: SignedDuration::from_secs(*ahead),
                at: Duration::from_secs(*at),
            })
            .collect();
        let believed = state.look(at(wall), Duration::from_secs(elapsed), &heard);
        (
            believed.now.as_second() - at(0).as_second(),
            believed.trusted,
        )
    }

    #[test]
    fn time_that_passes_is_believed_and_so_are_small_corrections() {
        let mut state = State::default();
        for (wall, elapsed) in [
            (0, 0),
            (60, 60),
            (3_660, 100),
            (120, 120),
            (10 * DAY, 864_000),
        ] {
            assert_eq!(look(&mut state, wall, elapsed, &[]), (wall, true), "{wall}");
        }
    }

    #[test]
    fn a_jump_is_not_believed_until_the_clock_is_set_back_or_a_server_agrees() {
        for jump in [30 * DAY, -30 * DAY] {
            let mut state = State::default();
            look(&mut state, 0, 0, &[(0, 0)]);
            let before = &[(0, 0)];
            assert_eq!(look(&mut state, jump, 10, before), (10, false));
            assert_eq!(look(&mut state, jump + 90, 100, before), (100, false));
            let mut confirmed = State { ..state_of(&state) };
            assert_eq!(
                look(&mut confirmed, jump + 100, 110, &[(2, 105)]),
                (jump + 100, true)
            );
            // The server says that it was wrong.
            assert_eq!(
                look(&mut state, jump + 100, 110, &[(-jump, 105)]),
                (100, false)
            );
            assert_eq!(look(&mut state, 120, 120, before), (120, true));
        }
    }

    fn state_of(state: &State) -> State {
        State {
            last: state.last,
            jumped: state.jumped,
            suspect: state.suspect,
        }
    }

    #[test]
    fn a_clock_that_no_server_shares_is_not_believed_and_one_that_any_shares_is() {
        let mut state = State::default();
        assert_eq!(look(&mut state, 0, 0, &[]), (0, true));
        assert_eq!(look(&mut state, 5, 5, &[(301, 1)]), (306, false));
        assert_eq!(look(&mut state, 6, 6, &[(301, 1), (-299, 2)]), (6, true));
        assert_eq!(
            look(&mut state, 7, 7, &[(4_000, 1), (-600, 2)]),
            (-593, false)
        );
        // Mended.
        assert_eq!(
            look(&mut state, -592, 8, &[(4_600, 8), (0, 8)]),
            (-592, true)
        );
    }

    #[test]
    fn what_one_server_told_long_before_another_confirms_no_clock() {
        let mut state = State::default();
        let hour = 3_600;
        assert_eq!(
            look(&mut state, 1, 2 * hour, &[(0, hour), (301, 2 * hour)]),
            (1, true)
        );
        assert_eq!(
            look(
                &mut state,
                2,
                2 * hour + 1,
                &[(0, hour), (301, 2 * hour + 1)]
            ),
            (303, false)
        );
        // Nobody told anything since: nothing speaks for the clock.
        let (_, trusted) = look(&mut state, 3, 9 * hour, &[(0, hour), (301, 2 * hour + 1)]);
        assert!(!trusted);
    }

    #[test]
    fn a_second_jump_does_not_make_the_first_one_true() {
        let mut state = State::default();
        look(&mut state, 0, 0, &[]);
        assert_eq!(look(&mut state, 30 * DAY, 10, &[]), (10, false));
        assert_eq!(look(&mut state, 60 * DAY, 20, &[]), (20, false));
        assert_eq!(look(&mut state, 30 * DAY, 30, &[]), (30, false));
        assert_eq!(look(&mut state, 40, 40, &[]), (40, true));
    }
}
