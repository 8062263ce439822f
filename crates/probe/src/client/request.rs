//! A request that can be sent any number of times.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Uri};

use crate::client::{Route, Target};
use crate::pattern;

/// A checked request: building it may fail, but a request that was built is valid HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: RequestBody,
}

impl Request {
    /// A request to `target` for `path`, which begins with a slash and may hold a query. `headers`
    /// replace `Host` and `User-Agent`, which are added; a body always has a `Content-Length`.
    ///
    /// # Errors
    ///
    /// A method, path or header that cannot be written in HTTP.
    pub(crate) fn new(
        target: &Target,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: RequestBody,
    ) -> Result<Self, RequestError> {
        let refuse = |what, text: &str| RequestError { what, text: text.to_owned() };
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| refuse("method", method))?;
        let target_part: PathAndQuery = path.parse().map_err(|_| refuse("path", path))?;
        let mut fields = HeaderMap::with_capacity(headers.len() + 4);
        fields.insert(HOST, target.host_field());
        fields.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        for (name, value) in headers {
            let key: HeaderName = name.parse().map_err(|_| refuse("header", name))?;
            let text = HeaderValue::from_str(value).map_err(|_| refuse("header value", value))?;
            fields.insert(key, text);
        }
        if let Some(length) = body.content_length(&method) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(Self { method, target: Uri::from(target_part), headers: fields, body })
    }

    /// The same request with one more word in the query of its path.
    ///
    /// # Errors
    ///
    /// A word that cannot be part of a path.
    pub(crate) fn with_query(self, word: &str) -> Result<Self, RequestError> {
        let joint = if self.target.query().is_some() { '&' } else { '?' };
        let path = format!("{}{joint}{word}", self.target);
        let part: PathAndQuery =
            path.parse().map_err(|_| RequestError { what: "path", text: path.clone() })?;
        Ok(Self { target: Uri::from(part), ..self })
    }

    /// Bytes of the body that are sent with it.
    pub(crate) fn body_length(&self) -> u64 {
        self.body.length()
    }

    /// Whether sending it twice has the same effect as sending it once (RFC 9110 section 9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The path and the query of the request.
    pub(super) fn path(&self) -> &str {
        self.target.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// The same request with cookies, unless it already has a `Cookie` field.
    pub(super) fn with_cookie(&self, value: HeaderValue) -> Self {
        let mut request = self.clone();
        request.headers.entry(COOKIE).or_insert(value);
        request
    }

    pub(super) fn message(&self, form: &RequestForm) -> hyper::Request<RequestBody> {
        let mut message = hyper::Request::new(self.body.clone());
        *message.method_mut() = self.method.clone();
        *message.uri_mut() = self.target.clone();
        *message.headers_mut() = self.headers.clone();
        form.apply(&mut message);
        message
    }
}

/// How a connection changes the head of a request.
#[derive(Clone, Debug)]
pub(super) enum RequestForm {
    /// HTTP/1.1 to the server itself.
    Direct {
        /// Whether the server is asked to close.
        close: bool,
    },
    /// HTTP/1.1 to a proxy, which needs the whole URL (RFC 9112 section 3.2.2).
    Proxied {
        /// Whether the proxy is asked to close.
        close: bool,
        /// The authority of the server.
        authority: Authority,
        /// The value of `Proxy-Authorization`.
        authorization: Option<String>,
    },
    /// HTTP/2, which has the whole URL in fields of its own (RFC 9113 section 8.3.1).
    Two {
        /// http or https.
        scheme: Scheme,
        /// The authority of the server.
        authority: Authority,
    },
}

impl RequestForm {
    /// The form of requests to `target` by `route` in HTTP/1.1.
    pub(super) fn of_http1(target: &Target, route: &Route, close: bool) -> Self {
        match route.proxy() {
            Some(proxy) if !target.is_https() => Self::Proxied {
                close,
                authority: target.authority().clone(),
                authorization: proxy.authorization(),
            },
            _ => Self::Direct { close },
        }
    }

    /// The form of requests to `target` in HTTP/2.
    pub(super) fn of_http2(target: &Target) -> Self {
        let scheme = if target.is_https() { Scheme::HTTPS } else { Scheme::HTTP };
        Self::Two { scheme, authority: target.authority().clone() }
    }

    /// Whether HTTP/2 is used without an agreement in a TLS handshake.
    pub(super) fn expects_http2(&self) -> bool {
        matches!(self, Self::Two { scheme, .. } if *scheme == Scheme::HTTP)
    }

    fn apply(&self, message: &mut hyper::Request<RequestBody>) {
        match self {
            Self::Direct { close } => ask_to_close(message, *close),
            Self::Proxied { close, authority, authorization } => {
                complete(message, &Scheme::HTTP, authority.clone());
                let value = authorization.as_deref().map(HeaderValue::from_str);
                if let Some(Ok(value)) = value {
                    message.headers_mut().insert(PROXY_AUTHORIZATION, value);
                }
                ask_to_close(message, *close);
            }
            // A `Host` that a user has set becomes the authority.
            Self::Two { scheme, authority } => {
                let host = message.headers_mut().remove(HOST);
                let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
                complete(message, scheme, host.unwrap_or_else(|| authority.clone()));
            }
        }
    }
}

fn ask_to_close(message: &mut hyper::Request<RequestBody>, close: bool) {
    if close {
        message.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn complete(message: &mut hyper::Request<RequestBody>, scheme: &Scheme, authority: Authority) {
    let mut parts = message.uri().clone().into_parts();
    parts.scheme = Some(scheme.clone());
    parts.authority = Some(authority);
    // A path with a scheme and an authority is always a complete URI.
    if let Ok(uri) = Uri::from_parts(parts) {
        *message.uri_mut() = uri;
    }
}

/// The body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// This many bytes of the repeating pattern, which are made as they are sent.
    Pattern {
        /// Bytes that are still to be sent.
        left: u64,
    },
}

impl RequestBody {
    /// `length` bytes of the repeating pattern.
    pub(crate) fn pattern(length: u64) -> Self {
        Self::Pattern { left: length }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern { left } => *left,
        }
    }

    // A POST or PUT without a body says so (RFC 9110 section 8.6); other methods need no length
    // then.
    fn content_length(&self, method: &Method) -> Option<u64> {
        let told = *self != Self::Empty || [Method::POST, Method::PUT].contains(method);
        told.then(|| self.length())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let data = match this {
            Self::Empty => return Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                bytes
            }
            Self::Pattern { left: 0 } => return Poll::Ready(None),
            Self::Pattern { left } => {
                let block = pattern::block();
                let length = (*left).min(block.len() as u64);
                *left -= length;
                // The block's length is a multiple of the pattern's, so every block begins at its
                // start.
                block.slice(..usize::try_from(length).unwrap_or(block.len()))
            }
        };
        if data.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

/// What cannot be written in HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestError {
    what: &'static str,
    text: String,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no valid {}", self.text, self.what)
    }
}

impl std::error::Error for RequestError {}

const USER_AGENT_VALUE: &str = concat!("heartbeat-probe/", env!("CARGO_PKG_VERSION"));
