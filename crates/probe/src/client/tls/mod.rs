//! The settings of TLS: which certificates are trusted, and which one the client presents.

mod verify;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::{Resumption, WantsClientCert};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use crate::client::Target;

pub(crate) use verify::{Verifier, earliest_expiry};
pub(super) use words::NO_HTTP2;
pub(crate) use words::words;

/// The settings of every TLS connection.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
}

/// The TLS options of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// A PEM file of certificates to trust beside the system's: of authorities, and of servers.
    pub ca_file: Option<PathBuf>,
    /// Whether every certificate is accepted.
    pub insecure: bool,
    /// A PEM file with the client's own certificate and its intermediate certificates.
    pub cert: Option<PathBuf>,
    /// A PEM file with the key of `cert`; `None` if the key is in the same file.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// The settings for connections to `targets`; `None` if all are http, because loading the roots
    /// takes memory and time, and some systems have none. Files that are named are read and checked
    /// anyway.
    ///
    /// # Errors
    ///
    /// Those of [`Tls::new`].
    pub(crate) fn for_targets<'a>(
        targets: impl IntoIterator<Item = &'a Target>,
        settings: &TlsSettings,
    ) -> Result<Option<Self>, TlsError> {
        let names_a_file = settings.ca_file.is_some() || settings.cert.is_some();
        if !names_a_file && !targets.into_iter().any(Target::is_https) {
            return Ok(None);
        }
        Self::new(settings).map(Some)
    }

    /// Trusts the system's roots and the certificates of the settings.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or does not contain what it should; a system without any root,
    /// unless `ca_file` or `insecure` is set.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Provider(error.to_string()))?
            .dangerous();
        let builder = if settings.insecure {
            builder.with_custom_certificate_verifier(Arc::new(verify::Unverified::new(provider)))
        } else {
            let verifier = Verifier::of_file(settings.ca_file.as_deref(), provider)?;
            builder.with_custom_certificate_verifier(Arc::new(verifier))
        };
        let mut config = with_identity(builder, settings)?;
        // A resumed session is not verified again, and could be used after its certificate has
        // expired.
        config.resumption = Resumption::disabled();
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

/// Why TLS cannot be set up.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file of certificates or keys cannot be used.
    File {
        /// The option that names it.
        option: &'static str,
        /// Its path as it was given.
        path: String,
        /// The error of the system or of the parser.
        why: String,
    },
    /// The system has no root certificate and no file was named.
    NoRoots,
    /// The cryptography library rejects its own defaults.
    Provider(String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { option, path, why } => write!(f, "{option} {path}: {why}"),
            Self::NoRoots => f.write_str(
                "no root certificates on this system for https: install ca-certificates, \
                 set SSL_CERT_FILE or use --ca-file",
            ),
            Self::Provider(why) => write!(f, "TLS: {why}"),
        }
    }
}

impl std::error::Error for TlsError {}

fn refused(option: &'static str, path: &Path, why: impl fmt::Display) -> TlsError {
    TlsError::File { option, path: path.display().to_string(), why: why.to_string() }
}

impl Verifier {
    /// Trusts the system's certificates and those of `ca_file`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or contains no certificate; a system without any root, unless
    /// there is a file.
    pub(crate) fn of_file(
        ca_file: Option<&Path>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let own = ca_file.map(|path| certificates("--ca-file", path)).transpose()?;
        let own = own.unwrap_or_default();
        let roots = roots(&own, ca_file)?;
        Self::new(roots, own, provider).map_err(|error| TlsError::Provider(error.to_string()))
    }
}

fn roots(
    own: &[CertificateDer<'static>],
    ca_file: Option<&Path>,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    let Some(path) = ca_file else {
        return if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) };
    };
    for certificate in own {
        let added = roots.add(certificate.clone());
        added.map_err(|error| refused("--ca-file", path, error))?;
    }
    Ok(roots)
}

fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    settings: &TlsSettings,
) -> Result<ClientConfig, TlsError> {
    let Some(cert) = &settings.cert else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates("--cert", cert)?;
    let (option, path) = match &settings.key {
        Some(path) => ("--key", path),
        None => ("--cert", cert),
    };
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| refused(option, path, error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| refused(option, path, error))
}

fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(|error| refused(option, path, error))?;
    if found.is_empty() {
        return Err(refused(option, path, "no certificate in it"));
    }
    Ok(found)
}
