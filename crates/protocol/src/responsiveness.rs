//! Owns the configuration that clients of draft-ietf-ippm-responsiveness ask for
//! (`/.well-known/nq`): the URLs of a small download, of a large download and of an upload.
//!
//! The downloads are the smallest and the largest payload of the site, and the upload goes to the
//! smallest one. The draft asks for a large download of 8 GB; here its size is the maximum of the
//! site. Each URL has two keys: that of the current draft, and that of the first drafts, which
//! goresponsiveness still requires.

use crate::limits::AUTHORITY_BYTES_MAX;
use crate::{Request, Site};

/// The path that the draft registers.
pub(crate) const PATH: &str = "/.well-known/nq";

/// The configuration, as JSON; none if the request names no authority, or one that is longer than
/// [`AUTHORITY_BYTES_MAX`].
///
/// The authority is the only part of a request that an answer ever repeats. Its grammar has been
/// checked, and none of its bytes needs an escape in JSON.
pub(crate) fn configuration(request: &Request<'_>, site: &Site) -> Option<Box<str>> {
    let authority = std::str::from_utf8(request.authority).ok()?;
    if authority.is_empty() || authority.len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    let scheme = if request.is_forwarded_https { "https" } else { "http" };
    let base = format!("{scheme}://{authority}{}", site.uri());
    let (min, max) = (site.min(), site.max());
    let json = format!(
        "{{\"version\":1,\"urls\":{{\"small_download_url\":\"{base}{min}\",\
         \"large_download_url\":\"{base}{max}\",\"upload_url\":\"{base}{min}\",\
         \"small_https_download_url\":\"{base}{min}\",\
         \"large_https_download_url\":\"{base}{max}\",\"https_upload_url\":\"{base}{min}\"}}}}\n"
    );
    Some(json.into_boxed_str())
}
