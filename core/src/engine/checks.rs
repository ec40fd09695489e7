//! Whether syncs fit the connections that they name.

use std::collections::HashSet;

use super::engine::Engine;
use super::error::EngineError;
use super::{ConnectionHandle, Direction, SyncConfig};
use crate::connector::{Sharing, SinkCapabilities};

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
            let source = self.connection(sync, &sync.source)?;
            let sink = self.connection(sync, &sync.sink)?;
            let need = |connection: &ConnectionHandle, need| EngineError::NotCapable {
                sync: sync.name.clone(),
                connection: connection.name().to_owned(),
                need,
            };
            let Some(reads) = &source.capabilities().source else {
                return Err(need(source, "reading"));
            };
            let Some(writes) = &sink.capabilities().sink else {
                return Err(need(sink, "writing"));
            };
            if !writes.idempotent_upsert && !writes.probe {
                return Err(need(sink, "safe creates (a probe, or ids of our own)"));
            }
            match self.roster_connection(sync)? {
                Some(connection) if !connection.capabilities().roster => {
                    return Err(need(connection, "a roster"));
                }
                None if sync.roster.allow.is_empty() => {
                    return Err(EngineError::NoRoster {
                        sync: sync.name.clone(),
                    });
                }
                _ => {}
            }
            self.check_sharing(sync, writes)?;
            sync.rules()
                .at(self.clock().now(), reads, writes)
                .map_err(|error| EngineError::Rules {
                    sync: sync.name.clone(),
                    error,
                })?;
        }
        Ok(())
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
