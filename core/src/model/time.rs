//! When an event takes place.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelError;

/// When an event takes place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawTime", tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventTime {
    /// From one instant to another; both may be equal.
    Timed {
        /// When it starts.
        #[schemars(with = "String")]
        start: Timestamp,
        /// When it ends.
        #[schemars(with = "String")]
        end: Timestamp,
        /// The IANA zone in which it was made, where known. Not compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
    /// Whole days, in the event's own zone.
    AllDay {
        /// The first day.
        #[schemars(with = "String")]
        start: Date,
        /// The day after the last one.
        #[schemars(with = "String")]
        end: Date,
    },
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[schemars(rename = "EventTime")]
enum RawTime {
    Timed {
        #[schemars(with = "String")]
        start: Timestamp,
        #[schemars(with = "String")]
        end: Timestamp,
        #[serde(default)]
        zone: Option<String>,
    },
    AllDay {
        #[schemars(with = "String")]
        start: Date,
        #[schemars(with = "String")]
        end: Date,
    },
}

impl TryFrom<RawTime> for EventTime {
    type Error = ModelError;
    fn try_from(raw: RawTime) -> Result<Self, ModelError> {
        match raw {
            RawTime::Timed { start, end, zone } => Self::timed(start, end, zone),
            RawTime::AllDay { start, end } => Self::all_day(start, end),
        }
    }
}

impl EventTime {
    /// An event with a time of day.
    ///
    /// # Errors
    /// [`ModelError::EndBeforeStart`].
    pub fn timed(
        start: Timestamp,
        end: Timestamp,
        zone: Option<String>,
    ) -> Result<Self, ModelError> {
        if end < start {
            return Err(ModelError::EndBeforeStart);
        }
        Ok(Self::Timed { start, end, zone })
    }

    /// An event of whole days, `end` exclusive.
    ///
    /// # Errors
    /// [`ModelError::EndBeforeStart`] unless `start < end`.
    pub fn all_day(start: Date, end: Date) -> Result<Self, ModelError> {
        if end <= start {
            return Err(ModelError::EndBeforeStart);
        }
        Ok(Self::AllDay { start, end })
    }

    /// Start and end as instants; days of an all-day event begin at their first instant in `zone`.
    #[must_use]
    pub fn span_in(&self, zone: &TimeZone) -> (Timestamp, Timestamp) {
        match self {
            Self::Timed { start, end, .. } => (*start, *end),
            Self::AllDay { start, end } => (first_instant(*start, zone), first_instant(*end, zone)),
        }
    }

    /// What clocks on the wall in `zone` show at start and end.
    ///
    /// Where the autumn change makes the end look earlier than the start (or like it), the end is start plus
    /// duration, so that the span never has a negative or vanished length. All-day events run from midnight
    /// to midnight.
    #[must_use]
    pub fn wall_in(&self, zone: &TimeZone) -> WallSpan {
        match self {
            Self::AllDay { start, end } => WallSpan {
                start: start.at(0, 0, 0, 0),
                end: end.at(0, 0, 0, 0),
            },
            Self::Timed { start, end, .. } => {
                let wall_start = zone.to_datetime(*start);
                let wall_end = zone.to_datetime(*end);
                let end = if end > start && wall_end <= wall_start {
                    wall_start
                        .checked_add(end.duration_since(*start))
                        .unwrap_or(wall_start)
                } else {
                    wall_end
                };
                WallSpan {
                    start: wall_start,
                    end,
                }
            }
        }
    }

    /// Whether it has no duration.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Timed { start, end, .. } => start == end,
            Self::AllDay { .. } => false,
        }
    }
}

fn first_instant(date: Date, zone: &TimeZone) -> Timestamp {
    zone.to_ambiguous_zoned(date.at(0, 0, 0, 0))
        .compatible()
        .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// Start and end as wall clock times, without zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct WallSpan {
    /// When it starts.
    #[schemars(with = "String")]
    pub start: DateTime,
    /// When it ends.
    #[schemars(with = "String")]
    pub end: DateTime,
}

impl WallSpan {
    /// The instants that a clock in `zone` shows this way. Of the two readings of an hour that comes twice
    /// the earlier is taken; a time that the spring change skips is taken after the gap.
    ///
    /// # Errors
    /// [`ModelError::EndBeforeStart`]; [`ModelError::TimeOutOfRange`].
    pub fn to_event_time(self, zone: &TimeZone) -> Result<EventTime, ModelError> {
        if self.end < self.start {
            return Err(ModelError::EndBeforeStart);
        }
        let instant = |at: DateTime| {
            zone.to_ambiguous_zoned(at)
                .compatible()
                .map(|zoned| zoned.timestamp())
                .map_err(|_| ModelError::TimeOutOfRange)
        };
        let start = instant(self.start)?;
        // The reading of an ambiguous hour must not turn the span round.
        let end = instant(self.end)?.max(start);
        EventTime::timed(start, end, None)
    }

    /// The date of the last day that the span touches: a span that ends at midnight touches the day before.
    #[must_use]
    pub fn last_day(&self) -> Date {
        if self.end > self.start && self.end.time() == jiff::civil::Time::midnight() {
            self.end
                .date()
                .checked_sub(1.day())
                .unwrap_or(self.end.date())
        } else {
            self.end.date()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn copenhagen() -> TimeZone {
        TimeZone::get("Europe/Copenhagen").unwrap()
    }

    fn timed(start: &str, end: &str) -> EventTime {
        EventTime::timed(start.parse().unwrap(), end.parse().unwrap(), None).unwrap()
    }

    #[test]
    fn an_end_before_the_start_is_refused() {
        let early = "2026-12-01T08:00:00Z".parse().unwrap();
        let late = "2026-12-01T09:00:00Z".parse().unwrap();
        assert_eq!(
            EventTime::timed(late, early, None),
            Err(ModelError::EndBeforeStart)
        );
        let json =
            r#"{"kind":"timed","start":"2026-12-01T09:00:00Z","end":"2026-12-01T08:00:00Z"}"#;
        assert!(serde_json::from_str::<EventTime>(json).is_err());
        let day = jiff::civil::date(2026, 12, 1);
        assert_eq!(
            EventTime::all_day(day, day),
            Err(ModelError::EndBeforeStart)
        );
    }

    #[test]
    fn k095_wall_clock_is_danish_in_winter_and_summer() {
        for (utc_start, utc_end) in [
            ("2026-01-12T08:00:00Z", "2026-01-12T09:30:00Z"),
            ("2026-07-13T07:00:00Z", "2026-07-13T08:30:00Z"),
        ] {
            let wall = timed(utc_start, utc_end).wall_in(&copenhagen());
            assert_eq!(wall.start.time(), jiff::civil::time(9, 0, 0, 0));
            assert_eq!(wall.end.time(), jiff::civil::time(10, 30, 0, 0));
        }
    }

    #[test]
    fn the_autumn_fold_never_turns_a_span_round() {
        // 02:50 summer time to 02:10 standard time: twenty minutes.
        let wall = timed("2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z").wall_in(&copenhagen());
        assert_eq!(wall.start.to_string(), "2026-10-25T02:50:00");
        assert_eq!(wall.end.to_string(), "2026-10-25T03:10:00");
        // Exactly one hour: both ends would show 02:30.
        let wall = timed("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z").wall_in(&copenhagen());
        assert_eq!(wall.end.to_string(), "2026-10-25T03:30:00");
    }

    #[test]
    fn the_spring_gap_keeps_both_ends() {
        let wall = timed("2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z").wall_in(&copenhagen());
        assert_eq!(wall.start.to_string(), "2027-03-28T01:30:00");
        assert_eq!(wall.end.to_string(), "2027-03-28T03:30:00");
    }

    #[test]
    fn all_day_events_are_dates_on_both_sides_of_a_change() {
        let day = EventTime::all_day(
            jiff::civil::date(2026, 10, 25),
            jiff::civil::date(2026, 10, 26),
        )
        .unwrap();
        let (start, end) = day.span_in(&copenhagen());
        assert_eq!(end.duration_since(start).as_hours(), 25);
        assert_eq!(
            day.wall_in(&copenhagen()).start.to_string(),
            "2026-10-25T00:00:00"
        );
        assert_eq!(
            day.wall_in(&copenhagen()).last_day(),
            jiff::civil::date(2026, 10, 25)
        );
    }
}
