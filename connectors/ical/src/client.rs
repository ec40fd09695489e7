//! Where the bytes come from: a file, a folder, or an https feed.

use std::io::{ErrorKind as Io, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use calbridge_core::connector::{Context, Cursor, Error, ErrorKind, Result, Scope};
use calbridge_core::http::{HeaderMap, HeaderValue, HttpClient, HttpSettings, StatusCode, header};
use calbridge_core::model::{Address, CalendarRef};
use calbridge_core::secret::SecretRef;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::{Place, Settings};

/// What the cursor holds: how the content is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    /// Fingerprint of the content, and of the settings that decide what it means.
    hash: String,
    /// The feed's `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// The feed's `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

impl Bookmark {
    /// # Errors
    /// `CursorExpired` for a cursor that this version did not write.
    pub(crate) fn from_cursor(cursor: &Cursor) -> Result<Self> {
        serde_json::from_str(&cursor.0).map_err(|_| {
            Error::new(
                ErrorKind::CursorExpired,
                Scope::Calendar,
                "ical.cursor",
                "the cursor is not of this version; the calendar is read anew",
            )
        })
    }

    pub(crate) fn to_cursor(&self) -> Option<Cursor> {
        serde_json::to_string(self).ok().map(Cursor)
    }
}

/// What was fetched.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The content is still the one of the bookmark.
    Unchanged,
    /// The content.
    Content(Vec<u8>, Bookmark),
}

/// A file of the folder.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Where it is.
    path: PathBuf,
    /// Its name without `.ics`.
    pub(crate) name: String,
    /// Whose calendar it is; absent if the name is no address.
    pub(crate) address: Option<Address>,
}

/// Fetches bytes.
#[derive(Debug)]
pub(crate) struct Client {
    place: Place,
    max_bytes: u64,
    /// Mixed into fingerprints: another home zone gives the same bytes another meaning.
    zone: String,
    http: Option<HttpClient>,
    user: Option<String>,
    password: Option<SecretRef>,
    context: Context,
}

impl Client {
    pub(crate) fn new(settings: &Settings, context: &Context) -> Result<Self> {
        let place = settings.place()?;
        let http = match &place {
            Place::Feed(..) => {
                let limited = HttpSettings {
                    max_response: settings.max_bytes,
                    ..settings.http.clone()
                };
                Some(HttpClient::build(&limited, None, context)?)
            }
            _ => None,
        };
        Ok(Self {
            place,
            max_bytes: settings.max_bytes,
            zone: settings.zone.clone(),
            http,
            user: settings.user.clone(),
            password: settings.password.clone(),
            context: context.clone(),
        })
    }

    /// Whose calendar it is, unless there is a folder of them.
    pub(crate) fn single(&self) -> Option<&Address> {
        match &self.place {
            Place::Folder(_) => None,
            Place::File(_, address) | Place::Feed(_, address) => Some(address),
        }
    }

    /// The content of a calendar, if it is not the one of `known`.
    ///
    /// # Errors
    /// Scope `Calendar` where it is about one file, `Connection` for a folder or feed that is not to be had.
    pub(crate) async fn fetch(
        &self,
        calendar: &CalendarRef,
        known: Option<&Bookmark>,
    ) -> Result<Fetched> {
        let (content, etag, modified) = match &self.place {
            Place::Feed(url, address) => {
                mine(calendar, address)?;
                let Some(answer) = self.get(url, known).await? else {
                    return Ok(Fetched::Unchanged);
                };
                answer
            }
            Place::File(path, address) => {
                mine(calendar, address)?;
                (self.read(path.clone()).await?, None, None)
            }
            Place::Folder(_) => {
                let files = self.list().await?;
                let file = files
                    .into_iter()
                    .find(|file| file.address.as_ref() == Some(&calendar.address))
                    .ok_or_else(|| not_here(calendar))?;
                (self.read(file.path).await?, None, None)
            }
        };
        let mut hash = blake3::Hasher::new();
        hash.update(self.zone.as_bytes())
            .update(b"\0")
            .update(&content);
        let bookmark = Bookmark {
            hash: hash.finalize().to_hex().to_string(),
            etag,
            modified,
        };
        if known.is_some_and(|known| known.hash == bookmark.hash) {
            return Ok(Fetched::Unchanged);
        }
        Ok(Fetched::Content(content, bookmark))
    }

    /// The `.ics` files of the folder, by name. Hidden ones are somebody's work in progress.
    ///
    /// # Errors
    /// Scope `Connection`.
    pub(crate) async fn list(&self) -> Result<Vec<Entry>> {
        let Place::Folder(folder) = self.place.clone() else {
            return Ok(Vec::new());
        };
        blocking(move || {
            let trouble = |error| io_error(&error, Scope::Connection, "the folder in `path`");
            if folder.is_file() {
                return Err(Error::config(
                    "`path` is a file; set `address` to tell whose calendar it is",
                ));
            }
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(&folder).map_err(trouble)? {
                let entry = entry.map_err(trouble)?;
                let name = entry.file_name();
                let shown = name.to_string_lossy();
                let Some(stem) = shown.strip_suffix(".ics") else {
                    continue;
                };
                if shown.starts_with('.') {
                    continue;
                }
                entries.push(Entry {
                    name: stem.to_owned(),
                    address: name
                        .to_str()
                        .and_then(|_| Address::new(unescape(stem)).ok()),
                    path: entry.path(),
                });
            }
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        })
        .await
    }

    async fn read(&self, path: PathBuf) -> Result<Vec<u8>> {
        let limit = self.max_bytes;
        blocking(move || read_limited(&path, limit)).await
    }

    /// The feed's content with `ETag` and `Last-Modified`, unless it says that nothing changed.
    async fn get(
        &self,
        url: &Url,
        known: Option<&Bookmark>,
    ) -> Result<Option<(Vec<u8>, Option<String>, Option<String>)>> {
        let Some(http) = &self.http else {
            return Err(Error::config("the connection has no `url`"));
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/calendar"));
        let conditions = known.map(|known| {
            [
                (header::IF_NONE_MATCH, &known.etag),
                (header::IF_MODIFIED_SINCE, &known.modified),
            ]
        });
        for (name, value) in conditions.into_iter().flatten() {
            if let Some(value) = value.as_deref().and_then(|v| HeaderValue::from_str(v).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some(authorization) = self.authorization()? {
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let answer = http.get(url, headers).await?;
        let text = |name: &str| answer.header(name).map(str::to_owned);
        let refused = |kind, code: &str, what: &str| {
            let status = answer.status.as_u16();
            let error = Error::new(
                kind,
                Scope::Connection,
                code,
                format!("the feed answers with status {status}; {what}"),
            );
            match answer
                .header("retry-after")
                .and_then(|wait| wait.parse().ok())
            {
                Some(seconds) => error.retry_after(std::time::Duration::from_secs(seconds)),
                None => error,
            }
        };
        match answer.status {
            StatusCode::OK => Ok(Some((
                answer.body.clone(),
                text("etag"),
                text("last-modified"),
            ))),
            StatusCode::NOT_MODIFIED => Ok(None),
            StatusCode::UNAUTHORIZED => Err(refused(
                ErrorKind::Auth,
                "ical.auth",
                "check `user` and `password`",
            )),
            StatusCode::FORBIDDEN => Err(refused(
                ErrorKind::Permission,
                "ical.forbidden",
                "the feed is not shared with this user",
            )),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(refused(
                ErrorKind::NotFound,
                "ical.not-found",
                "share the calendar again and set `url`",
            )),
            StatusCode::TOO_MANY_REQUESTS => Err(refused(
                ErrorKind::Throttled,
                "ical.throttled",
                "it is asked again later",
            )),
            status if status.is_redirection() => Err(refused(
                ErrorKind::Config,
                "ical.moved",
                "set `url` to where the feed has moved",
            )),
            status if status.is_server_error() => Err(refused(
                ErrorKind::Transient,
                "ical.unavailable",
                "it is asked again later",
            )),
            _ => Err(refused(ErrorKind::Protocol, "ical.status", "check `url`")),
        }
    }

    /// Asks for the secret each time, so that a changed one is taken up.
    fn authorization(&self) -> Result<Option<HeaderValue>> {
        let (Some(user), Some(password)) = (&self.user, &self.password) else {
            return Ok(None);
        };
        let password = self.context.secret(password)?;
        let pair = format!("{user}:{}", password.expose_secret());
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let mut value = HeaderValue::from_str(&basic)
            .map_err(|_| Error::config("`user` or `password` cannot be sent"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Whether the calendar is the one that this connection has.
fn mine(calendar: &CalendarRef, address: &Address) -> Result<()> {
    if calendar.address == *address {
        Ok(())
    } else {
        Err(not_here(calendar))
    }
}

fn not_here(calendar: &CalendarRef) -> Error {
    Error::new(
        ErrorKind::NotFound,
        Scope::Calendar,
        "ical.no-calendar",
        format!(
            "there is no calendar for {}; put its file into the folder, or set `address`",
            calendar.handle()
        ),
    )
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let trouble = |error| io_error(&error, Scope::Calendar, "the calendar's file");
    // To open a named pipe waits for somebody who writes into it, and a device may never end.
    regular(&std::fs::metadata(path).map_err(trouble)?)?;
    let file = std::fs::File::open(path).map_err(trouble)?;
    regular(&file.metadata().map_err(trouble)?)?;
    let mut content = Vec::new();
    // One byte more shows that there is more; the size that the system tells may be out of date.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(trouble)?;
    if u64::try_from(content.len()).is_ok_and(|read| read > limit) {
        return Err(Error::new(
            ErrorKind::Protocol,
            Scope::Calendar,
            "ical.too-large",
            format!("the calendar's file is larger than {limit} bytes; raise `max_bytes`"),
        ));
    }
    Ok(content)
}

fn regular(metadata: &std::fs::Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() {
        "a folder"
    } else {
        "a pipe, a socket or a device"
    };
    Err(Error::new(
        ErrorKind::Protocol,
        Scope::Calendar,
        "ical.no-file",
        format!("what is named like the calendar's file is {what}; put an .ics file in its place"),
    ))
}

/// `%40` and the like, which stand in file names for what a file system might not take.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match rest {
            [b'%', high, low, ..] => char::from(*high)
                .to_digit(16)
                .zip(char::from(*low).to_digit(16))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = match code {
            Some(_) => rest.get(3..).unwrap_or_default(),
            None => tail,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn io_error(error: &std::io::Error, scope: Scope, what: &str) -> Error {
    let (kind, code) = match error.kind() {
        Io::NotFound => (ErrorKind::NotFound, "ical.not-found"),
        Io::PermissionDenied => (ErrorKind::Permission, "ical.permission"),
        _ => (ErrorKind::Transient, "ical.io"),
    };
    Error::new(kind, scope, code, format!("{what} cannot be read: {error}"))
}

/// Runs work that blocks or computes for long where it does not hold up others.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Error::new(
            ErrorKind::Panicked,
            Scope::Calendar,
            "panicked",
            "the connector panicked over this calendar; report it with the file",
        )),
        Err(_) => Err(Error::new(
            ErrorKind::Cancelled,
            Scope::Calendar,
            "cancelled",
            "the program is stopping",
        )),
    }
}
