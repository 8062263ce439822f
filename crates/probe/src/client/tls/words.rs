//! Describes in words why a TLS handshake failed.

use std::io;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use crate::client::tls::verify::SelfSigned;

/// The meaning of `error`, which ended a handshake.
pub(crate) fn words(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(why)) => certificate(why),
        Some(Error::InvalidMessage(_)) => "the server does not speak TLS on this port".to_owned(),
        Some(Error::AlertReceived(alert)) => alerted(*alert),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
    }
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", date(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            match presented.as_slice() {
                [] => "the certificate is for no name (it has no subjectAltName)".to_owned(),
                names => {
                    let names: Vec<_> = names.iter().map(|name| plain(name)).collect();
                    format!("the certificate is for {}, not for {expected}", names.join(", "))
                }
            }
        }
        CertificateError::UnknownIssuer => {
            "the issuer of the certificate is unknown; name it with --ca-file to trust it"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the certificate is not signed by the authority that it names".to_owned()
        }
        CertificateError::Other(other) if other.0.is::<SelfSigned>() => other.0.to_string(),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is that of an authority (CA:TRUE); name it with --ca-file to trust it"
                .to_owned()
        }
        other => format!("the certificate cannot be used: {other}"),
    }
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server demands a client certificate: use --cert".to_owned()
        }
        AlertDescription::NoApplicationProtocol => NO_HTTP2.to_owned(),
        other => format!("the server refused it: {other:?}"),
    }
}

/// HTTP/1.1 needs no agreement, so only HTTP/2 can be missing.
pub(in crate::client) const NO_HTTP2: &str = "the server does not offer HTTP/2";

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let after_1970 = |_| format!("{seconds} s after 1970");
    Timestamp::from_second(seconds).map_or_else(after_1970, |date| date.to_string())
}

// The library writes `DnsName("a")`.
fn plain(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}
