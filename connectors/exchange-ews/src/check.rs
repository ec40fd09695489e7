//! Whether the server can be reached and used, and each calendar read.

mod advice;

use std::collections::BTreeMap;
use std::sync::Arc;

use calbridge_core::connector::{
    CheckReport, CheckScope, Error, ErrorKind, Finding, Scope, Severity,
};
use calbridge_core::model::{CalendarRef, FieldSet, Window};
use jiff::{SignedDuration, Timestamp};

use crate::client::{Exchanged, ServerFacts};
use crate::config::Access;
use crate::endpoints::Endpoint;
use crate::items::no_right;
use crate::request::{self, FolderTarget, Properties};
use crate::sink::verdict::no_write_right;
use crate::soap::ServerVersion;
use crate::source::Inner;

/// From this difference on a finding is made of it, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// The span of appointments that are read to see that they can be.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// Tries things from the outside in. Reads only.
pub(crate) async fn check(inner: &Inner, scope: &CheckScope) -> CheckReport {
    let mut report = CheckReport::default();
    let (endpoints, calendars) = places(inner, scope, &mut report).await;
    if endpoints.is_empty() {
        if report.findings.is_empty() {
            report.push(
                "reachable",
                Severity::Unknown,
                "Without `url` servers are looked up by their mailboxes: name a calendar to be checked.",
            );
        }
        return report;
    }
    let mut usable = false;
    for endpoint in &endpoints {
        usable |= check_endpoint(inner, scope, endpoint, &mut report).await;
    }
    if !usable {
        return report;
    }
    let first = report.findings.len();
    for calendar in calendars {
        check_calendar(inner, scope, calendar, &mut report).await;
    }
    let of_calendars = report.findings.get(first..).unwrap_or_default();
    let refused = |finding: &Finding| {
        finding.severity == Severity::Failed
            && matches!(
                finding.name.as_str(),
                "impersonation" | "folder-right" | "write-right"
            )
    };
    if of_calendars.iter().any(refused) {
        advice::rights(inner.client.settings(), &mut report);
    }
    if !scope.calendars.is_empty() {
        advice::throttling(inner.client.settings(), &mut report);
    }
    report
}

/// The addresses of EWS, and the calendars whose mailboxes are at one of them.
async fn places<'a>(
    inner: &Inner,
    scope: &'a CheckScope,
    report: &mut CheckReport,
) -> (Vec<Arc<Endpoint>>, Vec<&'a CalendarRef>) {
    let settings = inner.client.settings();
    let mut endpoints: BTreeMap<String, Arc<Endpoint>> = BTreeMap::new();
    let mut add = |endpoint: Arc<Endpoint>| {
        endpoints.insert(endpoint.url.to_string(), endpoint);
    };
    if settings.url.is_some()
        && let Ok(fixed) = inner.client.endpoints().of(None).await
    {
        add(fixed);
    }
    if settings.autodiscover.is_none() {
        return (
            endpoints.into_values().collect(),
            scope.calendars.iter().collect(),
        );
    }
    let mut found = Vec::new();
    for calendar in &scope.calendars {
        match inner.client.endpoints().find(&calendar.address, true).await {
            Ok(endpoint) => {
                let host = endpoint.url.host_str().unwrap_or_default();
                let text = format!("Requests for the mailbox go to {host}.");
                report
                    .findings
                    .push(of(calendar, "autodiscover", Severity::Passed, text));
                found.push(calendar);
                add(endpoint);
            }
            Err(error) => {
                let text = error.to_string();
                report
                    .findings
                    .push(of(calendar, "autodiscover", Severity::Failed, text));
            }
        }
    }
    (endpoints.into_values().collect(), found)
}

fn of(calendar: &CalendarRef, name: &str, severity: Severity, message: String) -> Finding {
    Finding {
        name: name.to_owned(),
        severity,
        message,
        calendar: Some(calendar.clone()),
    }
}

/// One address of EWS. False if there is no point in going on with it.
async fn check_endpoint(
    inner: &Inner,
    scope: &CheckScope,
    endpoint: &Endpoint,
    report: &mut CheckReport,
) -> bool {
    let body = request::get_folder(&FolderTarget::Root);
    let answer = match inner.client.exchange_at(endpoint, 0, &body).await {
        Ok(answer) => answer,
        Err(error) => {
            unreachable(report, &error);
            return false;
        }
    };
    report.push("reachable", Severity::Passed, "The server answers.");
    if endpoint.url.scheme() == "https" {
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
    if !server(report, scope, &answer) {
        return false;
    }
    for number in 1..inner.client.accounts().count() {
        further_account(inner, endpoint, number, report).await;
    }
    true
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
        Some(version) => {
            report.server = Some(version.product());
            let (severity, text) = judge(version);
            report.push("version", severity, text);
        }
        None => report.push(
            "version",
            Severity::Warning,
            "The server does not tell its version.",
        ),
    }
    match difference(&answer.facts, scope.now) {
        Some(difference) => {
            report.clock_difference_ms = Some(difference);
            let (severity, text) = told(difference);
            report.push("clock", severity, text);
        }
        None => report.push(
            "clock",
            Severity::Warning,
            "The server does not tell its time.",
        ),
    }
    true
}

fn judge(version: &ServerVersion) -> (Severity, String) {
    let product = version.product();
    if version.too_old() {
        let text = format!("The server is {product}; Exchange 2013 SP1 or later is needed.");
        (Severity::Failed, text)
    } else {
        (Severity::Passed, format!("The server is {product}."))
    }
}

/// The server's clock minus ours, in milliseconds.
fn difference(facts: &ServerFacts, now: Timestamp) -> Option<i64> {
    let clock = facts.clock?.as_millisecond();
    Some(clock.saturating_sub(now.as_millisecond()))
}

fn told(difference: i64) -> (Severity, String) {
    let seconds = difference.abs() / 1000;
    let text = format!("The server's clock and ours differ by {seconds} s");
    if difference.abs() > CLOCK_TOLERANCE_MS {
        let text = format!("{text}; synchronise both with a time server.");
        (Severity::Warning, text)
    } else {
        (Severity::Passed, format!("{text}."))
    }
}

/// One of `more_accounts`, counted from 1 as they stand there.
async fn further_account(
    inner: &Inner,
    endpoint: &Endpoint,
    number: usize,
    report: &mut CheckReport,
) {
    let body = request::get_folder(&FolderTarget::Root);
    let error = match inner.client.exchange_at(endpoint, number, &body).await {
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

async fn check_calendar(
    inner: &Inner,
    scope: &CheckScope,
    calendar: &CalendarRef,
    report: &mut CheckReport,
) {
    let mut find = |name: &str, severity, message: String| {
        report.findings.push(of(calendar, name, severity, message));
    };
    let impersonates = inner.client.settings().access == Access::Impersonation;
    let body = request::get_folder(&inner.target(calendar));
    let begun = tokio::time::Instant::now();
    let answer = inner.client.exchange(Some(&calendar.address), &body).await;
    let took = begun.elapsed();
    let (facts, reply) = match answer {
        Ok(answer) => (answer.facts, answer.reply),
        Err(error) => (ServerFacts::default(), Err(error)),
    };
    let message = reply.and_then(|reply| {
        let message = reply.messages.into_iter().next();
        let message = message.ok_or_else(no_folder)?;
        inner.client.checked(message, Scope::Calendar)
    });
    let folder = match message {
        Ok(message) => message.folders.into_iter().next(),
        Err(error) => {
            let name = match error.kind {
                ErrorKind::Permission if impersonates => "impersonation",
                ErrorKind::Permission => "folder-right",
                ErrorKind::Throttled => "throttling",
                _ => "calendar",
            };
            find(name, Severity::Failed, error.to_string());
            if error.kind == ErrorKind::NotFound {
                find("roster", Severity::Warning, advice::not_found().to_owned());
            }
            return;
        }
    };
    let Some(folder) = folder else {
        find("calendar", Severity::Failed, no_folder().to_string());
        return;
    };
    find(
        "calendar",
        Severity::Passed,
        format!(
            "The calendar is there{}.",
            advice::where_and_how_fast(&facts, took)
        ),
    );
    if let Some((Severity::Failed, text)) = facts.version.as_ref().map(judge) {
        find("version", Severity::Failed, text);
    }
    if let Some((Severity::Warning, text)) = difference(&facts, scope.now).map(told) {
        find("clock", Severity::Warning, text);
    }
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
        Some(false) => {
            find("folder-right", Severity::Failed, no_right().to_string());
            return;
        }
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
    match appointments(inner, scope.now, calendar, &folder.id).await {
        Ok(()) => find(
            "appointments",
            Severity::Passed,
            "The appointments of the next 24 hours can be read.".to_owned(),
        ),
        Err(error) => find("appointments", Severity::Failed, error.to_string()),
    }
}

/// Rights on a folder are one thing, its content another.
async fn appointments(
    inner: &Inner,
    now: Timestamp,
    calendar: &CalendarRef,
    folder: &str,
) -> Result<(), Error> {
    let Ok(range) = Window::new(now, now.saturating_add(A_DAY).unwrap_or(now)) else {
        return Ok(());
    };
    let body = request::calendar_view(folder, &Properties::view(&FieldSet::times()), range);
    inner
        .client
        .single(&calendar.address, &body)
        .await
        .map(drop)
}

fn no_folder() -> Error {
    Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "ews.protocol",
        "the server's answer names no folder",
    )
}
