//! Answers as gateways and servers wrap them: what kind of error they are, how much of the connection they concern,
//! and how long to wait.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use calbridge_core::connector::{Error, ErrorKind as K, Scope};
use support::script::{Script, folder, found, item, sync};
use support::{ANNA, read, request, winter};

/// What puts an answer into its wrapping.
type Wrap = Box<dyn Fn(&str) -> String + Send>;

fn raw(status: &str, head: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn fault(code: &str, detail: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>{code}</faultcode><faultstring xml:lang="en-US">No.</faultstring>{detail}</s:Fault></s:Body></s:Envelope>"#
    )
}

fn detail(code: &str) -> String {
    format!(
        r#"<detail><e:ResponseCode xmlns:e="http://schemas.microsoft.com/exchange/services/2006/errors">{code}</e:ResponseCode><e:Message xmlns:e="e">No.</e:Message></detail>"#
    )
}

async fn error_of(answer: String) -> Error {
    let server = Script::start(move |_, _| answer.clone()).await;
    read(server.connect().as_ref(), request(ANNA, winter()))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_busy_servers_wait_is_read_wherever_it_stands() {
    let soap = "Content-Type: text/xml; charset=utf-8\r\nRetry-After: 120\r\n";
    let busy = fault("a:ErrorServerBusy", &detail("ErrorServerBusy"));
    let item = r#"<s:Envelope xmlns:s="s"><s:Body><m:GetFolderResponse xmlns:m="m"><m:ResponseMessages><m:GetFolderResponseMessage ResponseClass="Error"><m:ResponseCode>ErrorServerBusy</m:ResponseCode></m:GetFolderResponseMessage></m:ResponseMessages></m:GetFolderResponse></s:Body></s:Envelope>"#;
    for answer in [
        raw("500 Internal Server Error", soap, &busy),
        raw("503 Service Unavailable", soap, &busy),
        raw("503 Service Unavailable", soap, &fault("s:Server", "")),
        raw("503 Service Unavailable", soap, "<html>busy</html>"),
        raw("429 Too Many Requests", soap, ""),
        raw("200 OK", soap, item),
    ] {
        let error = error_of(answer.clone()).await;
        assert_eq!(error.kind, K::Throttled, "{answer}: {error}");
        assert_eq!(error.retry_after_ms, Some(120_000), "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_fault_of_the_server_without_a_code_of_ews_is_tried_again() {
    let soap = "Content-Type: text/xml\r\n";
    for (status, code, kind, scope) in [
        ("500 Oh", "SOAP:Server", K::Transient, Scope::Calendar),
        ("200 OK", "SOAP:Server", K::Transient, Scope::Calendar),
        ("502 Bad", "s:Server", K::Transient, Scope::Connection),
        ("504 Late", "s:Server", K::Transient, Scope::Connection),
        ("500 Oh", "SOAP:Client", K::Protocol, Scope::Calendar),
    ] {
        let error = error_of(raw(status, soap, &fault(code, ""))).await;
        assert_eq!(
            (error.kind, error.scope),
            (kind, scope),
            "{status}: {error}"
        );
    }
}

#[tokio::test]
async fn a_sign_in_page_in_place_of_ews_names_the_address() {
    let page = "<html><body><form>Outlook</form></body></html>";
    let html = "Content-Type: text/html\r\n";
    let to = "Location: https://mail.example/owa/auth/logon.aspx\r\n";
    for answer in [
        raw("302 Found", to, ""),
        raw("440 Login Timeout", html, page),
    ] {
        let error = error_of(answer).await;
        assert_eq!((error.kind, error.scope), (K::Config, Scope::Connection));
        assert!(error.message.contains("`url`"), "{error}");
    }
}

#[tokio::test]
async fn good_answers_in_odd_wrappings() {
    let single = item(
        "S",
        "Single",
        "2026-12-02T08:00:00Z",
        "2026-12-02T09:00:00Z",
        support::script::ZONE,
    );
    let chunked = |body: &str| {
        let mut out = String::from(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=\"UTF-8\"\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        let bytes: Vec<char> = body.chars().collect();
        for part in bytes.chunks(7) {
            let text: String = part.iter().collect();
            out += &format!("{:x};x=y\r\n{text}\r\n", text.len());
        }
        out + "0\r\n\r\n"
    };
    let wrap: [(&str, Wrap); 6] = [
        ("chunks", Box::new(chunked)),
        (
            "byte order mark and declaration",
            Box::new(|body| {
                format!("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n{body}\r\n")
            }),
        ),
        ("no type", Box::new(|body| raw("200 OK", "", body))),
        (
            "a type of SOAP 1.2 and accepted",
            Box::new(|body| {
                raw(
                    "202 Accepted",
                    "Content-Type: application/soap+xml\r\n",
                    body,
                )
            }),
        ),
        (
            "other prefixes, single quotes, a comment, a header",
            Box::new(|body| {
                body.replace("<s:", "<SOAP-ENV:")
                    .replace("</s:", "</SOAP-ENV:")
                    .replace("xmlns:s=", "xmlns:SOAP-ENV=")
                    .replace("<m:", "<msg:")
                    .replace("</m:", "</msg:")
                    .replace("xmlns:m=", "xmlns:msg=")
                    .replace('"', "'")
                    .replace("<SOAP-ENV:Body", "<SOAP-ENV:Header><x:y xmlns:x='x'/></SOAP-ENV:Header><!-- hello --><SOAP-ENV:Body")
            }),
        ),
        (
            "no prefixes",
            Box::new(|body| {
                body.replace("<m:", "<")
                    .replace("</m:", "</")
                    .replace("<t:", "<")
                    .replace("</t:", "</")
                    .replace("<s:", "<")
                    .replace("</s:", "</")
            }),
        ),
    ];
    for (name, wrap) in wrap {
        let single = single.clone();
        let server = Script::start(move |body, _| {
            wrap(&if body.contains("GetFolder") {
                folder("F")
            } else if body.contains("<m:SyncFolderItems>") {
                sync("s1", "")
            } else {
                found(std::slice::from_ref(&single))
            })
        })
        .await;
        let feed = read(server.connect().as_ref(), request(ANNA, winter())).await;
        let feed = feed.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((feed.events.len(), feed.snapshots.len()), (1, 1), "{name}");
    }
}
