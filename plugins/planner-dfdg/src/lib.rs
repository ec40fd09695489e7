//! Jobcenter Planner, as a library that calbridge loads.

calbridge_core::plugin_entry!(calbridge_planner_dfdg);
