//! A sync, as configured.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Daily, GuardLimits, PrivateRule, RulesConfig, WindowConfig};
use crate::model::Address;

/// Which way events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From source to sink only.
    #[default]
    OneWay,
    /// Both ways. Not available yet.
    TwoWay,
}

/// Whether a sync writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It writes.
    #[default]
    Active,
    /// It reads both sides, compares and reports, and writes nothing: beside a predecessor that still does. Calendars
    /// that `active` names are written.
    Observe,
}

/// Which connection says whose calendars belong to the sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RosterFrom {
    /// The sink if it has a roster, else the source if it has one, else the allow list.
    #[default]
    Auto,
    /// The source.
    Source,
    /// The sink.
    Sink,
    /// The allow list: these addresses and no others.
    Allow,
}

/// What becomes of a calendar's records on the sink when it leaves the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnLeave {
    /// They stay.
    #[default]
    Keep,
    /// They are deleted, through the guard.
    Withdraw,
}

/// Whose calendars belong to the sync.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RosterConfig {
    /// Which connection says whose calendars belong to the sync.
    pub from: RosterFrom,
    /// If not empty: only these addresses (Kommuneklienten's whitelist).
    pub allow: Vec<Address>,
    /// Never these addresses (Kommuneklienten's blacklist). What is recorded of them is left as it is.
    pub deny: Vec<Address>,
    /// What becomes of a calendar's records on the sink when it leaves the roster.
    pub on_leave: OnLeave,
}

/// When things are done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// How often each calendar is looked at, for example `60 s`.
    #[schemars(with = "String")]
    pub interval: SignedDuration,
    /// At these times of day every calendar is read completely, for example `["02:00"]`.
    pub full: Daily,
    /// At these times of day the sink's content is compared with what it should hold, for example `["05:30"]`.
    pub reconcile: Daily,
    /// How often the roster is asked for, for example `10 min`.
    #[schemars(with = "String")]
    pub roster_interval: SignedDuration,
    /// At these times of day the roster is asked for besides.
    pub roster: Daily,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        let at = |times: &[&str]| {
            Daily::try_from(times.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
                .unwrap_or_default()
        };
        Self {
            interval: SignedDuration::from_secs(60),
            full: at(&["02:00"]),
            reconcile: at(&["05:30"]),
            roster_interval: SignedDuration::from_mins(10),
            roster: Daily::default(),
        }
    }
}

/// A sync: two connections, a direction, rules.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyncConfig {
    /// Names the sync; what is remembered is kept under this name.
    pub name: String,
    /// The connection that is read.
    pub source: String,
    /// The connection that is written.
    pub sink: String,
    /// Which way events go.
    #[serde(default)]
    pub direction: Direction,
    /// Whether it writes, or watches another program do so.
    #[serde(default)]
    pub mode: Mode,
    /// With `mode = "observe"`: these calendars are written all the same. So calendars are taken over from a
    /// predecessor one by one, and given back.
    #[serde(default)]
    pub active: Vec<Address>,
    /// Whose calendars belong to the sync.
    #[serde(default)]
    pub roster: RosterConfig,
    /// When things are done.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// What is kept in step.
    #[serde(default)]
    pub window: WindowConfig,
    /// What becomes of private events' texts.
    #[serde(default)]
    pub private: PrivateRule,
    /// The guard's limits on deletes.
    #[serde(default)]
    pub guard: GuardLimits,
    /// The IANA zone in which days begin. Default: the sink's zone, else the system's.
    #[serde(default)]
    pub zone: Option<String>,
}

impl SyncConfig {
    /// Whether nothing of this calendar is written.
    #[must_use]
    pub fn observes(&self, address: &Address) -> bool {
        self.mode == Mode::Observe && !self.active.contains(address)
    }

    /// The rules of the sync.
    #[must_use]
    pub fn rules(&self) -> RulesConfig {
        RulesConfig {
            sync: self.name.clone(),
            sink: self.sink.clone(),
            window: self.window.clone(),
            private: self.private,
            guard: self.guard,
            zone: self.zone.clone(),
        }
    }
}
