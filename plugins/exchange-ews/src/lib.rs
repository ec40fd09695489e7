//! Exchange over EWS, as a library that calbridge loads.

calbridge_core::plugin_entry!(calbridge_exchange_ews);
