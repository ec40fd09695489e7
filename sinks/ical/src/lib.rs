//! One iCalendar file a mailbox: a calendar sink.
