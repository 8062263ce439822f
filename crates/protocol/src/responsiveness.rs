//! Owns the configuration that clients of draft-ietf-ippm-responsiveness ask for
//! (`/.well-known/nq`): where to download a little, download a lot, and upload.
//!
//! The URLs it names are those of the payload itself: the smallest one, the largest one, and the
//! sink that an upload to the smallest one is. The draft asks for a large download of 8 GB; here
//! the largest payload of the site bounds it.

use std::fmt::Write as _;

use crate::limits::AUTHORITY_BYTES_MAX;
use crate::{Request, Site};

/// The path that the draft registers.
pub(crate) const PATH: &str = "/.well-known/nq";

/// The configuration, as JSON; none if the request does not say under which authority the client
/// knows this server, or says so in more than [`AUTHORITY_BYTES_MAX`] bytes.
///
/// Host is the only part of a request that an answer ever repeats. Its bytes have been validated,
/// and none of them needs an escape in JSON.
pub(crate) fn configuration(request: &Request<'_>, site: &Site) -> Option<Box<str>> {
    let authority = std::str::from_utf8(request.authority).ok()?;
    if authority.is_empty() || authority.len() > AUTHORITY_BYTES_MAX {
        return None;
    }
    let scheme = if request.is_forwarded_https { "https" } else { "http" };
    let base = format!("{scheme}://{authority}{}", site.uri());
    let (min, max) = (site.min(), site.max());
    let mut json = String::with_capacity(3 * base.len() + 200);
    let written = write!(
        json,
        "{{\"version\":1,\"urls\":{{\"small_download_url\":\"{base}{min}\",\
         \"large_download_url\":\"{base}{max}\",\"upload_url\":\"{base}{min}\"}}}}\n"
    );
    written.expect("a String takes any text");
    Some(json.into_boxed_str())
}
