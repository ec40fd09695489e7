//! Office 365 (Microsoft 365, Exchange Online) over Microsoft Graph v1.0: a calendar source.
//!
//! # The system
//!
//! Graph is JSON over HTTPS. An application that is registered in the tenant signs in as itself (OAuth 2.0 client
//! credentials, with a secret or a certificate) and reads the mailboxes that its permission, or its role assignment in
//! Exchange Online, covers. Every request goes to the configured cloud and nowhere else: a link that leads out of it is not
//! followed, and redirections are not either.
//!
//! # Reading
//!
//! - **`calendarView/delta`** tells what changed in a range since a link that the last answer gave. The range is tied to
//!   the link, so it reaches a month beyond the window, and a new chain begins when the window has rolled through that.
//!   `feed` tells how a round is walked and settled.
//! - **`calendarView`** lists a range as it is: the slice that a rolled window gained, the complete comparison, the next
//!   weeks on a first run, and everything where changes cannot be asked for.
//!
//! Every request asks for immutable ids and UTC: what an answer looks like follows from the headers of its own request.
//!
//! # Identity
//!
//! Events are matched by their iCalendar UID and, within a series, the original start, just like those of Exchange: a
//! mailbox that moves to Office 365 keeps its links.
//!
//! # Errors
//!
//! `error` has the table from codes to kinds and scopes. A mailbox that asks to slow down is left alone for as long as it
//! says, and others go on.
//!
//! # Least data
//!
//! Listings ask for the fields that the other side needs. Graph lets nobody choose fields where it tells changes: what is not
//! needed of those answers is dropped when they are read, before anything is kept or passed on.

mod bookmark;
mod check;
mod client;
mod config;
mod error;
mod feed;
mod map;
mod source;
mod token;
mod view;
mod wire;

use std::sync::Arc;

use calbridge_core::connector::{
    Capabilities, Connection, Connector, Context, Result, SourceCapabilities,
};
use calbridge_core::model::{Field, FieldSet};

pub use config::{Addresses, Auth, Cloud, Settings};
pub use source::Office365;

/// How long Graph may take to show what was written, in milliseconds (Graph, "Use delta query": no bound is documented).
const OWN_WRITE_DELAY_MS: u64 = 120_000;

/// The connector `office365-graph`.
#[derive(Debug)]
pub struct Office365Graph;

impl Connector for Office365Graph {
    const ID: &'static str = "office365-graph";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const TITLE: &'static str = "Office 365 (Microsoft 365, Exchange Online) over Microsoft Graph";

    type Settings = Settings;

    fn capabilities() -> Capabilities {
        Capabilities {
            roster: false,
            source: Some(SourceCapabilities {
                incremental: true,
                deletions: true,
                watch: false,
                own_write_delay_ms: OWN_WRITE_DELAY_MS,
                fields: fields(),
                max_in_flight: CALENDARS_AT_ONCE,
            }),
            sink: None,
        }
    }

    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        Ok(Arc::new(Office365::open(settings, context)?))
    }
}

/// How many calendars may be read at once. Requests queue by urgency behind few turns, so that the next weeks of all
/// calendars come before the rest of any.
const CALENDARS_AT_ONCE: usize = 64;

fn fields() -> FieldSet {
    [
        Field::Time,
        Field::ShowAs,
        Field::Subject,
        Field::Location,
        Field::Body,
        Field::Private,
        Field::Categories,
    ]
    .into_iter()
    .collect()
}

calbridge_core::export_connector!(Office365Graph);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn the_manifest_describes_every_setting() {
        let manifest = calbridge_core::connector::find("office365-graph")
            .unwrap()
            .manifest();
        assert!(manifest.capabilities.source.is_some());
        let properties = manifest.settings["properties"].as_object().unwrap();
        for name in [
            "tenant",
            "client_id",
            "auth",
            "cloud",
            "max_in_flight",
            "page_size",
            "home_zone",
            "forbidden_mailbox",
            "http",
        ] {
            assert!(properties[name]["description"].is_string(), "{name}");
        }
        assert_eq!(properties.len(), 9);
    }
}
