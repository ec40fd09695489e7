//! iCalendar files as a sink, as a library that calbridge loads.

calbridge_core::plugin_entry!(calbridge_ical_sink);
