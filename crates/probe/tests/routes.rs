//! Ways to reach a server: fixed addresses, every address of a name, proxies.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod authority;
mod process;
mod stub;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use process::{Background, Folder, ask, finish, free_port, program, run, wait_for};
use rcgen::CertificateParams;
use stub::{Reply, Stub, answer};

const FILE: &str = r#"{"requests": [{"path": "/", "validation": {}}]}"#;

fn ok() -> Stub {
    Stub::start(|_| Reply::Raw(answer(200, "application/json", "{}")))
}

#[test]
fn an_address_of_resolve_replaces_that_of_the_name() {
    let stub = ok();
    let port = stub.port();
    let server = format!("http://name.invalid:{port}");
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let outcome = ask(&server, FILE, &["--resolve", &fixed]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(stub.seen()[0].headers["host"], format!("name.invalid:{port}"));
}

#[test]
fn an_invalid_resolve_is_rejected() {
    let outcome = run(&Folder::new(), &["-s", "http://a", "-f", "f", "--resolve", "a:80"]);
    assert_eq!(outcome.code, 1);
    let told = "--resolve a:80: not allowed: expected HOST:PORT:ADDRESS";
    assert!(outcome.err.contains(told), "{outcome:?}");
}

/// The exit code, the requests that a proxy sees for a server, and the messages.
fn by_proxy(server: &str, variables: &[(&str, &str)], more: &[&str]) -> (i32, String, String) {
    let folder = Folder::new();
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", server, "-f", &file, "-g", "Json", "--verbose-errors"]).args(more);
    let outcome = finish(command.envs(variables.iter().copied()));
    (outcome.code, outcome.out, outcome.err)
}

#[test]
fn a_proxy_is_asked_for_the_whole_url_and_reported() {
    let proxy = ok();
    let url = proxy.url().replace("http://", "http://user:secret@");
    let (code, _, told) = by_proxy("http://name.invalid:81", &[("http_proxy", &url)], &[]);
    assert_eq!(code, 0, "{told}");
    let seen = proxy.seen().remove(0);
    assert_eq!(seen.path, "http://name.invalid:81/");
    assert_eq!(seen.headers["host"], "name.invalid:81");
    assert_eq!(seen.headers["proxy-authorization"], "Basic dXNlcjpzZWNyZXQ=");
    assert!(told.contains("is reached by the proxy 127.0.0.1:"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_tunnel_is_opened_by_connect_and_its_rejection_reported() {
    let proxy = Stub::start(|_| Reply::RawClose(answer(403, "", "")));
    let (code, out, told) =
        by_proxy("https://name.invalid", &[("https_proxy", &proxy.url())], &["--insecure"]);
    assert_eq!(code, 1, "{told}");
    let seen = proxy.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("CONNECT", "name.invalid:443"));
    assert!(out.contains("cannot be used: it answers 403 to CONNECT name.invalid:443"), "{out}");
}

/// A proxy that answers to every CONNECT and carries the bytes of its tunnels to and from `port`.
/// Returns its URL.
fn tunnels(answer: &'static str, port: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            std::thread::spawn(move || tunnel(client.unwrap(), answer, port));
        }
    });
    url
}

fn tunnel(mut client: TcpStream, answer: &str, port: u16) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"CONNECT name.invalid:"), "{head:?}");
    client.write_all(answer.as_bytes()).unwrap();
    let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Write);
}

#[test]
fn https_passes_through_a_tunnel_and_its_certificate_is_that_of_the_server() {
    let params = CertificateParams::new(vec!["name.invalid".to_owned()]).unwrap();
    let (acceptor, authority) = authority::acceptor("authority", &params);
    let script = |_: &stub::Seen| Reply::Raw(answer(200, "application/json", "{}"));
    let stub = Stub::start_with(Some(acceptor), script);
    let folder = Folder::new();
    let ca = folder.file("ca.pem", &authority);
    let server = format!("https://name.invalid:{}", stub.port());
    let replies = [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let proxy = tunnels(reply, stub.port());
        let variables = [("https_proxy", proxy.as_str())];
        let (code, out, told) = by_proxy(&server, &variables, &["--ca-file", &ca, "-t", "60"]);
        assert_eq!(code, 0, "{reply}: {out} {told}");
        assert!(told.contains("is reached by the proxy 127.0.0.1:"), "{told}");
        let seen = stub.seen();
        assert_eq!(seen.len(), number + 1);
        assert_eq!((seen[number].method.as_str(), seen[number].path.as_str()), ("GET", "/"));
        assert_eq!(seen[number].headers["host"], format!("name.invalid:{}", stub.port()));
    }
    let other = folder.file("other.pem", &authority::acceptor("other", &params).1);
    let proxy = tunnels("HTTP/1.1 200 OK\r\n\r\n", stub.port());
    let variables = [("https_proxy", proxy.as_str())];
    let (code, out, _) = by_proxy(&server, &variables, &["--ca-file", &other]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("TLS with name.invalid failed"), "{out}");
}

#[test]
fn a_load_asks_the_server_directly_and_reports_it() {
    let (stub, proxy, folder) = (ok(), ok(), Folder::new());
    let port = stub.port();
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let server = format!("http://name.invalid:{port}/");
    let mut command = program(&folder);
    command.args(["load", &server, "-n", "1", "--resolve", &fixed]).env("http_proxy", proxy.url());
    let outcome = finish(&mut command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!((stub.seen().len(), proxy.seen().len()), (1, 0));
    let told = format!("warning: http://name.invalid:{port} is asked directly, not by the proxy");
    assert!(outcome.err.contains(&told), "{outcome:?}");
}

#[test]
fn a_host_in_no_proxy_is_asked_directly() {
    let (stub, proxy) = (ok(), ok());
    let variables = [("http_proxy", proxy.url()), ("no_proxy", "invalid".to_owned())];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let port = stub.port();
    let fixed = format!("name.invalid:{port}:127.0.0.1");
    let server = format!("http://name.invalid:{port}");
    assert_eq!(by_proxy(&server, &variables, &["--resolve", &fixed]).0, 0);
    assert_eq!((stub.seen().len(), proxy.seen().len()), (1, 0));
}

#[test]
fn cookies_are_sent_back_only_if_asked_for() {
    for (more, expected) in [(&[][..], None), (&["--cookies"], Some("id=7".to_owned()))] {
        let stub = Stub::start(|_| {
            let head = "HTTP/1.1 200 OK\r\nSet-Cookie: id=7; Path=/\r\nContent-Length: 0\r\n\r\n";
            Reply::Raw(head.as_bytes().to_vec())
        });
        let file = r#"{"requests": [{"path": "/"}, {"path": "/"}]}"#;
        assert_eq!(ask(&stub.url(), file, more).code, 0);
        let sent: Vec<_> =
            stub.seen().iter().map(|seen| seen.headers.get("cookie").cloned()).collect();
        assert_eq!(sent, [None, expected]);
    }
}

#[test]
fn every_address_of_a_name_is_asked_and_has_a_label() {
    let answering = |_: &stub::Seen| Reply::Raw(answer(200, "application/json", "{}"));
    let first = Stub::start(answering);
    let port = first.port();
    let others =
        [2, 3].map(|last| Stub::start_at(([127, 0, 0, last], port).into(), None, answering));
    let (folder, own) = (Folder::new(), free_port());
    let file = folder.file("t.json", FILE);
    let server = format!("http://name.invalid:{port}");
    let fixed = format!("name.invalid:{port}:127.0.0.1,127.0.0.2,127.0.0.3");
    let mut command = program(&folder);
    command.args(["-s", &server, "-f", &file, "-r", "-p", &own.to_string(), "-l", "50"]);
    command.args(["--resolve-all", "--resolve", &fixed, "-v", "-g", "Json"]);
    let mut background = Background::start(&mut command);
    let label = |last: u8| format!("address=\"127.0.0.{last}:{port}\"");
    let has = |page: &str, name: &str, last| {
        page.lines().any(|line| line.starts_with(name) && line.contains(&label(last)))
    };
    wait_for(own, |page| {
        (1..=3).all(|last| {
            has(page, "WebVDuration_count", last)
                && has(page, "WebVSummary_count", last)
                && has(page, "heartbeat_probe_request_duration_seconds_count", last)
        })
    });
    for stub in [&first].into_iter().chain(&others) {
        assert_eq!(stub.seen()[0].headers["host"], format!("name.invalid:{port}"));
    }
    background.line();
    let line: serde_json::Value = serde_json::from_str(&background.line()).unwrap();
    assert!(line["Address"].as_str().unwrap().starts_with("127.0.0."), "{line}");
    assert_eq!(line["Server"], server);
}

#[test]
fn a_name_without_address_is_reported_even_with_resolve_all() {
    let (folder, own) = (Folder::new(), free_port());
    let file = folder.file("t.json", FILE);
    let mut command = program(&folder);
    command.args(["-s", "http://no-such-host.invalid", "-f", &file, "-r"]);
    command.args(["-p", &own.to_string(), "-l", "100", "--resolve-all", "-t", "300"]);
    let _background = Background::start(&mut command);
    wait_for(own, |page| {
        let line = page.lines().find(|line| line.contains("kind=\"resolve\""));
        line.is_some_and(|line| !line.ends_with(" 0"))
    });
}
