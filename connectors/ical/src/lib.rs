//! iCalendar (RFC 5545) as a calendar source: a file, a folder of files, or an https feed.
//!
//! This is the smallest complete connector, and the one to copy for a new one. Read it top-down:
//!
//! | module | what it does |
//! |---|---|
//! | here | names the connector, says what it can do, registers it |
//! | `config` | the settings; each field's doc comment is the user's reference |
//! | `client` | fetches the bytes: from disk, or over https with a conditional request |
//! | `source` | the traits: `check`, `roster`, `changes`, `fetch` |
//! | `calendar` | a whole file, understood as far as it can be |
//! | `components` | the file as components with line numbers; what is broken as a whole |
//! | `zone`, `value`, `recurrence` | what a `TZID`, a date and an `RRULE` mean |
//! | `event`, `series`, `map` | `VEVENT`s to events |
//!
//! What it has to know: an iCalendar file has no change log. So a cursor is a fingerprint of the content, an
//! unchanged file costs one read (a feed one conditional request), and a changed one is told anew: every event
//! in the window, then one [`Snapshot`](calbridge_core::connector::Change::Snapshot) that makes what is missing gone. A file that is cut short
//! or is no iCalendar at all is an error of its calendar and deletes nothing; one event that cannot be read is
//! [`Unreadable`](calbridge_core::connector::Change::Unreadable), and the others go on.
//!
//! Series are expanded by RFC 5545: day 31 skips the months without one.

mod calendar;
mod client;
mod components;
mod config;
mod event;
mod map;
mod recurrence;
mod series;
mod source;
mod value;
mod zone;

use std::sync::Arc;

use calbridge_core::connector::{
    Capabilities, Connection, Connector, Context, Result, SourceCapabilities,
};
use calbridge_core::model::{Field, FieldSet};

pub use components::FileError;
pub use config::Settings;
pub use value::Wrong;

/// The connector `ical-source`.
#[derive(Debug)]
pub struct IcalSource;

impl Connector for IcalSource {
    const ID: &'static str = "ical-source";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const TITLE: &'static str = "iCalendar file, folder or https feed, read only";

    type Settings = Settings;

    fn capabilities() -> Capabilities {
        Capabilities {
            roster: true,
            source: Some(SourceCapabilities {
                incremental: true,
                deletions: false,
                watch: false,
                own_write_delay_ms: 0,
                fields: FieldSet::from_iter([
                    Field::Time,
                    Field::ShowAs,
                    Field::Subject,
                    Field::Location,
                    Field::Body,
                    Field::Private,
                    Field::Categories,
                ]),
                max_in_flight: 4,
            }),
            sink: None,
        }
    }

    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        Ok(Arc::new(source::Source::open(&settings, &context)?))
    }
}

calbridge_core::export_connector!(IcalSource);
