//! `heartbeat-probe path`, against servers that are no Heartbeat or that do what none should.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod authority;
mod process;
mod stub;

use std::net::TcpListener;

use heartbeat_testkit::{Signal, eventually};
use process::{Background, Folder, Outcome, finish, program, run};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use stub::{Reply, Seen, Stub, answer};
use tokio_rustls::TlsAcceptor;

fn path(url: &str, more: &[&str]) -> Outcome {
    let outcome = run(&Folder::new(), &[&["path", url], more].concat());
    // `--nocapture` shows it.
    println!("{}{}", outcome.out, outcome.err);
    outcome
}

/// The report, the codes of its findings, and the exit code.
fn json(url: &str, more: &[&str]) -> (Value, Vec<String>, i32) {
    let outcome = path(url, &[&["--json"], more].concat());
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned());
    let codes = codes.collect();
    (report, codes, outcome.code)
}

/// A page of this many bytes at every address, whose head has these fields.
fn page(fields: &'static str, bytes: u64) -> impl Fn(&Seen) -> Reply {
    move |seen| {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes();
        match seen.method.as_str() {
            "HEAD" => Reply::Raw(head),
            _ => Reply::Stream(head, bytes),
        }
    }
}

#[test]
fn a_large_page_is_not_read_to_its_end() {
    let stub = Stub::start(page("Content-Length: 41943040\r\n", 40 << 20));
    let (report, codes, code) = json(&stub.url(), &["--quick", "--max-bytes", "1M"]);
    assert_eq!((codes, code), (vec!["not-heartbeat".to_owned()], 0));
    assert!(report["bytes_used"].as_u64().unwrap() <= 1 << 20);
    let why = report["skipped"]["the rest of the page"].as_str().unwrap();
    assert!(why.contains("64 KB"), "{why}");
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
    assert!(report["mtu"]["down"]["largest"].as_u64().unwrap() > 1500);
}

#[test]
fn a_page_without_end_ends_at_the_limit_of_bytes() {
    let stub = Stub::start(page("", u64::MAX));
    let (report, codes, code) = json(&stub.url(), &["--duration", "5s", "--max-bytes", "16M"]);
    assert_eq!((codes, code), (vec!["not-heartbeat".to_owned()], 0));
    let used = report["bytes_used"].as_u64().unwrap();
    assert!(used <= 16 << 20 && used > 1 << 20, "{used}");
    assert!(report["throughput_bps"]["down_1"].as_u64().unwrap() > 0);
}

#[test]
fn interim_answers_without_end_end_at_the_limit_of_bytes() {
    let flood = "HTTP/1.1 102 Processing\r\n\r\n".repeat(200_000);
    let stub = Stub::start(move |_| Reply::Raw(flood.clone().into_bytes()));
    let (report, codes, code) = json(&stub.url(), &["--quick", "--max-bytes", "1M"]);
    assert_eq!((codes.len(), code), (0, 1));
    assert_eq!(report["bytes_used"], 1 << 20);
    let why = report["skipped"]["the rest"].as_str().unwrap();
    assert_eq!(why, "the bytes are used up (--max-bytes)");
}

/// TLS with a certificate that is that of an authority and has signed itself, as
/// `openssl req -x509` makes it, and the certificate as PEM.
fn self_signed() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (authority::acceptor_of(&certificate, &key), certificate.pem())
}

#[test]
fn a_self_signed_certificate_of_an_authority_is_trusted_if_it_is_named() {
    let (acceptor, pem) = self_signed();
    let stub = Stub::start_with(Some(acceptor), |_| Reply::Raw(answer(200, "", "hello")));
    let url = format!("https://localhost:{}", stub.port());
    let folder = Folder::new();
    let file = folder.file("own.pem", &pem);
    let (report, codes, code) = json(&url, &["--quick", "--ca-file", &file]);
    assert_eq!((codes, code), (vec!["not-heartbeat".to_owned()], 0));
    assert_eq!(report["tls"]["trusted"], true);
    let (_, other) = self_signed();
    let (report, _, code) = json(&url, &["--quick", "--ca-file", &folder.file("x.pem", &other)]);
    assert_eq!(code, 1);
    let text = report["findings"][0]["text"].as_str().unwrap();
    let why = "the certificate is self-signed; name it with --ca-file to trust it";
    assert_eq!(text, format!("The certificate is not trusted: {why}."));
}

#[test]
fn small_answers_say_nothing_about_the_largest_packet() {
    let (acceptor, _) = authority::acceptor(
        "authority of a short page",
        &CertificateParams::new(vec!["localhost".to_owned()]).unwrap(),
    );
    let short = |_: &Seen| Reply::Raw(answer(200, "", &"x".repeat(700)));
    let secured = Stub::start_with(Some(acceptor), short);
    let folder = Folder::new();
    let (_, pem) = self_signed();
    let ca_file = folder.file("ca.pem", &pem);
    let https = format!("https://localhost:{}", secured.port());
    for url in [https, Stub::start(short).url()] {
        let (report, _, _) = json(&url, &["--quick", "--ca-file", &ca_file]);
        let nothing = serde_json::json!({
            "mss": null, "path_mtu": null, "largest": null, "black_hole": null
        });
        assert_eq!(report["mtu"]["down"], nothing, "{url}");
        let why = report["skipped"]["packets down"].as_str().unwrap();
        assert!(why.ends_with("fills no packet"), "{why}");
    }
}

#[test]
fn a_server_cannot_control_the_terminal() {
    let via = "1.0 a\u{9b}31m\u{202e}b";
    let stub = Stub::start(move |seen| {
        let about = r#"{"version":"9\u001b[2J\u2028","driver":"\u009b1m","send":"b",
            "uri":"/heartbeat/","min":1,"max":1024,"node":"n\u202e"}"#;
        let reply = match seen.path.starts_with("/version") {
            true => answer(200, "", about),
            false => answer(200, "", "0123456789ABCDEF0"),
        };
        let reply = String::from_utf8(reply).unwrap();
        Reply::Raw(reply.replacen("\r\n", &format!("\r\nVia: {via}\r\n"), 1).into_bytes())
    });
    let controls = |letter: char| {
        letter != '\n' && (letter.is_control() || matches!(letter, '\u{2028}' | '\u{202e}'))
    };
    let text = path(&stub.url(), &["--quick"]).out;
    assert!(!text.contains(controls), "{text:?}");
    assert!(text.contains("heartbeat 9\u{fffd}[2J"), "{text}");
    assert!(text.contains("1.0 a\u{fffd}31m\u{fffd}b"), "{text}");
    let raw = path(&stub.url(), &["--quick", "--json"]).out;
    assert!(!raw.contains(controls), "{raw:?}");
    let report: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(report["middle"]["via"], via);
    assert_eq!(report["server"]["driver"], "\u{9b}1m");
}

#[test]
fn a_proxy_of_the_environment_is_not_used_and_a_warning_says_so() {
    let folder = Folder::new();
    let ask = |no_proxy: &str| {
        let mut command = program(&folder);
        command.env("http_proxy", "http://proxy.invalid:3128").env("no_proxy", no_proxy);
        finish(command.args(["path", "http://name.invalid", "--quick"])).err
    };
    let warning = "heartbeat-probe path: warning: http://name.invalid is asked directly, not by \
                   the proxy proxy.invalid:3128 (http_proxy)\n";
    assert_eq!((ask("").as_str(), ask("name.invalid").as_str()), (warning, ""));
}

#[test]
fn an_interrupted_measurement_says_how_many_bytes_it_used() {
    // It stops answering in the middle of the small requests.
    let stub = Stub::start(|seen| match seen.connection {
        ..20 => stub::heartbeat(seen),
        _ => Reply::Hang(Vec::new()),
    });
    let folder = Folder::new();
    let mut command = program(&folder);
    command.args(["path", &stub.url(), "--json", "--idle", "10m"]);
    let running = Background::start(&mut command);
    eventually("requests arrive", || stub.seen().len() > 5);
    running.signal(Signal::Interrupt);
    let (code, out) = running.end();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["skipped"]["the rest"]), (1, &"interrupted".into()));
    assert!(report["bytes_used"].as_u64().unwrap() > 100);
}

#[test]
fn a_server_that_never_answers_is_not_called_another_server() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let outcome = path(&format!("http://{}", silent.local_addr().unwrap()), &["--quick"]);
    assert_eq!(outcome.code, 1);
    assert!(!outcome.out.contains("not a Heartbeat"), "{}", outcome.out);
    assert!(outcome.out.contains("The path could not be measured"), "{}", outcome.out);
}

#[test]
fn an_answer_with_many_fields_and_a_folded_one_is_measured() {
    let fields = "X-Many: b\r\n".repeat(150) + "X-Folded: a,\r\n\t b\r\n";
    let stub = Stub::start(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{fields}\r\n");
        Reply::Raw((head + "hello").into_bytes())
    });
    let (report, codes, code) = json(&stub.url(), &["--quick"]);
    assert_eq!((codes, code), (vec!["not-heartbeat".to_owned()], 0));
    assert!(report["latency_us"]["p50"].as_f64().unwrap() > 0.0);
}
