//! An HTTP/1.1 server on a local socket that can also misbehave on purpose.
//!
//! The well-behaved part is hyper's. Misbehaviour below HTTP (a reset, a response cut in the
//! middle, bytes that are no HTTP at all) is played by a stream that sits between hyper and the
//! socket and is told per request what to do by the [`Reply`] of the handler.

mod wire;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::wire::{FaultStream, Socket, Wire, WireMode};

/// Largest request body that is read when nothing else is said, in bytes.
pub const DEFAULT_BODY_LIMIT: usize = 16 * 1024 * 1024;

/// How long [`Server::stop`] waits for requests under way.
const GRACE: Duration = Duration::from_secs(2);

/// Where and how a [`Server`] listens.
#[derive(Clone)]
pub struct ServerOptions {
    /// Address to bind; port 0 asks the system for a free one.
    pub listen: SocketAddr,
    /// TLS settings, or none for plain HTTP. See [`crate::tls::server_config`].
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Largest request body in bytes; a larger one is answered 413 and never reaches the handler.
    pub body_limit: usize,
    /// Host name used in [`Server::url`]; must be one that the server certificate names.
    pub host: String,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            body_limit: DEFAULT_BODY_LIMIT,
            host: "127.0.0.1".to_owned(),
        }
    }
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions")
            .field("listen", &self.listen)
            .field("tls", &self.tls.is_some())
            .field("body_limit", &self.body_limit)
            .field("host", &self.host)
            .finish()
    }
}

/// Who is on the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's socket address.
    pub address: SocketAddr,
    /// The leaf certificate that the client showed in the TLS handshake, if any.
    pub certificate: Option<CertificateDer<'static>>,
    /// Number of the connection, counted from 1 over the life of the server. Connection-bound
    /// authentication (NTLM) and tests of connection reuse need it.
    pub connection: u64,
}

/// One complete request.
#[derive(Debug, Clone)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Request target.
    pub uri: Uri,
    /// Header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The other end.
    pub peer: Peer,
}

impl Request {
    /// A header field as text; `None` where it is missing or not visible ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A response body: complete, or produced piece by piece (sent chunked).
pub enum Body {
    /// The whole body.
    Full(Bytes),
    /// Pieces that are flushed as they come; an error breaks the connection off.
    Stream(BoxStream<'static, io::Result<Bytes>>),
}

/// An ordinary HTTP response.
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Header fields; content length and date are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Response {
    /// A response with a content type and a complete body.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self {
            status,
            headers,
            body: Body::Full(body.into()),
        }
    }

    /// `text/xml; charset=utf-8`, as SOAP 1.1 is sent.
    #[must_use]
    pub fn xml(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/xml; charset=utf-8", body)
    }

    /// A short plain text.
    #[must_use]
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// The same response with one more header field; a value that HTTP forbids is left out.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    /// The response as it would stand on the wire, for faults that send it by hand.
    ///
    /// A streamed body has no bytes yet and is sent as an empty one.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let body: &[u8] = match &self.body {
            Body::Full(bytes) => bytes,
            Body::Stream(_) => &[],
        };
        let mut wire = format!("HTTP/1.1 {}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            wire.extend_from_slice(name.as_str().as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        wire.extend_from_slice(body);
        wire
    }
}

/// What the handler wants to happen on the socket.
pub enum Reply {
    /// An ordinary response.
    Http(Response),
    /// The response's head promises the whole body; the connection ends after this many bytes of
    /// it. Of a streamed body the head makes no promise, the chunked end is missing instead.
    Truncate {
        /// The response to cut.
        response: Response,
        /// Bytes of the body that are still sent.
        bytes: usize,
    },
    /// TCP reset, without a byte of response.
    Reset,
    /// Orderly end of the connection, without a byte of response.
    Close,
    /// These bytes instead of a response.
    Raw {
        /// What is written.
        bytes: Bytes,
        /// Whether the connection ends afterwards.
        close: bool,
    },
    /// The response twice on one connection, for one request. A client that reuses the connection
    /// must not take the second for the answer to its next request.
    Twice(Response),
    /// No answer, until the client or the server goes away.
    Hang,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Http(response)
    }
}

/// Answers requests. Implemented by closures `Fn(Request) -> Future<Output = Reply>`.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The future is dropped when the client goes away.
    fn handle(&self, request: Request) -> BoxFuture<'_, Reply>;
}

impl<F, Fut> Handler for F
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Reply> + Send + 'static,
{
    fn handle(&self, request: Request) -> BoxFuture<'_, Reply> {
        Box::pin(self(request))
    }
}

/// A running server. Dropping it ends every connection at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    base: String,
    cancel: CancellationToken,
    /// Cancelled by an orderly stop: no new requests, those under way may finish.
    drain: CancellationToken,
    tasks: TaskTracker,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    failed_handshakes: AtomicU64,
}

impl Server {
    /// Binds and starts to answer.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: ServerOptions, handler: impl Handler) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let server = Self {
            address,
            base: format!("{scheme}://{}:{}", options.host, address.port()),
            cancel: CancellationToken::new(),
            drain: CancellationToken::new(),
            tasks: TaskTracker::new(),
            counters: Arc::default(),
        };
        let accepting = Accepting {
            acceptor: options.tls.map(TlsAcceptor::from),
            body_limit: options.body_limit,
            handler: Arc::new(handler),
            cancel: server.cancel.clone(),
            drain: server.drain.clone(),
            tasks: server.tasks.clone(),
            counters: Arc::clone(&server.counters),
        };
        server.tasks.spawn(accepting.run(listener));
        Ok(server)
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Absolute address of a path, which starts with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// TCP connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// TLS handshakes that failed so far.
    #[must_use]
    pub fn failed_handshakes(&self) -> u64 {
        self.counters.failed_handshakes.load(Ordering::Relaxed)
    }

    /// Stops to accept, lets requests under way finish for a short time, then ends the rest.
    pub async fn stop(&self) {
        self.drain.cancel();
        self.tasks.close();
        if tokio::time::timeout(GRACE, self.tasks.wait())
            .await
            .is_err()
        {
            self.cancel.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain.cancel();
        self.cancel.cancel();
    }
}

/// The accept loop and what its connections share.
struct Accepting<H> {
    acceptor: Option<TlsAcceptor>,
    body_limit: usize,
    handler: Arc<H>,
    cancel: CancellationToken,
    drain: CancellationToken,
    tasks: TaskTracker,
    counters: Arc<Counters>,
}

impl<H: Handler> Accepting<H> {
    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::warn!(%error, "A connection could not be accepted.");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let number = self.counters.connections.fetch_add(1, Ordering::Relaxed) + 1;
            let acceptor = self.acceptor.clone();
            let handler = Arc::clone(&self.handler);
            let (cancel, drain) = (self.cancel.clone(), self.drain.clone());
            let counters = Arc::clone(&self.counters);
            let body_limit = self.body_limit;
            self.tasks.spawn(async move {
                let work = async {
                    // Small answers must not wait for the client's delayed acknowledgement.
                    let _ = tcp.set_nodelay(true);
                    let (socket, certificate) = match acceptor {
                        None => (Socket::Plain(tcp), None),
                        Some(acceptor) => match acceptor.accept(tcp).await {
                            Ok(stream) => {
                                let leaf = stream
                                    .get_ref()
                                    .1
                                    .peer_certificates()
                                    .and_then(<[_]>::first)
                                    .map(|leaf| leaf.clone().into_owned());
                                (Socket::Tls(Box::new(stream)), leaf)
                            }
                            Err(error) => {
                                counters.failed_handshakes.fetch_add(1, Ordering::Relaxed);
                                tracing::debug!(%error, "A TLS handshake failed.");
                                return;
                            }
                        },
                    };
                    let peer = Peer {
                        address,
                        certificate,
                        connection: number,
                    };
                    serve(socket, peer, handler, body_limit, drain).await;
                };
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = work => {}
                }
            });
        }
    }
}

async fn serve<H: Handler>(
    socket: Socket,
    peer: Peer,
    handler: Arc<H>,
    body_limit: usize,
    drain: CancellationToken,
) {
    let wire = Wire::default();
    let stream = FaultStream {
        socket,
        wire: wire.clone(),
    };
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (peer, handler, wire) = (peer.clone(), Arc::clone(&handler), wire.clone());
        async move {
            wire.set(WireMode::Normal);
            let (head, body) = request.into_parts();
            let body = match Limited::new(body, body_limit).collect().await {
                Ok(collected) => collected.to_bytes(),
                Err(error) if error.is::<LengthLimitError>() => {
                    let response =
                        Response::text(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.")
                            .with_header("connection", "close");
                    return Ok(assemble(response));
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            };
            let request = Request {
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                body,
                peer,
            };
            let reply = handler.handle(request).await;
            Ok::<_, io::Error>(perform(reply, &wire).await)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "A connection ended with an error.");
    }
}

type WireBody = UnsyncBoxBody<Bytes, io::Error>;

/// Sets the socket up for what the reply asks and gives hyper a response to write.
async fn perform(reply: Reply, wire: &Wire) -> http::Response<WireBody> {
    match reply {
        Reply::Http(response) => assemble(response),
        Reply::Truncate { response, bytes } => truncated(response, bytes),
        Reply::Reset => {
            wire.set(WireMode::Reset);
            assemble(Response::text(StatusCode::OK, ""))
        }
        Reply::Close => {
            wire.set(WireMode::Replace {
                bytes: Bytes::new(),
            });
            assemble(Response::text(StatusCode::OK, "").with_header("connection", "close"))
        }
        Reply::Raw { bytes, close } => {
            wire.set(WireMode::Replace { bytes });
            let response = Response::text(StatusCode::OK, "");
            assemble(if close {
                response.with_header("connection", "close")
            } else {
                response
            })
        }
        Reply::Twice(response) => {
            let once = response.to_wire();
            let mut bytes = once.clone();
            bytes.extend_from_slice(&once);
            wire.set(WireMode::Replace {
                bytes: bytes.into(),
            });
            assemble(Response::text(StatusCode::OK, ""))
        }
        Reply::Hang => std::future::pending().await,
    }
}

fn assemble(response: Response) -> http::Response<WireBody> {
    let body = match response.body {
        Body::Full(bytes) => Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync(),
        Body::Stream(stream) => {
            StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync()
        }
    };
    with_head(response.status, response.headers, body)
}

fn truncated(mut response: Response, bytes: usize) -> http::Response<WireBody> {
    let start = match response.body {
        Body::Full(full) => {
            response
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(full.len()));
            let cut = full.slice(..bytes.min(full.len()));
            futures_util::stream::iter([Ok(cut)]).boxed()
        }
        Body::Stream(stream) => stream
            .scan(bytes, |left, piece| {
                let cut = piece.ok().filter(|_| *left > 0).map(|piece| {
                    let cut = piece.slice(..piece.len().min(*left));
                    *left -= cut.len();
                    Ok(cut)
                });
                std::future::ready(cut)
            })
            .boxed(),
    };
    // hyper flushes what it has while the body is pending; an error at once would swallow it.
    let end = futures_util::stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "truncated on purpose",
        ))
    });
    response.body = Body::Stream(start.chain(end).boxed());
    assemble(response)
}

fn with_head(status: StatusCode, headers: HeaderMap, body: WireBody) -> http::Response<WireBody> {
    let mut built = http::Response::new(body);
    *built.status_mut() = status;
    *built.headers_mut() = headers;
    built
}
