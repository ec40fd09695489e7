//! Whether tokens are issued, what they allow, and whether each calendar can be read.

mod advice;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use calbridge_core::connector::{
    CheckReport, CheckScope, Error, ErrorKind, Finding, Result, Severity,
};
use calbridge_core::http::{AccessToken, HttpResponse, Urgency};
use calbridge_core::model::{Address, CalendarRef, FieldSet, Window};
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::client::Request;
use crate::config::Auth;
use crate::source::Inner;
use crate::token::{EXPIRY_DAYS, days_left};

/// From this difference on a finding is made of it, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// The span of events that are read to see that they can be.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// Tries things from the outside in. Reads only.
pub(crate) async fn check(inner: &Inner, scope: &CheckScope) -> CheckReport {
    let mut report = CheckReport {
        server: Some("Microsoft Graph v1.0".to_owned()),
        ..CheckReport::default()
    };
    expiry(inner, scope, &mut report);
    let token = match inner.client.tokens().token(true).await {
        Ok(token) => token,
        Err(error) => {
            no_token(&error, &mut report);
            advice::registration(inner.client.settings(), &mut report);
            return report;
        }
    };
    report.push("reachable", Severity::Passed, "Tokens are issued.");
    report.push(
        "authentication",
        Severity::Passed,
        "The application is let in.",
    );
    permission(inner, &token, &mut report);
    let mut refused = false;
    for calendar in &scope.calendars {
        refused |= check_calendar(inner, scope, calendar, &mut report).await;
    }
    if let Some(forbidden) = &inner.client.settings().forbidden_mailbox {
        refused |= check_forbidden(inner, forbidden, &mut report).await;
    }
    if refused {
        advice::scope(inner.client.settings(), &mut report);
    }
    report
}

fn no_token(error: &Error, report: &mut CheckReport) {
    let name = match error.kind {
        _ if error.code.starts_with("tls.") => "tls",
        ErrorKind::Config => "settings",
        ErrorKind::Auth => "authentication",
        _ => "reachable",
    };
    report.push(name, Severity::Failed, error.to_string());
}

/// How long the secret or the certificate lasts.
fn expiry(inner: &Inner, scope: &CheckScope, report: &mut CheckReport) {
    let (name, what) = match inner.client.settings().auth {
        Auth::Secret { .. } => ("secret", "The secret"),
        Auth::Certificate { .. } => ("certificate", "The certificate"),
    };
    let ends = match inner.client.tokens().expires() {
        Ok(Some(ends)) => ends,
        Ok(None) => {
            report.push(
                name,
                Severity::Unknown,
                "Nothing tells when the secret ends. Write its last day, as the registration shows it, into `expires`, and calbridge warns ahead.",
            );
            return;
        }
        Err(error) => {
            report.push(name, Severity::Failed, error.to_string());
            return;
        }
    };
    let days = days_left(ends, scope.now);
    let until = ends.strftime("%Y-%m-%d");
    let (severity, text) = if days < 0 {
        (
            Severity::Failed,
            format!("{what} ended on {until}; make a new one in the application's registration."),
        )
    } else if EXPIRY_DAYS.iter().any(|step| days <= *step) {
        (
            Severity::Warning,
            format!(
                "{what} ends on {until}, in {days} days; make a new one in the application's registration."
            ),
        )
    } else {
        (Severity::Passed, format!("{what} lasts until {until}."))
    };
    report.push(name, severity, text);
}

/// What the token says that it allows. Graph's tokens are not for us to read, so this is no more than a help.
fn permission(inner: &Inner, token: &AccessToken, report: &mut CheckReport) {
    let Some(roles) = roles(token) else {
        report.push(
            "permission",
            Severity::Unknown,
            "The token does not tell what it allows.",
        );
        return;
    };
    let everywhere = roles.iter().any(|role| {
        matches!(
            role.as_str(),
            "Calendars.ReadWrite" | "Calendars.Read" | "Calendars.ReadBasic.All"
        )
    });
    if !everywhere {
        report.push(
            "permission",
            Severity::Passed,
            "No tenant-wide permission for calendars is in the token; what the application may do follows from its role assignments in Exchange Online.",
        );
    } else if inner.client.settings().forbidden_mailbox.is_some() {
        report.push(
            "permission",
            Severity::Passed,
            "The token holds the permission for calendars.",
        );
    } else {
        report.push(
            "permission",
            Severity::Warning,
            "The token holds the permission for the calendars of all mailboxes of the tenant, unless an access policy limits it. Limit it to those that are kept in step, and name a mailbox outside in `forbidden_mailbox`, so that this check proves it.",
        );
    }
}

fn roles(token: &AccessToken) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        roles: Vec<String>,
    }
    let claims = token.value().expose_secret().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    Some(serde_json::from_slice::<Claims>(&claims).ok()?.roles)
}

/// One calendar. True if rights lack.
async fn check_calendar(
    inner: &Inner,
    scope: &CheckScope,
    calendar: &CalendarRef,
    report: &mut CheckReport,
) -> bool {
    let mut find = |name: &str, severity, message: String| {
        report.findings.push(Finding {
            name: name.to_owned(),
            severity,
            message,
            calendar: Some(calendar.clone()),
        });
    };
    let answer = match folder(inner, calendar).await {
        Ok(answer) => answer,
        Err(error) => {
            let name = match error.kind {
                ErrorKind::Permission => "authority",
                ErrorKind::Throttled => "throttling",
                _ => "calendar",
            };
            find(name, Severity::Failed, error.to_string());
            return error.kind == ErrorKind::Permission;
        }
    };
    find(
        "calendar",
        Severity::Passed,
        "The mailbox is there, and the application may reach it.".to_owned(),
    );
    if let Some(theirs) = answer.date() {
        let difference = theirs
            .as_millisecond()
            .saturating_sub(scope.now.as_millisecond());
        report.clock_difference_ms = Some(difference);
        if difference.abs() > CLOCK_TOLERANCE_MS {
            report.push(
                "clock",
                Severity::Warning,
                format!(
                    "This computer's clock and Graph's differ by {} s; set this computer's clock.",
                    difference.abs() / 1_000
                ),
            );
        }
    }
    let next_day = Window::new(
        scope.now,
        scope.now.saturating_add(A_DAY).unwrap_or(scope.now),
    );
    let Ok(next_day) = next_day else {
        return false;
    };
    let mapper = inner.mapper(FieldSet::times());
    let listed = inner.list(calendar, next_day, &mapper, Urgency::Now).await;
    let (severity, text, lacks) = match listed {
        Ok(_) => (
            Severity::Passed,
            "The appointments of the next 24 hours can be read.".to_owned(),
            false,
        ),
        Err(error) => {
            let lacks = error.kind == ErrorKind::Permission;
            (Severity::Failed, error.to_string(), lacks)
        }
    };
    report.findings.push(Finding {
        name: "appointments".to_owned(),
        severity,
        message: text,
        calendar: Some(calendar.clone()),
    });
    lacks
}

/// The calendar itself.
async fn folder(inner: &Inner, calendar: &CalendarRef) -> Result<HttpResponse> {
    let client = &inner.client;
    let mut url = match &calendar.calendar {
        Some(_) => client.of_calendar(calendar, &[])?,
        None => client.of_user(&calendar.address, &["calendar"])?,
    };
    url.query_pairs_mut().append_pair("$select", "id,canEdit");
    let mut request = Request::get(url, &calendar.address);
    request.insist = true;
    client.send(&request).await
}

/// A mailbox that must be refused. True if it is not.
async fn check_forbidden(inner: &Inner, mailbox: &Address, report: &mut CheckReport) -> bool {
    let calendar = match CalendarRef::primary(mailbox.as_str()) {
        Ok(calendar) => calendar,
        Err(error) => {
            report.push("scope", Severity::Failed, error.to_string());
            return false;
        }
    };
    match folder(inner, &calendar).await {
        Err(error) if error.kind == ErrorKind::Permission => {
            report.push(
                "scope",
                Severity::Passed,
                "The forbidden mailbox is refused, as it should be.",
            );
            false
        }
        Err(error) => {
            report.push(
                "scope",
                Severity::Unknown,
                format!("Whether the forbidden mailbox is refused cannot be told: {error}"),
            );
            false
        }
        Ok(_) => {
            report.push(
                "scope",
                Severity::Failed,
                "The forbidden mailbox can be read: the application reaches more mailboxes than it should. A change of its scope needs up to two hours.",
            );
            true
        }
    }
}
