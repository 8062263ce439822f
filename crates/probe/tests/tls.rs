//! https: which certificates the prober trusts.

// A failure in a helper function is a failure of the test.
#![allow(clippy::unwrap_used)]

mod authority;
mod process;
mod stub;

use std::io::{Read, Write};
use std::sync::Arc;

use process::{Background, Folder, Outcome, free_port, program, run, wait_for};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use stub::{Reply, Stub, answer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

/// An authority, and a server for `name` whose certificate it has signed.
struct Site {
    authority: String,
    stub: Stub,
}

/// A server with a self-signed certificate, which may be that of an authority.
fn self_signed(params: CertificateParams) -> Site {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let stub = serving(authority::acceptor_of(&certificate, &key));
    Site { authority: certificate.pem(), stub }
}

/// The certificate of an authority, as `openssl req -x509` makes it.
fn authority_for(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn server() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn serving(acceptor: TlsAcceptor) -> Stub {
    Stub::start_with(Some(acceptor), |_| Reply::Raw(answer(200, "application/json", "{}")))
}

fn site(name: &str) -> Site {
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let (acceptor, authority) = authority::acceptor(&format!("authority of {name}"), &params);
    Site { authority, stub: serving(acceptor) }
}

fn ask(site: &Site, ca: Option<&str>) -> Outcome {
    ask_with(&Folder::new(), site, ca, &[])
}

fn ask_with(folder: &Folder, site: &Site, ca: Option<&str>, more: &[&str]) -> Outcome {
    let file = folder.file(
        "t.json",
        r#"{"requests": [{"path": "/", "validation": {}}, {"path": "/", "validation": {}}]}"#,
    );
    let url = format!("https://localhost:{}", site.stub.port());
    let mut arguments = vec!["-s", &url, "-f", &file, "-v", "--verbose-errors"];
    let ca = ca.map(|pem| folder.file("ca.pem", pem));
    if let Some(ca) = &ca {
        arguments.extend(["--ca-file", ca]);
    }
    arguments.extend(more);
    run(folder, &arguments)
}

fn load(folder: &Folder, site: &Site, more: &[&str]) -> Outcome {
    let ca = folder.file("ca.pem", &site.authority);
    let url = format!("https://localhost:{}/", site.stub.port());
    run(folder, &[&["load", &url, "-n", "2", "-c", "1", "--ca-file", &ca], more].concat())
}

#[test]
fn a_certificate_of_the_ca_file_is_trusted() {
    let site = site("localhost");
    let outcome = ask(&site, Some(&site.authority));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let connections: Vec<_> = site.stub.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0], "one handshake for both");
}

#[test]
fn a_certificate_of_another_authority_is_not_trusted() {
    let (site, other) = (site("localhost"), self::site("localhost"));
    let outcome = ask(&site, Some(&other.authority));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.out.contains("Exception: TLS with localhost failed: "), "{outcome:?}");
    assert!(site.stub.seen().is_empty());
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let site = site("elsewhere.example");
    let outcome = ask(&site, Some(&site.authority));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let told = "the certificate is for elsewhere.example, not for localhost";
    assert!(outcome.out.contains(told), "{outcome:?}");
}

fn refused(site: &Site, ca: &str, told: &str) {
    let outcome = ask(site, Some(ca));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let told = format!("Exception: TLS with localhost failed: {told}");
    assert!(outcome.out.contains(&told), "{told}: {outcome:?}");
}

#[test]
fn a_certificate_of_an_authority_is_trusted_as_a_server_if_the_ca_file_names_it() {
    let site = self_signed(authority_for("localhost"));
    assert_eq!(ask(&site, Some(&site.authority)).code, 0);
    let other = self_signed(authority_for("localhost"));
    let told = "the certificate is self-signed; name it with --ca-file to trust it";
    refused(&site, &other.authority, told);
}

#[test]
fn a_certificate_in_the_ca_file_must_have_the_name_and_be_valid_now() {
    let site = self_signed(authority_for("elsewhere.example"));
    let told = "the certificate is for elsewhere.example, not for localhost";
    refused(&site, &site.authority, told);
    let mut old = authority_for("localhost");
    old.not_after = date_time_ymd(2020, 2, 3);
    let site = self_signed(old);
    refused(&site, &site.authority, "the certificate expired on 2020-02-03T00:00:00Z");
    let mut young = authority_for("localhost");
    young.not_before = date_time_ymd(3000, 1, 1);
    let site = self_signed(young);
    let told = "the certificate is not valid before 3000-01-01T00:00:00Z";
    refused(&site, &site.authority, told);
    let mut nameless = authority_for("localhost");
    nameless.subject_alt_names.clear();
    let site = self_signed(nameless);
    refused(&site, &site.authority, "the certificate is for no name");
}

#[test]
fn an_unknown_issuer_and_a_server_without_tls_are_explained() {
    let (site, other) = (site("localhost"), self::site("elsewhere.example"));
    refused(&site, &other.authority, "the issuer of the certificate is unknown");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A close with unread bytes would be a reset, which may arrive before the answer.
            let _ = stream.read(&mut [0; 16_384]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let folder = Folder::new();
    let file = folder.file("t.json", r#"{"requests": [{"path": "/"}]}"#);
    let ca = folder.file("ca.pem", &site.authority);
    let url = format!("https://localhost:{port}");
    let outcome = run(&folder, &["-s", &url, "-f", &file, "--verbose-errors", "--ca-file", &ca]);
    let told = "TLS with localhost failed: the server does not speak TLS on this port";
    assert!(outcome.out.contains(told), "{outcome:?}");
}

#[test]
fn insecure_accepts_every_certificate() {
    for site in [site("elsewhere.example"), self_signed(authority_for("elsewhere.example"))] {
        let outcome = ask_with(&Folder::new(), &site, None, &["--insecure"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(load(&Folder::new(), &site, &["--insecure"]).code, 0);
        let url = format!("https://localhost:{}/", site.stub.port());
        assert_ne!(run(&Folder::new(), &["load", &url, "-n", "1"]).code, 0);
    }
}

#[test]
fn a_server_that_demands_a_certificate_gets_that_of_cert_and_key() {
    let client = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&client).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let key = KeyPair::generate().unwrap();
    let own = authority_for("localhost").self_signed(&key).unwrap();
    let builder = server().with_client_cert_verifier(verifier.build().unwrap());
    let config = builder.with_single_cert(vec![own.der().clone()], der(&key)).unwrap();
    let stub = serving(TlsAcceptor::from(Arc::new(config)));
    let site = Site { authority: own.pem(), stub };
    let folder = Folder::new();
    let (cert, key) = (certificate.pem(), client.serialize_pem());
    let (cert_file, key_file) = (folder.file("cert.pem", &cert), folder.file("key.pem", &key));
    let both = folder.file("both.pem", &format!("{key}{cert}"));
    for more in [&["--cert", &cert_file, "--key", &key_file][..], &["--cert", &both]] {
        let outcome = ask_with(&folder, &site, Some(&site.authority), more);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let outcome = load(&folder, &site, more);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    assert_eq!(load(&folder, &site, &[]).code, 1);
    assert_eq!(load(&folder, &site, &["--key", &key_file]).code, 2);
    let outcome = ask(&site, Some(&site.authority));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    for (more, told) in [
        (&["--key", &key_file][..], "--key: not allowed: expected with --cert only"),
        (&["--cert", &key_file], "no certificate in it"),
        (&["--cert", &cert_file], "--cert "),
    ] {
        let outcome = ask_with(&folder, &site, Some(&site.authority), more);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.err.contains(told), "{outcome:?}");
    }
}

#[test]
fn the_expiry_of_a_certificate_is_a_metric() {
    let mut params = authority_for("localhost");
    params.not_after = date_time_ymd(2090, 1, 1);
    let site = self_signed(params);
    let (folder, port) = (Folder::new(), free_port());
    let file = folder.file("t.json", r#"{"requests": [{"path": "/"}]}"#);
    let ca = folder.file("ca.pem", &site.authority);
    let url = format!("https://localhost:{}", site.stub.port());
    let mut command = program(&folder);
    command.args(["-s", &url, "-f", &file, "-r", "-p", &port.to_string(), "--ca-file", &ca]);
    let _background = Background::start(&mut command);
    let name = "heartbeat_probe_tls_expiry_timestamp_seconds";
    let line = format!("{name}{{server=\"{url}\"}} 3786912000\n");
    wait_for(port, |page| page.contains(&line));
}

#[test]
fn without_any_root_the_remedy_is_reported() {
    let site = site("localhost");
    // If the system has roots, they do not include the certificate's authority.
    let outcome = ask(&site, None);
    let untrusted = outcome.code == 2 && outcome.out.contains("TLS with localhost failed");
    let no_roots = outcome.code == 1 && outcome.err.contains("--ca-file");
    assert!(untrusted || no_roots, "{outcome:?}");
}
