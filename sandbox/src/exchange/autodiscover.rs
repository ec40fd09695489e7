//! Autodiscover: version 2 (JSON, without sign-in), SOAP (GetUserSettings), and plain XML as Outlook 2007 asks ("POX").
//!
//! The operations' names, in the ledger and for faults, are `AutodiscoverJson`, `GetUserSettings` and `AutodiscoverPox`.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use http::{Method, StatusCode};
use url::form_urlencoded;

use super::access::Account;
use super::fault::{self, EwsFault};
use super::handle::ExchangeSandbox;
use super::ledger::ExchangeCall;
use super::profile::Profile;
use super::service::{PATH, Service, headed};
use super::xml::{self, Element};
use crate::fault::{after, before};
use crate::server::{Body, Reply, Request, Response};
use crate::windows::Ruling;

const NAMESPACE: &str = "http://schemas.microsoft.com/exchange/2010/Autodiscover";
const ACTION: &str =
    "http://schemas.microsoft.com/exchange/2010/Autodiscover/Autodiscover/GetUserSettings";
const POX_ANSWER: &str =
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";
const POX_REQUEST: &str =
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006";
/// As many mailboxes as Exchange takes in one request.
const MOST_USERS: usize = 100;

/// What autodiscover says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autodiscover {
    /// Whether version 2 is there.
    pub json: bool,
    /// Whether SOAP is there.
    pub soap: bool,
    /// Whether plain XML is there.
    pub pox: bool,
    /// The address of EWS for the outside; none: the host that was asked.
    pub external: Option<String>,
    /// The address for the inside, where there is one.
    pub internal: Option<String>,
    /// Which mailboxes belong together.
    pub grouping: Option<String>,
    /// What is said about single mailboxes, by primary address.
    pub directions: BTreeMap<String, Direction>,
}

impl Default for Autodiscover {
    fn default() -> Self {
        Self {
            json: true,
            soap: true,
            pox: true,
            external: None,
            internal: None,
            grouping: Some("Default-First-Site-Name".to_owned()),
            directions: BTreeMap::new(),
        }
    }
}

impl Autodiscover {
    pub(crate) fn of(profile: Profile) -> Self {
        Self {
            // gromox has none.
            soap: !profile.is_gromox(),
            ..Self::default()
        }
    }
}

/// What is said about a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// Its EWS is there.
    Ews(String),
    /// It is to be asked for by this address.
    Address(String),
    /// Another host is to be asked; version 2 says so by a redirection to the same path there.
    Host(String),
    /// It is in Exchange Online, as this address of the tenant.
    Online(String),
    /// An error, by SOAP with this code.
    Error(String),
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Soap,
    Pox,
}

/// A mailbox that is asked about: what is known of it.
struct Asked {
    address: String,
    /// None: there is no such mailbox.
    direction: Option<Direction>,
}

impl Kind {
    /// By the path of a request.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = path.to_ascii_lowercase();
        match path.strip_prefix("/autodiscover/")? {
            "autodiscover.svc" => Some(Self::Soap),
            "autodiscover.xml" => Some(Self::Pox),
            rest if rest == "autodiscover.json" || rest.starts_with("autodiscover.json/") => {
                Some(Self::Json)
            }
            _ => None,
        }
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Json => "AutodiscoverJson",
            Self::Soap => "GetUserSettings",
            Self::Pox => "AutodiscoverPox",
        }
    }
}

impl ExchangeSandbox {
    /// Changes what autodiscover says, for requests from now on.
    pub fn change_autodiscover(&self, change: impl FnOnce(&mut Autodiscover)) {
        let state = &self.service().autodiscover;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says this about a mailbox, by its primary address.
    pub fn direct(&self, address: &str, direction: Direction) {
        self.change_autodiscover(|state| {
            state.directions.insert(address.to_lowercase(), direction);
        });
    }
}

impl Service {
    /// Answers a request for autodiscover.
    pub(crate) async fn discover(&self, kind: Kind, request: Request) -> Reply {
        let mut call = ExchangeCall {
            agent: request.header("user-agent").map(str::to_owned),
            connection: request.peer.connection,
            host: request.header("host").map(str::to_owned),
            scheme: scheme_of(&request),
            request: self.keep_requests.then(|| request.body.clone()),
            ..ExchangeCall::default()
        };
        let addresses = match kind {
            Kind::Json => json_address(&request).into_iter().collect(),
            Kind::Soap | Kind::Pox => xml::parse(&request.body)
                .map(|root| addresses(&root))
                .unwrap_or_default(),
        };
        let kinds = self.faults.strike(kind.operation(), &addresses);
        let faults: Vec<EwsFault> = kinds
            .iter()
            .filter_map(|kind| fault::read(kind).ok().flatten())
            .collect();
        let reply = match before(&kinds).await {
            Some(reply) => reply,
            None => match self.discovered(kind, &request, &addresses, &faults, &mut call) {
                Reply::Http(response) => after(&kinds, spoil(kind, &faults, response)),
                other => other,
            },
        };
        self.record(
            &request,
            kind.operation().to_owned(),
            addresses,
            call,
            &reply,
        );
        self.dated(reply)
    }

    fn discovered(
        &self,
        kind: Kind,
        request: &Request,
        addresses: &[String],
        faults: &[EwsFault],
        call: &mut ExchangeCall,
    ) -> Reply {
        let state = self
            .autodiscover
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let there = match kind {
            Kind::Json => state.json,
            Kind::Soap => state.soap,
            Kind::Pox => state.pox,
        };
        if !there {
            return Response::text(StatusCode::NOT_FOUND, "").into();
        }
        let mut header = None;
        if kind != Kind::Json {
            let accounts = self
                .accounts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let known: Vec<_> = accounts.iter().map(Account::known).collect();
            match self.front.rule(&known, request) {
                Ruling::LetIn(number, value) => {
                    call.user = accounts.get(number).map(|account| account.user.clone());
                    header = value;
                }
                Ruling::Answer(reply) => return reply,
            }
        }
        for fault in faults {
            let operation = kind.operation();
            if let Some(reply) = fault::before(fault, self.profile, operation, addresses.len()) {
                return reply;
            }
            if let EwsFault::Redirect(target) = fault {
                return Response::text(StatusCode::FOUND, "")
                    .with_header("location", target)
                    .into();
            }
        }
        let own = self.own_address(request);
        let asked: Vec<Asked> = addresses
            .iter()
            .map(|address| self.asked(&state, address))
            .collect();
        let response = match kind {
            Kind::Json => json(&state, &own, request, asked.first()),
            Kind::Soap => soap(self.profile, &state, &own, request, &asked),
            Kind::Pox => pox(&state, &own, request, asked.first()),
        };
        headed(response.into(), |response| match &header {
            Some(header) => response.with_header("www-authenticate", header),
            None => response,
        })
    }

    fn asked(&self, state: &Autodiscover, address: &str) -> Asked {
        let store = self.store();
        let primary = store
            .find_mailbox(address)
            .and_then(|number| store.mailbox(number))
            .map(|mailbox| mailbox.primary.to_lowercase());
        let key = primary.clone().unwrap_or_else(|| address.to_lowercase());
        let direction = state.directions.get(&key).cloned();
        Asked {
            address: address.to_owned(),
            direction: direction.or_else(|| primary.map(|_| Direction::Ews(String::new()))),
        }
    }

    /// The address of EWS at the host that was asked.
    fn own_address(&self, request: &Request) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!(
            "{scheme}://{}{PATH}",
            request.header("host").unwrap_or("localhost")
        )
    }
}

/// The scheme of the Authorization header.
pub(crate) fn scheme_of(request: &Request) -> Option<String> {
    let value = request.header("authorization")?;
    Some(value.split(' ').next().unwrap_or_default().to_owned())
}

fn json_address(request: &Request) -> Option<String> {
    let path = request.uri.path();
    let in_path = path
        .rsplit_once('/')
        .map(|(_, last)| last)
        .filter(|last| last.contains('@') || last.contains("%40"))
        .map(|last| last.replace("%40", "@"));
    in_path.or_else(|| query(request, "Email"))
}

fn query(request: &Request, name: &str) -> Option<String> {
    form_urlencoded::parse(request.uri.query()?.as_bytes())
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.into_owned())
}

/// The mailboxes that a document asks about.
fn addresses(root: &Element) -> Vec<String> {
    let mut found = Vec::new();
    collect(root, &mut |element| {
        if matches!(element.local(), "Mailbox" | "EMailAddress") && element.children.is_empty() {
            found.push(element.text.trim().to_owned());
        }
    });
    found
}

fn collect<'a>(element: &'a Element, visit: &mut impl FnMut(&'a Element)) {
    visit(element);
    for child in &element.children {
        collect(child, visit);
    }
}

fn ews_of(direction: &str, state: &Autodiscover, own: &str) -> String {
    if direction.is_empty() {
        state.external.clone().unwrap_or_else(|| own.to_owned())
    } else {
        direction.to_owned()
    }
}

/// The same path at another host, given as `host` or `host:port`, or as a whole address.
fn elsewhere(host: &str, request: &Request) -> String {
    let path = request
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    if host.contains("://") {
        host.to_owned()
    } else {
        format!("https://{host}{path}")
    }
}

fn json(state: &Autodiscover, own: &str, request: &Request, asked: Option<&Asked>) -> Response {
    let error = |status, code: &str| {
        let body = serde_json::json!({ "ErrorCode": code, "ErrorMessage": "It cannot be told." });
        Response::new(status, "application/json; charset=utf-8", body.to_string())
    };
    if request.method != Method::GET {
        return Response::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let protocol = query(request, "Protocol").unwrap_or_default();
    if protocol.is_empty() {
        return error(StatusCode::BAD_REQUEST, "MandatoryParameterMissing");
    }
    let Some(asked) = asked.filter(|asked| asked.address.contains('@')) else {
        return error(StatusCode::BAD_REQUEST, "InvalidUserId");
    };
    if !protocol.eq_ignore_ascii_case("ews") {
        return error(StatusCode::BAD_REQUEST, "ProtocolNotSupported");
    }
    let url = match &asked.direction {
        None => return error(StatusCode::NOT_FOUND, "UserNotFound"),
        Some(Direction::Error(_)) => {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError");
        }
        Some(Direction::Host(host)) => {
            return Response::text(StatusCode::FOUND, "")
                .with_header("location", &elsewhere(host, request));
        }
        Some(Direction::Address(next)) => {
            let path = format!(
                "{}?{}",
                request.uri.path(),
                form_urlencoded::Serializer::new(String::new())
                    .append_pair("Email", next)
                    .append_pair("Protocol", "Ews")
                    .finish()
            );
            return Response::text(StatusCode::FOUND, "").with_header("location", &path);
        }
        Some(Direction::Online(_)) => "https://outlook.office365.com/EWS/Exchange.asmx".to_owned(),
        Some(Direction::Ews(url)) => ews_of(url, state, own),
    };
    let body = serde_json::json!({ "Protocol": "Ews", "Url": url });
    Response::new(
        StatusCode::OK,
        "application/json; charset=utf-8",
        body.to_string(),
    )
}

/// An element of a fixed name with text.
fn tag(name: &str, text: &str) -> String {
    let mut out = String::new();
    Element::text(name, text).write(&mut out);
    out
}

fn soap(
    profile: Profile,
    state: &Autodiscover,
    own: &str,
    request: &Request,
    asked: &[Asked],
) -> Response {
    let fault = |text: &str| {
        let body = format!(
            "<s:Envelope xmlns:s=\"{}\"><s:Body><s:Fault><faultcode>s:Client</faultcode>{}</s:Fault></s:Body></s:Envelope>",
            xml::SOAP,
            tag("faultstring", text)
        );
        Response::xml(StatusCode::INTERNAL_SERVER_ERROR, body)
    };
    if request.method != Method::POST {
        return Response::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let Ok(root) = xml::parse(&request.body) else {
        return fault("The request is not XML that can be read.");
    };
    let mut action = None;
    let mut version = None;
    let mut wanted = Vec::new();
    collect(&root, &mut |element| match element.local() {
        "Action" => action = Some(element.text.trim().to_owned()),
        "RequestedServerVersion" => version = Some(element.text.trim().to_owned()),
        "Setting" => wanted.push(element.text.trim().to_owned()),
        _ => {}
    });
    if action.as_deref() != Some(ACTION) {
        return fault("The message's action does not fit its content.");
    }
    let known = version.is_some_and(|version| version.starts_with("Exchange20"));
    let whole = if !known || asked.is_empty() || wanted.is_empty() {
        Some("InvalidRequest")
    } else {
        (asked.len() > MOST_USERS).then_some("InvalidRequest")
    };
    let users: String = match whole {
        Some(_) => String::new(),
        None => asked
            .iter()
            .map(|asked| user_response(state, own, asked, &wanted))
            .collect(),
    };
    let [(_, major), (_, minor), (_, build), (_, revision), (_, name)] = profile.version();
    let body = format!(
        concat!(
            r#"<?xml version="1.0" encoding="utf-8"?>"#,
            r#"<s:Envelope xmlns:s="{soap}" xmlns:a="http://www.w3.org/2005/08/addressing"><s:Header>"#,
            r#"<a:Action s:mustUnderstand="1">{action}Response</a:Action>"#,
            r#"<h:ServerVersionInfo xmlns:h="{ns}" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">"#,
            r#"<h:MajorVersion>{major}</h:MajorVersion><h:MinorVersion>{minor}</h:MinorVersion>"#,
            r#"<h:MajorBuildNumber>{build}</h:MajorBuildNumber><h:MinorBuildNumber>{revision}</h:MinorBuildNumber>"#,
            r#"<h:Version>{name}</h:Version></h:ServerVersionInfo></s:Header><s:Body>"#,
            r#"<GetUserSettingsResponseMessage xmlns="{ns}"><Response xmlns:i="http://www.w3.org/2001/XMLSchema-instance">"#,
            r#"<ErrorCode>{code}</ErrorCode><ErrorMessage/><UserResponses>{users}</UserResponses>"#,
            r#"</Response></GetUserSettingsResponseMessage></s:Body></s:Envelope>"#,
        ),
        soap = xml::SOAP,
        action = ACTION,
        ns = NAMESPACE,
        major = major,
        minor = minor,
        build = build,
        revision = revision,
        name = name,
        code = whole.unwrap_or("NoError"),
        users = users,
    );
    Response::xml(StatusCode::OK, body)
}

fn user_response(state: &Autodiscover, own: &str, asked: &Asked, wanted: &[String]) -> String {
    let refuse = |code: &str, target: Option<&str>| {
        let target = target.map_or_else(
            || "<RedirectTarget i:nil=\"true\"/>".to_owned(),
            |target| tag("RedirectTarget", target),
        );
        format!(
            "<UserResponse>{}<ErrorMessage/>{target}<UserSettingErrors/><UserSettings/></UserResponse>",
            tag("ErrorCode", code)
        )
    };
    let url = match &asked.direction {
        None => return refuse("InvalidUser", None),
        Some(Direction::Error(code)) => return refuse(code, None),
        Some(Direction::Address(next) | Direction::Online(next)) => {
            return refuse("RedirectAddress", Some(next));
        }
        Some(Direction::Host(host)) => {
            let target = if host.contains("://") {
                host.clone()
            } else {
                format!("https://{host}/autodiscover/autodiscover.svc")
            };
            return refuse("RedirectUrl", Some(&target));
        }
        Some(Direction::Ews(url)) => ews_of(url, state, own),
    };
    let mut settings = String::new();
    let mut errors = String::new();
    for name in wanted {
        let value = match name.as_str() {
            "ExternalEwsUrl" => Some(url.clone()),
            "InternalEwsUrl" => state.internal.clone(),
            "GroupingInformation" => state.grouping.clone(),
            "EwsSupportedSchemas" => Some(
                "Exchange2007, Exchange2007_SP1, Exchange2010, Exchange2010_SP1, Exchange2010_SP2, Exchange2013, Exchange2013_SP1"
                    .to_owned(),
            ),
            "AutoDiscoverSMTPAddress" => Some(asked.address.clone()),
            _ => None,
        };
        match value {
            Some(value) => settings.push_str(&format!(
                "<UserSetting i:type=\"StringSetting\">{}{}</UserSetting>",
                tag("Name", name),
                tag("Value", &value)
            )),
            None => errors.push_str(&format!(
                "<UserSettingError><ErrorCode>SettingIsNotAvailable</ErrorCode><ErrorMessage/>{}</UserSettingError>",
                tag("SettingName", name)
            )),
        }
    }
    format!(
        "<UserResponse><ErrorCode>NoError</ErrorCode><ErrorMessage>No error.</ErrorMessage><RedirectTarget i:nil=\"true\"/>\
         <UserSettingErrors>{errors}</UserSettingErrors><UserSettings>{settings}</UserSettings></UserResponse>"
    )
}

fn pox(state: &Autodiscover, own: &str, request: &Request, asked: Option<&Asked>) -> Response {
    let answer = |content: &str| {
        Response::xml(
            StatusCode::OK,
            format!(
                concat!(
                    r#"<?xml version="1.0" encoding="utf-8"?>"#,
                    r#"<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">{}</Autodiscover>"#,
                ),
                content
            ),
        )
    };
    let error = |code: &str| {
        answer(&format!(
            "<Response><Error Time=\"10:00:00.0000000\" Id=\"1\">{}<Message>It cannot be told.</Message><DebugData/></Error></Response>",
            tag("ErrorCode", code)
        ))
    };
    if request.method != Method::POST {
        return Response::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let text = String::from_utf8_lossy(&request.body);
    let Ok(root) = xml::parse(&request.body) else {
        return error("600");
    };
    if root.local() != "Autodiscover" || !text.contains(POX_REQUEST) {
        return error("600");
    }
    let mut schema = false;
    collect(&root, &mut |element| {
        schema |=
            element.local() == "AcceptableResponseSchema" && element.text.trim() == POX_ANSWER;
    });
    if !schema {
        return error("601");
    }
    let account = |content: &str| {
        answer(&format!(
            "<Response xmlns=\"{POX_ANSWER}\">{content}</Response>"
        ))
    };
    let plain = |action: &str, what: &str, to: &str| {
        account(&format!(
            "<Account><Action>{action}</Action>{}</Account>",
            tag(what, to)
        ))
    };
    let Some(asked) = asked else {
        return error("600");
    };
    let url = match &asked.direction {
        None => return error("500"),
        Some(Direction::Error(_)) => return error("603"),
        Some(Direction::Address(next) | Direction::Online(next)) => {
            return plain("redirectAddr", "RedirectAddr", next);
        }
        Some(Direction::Host(host)) => {
            return plain("redirectUrl", "RedirectUrl", &elsewhere(host, request));
        }
        Some(Direction::Ews(url)) => ews_of(url, state, own),
    };
    let internal = state.internal.clone().unwrap_or_else(|| url.clone());
    let grouping = state
        .grouping
        .as_deref()
        .map(|group| tag("GroupingInformation", group))
        .unwrap_or_default();
    account(&format!(
        "<User>{}{}</User><Account><AccountType>email</AccountType><Action>settings</Action><MicrosoftOnline>False</MicrosoftOnline>\
         <Protocol><Type>EXCH</Type><Server>server.invalid</Server>{}{grouping}</Protocol>\
         <Protocol><Type>EXPR</Type><Server>server.invalid</Server>{}</Protocol></Account>",
        tag("AutoDiscoverSMTPAddress", &asked.address),
        tag("DeploymentId", "2d0e1c0a-0000-4000-8000-000000000001"),
        tag("EwsUrl", &internal),
        tag("EwsUrl", &url),
    ))
}

/// Faults that change an answer.
fn spoil(kind: Kind, faults: &[EwsFault], response: Response) -> Response {
    faults.iter().fold(response, |mut response, fault| {
        let Body::Full(body) = &response.body else {
            return response;
        };
        match fault {
            EwsFault::Malformed => {
                let half = body.len() / 2;
                response.body = Body::Full(body.slice(..half));
                response
            }
            EwsFault::Oversized(bytes) => {
                let mut text = String::from_utf8_lossy(body).into_owned();
                let missing = bytes.saturating_sub(text.len());
                text.push_str(&match kind {
                    Kind::Json => " ".repeat(missing),
                    Kind::Soap | Kind::Pox => format!("<!--{}-->", "x".repeat(missing)),
                });
                response.body = Body::Full(text.into());
                response
            }
            other => fault::spoil(other, response),
        }
    })
}
