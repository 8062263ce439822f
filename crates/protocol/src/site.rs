//! Owns the configuration of the answers: the prefix, the sizes below it, the optional resources.

use std::fmt;

use crate::alias::ALIASES;
use crate::fields::decimal;
use crate::grammar::{PATH, is_of};
use crate::limits::{PAYLOAD_BYTES_MAX, SIZE_DIGITS_MAX, URI_BYTES_MAX};
use crate::resource::fixed_resource;
use crate::responsiveness;

/// What is served: the prefix, the sizes that are allowed below it, and the optional resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    uri: String,
    min: u64,
    max: u64,
    pub(crate) options: SiteOptions,
}

/// The optional resources of a [`Site`]; all are off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteOptions {
    /// There is an admin listener. Only this one serves `/metrics` and `/version`; the main
    /// listener answers 404 for them, below the prefix as well.
    pub admin_port: bool,
    /// Serves `/.well-known/nq` (draft-ietf-ippm-responsiveness).
    pub responsiveness: bool,
    /// Serves the paths of other measuring tools: `/bytes/n`, `/__down`, `/__up`, `/garbage`,
    /// `/empty`, `/data`, `/echo`.
    pub aliases: bool,
}

/// Why a [`Site`] is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SiteError {
    /// The prefix is not allowed; this text says what is.
    Uri(&'static str),
    /// Not `1 <= min <= max <= 1 GiB`.
    Sizes,
}

impl fmt::Display for SiteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Uri(allowed) => allowed,
            Self::Sizes => "1 <= min <= max <= 1G",
        })
    }
}

impl std::error::Error for SiteError {}

impl Site {
    /// A site that serves `min..=max` bytes below `uri`. A missing last slash is added.
    ///
    /// # Errors
    /// The first part that is not allowed, as a [`SiteError`].
    pub fn new(uri: &str, min: u64, max: u64) -> Result<Self, SiteError> {
        let trimmed = uri.strip_suffix('/').unwrap_or(uri);
        let uri = format!("{trimmed}/");
        // Clients remove such segments.
        let is_removed = |segment| matches!(segment, "" | "." | "..");
        let is_fixed = |path: &str| fixed_resource(path.as_bytes()).is_some();
        let rules = [
            (trimmed.starts_with('/'), "a path that starts with / and is more than /"),
            (uri.len() <= URI_BYTES_MAX, "at most 256 bytes"),
            (uri.bytes().all(|byte| is_of(byte, PATH)), "letters, digits and -._~!$&'()*+,;=:@/"),
            (!trimmed.split('/').skip(1).any(is_removed), "no empty, . or .. segment"),
            (
                !is_fixed(trimmed) && !is_fixed(&uri),
                "not /healthz, /readyz, /version, /metrics, /index.* or /default.*",
            ),
        ];
        if let Some((_, allowed)) = rules.into_iter().find(|(is_kept, _)| !is_kept) {
            return Err(SiteError::Uri(allowed));
        }
        if !(1 <= min && min <= max && max <= PAYLOAD_BYTES_MAX) {
            return Err(SiteError::Sizes);
        }
        Ok(Self { uri, min, max, options: SiteOptions::default() })
    }

    /// This site with these optional resources.
    ///
    /// # Errors
    /// The prefix would hide a resource that the options enable.
    pub fn with_options(self, options: SiteOptions) -> Result<Self, SiteError> {
        if options.responsiveness && self.hides(responsiveness::PATH) {
            return Err(SiteError::Uri(
                "neither /.well-known nor /.well-known/nq \
                 while the responsiveness resources are on",
            ));
        }
        if options.aliases && ALIASES.iter().any(|alias| self.hides(alias.path)) {
            return Err(SiteError::Uri(
                "none of /bytes, /__down, /__up, /garbage, /empty, /data and /echo \
                 while the aliases are on",
            ));
        }
        Ok(Self { options, ..self })
    }

    /// Whether requests for `path` would be answered as requests below the prefix. If `path` ends
    /// with a slash, it stands for every path that begins with it.
    fn hides(&self, path: &str) -> bool {
        let is_below = path.ends_with('/') && self.uri.starts_with(path);
        path.starts_with(&self.uri) || self.uri.strip_suffix('/') == Some(path) || is_below
    }

    /// The prefix, with a slash at both ends.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Smallest payload, in bytes.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// Largest payload, in bytes.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Whether a payload may have this length, in bytes.
    pub(crate) fn allows(&self, bytes: u64) -> bool {
        (self.min..=self.max).contains(&bytes)
    }
}

/// The value of a size in a request: up to [`SIZE_DIGITS_MAX`] digits, leading zeros included. None
/// if it is anything else or does not fit 64 bits.
pub(crate) fn size(digits: &[u8]) -> Option<u64> {
    if digits.len() > SIZE_DIGITS_MAX { None } else { decimal(digits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_refused(site: Result<Site, SiteError>, allowed: &str) {
        let Err(SiteError::Uri(text)) = site else { panic!("{site:?}") };
        assert!(text.starts_with(allowed), "{text:?} is not {allowed:?}");
    }

    #[test]
    fn a_site_needs_a_prefix_that_hides_nothing() {
        for (uri, error) in [
            ("", "a path that starts with /"),
            ("/", "a path that starts with /"),
            ("heartbeat", "a path that starts with /"),
            ("/healthz", "not /healthz"),
            ("/metrics/", "not /healthz"),
            ("/index.html", "not /healthz"),
            ("/default.d/x/", "not /healthz"),
            ("//", "no empty"),
            ("/a//b", "no empty"),
            ("/a/../b", "no empty"),
            ("/a b", "letters"),
            ("/a?b", "letters"),
            ("/%41", "letters"),
            ("/\u{e9}", "letters"),
        ] {
            assert_refused(Site::new(uri, 1, 2), error);
        }
        for (given, uri) in [("/x", "/x/"), ("/x/", "/x/"), ("/a/b", "/a/b/")] {
            assert_eq!(Site::new(given, 1, 2).unwrap().uri(), uri);
        }
        let uri = |bytes: usize| format!("/{}/", "x".repeat(bytes - 2));
        assert!(Site::new(&uri(URI_BYTES_MAX), 1, 2).is_ok());
        assert_refused(Site::new(&uri(URI_BYTES_MAX + 1), 1, 2), "at most 256 bytes");
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

    #[test]
    fn a_prefix_hides_no_enabled_resource() {
        let aliases = SiteOptions { aliases: true, ..SiteOptions::default() };
        let responsiveness = SiteOptions { responsiveness: true, ..SiteOptions::default() };
        for (uri, options, error) in [
            ("/bytes", aliases, "none of /bytes"),
            ("/bytes/1", aliases, "none of /bytes"),
            ("/__down/", aliases, "none of /bytes"),
            ("/__up", aliases, "none of /bytes"),
            ("/garbage", aliases, "none of /bytes"),
            ("/empty", aliases, "none of /bytes"),
            ("/data", aliases, "none of /bytes"),
            ("/echo", aliases, "none of /bytes"),
            ("/.well-known", responsiveness, "neither /.well-known"),
            ("/.well-known/nq", responsiveness, "neither /.well-known"),
        ] {
            let site = Site::new(uri, 1, 2).unwrap();
            assert!(site.clone().with_options(SiteOptions::default()).is_ok(), "{uri}");
            assert_refused(site.with_options(options), error);
        }
        let all = SiteOptions { admin_port: true, responsiveness: true, aliases: true };
        for uri in ["/heartbeat", "/data/x", "/.well-known/heartbeat", "/bytesize", "/echoes"] {
            let site = Site::new(uri, 1, 2).unwrap().with_options(all).unwrap();
            assert_eq!(site.options, all);
        }
    }
}
