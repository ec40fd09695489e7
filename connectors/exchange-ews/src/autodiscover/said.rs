//! What a server says about a mailbox, whichever protocol it says it in.

/// What is found in an answer. Nothing of it is trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Where its EWS is.
    Settings(Settings),
    /// The mailbox is to be asked for by another address.
    Address(String),
    /// Somebody else is to be asked.
    Url(String),
    /// There is no such mailbox.
    Unknown,
    /// Not now.
    Busy,
    /// Something else went wrong.
    Refused,
}

/// Where a mailbox's EWS is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// Addresses of EWS, those for the outside first.
    pub(crate) ews: Vec<String>,
    /// Which mailboxes may share a stream (GroupingInformation).
    pub(crate) group: Option<String>,
    /// Whether the server calls the mailbox one of Exchange Online.
    pub(crate) online: bool,
}

/// The longest value that is taken from an answer, in bytes.
pub(crate) const LONGEST: usize = 2_048;
/// The most addresses of EWS that are looked at.
pub(crate) const MOST_ADDRESSES: usize = 16;

/// A value that is worth something.
pub(crate) fn usable(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= LONGEST).then(|| text.to_owned())
}

impl Settings {
    /// Adds an address of EWS.
    pub(crate) fn add(&mut self, text: &str) {
        if let Some(address) = usable(text)
            && self.ews.len() < MOST_ADDRESSES
            && !self.ews.contains(&address)
        {
            self.ews.push(address);
        }
    }
}
