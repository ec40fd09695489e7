//! iCalendar files and feeds as a source, as a library that calbridge loads.

calbridge_core::plugin_entry!(calbridge_ical_source);
