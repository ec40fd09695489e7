//! Several service accounts: which one a mailbox belongs to.

use calbridge_core::connector::{Context, Result};
use calbridge_core::model::Address;

use super::door::Door;
use crate::config::Settings;

/// The way in of each account. There is always one.
#[derive(Debug)]
pub(crate) struct Accounts {
    first: Entry,
    more: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// What tells it from the others.
    name: String,
    door: Door,
}

impl Accounts {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(settings: &Settings, context: &Context) -> Result<Self> {
        let entry = |auth: &crate::config::Auth| {
            Ok(Entry {
                name: auth.name(),
                door: Door::new(settings, auth, context)?,
            })
        };
        Ok(Self {
            first: entry(&settings.auth)?,
            more: settings
                .more_accounts
                .iter()
                .map(entry)
                .collect::<Result<_>>()?,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        1 + self.more.len()
    }

    fn all(&self) -> impl Iterator<Item = &Entry> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The number of the account that a mailbox belongs to. An account that comes or goes moves its own share of the
    /// mailboxes alone (rendezvous hashing).
    pub(crate) fn of(&self, mailbox: &Address) -> usize {
        self.all()
            .map(|entry| weight(&entry.name, mailbox.as_str()))
            .enumerate()
            .max_by_key(|(_, weight)| *weight)
            .map_or(0, |(number, _)| number)
    }

    /// The door of an account; that of the first where there is no such account.
    pub(crate) fn door(&self, number: usize) -> &Door {
        let entry = number.checked_sub(1).and_then(|rest| self.more.get(rest));
        &entry.unwrap_or(&self.first).door
    }

    /// Gives up all connections that are signed in.
    pub(crate) fn forget_connections(&self) {
        for entry in self.all() {
            entry.door.forget_connections();
        }
    }
}

fn weight(account: &str, mailbox: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [account, mailbox] {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part.to_lowercase().as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::weight;

    fn of(accounts: &[&str], mailbox: &str) -> String {
        let best = accounts.iter().max_by_key(|name| weight(name, mailbox));
        best.copied().unwrap_or_default().to_owned()
    }

    #[test]
    fn mailboxes_are_spread_evenly_and_an_account_more_moves_its_share_alone() {
        let (two, three) = (["svc1", "svc2"], ["svc3", "svc2", "svc1"]);
        let (mut first, mut moved) = (0, 0);
        for number in 0..3_000 {
            let mailbox = format!("person{number}@kommune.example");
            let (before, after) = (of(&two, &mailbox), of(&three, &mailbox));
            first += usize::from(before == "svc1");
            if before != after {
                assert_eq!(after, "svc3");
                moved += 1;
            }
        }
        assert!((1_350..1_650).contains(&first), "{first}");
        assert!((850..1_150).contains(&moved), "{moved}");
    }
}
