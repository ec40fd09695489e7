//! On-prem Exchange over EWS: a calendar source.
