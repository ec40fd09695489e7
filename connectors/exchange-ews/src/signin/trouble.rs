//! What goes wrong when an account signs in: codes for monitoring, and what an operator can do. No text of a server
//! is repeated, and no name.

use std::fmt;

use calbridge_core::connector::{Error, ErrorKind, Scope};

/// Why an account is not signed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// The server does not offer what is configured. Nothing else is used in its place.
    #[error(
        "the server does not offer {wanted}, which `auth` asks for, but {offered}. No other way is tried by itself, because a forged answer could ask for the password that way. {}",
        remedy(*.offered)
    )]
    NotOffered {
        /// The configured scheme.
        wanted: &'static str,
        /// What it offers.
        offered: Offered,
    },
    /// A token of the server cannot be used.
    #[error(
        "the server's part of the sign-in {0}. Look for a proxy or load balancer that changes answers; if there is none, have the web server's own log read"
    )]
    Token(&'static str),
    /// The server goes on asking.
    #[error(
        "the server asks for ever more steps of the sign-in and is given up. Look for a proxy or load balancer that hands one sign-in to several servers"
    )]
    Steps,
    /// NTLM and Negotiate belong to one connection, which does not last.
    #[error(
        "the connection ends between the steps of the sign-in. NTLM needs connections that last: keep-alive must be on at the web server, and a proxy or load balancer must leave a client's connection to one server"
    )]
    Connection,
    /// Name and password are refused.
    #[error("{}", REFUSED)]
    Refused,
    /// Kerberos: the domain has issued a ticket, and Exchange does not take it.
    #[error(
        "Exchange does not take the ticket that the domain issued. Check that the service principal name HTTP/ with the host of `url` belongs to the account that Exchange runs under (the alternate service account), and only to it. With Extended Protection a proxy that opens TLS must have the same certificate as Exchange; where the server does not require it, `channel_binding = \"off\"` goes without"
    )]
    TicketRefused,
    /// They were refused before, and are not tried again.
    #[error(
        "Exchange has refused these credentials and they are not tried again, so that the account is not locked. Check user and secret with `check`, which tries once; then change the secret, or restart the program if the secret was right"
    )]
    RefusedBefore,
    /// A domain controller refuses the account.
    #[error("the domain controller refuses the account: {0}")]
    Account(AccountTrouble),
    /// No ticket for another reason.
    #[error("{0}")]
    Ticket(TicketTrouble),
    /// The user name has no form that the mechanism knows.
    #[error("`auth`: `user` is written `DOMAIN\\user` or `user@domain.example`")]
    User,
    /// The mechanism fails on our side.
    #[error(
        "the sign-in cannot be worked out (error {0:#010x} of the security package). If it stays, try `kind = \"ntlm\"` in place of `negotiate`, or the other way round"
    )]
    Mechanism(u32),
    /// OAuth's token endpoint.
    #[error("{0}")]
    Endpoint(EndpointTrouble),
    /// A fresh token is refused.
    #[error(
        "Exchange refuses a token that was issued a moment ago. Check that `scope` names this Exchange, that the application has the permission to read calendars, and that OAuth is switched on for the EWS virtual directory"
    )]
    FreshToken,
}

const REFUSED: &str = "Exchange does not let the account in. Check user and password in `auth`, and whether the account is locked, disabled or expired. Where these are right: with Extended Protection a proxy that opens TLS must have the same certificate as Exchange (or Extended Protection must be off, and `channel_binding = \"off\"` here). The credentials are not tried again until the secret changes or the program is restarted, so that the account is not locked";

/// What a domain controller says about the account (RFC 4120, 7.5.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AccountTrouble {
    /// `KDC_ERR_PREAUTH_FAILED`.
    #[error(
        "the password is wrong. It is not tried again until the secret changes or the program is restarted, so that the account is not locked"
    )]
    Password,
    /// `KDC_ERR_CLIENT_REVOKED`.
    #[error("it is locked or disabled. Have it unlocked, then restart the program")]
    Revoked,
    /// `KDC_ERR_KEY_EXPIRED`, `KDC_ERR_NAME_EXP`.
    #[error(
        "it, or its password, has expired. Set a new password in the directory and in the secret"
    )]
    Expired,
    /// `KDC_ERR_C_PRINCIPAL_UNKNOWN`.
    #[error("there is no such user. Check `user`, and that `kdc` is a controller of its domain")]
    Unknown,
}

/// Why there is no ticket although the account may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TicketTrouble {
    /// None answers.
    #[error(
        "none of the domain controllers in `kdc` answers on TCP; it is tried again. Check the names, and that a firewall lets port 88 through"
    )]
    Unreachable,
    /// `KDC_ERR_S_PRINCIPAL_UNKNOWN`.
    #[error(
        "the domain controllers know no service principal name HTTP/ with the host of `url`. Register it on Exchange's alternate service account (setspn -S), set `service` to the name that is registered, or use `kind = \"ntlm\"`"
    )]
    Service,
    /// `KRB_AP_ERR_SKEW`.
    #[error(
        "the clocks of this machine and the domain controller differ by more than Kerberos allows (5 minutes); synchronise both with a time server"
    )]
    Clock,
    /// Any other code.
    #[error("the domain controller issues no ticket (Kerberos error {0})")]
    Code(u32),
}

/// What goes wrong at OAuth's token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointTrouble {
    /// `invalid_client`, `unauthorized_client`, or 401.
    #[error(
        "the token endpoint does not accept the application's id and secret; they are not tried again until the secret changes or the program is restarted. Check `client_id` and `client_secret`, and whether the secret has expired"
    )]
    Client,
    /// `invalid_scope`, `invalid_target`, `invalid_resource`.
    #[error(
        "the token endpoint does not know `scope`; for Exchange on premises it is https://HOST/.default with the host of `url`"
    )]
    Scope,
    /// Another refusal.
    #[error(
        "the token endpoint refuses (status {0}). Check `token_url`, and that the application may use client credentials"
    )]
    Refused(u16),
    /// Its trouble, not ours.
    #[error("the token endpoint has trouble of its own (status {0}); it is tried again")]
    Down(u16),
    /// No answer that holds a bearer token.
    #[error("the token endpoint's answer holds no bearer token; check `token_url`")]
    Answer,
}

impl Trouble {
    /// Whether a secret was refused: it must not be tried again.
    pub(crate) fn refuses_secret(&self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::Steps
                | Self::Account(_)
                | Self::Endpoint(EndpointTrouble::Client)
        )
    }

    /// For logs.
    pub(crate) fn code(&self) -> &'static str {
        self.kind_and_code().1
    }

    fn kind_and_code(&self) -> (ErrorKind, &'static str) {
        match self {
            Self::NotOffered { .. } => (ErrorKind::Config, "ews.signin.not-offered"),
            Self::Token(_) => (ErrorKind::Protocol, "ews.signin.token"),
            Self::Steps => (ErrorKind::Protocol, "ews.signin.steps"),
            Self::Connection => (ErrorKind::Transient, "ews.signin.connection"),
            Self::Refused | Self::RefusedBefore => (ErrorKind::Auth, "ews.http.401"),
            Self::TicketRefused => (ErrorKind::Auth, "ews.signin.ticket-refused"),
            Self::Account(_) => (ErrorKind::Auth, "ews.signin.account"),
            Self::Ticket(TicketTrouble::Unreachable) => {
                (ErrorKind::Transient, "ews.signin.kdc-unreachable")
            }
            Self::Ticket(_) => (ErrorKind::Config, "ews.signin.ticket"),
            Self::User => (ErrorKind::Config, "config.user"),
            Self::Mechanism(_) => (ErrorKind::Auth, "ews.signin.mechanism"),
            Self::Endpoint(EndpointTrouble::Down(_)) => {
                (ErrorKind::Transient, "ews.signin.token-endpoint")
            }
            Self::Endpoint(_) | Self::FreshToken => (ErrorKind::Auth, "ews.signin.token-endpoint"),
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let (kind, code) = trouble.kind_and_code();
        Self::new(kind, Scope::Connection, code, trouble.to_string())
    }
}

/// What a domain controller's error code means.
pub(crate) fn of_code(code: u32) -> Trouble {
    match code {
        24 => Trouble::Account(AccountTrouble::Password),
        18 => Trouble::Account(AccountTrouble::Revoked),
        1 | 23 => Trouble::Account(AccountTrouble::Expired),
        6 => Trouble::Account(AccountTrouble::Unknown),
        7 => Trouble::Ticket(TicketTrouble::Service),
        37 => Trouble::Ticket(TicketTrouble::Clock),
        other => Trouble::Ticket(TicketTrouble::Code(other)),
    }
}

/// Which of the schemes that we know of a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Offered {
    pub(crate) negotiate: bool,
    pub(crate) ntlm: bool,
    pub(crate) basic: bool,
    pub(crate) bearer: bool,
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = [
            (self.negotiate, "Negotiate"),
            (self.ntlm, "NTLM"),
            (self.basic, "Basic"),
            (self.bearer, "Bearer"),
        ]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
        .collect();
        if names.is_empty() {
            return f.write_str("nothing that is known here");
        }
        f.write_str(&names.join(", "))
    }
}

fn remedy(offered: Offered) -> &'static str {
    if offered.negotiate || offered.ntlm {
        "Have `kind` name what it offers"
    } else if offered.basic {
        "Have Windows authentication switched on for the EWS virtual directory (Set-WebServicesVirtualDirectory -WindowsAuthentication $true); if what answers is known to be Exchange and Basic is wanted, say so with `kind = \"basic\"`"
    } else if offered.bearer {
        "The server takes tokens only: use `kind = \"oauth\"`"
    } else {
        "Check that `url` leads to the EWS virtual directory and not to a gateway in front of it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_offers_only_basic_is_told_apart() {
        let trouble = Trouble::NotOffered {
            wanted: "NTLM",
            offered: Offered {
                basic: true,
                ..Offered::default()
            },
        };
        let error = Error::from(trouble);
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.message.contains("offer NTLM"), "{error}");
        assert!(error.message.contains("but Basic."), "{error}");
        assert!(error.message.contains("WindowsAuthentication"), "{error}");
    }

    #[test]
    fn what_locks_an_account_is_not_tried_again() {
        for code in [1, 6, 18, 23, 24] {
            assert!(of_code(code).refuses_secret(), "{code}");
        }
        for code in [7, 14, 37, 52, 68] {
            assert!(!of_code(code).refuses_secret(), "{code}");
        }
    }
}
