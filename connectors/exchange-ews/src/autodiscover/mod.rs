//! Autodiscover: which server a mailbox's requests go to.
//!
//! Sites with one Exchange write its address down, and nothing is looked up. Where mailboxes live on several servers, or
//! move, each is looked up by its address (Autodiscover for Exchange). Places are asked in this order: the configured
//! address's host, the hosts that are named, `autodiscover.DOMAIN`, `DOMAIN`; at all of them version 2 first, which needs
//! no credentials, then SOAP, then plain XML.
//!
//! - `hosts`: who may be asked, and who is told credentials. The rule that keeps the account safe.
//! - `json`, `soap`, `pox`: the three protocols; reading alone.
//! - `said`: what they have in common.
//! - `lookup`: asking, redirections.
//! - `book`: what was found.
//! - `trouble`: why nothing was.
//!
//! Service connection points in the directory are not read: `docs/adr/0009-autodiscover-without-the-directory.md`.

mod book;
mod hosts;
mod json;
mod lookup;
mod pox;
mod said;
mod soap;
mod trouble;

use std::sync::Arc;

use calbridge_core::connector::{Context, Result};
use calbridge_core::model::Address;
use jiff::SignedDuration;
use tokio::sync::Semaphore;
use url::Url;

use self::book::Book;
use self::hosts::Hosts;
use self::lookup::{Asker, Found};
use crate::config::{Autodiscover, Settings};
use crate::signin::Accounts;

/// How many mailboxes are looked up at once.
const AT_ONCE: usize = 4;

/// Finds mailboxes.
#[derive(Debug)]
pub(crate) struct Discovery {
    asker: Asker,
    book: Book,
    turns: Semaphore,
    context: Context,
}

impl Discovery {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(
        settings: &Settings,
        autodiscover: &Autodiscover,
        accounts: Arc<Accounts>,
        context: &Context,
    ) -> Result<Self> {
        let own = settings.url.clone();
        let refresh = SignedDuration::try_from(autodiscover.refresh.get())
            .unwrap_or(SignedDuration::from_hours(24));
        Ok(Self {
            asker: Asker::new(
                check(autodiscover, own.as_ref())?,
                own,
                autodiscover.grouping,
                &settings.http,
                accounts,
                context.clone(),
            )?,
            book: Book::new(refresh),
            turns: Semaphore::new(AT_ONCE),
            context: context.clone(),
        })
    }

    /// Where requests for a mailbox go. With `fresh` it is asked in any case, with credentials that were refused before
    /// too, as an operator may.
    ///
    /// # Errors
    /// It is not found, and never was.
    pub(crate) async fn find(&self, mailbox: &Address, fresh: bool) -> Result<Found> {
        let ask = || async {
            // Closed by nobody.
            let _turn = self.turns.acquire().await;
            self.asker.look_up(mailbox, fresh).await
        };
        self.book
            .find(mailbox, self.context.clock.now(), fresh, ask)
            .await
    }

    /// Requests show that a mailbox may be elsewhere.
    pub(crate) fn doubt(&self, mailbox: &Address) {
        self.book.doubt(mailbox);
    }

    /// Where a mailbox was when an earlier run of the program asked.
    pub(crate) fn recall(&self, mailbox: &Address, ews: &str) {
        if let Ok(ews) = Url::parse(ews)
            && self.asker.trusts(&ews)
        {
            self.book.recall(mailbox, Found { ews, group: None });
        }
    }

    /// The group that a mailbox belongs to, as far as it was told.
    pub(crate) fn group(&self, mailbox: &Address) -> Option<String> {
        self.book.known(mailbox)?.group
    }

    /// Where a mailbox is, as far as it is known.
    pub(crate) fn known(&self, mailbox: &Address) -> Option<Url> {
        self.book.known(mailbox).map(|found| found.ews)
    }
}

/// The hosts of the settings.
///
/// # Errors
/// `Config`: a name that is none.
pub(crate) fn check(settings: &Autodiscover, own: Option<&Url>) -> Result<Hosts> {
    Hosts::new(&settings.domains, &settings.hosts, own)
}

/// Reads an answer of each kind, for a fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    let hosts = Hosts::new(
        &["kommune.example".to_owned()],
        &["gate.example:8443".to_owned()],
        None,
    );
    for said in [json::read(body), soap::read(&text), pox::read(&text)]
        .into_iter()
        .flatten()
    {
        match said {
            said::Said::Settings(settings) => {
                assert!(
                    settings.ews.len() <= said::MOST_ADDRESSES,
                    "addresses are limited"
                );
                for address in &settings.ews {
                    assert!(address.len() <= said::LONGEST, "values are limited");
                    trusted(hosts.as_ref().ok(), address);
                }
            }
            said::Said::Url(url) => trusted(hosts.as_ref().ok(), &url),
            said::Said::Address(address) => {
                assert!(address.len() <= said::LONGEST, "values are limited");
            }
            _ => {}
        }
    }
}

/// Whatever an answer names: nobody outside is told credentials.
#[cfg(any(test, feature = "fuzzing"))]
fn trusted(hosts: Option<&Hosts>, text: &str) {
    let (Some(hosts), Ok(url)) = (hosts, Url::parse(text)) else {
        return;
    };
    let shown = hosts::shown(&url);
    assert!(shown.len() <= 120, "a host that is shown is short");
    if hosts.trust(&url) == hosts::Trust::Credentials {
        let host = url.host_str().unwrap_or_default();
        assert!(url.scheme() == "https", "only by https");
        assert!(
            host.ends_with(".kommune.example") || host == "gate.example",
            "only within"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Answers of each kind, good ones and others.
    const SEEDS: [&str; 9] = [
        include_str!("../../../../fuzz/seeds/ews_autodiscover/found.json"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/unknown.json"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/online.json"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/settings.xml"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/address.xml"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/url.xml"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/pox.xml"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/pox_url.xml"),
        include_str!("../../../../fuzz/seeds/ews_autodiscover/pox_error.xml"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The same judge as the fuzzer's, on answers that were damaged.
        #[test]
        fn whatever_an_answer_says_nobody_outside_is_told_credentials(
            seed in 0..SEEDS.len(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 0..12),
        ) {
            let mut body = SEEDS.get(seed).copied().unwrap_or_default().as_bytes().to_vec();
            for (place, byte, kind) in edits {
                if body.is_empty() {
                    break;
                }
                let at = place.index(body.len());
                match kind {
                    0 => body.truncate(at),
                    1 => body.insert(at, byte),
                    2 => {
                        body.remove(at);
                    }
                    _ => {
                        let rest = body.split_off(at);
                        body.extend_from_slice(b"https://evil.example/");
                        body.extend(rest);
                    }
                }
            }
            super::read_any(&body);
        }
    }
}
