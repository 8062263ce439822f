//! Decides whether a server's certificate is accepted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{
    VerifierBuilderError, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor,
    verify_server_name,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

/// Verifies as the library does, and also accepts a server's own certificate if the user named it.
#[derive(Debug)]
pub(crate) struct Verifier {
    standard: Arc<WebPkiServerVerifier>,
    // The certificates of the user's file.
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub(super) fn new(
        roots: RootCertStore,
        own: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self { standard: builder.build()?, own })
    }

    // The library rejects the certificate of an authority (CA:TRUE, as `openssl req -x509` makes
    // it) as a server's certificate, and does not know the issuer of one that an authority has
    // signed which the user did not name. It does so only after it has checked the validity period,
    // so the name is all that remains to be checked.
    fn verify_own(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.standard.verify_server_cert(certificate, &[], name, &[], now) {
            Err(Error::InvalidCertificate(
                CertificateError::Other(_)
                | CertificateError::UnknownIssuer
                | CertificateError::BadSignature,
            )) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.iter().any(|own| own == end_entity) {
            return self.verify_own(end_entity, server_name, now);
        }
        let verified = self.standard.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        verified.map_err(|error| match error {
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::Other(_),
            ) if is_self_issued(end_entity) => {
                CertificateError::Other(OtherError(Arc::new(SelfSigned))).into()
            }
            other => other,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.standard.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.standard.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.standard.supported_verify_schemes()
    }
}

/// Accepts every certificate, but still checks that the server has its key.
#[derive(Debug)]
pub(super) struct Unverified {
    provider: Arc<CryptoProvider>,
}

impl Unverified {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The error for a certificate that names itself as its issuer.
#[derive(Debug)]
pub(super) struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is self-signed; name it with --ca-file to trust it")
    }
}

impl std::error::Error for SelfSigned {}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.issuer() == certificate.subject())
}

/// When the first of `certificates` to expire does so, in seconds since the Unix epoch.
pub(crate) fn earliest_expiry(certificates: &[CertificateDer<'_>]) -> Option<u64> {
    certificates.iter().filter_map(expiry).min()
}

// The library has no function that returns this time, but its error contains it if a certificate is
// verified at the end of all time. It checks the time before it checks the issuer.
fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], end_of_time, &[]) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(not_after.as_secs())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
    };
    use tokio_rustls::rustls::crypto;

    use super::*;

    #[test]
    fn the_earliest_expiry_counts_also_of_a_ca_certificate() {
        let certificate = |year, is_ca: bool| {
            let mut params = CertificateParams::new(vec!["a".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            if is_ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        // 2020-01-01 is in the past; from 2050 on, a certificate writes the year with four digits.
        let (past, far, ca) =
            (certificate(2020, false), certificate(2090, false), certificate(2080, true));
        assert_eq!(earliest_expiry(std::slice::from_ref(&far)), Some(3_786_912_000));
        assert_eq!(earliest_expiry(&[far.clone(), ca.clone()]), Some(3_471_292_800));
        assert_eq!(earliest_expiry(&[far, past, ca]), Some(1_577_836_800));
        assert_eq!(earliest_expiry(&[]), None);
        assert_eq!(earliest_expiry(&[CertificateDer::from_slice(b"none")]), None);
    }

    /// A certificate that an authority has signed which nobody knows.
    fn signed(name: &str, params: CertificateParams) -> CertificateDer<'static> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone()
    }

    #[test]
    fn a_named_certificate_of_an_authority_is_accepted_for_its_name_while_it_is_valid() {
        let params = |from, to| {
            let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
            (params.not_before, params.not_after) =
                (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
            params
        };
        let good = signed("x", params(2020, 2090));
        let (expired, early) = (signed("x", params(2019, 2020)), signed("x", params(2089, 2090)));
        // The user has also named an authority of the same name with another key.
        let alike = signed("rcgen self signed cert", params(2020, 2090));
        let own = vec![good.clone(), expired.clone(), early.clone(), alike.clone()];
        let mut roots = RootCertStore::empty();
        own.iter().for_each(|own| roots.add(own.clone()).unwrap());
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = Verifier::new(roots, own, provider).unwrap();
        let verified = |certificate, name: &'static str| {
            let name = ServerName::try_from(name).unwrap();
            // 2026-01-01
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
            match verifier.verify_server_cert(certificate, &[], &name, &[], now) {
                Ok(_) => Ok(()),
                Err(Error::InvalidCertificate(why)) => Err(why),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(verified(&good, "a.test"), Ok(()));
        assert_eq!(verified(&alike, "a.test"), Ok(()));
        let other = verified(&good, "b.test");
        assert!(matches!(other, Err(CertificateError::NotValidForNameContext { .. })), "{other:?}");
        let old = verified(&expired, "a.test");
        assert!(matches!(old, Err(CertificateError::ExpiredContext { .. })), "{old:?}");
        let new = verified(&early, "a.test");
        assert!(matches!(new, Err(CertificateError::NotValidYetContext { .. })), "{new:?}");
        let unnamed = signed("x", params(2020, 2090));
        assert_eq!(verified(&unnamed, "a.test"), Err(CertificateError::UnknownIssuer));
    }
}
