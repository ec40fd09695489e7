//! The engine's findings in words.

use calbridge_core::connector::{ErrorKind, Op, Severity};
use calbridge_core::engine::decide::Reason;
use calbridge_core::engine::project::Absence;
use calbridge_core::model::EventTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// "1 calendar", "2 calendars".
pub(super) fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// "once", "twice", "3 times".
pub(super) fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        many => format!("{many} times"),
    }
}

/// An instant by the clocks of `zone`, in whole seconds, with what the zone is called then.
pub(super) fn at(instant: Timestamp, zone: &TimeZone) -> String {
    let zoned = instant.to_zoned(zone.clone());
    zoned.strftime("%F %H:%M:%S %Z").to_string()
}

/// What went wrong, with its code, once.
pub(super) fn trouble(code: &str, message: &str) -> String {
    let mark = format!("[{code}]");
    if message.contains(&mark) {
        message.to_owned()
    } else {
        format!("{message} {mark}")
    }
}

/// What stands before what was done, if that is not all.
pub(super) const INTERRUPTED: &str = "Interrupted before all was done; the next run goes on where this one stopped. What was done until then:";

/// What is written.
pub(super) fn op(op: Op) -> &'static str {
    match op {
        Op::Create => "create",
        Op::Update => "update",
        Op::Delete => "delete",
        _ => "write",
    }
}

/// Why a decision came out as it did.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Foreign => "the record belongs to the other system, which answers for it",
        Reason::Refused => {
            "the other system refused it for good; it is sent again once the appointment or the rules change"
        }
        Reason::FateUnknown => "it was sent and never answered; it is sent again under the same id",
        Reason::Absent(Absence::Gone) => {
            "the source holds no such appointment (any more): deleted, moved to another folder, or outside the window"
        }
        Reason::Absent(Absence::Free) => "it shows as free, and free time is not sent",
        Reason::Absent(Absence::Cancelled) => "it is cancelled",
        Reason::Absent(Absence::NoDuration) => "it has no duration",
        Reason::Absent(Absence::BeyondWindow) => {
            "it starts after the window ends; it is sent once the window has rolled on"
        }
        Reason::Absent(Absence::Private) => {
            "it is private, and the rules keep private appointments where they are"
        }
        Reason::Absent(Absence::Echo) => "calbridge itself wrote it; it does not flow back",
        Reason::MovedToPast => "it was moved into the past",
        Reason::Past => "it lies in the past; what is there stays as it is",
        Reason::InStep => "both sides are as agreed",
        Reason::SourceChanged => "the source changed it",
        Reason::SinkChanged => "somebody changed the record; it is put back",
        Reason::Same => "the record was there already and holds the same",
        Reason::Different => "the record was there already and holds something else",
        Reason::New => "it is new to the other side",
        Reason::Lost => "the record was there and is gone; it is made anew",
        Reason::ClockUnclear => {
            "this computer's clock cannot be believed just now; nothing is deleted meanwhile"
        }
        Reason::SourceUnclear => {
            "the source could not be read well enough to be sure that it is gone; nothing is deleted for that"
        }
        Reason::TooEarly => {
            "it starts before the first day on which new appointments are sent (see `window.today`)"
        }
    }
}

/// When an event takes place, by the clocks of `zone`.
pub(super) fn time(time: &EventTime, zone: &TimeZone) -> String {
    match time {
        EventTime::Timed { start, end, .. } => {
            let (start, end) = (zone.to_datetime(*start), zone.to_datetime(*end));
            let first = start.strftime("%F %H:%M").to_string();
            if start.date() == end.date() {
                format!("{first}-{}", end.strftime("%H:%M"))
            } else {
                format!("{first} to {}", end.strftime("%F %H:%M"))
            }
        }
        EventTime::AllDay { start, end } => {
            let last = end.yesterday().unwrap_or(*end);
            if last == *start {
                format!("{start} all day")
            } else {
                format!("{start} to {last} all day")
            }
        }
        _ => "at a time of a kind that this version does not know".to_owned(),
    }
}

/// How a connection is, that is in trouble of this kind.
pub(super) fn connection(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "wrongly configured",
        ErrorKind::Auth => "sign-in refused",
        ErrorKind::Permission => "not allowed",
        ErrorKind::NotFound => "not found there",
        ErrorKind::Throttled => "asks to slow down",
        ErrorKind::Transient => "out of reach",
        ErrorKind::Protocol => "answers unexpectedly",
        _ => "in trouble",
    }
}

/// How bad a finding is.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Passed => "ok",
        Severity::Warning => "warning",
        Severity::Failed => "FAILED",
        _ => "unknown",
    }
}
