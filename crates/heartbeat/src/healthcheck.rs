//! Owns `heartbeat healthcheck`: one request, and whether the status of its answer is 200. A
//! `scratch` image has no curl for that.
//!
//! Names are not resolved: the resolver of the C library would be two thirds of the binary.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::failure::{Failure, quoted};
use crate::settings::Settings;
use crate::values;

/// The limit for the whole check, from the first connect to the last byte of the status line. A
/// probe of Kubernetes waits one second by default, and test harnesses rarely wait more than three.
const LIMIT: Duration = Duration::from_secs(2);

/// Most bytes of an answer that are read. The status line of any server is far shorter.
const ANSWER_BYTES_MAX: u64 = 1024;

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

/// The scheme in which Kubernetes writes the addresses of services, as in `tcp://10.0.0.1:8080`.
const SERVICE_SCHEME: &str = "tcp";

/// The path of a URL that has none.
const HEALTH_PATH: &str = "/healthz";

const URL_FORM: &str = "expected http://IP[:PORT][/PATH] or tcp://IP:PORT[/PATH], with localhost \
                        (::1, then 127.0.0.1) or an address for IP; other names are not resolved";

/// Checks the server at a URL, by default the one on this host.
///
/// # Errors
/// The URL is not valid, no answer comes in time, or its status is not 200. The exit code is always
/// 1: container engines know no other one for a check that has failed.
pub(crate) fn run(url: Option<&String>, settings: &Settings<'_>) -> Result<ExitCode, Failure> {
    check(url, settings).map(|()| ExitCode::SUCCESS).map_err(Failure::into_fault)
}

fn check(url: Option<&String>, settings: &Settings<'_>) -> Result<(), Failure> {
    let is_default = url.is_none();
    let url = url.map_or_else(|| default_url(settings.port()?), |url| Ok(url.clone()))?;
    let Some(mut target) = Target::parse(&url) else {
        return Err(Failure::usage(format_args!("healthcheck {}", quoted(&url)), URL_FORM));
    };
    if is_default {
        target.try_ipv6_too();
    }
    let (sender, receiver) = mpsc::channel();
    let asking = thread::Builder::new().spawn(move || sender.send(target.ask()));
    let cause = match asking.map(|_| receiver.recv_timeout(LIMIT)) {
        Ok(Ok(Ok(200))) => return Ok(()),
        Ok(Ok(Ok(status))) => format!("answered {status}, not 200"),
        Ok(Ok(Err(error))) | Err(error) => error.to_string(),
        // The thread may still wait. It ends with the program.
        Ok(Err(_)) => format!("no answer within {LIMIT:?}"),
    };
    Err(Failure::fault(format_args!("healthcheck {url}"), cause))
}

fn default_url(port: u16) -> Result<String, Failure> {
    if port == 0 {
        return Err(Failure::usage("healthcheck with HB_PORT=0", "expected a URL with the port"));
    }
    Ok(format!("http://{}:{port}{HEALTH_PATH}", Ipv4Addr::LOCALHOST))
}

/// Which addresses are asked, and for which path.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    authority: String,
    /// They are tried in this order until one accepts the connection.
    addresses: Vec<SocketAddr>,
    /// With the query; without a first slash if the URL has only a query.
    path: String,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        // Other bytes would need an encoding, and a line feed would add fields to the request.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        if !["http", SERVICE_SCHEME].iter().any(|allowed| scheme.eq_ignore_ascii_case(allowed)) {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.is_empty() { HEALTH_PATH } else { path };
        // The last colon may be inside an IPv6 address, which then ends with a bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, values::port(port).ok()?),
            _ => (authority, HTTP_PORT),
        };
        if port == 0 {
            return None;
        }
        let addresses = hosts(host)?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        Some(Self { authority: authority.to_owned(), addresses, path: path.to_owned() })
    }

    /// Adds ::1 after 127.0.0.1, because a host may have no IPv4.
    fn try_ipv6_too(&mut self) {
        let port = self.addresses.first().map(SocketAddr::port);
        self.addresses.extend(port.map(|port| SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
    }

    /// Sends the request, and returns the status of the answer.
    fn ask(&self) -> io::Result<u16> {
        // The error of the first address is reported, because servers usually listen there.
        let mut stream = TcpStream::connect(&self.addresses[..1])
            .or_else(|error| TcpStream::connect(&self.addresses[1..]).map_err(|_| error))?;
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let request = format!(
            "GET {slash}{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n",
            path = self.path,
            authority = self.authority,
        );
        stream.write_all(request.as_bytes())?;
        let mut line = Vec::new();
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut line)?;
        status(&line).ok_or_else(|| {
            io::Error::other(format!("{} bytes without an HTTP status line", line.len()))
        })
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

/// The status code of a whole status line (RFC 9112 section 4).
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_suffix(b"\n")?.strip_prefix(b"HTTP/1.")?;
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
            ("HTTP://10.0.0.1", "10.0.0.1:80", "/healthz"),
            ("http://[::1]:8080", "[::1]:8080", "/healthz"),
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
        for line in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 200\r\n", "HTTP/1.1 200 \n"] {
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
