//! Applications that are registered in the tenant.

use jiff::Timestamp;

/// An application.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its id (`Application (client) ID`).
    pub client_id: String,
    /// Its secrets.
    pub secrets: Vec<Secret>,
    /// The certificates that were uploaded to its registration, in DER form.
    pub certificates: Vec<Vec<u8>>,
    /// The application permissions with consent, as tokens name them.
    pub roles: Vec<String>,
    /// The mailboxes that it may reach; all, where nothing limits it.
    pub mailboxes: Option<Vec<String>>,
}

/// A client secret.
#[derive(Debug, Clone)]
pub struct Secret {
    /// Its value.
    pub value: String,
    /// When it ends.
    pub ends: Timestamp,
}

impl Application {
    /// An application with one secret that lasts, and the permission for all calendars.
    #[must_use]
    pub fn new(client_id: &str, secret: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            secrets: vec![Secret {
                value: secret.to_owned(),
                ends: Timestamp::MAX,
            }],
            certificates: Vec::new(),
            roles: vec!["Calendars.ReadWrite".to_owned()],
            mailboxes: None,
        }
    }

    /// Whether it may reach this mailbox at all.
    pub(super) fn reaches(&self, address: &str) -> bool {
        self.mailboxes.as_ref().is_none_or(|mailboxes| {
            mailboxes
                .iter()
                .any(|mailbox| mailbox.eq_ignore_ascii_case(address))
        })
    }

    /// Whether it may read, or write, calendars.
    pub(super) fn may(&self, write: bool) -> bool {
        self.roles.iter().any(|role| match role.as_str() {
            "Calendars.ReadWrite" => true,
            "Calendars.Read" => !write,
            _ => false,
        })
    }
}
