//! Whether syncs fit the connections that they name.

use std::collections::HashSet;

use jiff::Timestamp;

use super::engine::Engine;
use super::error::EngineError;
use super::{Direction, Rules, SyncConfig};
use crate::connector::{Sharing, SinkCapabilities, SourceCapabilities};

impl Engine {
    pub(super) fn check_syncs(&self) -> Result<(), EngineError> {
        let mut names = HashSet::new();
        for sync in self.syncs() {
            if !names.insert(&sync.name) {
                return Err(EngineError::DuplicateSync {
                    sync: sync.name.clone(),
                });
            }
            if sync.direction != Direction::OneWay {
                return Err(EngineError::TwoWay {
                    sync: sync.name.clone(),
                });
            }
            let (_, writes) = self.sides(sync)?;
            if !writes.idempotent_upsert && !writes.probe {
                let need = "safe creates (a probe, or ids of our own)";
                return Err(lacks(sync, &sync.sink, need));
            }
            match self.roster_connection(sync)? {
                Some(connection) if !connection.capabilities().roster => {
                    return Err(lacks(sync, connection.name(), "a roster"));
                }
                None if sync.roster.allow.is_empty() => {
                    return Err(EngineError::NoRoster {
                        sync: sync.name.clone(),
                    });
                }
                _ => {}
            }
            self.check_sharing(sync, writes)?;
            self.rules(sync, self.clock().now())?;
        }
        Ok(())
    }

    /// What the source and the sink of a sync can do.
    fn sides(
        &self,
        sync: &SyncConfig,
    ) -> Result<(&SourceCapabilities, &SinkCapabilities), EngineError> {
        let source = self.connection(sync, &sync.source)?.capabilities();
        let sink = self.connection(sync, &sync.sink)?.capabilities();
        let reads = source.source.as_ref();
        let writes = sink.sink.as_ref();
        Ok((
            reads.ok_or_else(|| lacks(sync, &sync.source, "reading"))?,
            writes.ok_or_else(|| lacks(sync, &sync.sink, "writing"))?,
        ))
    }

    /// The sync's rules as they are at an instant.
    pub(super) fn rules(&self, sync: &SyncConfig, now: Timestamp) -> Result<Rules, EngineError> {
        let (reads, writes) = self.sides(sync)?;
        sync.rules()
            .at(now, reads, writes)
            .map_err(|error| EngineError::Rules {
                sync: sync.name.clone(),
                error,
            })
    }

    /// In a sink whose records are all taken for ours, two syncs would delete each other's, unless their allow
    /// lists keep them apart.
    fn check_sharing(&self, sync: &SyncConfig, sink: &SinkCapabilities) -> Result<(), EngineError> {
        let apart = |other: &SyncConfig| {
            let (mine, theirs) = (&sync.roster.allow, &other.roster.allow);
            !mine.is_empty() && !theirs.is_empty() && mine.iter().all(|one| !theirs.contains(one))
        };
        let rival = self
            .syncs()
            .iter()
            .find(|other| other.name != sync.name && other.sink == sync.sink && !apart(other));
        match rival {
            Some(rival) if sink.sharing == Sharing::Exclusive => Err(EngineError::SharedSink {
                sync: sync.name.clone(),
                rival: rival.name.clone(),
                connection: sync.sink.clone(),
            }),
            _ => Ok(()),
        }
    }
}

fn lacks(sync: &SyncConfig, connection: &str, need: &'static str) -> EngineError {
    EngineError::NotCapable {
        sync: sync.name.clone(),
        connection: connection.to_owned(),
        need,
    }
}
