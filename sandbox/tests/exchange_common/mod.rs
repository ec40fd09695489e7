//! A hand-written EWS client: raw envelopes over reqwest, answers searched by text.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use calbridge_sandbox::exchange::{ExchangeOptions, ExchangeSandbox};

pub const ANNA: &str = "anna@kommune.example";
pub const BO: &str = "bo@kommune.example";

pub async fn start(options: ExchangeOptions) -> ExchangeSandbox {
    let exchange = ExchangeSandbox::start(options).await.unwrap();
    exchange.add_person("Anna Berg", ANNA).unwrap();
    exchange.add_person("Bo Dahl", BO).unwrap();
    exchange
}

/// An answer: HTTP status and body.
pub struct Answer {
    pub status: u16,
    pub text: String,
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// The text of every element of this local name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        for prefix in ["t", "m", "e"] {
            let (open, close) = (format!("<{prefix}:{name}"), format!("</{prefix}:{name}>"));
            let mut rest = self.text.as_str();
            while let Some(at) = rest.find(&open) {
                rest = &rest[at + open.len()..];
                if !rest.starts_with(['>', ' ', '/']) {
                    continue;
                }
                let head = rest.find('>').unwrap();
                if rest[..head].ends_with('/') {
                    found.push(String::new());
                    continue;
                }
                let end = rest.find(&close).unwrap();
                found.push(rest[head + 1..end].to_owned());
            }
        }
        found
    }

    pub fn one(&self, name: &str) -> String {
        self.all(name)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    pub fn codes(&self) -> Vec<String> {
        self.all("ResponseCode")
    }

    /// The Id attributes of t:ItemId, in order.
    pub fn ids(&self) -> Vec<String> {
        self.text
            .split("<t:ItemId Id=\"")
            .skip(1)
            .map(|part| part.split('"').next().unwrap().to_owned())
            .collect()
    }
}

pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub user: String,
    pub password: String,
    pub impersonate: Option<String>,
    pub anchor: Option<String>,
    pub version: Option<String>,
    pub zone: Option<String>,
}

impl Client {
    pub fn new(exchange: &ExchangeSandbox, mailbox: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client {
            http: reqwest::Client::new(),
            url: exchange.url(),
            user: "svc-calbridge".to_owned(),
            password: "sandbox".to_owned(),
            impersonate: Some(mailbox.to_owned()),
            anchor: Some(mailbox.to_owned()),
            version: Some("Exchange2013_SP1".to_owned()),
            zone: None,
        }
    }

    pub fn envelope(&self, body: &str) -> String {
        let version = self
            .version
            .as_ref()
            .map(|v| format!("<t:RequestServerVersion Version=\"{v}\"/>"))
            .unwrap_or_default();
        let who = self
            .impersonate
            .as_ref()
            .map(|who| {
                format!(
                    "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{who}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
                )
            })
            .unwrap_or_default();
        let zone = self
            .zone
            .as_ref()
            .map(|zone| {
                format!(
                    "<t:TimeZoneContext><t:TimeZoneDefinition Id=\"{zone}\"/></t:TimeZoneContext>"
                )
            })
            .unwrap_or_default();
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
             xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><s:Header>{version}{who}{zone}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        )
    }

    pub async fn post(&self, document: String) -> Result<Answer, reqwest::Error> {
        let mut request = self
            .http
            .post(&self.url)
            .basic_auth(&self.user, Some(&self.password))
            .header("content-type", "text/xml; charset=utf-8")
            .body(document);
        if let Some(anchor) = &self.anchor {
            request = request.header("x-anchormailbox", anchor);
        }
        let response = request.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    pub async fn call(&self, body: &str) -> Answer {
        self.post(self.envelope(body)).await.unwrap()
    }

    pub async fn sync(&self, state: Option<&str>, most: u32) -> Answer {
        self.sync_of("<t:DistinguishedFolderId Id=\"calendar\"/>", state, most)
            .await
    }

    pub async fn sync_of(&self, folder: &str, state: Option<&str>, most: u32) -> Answer {
        let state = state
            .map(|state| format!("<m:SyncState>{state}</m:SyncState>"))
            .unwrap_or_default();
        self.call(&format!(
            "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
             <t:FieldURI FieldURI=\"calendar:UID\"/><t:FieldURI FieldURI=\"calendar:CalendarItemType\"/></t:AdditionalProperties></m:ItemShape>\
             <m:SyncFolderId>{folder}</m:SyncFolderId>{state}<m:MaxChangesReturned>{most}</m:MaxChangesReturned></m:SyncFolderItems>"
        ))
        .await
    }

    pub async fn get(&self, ids: &[String], fields: &[&str]) -> Answer {
        let ids: String = ids
            .iter()
            .map(|id| {
                if id.starts_with('<') {
                    id.clone()
                } else {
                    format!("<t:ItemId Id=\"{id}\"/>")
                }
            })
            .collect();
        self.call(&format!(
            "<m:GetItem>{}<m:ItemIds>{ids}</m:ItemIds></m:GetItem>",
            shape(fields)
        ))
        .await
    }

    pub async fn view(&self, from: &str, to: &str, most: Option<u32>, fields: &[&str]) -> Answer {
        let most = most
            .map(|most| format!(" MaxEntriesReturned=\"{most}\""))
            .unwrap_or_default();
        self.call(&format!(
            "<m:FindItem Traversal=\"Shallow\">{}<m:CalendarView{most} StartDate=\"{from}\" EndDate=\"{to}\"/>\
             <m:ParentFolderIds><t:DistinguishedFolderId Id=\"calendar\"/></m:ParentFolderIds></m:FindItem>",
            shape(fields)
        ))
        .await
    }
}

pub fn shape(fields: &[&str]) -> String {
    let fields: String = fields
        .iter()
        .map(|field| {
            if field.starts_with('<') {
                (*field).to_owned()
            } else {
                format!("<t:FieldURI FieldURI=\"{field}\"/>")
            }
        })
        .collect();
    let more = if fields.is_empty() {
        String::new()
    } else {
        format!("<t:AdditionalProperties>{fields}</t:AdditionalProperties>")
    };
    format!("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape>{more}</m:ItemShape>")
}
