//! The server that is asked: scheme, host and port, parsed from what a user writes.

use std::fmt;
use std::net::IpAddr;

use heartbeat_command_line::Misuse;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Authority;

/// A server's base URL, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    text: String,
    https: bool,
    host: String,
    port: u16,
    authority: Authority,
    path: String,
    address: Option<IpAddr>,
}

impl Target {
    /// Parses a base URL as WebV does: without a scheme it is `http://` for text that starts with
    /// `localhost` or `127.0.0.1`, and `https://` for all else.
    ///
    /// # Errors
    ///
    /// Text that is no URL, another scheme, a user name or a query.
    pub(crate) fn parse(server: &str) -> Result<Self, TargetError> {
        let text = with_scheme(server.trim());
        let refuse = |expected| TargetError { server: server.to_owned(), expected };
        let uri: Uri = text.parse().map_err(|_| refuse("expected a URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse("expected http or https as the scheme")),
        };
        let authority = uri.authority().ok_or_else(|| refuse("expected a host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("expected no user name"));
        }
        if uri.query().is_some() {
            return Err(refuse("expected no query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        // `authority.port()` is `None` for text that is no port, and that text remains in the
        // authority.
        let named_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(0) => return Err(refuse(PORTS)),
            Some(port) => port,
            None if named_port => return Err(refuse(PORTS)),
            None if https => HTTPS_PORT,
            None => HTTP_PORT,
        };
        if host.is_empty() {
            return Err(refuse("expected a host"));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let authority = authority.clone();
        let address = host.parse().ok();
        Ok(Self { https, host, port, authority, path, text, address })
    }

    /// The base URL with its scheme, as logs and labels show it.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the server speaks TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The name or address to connect to, without the brackets of IPv6.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address to connect to if the host is one, which needs no name service.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The path of the base URL, without its last slash. It is not sent, because the paths of
    /// WebV's requests begin with a slash and so replace it.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Host and port as they were written.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The value of the `Host` field.
    pub(crate) fn host_field(&self) -> HeaderValue {
        // An authority that was parsed contains only characters that are valid in a field.
        HeaderValue::from_str(self.authority.as_str()).unwrap_or(HeaderValue::from_static(""))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that is not the URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetError {
    server: String,
    expected: &'static str,
}

impl TargetError {
    /// What is allowed instead.
    pub(crate) fn expected(&self) -> &'static str {
        self.expected
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Misuse::new(&self.server, self.expected).fmt(f)
    }
}

impl std::error::Error for TargetError {}

/// A path that begins with a slash and does not end with one; empty if there is no prefix.
pub(crate) fn url_prefix(text: &str) -> Result<String, String> {
    let trimmed = text.trim_matches('/');
    if trimmed.contains(['?', '#']) || trimmed.contains(char::is_whitespace) {
        return Err("expected a path".to_owned());
    }
    Ok(if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") })
}

fn with_scheme(server: &str) -> String {
    let starts =
        |with: &str| server.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    // WebV looks at the first four letters only, so it takes the host `httpbin.org` for a URL with
    // a scheme. The test for `://` avoids that.
    if server.contains("://") {
        server.to_owned()
    } else if starts("localhost") || starts("127.0.0.1") {
        format!("http://{server}")
    } else {
        format!("https://{server}")
    }
}

const PORTS: &str = "expected a port from 1 to 65535";
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_http_for_the_local_host_and_https_for_all_else() {
        let url = |server| Target::parse(server).unwrap().to_string();
        assert_eq!(url("localhost:8080"), "http://localhost:8080");
        assert_eq!(url("127.0.0.1"), "http://127.0.0.1");
        assert_eq!(url("example.org"), "https://example.org");
        assert_eq!(url("httpbin.org"), "https://httpbin.org");
        assert_eq!(url("http://example.org"), "http://example.org");
    }

    #[test]
    fn finds_host_and_port() {
        let parts = |server| {
            let target = Target::parse(server).unwrap();
            (target.host().to_owned(), target.port(), target.is_https())
        };
        assert_eq!(parts("http://a.example"), ("a.example".to_owned(), 80, false));
        assert_eq!(parts("https://a.example/"), ("a.example".to_owned(), 443, true));
        assert_eq!(parts("http://[::1]:8080"), ("::1".to_owned(), 8080, false));
        assert_eq!(parts("http://[::1]"), ("::1".to_owned(), 80, false));
        assert_eq!(Target::parse("http://[::1]:1").unwrap().host_field(), "[::1]:1");
    }

    #[test]
    fn has_an_address_if_its_host_is_one() {
        let address = |server| Target::parse(server).unwrap().address();
        assert_eq!(address("http://a.example:81"), None);
        assert_eq!(address("http://10.0.0.1"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(address("http://[::1]:81"), Some("::1".parse().unwrap()));
    }

    #[test]
    fn keeps_the_path_of_the_base_apart() {
        assert_eq!(Target::parse("http://a/base/").unwrap().path(), "/base");
        assert_eq!(Target::parse("http://a/").unwrap().path(), "");
    }

    #[test]
    fn rejects_what_it_cannot_ask() {
        for server in [
            "",
            "http://",
            "ftp://a",
            "http://u:p@a",
            "http://a:0",
            "http://a:65536",
            "http://a:x",
            "http://a/?q",
            "http://a b",
        ] {
            assert!(Target::parse(server).is_err(), "{server}");
        }
    }

    #[test]
    fn a_url_prefix_begins_with_a_slash_and_does_not_end_with_one() {
        for (text, expected) in [("a", "/a"), ("/a/b/", "/a/b"), ("/", ""), ("", "")] {
            assert_eq!(url_prefix(text).as_deref(), Ok(expected));
        }
        for wrong in ["/a?b", "/a#b", "a b"] {
            assert!(url_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
