//! TLS that accepts a certificate that is not trusted, and remembers why it is not.
//!
//! A path is measured even if its certificate is wrong, because nothing secret is sent on it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::client::{Verifier, earliest_expiry, words};

/// Opens TLS connections to one server.
#[derive(Clone)]
pub(super) struct Trust {
    connector: TlsConnector,
    name: ServerName<'static>,
    witness: Arc<Witness>,
}

/// What is known about the server's certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificate {
    /// In seconds since 1970.
    pub(super) expires: Option<i64>,
    /// Why it is not trusted.
    pub(super) refusal: Option<String>,
}

/// Decides whether a certificate is trusted: by the system, or by `ca_file`.
///
/// # Errors
///
/// A file that cannot be used, or a system without any root certificate.
pub(super) fn verifier(ca_file: Option<&Path>) -> Result<Verifier, String> {
    let provider = Arc::new(ring::default_provider());
    Verifier::of_file(ca_file, provider).map_err(|error| error.to_string())
}

impl Trust {
    pub(super) fn new(host: &str, verifier: Verifier) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let provider = Arc::new(ring::default_provider());
        let witness = Arc::new(Witness { verifier, seen: Mutex::default() });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<_>)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every handshake is a full one, so that they can be compared.
        config.resumption = Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, witness })
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connected = self.connector.connect(self.name.clone(), tcp).await;
        connected.map_err(|error| io::Error::new(error.kind(), words(&error)))
    }

    /// The certificate of the last handshake.
    pub(super) fn certificate(&self) -> Certificate {
        self.witness.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Accepts every certificate, and remembers what the loop would have said about it.
#[derive(Debug)]
struct Witness {
    verifier: Verifier,
    seen: Mutex<Certificate>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let expires = earliest_expiry(std::slice::from_ref(end_entity));
        let expires = expires.and_then(|seconds| i64::try_from(seconds).ok());
        let refusal = verdict.err().map(|error| words(&io::Error::other(error)));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Certificate { expires, refusal };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
