//! Several service accounts: which one a mailbox belongs to.

use calbridge_core::connector::{Context, Result};
use calbridge_core::http::HttpSettings;
use calbridge_core::model::Address;
use url::Url;

use super::breaker::Breaker;
use super::door::Door;
use crate::config::{Auth, Settings};

/// The accounts. There is always one.
#[derive(Debug)]
pub(crate) struct Accounts {
    first: Entry,
    more: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// What tells it from the others.
    name: String,
    auth: Auth,
    breaker: Breaker,
}

/// The way in of each account at one address.
#[derive(Debug)]
pub(crate) struct Doors {
    first: Door,
    more: Vec<Door>,
}

impl Accounts {
    pub(crate) fn new(settings: &Settings) -> Self {
        let entry = |auth: &Auth| Entry {
            name: auth.name(),
            auth: auth.clone(),
            breaker: Breaker::default(),
        };
        Self {
            first: entry(&settings.auth),
            more: settings.more_accounts.iter().map(entry).collect(),
        }
    }

    /// The ways in at an address. A secret that is refused at one address is tried at no other.
    ///
    /// # Errors
    /// `Config`.
    pub(crate) fn doors(&self, url: &Url, http: &HttpSettings, context: &Context) -> Result<Doors> {
        let door =
            |entry: &Entry| Door::new(url, http, &entry.auth, context, entry.breaker.beside());
        Ok(Doors {
            first: door(&self.first)?,
            more: self.more.iter().map(door).collect::<Result<_>>()?,
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
}

impl Doors {
    /// The door of an account; that of the first where there is no such account.
    pub(crate) fn door(&self, number: usize) -> &Door {
        let door = number.checked_sub(1).and_then(|rest| self.more.get(rest));
        door.unwrap_or(&self.first)
    }

    /// Gives up all connections that are signed in.
    pub(crate) fn forget_connections(&self) {
        self.first.forget_connections();
        for door in &self.more {
            door.forget_connections();
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
