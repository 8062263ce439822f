//! Owns what each path names at each port. Must not know what the answers are.

use crate::Site;
use crate::alias::Alias;
use crate::responsiveness;
use crate::site::size;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A payload of this length, in bytes.
    Payload(u64),
    /// A message of this length on the wire, in bytes.
    Wire(u64),
    /// A path below the prefix that is not served.
    BadSize,
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
    /// The path names nothing.
    Missing,
}

/// What `path` names at the main listener. Paths are compared byte by byte and not decoded, so that
/// each has only one spelling.
pub(crate) fn at_main_port(path: &[u8], site: &Site) -> Resource {
    let uri = site.uri().as_bytes();
    if let Some(rest) = path.strip_prefix(uri) {
        if let Some(bytes) = size(rest) {
            return if site.allows(bytes) { Resource::Payload(bytes) } else { Resource::BadSize };
        }
        if let Some(bytes) = rest.strip_prefix(b"wire/").and_then(size) {
            return Resource::Wire(bytes);
        }
        let resource = service_resource(rest).unwrap_or(Resource::BadSize);
        return without_admin_resources(resource, site);
    }
    if uri.strip_suffix(b"/") == Some(path) {
        return Resource::Prefix;
    }
    let options = site.options();
    if options.responsiveness && path == responsiveness::PATH.as_bytes() {
        return Resource::Responsiveness;
    }
    if options.aliases
        && let Some(alias) = Alias::find(path)
    {
        return Resource::Alias(alias);
    }
    without_admin_resources(fixed_resource(path), site)
}

/// What `path` names at the admin listener.
pub(crate) fn at_admin_port(path: &[u8]) -> Resource {
    path.strip_prefix(b"/").and_then(service_resource).unwrap_or(Resource::Missing)
}

/// `resource`, or [`Resource::Missing`] if only the admin listener serves it.
fn without_admin_resources(resource: Resource, site: &Site) -> Resource {
    match resource {
        Resource::Version | Resource::Metrics if site.options().admin_port => Resource::Missing,
        _ => resource,
    }
}

/// Whether `path` is served outside the prefix on every site. A prefix must not hide such a path.
pub(crate) fn is_fixed_route(path: &[u8]) -> bool {
    fixed_resource(path) != Resource::Missing
}

fn fixed_resource(path: &[u8]) -> Resource {
    let Some(rest) = path.strip_prefix(b"/") else { return Resource::Missing };
    if rest.is_empty() || rest.starts_with(b"index.") || rest.starts_with(b"default.") {
        return Resource::Home;
    }
    service_resource(rest).unwrap_or(Resource::Missing)
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
