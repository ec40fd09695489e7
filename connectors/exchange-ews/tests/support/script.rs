//! A server that answers as a test tells it to: each request is handed to a closure, with its number from 1.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use calbridge_core::connector::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Answer = Box<dyn FnMut(&str, usize) -> String + Send>;

/// In place of an answer: none, for longer than any test waits.
pub const SILENCE: &str = "SILENCE";

/// The zone of all items of the scripts.
pub const ZONE: &str = "<t:StartTimeZoneId>Romance Standard Time</t:StartTimeZoneId>";

pub struct Script {
    pub url: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub async fn start(answer: impl FnMut(&str, usize) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/EWS/Exchange.asmx",
            listener.local_addr().unwrap()
        );
        let log = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Box::new(answer)));
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept), Arc::clone(&answer)));
            }
        });
        Self { url, log }
    }

    pub fn connect(&self) -> Arc<dyn Connection> {
        super::open(super::settings(&self.url)).unwrap().0
    }

    /// How many requests hold this text.
    pub fn count(&self, what: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|body| body.contains(what)).count()
    }

    /// The last request that holds this text.
    pub fn last(&self, what: &str) -> String {
        let log = self.log.lock().unwrap();
        let last = log.iter().rev().find(|body| body.contains(what));
        last.cloned().unwrap_or_default()
    }

    pub fn requests(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    pub fn clear(&self) {
        self.log.lock().unwrap().clear();
    }
}

/// One request's body, or `None` at the connection's end.
pub async fn body(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).to_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?
        .trim()
        .parse()
        .ok()?;
    while buffer.len() < head_end + length {
        more(stream, buffer).await?;
    }
    let body = String::from_utf8_lossy(&buffer[head_end..head_end + length]).into_owned();
    buffer.drain(..head_end + length);
    Some(body)
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes).await {
        Ok(count) if count > 0 => {
            buffer.extend_from_slice(&bytes[..count]);
            Some(())
        }
        _ => None,
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>, answer: Arc<Mutex<Answer>>) {
    let mut buffer = Vec::new();
    while let Some(body) = body(&mut stream, &mut buffer).await {
        let number = {
            let mut log = log.lock().unwrap();
            log.push(body.clone());
            log.len()
        };
        let out = (answer.lock().unwrap())(&body, number);
        if out == SILENCE {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
        let raw = if out.starts_with("HTTP/") {
            out
        } else {
            http("200 OK", &out)
        };
        if stream.write_all(raw.as_bytes()).await.is_err() {
            return;
        }
    }
}

pub fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub fn envelope(operation: &str, messages: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body xmlns:m="m" xmlns:t="t"><m:{operation}Response><m:ResponseMessages>{messages}</m:ResponseMessages></m:{operation}Response></s:Body></s:Envelope>"#
    )
}

pub fn success(operation: &str, content: &str) -> String {
    format!(
        r#"<m:{operation}ResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>{content}</m:{operation}ResponseMessage>"#
    )
}

pub fn failure(operation: &str, code: &str) -> String {
    format!(
        r#"<m:{operation}ResponseMessage ResponseClass="Error"><m:ResponseCode>{code}</m:ResponseCode></m:{operation}ResponseMessage>"#
    )
}

pub fn ok(operation: &str, content: &str) -> String {
    envelope(operation, &success(operation, content))
}

pub fn err(operation: &str, code: &str) -> String {
    envelope(operation, &failure(operation, code))
}

pub fn folder(id: &str) -> String {
    ok(
        "GetFolder",
        &format!(
            r#"<m:Folders><t:CalendarFolder><t:FolderId Id="{id}"/><t:EffectiveRights><t:Read>true</t:Read></t:EffectiveRights></t:CalendarFolder></m:Folders>"#
        ),
    )
}

pub fn sync(state: &str, changes: &str) -> String {
    page(state, changes, true)
}

/// A page of SyncFolderItems that is the last one or not.
pub fn page(state: &str, changes: &str, last: bool) -> String {
    ok(
        "SyncFolderItems",
        &format!(
            "<m:SyncState>{state}</m:SyncState><m:IncludesLastItemInRange>{last}</m:IncludesLastItemInRange><m:Changes>{changes}</m:Changes>"
        ),
    )
}

pub fn created(id: &str, kind: &str) -> String {
    format!(
        r#"<t:Create><t:CalendarItem><t:ItemId Id="{id}"/><t:ItemClass>IPM.Appointment</t:ItemClass><t:CalendarItemType>{kind}</t:CalendarItemType></t:CalendarItem></t:Create>"#
    )
}

pub fn deleted(id: &str) -> String {
    format!(r#"<t:Delete><t:ItemId Id="{id}"/></t:Delete>"#)
}

pub fn found(items: &[String]) -> String {
    ok(
        "FindItem",
        &format!(
            r#"<m:RootFolder TotalItemsInView="{}" IncludesLastItemInRange="true"><t:Items>{}</t:Items></m:RootFolder>"#,
            items.len(),
            items.concat()
        ),
    )
}

pub fn got(items: &[String]) -> String {
    let messages: String = items
        .iter()
        .map(|item| success("GetItem", &format!("<m:Items>{item}</m:Items>")))
        .collect();
    envelope("GetItem", &messages)
}

/// An item; its UID is `uid-` and the id up to the first dot.
pub fn item(id: &str, kind: &str, start: &str, end: &str, more: &str) -> String {
    let uid = id.split('.').next().unwrap();
    format!(
        r#"<t:CalendarItem><t:ItemId Id="{id}" ChangeKey="c"/><t:ItemClass>IPM.Appointment</t:ItemClass><t:UID>uid-{uid}</t:UID><t:Start>{start}</t:Start><t:End>{end}</t:End><t:IsAllDayEvent>false</t:IsAllDayEvent><t:LegacyFreeBusyStatus>Busy</t:LegacyFreeBusyStatus><t:CalendarItemType>{kind}</t:CalendarItemType>{more}</t:CalendarItem>"#
    )
}

/// Mondays from 5 January 2026.
pub fn mondays() -> String {
    "<t:Recurrence><t:WeeklyRecurrence><t:Interval>1</t:Interval><t:DaysOfWeek>Monday</t:DaysOfWeek><t:FirstDayOfWeek>Monday</t:FirstDayOfWeek></t:WeeklyRecurrence><t:NoEndRecurrence><t:StartDate>2026-01-05+01:00</t:StartDate></t:NoEndRecurrence></t:Recurrence>".to_owned()
}

pub fn daily(from: &str) -> String {
    format!(
        "<t:Recurrence><t:DailyRecurrence><t:Interval>1</t:Interval></t:DailyRecurrence><t:NoEndRecurrence><t:StartDate>{from}T00:00:00.000000Z</t:StartDate></t:NoEndRecurrence></t:Recurrence>"
    )
}

/// The master `M` of [`mondays`], 9:00 in Denmark.
pub fn master(more: &str) -> String {
    item(
        "M",
        "RecurringMaster",
        "2026-01-05T08:00:00Z",
        "2026-01-05T09:00:00Z",
        &format!("{ZONE}{}{more}", mondays()),
    )
}
