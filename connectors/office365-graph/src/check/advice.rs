//! What an administrator can do: the steps of a registration, and commands that end the application's rights where they
//! should end.

use calbridge_core::connector::{CheckReport, Severity};

use crate::config::{Auth, Settings};

/// How the application is registered.
pub(super) fn registration(settings: &Settings, report: &mut CheckReport) {
    let mut step = |text: &str| report.push("step", Severity::Warning, text);
    step(
        "1. Entra admin center, Identity, Applications, App registrations, New registration: any name, accounts in this organizational directory only, no redirect URI. The overview shows `tenant` (Directory ID) and `client_id` (Application ID).",
    );
    match settings.auth {
        Auth::Secret { .. } => step(
            "2. Certificates & secrets, New client secret: store its value (not its id), which is shown once, where `secret` points, and write its last day into `expires`.",
        ),
        Auth::Certificate { .. } => step(
            "2. Certificates & secrets, Certificates, Upload certificate: the public part (.cer, .pem) of the certificate that `certificate` names.",
        ),
    }
    step(
        "3. For all mailboxes: API permissions, Add a permission, Microsoft Graph, Application permissions, Calendars.ReadWrite (Calendars.Read, if nothing is written), and Grant admin consent. For some mailboxes: no permission here, but the commands for the scope.",
    );
}

/// The commands that give rights on some mailboxes (Exchange Online, "Role Based Access Control for Applications").
pub(super) fn scope(settings: &Settings, report: &mut CheckReport) {
    let mut command = |text: String| report.push("command", Severity::Warning, text);
    let id = &settings.client_id;
    command(format!(
        "New-ServicePrincipal -AppId {id} -ObjectId 'OBJECT ID OF THE ENTERPRISE APPLICATION' -DisplayName calbridge"
    ));
    command(
        "New-ManagementScope -Name calbridge -RecipientRestrictionFilter \"MemberOfGroup -eq 'DISTINGUISHED NAME OF A GROUP WITH THE MAILBOXES'\""
            .to_owned(),
    );
    command(format!(
        "New-ManagementRoleAssignment -App {id} -Role 'Application Calendars.ReadWrite' -CustomResourceScope calbridge"
    ));
    command(format!(
        "Test-ServicePrincipalAuthorization -Identity {id} -Resource ADDRESS    # and remove the tenant-wide consent: both add up"
    ));
}
