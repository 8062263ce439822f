//! Owns what each path names at each port. Must not know what the answers are.

use crate::alias::Alias;
use crate::responsiveness;
use crate::site::size;
use crate::{Site, Status};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A payload of this length, in bytes.
    Payload(u64),
    /// A message of this length on the wire, in bytes.
    Wire(u64),
    /// The prefix without its last slash.
    Prefix,
    /// A path that redirects to a payload.
    Home,
    Health,
    Ready,
    Version,
    Metrics,
    Responsiveness,
    Alias(&'static Alias),
}

/// What `path` names at the main listener, or the status of a path that names nothing: 400 below
/// the prefix, 404 elsewhere and for what only the admin listener serves. Paths are compared byte
/// by byte and not decoded, so that each has only one spelling.
pub(crate) fn at_main_port(path: &[u8], site: &Site) -> Result<Resource, Status> {
    let resource = match path.strip_prefix(site.uri().as_bytes()) {
        Some(rest) => below_prefix(rest, site).ok_or(Status::BadRequest)?,
        None => beside_prefix(path, site).ok_or(Status::NotFound)?,
    };
    match resource {
        Resource::Version | Resource::Metrics if site.options.admin_port => Err(Status::NotFound),
        _ => Ok(resource),
    }
}

/// What `path` names at the admin listener, or the status if it names nothing.
pub(crate) fn at_admin_port(path: &[u8]) -> Result<Resource, Status> {
    path.strip_prefix(b"/").and_then(service_resource).ok_or(Status::NotFound)
}

fn below_prefix(rest: &[u8], site: &Site) -> Option<Resource> {
    if let Some(bytes) = size(rest) {
        return site.allows(bytes).then_some(Resource::Payload(bytes));
    }
    let wire = rest.strip_prefix(b"wire/").and_then(size).map(Resource::Wire);
    wire.or_else(|| service_resource(rest))
}

fn beside_prefix(path: &[u8], site: &Site) -> Option<Resource> {
    if site.uri().as_bytes().strip_suffix(b"/") == Some(path) {
        return Some(Resource::Prefix);
    }
    if site.options.responsiveness && path == responsiveness::PATH.as_bytes() {
        return Some(Resource::Responsiveness);
    }
    let alias = if site.options.aliases { Alias::find(path) } else { None };
    alias.map(Resource::Alias).or_else(|| fixed_resource(path))
}

/// What `path` names outside the prefix on every site. A prefix must not hide such a path.
pub(crate) fn fixed_resource(path: &[u8]) -> Option<Resource> {
    let rest = path.strip_prefix(b"/")?;
    if rest.is_empty() || rest.starts_with(b"index.") || rest.starts_with(b"default.") {
        return Some(Resource::Home);
    }
    service_resource(rest)
}

fn service_resource(name: &[u8]) -> Option<Resource> {
    SERVICE_PATHS.iter().find(|(path, _)| *path == name).map(|(_, resource)| *resource)
}

/// The resources outside the prefix that are also served below it.
const SERVICE_PATHS: [(&[u8], Resource); 4] = [
    (b"healthz", Resource::Health),
    (b"readyz", Resource::Ready),
    (b"version", Resource::Version),
    (b"metrics", Resource::Metrics),
];
