//! Who is let in, connection by connection.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sha2::{Digest as _, Sha256};

use super::ntlm::{self, Challenge, Expected, Refusal};
use super::spnego;
use crate::server::{Reply, Request, Response};

/// Extended Protection: whether a client must name the channel that it speaks through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// Not looked at.
    Off,
    /// A wrong one is refused, none is accepted: what is recommended for EWS.
    #[default]
    Allow,
    /// A client without one is refused too.
    Required,
}

/// What the server does wrong during a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// The challenge is not base64.
    NotBase64,
    /// The challenge ends after this many bytes.
    Cut(usize),
    /// The challenge is followed by this many bytes more.
    Huge(usize),
    /// Each step is answered with a further challenge.
    Endless,
    /// The connection ends after the challenge.
    ClosesBetween,
    /// The connection is said to end with each 401, as a proxy does that knows nothing of NTLM.
    SaysClose,
    /// Nobody stays signed in: each request without credentials is refused.
    Forgets,
    /// A proxy answers 407 in place of the challenge.
    ProxyAsks,
}

/// How accounts sign in.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// Whether Negotiate is offered (with NTLM inside; there is no domain controller).
    pub negotiate: bool,
    /// Whether NTLM is offered.
    pub ntlm: bool,
    /// Whether Basic is offered.
    pub basic: bool,
    /// Whether all schemes stand in one header field.
    pub one_field: bool,
    /// Extended Protection.
    pub binding: Binding,
    /// The server's certificate (DER, with a SHA-256 signature), for the channel binding.
    pub certificate: Option<Vec<u8>>,
    /// After how many refusals in a row an account is locked.
    pub lock_after: Option<u32>,
    /// What goes wrong.
    pub spoil: Option<Spoil>,
}

impl Default for SignIn {
    /// Basic alone; accounts are never locked.
    fn default() -> Self {
        Self {
            negotiate: false,
            ntlm: false,
            basic: true,
            one_field: false,
            binding: Binding::Allow,
            certificate: None,
            lock_after: None,
            spoil: None,
        }
    }
}

impl SignIn {
    /// What a fresh Exchange has: Windows authentication alone.
    #[must_use]
    pub fn windows() -> Self {
        Self {
            negotiate: true,
            ntlm: true,
            basic: false,
            ..Self::default()
        }
    }
}

/// What was counted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignInCounts {
    /// NTLM challenges given out.
    pub challenges: u64,
    /// Passwords proven by NTLM, right or wrong.
    pub proofs: u64,
    /// Refused passwords, of any scheme, and refused bearer tokens: what locks an account.
    pub refused: u64,
    /// Sign-ins that fail for another reason than name and password.
    pub malformed: u64,
    /// Of these such as name another channel, or none where one must be named.
    pub unbound: u64,
}

/// An account, for the front.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) token: Option<String>,
}

/// What becomes of a request.
pub(crate) enum Ruling {
    /// Let in as the account of this number; the header belongs to the answer.
    LetIn(usize, Option<String>),
    /// Not let in.
    Answer(Reply),
}

/// Signs in.
#[derive(Debug, Default)]
pub(crate) struct Front {
    settings: Mutex<SignIn>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<u64, Connection>,
    /// Refusals in a row, by user.
    refusals: HashMap<String, u32>,
    counts: SignInCounts,
    random: RandomState,
}

#[derive(Debug, Default)]
struct Connection {
    pending: Option<Pending>,
    signed_in: Option<usize>,
}

#[derive(Debug)]
struct Pending {
    challenge: Challenge,
    /// The list of mechanisms, inside Negotiate.
    mechanisms: Option<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    pub(crate) fn new(settings: SignIn) -> Self {
        Self {
            settings: Mutex::new(settings),
            state: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> SignInCounts {
        lock(&self.state).counts
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut SignIn)) {
        change(&mut lock(&self.settings));
    }

    /// Forgets who is signed in and what was refused, as an administrator who unlocks accounts.
    pub(crate) fn unlock(&self) {
        let mut state = lock(&self.state);
        state.refusals.clear();
        state.connections.clear();
    }

    /// Judges one request.
    pub(crate) fn rule(&self, accounts: &[Known], request: &Request) -> Ruling {
        let settings = lock(&self.settings).clone();
        let mut state = lock(&self.state);
        let number = request.peer.connection;
        let Some((scheme, value)) = request
            .header("authorization")
            .and_then(|text| text.split_once(' '))
        else {
            let signed_in = state
                .connections
                .get(&number)
                .and_then(|connection| connection.signed_in);
            return match signed_in {
                Some(account) => Ruling::LetIn(account, None),
                None => Ruling::Answer(offer(&settings, accounts, None)),
            };
        };
        let value = value.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "basic" if settings.basic => state.basic(&settings, accounts, value),
            "bearer" => state.bearer(&settings, accounts, value),
            "ntlm" if settings.ntlm => state.windows(&settings, accounts, number, "NTLM", value),
            "negotiate" if settings.negotiate => {
                state.windows(&settings, accounts, number, "Negotiate", value)
            }
            _ => Ruling::Answer(offer(&settings, accounts, None)),
        }
    }
}

impl State {
    fn basic(&mut self, settings: &SignIn, accounts: &[Known], value: &str) -> Ruling {
        let refused = |state: &mut Self, user: &str| {
            state.refuse(user);
            Ruling::Answer(offer(settings, accounts, None))
        };
        let decoded = STANDARD
            .decode(value)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':'))
        else {
            return refused(self, "");
        };
        let found = accounts.iter().position(|account| {
            account.user.eq_ignore_ascii_case(user) && account.password.as_deref() == Some(password)
        });
        match found {
            Some(account) if !self.locked(settings, user) => {
                self.refusals.remove(&user.to_lowercase());
                Ruling::LetIn(account, None)
            }
            _ => refused(self, user),
        }
    }

    fn bearer(&mut self, settings: &SignIn, accounts: &[Known], value: &str) -> Ruling {
        match accounts
            .iter()
            .position(|account| account.token.as_deref() == Some(value))
        {
            Some(account) => Ruling::LetIn(account, None),
            None => {
                self.counts.refused += 1;
                Ruling::Answer(offer(settings, accounts, None))
            }
        }
    }

    fn windows(
        &mut self,
        settings: &SignIn,
        accounts: &[Known],
        number: u64,
        scheme: &'static str,
        value: &str,
    ) -> Ruling {
        let again = || Ruling::Answer(offer(settings, accounts, None));
        let Ok(bytes) = STANDARD.decode(value) else {
            self.counts.malformed += 1;
            return again();
        };
        // Windows takes NTLM without its envelope too.
        let (inner, mechanisms, signature, wrapped) = match spnego::read(&bytes) {
            Some(token) if scheme == "Negotiate" => {
                (token.inner, token.mechanisms, token.signature, true)
            }
            _ => (bytes.as_slice(), None, None, false),
        };
        let connection = self.connections.entry(number).or_default();
        connection.signed_in = None;
        let Some(pending) = connection.pending.take() else {
            return self.challenged(
                settings, accounts, number, scheme, inner, mechanisms, wrapped,
            );
        };
        let known: Vec<(String, String)> = accounts
            .iter()
            .map(|account| {
                let password = account.password.clone().unwrap_or_default();
                (account.user.clone(), password)
            })
            .collect();
        let ours = settings.certificate.as_deref().map(end_point);
        let expected = Expected {
            ours: ours.as_deref().filter(|_| settings.binding != Binding::Off),
            required: settings.binding == Binding::Required,
        };
        let judged = pending.challenge.judge(inner, &known, expected);
        if settings.spoil == Some(Spoil::Endless) {
            return self.challenged(
                settings,
                accounts,
                number,
                scheme,
                b"NTLMSSP\0\x01\0\0\0\x97\x82\x08\xe2",
                pending.mechanisms.as_deref(),
                wrapped,
            );
        }
        let user = ntlm::user_of(inner).unwrap_or_default();
        match judged {
            Ok(proven) => {
                self.counts.proofs += 1;
                let user = accounts
                    .get(proven.account)
                    .map(|account| account.user.clone())
                    .unwrap_or_default();
                if self.locked(settings, &user) {
                    self.refuse(&user);
                    return again();
                }
                let mut header = None;
                if let (true, Some(list)) = (wrapped, &pending.mechanisms) {
                    // Who sends a MIC inside NTLM must sign the list too ([MS-SPNG], 3.3.5.1).
                    if signature != Some(proven.clients_signature(list).as_slice()) {
                        self.counts.malformed += 1;
                        return again();
                    }
                    let token = spnego::done(Some(&proven.servers_signature(list)));
                    header = Some(format!("Negotiate {}", STANDARD.encode(token)));
                }
                self.refusals.remove(&user.to_lowercase());
                if settings.spoil != Some(Spoil::Forgets) {
                    self.connections.entry(number).or_default().signed_in = Some(proven.account);
                }
                Ruling::LetIn(proven.account, header)
            }
            Err(Refusal::User | Refusal::Password) => {
                self.counts.proofs += 1;
                self.refuse(&user);
                again()
            }
            Err(other) => {
                self.counts.malformed += 1;
                if other == Refusal::Binding {
                    self.counts.unbound += 1;
                }
                again()
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn challenged(
        &mut self,
        settings: &SignIn,
        accounts: &[Known],
        number: u64,
        scheme: &'static str,
        inner: &[u8],
        mechanisms: Option<&[u8]>,
        wrapped: bool,
    ) -> Ruling {
        let random = self
            .random
            .hash_one((number, self.counts.challenges))
            .to_le_bytes();
        let Ok(challenge) = ntlm::challenge(inner, random, file_time()) else {
            self.counts.malformed += 1;
            return Ruling::Answer(offer(settings, accounts, None));
        };
        self.counts.challenges += 1;
        let mut token = if wrapped {
            spnego::goes_on(&challenge.message)
        } else {
            challenge.message.clone()
        };
        let pending = Pending {
            challenge,
            mechanisms: mechanisms.map(<[u8]>::to_vec),
        };
        self.connections.entry(number).or_default().pending = Some(pending);
        match settings.spoil {
            Some(Spoil::Cut(length)) => token.truncate(length),
            Some(Spoil::Huge(more)) => token.resize(token.len().saturating_add(more), 0),
            _ => {}
        }
        let mut text = STANDARD.encode(token);
        if settings.spoil == Some(Spoil::NotBase64) {
            text = format!("~{text}~");
        }
        if settings.spoil == Some(Spoil::ProxyAsks) {
            let answer = Response::text(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "")
                .with_header("proxy-authenticate", "NTLM");
            return Ruling::Answer(answer.into());
        }
        Ruling::Answer(offer(settings, accounts, Some(&format!("{scheme} {text}"))))
    }

    fn refuse(&mut self, user: &str) {
        self.counts.refused += 1;
        *self.refusals.entry(user.to_lowercase()).or_default() += 1;
    }

    fn locked(&self, settings: &SignIn, user: &str) -> bool {
        let refusals = self.refusals.get(&user.to_lowercase()).copied();
        settings
            .lock_after
            .is_some_and(|limit| refusals.unwrap_or_default() >= limit)
    }
}

/// 401: with the schemes that some account can use, or with a token.
fn offer(settings: &SignIn, accounts: &[Known], token: Option<&str>) -> Reply {
    let mut offers: Vec<String> = Vec::new();
    match token {
        Some(token) => offers.push(token.to_owned()),
        None => {
            if settings.negotiate {
                offers.push("Negotiate".to_owned());
            }
            if settings.ntlm {
                offers.push("NTLM".to_owned());
            }
            if accounts.iter().any(|account| account.token.is_some()) {
                offers.push("Bearer".to_owned());
            }
            if settings.basic && accounts.iter().any(|account| account.password.is_some()) {
                offers.push("Basic realm=\"localhost\"".to_owned());
            }
        }
    }
    if settings.one_field {
        offers = vec![offers.join(", ")];
    }
    let mut response = Response::text(StatusCode::UNAUTHORIZED, "");
    for offer in offers {
        response = response.with_header("www-authenticate", &offer);
    }
    let ends = match settings.spoil {
        Some(Spoil::SaysClose) => true,
        Some(Spoil::ClosesBetween) => token.is_some(),
        _ => false,
    };
    if ends {
        response = response.with_header("connection", "close");
    }
    response.into()
}

/// `tls-server-end-point` (RFC 5929) of a certificate that is signed with SHA-256.
fn end_point(certificate: &[u8]) -> Vec<u8> {
    [
        b"tls-server-end-point:".as_slice(),
        &Sha256::digest(certificate),
    ]
    .concat()
}

/// Windows' time: units of 100 ns since 1601.
fn file_time() -> u64 {
    const FROM_1601_TO_1970: u64 = 11_644_473_600;
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (since.as_secs() + FROM_1601_TO_1970) * 10_000_000 + u64::from(since.subsec_nanos() / 100)
}
