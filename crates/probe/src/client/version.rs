//! Which versions of HTTP a user wants.

/// The versions of HTTP that a client accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1 only.
    #[default]
    One,
    /// HTTP/2 only. A server without TLS must know it beforehand (RFC 9113 section 3.3).
    Two,
    /// What a server with TLS prefers (ALPN, RFC 7301); HTTP/1.1 without TLS.
    Negotiated,
}

impl HttpVersion {
    /// Reads the value of an option.
    ///
    /// # Errors
    ///
    /// Other text; the error says what is expected.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let all = [Self::One, Self::Two, Self::Negotiated];
        all.into_iter().find(|version| version.name() == text).ok_or("expected 1.1, 2 or auto")
    }

    /// The value of the option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "1.1",
            Self::Two => "2",
            Self::Negotiated => "auto",
        }
    }

    /// The protocols that a TLS handshake offers, the preferred one first.
    pub(super) fn offered(self) -> Vec<Vec<u8>> {
        let protocols: &[&[u8]] = match self {
            Self::One => &[b"http/1.1"],
            Self::Two => &[HTTP2],
            Self::Negotiated => &[HTTP2, b"http/1.1"],
        };
        protocols.iter().map(|protocol| protocol.to_vec()).collect()
    }
}

/// HTTP/2 over TLS in ALPN (RFC 9113 section 3.2).
pub(super) const HTTP2: &[u8] = b"h2";
