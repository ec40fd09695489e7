//! Whether the server can be reached and used, and each calendar read.

use calbridge_core::connector::{
    CheckReport, CheckScope, Error, ErrorKind, Finding, Scope, Severity,
};
use calbridge_core::model::CalendarRef;

use crate::client::Exchanged;
use crate::config::Access;
use crate::items::no_right;
use crate::request::{self, FolderTarget};
use crate::sink::verdict::no_write_right;
use crate::source::Inner;

/// From this difference on a finding is made of it, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Tries things from the outside in. Reads only.
pub(crate) async fn check(inner: &Inner, scope: &CheckScope) -> CheckReport {
    let mut report = CheckReport::default();
    let body = request::get_folder(&FolderTarget::Root);
    let answer = match inner.client.exchange(None, &body).await {
        Ok(answer) => answer,
        Err(error) => {
            unreachable(&mut report, &error);
            return report;
        }
    };
    report.push("reachable", Severity::Passed, "The server answers.");
    let plain = inner.client.settings().url.as_ref();
    if plain.is_none_or(|url| url.scheme() == "https") {
        report.push(
            "tls",
            Severity::Passed,
            "The server's certificate is trusted.",
        );
    } else {
        report.push(
            "tls",
            Severity::Warning,
            "The connection is not encrypted; that is acceptable on the machine itself only.",
        );
    }
    if !server(&mut report, scope, &answer) {
        return report;
    }
    for number in 1..inner.client.accounts().count() {
        further_account(inner, number, &mut report).await;
    }
    for calendar in &scope.calendars {
        check_calendar(inner, calendar, &mut report).await;
    }
    report
}

fn unreachable(report: &mut CheckReport, error: &Error) {
    let name = if error.code.starts_with("tls.") {
        report.push("reachable", Severity::Passed, "The server answers.");
        "tls"
    } else if error.kind == ErrorKind::Config && error.code.starts_with("config") {
        "settings"
    } else {
        "reachable"
    };
    report.push(name, Severity::Failed, error.to_string());
}

/// Authentication, version, clock. False if there is no point in going on.
fn server(report: &mut CheckReport, scope: &CheckScope, answer: &Exchanged) -> bool {
    match &answer.reply {
        Err(error) if !answer.signed_in || error.kind == ErrorKind::Auth => {
            report.push("authentication", Severity::Failed, error.to_string());
            return false;
        }
        // No EWS at this address, a page of a proxy, an overloaded server.
        Err(error) if answer.facts.version.is_none() && error.code.starts_with("ews.http.") => {
            report.push("server", Severity::Failed, error.to_string());
            return false;
        }
        Err(error) if error.code == "ews.protocol" => {
            report.push("server", Severity::Failed, error.to_string());
            return false;
        }
        // An account without a mailbox of its own is as good as any.
        _ => report.push("authentication", Severity::Passed, "The account is let in."),
    }
    match &answer.facts.version {
        Some(version) if version.too_old() => {
            report.server = Some(version.product());
            report.push(
                "version",
                Severity::Failed,
                format!(
                    "The server is {}; Exchange 2013 SP1 or later is needed.",
                    version.product()
                ),
            );
        }
        Some(version) => {
            report.server = Some(version.product());
            report.push(
                "version",
                Severity::Passed,
                format!("The server is {}.", version.product()),
            );
        }
        None => report.push(
            "version",
            Severity::Warning,
            "The server does not tell its version.",
        ),
    }
    match answer.facts.clock {
        Some(clock) => {
            let difference = clock
                .as_millisecond()
                .saturating_sub(scope.now.as_millisecond());
            report.clock_difference_ms = Some(difference);
            let seconds = difference.abs() / 1000;
            if difference.abs() > CLOCK_TOLERANCE_MS {
                report.push(
                    "clock",
                    Severity::Warning,
                    format!(
                        "The server's clock and ours differ by {seconds} s; synchronise both with a time server."
                    ),
                );
            } else {
                report.push(
                    "clock",
                    Severity::Passed,
                    format!("The server's clock and ours differ by {seconds} s."),
                );
            }
        }
        None => report.push(
            "clock",
            Severity::Warning,
            "The server does not tell its time.",
        ),
    }
    true
}

/// One of `more_accounts`, counted from 1 as they stand there.
async fn further_account(inner: &Inner, number: usize, report: &mut CheckReport) {
    let body = request::get_folder(&FolderTarget::Root);
    let error = match inner.client.exchange_as(number, &body).await {
        Ok(Exchanged {
            signed_in: false,
            reply: Err(error),
            ..
        }) => Some(error),
        Ok(Exchanged {
            reply: Err(error), ..
        }) if error.kind == ErrorKind::Auth => Some(error),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    match error {
        Some(error) => report.push(
            "authentication",
            Severity::Failed,
            format!("Account {number} of `more_accounts`: {error}"),
        ),
        None => report.push(
            "authentication",
            Severity::Passed,
            format!("Account {number} of `more_accounts` is let in."),
        ),
    }
}

async fn check_calendar(inner: &Inner, calendar: &CalendarRef, report: &mut CheckReport) {
    let mut find = |name: &str, severity, message: String| {
        report.findings.push(Finding {
            name: name.to_owned(),
            severity,
            message,
            calendar: Some(calendar.clone()),
        });
    };
    let impersonates = inner.client.settings().access == Access::Impersonation;
    let body = request::get_folder(&inner.target(calendar));
    let folder = match inner.client.single(&calendar.address, &body).await {
        Ok(message) => message.folders.into_iter().next(),
        Err(error) => {
            let name = match error.kind {
                ErrorKind::Permission if impersonates => "impersonation",
                ErrorKind::Permission => "folder-right",
                _ => "calendar",
            };
            find(name, Severity::Failed, error.to_string());
            return;
        }
    };
    let Some(folder) = folder else {
        let error = Error::new(
            ErrorKind::Protocol,
            Scope::Calendar,
            "ews.protocol",
            "the server's answer names no folder",
        );
        find("calendar", Severity::Failed, error.to_string());
        return;
    };
    find(
        "calendar",
        Severity::Passed,
        "The calendar is there.".to_owned(),
    );
    if impersonates {
        find(
            "impersonation",
            Severity::Passed,
            "The account may impersonate the mailbox.".to_owned(),
        );
    }
    match folder.may_read {
        Some(true) => find(
            "folder-right",
            Severity::Passed,
            "The calendar may be read.".to_owned(),
        ),
        Some(false) => find("folder-right", Severity::Failed, no_right().to_string()),
        None => find(
            "folder-right",
            Severity::Unknown,
            "The server does not tell the rights on the calendar.".to_owned(),
        ),
    }
    if inner.client.settings().writable {
        match folder.may_create {
            Some(true) => find(
                "write-right",
                Severity::Passed,
                "The calendar may be written.".to_owned(),
            ),
            Some(false) => find(
                "write-right",
                Severity::Failed,
                no_write_right().to_string(),
            ),
            None => find(
                "write-right",
                Severity::Unknown,
                "The server does not tell whether the calendar may be written.".to_owned(),
            ),
        }
    }
}
