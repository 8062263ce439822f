//! Owns `heartbeat healthcheck`: one request, and whether the status of its answer is 200. A
//! `scratch` image has no curl for that.
//!
//! Names are not resolved: the resolver of the C library would be two thirds of the binary.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::failure::{Failure, quoted};
use crate::settings::Settings;
use crate::values;

/// The limit for the whole check, from the first connect to the last byte of the status line. A
/// probe of Kubernetes waits one second by default, and test harnesses rarely wait more than three.
const LIMIT: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read. The status line of any server is far shorter.
const ANSWER_BYTES_MAX: usize = 1024;

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// The scheme in which Kubernetes writes the addresses of services, as in `tcp://10.0.0.1:8080`.
const SERVICE_SCHEME: &str = "tcp";

const HEALTH_PATH: &str = "/healthz";

const URL_FORM: &str = "expected http://IP[:PORT][/PATH] or tcp://IP:PORT[/PATH], with localhost \
                        (::1, then 127.0.0.1) or an address for IP; other names are not resolved";

/// Checks the server at a URL, by default the one on this host.
///
/// # Errors
/// The URL is not valid, no answer comes in time, or its status is not 200. The exit code is always
/// 1: container engines know no other one for a check that has failed.
pub(crate) fn run(url: Option<&str>, settings: &Settings<'_>) -> Result<(), Failure> {
    check(url, settings).map_err(Failure::into_fault)
}

fn check(url: Option<&str>, settings: &Settings<'_>) -> Result<(), Failure> {
    let is_default = url.is_none();
    let url = match url {
        Some(url) => url.to_owned(),
        None => default_url(settings.port()?)?,
    };
    let Some(mut target) = Target::parse(&url) else {
        return Err(Failure::usage(format_args!("healthcheck {}", quoted(&url)), URL_FORM));
    };
    if is_default {
        target.try_ipv6_too();
    }
    match target.ask(Instant::now() + LIMIT) {
        Ok(200) => Ok(()),
        Ok(status) => Err(format!("answered {status}, not 200")),
        Err(error) => Err(cause(&error)),
    }
    .map_err(|cause| Failure::fault(format_args!("healthcheck {url}"), cause))
}

fn default_url(port: u16) -> Result<String, Failure> {
    if port == 0 {
        return Err(Failure::usage("healthcheck with HB_PORT=0", "expected a URL with the port"));
    }
    Ok(format!("http://{}:{port}{HEALTH_PATH}", Ipv4Addr::LOCALHOST))
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        // Linux reports EAGAIN if a socket's timeout has passed.
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {LIMIT:?}")
        }
        _ => error.to_string(),
    }
}

/// Which addresses are asked, and for which path.
#[derive(Debug, PartialEq, Eq)]
struct Target<'u> {
    authority: &'u str,
    /// They are tried in this order until one accepts the connection.
    addresses: Vec<SocketAddr>,
    /// With the query; without a first slash if the URL has none.
    path: &'u str,
}

impl<'u> Target<'u> {
    fn parse(url: &'u str) -> Option<Self> {
        // Other bytes would need an encoding, and a line feed would add fields to the request.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let is_service = scheme.eq_ignore_ascii_case(SERVICE_SCHEME);
        if !is_service && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = match (is_service, path) {
            (true, "") => HEALTH_PATH,
            (_, path) => path,
        };
        // The last colon may be inside an IPv6 address, which then ends with a bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, values::port(port).ok()?),
            _ => (authority, HTTP_PORT),
        };
        if port == 0 {
            return None;
        }
        let addresses = hosts(host)?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        Some(Self { authority, addresses, path })
    }

    /// Adds ::1 after 127.0.0.1, because a host may have no IPv4.
    fn try_ipv6_too(&mut self) {
        let port = self.addresses.first().map(SocketAddr::port);
        self.addresses.extend(port.map(|port| SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
    }

    /// Sends the request, and returns the status of the answer if it comes before `deadline`.
    fn ask(&self, deadline: Instant) -> io::Result<u16> {
        let mut stream = self.connect(deadline)?;
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let request = format!(
            "GET {slash}{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n",
            path = self.path,
            authority = self.authority,
        );
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(request.as_bytes())?;
        read_status(&mut stream, deadline)
    }

    fn connect(&self, deadline: Instant) -> io::Result<TcpStream> {
        let mut refusal = None;
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, left(deadline)?) {
                Ok(stream) => return Ok(stream),
                // The error of the first address is reported, because servers usually listen there.
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }
}

fn hosts(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
    }
    let ip = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ip) => IpAddr::V6(ip.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some(vec![ip])
}

/// The time that is left for the next read or write. A peer that sends slowly cannot extend it.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn read_status(stream: &mut TcpStream, deadline: Instant) -> io::Result<u16> {
    let mut answer = [0; ANSWER_BYTES_MAX];
    let mut filled = 0;
    while filled < answer.len() && !answer[..filled].contains(&b'\n') {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut answer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    status(&answer[..filled])
        .ok_or_else(|| io::Error::other(format!("{} bytes without an HTTP status line", filled)))
}

/// The status code of an answer that begins with a whole status line (RFC 9112 section 4).
fn status(answer: &[u8]) -> Option<u16> {
    let line =
        answer.split(|byte| *byte == b'\n').next().filter(|line| line.len() < answer.len())?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0'..=b'9', b' ', code @ ..] = rest else { return None };
    let (code, reason) = code.split_at_checked(3)?;
    if !matches!(reason, [] | [b' ' | b'\r', ..]) || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(code).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls_of_addresses() {
        let cases = [
            ("http://127.0.0.1:8080/healthz", "127.0.0.1:8080", "/healthz"),
            ("HTTP://10.0.0.1", "10.0.0.1:80", ""),
            ("http://10.0.0.1/a:b?c=d", "10.0.0.1:80", "/a:b?c=d"),
            ("http://10.0.0.1:1?c", "10.0.0.1:1", "?c"),
            ("http://[::1]/", "[::1]:80", "/"),
            ("http://[fd00::1]:65535/x", "[fd00::1]:65535", "/x"),
            ("tcp://10.0.0.1:8080", "10.0.0.1:8080", "/healthz"),
            ("TCP://[::1]:1", "[::1]:1", "/healthz"),
            ("tcp://[fd00::1]:8080/a/healthz", "[fd00::1]:8080", "/a/healthz"),
        ];
        for (url, address, path) in cases {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.addresses, [address.parse().unwrap()], "{url}");
            assert_eq!(target.path, path, "{url}");
        }
    }

    #[test]
    fn tries_both_addresses_of_localhost() {
        let target = Target::parse("http://LocalHost:81/").unwrap();
        let expected = ["[::1]:81", "127.0.0.1:81"].map(|address| address.parse().unwrap());
        assert_eq!(target.addresses, expected);
        assert_eq!(target.authority, "LocalHost:81");
    }

    #[test]
    fn asks_both_loopback_addresses_by_default() {
        let url = default_url(81).unwrap();
        let mut target = Target::parse(&url).unwrap();
        target.try_ipv6_too();
        let expected = ["127.0.0.1:81", "[::1]:81"].map(|address| address.parse().unwrap());
        assert_eq!(target.addresses, expected);
    }

    #[test]
    fn refuses_everything_else() {
        let urls = [
            "",
            "http",
            "http://",
            "http:///healthz",
            "127.0.0.1:8080",
            "https://127.0.0.1/",
            "ftp://127.0.0.1/",
            "tcp://example.com:1",
            "tcp://example.com:1/healthz",
            "tcp:127.0.0.1",
            "http://example.com/",
            "http://::1/",
            "http://[127.0.0.1]/",
            "http://[::1/",
            "http://[::1]x/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:+80/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1/#top",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\r\nHost: other",
            "http://127.0.0.1/é",
            "http:/\u{fffd}/",
        ];
        for url in urls {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }

    #[test]
    fn reads_the_code_of_a_whole_status_line_only() {
        for line in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 200\r\n", "HTTP/1.1 200 \nrest"] {
            assert_eq!(status(line.as_bytes()), Some(200), "{line}");
        }
        assert_eq!(status(b"HTTP/1.1 503 Service Unavailable\r\n"), Some(503));
        let lines = ["", "\n", "HTTP/1.1 200", "HTTP/2 200 \n", "HTTP/1.1 2000\n", "HTTP/1.1 20\n"];
        for line in lines.into_iter().chain(["HTTP/1.1 +20 \n", "SSH-2.0\n", "HTTP/1.1200 \n"]) {
            assert_eq!(status(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn asks_for_a_url_if_the_port_is_unknown() {
        assert_eq!(default_url(81), Ok("http://127.0.0.1:81/healthz".to_owned()));
        assert!(default_url(0).unwrap_err().to_string().contains("HB_PORT=0"));
    }
}
