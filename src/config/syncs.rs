//! The syncs: what they name must be there, and must be able to do what they ask for.

use std::collections::BTreeMap;

use calbridge_core::connector::Sharing;
use calbridge_core::engine::{Direction, RosterFrom, SyncConfig};
use serde_json::Value;

use super::ConnectionConfig;
use super::mistake::suggest;
use super::path::KeyPath;
use super::reader::Reader;

impl Reader {
    /// Every sync that can be read.
    pub(super) fn syncs(
        &mut self,
        connections: &BTreeMap<String, ConnectionConfig>,
    ) -> Vec<SyncConfig> {
        let base = KeyPath::keys(["sync"]);
        let count = base
            .get(&self.merged.json)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let configured = self.names(&KeyPath::keys(["connections"]));
        let mut syncs: Vec<SyncConfig> = Vec::new();
        for at in 0..count {
            let path = base.clone().index(at);
            let Some(sync) = self.typed::<SyncConfig>(&path) else {
                continue;
            };
            self.check_sync(&path, &sync, connections, &configured);
            self.check_sharing(&path, &sync, &syncs, connections);
            if sync.name.trim().is_empty() {
                self.mistake(&path.clone().key("name"), "must not be empty", None);
            }
            if syncs.iter().any(|other| other.name == sync.name) {
                self.mistake(
                    &path.clone().key("name"),
                    format!("another sync has the name `{}` already", sync.name),
                    Some(
                        "give each sync a name of its own; what is remembered is kept under it"
                            .to_owned(),
                    ),
                );
            }
            syncs.push(sync);
        }
        syncs
    }

    fn check_sync(
        &mut self,
        path: &KeyPath,
        sync: &SyncConfig,
        connections: &BTreeMap<String, ConnectionConfig>,
        configured: &[String],
    ) {
        let names: Vec<&str> = configured.iter().map(String::as_str).collect();
        for (key, name) in [("source", &sync.source), ("sink", &sync.sink)] {
            if !configured.contains(name) {
                let help = suggest(name, &names)
                    .unwrap_or_else(|| "write a table [connections.NAME] first".to_owned());
                self.mistake(
                    &path.clone().key(key),
                    format!("there is no connection `{name}`"),
                    Some(help),
                );
            }
        }
        if sync.source == sync.sink {
            self.mistake(
                &path.clone().key("sink"),
                "source and sink are the same connection",
                None,
            );
        }
        if sync.direction == Direction::TwoWay {
            self.mistake(
                &path.clone().key("direction"),
                "`two-way` is not available yet",
                Some("write `one-way`, or leave the key out".to_owned()),
            );
        }
        for (key, positive) in [
            ("interval", sync.schedule.interval.is_positive()),
            (
                "roster_interval",
                sync.schedule.roster_interval.is_positive(),
            ),
        ] {
            if !positive {
                self.mistake(
                    &path.clone().key("schedule").key(key),
                    "must be longer than nothing",
                    Some("write for example `60 s` or `10 min`".to_owned()),
                );
            }
        }
        if let Some(zone) = &sync.zone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            self.mistake(
                &path.clone().key("zone"),
                format!("`{zone}` is not a zone"),
                Some("write an IANA name such as `Europe/Copenhagen`".to_owned()),
            );
            return;
        }
        let (Some(source), Some(sink)) =
            (connections.get(&sync.source), connections.get(&sync.sink))
        else {
            return;
        };
        let cannot = |connection: &ConnectionConfig, what: &str| {
            format!(
                "the connection `{}` cannot be {what}: its connector `{}` cannot do that",
                connection.name,
                connection.connector.id()
            )
        };
        match (&source.capabilities.source, &sink.capabilities.sink) {
            (Some(from), Some(to)) => {
                if let Err(error) = sync.rules().at(jiff::Timestamp::now(), from, to) {
                    self.mistake(&path.clone().key("window"), error.to_string(), None);
                }
                self.check_roster(path, sync, source, sink);
            }
            (from, to) => {
                if from.is_none() {
                    self.mistake(&path.clone().key("source"), cannot(source, "read"), None);
                }
                if to.is_none() {
                    self.mistake(&path.clone().key("sink"), cannot(sink, "written"), None);
                }
            }
        }
    }

    /// Somebody must say whose calendars belong to the sync.
    fn check_roster(
        &mut self,
        path: &KeyPath,
        sync: &SyncConfig,
        source: &ConnectionConfig,
        sink: &ConnectionConfig,
    ) {
        let asked = match sync.roster.from {
            RosterFrom::Source => Some(source),
            RosterFrom::Sink => Some(sink),
            _ => None,
        };
        let nobody_tells = match (sync.roster.from, asked) {
            (_, Some(asked)) => !asked.capabilities.roster,
            (RosterFrom::Auto, _) => {
                !source.capabilities.roster
                    && !sink.capabilities.roster
                    && sync.roster.allow.is_empty()
            }
            _ => sync.roster.allow.is_empty(),
        };
        if nobody_tells {
            let message = match asked {
                Some(asked) => format!(
                    "the connection `{}` has no roster, that is: it does not tell whose calendars it has",
                    asked.name
                ),
                None => "nobody gives a roster, that is: tells whose calendars belong to the sync"
                    .to_owned(),
            };
            self.mistake(
                &path.clone().key("roster"),
                message,
                Some(
                    "name the addresses: `roster = { from = \"allow\", allow = [\"anna@example.org\"] }`"
                        .to_owned(),
                ),
            );
        }
    }

    /// In a sink whose records are all taken for ours two syncs would delete each other's.
    fn check_sharing(
        &mut self,
        path: &KeyPath,
        sync: &SyncConfig,
        before: &[SyncConfig],
        connections: &BTreeMap<String, ConnectionConfig>,
    ) {
        let exclusive = connections
            .get(&sync.sink)
            .and_then(|sink| sink.capabilities.sink.as_ref())
            .is_some_and(|sink| sink.sharing == Sharing::Exclusive);
        let apart = |other: &SyncConfig| {
            let (mine, theirs) = (&sync.roster.allow, &other.roster.allow);
            !mine.is_empty() && !theirs.is_empty() && mine.iter().all(|one| !theirs.contains(one))
        };
        let rival = before
            .iter()
            .find(|other| other.sink == sync.sink && !apart(other));
        if let (true, Some(rival)) = (exclusive, rival) {
            self.mistake(
                &path.clone().key("sink"),
                format!(
                    "the sync `{}` writes `{}` already, and each would delete what the other wrote",
                    rival.name, sync.sink
                ),
                Some(
                    "give both an allow list, `roster = { allow = [...] }`, without common addresses"
                        .to_owned(),
                ),
            );
        }
    }
}
