//! iCalendar files, folders and https feeds: a calendar source.
