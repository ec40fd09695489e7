//! The connectors that are linked into this program. Linking registers them; none is opened unless a
//! connection of the configuration names it.

#[cfg(feature = "exchange-ews")]
use calbridge_exchange_ews as _;
#[cfg(feature = "ical")]
use calbridge_ical_sink as _;
#[cfg(feature = "ical")]
use calbridge_ical_source as _;
#[cfg(feature = "planner-dfdg")]
use calbridge_planner_dfdg as _;
