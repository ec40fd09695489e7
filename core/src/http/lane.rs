//! One TCP connection, for protocols that sign in the connection and not the request (NTLM, Negotiate).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::tls::TlsInfo;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use super::{HttpClient, HttpFailure, HttpResponse, HttpSettings};
use crate::connector::{Context, Result};

/// How long the library's pool may take to give the connection back after an answer was read.
const HAND_BACK: Duration = Duration::from_millis(250);

/// Longer than any answer lasts.
const NO_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A client that makes one connection and never a second: once it has ended, the lane is spent. Requests are sent one
/// after the other, each when the answer before it was read whole.
#[derive(Debug)]
pub struct HttpLane {
    client: HttpClient,
}

/// Why there is no answer on a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneFailure {
    /// The lane's connection has ended, and nothing was sent. Another lane may be made.
    #[error("the connection has ended")]
    Spent,
    /// As with any other request.
    #[error(transparent)]
    Http(#[from] HttpFailure),
}

/// An answer whose body is not read yet.
pub struct HttpAnswer {
    response: Response,
    client: HttpClient,
    url: Url,
}

/// A header may hold a token.
impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.response.status())
            .finish_non_exhaustive()
    }
}

impl HttpLane {
    /// Builds a lane. Does no network.
    ///
    /// # Errors
    /// As [`HttpClient::build`].
    pub fn build(settings: &HttpSettings, context: &Context) -> Result<Self> {
        let client = HttpClient::build_with(settings, None, context, |builder| {
            builder
                .tls_info(true)
                .pool_max_idle_per_host(1)
                .connector_layer(Once::default())
        })?;
        Ok(Self { client })
    }

    /// Sends one request, whose answer is there within the time limit. A status is no error; nothing is repeated.
    ///
    /// # Errors
    /// [`LaneFailure`].
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpAnswer, LaneFailure> {
        self.sent(url, self.request(method, url, headers, body))
            .await
    }

    /// As [`send`](Self::send), without a time limit: for answers that are read as they come, by somebody who looks at
    /// the time.
    ///
    /// # Errors
    /// [`LaneFailure`].
    pub async fn open(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<HttpAnswer, LaneFailure> {
        let request = self.request(method, url, headers, body);
        self.sent(url, request.timeout(NO_LIMIT)).await
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> RequestBuilder {
        self.client
            .reqwest()
            .request(method, url.clone())
            .headers(headers)
            .body(body)
    }

    async fn sent(&self, url: &Url, request: RequestBuilder) -> Result<HttpAnswer, LaneFailure> {
        match request.send().await {
            Ok(response) => {
                let response = self.client.accepted(url, response)?;
                Ok(HttpAnswer {
                    response,
                    client: self.client.clone(),
                    url: url.clone(),
                })
            }
            Err(error) if is_spent(&error) => Err(LaneFailure::Spent),
            Err(error) => Err(self.client.failure(url, error).into()),
        }
    }
}

impl HttpAnswer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The certificate that the server showed on this connection (DER); none without TLS.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.response
            .extensions()
            .get::<TlsInfo>()?
            .peer_certificate()
    }

    /// Reads the answer whole.
    ///
    /// # Errors
    /// [`HttpFailure`]: it is not complete, or larger than the limit.
    pub async fn whole(self) -> Result<HttpResponse, HttpFailure> {
        self.client.read_whole(&self.url, self.response).await
    }

    /// The answer, to be read as it comes.
    #[must_use]
    pub fn into_response(self) -> Response {
        self.response
    }
}

fn is_spent(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<Spent>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// The lane's connection was made before.
#[derive(Debug, thiserror::Error)]
#[error("the lane's connection has ended")]
struct Spent;

/// Lets one connection be made.
#[derive(Debug, Clone, Default)]
struct Once {
    made: Arc<AtomicBool>,
}

impl<S> Layer<S> for Once {
    type Service = OnceConnector<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OnceConnector {
            inner,
            made: Arc::clone(&self.made),
        }
    }
}

#[derive(Debug, Clone)]
struct OnceConnector<S> {
    inner: S,
    made: Arc<AtomicBool>,
}

impl<S, R> Service<R> for OnceConnector<S>
where
    S: Service<R, Error = Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        if !self.made.swap(true, Ordering::AcqRel) {
            return Box::pin(self.inner.call(request));
        }
        // The pool asks for a second connection also while the first is on its way back to it, and takes whichever is
        // there first. Only where none comes back the connection has ended.
        Box::pin(async {
            tokio::time::sleep(HAND_BACK).await;
            Err(Spent.into())
        })
    }
}
