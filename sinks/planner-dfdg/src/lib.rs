//! Jobcenter Planner's external calendar service: a calendar sink.
//!
//! Planner is where Danish jobcenters plan talks with citizens. Its service takes the busy times of case
//! workers and rooms, so that nobody is booked twice. It is reached through the state's data hub: SOAP 1.1
//! over TLS with a client certificate, without further message security (`PlannerExternalCalendarService`
//! WSDL, namespace `http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/`).
//!
//! What travels is a start, an end, an id that we choose and the mailbox's address; nothing else, and nothing
//! else is asked of a source. Planner keys an event by mailbox and id, so sending one twice makes no second
//! one. Times are Danish wall clock without offset.
//!
//! - `config`: the settings.
//! - `client`, `answer`: one call: certificate, pace; and what a bad answer, or none, means.
//! - `pace`, `batch`: calls per minute; how many events a call carries.
//! - `lone`, `blame`: events that make calls fail, told from outages.
//! - `soap`: XML into a small tree, with limits.
//! - `wire`: the five requests and their answers.
//! - `codes`: what receipt codes, faults and statuses mean, in one place.
//! - `map`: the model's times and addresses to Planner's, and back.
//! - `sink`, `inventory`, `roster`, `check`: the connector's traits.

mod answer;
mod batch;
mod blame;
mod check;
mod client;
mod codes;
mod config;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inventory;
mod lone;
mod map;
mod pace;
mod roster;
mod sink;
mod soap;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use calbridge_core::connector::{
    Capabilities, CheckReport, CheckScope, Connection, Connector, Context, ExternalIds,
    InventoryBounds, Result, Roster, Sharing, SinkCapabilities,
};
use calbridge_core::export_connector;
use calbridge_core::model::FieldSet;

pub use config::{MAX_PARALLEL_CALLS, PlannerSettings};

use batch::BatchSizes;
use blame::Blame;
use client::Client;

/// The connector `planner-dfdg`.
#[derive(Debug, Clone, Copy)]
pub struct PlannerDfdg;

export_connector!(PlannerDfdg);

/// How the start of an occurrence is written in an external id: as Kommuneklienten did, so that what it left
/// in Planner is found again.
const ORIGINAL_START: &str = "%Y%m%d-%H%M%S";

fn capabilities(max_events_per_call: usize, parallel_calls: usize) -> Capabilities {
    Capabilities {
        roster: true,
        source: None,
        sink: Some(SinkCapabilities {
            conditional_write: false,
            idempotent_upsert: true,
            inventory: Some(InventoryBounds::StartsIn),
            probe: false,
            sharing: Sharing::Exclusive,
            external_ids: ExternalIds::Chosen {
                separator: "$".to_owned(),
                zone: map::ZONE.to_owned(),
                format: ORIGINAL_START.to_owned(),
            },
            wall_clock: Some(map::ZONE.to_owned()),
            fields: FieldSet::times(),
            // Several calls a time, so that the connector can cut them to the size that works.
            max_batch: max_events_per_call.saturating_mul(4),
            max_in_flight: parallel_calls,
            own_write_delay_ms: 0,
        }),
    }
}

impl Connector for PlannerDfdg {
    const ID: &'static str = "planner-dfdg";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const TITLE: &'static str = "Jobcenter Planner's external calendar service (through DFDG)";

    type Settings = PlannerSettings;

    fn capabilities() -> Capabilities {
        capabilities(config::DEFAULT_EVENTS, config::DEFAULT_PARALLEL)
    }

    fn capabilities_with(settings: &PlannerSettings) -> Capabilities {
        capabilities(settings.events_per_call(), settings.parallel())
    }

    fn open(settings: PlannerSettings, context: Context) -> Result<Arc<dyn Connection>> {
        settings.validate()?;
        if settings.parallel_calls > MAX_PARALLEL_CALLS {
            tracing::info!(
                connection = %context.connection,
                configured = settings.parallel_calls,
                used = MAX_PARALLEL_CALLS,
                "Planner takes no more than ten calls at once; `parallel_calls` is limited."
            );
        }
        let batches = BatchSizes::new(settings.events_per_call());
        Ok(Arc::new(Planner {
            client: Arc::new(Client::new(settings, context)?),
            batches,
            blame: Blame::default(),
        }))
    }
}

/// An open connection.
#[derive(Debug)]
struct Planner {
    client: Arc<Client>,
    batches: BatchSizes,
    blame: Blame,
}

#[async_trait]
impl Connection for Planner {
    async fn check(&self, scope: CheckScope) -> Result<CheckReport> {
        Ok(check::check(&self.client, &scope).await)
    }

    async fn roster(&self) -> Result<Roster> {
        roster::roster(&self.client).await
    }

    fn sink(&self) -> Option<&dyn calbridge_core::connector::CalendarSink> {
        Some(self)
    }
}
