//! Owns what is configured about the answers: the prefix, and the sizes below it.

use std::fmt;

use crate::limits::{PAYLOAD_BYTES_MAX, URI_BYTES_MAX};
use crate::route::is_fixed_route;

/// What is served: the prefix, and the sizes allowed below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    uri: String,
    min: u64,
    max: u64,
}

/// Why a [`Site`] can not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteError {
    /// The prefix does not start with `/`, or is nothing but `/`.
    UriNotBelowRoot,
    /// The prefix is longer than [`URI_BYTES_MAX`].
    UriTooLong,
    /// The prefix holds a byte that a path does not have, or that needs decoding.
    UriByte,
    /// The prefix has an empty, `.` or `..` segment, which clients take out.
    UriSegment,
    /// The prefix would hide a fixed route.
    UriShadowsRoute,
    /// Not `1 <= min <= max <= 1 GiB`.
    Sizes,
}

impl fmt::Display for SiteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UriNotBelowRoot => "a path that starts with / and is more than /",
            Self::UriTooLong => "at most 256 bytes",
            Self::UriByte => "letters, digits and -._~!$&'()*+,;=:@/",
            Self::UriSegment => "no empty, . or .. segment",
            Self::UriShadowsRoute => {
                "not /healthz, /readyz, /version, /metrics, /index.* or /default.*"
            }
            Self::Sizes => "1 <= min <= max <= 1G",
        })
    }
}

impl std::error::Error for SiteError {}

impl Site {
    /// A site below `uri`, to which a missing last slash is added, that serves `min..=max` bytes.
    ///
    /// # Errors
    /// Where a part is not as [`SiteError`] lists it.
    pub fn new(uri: &str, min: u64, max: u64) -> Result<Self, SiteError> {
        let trimmed = uri.strip_suffix('/').unwrap_or(uri);
        if !trimmed.starts_with('/') {
            return Err(SiteError::UriNotBelowRoot);
        }
        let uri = format!("{trimmed}/");
        if uri.len() > URI_BYTES_MAX {
            return Err(SiteError::UriTooLong);
        }
        let is_path_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
        if !uri.bytes().all(is_path_byte) {
            return Err(SiteError::UriByte);
        }
        if trimmed[1..].split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(SiteError::UriSegment);
        }
        if is_fixed_route(trimmed.as_bytes()) || is_fixed_route(uri.as_bytes()) {
            return Err(SiteError::UriShadowsRoute);
        }
        if !(1 <= min && min <= max && max <= PAYLOAD_BYTES_MAX) {
            return Err(SiteError::Sizes);
        }
        Ok(Self { uri, min, max })
    }

    /// The prefix, with a slash at both ends.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Smallest payload, in bytes.
    #[must_use]
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Largest payload, in bytes.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_needs_a_prefix_that_hides_nothing() {
        for (uri, error) in [
            ("", SiteError::UriNotBelowRoot),
            ("/", SiteError::UriNotBelowRoot),
            ("heartbeat", SiteError::UriNotBelowRoot),
            ("/healthz", SiteError::UriShadowsRoute),
            ("/metrics/", SiteError::UriShadowsRoute),
            ("/index.html", SiteError::UriShadowsRoute),
            ("/default.d/x/", SiteError::UriShadowsRoute),
            ("//", SiteError::UriSegment),
            ("/a//b", SiteError::UriSegment),
            ("/a/../b", SiteError::UriSegment),
            ("/a b", SiteError::UriByte),
            ("/a?b", SiteError::UriByte),
            ("/%41", SiteError::UriByte),
            ("/\u{e9}", SiteError::UriByte),
        ] {
            assert_eq!(Site::new(uri, 1, 2), Err(error), "{uri}");
        }
        for (given, uri) in [("/x", "/x/"), ("/x/", "/x/"), ("/a/b", "/a/b/")] {
            assert_eq!(Site::new(given, 1, 2).unwrap().uri(), uri);
        }
        let uri = |bytes: usize| format!("/{}/", "x".repeat(bytes - 2));
        assert!(Site::new(&uri(URI_BYTES_MAX), 1, 2).is_ok());
        assert_eq!(Site::new(&uri(URI_BYTES_MAX + 1), 1, 2), Err(SiteError::UriTooLong));
    }

    #[test]
    fn a_site_needs_sizes_in_order() {
        let sizes = |min, max| Site::new("/heartbeat/", min, max).map(|_| ());
        assert_eq!(sizes(1, PAYLOAD_BYTES_MAX), Ok(()));
        assert_eq!(sizes(5, 5), Ok(()));
        assert_eq!(sizes(0, 5), Err(SiteError::Sizes));
        assert_eq!(sizes(6, 5), Err(SiteError::Sizes));
        assert_eq!(sizes(1, PAYLOAD_BYTES_MAX + 1), Err(SiteError::Sizes));
    }
}
