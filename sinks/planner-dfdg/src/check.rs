//! Whether the connection works, and what is wrong if not.

use std::collections::HashSet;

use calbridge_core::connector::{CheckReport, CheckScope, Error, Finding, Severity};
use calbridge_core::http::{Cause, CertificateFacts, StatusCode};
use jiff::Timestamp;

use crate::answer::{CERTIFICATE_ADVICE, Why};
use crate::client::{Call, Client, Failed};
use crate::codes::Access;
use crate::roster;
use crate::wire::{self, Operation, Request};

/// Clocks that differ by more than this deserve a look; more than [`FAR_APART`] breaks things.
const APART_MS: i64 = 60_000;
const FAR_APART_MS: i64 = 300_000;

/// Days before the certificate's expiry from which on it is told, and how urgently.
const EXPIRY_DAYS: [(i64, &str); 3] = [
    (3, "renew it today"),
    (14, "renew it this week"),
    (
        30,
        "order a new one now: until STAR has opened it, weeks may pass",
    ),
];

/// Looks at the certificate, then asks for the resources, which changes nothing.
pub(crate) async fn check(client: &Client, scope: &CheckScope) -> CheckReport {
    let mut report = CheckReport::default();
    let session = match client.session().await {
        Ok(session) => session,
        Err(error) => {
            report.push("certificate", Severity::Failed, error.message);
            return report;
        }
    };
    certificate(&session.facts, scope.now, &mut report);
    if let Err(error) = client.admit(&session.facts) {
        // Expiry is told already.
        if !error.code.starts_with("planner.certificate-expired")
            && !error.code.starts_with("planner.certificate-not-yet")
        {
            report.push("request-user", Severity::Failed, error.message);
        }
        return report;
    }
    report.push(
        "request-user",
        Severity::Passed,
        "`request_user` is the holder of the client certificate.",
    );
    match client
        .call(Operation::GetResources, &Request::GetResources, 0)
        .await
    {
        Ok(call) => answered(&call, scope, &mut report),
        Err(failed) => unanswered(&failed, scope, &mut report),
    }
    report
}

fn certificate(facts: &CertificateFacts, now: Timestamp, report: &mut CheckReport) {
    let until = facts.not_after.strftime("%Y-%m-%d");
    if now > facts.not_after {
        report.push(
            "certificate",
            Severity::Failed,
            format!("The client certificate expired on {until}; order a new one, have it opened by STAR and lay it beside the old one."),
        );
        return;
    }
    if now < facts.not_before {
        report.push(
            "certificate",
            Severity::Failed,
            format!(
                "The client certificate is not valid before {}; check this computer's clock.",
                facts.not_before.strftime("%Y-%m-%d")
            ),
        );
        return;
    }
    let days = facts.days_left(now);
    match EXPIRY_DAYS.iter().find(|(limit, _)| days <= *limit) {
        Some((_, advice)) => report.push(
            "certificate",
            Severity::Warning,
            format!("The client certificate expires on {until}, in {days} days; {advice}."),
        ),
        None => report.push(
            "certificate",
            Severity::Passed,
            format!("The client certificate is valid until {until}."),
        ),
    }
}

fn answered(call: &Call, scope: &CheckScope, report: &mut CheckReport) {
    report.server.clone_from(&call.server);
    report.push("reachable", Severity::Passed, "The service answers.");
    report.push(
        "authentication",
        Severity::Passed,
        "The service accepts the client certificate.",
    );
    report.push(
        "authority",
        Severity::Passed,
        "The certificate may act for this jobcenter.",
    );
    clock(call.date, scope.now, report);
    let roster = roster::build(wire::resources(&call.response));
    let count = roster.entries.len();
    if count == 0 {
        report.push(
            "roster",
            Severity::Warning,
            "Planner lists no usable resources for this jobcenter; check the jobcenter's number.",
        );
    } else {
        report.push(
            "roster",
            Severity::Passed,
            format!("Planner lists {count} calendars."),
        );
    }
    if !roster.skipped.is_empty() {
        report.push(
            "roster",
            Severity::Warning,
            format!(
                "{} resources cannot be used: their address is missing, malformed or listed more than once; correct them in Planner.",
                roster.skipped.len()
            ),
        );
    }
    let known: HashSet<String> = roster
        .entries
        .iter()
        .map(|entry| entry.calendar.address.folded())
        .collect();
    for calendar in &scope.calendars {
        let (severity, message) = if known.contains(&calendar.address.folded()) {
            (Severity::Passed, "Planner lists this calendar.")
        } else {
            (
                Severity::Failed,
                "Planner does not list this calendar, or lists it more than once; correct the resource in Planner.",
            )
        };
        report.findings.push(Finding {
            name: "calendar".to_owned(),
            severity,
            message: message.to_owned(),
            calendar: Some(calendar.clone()),
        });
    }
}

fn clock(date: Option<Timestamp>, now: Timestamp, report: &mut CheckReport) {
    let Some(date) = date else {
        report.push(
            "clock",
            Severity::Unknown,
            "The server does not tell its time.",
        );
        return;
    };
    let difference = date.as_millisecond() - now.as_millisecond();
    report.clock_difference_ms = Some(difference);
    let severity = match difference.abs() {
        0..=APART_MS => Severity::Passed,
        ..=FAR_APART_MS => Severity::Warning,
        _ => Severity::Failed,
    };
    report.push(
        "clock",
        severity,
        format!(
            "The server's clock and ours differ by {} seconds.",
            difference.abs() / 1000
        ),
    );
}

fn unanswered(failed: &Failed, scope: &CheckScope, report: &mut CheckReport) {
    let message = |error: &Error| error.message.clone();
    match &failed.why {
        Why::NotTried => report.push("reachable", Severity::Unknown, message(&failed.error)),
        Why::NotSent(Cause::TlsClientRefused) => {
            reachable(report);
            report.push("authentication", Severity::Failed, unknown_certificate());
        }
        Why::NotSent(cause) if cause.is_tls() => {
            report.push("tls", Severity::Failed, message(&failed.error));
        }
        Why::NotSent(_) | Why::Busy | Why::Unavailable | Why::Timeout | Why::TooLarge => {
            report.push("reachable", Severity::Failed, message(&failed.error));
        }
        Why::Denied(StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) => {
            reachable(report);
            report.push(
                "authentication",
                Severity::Failed,
                format!(
                    "{}. {}.",
                    unknown_certificate().trim_end_matches('.'),
                    message(&failed.error)
                ),
            );
        }
        Why::Denied(_) => report.push("url", Severity::Failed, message(&failed.error)),
        Why::Unclear => report.push("protocol", Severity::Failed, message(&failed.error)),
        Why::Access(access) => {
            reachable(report);
            report.push(
                "authentication",
                Severity::Passed,
                "The service knows the client certificate.",
            );
            let name = match access {
                Access::NotOpened => "access",
                Access::WrongAuthority => "authority",
                Access::WrongUser => "request-user",
            };
            report.push(name, Severity::Failed, message(&failed.error));
        }
        Why::Fault(_) => report.push("service", Severity::Failed, message(&failed.error)),
    }
    if failed.date.is_some() {
        clock(failed.date, scope.now, report);
    }
}

fn reachable(report: &mut CheckReport) {
    report.push("reachable", Severity::Passed, "The server answers.");
}

fn unknown_certificate() -> String {
    format!("The service does not know the client certificate: {CERTIFICATE_ADVICE}.")
}
