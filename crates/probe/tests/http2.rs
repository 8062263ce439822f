//! HTTP/2: known beforehand, or agreed upon in the TLS handshake.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod authority;
mod process;

use std::io::{Read, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};

use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use process::{Background, Folder, Outcome, ask, finish, free_port, program, run, unless_starved};
use rcgen::CertificateParams;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// What a server has seen of a request.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    version: Version,
    connection: usize,
    /// The method, the URI with its authority, and the `Host` field, as the server sees them.
    request: String,
    body_length: u64,
}

/// What a server does.
#[derive(Clone, Default)]
struct Ways {
    /// TLS, and the protocols that it accepts.
    tls: Option<(TlsAcceptor, &'static [&'static [u8]])>,
    /// Without TLS: whether HTTP/2 is spoken.
    knows_http2: bool,
    /// After so many requests the server says that the connection ends.
    requests_max: Option<usize>,
}

/// A server that answers a path which ends in a number with so many bytes of the pattern.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    fn start(ways: Ways) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (send, port) = std::sync::mpsc::channel();
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap().port()).unwrap();
                for connection in 0.. {
                    let (tcp, _) = listener.accept().await.unwrap();
                    tokio::spawn(connect(tcp, ways.clone(), connection, Arc::clone(&shared)));
                }
            });
        });
        Self { port: port.recv().unwrap(), seen }
    }

    fn known() -> Self {
        Self::start(Ways { knows_http2: true, ..Ways::default() })
    }

    /// A server with TLS that accepts these protocols, and the certificate of its authority.
    fn secure(protocols: &'static [&'static [u8]]) -> (Self, String) {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (acceptor, authority) = authority::acceptor("authority", &params);
        (Self::start(Ways { tls: Some((acceptor, protocols)), ..Ways::default() }), authority)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn versions(&self) -> Vec<Version> {
        self.seen().iter().map(|seen| seen.version).collect()
    }
}

async fn connect(
    tcp: tokio::net::TcpStream,
    ways: Ways,
    connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let Some((acceptor, protocols)) = &ways.tls else {
        return serve(tcp, ways.knows_http2, ways.requests_max, connection, seen).await;
    };
    let mut config = ServerConfig::clone(acceptor.config());
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    if let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(tcp).await {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, is_http2, ways.requests_max, connection, seen).await;
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
    requests_max: Option<usize>,
    connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let answered = Arc::new(tokio::sync::Notify::new());
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let all = Arc::clone(&answered);
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, all, count) = (Arc::clone(&seen), Arc::clone(&all), Arc::clone(&count));
        async move {
            let answer = answer(request, connection, &seen).await;
            let before = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if Some(before + 1) == requests_max {
                all.notify_one();
            }
            Ok::<_, hyper::Error>(answer)
        }
    });
    if !is_http2 {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        return;
    }
    let builder = http2::Builder::new(TokioExecutor::new());
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = served.as_mut() => return,
        () = answered.notified() => served.as_mut().graceful_shutdown(),
    }
    let _ = served.await;
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    seen: &Mutex<Vec<Seen>>,
) -> Response<String> {
    let (head, mut body) = request.into_parts();
    let mut body_length = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        body_length += frame.unwrap().data_ref().map_or(0, |bytes| bytes.len() as u64);
    }
    let host = head.headers.get("host").map_or("-", |host| host.to_str().unwrap());
    let request = format!("{} {} {host}", head.method, head.uri);
    let seen_now = Seen { version: head.version, connection, request, body_length };
    seen.lock().unwrap().push(seen_now);
    let length = head.uri.path().rsplit('/').next().unwrap().parse().unwrap_or(0_usize);
    let pattern = "0123456789ABCDEF".repeat(length / 16 + 1);
    Response::builder()
        .header("content-type", "text/plain")
        .body(pattern[..length].to_owned())
        .unwrap()
}

const THREE: &str = r#"{"requests": [
    {"path": "/heartbeat/17", "validation": {"contentType": "text/plain", "length": 17}},
    {"path": "/heartbeat/1048576", "validation": {"contentType": "text/plain", "length": 1048576}},
    {"path": "/heartbeat/1", "verb": "POST", "body": "four",
        "validation": {"contentType": "text/plain", "exactMatch": "0"}}
]}"#;

#[test]
fn a_server_without_tls_is_asked_in_http_2_if_a_user_says_so() {
    let server = Server::known();
    let outcome = ask(&server.url(), THREE, &["--http", "2"]);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    let (seen, url) = (server.seen(), server.url());
    let requests: Vec<_> = seen.iter().map(|seen| seen.request.clone()).collect();
    let expected = [
        format!("GET {url}/heartbeat/17 -"),
        format!("GET {url}/heartbeat/1048576 -"),
        format!("POST {url}/heartbeat/1 -"),
    ];
    assert_eq!(requests, expected);
    assert_eq!(server.versions(), [Version::HTTP_2; 3]);
    assert!(seen.iter().all(|seen| seen.connection == 0), "one connection for all: {seen:?}");
    assert_eq!(seen[2].body_length, 4);
}

#[test]
fn a_host_that_a_test_file_sets_is_the_authority() {
    let server = Server::known();
    let file = r#"{"requests": [{"path": "/heartbeat/1", "headers": {"Host": "a.example:81"},
        "validation": {"contentType": "text/plain"}}]}"#;
    let outcome = ask(&server.url(), file, &["--http", "2"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(server.seen()[0].request, "GET http://a.example:81/heartbeat/1 -");
}

/// The versions in which a server with TLS that accepts `protocols` was asked.
fn asked_in(protocols: &'static [&'static [u8]], options: &[&str]) -> (Vec<Version>, Outcome) {
    let (server, authority) = Server::secure(protocols);
    let folder = Folder::new();
    let (file, ca) = (folder.file("t.json", THREE), folder.file("ca.pem", &authority));
    let url = format!("https://localhost:{}", server.port);
    let all =
        [&["-s", &url, "-f", &file, "--ca-file", &ca, "-v", "--verbose-errors"], options].concat();
    let outcome = run(&folder, &all);
    (server.versions(), outcome)
}

#[test]
fn a_server_with_tls_chooses_the_version() {
    const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
    const ONE: &[&[u8]] = &[b"http/1.1"];
    for (protocols, options, expected) in [
        (BOTH, &[][..], Version::HTTP_11),
        (BOTH, &["--http", "1.1"], Version::HTTP_11),
        (BOTH, &["--http", "auto"], Version::HTTP_2),
        (BOTH, &["--http", "2"], Version::HTTP_2),
        (BOTH, &["--compat", "8"], Version::HTTP_2),
        (BOTH, &["--compat", "8", "--http", "1.1"], Version::HTTP_11),
        (ONE, &["--http", "auto"], Version::HTTP_11),
        (&[], &["--http", "auto"], Version::HTTP_11),
    ] {
        let (versions, outcome) = asked_in(protocols, options);
        assert_eq!((outcome.code, versions), (0, vec![expected; 3]), "{options:?} {outcome:?}");
    }
}

#[test]
fn a_server_without_http_2_is_an_error_if_only_that_is_accepted() {
    const ONE: &[&[u8]] = &[b"http/1.1"];
    for protocols in [ONE, &[]] {
        let (versions, outcome) = asked_in(protocols, &["--http", "2"]);
        assert_eq!((outcome.code, versions), (3, vec![]), "{outcome:?}");
        let why = "TLS with localhost failed: the server does not offer HTTP/2";
        assert!(outcome.out.contains(why), "{outcome:?}");
    }
    let plain = Server::start(Ways::default());
    let outcome = ask(&plain.url(), THREE, &["--http", "2", "-v", "--verbose-errors"]);
    assert_eq!((outcome.code, plain.seen()), (3, vec![]), "{outcome:?}");
    assert!(
        outcome.out.contains("Exception: the server does not answer in HTTP/2 without TLS: "),
        "{outcome:?}"
    );
}

#[test]
fn a_connection_that_the_server_ends_between_two_requests_is_replaced() {
    let ways = Ways { knows_http2: true, requests_max: Some(2), ..Ways::default() };
    let server = Server::start(ways);
    let folder = Folder::new();
    // The server says so while a long answer is on its way.
    let url = format!("{}/heartbeat/1048576", server.url());
    let more = ["load", &url, "--http", "2", "-n", "40", "-c", "1", "--rate", "50", "--json"];
    let outcome = unless_starved(|| run(&folder, &more));
    let result: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((outcome.code, &result["failed"]), (0, &Value::from(0)), "{outcome:?}");
    let seen = server.seen();
    assert!(seen.iter().any(|seen| seen.connection > 10), "{seen:?}");
}

#[test]
fn a_load_is_sent_in_http_2_and_its_bodies_are_checked() {
    let server = Server::known();
    let folder = Folder::new();
    let url = format!("{}/heartbeat/65536", server.url());
    let more = ["load", &url, "--http", "2", "-n", "40", "-c", "4", "--body-size", "1M"];
    let outcome = unless_starved(|| run(&folder, &more));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.body_length == 1 << 20), "{seen:?}");
    assert!(seen.iter().all(|seen| seen.version == Version::HTTP_2), "{seen:?}");
    let wrong = format!("{}/heartbeat/5x", server.url());
    let more = ["load", &wrong, "--http", "2", "-n", "4", "--check", "--timeout", "5s"];
    assert_eq!(run(&folder, &more).code, 0, "an empty body is a whole pattern");
}

#[test]
fn a_version_that_does_not_exist_is_rejected() {
    for (arguments, told) in [
        (
            &["-s", "http://a", "-f", "f", "--http", "3"][..],
            "--http 3: not allowed: expected 1.1, 2 or auto",
        ),
        (&["load", "http://a", "--http", "3"], "--http 3: not allowed: expected 1.1, 2 or auto"),
    ] {
        let outcome = run(&Folder::new(), arguments);
        assert_ne!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.err.contains(told), "{outcome:?}");
    }
}

#[test]
fn plain_http_2_does_not_go_through_a_proxy() {
    let server = Server::known();
    let folder = Folder::new();
    let file = folder.file("t.json", THREE);
    let mut command = program(&folder);
    command.args([
        "-s",
        "http://name.invalid",
        "-f",
        &file,
        "--http",
        "2",
        "-v",
        "--verbose-errors",
    ]);
    let outcome = finish(command.env("http_proxy", server.url()));
    assert_eq!((outcome.code, server.seen()), (3, vec![]), "{outcome:?}");
    let why = "it is asked in HTTP/1.1, and --http 2 accepts only HTTP/2";
    assert!(outcome.out.contains(why), "{outcome:?}");
}

#[test]
fn fields_of_a_connection_are_not_sent_in_http_2() {
    let server = Server::known();
    let request = r#"{"path": "/heartbeat/1",
        "headers": {"Connection": "keep-alive", "Keep-Alive": "5"}, "validation": {"contentType": "text/plain", "length": 1}}"#;
    let file = format!("{{\"requests\": [{request}]}}");
    let outcome = ask(&server.url(), &file, &["--http", "2", "--no-keep-alive"]);
    assert_eq!((outcome.code, server.seen().len()), (0, 1), "{outcome:?}");
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A server that writes `answer(connection, stream)` to each request, and closes the connection
/// behind an answer that contains a GOAWAY frame. Returns its URL.
fn framed(answer: fn(usize, u8) -> Vec<u8>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
                stream.read_exact(&mut [0; PREFACE_BYTES])?;
                loop {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head)?;
                    let length = usize::from(head[1]) * 256 + usize::from(head[2]);
                    stream.read_exact(&mut vec![0; length])?;
                    if head[3] == HEADERS {
                        let bytes = answer(connection, head[8]);
                        stream.write_all(&bytes)?;
                        if bytes.get(3) == Some(&GOAWAY) {
                            return std::io::Result::Ok(());
                        }
                    }
                }
            });
        }
    });
    url
}

const PREFACE_BYTES: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200`, `content-type: text/plain` (RFC 7541 appendix A).
const OK: &[u8] = b"\x88\x0f\x10\x0atext/plain";

#[test]
fn a_body_that_the_server_breaks_off_is_no_complete_answer() {
    let url = framed(|_, stream| {
        let head = [OK, b"\x0f\x0d\x0248".as_slice()].concat();
        let head = frame(HEADERS, END_HEADERS, stream, &head);
        let part = frame(DATA, 0, stream, b"0123456789ABCDEF");
        // With NO_ERROR.
        [head, part, frame(RST_STREAM, 0, stream, &[0; 4])].concat()
    });
    let file = r#"{"requests": [{"path": "/heartbeat/48",
        "validation": {"contentType": "text/plain", "length": 48, "pattern": true}}]}"#;
    let outcome = ask(&url, file, &["--http", "2", "-v", "--verbose-errors"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let why = "the connection closed after 16 bytes of the body";
    assert!(outcome.out.contains(why), "{outcome:?}");
}

#[test]
fn a_request_that_meets_the_end_of_an_idle_connection_is_sent_once_more() {
    let url = framed(|connection, stream| match (connection, stream) {
        // The first request is the last one that is answered on its connection.
        (0, 3) => ends_with(0),
        _ => frame(HEADERS, END_HEADERS | END_STREAM, stream, OK),
    });
    let file = r#"{"requests": [
        {"path": "/1", "validation": {"contentType": "text/plain"}},
        {"path": "/2", "validation": {"contentType": "text/plain"}}
    ]}"#;
    let outcome = ask(&url, file, &["--http", "2", "-v", "--verbose-errors"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn a_load_sends_a_request_once_more_only_if_the_connection_ended_without_an_error() {
    let failures = |answer: fn(usize, u8) -> Vec<u8>| {
        let (folder, url) = (Folder::new(), format!("{}/x", framed(answer)));
        let more = ["load", &url, "--http", "2", "-n", "2", "-c", "1", "--json"];
        let outcome = unless_starved(|| run(&folder, &more));
        let result: Value = serde_json::from_str(&outcome.out).unwrap();
        (result["failed"].clone(), result["error_examples"].to_string())
    };
    let without = failures(|connection, stream| match (connection, stream) {
        (0, 3) => ends_with(0),
        _ => frame(HEADERS, END_HEADERS | END_STREAM, stream, OK),
    });
    assert_eq!(without.0, 0, "{without:?}");
    // ENHANCE_YOUR_CALM (RFC 9113 section 7).
    let with = failures(|connection, stream| match (connection, stream) {
        (0, 3) => ends_with(11),
        _ => frame(HEADERS, END_HEADERS | END_STREAM, stream, OK),
    });
    assert_eq!(with.0, 1, "{with:?}");
}

/// The end of a connection, of which only the first request is answered.
fn ends_with(code: u8) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, code])
}

/// A server that allows any number of bytes and reads none of them. Returns its URL.
fn stalls() -> String {
    // A SETTINGS frame with SETTINGS_INITIAL_WINDOW_SIZE, and a WINDOW_UPDATE frame (RFC 9113
    // sections 6.5 and 6.9).
    const WINDOWS: [u8; 28] = [
        0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff, //
        0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0,
    ];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(&WINDOWS).unwrap();
            open.push(stream);
        }
    });
    url
}

#[test]
fn a_request_that_is_given_up_leaves_no_connection_behind() {
    let (folder, url, port) = (Folder::new(), stalls(), free_port().to_string());
    let upload = r#"{"requests": [{"path": "/1", "verb": "POST", "bodyLength": 100000000}]}"#;
    let file = folder.file("t.json", upload);
    let mut command = program(&folder);
    command.args(["-s", &url, "-f", &file, "-r", "-l", "100", "-t", "1", "--http", "2"]);
    let prober = Background::start(command.args(["-g", "None", "-p", &port]));
    let sockets = || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", prober.id())).unwrap();
        let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    };
    // Ten requests are under way at a time; after this time, thirty more have been given up.
    std::thread::sleep(std::time::Duration::from_secs(4));
    let sockets = sockets();
    assert!((3..25).contains(&sockets), "{sockets} sockets");
}
