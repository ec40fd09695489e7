//! On-prem Exchange (2013 SP1 to Subscription Edition) over EWS: a calendar source, and a sink where writing is allowed.
//!
//! # The system
//!
//! Exchange Web Services is SOAP 1.1 over HTTPS. Every operation is a POST to one address
//! (`/EWS/Exchange.asmx`); the body's root element says which. A service account signs in and acts for one
//! mailbox per request: by impersonation (a SOAP header, a management role) or as a delegate (rights on each
//! calendar folder). The `X-AnchorMailbox` header leads the request to the server that holds the mailbox.
//!
//! A calendar folder holds singles and masters of series. The occurrences of a series are no items of their
//! own: a changed, moved or deleted occurrence is a change of its master. Two operations make a feed of
//! this:
//!
//! - **SyncFolderItems** says which items changed since a state that the server issued. It knows neither
//!   dates nor occurrences. calbridge asks for ids alone: the answer matters, not its content. An unchanged
//!   calendar costs this one request.
//! - **FindItem with CalendarView** lists what overlaps a range, series expanded by the server, in at most
//!   1,000 items; a longer list is asked for in halves of the range. After any change the whole window is
//!   read this way and reported as a snapshot.
//!
//! Which is cheaper than expanding series here is a matter of measurement: `docs/adr/0002-expansion.md`.
//! Servers that speak EWS and do not expand are recognised by the masters that they put into a view. For
//! them the folder is listed page by page, masters and exceptions are read by GetItem, and `recurrence`
//! expands them as Outlook does. So it is where a damaged item spoils the views that it belongs to.
//!
//! Between two readings the server tells what changed: streaming notifications (`watch`), pulled events where streams do
//! not work, neither where an operator does not want them. They only say where to look.
//!
//! What the server cannot give for the moment is asked for again in a later feed although nothing changed, ever
//! more rarely.
//!
//! # What the administrator sets up
//!
//! For impersonation (the default) a scope that holds the synchronised mailboxes, and the role within it:
//!
//! ```text
//! New-ManagementScope -Name calbridge -RecipientRestrictionFilter "MemberOfGroup -eq '<distinguished name of a group>'"
//! New-ManagementRoleAssignment -Name calbridge -Role ApplicationImpersonation -User svc-calbridge -CustomRecipientWriteScope calbridge
//! ```
//!
//! As a delegate, per mailbox (the folder's name follows the mailbox's language):
//!
//! ```text
//! Add-MailboxFolderPermission anna@kommune.example:\Kalender -User svc-calbridge -AccessRights Reviewer
//! ```
//!
//! Windows authentication is on for the EWS virtual directory from the start. For Kerberos behind a load-balanced
//! name the service principal name belongs on the alternate service account (`setspn -S HTTP/mail.kommune.example
//! KOMMUNE\EXCHASA$`). Basic has to be switched on (`Set-WebServicesVirtualDirectory -BasicAuthentication $true`).
//!
//! # Signing in
//!
//! `signin` has one way in, the configured one. NTLM and Negotiate sign in the connection: each is a lane of its own
//! (`docs/adr/0008-signing-in-to-exchange.md`). A refused secret is tried once.
//!
//! # Identity
//!
//! Item ids change when an item moves, and an occurrence's id changes when it becomes an exception. Events
//! are matched by iCalendar UID and, within a series, the original start (EWS `RecurrenceId`).
//!
//! # Errors
//!
//! `error` has the table from EWS response codes to kinds and scopes. Throttling carries the wait that
//! Exchange asks for (`BackOffMilliseconds`). Where Kommuneklienten logged 5201 (a wait) and 5902 (busy for
//! too long), the code here is `ews.ErrorServerBusy`; 2958 (no UID) and 2959 (no recurrence id) are kept.
//!
//! # Least data
//!
//! For times no subject, no body, no place and no attendee is asked for.

mod autodiscover;
mod batches;
mod bookmark;
mod check;
mod client;
mod config;
mod endpoints;
mod error;
mod feed;
mod fetch;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod items;
mod listing;
mod map;
mod masters;
mod pending;
mod proof;
mod recurrence;
mod request;
mod response;
mod series;
mod signin;
mod sink;
mod soap;
mod source;
mod trace;
mod walk;
mod watch;
mod window;
mod xml;
mod zones;

use std::sync::Arc;

use calbridge_core::connector::{
    Capabilities, Connection, Connector, Context, ExternalIds, InventoryBounds, Result, Sharing,
    SinkCapabilities, SourceCapabilities,
};

pub use config::{Access, Auth, Autodiscover, Notifications, Settings, TraceSettings};
pub use source::Exchange;

/// The connector `exchange-ews`.
#[derive(Debug)]
pub struct ExchangeEws;

impl Connector for ExchangeEws {
    const ID: &'static str = "exchange-ews";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const TITLE: &'static str = "On-prem Exchange 2013 SP1 to Subscription Edition (EWS)";

    type Settings = Settings;

    fn capabilities() -> Capabilities {
        capabilities(10, 20, Notifications::default(), true)
    }

    fn capabilities_with(settings: &Settings) -> Capabilities {
        capabilities(
            settings.max_in_flight,
            settings.batch,
            settings.notifications,
            settings.writable,
        )
    }

    fn open(settings: Settings, context: Context) -> Result<Arc<dyn Connection>> {
        Ok(Arc::new(Exchange::open(settings, context)?))
    }
}

fn capabilities(
    max_in_flight: usize,
    batch: usize,
    notifications: Notifications,
    writable: bool,
) -> Capabilities {
    Capabilities {
        roster: false,
        source: Some(SourceCapabilities {
            incremental: true,
            deletions: true,
            watch: notifications != Notifications::Off,
            own_write_delay_ms: 0,
            fields: sink::fields(),
            max_in_flight,
        }),
        sink: writable.then(|| SinkCapabilities {
            conditional_write: true,
            idempotent_upsert: true,
            inventory: Some(InventoryBounds::Overlaps),
            probe: true,
            sharing: Sharing::Shared,
            external_ids: ExternalIds::Chosen {
                separator: "/".to_owned(),
                zone: "UTC".to_owned(),
                format: "%Y%m%dT%H%M%SZ".to_owned(),
            },
            wall_clock: None,
            fields: sink::fields(),
            max_batch: batch,
            max_in_flight,
            own_write_delay_ms: 0,
        }),
    }
}

calbridge_core::export_connector!(ExchangeEws);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn the_manifest_describes_every_setting() {
        let manifest = calbridge_core::connector::find("exchange-ews")
            .unwrap()
            .manifest();
        assert!(manifest.capabilities.source.is_some());
        assert!(manifest.capabilities.sink.is_some());
        let properties = manifest.settings["properties"].as_object().unwrap().clone();
        for name in [
            "url",
            "autodiscover",
            "auth",
            "more_accounts",
            "access",
            "max_in_flight",
            "batch",
            "home_zone",
            "notifications",
            "writable",
            "reminder_minutes",
            "http",
            "trace",
        ] {
            assert!(properties[name]["description"].is_string(), "{name}");
        }
        assert_eq!(properties.len(), 13);
        let settings = manifest.settings.to_string();
        for kind in ["ntlm", "negotiate", "oauth", "basic", "bearer"] {
            assert!(
                settings.contains(&format!("\"const\":\"{kind}\"")),
                "{kind}"
            );
        }
    }

    #[test]
    fn the_limit_of_calendars_at_once_is_a_setting() {
        let settings = serde_json::json!({
            "url": "https://mail.example/EWS/Exchange.asmx",
            "auth": { "kind": "bearer", "token": "env:T" },
            "max_in_flight": 3,
        });
        let entry = calbridge_core::connector::find("exchange-ews").unwrap();
        let capabilities = entry.capabilities(&settings).unwrap();
        assert_eq!(capabilities.source.unwrap().max_in_flight, 3);
        // It reads, and nothing else, until somebody says otherwise.
        assert!(capabilities.sink.is_none());
    }
}
