//! Owns the one decision about how the body of a request is delimited (RFC 9112 section 6.3).

use crate::fields::{TransferCodings, content_length};
use crate::limits::BODY_BYTES_MAX;
use crate::{Rejection, Version};

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes; 0 if there is no body.
    Length(u64),
    /// Chunks up to the last one and its trailer section.
    Chunked,
}

/// What the head says about framing. The value of Content-Length is not parsed yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FramingFields<'i> {
    pub(crate) transfer_codings: TransferCodings,
    pub(crate) content_length: Option<&'i [u8]>,
    pub(crate) content_length_repeated: bool,
}

/// Decides the framing of a request, in the order of RFC 9112 section 6.3. Its rules 1, 2 and 8
/// are about responses.
pub(crate) fn decide(version: Version, fields: &FramingFields<'_>) -> Result<Framing, Rejection> {
    // 3. Both fields together "ought to be handled as an error": they allow request smuggling.
    if fields.transfer_codings.present() && fields.content_length.is_some() {
        return Err(Rejection::FramingConflict);
    }
    // 4. Transfer-Encoding: `chunked` must be final. HTTP/1.0 has no transfer codings, so the field
    // makes the framing of an HTTP/1.0 message faulty (section 6.1).
    if fields.transfer_codings.present() {
        if version == Version::Http10 {
            return Err(Rejection::TransferEncoding);
        }
        return fields.transfer_codings.check().map(|()| Framing::Chunked);
    }
    // 5. An invalid Content-Length is unrecoverable. A repeated one is rejected as well: the RFC
    // allows a server to accept equal values, but does not require it.
    if fields.content_length_repeated {
        return Err(Rejection::ContentLength);
    }
    // 6. A valid Content-Length is the length.
    if let Some(value) = fields.content_length {
        let bytes = content_length(value).ok_or(Rejection::ContentLength)?;
        if bytes > BODY_BYTES_MAX {
            return Err(Rejection::BodyTooLarge);
        }
        return Ok(Framing::Length(bytes));
    }
    // 7. Neither: no body, whatever the method.
    Ok(Framing::Length(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(value: &str) -> Result<Framing, Rejection> {
        let fields =
            FramingFields { content_length: Some(value.as_bytes()), ..FramingFields::default() };
        decide(Version::Http11, &fields)
    }

    #[test]
    fn body_limit_holds_on_both_sides() {
        assert_eq!(with_length(&BODY_BYTES_MAX.to_string()), Ok(Framing::Length(BODY_BYTES_MAX)));
        assert_eq!(with_length(&(BODY_BYTES_MAX + 1).to_string()), Err(Rejection::BodyTooLarge));
        assert_eq!(with_length("99999999999999999999"), Err(Rejection::ContentLength));
    }

    #[test]
    fn rejects_transfer_encoding_with_content_length() {
        let mut fields = FramingFields { content_length: Some(b"5"), ..FramingFields::default() };
        fields.transfer_codings.add(b"chunked");
        assert_eq!(decide(Version::Http11, &fields), Err(Rejection::FramingConflict));
        assert_eq!(decide(Version::Http10, &fields), Err(Rejection::FramingConflict));
    }

    #[test]
    fn rejects_transfer_encoding_in_http_1_0() {
        let mut fields = FramingFields::default();
        fields.transfer_codings.add(b"chunked");
        assert_eq!(decide(Version::Http11, &fields), Ok(Framing::Chunked));
        assert_eq!(decide(Version::Http10, &fields), Err(Rejection::TransferEncoding));
    }

    #[test]
    fn no_length_means_no_body() {
        assert_eq!(decide(Version::Http11, &FramingFields::default()), Ok(Framing::Length(0)));
    }
}
