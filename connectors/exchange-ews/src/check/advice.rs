//! What an administrator can do: commands for the Exchange Management Shell, ready to be used, and what to know of limits.

use std::time::Duration;

use calbridge_core::connector::{CheckReport, Severity};

use crate::client::ServerFacts;
use crate::config::{Access, Auth, Settings};

/// From which time on an answer to a small request is worth a word.
const SLOW: Duration = Duration::from_secs(2);
/// EwsMaxConcurrency of Exchange's own policy (2013 and later).
const MAX_CONCURRENCY: usize = 27;

/// The commands that give the rights that lack.
pub(super) fn rights(settings: &Settings, report: &mut CheckReport) {
    let mut command = |text: String| report.push("command", Severity::Warning, text);
    match settings.access {
        Access::Impersonation => {
            command(
                "New-ManagementScope -Name calbridge -RecipientRestrictionFilter \"MemberOfGroup -eq 'DISTINGUISHED NAME OF A GROUP WITH THE MAILBOXES'\""
                    .to_owned(),
            );
            for auth in settings.accounts() {
                let (kind, who) = assignee(auth);
                command(format!(
                    "New-ManagementRoleAssignment -Name {} -Role ApplicationImpersonation {kind} {who} -CustomRecipientWriteScope calbridge",
                    quoted(&format!("calbridge {}", who.trim_matches('\'')))
                ));
            }
            command("Get-ManagementRoleAssignment -Role ApplicationImpersonation -GetEffectiveUsers | Format-Table EffectiveUserName, CustomRecipientWriteScope".to_owned());
        }
        Access::Delegate => {
            let right = if settings.writable {
                "Editor"
            } else {
                "Reviewer"
            };
            for auth in settings.accounts() {
                let (_, who) = assignee(auth);
                command(format!(
                    "Add-MailboxFolderPermission 'ADDRESS:\\Calendar' -User {who} -AccessRights {right}    # the folder's name follows the mailbox's language"
                ));
            }
        }
    }
}

/// How an account is named in commands.
fn assignee(auth: &Auth) -> (&'static str, String) {
    match auth {
        Auth::Ntlm { user, .. } | Auth::Negotiate { user, .. } | Auth::Basic { user, .. } => {
            ("-User", quoted(user))
        }
        Auth::Oauth { client_id, .. } => ("-App", quoted(client_id)),
        Auth::Bearer { .. } => ("-User", "'ACCOUNT OF THE TOKEN'".to_owned()),
    }
}

/// A text of PowerShell in which nothing is special.
fn quoted(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", clean.replace('\'', "''"))
}

/// Which of Exchange's limits count. None of them can be asked for by EWS.
pub(super) fn throttling(settings: &Settings, report: &mut CheckReport) {
    let at_once = settings.max_in_flight;
    let accounts = settings.accounts().count();
    let (severity, text) = match settings.access {
        Access::Impersonation => (
            Severity::Passed,
            format!(
                "Requests are charged to each mailbox's own budget, apart from its owner's; calbridge sends at most {at_once} at once for all mailboxes together. Exchange's own policy allows {MAX_CONCURRENCY} per mailbox; no policy for the service account is needed."
            ),
        ),
        Access::Delegate => {
            let each = at_once.div_ceil(accounts.max(1));
            let severity = if each > MAX_CONCURRENCY {
                Severity::Warning
            } else {
                Severity::Passed
            };
            (
                severity,
                format!(
                    "All requests are charged to the service account, up to {each} at once; Exchange's own policy allows {MAX_CONCURRENCY} (EwsMaxConcurrency), and 3 streams of notifications (Exchange 2013) or 10. Where that is too little: New-ThrottlingPolicy calbridge -EwsMaxConcurrency 100 -EwsMaxSubscriptions Unlimited -EwsMaxBurst Unlimited -EwsRechargeRate Unlimited -EwsCutoffBalance Unlimited; Set-ThrottlingPolicyAssociation ACCOUNT -ThrottlingPolicy calbridge; or `access = \"impersonation\"`, or `more_accounts`."
                ),
            )
        }
    };
    report.push("throttling", severity, text);
}

/// What to do about somebody whose mailbox is not there.
pub(super) fn not_found() -> &'static str {
    "Whoever has left should be removed from the system that gives the roster too; until then `roster.deny` of the sync takes the address out. Whoever has another address by now must have it there as well."
}

/// The mailbox's server, as far as it tells, and a word where it is slow.
pub(super) fn where_and_how_fast(facts: &ServerFacts, took: Duration) -> String {
    let mut text = String::new();
    if let Some(version) = &facts.version {
        text.push_str(&format!(", on {}", version.product()));
    }
    if let Some(server) = &facts.back_end {
        let name: String = server
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
            .take(64)
            .collect();
        text.push_str(&format!(" at {name}"));
    }
    if took >= SLOW {
        text.push_str(&format!(
            "; the answer took {} s: the server is slow, or delays the account on purpose (throttling)",
            took.as_secs()
        ));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings(access: &str, user: &str) -> Settings {
        serde_json::from_value(serde_json::json!({
            "url": "https://x.example/",
            "access": access,
            "max_in_flight": 50,
            "auth": { "kind": "ntlm", "user": user, "password": "env:P" },
            "more_accounts": [{ "kind": "oauth", "token_url": "https://x.example/", "client_id": "app-1", "client_secret": "env:P" }],
        }))
        .unwrap()
    }

    fn said(give: impl Fn(&mut CheckReport)) -> Vec<(Severity, String)> {
        let mut report = CheckReport::default();
        give(&mut report);
        let findings = report.findings.into_iter();
        findings.map(|one| (one.severity, one.message)).collect()
    }

    #[test]
    fn commands_name_the_accounts_and_a_scope() {
        let settings = settings("impersonation", "KOMMUNE\\svc-o'hara");
        let commands = said(|report| rights(&settings, report));
        let [scope, first, second, _] = commands.as_slice() else {
            unreachable!("{commands:?}")
        };
        assert!(scope.1.starts_with("New-ManagementScope -Name calbridge "));
        assert!(
            first
                .1
                .contains("-User 'KOMMUNE\\svc-o''hara' -CustomRecipientWriteScope calbridge"),
            "{first:?}"
        );
        assert!(second.1.contains("-App 'app-1'"), "{second:?}");
    }

    #[test]
    fn delegates_are_told_of_the_account_s_budget() {
        let settings = settings("delegate", "svc");
        let said = said(|report| throttling(&settings, report));
        assert_eq!(said[0].0, Severity::Passed);
        assert!(said[0].1.contains("up to 25 at once"), "{said:?}");
    }
}
