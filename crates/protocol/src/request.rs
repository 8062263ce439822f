//! Owns the request as the head describes it. It borrows its bytes and copies none.

use crate::Framing;
use crate::table::table;

table! {
    /// The methods of RFC 9110 section 9 and RFC 5789; anything else is [`Method::Unknown`].
    ///
    /// CONNECT is missing because a head with this method is rejected
    /// ([`crate::Rejection::Tunnel`]).
    pub enum Method {
        /// GET
        Get = b"GET",
        /// HEAD
        Head = b"HEAD",
        /// POST
        Post = b"POST",
        /// PUT
        Put = b"PUT",
        /// DELETE
        Delete = b"DELETE",
        /// OPTIONS
        Options = b"OPTIONS",
        /// TRACE
        Trace = b"TRACE",
        /// PATCH
        Patch = b"PATCH",
        /// Any other token. Methods are case-sensitive.
        Unknown = b"",
    }

    fn token(self) -> &'static [u8];
}

impl Method {
    pub(crate) fn from_token(token: &[u8]) -> Self {
        Self::all().find(|method| method.token() == token).unwrap_or(Self::Unknown)
    }
}

/// The versions that this server supports (RFC 9112 section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// What the request-target names (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'i> {
    /// origin-form, or absolute-form without its scheme and authority, which have been checked.
    Path {
        /// The path up to the `?`, not decoded; `/` if an absolute-form has no path.
        path: &'i [u8],
        /// What follows the `?`; empty if there is none.
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
    /// The authority of an absolute-form target, or else the value of Host (RFC 9112 section
    /// 3.2.2). Its grammar has been checked; it is empty if an HTTP/1.0 request has neither.
    pub authority: &'i [u8],
    /// Whether a proxy reports that its client used https: there is an X-Forwarded-Proto field, and
    /// each of its lines is `https`.
    pub is_forwarded_https: bool,
    /// The version of the message.
    pub version: Version,
    /// How the body, if any, is delimited.
    pub framing: Framing,
    /// Whether there is an expectation other than `100-continue` (RFC 9110 section 10.1.1).
    pub unknown_expectation: bool,
    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the peer allows another request after this one.
    pub is_persistent: bool,
}
