//! A SOAP client written by hand for the tests, so that every byte can be wrong on purpose.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub
)]

use calbridge_sandbox::planner::{KnownCertificate, PlannerOptions, PlannerSandbox, Resource};
use calbridge_sandbox::tls::{CertificateSpec, Identity, Pki};
use jiff::civil::DateTime;

pub const HOLDER: &str = "CVR:12345678-FID:1234567890123";
pub const JOBCENTER: &str = "10100";
pub const ANNA: &str = "anna@kommune.example";
pub const BO: &str = "bo@kommune.example";
pub const ROOM: &str = "room1@kommune.example";
pub const ECS: &str = "http://service.bm.dk/PlannerExternalCalendarService/2015/03/27/";

pub fn time(text: &str) -> DateTime {
    text.parse().unwrap()
}

pub fn resources() -> Vec<Resource> {
    vec![
        Resource::case_worker("Anna", ANNA),
        Resource::case_worker("Bo", BO),
        Resource::room("Room 1", ROOM),
    ]
}

pub async fn plain() -> PlannerSandbox {
    plain_with(|_| {}).await
}

pub async fn plain_with(change: impl FnOnce(&mut PlannerOptions)) -> PlannerSandbox {
    let mut options = PlannerOptions {
        resources: resources(),
        keep_xml: true,
        ..PlannerOptions::default()
    };
    change(&mut options);
    PlannerSandbox::start(options).await.unwrap()
}

pub async fn secure(pki: &Pki, known: Vec<KnownCertificate>) -> PlannerSandbox {
    let mut options = PlannerOptions::secure(pki, known).unwrap();
    options.resources = resources();
    PlannerSandbox::start(options).await.unwrap()
}

pub fn http() -> reqwest::Client {
    // Another test of this process may have been first; that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

pub fn https(pki: &Pki, identity: Option<&Identity>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(pki.ca_pem().as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_rustls()
        .tls_certs_only([ca]);
    if let Some(identity) = identity {
        let pem = identity.combined_pem();
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

pub fn holder(pki: &Pki) -> Identity {
    pki.issue(&CertificateSpec::client(HOLDER)).unwrap()
}

/// An answer as it arrived.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// Texts of all elements with this local name, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(&self.text).unwrap();
        document
            .descendants()
            .filter(|node| node.tag_name().name() == name)
            .map(|node| {
                node.descendants()
                    .filter(roxmltree::Node::is_text)
                    .map(|n| n.text().unwrap())
                    .collect()
            })
            .collect()
    }

    pub fn codes(&self) -> Vec<i64> {
        assert_eq!(self.status, 200, "{}", self.text);
        self.all("EventErrorCode")
            .iter()
            .map(|code| code.trim().parse().unwrap())
            .collect()
    }

    pub fn fault_code(&self) -> Option<i64> {
        assert_eq!(self.status, 500, "{}", self.text);
        assert_eq!(self.all("Fault").len(), 1, "{}", self.text);
        self.all("ErrorCode")
            .first()
            .map(|code| code.parse().unwrap())
    }

    pub fn is_plain_fault(&self) -> bool {
        self.status == 500 && self.all("Fault").len() == 1 && !self.text.contains("FaultDetails")
    }
}

pub struct Who<'a> {
    pub user: &'a str,
    pub jobcenter: &'a str,
}

impl Default for Who<'_> {
    fn default() -> Self {
        Self {
            user: HOLDER,
            jobcenter: JOBCENTER,
        }
    }
}

pub fn headers(operation: &str, who: &Who<'_>) -> String {
    let Who { user, jobcenter } = who;
    format!(
        r#"<m:RequestUserMetadataHeader xmlns:m="http://service.bm.dk/RequestUserMetadata/2015/01/21/"><u:RequestUserStructure xmlns:u="http://service.bm.dk/pjaktass/2015/01/21/RequestUserStructure/"><u:UserFullName>test : {operation}</u:UserFullName><t:RequestUserTypeIdentifier xmlns:t="http://service.bm.dk/pjaktass/2015/01/21/RequestUserTypeIdentifierCodeList/"><c:CodeListItemIdentifier xmlns:c="http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/">3</c:CodeListItemIdentifier></t:RequestUserTypeIdentifier><u:UserIdentifier>{user}</u:UserIdentifier></u:RequestUserStructure><o:RequestOrganisationStructure xmlns:o="http://service.bm.dk/pjaktass/2015/01/21/RequestOrganisationStructure/"><o:OrganisationTypeIdentifier><c:CodeListItemIdentifier xmlns:c="http://service.bm.dk/pjaktass/2013/06/07/CodeListBase/">8</c:CodeListItemIdentifier></o:OrganisationTypeIdentifier><o:OrganisationCode>{jobcenter}</o:OrganisationCode></o:RequestOrganisationStructure><m:RegistrationDateTime>2026-11-22T14:05:09.1234567+01:00</m:RegistrationDateTime></m:RequestUserMetadataHeader><a:ActiveOrganisationHeader xmlns:a="http://rep.oio.dk/ams.dk/xml/schemas/2005/09/01/"><a:OrganisationTypeIdentifier>8</a:OrganisationTypeIdentifier><a:OrganisationCode>{jobcenter}</a:OrganisationCode></a:ActiveOrganisationHeader>"#
    )
}

pub fn envelope(operation: &str, who: &Who<'_>, content: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Header>{}</s:Header><s:Body><e:{operation}Request xmlns:e="{ECS}">{content}</e:{operation}Request></s:Body></s:Envelope>"#,
        headers(operation, who)
    )
}

pub fn event(mailbox: &str, id: &str, start: &str, end: &str) -> String {
    format!(
        "<e:CalendarEvent><e:CalendarEventStartTime>{start}</e:CalendarEventStartTime><e:CalendarEventEndTime>{end}</e:CalendarEventEndTime><e:OriginSystemIdentifier>{id}</e:OriginSystemIdentifier><e:OriginEmailAddress>{mailbox}</e:OriginEmailAddress></e:CalendarEvent>"
    )
}

/// An hour from nine on 1 December 2026.
pub fn plain_event(mailbox: &str, id: &str) -> String {
    event(mailbox, id, "2026-12-01T09:00:00", "2026-12-01T10:00:00")
}

pub fn get_events(mailboxes: &[&str], from: &str, to: &str) -> String {
    let mut xml = String::new();
    for mailbox in mailboxes {
        xml.push_str(&format!("<e:CalendarResource><e:CalendarResourceName/><e:RID>{mailbox}</e:RID><e:CalendarResourceEmailAddress>{mailbox}</e:CalendarResourceEmailAddress><e:CalendarResourceDescription/><e:IsCaseWorker>true</e:IsCaseWorker></e:CalendarResource>"));
    }
    format!(
        "{xml}<e:EventStartFromDateTime>{from}</e:EventStartFromDateTime><e:EventStartToDateTime>{to}</e:EventStartToDateTime>"
    )
}

pub fn action(operation: &str) -> String {
    format!("\"http://service.bm.dk/pjaktass/1/PlannerExternalCalendarService#{operation}\"")
}

pub async fn post(
    client: &reqwest::Client,
    url: &str,
    action: &str,
    body: impl Into<Vec<u8>>,
) -> Result<Answer, reqwest::Error> {
    let response = client
        .post(url)
        .header("content-type", "text/xml; charset=utf-8")
        .header("soapaction", action)
        .body(body.into())
        .send()
        .await?;
    Ok(Answer {
        status: response.status().as_u16(),
        text: response.text().await?,
    })
}

pub async fn try_call(
    client: &reqwest::Client,
    planner: &PlannerSandbox,
    operation: &str,
    content: &str,
) -> Result<Answer, reqwest::Error> {
    let body = envelope(operation, &Who::default(), content);
    post(client, &planner.url(), &action(operation), body).await
}

pub async fn call(planner: &PlannerSandbox, operation: &str, content: &str) -> Answer {
    try_call(&http(), planner, operation, content)
        .await
        .unwrap()
}
