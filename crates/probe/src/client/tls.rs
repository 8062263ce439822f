//! Whom to trust: the system's roots and, where asked, those of a file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::Target;

/// The settings of every TLS connection.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// What connections to `targets` need: nothing for http alone, as roots take memory and time,
    /// and not every system has any. A `ca_file` is read and checked in any case.
    ///
    /// # Errors
    ///
    /// Those of [`Tls::new`].
    pub fn for_targets<'a>(
        targets: impl IntoIterator<Item = &'a Target>,
        ca_file: Option<&Path>,
    ) -> Result<Option<Self>, TlsError> {
        if ca_file.is_none() && !targets.into_iter().any(Target::is_https) {
            return Ok(None);
        }
        Self::new(ca_file).map(Some)
    }

    /// Trusts the system's roots, and beside them the certificates of the PEM file `ca_file`.
    ///
    /// # Errors
    ///
    /// A file that can not be read or holds no certificate; a system without any root, unless
    /// there is a file.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let roots = roots(ca_file)?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Provider(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    pub(super) fn connector(&self) -> &TlsConnector {
        &self.connector
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why nobody can be trusted.
#[derive(Debug)]
pub enum TlsError {
    /// The file of certificates can not be used.
    File {
        /// As it was given.
        path: String,
        /// What the system or the parser says.
        why: String,
    },
    /// The system has no root certificate and no file was named.
    NoRoots,
    /// The cryptography refuses its own defaults.
    Provider(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, why } => write!(f, "--ca-file {path}: {why}"),
            Self::NoRoots => f.write_str(
                "no root certificates on this system for https: install ca-certificates, \
                 set SSL_CERT_FILE or use --ca-file",
            ),
            Self::Provider(why) => write!(f, "TLS: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// The certificates to trust.
///
/// # Errors
///
/// Those of [`Tls::new`].
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    } else if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let refuse = |why: String| TlsError::File { path: path.display().to_string(), why };
    let mut found = 0;
    for certificate in
        CertificateDer::pem_file_iter(path).map_err(|error| refuse(error.to_string()))?
    {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
        found += 1;
    }
    if found == 0 { Err(refuse("no certificate in it".to_owned())) } else { Ok(()) }
}
