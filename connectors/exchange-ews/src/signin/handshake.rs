//! The tokens of one sign-in, by the `sspi` crate: NTLM ([MS-NLMP]), and Negotiate ([MS-SPNG]) with Kerberos or NTLM.
//!
//! The crate works on a thread of its own: Kerberos asks domain controllers meanwhile, and a token that makes it panic
//! ends that thread's work and nothing else. What it would log goes nowhere: at its finest levels it writes down what
//! it works with.

use secrecy::{ExposeSecret as _, SecretString};
use sspi::ntlm::NtlmConfig;
use sspi::{
    AuthIdentity, AuthIdentityBuffers, BufferType, ClientRequestFlags, CredentialUse, Credentials,
    CredentialsBuffers, DataRepresentation, ErrorKind, KerberosConfig, Negotiate, NegotiateConfig,
    Ntlm, SecurityBuffer, Sspi, SspiImpl, Username,
};
use tracing::subscriber::NoSubscriber;

use super::binding;
use super::kdc::Controllers;
use super::trouble::{TicketTrouble, Trouble, of_code};

/// How the account proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// NTLM as a scheme of its own.
    Ntlm,
    /// NTLM inside Negotiate.
    NegotiateNtlm,
    /// Kerberos inside Negotiate; never anything else in its place.
    Kerberos {
        /// The domain controllers, `host:port`.
        controllers: Vec<String>,
    },
}

impl Mechanism {
    /// The scheme of `WWW-Authenticate` and `Authorization`.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Ntlm => "NTLM",
            Self::NegotiateNtlm | Self::Kerberos { .. } => "Negotiate",
        }
    }

    /// Whether the token of this step (counted from 1) proves the account: a 401 after it is a refusal.
    pub(crate) fn proves_at(&self, step: usize) -> bool {
        match self {
            Self::Ntlm | Self::NegotiateNtlm => step > 1,
            Self::Kerberos { .. } => true,
        }
    }
}

/// The account.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// `DOMAIN\user`, or a user principal name.
    pub(crate) user: String,
    pub(crate) password: SecretString,
}

/// One sign-in on one connection.
pub(crate) struct Handshake {
    /// Away while it works, and gone once it failed.
    state: Option<Box<State>>,
}

struct State {
    context: Context,
    controllers: Controllers,
    /// The service principal name.
    target: String,
}

enum Context {
    Ntlm(Ntlm, Option<AuthIdentityBuffers>),
    Negotiate(Negotiate, Option<CredentialsBuffers>),
}

impl Handshake {
    /// `host` is the one that the service principal name is made of.
    ///
    /// # Errors
    /// `User`, `Mechanism`.
    pub(crate) async fn new(
        mechanism: &Mechanism,
        identity: &Identity,
        host: &str,
    ) -> Result<Self, Trouble> {
        let (mechanism, identity) = (mechanism.clone(), identity.clone());
        let target = format!("HTTP/{host}");
        let state = apart(move || begin(&mechanism, &identity, target)).await?;
        Ok(Self {
            state: Some(Box::new(state)),
        })
    }

    /// Answers the server's token; the first has none. `binding` is the application data of the channel binding.
    ///
    /// # Errors
    /// `Token` for what cannot be understood, `Account` and `Ticket` from domain controllers.
    pub(crate) async fn step(
        &mut self,
        token: Vec<u8>,
        binding: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, Trouble> {
        let mut state = self
            .state
            .take()
            .ok_or(Trouble::Token("goes on after its end"))?;
        let (state, next) = apart(move || {
            let next = state.step(token, binding)?;
            Ok((state, next))
        })
        .await?;
        self.state = Some(state);
        Ok(next)
    }
}

/// Does the crate's work on a thread for work that blocks.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(|| tracing::subscriber::with_default(NoSubscriber::new(), work))
        .await
        .unwrap_or(Err(Trouble::Token("cannot be understood")))
}

fn begin(mechanism: &Mechanism, identity: &Identity, target: String) -> Result<State, Trouble> {
    let username = Username::parse(&identity.user).map_err(|_| Trouble::User)?;
    let identity = AuthIdentity {
        username,
        password: identity.password.expose_secret().to_owned().into(),
    };
    let mut controllers = Controllers::new(Vec::new());
    let context = match mechanism {
        Mechanism::Ntlm => {
            let mut ntlm = Ntlm::with_config(NtlmConfig::default());
            let acquired = ntlm
                .acquire_credentials_handle()
                .with_credential_use(CredentialUse::Outbound)
                .with_auth_data(&identity)
                .execute(&mut ntlm)
                .map_err(|error| failed(&error))?;
            Context::Ntlm(ntlm, acquired.credentials_handle)
        }
        Mechanism::NegotiateNtlm => negotiate(
            NegotiateConfig::new(
                Box::new(NtlmConfig::default()),
                Some("ntlm".to_owned()),
                String::new(),
            ),
            identity,
        )?,
        Mechanism::Kerberos { controllers: named } => {
            let first = named.first().map(String::as_str).unwrap_or_default();
            let config = KerberosConfig::new_with_kdc_url(first, "calbridge".to_owned());
            controllers = Controllers::new(named.clone());
            negotiate(
                NegotiateConfig::new(
                    Box::new(config),
                    Some("kerberos".to_owned()),
                    "calbridge".to_owned(),
                ),
                identity,
            )?
        }
    };
    Ok(State {
        context,
        controllers,
        target,
    })
}

fn negotiate(config: NegotiateConfig, identity: AuthIdentity) -> Result<Context, Trouble> {
    let mut context = Negotiate::new_client(config).map_err(|error| failed(&error))?;
    let acquired = context
        .acquire_credentials_handle()
        .with_credential_use(CredentialUse::Outbound)
        .with_auth_data(&Credentials::AuthIdentity(identity))
        .execute(&mut context)
        .map_err(|error| failed(&error))?;
    Ok(Context::Negotiate(context, acquired.credentials_handle))
}

impl State {
    fn step(&mut self, token: Vec<u8>, binding: Option<Vec<u8>>) -> Result<Vec<u8>, Trouble> {
        let answers = !token.is_empty();
        let mut input = vec![SecurityBuffer::new(token, BufferType::Token)];
        if let Some(binding) = binding {
            let structure = binding::structure(&binding);
            input.push(SecurityBuffer::new(structure, BufferType::ChannelBindings));
        }
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let (target, controllers) = (&self.target, &self.controllers);
        let result = match &mut self.context {
            Context::Ntlm(context, credentials) => run(
                context,
                credentials,
                target,
                controllers,
                &mut input,
                &mut output,
            ),
            Context::Negotiate(context, credentials) => run(
                context,
                credentials,
                target,
                controllers,
                &mut input,
                &mut output,
            ),
        };
        result.map_err(|error| match controllers.refused() {
            Some(code) => of_code(code),
            None => match failed(&error) {
                Trouble::Mechanism(_) if answers => Trouble::Token("cannot be understood"),
                other => other,
            },
        })?;
        let next = output.into_iter().next().map(|buffer| buffer.buffer);
        next.filter(|token| !token.is_empty())
            .ok_or(Trouble::Token("leaves nothing to be said"))
    }
}

fn run<S: Sspi>(
    context: &mut S,
    credentials: &mut <S as SspiImpl>::CredentialsHandle,
    target: &str,
    controllers: &Controllers,
    input: &mut [SecurityBuffer],
    output: &mut [SecurityBuffer],
) -> sspi::Result<()> {
    let mut builder = context
        .initialize_security_context()
        .with_credentials_handle(credentials)
        .with_context_requirements(ClientRequestFlags::INTEGRITY | ClientRequestFlags::MUTUAL_AUTH)
        .with_target_data_representation(DataRepresentation::Native)
        .with_target_name(target)
        .with_input(input)
        .with_output(output);
    context
        .initialize_security_context_impl(&mut builder)?
        .resolve_with_client(controllers)?;
    Ok(())
}

/// The crate's own error: its text may name what it worked with, its number does not.
fn failed(error: &sspi::Error) -> Trouble {
    match error.error_type {
        ErrorKind::InvalidToken | ErrorKind::MessageAltered | ErrorKind::IncompleteMessage => {
            Trouble::Token("cannot be understood")
        }
        ErrorKind::NoAuthenticatingAuthority => Trouble::Ticket(TicketTrouble::Unreachable),
        ErrorKind::TimeSkew => Trouble::Ticket(TicketTrouble::Clock),
        other => Trouble::Mechanism(other as u32),
    }
}
