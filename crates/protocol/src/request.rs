//! Owns what a request is once its head has been understood: borrowed, nothing copied.

use crate::Framing;

/// The methods of RFC 9110 section 9 and RFC 5789; anything else is [`Method::Unknown`].
///
/// CONNECT is not among them: it never leaves the head (see [`crate::Rejection::Tunnel`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
    /// TRACE
    Trace,
    /// PATCH
    Patch,
    /// A token that names none of the above; methods are case-sensitive.
    Unknown,
}

impl Method {
    pub(crate) fn from_token(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Unknown,
        }
    }
}

/// The versions this server speaks (RFC 9112 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// What the request-target names (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'i> {
    /// origin-form, or absolute-form with its authority checked and left behind.
    Path {
        /// From the first `/` to the `?`, not decoded; `/` where an absolute-form has no path.
        path: &'i [u8],
        /// What follows the `?`, empty where there is none.
        query: &'i [u8],
    },
    /// asterisk-form: `OPTIONS *`.
    Asterisk,
}

/// A request whose head is complete and whose framing is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'i> {
    /// What the method token names.
    pub method: Method,
    /// The method token as it was sent, for the access log.
    pub method_token: &'i [u8],
    /// What the request-target names.
    pub target: Target<'i>,
    /// The request-target as it was sent, for the access log.
    pub target_bytes: &'i [u8],
    /// Host, or the authority of an absolute-form target, which takes its place (RFC 9112 section
    /// 3.2.2). Its grammar has been checked; it is empty if an HTTP/1.0 request has neither.
    pub authority: &'i [u8],
    /// Whether the proxy in front says that its client speaks https: X-Forwarded-Proto is `https`
    /// in every line of it.
    pub is_forwarded_https: bool,
    /// The version of the message.
    pub version: Version,
    /// How the body, if any, is delimited.
    pub framing: Framing,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    pub unknown_expectation: bool,
}
