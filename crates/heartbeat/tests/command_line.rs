//! The command line of the built program: what it refuses, what it prints, how it checks health.

mod binary;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::Duration;

use binary::program;
use heartbeat_testkit::{PATIENCE, finish, free_port};

fn heartbeat(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = program(arguments);
    command.envs(variables.iter().copied());
    finish(&mut command)
}

/// The one line that a failing run writes to standard error, without its newline.
fn line(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let line = stderr.strip_suffix('\n').expect("a whole line");
    assert!(line.starts_with("heartbeat: ") && !line.contains(['\n', '\r']), "{stderr}");
    line.to_owned()
}

#[track_caller]
fn assert_refused(arguments: &[&str], variables: &[(&str, &str)], subject: &str) {
    assert_refused_with(2, arguments, variables, subject);
}

#[track_caller]
fn assert_refused_with(code: i32, arguments: &[&str], variables: &[(&str, &str)], subject: &str) {
    let line = line(&heartbeat(arguments, variables), code);
    let start = format!("heartbeat: {subject}: not allowed: ");
    assert!(line.starts_with(&start) && line.len() > start.len(), "{line}\nis not about {subject}");
}

#[test]
fn refuses_a_bad_value_of_any_option_and_of_any_variable() {
    let cases = [
        ("port", "65536"),
        ("port", "-1"),
        ("address", "localhost"),
        ("uri", "heartbeat"),
        ("uri", "/"),
        ("uri", "/healthz"),
        ("uri", "/a//b"),
        ("uri", "/a b"),
        ("min", "0"),
        ("min", "--max"),
        ("max", "2T"),
        ("max", "1025M"),
        ("log-format", "xml"),
        ("threads", "0"),
        ("threads", "1025"),
        ("io", "kqueue"),
        ("send", "sendfile"),
        ("max-connections", "0"),
        ("header-timeout", "0s"),
        ("idle-timeout", "10"),
        ("stall-timeout", "1.5s"),
        ("drain-delay", "-1s"),
        ("drain-timeout", "25h"),
        ("address", "224.0.0.1"),
        ("address", "255.255.255.255"),
        ("address", "fe80::1"),
        ("admin-port", "8080"),
        ("admin-port", "65536"),
        ("admin-address", "127.0.0.1"),
        ("node", "a\"b"),
        ("zone", "a\\b"),
        ("tcp-metrics", "yes"),
    ];
    for (name, text) in cases {
        let variable = format!("HB_{}", name.replace('-', "_").to_ascii_uppercase());
        let (double, single) = (format!("--{name}"), format!("-{name}"));
        assert_refused(&[&double, text], &[], &format!("{double} {text}"));
        assert_refused(&[&format!("{double}={text}")], &[], &format!("{double} {text}"));
        assert_refused(&[&single, text], &[], &format!("{double} {text}"));
        assert_refused(&[&format!("{single}={text}")], &[], &format!("{double} {text}"));
        assert_refused(&[], &[(&variable, text)], &format!("{variable}={text}"));
    }
    for name in ["log", "log-tcp", "responsiveness", "aliases"] {
        let option = format!("--{name}=maybe");
        assert_refused(&[&option], &[], &option);
    }
    assert_refused(&[], &[("HB_LOG", "yes")], "HB_LOG=yes");
    assert_refused(&["-p", ""], &[], "--port \"\"");
    assert_refused(&["--uri", "/a\nb"], &[], "--uri /a\\nb");
    assert_refused(&["--min", "2M"], &[], "--min 2M with --max 1M");
    assert_refused(&["-max", "1"], &[("HB_MIN", "2")], "HB_MIN=2 with --max 1");
}

#[test]
fn refuses_unknown_options_and_arguments() {
    let cases: [(&[&str], &str); 14] = [
        (&["--frobnicate"], "--frobnicate"),
        (&["--frobnicate=1"], "--frobnicate"),
        (&["-x"], "-x"),
        (&["-lx"], "-x"),
        (&["serve"], "serve"),
        (&["--log", "true"], "true"),
        (&["--", "-log"], "-log"),
        (&[""], "\"\""),
        (&["--port"], "--port"),
        (&["-log", "-max"], "--max"),
        (&["--help=1"], "--help=1"),
        (&["healthcheck", "--port", "1"], "--port"),
        (&["healthcheck", "http://127.0.0.1:1/", "more"], "more"),
        (&["--port", "1", "healthcheck"], "--port with healthcheck"),
    ];
    for (arguments, subject) in cases {
        assert_refused(arguments, &[], subject);
    }
    let suggestions = [("--prot=1", "--port"), ("--log-fromat", "--log-format")];
    for (typed, meant) in suggestions.into_iter().chain([("heathcheck", "healthcheck")]) {
        let line = line(&heartbeat(&[typed], &[]), 2);
        assert!(line.ends_with(&format!("did you mean {meant}?")), "{line}");
    }
}

#[test]
fn prints_version_and_help_whatever_the_environment() {
    let broken = [("HB_PORT", "tcp://10.0.0.1:80")];
    for argument in ["-v", "-V", "--version", "-version"] {
        let output = heartbeat(&[argument], &broken);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        let expected = concat!("heartbeat ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{argument}");
        assert!(output.stderr.is_empty(), "{argument}");
    }
    for argument in ["-h", "--help", "-help", "help"] {
        let output = heartbeat(&[argument], &broken);
        assert_eq!(output.status.code(), Some(0), "{argument}");
        assert!(output.stderr.is_empty(), "{argument}");
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(page.lines().all(|line| line.len() <= 100), "{page}");
        for text in ["--max-connections <N>", "[default: /heartbeat/]", "HB_PORT"] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }
    let page = heartbeat(&["healthcheck", "-help"], &[]);
    assert!(String::from_utf8_lossy(&page.stdout).contains("heartbeat healthcheck [URL]"));
}

/// A server that reads a whole head on its first connection, and then passes both to `answer`.
fn stub(answer: impl FnOnce(TcpStream, String) + Send + 'static) -> SocketAddr {
    stub_on(TcpListener::bind("127.0.0.1:0").expect("a port"), answer)
}

fn stub_on(
    listener: TcpListener,
    answer: impl FnOnce(TcpStream, String) + Send + 'static,
) -> SocketAddr {
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a byte") == 1 {
            head.push(byte[0]);
        }
        answer(stream, String::from_utf8(head).expect("UTF-8"));
    });
    address
}

fn stub_of(answer: &'static str) -> SocketAddr {
    stub(move |mut stream, _| stream.write_all(answer.as_bytes()).expect("a reader"))
}

fn check(address: SocketAddr) -> Output {
    heartbeat(&["healthcheck", &format!("http://{address}/readyz?a=b")], &[])
}

#[test]
fn healthcheck_succeeds_with_a_200_and_fails_with_any_other_answer() {
    let output = check(stub_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nPass\n"));
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");

    let answers = [
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "answered 503, not 200"),
        ("HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", "answered 301, not 200"),
        ("SSH-2.0-OpenSSH\r\n", "without an HTTP status line"),
        ("HTTP/1.1 200", "without an HTTP status line"),
        ("", "without an HTTP status line"),
    ];
    for (answer, cause) in answers {
        let address = stub_of(answer);
        let line = line(&check(address), 1);
        assert!(line.starts_with(&format!("heartbeat: healthcheck http://{address}/readyz?a=b: ")));
        assert!(line.ends_with(cause), "{line}");
    }
}

#[test]
fn healthcheck_asks_the_port_of_the_environment() {
    let address = stub(|mut stream, head| {
        let (line, _) = head.split_once("\r\n").unwrap();
        assert_eq!(line, "GET /healthz HTTP/1.1");
        assert!(head.contains(&format!("\r\nHost: {}\r\n", stream.local_addr().unwrap())));
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    });
    let port = address.port().to_string();
    let variables = [("HB_PORT", port.as_str()), ("HB_MAX", "of no concern here")];
    assert_eq!(heartbeat(&["healthcheck"], &variables).status.code(), Some(0));
}

#[test]
fn healthcheck_asks_the_ipv6_loopback_if_that_of_ipv4_refuses() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let address = stub_on(listener, |mut stream, head| {
        let port = stream.local_addr().unwrap().port();
        assert!(head.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{head}");
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    });
    let port = address.port().to_string();
    assert_eq!(heartbeat(&["healthcheck"], &[("HB_PORT", &port)]).status.code(), Some(0));
}

#[test]
fn healthcheck_asks_for_healthz_at_a_url_without_a_path() {
    for scheme in ["http", "tcp"] {
        let address = stub(|mut stream, head| {
            assert!(head.starts_with("GET /healthz HTTP/1.1\r\n"), "{head}");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        let url = format!("{scheme}://{address}");
        assert_eq!(heartbeat(&["healthcheck", &url], &[]).status.code(), Some(0), "{url}");
    }
}

#[test]
fn healthcheck_tries_both_addresses_of_localhost() {
    let address = stub_of("HTTP/1.1 200 OK\r\n\r\n");
    let url = format!("http://localhost:{}/", address.port());
    assert_eq!(heartbeat(&["healthcheck", &url], &[]).status.code(), Some(0));
}

#[test]
fn healthcheck_fails_if_nobody_listens() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    assert!(line(&check(address), 1).contains("refused"));
}

#[test]
fn healthcheck_refuses_urls_that_it_can_not_ask() {
    for url in ["", "127.0.0.1", "https://127.0.0.1/", "http://example.com/", "http://[::1"] {
        let subject = if url.is_empty() { "\"\"" } else { url };
        assert_refused_with(1, &["healthcheck", url], &[], &format!("healthcheck {subject}"));
    }
    assert_refused_with(1, &["healthcheck"], &[("HB_PORT", "x")], "HB_PORT=x");
    assert_refused_with(1, &["healthcheck"], &[("HB_PORT", "0")], "healthcheck with HB_PORT=0");
}

#[test]
fn healthcheck_ends_in_time_whatever_the_server_does() {
    // This server sends nothing for longer than this test waits.
    let silent = stub(|stream, _| {
        thread::sleep(2 * PATIENCE);
        drop(stream);
    });
    // This one sends a byte every 50 ms, well within the timeout of a read, and far fewer bytes in
    // 2 seconds than the program would read.
    let dripping = stub(|mut stream, _| {
        for byte in b"HTTP/1.1 200 OK".iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    for address in [silent, dripping] {
        let line = line(&check(address), 1);
        assert!(line.ends_with("no answer within 2s"), "{line}");
    }
}

#[test]
fn healthcheck_reads_little_of_an_endless_line() {
    let endless = stub(|mut stream, _| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    assert!(line(&check(endless), 1).ends_with("1024 bytes without an HTTP status line"));
}
