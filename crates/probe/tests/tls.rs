//! https: whom the prober trusts.

// Outside of test functions, too, a failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod process;
mod stub;

use std::sync::Arc;

use process::{Folder, Outcome, run};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use stub::{Reply, Stub, answer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// An authority, and a server with a certificate of it for `name`.
struct Site {
    authority: String,
    stub: Stub,
}

fn site(name: &str) -> Site {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let stub =
        Stub::start_with(Some(acceptor), |_| Reply::Raw(answer(200, "application/json", "{}")));
    Site { authority: authority.pem(), stub }
}

fn ask(site: &Site, ca: Option<&str>) -> Outcome {
    let folder = Folder::new();
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
    run(&folder, &arguments)
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
fn a_certificate_of_somebody_else_is_not() {
    let (site, other) = (site("localhost"), self::site("localhost"));
    let outcome = ask(&site, Some(&other.authority));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.out.contains("Exception: TLS with localhost failed: "), "{outcome:?}");
    assert!(site.stub.seen().is_empty());
}

#[test]
fn a_certificate_for_another_name_is_not() {
    let site = site("elsewhere.example");
    let outcome = ask(&site, Some(&site.authority));
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.out.contains("not valid for name"), "{outcome:?}");
}

#[test]
fn without_any_root_the_remedy_is_told() {
    let site = site("localhost");
    // Where the system has roots, the certificate is unknown to them.
    let outcome = ask(&site, None);
    let untrusted = outcome.code == 2 && outcome.out.contains("TLS with localhost failed");
    let no_roots = outcome.code == 1 && outcome.err.contains("--ca-file");
    assert!(untrusted || no_roots, "{outcome:?}");
}
