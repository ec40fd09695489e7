//! Jobcenter Planner's external calendar service: a calendar sink.
