//! Asking: one place after the other, by one protocol after the other, and every redirection by hand.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use calbridge_core::connector::{Context, Error, ErrorKind, Result as CoreResult, Scope};
use calbridge_core::http::{
    HeaderMap, HeaderName, HeaderValue, HttpClient, HttpFailure, HttpResponse, HttpSettings,
    HumanDuration, header,
};
use calbridge_core::model::Address;
use url::Url;

use super::hosts::{Hosts, Trust, is_online, is_tenant, shown};
use super::said::{Said, Settings};
use super::trouble::{Trouble, Unreadable};
use super::{json, pox, soap};
use crate::error::{Charged, from_status};
use crate::signin::{Accounts, Doors, Failure};

/// The most redirections of any kind in one look-up (Autodiscover, "at most 10").
const MOST_HOPS: usize = 10;
/// The largest answer, in bytes. A real one has a few KiB.
const LARGEST: u64 = 256 * 1024;
/// How long one place may take.
const EACH: HumanDuration = HumanDuration::from_secs(20);
/// How long connecting may take: most candidates of most sites are not there.
const CONNECT: HumanDuration = HumanDuration::from_secs(8);
/// How long all of it may take.
const ALL: Duration = Duration::from_secs(90);
/// How many addresses are kept ready to be asked.
const MOST_DOORS: usize = 32;

/// What a look-up finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where requests for the mailbox go.
    pub(crate) ews: Url,
    /// Which mailboxes belong together, where it was asked for and told.
    pub(crate) group: Option<String>,
}

/// Asks.
#[derive(Debug)]
pub(crate) struct Asker {
    hosts: Hosts,
    /// Where requests go in any case.
    own: Option<Url>,
    grouping: bool,
    http: HttpClient,
    limits: HttpSettings,
    context: Context,
    accounts: Arc<Accounts>,
    doors: Mutex<HashMap<Url, Arc<Doors>>>,
}

/// The protocols that need credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Soap,
    Pox,
}

/// One look-up.
struct Walk<'a> {
    asker: &'a Asker,
    address: String,
    account: usize,
    insist: bool,
    hops: usize,
    /// Where it was, with the address that was asked for.
    seen: HashSet<(String, String)>,
    /// Places that did not answer.
    dead: HashSet<String>,
    worst: Option<Trouble>,
}

/// What came of asking all places about an address.
enum Round {
    Found(Found),
    Address(String),
    Nothing,
}

impl Asker {
    /// # Errors
    /// `Config`.
    pub(crate) fn new(
        hosts: Hosts,
        own: Option<Url>,
        grouping: bool,
        http: &HttpSettings,
        accounts: Arc<Accounts>,
        context: Context,
    ) -> CoreResult<Self> {
        let mut limits = http.clone();
        limits.max_response = limits.max_response.min(LARGEST);
        limits.timeout = limits.timeout.min(EACH);
        limits.connect_timeout = limits.connect_timeout.min(CONNECT);
        Ok(Self {
            hosts,
            own,
            grouping,
            http: HttpClient::build(&limits, None, &context)?,
            limits,
            context,
            accounts,
            doors: Mutex::default(),
        })
    }

    /// Whether requests may go there.
    pub(crate) fn trusts(&self, url: &Url) -> bool {
        self.hosts.trust(url) == Trust::Credentials
    }

    /// Looks a mailbox up. With `insist` credentials are tried that were refused before, as an operator may.
    ///
    /// # Errors
    /// [`Trouble`]: what tells an operator most.
    pub(crate) async fn look_up(&self, mailbox: &Address, insist: bool) -> Result<Found, Trouble> {
        let walk = Walk {
            asker: self,
            address: mailbox.as_str().to_owned(),
            account: self.accounts.of(mailbox),
            insist,
            hops: 0,
            seen: HashSet::new(),
            dead: HashSet::new(),
            worst: None,
        };
        tokio::time::timeout(ALL, walk.run())
            .await
            .unwrap_or(Err(Trouble::Slow))
    }

    fn doors(&self, url: &Url) -> CoreResult<Arc<Doors>> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = doors.get(url) {
            return Ok(Arc::clone(known));
        }
        if doors.len() >= MOST_DOORS {
            doors.clear();
        }
        let made = Arc::new(self.accounts.doors(url, &self.limits, &self.context)?);
        doors.insert(url.clone(), Arc::clone(&made));
        Ok(made)
    }
}

impl Walk<'_> {
    async fn run(mut self) -> Result<Found, Trouble> {
        loop {
            match self.round().await? {
                Round::Found(found) => return Ok(found),
                Round::Nothing => return Err(self.worst.unwrap_or(Trouble::Nowhere(None))),
                Round::Address(next) => {
                    self.hops += 1;
                    let again = self.seen.contains(&(String::new(), next.to_lowercase()));
                    if again || self.hops > MOST_HOPS {
                        return Err(Trouble::Circle);
                    }
                    self.address = next;
                }
            }
        }
    }

    async fn round(&mut self) -> Result<Round, Trouble> {
        self.seen
            .insert((String::new(), self.address.to_lowercase()));
        let domain = self
            .address
            .rsplit_once('@')
            .map(|(_, domain)| domain.to_ascii_lowercase())
            .unwrap_or_default();
        if is_tenant(&domain) {
            return Err(Trouble::MovedOnline);
        }
        if !self.asker.hosts.knows(&domain) {
            return Err(Trouble::Domain);
        }
        let bases = self.asker.hosts.bases(&domain);
        let mut found: Option<Found> = None;
        for base in &bases {
            let Some(said) = self.ask_json(base).await? else {
                continue;
            };
            match self.judge(said)? {
                Round::Nothing => {}
                Round::Found(here) => {
                    found = Some(here);
                    break;
                }
                next @ Round::Address(_) => return Ok(next),
            }
        }
        for kind in [Kind::Soap, Kind::Pox] {
            if found.is_some() && !(self.asker.grouping && kind == Kind::Soap) {
                break;
            }
            for base in &bases {
                if self.asker.hosts.trust(base) != Trust::Credentials
                    || self.dead.contains(&place(base))
                {
                    continue;
                }
                let Some(said) = self.ask_xml(kind, base).await? else {
                    continue;
                };
                match (self.judge(said)?, &mut found) {
                    (Round::Nothing, _) => {}
                    (Round::Found(here), Some(found)) => {
                        found.group = here.group;
                        break;
                    }
                    (Round::Found(here), None) => return Ok(Round::Found(here)),
                    // What was found without credentials is good enough.
                    (Round::Address(_), Some(_)) => break,
                    (next @ Round::Address(_), None) => return Ok(next),
                }
            }
        }
        Ok(found.map_or(Round::Nothing, Round::Found))
    }

    fn note(&mut self, trouble: Trouble) {
        let known = self.worst.as_ref().map(Trouble::weight);
        if known.is_none_or(|known| known < trouble.weight()) {
            self.worst = Some(trouble);
        }
    }

    /// A place that gave no answer is not asked again.
    fn no_answer(&mut self, url: &Url, failure: HttpFailure) {
        self.dead.insert(place(url));
        self.note(failure.into());
    }

    /// What follows from what was said.
    fn judge(&mut self, said: Said) -> Result<Round, Trouble> {
        match said {
            Said::Settings(settings) => self.accept(settings),
            Said::Address(next) => match Address::new(&next) {
                Ok(next) => Ok(Round::Address(next.as_str().to_owned())),
                Err(_) => {
                    self.note(Unreadable::Lacks("a mail address").into());
                    Ok(Round::Nothing)
                }
            },
            Said::Unknown => self.nothing(Trouble::Unknown),
            Said::Busy => self.nothing(Trouble::Busy),
            Said::Refused => self.nothing(Trouble::Refused),
            // Followed where it was said.
            Said::Url(_) => self.nothing(Trouble::Circle),
        }
    }

    fn nothing(&mut self, trouble: Trouble) -> Result<Round, Trouble> {
        self.note(trouble);
        Ok(Round::Nothing)
    }

    fn accept(&mut self, settings: Settings) -> Result<Round, Trouble> {
        let urls: Vec<Url> = settings
            .ews
            .iter()
            .filter_map(|text| Url::parse(text).ok())
            .collect();
        if settings.online || urls.iter().any(|url| url.host_str().is_some_and(is_online)) {
            return Err(Trouble::MovedOnline);
        }
        let group = settings.group;
        if let Some(own) = &self.asker.own {
            return Ok(Round::Found(Found {
                ews: own.clone(),
                group,
            }));
        }
        let foreign = urls.first().map(shown);
        match urls.into_iter().find(|url| self.asker.trusts(url)) {
            Some(ews) => Ok(Round::Found(Found { ews, group })),
            None => self.nothing(foreign.map_or(Trouble::NoEws, Trouble::Foreign)),
        }
    }

    /// Whether a place may be asked, and was not asked yet.
    fn enter(&mut self, url: &Url, needed: Trust) -> Result<bool, Trouble> {
        if url.host_str().is_some_and(is_online) {
            return Err(Trouble::MovedOnline);
        }
        let trouble = if self.asker.hosts.trust(url) < needed {
            Trouble::Foreign(shown(url))
        } else if self.hops > MOST_HOPS
            || !self
                .seen
                .insert((url.to_string(), self.address.to_lowercase()))
        {
            Trouble::Circle
        } else {
            return Ok(true);
        };
        self.note(trouble);
        Ok(false)
    }

    /// Where an HTTP redirection leads.
    fn redirected(&mut self, from: &Url, answer: &HttpResponse) -> Option<Url> {
        self.hops += 1;
        let next = answer
            .header("location")
            .and_then(|text| from.join(text.trim()).ok());
        if next.is_none() {
            self.note(Unreadable::Lacks("where to").into());
        }
        next
    }

    async fn ask_json(&mut self, base: &Url) -> Result<Option<Said>, Trouble> {
        let mut url = json::url(base, &self.address, self.hops).ok_or(Trouble::Nowhere(None))?;
        loop {
            if !self.enter(&url, Trust::Addresses)? {
                return Ok(None);
            }
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            let answer = match self.asker.http.get(&url, headers).await {
                Ok(answer) => answer,
                Err(failure) => {
                    self.no_answer(&url, failure);
                    return Ok(None);
                }
            };
            let status = answer.status.as_u16();
            tracing::debug!(status, "Autodiscover answered without credentials.");
            match status {
                200..=299 => return Ok(self.readable(json::read(&answer.body))),
                301 | 302 | 303 | 307 | 308 => match self.redirected(&url, &answer) {
                    Some(next) => url = next,
                    None => return Ok(None),
                },
                429 | 503 => return Ok(Some(Said::Busy)),
                // Some tell it by the status as well.
                400 | 404 if json::read(&answer.body) == Ok(Said::Unknown) => {
                    return Ok(Some(Said::Unknown));
                }
                _ => return Ok(None),
            }
        }
    }

    async fn ask_xml(&mut self, kind: Kind, base: &Url) -> Result<Option<Said>, Trouble> {
        let mut url = kind.url(base).ok_or(Trouble::Nowhere(None))?;
        loop {
            if !self.enter(&url, Trust::Credentials)? {
                return Ok(None);
            }
            let doors = self.asker.doors(&url).map_err(Trouble::Account)?;
            let door = doors.door(self.account);
            let document = match kind {
                Kind::Soap => soap::request(&url, &self.address),
                Kind::Pox => pox::request(&self.address),
            };
            let sent = door.post(
                &self.asker.http,
                headers(kind),
                document.into_bytes(),
                self.insist,
            );
            let answer = match sent.await {
                Ok(answer) => answer,
                Err(Failure::Http(failure)) => {
                    self.no_answer(&url, failure);
                    return Ok(None);
                }
                Err(Failure::Error(error)) if error.kind == ErrorKind::Auth => {
                    return Err(Trouble::Account(error));
                }
                Err(Failure::Error(error)) => {
                    self.note(Trouble::Account(narrowed(error)));
                    return Ok(None);
                }
            };
            let status = answer.status.as_u16();
            tracing::debug!(status, ?kind, "Autodiscover answered.");
            let next = match status {
                // Refused credentials are not carried from door to door: that is how accounts are locked.
                401 => {
                    let error = from_status(status, None, Charged::Account);
                    return Err(Trouble::Account(error));
                }
                200..=299 | 500 => {
                    let document = String::from_utf8_lossy(&answer.body);
                    let said = match kind {
                        Kind::Soap => soap::read(&document),
                        Kind::Pox => pox::read(&document),
                    };
                    match self.readable(said) {
                        Some(Said::Url(next)) => {
                            self.hops += 1;
                            url.join(&next).ok()
                        }
                        other => return Ok(other),
                    }
                }
                301 | 302 | 303 | 307 | 308 => self.redirected(&url, &answer),
                429 | 503 => return Ok(Some(Said::Busy)),
                _ => return Ok(None),
            };
            // The host counts; the path is ours.
            let Some(next) = next.and_then(|next| kind.url(&next)) else {
                return Ok(None);
            };
            url = next;
        }
    }

    fn readable(&mut self, said: Result<Said, Unreadable>) -> Option<Said> {
        match said {
            Ok(said) => Some(said),
            Err(unreadable) => {
                self.note(unreadable.into());
                None
            }
        }
    }
}

impl Kind {
    fn url(self, base: &Url) -> Option<Url> {
        match self {
            Self::Soap => soap::url(base),
            Self::Pox => pox::url(base),
        }
    }
}

fn headers(kind: Kind) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/xml; charset=utf-8"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/xml"));
    if kind == Kind::Soap {
        headers.insert(
            HeaderName::from_static("soapaction"),
            HeaderValue::from_static(
                "\"http://schemas.microsoft.com/exchange/2010/Autodiscover/Autodiscover/GetUserSettings\"",
            ),
        );
    }
    headers
}

/// One place's trouble is not the connection's.
fn narrowed(mut error: Error) -> Error {
    error.scope = Scope::Calendar;
    error
}

/// Scheme, host and port.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}
