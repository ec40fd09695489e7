//! The rules of a sync: as configured, and resolved for one moment.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connector::{SinkCapabilities, SourceCapabilities};
use crate::model::{Field, FieldSet, ModelError, Window};

/// What is kept in step: a range that rolls forward with the date.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// How far back the window reaches, for example `0 days` or `6 months`. Counted from the start of today.
    #[serde(default = "WindowConfig::default_past", with = "span")]
    #[schemars(with = "String")]
    pub past: Span,
    /// How far ahead the window reaches, for example `3 months`. Counted from the start of today.
    #[serde(default = "WindowConfig::default_future", with = "span")]
    #[schemars(with = "String")]
    pub future: Span,
    /// Whether an appointment that becomes known on the very day it starts is still sent. Without it, new
    /// appointments are sent from tomorrow on; a known one that changes is corrected if it ends after today, and
    /// removed if it is over by tonight. Has no effect where `past` is more than `0 days`.
    #[serde(default)]
    pub today: bool,
}

mod span {
    use jiff::Span;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{span:#}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Span, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let span: Span = text.parse().map_err(|_| {
            serde::de::Error::custom(format!(
                "`{text}` is not a length of time; write for example `3 months`, `14 days` or `90 s`"
            ))
        })?;
        if span.is_negative() {
            return Err(serde::de::Error::custom(format!(
                "`{text}` is negative; a length of time counts forwards"
            )));
        }
        Ok(span)
    }
}

impl WindowConfig {
    fn default_past() -> Span {
        0.days()
    }

    fn default_future() -> Span {
        3.months()
    }
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            past: Self::default_past(),
            future: Self::default_future(),
            today: false,
        }
    }
}

/// What becomes of private events' texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateRule {
    /// Times go over, texts do not: the subject is replaced, the rest left out.
    #[default]
    Mask,
    /// The event does not go over.
    Skip,
}

/// The guard's limits on planned deletes, per calendar over 24 hours. A series counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardLimits {
    /// Deletes are held if they are more than this percentage of what the sink holds ...
    pub percent: u32,
    /// ... and more than this many.
    pub count: u32,
    /// A calendar that would become empty is held if it holds more than this many.
    pub empty_above: u32,
    /// If deletes of more than this percentage of a connection's calendars are held, all its deletes stop.
    pub calendars_percent: u32,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self {
            percent: 25,
            count: 5,
            empty_above: 2,
            calendars_percent: 10,
        }
    }
}

/// The rules of a sync, as configured ([`SyncConfig`](super::SyncConfig)).
#[derive(Debug, Clone, Default)]
pub struct RulesConfig {
    /// The sync's name.
    pub sync: String,
    /// The name of the connection that is written.
    pub sink: String,
    /// What is kept in step.
    pub window: WindowConfig,
    /// What becomes of private events' texts.
    pub private: PrivateRule,
    /// The guard's limits.
    pub guard: GuardLimits,
    /// The IANA zone in which days begin.
    pub zone: Option<String>,
}

/// The rules of a sync, resolved for one moment.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The sync's name.
    pub sync: String,
    /// The name of the connection that is written.
    pub sink: String,
    /// The range that is read and kept in step.
    pub window: Window,
    /// The present date in [`Rules::zone`].
    pub today: Date,
    /// The first day on which an event may start to be sent for the first time.
    pub first_day: Date,
    /// Where days begin.
    pub zone: TimeZone,
    /// The zone whose wall clock the sink keeps, if it does.
    pub wall_clock: Option<TimeZone>,
    /// What the source is asked for and the sink is sent.
    pub fields: FieldSet,
    /// What becomes of private events' texts.
    pub private: PrivateRule,
    /// The guard's limits.
    pub guard: GuardLimits,
}

/// Why rules cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The zone's name is unknown.
    #[error("`{0}` is not a zone; write an IANA name such as `Europe/Copenhagen`")]
    UnknownZone(String),
    /// The window has no length or leaves the representable time.
    #[error("the window is empty or too long; `future` must lie ahead of `past`")]
    BadWindow,
}

impl From<ModelError> for RulesError {
    fn from(_: ModelError) -> Self {
        Self::BadWindow
    }
}

impl Rules {
    /// The first day that is kept in step, in [`Rules::zone`].
    #[must_use]
    pub fn window_day(&self) -> Date {
        self.zone.to_datetime(self.window.start()).date()
    }

    /// What a source is asked for: what the sink keeps, and what qualification needs.
    #[must_use]
    pub fn request_fields(&self) -> FieldSet {
        let texts = [
            Field::Subject,
            Field::Location,
            Field::Body,
            Field::Categories,
        ];
        let needs_private = self.private == PrivateRule::Skip
            || texts.into_iter().any(|field| self.fields.contains(field));
        let needed = needs_private.then_some(Field::Private);
        self.fields.union(&needed.into_iter().collect())
    }
}

impl RulesConfig {
    /// Resolves the rules for the moment `now`.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn at(
        &self,
        now: Timestamp,
        source: &SourceCapabilities,
        sink: &SinkCapabilities,
    ) -> Result<Rules, RulesError> {
        let named =
            |name: &str| TimeZone::get(name).map_err(|_| RulesError::UnknownZone(name.to_owned()));
        let wall_clock = sink.wall_clock.as_deref().map(named).transpose()?;
        let zone = match (&self.zone, &wall_clock) {
            (Some(name), _) => named(name)?,
            (None, Some(zone)) => zone.clone(),
            (None, None) => TimeZone::system(),
        };
        let today = zone.to_datetime(now).date();
        let day = |date: Date| {
            zone.to_ambiguous_zoned(date.at(0, 0, 0, 0))
                .compatible()
                .map(|zoned| zoned.timestamp())
                .map_err(|_| RulesError::BadWindow)
        };
        let first = today
            .checked_sub(self.window.past)
            .map_err(|_| RulesError::BadWindow)?;
        let last = today
            .checked_add(self.window.future)
            .map_err(|_| RulesError::BadWindow)?;
        let first_day = if first < today || self.window.today {
            first
        } else {
            today.tomorrow().map_err(|_| RulesError::BadWindow)?
        };
        Ok(Rules {
            sync: self.sync.clone(),
            sink: self.sink.clone(),
            window: Window::new(day(first)?, day(last)?)?,
            today,
            first_day,
            zone,
            wall_clock,
            fields: source.fields.intersection(&sink.fields),
            private: self.private,
            guard: self.guard,
        })
    }

    /// Text that changes when a rule changes; dead letters are bound to it.
    #[must_use]
    pub fn basis(&self) -> String {
        format!("{self:?}")
    }
}

/// Daily times of day, in the rules' zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Daily(Vec<Time>);

impl TryFrom<Vec<String>> for Daily {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut times = texts
            .iter()
            .map(|text| {
                Time::strptime("%H:%M", text.trim())
                    .ok()
                    .filter(|_| text.trim().len() == "HH:MM".len())
                    .ok_or_else(|| format!("`{text}` is not a time of day; write `HH:MM`"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        times.sort();
        times.dedup();
        Ok(Self(times))
    }
}

impl From<Daily> for Vec<String> {
    fn from(daily: Daily) -> Self {
        daily
            .0
            .iter()
            .map(|time| time.strftime("%H:%M").to_string())
            .collect()
    }
}

impl Daily {
    /// Whether there is no time at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest of the times before `now`, in `zone`.
    #[must_use]
    pub fn previous(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = zone.to_datetime(now).date();
        self.on([today.yesterday(), Ok(today)], zone)
            .filter(|at| *at < now)
            .max()
    }

    fn on(
        &self,
        days: [Result<Date, jiff::Error>; 2],
        zone: &TimeZone,
    ) -> impl Iterator<Item = Timestamp> {
        days.into_iter().flatten().flat_map(move |date| {
            self.0.iter().filter_map(move |time| {
                zone.to_ambiguous_zoned(date.to_datetime(*time))
                    .compatible()
                    .ok()
                    .map(|zoned| zoned.timestamp())
            })
        })
    }

    /// The next of the times at or after `now`, in `zone`. A time that the spring change skips comes after
    /// the gap; one that comes twice counts the first time.
    #[must_use]
    pub fn next(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = zone.to_datetime(now).date();
        self.on([Ok(today), today.tomorrow()], zone)
            .filter(|at| *at >= now)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daily(times: &[&str]) -> Daily {
        Daily::try_from(times.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn hours_to_next(times: &[&str], now: &str) -> i64 {
        let now: Timestamp = format!("2026-11-23T{now}Z").parse().unwrap();
        let next = daily(times).next(now, &TimeZone::UTC).unwrap();
        next.duration_since(now).as_hours()
    }

    #[test]
    fn t48_one_time_that_passed_comes_tomorrow() {
        assert_eq!(hours_to_next(&["01:00"], "02:00:00"), 23);
    }

    #[test]
    fn t49_the_next_of_two() {
        assert_eq!(hours_to_next(&["01:00", "03:00"], "02:00:00"), 1);
    }

    #[test]
    fn t50_exactly_now_is_now() {
        assert_eq!(hours_to_next(&["01:00", "03:00"], "03:00:00"), 0);
    }

    #[test]
    fn t51_the_last_of_three() {
        assert_eq!(hours_to_next(&["01:00", "03:00", "23:00"], "05:00:00"), 18);
    }

    #[test]
    fn k130_a_time_seconds_away_is_not_skipped() {
        let now: Timestamp = "2026-11-23T05:29:45Z".parse().unwrap();
        let next = daily(&["05:30"]).next(now, &TimeZone::UTC).unwrap();
        assert_eq!(next.duration_since(now).as_secs(), 15);
    }

    #[test]
    fn k152_a_malformed_schedule_is_refused_with_the_right_form() {
        for text in ["25:00", "0530", "5.30", "", "5:30", "5:3", "05:60", "24:00"] {
            let error = Daily::try_from(vec![text.to_owned()]).unwrap_err();
            assert!(error.contains("HH:MM"), "{error}");
        }
    }

    #[test]
    fn a_daily_time_in_the_spring_gap_runs_after_it() {
        let zone = TimeZone::get("Europe/Copenhagen").unwrap();
        let now: Timestamp = "2027-03-27T23:30:00Z".parse().unwrap();
        let next = daily(&["02:30"]).next(now, &zone).unwrap();
        assert_eq!(next.to_string(), "2027-03-28T01:30:00Z");
    }

    #[test]
    fn lengths_of_time_are_read_in_words() {
        let window: WindowConfig =
            serde_json::from_str(r#"{"past":"6 months","future":"14 months"}"#).unwrap();
        assert_eq!(window.past.get_months(), 6);
        for wrong in [
            r#"{"past":"often"}"#,
            r#"{"past":"-1 day"}"#,
            r#"{"past":5}"#,
        ] {
            assert!(
                serde_json::from_str::<WindowConfig>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
