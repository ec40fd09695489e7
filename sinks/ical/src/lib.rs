//! A folder with one iCalendar file per mailbox, as a calendar sink.
//!
//! The smallest complete sink, and the one to copy for a new one. Read it top-down:
//!
//! | module | what it does |
//! |---|---|
//! | here | names the connector, says what it can do, registers it |
//! | `config` | the settings; each field's doc comment is the user's reference |
//! | `file` | a mailbox's file: its name, reading it, replacing it as a whole |
//! | `record` | one `VEVENT`: content to properties and back |
//! | `sink` | the traits: `check`, `apply`, `inventory` |
//!
//! What it has to know: a file is replaced as a whole or not at all (a temporary file beside it, flushed to
//! disk, then renamed), so a call of `apply` takes effect completely or answers an error and leaves the old
//! file. Each event stands for itself: a series comes as single events, each with an id of its own as `UID`,
//! and what it is matched by in `X-CALBRIDGE-` properties. Files that calbridge did not write are refused,
//! never overwritten.

mod config;
mod file;
mod record;
mod sink;

use std::sync::Arc;

use calbridge_core::connector::{
    Capabilities, Connection, Connector, Context, ExternalIds, InventoryBounds, Result, Sharing,
    SinkCapabilities,
};
use calbridge_core::model::{Field, FieldSet};

pub use config::Settings;

/// The zone in which original starts are written into ids, and in which days begin.
pub(crate) const ZONE: &str = "Europe/Copenhagen";

/// The connector `ical-sink`.
#[derive(Debug)]
pub struct IcalSink;

impl Connector for IcalSink {
    const ID: &'static str = "ical-sink";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const TITLE: &'static str = "One iCalendar file per mailbox, write only";

    type Settings = Settings;

    fn capabilities() -> Capabilities {
        Capabilities {
            // It takes whoever comes.
            roster: false,
            source: None,
            sink: Some(SinkCapabilities {
                conditional_write: false,
                idempotent_upsert: true,
                inventory: Some(InventoryBounds::Overlaps),
                probe: false,
                sharing: Sharing::Exclusive,
                external_ids: ExternalIds::Chosen {
                    separator: "$".to_owned(),
                    zone: ZONE.to_owned(),
                    format: "%Y%m%d-%H%M%S".to_owned(),
                },
                wall_clock: None,
                fields: FieldSet::from_iter([
                    Field::Time,
                    Field::ShowAs,
                    Field::Subject,
                    Field::Location,
                    Field::Body,
                    Field::Private,
                    Field::Categories,
                ]),
                // A call costs one file, however many events it brings.
                max_batch: 10_000,
                max_in_flight: 1,
                own_write_delay_ms: 0,
            }),
        }
    }

    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        Ok(Arc::new(sink::Sink::open(settings, context)?))
    }
}

calbridge_core::export_connector!(IcalSink);
