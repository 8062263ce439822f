//! What the environment says about proxies: which one a server is reached by, and the CONNECT that
//! opens a tunnel through it.

use std::fmt;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Target;

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    // User and password, in Base64 as the Basic scheme demands.
    credentials: Option<String>,
    variable: String,
}

/// The proxies of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    bypass: Vec<Bypass>,
    /// Messages about values that are set but cannot be used.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Bypass {
    Everything,
    /// A domain with all its subdomains, and a port if the entry has one.
    Domain(String, Option<u16>),
    /// An address and the length of the network's prefix.
    Network(IpAddr, u32),
}

impl Proxies {
    /// Reads `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, first in small letters and
    /// then in capitals. Under CGI, capitals are not read for http, because a client can set
    /// `HTTP_PROXY` there with a `Proxy` header field.
    pub(crate) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut proxies = Self::default();
        let is_cgi = variable("REQUEST_METHOD").is_some();
        let find = |names: &[&str]| {
            names.iter().find_map(|name| {
                let value = variable(name).map(|value| value.trim().to_owned())?;
                (!value.is_empty()).then(|| ((*name).to_owned(), value))
            })
        };
        let http: &[&str] = match is_cgi {
            true => &["http_proxy", "all_proxy"],
            false => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        proxies.http = proxies.usable(find(http));
        let https = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
        proxies.https = proxies.usable(find(&https));
        let bypass = find(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
        let entries = bypass.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
        proxies.bypass = entries.map(Bypass::parse).collect();
        proxies
    }

    /// The proxies of this process.
    pub(crate) fn of_process() -> Self {
        Self::of_environment(|name| {
            std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
        })
    }

    /// The proxy that `target` is reached by; `None` for this machine and for what `no_proxy`
    /// covers.
    pub(crate) fn for_target(&self, target: &Target) -> Option<&Proxy> {
        let proxy = if target.is_https() { &self.https } else { &self.http };
        let address = target.address();
        let is_local = target.host().eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.is_loopback());
        let bypassed = self.bypass.iter().any(|bypass| bypass.covers(target));
        proxy.as_ref().filter(|_| !is_local && !bypassed)
    }

    fn usable(&mut self, found: Option<(String, String)>) -> Option<Proxy> {
        let (variable, value) = found?;
        let proxy = Proxy::parse(&variable, &value);
        if proxy.is_none() {
            let warning = format!("{variable}: only proxies of http://HOST:PORT are used");
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        proxy
    }
}

impl Proxy {
    fn parse(variable: &str, value: &str) -> Option<Self> {
        let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let credentials =
            authority.as_str().rsplit_once('@').map(|(user, _)| STANDARD.encode(decoded(user)));
        if host.is_empty() {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(PROXY_PORT),
            credentials,
            variable: variable.to_owned(),
        })
    }

    /// The name or address to connect to.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The value of `Proxy-Authorization`, if the proxy wants one.
    pub(super) fn authorization(&self) -> Option<String> {
        self.credentials.as_ref().map(|credentials| format!("Basic {credentials}"))
    }

    /// Opens a tunnel to `target` over a connection to the proxy (RFC 9110 section 9.3.6).
    pub(super) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        target: &Target,
    ) -> Result<(), String> {
        let host = if target.host().contains(':') {
            format!("[{}]:{}", target.host(), target.port())
        } else {
            format!("{}:{}", target.host(), target.port())
        };
        let authorization = self.authorization();
        let authorization = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
        let authorization = authorization.unwrap_or_default();
        let head = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n");
        stream.write_all(head.as_bytes()).await.map_err(|error| error.to_string())?;
        match read_status(stream).await? {
            200..300 => Ok(()),
            status => Err(format!("it answers {status} to CONNECT {host}")),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.host, self.port, self.variable)
    }
}

impl Bypass {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::Everything;
        }
        let (address, length) = match entry.split_once('/') {
            Some((address, length)) => (address, length.parse().ok()),
            None => (entry, None),
        };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let all = if address.is_ipv4() { 32 } else { 128 };
            return Self::Network(address, length.unwrap_or(all).min(all));
        }
        let (domain, port) = match entry.split_once(':') {
            Some((domain, port)) => (domain, port.parse().ok()),
            None => (entry, None),
        };
        let domain = domain.trim_start_matches('*').trim_start_matches('.');
        Self::Domain(domain.to_ascii_lowercase(), port)
    }

    fn covers(&self, target: &Target) -> bool {
        match self {
            Self::Everything => true,
            Self::Network(network, length) => {
                target.address().is_some_and(|address| is_in(address, *network, *length))
            }
            Self::Domain(domain, port) => {
                let host = target.host().to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str());
                let inside = below.is_some_and(|below| below.is_empty() || below.ends_with('.'));
                inside && port.is_none_or(|port| port == target.port())
            }
        }
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let (address, network, all) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    length == 0 || (address ^ network) >> (all - length) == 0
}

// The server behind a tunnel does not speak first, so nothing follows the head of the answer.
async fn read_status(stream: &mut TcpStream) -> Result<u16, String> {
    let mut head = Vec::with_capacity(256);
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&head) {
            // Interim answers may come before the final one (RFC 9110 15.2), even with it in one
            // segment.
            Ok(httparse::Status::Complete(length)) => match response.code.unwrap_or(0) {
                100..=199 => {
                    head.drain(..length);
                    continue;
                }
                code => return Ok(code),
            },
            Ok(httparse::Status::Partial) if head.len() < HEAD_BYTES_MAX => {}
            Ok(httparse::Status::Partial) => return Err("its answer is too large".to_owned()),
            Err(error) => return Err(format!("its answer is not HTTP: {error}")),
        }
        if stream.read_buf(&mut head).await.map_err(|error| error.to_string())? == 0 {
            return Err("it closed the connection before its answer".to_owned());
        }
    }
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        // The parser would also take a sign.
        let hex = after.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

// The port that curl uses if none is given.
const PROXY_PORT: u16 = 1080;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::of_environment(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn used(proxies: &Proxies, target: &str) -> Option<String> {
        proxies.for_target(&Target::parse(target).unwrap()).map(Proxy::to_string)
    }

    #[test]
    fn each_scheme_has_its_variables_and_small_letters_win() {
        let set =
            [("http_proxy", "http://p:3128/"), ("HTTPS_PROXY", "q:8080"), ("HTTP_PROXY", "x")];
        let found = proxies(&set);
        assert_eq!(used(&found, "http://a").unwrap(), "p:3128 (http_proxy)");
        assert_eq!(used(&found, "https://a").unwrap(), "q:8080 (HTTPS_PROXY)");
        let all = proxies(&[("all_proxy", "http://p:1")]);
        assert_eq!(used(&all, "https://a").unwrap(), "p:1 (all_proxy)");
        assert_eq!(used(&proxies(&[]), "http://a"), None);
        let cgi = proxies(&[("HTTP_PROXY", "http://p:1"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(used(&cgi, "http://a"), None);
    }

    #[test]
    fn loopback_and_no_proxy_hosts_are_reached_directly() {
        let set = [
            ("http_proxy", "p:1"),
            ("no_proxy", "example.org, .svc,10.0.0.0/8,port.test:81,fd00::/8,192.168.1.7"),
        ];
        let found = proxies(&set);
        for (target, direct) in [
            ("http://localhost", true),
            ("http://127.0.0.9:8080", true),
            ("http://[::1]", true),
            ("http://example.org", true),
            ("http://A.Example.org", true),
            ("http://notexample.org", false),
            ("http://a.b.svc", true),
            ("http://10.255.0.1", true),
            ("http://11.0.0.1", false),
            ("http://port.test:81", true),
            ("http://port.test:82", false),
            ("http://[fd12::1]", true),
            ("http://[fe80::1]", false),
            ("http://192.168.1.7", true),
            ("http://192.168.1.8", false),
        ] {
            assert_eq!(used(&found, target).is_none(), direct, "{target}");
        }
        assert_eq!(used(&proxies(&[("http_proxy", "p:1"), ("NO_PROXY", "*")]), "http://a"), None);
    }

    #[test]
    fn warns_of_a_proxy_that_is_not_http() {
        let found = proxies(&[("all_proxy", "socks5://p:1080")]);
        assert_eq!(used(&found, "http://a"), None);
        assert_eq!(found.warnings, ["all_proxy: only proxies of http://HOST:PORT are used"]);
    }

    /// The status that a proxy answers with, if it sends `parts` one after the other and closes.
    async fn status_of(parts: &[&str]) -> Result<u16, String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut proxy, _) = listener.accept().await.unwrap();
        let answering = async {
            for part in parts {
                proxy.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(proxy);
        };
        tokio::join!(read_status(&mut stream), answering).0
    }

    #[tokio::test]
    async fn interim_answers_before_the_final_one_are_skipped() {
        let early = "HTTP/1.1 100 Continue\r\n\r\n";
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
        let (good, bad) = ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 407 X\r\nA: b\r\n\r\n");
        let joined = [early, hint, good].concat();
        let halves = joined.split_at(30);
        for (parts, status) in [
            (&[good][..], 200),
            (&[early, good], 200),
            (&[early, hint, bad], 407),
            (&[joined.as_str()], 200),
            (&[halves.0, halves.1], 200),
        ] {
            assert_eq!(status_of(parts).await, Ok(status), "{parts:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_complete_or_not_http_is_an_error() {
        let (early, part) = ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n");
        for parts in [&[""][..], &[early], &[part], &[early, part]] {
            let why = status_of(parts).await.unwrap_err();
            assert_eq!(why, "it closed the connection before its answer", "{parts:?}");
        }
        let why = status_of(&["220 ready\r\n"]).await.unwrap_err();
        assert!(why.starts_with("its answer is not HTTP: "), "{why}");
    }

    #[tokio::test]
    async fn an_answer_has_at_most_so_many_bytes() {
        let (start, end) = ("HTTP/1.1 200 OK\r\nA: ", "\r\n\r\n");
        let fits = HEAD_BYTES_MAX - start.len() - end.len();
        for (length, expected) in
            [(fits, Ok(200)), (fits + 1, Err("its answer is too large".to_owned()))]
        {
            let answer = format!("{start}{}{end}", "a".repeat(length));
            assert_eq!(status_of(&[answer.as_str()]).await, expected, "{length}");
        }
    }

    #[test]
    fn credentials_are_encoded_as_rfc_7617_does() {
        let found = Proxy::parse("http_proxy", "http://Aladdin:open%20sesame@p:1").unwrap();
        assert_eq!(found.authorization().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
