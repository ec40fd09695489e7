//! A calbridge connector for the rota: one JSON file per person in a folder, read and written.
//!
//! Read it top-down, then put your system where the files are:
//!
//! | module | what it does | in yours |
//! |---|---|---|
//! | here | names the connector, says what it can do, registers it | the same |
//! | `settings` | the settings; each field's doc comment is the operator's reference | addresses, credentials, limits |
//! | `files` | one request, one answer: reads a person's file, replaces it | your protocol's client |
//! | `shift` | a shift to an event and back | your records |
//! | `connection` | `check` and `roster` | the same |
//! | `source` | what the rota holds, as changes | the same; leave it out if your system is only written |
//! | `sink` | writes, and what is there | the same; leave it out if your system is only read |
//!
//! A connector decides nothing. Which events qualify, what is new, what must be deleted and when to try again is
//! calbridge's work: report what your system holds, and carry out writes.

mod connection;
mod files;
mod settings;
mod shift;
mod sink;
mod source;

use std::sync::Arc;

use calbridge_core::connector::{
    Capabilities, Connection, Connector, Context, ExternalIds, InventoryBounds, Result, Sharing,
    SinkCapabilities, SourceCapabilities,
};
use calbridge_core::model::{Field, FieldSet};

pub use settings::Settings;

/// The connector `rota`.
#[derive(Debug)]
pub struct Rota;

impl Connector for Rota {
    const ID: &'static str = "rota";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const TITLE: &'static str = "Rota: one file of shifts per person";

    type Settings = Settings;

    // Checked against the configuration before anything runs. Promise only what you keep: the conformance kit looks.
    fn capabilities() -> Capabilities {
        // What survives being written and read back, beside the time.
        let fields = FieldSet::from_iter([Field::Time, Field::Subject]);
        Capabilities {
            // The folder tells who there is.
            roster: true,
            source: Some(SourceCapabilities {
                // An unchanged file is not told again.
                incremental: true,
                // A file does not say what was taken out of it; the snapshot does.
                deletions: false,
                watch: false,
                own_write_delay_ms: 0,
                fields: fields.clone(),
                max_in_flight: 4,
            }),
            sink: Some(SinkCapabilities {
                // Each shift has a version.
                conditional_write: true,
                // A create that comes twice finds the shift of the first time: see `sink`.
                idempotent_upsert: true,
                inventory: Some(InventoryBounds::Overlaps),
                probe: false,
                // People enter shifts by hand, too: what calbridge did not write is left alone.
                sharing: Sharing::Shared,
                external_ids: ExternalIds::Sink,
                wall_clock: None,
                fields,
                // One call costs one file, however many shifts it brings.
                max_batch: 1_000,
                max_in_flight: 4,
                own_write_delay_ms: 0,
            }),
        }
    }

    // No network here: the settings are looked at, and nothing else.
    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        Ok(Arc::new(connection::Connected::open(settings, context)?))
    }
}

// Makes the connector known to the program, or to the library, that holds this crate.
calbridge_core::export_connector!(Rota);

// Makes the `cdylib` a library that calbridge can load.
calbridge_core::plugin_entry!();
